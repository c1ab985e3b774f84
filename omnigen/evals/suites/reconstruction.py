# SPDX-License-Identifier: Apache-2.0
"""What survives the tokens: held-out scenes, encoded, decoded, and compared pixel by pixel.

PSNR = 10 log10(255^2 / MSE)  dB, the MSE of uint8 values in float64
SSIM = mean of (2 m n + C1)(2 c + C2) / ((m^2 + n^2 + C1)(v + w + C2))

over all windows within the picture and the three channels, m, n, v, w, c being means, variances and
covariance of uint8 values under a Gaussian of sigma 1.5 on 11 x 11 pixels, C1 = (0.01 * 255)^2,
C2 = (0.03 * 255)^2 (Wang et al., 2004). Neither sees whether letters survive; a reader does.
"""

import itertools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import ndimage

from omnigen import progress
from omnigen.data.stream import pipeline, world
from omnigen.evals import results
from omnigen.evals.judges import reading
from omnigen.evals.results import Estimate, Outcome
from omnigen.models.omni import Omni, to_pixels, to_uint8
from omnigen.nn.module import Params
from omnigen.scenes.scene import Kind

Reader = Callable[[np.ndarray], Sequence[reading.Line]]

MAX_PSNR = 60.0  # what a picture counts that is right to the last bit


def mean_squared_errors(ours_NHWC: np.ndarray, theirs_NHWC: np.ndarray) -> np.ndarray:
    """Returns the MSE of each pair of uint8 pictures, float64 `[N]`."""
    assert ours_NHWC.dtype == theirs_NHWC.dtype == np.uint8
    differences = ours_NHWC.astype(np.float64) - theirs_NHWC.astype(np.float64)
    return np.mean(np.square(differences), axis=(1, 2, 3))


def psnr(mean_squared_error: np.ndarray | float) -> np.ndarray:
    """Returns the peak signal-to-noise ratio of uint8 pictures in dB, at most `MAX_PSNR`."""
    floor = 255.0**2 / 10.0 ** (MAX_PSNR / 10.0)
    return 10.0 * np.log10(255.0**2 / np.maximum(mean_squared_error, floor))


def similarity(ours_HWC: np.ndarray, theirs_HWC: np.ndarray) -> float:
    """Returns the SSIM of two uint8 pictures of at least 11 pixels a side."""
    assert ours_HWC.dtype == theirs_HWC.dtype == np.uint8

    def mean(values_HWC: np.ndarray) -> np.ndarray:
        blurred = ndimage.gaussian_filter(values_HWC, (1.5, 1.5, 0), truncate=3.5)
        return blurred[5:-5, 5:-5]

    x, y = ours_HWC.astype(np.float64), theirs_HWC.astype(np.float64)
    mx, my = mean(x), mean(y)
    covariance = mean(x * y) - mx * my
    variances = mean(x * x) - mx * mx + mean(y * y) - my * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mx * my + c1) * (2 * covariance + c2)
    return float(np.mean(above / ((mx * mx + my * my + c1) * (variances + c2))))


def scenes(omni: Omni, kind: Kind, *, count: int) -> np.ndarray:
    """Returns the first held-out scenes of a kind at the model's size, uint8 `[count, H, W, 3]`."""
    data = pipeline.DataConfig(image_size=omni.config.image_size)
    examples = world.eval_examples(data, kind, count=count, start=0)
    return np.stack([example.image for example in examples])


