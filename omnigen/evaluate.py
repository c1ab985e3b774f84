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

if TYPE_CHECKING:
    from omnigen.evals.base import Evaluator
    from omnigen.evals.results import Outcome
    from omnigen.generation.pretrained import Pretrained
    from omnigen.nn.module import Params

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
SUITES = {  # and the weights that each needs
    "reconstruction": ("encoder", "decoder"),
    "samples": ("decoder", "ar", "head"),
    "corpus": ("decoder", "ar", "head"),
    "exact": ("decoder", "ar", "head"),
    "text": ("decoder", "ar", "head"),
    "fidelity": ("encoder", "decoder"),
    "kid_lite0": ("encoder", "decoder"),
    "lpips": ("encoder", "decoder"),
}
PROMPTED = ("exact", "text")  # suites that can judge pictures without a model
PAIRED = ("fidelity", "kid_lite0")  # those that can, if there is a reference
COUNTS = {
    "reconstruction": 64,
    "samples": 64,
    "corpus": 64,
    "exact": 4,
    "text": 4,
    "fidelity": 64,
    "kid_lite0": 64,
    "lpips": 64,
}
READERS = ("reconstruction", "samples", "corpus")  # suites that read words if OCR is there
MOST_NAME = 48  # characters of a column's name, of which a disk takes 255 bytes and more
LAYOUTS = ("geneval", "wise", "dpg", "longtext", "folder")


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    for name, text in (
        (
            "checkpoint",
            "a workdir or checkpoint folder, again for several; the shipped model if none",
        ),
        ("images", f"pictures to judge, as SUITE/PROMPT/samples/NUMBER.png; {', '.join(PROMPTED)}"),
    ):
        cli.define_paths(values, name, text)
    for name, text in (
        ("output", "the folder to write results.json to; made if it does not exist"),
        ("inception_weights", "the weights file of FID's network; suite fidelity only"),
        ("reference", f"a folder of pictures to compare --images with; {', '.join(PAIRED)}"),
        (
            "corpus",
            "pictures to draw the captions of: a prepared corpus, or tars; suite corpus only",
        ),
        ("prompts", "another benchmark's prompts, to draw instead of judging; needs --layout"),
    ):
        cli.define_path(values, name, None, text)
    text = f"where its scorer looks for pictures: {', '.join(LAYOUTS)}"
    flags.DEFINE_string("layout", None, text, flag_values=values)
    suites = f"benchmarks, separated by commas: {', '.join(SUITES)}"
    flags.DEFINE_list("suites", ["reconstruction"], suites, flag_values=values)
    text = "pictures of each kind to judge by (default: 64), or of each prompt (default: 4)"
    flags.DEFINE_integer("count", None, text, lower_bound=1, upper_bound=10_000, flag_values=values)
    text = f"of the first picture of each prompt; {', '.join(PROMPTED)}"
    flags.DEFINE_integer("seed", 0, text, lower_bound=0, upper_bound=2**31, flag_values=values)
    text = f"ask only every Nth prompt of each task; {', '.join(PROMPTED)}"
    flags.DEFINE_integer("every", 1, text, lower_bound=1, upper_bound=100, flag_values=values)
    text = f"--nojudge only draws, for --images of another machine; {', '.join(PROMPTED)}"
    flags.DEFINE_bool("judge", True, text, flag_values=values)
    return values


@dataclasses.dataclass(frozen=True)
class Column:
    """One system that is judged: a checkpoint (the shipped one if "") or a folder of pictures."""

    name: str
    checkpoint: str | None = None
    images: pathlib.Path | None = None


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
    """Makes the output folder and keeps other evaluations out; one that stays empty goes again."""
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


def _suites(values: flags.FlagValues) -> list[str]:
    if not values.suites:
        raise ValueError(f"--suites is empty; allowed: {', '.join(SUITES)}")
    for name in values.suites:
        if name not in SUITES:
            nearest, allowed = cli.nearest(name, SUITES), ", ".join(SUITES)
            raise ValueError(f"--suites {name}: did you mean {nearest}? allowed: {allowed}")
    if "corpus" in values.suites and values.corpus is None:
        raise ValueError("--suites corpus needs --corpus")
    if values.corpus is not None and "corpus" not in values.suites:
        raise ValueError(f"--corpus {values.corpus}: is of --suites corpus alone")
    return values.suites


def _check_extras(values: flags.FlagValues, columns: Sequence[Column]) -> None:
    """Refuses suites whose extras are missing; tells what is left out without `ocr`."""
    modelled = any(column.images is None for column in columns)
    for name in values.suites:
        if name in ("kid_lite0", "lpips"):
            extras.require("fidelity", f"--suites {name}")
        if name == "text" and values.judge:
            extras.require("ocr", "--suites text")
        if modelled and name != "corpus":
            extras.load("skia", "scenes", f"--suites {name} draws scenes, which")
    if modelled and set(values.suites) & set(READERS) and not extras.installed("ocr"):
        progress.say(f"{PROGRAM}: words are not read; that needs {extras.command('ocr')}")


