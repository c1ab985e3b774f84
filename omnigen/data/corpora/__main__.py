# SPDX-License-Identifier: Apache-2.0
"""Builds a corpus of emoji, icons and flags from pinned packages."""

import hashlib
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from omnigen import cli, extras, files

if TYPE_CHECKING:
    from omnigen.data.prepare.ingest import Job

PROGRAM = "omnigen.data.corpora"
USAGE = """
Builds a corpus:  python -m omnigen.data.corpora build DIR [--tiers permissive,attribution]
Downloads packages of free art with the npm client, draws every subject in every style and writes a
corpus to train on, with its licences in DIR/NOTICE. It goes on where it was interrupted. With
--composites it also holds stickers, posters, signs and groups of subjects, which needs skia.
"""
NOTICE = """\
This corpus holds work of others, rendered, and placed on backgrounds of plain colour or together
with other drawings of the same package and with words:
"""


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_list("styles", [], "the only styles to draw; empty: all", flag_values=values)
    tiers = "licences to accept: permissive, attribution, copyleft"
    flags.DEFINE_list("tiers", ["permissive", "attribution"], tiers, flag_values=values)
    flags.DEFINE_integer(
        "size", 256, "side of the pictures in pixels", 32, 1024, flag_values=values
    )
    text = "number of backgrounds to draw each emoji or coloured icon on"
    flags.DEFINE_integer("grounds", 1, text, 1, 11, flag_values=values)
    text = "approximate number of pictures to compose of drawings and words"
    flags.DEFINE_integer("composites", 0, text, 0, 10**7, flag_values=values)
    text = "folder for downloads (default: packages in $OMNIGEN_CACHE or ~/.cache/omnigen)"
    cli.define_path(values, "cache", None, text)
    text = "processes; 0 works in this one"
    flags.DEFINE_integer("workers", os.cpu_count() or 1, text, 0, flag_values=values)
    return values


def build(
    output: pathlib.Path,
    *,
    tiers: Sequence[str],
    styles: Sequence[str] = (),
    size: int,
    cache: pathlib.Path,
    grounds: int = 1,
    composites: int = 0,
) -> tuple["Job", str]:
    """Downloads what is needed and says what is to be drawn, and whose work it is.

    Raises:
        ValueError: If a tier or style is unknown, or a package cannot be fetched.
    """
    from omnigen.data.corpora import arrangement, description, drawings, recipes, subjects
    from omnigen.data.corpora import composites as composing
    from omnigen.data.prepare import ingest
    from omnigen.scenes import grammar

    for tier in tiers:
        if tier not in list(recipes.Tier):
            raise ValueError(f"tiers has {tier!r}; allowed: {', '.join(recipes.Tier)}")
    book = recipes.read()
    known = [art.style for art in book.art if art.tier in tiers]
    for style in styles:
        if style not in known:
            raise ValueError(f"styles has {style!r}; of these tiers are: {', '.join(known)}")
    names = recipes.fetch(book.names, cache)
    nicknames = [
        recipes.read_json(names, f"package/en/shortcodes/{table}.json")
        for table in ("cldr", "emojibase", "iamcal")
    ]
    emoji = subjects.Emoji(recipes.read_json(names, "package/en/data.json"), nicknames)
    modules = (
        drawings,
        subjects,
        grammar,
        *((composing, arrangement, description) if composites else ()),
    )
    code = [pathlib.Path(str(module.__file__)).read_bytes() for module in modules]
    digest = hashlib.sha256(b"".join(code)).hexdigest()
    parts, lines, every = [], [NOTICE], []
    for art in book.art:
        if art.style in (styles or known):
            cli.say(f"{art.source}, {art.style}", sys.stderr)
            archive = recipes.fetch(art, cache)
            found = list(drawings.named(art, archive, emoji))
            every.append((art, archive, found))
            parts += drawings.parts(art, archive, found, digest=digest, size=size, grounds=grounds)
            lines.append(
                f"{len(found)} drawings: {art.attribution}. {art.license}. From {art.source}, "
                f"called {art.style!r} in captions."
            )
    if composites:
        parts += composing.parts(every, digest=digest, count=composites, size=size)
    names_line = f"Names and keywords of emoji: {book.names.attribution}. {book.names.license}."
    settings = ingest.Settings(near_duplicates=-1, test_fraction=0.0)
    job = ingest.plan_parts(parts, pathlib.Path("packages"), output, settings)
    return job, "\n".join([*lines, "", names_line, ""])


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    words = []
    while arguments and not arguments[0].startswith("-"):
        words.append(arguments.pop(0))
    with cli.bad_input_exits(PROGRAM):
        values = _flags()
        cli.parse(values, usage=USAGE, argv=arguments)
        if len(words) != 2 or words[0] != "build":
            raise ValueError("write: build DIR")
        extras.load("resvg_py", "corpora", "drawing")
        if values.composites:
            extras.load("skia", "scenes", "--composites")
        cache = cli.cache_folder("packages") if values.cache is None else pathlib.Path(values.cache)
        if cache is None:
            raise ValueError("--cache is required: no folder can be made in the home folder")
        job, notice = build(
            pathlib.Path(cli.expand(words[1])),
            tiers=values.tiers,
            styles=values.styles,
            size=values.size,
            cache=cache,
            grounds=values.grounds,
            composites=values.composites,
        )
    from omnigen.data.prepare import ingest

    with cli.bad_input_exits(PROGRAM, ingest.REFUSALS):
        ingest.run(job, values.workers)
    files.write(job.output / "NOTICE", notice)
    ingest.summarize(job.output)


if __name__ == "__main__":
    main()
