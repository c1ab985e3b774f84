# SPDX-License-Identifier: Apache-2.0
"""Moderations, the routes of Stable Diffusion's web UIs, metrics, and the OpenAPI document."""

import base64
import io
import json
import threading
import time

import fakes
import jsonschema
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from omnigen.generation.sampler import Request
from omnigen.generation.spans import Picture
from omnigen.serve.api import moderations

openai = pytest.importorskip("openai")


def url(color="red", size=fakes.NATIVE, mode="RGB") -> str:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def test_each_text_has_a_result(client) -> None:
    found = client.moderations.create(input=["a cat", "gore"], model="omni-moderation-latest")
    assert found.model == "toy-1" and found.id.startswith("modr-")
    assert [result.flagged for result in found.results] == [False, True]
    good, bad = found.results
    assert bad.categories.violence_graphic and not bad.categories.hate
    assert (good.category_scores.violence_graphic, bad.category_scores.violence_graphic) == (
        0.1, 0.9,
    )  # fmt: skip
    names = {name: value for name, value in bad.categories.to_dict().items()}
    assert names.keys() == moderations.CATEGORIES.keys() and len(names) == 13


def test_parts_of_a_message_have_one_result(client) -> None:
    parts = [
        {"type": "text", "text": "a cat"},
        {"type": "image_url", "image_url": {"url": url((0, 255, 0))}},
    ]
    (result,) = client.moderations.create(input=parts).results
    assert result.flagged and result.categories.sexual and not result.categories.violence_graphic
    assert result.category_applied_input_types.sexual == ["text", "image"]
    assert result.category_applied_input_types.hate == ["text"]
    (result,) = client.moderations.create(input=[parts[0]]).results
    assert not result.flagged


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["x"] * 33}, "input"),
        ({"input": ["x", 3]}, "input[1]"),
        ({"input": [{"type": "audio"}]}, "input[0].type"),
        ({"input": [{"type": "text"}]}, "input[0].text"),
        (
            {"input": [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]},
            "input[0].image_url.url",
        ),
        ({"input": "x", "model": "gpt-4"}, "model"),
        ({"input": "x", "level": "low"}, "level"),
    ],
)
def test_odd_inputs_of_moderations_are_named(server, sent, param) -> None:
    status, answer, _ = server.ask("POST", "/v1/moderations", sent)
    assert (status, answer["error"]["param"]) == (400, param)


def test_front_ends_of_stable_diffusion_get_their_pictures(server) -> None:
    sent = {
        "prompt": "a cat", "negative_prompt": "", "steps": 20, "cfg_scale": 2.5, "seed": 7,
        "batch_size": 2, "width": 128, "height": 96, "sampler_name": "Euler a",
    }  # fmt: skip
    status, answer, _ = server.ask("POST", "/sdapi/v1/txt2img", sent)
    info = json.loads(answer["info"])
    assert status == 200 and info["all_seeds"] == [7, 8]
    assert info["ignored"] == ["sampler_name", "steps"]
    assert answer["parameters"]["cfg_scale"] == 2.5
    for seed, text in zip((7, 8), answer["images"], strict=True):
        assert pixels(text).shape == (96, 128, 3)
        small = pixels(text)[1::2, 1::2].astype(int)
        assert abs(small - fakes.picture(Request("a cat", seed=seed, guidance=2.5))).mean() < 12
    status, answer, _ = server.ask("POST", "/sdapi/v1/txt2img", {"prompt": "a cat", "seed": -1})
    assert status == 200 and pixels(answer["images"][0]).shape == (48, 64, 3)


def test_they_edit_with_masks_that_are_white(server) -> None:
    mask = Image.new("L", fakes.NATIVE, 0)
    mask.paste(255, (0, 0, 32, 48))
    file = io.BytesIO()
    mask.save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    sent = {"prompt": "x", "seed": 3, "init_images": [url()], "mask": text}
    status, answer, _ = server.ask("POST", "/sdapi/v1/img2img", sent)
    given = Picture(np.full((48, 64, 3), (255, 0, 0), np.uint8))
    wanted = fakes.picture(Request([given, "x"], seed=3))
    assert status == 200
    np.testing.assert_array_equal(pixels(answer["images"][0])[:, :32], wanted[:, :32])
    np.testing.assert_array_equal(pixels(answer["images"][0])[:, 32:], given.pixels[:, 32:])


@pytest.mark.parametrize(
    ("path", "sent", "param"),
    [
        ("txt2img", {"prompt": "x", "width": 17}, "width"),
        ("txt2img", {"prompt": "x", "batch_size": 11}, "batch_size"),
        ("txt2img", {"prompt": "x", "n_iter": 2}, "n_iter"),
        ("txt2img", {"prompt": "x", "negative_prompt": "blur"}, "negative_prompt"),
        ("txt2img", {"steps": 3}, "prompt"),
        ("img2img", {"prompt": "x"}, "init_images"),
        ("img2img", {"prompt": "x", "init_images": ["http://x"]}, "init_images[0]"),
        ("options", {"sd_model_checkpoint": "other"}, "sd_model_checkpoint"),
        ("options", {"samples_save": True}, "samples_save"),
    ],
)
def test_what_they_cannot_have_is_named(server, path, sent, param) -> None:
    status, answer, _ = server.ask("POST", f"/sdapi/v1/{path}", sent)
    assert (status, answer["error"]["param"]) == (400, param)