def _without_model(values: flags.FlagValues) -> tuple[str, ...]:
    """Suites that can judge pictures."""
    return (*PROMPTED, *PAIRED) if values.reference else PROMPTED


def _columns(values: flags.FlagValues) -> list[Column]:
    """What is judged, under names of their own."""
    columns: list[Column] = []

    def add(path: str, **source: Any) -> None:
        name = _short(os.path.basename(os.path.abspath(path)) or "root") if path else "shipped"
        taken = {column.name for column in columns}
        names = itertools.chain([name], (f"{name}~{number}" for number in itertools.count(2)))
        columns.append(Column(next(one for one in names if one not in taken), **source))

    checkpoints = values.checkpoint or ([] if values.images else [""])
    for path in checkpoints:
        add(path, checkpoint=path)
    for path in values.images:
        if not os.path.isdir(path):
            raise ValueError(f"--images {path}: no such folder")
        add(path, images=pathlib.Path(path))
    able = _without_model(values)
    suites = set(values.suites)
    if values.images and not (suites & set(able) if checkpoints else suites <= set(able)):
        more = "" if values.reference else f"; with --reference also by {', '.join(PAIRED)}"
        raise ValueError(f"--images {values.images[0]}: judged by --suites {','.join(able)}{more}")
    if not values.judge and (values.images or not set(values.suites) <= set(PROMPTED)):
        raise ValueError(f"--nojudge draws --suites {','.join(PROMPTED)}, and takes no --images")
    if values.reference and not values.images:
        raise ValueError(f"--reference {values.reference}: needs --images")
    if values.reference and not os.path.isdir(values.reference):
        raise ValueError(f"--reference {values.reference}: no such folder")
    return columns


def _short(name: str) -> str:
    """A folder's name as a part of others: printable, and so short that the disk takes them all."""
    return cli.printable(name, most=MOST_NAME).replace("\\", "_")


def _evaluator(
    name: str,
    model: "Pretrained | None",
    *,
    column: Column,
    count: int,
    values: flags.FlagValues,
    output: pathlib.Path,
) -> "Evaluator":
    """Makes the evaluator of a suite; without a model it judges the column's pictures."""
    from omnigen.evals.judges import reading
    from omnigen.evals.networks.inception import Inception
    from omnigen.evals.networks.lite0 import Lite0
    from omnigen.evals.prompted import CEILING, Prompted
    from omnigen.evals.suites import exact, text
    from omnigen.evals.suites.corpus import Corpus
    from omnigen.evals.suites.fidelity import Fidelity, Folders, KidLite0, Perceptual, Rebuilt
    from omnigen.evals.suites.reconstruction import Reconstruction
    from omnigen.evals.suites.samples import Samples

    omni, images = model and model.omni, column.images
    apart = output / column.name if len(values.checkpoint) + len(values.images) > 1 else output
    if name in PROMPTED:
        ceiling = images and images / f"{name}{CEILING}"
        if images is not None and any((images / folder).is_dir() for folder in PROMPTED):
            images = images / name
        if name == "exact":
            suite = exact.benchmark(second_judge=True)
        else:
            suite = text.benchmark(judges=values.judge)
        return Prompted(
            suite.part(values.every),
            omni=omni,
            images=images,
            ceiling=ceiling if ceiling and ceiling.is_dir() else None,
            output=output,
            column=column.name,
            count=count,
            seed=values.seed,
            workers=os.cpu_count() or 1,
        )
    if name in PAIRED:
        if images is None:
            assert omni is not None
            sets = Rebuilt(omni, count=count)
        else:
            sets = Folders(images, reference=pathlib.Path(values.reference or ""))
        if name == "fidelity":
            return Fidelity(sets, inception=Inception(values.inception_weights))
        return KidLite0(sets, network=Lite0())
    assert omni is not None
    if name == "samples":
        return Samples(omni, count=count, output=apart)
    if name == "corpus":
        return Corpus(omni, folder=values.corpus, count=count, output=apart)
    if name == "lpips":
        return Perceptual(omni, count=count)
    reader = reading.rapidocr if reading.version() else None
    return Reconstruction(omni, count=count, reader=reader, output=output, column=column.name)


