# SPDX-License-Identifier: Apache-2.0
"""The parts of a server put together: the policy, the signer and the engine behind the API."""

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omnigen import cli, extras, files, progress, safety
from omnigen.safety.journal import Journal
from omnigen.serve.api.services import Origin, Provenance, Safety, Services, rfc3339
from omnigen.serve.contract import Engine
from omnigen.serve.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from omnigen.serve.api.app import App
    from omnigen.serve.api.auth import Keys
    from omnigen.serve.engine import Engine as RunningEngine

_MOST_ANCHORS = 1 << 20  # bytes
_LOG = cli.logger(__name__)


def application(settings: Settings, keys: "Keys") -> "tuple[App, RunningEngine]":
    """Loads and compiles the model; returns what answers requests, and its engine.

    Raises:
        MissingExtraError: If pictures are to be signed, and the extra is not installed.
        ValueError: If a file that the settings name is of no use.
    """
    from omnigen.serve import feedback, web
    from omnigen.serve.api.app import App
    from omnigen.serve.engine import Engine

    kept = feedback.Feedback(settings.feedback_dir) if settings.feedback_dir else None
    more = [*web.routes(), *feedback.routes(kept)]
    with progress.work("loading and compiling the model"):
        engine = Engine.load(settings.checkpoint, rows=settings.rows, queue=settings.queue)
    parts = services(settings, engine)
    return App(parts, limits=settings.limits, keys=keys, more=more), engine


def services(settings: Settings, engine: Engine) -> Services:
    """Returns what the API uses.

    Raises:
        MissingExtraError: If pictures are to be signed, and the extra is not installed.
        ValueError: If a certificate is of no use.
    """
    signer = provenance(settings, engine)
    return Services(engine, policy(settings.decision_dir), signer, int(time.time()))


def policy(folder: pathlib.Path | None = None) -> Safety:
    """Returns the policy, which reads what is written on pictures if the extra `ocr` is there.

    Args:
        folder: Folder to keep decisions in; None keeps none.

    Raises:
        OSError: If the folder cannot be written.
    """
    read = _reader() if extras.installed("ocr") else None
    journal = Journal(folder) if folder else None

    def record(decision: Any, subject: str | bytes, level: str, who: str) -> None:
        try:
            if journal is not None:
                journal.write(decision, subject, level=level, who=who)
        except OSError as error:
            _LOG.warning("a decision cannot be kept: %s", error)

    def judge_picture(pixels: "np.ndarray", level: str, stage: str) -> safety.Decision:
        return safety.judge_picture(pixels, level=level, stage=stage, read=read)

    return Safety(
        judge_prompt=lambda text, level, stage: safety.judge_prompt(text, level=level, stage=stage),
        judge_picture=judge_picture,
        record=record,
    )


def _reader() -> "Callable[[np.ndarray], Sequence[str]]":
    from omnigen.evals.judges import reading

    return lambda pixels: [line.text for line in reading.rapidocr(pixels)]


def provenance(settings: Settings, engine: Engine) -> Provenance | None:
    """Returns what signs pictures and knows them again; None if they are not signed.

    Raises:
        MissingExtraError: If they are to be, and the extra is not installed.
        ValueError: If a certificate is of no use.
    """
    wanted = settings.provenance
    if wanted is False or wanted is None and not extras.installed("provenance"):
        return None
    from omnigen.safety.provenance import reading
    from omnigen.safety.provenance.hashes import HashLog
    from omnigen.safety.provenance.signing import Action, Signer

    signer, log, anchors = Signer.load(), HashLog.of_user(), None
    if settings.anchors is not None:
        anchors = files.read(settings.anchors, most=_MOST_ANCHORS)
    model = f"{engine.name} {engine.version}"

    def sign(data: bytes, mime: str, sources: Sequence[bytes]) -> bytes:
        action = Action.EDITED if sources else Action.CREATED
        return signer.sign(data, mime, model=model, action=action, ingredients=sources)

    def check(data: bytes, mime: str) -> Origin:
        found = reading.check(data, mime, anchors=anchors)
        made = found.generated_at
        when = None if made is None else rfc3339(made.timestamp())
        return Origin(str(found.state), found.issuer, found.model, when)

    def remember(pixels: "np.ndarray", record: Mapping[str, Any]) -> None:
        try:
            if log is not None:
                log.add(pixels, record)
        except (OSError, ValueError) as error:
            _LOG.warning("the log of pictures cannot be written: %s", error)

    def find(pixels: "np.ndarray") -> Mapping[str, Any] | None:
        try:
            return log.find(pixels) if log is not None else None
        except (OSError, ValueError) as error:
            _LOG.warning("the log of pictures cannot be read: %s", error)
            return None

    return Provenance(sign, check, remember, find)
