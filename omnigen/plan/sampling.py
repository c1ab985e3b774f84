# SPDX-License-Identifier: Apache-2.0
"""What drawing pictures takes, by formula: weights, KV cache, and the time that no code can beat.

Drawing a group of tokens, which may be one, reads every weight of the transformer once, those of
the flow head once a step, and the keys and values of all tokens before it. With few pictures at a
time that is all that counts.
"""

import dataclasses

import jax

from omnigen.generation.prompt import BUCKET
from omnigen.models import flops
from omnigen.models.omni import Omni, OmniConfig
from omnigen.topologies import Topology

_WIDTH = 2  # bytes of bfloat16


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What drawing one batch takes. Bytes are of all devices together.

    Attributes:
        weights: Bytes of the parts that draw.
        cache: Bytes of keys and values of all rows at full length.
        read_s: Time in which memory can deliver what the tokens need.
        compute_s: Time of the decoder's and transformer's arithmetic at the chips' peak.
    """

    weights: int
    cache: int
    read_s: float
    compute_s: float

    @property
    def floor_s(self) -> float:
        """The least time of a batch."""
        return max(self.read_s, self.compute_s)


def sampling(
    config: OmniConfig, topology: Topology, *, batch_size: int, guided: bool = True
) -> Sampling:
    """Estimates what `batch_size` pictures take when every chip holds a part of every layer.

    Args:
        config: Sizes of the model.
        topology: Chips to draw on.
        batch_size: Number of pictures at a time.
        guided: Whether each is drawn twice, with and without its prompt.
    """
    ar, head, nets = config.ar, config.head, Omni(config).nets
    size = {
        part: sum(_WIDTH * leaf.size for leaf in jax.tree.leaves(nets[part].shapes()))
        for part in ("ar", "head", "decoder")
    }
    rows, tokens = batch_size * (2 if guided else 1), config.grid[0] * config.grid[1]
    per_token = 2 * _WIDTH * ar.num_layers * ar.num_kv_heads * ar.head_dim
    length = BUCKET + tokens
    mean_length = BUCKET + tokens / 2
    read = config.groups * (
        size["ar"] + head.num_steps * size["head"] + rows * per_token * mean_length
    )
    read += config.decoder.num_steps * size["decoder"]
    work = rows * tokens * 2 * (size["ar"] + head.num_steps * size["head"]) / _WIDTH
    work += batch_size * config.decoder.num_steps * flops.decoder(config.decoder, config.image_size)
    chip = topology.chip
    return Sampling(
        weights=sum(size.values()),
        cache=rows * length * per_token,
        read_s=read / (topology.chips * chip.hbm_GB_per_s * 1e9),
        compute_s=work / (topology.chips * chip.bf16_tflops * 1e12),
    )


def text(found: Sampling, topology: Topology, *, batch_size: int) -> str:
    """Formats the plan for people."""
    gib = 2**30
    have = topology.chips * topology.chip.hbm_GiB
    need = (found.weights + found.cache) / gib
    verdict = "fits" if need < have else "DOES NOT FIT"
    return "\n".join(
        [
            f"{topology.name}: {topology.chips} chips, {batch_size} pictures at a time",
            f"weights          {found.weights / gib:.2f} GiB in bfloat16",
            f"KV cache         {found.cache / gib:.2f} GiB",
            f"all              {need:.2f} of {have:.1f} GiB: {verdict}",
            f"batch at least   {found.floor_s:.3g} s: memory {found.read_s:.3g}, "
            f"compute {found.compute_s:.3g}",
            f"pictures         at most {batch_size / found.floor_s:.3g} a second",
        ]
    )


def fits(found: Sampling, topology: Topology) -> bool:
    """Returns whether weights and cache fit the memory."""
    return found.weights + found.cache < topology.chips * topology.chip.hbm_GiB * 2**30
