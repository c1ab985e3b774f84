# SPDX-License-Identifier: Apache-2.0
"""The page on the HTTP API itself, with an engine that draws by arithmetic."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from omnigen.generation import spans
from omnigen.serve import feedback, web
from omnigen.serve.api import pictures

pytestmark = pytest.mark.slow  # half a minute


@pytest.fixture
def page(browser: Any, make_page: Any, tmp_path: pathlib.Path) -> Iterator[Any]:
    import fakes

    store = feedback.Feedback(tmp_path)
    engine = fakes.FakeEngine(seconds=0.2)
    more = [*web.routes(), *feedback.routes(store)]
    with fakes.running(engine, provenance=fakes.PROVENANCE, more=more) as server:
        opened = make_page(browser, server, f"{server.url}/")
        opened.size(1280, 900)
        opened.log()
        opened.open()
        yield opened
        complaints = opened.log()
        browser.get("about:blank")
    store.close()
    assert not complaints


def test_a_conversation(page) -> None:
    import fakes

    engine = page.stub.engine
    assert page.one("#server-text").text == "toy"
    page.js("document.getElementById('ratio-landscape').click()")
    page.ask("a disk")
    page.drawn(1)
    page.ask("larger")
    page.drawn(2)
    page.ask("greener")
    page.drawn(3)
    page.press("Change a part of it", "li:last-child")
    page.keys("\ue007")
    page.press("Change this part")
    page.wait(lambda: not page.all("#mask[open]"))
    page.ask("yellow there")
    shown = page.pixels(page.drawn(4)[-1])
    prompts = [request.prompt for request in engine.requests]
    assert [spans.words(prompt) for prompt in prompts] == [
        *("a disk", "larger", "greener", "yellow there"),
    ]
    assert [len(spans.pictures(prompt)) for prompt in prompts] == [0, 1, 1, 1]
    assert [request.seed for request in engine.requests] == [0, 1, 2, 3]
    # What was painted, half of each side of 80 x 48, is new; around it the given picture stays.
    (given,) = spans.pictures(prompts[3])
    expected = np.array(given.pixels)
    expected[12:36, 12:52] = fakes.picture(engine.requests[3])[12:36, 12:52]
    assert shown.shape == (48, 80, 3)  # as was asked for, of the 64 x 48 that are drawn
    assert (shown == pictures.resample(expected, (80, 48))).all()
    page.press("Good", "li:last-child")
    page.js("[...document.querySelectorAll('#thread .open')].at(-1).click()")
    page.press("Who made this?", "#viewer")
    page.wait(lambda: "A machine made this" in page.one("#viewer .origin").text)
    page.wait(lambda: "The server keeps it." in page.spoken())


def test_what_the_api_refuses_is_shown(page) -> None:
    page.ask("gore")
    error = page.one(".error").text
    assert "The server does not draw this" in error and "violence/graphic" in error
    page.js("document.getElementById('prompt').value = 'x'.repeat(4001)")
    page.one("#draw").click()
    page.wait(lambda: "4000" in page.one(".error").text)
    page.stub.engine.error = RuntimeError("it broke")
    page.ask("a disk")
    page.wait(lambda: "drawing_failed" in page.one(".error").text)
    page.stub.engine.error = None
    page.press("Try again")
    page.drawn(1)


def test_cancelling_frees_the_engine(page) -> None:
    page.stub.engine.is_open.clear()
    page.ask("a disk")
    page.wait(lambda: page.one(".state").text == "Next in the queue")
    page.press("Cancel")
    page.wait(lambda: page.stub.engine.statistics().cancelled == 1)
    assert page.stub.engine.statistics().queued == 0
