# SPDX-License-Identifier: Apache-2.0
"""Reads what a picture says about where it is from, and whether that can be believed."""

import dataclasses
import datetime
import enum
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omnigen.safety.provenance import certificates, library

SOFTWARE = "omnigen"
MODEL, TURN = "omnigen_model", "omnigen_turn"  # parameters of our actions
_UNTRUSTED = "signingCredential.untrusted"
_MARK, _BEFORE = b"jumdc2pa", 12  # how all manifests of a file begin, and the bytes before that
_PADDING = re.compile(rb"cpad(?:\x58(.)|\x59(..))", re.DOTALL)  # bytes under the name "pad" (CBOR)
_NAMES = {  # of boxes, by the first bytes of their kind
    b"c2pa": (b"c2pa",),
    b"c2as": (b"c2pa.assertions",),
    b"c2cl": (b"c2pa.claim", b"c2pa.claim.v2"),
    b"c2cs": (b"c2pa.signature",),
}
_MOST_SEGMENT = 65_000  # bytes of a manifest that lie in one piece in a JPEG
_MOST_STORE = 1 << 23  # bytes of all manifests together, which others fill with thumbnails
_MOST_MARKS = 16  # one is right
_MOST_TEXT = 200  # characters of what a stranger wrote
_MOST_TURNS = 1 << 20


class State(enum.StrEnum):
    """Whether a picture says where it is from, and whether that holds."""

    TRUSTED = "trusted"
    VALID = "valid"
    INVALID = "invalid"
    NOT_PRESENT = "not_present"


@dataclasses.dataclass(frozen=True)
class Report:
    """What a picture says about itself. Anyone may have written the texts.

    Attributes:
        state: `TRUSTED` if it is as it was signed, by a certificate that an anchor vouches for;
            `VALID` if it is as it was signed, by whomever; `INVALID` if it or its manifest was
            changed, or the certificate does not hold; `NOT_PRESENT` if it says nothing.
        issuer: Organisation in the certificate of the signer.
        software: Program that made the picture, with its version.
        model: Model that drew it, or the program where no model is told.
        generated_at: When the signer says that it was made, with its time zone.
        action: What was done last, such as "created" or "edited".
        source: What it was made by, such as "trainedAlgorithmicMedia" (IPTC).
        turn: How many edits the signer counts; None for pictures that were not edited.
        earlier: Number of manifests of earlier pictures that it carries.
        issues: Codes of what is wrong, as in C2PA; those of an ingredient say so. That nobody
            vouches for the signer is not among them.
    """

    state: State
    issuer: str | None = None
    software: str | None = None
    model: str | None = None
    generated_at: datetime.datetime | None = None
    action: str | None = None
    source: str | None = None
    turn: int | None = None
    earlier: int = 0
    issues: tuple[str, ...] = ()

    @property
    def is_present(self) -> bool:
        """Whether there is a manifest, good or bad."""
        return self.state is not State.NOT_PRESENT


def check(data: bytes, mime: str, *, anchors: bytes | None = None) -> Report:
    """Reads and verifies the manifest of a picture.

    Nothing is fetched, and no pixel is decoded.

    Args:
        data: Bytes of a PNG, JPEG or WebP, from anyone; limit their number before.
        mime: Format of it, one of `library.MIMES`.
        anchors: Certificates in PEM, of signers or of those above them, that are trusted.

    Raises:
        MissingExtraError: If the extra is not installed.
        ValueError: If it is no picture of that format, or the anchors hold no certificate.
    """
    library.check_mime(data, mime)
    c2pa = library.c2pa()
    context = library.context(certificates.certificates(anchors, "anchors") if anchors else b"")
    if data.count(_MARK) > _MOST_MARKS or any(len(each) > _MOST_STORE for each in _stores(data)):
        return Report(State.INVALID, issues=("manifest.large",))
    try:
        with c2pa.Reader(mime, io.BytesIO(data), context=context) as reader:
            state, told = reader.get_validation_state(), json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Report(State.NOT_PRESENT)
    except (c2pa.C2paError, RecursionError, ValueError) as error:
        if str(error).startswith("Remote"):
            return Report(State.NOT_PRESENT, issues=("manifest.remote",))
        if _MARK in data:
            return Report(State.INVALID, issues=("manifest.unreadable",))
        return Report(State.NOT_PRESENT, issues=("picture.damaged",))
    report = _report(State(str(state).lower()), told)
    if report.state is not State.INVALID and not _is_blank(data, mime):
        return dataclasses.replace(report, state=State.INVALID, issues=("manifest.padding",))
    if report.state is not State.INVALID and not _is_sound(data, mime):
        return dataclasses.replace(report, state=State.INVALID, issues=("manifest.boxes",))
    return report


