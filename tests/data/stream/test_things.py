# SPDX-License-Identifier: Apache-2.0
"""Sketches are read by patterns of their own, and compared with what captions are to tell."""

import re
from collections import Counter

import pytest

from omnigen.data.corpora import drawings, recipes, subjects
from omnigen.data.corpora.recipes import Kind, Tier
from omnigen.data.corpora.subjects import Subject
from omnigen.data.corpus import meanings
from omnigen.data.corpus.split import Split
from omnigen.data.stream.pipeline import DataConfig
from omnigen.data.stream.source import Turn
from omnigen.data.stream.things import Things
from omnigen.scenes import palette
from omnigen.wording import lexicon

COUNT = 600
GROUND = {letter: name for name, letter in zip(palette.BACKGROUNDS, "wxebsmroyvulkn", strict=True)}


def made(split=Split.TRAIN, count=COUNT, seed=0, weights=None):
    config = DataConfig(image_size=16, split=split, seed=seed)
    things = Things(weights or {"things": 1.0}, config)
    return [things.candidate(Turn(0, index, index)) for index in range(count)]


@pytest.fixture(scope="module")
def told():
    """What captions tell instead of captions, and sketches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meanings, "phrase", lambda meaning, dice, most: meanings.write(meaning))
        patch.setattr(meanings, "GIVEN", 0.0)
        return [(meanings.read(one.caption), one.sketch) for one in made()]


def parts(sketch):
    """Style, background, figures with their places, and words, of a sketch."""
    found = re.fullmatch(
        r'~([^<]+?)(p\([a-z ]+\)|[pgt][a-z]{1,2})((?:<[^<>]+>\w{3})+)(?:"(.+)"\w{6})?', sketch
    )
    assert found, sketch
    style = next(
        s for s in sorted(subjects.listed(), key=len, reverse=True) if sketch[1:].startswith(s)
    )
    ground = sketch[1 + len(style) : sketch.index("<")]
    if ground[1] == "(":
        ground = ground[2:-1]
    elif ground[0] == "g":
        ground = f"gradient of {GROUND[ground[1]]} and {GROUND[ground[2]]}"
    else:
        ground = ("textured " if ground[0] == "t" else "") + GROUND[ground[1]]
    figures = [
        (name, *(int(digit, 32) for digit in place))
        for name, place in re.findall(r"<([^<>]+)>(\w{3})", found[3])
    ]
    return style, ground, figures, found[4]


def test_captions_tell_what_sketches_hold(told):
    seen = Counter()
    for meaning, sketch in told:
        _, ground, figures, text = parts(sketch)
        holder = meaning.words[0].holder if meaning.words else None
        if re.search(r" sign>..t", sketch):
            figures, seen["board"] = figures[:-1], seen["board"] + 1
            assert holder in (None, "sign")
        assert [words.text for words in meaning.words] == ([text] if text else [])
        assert meaning.background in (None, ground)
        names = Counter(name for name, *_ in figures)
        assert len(names) == len(meaning.things)
        places = []
        for thing, name in zip(meaning.things, names, strict=True):
            assert name in (thing.noun, f"{thing.color} {thing.noun}") or (
                thing.color is None and name.endswith(f" {thing.noun}")
            )
            assert thing.count == names[name] or (thing.count is None and names[name] > 2)
            places.append([place for mine, *place in figures if mine == name])
            seen[thing.count] += 1
            sizes = {"small": places[-1][0][2] <= 9, "large": places[-1][0][2] >= 17}
            assert sizes.get(thing.size, True)
            seen[thing.size] += 1
        assert not {*meaning.absent} & {*names, *({"text"} if text else ())}
        seen["absent"] += bool(meaning.absent)
        for relation in meaning.relations:
            seen[relation.name] += 1
            if relation.one == len(places):
                assert text and relation.others == (0,)
                continue
            one, others = places[relation.one], [p for k in relation.others for p in places[k]]
            axis = int(relation.name in ("above", "column"))
            if relation.name in ("left", "above"):
                assert max(p[axis] for p in one) < min(p[axis] for p in others)
            elif relation.name == "next_to":
                assert one[0][1] == others[0][1] and abs(one[0][0] - others[0][0]) < 16
            elif relation.name == "between":
                assert all(
                    2 * one[0][k] == pytest.approx(sum(p[k] for p in others), abs=2) for k in (0, 1)
                )
            else:
                line = [*one, *others]
                assert len(line) > 2 and len({p[1 - axis] for p in line}) == 1
                assert [p[axis] for p in line] == sorted(p[axis] for p in line)
    wanted = {"left", "above", "below", "next_to", "between", "row", "column", "small", "large"}
    assert {*wanted, "board", "absent", 1, 2, 3, 4, 5, 6, None} <= seen.keys(), seen


def test_names_that_nobody_has_drawn_stay_visible(told):
    known = {subject.name for those in subjects.listed().values() for subject in those}
    nouns = [meaning.things[0].noun.removeprefix("teal ") for meaning, _ in told]
    strange = [noun for noun in nouns if noun not in known]
    assert abs(len(strange) - 0.15 * COUNT) < 4 * (COUNT * 0.15 * 0.85) ** 0.5
    real = sum(noun in subjects.undrawn() for noun in strange)
    assert 10 < real < len(strange) - 10
    assert not (known | {*lexicon.meanings("things")}) & {*subjects.undrawn()}


def test_captions_quote_words_and_are_of_many_kinds():
    found = made(count=300)
    for one in found:
        text = parts(one.sketch)[-1]
        assert text is None or text in one.caption
        assert len(one.caption.encode()) <= 240 and len(one.sketch.encode()) <= 127
    styled = sum(f"{parts(one.sketch)[0]} style" in one.caption for one in found)
    assert 20 < styled < 100  # some captions are those that corpora bring
    with pytest.raises(AssertionError):
        found[0].draw()


def test_each_follows_from_its_index_alone():
    first = [(one.caption, one.sketch) for one in made(count=40)]
    again = [(one.caption, one.sketch) for one in made(count=40)]
    other = [(one.caption, one.sketch) for one in made(count=40, seed=1)]
    assert first == again and len({*first, *other}) == 80


@pytest.mark.parametrize("split", Split)
def test_subjects_are_split_as_those_of_corpora(split):
    known = {subject.name for those in subjects.listed().values() for subject in those}
    for one in made(split, count=200):
        for name, *_ in parts(one.sketch)[2]:
            plain = name if name in known else name.partition(" ")[2]
            if plain in known:
                assert Subject(plain).is_held_out == (split == Split.TEST), one.sketch


def test_things_are_read_alone():
    with pytest.raises(ValueError, match="^mixture is 'things'; allowed: "):
        DataConfig(mixture={"things": 1.0})
    config = DataConfig(sketches=True, readings=1, reading_mixture={"things": 1.0})
    assert config.open_readings()[0].has_held_out()


def test_the_list_of_subjects_is_that_of_the_recipes():
    styles = subjects.listed()
    book = {art.style: art for art in recipes.read().art}
    left_out = {art.style for art in book.values() if art.tier == Tier.COPYLEFT or art.held_out}
    flags = {art.style for art in book.values() if art.kind == Kind.FLAG}
    assert {*styles} == {*book} - left_out - flags
    lines = subjects.LIST.read_text("utf-8").splitlines()[1:]
    assert lines == sorted(lines) and len(lines) > 5000
    for those in styles.values():
        assert len({one.name for one in those}) == len(those) > 100
        assert all(one.is_plain and not one.is_shape for one in those)
    assert Subject("panda") in styles["Noto"] and Subject("rocket") in styles["game icon"]
    assert not any(name in drawings.INKS for name in subjects.undrawn())


@pytest.mark.parametrize("split", Split)
def test_styles_can_be_chosen(split) -> None:
    weights = {"things:Twemoji": 3.0, "things:Fluent flat": 1.0}
    styles = Counter(parts(one.sketch)[0] for one in made(split, 400, weights=weights))
    assert styles.keys() == {"Twemoji", "Fluent flat"}
    assert abs(styles["Twemoji"] - 300) < 4 * (400 * 0.75 * 0.25) ** 0.5  # four deviations


def test_a_style_that_nobody_draws_is_refused() -> None:
    assert Things.takes("things:Noto") and not Things.takes("things:Cubism")
    with pytest.raises(ValueError, match="things:Cubism.*'things:STYLE' for a style of drawings"):
        DataConfig(image_size=16, sketches=True, readings=1, reading_mixture={"things:Cubism": 1.0})
