# SPDX-License-Identifier: Apache-2.0
"""`/sdapi/v1`: the routes by which chat front ends know web UIs of Stable Diffusion.

It is a thin map. Fields that have no meaning for this model are taken, since clients send them
always, and are listed in `info` of the answer as `ignored`.
"""

import base64
import contextlib
import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

from omnigen.generation import sampler
from omnigen.serve import contract
from omnigen.serve.api import drawing, fields, parameters, pictures
from omnigen.serve.api.call import Call, Reply, reply
from omnigen.serve.api.errors import bad, shown
from omnigen.serve.api.fields import Table
from omnigen.serve.api.images import Images

_NAMES = ("prompt", "negative_prompt", "width", "height", "cfg_scale", "seed", "batch_size")
_MOST_IGNORED = 100


@dataclasses.dataclass
class Running:
    """How far a tenant's newest pictures are.

    Attributes:
        done: Share that is done, 0 ... 1.
        steps: Number of steps of one picture.
        preview: What is there so far, as a PNG in base64.
    """

    done: float = 0.0
    steps: int = 0
    preview: str | None = None


def table(prompt: int, *, is_edit: bool) -> Table:
    """Returns the fields that mean something.

    Args:
        prompt: Largest number of characters of a prompt.
        is_edit: Whether pictures are given.
    """
    negative = parameters.EXTENSIONS["negative_prompt"]
    knob = parameters.EXTENSIONS["guidance_scale"].schema
    side = fields.whole(16, fields.MOST_SIDE, "Honoured, as `size`.")
    found = {
        "prompt": fields.text(prompt, "Honoured.", is_required=True, least=1),
        "negative_prompt": negative,
        "width": side,
        "height": side,
        "cfg_scale": fields.number(knob["minimum"], knob["maximum"], "Honoured."),
        "seed": fields.whole(-1, sampler.MAX_SEED, "Honoured; -1 is random.", default=-1),
        "batch_size": fields.whole(1, parameters.MOST_COUNT, "Honoured.", default=1),
        "n_iter": fields.fixed([1], "Accepted as 1: use `batch_size`."),
    }
    if is_edit:
        listed = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        found["init_images"] = fields.anything(listed, "Honoured.", is_required=True)
        found["mask"] = fields.anything({"type": "string"}, "Honoured: white may change.")
    return found


