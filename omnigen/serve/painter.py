# SPDX-License-Identifier: Apache-2.0
"""The drawer of a model: rows of `generation.state`, and the programs that take them further.

There are few kinds of rows, which differ in the length of the prompts that they have room for; a
request takes the first that its prompt fits in. All rows of a kind are one state. One program
takes those that write a step further, and another those that draw (`rounds` says which is next);
rows that wait or are idle go through them, too. So every picture is made by the same programs of
the same shapes, and what a row becomes does not depend on its neighbours, to the bit. Longer kinds
have fewer rows, so that the cache of each takes about as much memory. Prompts are read by programs
for a few lengths.

Shape legend: R rows, L looked at, N image tokens, P elements of a sketch, S steps of the flow head,
T elements read ahead, Z latent dim.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnigen import cli, flow
from omnigen.generation import generate, pretrained, prompt, spans, state
from omnigen.generation.pretrained import Pretrained
from omnigen.generation.prompt import BUCKET, Prompts
from omnigen.generation.sampler import MAX_PROMPT_BYTES, Request
from omnigen.generation.state import Dials, Phase, State
from omnigen.models.omni import Omni, to_uint8
from omnigen.nn.module import Params
from omnigen.serve.drawer import Place, Plan
from omnigen.serve.rounds import Rounds

ROWS_CPU = 8
ROWS = 64  # on accelerators
_LOOKS = 8  # pictures that an accelerator decodes at a time; a CPU decodes one
_MIDDLE = 4 * BUCKET  # what rows of the second kind have room for
_FRAME = 32  # elements of a prompt beside its text and its pictures
_PICTURES = 4  # given pictures that there is always room for


def load(checkpoint: str | os.PathLike[str] | None = None, *, rows: int | None = None) -> "Painter":
    """Reads a checkpoint and compiles all programs; see `Painter`.

    Args:
        checkpoint: Workdir or checkpoint folder; the model that ships if None.
        rows: Number of rows for prompts of usual length.

    Raises:
        ValueError: If there is no checkpoint, it is damaged or foreign, or lacks weights.
    """
    cli.cache_compilations()
    model = pretrained.load(checkpoint, needed=("decoder", "ar", "head"))
    if model.omni.config.reads_pictures and "encoder" not in model.params:
        raise ValueError(f"{model.path}: reads pictures, and has no weights of encoder")
    place = pathlib.Path(pretrained.locate(checkpoint)).resolve()
    name = "omnigen-nano" if place == pretrained.NANO.resolve() else place.name
    return Painter(model, name=name, rows=rows)


class Painter:
    """A model, ready to draw; a `drawer.Drawer`.

    Attributes:
        native: Width and height that it draws.
        name: "omnigen-nano" or the name of the checkpoint's folder.
        version: Version of the model.
        can_edit: Whether it was trained to read pictures.
        lengths: Lengths T that prompts are read at, ascending.
        rooms: Those lengths that rows of each kind have room for.
        rows: Numbers of rows of each kind.
        picture_s: Seconds that a picture takes, by the first steps.
    """

    def __init__(
        self,
        model: Pretrained,
        *,
        name: str,
        rows: int | None = None,
        rooms: Sequence[int] | None = None,
    ) -> None:
        """Compiles all programs.

        Args:
            model: The model.
            name: Name of the model.
            rows: Number of rows of the first kind; by the kind of device if None.
            rooms: Lengths of prompts that each kind of rows has room for, ascending multiples of
                `BUCKET`. If None the last has room for any text that a `Request` may hold.

        Raises:
            ValueError: If there are no rows.
        """
        config = model.omni.config
        is_cpu = jax.default_backend() == "cpu"
        rows = rows if rows is not None else ROWS_CPU if is_cpu else ROWS
        if rows < 1:
            raise ValueError(f"rows is {rows}; it must be at least 1")
        self.omni, self.params = model.omni, model.params
        self.native = (config.image_size, config.image_size)
        self.name, self.version, self.can_edit = name, model.version, config.reads_pictures
        self.rooms = tuple(rooms or _rooms(self.omni))
        self.lengths = _lengths(self.rooms)
        self.looks = 1 if is_cpu else min(rows, _LOOKS)
        self.is_guided = not config.head.average
        first, kinds = self.size(0), range(len(self.rooms))
        self.rows = tuple(max(1, rows * first // self.size(kind)) for kind in kinds)
        self.driver = generate.prepare(self.omni, self.params)
        self.picture_s = 0.0
        self._warm_up()

    def size(self, kind: int) -> int:
        """Returns the number of elements that a row of a kind holds, those that it makes too."""
        config = self.omni.config
        return self.rooms[kind] + config.sketch_length + config.grid[0] * config.grid[1]

    def plan(self, request: Request) -> Plan:
        """Checks a request and lays its prompt out.

        Raises:
            ValueError: If it wants other numbers of steps than there are programs for, its prompt
                is too long, or a picture has not the model's size.
        """
        config, wanted = self.omni.config, request.resolved(self.omni.config)
        most = config.head.num_steps
        for name in ("head_steps", "last_head_steps"):
            if (steps := wanted[name]) is not None and steps > most:
                raise ValueError(f"{name} is {steps}; allowed: 1 ... {most} on this server")
        if wanted["decoder_steps"] != config.decoder.num_steps:
            raise ValueError(
                f"decoder_steps is {request.decoder_steps}; allowed on this server: "
                f"{config.decoder.num_steps}"
            )
        for picture in spans.pictures(request.prompt):
            height, width = picture.pixels.shape[:2]
            if (width, height) != self.native:
                raise ValueError(
                    f"a picture has {width} x {height} pixels; allowed on this server: "
                    f"{self.native[0]} x {self.native[1]}"
                )
        rows = prompt.laid_out(self.omni, [request.as_read], lengths=self.lengths)
        kind = self.kind(rows.ahead.token.shape[1])
        is_own = np.asarray(rows.ahead.segment) == prompt.PROMPT
        return Plan(
            kind,
            image_tokens=config.grid[0] * config.grid[1],
            input_tokens=int(is_own.sum()) + 1,  # the last is read with the first step
            input_image_tokens=int((is_own & (np.asarray(rows.ahead.slot) >= 0)).sum()),
            laid_out=rows,
        )

    def kind(self, length: int) -> int:
        """Returns the kind of rows for prompts of a length."""
        return next(kind for kind, room in enumerate(self.rooms) if room >= length)

    def open(self) -> "PainterRows":
        """Returns rows of which none draws."""
        return PainterRows(self)

    def reader(self, request: Request, rows: Prompts) -> Callable[..., Any]:
        """Returns the program that reads a prompt, with its arguments.

        Args:
            request: What is drawn.
            rows: Its prompt, laid out.
        """
        if self.can_edit:
            asked = [spans.spans(request.as_read)]
            vectors = prompt.vectors(self.omni, asked, rows, self.params)
            if vectors is None:  # one program reads prompts with pictures and without
                size = *rows.ahead.token.shape, self.omni.config.ar.latent_dim
                vectors = np.zeros(size, np.float32)
            rows = dataclasses.replace(rows, vectors=vectors)
        dials = Dials.of(self.omni.config, request, 1)
        steps = _counted(dials.steps, self.omni.config.head.num_steps)
        dials = dataclasses.replace(dials, steps=steps)
        seed = np.asarray([request.seed], np.uint32)
        size = self.size(self.kind(rows.ahead.token.shape[1]))
        arguments = self.omni, self.params["ar"], rows, seed, dials, self.is_guided, size
        return functools.partial(_begin, *arguments)

    def _warm_up(self) -> None:
        """Compiles every program; several at a time, since nothing else takes as long."""
        rows, request = self.open(), Request("x")

        def read(length: int) -> None:
            laid = prompt.laid_out(self.omni, [request.prompt], lengths=[length])
            program = self.reader(request, laid)
            _begin.lower(*program.args).compile()

        def step(kind: int) -> None:
            rows.compile(kind)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(step, kind) for kind in range(len(self.rooms))]
            jobs += [pool.submit(read, length) for length in self.lengths]
            for job in jobs:
                job.result()
        if self.can_edit:
            pixels = np.zeros((*reversed(self.native), 3), np.uint8)
            request = Request([spans.Picture(pixels)])
        plan = self.plan(request)
        rows.join((plan.kind, 0), request, plan)
        config, phases = self.omni.config, rows.phases
        seconds = {phase: _second_s(rows.take, plan.kind, phase) for phase in phases}
        rows.look([(plan.kind, 0)])
        rows.leave((plan.kind, 0))
        written = seconds.get(Phase.TEXT, 0.0) * config.sketch_length / 4
        self.picture_s = written + seconds[Phase.IMAGE] * config.groups


class PainterRows:
    """States, one of each kind of rows; a `drawer.Rows`."""

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        kinds = range(len(painter.rooms))
        self._states = [_idle(painter, kind) for kind in kinds]
        self._busy: list[set[int]] = [set() for _ in kinds]
        self._writing: list[set[int]] = [set() for _ in kinds]
        self._rounds = [Rounds(rows) for rows in painter.rows]
        self._seeds = [np.zeros(rows, np.uint32) for rows in painter.rows]

    @property
    def phases(self) -> list[Phase]:
        """Those that rows go through."""
        writes = self._painter.omni.config.sketch_length > 0
        return [Phase.TEXT, Phase.IMAGE] if writes else [Phase.IMAGE]

    def compile(self, kind: int) -> None:
        """Compiles the programs for rows of a kind."""
        now, number = self._states[kind], np.int32(0)
        row = _row_shape(self._painter, kind)
        for phase in self.phases:
            _step.lower(self._painter.driver, now, phase).compile()
        _insert.lower(now, number, row).compile()
        _release.lower(now, number).compile()
        _chosen.lower(now, np.zeros(self._painter.looks, np.int32)).compile()

    def join(self, place: Place, request: Request, plan: Plan) -> None:
        """Reads the prompt of a request into a row, in place of what was there."""
        kind, number = place
        row = self._painter.reader(request, plan.laid_out)()
        self._states[kind] = _insert(self._states[kind], np.int32(number), row)
        self._seeds[kind][number] = request.seed
        self._busy[kind].add(number)
        if Phase.TEXT in self.phases:
            self._writing[kind].add(number)

    def leave(self, place: Place) -> None:
        """Ends a row early; one that is done may be left, too."""
        kind, number = place
        self._states[kind] = _release(self._states[kind], np.int32(number))
        self._busy[kind].discard(number)
        self._writing[kind].discard(number)
        self._rounds[kind].leave(number)

    def step(self) -> dict[Place, int]:
        """Takes rows a step further; returns how many tokens each has drawn.

        Of each kind those take it that write, or those that draw.
        """
        told: dict[int, jax.Array] = {}
        for kind, (busy, writing) in enumerate(zip(self._busy, self._writing, strict=True)):
            if busy:
                told[kind] = self.take(kind, self._rounds[kind].next(writing, busy - writing))
        config, drawn = self._painter.omni.config, {}
        for kind, numbers in told.items():
            phases, counts = np.asarray(numbers)
            for number in sorted(self._busy[kind]):
                groups = 0 if phases[number] == Phase.TEXT else int(counts[number])
                drawn[kind, number] = groups * config.block
                if phases[number] != Phase.TEXT:
                    self._writing[kind].discard(number)
                if groups == config.groups:
                    self._busy[kind].discard(number)
        return drawn

    def take(self, kind: int, phase: Phase) -> jax.Array:
        """Takes rows of a kind in a phase a step further; returns phases and counts, `[2, R]`."""
        now, told = _step(self._painter.driver, self._states[kind], phase)
        self._states[kind] = now
        return told

    def look(self, places: Sequence[Place]) -> list[tuple[np.ndarray, str, int]]:
        """Returns pictures of the tokens so far, and the text of each and its number of tokens."""
        found: dict[Place, tuple[np.ndarray, str, int]] = {}
        for kind in {kind for kind, _ in places}:
            numbers = [number for of, number in places if of == kind]
            for start in range(0, len(numbers), self._painter.looks):
                some = numbers[start : start + self._painter.looks]
                seen = zip(some, self._look(kind, some), strict=False)
                found |= {(kind, number): one for number, one in seen}
        return [found[place] for place in places]

    def _look(self, kind: int, numbers: Sequence[int]) -> Iterator[tuple[np.ndarray, str, int]]:
        """Looks at some rows of a kind; the last of fewer than the program takes stand twice."""
        painter, config = self._painter, self._painter.omni.config
        filled = np.resize(np.asarray(numbers, np.int32), painter.looks)
        z, groups, orders, ids = _chosen(self._states[kind], filled)
        seeds = self._seeds[kind][filled]
        images = to_uint8(
            _decode(painter.omni, painter.params["decoder"], z, groups, orders, seeds)
        )
        texts = generate.sketches(painter.omni, ids)
        counts = (np.asarray(ids) < config.specials.text_vocab).sum(axis=1).tolist()
        return zip(images, texts, counts, strict=True)


def _second_s(take: Callable[..., Any], *arguments: Any) -> float:
    """Returns the seconds of the second of two calls."""
    jax.block_until_ready(take(*arguments))
    began = time.monotonic()
    jax.block_until_ready(take(*arguments))
    return time.monotonic() - began


def _rooms(omni: Omni) -> list[int]:
    """Returns the lengths of prompts that rows have room for: usual ones, and the longest."""
    config = omni.config
    longest = MAX_PROMPT_BYTES + _FRAME
    if config.reads_pictures:  # both branches read them
        longest += 2 * _PICTURES * (config.grid[0] * config.grid[1] + _FRAME)
    return [BUCKET, _MIDDLE, -(-longest // BUCKET) * BUCKET]


def _lengths(rooms: Sequence[int]) -> list[int]:
    """Returns the rooms, between them lengths that grow fourfold, and half of the first.

    Most prompts are a short sentence, and reading one takes as long as two steps or more.
    """
    found, length = {*rooms, rooms[0] // 2}, rooms[0]
    while (length := 4 * length) < rooms[-1]:
        found.add(length)
    return sorted(found)


def _counted(steps: flow.Steps, most: int) -> flow.Steps:
    """Returns steps as tables of `most` columns, so that one program takes any number up to it."""
    groups, size = np.asarray(steps.at).shape[1:]
    padding = ((0, 0), (0, 0), (0, most - size))
    at, length = (np.pad(np.asarray(table), padding) for table in (steps.at, steps.size))
    count = np.full((1, groups), size, np.int32) if steps.count is None else steps.count
    return flow.Steps(at, length, count)


def _keys(seed_L: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the keys of tokens and of pixels, as `generate.drawn` makes them of a seed's key."""
    keys = jax.vmap(jax.random.key)(seed_L)
    draw_keys, decode_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    return draw_keys, decode_keys


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def _begin(
    omni: Omni,
    weights: Params,
    prompts: Prompts,
    seed: jax.Array,
    dials: Dials,
    is_guided: bool,
    size: int,
) -> State:
    """Reads a prompt; returns a state of one row that holds `size` elements."""
    keys, _ = _keys(seed)
    ar = omni.ar.bind(weights)
    row = state.begin(omni, ar, prompts, keys, dials, guided=is_guided, room=size)
    return state.branch_apart(row) if is_guided else row