def test_they_see_the_model_and_how_far_it_is() -> None:
    engine = fakes.FakeEngine(seconds=1.2)
    with fakes.running(engine) as server:
        assert server.ask("GET", "/sdapi/v1/options")[1] == {"sd_model_checkpoint": "toy"}
        sent = {"sd_model_checkpoint": "toy"}
        assert server.ask("POST", "/sdapi/v1/options", sent)[:2] == (200, {})
        (model,) = server.ask("GET", "/sdapi/v1/sd-models")[1]
        assert (model["title"], model["hash"]) == ("toy", "0123abcd")
        assert server.ask("GET", "/sdapi/v1/samplers")[1][0]["name"] == "flow"
        thread = threading.Thread(
            target=lambda: server.ask("POST", "/sdapi/v1/txt2img", {"prompt": "x", "seed": 1})
        )
        thread.start()
        seen = []
        while thread.is_alive():
            seen.append(server.ask("GET", "/sdapi/v1/progress")[1])
            time.sleep(0.02)
        thread.join()
        shares = [each["progress"] for each in seen]
        assert {0.25, 0.5, 0.75} <= set(shares)
        previews = [each["current_image"] for each in seen if each["current_image"]]
        wanted = np.minimum(fakes.picture(Request("x", seed=1)), 50)
        np.testing.assert_array_equal(pixels(previews[0]), wanted)
        assert server.ask("GET", "/sdapi/v1/progress")[1]["progress"] == 0.0


def test_metrics_count_what_happens() -> None:
    engine = fakes.FakeEngine()
    with fakes.running(engine) as server:
        server.ask("POST", "/v1/images/generations", {"prompt": "x", "n": 3})
        server.ask("POST", "/v1/images/generations", {"prompt": "x", "n": 30})
        server.ask("GET", "/v1/images/files/secret.png")
        server.ask("GET", "/secret")
        server.ask("BREW", "/health")
        text = server.ask("GET", "/metrics")[1].decode()
    families = {each.name: each.samples for each in text_string_to_metric_families(text)}
    path = "/v1/images/generations"
    requests = {tuple(s.labels.values()): s.value for s in families["omnigen_requests"]}
    known = {frozenset(labels): value for labels, value in requests.items()}
    assert known[frozenset(("POST", path, "200"))] == 1
    assert known[frozenset(("POST", path, "400"))] == 1
    assert known[frozenset(("GET", "/v1/images/files/{name}", "404"))] == 1
    assert known[frozenset(("GET", "other", "404"))] == 1
    assert known[frozenset(("other", "/health", "405"))] == 1
    assert families["omnigen_engine_drawn"][0].value == 3
    assert families["omnigen_engine_room"][0].value == 16
    assert "secret" not in text and "process_resident_memory_bytes" in text


def operations(document: dict):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_document_has_every_route_and_no_other(server) -> None:
    document = server.ask("GET", "/openapi.json")[1]
    told = {(method, path) for method, path, _ in operations(document)}
    routes = {
        (method, route.path) for route in server.app.routes for method in route.methods - {"HEAD"}
    }
    assert routes - told == {("GET", "/metrics"), ("GET", "/v1/images/files/{name}")}
    assert not told - routes
    for _, _, operation in operations(document):
        for answer in operation["responses"].values():
            for content in answer["content"].values():
                jsonschema.Draft202012Validator.check_schema(content["schema"])
        if "requestBody" in operation:
            ((_, content),) = operation["requestBody"]["content"].items()
            jsonschema.Draft202012Validator.check_schema(content["schema"])


def schema(server, path: str, status: str | None = None) -> dict:
    operation = server.ask("GET", "/openapi.json")[1]["paths"][path]["post"]
    found = operation["responses"][status] if status else operation["requestBody"]
    return found["content"]["application/json"]["schema"]


def test_answers_are_as_the_document_says(server) -> None:
    path = "/v1/images/generations"
    answer = server.ask("POST", path, {"prompt": "x"})[1]
    jsonschema.validate(answer, schema(server, path, "200"))
    error = server.ask("POST", path, {"prompt": ""})[1]
    jsonschema.validate(error, schema(server, path, "400"))
    path, sent = "/v1/responses", {"input": "x", "tools": [{"type": "image_generation"}]}
    jsonschema.validate(server.ask("POST", path, sent)[1], schema(server, path, "200"))


@pytest.mark.parametrize(
    "sent",
    [
        {"prompt": "x"},
        {"prompt": "x", "n": 2.0, "size": "64x48", "stream": None, "svg": None},
        {"prompt": "x", "n": 0},
        {"prompt": "x", "style": "vivid"},
        {"prompt": " "},
        {"prompt": "x", "steps": 3},
        {"prompt": "x", "seed": "1"},
        {"n": 1},
    ],
)
def test_the_document_and_the_server_agree_on_requests(server, sent) -> None:
    path = "/v1/images/generations"
    found = jsonschema.Draft202012Validator(schema(server, path)).is_valid(sent)
    assert (server.ask("POST", path, sent)[0] == 200) == found
