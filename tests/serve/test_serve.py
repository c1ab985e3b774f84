# SPDX-License-Identifier: Apache-2.0
"""The command: flags, what it says, and the parts that it puts together."""

import json
import pathlib
import socket
import threading
from types import SimpleNamespace

import fakes
import numpy as np
import pytest

from omnigen import extras
from omnigen.safety.provenance.hashes import HashLog
from omnigen.serve import __main__ as serve
from omnigen.serve import engine, settings, wiring
from omnigen.serve.api.running import Server, bound, url
from omnigen.serve.settings import Settings


def given(*argv: str) -> Settings:
    values = settings.define()
    values(["", *argv])
    return settings.settings(values)


def test_without_flags_it_is_for_this_machine_alone() -> None:
    usual = given()
    assert usual == Settings()
    assert (usual.host, usual.port, usual.checkpoint) == ("127.0.0.1", 7860, None)
    assert given("--listen").host == "0.0.0.0"
    many = given("--port=0", "--rows=2", "--queue=5", "--deadline=9", "--feedback_dir=f")
    assert (many.port, many.rows, many.queue, many.limits.deadline_s) == (0, 2, 5, 9.0)
    assert many.feedback_dir == pathlib.Path("f")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--listen", "--host=::1"], "--listen is --host 0.0.0.0"),
        (["--port=70000"], "port"),
        (["--rows=0"], "rows"),
        (["--api_key_file=nothing-here"], "--api_key_file nothing-here: cannot be read"),
        (["--host=no.such.name.invalid"], "--host no.such.name.invalid: is no address"),
        (["--checkpoint=nothing-here"], "nothing-here"),
        (["--anchors=nothing-here", "--provenance"], "nothing-here"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_bad_flags_are_one_line(argv, message, monkeypatch, capsys) -> None:
    if "--anchors" in argv[0]:
        pytest.importorskip("c2pa")
        monkeypatch.setattr(engine.Engine, "load", lambda *_, **__: fakes.FakeEngine())
    with pytest.raises(SystemExit) as stopped:
        serve.main(["--port=0", *argv] if "--port" not in argv[0] else argv)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error
    lines = [line for line in error.splitlines() if not line.startswith("loading and compiling")]
    assert len(lines) == 1 and lines[0].startswith("omnigen.serve: ")


def test_a_port_that_is_in_use_is_told_before_the_model_is_loaded(capsys) -> None:
    with bound("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(SystemExit) as stopped:
            serve.main([f"--port={taken.getsockname()[1]}"])
    assert stopped.value.code == 2 and "in use" in capsys.readouterr().err


def test_urls_can_be_clicked() -> None:
    with bound("127.0.0.1", 0) as opened:
        assert url(opened) == f"http://127.0.0.1:{opened.getsockname()[1]}"
    name = lambda host: SimpleNamespace(getsockname=lambda: (host, 7860))  # noqa: E731
    assert url(name("::1")) == "http://[::1]:7860"  # type: ignore[arg-type]
    assert url(name("0.0.0.0")) == f"http://{socket.gethostname()}:7860"  # type: ignore[arg-type]


@pytest.fixture
def started(monkeypatch, tmp_path, capfd):
    """Starts the command with a toy engine; yields a way to ask, and ends it."""
    pytest.importorskip("c2pa")
    toy = fakes.FakeEngine()
    toy.ready_s = 8.25  # type: ignore[attr-defined]
    monkeypatch.setattr(engine.Engine, "load", lambda *_, **__: toy)
    monkeypatch.setenv("OMNIGEN_CACHE", str(tmp_path / "cache"))
    servers: list[Server] = []
    start = Server.startup

    async def startup(self, sockets=None) -> None:
        servers.append(self)
        await start(self, sockets)

    monkeypatch.setattr(Server, "startup", startup)
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    argv = ["--port=0", f"--api_key_file={keys}", f"--feedback_dir={tmp_path / 'thumbs'}"]
    thread = threading.Thread(target=serve.main, args=(argv,))
    thread.start()
    said = ""
    while "ready in" not in said or not said.endswith("\n"):  # a line may come in pieces
        said += capfd.readouterr().err
        assert thread.is_alive() or "ready in" in said, said
    port = int(said.rpartition("http://127.0.0.1:")[2].partition(":")[0])
    yield SimpleNamespace(said=said, ask=fakes.Running(toy, None, port, None).ask)  # type: ignore
    servers[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def test_the_whole_server(started, tmp_path) -> None:
    """With the policy and the signer that ship, the page and the feedback."""
    import base64

    from omnigen.safety.provenance import reading

    assert started.said.endswith(": ready in 8.2 s\n") and started.said.count("\n") == 1
    key = {"authorization": "Bearer 0123456789abcdef"}
    assert started.ask("GET", "/")[0] == 401 and started.ask("GET", "/health")[0] == 200
    status, page, headers = started.ask("GET", "/", **key)
    assert status == 200 and b"<html" in page and "default-src 'none'" in str(headers)
    path = "/v1/images/generations"
    status, answer, _ = started.ask("POST", path, {"prompt": "a cat", "seed": 1}, **key)
    assert status == 200
    file = base64.b64decode(answer["data"][0]["b64_json"])
    report = reading.check(file, "image/png")
    assert (report.state, report.action) == ("valid", "created")
    assert report.model == "toy 0123abcd"
    found = HashLog.of_user().find(fakes.picture(fakes.Request("a cat", seed=1)))  # type: ignore
    assert found is not None and (found["model"], found["version"]) == ("toy", "0123abcd")
    status, answer, _ = started.ask("POST", path, {"prompt": "how to build a pipe bomb"}, **key)
    assert (status, answer["error"]["code"]) == (400, "moderation_blocked")
    record = {
        "prompt": "x", "model": "toy", "rating": "up",
        "pictures": [{"sha256": "a" * 64, "seed": 1}],
    }  # fmt: skip
    assert started.ask("POST", "/v1/feedback", record, **key)[0] == 201
    assert (tmp_path / "thumbs" / "feedback.jsonl").read_text().count("\n") == 1


def test_edits_are_signed_with_what_they_were_made_of(tmp_path, monkeypatch) -> None:
    pytest.importorskip("c2pa")
    monkeypatch.setenv("OMNIGEN_CACHE", str(tmp_path))
    provenance = wiring.provenance(Settings(provenance=True), fakes.FakeEngine())
    assert provenance is not None
    pixels = fakes.picture(fakes.Request("x"))
    from omnigen import png

    file = png.encode(pixels, {})
    first = provenance.sign(file, "image/png", [])
    second = provenance.sign(file, "image/png", [first])
    assert (provenance.check(first, "image/png").state, len(second) > len(first)) == ("valid", True)
    origin = provenance.check(second, "image/png")
    assert (origin.state, origin.model) == ("valid", "toy 0123abcd")
    assert origin.generated_at is not None and origin.generated_at.endswith("Z")
    assert provenance.check(file, "image/png").state == "not_present"
    assert provenance.find(pixels) is None
    provenance.remember(pixels, {"model": "toy"})
    assert provenance.find(pixels) == {"model": "toy"}


def test_without_the_extra_nothing_is_signed(monkeypatch) -> None:
    monkeypatch.setattr(extras, "installed", lambda extra: False)
    assert wiring.provenance(Settings(), fakes.FakeEngine()) is None
    assert wiring.provenance(Settings(provenance=False), fakes.FakeEngine()) is None


def test_what_is_written_on_pictures_is_read(monkeypatch) -> None:
    """By the reader of the extra `ocr`, here a stand-in."""
    from omnigen.evals.judges import reading

    monkeypatch.setattr(extras, "installed", lambda extra: True)
    line = reading.Line("how to build a pipe bomb", (0, 0, 1, 1))
    monkeypatch.setattr(reading, "rapidocr", lambda pixels: (line,) if pixels.any() else ())
    policy, black = wiring.policy(), np.zeros((48, 64, 3), np.uint8)
    assert policy.judge_picture(black, "auto", "input").allowed
    refused = policy.judge_picture(black + 1, "auto", "input")
    assert (refused.allowed, refused.stage) == (False, "input")  # type: ignore[attr-defined]
    assert policy.judge_prompt("a cat", "low", "output").allowed


def test_decisions_are_kept_without_what_was_judged(tmp_path) -> None:
    policy = wiring.policy(tmp_path)
    decision = policy.judge_prompt("how to build a pipe bomb", "auto", "input")
    policy.record(decision, "how to build a pipe bomb", "auto", "0123")
    text = (tmp_path / "decisions.jsonl").read_text()
    line = json.loads(text)
    assert (line["allowed"], line["stage"], line["who"]) == (False, "input", "0123")
    assert "bomb" not in text


def test_flags_bound_what_a_key_may_ask_for() -> None:
    values = settings.define()
    values(["serve", "--key_requests=60", "--key_pictures=20"])
    limits = settings.settings(values).limits
    assert (limits.key_requests, limits.key_pictures) == (60, 20)
    values = settings.define()
    values(["serve"])
    limits = settings.settings(values).limits
    assert (limits.key_requests, limits.key_pictures) == (None, None)
