# SPDX-License-Identifier: Apache-2.0
"""WebDataset tars."""

import dataclasses
import pathlib
from collections.abc import Iterator

from omnigen import files
from omnigen.data.corpus import names, webdataset
from omnigen.data.corpus.records import Raw, Reason, Rejected
from omnigen.data.prepare.inputs.part import NOTHING, Broken, Lost, Part, cut


@dataclasses.dataclass(frozen=True)
class _Tar:
    """Pictures of a tar."""

    path: str
    stamp: files.Stamp
    samples: tuple[webdataset.Sample, ...]
    test: str

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, lost: Lost = NOTHING) -> Iterator[Raw]:
        try:
            file = files.open_regular(pathlib.Path(self.path))
        except (OSError, ValueError) as error:
            for sample in self.samples:
                yield Raw(sample.key, Rejected(Reason.MISSING, str(error)), (), {})
            return
        with file:
            for number, sample in enumerate(self.samples):
                if number in lost:
                    yield Raw(sample.key, lost[number], (), {})
                    continue
                split = self.test or names.test_of_folders(sample.key.rpartition("/")[0])
                yield webdataset.read_sample(file.fileno(), sample, split)


def plan(file: pathlib.Path, name: str, test: str) -> list[Part]:
    """Cuts the pictures of a tar into parts.

    Args:
        file: The tar.
        name: Name of the file below the input.
        test: "test" if the file is named so.

    Raises:
        OSError: If the tar cannot be read.
        ValueError: If the file is no tar.
    """
    index = webdataset.index_tar(file)
    samples = webdataset.samples_of(index)
    parts: list[Part] = [_Tar(str(file), files.stamp(file), chunk, test) for chunk in cut(samples)]
    if index.damage:
        parts.append(Broken(name, Reason.DAMAGED, index.damage))
    return parts
