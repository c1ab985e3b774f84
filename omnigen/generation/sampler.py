# SPDX-License-Identifier: Apache-2.0
"""Drawing from Python: a request, what draws it, and PNGs that say how they were drawn.

Every picture is drawn by the program for one picture, from its own seed: picture i of seed s is
the picture of seed s + i, however many are drawn.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import omnigen
from omnigen import cli, config, png
from omnigen.generation import spans
from omnigen.generation.settings import Sampling, number
from omnigen.generation.spans import Prompt
from omnigen.wording.quotes import straightened

if TYPE_CHECKING:
    import numpy as np

    from omnigen.generation.generate import Drawn
    from omnigen.generation.pretrained import Pretrained
    from omnigen.models.omni import Omni

SOFTWARE = f"omnigen {omnigen.__version__}"
SHEET = "-grid"  # ends the name of a sheet

MAX_PROMPT_BYTES = 4000
MAX_SEED = 2**32 - 1
_MOST_SETTINGS = 4096  # characters
_PICTURES = "pictures"  # the chunk that tells SHA-256 of given pictures
_SKETCH = "sketch"  # the chunk that tells what the model wrote
_READ = "read"  # the chunk that tells the prompt as it was read, if not as it was typed


@dataclasses.dataclass(frozen=True)
class Request(Sampling):
    """What to draw, and how; a bad value is a ValueError that names it.

    Attributes:
        prompt: Description of the picture.
        seed: Seed of all noise; picture i of several has the seed `seed + i`.
        num_images: Number of pictures.
        straighten: Whether the model reads typographic quotation marks, such as phones type, as
            straight ones; what they quote stays as it is (`wording.quotes`).
    """

    prompt: Prompt
    seed: int = 0
    num_images: int = 1
    straighten: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("seed", "num_images"):
            object.__setattr__(self, name, number(name, getattr(self, name), whole=True))
        if not isinstance(self.prompt, str):
            object.__setattr__(self, "prompt", spans.spans(self.prompt))
        words, pictures = spans.words(self.prompt), spans.pictures(self.prompt)
        if not words.strip() and not pictures:
            raise ValueError(f"prompt {self.prompt!r} is empty")
        try:
            size = len("".join([words, *(picture.sketch for picture in pictures)]).encode())
        except UnicodeEncodeError:
            raise ValueError(f"prompt {words!r} is not valid UTF-8") from None
        if size > MAX_PROMPT_BYTES:
            raise ValueError(f"prompt has {size} bytes; at most {MAX_PROMPT_BYTES} are allowed")
        if self.num_images < 1:
            raise ValueError(f"num_images is {self.num_images}; it must be at least 1")
        if not 0 <= self.seed <= self.seed + self.num_images - 1 <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}; seeds must lie in 0 ... {MAX_SEED}")

    @property
    def as_read(self) -> Prompt:
        """The prompt as the model reads it."""
        if not self.straighten:
            return self.prompt
        if isinstance(self.prompt, str):
            return straightened(self.prompt)
        found = spans.spans(self.prompt)
        return tuple(straightened(span) if isinstance(span, str) else span for span in found)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A picture, and what the model wrote of it before it drew it.

    Attributes:
        pixels: Picture, uint8 `[H, W, 3]`.
        sketch: What the model wrote (`scenes.sketch`); empty if it writes nothing.
        prompt: Words of the prompt, as they were typed.
    """

    pixels: "np.ndarray"
    sketch: str
    prompt: str = ""

    @property
    def explanation(self) -> str:
        """The sketch in English: "a red circle, top left; on plain white"; empty without one."""
        from omnigen.scenes import explanation, reading

        return explanation.explain(reading.read(self.sketch)) if self.sketch else ""

    @property
    def warnings(self) -> list[str]:
        """A line for each noun, count or quoted word of the prompt that the sketch lacks.

        Things that the prompt rules out and the sketch shows have lines, too. Where the prompt is
        hard to read there are none, and without a sketch neither: see `scenes.omissions`.
        """
        from omnigen.scenes import omissions, reading

        found = reading.read(self.sketch)
        return omissions.omissions(self.prompt, found) if self.sketch else []


