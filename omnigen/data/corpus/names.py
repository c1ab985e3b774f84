# SPDX-License-Identifier: Apache-2.0
"""What the names of files say: which picture a text belongs to, and what is for the test.

Folders and tars go by the same rules, so that a tar of a folder gives the same corpus. A dot that a
letter follows begins the name of a part, as in WebDataset (`0001.seg.png`); any other dot belongs
to the name (`shot 1.5.jpg`, `2024.05.01-a.jpg`).
"""

import dataclasses
import functools
import posixpath
import re
from collections.abc import Sequence

from omnigen import files
from omnigen.data.corpus.split import Split

PICTURES = (*files.PICTURES, *files.FOREIGN_PICTURES)
"""Suffixes of all files that are meant as pictures, whether they are read or not."""

TEXTS = (".txt", ".caption", ".text")
"""Suffixes of captions beside a picture; the first that is there is taken."""

JSON = ".json"
_PART = re.compile(r"\.(?=[^\W\d])")
_WORD = re.compile(r"[^\W\d_]+")
_SPLITS = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), Split.TEST),
    **dict.fromkeys(("val", "valid", "validation", "dev"), Split.TEST),
}
_NOUNS = frozenset(
    "data dataset file files image images img imgs photo photos picture pictures set split".split()
)  # that may stand beside the word for a split in the name of a folder


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """A file's name, taken apart: KEY.PART.SUFFIX, or KEY.SUFFIX.

    Attributes:
        key: What the names of all files of a sample begin with, folders included.
        part: What tells apart the sample's files of one kind; often empty.
        suffix: Suffix in small letters, with its dot.
    """

    key: str
    part: str
    suffix: str


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """A picture and the texts about it, by the names of their files.

    Attributes:
        key: Key of the picture: its file without its suffix, unless another picture has that key.
        picture: Name of the picture's file.
        text: Name of the file of its caption, or nothing.
        json: Name of the file of its fields, or nothing.
        is_second: Whether it has no text of its own and another picture stands for its sample.
        beside: Names of the sample's files that no picture takes.
    """

    key: str
    picture: str
    text: str = ""
    json: str = ""
    is_second: bool = False
    beside: tuple[str, ...] = ()


def split_suffix(name: str) -> tuple[str, str]:
    """Returns a file's name without its last suffix, and the suffix in small letters."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.rpartition(".")
    return (folder + slash + stem, f".{suffix.lower()}") if stem and dot else (name, "")


def parse(name: str) -> Name | None:
    """Takes the name of a file apart; None if it has no suffix or is hidden."""
    name = name.removeprefix("./")
    stem, suffix = split_suffix(name)
    if not suffix or any(files.is_hidden(step) and step.strip(".") for step in name.split("/")):
        return None
    begin = stem.rfind("/") + 1
    found = _PART.search(stem, begin + 1)
    if not found:
        return Name(stem, "", suffix)
    return Name(stem[: found.start()], stem[found.end() :], suffix)


def choose(names: Sequence[str]) -> list[Sample]:
    """Returns the pictures among the files of one sample, each with its texts.

    A picture's own text has its name, with or without the picture's suffix. If a sample has one
    picture without a text of its own and one text that no picture owns, they belong together. Where
    a picture stands for the sample, pictures without texts of their own, such as masks, are second.
    """
    index = {split_suffix(name): name for name in names}
    parsed = {name: parse(name) for name in names}
    pictures = [name for name in names if split_suffix(name)[1] in PICTURES]
    pictures.sort(key=lambda name: (_part(parsed[name]), _is_foreign(name), name))
    samples, stems = [], set()
    for picture in pictures:
        stem = split_suffix(picture)[0]
        stands = [picture] if stem in stems else [stem, picture]
        texts = [index[s, kind] for s in stands for kind in TEXTS if (s, kind) in index]
        jsons = [index[s, JSON] for s in stands if (s, JSON) in index]
        key = (picture if stem in stems else stem).removeprefix("./")
        sample = Sample(key, picture, (texts or [""])[0], (jsons or [""])[0])
        is_second = stem in stems and not (texts or jsons)
        samples.append(dataclasses.replace(sample, is_second=is_second))
        stems.add(stem)
    used = {name for s in samples for name in (s.picture, s.text, s.json)}
    return _join(samples, [name for name in names if name not in used])


def _part(name: Name | None) -> str:
    return name.part if name else ""


def _is_foreign(name: str) -> bool:
    return split_suffix(name)[1] in files.FOREIGN_PICTURES


def _join(samples: list[Sample], spare: list[str]) -> list[Sample]:
    """Gives what no picture owns to the one that stands for the sample, if one does."""
    if len(samples) == 1 and not spare:
        return samples
    texts = [name for name in spare if split_suffix(name)[1] in TEXTS]
    jsons = [name for name in spare if split_suffix(name)[1] == JSON]
    bare = [s for s in samples if not (s.text or s.json or s.is_second)]
    plain = [s for s in samples if not _part(parse(s.picture))]
    takes = max(len(texts), len(jsons)) == 1
    head = plain[0] if plain else bare[0] if bare and takes and _is_part(bare[0]) else None
    found = []
    for sample in samples:
        if sample is head and sample in bare:
            if takes:
                own = dict(text=(texts or [""])[0], json=(jsons or [""])[0])
                sample = dataclasses.replace(sample, **own)
        elif head and sample in bare:
            sample = dataclasses.replace(sample, is_second=True)
        left = tuple(name for name in spare if name not in (sample.text, sample.json))
        found.append(dataclasses.replace(sample, beside=left))
    return found


def _is_part(sample: Sample) -> bool:
    return bool(_part(parse(sample.picture)))


def split_named(text: str) -> str:
    """Returns the split that a folder's name or a column's value names, or nothing.

    Digits and words such as "images" may stand beside it: `val2017`, `test_images`.
    """
    words = _WORD.findall(text.lower())
    splits = {_SPLITS[word] for word in words if word in _SPLITS}
    others = {word for word in words if word not in _SPLITS}
    return splits.pop().value if len(splits) == 1 and others <= _NOUNS else ""


@functools.lru_cache(1 << 12)
def test_of_folders(folder: str) -> str:
    """Returns "test" if the outermost of these folders that names a split names the test."""
    found = [split for step in folder.split("/") if (split := split_named(step))]
    return found[0] if found[:1] == [Split.TEST.value] else ""


def test_of_file(name: str) -> str:
    """Returns "test" if a file of many pictures, or a folder above it, is named for the test.

    Any of the words of its name counts: `cc3m-val-0001.tar`. What is named "train" is like what has
    no such name: it is trained on but for the share that is held out if nothing is named a test.
    """
    folder, base = posixpath.split(name)
    steps = [split for step in folder.split("/") if (split := split_named(step))]
    words = _WORD.findall(split_suffix(base)[0].lower())
    splits = {_SPLITS[word].value for word in words if word in _SPLITS}
    found = [*steps, *(splits if len(splits) == 1 else ())]
    return found[0] if found[:1] == [Split.TEST.value] else ""
