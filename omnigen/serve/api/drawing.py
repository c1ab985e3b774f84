# SPDX-License-Identifier: Apache-2.0
"""From an order to files: judged, drawn, judged again, resampled, written and signed.

Each picture of an order is a ticket of the engine; picture i has the seed `seed + i`. Whatever ends
an order early, such as a client that leaves or a deadline, frees the places of all its pictures.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from omnigen import cli
from omnigen.generation import sampler, spans
from omnigen.serve import contract
from omnigen.serve.api import errors, pictures, rates
from omnigen.serve.api.limits import Limits
from omnigen.serve.api.services import Decision, Services, rfc3339

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
_LOG = cli.logger(__name__)
QUALITY, BACKGROUND = "high", "opaque"  # of all pictures
# Fields that messages of `Request` begin with, as clients call them.
_NAMES = {name: name for name in ("prompt", "seed", "temperature")} | {"guidance": "guidance_scale"}


@dataclasses.dataclass(frozen=True)
class Order:
    """What a client asks for.

    Attributes:
        prompt: Description.
        count: Number of pictures.
        seed: Seed of the first one.
        settings: Fields of `Sampling` that were asked for.
        size: Width and height of the files; None for the model's own.
        format: Format of the files.
        partials: Number of previews of each picture.
        level: Level of the safety policy.
        given: Pictures to start from.
        mask: Where the first of them may change, bool `[H, W]`; None for everywhere.
        history: Words of earlier turns, which are judged with the prompt.
        who: Digest of who asks, for the log of decisions.
    """

    prompt: str
    count: int
    seed: int
    settings: dict[str, Any]
    size: tuple[int, int] | None = None
    format: pictures.Format = pictures.Format()
    partials: int = 0
    level: str = "auto"
    given: tuple[pictures.Given, ...] = ()
    mask: "np.ndarray | None" = None
    history: str = ""
    who: str = ""

    def request(self, index: int) -> sampler.Request:
        """Returns what the engine draws for picture `index`.

        Raises:
            ValueError: If the model's own limits forbid it.
        """
        given = [spans.Picture(each.pixels, each.sketch) for each in self.given]
        prompt = [*given, self.prompt] if given else self.prompt
        return sampler.Request(prompt, seed=self.seed + index, **self.settings)


@dataclasses.dataclass(frozen=True)
class Made:
    """A picture as it leaves.

    Attributes:
        index: Number of the picture in its order.
        data: The file.
        pixels: Pixels of the model's own size, uint8 `[H, W, 3]`.
        sha256: Digest of the file.
        seed: Its seed.
        finished: What the engine said; None for a preview.
        partial: Number of the preview, if it is one.
        told: What an answer tells of how the model understood the prompt.
    """

    index: int
    data: bytes
    pixels: "np.ndarray"
    sha256: str
    seed: int
    finished: contract.Finished | None = None
    partial: int | None = None
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Ping:
    """Nothing happened for a while."""


Note = Made | Ping | contract.Queued | contract.Started | contract.Progress


class Job:
    """An order that is being drawn."""

    def __init__(self, services: Services, limits: Limits, order: Order) -> None:
        """See `start`."""
        self._services, self._limits, self.order = services, limits, order
        self._tickets: list[contract.Ticket] = []
        self._deadline = time.monotonic() + limits.deadline_s

    @classmethod
    async def start(cls, services: Services, limits: Limits, order: Order) -> "Job":
        """Judges an order and takes places in the queue, for all of its pictures or for none.

        Raises:
            ApiError: If the policy or the model refuses it, there is no room, or the key had its
                pictures of this minute.
        """
        job = cls(services, limits, order)
        await job._judge_input()
        account = rates.current.get()
        if account is not None:
            account.check("images", order.count)
        try:
            for index in range(order.count):
                request = order.request(index)
                submit = services.engine.submit
                ticket = submit(request, partials=order.partials, deadline_s=limits.deadline_s)
                job._tickets.append(ticket)
        except BaseException as error:
            job.cancel()
            raise translated(error) from error
        if account is not None:  # nothing was awaited since the check
            account.take("images", order.count)
        return job

    def cancel(self) -> None:
        """Frees the places of all pictures."""
        for ticket in self._tickets:
            ticket.cancel()

    async def _judge_input(self) -> None:
        order, services = self.order, self._services
        safety = services.safety
        texts = [order.prompt, *([f"{order.history}\n{order.prompt}"] if order.history else [])]
        for text in texts:
            await self._run(services.judges, self._check, safety.judge_prompt, text, "input")
        for given in order.given:
            judge = safety.judge_picture
            await self._run(services.threads, self._check, judge, given.pixels, "input")

    def _check(self, judge: Callable[[Any, str, str], Decision], subject: Any, stage: str) -> None:
        """Judges a text or pixels.

        Raises:
            ApiError: If the policy refuses it.
        """
        order = self.order
        decision = judge(subject, order.level, stage)
        told = subject if isinstance(subject, str) else subject.tobytes()
        self._services.safety.record(decision, told, order.level, order.who)
        if not decision.allowed:
            raise errors.blocked(decision.categories, stage)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)

    async def pictures(self) -> list[Made]:
        """Returns all pictures, in order, when all are done.

        Raises:
            ApiError: If one of them cannot be drawn in time, or is refused.
        """
        async with contextlib.aclosing(self.notes()) as notes:
            made = [note async for note in notes if isinstance(note, Made)]
        return sorted((each for each in made if each.finished), key=lambda each: each.index)

    async def notes(self) -> AsyncGenerator[Note, None]:
        """Yields what happens, and a `Ping` where nothing does; ends when all pictures are done.

        Raises:
            ApiError: If a picture cannot be drawn in time, or is refused.
        """
        found: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        pumps = [asyncio.ensure_future(_pump(i, t, found)) for i, t in enumerate(self._tickets)]
        try:
            missing = len(pumps)
            while missing:
                wait = min(self._limits.ping_s, self._deadline - time.monotonic())
                try:  # `wait_for` may lose a cancellation
                    async with asyncio.timeout(max(wait, 0)):
                        index, event = await found.get()
                except TimeoutError:
                    if time.monotonic() >= self._deadline:
                        raise errors.late() from None
                    yield Ping()
                    continue
                if isinstance(event, BaseException):
                    raise translated(event) from event
                missing -= isinstance(event, contract.Finished)
                if isinstance(event, contract.Partial | contract.Finished):
                    event = await self._run(self._services.threads, self._make, index, event)
                yield event
        finally:
            self.cancel()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def _make(self, index: int, event: contract.Partial | contract.Finished) -> Made:
        """Turns what was drawn into what leaves; runs in a thread."""
        order, services = self.order, self._services
        finished = event if isinstance(event, contract.Finished) else None
        pixels, sketch = (
            (event.pixels, "")
            if isinstance(event, contract.Partial)
            else (event.drawing.pixels, event.drawing.sketch)
        )
        if order.mask is not None:
            pixels = pictures.compose(pixels, order.given[0].pixels, order.mask)
        if finished and (meant := finished.drawing.explanation):
            self._check(services.safety.judge_prompt, meant, "output")
        self._check(services.safety.judge_picture, pixels, "output")
        request, engine = order.request(index), services.engine
        whole = pictures.resample(pixels, order.size or engine.native)
        version = engine.version
        data = pictures.encode(whole, order.format, request, version=version, sketch=sketch)
        if services.provenance is not None:
            sources = [given.data for given in order.given]
            data = services.provenance.sign(data, order.format.mime, sources)
            if finished:
                record = {"model": engine.name, "version": version}
                record |= {"generated_at": rfc3339(time.time())}
                services.provenance.remember(pixels, record)
        return Made(
            index=index,
            data=data,
            pixels=pixels,
            sha256=hashlib.sha256(data).hexdigest(),
            seed=request.seed,
            finished=finished,
            partial=event.index if isinstance(event, contract.Partial) else None,
            told=_told(request, finished.drawing) if finished else {},
        )


def _told(request: sampler.Request, drawing: sampler.Drawing) -> dict[str, Any]:
    read, typed = spans.words(request.as_read), spans.words(request.prompt)
    known = {"revised_prompt": read if read != typed else "", "explanation": drawing.explanation}
    return {**{k: v for k, v in known.items() if v}, "warnings": drawing.warnings}


async def _pump(index: int, ticket: contract.Ticket, found: asyncio.Queue) -> None:
    """Puts the events of a ticket, or what ended them, into a queue."""
    last = None
    try:
        async for last in ticket.events():
            found.put_nowait((index, last))
        if not isinstance(last, contract.Finished):
            found.put_nowait((index, RuntimeError("the engine stopped telling")))
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        found.put_nowait((index, error))


def translated(error: BaseException) -> BaseException:
    """Returns what a client is told of an error of the engine; others as they are."""
    if isinstance(error, contract.Full):
        return errors.busy(error.retry_after_s)
    if isinstance(error, contract.Late):
        return errors.late()
    if isinstance(error, contract.Stopped):
        return errors.stopped()
    if isinstance(error, ValueError):
        first, _, rest = str(error).partition(" ")
        param = _NAMES.get(first)
        return errors.bad(param, rest if param else str(error))
    if isinstance(error, RuntimeError):
        _LOG.error("a picture could not be drawn", exc_info=error)
        message = "the picture could not be drawn; the server's log says why"
        return errors.ApiError(500, message, code="drawing_failed")
    return error


def usage(made: Sequence[Made]) -> dict[str, Any]:
    """Returns what was read and made for some pictures, in tokens, as the model counts them."""
    read, wrote = ({"text_tokens": 0, "image_tokens": 0} for _ in range(2))
    for finished in (each.finished for each in made):
        assert finished is not None
        read["image_tokens"] += finished.input_image_tokens
        read["text_tokens"] += finished.input_tokens - finished.input_image_tokens
        wrote["text_tokens"] += finished.text_tokens
        wrote["image_tokens"] += finished.image_tokens
    inputs, outputs = sum(read.values()), sum(wrote.values())
    return {
        "input_tokens": inputs,
        "output_tokens": outputs,
        "total_tokens": inputs + outputs,
        "input_tokens_details": read,
        "output_tokens_details": wrote,
    }
