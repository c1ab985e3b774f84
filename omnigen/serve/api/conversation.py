# SPDX-License-Identifier: Apache-2.0
"""What a request of the Responses API says: its words, its pictures, and the turns before it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from omnigen.serve.api import fields, parameters, pictures
from omnigen.serve.api.errors import ApiError, bad, shown
from omnigen.serve.api.fields import Table
from omnigen.serve.api.limits import Limits

MOST_ITEMS, MOST_HISTORY = 256, 32_000
_ROLES = ("user", "system", "developer", "assistant")


@dataclasses.dataclass(frozen=True)
class Turn:
    """An answer that is kept.

    Attributes:
        response: The answer, as it was sent.
        words: Words of all turns so far.
        drawn: The picture of this turn.
    """

    response: Mapping[str, Any]
    words: str
    drawn: pictures.Given


@dataclasses.dataclass(frozen=True)
class Said:
    """The input of a request.

    Attributes:
        prompt: Words of the newest message.
        before: Words of the messages before it.
        pictures: Files of its pictures, by name of their field.
        calls: IDs of earlier picture calls that it names.
    """

    prompt: str
    before: str
    pictures: Mapping[str, bytes]
    calls: tuple[str, ...]


def table(limits: Limits) -> Table:
    """Returns the fields of `/v1/responses`."""
    refused, fixed = fields.refused, fields.fixed
    same = "Accepted as it is; another value is refused."
    log = "Honoured: what the log of decisions knows the client by, as a hash."
    item = {"type": "array", "items": {"type": "object"}, "maxItems": MOST_ITEMS, "minItems": 1}
    return {
        "input": fields.anything(
            {"anyOf": [{"type": "string", "maxLength": limits.prompt, "pattern": r"\S"}, item]},
            "Honoured: texts, pictures as data URLs, and earlier picture calls.",
            is_required=True,
        ),
        "tools": fields.anything(
            {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "object"}},
            "Honoured: one tool, `image_generation`.",
            is_required=True,
        ),
        "tool_choice": fields.anything(
            {"anyOf": [{"enum": ["auto", "required"]}, {"type": "object"}]},
            "Honoured: `auto`, `required`, or the tool; the tool is used in any case.",
            default="auto",
        ),
        "model": fields.text(parameters.MOST_NAME, "Honoured, as for pictures.", least=1),
        "previous_response_id": fields.text(200, "Honoured.", least=1),
        "metadata": fields.anything(
            {"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string"}},
            "Honoured: the answer has it.",
        ),
        "store": fields.flag("Honoured.", default=True),
        "stream": fields.flag("Honoured."),
        "safety_identifier": fields.text(parameters.MOST_NAME, log),
        "user": fields.text(parameters.MOST_NAME, log),
        "parallel_tool_calls": fields.flag("Honoured: there is one call.", default=True),
        "truncation": fields.choice(
            ["auto", "disabled"], "Honoured: nothing is left out.", default="disabled"
        ),
        "max_tool_calls": fields.whole(1, 128, "Honoured: there is one call."),
        "background": fixed([False], same),
        "include": fixed([[]], same),
        "service_tier": fixed(["auto", "default"], same),
        "top_p": fixed([1, 1.0], same),
        "top_logprobs": fixed([0], same),
        "text": fixed([{"format": {"type": "text"}}], same),
        "stream_options": fixed([{"include_obfuscation": False}, {}], same),
        "instructions": refused("Refused: the model draws what the input says."),
        **{name: refused("Refused: nothing is written but pictures.") for name in _WRITING},
        **{name: refused("Refused: this server has no such thing.") for name in _OTHER},
        **parameters.EXTENSIONS,
    }


_WRITING = ("max_output_tokens", "reasoning", "prompt_cache_key", "prompt_cache_options")
_OTHER = ("prompt_cache_retention", "conversation", "prompt", "context_management", "image") + (
    *("access_programs", "background_options", "moderation"),
)


def tool(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of the one tool.

    Raises:
        ApiError: If there is another, none, or the choice forbids it.
    """
    tools = fields.listed(found["tools"], "tools", least=1, most=1)
    sent = fields.mapping(tools[0], "tools[0]")
    if sent.get("type") != "image_generation":
        kind = shown(sent.get("type"))
        raise bad("tools[0].type", f"is {kind}; allowed: image_generation", "unsupported_value")
    choice = found["tool_choice"]
    if isinstance(choice, dict):
        named = [choice]
        if choice.get("type") == "allowed_tools":
            named = fields.listed(choice.get("tools"), "tool_choice.tools", least=1, most=16)
        if {"type": "image_generation"} not in named:
            raise bad("tool_choice", "names no image_generation", "unsupported_value")
    elif choice not in ("auto", "required"):
        allowed = "auto, required, {'type': 'image_generation'}"
        raise bad("tool_choice", f"is {shown(choice)}; allowed: {allowed}", "unsupported_value")
    return fields.read(parameters.TOOL, sent, within="tools[0].")


