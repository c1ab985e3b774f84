# SPDX-License-Identifier: Apache-2.0
"""Draws pictures from a prompt: the command, and `Sampler` for Python.

Every picture is drawn by the program for one picture, from its own seed: picture i of `--seed s` is
the picture of `--seed s+i`, however many are drawn. A PNG carries what it takes to draw it again.
"""

import contextlib
import dataclasses
import functools
import json
import math
import operator
import os
import pathlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

import omnigen
from omnigen import cli, config, png, status

if TYPE_CHECKING:
    import numpy as np

    from omnigen.models.omni import Omni
    from omnigen.pretrained import Pretrained

PROGRAM = "omnigen.sample"
USAGE = """
Draws a picture:     python -m omnigen.sample --prompt "a red circle" --output out.png
Draws several:       add --num_images 4; they become out-0.png ... out-3.png, of seeds 0 ... 3
                     and --grid for all of them on one sheet, out-grid.png
Draws one again:     python -m omnigen.sample --recreate out.png
"""

_SOFTWARE = f"omnigen {omnigen.__version__}"

MAX_PROMPT_BYTES = 4000
MAX_IMAGES = 64
MAX_GUIDANCE = 30.0
MAX_TEMPERATURE = 2.0
MAX_STEPS = 1000
MIN_SHIFT, MAX_SHIFT = 0.01, 100.0
MAX_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Request:
    """What to draw; a bad value is a ValueError that names it.

    Attributes:
        prompt: what the picture shows.
        seed: decides all noise; picture i of several has the seed `seed + i`.
        num_images: how many pictures.
        guidance: how strongly the prompt steers; 1 turns guidance off, and costs half.
        temperature: scale of the noise that each token starts from; below 1 pictures are more
            typical and vary less.
        sketch_temperature: likewise of the sketch that a model may write before it draws; 0 takes
            the likeliest.
        head_steps: steps of the flow head a token; None is the checkpoint's own number.
        last_head_steps: steps of the last token, if their number is to change linearly on the way
            there; None for the same number at all tokens.
        head_shift: above 1, the head's steps dwell near the noise; below 1, near the data.
        decoder_steps: steps of the decoder; None is the checkpoint's own number.
    """

    prompt: str
    seed: int = 0
    num_images: int = 1
    guidance: float = 3.0
    temperature: float = 0.65
    sketch_temperature: float = 0.35
    head_steps: int | None = None
    last_head_steps: int | None = None
    head_shift: float = 1.0
    decoder_steps: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            plain = float if isinstance(field.default, float) else operator.index
            try:
                value = value if value is None else plain(value)  # numpy's numbers, too
            except (TypeError, ValueError):
                kind = "a number" if plain is float else "a whole number"
                raise ValueError(f"{field.name} is {value!r}; it must be {kind}") from None
            object.__setattr__(self, field.name, value)
        if not self.prompt.strip():
            raise ValueError(f"prompt {self.prompt!r} is empty")
        try:
            size = len(self.prompt.encode())
        except UnicodeEncodeError:
            raise ValueError(f"prompt {self.prompt!r} is not valid UTF-8") from None
        if size > MAX_PROMPT_BYTES:
            raise ValueError(f"prompt has {size} bytes; at most {MAX_PROMPT_BYTES} are allowed")
        if self.num_images < 1:
            raise ValueError(f"num_images is {self.num_images}; it must be at least 1")
        if not 0 <= self.seed <= self.seed + self.num_images - 1 <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}; seeds must lie in 0 ... {MAX_SEED}")
        if not (math.isfinite(self.guidance) and 0 <= self.guidance <= MAX_GUIDANCE):
            raise ValueError(f"guidance is {self.guidance}; allowed: 0 ... {MAX_GUIDANCE:g}")
        for name in ("temperature", "sketch_temperature"):
            value = getattr(self, name)
            if not 0 <= value <= MAX_TEMPERATURE:
                raise ValueError(f"{name} is {value}; allowed: 0 ... {MAX_TEMPERATURE:g}")
        if not MIN_SHIFT <= self.head_shift <= MAX_SHIFT:
            raise ValueError(
                f"head_shift is {self.head_shift}; allowed: {MIN_SHIFT:g} ... {MAX_SHIFT:g}"
            )
        for name in ("head_steps", "last_head_steps", "decoder_steps"):
            steps = getattr(self, name)
            if steps is not None and not 1 <= steps <= MAX_STEPS:
                raise ValueError(f"{name} is {steps}; allowed: 1 ... {MAX_STEPS}")


