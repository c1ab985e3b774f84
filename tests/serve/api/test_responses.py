# SPDX-License-Identifier: Apache-2.0
"""Turns of a conversation, by the official client."""

import base64
import io

import fakes
import numpy as np
import pytest
from PIL import Image

from omnigen.generation.sampler import Request
from omnigen.generation.spans import Picture

openai = pytest.importorskip("openai")
TOOL = {"type": "image_generation"}
RED = Picture(np.full((48, 64, 3), (255, 0, 0), np.uint8))


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def url(size=fakes.NATIVE, color="red", mode="RGB") -> str:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def create(client, text="a circle", seed=1, tool=None, **more):
    extra = {"seed": seed} if seed is not None else {}
    return client.responses.create(
        model="gpt-4.1", input=text, tools=[{**TOOL, **(tool or {})}], extra_body=extra, **more
    )


def test_a_turn_is_a_picture(client) -> None:
    found = create(client, metadata={"a": "b"}, tool_choice={"type": "image_generation"})
    (item,) = found.output
    assert (found.status, item.status, item.action) == ("completed", "completed", "generate")
    assert found.id.startswith("resp_") and item.id.startswith("ig_")
    assert found.metadata == {"a": "b"} and found.model == "toy"
    assert (item.size, item.quality, item.output_format) == ("64x48", "high", "png")
    np.testing.assert_array_equal(pixels(item.result), fakes.picture(Request("a circle", seed=1)))
    assert found.tool_usage.image_gen.total_tokens == found.usage.total_tokens == 59
    assert client.responses.retrieve(found.id).output[0].result == item.result


def test_events_come_in_the_order_that_the_client_wants(client) -> None:
    events = list(create(client, stream=True, tool={"partial_images": 2}))
    call = "response.image_generation_call"
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        f"{call}.in_progress",
        f"{call}.generating",
        f"{call}.partial_image",
        f"{call}.partial_image",
        f"{call}.completed",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert [event.partial_image_index for event in events[5:7]] == [0, 1]
    drawn = fakes.picture(Request("a circle", seed=1))
    np.testing.assert_array_equal(pixels(events[5].partial_image_b64), np.minimum(drawn, 50))
    np.testing.assert_array_equal(pixels(events[8].item.result), drawn)
    names = {event.item_id for event in events[3:8]}
    assert names == {events[2].item.id} == {events[9].response.output[0].id}
    assert events[2].item.result is None and events[2].item.status == "in_progress"
    assert {events[0].response.id, events[9].response.id} == {events[9].response.id}


def test_a_turn_goes_on_from_the_picture_before_it(client) -> None:
    first = create(client)
    second = create(client, "bluer", 2, previous_response_id=first.id)
    given = Picture(pixels(first.output[0].result))
    wanted = fakes.picture(Request([given, "bluer"], seed=2))
    np.testing.assert_array_equal(pixels(second.output[0].result), wanted)
    assert second.output[0].action == "edit" and second.previous_response_id == first.id
    branch = create(client, "bluer", 2, previous_response_id=first.id)
    assert branch.output[0].result == second.output[0].result
    third = create(client, "rounder", 3, previous_response_id=second.id)
    wanted = fakes.picture(Request([Picture(wanted), "rounder"], seed=3))
    np.testing.assert_array_equal(pixels(third.output[0].result), wanted)
    alone = create(client, "new", 4, {"action": "generate"}, previous_response_id=second.id)
    wanted = fakes.picture(Request("new", seed=4))
    np.testing.assert_array_equal(pixels(alone.output[0].result), wanted)


def test_a_call_can_be_named_as_input(client) -> None:
    first = create(client)
    named = {"type": "image_generation_call", "id": first.output[0].id}
    words = {"role": "user", "content": [{"type": "input_text", "text": "bluer"}]}
    second = create(client, [words, named], 2)
    given = Picture(pixels(first.output[0].result))
    wanted = fakes.picture(Request([given, "bluer"], seed=2))
    np.testing.assert_array_equal(pixels(second.output[0].result), wanted)


