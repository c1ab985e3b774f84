# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures with texts beside them."""

import dataclasses
import pathlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from omnigen import files
from omnigen.data.corpus import fields, names, reading
from omnigen.data.corpus.names import Sample
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.prepare.inputs.part import NOTHING, Input, Lost, Part, cut


@dataclasses.dataclass(frozen=True)
class _Files:
    """Pictures of a folder with what lies beside them, by names."""

    root: str
    samples: tuple[Sample, ...]
    stamps: tuple[tuple[files.Stamp, ...], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        for number, sample in enumerate(self.samples):
            image: bytes | Rejected
            said = {}
            try:
                if number in lost:
                    raise lost[number]
                if sample.is_second:
                    raise second(sample.picture)
                kinds = ((names.TEXTS[0], sample.text), (names.JSON, sample.json))
                said = fields.beside({kind: self._text(name) for kind, name in kinds if name})
                image = reading.picture(pathlib.Path(self.root, sample.picture))
            except Rejected as rejected:
                image = rejected
            split = names.test_of_folders(sample.picture.rpartition("/")[0])
            note = fields.named("beside it", said or sample.beside)
            yield fields.raw(sample.key, image, [said], split=split, note=note)

    def _text(self, name: str) -> bytes:
        return reading.text(pathlib.Path(self.root, name))


def second(name: str) -> Rejected:
    """Returns why a picture is left out beside one that stands for their sample."""
    if names.split_suffix(name)[1] in files.FOREIGN_PICTURES:
        return Rejected(Reason.FORMAT, name)
    return Rejected(Reason.DUPLICATE, f"{name}: a second picture of the sample, without a text")


def plan(chosen: Sequence[pathlib.Path], source: Input) -> list[Part]:
    """Cuts picture files into parts; the texts are those that lie beside them."""
    every = source.entries if source.path.is_dir() else sorted(source.root.iterdir())
    groups: dict[str, list[str]] = defaultdict(list)
    for file in every:
        name = source.name(file)
        if parsed := names.parse(name):
            groups[parsed.key].append(name)
    found = {s.picture: s for group in groups.values() for s in names.choose(group)}
    samples = [found[source.name(file)] for file in chosen]
    used = {name for s in samples for name in (s.picture, s.text, s.json)}
    if source.path.is_dir():
        for file in every:
            if source.name(file) not in used:
                is_text = file.suffix.lower() in (*names.TEXTS, names.JSON)
                what = "texts of no picture" if is_text else "files other than pictures"
                source.note(what, source.name(file))
    parts: list[Part] = []
    for chunk in cut(samples):
        stamps = tuple(_stamps(source.root, sample) for sample in chunk)
        parts.append(_Files(str(source.root), chunk, stamps))
    return parts


def _stamps(root: pathlib.Path, sample: Sample) -> tuple[files.Stamp, ...]:
    sides = (sample.picture, sample.text, sample.json)
    return tuple(files.stamp(root / name if name else None) for name in sides)
