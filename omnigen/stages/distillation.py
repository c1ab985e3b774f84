# SPDX-License-Identifier: Apache-2.0
"""Distillation: a flow head of averages learns in one or two steps what guidance takes eight for.

The teacher, a trained transformer with its plain head, is frozen. From the noise of a token it
walks to the token as in drawing: Euler steps of the guided velocity. How far it gets between two
of its times, divided by the time, is the average velocity of (10) in `flow`, which the student
regresses. The spans are those of samplers of 1, 2, 4, ... steps, each as often as any other.
MeanFlow (Geng et al. 2025) derives the same average from a differential equation, for want of
a teacher; the integral needs no derivative.

The student's transformer learns too: its hidden state has to tell what the teacher's two branches
say. Guidance and the scale of the noise are drawn for every token, so both remain free in drawing.

Shape legend: B rows, L row length, N latents a row, K spans, S steps of the teacher, Z latent dim.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import flow
from omnigen.batch import Rows
from omnigen.data.stream.pipeline import DataConfig
from omnigen.models import flops
from omnigen.models.heads.flow import ADDED, FlowHead
from omnigen.models.omni import Omni
from omnigen.nn.module import Params
from omnigen.sequence import Modality, without_prompts
from omnigen.stages.ar import ARObjective, ARStage, Prepared
from omnigen.training.feed import Rates


@dataclasses.dataclass(frozen=True)
class DistillationObjective(ARObjective):
    """How a head of averages is learnt; `draws` are spans of each token's path.

    Attributes:
        teacher_steps: Number of Euler steps of the teacher, a power of two.
        guidance_max: Largest guidance scale; scales are uniform from 1.
        temperature_min: Smallest scale of the noise; scales are uniform up to 1.
    """

    teacher_steps: int = 8
    guidance_max: float = 5.0
    temperature_min: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher_steps < 1 or self.teacher_steps & (self.teacher_steps - 1):
            raise ValueError(f"teacher_steps is {self.teacher_steps}; it must be a power of two")
        if self.guidance_max < 1:
            raise ValueError(f"guidance_max is {self.guidance_max}; it must be at least 1")
        if not 0 <= self.temperature_min <= 1:
            raise ValueError(f"temperature_min is {self.temperature_min}; it must be in [0, 1]")

    @property
    def spans(self) -> np.ndarray:
        """The steps from and to, `[n, 2]`, of all samplers of 1, 2, 4, ... steps."""
        spans, size = [], self.teacher_steps
        while size >= 1:
            starts = np.arange(0, self.teacher_steps, size)
            repeats = size  # each sampler as often as any other
            spans += [(start, start + size) for start in starts for _ in range(repeats)]
            size //= 2
        return np.array(spans)


class DistillationStage(ARStage):
    """Average velocities of a teacher's guided paths, and cross-entropy for the sketch."""

    name = "distillation"
    needed = ("encoder", "decoder", "ar", "head")
    added = ADDED
    objective_type = DistillationObjective
    objective: DistillationObjective

    flow_name = "average_mse"
    flow_keys = 4

    def __init__(
        self,
        omni: Omni,
        objective: DistillationObjective,
        data: DataConfig,
        frozen: Params,
    ):
        """Sets the stage up, as in `Stage`.

        Raises:
            ValueError: As in `Stage`, or if sizes take different numbers of text tokens to write.
        """
        super().__init__(omni, objective, data, frozen)
        pixels = omni.config.encoder.token_size
        for size in data.sizes:
            told = f"{size.height // pixels}*{size.width // pixels}"
            if len(self.omni.text.encode(told)) != self._size_length:
                rows, cols = omni.config.grid
                raise ValueError(
                    f"buckets is {data.buckets!r}; allowed in distillation: sizes that take as "
                    f"many text tokens to tell as {rows}*{cols}, unlike {told}"
                )

    @property
    def _size_length(self) -> int:
        """The number of text elements that a picture's size takes."""
        rows, cols = self.omni.config.grid
        return len(self.omni.text.encode(f"{rows}*{cols}"))

    def _flow_loss(
        self,
        params: Params,
        frozen: Params,
        batch: Prepared,
        context_BLZ: jax.Array,
        hidden_BLD: jax.Array,
        keys: jax.Array,
    ) -> jax.Array:
        """Returns the weighted sum over image tokens of the MSE of the student's averages."""
        head: FlowHead = self.omni.head.bind(params["head"])
        objective, shape = self.objective, batch.latents.shape
        uniform = flow.TimeDensity(kind=flow.Density.UNIFORM)
        scale_BN = 1.0 + (objective.guidance_max - 1.0) * uniform.sample(keys[0], shape[:2])
        coldest = objective.temperature_min
        heat_BN = coldest + (1.0 - coldest) * uniform.sample(keys[1], shape[:2])
        noise_BNZ = heat_BN[..., None] * flow.normal(keys[2], shape)
        # The teacher walks each token's path once. By (10) in `flow`, the average velocity between
        # any two of its points is their difference over the time between them.
        path_SBNZ = self._path(frozen, batch, context_BLZ, noise_BNZ, scale_BN)
        spans, steps = jnp.asarray(objective.spans), objective.teacher_steps

        def draw(key: jax.Array) -> jax.Array:
            return jax.random.randint(key, (objective.draws, shape[1]), 0, len(spans))

        span_KBN2 = spans[jnp.moveaxis(jax.vmap(draw)(keys[3]), 1, 0)]
        start_KBNZ, end_KBNZ = (
            jnp.take_along_axis(path_SBNZ, span_KBN2[..., i, None], axis=0) for i in range(2)
        )
        length_KBN = (span_KBN2[..., 1] - span_KBN2[..., 0]) / steps
        average_KBNZ = (start_KBNZ - end_KBNZ) / length_KBN[..., None]
        t_KBN = 1.0 - span_KBN2[..., 0] / steps
        scale_KBN = jnp.broadcast_to(scale_BN, t_KBN.shape)
        hidden_BND = self._before(hidden_BLD, batch.place)
        output_KBNZ = head(start_KBNZ, t_KBN, hidden_BND[None], length_KBN, scale_KBN)
        return self._weighted(jnp.square(output_KBNZ - average_KBNZ).mean(axis=(0, -1)), batch)

    def _path(
        self,
        frozen: Params,
        batch: Prepared,
        context_BLZ: jax.Array,
        noise_BNZ: jax.Array,
        scale_BN: jax.Array,
    ) -> jax.Array:
        """Returns where the teacher is before its steps and after the last, `[S + 1, B, N, Z]`."""
        config, sequence = self.omni.config, batch.sequence
        ar, head = self.omni.ar.bind(frozen["ar"]), self.omni.head.bind(frozen["head"])
        hidden_C = [
            self._before(ar.hidden(branch, context_BLZ), batch.place)
            for branch in (sequence, without_prompts(sequence, config.specials, self._size_length))
        ]
        steps = flow.Solver(num_steps=self.objective.teacher_steps).steps()

        def step(z_BNZ: jax.Array, at_and_size: jax.Array) -> tuple[jax.Array, jax.Array]:
            at, size = at_and_size
            t_BN = jnp.broadcast_to(at, scale_BN.shape)
            v_C = [head(z_BNZ, t_BN, hidden) for hidden in hidden_C]
            moved = z_BNZ - size * flow.guide(v_C[0], v_C[1], scale_BN)
            return moved, moved

        _, path_SBNZ = jax.lax.scan(step, noise_BNZ, jnp.stack([steps.at, steps.size], axis=1))
        return jax.lax.stop_gradient(jnp.concatenate([noise_BNZ[None], path_SBNZ]))

    def rates(self, batch: Rows) -> Rates:
        """Returns what `ARStage` does, and adds what the teacher costs."""
        rates, config = super().rates(batch), self.omni.config
        image_tokens = float((batch.sequence.modality == Modality.IMAGE).sum())
        segment = np.asarray(batch.sequence.segment)
        rows = np.arange(len(segment))[:, None] * (segment.max() + 1)
        lengths = np.bincount((segment + rows)[segment > 0])
        read = flops.ar(config.ar, lengths, text_tokens=0.0, image_tokens=image_tokens)
        walked = flops.flow_head(config.head, image_tokens, draws=self.objective.teacher_steps)
        teacher = 2.0 * (read + walked)
        return dataclasses.replace(
            rates, flops=rates.flops + teacher, executed_flops=rates.executed_flops + teacher
        )
