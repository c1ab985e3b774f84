# SPDX-License-Identifier: Apache-2.0
"""Judges checkpoints, and folders of others' pictures, by benchmarks; writes all that it found."""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

import omnigen
from omnigen import cli, extras, files, progress
from omnigen.evals import columns, registry
from omnigen.evals.columns import Column
from omnigen.evals.registry import Subject, Suite, Use
from omnigen.generation.settings import Sampling

if TYPE_CHECKING:
    from omnigen.evals.columns import Loaded
    from omnigen.evals.results import Outcome

PROGRAM = "omnigen.evaluate"
USAGE = """
Judges a model:  python -m omnigen.evaluate --checkpoint runs/ar --output runs/ar/eval
or another's pictures:  python -m omnigen.evaluate --suites exact --images DIR --output runs/other
or several side by side:  --checkpoint A --checkpoint B --images DIR
Scores and the verdict on every picture go to results.json there, and to report.html for people.
A killed run goes on when called again.
Draws here, to judge elsewhere:  --nojudge --output DIR; there --images DIR/pictures/COLUMN
Draws for another benchmark's scorer:  --prompts FILE --layout geneval --output DIR
"""
LAYOUTS = ("geneval", "wise", "dpg", "longtext", "folder")
PROMPTED = ", ".join(registry.able(Use.PICTURES))  # for people
PAIRED = ", ".join(registry.able(Use.PAIR))


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    for name, text in (
        (
            "checkpoint",
            "a workdir or checkpoint folder, again for several; the shipped model if none",
        ),
        ("images", f"pictures to judge, as SUITE/PROMPT/samples/NUMBER.png; {PROMPTED}"),
    ):
        cli.define_paths(values, name, text)
    for name, text in (
        ("output", "the folder to write results.json to; made if it does not exist"),
        ("inception_weights", "the weights file of FID's network; suite fidelity only"),
        ("reference", f"a folder of pictures to compare --images with; {PAIRED}"),
        (
            "corpus",
            "pictures to draw the captions of: a prepared corpus, or tars; suite corpus only",
        ),
        ("prompts", "another benchmark's prompts, to draw instead of judging; needs --layout"),
    ):
        cli.define_path(values, name, None, text)
    text = f"where its scorer looks for pictures: {', '.join(LAYOUTS)}"
    flags.DEFINE_string("layout", None, text, flag_values=values)
    suites = f"benchmarks, separated by commas: {', '.join(registry.able(Use.MODEL))}"
    flags.DEFINE_list("suites", ["reconstruction"], suites, flag_values=values)
    text = "pictures of each kind to judge by (default: 64), or of each prompt (default: 4)"
    flags.DEFINE_integer("count", None, text, lower_bound=1, upper_bound=10_000, flag_values=values)
    text = f"seed of the first picture of each prompt; {PROMPTED}"
    flags.DEFINE_integer("seed", 0, text, lower_bound=0, upper_bound=2**31, flag_values=values)
    text = f"ask only every Nth prompt of each task; {PROMPTED}"
    flags.DEFINE_integer("every", 1, text, lower_bound=1, upper_bound=100, flag_values=values)
    text = f"--nojudge only draws, for --images of another machine; {PROMPTED}"
    flags.DEFINE_bool("judge", True, text, flag_values=values)
    Sampling.define(values)
    return values


def _output(name: str | None) -> pathlib.Path:
    if name is None:
        raise ValueError("--output is required")
    path = pathlib.Path(name)
    try:
        existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    except OSError as error:  # a name that is too long, a folder that cannot be entered
        raise ValueError(f"--output {path}: {error.strerror}") from None
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"--output {path}: {existing} is not a writable folder")
    return path


@contextlib.contextmanager
def _alone(output: pathlib.Path) -> Iterator[None]:
    """Makes the output folder and locks it; one that stays empty is removed."""
    made = [p for p in (output, *output.absolute().parents) if not p.exists()]
    with contextlib.ExitStack() as stack:
        for path in reversed(made):
            stack.callback(_remove_if_empty, path)
        with cli.bad_input_exits(PROGRAM):
            output.mkdir(parents=True, exist_ok=True)
            stack.enter_context(files.locked(output, work="an evaluation"))
        yield