def test_pictures_of_the_input_are_edited(client) -> None:
    content = [
        {"type": "input_text", "text": "rounder"},
        {"type": "input_image", "image_url": url(), "detail": "auto"},
    ]
    found = create(client, [{"role": "user", "content": content}], 7)
    wanted = fakes.picture(Request([RED, "rounder"], seed=7))
    np.testing.assert_array_equal(pixels(found.output[0].result), wanted)
    mask = Image.new("RGBA", fakes.NATIVE, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 64, 16))
    file = io.BytesIO()
    mask.save(file, "PNG")
    text = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    tool = {"input_image_mask": {"image_url": text}}
    found = create(client, [{"role": "user", "content": content}], 7, tool)
    drawn = pixels(found.output[0].result)
    np.testing.assert_array_equal(drawn[:16], wanted[:16])
    np.testing.assert_array_equal(drawn[16:], RED.pixels[16:])


def test_the_tool_has_the_settings(client) -> None:
    tool = {"size": "512x512", "output_format": "webp", "output_compression": 50, "quality": "low"}
    (item,) = create(client, tool={**tool, "background": "opaque", "moderation": "low"}).output
    assert pixels(item.result).shape == (512, 512, 3)
    assert (item.size, item.output_format, item.quality) == ("512x512", "webp", "high")


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tool": {"size": "17x17"}}, "tools[0].size"),
        ({"tool": {"output_format": "gif"}}, "tools[0].output_format"),
        ({"tool": {"partial_images": 1}}, "tools[0].partial_images"),
        ({"tool": {"type": "web_search"}}, "tools[0].type"),
        ({"tool": {"action": "edit"}}, "tools[0].action"),
        ({"tool": {"input_image_mask": {"image_url": url()}}}, "tools[0].input_image_mask"),
        ({"tool": {"model": "flux"}}, "tools[0].model"),
        ({"tool_choice": "none"}, "tool_choice"),
        ({"previous_response_id": "resp_no"}, "previous_response_id"),
        ({"text": [{"type": "image_generation_call", "id": "ig_no"}]}, "input"),
        ({"text": []}, "input"),
        ({"text": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"text": [{"role": "user", "content": [{"type": "audio"}]}]}, "input[0].content[0].type"),
        (
            {"text": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"instructions": "be brief"}, "instructions"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"background": True}, "background"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
    ],
)
def test_what_is_refused_is_named(client, more, param) -> None:
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as raised:
        create(client, **more)
    assert raised.value.param == param


def test_what_was_not_to_be_stored_is_not(client) -> None:
    found = create(client, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(found.id)


def test_what_is_deleted_is_gone(client) -> None:
    found = create(client)
    client.responses.delete(found.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(found.id)
    with pytest.raises(openai.BadRequestError) as raised:
        create(client, "x", previous_response_id=found.id)
    assert raised.value.code == "previous_response_not_found"


def test_words_are_judged_with_those_of_earlier_turns(client) -> None:
    first = create(client, "a go")
    with pytest.raises(openai.BadRequestError) as raised:
        create(client, "gore", previous_response_id=first.id)
    assert raised.value.code == "moderation_blocked"


def test_what_is_refused_on_the_way_out_is_a_failed_call(client, monkeypatch) -> None:
    green = np.full((48, 64, 3), (0, 255, 0), np.uint8)
    monkeypatch.setattr(fakes, "picture", lambda request: green)
    events = list(create(client, stream=True))
    assert [event.type for event in events[-2:]] == ["response.output_item.done", "response.failed"]
    (item,) = events[-1].response.output
    assert (item.status, item.result, item.error.code) == ("failed", None, "moderation_blocked")
    assert item.error.moderation_details.categories == ["sexual"]
    assert item.error.moderation_details.moderation_stage == "output"
    assert events[-1].response.status == "failed"


def test_with_a_model_that_cannot_read_pictures_new_turns_are_refused() -> None:
    with fakes.running(fakes.FakeEngine(can_edit=False)) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as blind:
            first = create(blind)
            with pytest.raises(openai.BadRequestError, match="with action generate") as raised:
                create(blind, "bluer", previous_response_id=first.id)
            assert raised.value.code == "edits_not_supported"
            tool = {"action": "generate"}
            assert create(blind, "bluer", tool=tool, previous_response_id=first.id).output[0].result


def test_turns_are_forgotten_in_time() -> None:
    with fakes.running(limits=fakes.Limits(kept_s=0.3)) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            found = create(client)
            assert client.responses.retrieve(found.id)
            fakes.time.sleep(0.35)
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(found.id)
