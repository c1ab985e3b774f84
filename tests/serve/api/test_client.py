# SPDX-License-Identifier: Apache-2.0
"""The official client as judge: what it sends is understood, what comes back it understands."""

import base64
import io
import json
import threading
import time
import urllib.request

import fakes
import numpy as np
import pytest
from PIL import Image

from omnigen.generation import sampler
from omnigen.generation.sampler import Request
from omnigen.generation.spans import Picture

openai = pytest.importorskip("openai")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def decoded(datum) -> np.ndarray:
    return pixels(base64.b64decode(datum.b64_json))


def png(size=fakes.NATIVE, color="red", mode="RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, "PNG")
    return file.getvalue()


def test_the_call_of_the_articles_returns_its_picture(client) -> None:
    """As the articles about GPT-4o have it, worded for today's client."""
    response = client.images.generate(
        model="gpt-4o", prompt="a red circle", size="1024x1024", n=1, quality="hd"
    )
    with urllib.request.urlopen(response.data[0].url) as answer:
        assert answer.headers["content-type"] == "image/png"
        file = answer.read()
    assert base64.b64decode(response.data[0].b64_json) == file
    assert Image.open(io.BytesIO(file)).size == (1024, 1024)
    assert (response.size, response.drawn_size) == ("1024x1024", "64x48")
    assert (response.quality, response.background, response.output_format) == (
        "high", "opaque", "png",
    )  # fmt: skip
    assert abs(response.created - time.time()) < 60


def test_n_pictures_have_seeds_in_a_row(client) -> None:
    response = client.images.generate(
        prompt="two", n=3, size="auto", extra_body={"seed": 5, "guidance_scale": 2.5}
    )
    assert [datum.seed for datum in response.data] == [5, 6, 7]
    for datum in response.data:
        wanted = fakes.picture(Request("two", seed=datum.seed, guidance=2.5))
        np.testing.assert_array_equal(decoded(datum), wanted)


def test_settings_reach_the_model_and_the_file(client, tmp_path) -> None:
    """The PNG says all that `sample --recreate` needs."""
    more = {"seed": 9, "guidance_scale": 1.5, "temperature": 0.25, "negative_prompt": ""}
    datum = client.images.generate(prompt="a “star”", extra_body=more).data[0]
    (tmp_path / "a.png").write_bytes(base64.b64decode(datum.b64_json))
    found = sampler.read(tmp_path / "a.png")
    assert found.request == Request("a “star”", seed=9, guidance=1.5, temperature=0.25)
    assert found.version == "0123abcd"
    np.testing.assert_array_equal(found.pixels, fakes.picture(found.request))


def test_seeds_differ_if_none_is_sent(client) -> None:
    drawn = [client.images.generate(prompt="x").data[0] for _ in range(3)]
    assert len({datum.seed for datum in drawn}) == 3
    assert len({datum.b64_json for datum in drawn}) == 3


def test_usage_is_what_the_model_counts(client) -> None:
    usage = client.images.generate(prompt="four", n=2).usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (8, 102, 110)
    assert (usage.input_tokens_details.text_tokens, usage.input_tokens_details.image_tokens) == (
        8, 0,
    )  # fmt: skip
    assert usage.output_tokens_details.text_tokens == 6
    assert usage.output_tokens_details.image_tokens == 96


@pytest.mark.parametrize(("name", "start"), [("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_other_formats_lose_as_much_as_was_asked_for(client, name: str, start: bytes) -> None:
    sizes = []
    for quality in (100, 0):
        response = client.images.generate(
            prompt="x", output_format=name, output_compression=quality, extra_body={"seed": 1}
        )
        data = base64.b64decode(response.data[0].b64_json)
        assert data.startswith(start) and response.output_format == name
        sizes.append(len(data))
        if quality == 100:
            wanted = fakes.picture(Request("x", seed=1)).astype(int)
            assert abs(pixels(data) - wanted).mean() < 12
    assert sizes[0] > 1.4 * sizes[1]


def test_answers_have_what_was_asked_for(client) -> None:
    urls = client.images.generate(prompt="x", response_format="url").data[0]
    assert urls.b64_json is None and urls.url.endswith(".png")
    texts = client.images.generate(prompt="x", response_format="b64_json").data[0]
    assert texts.url is None and texts.b64_json
    named = client.images.generate(prompt="x", safety_identifier="me")
    assert named.safety_identifier == "me"


def test_a_stream_has_previews_and_then_the_picture(client) -> None:
    events = list(
        client.images.generate(prompt="x", stream=True, partial_images=3, extra_body={"seed": 4})
    )
    partial = "image_generation.partial_image"
    assert [event.type for event in events] == [partial] * 3 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]
    wanted = fakes.picture(Request("x", seed=4))
    np.testing.assert_array_equal(decoded(events[-1]), wanted)
    np.testing.assert_array_equal(decoded(events[1]), np.minimum(wanted, 100))
    assert events[-1].usage.total_tokens == 52
    for event in events:
        assert (event.size, event.quality, event.background, event.output_format) == (
            "64x48", "high", "opaque", "png",
        )  # fmt: skip


def test_a_stream_of_two_has_both(client) -> None:
    events = list(client.images.generate(prompt="x", stream=True, n=2, extra_body={"seed": 4}))
    done = sorted(event.seed for event in events if event.type.endswith("completed"))
    assert done == [4, 5]


def test_edits_read_their_pictures_in_order(client, server) -> None:
    files = [("a.png", png(color="red")), ("b.png", png(color="blue"))]
    response = client.images.edit(image=files, prompt="mix", n=2, extra_body={"seed": 3})
    colors = [(255, 0, 0), (0, 0, 255)]
    given = [Picture(np.full((48, 64, 3), color, np.uint8)) for color in colors]
    for number, datum in enumerate(response.data):
        wanted = fakes.picture(Request([*given, "mix"], seed=3 + number))
        np.testing.assert_array_equal(decoded(datum), wanted)
    assert response.usage.input_tokens_details.image_tokens == 2 * 96
    one = client.images.edit(image=png(color="red"), prompt="mix", extra_body={"seed": 3})
    wanted = fakes.picture(Request([given[0], "mix"], seed=3))
    np.testing.assert_array_equal(decoded(one.data[0]), wanted)


def test_outside_the_mask_nothing_changes(client) -> None:
    mask = Image.new("RGBA", fakes.NATIVE, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 48))
    file = io.BytesIO()
    mask.save(file, "PNG")
    events = client.images.edit(
        image=png(color="red"), mask=file.getvalue(), prompt="x", stream=True, partial_images=1,
        extra_body={"seed": 3},
    )  # fmt: skip
    given = Picture(np.full((48, 64, 3), (255, 0, 0), np.uint8))
    drawn = fakes.picture(Request([given, "x"], seed=3))
    events = list(events)
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    for event, inside in zip(events, (np.minimum(drawn, 50), drawn), strict=True):
        np.testing.assert_array_equal(decoded(event)[:, :32], inside[:, :32])
        np.testing.assert_array_equal(decoded(event)[:, 32:], given.pixels[:, 32:])


def test_edits_in_json_do_the_same(client, server) -> None:
    url = "data:image/png;base64," + base64.b64encode(png(color="red")).decode()
    body = {"images": [{"image_url": url}], "prompt": "mix", "seed": 3}
    status, answer, _ = server.ask("POST", "/v1/images/edits", body)
    assert status == 200
    form = client.images.edit(image=png(color="red"), prompt="mix", extra_body={"seed": 3})
    assert answer["data"][0]["b64_json"] == form.data[0].b64_json


def test_errors_become_the_exceptions_of_the_client(client, server) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.generate(prompt="x", n=11)
    assert bad.value.body == {
        "message": "n: is 11; allowed: 1 ... 10",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_value",
    }
    assert bad.value.request_id.startswith("req_")
    with pytest.raises(openai.NotFoundError) as lost:
        client.images.generate(prompt="x", model="flux")
    assert lost.value.code == "model_not_found" and lost.value.param == "model"
    with pytest.raises(openai.BadRequestError) as blocked:
        client.images.generate(prompt="gore")
    assert blocked.value.code == "moderation_blocked"
    assert blocked.value.type == "image_generation_user_error"
    details = {"categories": ["violence/graphic"], "moderation_stage": "input"}
    assert blocked.value.body["moderation_details"] == details


def test_the_level_of_moderation_counts(client) -> None:
    with pytest.raises(openai.BadRequestError):
        client.images.generate(prompt="a fist")
    assert client.images.generate(prompt="a fist", moderation="low").data


def test_decisions_are_kept_by_who_asked(client, server) -> None:
    """Of the prompt and of the picture; names are digests, and `user` is the older name."""
    kept = []
    for more in ({}, {"user": "me"}, {"safety_identifier": "me"}, {"user": "you"}):
        before = len(server.engine.log)
        client.images.generate(prompt="x", **more)
        first, second = server.engine.log[before:]
        assert first == second and len(first) == 16 and "me" not in first
        kept.append(first)
    assert kept[1] == kept[2] and len(set(kept)) == 3


def test_nothing_leaves_that_the_policy_refuses() -> None:
    """Not as a picture, not as a preview; the answer says which stage refused it."""

    class Green(fakes.FakeEngine):
        pass

    engine = Green()
    green = lambda request: np.full((48, 64, 3), (0, 255, 0), np.uint8)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch, fakes.running(engine) as server:
        patch.setattr(fakes, "picture", green)
        status, answer, _ = server.ask("POST", "/v1/images/generations", {"prompt": "x"})
        assert status == 400 and answer["error"]["code"] == "moderation_blocked"
        assert answer["error"]["moderation_details"]["moderation_stage"] == "output"
        sent = {"prompt": "x", "stream": True, "partial_images": 2}
        status, answer, _ = server.ask("POST", "/v1/images/generations", sent)
        assert status == 200 and b"moderation_blocked" in answer and b"completed" not in answer


def test_what_the_model_meant_is_judged_too(client, monkeypatch) -> None:
    monkeypatch.setattr(sampler.Drawing, "explanation", property(lambda self: "some gore"))
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(prompt="x")
    assert refused.value.body["moderation_details"]["moderation_stage"] == "output"


def test_the_client_comes_again_when_it_is_told_to() -> None:
    engine = fakes.FakeEngine(queue=1)
    engine.is_open.clear()
    with fakes.running(engine) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as once:
            held = threading.Thread(target=lambda: once.images.generate(prompt="first"))
            held.start()
            while not engine.waiting:
                time.sleep(0.005)
            began = time.monotonic()
            with pytest.raises(openai.RateLimitError) as full:
                once.images.generate(prompt="second")
            assert time.monotonic() - began < 0.5
            assert full.value.response.headers["retry-after"] == "3"
            assert full.value.response.headers["retry-after-ms"] == "2500"
            assert full.value.code == "rate_limit_exceeded"
            threading.Timer(0.3, engine.is_open.set).start()
            patient = once.with_options(max_retries=2)
            assert patient.images.generate(prompt="third").data
            held.join()
        assert engine.statistics().refused == 2 and engine.statistics().drawn == 2


def test_all_or_none_of_n_pictures_take_places() -> None:
    engine = fakes.FakeEngine(queue=3)
    with fakes.running(engine) as server:
        sent = {"prompt": "x", "n": 4}
        assert server.ask("POST", "/v1/images/generations", sent)[0] == 429
        assert not engine.waiting and engine.statistics().cancelled == 3
        assert server.ask("POST", "/v1/images/generations", {"prompt": "x", "n": 3})[0] == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (fakes.contract.Late(), 504, "deadline_exceeded"),
        (fakes.contract.Stopped(), 503, "shutting_down"),
        (RuntimeError("secret NaN"), 500, "drawing_failed"),
        (KeyError("secret"), 500, "internal_error"),
    ],
)
def test_errors_of_the_engine_have_their_status(error, status, code, caplog) -> None:
    engine = fakes.FakeEngine()
    engine.error = error
    with fakes.running(engine) as server:
        found, answer, headers = server.ask("POST", "/v1/images/generations", {"prompt": "x"})
        assert (found, answer["error"]["code"]) == (status, code)
        assert answer["error"].keys() == {"message", "type", "param", "code"}
        assert "secret" not in json.dumps(answer) and headers["content-type"] == "application/json"
        sent = {"prompt": "x", "stream": True}
        found, answer, _ = server.ask("POST", "/v1/images/generations", sent)
        assert found == 200 and f'"code": "{code}"'.encode() in answer and b"secret" not in answer
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            with pytest.raises(openai.APIError) as raised:
                list(client.images.generate(prompt="x", stream=True))
            assert raised.value.code == code
    assert not engine.waiting