class Reconstruction:
    """PSNR, SSIM and, given a reader, words of the first held-out scenes of each kind.

    The decoder's noise is always the same. Files, unless `output` is None: each true picture beside
    its reconstruction, under `pictures/COLUMN/reconstruction`.
    """

    name = "reconstruction"

    def __init__(
        self,
        omni: Omni,
        *,
        count: int = 64,
        num_steps: int | None = None,
        batch_size: int = 32,
        reader: Reader | None = None,
        output: pathlib.Path | None = None,
        column: str = "model",
    ):
        """Judges by `count` pictures of each kind, decoded in `num_steps` or the model's own."""
        self._omni, self._count = omni, count
        self._num_steps = num_steps or omni.config.decoder.num_steps
        self._batch_size = batch_size
        self._reader, self._output, self._column = reader, output, column

    def run(self, params: Params, frozen: Params) -> Iterator[tuple[str, float]]:
        """Yields the scores without intervals."""
        outcome = self.judge(params, frozen)
        yield from ((name, results.value(score)) for name, score in outcome.scores.items())

    def judge(self, params: Params, frozen: Params) -> Outcome:
        """Returns all that was found; the ceiling is what is read off the true pictures.

        Scores are per kind `KIND/psnr_dB` and so on, then over all kinds. `pooled_psnr_dB` is the
        PSNR of the mean MSE, in which the worst pictures weigh most. `bits_per_image` are of tokens
        of bfloat16 numbers.
        """
        data = pipeline.DataConfig(image_size=self._omni.config.image_size)
        records: list[dict[str, Any]] = []
        with progress.work(f"{self.name}: pictures", self._count * len(Kind)) as done:
            for kind in Kind:
                examples = world.eval_examples(data, kind, count=self._count, start=0)
                images = np.stack([example.image for example in examples])
                rebuilt = itertools.chain.from_iterable(self._rebuilt({**frozen, **params}, images))
                for number, (example, image) in enumerate(zip(examples, rebuilt, strict=True)):
                    record = {"index": len(records), "tag": str(kind), "prompt": example.caption}
                    file = self._saved(f"{kind}-{number:04d}.png", example.image, image)
                    records.append({**record, "file": file, **self._compared(example, image)})
                    done.add()
        tokens = math.prod(self._omni.config.grid)
        scores: dict[str, Estimate | float] = {}
        for kind in Kind:
            scores |= _scores(f"{kind}/", [r for r in records if r["tag"] == kind])
        scores |= _scores("", records)
        scores["tokens_per_image"] = tokens
        scores["bits_per_image"] = 16 * tokens * self._omni.config.encoder.latent_dim
        ceiling: dict[str, Estimate | float] = {}
        for part in (*(f"{kind}/" for kind in Kind), ""):
            mine = [r for r in records if f"{r['tag']}/" == part or not part]
            ceiling |= _words(part, mine, "true_right")
        about = {"judge": reading.version() if self._reader else "", "num_steps": self._num_steps}
        return Outcome(scores, about, records, ceiling=ceiling)

    def _compared(self, example: world.Example, image: np.ndarray) -> dict[str, Any]:
        """Returns the record of one picture."""
        error = float(mean_squared_errors(image[None], example.image[None])[0])
        record: dict[str, Any] = {
            "mse": error,
            "psnr_dB": float(psnr(error)),
            "ssim": similarity(image, example.image),
        }
        lines = [text.words for text in example.scene.texts]
        if self._reader and lines:
            ours, theirs = (
                reading.compare(lines, " ".join(line.text for line in self._reader(each)))
                for each in (image, example.image)
            )
            words = [word for line in lines for word in reading.words(" ".join(line))]
            flags = zip(words, ours.right, theirs.right, strict=True)
            record["atoms"] = [
                {"what": word, "wanted": 1, "found": int(a), "met": a, "true_right": b}
                for word, a, b in flags
            ]
        return record

    def _saved(self, name: str, true: np.ndarray, rebuilt: np.ndarray) -> str:
        """Writes both pictures side by side; returns the file's name in the output folder."""
        if self._output is None:
            return ""
        path = self._output / "pictures" / self._column / self.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate([true, rebuilt], axis=1)).save(path)
        return path.relative_to(self._output).as_posix()

    def reconstruct(self, weights: Params, images: np.ndarray) -> np.ndarray:
        """Encodes and decodes uint8 pictures in batches of one size, the last padded."""
        return np.concatenate(list(self._rebuilt(weights, images)))

    def _rebuilt(self, weights: Params, images: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the batches of `reconstruct`."""
        size = self._batch_size
        for start in range(0, len(images), size):
            part = images[start : start + size]
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            keys = jax.random.split(jax.random.fold_in(jax.random.key(0), start), size)
            pixels = to_pixels(jnp.asarray(full))
            decoded = self._omni.reconstruct(weights, pixels, keys, num_steps=self._num_steps)
            yield to_uint8(decoded)[: len(part)]


def _scores(part: str, records: Sequence[dict[str, Any]]) -> dict[str, Estimate | float]:
    """Returns the scores of some pictures; names begin with the part's."""
    numbers = [record["index"] for record in records]
    means = {
        name: results.ratio(f"reconstruction {part}", numbers, [r[name] for r in records])
        for name in ("psnr_dB", "mse", "ssim")
    }
    pooled = results.combine(lambda mse: psnr(mse), means.pop("mse"))
    named = {**means, **({"pooled_psnr_dB": pooled} if not part else {})}
    words = _words(part, records, "met")
    return {**{f"{part}{name}": score for name, score in named.items()}, **words}


def _words(part: str, records: Sequence[dict[str, Any]], flag: str) -> dict[str, Estimate]:
    """Returns word accuracy, if anything was read."""
    read = [record for record in records if record.get("atoms")]
    if not read:
        return {}
    right = [sum(atom[flag] for atom in record["atoms"]) for record in read]
    counts, numbers = [len(r["atoms"]) for r in read], [r["index"] for r in read]
    key = f"reconstruction words {part}"
    return {f"{part}word_accuracy": results.ratio(key, numbers, right, counts)}
