# SPDX-License-Identifier: Apache-2.0
"""Prepared corpora and their shards, to filter or resize them again."""

import dataclasses
import pathlib
from collections.abc import Iterator

from omnigen import files
from omnigen.data.corpus import fields, records
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare.inputs.part import NOTHING, Lost, Part, cut


@dataclasses.dataclass(frozen=True)
class Records:
    """Records of one of our ArrayRecord files."""

    path: str
    stamp: files.Stamp
    start: int
    stop: int
    count: int
    split: str

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        """Reads the records; see `Part.read`."""
        shard = wrong = None
        try:
            path = pathlib.Path(self.path)
            shard = records.ShardReader(path, self.count, of_stranger=True)
        except (OSError, ValueError) as error:
            wrong = Rejected(Reason.RECORD, str(error))
        except Rejected as rejected:
            wrong = rejected
        for number in range(self.start, self.stop):
            try:
                if number - self.start in lost:
                    raise lost[number - self.start]
                if shard is None:
                    raise wrong or Rejected(Reason.RECORD)
                record = shard[number]
            except Rejected as rejected:
                yield Raw(f"{pathlib.Path(self.path).stem}/{number}", rejected, (), {})
                continue
            split = self.split or fields.split_of({"attributes": record.attributes})
            yield Raw(record.key, record.image, record.captions, record.attributes, split)


def plan_corpus(path: pathlib.Path) -> list[Part]:
    """Returns the records of a corpus; those that it holds out stay held out.

    Raises:
        ValueError: If its manifest is not one of ours.
    """
    splits = records.Manifest.read(path).splits
    shards = [(shard, split) for split in Split for shard in splits.get(split, ())]
    return [part for s, split in shards for part in _cut(path / s.name, s.count, split)]


def plan(file: pathlib.Path, name: str, test: str) -> list[Part]:
    """Cuts the records of a shard into parts; see `archives.plan`.

    Raises:
        OSError: If the shard cannot be read.
        ValueError: If it holds no record.
    """
    size = files.check_regular(file).st_size
    try:
        count = records.count_records(file)
    except Rejected as rejected:
        raise ValueError(f"{str(file)!r}: {rejected}") from rejected
    if not count and size:
        raise ValueError(f"{str(file)!r} holds no record that can be read")
    return _cut(file, count, test)


def _cut(file: pathlib.Path, count: int, split: str) -> list[Part]:
    chunks, mark = cut(range(count)), files.stamp(file)
    return [Records(str(file), mark, k[0], k[-1] + 1, count, split) for k in chunks]
