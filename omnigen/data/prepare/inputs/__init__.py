# SPDX-License-Identifier: Apache-2.0
"""What people have: folders, tables, WebDataset tars, parquet, ArrayRecord; cut into parts.

Whatever the form, it becomes a list of parts of some hundred pictures, in an order that depends on
names alone. A part says where its pictures are and is read by itself, by any process.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Sequence

from omnigen import cli, files
from omnigen.cli import counted
from omnigen.data.corpus import names, records
from omnigen.data.corpus.records import Raw, Reason
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import processes
from omnigen.data.prepare.inputs import archives, folders, parquet, shards, tables
from omnigen.data.prepare.inputs.part import Broken, Input, Lost, Part
from omnigen.workers import DiedError

__all__ = ["SHEETS", "Lost", "Part", "Raw", "find"]

SHEETS = tuple(f"contact-{split}.png" for split in Split)  # that `inspect` writes
_FORMS = {
    "tars": (".tar",),
    "parquet files": (".parquet",),
    "ArrayRecord files": (records.SUFFIX, ".array_record"),
    "tables": tables.SUFFIXES,
    "pictures": names.PICTURES,
}
_PLANS: dict[str, Callable[[pathlib.Path, str, str], list[Part]]] = {
    "tars": archives.plan,
    "parquet files": parquet.plan,
    "ArrayRecord files": shards.plan,
}


def find(path: pathlib.Path) -> list[Part]:
    """Recognises what a path holds and cuts it into parts.

    What is passed over is counted in one line, which is logged as a warning.

    Raises:
        OSError: If a folder or file cannot be read.
        ValueError: If there is nothing to read, more than one kind of thing, or a table has
            mistakes.
    """
    if not path.exists():
        raise ValueError(f"input {str(path)!r}: no such file or folder")
    path = pathlib.Path(os.path.abspath(path))
    if records.is_corpus(path):
        return shards.plan_corpus(path)
    if not path.is_dir():
        files.check_regular(path)
    source = Input(path, files.walk(path, names.PICTURES) if path.is_dir() else [path])
    parts = _plan(source)
    if note := source.notes():
        cli.logger(__name__).warning("%s", note)
    return parts


def _plan(source: Input) -> list[Part]:
    broken, found = _sort(source)
    forms = [name for name, chosen in found.items() if chosen]
    foreign = [file.suffix.lower() in files.FOREIGN_PICTURES for file in found["pictures"]]
    if "pictures" in forms and ("tables" in forms or (len(forms) > 1 and all(foreign))):
        forms.remove("pictures")  # which the tables name, or which are never read
    if len(forms) > 1:
        counts = ", ".join(counted(len(found[name]), name) for name in forms)
        raise ValueError(
            f"input {str(source.path)!r} holds {counts}; name the folder or file to read"
        )
    if not forms and not broken:
        raise ValueError(
            f"input {str(source.path)!r} holds nothing to read; allowed: pictures "
            f"({', '.join(files.PICTURES)}) beside .txt files, a table of them "
            f"({', '.join(tables.SUFFIXES)}), WebDataset .tar, .parquet, {records.SUFFIX}"
        )
    form = forms[0] if forms else "pictures"
    chosen = found[form]
    if form == "pictures":
        return [*folders.plan(chosen, source), *broken]
    if form == "tables":
        return [*_tables(chosen, found["pictures"], source), *broken]
    if form == "parquet files":
        parquet.require(chosen[0])
    for file in sorted({*source.entries} - {*chosen}):
        if file.name not in SHEETS:
            source.note("files of no use", source.name(file))
    return [*_each(chosen, source, form), *broken]


def _sort(source: Input) -> tuple[list[Part], dict[str, list[pathlib.Path]]]:
    """Returns rejects for files that are not regular, and the other files by form."""
    broken: list[Part] = []
    found: dict[str, list[pathlib.Path]] = {name: [] for name in _FORMS}
    stems = {file.with_suffix("") for file in source.entries if _form(file) == "pictures"}
    for file in source.entries:
        form = _form(file)
        if file.suffix.lower() == names.JSON and not {file.with_suffix("")} & stems:
            form = "tables" if tables.is_list(file) else form
        if not form or (file != source.path and _is_beside(file)):
            continue
        if form != "pictures":  # which are looked at when they are read
            try:
                files.check_regular(file)
            except (OSError, files.UnfitFileError) as error:
                is_there = isinstance(error, files.UnfitFileError)
                reason = Reason.SPECIAL if is_there else Reason.MISSING
                broken.append(Broken(source.name(file), reason, str(error)))
                continue
        found[form].append(file)
    return broken, found


def _form(file: pathlib.Path) -> str:
    suffix = file.suffix.lower()
    return next((name for name, suffixes in _FORMS.items() if suffix in suffixes), "")


def _is_beside(file: pathlib.Path) -> bool:
    """Returns whether a file describes the pictures beside it and holds none itself.

    Such are the metadata that img2dataset writes beside its tars or folders, and contact sheets.
    """
    if file.name in SHEETS:
        return True
    if file.suffix.lower() != ".parquet" or not file.with_name(f"{file.stem}_stats.json").exists():
        return False
    return file.with_suffix(".tar").is_file() or file.with_suffix("").is_dir()


def _tables(
    chosen: Sequence[pathlib.Path], pictures: Sequence[pathlib.Path], source: Input
) -> list[Part]:
    named: set[str] = set()
    parts = [part for file in chosen for part in tables.plan(file, source, named)]
    if source.path.is_dir():
        for picture in pictures:
            if str(picture) not in named:
                source.note("pictures that no table names", source.name(picture))
    return parts


def may_abort(part: Part) -> bool:
    """Returns whether a damaged part may end the process, through the library that reads it."""
    return isinstance(part, parquet.RowGroup | shards.Records)


def _each(chosen: Sequence[pathlib.Path], source: Input, form: str) -> list[Part]:
    """Returns the parts of files of many pictures.

    Where there are several files, one that cannot be read becomes a reject.
    """
    parts: list[Part] = []
    plan = _PLANS[form]
    if form != "tars":  # whose libraries may end the process
        plan = functools.partial(processes.alone, plan)
    for file in chosen:
        try:
            try:
                parts += plan(file, source.name(file), source.test(file))
            except DiedError as error:
                raise ValueError(f"{file} ended its reader: {error}") from error
        except (OSError, ValueError, MemoryError) as error:
            if len(chosen) == 1:
                raise
            reason = Reason.MEMORY if isinstance(error, MemoryError) else Reason.DAMAGED
            parts.append(Broken(source.name(file), reason, str(error)))
    return parts
