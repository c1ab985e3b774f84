# SPDX-License-Identifier: Apache-2.0
"""`/v1/content_provenance_checks`: whether a picture says, or shows, that a machine made it."""

import asyncio
import dataclasses
import time
from typing import Any

from omnigen.serve.api import forms, pictures
from omnigen.serve.api.call import Call, Reply, one, reply
from omnigen.serve.api.errors import ApiError, bad
from omnigen.serve.api.fields import unknown
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.services import Services


@dataclasses.dataclass(frozen=True)
class Origins:
    """The endpoint.

    Attributes:
        services: What reads signatures, and knows pictures that were drawn here.
        limits: Bounds.
    """

    services: Services
    limits: Limits

    async def check(self, call: Call) -> Reply:
        """Answers with what the file's signature says, and whether the picture was drawn here."""
        async with call.form() as form:
            for name in form.keys() - {"file"}:
                raise unknown("", name, ["file"])
            if "file" not in form:
                raise bad("file", "is required", "missing_required_parameter")
            file = one(form["file"], "file")
            if not isinstance(file, forms.File):
                raise bad("file", "must be a file")
            data = file.read()
        if self.services.provenance is None:
            message = "this server signs nothing; it lacks the extra provenance"
            raise ApiError(501, message, code="provenance_not_installed")
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self.services.threads, self._results, data)
        kind = "content_provenance_check"
        return reply({"object": kind, "created_at": int(time.time()), "results": results})

    def _results(self, data: bytes) -> list[dict[str, Any]]:
        provenance = self.services.provenance
        assert provenance is not None
        given = pictures.decode("file", data, self.services.engine.native, self.limits)
        origin = provenance.check(data, pictures.mime(data))
        is_sound = origin.state in ("trusted", "valid")
        signed = {
            "type": "c2pa",
            "outcome": "detected" if is_sound else "not_detected",
            "validation_state": origin.state,
            **{name: getattr(origin, name) for name in ("issuer", "model", "generated_at")},
        }
        known = provenance.find(given.pixels)
        if known is None:
            return [signed]
        looks = {name: known.get(name) for name in ("model", "generated_at")}
        return [signed, {"type": "perceptual_hash", "outcome": "detected", **looks}]
