# SPDX-License-Identifier: Apache-2.0
"""`/v1/responses` with the tool `image_generation`: turns of a conversation in pictures."""

import base64
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from omnigen.serve.api import conversation, drawing, errors, fields, parameters, pictures
from omnigen.serve.api.call import Call, Reply, Stream, reply
from omnigen.serve.api.conversation import Turn
from omnigen.serve.api.errors import bad
from omnigen.serve.api.images import Images, comment, encoded
from omnigen.serve.api.kept import Kept


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A checked request.

    Attributes:
        order: What is drawn.
        answer: The answer as far as it is known.
        call: The picture call as far as it is known.
        words: Words of all turns.
        is_kept: Whether the turn is kept.
        tenant: Whose it is.
    """

    order: drawing.Order
    answer: dict[str, Any]
    call: dict[str, Any]
    words: str
    is_kept: bool
    tenant: str


@dataclasses.dataclass(frozen=True)
class Responses:
    """The endpoints.

    Attributes:
        images: What decodes and draws.
        turns: Turns that are kept.
    """

    images: Images
    turns: Kept

    async def create(self, call: Call) -> Reply | Stream:
        """Answers with a turn."""
        limits, services = self.images.limits, self.images.services
        sent = await call.json(limits.data_url_bytes)
        found = fields.read(conversation.table(limits), sent)
        plan = await self._plan(found, call.tenant)
        if found["stream"]:
            job = await drawing.Job.start(services, limits, plan.order)
            return Stream(self._events(job, plan), job.cancel)

        async def draw() -> list[drawing.Made]:
            return await (await drawing.Job.start(services, limits, plan.order)).pictures()

        (made,) = await call.unless_gone(draw())
        return reply(self._finish(plan, made))

    async def retrieve(self, call: Call) -> Reply:
        """Answers with a turn that is kept."""
        return reply(self._kept(call).response)

    async def delete(self, call: Call) -> Reply:
        """Forgets a turn."""
        self._kept(call)
        name = call.path["name"]
        self.turns.drop(call.tenant, name)
        return reply({"id": name, "object": "response", "deleted": True})

    def _kept(self, call: Call) -> Turn:
        turn = self.turns.get(call.tenant, call.path["name"])
        if not isinstance(turn, Turn):
            message = "there is no such response, or no more"
            raise errors.ApiError(404, message, param="response_id", code="not_found")
        return turn

    async def _plan(self, found: Mapping[str, Any], tenant: str) -> _Plan:
        tool, limits = conversation.tool(found), self.images.limits
        own = self.images.services.engine.name
        parameters.check_model(found["model"], own)
        parameters.check_model(tool["model"], own, "tools[0].model")
        said = conversation.said(found["input"], limits)
        previous = self._previous(found["previous_response_id"], tenant)
        earlier = [self._called(name, tenant) for name in said.calls]
        shown = [*([previous] if previous else []), *earlier]
        is_edit = self._is_edit(tool, said, shown)
        mask = tool["input_image_mask"]
        mask = None if mask is None else self.images.url(mask, "tools[0].input_image_mask")
        files = said.pictures if is_edit else {}
        if mask is not None and not is_edit:
            raise bad("tools[0].input_image_mask", "needs a picture to edit")
        drawn = (shown[-1].drawn,) if is_edit and not files else ()
        given, alpha = (*await self.images.decoded(files), *drawn), None
        if mask is not None:
            alpha = await self.images.mask("tools[0].input_image_mask", mask, given[0])
        before = "\n".join(filter(None, [previous.words if previous else "", said.before]))
        order = drawing.Order(
            prompt=said.prompt,
            count=1,
            seed=parameters.seed(found, 1),
            settings=parameters.settings(found),
            size=tool["size"],
            format=parameters.form(tool, "tools[0]."),
            partials=parameters.check_partials(tool, is_stream=found["stream"], within="tools[0]."),
            level=tool["moderation"],
            given=given,
            mask=alpha,
            history=before[-conversation.MOST_HISTORY :],
            who=parameters.who(found, tenant),
        )
        words = "\n".join(filter(None, [before, said.prompt]))[-conversation.MOST_HISTORY :]
        item = {
            "id": self.turns.name().replace("resp_", "ig_"),
            "type": "image_generation_call",
            "status": "in_progress",
            "action": "edit" if is_edit else "generate",
            **self.images.shape(order),
            "result": None,
        }
        return _Plan(order, self._answer(found), item, words, found["store"], tenant)

    def _is_edit(self, tool: Mapping[str, Any], said: conversation.Said, shown: list[Turn]) -> bool:
        has_picture = bool(said.pictures or shown)
        action = tool["action"]
        if action == "generate" or action == "auto" and not has_picture:
            return False
        if not has_picture:
            raise bad("tools[0].action", "is edit; there is no picture to edit")
        engine = self.images.services.engine
        if not engine.can_edit:
            hint = "; with action generate it draws the words of this turn" * (action == "auto")
            message = f"the model {engine.name} has not learnt to read pictures{hint}"
            raise bad("tools[0].action", message, "edits_not_supported")
        return True

    def _previous(self, name: str | None, tenant: str) -> Turn | None:
        if name is None:
            return None
        turn = self.turns.get(tenant, name)
        if not isinstance(turn, Turn):
            raise conversation.lost("previous_response_id", name)
        return turn

    def _called(self, name: str, tenant: str) -> Turn:
        """Returns the turn of a picture call."""
        response = self.turns.get(tenant, name)
        turn = self.turns.get(tenant, response) if isinstance(response, str) else None
        if turn is None:
            raise conversation.lost("input", name)
        return turn

    def _answer(self, found: Mapping[str, Any]) -> dict[str, Any]:
        copied = ("parallel_tool_calls", "previous_response_id", "store", "tool_choice", "tools")
        more = ("truncation", "safety_identifier", "user", "max_tool_calls")
        return {
            "id": self.turns.name(),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "model": self.images.services.engine.name,
            "metadata": conversation.metadata(found["metadata"]),
            "output": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "temperature": found["temperature"],
            "top_p": found["top_p"],
            "usage": None,
            **{name: found[name] for name in (*copied, *more)},
        }

    def _finish(self, plan: _Plan, made: drawing.Made) -> dict[str, Any]:
        """Returns the whole answer, and keeps the turn."""
        result = base64.b64encode(made.data).decode()
        own = {"seed": made.seed, "revised_prompt": plan.order.prompt, **made.told}
        item = {**plan.call, **own, "status": "completed", "result": result}
        usage = drawing.usage([made])
        answer = {
            **plan.answer,
            "status": "completed",
            "completed_at": int(time.time()),
            "output": [item],
            "tool_usage": {"image_gen": usage, "web_search": {"num_requests": 0}},
            "usage": {
                **{name: usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")},
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }
        if plan.is_kept:
            assert made.finished is not None
            sketch = made.finished.drawing.sketch if plan.order.mask is None else ""
            size = plan.order.size or self.images.services.engine.native
            drawn = pictures.Given(made.pixels, size, made.data, sketch)
            turn = Turn(answer, plan.words, drawn)
            room = len(json.dumps(answer)) + len(made.data) + made.pixels.nbytes
            self.turns.put(plan.tenant, turn, room, answer["id"])
            self.turns.put(plan.tenant, answer["id"], 200, item["id"])
        return answer

    async def _events(self, job: drawing.Job, plan: _Plan) -> AsyncGenerator[bytes, None]:
        number = -1

        def event(kind: str, **more: Any) -> bytes:
            nonlocal number
            number += 1
            return encoded({"type": f"response.{kind}", "sequence_number": number, **more})

        where = {"output_index": 0, "item_id": plan.call["id"]}
        call = "image_generation_call"
        yield event("created", response=plan.answer)
        yield event("in_progress", response=plan.answer)
        yield event("output_item.added", output_index=0, item=plan.call)
        yield event(f"{call}.in_progress", **where)
        yield event(f"{call}.generating", **where)
        try:
            async with contextlib.aclosing(job.notes()) as notes:
                async for note in notes:
                    if not isinstance(note, drawing.Made):
                        yield comment(note)
                    elif note.finished is None:
                        shape = self.images.shape(plan.order)
                        own = {"partial_image_b64": base64.b64encode(note.data).decode(), **shape}
                        index = {"partial_image_index": note.partial}
                        yield event(f"{call}.partial_image", **where, **index, **own)
                    else:
                        answer = self._finish(plan, note)
                        yield event(f"{call}.completed", **where)
                        yield event("output_item.done", output_index=0, item=answer["output"][0])
                        yield event("completed", response=answer)
        except errors.ApiError as error:
            item = {**plan.call, "status": "failed", "error": error.error}
            yield event("output_item.done", output_index=0, item=item)
            told = {"code": error.error["code"] or "server_error", "message": str(error)}
            failed = {**plan.answer, "status": "failed", "error": told, "output": [item]}
            yield event("failed", response=failed)
