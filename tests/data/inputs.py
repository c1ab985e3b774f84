# SPDX-License-Identifier: Apache-2.0
"""Small inputs for `prepare`, and what it makes of them."""

import io
import json
import tarfile

import numpy as np
from PIL import Image

from omnigen.data.corpus.records import Corpus
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import ingest
from omnigen.data.prepare.ingest import Settings

PLAIN = Settings(test_fraction=0.0)


def picture(seed, size=(48, 40), kind="PNG"):
    """A file of a picture unlike those of other seeds."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def put(folder, name, caption=None, *, seed=None):
    """Writes a picture, and its caption beside it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(abs(hash(name)) % 1000 if seed is None else seed))
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, "utf-8")


def prepared(source, settings=PLAIN):
    """The captions by key, and the rejects by key, of a corpus made of `source`."""
    output = source.parent / f"out-{len(list(source.parent.iterdir()))}"
    ingest.run(ingest.plan(source, output, settings))
    found = {record.key: record.captions for split in Split for record in Corpus(output, split)}
    lines = (output / ingest.REJECTS).read_text("utf-8").splitlines()
    return found, {line["key"]: line["reason"] for line in map(json.loads, lines)}


def write_tar(path, members):
    """Writes files by name; returns where the header of each begins."""
    offsets = []
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            offsets.append(tar.offset)
            tar.addfile(info, io.BytesIO(data))
    return offsets


def members(*numbers):
    """A picture and a caption each."""
    for n in numbers:
        yield f"{n}.png", picture(n)
        yield f"{n}.txt", f"number {n}".encode()