class Sampler:
    """A model ready to draw.

    Attributes:
        version: of the model: the same version, settings and seed give the same bytes on the same
            kind of device.
    """

    def __init__(self, model: "Pretrained") -> None:
        """Wraps a loaded model; see `load`."""
        self._omni, self._params = model.omni, model.params
        self.version = model.version

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        expected: Request | None = None,
    ) -> "Sampler":
        """Reads a checkpoint: a workdir, a checkpoint folder, or the shipped model by default.

        Compiled programs are kept between starts of Python, in `$OMNIGEN_CACHE` or
        `~/.cache/omnigen`: JAX's compilation cache is turned on for the whole process, unless the
        program has given JAX one already, or has set `jax_enable_compilation_cache` to False.

        Args:
            checkpoint: where it is.
            expected: what will be drawn first, one picture at a time; its programs are compiled
                while the weights are read.

        Raises:
            ValueError: no checkpoint there, or a damaged or foreign one.
        """
        from omnigen import pretrained

        cli.cache_compilations()

        def compile(omni: "Omni") -> None:
            assert expected is not None
            settings = {name: getattr(expected, name) for name in _SHAPING}
            omni.compile(omni.prompts([expected.prompt]), **settings)

        needed = ("decoder", "ar", "head")
        return cls(pretrained.load(checkpoint, needed=needed, meanwhile=expected and compile))

    def __call__(self, prompt: str, *, batch_size: int = 1, **settings: Any) -> "np.ndarray":
        """Draws pictures, uint8 `[N, H, W, 3]`.

        Args:
            prompt: what they show.
            batch_size: pictures drawn at a time. More are faster on an accelerator, and may differ
                in the last bit from the pictures drawn alone.
            **settings: the other fields of `Request`.

        Raises:
            ValueError: see `Request`.
        """
        import numpy as np

        request = Request(prompt, **settings)
        return np.concatenate(list(self.batches(request, batch_size=batch_size)))

    def batches(self, request: Request, *, batch_size: int = 1) -> Iterator["np.ndarray"]:
        """Draws the pictures of a request `batch_size` at a time, each batch as soon as it is done.

        The last batch is drawn full and cut, so that one program serves all.
        """
        import jax
        import numpy as np

        from omnigen.models.omni import to_uint8

        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        rows = self._omni.prompts([request.prompt] * batch_size)
        make_keys = jax.jit(jax.vmap(jax.random.key))
        for start in range(0, request.num_images, batch_size):
            seeds = [min(request.seed + start + i, MAX_SEED) for i in range(batch_size)]
            images = self._omni.generate(
                self._params,
                rows,
                make_keys(np.asarray(seeds, np.uint32)),
                guidance=request.guidance,
                temperature=request.temperature,
                sketch_temperature=request.sketch_temperature,
                head_steps=request.head_steps,
                last_head_steps=request.last_head_steps,
                head_shift=request.head_shift,
                decoder_steps=request.decoder_steps,
            )
            yield to_uint8(images)[: request.num_images - start]


_SHAPING = ("guidance", "head_steps", "last_head_steps", "decoder_steps")  # shape the programs
_SETTINGS = (*_SHAPING, "temperature", "sketch_temperature", "head_shift")
_MOST_SETTINGS = 4096  # characters
_SHEET = "-grid"  # ends the name of a sheet


def save(image: "np.ndarray", path: pathlib.Path, request: Request, *, version: str) -> None:
    """Writes a uint8 picture as PNG, whole or not at all, with text chunks that can recreate it."""
    png.write(image, path, _chunks(request, version) | {"seed": str(request.seed)})


