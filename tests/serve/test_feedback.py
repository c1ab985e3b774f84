# SPDX-License-Identifier: Apache-2.0
"""Records of what people think: what is kept, what is refused, and that the file stays whole."""

import json
import multiprocessing
import pathlib
import re
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from omnigen.serve import feedback

A, B = "a" * 64, "0123456789abcdef" * 4


def body(**changes: Any) -> dict[str, Any]:
    base = {
        "prompt": 'ein Schild mit "Grüße"',
        "model": "omnigen-nano",
        "pictures": [{"sha256": A, "seed": 4}, {"sha256": B, "seed": 5}],
        "best": 1,
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not ...}


def rating(value: Any, **changes: Any) -> dict[str, Any]:
    one = {"pictures": [{"sha256": A, "seed": 4}], "best": ..., "rating": value}
    return body(**{**one, **changes})


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Iterator[feedback.Feedback]:
    opened = feedback.Feedback(tmp_path / "new" / "folder")
    yield opened
    opened.close()


def lines(store: feedback.Feedback) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.path.read_text("utf-8").splitlines()]


def test_a_preference_is_kept_as_it_was_given(store) -> None:
    given = body(given=[B], settings={"guidance_scale": 2.5, "temperature": 0})
    store.add(json.dumps(given).encode())
    store.add(json.dumps(rating("up")).encode())
    first, second = lines(store)
    assert {name: value for name, value in first.items() if name != "time"} == given
    assert 1.7e9 < first["time"] <= second["time"]
    assert (second["rating"], second["given"], second["settings"]) == ("up", [], {})
    assert "best" not in second
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ([], None, "the body must be an object"),
        (body(user="x"), "user", "user is unknown; allowed: prompt, model, pictures"),
        (body(**{"\ud800": 1}), "\\ud800", "is unknown"),
        (body(prompt=...), "prompt", "prompt must be a text of 1 ... 32000 characters"),
        (body(prompt=" "), "prompt", "1 ... 32000"),
        (body(prompt="x" * 32_001), "prompt", "1 ... 32000"),
        (body(prompt="\ud800"), "prompt", "not valid Unicode"),
        (body(model=7), "model", "1 ... 200"),
        (body(pictures=[]), "pictures", "a list of 1 ... 10"),
        (body(pictures=[{"sha256": A, "seed": 4}] * 2), "pictures", "the same picture twice"),
        (body(pictures=[{"sha256": A, "seed": i} for i in range(11)]), "pictures", "1 ... 10"),
        (body(pictures=[A, B]), "pictures[0]", "must be an object"),
        (rating("up", pictures=[{"sha256": A.upper(), "seed": 4}]), "pictures[0].sha256", "64"),
        (
            rating("up", pictures=[{"sha256": A, "seed": -1}]),
            "pictures[0].seed",
            "0 ... 4294967295",
        ),
        (rating("up", pictures=[{"sha256": A, "seed": 1.0}]), "pictures[0].seed", "a whole number"),
        (rating("up", pictures=[{"sha256": A, "seed": True}]), "pictures[0].seed", "whole"),
        (rating("up", pictures=[{"sha256": A}]), "pictures[0].seed", "whole"),
        (body(given=[A] * 17), "given", "up to 16"),
        (body(given=["../x"]), "given[0]", "64 hexadecimal digits"),
        (body(settings={"steps": 3}), "settings.steps", "allowed: guidance_scale, temperature"),
        (body(settings={"temperature": 2.1}), "settings.temperature", "in 0 ... 2"),
        (body(settings={"temperature": float("nan")}), "settings.temperature", "in 0 ... 2"),
        (body(best=2), "best", "in 0 ... 1"),
        (rating(..., best=0), "best", "at least 2 pictures"),
        (body(best=...), "rating", "either rating or best"),
        (body(rating="up"), "rating", "either rating or best"),
        (body(best=..., rating="up"), "rating", "of 1 picture, not of 2"),
        (rating("great"), "rating", "'great'; allowed: up, down, none"),
        (rating(["up"]), "rating", "allowed: up, down, none"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(given, param, message, store) -> None:
    with pytest.raises(feedback.InvalidError, match=re.escape(message)) as raised:
        store.add(json.dumps(given).encode())
    assert raised.value.param == param
    assert not lines(store)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 60_000, b'{"best": ' + b"9" * 5000])
def test_what_is_no_json_is_refused(data: bytes, store) -> None:
    with pytest.raises(feedback.InvalidError, match="not JSON"):
        store.add(data)


def test_the_file_is_bounded(tmp_path: pathlib.Path) -> None:
    line = json.dumps(rating("down")).encode()
    store = feedback.Feedback(tmp_path, most_bytes=1000)
    with pytest.raises(feedback.FullError):
        for _ in range(10):
            store.add(line)
    store.close()
    kept = lines(store)
    assert 2 <= len(kept) < 10 and all(each["rating"] == "down" for each in kept)
    assert store.path.stat().st_size <= 1000


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: pathlib.Path) -> None:
    (tmp_path / feedback.NAME).write_bytes(b'{"prompt": "cut')
    store = feedback.Feedback(tmp_path)
    store.add(json.dumps(rating("up")).encode())
    store.close()
    cut, whole = store.path.read_text().splitlines()
    assert cut == '{"prompt": "cut' and json.loads(whole)["rating"] == "up"


def test_a_link_is_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / feedback.NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        feedback.Feedback(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def add_many(folder: pathlib.Path, seed: int) -> None:
    store = feedback.Feedback(folder)
    for _ in range(50):
        given = rating("up", pictures=[{"sha256": A, "seed": seed}], prompt="x" * 9000)
        store.add(json.dumps(given).encode())


def test_processes_do_not_mix_their_lines(tmp_path: pathlib.Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_many, args=(tmp_path, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    kept = [json.loads(line) for line in (tmp_path / feedback.NAME).read_text().splitlines()]
    seeds = [each["pictures"][0]["seed"] for each in kept]
    assert {seed: seeds.count(seed) for seed in range(3)} == {0: 50, 1: 50, 2: 50}


def answer(store: feedback.Feedback | None, data: bytes) -> tuple[int, dict[str, Any]]:
    """Posts to the route."""
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    with TestClient(Starlette(routes=feedback.routes(store))) as client:
        got = client.post("/v1/feedback", content=data)
        assert client.get("/v1/feedback").status_code == 405
    return got.status_code, got.json()


def test_the_route(store, tmp_path: pathlib.Path) -> None:
    status, found = answer(store, json.dumps(body()).encode())
    assert (status, found["object"]) == (201, "feedback")
    assert found["created"] == int(lines(store)[0]["time"])
    status, found = answer(store, json.dumps(body(best=9)).encode())
    assert status == 400 and found["error"] == {
        "message": "best must be a whole number in 0 ... 1",
        "type": "invalid_request_error",
        "param": "best",
        "code": "invalid_feedback",
    }
    status, found = answer(store, b" " * (feedback.MOST_REQUEST_BYTES + 1))
    assert (status, found["error"]["code"]) == (413, "request_too_large")
    status, found = answer(None, json.dumps(body()).encode())
    assert (status, found["error"]["code"]) == (404, "feedback_off")
    full = feedback.Feedback(tmp_path, most_bytes=10)
    status, found = answer(full, json.dumps(body()).encode())
    assert (status, found["error"]["code"]) == (507, "feedback_full")
    full.close()
    assert len(lines(store)) == 1
