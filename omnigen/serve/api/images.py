# SPDX-License-Identifier: Apache-2.0
"""`/v1/images/generations` and `/v1/images/edits`, whole and as streams."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeVar

from omnigen.serve import contract
from omnigen.serve.api import drawing, errors, fields, forms, parameters, pictures
from omnigen.serve.api.call import Call, Reply, Stream, one, reply
from omnigen.serve.api.errors import bad
from omnigen.serve.api.kept import Kept
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.services import Services

T = TypeVar("T")
GENERATION, EDIT = "image_generation", "image_edit"


@dataclasses.dataclass(frozen=True)
class Images:
    """The endpoints.

    Attributes:
        services: What draws and judges.
        limits: Bounds.
        files: Pictures that answers name by URL.
    """

    services: Services
    limits: Limits
    files: Kept

    async def generate(self, call: Call) -> Reply | Stream:
        """Answers a request for pictures of a prompt."""
        found = fields.read(parameters.generation(self.limits), await call.json())
        return await self._answer(call, found, self.order(found, call.tenant), GENERATION)

    async def edit(self, call: Call) -> Reply | Stream:
        """Answers a request for changed pictures, in JSON or as a form."""
        self.check_edits("image")
        if call.content_type == "multipart/form-data":
            async with call.form() as form:
                found, files, mask = self._form(form)
        else:
            sent = await call.json(self.limits.data_url_bytes)
            found, files, mask = self._json(sent)
        order = self.order(found, call.tenant)
        order = dataclasses.replace(order, given=await self.decoded(files))
        if mask is not None:
            alpha = await self.mask("mask", mask, order.given[0])
            order = dataclasses.replace(order, mask=alpha)
        return await self._answer(call, found, order, EDIT)

    def check_edits(self, param: str) -> None:
        """Checks that the model reads pictures.

        Raises:
            ApiError: If it has not learnt it.
        """
        if not self.services.engine.can_edit:
            name = self.services.engine.name
            message = f"the model {name} draws from words alone; it has not learnt to read pictures"
            raise bad(param, message, "edits_not_supported")

    def order(self, found: Mapping[str, Any], tenant: str) -> drawing.Order:
        """Returns what the fields ask for.

        Args:
            found: Values of the fields.
            tenant: Who asks.

        Raises:
            ApiError: If they contradict each other.
        """
        parameters.check_model(found["model"], self.services.engine.name)
        return drawing.Order(
            prompt=found["prompt"],
            count=found["n"],
            seed=parameters.seed(found, found["n"]),
            settings=parameters.settings(found),
            size=found["size"],
            format=parameters.form(found),
            partials=parameters.check_partials(found, is_stream=found["stream"]),
            level=found["moderation"],
            who=parameters.who(found, tenant),
        )

    def _form(self, form: forms.Form) -> tuple[dict[str, Any], dict[str, bytes], Any]:
        """Returns fields, files by name of their field, and the mask, if any."""
        sent, files, mask = {}, {}, None
        for name, values in form.items():
            if name in ("image", "image[]"):
                if any(not isinstance(value, forms.File) for value in values):
                    raise bad("image", "must be a file")
                files |= {f"image[{len(files) + i}]": v for i, v in enumerate(values)}
            elif isinstance(value := one(values, name), forms.File):
                if name == "markup":
                    sent[name] = name  # refused by the table
                elif name == "mask":
                    mask = value
                else:
                    raise bad(name, "must not be a file")
            elif name == "mask":
                raise bad(name, "must be a file")
            elif value != "":  # how forms leave a field out
                sent["svg" if name.startswith("svg[") else name] = value
        table = parameters.edit(self.limits)
        found = fields.read(table, sent)
        count = len(files)
        if not 1 <= count <= self.limits.pictures:
            code = "missing_required_parameter" if not count else "invalid_value"
            message = f"there are {count}; allowed: 1 ... {self.limits.pictures}"
            raise bad("image", message, code)
        return found, {name: file.read() for name, file in files.items()}, mask and mask.read()

    def _json(self, sent: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes], Any]:
        """Does what `_form` does for JSON."""
        table = parameters.edit(self.limits)
        extra = {"images", "mask"}
        for name in sent.keys() - table.keys() - extra:
            raise fields.unknown("", name, [*table, *extra])
        found = fields.read(table, {k: v for k, v in sent.items() if k not in extra})
        if sent.get("images") is None:
            raise bad("images", "is required", "missing_required_parameter")
        entries = fields.listed(sent["images"], "images", least=1, most=self.limits.pictures)
        files = {f"images[{i}]": self.url(each, f"images[{i}]") for i, each in enumerate(entries)}
        mask = sent.get("mask")
        return found, files, None if mask is None else self.url(mask, "mask")

    def url(self, value: Any, param: str) -> bytes:
        """Returns the file of an object with a data URL.

        Raises:
            ApiError: If it has anything else.
        """
        given = fields.mapping(value, param)
        for name in given.keys() - {"image_url"}:
            if name == "file_id":
                raise bad(f"{param}.file_id", "this server keeps no files; use image_url")
            raise fields.unknown(f"{param}.", name, ["image_url"])
        return pictures.from_text(f"{param}.image_url", given.get("image_url"), self.limits)

    async def decoded(self, files: Mapping[str, bytes]) -> tuple[pictures.Given, ...]:
        """Returns pictures, decoded in a thread; see `pictures.decode`."""
        native, limits = self.services.engine.native, self.limits

        def work() -> tuple[pictures.Given, ...]:
            return tuple(pictures.decode(n, data, native, limits) for n, data in files.items())

        return await self._run(work)

    async def mask(self, param: str, data: bytes, given: pictures.Given) -> Any:
        """Returns where a picture may change; see `pictures.decode_mask`."""
        native, limits = self.services.engine.native, self.limits
        arguments = (param, data, given, native, limits)
        return await self._run(pictures.decode_mask, *arguments)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.services.threads, work, *arguments)

    async def _answer(
        self, call: Call, found: Mapping[str, Any], order: drawing.Order, event: str
    ) -> Reply | Stream:
        if found["stream"]:
            job = await drawing.Job.start(self.services, self.limits, order)
            return Stream(self._events(job, event, found), job.cancel)
        made = await call.unless_gone(self._drawn(order))
        engine = self.services.engine
        answer = {
            "created": int(time.time()),
            "data": [self._datum(call, each, order, found["response_format"]) for each in made],
            "model": engine.name,
            **self.shape(order),
            "drawn_size": pictures.written(engine.native),
            "safety_identifier": found["safety_identifier"],
            "usage": drawing.usage(made),
        }
        return reply(answer)

    async def _drawn(self, order: drawing.Order) -> list[drawing.Made]:
        return await (await drawing.Job.start(self.services, self.limits, order)).pictures()

    def shape(self, order: drawing.Order) -> dict[str, Any]:
        """Returns what answers and events say of every picture."""
        return {
            "background": drawing.BACKGROUND,
            "output_format": order.format.name,
            "quality": drawing.QUALITY,
            "size": pictures.written(order.size or self.services.engine.native),
        }

    def _datum(
        self, call: Call, made: drawing.Made, order: drawing.Order, wanted: str | None
    ) -> dict[str, Any]:
        datum = {"seed": made.seed, **made.told}
        if wanted != "url":
            datum["b64_json"] = base64.b64encode(made.data).decode()
        if wanted != "b64_json":
            name = self.files.put(call.tenant, (made.data, order.format.mime), len(made.data))
            datum["url"] = f"{call.base}/v1/images/files/{name}.{order.format.name}"
        return datum

    async def file(self, call: Call) -> Reply:
        """Answers with the file of a picture that an answer named."""
        name, _, suffix = call.path["name"].partition(".")
        kept = self.files.get(call.tenant, name)
        if kept is None or pictures.FORMATS.get(suffix) != kept[1]:
            raise errors.ApiError(404, "there is no such picture, or no more", code="not_found")
        return Reply(kept[0], media_type=kept[1], headers={"Cache-Control": "private"})

    async def _events(
        self, job: drawing.Job, event: str, found: Mapping[str, Any]
    ) -> AsyncGenerator[bytes, None]:
        order = job.order
        identifier = {"safety_identifier": found["safety_identifier"]}
        async with contextlib.aclosing(job.notes()) as notes:
            async for note in notes:
                if not isinstance(note, drawing.Made):
                    yield comment(note)
                    continue
                shape = {
                    "b64_json": base64.b64encode(note.data).decode(),
                    "created_at": int(time.time()),
                    "seed": note.seed,
                    **self.shape(order),
                }
                if note.finished is None:
                    kind = f"{event}.partial_image"
                    yield encoded({"type": kind, **shape, "partial_image_index": note.partial})
                    continue
                drawn = {"drawn_size": pictures.written(self.services.engine.native)}
                own = {**note.told, "usage": drawing.usage([note]), **drawn, **identifier}
                yield encoded({"type": f"{event}.completed", **shape, **own})


def encoded(event: Mapping[str, Any]) -> bytes:
    """Returns a server-sent event, named by its type."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def comment(note: drawing.Note) -> bytes:
    """Returns a comment that keeps a stream alive, which OpenAI's clients skip."""
    if isinstance(note, contract.Queued):
        return f": queued {note.place}\n\n".encode()
    if isinstance(note, contract.Progress):
        return f": progress {note.done} {note.total}\n\n".encode()
    return b": started\n\n" if isinstance(note, contract.Started) else b": ping\n\n"
