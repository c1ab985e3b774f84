# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/serving.md, field by field: made by the official client against the server.

The client's own parameter lists say which fields there are, and its own types which values; what a
type does not list is in `TRIED`. A value is honoured if the server answers with a picture, and
refused if it answers 400 with the field as `param`; there is nothing else.
`python tests/serve/api/test_conformance.py` writes the tables anew.
"""

import base64
import io
import pathlib
import re
import typing
from collections.abc import Iterator
from typing import Any

import fakes
import pytest
from PIL import Image

from omnigen.serve.api import conversation
from omnigen.serve.api import parameters as ours

openai = pytest.importorskip("openai")
PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "serving.md"
CALLS = ("images.generate", "images.edit", "responses.create", "image_generation")
EXTENSIONS = ("seed", "guidance_scale", "temperature", "negative_prompt")


def _png(mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, fakes.NATIVE).save(file, "PNG")
    return file.getvalue()


URL = "data:image/png;base64," + base64.b64encode(_png("RGBA")).decode()
TOOL = {"type": "image_generation"}
# Values to try where types say no more than "a text"; those of a pair are shown as its first.
TRIED: dict[str, list[Any]] = {
    "prompt": ["a text", "", ("32 001 characters", "x" * 32_001)],
    "image": [("a file", _png()), ("16 files", [_png()] * 16), ("17 files", [_png()] * 17)],
    "mask": [("a file", _png("RGBA"))],
    "markup": [("a file", _png("RGBA"))],
    "model": ["gpt-image-2.6-sunburst", "gpt-image-1", "gpt-4o", "dall-e-3", "toy", "flux"],
    "n": [1, 10, 0, 11],
    "size": ["auto", "1024x1024", "1536x1024", "256x256", "3840x2160", "17x17", "64x1024"],
    "output_compression": [(f"{value} (jpeg)", value) for value in (0, 100, 101)],
    "partial_images": [("0", 0), ("3 (stream)", 3), ("4 (stream)", 4)],
    "frame_count": [2],
    "frame_duration_ms": [200],
    "svg": [("any", {"model": "x"})],
    "safety_identifier": ["a text"],
    "user": ["a text"],
    "stream": [False, True],
    "seed": [0, 2**32 - 1, 2**32],
    "guidance_scale": [0, 30, 31],
    "temperature": [0, 2, 2.1],
    "negative_prompt": ["", "a text"],
    # Of responses.create:
    "input": ["a text", ("a list", [{"role": "user", "content": "x"}]), ""],
    "tools": [("image_generation", [TOOL]), ("another", [{"type": "web_search"}])],
    "tool_choice": ["auto", "required", ("image_generation", TOOL), "none"],
    "metadata": [("any", {"a": "b"})],
    "store": [True, False],
    "previous_response_id": [("of a turn", "TURN"), ("another", "resp_no")],
    "parallel_tool_calls": [True, False],
    "max_tool_calls": [1],
    "truncation": ["auto", "disabled"],
    "background": [False, True],
    "include": [("none", []), ("any", ["reasoning.encrypted_content"])],
    "service_tier": ["auto", "default", "flex"],
    "top_p": [1, 0.5],
    "top_logprobs": [0, 1],
    "text": [("text", {"format": {"type": "text"}}), ("another", {"verbosity": "low"})],
    "stream_options": [("none", {}), ("any", {"include_obfuscation": True})],
    "instructions": ["a text"],
    "max_output_tokens": [100],
    "reasoning": [("any", {"effort": "low"})],
    "conversation": ["a text"],
    "prompt_cache_key": ["a text"],
    "prompt_cache_options": [("any", {"mode": "implicit"})],
    "prompt_cache_retention": ["24h"],
    "context_management": [("any", [{"type": "compaction"}])],
    "access_programs": [("any", {"cyber": "standard"})],
    "background_options": [("any", {"completion_window": "2h"})],
    "moderation": [("any", {"model": "omni-moderation-latest"})],
    # Of the tool:
    "input_image_mask": [("a data URL", {"image_url": URL}), ("a file ID", {"file_id": "f"})],
}
# The same name means something else there.
OWN = {
    ("responses.create", "prompt"): [("any", {"id": "x"})],
    ("responses.create", "image"): [("any", {"context_compression": "auto"})],
    ("image_generation", "type"): ["image_generation"],
}


def parameters(call: str) -> dict[str, Any]:
    """The client's fields of a call, each with its type."""
    from openai.types import image_edit_params, image_generate_params
    from openai.types.responses import response_create_params, tool_param

    streaming = {
        "images.generate": image_generate_params.ImageGenerateParamsStreaming,
        "images.edit": image_edit_params.ImageEditParamsStreaming,
        "responses.create": response_create_params.ResponseCreateParamsStreaming,
        "image_generation": tool_param.ImageGeneration,
    }[call]
    return typing.get_type_hints(streaming)


