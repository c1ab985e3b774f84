# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
import json
import re
import tarfile
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from omnigen.data.corpora import arrangement, composites, drawings
from omnigen.data.corpora.recipes import Art, Kind, Tier
from omnigen.data.corpus import meanings, pictures
from omnigen.data.corpus.records import Corpus, Reason, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import ingest
from omnigen.dice import Dice
from omnigen.scenes import grammar, palette, words

pytest.importorskip("resvg_py")
pytest.importorskip("skia")

SQUARE = '<rect x="2" y="2" width="12" height="12" fill="currentColor"/>'
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAMES = [f"{one}{two}ck" for one in LETTERS[1:11] for two in "aeiou"]
SIDE = 96


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    """A package of fifty things and a star, squares in whatever ink, and what `parts` takes."""
    folder = tmp_path_factory.mktemp("art")
    icons = {
        "icons": {n: {"body": f"{SQUARE}<!--{n}-->"} for n in [*NAMES, "star"]},
        "width": 16,
        "height": 16,
    }
    path = folder / "a.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("icons.json", icons), ("chars.json", {})):
            raw = json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    art = Art(
        "@a/b", "1.0", digest, "MIT", "B, (c) A",
        style="Plain", kind=Kind.ICON, tier=Tier.PERMISSIVE, is_mono=True,
    )  # fmt: skip
    return art, path, list(drawings.named(art, path, None))  # icons need no names of emoji


@pytest.fixture(scope="module")
def made(style):
    """Two hundred composites."""
    parts = composites.parts([style], digest="", count=200, size=SIDE)
    return [raw for part in parts for raw in part.read()]


def layout_of(raw):
    return raw.attributes["layout"]


def pixels(raw):
    return np.asarray(pictures.decode(raw.image).image).astype(int)


def near(image, rgb):
    """Where a picture has a colour."""
    return np.abs(image - rgb).max(axis=-1) <= 3


def centre(image, ink):
    rows, cols = np.nonzero(near(image, tuple(bytes.fromhex(drawings.INKS[ink][1:]))))
    return cols.mean(), rows.mean()


def test_all_layouts_come_and_every_key_once(made):
    counts = Counter(map(layout_of, made))
    assert counts.keys() == {str(layout) for layout in composites.Layout}
    assert counts["group"] > 75 and min(counts.values()) > 15
    assert len({raw.key for raw in made}) == 200
    assert all(len(raw.captions) == 5 for raw in made)


def test_a_composite_follows_from_its_number(style, made, monkeypatch):
    monkeypatch.setattr(composites, "PART", 7)
    parts = composites.parts([style], digest="", count=200, size=SIDE)
    assert len(parts) == 29
    for number in (199, 4, 150):
        part = next(p for p in parts if p.start <= number < p.stop)
        assert part.at(number) == made[number]


def test_relations_are_those_of_the_picture(made):
    """The oracle finds the two by the colours that the caption names."""
    seen = 0
    for raw in made:
        for caption in (*raw.captions[:2], *raw.captions[3:]):
            found = re.search(
                r"\ban? (\w+) \w+ (to the left of|left of|to the right of|right of|above|below) "
                r"an? (\w+) \w+(?: on an? ([\w ]+) background|\.?$)",
                caption[0].lower() + caption[1:],
            )
            if layout_of(raw) != "group" or not found or found[1] == found[3]:
                continue
            image = pixels(raw)
            (x, y), (other_x, other_y) = centre(image, found[1]), centre(image, found[3])
            gap = 0.3 * SIDE
            truth = {
                "left": other_x - x > gap,
                "right": x - other_x > gap,
                "above": other_y - y > gap,
                "below": y - other_y > gap,
            }
            assert truth[found[2].replace("to the ", "").replace(" of", "")], caption
            seen += 1
    assert seen > 60


