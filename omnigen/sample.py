# SPDX-License-Identifier: Apache-2.0
"""The command that draws pictures from a prompt. `Sampler` does so from Python."""

import contextlib
import dataclasses
import datetime
import functools
import os
import pathlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from omnigen import cli, extras, png, progress, safety
from omnigen.generation import spans
from omnigen.generation.sampler import (
    MAX_PROMPT_BYTES,
    SHEET,
    SOFTWARE,
    Drawing,
    Recreation,
    Request,
    Sampler,
    read,
    save,
    save_sheet,
)
from omnigen.generation.settings import Sampling

if TYPE_CHECKING:
    import numpy as np

    from omnigen.safety.provenance.signing import Signer

PROGRAM = "omnigen.sample"
USAGE = """
Draws a picture:     python -m omnigen.sample --prompt "a red circle" --output out.png
Draws several:       add --num_images 4; they become out-0.png ... out-3.png, of seeds 0 ... 3
                     and --grid for all of them on one sheet, out-grid.png
Says what it meant:  add --explain; it prints a line of English for each picture
Draws one again:     python -m omnigen.sample --recreate out.png

Prompts and pictures that the policy of docs/safety.md refuses end in one line and exit code 2.
"""

MAX_IMAGES = 64


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    text("prompt", None, f"what the picture shows, up to {MAX_PROMPT_BYTES} bytes")
    path = functools.partial(cli.define_path, values)
    path("output", None, "the PNG to write")
    integer("seed", 0, "decides all noise")
    integer("num_images", 1, "how many pictures", lower_bound=1, upper_bound=MAX_IMAGES)
    sheet = "also write all pictures as one, NAME-grid.png"
    flags.DEFINE_bool("grid", False, sheet, flag_values=values)
    explain = "also print, in words, what the model meant each picture to hold"
    flags.DEFINE_bool("explain", False, explain, flag_values=values)
    Sampling.define(values)
    cli.define_paths(values, "image", "a picture to start from")
    path("checkpoint", None, "a workdir or checkpoint folder; the shipped model if not given")
    about = "what is refused: auto, or low, which lets pass what is mild (docs/safety.md)"
    flags.DEFINE_enum("moderation", "auto", list(safety.LEVELS), about, flag_values=values)
    path("recreate", None, "a PNG of this command to draw again, as NAME-again.png or --output")
    provenance = (
        "sign pictures, so that they say who made them (docs/provenance.md); they are signed "
        "without this flag, too, if the extra is installed"
    )
    flags.DEFINE_bool("provenance", None, provenance, flag_values=values)
    return values


@dataclasses.dataclass(frozen=True)
class _Job:
    """A checked command line.

    Attributes:
        request: What to draw.
        outputs: Files, one for each picture.
        checkpoint: Checkpoint of the model, if not the one that ships.
        sheet: File for all of them together, if it was asked for.
        original: Picture that is drawn again, if any.
        explain: Whether what the model wrote of each picture is printed in words.
        signer: What signs the pictures, if they are signed.
        moderation: One of `safety.LEVELS`.
    """

    request: Request
    outputs: tuple[pathlib.Path, ...]
    checkpoint: str | None
    sheet: pathlib.Path | None = None
    original: Recreation | None = None
    explain: bool = False
    signer: "Signer | None" = None
    moderation: str = "auto"


_SETTINGS = tuple(field.name for field in dataclasses.fields(Sampling))
_REQUEST_FLAGS = ("prompt", "seed", "num_images", *_SETTINGS, "image", "grid")


def _job(values: flags.FlagValues) -> _Job:
    """Checks the flags without importing jax or writing anything."""
    if values.recreate is not None:
        given = [name for name in _REQUEST_FLAGS if values[name].present]
        if given:
            raise ValueError(f"--recreate takes everything from the PNG; drop --{given[0]}")
        source = pathlib.Path(values.recreate)
        output = values.output or source.with_name(f"{source.stem}-again.png")
        original = read(source)
        outputs = _outputs(output, 1)
        explain = values.explain
        return _Job(original.request, outputs, values.checkpoint, None, original, explain)
    if values.image:
        raise ValueError(
            f"--image {values.image[0]}: this model draws from text alone; "
            "it was not trained to read pictures"
        )
    for name in ("prompt", "output"):
        if values[name].value is None:
            raise ValueError(f"--{name} is required")
    settings: dict[str, Any] = {name: values[name].value for name in _SETTINGS}
    request = Request(values.prompt, values.seed, values.num_images, **settings)
    sheet = None
    outputs = _outputs(values.output, values.num_images)
    if values.grid:
        if values.num_images == 1:
            raise ValueError("--grid shows several pictures; add --num_images")
        sheet = pathlib.Path(values.output)
        sheet = sheet.with_name(f"{sheet.stem}{SHEET}{sheet.suffix}")
        _check_output(sheet)
        if sheet.exists() and "seeds" not in png.read(sheet).texts:
            raise ValueError(f"--grid: {sheet} exists and is no sheet; choose another --output")
    return _Job(request, outputs, values.checkpoint, sheet, explain=values.explain)


