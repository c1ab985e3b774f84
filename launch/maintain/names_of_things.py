# SPDX-License-Identifier: Apache-2.0
"""Rebuilds the lexicon of things: other names of what drawings show, and what they are one of.

Names are those of emoji, which drawings of most packages have. WordNet says what else they are
called: words of the same synset, of which it is the first sense too. The synset is the first one of
a sort that fits the group of the emoji, so that a turtle is no sweater. What nobody would say, or
what is the name of another drawing, is left out; `SEEN` was seen by eye. Unpack the package
`wordnet-base` of Debian, then:

    python launch/maintain/names_of_things.py usr/share/wordnet
"""

import dataclasses
import pathlib
import sys

from omnigen.data.corpora import recipes

TABLE = pathlib.Path(__file__).parents[2] / "omnigen/wording/data/lexicon/things.tsv"
HEAD = "meaning\ttext\tuse\tform\tplural\ttags\n"
SORTS = {"animal": 5, "artifact": 6, "body": 8, "food": 13, "object": 17, "person": 18, "plant": 20}
FITTING = {
    1: ("body",),
    3: ("animal", "plant"),
    4: ("food", "plant", "artifact"),
    5: ("artifact", "object"),
    6: ("artifact",),
    7: ("artifact", "food"),
}
"""What an emoji of a group may be, by number of the group."""
KINDS = {
    **{kind: kind for kind in ("bird", "fish", "insect", "reptile", "dinosaur", "dog", "animal")},
    **{kind: kind for kind in ("fruit", "vegetable", "flower", "tree", "plant", "vehicle")},
    **{kind: kind for kind in ("building", "tool", "furniture", "hat", "weapon", "boat", "truck")},
    **{kind: kind for kind in ("ball", "shoe", "car", "monkey", "bear", "whale", "clock")},
    "edible_fruit": "fruit",
    "musical_instrument": "musical instrument",
    "beverage": "drink",
    "dessert": "dessert",
    "plaything": "toy",
    "clothing": "piece of clothing",
    "aircraft": "aircraft",
    "rodent": "rodent",
    "footwear": "shoe",
    "timepiece": "clock",
}
"""What people say a thing is one of, by the synset."""
USUAL = (
    "plane, car, fire truck, ladybug, phone, tie, hamburger, donut, fries, cellphone, subway, rhino"
)
SEEN = """
accordion: squeeze box; airplane: aeroplane, plane; articulated lorry: tractor trailer;
automobile: car, auto, motorcar; axe: ax; backpack: knapsack, rucksack, haversack; bathtub: tub;
beer mug: stein; bell pepper: sweet pepper; boar: wild boar; bucket: pail; circus tent: big top;
coffin: casket; cow: moo-cow; crayon: wax crayon; croissant: crescent roll;
delivery truck: delivery van; doughnut: donut; falafel: felafel; ferry: ferryboat;
file cabinet: filing cabinet; film projector: movie projector; fire engine: fire truck;
fire extinguisher: extinguisher; fishing pole: fishing rod; floppy disk: diskette, floppy;
french fries: fries; gear: gear wheel, cogwheel; glasses: spectacles, eyeglasses, specs;
hamburger: beefburger; headphone: earphone; koala: koala bear; lab coat: laboratory coat;
lady beetle: ladybug, ladybird; laptop: laptop computer; light bulb: lightbulb; luggage: baggage;
metro: subway; microphone: mike; mobile phone: cellphone, cellular phone; moose: elk;
movie camera: cine-camera; necktie: tie; office building: office block; orca: killer whale;
package: parcel; panda: giant panda, panda bear; paperclip: paper clip; pickup truck: pickup;
pizza: pizza pie; police car: patrol car, squad car; potato: spud; prayer beads: rosary;
pushpin: thumbtack, drawing pin; racing car: race car; railway car: railcar, railroad car;
rhinoceros: rhino; rock: stone; sailboat: sailing boat; scissors: pair of scissors;
sled: sledge, sleigh; snake: serpent; sunglasses: dark glasses, shades; t-shirt: tee shirt;
taxi: taxicab; teddy bear: teddy; telephone: phone; toolbox: tool chest; top hat: silk hat;
violin: fiddle; wastebasket: wastepaper basket, waste basket; water pistol: water gun, squirt gun;
wrench: spanner
"""
"""Synonyms that a person would use, seen by eye."""
NO_KIND = frozenset(
    "wood, peacock, hedgehog, card index, kaaba, motorized wheelchair, seat, french fries, "
    "factory, dolphin, coral, dragon, lime, mango, peach, tangerine, bug, passenger ship, worm, "
    "fish, bird, root vegetable, shopping cart, guide dog, black cat, house".split(", ")
)
"""What its kind does not tell, or tells wrongly, since WordNet speaks of another sense."""