def test_requests_open_as_those_of_scenes(made):
    """The last caption asks for what the plain or the terse one says."""
    openings = tuple(
        words.lower()
        for one in (*grammar.VERBS, *grammar.MEDIA)
        for words in (one, grammar.article(one))
    )
    opened = known = 0
    for raw in made:
        plain, terse, asked = (
            words.rstrip(".").lower() for words in np.take(raw.captions, [0, 3, 4])
        )
        found = [rest for rest in (plain, terse) if asked.endswith(rest)]
        assert found and raw.captions[0][0].islower(), raw.captions
        opening = asked.removesuffix(max(found, key=len))
        opened += bool(opening)
        known += opening.startswith(openings)
    assert abs(opened - 100) < 4 * 50**0.5 and 0.3 < known / opened < 0.95  # others are any words


def test_what_scenes_draw_too_is_no_part_of_them(made):
    """Not all captions say the style."""
    named = {one for raw in made for one in raw.attributes["subject"].split(", ")}
    assert len(named) > 40 and "star" not in named


def test_rows_are_told_in_order(made):
    seen = 0
    for raw in made:
        found = re.match(
            r"an? (\w+) \w+, an? (\w+) \w+ and an? (\w+) \w+ .* from (left|top)", raw.captions[0]
        )
        if found and len(set(found.groups()[:3])) == 3:
            axis = 0 if found[4] == "left" else 1
            places = [centre(pixels(raw), ink)[axis] for ink in found.groups()[:3]]
            assert places == sorted(places)
            seen += 1
    assert seen > 5


def test_signs_stand_where_captions_say(made):
    seen = 0
    for raw in made:
        if layout_of(raw) != "sign":
            continue
        found = re.match(
            r'an? (\w+) sign with the words? "[^"]+" in \w+ letters (above|below) ', raw.captions[0]
        )
        assert found, raw.captions
        image = pixels(raw)
        rows, _ = np.nonzero(near(image, arrangement.BOARDS[found[1]]))
        assert len(rows) > 0.05 * SIDE**2
        assert (rows.mean() < SIDE / 2) == (found[2] == "above")
        seen += 1
    assert seen > 15


def test_every_caption_quotes_all_words(made):
    for raw in made:
        quoted = [re.findall(r'"([^"]*)"', caption) for caption in raw.captions]
        assert all(one == quoted[0] for one in quoted)
        assert len(quoted[0]) == (layout_of(raw) != "group")


def test_sketches_say_what_is_where(made):
    """The oracle reads them by a pattern and finds figures by colour and words by captions."""
    thing = r"<(\w+) \w+>(\w)(\w)(\w)"
    shades = dict(zip("wxebsmroyvulkn", palette.BACKGROUNDS, strict=True))
    seen = Counter()
    for raw in made:
        sketch, image = raw.attributes["sketch"], pixels(raw)
        found = re.fullmatch(
            rf"~Plain([pgt])([a-z])([a-z]?)((?:{thing})+)((?:\"[^\"]+\"\w{{6}})?)", sketch
        )
        assert found and len(sketch) <= 127, sketch
        fill, first, second, words = found[1], found[2], found[3], found[9]
        name = shades[first] if fill != "g" else f"{shades[first]} and {shades[second]} gradient"
        assert f"{'textured ' if fill == 't' else ''}{name} background" in raw.captions[0]
        assert re.findall('"[^"]+"', words) == re.findall('"[^"]+"', raw.captions[0])
        inks = Counter(ink for ink, *_ in re.findall(thing, sketch))
        for ink, *place in re.findall(thing, sketch):
            if f"<{ink} sign>" in sketch or inks[ink] > 1 or words:
                continue
            x, y, side = (int(digit, 32) / 32 * SIDE for digit in place)
            assert np.abs(np.array(centre(image, ink)) - (x, y)).max() < SIDE / 32
            drawn = near(image, tuple(bytes.fromhex(drawings.INKS[ink][1:]))).any(axis=0).sum()
            assert abs(drawn - side * 12 / 16) < SIDE / 16  # a square of 12 of 16 units
            seen["figures"] += 1
        seen[layout_of(raw)] += 1
    assert seen["figures"] > 80 and len(seen) == 5