def _remove_if_empty(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _suites(values: flags.FlagValues) -> list[Suite]:
    """Returns the suites that are asked for."""
    names = registry.able(Use.MODEL)
    if not values.suites:
        raise ValueError(f"--suites is empty; allowed: {', '.join(names)}")
    suites = [registry.find(name, names, where="--suites") for name in values.suites]
    for suite in registry.SUITES.values():
        if suite.input and suite in suites and values[suite.input].value is None:
            raise ValueError(f"--suites {suite.name} needs --{suite.input}")
        if suite.input and suite not in suites and values[suite.input].value is not None:
            given = f"--{suite.input} {values[suite.input].value}"
            raise ValueError(f"{given}: is of --suites {suite.name} alone")
    return suites


def _columns(values: flags.FlagValues, suites: Sequence[Suite]) -> list[Column]:
    """Returns what is judged, under names of its own."""
    checkpoints = values.checkpoint or ([] if values.images else [""])
    uses = (Use.PICTURES, Use.PAIR) if values.reference else (Use.PICTURES,)
    able = [suite for suite in suites if not suite.uses.keys().isdisjoint(uses)]
    for path in values.images:
        if not os.path.isdir(path):
            raise ValueError(f"--images {path}: no such folder")
    if values.images and not (able if checkpoints else len(able) == len(suites)):
        more = "" if values.reference else f"; with --reference also by {PAIRED}"
        allowed = ",".join(registry.able(*uses))
        raise ValueError(f"--images {values.images[0]}: judged by --suites {allowed}{more}")
    draws = all(Use.DRAWING in suite.uses for suite in suites) and not values.images
    how = [
        f"--{field.name}" for field in dataclasses.fields(Sampling) if values[field.name].present
    ]
    if how and not (checkpoints and any(Use.DRAWING in suite.uses for suite in suites)):
        allowed = ",".join(registry.able(Use.DRAWING))
        raise ValueError(f"{how[0]}: says how --suites {allowed} draw with a checkpoint")
    Sampling.given(values)  # refuses what is out of range before anything is loaded
    if not values.judge and not draws:
        allowed = ",".join(registry.able(Use.DRAWING))
        raise ValueError(f"--nojudge draws --suites {allowed}, and takes no --images")
    if values.reference and not values.images:
        raise ValueError(f"--reference {values.reference}: needs --images")
    if values.reference and not os.path.isdir(values.reference):
        raise ValueError(f"--reference {values.reference}: no such folder")
    return columns.named(checkpoints, values.images)


def _check_extras(
    suites: Sequence[Suite], asked: Sequence[Column], values: flags.FlagValues
) -> None:
    """Refuses suites whose extras are missing; reports what is left out without `ocr`."""
    given = {"reference": values.reference is not None, "draws": not values.judge}
    for suite, column in itertools.product(suites, asked):
        if use := column.use(suite, **given):
            suite.check_extras(use, f"--suites {suite.name}")
    reads = any(suite.reads for suite in suites) and any(c.images is None for c in asked)
    if reads and not extras.installed("ocr"):
        progress.say(f"{PROGRAM}: words are not read; that needs {extras.command('ocr')}")


def _loaded(
    column: Column, suites: Sequence[Suite], values: flags.FlagValues, output: pathlib.Path
) -> "Loaded":
    """Returns the column with its model, if it has one, and its evaluators."""
    subject = Subject(
        reference=pathlib.Path(values.reference) if values.reference else None,
        corpus=values.corpus or "",
        inception_weights=values.inception_weights,
        count=values.count or 0,
        seed=values.seed,
        every=values.every,
        output=output,
        is_alone=len(values.checkpoint) + len(values.images) < 2,
        workers=os.cpu_count() or 1,
        sampling=Sampling.given(values),
    )
    what = "the judges" if column.images else "the model and its judges"
    with progress.work(f"{column.name}: loading {what}"), cli.bad_input_exits(PROGRAM):
        return columns.load(column, suites, subject, draws=not values.judge)


def _judged(
    column: Column, suites: Sequence[Suite], values: flags.FlagValues, output: pathlib.Path
) -> Iterator[tuple[dict[str, Any], Suite, "Outcome"]]:
    """Describes the column, and yields what each suite found."""
    from omnigen.evals import results
    from omnigen.evals.suites import fidelity

    loaded = _loaded(column, suites, values, output)
    about = loaded.about
    for name, evaluator in loaded.evaluators.items():
        suite = registry.SUITES[name]
        with cli.bad_input_exits(PROGRAM, (fidelity.TooFewError,)):
            outcome = results.judged(evaluator, loaded.weights)
        drawn_by = outcome.about.get("settings", {}).get("weights")
        if results.is_digest(drawn_by):  # pictures say so
            about = {**about, "digest": drawn_by}
        count = values.count or suite.count
        outcome = dataclasses.replace(outcome, about={"count": count, **outcome.about})
        yield about, suite, outcome


def _draw_to_judge_elsewhere(
    column: Column, suites: Sequence[Suite], values: flags.FlagValues, output: pathlib.Path
) -> None:
    """Writes what `--images` wants to `pictures/COLUMN`."""
    from omnigen.evals.prompted import Prompted

    loaded = _loaded(column, suites, values, output)
    for evaluator in loaded.evaluators.values():
        assert isinstance(evaluator, Prompted)
        evaluator.draw(loaded.weights, {})
    cli.say(f"{PROGRAM}: judge by --images {shlex.quote(str(output / 'pictures' / column.name))}")


def _draw(values: flags.FlagValues, output: pathlib.Path) -> None:
    """Draws another benchmark's prompts, all processes together."""
    import jax

    from omnigen import parallel
    from omnigen.evals import external
    from omnigen.generation import pretrained

    with cli.bad_input_exits(PROGRAM):
        if not values.prompts or values.layout not in LAYOUTS:
            allowed = ", ".join(LAYOUTS)
            raise ValueError(f"another benchmark needs --prompts and --layout, one of {allowed}")
        others = [f"--{n}" for n in ("suites", "images", "seed", "every") if values[n].present]
        if others:
            raise ValueError(f"--prompts takes no {', '.join(others)}")
        if len(values.checkpoint) > 1:
            raise ValueError("--prompts draws with one --checkpoint")
        layout = external.Layout(values.layout)
        count = external.count_of(layout, values.count)
        sampling = Sampling.given(values)
        prompts = external.read(pathlib.Path(values.prompts), layout)
        parallel.initialize()
        checkpoint = values.checkpoint[0] if values.checkpoint else None
        with progress.work("loading the model"):
            model = pretrained.load(checkpoint, needed=registry.SUITES["exact"].weights)
    with _alone(output) if jax.process_index() == 0 else contextlib.nullcontext():
        external.draw(
            model.omni, model.params, prompts, layout, output=output, count=count, sampling=sampling
        )


def _complain(column: str, suite: Suite, outcome: "Outcome") -> bool:
    """Prints a line for each kind of unusable file; returns whether there were any."""
    from omnigen.evals import results

    for kind, listed in outcome.problems.items():
        some = ", ".join(map(cli.printable, listed[:3])) + (", ..." if len(listed) > 3 else "")
        counted = suite.has_prompts and kind not in results.UNCOUNTED
        counts = "counted as wrong" if counted else "not counted"
        progress.say(
            f"{PROGRAM}: {column}, {suite.name}: {len(listed)} pictures {kind}, {counts}: {some}"
        )
    return bool(outcome.problems)


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=argv)
        output = _output(values.output)
        suites = _suites(values)
        drawing = values.prompts is not None or values.layout is not None
        asked = [] if drawing else _columns(values, suites)
        _check_extras(suites, asked, values)
    if drawing:
        progress.say(f"{PROGRAM}: drawing --prompts {cli.printable(values.prompts or '')}")
        cli.cache_compilations()
        return _draw(values, output)
    verb = "judging" if values.judge else "drawing for"
    names = ", ".join(column.name for column in asked)
    progress.say(f"{PROGRAM}: {verb} {','.join(values.suites)} of {names}")
    with _alone(output):
        with progress.work("loading JAX"):
            cli.cache_compilations()
        if values.judge:
            return _judge(asked, suites, values, output)
        for column in asked:
            _draw_to_judge_elsewhere(column, suites, values, output)


def _judge(
    asked: Sequence[Column],
    suites: Sequence[Suite],
    values: flags.FlagValues,
    output: pathlib.Path,
) -> None:
    """Judges all columns and prints what was found.

    Raises:
        SystemExit: If files could not be used.
    """
    from omnigen.evals import results
    from omnigen.evals.reports import page as web
    from omnigen.evals.reports import table

    report: dict[str, Any] = {"omnigen": omnigen.__version__, "columns": []}
    imperfect = False
    for column in asked:
        found: dict[str, Any] = {}
        report["columns"].append(found)
        for about, suite, outcome in _judged(column, suites, values, output):
            found.update(about)
            found.setdefault("suites", {})[suite.name] = outcome.to_json()
            imperfect |= _complain(column.name, suite, outcome)
            results.write(json.dumps(report, indent=1) + "\n", output / results.FILE)
    with progress.work(f"writing {web.FILE}"):
        results.write(web.page(report, output), output / web.FILE)
    table.show(report)
    if imperfect:
        raise SystemExit(cli.BAD_INPUT)


if __name__ == "__main__":
    main()
