# SPDX-License-Identifier: Apache-2.0
"""Pictures for other benchmarks, put where those benchmarks' own scorers look for them.

    layout    prompts                                  pictures
    geneval   JSON lines with `prompt`                 00012/samples/0001.png, 00012/metadata.jsonl
    wise      a JSON list of `prompt_id`, `Prompt`     401.png
    dpg       a folder of NAME.txt                     NAME.png, four pictures two by two
    longtext  JSON lines with `prompt_id`, `prompt`    12_0.png ... 12_3.png
    folder    a line of text each                      00012-0.png ...

Prompts are read whole before anything is drawn, and a broken one is named. A picture that is there
and was drawn by the same weights from the same prompt is kept; processes share the rest.
"""

import dataclasses
import enum
import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from omnigen import cli, files, parallel
from omnigen.checkpoints import fingerprint
from omnigen.evals import picture_files, results
from omnigen.evals.picture_files import Job, Painted
from omnigen.generation.generate import generate
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.settings import Sampling
from omnigen.models.omni import Omni, to_uint8
from omnigen.nn.module import Params


class Layout(enum.StrEnum):
    """The benchmark whose scorer is to find the pictures."""

    GENEVAL = "geneval"
    WISE = "wise"
    DPG = "dpg"
    LONGTEXT = "longtext"
    FOLDER = "folder"


COUNTS = {
    Layout.GENEVAL: (4, range(1, 10_000)),
    Layout.WISE: (1, (1,)),
    Layout.DPG: (4, (1, 4)),
    Layout.LONGTEXT: (4, range(1, 10_000)),
    Layout.FOLDER: (1, range(1, 10_000)),
}
"""Pictures a prompt: what the benchmark asks for, and what its layout allows."""

MOST_BYTES = 1 << 26  # of a file of prompts

_MOST_NAME_BYTES = 255  # that a disk takes


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What to draw, the benchmark's name for it, and everything that its file says of it."""

    name: str
    text: str
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def count_of(layout: Layout, count: int | None) -> int:
    """Returns the number of pictures for each prompt.

    Raises:
        ValueError: If the layout has no place for so many.
    """
    usual, allowed = COUNTS[layout]
    if count is not None and count not in allowed:
        some = " or ".join(map(str, allowed)) if len(allowed) < 3 else f"1 to {allowed[-1]}"
        raise ValueError(f"count is {count}; the layout {layout} has room for {some}")
    return usual if count is None else count


def read(path: pathlib.Path, layout: Layout) -> list[Prompt]:
    """Reads all prompts of a file, or a folder for `DPG`.

    Raises:
        ValueError: If it is missing, empty or broken; the message names the line.
    """
    reader: Callable[[pathlib.Path], Iterator[Prompt]] = {
        Layout.GENEVAL: _geneval,
        Layout.WISE: _wise,
        Layout.DPG: _dpg,
        Layout.LONGTEXT: _longtext,
        Layout.FOLDER: _lines_of_text,
    }[layout]
    found, names = [], set()
    for prompt in reader(path):
        if prompt.name in names:
            raise ValueError(f"prompts {path}: prompt_id {prompt.name} occurs twice")
        _check(path, prompt, place(layout, prompt, 9999, count=10_000))
        names.add(prompt.name)
        found.append(prompt)
    if not found:
        raise ValueError(f"prompts {path}: no prompts")
    return found


def place(layout: Layout, prompt: Prompt, sample: int, *, count: int) -> pathlib.PurePosixPath:
    """Returns the path of a picture in the output folder."""
    match layout:
        case Layout.GENEVAL:
            return picture_files.place(int(prompt.name), sample)
        case Layout.LONGTEXT if count > 1:
            return pathlib.PurePosixPath(f"{prompt.name}_{sample}.png")
        case Layout.FOLDER:
            return pathlib.PurePosixPath(f"{prompt.name}-{sample}.png")
    return pathlib.PurePosixPath(f"{prompt.name}.png")