def _evaluators(
    column: Column, values: flags.FlagValues, output: pathlib.Path
) -> tuple[dict[str, Any], "Params", dict[str, "Evaluator"]]:
    """What is known of the column, its weights if it has any, and its evaluators by suite."""
    from omnigen.evals import prompted
    from omnigen.generation import pretrained

    about: dict[str, Any] = {"name": column.name, "images": str(column.images)}
    what = "the judges" if column.images else "the model and its judges"
    with progress.work(f"{column.name}: loading {what}"), cli.bad_input_exits(PROGRAM):
        model = None
        if column.images is None:
            needed = {part for name in values.suites for part in SUITES[name]}
            model = pretrained.load(column.checkpoint or None, needed=needed)
            about = {"name": column.name, "checkpoint": model.path, "model": model.version}
            about |= {"step": model.step, "digest": prompted.digest(model.params)}
        evaluators = {
            name: _evaluator(
                name,
                model,
                column=column,
                count=values.count or COUNTS[name],
                values=values,
                output=output,
            )
            for name in values.suites
            if model is not None or name in _without_model(values)
        }
    return about, model.params if model else {}, evaluators


def _judged(
    column: Column, values: flags.FlagValues, output: pathlib.Path
) -> Iterator[tuple[dict[str, Any], str, "Outcome"]]:
    """Describes the column, and yields what each suite found."""
    from omnigen.evals import results
    from omnigen.evals.suites import fidelity

    about, weights, evaluators = _evaluators(column, values, output)
    for name, evaluator in evaluators.items():
        with cli.bad_input_exits(PROGRAM, (fidelity.TooFewError,)):
            outcome = results.judged(evaluator, weights)
        drawn_by = outcome.about.get("settings", {}).get("weights")
        if results.is_digest(drawn_by):  # pictures say so
            about = {**about, "digest": drawn_by}
        count = values.count or COUNTS[name]
        outcome = dataclasses.replace(outcome, about={"count": count, **outcome.about})
        yield about, name, outcome


def _draw_to_judge_elsewhere(
    column: Column, values: flags.FlagValues, output: pathlib.Path
) -> None:
    """Leaves what `--images` wants in `pictures/COLUMN`."""
    from omnigen.evals.prompted import Prompted

    _, weights, evaluators = _evaluators(column, values, output)
    for evaluator in evaluators.values():
        assert isinstance(evaluator, Prompted)
        evaluator.draw(weights, {})
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
        prompts = external.read(pathlib.Path(values.prompts), layout)
        parallel.initialize()
        checkpoint = values.checkpoint[0] if values.checkpoint else None
        with progress.work("loading the model"):
            model = pretrained.load(checkpoint, needed=SUITES["exact"])
    with _alone(output) if jax.process_index() == 0 else contextlib.nullcontext():
        external.draw(model.omni, model.params, prompts, layout, output=output, count=count)


def _complain(column: str, suite: str, outcome: "Outcome") -> bool:
    """Says in a line a kind which files were no use; returns whether there were any."""
    from omnigen.evals import results

    for kind, listed in outcome.problems.items():
        some = ", ".join(map(cli.printable, listed[:3])) + (", ..." if len(listed) > 3 else "")
        counted = suite in PROMPTED and kind not in results.UNCOUNTED
        counts = "counted as wrong" if counted else "not counted"
        progress.say(
            f"{PROGRAM}: {column}, {suite}: {len(listed)} pictures {kind}, {counts}: {some}"
        )
    return bool(outcome.problems)


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = _flags()
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=argv)
        output = _output(values.output)
        drawing = values.prompts is not None or values.layout is not None
        columns = [] if drawing else _columns(values)
        _suites(values)
        if not drawing:
            _check_extras(values, columns)
    if drawing:
        progress.say(f"{PROGRAM}: drawing --prompts {cli.printable(values.prompts or '')}")
        cli.cache_compilations()
        return _draw(values, output)
    verb = "judging" if values.judge else "drawing for"
    names = ", ".join(column.name for column in columns)
    progress.say(f"{PROGRAM}: {verb} {','.join(values.suites)} of {names}")
    with _alone(output):
        with progress.work("loading JAX"):
            cli.cache_compilations()
        if values.judge:
            return _judge(columns, values, output)
        for column in columns:
            _draw_to_judge_elsewhere(column, values, output)


def _judge(columns: Sequence[Column], values: flags.FlagValues, output: pathlib.Path) -> None:
    """Judges all columns and tells what was found.

    Raises:
        SystemExit: files were no use.
    """
    from omnigen.evals import results
    from omnigen.evals.reports import page as web
    from omnigen.evals.reports import table

    report: dict[str, Any] = {"omnigen": omnigen.__version__, "columns": []}
    imperfect = False
    for column in columns:
        found: dict[str, Any] = {}
        report["columns"].append(found)
        for about, name, outcome in _judged(column, values, output):
            found.update(about)
            found.setdefault("suites", {})[name] = outcome.to_json()
            imperfect |= _complain(column.name, name, outcome)
            results.write(json.dumps(report, indent=1) + "\n", output / results.FILE)
    with progress.work(f"writing {web.FILE}"):
        results.write(web.page(report, output), output / web.FILE)
    table.show(report)
    if imperfect:
        raise SystemExit(cli.BAD_INPUT)


if __name__ == "__main__":
    main()
