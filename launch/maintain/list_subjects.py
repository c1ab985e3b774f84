# SPDX-License-Identifier: Apache-2.0
"""Rebuilds the list of what packages of drawings show, by name and style.

Sketches of drawings are read without the drawings, so the names are part of the package. Those of
many words, of flags, of the style that is held out, and of packages of the tier copyleft are not.

    python launch/maintain/list_subjects.py CACHE     # the folder of downloads, which are pinned
"""

import pathlib
import sys

from omnigen.data.corpora import drawings, recipes, subjects
from omnigen.data.corpora.recipes import Kind, Tier


def rows(cache: pathlib.Path) -> tuple[list[str], dict[str, str]]:
    """Returns the styles, and for each name of a subject the letters of the styles that have it."""
    book = recipes.read()
    names = recipes.fetch(book.names, cache)
    tables = [
        recipes.read_json(names, f"package/en/shortcodes/{table}.json")
        for table in ("cldr", "emojibase", "iamcal")
    ]
    emoji = subjects.Emoji(recipes.read_json(names, "package/en/data.json"), tables)
    styles, found = [], {}
    for art in book.art:
        if art.tier == Tier.COPYLEFT or art.held_out or art.kind == Kind.FLAG:
            continue
        letter = chr(ord("a") + len(styles))
        styles.append(art.style)
        for _, subject in drawings.named(art, recipes.fetch(art, cache), emoji):
            if subject.is_plain and not subject.is_shape:
                found[subject.name] = found.get(subject.name, "") + letter
    return styles, found


def main(cache: str) -> None:
    """Writes the list."""
    styles, found = rows(pathlib.Path(cache))
    lines = ["\t".join(styles), *(f"{name}\t{found[name]}" for name in sorted(found))]
    subjects.LIST.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