def metadata(value: Any) -> dict[str, str]:
    """Returns what a client noted.

    Raises:
        ApiError: If it is no object of up to 16 short texts.
    """
    found = fields.mapping({} if value is None else value, "metadata")
    for key, text in found.items():
        if len(key) > 64 or not isinstance(text, str) or len(text) > 512:
            raise bad("metadata", "allowed: names of up to 64, texts of up to 512 characters")
    if len(found) > 16:
        raise bad("metadata", f"has {len(found)} entries; allowed: up to 16")
    return found


def said(value: Any, limits: Limits) -> Said:
    """Reads the input.

    Raises:
        ApiError: If it has something that is unknown, or no words.
    """
    prompt = fields.text(limits.prompt, "", is_required=True, least=1)
    if isinstance(value, str):
        return Said(prompt.read("input", value), "", {}, ())
    messages: list[str] = []
    files: dict[str, bytes] = {}
    calls: list[str] = []
    for i, item in enumerate(fields.listed(value, "input", least=1, most=MOST_ITEMS)):
        at = f"input[{i}]"
        item = fields.mapping(item, at)
        kind = item.get("type", "message")
        if kind in ("image_generation_call", "item_reference"):
            calls.append(prompt.read(f"{at}.id", item.get("id") or ""))
        elif kind == "message":
            texts = _message(item, at, limits, files)
            if item.get("role") != "assistant" and texts:
                messages.append(texts)
        else:
            allowed = "message, image_generation_call, item_reference"
            raise bad(f"{at}.type", f"is {shown(kind)}; allowed: {allowed}", "unsupported_value")
    if len(files) > limits.pictures:
        raise bad("input", f"has {len(files)} pictures; allowed: up to {limits.pictures}")
    newest = messages.pop() if messages else ""
    return Said(prompt.read("input", newest), "\n".join(messages), files, tuple(calls))


def _message(item: Mapping[str, Any], at: str, limits: Limits, files: dict[str, bytes]) -> str:
    """Returns the words of a message, and puts its pictures into `files`."""
    if item.get("role") not in _ROLES:
        role = shown(item.get("role"))
        raise bad(f"{at}.role", f"is {role}; allowed: {', '.join(_ROLES)}")
    content, text = item.get("content"), fields.text(limits.prompt, "")
    if isinstance(content, str):
        return text.read(f"{at}.content", content)
    texts = []
    for i, part in enumerate(fields.listed(content, f"{at}.content", least=0, most=MOST_ITEMS)):
        here = f"{at}.content[{i}]"
        part = fields.mapping(part, here)
        if part.get("type") in ("input_text", "output_text"):
            texts.append(text.read(f"{here}.text", part.get("text")))
        elif part.get("type") == "input_image":
            if part.get("file_id") is not None:
                raise bad(f"{here}.file_id", "this server keeps no files; use image_url")
            url = f"{here}.image_url"
            files[url] = pictures.from_text(url, part.get("image_url"), limits)
        else:
            allowed = "input_text, input_image"
            raise bad(f"{here}.type", f"is {shown(part.get('type'))}; allowed: {allowed}")
    return "\n".join(texts)


def lost(param: str, name: str) -> ApiError:
    """Returns the error of a turn that is not kept, or is another's."""
    message = f"{param}: there is no {shown(name)}, or no more"
    return ApiError(400, message, param=param, code="previous_response_not_found")