@dataclasses.dataclass(frozen=True)
class Sdapi:
    """The endpoints.

    Attributes:
        images: What decodes and draws.
        running: How far each tenant's newest pictures are.
    """

    images: Images
    running: dict[str, Running] = dataclasses.field(default_factory=dict)

    async def txt2img(self, call: Call) -> Reply:
        """Answers with pictures of a prompt."""
        return await self._draw(call, await call.json(), is_edit=False)

    async def img2img(self, call: Call) -> Reply:
        """Answers with changed pictures."""
        self.images.check_edits("init_images")
        sent = await call.json(self.images.limits.data_url_bytes)
        return await self._draw(call, sent, is_edit=True)

    async def options(self, call: Call) -> Reply:
        """Answers with the model's name."""
        return reply({"sd_model_checkpoint": self.images.services.engine.name})

    async def set_options(self, call: Call) -> Reply:
        """Takes the name of the model that is here; there is nothing else to set."""
        name = self.images.services.engine.name
        for key, value in (await call.json()).items():
            if key != "sd_model_checkpoint":
                raise fields.unknown("", key, ["sd_model_checkpoint"])
            if value != name:
                raise bad(key, f"is {shown(value)}; allowed: {name}")
        return reply({})

    async def models(self, call: Call) -> Reply:
        """Answers with the one model."""
        engine = self.images.services.engine
        one = {"title": engine.name, "model_name": engine.name, "hash": engine.version}
        return reply([{**one, "sha256": None, "filename": engine.name, "config": None}])

    async def samplers(self, call: Call) -> Reply:
        """Answers with the one way in which the model draws."""
        return reply([{"name": "flow", "aliases": [], "options": {}}])

    async def progress(self, call: Call) -> Reply:
        """Answers with how far the tenant's newest pictures are."""
        found = self.running.get(call.tenant, Running())
        state = {"sampling_step": round(found.done * found.steps), "sampling_steps": found.steps}
        answer = {"progress": found.done, "eta_relative": 0.0, "state": state}
        return reply({**answer, "current_image": found.preview, "textinfo": None})

    async def _draw(self, call: Call, sent: Mapping[str, Any], *, is_edit: bool) -> Reply:
        known = table(self.images.limits.prompt, is_edit=is_edit)
        found = fields.read(known, {k: v for k, v in sent.items() if k in known})
        ignored = sorted(name[:60] for name in sent.keys() - known.keys())[:_MOST_IGNORED]
        order = dataclasses.replace(self._order(found), who=parameters.who({}, call.tenant))
        if is_edit:
            order = await self._given(order, found)
        made = await call.unless_gone(self._drawn(call.tenant, order))
        seeds = [each.seed for each in made]
        info = {
            "prompt": order.prompt,
            "seed": order.seed,
            "all_seeds": seeds,
            "width": (order.size or self.images.services.engine.native)[0],
            "height": (order.size or self.images.services.engine.native)[1],
            "sd_model_name": self.images.services.engine.name,
            "sd_model_hash": self.images.services.engine.version,
            "ignored": ignored,
        }
        files = [base64.b64encode(each.data).decode() for each in made]
        parameters_ = {name: found[name] for name in _NAMES}
        return reply({"images": files, "parameters": parameters_, "info": json.dumps(info)})

    def _order(self, found: Mapping[str, Any]) -> drawing.Order:
        native, size = self.images.services.engine.native, None
        if found["width"] is not None or found["height"] is not None:
            sides = (found["width"] or native[0], found["height"] or native[1])
            schema = fields.size("")
            size = schema.read("width", pictures.written(sides))
        seed = found["seed"] if found["seed"] >= 0 else None
        scale = found["cfg_scale"]
        return drawing.Order(
            prompt=found["prompt"],
            count=found["batch_size"],
            seed=parameters.seed({"seed": seed}, found["batch_size"]),
            settings={} if scale is None else {"guidance": scale},
            size=size,
            partials=1,
        )

    async def _given(self, order: drawing.Order, found: Mapping[str, Any]) -> drawing.Order:
        limits = self.images.limits
        entries = fields.listed(found["init_images"], "init_images", least=1, most=limits.pictures)
        names = [f"init_images[{i}]" for i in range(len(entries))]
        files = {n: pictures.from_text(n, e, limits) for n, e in zip(names, entries, strict=True)}
        given, mask = await self.images.decoded(files), None
        if found["mask"] is not None:
            data = _as_alpha(pictures.from_text("mask", found["mask"], limits), self.images)
            mask = await self.images.mask("mask", data, given[0])
        return dataclasses.replace(order, given=given, mask=mask)

    async def _drawn(self, tenant: str, order: drawing.Order) -> list[drawing.Made]:
        job = await drawing.Job.start(self.images.services, self.images.limits, order)
        running = self.running[tenant] = Running()
        made: list[drawing.Made] = []
        try:
            async with contextlib.aclosing(job.notes()) as notes:
                async for note in notes:
                    if isinstance(note, contract.Progress):
                        running.done, running.steps = note.done / max(note.total, 1), note.total
                    elif isinstance(note, drawing.Made) and note.finished is None:
                        running.preview = base64.b64encode(note.data).decode()
                    elif isinstance(note, drawing.Made):
                        made.append(note)
        finally:
            job.cancel()
            if self.running.get(tenant) is running:
                del self.running[tenant]
        return sorted(made, key=lambda each: each.index)


def _as_alpha(data: bytes, images: Images) -> bytes:
    """Returns a mask of white on black as a mask by transparency."""
    from PIL import Image, ImageOps

    pictures.decode("mask", data, images.services.engine.native, images.limits)
    file = io.BytesIO()
    with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
        alpha = ImageOps.invert(image.convert("L"))
    mask = Image.new("RGBA", alpha.size)
    mask.putalpha(alpha)
    mask.save(file, "PNG", compress_level=1)
    return file.getvalue()
