# SPDX-License-Identifier: Apache-2.0
"""A server for tests of the page: the real page, feedback, and an API that draws coloured disks.

What it does with a request depends on words of the prompt: "forbidden" is refused, "busy" is told
to come back once, "broken" ends in the middle of a stream, "slow" waits until `go` is set.
"""

import asyncio
import base64
import colorsys
import contextlib
import io
import json
import pathlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import uvicorn
from PIL import Image, ImageDraw, PngImagePlugin
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from omnigen.serve import feedback, web

SIDE = 128
SETTINGS = {"guidance": 2.5, "temperature": 0.7, "head_steps": None}


def disk(seed: int, *, size: tuple[int, int] = (SIDE, SIDE), scale: float = 1.0) -> Image.Image:
    """A disk whose colour and place follow from the seed."""
    hue = seed * 0.381966 % 1
    image = Image.new("RGB", (4 * size[0], 4 * size[1]), _color(hue + 0.5, 0.18, 0.97))
    x, y = image.width * (0.4 + 0.05 * (seed % 5)), image.height * 0.48
    radius = min(image.size) * 0.3 * scale
    box = [x - radius, y - radius, x + radius, y + radius]
    ImageDraw.Draw(image).ellipse(box, fill=_color(hue, 0.65, 0.85))
    return image.resize(size, Image.Resampling.BOX)


def _color(hue: float, saturation: float, value: float) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def png(image: Image.Image, texts: Mapping[str, str] | None = None, kind: str = "iTXt") -> bytes:
    """A PNG with text chunks: `kind` is tEXt, iTXt, or "packed" for an iTXt that is deflated."""
    info, out = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, text in (texts or {}).items():
        if kind == "tEXt":
            info.add_text(name, text)
        else:
            info.add_itxt(name, text, zip=kind == "packed")
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def drawn(prompt: str, seed: int) -> bytes:
    """A picture as `sample` writes it."""
    texts = {"prompt": prompt, "settings": json.dumps(SETTINGS), "model": "omnigen-test"}
    return png(disk(seed), {**texts, "software": "omnigen 1.0", "seed": str(seed)})