def places_by_ink(raw):
    """Centres of the squares of each ink in a picture, from the left."""
    image, found = pixels(raw), {}
    for ink, rgb in drawings.INKS.items():
        labels, count = ndimage.label(near(image, tuple(bytes.fromhex(rgb[1:]))))
        centres = ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))
        if count:
            found[ink] = sorted((x / SIDE, y / SIDE) for y, x in centres)
    return found


HOLDS = {
    "left": lambda one, other: max(x for x, _ in one) < min(x for x, _ in other),
    "above": lambda one, other: max(y for _, y in one) < min(y for _, y in other),
    "next_to": lambda one, other: (
        abs(one[0][1] - other[0][1]) < 0.03 < abs(one[0][0] - other[0][0])
    ),
}


def is_line(places, axis):
    """Whether places in the order of telling are in a straight line from the left or the top."""
    along, across = ([place[k] for place in places] for k in (axis, 1 - axis))
    return along == sorted(along) and max(across) - min(across) < 0.03


def test_meanings_are_those_of_the_picture(made):
    """The oracle finds squares by colour: how many, where, and how they lie to each other."""
    seen = Counter()
    for raw in made:
        meaning = meanings.read(raw.attributes["meaning"])
        assert meaning.domain == "things" and meanings.write(meaning) == raw.attributes["meaning"]
        quoted = re.findall(r'"([^"]*)"', raw.captions[0])
        assert [one.text for one in meaning.words] == quoted
        named = [f"<{thing.color or ''}" for thing in meaning.things]
        assert all(raw.attributes["sketch"].count(name) >= 1 for name in named)
        inks = [thing.color or "teal" for thing in meaning.things]
        assert all(thing.color or thing.noun.startswith("teal ") for thing in meaning.things)
        if layout_of(raw) != "group":
            (relation,) = meaning.relations
            assert (relation.one, relation.others) == (1, (0,))
            where = {"above": "top", "below": "bottom"}[relation.name]
            assert meaning.words[0].place == where
            seen[meaning.words[0].holder] += 1
            continue
        if len(set(inks)) < len(inks):
            continue
        found = places_by_ink(raw)
        assert [len(found.get(ink, ())) for ink in inks] == [t.count for t in meaning.things]
        for relation in meaning.relations:
            told = [found[inks[k]] for k in (relation.one, *relation.others)]
            if relation.name in ("row", "column"):
                flat = [p for one in told for p in one]
                axis = int(relation.name == "column")
                flat = sorted(flat, key=lambda p: p[axis]) if not relation.others else flat
                assert is_line(flat, axis)
            elif relation.name == "between":
                ((x, y),), ends = told[0], [place for one in told[1:] for place in one]
                assert len(ends) == 2
                assert abs(x - sum(e[0] for e in ends) / 2) < 0.03
                assert abs(y - sum(e[1] for e in ends) / 2) < 0.03
            else:
                assert HOLDS[relation.name](*told), (relation, told)
            seen[relation.name] += 1
        if len(meaning.things) == 1 and meaning.things[0].count == 1:
            ((x, y),), thing = found[inks[0]], meaning.things[0]
            words = {"left": x < 0.4, "right": x > 0.6, "top": y < 0.4, "bottom": y > 0.6}
            for word in thing.place.split() if thing.place else ():
                assert words.get(word, 0.4 < x < 0.6), thing
            area = near(pixels(raw), tuple(bytes.fromhex(drawings.INKS[inks[0]][1:]))).mean()
            side = area**0.5 * 16 / 12
            assert {"small": side < 0.28, "large": side > 0.53, None: 0.28 < side < 0.44}[
                thing.size
            ]
            seen[thing.size] += 1
        seen[sum(thing.count for thing in meaning.things)] += 1
    wanted = {"left", "above", "next_to", "row", "column", "between", "small", "large", None}
    assert wanted | {"sticker", "poster", "sign", 1, 2, 3, 4, 5, 6} <= seen.keys(), seen


