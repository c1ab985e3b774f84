# SPDX-License-Identifier: Apache-2.0
"""What people think of pictures, kept as lines of JSON: preferences to train on afterwards.

A record holds no picture. Hashes, prompt, seeds and settings say which pictures are meant, and the
model can draw them again. It does hold the prompt, so that nothing is kept unless an operator
names a folder.

    POST /v1/feedback
    {"prompt": "a red circle", "model": "omnigen-nano", "best": 1,
     "pictures": [{"sha256": "…", "seed": 4}, {"sha256": "…", "seed": 5}]}

With `best` the picture of that index is better than all others that are listed. With `rating`,
"up", "down" or "none", one picture is judged alone; "none" takes an earlier rating back. Of several
records about the same pictures the last one counts. `given` may list the hashes of the pictures
that were read with the prompt, `settings` its guidance_scale and temperature.
"""

import json
import os
import pathlib
import re
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

NAME = "feedback.jsonl"
MOST_REQUEST_BYTES = 1 << 16
MOST_FILE_BYTES = 1 << 28
MOST_PICTURES = 10
MOST_GIVEN = 16
RATINGS = ("up", "down", "none")
_MOST_CHARACTERS = {"prompt": 32_000, "model": 200}
_MOST_SEED = 2**32 - 1
_SETTINGS = {"guidance_scale": (0, 30), "temperature": (0, 2)}


class InvalidError(ValueError):
    """Raised for a record that is not kept.

    Attributes:
        param: Name of the field that is wrong; None if it is the whole body.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class FullError(OSError):
    """Raised when the file has reached its largest size."""


class Feedback:
    """A file of records; threads and processes may add to it at once."""

    def __init__(self, folder: pathlib.Path, *, most_bytes: int = MOST_FILE_BYTES) -> None:
        """Opens the file, which only its owner can read.

        Args:
            folder: Folder that the file lies in, or will.
            most_bytes: Largest size of the file in bytes.

        Raises:
            OSError: If the folder or the file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._most, self._lock = folder / NAME, most_bytes, threading.Lock()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":  # a machine that stopped midway
            os.write(self._file, b"\n")

    def add(self, body: bytes) -> dict[str, Any]:
        """Checks the body of a request, and appends its record, which it returns.

        Raises:
            InvalidError: If a field is missing, unknown or out of range; the message says so.
            FullError: If the file is full.
        """
        return self._append({"time": round(time.time(), 3), **record(body)})

    def _append(self, found: dict[str, Any]) -> dict[str, Any]:
        line = (json.dumps(found, ensure_ascii=False) + "\n").encode()
        with self._lock:
            if os.fstat(self._file).st_size + len(line) > self._most:
                raise FullError(f"{self.path} has reached {self._most} bytes")
            written = os.write(self._file, line)  # one call, so that lines stay whole
        if written < len(line):
            raise FullError(f"{self.path}: the disk is full")
        return found

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def record(body: bytes) -> dict[str, Any]:
    """Returns what a request says, with its fields in a fixed order.

    Raises:
        InvalidError: If a field is missing, unknown or out of range; the message says so.
    """
    try:
        given = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise InvalidError("the body is not JSON in UTF-8") from None
    allowed = ("prompt", "model", "pictures", "given", "settings", "rating", "best")
    given = _object(given, None, allowed)
    found: dict[str, Any] = {name: _text(given, name) for name in _MOST_CHARACTERS}
    listed = given.get("pictures")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_PICTURES:
        raise InvalidError(f"pictures must be a list of 1 ... {MOST_PICTURES}", "pictures")
    found["pictures"] = [_picture(each, f"pictures[{i}]") for i, each in enumerate(listed)]
    if len({each["sha256"] for each in found["pictures"]}) < len(listed):
        raise InvalidError("pictures has the same picture twice", "pictures")
    hashes = given.get("given", [])
    if not isinstance(hashes, list) or len(hashes) > MOST_GIVEN:
        raise InvalidError(f"given must be a list of up to {MOST_GIVEN}", "given")
    found["given"] = [_hash(each, f"given[{i}]") for i, each in enumerate(hashes)]
    settings = _object(given.get("settings", {}), "settings", tuple(_SETTINGS))
    limits = {name: _SETTINGS[name] for name in settings}
    found["settings"] = {
        name: _number(settings[name], f"settings.{name}", *limit) for name, limit in limits.items()
    }
    return found | _choice(given, len(listed))


def _choice(given: Mapping[str, Any], count: int) -> dict[str, Any]:
    if ("rating" in given) == ("best" in given):
        raise InvalidError("the body needs either rating or best", "rating")
    if "best" in given:
        if count < 2:
            raise InvalidError("best needs at least 2 pictures", "best")
        return {"best": _number(given["best"], "best", 0, count - 1, whole=True)}
    if given["rating"] not in RATINGS:
        value = str(given["rating"])[:40]
        raise InvalidError(f"rating is {value!r}; allowed: {', '.join(RATINGS)}", "rating")
    if count != 1:
        raise InvalidError(f"rating is of 1 picture, not of {count}", "rating")
    return {"rating": given["rating"]}


def _picture(value: Any, name: str) -> dict[str, Any]:
    given = _object(value, name, ("sha256", "seed"))
    sha256 = _hash(given.get("sha256"), f"{name}.sha256")
    seed = _number(given.get("seed"), f"{name}.seed", 0, _MOST_SEED, whole=True)
    return {"sha256": sha256, "seed": seed}


def _hash(value: Any, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise InvalidError(f"{name} must be 64 hexadecimal digits", name)
    return value


def _object(value: Any, name: str | None, allowed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidError(f"{name or 'the body'} must be an object", name)
    if unknown := sorted(value.keys() - set(allowed)):
        first = ascii(unknown[0][:40])[1:-1]
        full = f"{name}.{first}" if name else first
        raise InvalidError(f"{full} is unknown; allowed: {', '.join(allowed)}", full)
    return value


def _text(given: Mapping[str, Any], name: str) -> str:
    value, most = given.get(name), _MOST_CHARACTERS[name]
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise InvalidError(f"{name} must be a text of 1 ... {most} characters", name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidError(f"{name} is not valid Unicode", name) from None
    return value


def _number(value: Any, name: str, least: int, most: int, *, whole: bool = False) -> int | float:
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # NaN is refused, too
        kind = "a whole number" if whole else "a number"
        raise InvalidError(f"{name} must be {kind} in {least} ... {most}", name)
    return value


def routes(feedback: Feedback | None) -> "list[Route]":
    """Returns the route that takes feedback; without a file it answers 404.

    Args:
        feedback: File to keep records in; None if the operator named no folder.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    def refuse(status: int, message: str, code: str, param: str | None = None) -> "Response":
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": param, "code": code}
        return JSONResponse({"error": error}, status)

    async def post(request: "Request") -> "Response":
        if feedback is None:
            return refuse(404, "This server keeps no feedback.", "feedback_off")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_REQUEST_BYTES:
                message = f"The body has more than {MOST_REQUEST_BYTES} bytes."
                return refuse(413, message, "request_too_large")
        try:
            found = await run_in_threadpool(feedback.add, body)
        except InvalidError as error:
            return refuse(400, str(error), "invalid_feedback", error.param)
        except OSError:
            return refuse(507, "The server has no room for more feedback.", "feedback_full")
        return JSONResponse({"object": "feedback", "created": int(found["time"])}, 201)

    return [Route("/v1/feedback", post, methods=["POST"])]
