# SPDX-License-Identifier: Apache-2.0
"""What a client is told when something is wrong: one body with four keys, whatever it is."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from omnigen import cli

REQUEST, SERVER, BLOCKED = "invalid_request_error", "server_error", "image_generation_user_error"
LIMIT = "rate_limit_error"


class ApiError(Exception):
    """Raised for what is answered with an error.

    Attributes:
        status: HTTP status.
        headers: Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps what is said.

        Args:
            status: HTTP status.
            message: What is wrong, for people.
            param: Name of the field that is wrong, if it is one.
            code: What is wrong, for programs.
            kind: Type of the error; follows from the status if None.
            headers: Headers of the answer.
            more: Further keys of the body.
        """
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        kind = kind or (REQUEST if status < 500 else SERVER)
        self._error = {"message": message, "type": kind, "param": param, "code": code}
        self._error |= more or {}

    @property
    def error(self) -> dict[str, Any]:
        """The error alone, as it stands in events of a stream."""
        return self._error

    @property
    def body(self) -> bytes:
        """The body of the answer."""
        return json.dumps({"error": self._error}).encode()


def bad(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """Returns the error of a field that is wrong; its name begins the message."""
    return ApiError(400, f"{param}: {message}" if param else message, param=param, code=code)


def shown(value: Any) -> str:
    """Returns a value of a stranger, short and safe to print."""
    text = value if isinstance(value, str) else repr(value)[:200]
    quoted = repr(str(text[:80])) if isinstance(value, str) else text
    return cli.printable(quoted, most=84)


def blocked(categories: Sequence[str], stage: str) -> ApiError:
    """Returns the error of what the safety policy refuses.

    Args:
        categories: Categories of the policy.
        stage: "input" or "output": what was judged.
    """
    what = "request" if stage == "input" else "picture"
    details = {"categories": list(categories), "moderation_stage": stage}
    return ApiError(
        400,
        f"the {what} was refused by the safety policy: {', '.join(categories)}",
        kind=BLOCKED,
        code="moderation_blocked",
        more={"moderation_details": details},
    )


def unexpected() -> ApiError:
    """Returns what is said of a fault of ours; details are in the log alone."""
    return ApiError(500, "the server failed; its log says why", code="internal_error")


def late() -> ApiError:
    """Returns the error of a picture that was not done in time."""
    message = "the picture was not done before the deadline"
    return ApiError(504, message, code="deadline_exceeded")


def stopped() -> ApiError:
    """Returns the error of a server that ends."""
    message = "the server is shutting down"
    return ApiError(503, message, code="shutting_down", headers={"Retry-After": "5"})


def busy(seconds: float, message: str = "all places in the queue are taken") -> ApiError:
    """Returns the error of a queue without room.

    Args:
        seconds: Seconds after which a client should try again.
        message: What there is no room in.
    """
    milliseconds = max(round(seconds * 1000), 1)
    headers = {"Retry-After": str(-(-milliseconds // 1000)), "Retry-After-Ms": str(milliseconds)}
    code = "rate_limit_exceeded"
    return ApiError(429, message, kind=LIMIT, code=code, headers=headers)
