# SPDX-License-Identifier: Apache-2.0
"""HTTP on a socket: uvicorn's protocol, with deadlines for headers and for what nobody reads.

uvicorn waits for ever for the rest of a header, for the rest of a body that it no longer needs, and
for a client to read its answer. Here each has a time, after which the connection is closed.
"""

import asyncio
from typing import Any

from omnigen import extras
from omnigen.serve.api.errors import ApiError
from omnigen.serve.api.limits import Limits

h11 = extras.load("h11", "serve", "the server")
_impl = extras.load("uvicorn.protocols.http.h11_impl", "serve", "the server")


def bounded(limits: Limits) -> type:
    """Returns the protocol with these bounds, for uvicorn."""
    return type("Protocol", (Protocol,), {"limits": limits})


class Protocol(_impl.H11Protocol):
    """One connection.

    Attributes:
        limits: Bounds.
    """

    limits = Limits()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        """Starts without timers."""
        super().__init__(*arguments, **more)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: Any) -> None:
        """Begins to wait for a first request."""
        super().connection_made(transport)
        self._after("header", self.limits.header_s, self._late_header)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what came in, and watches whether it is a whole header yet."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop("header")
        elif self._is_answered and "header" not in self._timers:
            self._after("header", self.limits.header_s, self._late_header)

    def on_response_complete(self) -> None:
        """Gives the client a time to read the answer, and to end what it still sends."""
        if self.conn.their_state is h11.SEND_BODY:
            self._after("linger", self.limits.linger_s, self._late_body)
        self._after("write", self.limits.write_s, self._unread)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Gives the client a time to read on."""
        self._after("write", self.limits.write_s, self._unread)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Sees that the client reads."""
        self._stop("write")
        super().resume_writing()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _after(self, name: str, seconds: float, do: Any) -> None:
        self._stop(name)
        self._timers[name] = self.loop.call_later(seconds, do)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _late_header(self) -> None:
        self._stop("header")
        if self.conn.their_state is h11.IDLE and self._is_answered:
            message = f"the header was not there after {self.limits.header_s:g} s"
            self._refuse(ApiError(408, message, code="request_timeout"))

    def _late_body(self) -> None:
        self._stop("linger")
        if self._is_answered and self.conn.their_state is h11.SEND_BODY:
            self.transport.abort()

    def _unread(self) -> None:
        self._stop("write")
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, or has too large a header."""
        large = self.conn.trailing_data[0] or b""
        if len(large) >= self.limits.header_bytes:
            message = f"the header has more than {self.limits.header_bytes} bytes"
            self._refuse(ApiError(431, message, code="header_too_large"))
        else:
            self._refuse(ApiError(400, "the request is no HTTP", code="invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = error.body
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            start = h11.Response(status_code=error.status, headers=headers)
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()