def _row_shape(painter: Painter, kind: int) -> Any:
    """Returns the state of one row of a kind, as `jax.ShapeDtypeStruct`."""
    rows = prompt.laid_out(painter.omni, ["x"], lengths=[painter.rooms[kind]])
    return jax.eval_shape(painter.reader(Request("x"), rows))


def _idle(painter: Painter, kind: int) -> State:
    """Returns rows of which none draws."""

    def zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.vmap(jax.random.key)(jnp.zeros(leaf.shape, jnp.uint32))
        return jnp.zeros(leaf.shape, leaf.dtype)

    row = _row_shape(painter, kind)
    return jax.jit(lambda: state.idle(jax.tree.map(zeros, row), painter.rows[kind]))()


_insert = jax.jit(state.insert, donate_argnums=0)
_release = jax.jit(state.release, donate_argnums=0)


@functools.partial(jax.jit, static_argnums=2, donate_argnums=1)
def _step(driver: generate.Driver, now: State, phase: Phase) -> tuple[State, jax.Array]:
    """Takes rows in a phase a step further; also returns phases and counts, `[2, R]`.

    These outlive the state.
    """
    now = driver.write(now) if phase == Phase.TEXT else driver.draw(now)
    return now, jnp.stack([now.phase, now.count])


@jax.jit
def _chosen(now: State, row_L: jax.Array) -> tuple[jax.Array, ...]:
    """Returns tokens, numbers of groups drawn, orders of drawing and ids of sketches of rows."""
    groups = jnp.where(now.phase == Phase.TEXT, 0, now.count)
    found = now.tokens(), groups, jnp.asarray(now.dials.order), now.ids
    return tuple(table[row_L] for table in found)


@functools.partial(jax.jit, static_argnums=0)
def _decode(
    omni: Omni,
    weights: Params,
    z_LNZ: jax.Array,
    groups_L: jax.Array,
    order_LN: jax.Array,
    seed_L: jax.Array,
) -> jax.Array:
    """Decodes the groups that are drawn, and what may stand where none is: `[L, H, W, 3]`."""
    turn_LN = jnp.argsort(order_LN, axis=-1)  # when each token of the raster is drawn
    known_LN = turn_LN < groups_L[:, None] * omni.config.block
    _, keys = _keys(seed_L)
    return omni.decode(weights, z_LNZ, keys, known_BN=known_LN)