def save_sheet(images: "np.ndarray", path: pathlib.Path, request: Request, *, version: str) -> None:
    """Writes the pictures of a request as one, with text chunks that say what it shows."""
    seeds = range(request.seed, request.seed + len(images))
    chunks = _chunks(request, version) | {"seeds": " ".join(map(str, seeds))}
    png.write(png.sheet(images), path, chunks)


def _chunks(request: Request, version: str) -> dict[str, str]:
    return {
        "prompt": request.prompt,
        "settings": json.dumps({name: getattr(request, name) for name in _SETTINGS}),
        "model": version,
        "software": _SOFTWARE,
    }


@dataclasses.dataclass(frozen=True)
class Recreation:
    """What a PNG of `save` says about itself."""

    request: Request
    version: str
    software: str
    pixels: "np.ndarray"


def read(path: pathlib.Path) -> Recreation:
    """Reads a PNG of `save`.

    Raises:
        ValueError: no such file, no picture, or not one of ours.
    """
    found = png.read(path)
    texts = found.texts
    if "seeds" in texts:
        one = path.stem.removesuffix(_SHEET) + "-0.png"
        raise ValueError(f"{path} is a sheet of several pictures; name one of them, such as {one}")
    try:
        if len(texts["settings"]) > _MOST_SETTINGS:
            raise ValueError(f"its settings have {len(texts['settings'])} characters")
        settings = json.loads(texts["settings"])
        if not isinstance(settings, dict) or settings.keys() - set(_SETTINGS):
            raise ValueError(f"settings are {settings!r}; allowed: {', '.join(_SETTINGS)}")
        if not re.fullmatch("[0-9]{1,10}", texts["seed"]):
            raise ValueError(f"seed is {texts['seed'][:20]!r}; allowed: 0 ... {MAX_SEED}")
        settings |= {"seed": int(texts["seed"]), "prompt": texts["prompt"]}
        request = config.build(Request, settings)
        software = texts.get("software", "an unknown version")
        return Recreation(request, texts["model"], software, found.pixels)
    except KeyError as error:
        raise ValueError(f"{path} does not say how it was drawn: it has no {error}") from None
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say how it was drawn ({error})") from None


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
    flags.DEFINE_float(
        "guidance",
        Request.guidance,
        f"how strongly the prompt steers, 0 ... {MAX_GUIDANCE:g}; 1 turns guidance off",
        flag_values=values,
    )
    flags.DEFINE_float(
        "temperature",
        Request.temperature,
        f"scale of the noise that each token starts from, 0 ... {MAX_TEMPERATURE:g}",
        flag_values=values,
    )
    flags.DEFINE_float(
        "sketch_temperature",
        Request.sketch_temperature,
        f"likewise for what the model writes before it draws, 0 ... {MAX_TEMPERATURE:g}",
        flag_values=values,
    )
    cli.define_paths(values, "image", "a picture to start from")
    path("checkpoint", None, "a workdir or checkpoint folder; the shipped model if not given")
    integer("head_steps", None, "steps of the flow head a token; the checkpoint's if not given")
    integer(
        "last_head_steps",
        None,
        "steps of the flow head for the last token, the number changing linearly until there; "
        "--head_steps at all tokens if not given",
    )
    flags.DEFINE_float(
        "head_shift",
        Request.head_shift,
        "above 1, the flow head's steps dwell near the noise; below 1, near the data",
        flag_values=values,
    )
    integer("decoder_steps", None, "steps of the decoder; the checkpoint's if not given")
    path("recreate", None, "a PNG of this command to draw again, as NAME-again.png or --output")
    return values