class Sampler:
    """A model ready to draw.

    Attributes:
        version: Version of the model: the same version, settings and seed give the same bytes on
            the same kind of device.
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
            checkpoint: Path of the checkpoint.
            expected: What will be drawn first, one picture at a time; its programs are compiled
                while the weights are read.

        Raises:
            ValueError: If there is no checkpoint, or it is damaged or foreign.
        """
        import jax
        import jax.numpy as jnp

        from omnigen.generation import pretrained
        from omnigen.generation.generate import compile
        from omnigen.generation.prompt import prompt_rows

        cli.cache_compilations()

        def prepare(omni: "Omni") -> None:
            assert expected is not None
            weights = None
            if spans.pictures(expected.prompt):  # the encoder is compiled as well, with any weights
                dtype = omni.config.encoder.dtype
                zeros = lambda leaf: jnp.zeros(leaf.shape, dtype)  # noqa: E731
                weights = {"encoder": jax.tree.map(zeros, omni.encoder.shapes())}
            compile(omni, prompt_rows(omni, [expected.as_read], weights), expected)

        needed = ("decoder", "ar", "head")
        return cls(pretrained.load(checkpoint, needed=needed, meanwhile=expected and prepare))

    def __call__(self, prompt: Prompt, *, batch_size: int = 1, **settings: Any) -> "np.ndarray":
        """Draws pictures, uint8 `[N, H, W, 3]`.

        Args:
            prompt: Description of the pictures.
            batch_size: Number of pictures drawn at a time. More are faster on an accelerator, and
                may differ in the last bit from the pictures drawn alone.
            **settings: Other fields of `Request`.

        Raises:
            ValueError: As in `Request`.
        """
        import numpy as np

        request = Request(prompt, **settings)
        return np.concatenate(list(self.batches(request, batch_size=batch_size)))

    def batches(self, request: Request, *, batch_size: int = 1) -> Iterator["np.ndarray"]:
        """Draws the pictures of a request `batch_size` at a time, each batch as soon as it is done.

        The last batch is drawn full and cut, so that one program serves all.

        Raises:
            ValueError: If the batch size is none, or the model cannot read a picture of the prompt.
        """
        from omnigen.models.omni import to_uint8

        for start, drawn in self._drawn(request, batch_size):
            yield to_uint8(drawn.images)[: request.num_images - start]

    def drawings(self, request: Request, *, batch_size: int = 1) -> Iterator[Drawing]:
        """Draws what `batches` does, and tells of each picture what the model wrote of it.

        So one learns what the model understood: `drawing.explanation` says it in English, and
        `drawing.warnings` what of the prompt is not in it.

        Raises:
            ValueError: As in `batches`.
        """
        from omnigen.generation.generate import sketches
        from omnigen.models.omni import to_uint8

        for start, drawn in self._drawn(request, batch_size):
            both = zip(to_uint8(drawn.images), sketches(self._omni, drawn.ids), strict=True)
            for pixels, sketch in itertools.islice(both, request.num_images - start):
                yield Drawing(pixels, sketch, spans.words(request.prompt))

    def _drawn(self, request: Request, batch_size: int) -> Iterator[tuple[int, "Drawn"]]:
        """Yields full batches, each with the number of its first picture."""
        import jax
        import numpy as np

        from omnigen.generation.generate import drawn
        from omnigen.generation.prompt import prompt_rows

        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        rows = prompt_rows(self._omni, [request.as_read] * batch_size, self._params)
        make_keys = jax.jit(jax.vmap(jax.random.key))
        for start in range(0, request.num_images, batch_size):
            seeds = [min(request.seed + start + i, MAX_SEED) for i in range(batch_size)]
            keys = make_keys(np.asarray(seeds, np.uint32))
            yield start, drawn(self._omni, self._params, rows, keys, request)


