# SPDX-License-Identifier: Apache-2.0
"""What a row, or a file beside a picture, says about it: captions, attributes, its split."""

import codecs
import json
from collections.abc import Iterable, Mapping
from typing import Any

from omnigen.data.corpus import names
from omnigen.data.corpus.records import Raw, Reason, Rejected

CAPTION_COLUMNS = (
    "captions",
    "caption",
    "text",
    "prompt",
    "description",
    "txt",
    "sentences",
    "sentence",
    "alt_text",
    "title",
    "label",
)
IMAGE_COLUMNS = (
    "file_name",
    "image_path",
    "image",
    "path",
    "file",
    "filename",
    "img",
    "jpg",
    "jpeg",
    "png",
    "webp",
)
ATTRIBUTES = ("license", "attribution", "source")
COLUMNS = (*CAPTION_COLUMNS, *ATTRIBUTES, "attributes", "split", "json")  # of a table that are read
_MOST_NAMED = 12  # columns or files in a message


def normalised(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the fields of a row, by names in small letters without spaces around them."""
    fields: dict[str, Any] = {}
    for name, value in row.items():
        fields.setdefault(str(name).strip().lower(), value)
    return fields


def captions_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the texts of the first caption column that has any, spaces normalised."""
    for name in CAPTION_COLUMNS:
        value = fields.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        texts = [
            one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in values
        ]
        captions = [" ".join(one.split()) for one in texts if isinstance(one, str)]
        if any(captions):
            return tuple(caption for caption in captions if caption)
    return ()


def _text(value: Any) -> str:
    """Returns a caption, decoded if it is bytes; nothing if it is no text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def attributes_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Returns what is kept besides picture and captions."""
    kept = {name: fields[name] for name in ATTRIBUTES if fields.get(name)}
    if isinstance(fields.get("attributes"), Mapping):
        kept |= {name: value for name, value in fields["attributes"].items() if value is not None}
    return {name: str(value) for name, value in kept.items()}


def split_of(fields: Mapping[str, Any]) -> str:
    """Returns the split that a column or attribute names; see `names.split_named`."""
    beside = fields.get("attributes")
    value = fields.get("split") or (beside.get("split") if isinstance(beside, Mapping) else None)
    return names.split_named(value) if isinstance(value, str) else ""


def raw(
    key: str,
    image: bytes | Rejected,
    said: Iterable[Mapping[str, Any]],
    *,
    split: str = "",
    note: str = "",
) -> Raw:
    """Returns a picture with everything that is said about it.

    Args:
        key: Key of the picture.
        image: Bytes of its file, or why there are none.
        said: The fields of one row, or of several about the same picture: their captions are
            joined, each attribute is that of the first row which has it, and if one is for the test
            all are.
        split: Split if the fields name none.
        note: Where a user may look if there are no captions.
    """
    rows = list(said)
    captions = tuple(dict.fromkeys(caption for row in rows for caption in captions_of(row)))
    splits = {named for row in rows if (named := split_of(row))}
    attributes: dict[str, str] = {}
    for row in rows:
        attributes = {**attributes_of(row), **attributes}
    chosen = max(splits, key=lambda one: one == "test") if splits else split
    return Raw(key, image, captions, attributes, chosen, "" if captions else note)


def named(things: str, found: Iterable[str]) -> str:
    """Returns a note about what was found in place of captions."""
    every = sorted(found)
    more = f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else ""
    shown = ", ".join(every[:_MOST_NAMED]) or "none"
    return f"{things}: {shown}{more}; captions are read from {', '.join(CAPTION_COLUMNS)}"


def beside(texts: Mapping[str, bytes]) -> dict[str, Any]:
    """Returns the fields in the files beside a picture; a text precedes a JSON's captions.

    Args:
        texts: Contents by kind, `names.TEXTS[0]` or `names.JSON`.

    Raises:
        Rejected: If a file is neither UTF-8 nor marked as UTF-16, or is no JSON.
    """
    fields: dict[str, Any] = {}
    if names.JSON in texts:
        try:
            found = json.loads(decode(texts[names.JSON]))
        except (ValueError, RecursionError) as error:
            raise Rejected(Reason.TEXT, f".json: {error}") from error
        fields = normalised(found) if isinstance(found, dict) else {}
    caption = decode(texts.get(names.TEXTS[0], b""))
    return {**fields, CAPTION_COLUMNS[0]: caption} if caption.strip() else fields


def decode(data: bytes) -> str:
    """Returns the text of a file: UTF-8, or UTF-16 if it begins with a mark that says so.

    Raises:
        Rejected: If the text is neither.
    """
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Rejected(Reason.TEXT, f"{error}; allowed: UTF-8") from error
