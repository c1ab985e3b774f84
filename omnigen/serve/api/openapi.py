# SPDX-License-Identifier: Apache-2.0
"""`/openapi.json`: what this server takes and answers, made from the tables that it reads by."""

from collections.abc import Mapping
from typing import Any

import omnigen
from omnigen.serve.api import conversation, moderations, parameters, sdapi
from omnigen.serve.api.fields import Table
from omnigen.serve.api.limits import Limits

_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}
_DETAILS = {
    "type": "object",
    "properties": {"text_tokens": _WHOLE, "image_tokens": _WHOLE},
    "required": ["text_tokens", "image_tokens"],
}
_USAGE = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), _WHOLE),
        **dict.fromkeys(("input_tokens_details", "output_tokens_details"), _DETAILS),
    },
    "required": ["input_tokens", "output_tokens", "total_tokens", "input_tokens_details"],
}
_IMAGES = {
    "type": "object",
    "properties": {
        "created": _WHOLE,
        "data": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"b64_json": _TEXT, "url": _TEXT, "seed": _WHOLE},
                "required": ["seed"],
            },
        },
        **dict.fromkeys(("background", "output_format", "quality", "size", "drawn_size"), _TEXT),
        "usage": _USAGE,
    },
    "required": ["created", "data", "size", "drawn_size", "usage"],
}
_RESPONSE = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "object": {"const": "response"},
        "status": {"enum": ["completed", "failed"]},
        "output": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["id", "object", "status", "output", "tools", "tool_choice"],
}
_ANY = {"type": "object"}
_CHECK = {
    "type": "object",
    "properties": {
        "object": {"const": "content_provenance_check"},
        "created_at": _WHOLE,
        "results": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["object", "created_at", "results"],
}
_MODERATION = {
    "type": "object",
    "properties": {"id": _TEXT, "model": _TEXT, "results": {"type": "array", "minItems": 1}},
    "required": ["id", "model", "results"],
}
_ERRORS = ("400", "401", "403", "404", "405", "408", "413", "415", "429", "500", "503", "504")

_LIMITED = {
    f"X-RateLimit-{what}-{unit}": {"description": "If there is such a limit", "schema": _TEXT}
    for unit in ("Requests", "Images")
    for what in ("Limit", "Remaining", "Reset")
}


def _object(table: Table, **more: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema of a table; null is as if a field were not sent."""
    properties, required = {}, []
    for name, field in table.items():
        schema = dict(field.schema)
        if field.is_required:
            required.append(name)
        elif schema.get("type") != "null":
            schema = {"anyOf": [schema, {"type": "null"}]}
        properties[name] = schema | {"description": field.about}
    return {
        "type": "object",
        "properties": properties | {name: dict(value) for name, value in more.items()},
        "required": required,
        "additionalProperties": False,
    }


def _body(schema: Mapping[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": dict(schema)}}}


def _answers(schema: Mapping[str, Any], *, media_type: str = "application/json") -> dict[str, Any]:
    good = {"description": "Done", "content": {media_type: {"schema": dict(schema)}}}
    if "usage" in schema.get("properties", {}) or schema is _RESPONSE:
        good["content"]["text/event-stream"] = {"schema": _TEXT}
    error = {"description": "Refused", "content": {"application/json": {"schema": _ERROR}}}
    good["headers"] = _LIMITED
    full = error | {"headers": {"Retry-After": {"schema": _TEXT}, **_LIMITED}}
    return {"200": good, **dict.fromkeys(_ERRORS, error), "429": full}


def _operation(name: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "responses": _answers(schema), **more}


def _named(name: str = "name") -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {**_TEXT, "minLength": 1}}]


def document(limits: Limits) -> dict[str, Any]:
    """Returns the OpenAPI document, version 3.1.

    Args:
        limits: Bounds that are in it.
    """
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    images = {"image": {"type": "array", "items": binary, "minItems": 1}, "mask": binary}
    form = _object(parameters.edit(limits), **images)
    form["required"] = ["image", "prompt"]
    text, image = (_object(sdapi.table(limits.prompt, is_edit=x)) for x in (False, True))
    for each in (text, image):
        each["additionalProperties"] = True
    post = {
        "/v1/images/generations": ("generate", _object(parameters.generation(limits)), _IMAGES),
        "/v1/responses": ("respond", _object(conversation.table(limits)), _RESPONSE),
        "/v1/moderations": ("moderate", _object(moderations.table(limits)), _MODERATION),
        "/sdapi/v1/txt2img": ("txt2img", text, _ANY),
        "/sdapi/v1/img2img": ("img2img", image, _ANY),
    }
    get = {
        "/v1/models": ("models", _ANY),
        "/health": ("health", _ANY),
        "/ready": ("ready", _ANY),
        "/openapi.json": ("openapi", _ANY),
        "/sdapi/v1/sd-models": ("sd_models", {"type": "array"}),
        "/sdapi/v1/samplers": ("sd_samplers", {"type": "array"}),
        "/sdapi/v1/progress": ("sd_progress", _ANY),
    }
    check = _object({}, file=binary) | {"required": ["file"]}
    multipart = "multipart/form-data"
    options = {"type": "object", "additionalProperties": False}
    options["properties"] = {"sd_model_checkpoint": _TEXT}
    turn = "/v1/responses/{name}"
    paths: dict[str, Any] = {
        **{p: {"post": _operation(n, s, requestBody=_body(b))} for p, (n, b, s) in post.items()},
        **{p: {"get": _operation(n, s)} for p, (n, s) in get.items()},
        "/v1/images/edits": {
            "post": _operation("edit", _IMAGES, requestBody=_body(form, multipart))
        },
        "/v1/content_provenance_checks": {
            "post": _operation("check", _CHECK, requestBody=_body(check, multipart))
        },
        "/v1/models/{name}": {"get": _operation("model", _ANY, parameters=_named())},
        turn: {
            "get": _operation("response", _RESPONSE, parameters=_named()),
            "delete": _operation("forget", _ANY, parameters=_named()),
        },
        "/sdapi/v1/options": {
            "get": _operation("sd_options", _ANY),
            "post": _operation("sd_set_options", _ANY, requestBody=_body(options)),
        },
    }
    about = {"title": "omnigen", "version": omnigen.__version__}
    scheme = {"type": "http", "scheme": "bearer"}
    components = {"securitySchemes": {"key": scheme}}
    return {"openapi": "3.1.0", "info": about, "paths": paths, "components": components}