def literals(hint: Any) -> list[Any]:
    """The values that a type lists; empty if it lists none."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [value for each in typing.get_args(hint) for value in literals(each)]


def tried(call: str, name: str, hint: Any) -> list[tuple[str, Any]]:
    """Values to try, each with how it is shown."""
    values = OWN.get((call, name)) or (literals(hint) if call != "responses.create" else [])
    if name in ("model", "size", "stream") or not values:
        values = OWN.get((call, name)) or TRIED[name]
    pairs = [each if isinstance(each, tuple) else (each, each) for each in values]
    names = {True: "true", False: "false", "": "empty"}
    return [
        (names[shown] if shown == "" or isinstance(shown, bool) else str(shown), value)
        for shown, value in pairs
    ]


def ask(client: Any, call: str, name: str, shown: str, value: Any, turn: str) -> None:
    """Makes one call with one field of that value; raises what the client raises."""
    more: dict[str, Any] = {name: value}
    if name == "previous_response_id" and value == "TURN":
        more = {name: turn}
    if "jpeg" in shown:
        more["output_format"] = "jpeg"
    if name in EXTENSIONS and (call != "responses.create" or name != "temperature"):
        more = {"extra_body": more}
    is_stream = "stream" in shown or value is True and name == "stream" or name == "stream_options"
    if call == "images.generate":
        found = client.images.generate(**{"prompt": "x", "stream": is_stream, **more})
    elif call == "images.edit":
        base = {"prompt": "x", "image": _png(), "stream": is_stream}
        found = client.images.edit(**base | more)
    elif call == "responses.create":
        base = {"model": "gpt-4.1", "input": "x", "tools": [TOOL], "stream": is_stream}
        found = client.responses.create(**base | more)
    else:
        content = [
            {"type": "input_text", "text": "x"},
            {"type": "input_image", "image_url": URL, "detail": "auto"},
        ]
        said: Any = [{"role": "user", "content": content}]
        base = {"input": said, "tools": [{**TOOL, **more}], "stream": is_stream}
        found = client.responses.create(model="gpt-4.1", **base)
    if is_stream:
        assert list(found)[-1].type.endswith("completed")


def is_honoured(client: Any, call: str, name: str, shown: str, value: Any, turn: str) -> bool:
    """Whether the server does what is asked; False if it refuses it by name."""
    try:
        ask(client, call, name, shown, value, turn)
    except (openai.BadRequestError, openai.NotFoundError) as error:
        param = f"tools[0].{name}" if call == "image_generation" else name
        assert (error.param or "").startswith(param.removesuffix("[0].type")), (name, error.body)
        assert error.type == "invalid_request_error" and error.code
        return False
    return True


def rows(client: Any, call: str) -> Iterator[str]:
    """The lines of a table."""
    turn = client.responses.create(model="gpt-4.1", input="x", tools=[TOOL]).id
    hints = dict(sorted(parameters(call).items()))
    extensions = EXTENSIONS if call != "image_generation" else ()
    for name in [*hints, *(each for each in extensions if each not in hints)]:
        found: dict[bool, list[str]] = {True: [], False: []}
        for shown, value in tried(call, name, hints.get(name)):
            found[is_honoured(client, call, name, shown, value, turn)].append(shown)
        yield f"| `{name}` | {', '.join(found[True])} | {', '.join(found[False])} |"


def marks(call: str) -> tuple[str, str]:
    return f"<!-- {call} -->\n", f"<!-- end of {call} -->"


def table(client: Any, call: str) -> str:
    head = "| field | honoured | refused |\n|---|---|---|\n"
    return head + "".join(f"{line}\n" for line in rows(client, call))


@pytest.mark.parametrize("call", CALLS)
def test_the_page_says_what_the_server_does(client, call: str) -> None:
    first, last = marks(call)
    text = PAGE.read_text(encoding="utf-8")
    asked = re.search(r"openai (\d+\.\d+\.\d+)", text)
    assert asked and text.count(first) == 1
    if openai.__version__ != asked[1]:
        pytest.skip(f"openai {openai.__version__} is installed, the tables are of {asked[1]}")
    assert text.partition(first)[2].partition(last)[0] == table(client, call)


def test_the_lists_of_values_are_found() -> None:
    from openai.types import image_generate_params

    hints = typing.get_type_hints(image_generate_params.ImageGenerateParamsStreaming)
    assert literals(hints["background"]) == ["transparent", "opaque", "auto"]
    assert literals(hints["output_format"]) == ["png", "webp", "jpeg", "gif", "svg"]
    assert literals(hints["stream"]) == [True] and literals(hints["prompt"]) == []


@pytest.mark.parametrize("call", CALLS)
def test_every_field_of_the_client_is_known(call: str) -> None:
    """Whatever its version: none is refused as unknown."""
    limits = fakes.Limits()
    known = {
        "images.generate": ours.generation(limits),
        "images.edit": {*ours.edit(limits), "image", "mask"},
        "responses.create": conversation.table(limits),
        "image_generation": ours.TOOL,
    }
    assert not parameters(call).keys() - set(known[call])


def write() -> None:
    """Writes the tables anew."""
    text = PAGE.read_text(encoding="utf-8")
    with fakes.running() as server:
        url = f"{server.url}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            for call in CALLS:
                first, last = marks(call)
                before, _, rest = text.partition(first)
                text = before + first + table(client, call) + last + rest.partition(last)[2]
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
