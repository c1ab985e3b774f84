# SPDX-License-Identifier: Apache-2.0
"""The ASGI application: its routes, and what holds for all of them.

Every request gets an ID, is checked for a key, is counted, and is answered with the four-key body
if anything is wrong; a traceback goes to the log alone.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from omnigen import extras
from omnigen.serve.api import errors, openapi, rates
from omnigen.serve.api.auth import OPEN, Keys
from omnigen.serve.api.call import EVENTS, Budget, Call, Gone, Message, Reply, Stream, reply
from omnigen.serve.api.images import Images
from omnigen.serve.api.kept import Kept
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.metrics import Metrics
from omnigen.serve.api.moderations import Moderations
from omnigen.serve.api.origins import Origins
from omnigen.serve.api.pictures import written
from omnigen.serve.api.responses import Responses
from omnigen.serve.api.sdapi import Sdapi
from omnigen.serve.api.services import Services

routing = extras.load("starlette.routing", "serve", "the server")
exceptions = extras.load("starlette.exceptions", "serve", "the server")

_LOG = logging.getLogger(__name__)
Handler = Callable[[Call], Awaitable[Reply | Stream]]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
CLIENT_LEFT = 499  # what is counted of a client that left
_HARDENED = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class App:
    """The application.

    Attributes:
        services: What draws, judges and signs.
        routes: All routes.
        is_draining: Whether the server is about to end, and takes nothing more.
    """

    def __init__(
        self,
        services: Services,
        *,
        limits: Limits | None = None,
        keys: Keys | None = None,
        more: "list[Any] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Lays the routes.

        Args:
            services: What draws, judges and signs.
            limits: Bounds; the usual ones if None.
            keys: Keys; none are needed if None.
            more: Further routes, of Starlette, such as those of the page.
            clock: Returns the time in seconds, by which limits of keys are counted.
        """
        self.services, self._limits, self._keys = services, limits or Limits(), keys or Keys()
        self._metrics = Metrics(services.engine)
        self._rates = rates.Rates(self._limits, clock)
        self._budget = Budget(self._limits.bodies_bytes)
        self.is_draining = False
        self._document = reply(openapi.document(self._limits))
        self.routes = [*self._routes(), *(more or [])]
        self._router = routing.Router(self.routes, redirect_slashes=False)

    def _routes(self) -> list[Any]:
        services, limits = self.services, self._limits
        half, seconds = limits.kept_bytes // 2, limits.kept_s
        files, turns = (Kept(p, most=half, seconds=seconds) for p in ("img_", "resp_"))
        images = Images(services, limits, files)
        responses, sdapi = Responses(images, turns), Sdapi(images)
        moderations, origins = Moderations(services, limits), Origins(services, limits)
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v1/images/generations", images.generate),
            ("POST", "/v1/images/edits", images.edit),
            ("GET", "/v1/images/files/{name}", images.file),
            ("POST", "/v1/responses", responses.create),
            ("GET", "/v1/responses/{name}", responses.retrieve),
            ("DELETE", "/v1/responses/{name}", responses.delete),
            ("POST", "/v1/moderations", moderations.create),
            ("POST", "/v1/content_provenance_checks", origins.check),
            ("GET", "/v1/models", self._models),
            ("GET", "/v1/models/{name}", self._model),
            ("GET", "/health", self._health),
            ("GET", "/ready", self._ready),
            ("GET", "/metrics", self._metrics.show),
            ("GET", "/openapi.json", self._openapi),
            ("POST", "/sdapi/v1/txt2img", sdapi.txt2img),
            ("POST", "/sdapi/v1/img2img", sdapi.img2img),
            ("GET", "/sdapi/v1/options", sdapi.options),
            ("POST", "/sdapi/v1/options", sdapi.set_options),
            ("GET", "/sdapi/v1/sd-models", sdapi.models),
            ("GET", "/sdapi/v1/samplers", sdapi.samplers),
            ("GET", "/sdapi/v1/progress", sdapi.progress),
        ]
        handlers: dict[str, dict[str, Handler]] = {}
        for method, path, handler in table:
            handlers.setdefault(path, {})[method] = handler
        return [
            routing.Route(path, _Endpoint(self, path, by_method), methods=list(by_method))
            for path, by_method in handlers.items()
        ]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answers a request; see the module."""
        if scope["type"] != "http":
            return
        began, answered = time.monotonic(), _Answered(send)
        scope["app"] = self  # the router then raises what it has to say
        try:
            self._admit(scope)
            self._count(scope, answered)
            await self._router(scope, receive, answered)
        except Gone:
            answered.status = CLIENT_LEFT
        except asyncio.CancelledError:  # the server has no more time
            await answered.refuse(errors.stopped())
            raise
        except Exception as error:
            await answered.refuse(_told(error))
        finally:
            endpoint = scope.get("endpoint")
            route = getattr(endpoint, "path", scope["path"]) if endpoint else "other"
            status = answered.status or CLIENT_LEFT
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.count(route, method, status, time.monotonic() - began)

    def _admit(self, scope: Any) -> None:
        """Checks who asks.

        Raises:
            ApiError: If a key is missing or wrong, or the page of another site asks.
        """
        headers, most = dict(scope["headers"]), self._limits.header_bytes
        if sum(len(name) + len(value) for name, value in scope["headers"]) > most:
            message = f"the header has more than {most} bytes"
            close = {"Connection": "close"}
            raise errors.ApiError(431, message, code="header_too_large", headers=close)
        if scope["path"] not in OPEN:
            authorization = headers.get(b"authorization", b"").decode("latin-1")
            scope["tenant"] = self._keys.tenant(authorization)
        if headers.get(b"sec-fetch-site") == b"cross-site" and scope["method"] != "GET":
            message = "pages of other sites may not use this server"
            raise errors.ApiError(403, message, code="cross_site")
        if self.is_draining and scope["method"] == "POST":
            raise errors.stopped()

    def _count(self, scope: Any, answered: "_Answered") -> None:
        """Counts a request that asks for work, and lets its answer tell what its key has left.

        Raises:
            ApiError: If the key had its requests of this minute.
        """
        if scope["method"] != "POST" or scope["path"] in OPEN:
            return
        account = self._rates.account(scope["tenant"])
        answered.account = account
        rates.current.set(account)
        account.check("requests", 1)
        account.take("requests", 1)

    async def run(self, handler: Handler, scope: Any, receive: Receive, send: Send) -> None:
        """Calls an endpoint, and sends what it returns."""
        call = Call(scope, receive, self._limits, self._budget)
        answer = await handler(call)
        if isinstance(answer, Stream):
            try:
                await call.unless_gone(_send_stream(answer.chunks, send))
            finally:
                answer.close()
            return
        await _start(send, answer.status, answer.media_type, answer.headers, len(answer.body))
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    async def _health(self, call: Call) -> Reply:
        return reply({"status": "ok"})

    async def _ready(self, call: Call) -> Reply:
        if self.is_draining:
            raise errors.stopped()
        return reply({"status": "ready"})

    async def _openapi(self, call: Call) -> Reply:
        return self._document

    async def _models(self, call: Call) -> Reply:
        return reply({"object": "list", "data": [self._described()]})

    async def _model(self, call: Call) -> Reply:
        name = call.path["name"]
        if name != self.services.engine.name:
            message = f"there is no model {errors.shown(name)}; GET /v1/models lists what there is"
            raise errors.ApiError(404, message, param="model", code="model_not_found")
        return reply(self._described())

    def _described(self) -> dict[str, Any]:
        engine = self.services.engine
        known = {"id": engine.name, "object": "model", "created": self.services.created}
        own = {"version": engine.version, "native_size": written(engine.native)}
        return {**known, "owned_by": "omnigen", **own, "can_edit": engine.can_edit}


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Endpoint:
    """Handlers of one path, as the router wants them."""

    def __init__(self, app: App, path: str, handlers: Mapping[str, Handler]) -> None:
        self._app, self.path, self._handlers = app, path, handlers

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await self._app.run(self._handlers[method], scope, receive, send)


class _Answered:
    """Sends, and knows how much was sent."""

    def __init__(self, send: Send) -> None:
        self._send, self._id = send, secrets.token_hex(12)
        self.status, self._is_events, self._is_over = 0, False, False
        self.account: rates.Account | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(b"x-request-id", f"req_{self._id}".encode())]
            given = {name.lower() for name, _ in message["headers"]}
            own += [pair for pair in _HARDENED if pair[0] not in given]
            left = self.account.headers() if self.account else {}
            own += [(name.lower().encode(), value.encode()) for name, value in left.items()]
            message = {**message, "headers": [*message["headers"], *own]}
            self.status = message["status"]
            self._is_events = (b"content-type", EVENTS.encode()) in message["headers"]
        elif not message.get("more_body"):
            self._is_over = True
        await self._send(message)

    async def refuse(self, error: errors.ApiError) -> None:
        """Answers with an error, if the answer has not begun; in a stream, as an event."""
        if self._is_over:
            return
        if self.status:
            if self._is_events:
                data = json.dumps({"error": error.error})
                body = f"event: error\ndata: {data}\n\n".encode()
                await self({"type": "http.response.body", "body": body})
            return
        await _start(self, error.status, "application/json", error.headers, len(error.body))
        await self({"type": "http.response.body", "body": error.body})


def _told(error: Exception) -> errors.ApiError:
    """Returns what a client is told of any exception."""
    if isinstance(error, errors.ApiError):
        return error
    if isinstance(error, exceptions.HTTPException):
        found: Any = error
        messages = {404: "there is no such path", 405: "the path does not take this method"}
        message = messages.get(found.status_code, str(found.detail))
        code = {404: "not_found", 405: "method_not_allowed"}.get(found.status_code)
        return errors.ApiError(found.status_code, message, code=code, headers=found.headers)
    _LOG.error("a request failed", exc_info=error)
    return errors.unexpected()


async def _start(
    send: Send, status: int, media_type: str, headers: Mapping[str, str], size: int | None
) -> None:
    listed = [(b"content-type", media_type.encode())]
    listed += [(b"content-length", str(size).encode())] if size is not None else []
    listed += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})


async def _send_stream(chunks: AsyncGenerator[bytes, None], send: Send) -> None:
    # Proxies that buffer answers would hold events back.
    await _start(send, 200, EVENTS, {"X-Accel-Buffering": "no"}, None)
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