def test_several_of_a_subject_are_told_in_the_plural(made):
    several = 0
    for raw in made:
        things = meanings.read(raw.attributes["meaning"]).things
        if len(things) == 1 and things[0].count > 1:
            name = f"{things[0].color} {things[0].noun}s" if things[0].color else things[0].noun
            number = grammar.number(things[0].count, digits=False)
            assert all(f"{number} {name}" in caption.lower() for caption in raw.captions)
            several += 1
    assert several > 15


def test_what_is_held_out_is_in_the_test_split_alone(made, style):
    held_out = {subject.key for _, subject in style[2] if subject.is_held_out}
    assert 0 < len(held_out) < 10
    for raw in made:
        used = set(raw.attributes["subject"].split(", "))
        assert bool(used & held_out) == (raw.attributes["split"] == Split.TEST)
        if raw.attributes["split"] == Split.TRAIN:
            for quoted in re.findall(r'"([^"]*)"', raw.captions[0]):
                assert all(words.allowed(word, held_out=False) for word in quoted.split())
    splits = Counter(raw.attributes["split"] for raw in made)
    assert 2 <= splits["test"] <= 25


def test_drawings_show_on_their_backgrounds():
    dice = Dice(1)
    scene = composites.Composite(composites.Layout.GROUP, (), "", 0.0, "", Split.TRAIN)
    for ink in drawings.INKS.values():
        rgb = tuple(bytes.fromhex(ink[1:]))
        for _ in range(20):
            ground = composites.choose_ground(dice, [[rgb] * 4, [(255, 255, 255)]], scene)
            shades = palette.shades(ground)
            assert min(palette.distance(rgb, shade) for shade in shades) >= composites.DISTANCE
            white = (255, 255, 255)
            assert min(palette.distance(white, shade) for shade in shades) >= composites.DISTANCE


def test_the_rim_is_the_outline_and_not_what_is_inside():
    drawn = np.zeros((40, 40, 4), np.uint8)
    drawn[4:36, 4:36] = (255, 0, 0, 255)
    drawn[8:32, 8:32] = (0, 0, 255, 255)
    assert set(composites.rim(drawn)) == {(255, 0, 0)}


def test_a_drawing_too_faint_for_an_outline_is_left_out(style, monkeypatch):
    faint = np.full((8, 8, 4), 100, np.uint8)
    monkeypatch.setattr(drawings, "draw", lambda *args, **kwargs: faint)
    raw = composites.parts([style], digest="", count=1, size=SIDE)[0].at(0)
    assert isinstance(raw.image, Rejected) and raw.image.reason == Reason.DAMAGED


def test_a_corpus_of_composites(style, tmp_path):
    parts = composites.parts([style], digest="", count=40, size=48)
    settings = ingest.Settings(near_duplicates=-1, test_fraction=0.0)
    ingest.run(ingest.plan_parts(parts, tmp_path, tmp_path / "out", settings))
    record = Corpus(tmp_path / "out")[0]
    assert (record.width, record.height) == (48, 48)
    assert record.attributes["license"] == "MIT" and record.attributes["source"] == "@a/b@1.0"
    other = composites.parts([style], digest="x", count=40, size=48)
    assert repr(other) != repr(parts)


def test_a_background_shows_most_of_an_outline_or_the_most_that_any_shows():
    """Brute force: outlines of all plain backgrounds' colours show on none."""
    scene = composites.Composite(composites.Layout.GROUP, (), "", 0.0, "", Split.TRAIN)

    def far(rgb, ground):
        return min(palette.distance(rgb, shade) for shade in palette.shades(ground))

    rims = [[rgb] for rgb in palette.BACKGROUNDS.values()]
    shown = {g: min(far(rgb, g) for (rgb,) in rims) for g in composites._grounds()[0]}
    found = composites.choose_ground(Dice(1), rims, scene)
    shown_here = min(far(rgb, found) for (rgb,) in rims)
    assert shown_here == pytest.approx(max(shown.values())) and shown_here < composites.DISTANCE

    half = [(255, 255, 255)] * 3 + [(14, 14, 18)] * 5
    for seed in range(20):
        ground = composites.choose_ground(Dice(seed), [half], scene)
        assert np.quantile([far(rgb, ground) for rgb in half], 0.25) >= composites.DISTANCE
