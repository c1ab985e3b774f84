# SPDX-License-Identifier: Apache-2.0
"""The page that people draw with: static files, and the routes and headers that serve them.

The page is an HTML file, a style sheet and ES modules that browsers read as they are. It talks to
nothing but the public API beside it. Where a server asks browsers for its key as a password, the
page goes with that; where only the API wants the key, the page asks for it and keeps it for the
session.

Beyond OpenAI's fields the page reads, where they are there:

- of a model of `/v1/models`: `can_edit`, whether it reads pictures, and `native_size`, such as
  "128x128", the size that it draws;
- of streams, comments, which clients of OpenAI skip: `: queued 3` is the place in the queue, 0 is
  next, and `: progress 12 64` says that 12 of 64 tokens are drawn.
"""

import hashlib
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

FOLDER = pathlib.Path(__file__).parent
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked again each time, and answered 304
}


def files() -> dict[str, pathlib.Path]:
    """Returns the files that are served, by path of their URL."""
    names = sorted(path for path in FOLDER.rglob("*") if path.suffix in TYPES)
    found = {f"/{path.relative_to(FOLDER).as_posix()}": path for path in names}
    return {"/": found.pop("/index.html"), **found}


def routes() -> "list[Route]":
    """Returns a route for each file; their bytes are read once, and nothing else can be reached."""
    from starlette.routing import Route

    return [Route(url, _endpoint(path), methods=["GET"]) for url, path in files().items()]


def _endpoint(path: pathlib.Path):
    from starlette.responses import Response

    body = path.read_bytes()
    headers = HEADERS | {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}

    async def serve(request: "Request") -> "Response":
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=TYPES[path.suffix])

    return serve