def save(
    image: "np.ndarray",
    path: pathlib.Path,
    request: Request,
    *,
    version: str,
    sketch: str = "",
    sign: Callable[[bytes], bytes] | None = None,
) -> None:
    """Writes a uint8 picture as PNG, whole or not at all, with text chunks that can recreate it.

    Args:
        image: Picture, uint8 `[H, W, 3]`.
        path: File to write.
        request: What was drawn.
        version: Version of the model.
        sketch: What the model wrote, for people to read; empty if it wrote nothing.
        sign: Signs the bytes of the file; see `png.write`.
    """
    png.write(image, path, _own_chunks(request, version, sketch), sign=sign)


def encode(image: "np.ndarray", request: Request, *, version: str, sketch: str = "") -> bytes:
    """Returns the PNG that `save` writes, unsigned.

    Args:
        image: Picture, uint8 `[H, W, 3]`.
        request: What was drawn.
        version: Version of the model.
        sketch: What the model wrote.
    """
    return png.encode(image, _own_chunks(request, version, sketch))


def _own_chunks(request: Request, version: str, sketch: str) -> dict[str, str]:
    chunks = _chunks(request, version) | {"seed": str(request.seed)}
    return chunks | ({_SKETCH: sketch} if sketch else {})


def save_sheet(
    images: Sequence["np.ndarray"],
    path: pathlib.Path,
    request: Request,
    *,
    version: str,
    sign: Callable[[bytes], bytes] | None = None,
) -> None:
    """Writes the pictures of a request as one, with text chunks that say what it shows."""
    import numpy as np

    seeds = range(request.seed, request.seed + len(images))
    chunks = _chunks(request, version) | {"seeds": " ".join(map(str, seeds))}
    png.write(png.sheet(np.stack(images)), path, chunks, sign=sign)


def _chunks(request: Request, version: str) -> dict[str, str]:
    """Returns what a PNG says of a request; of given pictures only which they were."""
    given = " ".join(picture.digest for picture in spans.pictures(request.prompt))
    typed, read = spans.words(request.prompt), spans.words(request.as_read)
    return {
        "prompt": typed,
        **({_READ: read} if read != typed else {}),
        **({_PICTURES: given} if given else {}),
        "settings": json.dumps(request.settings()),
        "model": version,
        "software": SOFTWARE,
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
        ValueError: If there is no such file, or it is no picture or not one of ours.
    """
    found = png.read(path)
    texts, known = found.texts, [field.name for field in dataclasses.fields(Sampling)]
    if "seeds" in texts:
        one = path.stem.removesuffix(SHEET) + "-0.png"
        raise ValueError(f"{path} is a sheet of several pictures; name one of them, such as {one}")
    if _PICTURES in texts:
        raise ValueError(f"{path} was drawn from pictures, too, which it does not hold")
    try:
        if len(texts["settings"]) > _MOST_SETTINGS:
            raise ValueError(f"its settings have {len(texts['settings'])} characters")
        settings = json.loads(texts["settings"])
        if not isinstance(settings, dict) or settings.keys() - set(known):
            raise ValueError(f"settings are {settings!r}; allowed: {', '.join(known)}")
        if not re.fullmatch("[0-9]{1,10}", texts["seed"]):
            raise ValueError(f"seed is {texts['seed'][:20]!r}; allowed: 0 ... {MAX_SEED}")
        typed = texts["prompt"]
        settings |= {"seed": int(texts["seed"]), "prompt": typed}
        settings["straighten"] = _READ in texts or straightened(typed) == typed
        request = config.build(Request, settings)
        software = texts.get("software", "an unknown version")
        return Recreation(request, texts["model"], software, found.pixels)
    except KeyError as error:
        raise ValueError(f"{path} does not say how it was drawn: it has no {error}") from None
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not say how it was drawn ({error})") from None