def error(status: int, code: str, message: str, param: str | None = None, **more: Any) -> Response:
    headers = {"retry-after": "1"} if status == 429 else {}
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return JSONResponse({"error": body | more}, status, headers)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Stub:
    """The server; its attributes say what it does and what it was asked.

    Attributes:
        asked: Path and fields of each request that draws; files are bytes.
        left: Prompts of streams that the client left before they ended.
        go: Lets slow pictures go on.
        can_edit: Whether the model reads pictures.
        key: Key that requests need; None if none.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.left: list[str] = []
        self.go, self.can_edit, self.key = threading.Event(), True, None
        self.pace_s = 0.02
        self._was_busy: set[str] = set()
        self._responses: set[str] = set()
        self.feedback = feedback.Feedback(folder)
        self.app = Starlette(
            routes=[
                *web.routes(),
                *feedback.routes(self.feedback),
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/images/generations", self._generations, methods=["POST"]),
                Route("/v1/images/edits", self._edits, methods=["POST"]),
                Route("/v1/responses", self._answers, methods=["POST"]),
                Route("/v1/content_provenance_checks", self._provenance, methods=["POST"]),
            ]
        )

    async def _health(self, request: Request) -> Response:
        return Response("ok")

    def _refusal(self, request: Request) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, "invalid_api_key", "This is not the key.")
        return None

    async def _models(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        model = {"id": "omnigen-test", "object": "model", "created": 0, "owned_by": "test"}
        more = {"can_edit": self.can_edit, "native_size": f"{SIDE}x{SIDE}"}
        return JSONResponse({"object": "list", "data": [model | more]})

    async def _generations(self, request: Request) -> Response:
        fields = await request.json()
        return self._images(request, "image_generation", fields)

    async def _edits(self, request: Request) -> Response:
        async with request.form() as form:
            fields: dict[str, Any] = {}
            for name, value in form.multi_items():
                given = await value.read() if isinstance(value, UploadFile) else value
                fields[name] = [*fields.get(name, []), given] if name == "image[]" else given
        return self._images(request, "image_edit", fields)

    def _images(self, request: Request, kind: str, fields: dict[str, Any]) -> Response:
        prompt = fields["prompt"]
        if refusal := self._unwell(request, prompt, fields):
            return refusal
        seed = int(fields["seed"])

        async def events() -> AsyncIterator[str]:
            async for line in self._drawing(prompt):
                if isinstance(line, str):
                    yield line
                    continue
                index, picture = line
                data = {"b64_json": encoded(png(picture(seed))), "partial_image_index": index}
                yield self._event(f"{kind}.partial_image", data)
            done = {"b64_json": encoded(drawn(prompt, seed)), "size": f"{SIDE}x{SIDE}"}
            done |= {"explanation": "a disk", "warnings": ["no cat"] if "cat" in prompt else []}
            yield self._event(f"{kind}.completed", done)

        return self._streaming(prompt, events())

    async def _answers(self, request: Request) -> Response:
        fields = await request.json()
        (tool,), given = fields["tools"], fields["input"]
        prompt = given if isinstance(given, str) else given[0]["content"][0]["text"]
        if refusal := self._unwell(request, prompt, fields):
            return refusal
        before = fields.get("previous_response_id")
        if before and before not in self._responses:
            return error(404, "previous_response_not_found", "gone", "previous_response_id")
        assert tool["type"] == "image_generation" and "seed" not in tool
        seed, name = fields["seed"], f"resp_{len(self.asked)}"
        self._responses.add(name)

        async def events() -> AsyncIterator[str]:
            yield self._event("response.created", {"response": {"id": name, "output": []}})
            async for line in self._drawing(prompt):
                if isinstance(line, str):
                    yield line
                    continue
                data = {"partial_image_b64": encoded(png(line[1](seed)))}
                yield self._event("response.image_generation_call.partial_image", data)
            call = {"type": "image_generation_call", "result": encoded(drawn(prompt, seed))}
            call["size"] = f"{SIDE}x{SIDE}"
            yield self._event("response.completed", {"response": {"id": name, "output": [call]}})

        return self._streaming(prompt, events())

    def forget(self) -> None:
        """Forgets all answers, as a server does whose store is full."""
        self._responses.clear()

    def _unwell(self, request: Request, prompt: str, fields: dict[str, Any]) -> Response | None:
        if refusal := self._refusal(request):
            return refusal
        self.asked.append((request.url.path, fields))
        if "forbidden" in prompt:
            details = {"categories": ["violence"], "moderation_stage": "input"}
            message = "The prompt is against the rules of this server."
            more = {"moderation_details": details}
            return error(400, "moderation_blocked", message, "prompt", **more)
        if "busy" in prompt and prompt not in self._was_busy:
            self._was_busy.add(prompt)
            return error(429, "queue_full", "The queue is full.")
        return None

    async def _drawing(self, prompt: str) -> AsyncIterator[Any]:
        """Yields comments, and the number and maker of each preview."""
        yield ": ping\n\n: queued 2\n\n"
        await asyncio.sleep(self.pace_s)
        yield ": queued 0\n\n: started\n\n"
        for index in range(3):
            await asyncio.sleep(self.pace_s)
            yield f": progress {16 * (index + 1)} 64\n\n"
            yield index, lambda seed, index=index: disk(seed, scale=0.4 + 0.2 * index)
            if "broken" in prompt:
                await asyncio.sleep(self.pace_s)
                raise ConnectionAbortedError
            while "slow" in prompt and index == 1 and not self.go.is_set():
                await asyncio.sleep(0.02)

    @staticmethod
    def _event(kind: str, data: dict[str, Any]) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"

    def _streaming(self, prompt: str, events: AsyncIterator[str]) -> Response:
        async def watched() -> AsyncIterator[str]:
            try:
                async for line in events:
                    yield line
            except asyncio.CancelledError:
                self.left.append(prompt)
                raise
            except ConnectionAbortedError:
                return

        return StreamingResponse(watched(), media_type="text/event-stream")

    async def _provenance(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        async with request.form() as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            is_ours = b"omnigen-test" in await file.read()
        found = {
            "type": "c2pa",
            "outcome": "detected" if is_ours else "not_detected",
            "validation_state": "valid" if is_ours else "not_present",
            "issuer": "omnigen (self-made)" if is_ours else None,
            "model": "omnigen-test" if is_ours else None,
            "generated_at": "2026-11-30T12:00:00Z" if is_ours else None,
        }
        body = {"object": "content_provenance_check", "created_at": 0, "results": [found]}
        return JSONResponse(body)


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[tuple[Stub, str]]:
    """Runs a stub in a thread; yields it with the URL of its page."""
    stub = Stub(folder)
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    config = uvicorn.Config(stub.app, log_level="error", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield stub, f"http://127.0.0.1:{place.getsockname()[1]}/"
    finally:
        stub.go.set()
        server.should_exit = server.force_exit = True
        thread.join(10)
        place.close()
        stub.feedback.close()