def test_a_stuck_engine_is_given_up_at_the_deadline() -> None:
    engine = fakes.FakeEngine()
    engine.is_open.clear()
    with fakes.running(engine, limits=fakes.Limits(deadline_s=0.5)) as server:
        began = time.monotonic()
        status, answer, _ = server.ask("POST", "/v1/images/generations", {"prompt": "x"})
        assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")
        assert 0.5 <= time.monotonic() - began < 1.0 and not engine.waiting
        engine.is_open.set()
        assert server.ask("POST", "/v1/images/generations", {"prompt": "x"})[0] == 200


def test_a_model_that_cannot_read_pictures_says_so_once(client) -> None:
    with fakes.running(fakes.FakeEngine(can_edit=False)) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as blind:
            with pytest.raises(openai.BadRequestError, match="not learnt to read pictures") as bad:
                blind.images.edit(image=bytes(3_000_000), prompt="x")
            assert (bad.value.code, bad.value.param) == ("edits_not_supported", "image")
            assert blind.images.generate(prompt="x").data


def test_models_are_listed(client) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("toy", "model", "omnigen")
    assert (model.native_size, model.can_edit, model.version) == ("64x48", True, "0123abcd")
    assert client.models.retrieve("toy").created == model.created
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../toy")


def test_what_is_signed_says_so() -> None:
    remembered: list = []
    provenance = fakes.dataclasses.replace(
        fakes.PROVENANCE,
        remember=lambda seen, record: remembered.append((seen, record)),
        find=lambda seen: {"model": "toy", "generated_at": "2026-01-01T00:00:00Z"},
    )
    with fakes.running(provenance=provenance) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            events = client.images.generate(prompt="x", stream=True, partial_images=1)
            files = [base64.b64decode(event.b64_json) for event in events]
            assert all(file.endswith(fakes.TAIL + b"0") for file in files) and len(files) == 2
            ((seen, record),) = remembered
            assert seen.shape == (48, 64, 3) and (record["model"], record["version"]) == (
                "toy", "0123abcd",
            )  # fmt: skip
            edited = client.images.edit(image=[("a.png", files[1])] * 2, prompt="x").data[0]
            assert base64.b64decode(edited.b64_json).endswith(fakes.TAIL + b"2")
            signed, looks = client.content_provenance_checks.create(file=files[1]).results
            assert (signed.type, signed.outcome, signed.validation_state, signed.issuer) == (
                "c2pa", "detected", "valid", "me",
            )  # fmt: skip
            assert (looks.type, looks.outcome) == ("perceptual_hash", "detected")
            bare = client.content_provenance_checks.create(file=png()).results[0]
            assert (bare.outcome, bare.validation_state) == ("not_detected", "not_present")