def _signer(wanted: bool | None) -> "Signer | None":
    """Returns what signs the pictures; None if they are not to be signed.

    Raises:
        MissingExtraError: If they are, and the extra is not installed.
        ValueError: If the user's certificate is of no use.
    """
    if wanted is False or wanted is None and not extras.installed("provenance"):
        return None
    from omnigen.safety.provenance.signing import Signer

    return Signer.load()


def _remember(image: "np.ndarray", request: Request, version: str) -> None:
    """Logs how a picture looks, for `omnigen.provenance`; a log that fails is only warned of."""
    from omnigen.safety.provenance.hashes import HashLog

    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {"software": SOFTWARE, "model": version, "generated_at": now}
    try:
        if log := HashLog.of_user():
            log.add(image, record | {"seed": str(request.seed)})
    except (OSError, ValueError) as error:
        progress.say(f"{PROGRAM}: warning: the picture is not in the log: {error}")


def _outputs(output: str | os.PathLike[str], count: int) -> tuple[pathlib.Path, ...]:
    """Returns the files to write: NAME.png, or NAME-0.png ... for several."""
    path = pathlib.Path(output)
    if path.suffix.lower() != ".png":
        raise ValueError(f"--output {output}: must end in .png")
    if not path.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"--output {output}: the folder {path.parent} is not writable")
    names = [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(count)]
    paths = tuple(names) if count > 1 else (path,)
    for each in paths:
        _check_output(each)
    return paths


def _check_output(path: pathlib.Path) -> None:
    """Refuses paths that cannot be written, such as a name too long for the disk."""
    with contextlib.suppress(FileNotFoundError):
        path.lstat()
    if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
        raise ValueError(f"--output {path}: exists and is not a writable file")


def _pass(decision: safety.Decision, what: str) -> None:
    """Refuses what was judged, without repeating it.

    Raises:
        ValueError: If the policy refuses it.
    """
    if not decision.allowed:
        raise ValueError(f"{what} is {decision}; see docs/safety.md")


def _judge_drawing(drawing: Drawing, level: str) -> None:
    """Judges what the model wrote of a picture and, if they can be read, the words on it.

    Raises:
        ValueError: If the policy refuses it.
    """
    meant = safety.judge_prompt(drawing.explanation, level=level, stage="output")
    _pass(meant, "what the model meant to draw")
    if extras.installed("ocr"):
        from omnigen.evals.judges import reading

        def read(pixels: "np.ndarray") -> list[str]:
            return [line.text for line in reading.rapidocr(pixels)]

        _pass(safety.judge_picture(drawing.pixels, level=level, read=read), "a picture")


def _draw(job: _Job, sampler: Sampler, told: progress.Progress) -> None:
    """Draws, judges and writes the pictures, and prints how long each took."""
    import numpy as np

    images, version = [], sampler.version
    sign = None
    if job.signer:
        sign = functools.partial(job.signer.sign, mime="image/png", model=version)
        progress.say(f"pictures are signed by {job.signer.issuer}; --noprovenance leaves that out")
    started = time.monotonic()
    for i, drawing in enumerate(told.each(sampler.drawings(job.request))):
        image, sketch = drawing.pixels, drawing.sketch
        one = dataclasses.replace(job.request, seed=job.request.seed + i, num_images=1)
        with cli.bad_input_exits(PROGRAM):
            _judge_drawing(drawing, job.moderation)
        with cli.bad_input_exits(PROGRAM, (OSError,)):
            save(image, job.outputs[i], one, version=version, sketch=sketch, sign=sign)
        if sign:
            _remember(image, one, version)
        seconds, started = time.monotonic() - started, time.monotonic()
        note = f"{cli.printable(str(job.outputs[i]))}: seed {one.seed}, {seconds:.1f} s"
        if job.original:
            same = np.array_equal(image, job.original.pixels)
            note += ", identical pixels" if same else ", pixels differ from the original's"
            if not same and job.original.software != SOFTWARE:
                drawer = cli.printable(job.original.software, most=40)
                note += f", which {drawer} drew; this is {SOFTWARE}"
        progress.say(note)
        for line in drawing.warnings:
            progress.say(f"{PROGRAM}: warning: {line}")
        if job.explain:
            cli.say(drawing.explanation or "the model wrote nothing before it drew")
        if job.sheet:
            images.append(image)
    if job.sheet:
        with cli.bad_input_exits(PROGRAM, (OSError,)):
            save_sheet(images, job.sheet, job.request, version=version, sign=sign)
        progress.say(f"{cli.printable(str(job.sheet))}: all {len(images)}")


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=argv)
        job = _job(values)
        words, level = spans.words(job.request.prompt), values.moderation
        _pass(safety.judge_prompt(words, level=level), "the prompt")
        job = dataclasses.replace(job, signer=_signer(values.provenance), moderation=level)
        with progress.work("loading and compiling the model"):
            # Another model than a PNG names is refused before anything is compiled.
            expected = None if job.original else job.request
            sampler = Sampler.load(job.checkpoint, expected=expected)
        if job.original and job.original.version != sampler.version:
            drawer = cli.printable(job.original.version, most=40)
            raise ValueError(
                f"--recreate {values.recreate}: drawn by model {drawer}, and this is "
                f"model {sampler.version}; give its --checkpoint"
            )
    with progress.work("drawing pictures", len(job.outputs)) as told:
        _draw(job, sampler, told)


if __name__ == "__main__":
    main()
