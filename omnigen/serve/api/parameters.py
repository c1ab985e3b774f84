# SPDX-License-Identifier: Apache-2.0
"""The parameters of OpenAI's picture routes, and what becomes of each.

All names of the newest client are here. `docs/serving.md` shows the tables; a test compares them
with the client's own lists and with what a running server does.
"""

import hashlib
import random
import re
from collections.abc import Mapping
from typing import Any

from omnigen.generation import sampler
from omnigen.generation.settings import Sampling
from omnigen.serve.api import fields, pictures
from omnigen.serve.api.errors import ApiError, bad, shown
from omnigen.serve.api.fields import AUTO, Field, Table
from omnigen.serve.api.limits import Limits

MOST_COUNT, MOST_PARTIALS, MOST_NAME = 10, 3, 512
LEVELS = (AUTO, "low")
# Names under which clients ask for pictures; this server has one model for all of them.
ALIASES = re.compile(r"(gpt|chatgpt|dall-e|o[0-9])(-[a-z0-9.-]+|[0-9a-z.-]*)")
_SETTINGS = {"guidance_scale": "guidance", "temperature": "temperature"}
_KNOBS = Sampling.__dataclass_fields__


def _prompt(limits: Limits) -> Field:
    about = f"Honoured. The model reads up to {sampler.MAX_PROMPT_BYTES} bytes; more is refused."
    return fields.text(limits.prompt, about, is_required=True, least=1)


def _setting(name: str, text: str) -> Field:
    knob = _KNOBS[_SETTINGS[name]].metadata
    return fields.number(knob["least"], knob["most"], f"Honoured: {text}.")


EXTENSIONS: Table = {
    "seed": fields.whole(
        0,
        sampler.MAX_SEED,
        "Honoured: picture i has the seed `seed` + i, and the answer names it. Random if not sent.",
    ),
    "guidance_scale": _setting("guidance_scale", "how strongly the prompt steers"),
    "temperature": _setting("temperature", "less is more typical"),
    "negative_prompt": fields.fixed(
        [""], "Refused unless empty: the model reads one prompt. Say there what is not to be seen."
    ),
}

_SHARED: Table = {
    "background": fields.choice(
        ["opaque", AUTO], "Honoured; `transparent` is refused.", default=AUTO
    ),
    "moderation": fields.choice(LEVELS, "Honoured: the level of the safety policy.", default=AUTO),
    "output_compression": fields.whole(
        0, 100, "Honoured for jpeg and webp, as their quality; for png only 100.", default=100
    ),
    "output_format": fields.choice(
        list(pictures.FORMATS), "Honoured; `gif` and `svg` are refused.", default="png"
    ),
    "partial_images": fields.whole(
        0, MOST_PARTIALS, "Honoured, with `stream`: pictures of the tokens so far.", default=0
    ),
    "size": fields.size(
        "Honoured. The model draws its own size, `drawn_size` in the answer, and the whole "
        "picture is resampled; `auto` is the model's own."
    ),
    "complexity": fields.refused("Refused: it is for vector pictures."),
    "frame_count": fields.refused("Refused: pictures do not move."),
    "frame_duration_ms": fields.refused("Refused: pictures do not move."),
    "svg": fields.refused("Refused: pictures are of pixels."),
}

_QUALITIES = ["low", "medium", "high", "xhigh", "max", AUTO, "standard"]
_QUALITY = "Honoured as the least that will do: all pictures are drawn at `high`, as answers say."
_FIDELITY = fields.choice(["high"], "Honoured; `low` is refused: pictures are read as they are.")


def _model(about: str) -> Field:
    return fields.text(MOST_NAME, about, least=1)


def _images(limits: Limits, qualities: list[str]) -> Table:
    shared = "Honoured: what the log of decisions knows the client by, as a hash"
    return {
        "prompt": _prompt(limits),
        "model": _model("Honoured: the model's name or one of OpenAI's; others are not found."),
        "n": fields.whole(1, MOST_COUNT, "Honoured.", default=1),
        "quality": fields.choice(qualities, _QUALITY, default=AUTO),
        "response_format": fields.choice(
            ["url", "b64_json"], "Honoured. An answer has both if it is not sent."
        ),
        "safety_identifier": fields.text(MOST_NAME, f"{shared}; the answer has it."),
        "stream": fields.flag("Honoured."),
        "user": fields.text(MOST_NAME, f"{shared}, if there is no `safety_identifier`."),
        **_SHARED,
        **EXTENSIONS,
    }


