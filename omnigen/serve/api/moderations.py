# SPDX-License-Identifier: Apache-2.0
"""`/v1/moderations`: what the safety policy says of texts and pictures."""

import asyncio
import dataclasses
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from omnigen.serve.api import fields, pictures
from omnigen.serve.api.call import Call, Reply, reply
from omnigen.serve.api.errors import bad, shown
from omnigen.serve.api.fields import Table
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.services import Decision, Services

T = TypeVar("T")
MOST_INPUTS = 32
_USUAL = "auto", "input"  # level and stage
# Whether OpenAI says that pictures can be of the category, too.
CATEGORIES = {
    "harassment": False,
    "harassment/threatening": False,
    "hate": False,
    "hate/threatening": False,
    "illicit": False,
    "illicit/violent": False,
    "self-harm": True,
    "self-harm/instructions": True,
    "self-harm/intent": True,
    "sexual": True,
    "sexual/minors": False,
    "violence": True,
    "violence/graphic": True,
}


def table(limits: Limits) -> Table:
    """Returns the fields of the route."""
    words = {"type": "string", "maxLength": limits.prompt}
    parts = {"type": "array", "minItems": 1, "maxItems": MOST_INPUTS}
    either = {"items": {"anyOf": [words, {"type": "object"}]}}
    schema = {"anyOf": [words, {**parts, **either}]}
    return {
        "input": fields.anything(
            schema, "Honoured: texts, and pictures as data URLs.", is_required=True
        ),
        "model": fields.choice(
            ["omni-moderation-latest", "text-moderation-latest", "text-moderation-stable"],
            "Honoured: there is one policy; the answer names its version.",
        ),
    }


@dataclasses.dataclass(frozen=True)
class Moderations:
    """The endpoint.

    Attributes:
        services: What judges.
        limits: Bounds.
    """

    services: Services
    limits: Limits

    async def create(self, call: Call) -> Reply:
        """Answers with a result for each text, or one for parts of one message."""
        sent = await call.json(self.limits.data_url_bytes)
        value = fields.read(table(self.limits), sent)["input"]
        if isinstance(value, str):
            value = [value]
        entries = fields.listed(value, "input", least=1, most=MOST_INPUTS)
        judged = [await self._judge(f"input[{i}]", each) for i, each in enumerate(entries)]
        if isinstance(entries[0], dict):
            judged = [_joined(judged)]
        version = str(getattr(judged[0][0][1], "policy", "omnigen"))
        results = [_result(each) for each in judged]
        name = f"modr-{secrets.token_hex(12)}"
        return reply({"id": name, "model": version, "results": results})

    async def _judge(self, param: str, value: Any) -> list[tuple[str, Decision]]:
        safety, text = self.services.safety, fields.text(self.limits.prompt, "")
        if isinstance(value, str):
            return [
                ("text", await self._run(safety.judge_prompt, text.read(param, value), *_USUAL))
            ]
        part = fields.mapping(value, param)
        if part.get("type") == "text":
            words = text.read(f"{param}.text", part.get("text"))
            return [("text", await self._run(safety.judge_prompt, words, *_USUAL))]
        if part.get("type") != "image_url":
            kind = shown(part.get("type"))
            raise bad(f"{param}.type", f"is {kind}; allowed: text, image_url")
        where = f"{param}.image_url.url"
        given = fields.mapping(part.get("image_url"), f"{param}.image_url")
        data = pictures.from_text(where, given.get("url"), self.limits)
        return [("image", await self._run(self._judge_picture, where, data))]

    def _judge_picture(self, param: str, data: bytes) -> Decision:
        found = pictures.decode(param, data, self.services.engine.native, self.limits)
        return self.services.safety.judge_picture(found.pixels, *_USUAL)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.services.threads, work, *arguments)


def _joined(judged: Sequence[list[tuple[str, Decision]]]) -> list[tuple[str, Decision]]:
    return [pair for each in judged for pair in each]


def _result(judged: Sequence[tuple[str, Decision]]) -> dict[str, Any]:
    found: dict[str, set[str]] = {name: set() for name in CATEGORIES}
    scores = dict.fromkeys(CATEGORIES, 0.0)
    for kind, decision in judged:
        for name in decision.categories:
            found.setdefault(name, set()).add(kind)
        for name, score in decision.scores.items():
            scores[name] = max(scores.get(name, 0.0), float(score))
    applied = {n: ["text", "image"][: 1 + CATEGORIES.get(n, False)] for n in found}
    kinds = {kind for kind, _ in judged}
    return {
        "flagged": any(not decision.allowed for _, decision in judged),
        "categories": {name: bool(kinds) for name, kinds in found.items()},
        "category_scores": scores,
        "category_applied_input_types": {
            name: [kind for kind in allowed if kind in kinds] for name, allowed in applied.items()
        },
    }
