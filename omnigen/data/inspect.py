# SPDX-License-Identifier: Apache-2.0
"""Says what a prepared corpus holds, and shows some of it."""

import pathlib
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from absl import flags

from omnigen import cli, files
from omnigen.data.corpus import pictures
from omnigen.data.corpus.records import Corpus, Record, Records, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import inputs
from omnigen.data.stream import buckets, tars

PROGRAM = "omnigen.data.inspect"
USAGE = """
Describes a prepared corpus, or WebDataset tars:  python -m omnigen.data.inspect PATH
Prints statistics and writes contact-SPLIT.png, pictures with their captions: in the folder of a
prepared corpus, or where --output says. Beside tars nothing is written.
"""
COLUMNS, ROWS, SIDE, LINES = 8, 6, 128, 4
_LETTER, _LINE = 6, 11  # pixels of Pillow's own font


def describe(corpus: Records, *, most: int) -> list[str]:
    """Returns lines about the records of a split, or about `most` of them at equal distances.

    Args:
        corpus: Split to describe.
        most: Largest number of records to read.
    """
    sides, captions, lengths, bytes_, bad = [], [], [], [], Counter()
    for index in _spread(len(corpus), most):
        try:
            record = corpus[index]
            size = buckets.size_of(record)
        except Rejected as rejected:
            bad[str(rejected.reason)] += 1
            continue
        sides.append((size.width, size.height))
        captions.append(len(record.captions))
        lengths += [len(caption.encode("utf-8", "surrogatepass")) for caption in record.captions]
        bytes_.append(len(record.image))
    lines = [f"{len(corpus)} pictures, of which {len(sides)} were read"]
    for name, values in (
        ("width, pixels", [width for width, _ in sides]),
        ("height, pixels", [height for _, height in sides]),
        ("aspect, width / height", [width / height for width, height in sides]),
        ("file, bytes", bytes_),
        ("captions a picture", captions),
        ("caption, bytes", lengths),
    ):
        if values:
            least, low, middle, high, largest = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
            spread = f"{least:g} .. {low:g} .. {middle:g} .. {high:g} .. {largest:g}"
            lines.append(f"{name}: {spread} (least, 5 %, median, 95 %, largest)")
    return lines + [f"unreadable, {reason}: {count}" for reason, count in bad.items()]


def _spread(count: int, most: int) -> list[int]:
    return [k * count // most for k in range(most)] if count > most else list(range(count))


def contact_sheet(corpus: Records) -> np.ndarray:
    """Draws pictures spread over a split, each above its first caption, uint8 `[H, W, 3]`."""
    from PIL import Image, ImageDraw

    height = SIDE + LINES * _LINE + 4
    chosen = _spread(len(corpus), COLUMNS * ROWS)
    rows = -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIDE, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, index in enumerate(chosen):
        left, top = place % COLUMNS * SIDE, place // COLUMNS * height
        try:
            record = corpus[index]
            text = record.captions[0] if record.captions else "(no caption)"
            sheet.paste(_thumbnail(record), (left, top))
        except Rejected as rejected:
            text = str(rejected)
        text = text.encode("latin-1", "replace").decode("latin-1")
        wrapped = textwrap.wrap(text, SIDE // _LETTER - 1, max_lines=LINES, placeholder="...")
        draw.multiline_text((left + 2, top + SIDE), "\n".join(wrapped), fill="black", spacing=0)
    return np.asarray(sheet)


def _thumbnail(record: Record):
    from PIL import ImageOps

    image = pictures.decode(record.image, least=pictures.Size.square(SIDE)).image
    return ImageOps.pad(image, (SIDE, SIDE), color="#dddddd")


def _report(corpora: Mapping[Split, Records], output: pathlib.Path | None, most: int) -> None:
    """Prints what a corpus holds; writes contact sheets if there is a folder for them."""
    from PIL import Image

    whole = corpora[Split.TRAIN]
    if isinstance(whole, Corpus):
        manifest = whole.manifest
        if manifest.joined:
            cli.say(f"joined to an equal picture, with their captions: {manifest.joined}")
        for name, counts in (("license", manifest.licenses), ("left out", manifest.rejects)):
            for value, count in counts.items():
                cli.say(f"{name}, {value}: {count}")
    for split, corpus in corpora.items():
        for line in describe(corpus, most=most):
            cli.say(f"{split}: {line}")
        if len(corpus) and output:
            output.mkdir(parents=True, exist_ok=True)
            path = output / inputs.SHEETS[list(Split).index(split)]
            with files.replacing(path) as partial:
                Image.fromarray(contact_sheet(corpus)).save(partial, "PNG")
            cli.say(f"{split}: wrote {path}")
    if not output:
        print("no contact sheets; --output names a folder for them")


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    import sys

    arguments = list(sys.argv[1:] if argv is None else argv)
    folder = arguments.pop(0) if arguments and not arguments[0].startswith("-") else ""
    values = flags.FlagValues()
    text = "records to read for the statistics, spread over the corpus"
    flags.DEFINE_integer("most", 10_000, text, lower_bound=1, flag_values=values)
    text = "folder for contact sheets (default: that of a prepared corpus; none for tars)"
    cli.define_path(values, "output", None, text)
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=arguments)
        if not folder:
            raise ValueError("name the folder of a corpus")
        folder = cli.expand(folder)
        corpora = {split: tars.open_records(folder, split) for split in Split}
        is_corpus = isinstance(corpora[Split.TRAIN], Corpus)
        output = values.output or (folder if is_corpus else None)
    _report(corpora, pathlib.Path(output) if output else None, values.most)


if __name__ == "__main__":
    main()