@dataclasses.dataclass(frozen=True)
class _Job:
    """A checked command line.

    Attributes:
        request: what to draw.
        outputs: a file for each picture.
        checkpoint: of the model, if not the one that ships.
        sheet: a file for all of them together, if it was asked for.
        original: what is drawn again, if anything is.
    """

    request: Request
    outputs: tuple[pathlib.Path, ...]
    checkpoint: str | None
    sheet: pathlib.Path | None = None
    original: Recreation | None = None


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
        return _Job(original.request, outputs, values.checkpoint, original=original)
    if values.image:
        raise ValueError(
            f"--image {values.image[0]}: this model draws from text alone; "
            "it was not trained to read pictures"
        )
    for name in ("prompt", "output"):
        if values[name].value is None:
            raise ValueError(f"--{name} is required")
    request = Request(
        prompt=values.prompt,
        seed=values.seed,
        num_images=values.num_images,
        guidance=values.guidance,
        temperature=values.temperature,
        sketch_temperature=values.sketch_temperature,
        head_steps=values.head_steps,
        last_head_steps=values.last_head_steps,
        head_shift=values.head_shift,
        decoder_steps=values.decoder_steps,
    )
    sheet = None
    outputs = _outputs(values.output, values.num_images)
    if values.grid:
        if values.num_images == 1:
            raise ValueError("--grid shows several pictures; add --num_images")
        sheet = pathlib.Path(values.output)
        sheet = sheet.with_name(f"{sheet.stem}{_SHEET}{sheet.suffix}")
        _check_output(sheet)
        if sheet.exists() and "seeds" not in png.read(sheet).texts:
            raise ValueError(f"--grid: {sheet} exists and is no sheet; choose another --output")
    return _Job(request, outputs, values.checkpoint, sheet)


def _outputs(output: str | os.PathLike[str], count: int) -> tuple[pathlib.Path, ...]:
    """The files to write: NAME.png, or NAME-0.png ... for several."""
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
    """Refuses what cannot be written, a name that is too long for the disk above all."""
    with contextlib.suppress(FileNotFoundError):
        path.lstat()
    if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
        raise ValueError(f"--output {path}: exists and is not a writable file")


def _draw(job: _Job, sampler: Sampler, say: status.Status) -> None:
    """Draws and writes the pictures, and says how long each took."""
    import numpy as np

    count, took, images = len(job.outputs), [], []
    started = time.monotonic()
    say.doing(f"drawing picture 1 of {count}")
    for i, (image,) in enumerate(sampler.batches(job.request)):
        one = dataclasses.replace(job.request, seed=job.request.seed + i, num_images=1)
        with cli.bad_input_exits(PROGRAM, (OSError,)):
            save(image, job.outputs[i], one, version=sampler.version)
        seconds, started = time.monotonic() - started, time.monotonic()
        took.append(seconds)
        note = f"{cli.printable(str(job.outputs[i]))}: seed {one.seed}, {seconds:.1f} s"
        if job.original:
            same = np.array_equal(image, job.original.pixels)
            note += ", identical pixels" if same else ", pixels differ from the original's"
            if not same and job.original.software != _SOFTWARE:
                drawer = cli.printable(job.original.software, most=40)
                note += f", which {drawer} drew; this is {_SOFTWARE}"
        say.line(note)
        if i + 1 < count:
            say.doing(f"drawing picture {i + 2} of {count}", left_s=min(took) * (count - i - 1))
        if job.sheet:
            images.append(image)
    if job.sheet:
        with cli.bad_input_exits(PROGRAM, (OSError,)):
            save_sheet(np.stack(images), job.sheet, job.request, version=sampler.version)
        say.line(f"{cli.printable(str(job.sheet))}: all {count}")


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=argv)
        job = _job(values)
        with status.Status(PROGRAM) as say:
            say.doing("loading the model and compiling it, which takes longer the first time")
            # Another model than a PNG names is refused before anything is compiled.
            expected = None if job.original else job.request
            sampler = Sampler.load(job.checkpoint, expected=expected)
        if job.original and job.original.version != sampler.version:
            drawer = cli.printable(job.original.version, most=40)
            raise ValueError(
                f"--recreate {values.recreate}: drawn by model {drawer}, and this is "
                f"model {sampler.version}; give its --checkpoint"
            )
    with status.Status(PROGRAM) as say:
        _draw(job, sampler, say)


if __name__ == "__main__":
    main()