def generation(limits: Limits) -> Table:
    """Returns the fields of `/v1/images/generations`."""
    style = fields.refused("Refused: the prompt says what a picture looks like.")
    return {**_images(limits, [*_QUALITIES, "hd"]), "style": style}


def edit(limits: Limits) -> Table:
    """Returns the fields of `/v1/images/edits` beside its pictures."""
    markup = fields.refused("Refused: the model cannot read it; use `mask`.")
    return {**_images(limits, _QUALITIES), "input_fidelity": _FIDELITY, "markup": markup}


TOOL: Table = {
    "type": fields.choice(["image_generation"], "Honoured."),
    "action": fields.choice(
        ["generate", "edit", AUTO],
        "Honoured: `auto` edits if the turn, or one before it, has a picture.",
        default=AUTO,
    ),
    "model": _model("Honoured, as `model` of the request."),
    "quality": fields.choice(_QUALITIES, _QUALITY, default=AUTO),
    "input_fidelity": _FIDELITY,
    "input_image_mask": fields.anything(
        {
            "type": "object",
            "properties": {"image_url": {"type": "string"}},
            "required": ["image_url"],
            "additionalProperties": False,
        },
        "Honoured as a data URL; `file_id` is refused.",
    ),
    **_SHARED,
}


def check_model(name: str | None, own: str, param: str = "model") -> None:
    """Checks that this server has a model of that name.

    Args:
        name: Name that was sent, if any.
        own: Name of the model.
        param: Name of the field.

    Raises:
        ApiError: If it has not.
    """
    if name is None or name == own or ALIASES.fullmatch(name):
        return
    message = f"{param}: there is no model {shown(name)}; allowed: {own}, and names of OpenAI's"
    raise ApiError(404, message, param=param, code="model_not_found")


def who(found: Mapping[str, Any], tenant: str) -> str:
    """Returns a digest of who asks: of the client's user if it names one, and of the tenant."""
    name = found.get("safety_identifier") or found.get("user") or ""
    return hashlib.sha256(f"{tenant}\0{name}".encode()).hexdigest()[:16]


def settings(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of `Sampling` that were sent."""
    sent = {ours: found[name] for name, ours in _SETTINGS.items()}
    return {name: value for name, value in sent.items() if value is not None}


def seed(found: Mapping[str, Any], count: int) -> int:
    """Returns the seed of the first of `count` pictures.

    Raises:
        ApiError: If the seeds of the others would be too large.
    """
    if found["seed"] is None:
        return random.SystemRandom().randrange(sampler.MAX_SEED - count)
    if found["seed"] + count - 1 > sampler.MAX_SEED:
        raise bad("seed", f"is {found['seed']}; of {count} pictures allowed: {_room(count)}")
    return found["seed"]


def _room(count: int) -> str:
    return f"0 ... {sampler.MAX_SEED - count + 1}"


def form(found: Mapping[str, Any], within: str = "") -> pictures.Format:
    """Returns the format of the files.

    Raises:
        ApiError: If a PNG is to be compressed with loss.
    """
    name, quality = found["output_format"], found["output_compression"]
    if name == "png" and quality != 100:
        param = f"{within}output_compression"
        raise bad(param, f"is {quality}; allowed: 100 for png, 0 ... 100 for jpeg and webp")
    return pictures.Format(name, quality)


def check_partials(found: Mapping[str, Any], *, is_stream: bool, within: str = "") -> int:
    """Returns the number of previews.

    Raises:
        ApiError: If there are to be some, but no stream to send them in.
    """
    if found["partial_images"] and not is_stream:
        count = found["partial_images"]
        raise bad(f"{within}partial_images", f"is {count}; allowed: 0, or any with stream: true")
    return found["partial_images"]
