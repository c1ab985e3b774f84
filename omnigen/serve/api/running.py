# SPDX-License-Identifier: Apache-2.0
"""The server as a process: its socket, its signals and its end."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from omnigen import extras
from omnigen.serve.api.app import App
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.protocol import bounded
from omnigen.serve.contract import Engine

uvicorn = extras.load("uvicorn", "serve", "the server")
_GRACE_S = 3.0  # for answers on their way, after the engine has stopped
_BACKLOG = 2048


def bound(host: str, port: int) -> socket.socket:
    """Returns a socket that nobody else can bind; clients are refused until the server runs.

    Raises:
        ValueError: If the address is not of this machine, or is in use.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ValueError(f"--host {host}: is no address: {error.strerror}") from None
    opened = socket.socket(family, kind, proto)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(address)
    except OSError as error:
        opened.close()
        raise ValueError(f"--host {host} --port {port}: {error.strerror}") from None
    opened.setblocking(False)
    return opened


def url(opened: socket.socket) -> str:
    """Returns where people find the server."""
    host, port = opened.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server, which lets the engine finish before it ends."""

    def __init__(self, app: App, engine: Engine, limits: Limits) -> None:
        """Configures uvicorn.

        Args:
            app: The application.
            engine: What the application draws with.
            limits: Bounds.
        """
        self._app, self._engine, self._limits = app, engine, limits
        self._closing: threading.Thread | None = None
        self._ready: Callable[[], None] = lambda: None
        config = uvicorn.Config(
            app,
            http=bounded(limits),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=round(limits.drain_s + _GRACE_S),
            h11_max_incomplete_event_size=limits.header_bytes,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals while the server runs; it has ended well if they end it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in handled}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the server: it takes nothing more, and finishes what it can."""
        self.drain()
        super().handle_exit(sig, frame)

    def drain(self) -> None:
        """Lets the engine finish what it can, in a thread."""
        if self._closing is None:
            self._app.is_draining = True
            work: Callable[..., Any] = self._engine.close
            drain = {"drain_s": self._limits.drain_s}
            self._closing = threading.Thread(target=work, kwargs=drain, daemon=True)
            self._closing.start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and says so."""
        await super().startup(sockets)
        self._ready()

    def run_until_told(
        self, opened: socket.socket, ready: Callable[[], None] = lambda: None
    ) -> None:
        """Serves until a signal comes, and returns when all has ended.

        Args:
            opened: Socket, from `bound`.
            ready: Called when clients can connect.
        """
        self._ready = ready
        try:
            self.run(sockets=[opened])
        finally:
            self.drain()
            assert self._closing is not None
            self._closing.join(_GRACE_S)