def draw(
    omni: Omni,
    weights: Params,
    prompts: Sequence[Prompt],
    layout: Layout,
    *,
    output: pathlib.Path,
    count: int,
    batch_size: int = 16,
    sampling: Sampling = Sampling(),  # noqa: B008  it is frozen
) -> None:
    """Draws what the output folder lacks, this process its share; returns when all have.

    Args:
        omni: Model that draws.
        weights: Weights of the model.
        prompts: Prompts from `read`.
        layout: Layout of the output folder.
        output: Folder for the pictures.
        count: Number of pictures for each prompt, with seeds 0, 1, ...
        batch_size: Number of pictures drawn at a time.
        sampling: How to draw.
    """
    tiles = count if layout is Layout.DPG else 1
    wanted = [
        Job(i, s, {"prompt": prompt.text}, file=str(place(layout, prompt, s, count=count)))
        for i, prompt in enumerate(prompts)
        for s in range(count // tiles)
    ]
    if layout is Layout.GENEVAL and jax.process_index() == 0:
        for prompt in prompts:
            results.write(
                json.dumps(prompt.metadata) + "\n", output / prompt.name / "metadata.jsonl"
            )
    size = min(max(batch_size // tiles, 1), len(wanted))
    mine = [
        job
        for start in range(jax.process_index() * size, len(wanted), jax.process_count() * size)
        for job in wanted[start : start + size]
    ]
    picture_files.draw(
        output,
        mine,
        functools.partial(_paint, omni, weights, tiles=tiles, sampling=sampling),
        settings={
            "weights": fingerprint.shipped(weights),
            **sampling.resolved(omni.config),
            **({"tiles": tiles} if tiles > 1 else {}),
        },
        batch_size=size,
        what=f"{layout}",
    )
    parallel.meet("drawn")  # a process that ended long before others would end them too


def _paint(
    omni: Omni, weights: Params, batch: Sequence[Job], *, tiles: int, sampling: Sampling
) -> Painted:
    """Draws pictures, or square sheets of `tiles` pictures row by row."""
    seeds = [job.sample * tiles + tile for job in batch for tile in range(tiles)]
    asked = [job.metadata["prompt"] for job in batch for _ in range(tiles)]
    rows = prompt_rows(omni, asked)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    images = to_uint8(generate(omni, weights, rows, keys, sampling))
    side = math.isqrt(tiles)
    _, height, width, channels = images.shape
    sheets = images.reshape(-1, side, side, height, width, channels).swapaxes(2, 3)
    return Painted(sheets.reshape(-1, side * height, side * width, channels))


def _check(path: pathlib.Path, prompt: Prompt, picture: pathlib.PurePosixPath) -> None:
    """Refuses prompts whose pictures could not be written once they are drawn."""
    length = len(os.fsencode(picture.name))
    if length > _MOST_NAME_BYTES:
        start = cli.printable(prompt.name, most=40)
        told = f"{start} names a file of {length} bytes; allowed: up to {_MOST_NAME_BYTES}"
        raise ValueError(f"prompts {path}: {told}")
    try:
        prompt.text.encode()
    except UnicodeEncodeError:
        shown = cli.printable(prompt.text)
        raise ValueError(f"prompts {path}: half a character in {shown}") from None


def _text(path: pathlib.Path) -> str:
    try:
        return files.read(path, most=MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"prompts {path}: cannot be read: {error}") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{where}: nested too deep") from None


def _json_lines(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each object with its place, for messages."""
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"prompts {path}, line {number}"
        found = _json(line, where)
        if not isinstance(found, dict):
            raise ValueError(f"{where}: not an object but {line[:40]}")
        yield where, found


def _field(found: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = found.get(key)
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        needed = "a number" if kind is int else "text"
        raise ValueError(f"{where}: {key} is {json.dumps(value)}; it must be {needed}")
    return value


def _geneval(path: pathlib.Path) -> Iterator[Prompt]:
    for index, (where, found) in enumerate(_json_lines(path)):
        yield Prompt(f"{index:05d}", _field(found, "prompt", str, where), found)


def _longtext(path: pathlib.Path) -> Iterator[Prompt]:
    for where, found in _json_lines(path):
        name = str(_field(found, "prompt_id", int, where))
        yield Prompt(name, _field(found, "prompt", str, where))


def _wise(path: pathlib.Path) -> Iterator[Prompt]:
    found = _json(_text(path), f"prompts {path}")
    if not isinstance(found, list):
        raise ValueError(f"prompts {path}: not a list of objects with prompt_id and Prompt")
    for number, item in enumerate(found, 1):
        where = f"prompts {path}, item {number}"
        if not isinstance(item, dict):
            raise ValueError(f"{where}: not an object but {json.dumps(item)[:40]}")
        name = str(_field(item, "prompt_id", int, where))
        yield Prompt(name, _field(item, "Prompt", str, where))


def _dpg(path: pathlib.Path) -> Iterator[Prompt]:
    if not os.path.isdir(path):
        raise ValueError(f"prompts {path}: not a folder; the layout dpg reads one of NAME.txt")
    for file in sorted(file for file in path.glob("*.txt") if not files.is_hidden(file.name)):
        text = _text(file).strip()
        if not text:
            raise ValueError(f"prompts {file}: empty")
        yield Prompt(file.stem, text)


def _lines_of_text(path: pathlib.Path) -> Iterator[Prompt]:
    lines = _text(path).removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"prompts {path}, line {number}: empty")
        yield Prompt(f"{number - 1:05d}", line.strip())