def _stores(data: bytes) -> Iterator[memoryview]:
    """Yields what may be all manifests of a file together; more than one is for C2PA to refuse."""
    start = data.find(_MARK, _BEFORE)
    while start >= 0:
        begin = start - _BEFORE
        yield memoryview(data)[begin : begin + int.from_bytes(data[begin : begin + 4])]
        start = data.find(_MARK, start + 1)


def _is_blank(data: bytes, mime: str) -> bool:
    """Returns whether the room that signatures leave is empty, as C2PA wants it.

    It is a quarter of a small file, no signature covers it, and c2pa-python does not look at it.
    Where other bytes may lie between, it is not looked at here either.
    """
    for store in _stores(data):
        if mime == library.JPEG and len(store) > _MOST_SEGMENT:
            continue
        for found in _PADDING.finditer(store):
            end = found.end()
            if any(store[end : end + int.from_bytes(found[1] or found[2])]):
                return False
    return True


def _is_sound(data: bytes, mime: str) -> bool:
    """Returns whether boxes fill each other exactly, and have the names that C2PA fixes.

    No signature covers their lengths and these names, and c2pa-python reads on where they are off.
    """
    for store in _stores(data):
        if mime == library.JPEG and len(store) > _MOST_SEGMENT:
            continue
        boxes = [store]  # no recursion: strangers choose the depth
        while boxes:
            box = boxes.pop()
            if int.from_bytes(box[:4]) != len(box):
                return False
            if box[4:8] != b"jumb":
                continue
            names = _NAMES.get(bytes(box[16:20]))  # kind; 33 bytes on is the name
            if names and bytes(box[33:64]).partition(b"\0")[0] not in names:
                return False
            start = 8
            while start < len(box):
                size = int.from_bytes(box[start : start + 4])
                if size < 8:
                    return False
                boxes.append(box[start : start + size])
                start += size
    return True


def _report(state: State, told: Mapping[str, Any]) -> Report:
    """Collects what a manifest says; whatever is of another type than it should be is left out."""
    manifests = _mapping(told.get("manifests"))
    active = _mapping(manifests.get(str(told.get("active_manifest"))))
    done = _last_action(active)
    agent = done.get("softwareAgent")
    agent = {"name": agent} if isinstance(agent, str) else _mapping(agent)
    generators = active.get("claim_generator_info")
    if not agent and isinstance(generators, list) and generators:
        agent = _mapping(generators[0])
    software = " ".join(filter(None, (_text(agent.get(key)) for key in ("name", "version"))))
    parameters, signature = _mapping(done.get("parameters")), _mapping(active.get("signature_info"))
    turn = parameters.get(TURN)
    return Report(
        state,
        _text(signature.get("issuer")) or _text(signature.get("common_name")),
        software or None,
        _text(parameters.get(MODEL)) or software or None,
        _time(signature.get("time")) or _time(done.get("when")),
        (_text(done.get("action")) or "").removeprefix("c2pa.") or None,
        (_text(done.get("digitalSourceType")) or "").rpartition("/")[2] or None,
        turn if type(turn) is int and 0 < turn < _MOST_TURNS else None,
        max(len(manifests) - 1, 0),
        tuple(dict.fromkeys(_issues(_mapping(told.get("validation_results"))))),
    )


def _last_action(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the last action that says what the picture was made by, or else the last one."""
    actions = [
        _mapping(action)
        for assertion in map(_mapping, _list(manifest.get("assertions")))
        if str(assertion.get("label")).startswith("c2pa.actions")
        for action in _list(_mapping(assertion.get("data")).get("actions"))
    ]
    sourced = [action for action in actions if "digitalSourceType" in action]
    return (sourced or actions or [{}])[-1]


def _issues(results: Mapping[str, Any]) -> Iterator[str]:
    for failure in map(_mapping, _list(_mapping(results.get("activeManifest")).get("failure"))):
        if failure.get("code") != _UNTRUSTED:
            yield _text(failure.get("code")) or "unknown"
    for delta in map(_mapping, _list(results.get("ingredientDeltas"))):
        for failure in map(_mapping, _list(_mapping(delta.get("validationDeltas")).get("failure"))):
            if failure.get("code") != _UNTRUSTED:
                yield f"ingredient: {_text(failure.get('code')) or 'unknown'}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value[:_MOST_TEXT] if isinstance(value, str) else None


def _time(value: object) -> datetime.datetime | None:
    """Returns a time that has a time zone."""
    try:
        time = datetime.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time and time.tzinfo else None
