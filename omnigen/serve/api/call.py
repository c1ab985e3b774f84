# SPDX-License-Identifier: Apache-2.0
"""One request, and the two kinds of answers: whole ones and streams."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from omnigen.serve.api import forms
from omnigen.serve.api.errors import ApiError, bad, busy
from omnigen.serve.api.limits import Limits

Message = dict[str, Any]
T = TypeVar("T")
JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"


class Gone(Exception):
    """Raised where the client is no longer there."""


@dataclasses.dataclass(frozen=True)
class Reply:
    """A whole answer.

    Attributes:
        body: Body.
        status: HTTP status.
        media_type: Content type.
        headers: Further headers.
    """

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Stream:
    """An answer of server-sent events.

    Attributes:
        chunks: Encoded events.
        close: Called when the stream is over, or nobody reads it, even if it never began.
    """

    chunks: AsyncGenerator[bytes, None]
    close: Callable[[], None]


def reply(value: Any, status: int = 200) -> Reply:
    """Returns an answer in JSON."""
    return Reply(json.dumps(value).encode(), status)


class Budget:
    """Bytes of all bodies that are being read at a time."""

    def __init__(self, most: int) -> None:
        """Starts with none.

        Args:
            most: Largest number of bytes.
        """
        self._free = most

    @contextlib.contextmanager
    def room(self) -> "Any":
        """Yields a function that takes bytes; they are given back after the block."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self._free:
                raise busy(1.0, "too many large requests at a time")
            self._free -= count
            taken += count

        try:
            yield take
        finally:
            self._free += taken


class Call:
    """A request.

    Attributes:
        tenant: Whose it is; what is kept of one tenant no other can see.
        path: Parts of the path that vary.
        headers: Headers, by name in small letters.
        limits: Bounds.
        base: URL of this server as the client knows it, without a path.
    """

    def __init__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        limits: Limits,
        budget: Budget,
    ) -> None:
        """Wraps an ASGI request whose body has not been read."""
        self.tenant: str = scope.get("tenant", "")
        self.path: Mapping[str, str] = scope.get("path_params", {})
        self.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        self.limits, self._receive, self._budget = limits, receive, budget
        server = scope.get("server") or ("localhost", 80)
        host = self.headers.get("host") or f"{server[0]}:{server[1]}"
        self.base = f"{scope.get('scheme', 'http')}://{host}"

    @property
    def content_type(self) -> str:
        """The content type, without its options."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def json(self, most: int | None = None) -> dict[str, Any]:
        """Reads the body as an object of JSON.

        Args:
            most: Largest number of bytes; `limits.json_bytes` if None.

        Raises:
            ApiError: If it is something else, too large, or does not come in time.
        """
        if self.content_type != JSON:
            raise self._foreign(JSON)
        data = bytearray()
        with self._budget.room() as take:
            async with contextlib.aclosing(self._body(most or self.limits.json_bytes)) as chunks:
                async for chunk in chunks:
                    take(len(chunk))
                    data += chunk
            return forms.parse_json(bytes(data), self.limits.depth)

    @contextlib.asynccontextmanager
    async def form(self) -> AsyncIterator[forms.Form]:
        """Reads the body as a form with files, which are gone after the block.

        Raises:
            ApiError: If it is something else, too large, or does not come in time.
        """
        if self.content_type != "multipart/form-data":
            raise self._foreign("multipart/form-data")
        kind = self.headers["content-type"]
        async with contextlib.aclosing(self._body(self.limits.form_bytes)) as chunks:
            async with forms.parse_form(chunks, kind, self.limits) as form:
                yield form

    def _foreign(self, allowed: str) -> ApiError:
        message = f"the content type must be {allowed}"
        return ApiError(415, message, code="unsupported_media_type")

    async def _body(self, most: int) -> AsyncGenerator[bytes, None]:
        large = ApiError(413, f"the body has more than {most} bytes", code="request_too_large")
        announced = self.headers.get("content-length", "0")
        if announced.isdigit() and int(announced[:18]) > most:
            raise large
        size, more = 0, True
        deadline = asyncio.get_running_loop().time() + self.limits.body_s
        while more:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await self._receive()
            except TimeoutError:
                message = f"the body was not there after {self.limits.body_s:g} s"
                raise ApiError(408, message, code="request_timeout") from None
            if message["type"] == "http.disconnect":
                raise Gone
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > most:
                raise large
            yield chunk

    async def gone(self) -> None:
        """Waits until the client is no longer there."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns what the work returns; cancels it if the client leaves first.

        Raises:
            Gone: If the client left.
        """
        task, left = asyncio.ensure_future(work), asyncio.ensure_future(self.gone())
        try:
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Gone
            return task.result()
        finally:
            left.cancel()
            if not task.done():
                task.cancel()
            await asyncio.gather(task, left, return_exceptions=True)


def one(values: list[Any], name: str) -> Any:
    """Returns the only value that a form has under a name.

    Raises:
        ApiError: If there are several.
    """
    if len(values) > 1:
        raise bad(name, "is there twice", "duplicate_parameter")
    return values[0]