def seen() -> set[tuple[str, str]]:
    """Returns the pairs of a name and a synonym in `SEEN`."""
    pairs = set()
    for line in " ".join(SEEN.split()).split("; "):
        name, _, words = line.partition(": ")
        pairs |= {(name, word) for word in words.split(", ")}
    return pairs


@dataclasses.dataclass(frozen=True)
class Synset:
    """What WordNet says of one meaning: its sort, words, and the synsets above it."""

    sort: int
    words: tuple[str, ...]
    above: tuple[str, ...]


class WordNet:
    """The nouns of WordNet 3.0."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Reads `index.noun` and `data.noun` of a folder."""
        self.senses: dict[str, list[str]] = {}
        self.synsets: dict[str, Synset] = {}
        for line in (folder / "index.noun").read_text("utf-8").splitlines():
            if not line.startswith(" "):
                lemma, _, _, pointers, *rest = line.split()
                self.senses[lemma] = rest[int(pointers) + 2 :]
        for line in (folder / "data.noun").read_text("utf-8").splitlines():
            if not line.startswith(" "):
                key, sort, _, count, *rest = line.partition(" | ")[0].split()
                words = tuple(rest[: 2 * int(count, 16) : 2])
                pointers = rest[2 * int(count, 16) + 1 :]
                pairs = zip(pointers[::4], pointers[1::4], strict=False)
                above = tuple(key for mark, key in pairs if mark in ("@", "@i"))
                self.synsets[key] = Synset(int(sort), words, above)

    def find(self, name: str, group: int) -> str | None:
        """Returns the first synset of a name that an emoji of the group may be."""
        sorts = [SORTS[sort] for sort in FITTING.get(group, ())]
        keys = self.senses.get(name.replace(" ", "_"), ())
        return next((key for key in keys if self.synsets[key].sort in sorts), None)

    def synonyms(self, key: str) -> list[str]:
        """Returns words in small letters whose first sense is this synset."""
        return [
            word.replace("_", " ")
            for word in self.synsets[key].words
            if word == word.lower() and self.senses[word][0] == key
        ]

    def kind(self, key: str) -> str | None:
        """Returns what people say that it is one of: the nearest of `KINDS` above it."""
        level = self.synsets[key].above
        while level:
            for one in level:
                for word in self.synsets[one].words:
                    if word in KINDS and self.senses[word][0] == one or word == "aircraft":
                        return KINDS[word]
            level = tuple(above for one in level for above in self.synsets[one].above)
        return None


def entries(wordnet: WordNet) -> list[str]:
    """Returns the lines of the table."""
    cache = pathlib.Path.home() / ".cache" / "omnigen" / "packages"
    package = recipes.fetch(recipes.read().names, cache)
    rows = recipes.read_json(package, "package/en/data.json")
    names = {row["label"].lower(): row.get("group", -1) for row in rows}
    lines, kept = [], seen()
    for name, group in sorted(names.items()):
        key = wordnet.find(name, group)
        if key is None:
            continue
        for word in wordnet.synonyms(key):
            if word not in names and (name, word) in kept:
                use = "usual" if word in USUAL.split(", ") else "known"
                lines.append(f"{name}\t{word}\t{use}\tsynonym\t\t")
        kind = wordnet.kind(key)
        if kind is not None and name not in (kind, *NO_KIND):
            lines.append(f"{name}\t{kind}\trare\tkind\t\t")
    return lines


if __name__ == "__main__":
    TABLE.write_text(HEAD + "\n".join(entries(WordNet(pathlib.Path(sys.argv[1])))) + "\n", "utf-8")
