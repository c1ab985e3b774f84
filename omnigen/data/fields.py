# SPDX-License-Identifier: Apache-2.0
"""What a row, or a file beside a picture, says about it: captions and attributes."""

import codecs
import json
from collections.abc import Mapping
from typing import Any

from omnigen.data.records import Reason, Rejected

CAPTION_COLUMNS = ("captions", "caption", "text", "prompt", "description", "label")
ATTRIBUTES = ("license", "attribution", "source")
COLUMNS = (*CAPTION_COLUMNS, *ATTRIBUTES, "attributes")  # of a table that are read
SIDECARS = (".txt", ".json")


def captions_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of the first caption column that has any, spaces normalised."""
    for name in CAPTION_COLUMNS:
        value = fields.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        captions = [" ".join(one.split()) for one in values if isinstance(one, str)]
        if any(captions):
            return tuple(caption for caption in captions if caption)
    return ()


def attributes_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """What is kept besides picture and captions."""
    kept = {name: fields[name] for name in ATTRIBUTES if fields.get(name)}
    if isinstance(fields.get("attributes"), Mapping):
        kept |= {name: value for name, value in fields["attributes"].items() if value is not None}
    return {name: str(value) for name, value in kept.items()}


def beside(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The fields that the files beside a picture give; a text goes before a JSON's captions.

    Args:
        files: contents by suffix, of `SIDECARS`.

    Raises:
        Rejected: a file is neither UTF-8 nor marked as UTF-16, or no JSON.
    """
    fields: dict[str, Any] = {}
    if ".json" in files:
        try:
            found = json.loads(decode(files[".json"]))
        except (ValueError, RecursionError) as error:
            raise Rejected(Reason.TEXT, f".json: {error}") from error
        fields = found if isinstance(found, dict) else {}
    caption = decode(files.get(".txt", b""))
    return {**fields, CAPTION_COLUMNS[0]: caption} if caption.strip() else fields


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 if it begins with a mark that says so.

    Raises:
        Rejected: it is neither.
    """
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Rejected(Reason.TEXT, f"{error}; allowed: UTF-8") from error
