# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
from collections import Counter

import numpy as np
import pytest

from omnigen.data.corpora import __main__ as door
from omnigen.data.corpora import drawings, recipes, subjects
from omnigen.data.corpora.recipes import Art, Kind, Tier
from omnigen.data.corpora.subjects import Emoji, Subject
from omnigen.data.corpus import meanings, pictures
from omnigen.data.corpus.records import Corpus, Rejected
from omnigen.data.corpus.split import Split
from omnigen.dice import Dice
from omnigen.scenes import grammar
from omnigen.wording.meaning import Meaning, Thing

SQUARE = '<rect x="2" y="2" width="12" height="12" fill="{}"/>'
ROWS = [
    {"label": "red apple", "hexcode": "1F34E", "tags": ["fruit", "red apple"]},
    {"label": "flag: France", "hexcode": "1F1EB-1F1F7", "tags": ["FR"]},
    {"label": "heart", "hexcode": "2764-FE0F", "tags": ["love", "emotion"]},
    {"label": "women’s room", "hexcode": "1F6BA", "tags": []},
]
EMOJI = Emoji(ROWS, [{"1F34E": ["apple", "red_apple"], "2764": "heavy_black_heart"}])


def archive(folder, files):
    """A package as npm packs it, and its digest."""
    folder.mkdir(exist_ok=True)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return data.getvalue()


def iconify(icons, chars=None):
    icons = {name: {"body": body} for name, body in icons.items()}
    return {"icons.json": {"icons": icons, "width": 16, "height": 16}, "chars.json": chars or {}}


def art_of(data, folder, **fields):
    """A recipe of an archive that lies in the cache."""
    settings = {"kind": Kind.EMOJI, "tier": Tier.PERMISSIVE, "style": "Plain", **fields}
    digest = hashlib.sha256(data).hexdigest()
    art = Art("@a/b", "1.0", digest, "MIT", "B, (c) A", **settings)
    (folder / "a-b-1.0.tgz").write_bytes(data)
    return art


def test_every_recipe_is_pinned_licensed_and_in_its_tier():
    book = recipes.read()
    allowed = {
        Tier.PERMISSIVE: {"MIT", "Apache-2.0"},
        Tier.ATTRIBUTION: {"CC-BY-4.0", "CC-BY-3.0"},
        Tier.COPYLEFT: {"CC-BY-SA-4.0"},
    }
    for art in book.art:
        assert re.fullmatch("[0-9a-f]{64}", art.sha256) and re.fullmatch(r"[\d.]+", art.version)
        assert art.license in allowed[art.tier] and "(c)" in art.attribution
    assert len({art.style for art in book.art}) == len(book.art)
    assert [art.style for art in book.art if art.held_out] == ["blob"]


def test_archives_are_compared_with_their_digest(tmp_path):
    art = art_of(archive(tmp_path, iconify({})), tmp_path)
    assert recipes.fetch(art, tmp_path) == tmp_path / "a-b-1.0.tgz"
    (tmp_path / "a-b-1.0.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="has the digest .* instead of .*; remove it"):
        recipes.fetch(art, tmp_path)


def test_npm_is_asked_for_the_pinned_version_and_runs_nothing(tmp_path, monkeypatch):
    data = archive(tmp_path, iconify({}))
    art = art_of(data, tmp_path)
    (tmp_path / "a-b-1.0.tgz").unlink()

    def run(command, *, cwd, **_):
        assert command == ["npm", "pack", "--silent", "--ignore-scripts", "@a/b@1.0"]
        pathlib.Path(cwd, "a-b-1.0.tgz").write_bytes(data)

    monkeypatch.setattr(subprocess, "run", run)
    assert recipes.fetch(art, tmp_path / "cache").read_bytes() == data
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["a-b-1.0.tgz"]


def test_emoji_are_found_by_code_point_and_by_name():
    apple, heart = EMOJI.by_code("1f34e"), EMOJI.by_code("2764")
    assert apple == Subject("red apple", ("fruit",))  # and not its own name again
    assert heart == EMOJI.by_code("2764-fe0f") == EMOJI.by_name("heavy-black-heart")
    assert EMOJI.by_name("redapple") == EMOJI.by_name("apple-2") == apple
    assert EMOJI.by_name("womens-room").name == "women’s room"
    assert EMOJI.by_code("1f1eb-1f1f7").name == "flag of France"
    assert EMOJI.by_name("pear") is None and EMOJI.by_code("1f350") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("apple", "an apple"),
        ("fox", "a fox"),
        ("grapes", "grapes"),
        ("cactus", "a cactus"),
        ("glass of milk", "a glass of milk"),
        ("person running", "person running"),
        ("face with tears of joy", "a face with tears of joy"),
        ("flag of France", "the flag of France"),
        ("1st place medal", "1st place medal"),
        ("OK hand", "OK hand"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("hourglass", "an hourglass"),
        ("euro banknote", "a euro banknote"),
        ("ewe", "a ewe"),
        ("one o'clock", "a one o'clock"),
        ("onion", "an onion"),
        ("house", "a house"),
        ("bed", "a bed"),
        ("office building", "an office building"),
        ("rhinoceros", "a rhinoceros"),
        ("french fries", "french fries"),
    ],
)
def test_articles(name, expected):
    assert subjects.phrase(name) == expected


def test_icons_lose_their_sizes_and_words_of_style():
    assert subjects.icon("alert-badge-24").name == "alert badge"
    assert subjects.icon("wind-beaufort-1-fill").name == "wind beaufort"
    assert subjects.icon("3d-glasses").name == "3d glasses"
    assert subjects.icon("2").name == "2"


def test_captions_say_what_is_so():
    subject = Subject("fox", ("animal", "face", "wild", "red", "forest"))
    said = subjects.captions(subject, style="Plain", medium="an icon", color="blue", ground="pink")
    assert said[0] == "a blue fox on a pink background, Plain style"
    assert len(said) == 7 and sum("Plain style" in words for words in said) == 5
    assert said[4].lower().rstrip(".") == "a blue fox on a pink background"
    assert all("blue fox" in words and "on a pink background" in words for words in said)
    assert set(re.search(r"\((.*)\)", said[6])[1].split(", ")) <= set(subject.keywords)
    plain = subjects.captions(Subject("fox"), style="P", medium="an icon", color="", ground="")
    lower = [words.lower().rstrip(".") for words in plain]
    assert lower[:3] == [
        "a fox, p style",
        "an icon of a fox, drawn in p style",
        "p style: fox",
    ]
    assert lower[3].endswith("a fox, p style") and lower[4] == "a fox"
    assert lower[5].endswith("a fox") and len(plain) == 6


@pytest.mark.parametrize("name", ["heart", "blue heart", "Large Orange Diamond", "star"])
def test_captions_of_what_scenes_draw_too_name_the_style(name):
    """A blue heart is a scene, in evaluation one that was never trained on."""
    for color in ("", "blue"):
        said = subjects.captions(
            Subject(name, ("love",)), style="Plain", medium="an icon", color=color, ground="pink"
        )
        assert len(said) == 5 and all("Plain style" in words for words in said)


def test_names_that_scenes_do_not_have_are_no_shapes():
    names = ("broken heart", "glowing star", "red apple", "blue", "starfish", "heart suit")
    assert not any(Subject(name).is_shape for name in names)


def test_captions_are_asked_for_as_scenes_are():
    """In the same words, and as often, so that none of them tells drawings from scenes."""
    opened = Counter()
    for n in range(2000):
        said = subjects.captions(Subject(f"thing {n}"), style="P", medium="", color="", ground="")
        asked = said[5].lower().rstrip(".").removesuffix(said[4].lower().rstrip("."))
        opened[asked] += 1
    assert abs(opened.pop("") - 1000) < 4 * 500**0.5
    scenes = Counter(grammar.asked(Dice("of scenes", n)).lower() for n in range(20_000))
    assert set(opened) & {"draw ", "an image of ", "make a picture with "} and len(opened) > 300
    common = {asked for asked, count in scenes.items() if count > 100}
    assert common - {""} <= set(opened)


def test_a_subject_is_held_out_in_every_style_or_in_none():
    names = [f"subject {n}" for n in range(4000)]
    held_out = sum(Subject(name).is_held_out for name in names)
    assert abs(held_out - 0.05 * 4000) < 4 * (4000 * 0.05 * 0.95) ** 0.5
    assert all(Subject(n).is_held_out == Subject(n, ("more",)).is_held_out for n in names)


def test_drawings_are_drawn_named_and_attributed(tmp_path):
    pytest.importorskip("resvg_py")
    icons = {"apple": SQUARE.format("#ff0000"), "pear": SQUARE.format("blue"), "heart": ""}
    data = archive(tmp_path, iconify(icons, {"1f34e": "apple", "2764": "heart"}))
    art = art_of(data, tmp_path)
    path = tmp_path / "a-b-1.0.tgz"
    (part,) = drawings.parts(art, path, list(drawings.named(art, path, EMOJI)), digest="", size=64)
    apple, heart = part.read()
    assert apple.key == "plain/apple" and isinstance(heart.image, Rejected)
    assert apple.attributes["license"] == "MIT" and apple.attributes["source"] == "@a/b@1.0"
    assert apple.attributes["attribution"] == "B, (c) A" and apple.attributes["style"] == "Plain"
    image = np.asarray(pictures.decode(apple.image).image)
    assert image.shape == (64, 64, 3) and tuple(image[32, 32]) == (255, 0, 0)
    red = (image == (255, 0, 0)).all(axis=-1).sum(axis=1).max()
    assert abs(red - 64 * drawings.INNER * 12 / 16) <= 2  # 12 of the 16 units of its own canvas
    ground = re.search(r" on a (.*) background", apple.captions[0])
    expected = drawings.GROUNDS[ground[1]] if ground else "#ffffff"
    assert tuple(image[0, 0]) == tuple(bytes.fromhex(expected[1:]))


def test_a_drawing_stands_on_as_many_backgrounds_as_asked(tmp_path):
    pytest.importorskip("resvg_py")
    icons = {"apple": SQUARE.format("#ff0000"), "heart": ""}
    data = archive(tmp_path, iconify(icons, {"1f34e": "apple", "2764": "heart"}))
    art, path = art_of(data, tmp_path), tmp_path / "a-b-1.0.tgz"
    named = list(drawings.named(art, path, EMOJI))
    made = {}
    for count in (1, 4, 11):
        (part,) = drawings.parts(art, path, named, digest="", size=64, grounds=count)
        raws = list(part.read())
        assert len(part) == len(raws) == len({raw.key for raw in raws}) == 2 * count
        assert sum(isinstance(raw.image, Rejected) for raw in raws) == count  # the empty heart
        made[count] = [raw for raw in raws if "apple" in raw.captions[0]]
    assert made[4][:1] == made[1] and made[11][:4] == made[4]  # more are added, none changes
    for raw in made[11]:
        said = re.search(r" on a (.*) background", raw.captions[0])
        expected = drawings.GROUNDS[said[1]] if said else "#ffffff"
        image = np.asarray(pictures.decode(raw.image).image)
        assert tuple(image[0, 0]) == tuple(bytes.fromhex(expected[1:]))
        assert tuple(image[32, 32]) == (255, 0, 0)
        behind = f"p({said[1]})" if said else "pw"
        assert raw.attributes["sketch"] == f"~Plain{behind}<red apple>ggs"  # 28 / 32 = 0.88
        meaning = meanings.read(raw.attributes["meaning"])
        assert meaning == Meaning(
            "things",
            (Thing("red apple"),),
            background=said[1] if said else "white",
            only=True,
        )
    assert len({raw.captions[0] for raw in made[11]}) == 11
    for change in ({"is_mono": True}, {"kind": Kind.FLAG}):
        white = drawings.parts(
            dataclasses.replace(art, **change), path, named, digest="", size=64, grounds=4
        )
        assert len(white[0]) == 2 and not white[0]._captions(named[0][1], "", "")[0].count(" on ")


def test_the_same_drawing_has_one_name_the_shortest(tmp_path):
    icons = {
        "cat-grinning": SQUARE.format("red"),
        "cat": SQUARE.format("red"),
        "dog": SQUARE.format("blue"),
    }
    art = art_of(archive(tmp_path, iconify(icons)), tmp_path, kind=Kind.ICON)
    found = [name for name, _ in drawings.named(art, tmp_path / "a-b-1.0.tgz", EMOJI)]
    assert found == ["cat", "dog"]


def test_no_drawing_stands_on_its_own_colour(tmp_path):
    pytest.importorskip("resvg_py")
    icons = {name: f"{SQUARE.format('#ffffff')}<!--{name}-->" for name in "abcdefghijklmnop"}
    icons["night"] = SQUARE.format(drawings.GROUNDS["dark blue"])
    art = art_of(archive(tmp_path, iconify(icons)), tmp_path, kind=Kind.ICON)
    path = tmp_path / "a-b-1.0.tgz"
    named = list(drawings.named(art, path, EMOJI))
    (part,) = drawings.parts(art, path, named, digest="", size=32, grounds=3)
    grounds = {}
    for raw in part.read():
        image = np.asarray(pictures.decode(raw.image).image).astype(int)
        assert np.abs(image[16, 16] - image[0, 0]).max() >= drawings.SEEN
        subject = raw.attributes["subject"]
        grounds.setdefault(subject, set()).add(tuple(image[0, 0]))
    assert {len(found) for found in grounds.values()} == {3} and len(grounds) == 17


def test_drawings_in_one_colour_get_one_that_the_caption_says(tmp_path):
    pytest.importorskip("resvg_py")
    names = [f"thing-{letter}" for letter in "abcdefghijkl"]
    square = SQUARE.format("currentColor")
    icons = {name: f"{square}<!--{name}-->" for name in [*names, "red-thing"]}
    art = art_of(archive(tmp_path, iconify(icons)), tmp_path, kind=Kind.ICON, is_mono=True)
    path = tmp_path / "a-b-1.0.tgz"
    (part,) = drawings.parts(art, path, list(drawings.named(art, path, EMOJI)), digest="", size=32)
    seen = set()
    for raw in part.read():
        ink = re.match(r"an? (\w+) thing [a-l], Plain style", raw.captions[0])[1]
        image = np.asarray(pictures.decode(raw.image).image)
        assert tuple(image[16, 16]) == tuple(bytes.fromhex(drawings.INKS[ink][1:]))
        assert (image[0] == 255).all()
        assert re.fullmatch(rf"~Plainpw<{ink} thing [a-l]>ggs", raw.attributes["sketch"])
        (thing,) = meanings.read(raw.attributes["meaning"]).things
        assert f"{thing.color or ''} {thing.noun}".strip()[:-1] == f"{ink} thing "
        seen.add(ink)
    assert len(seen) > 3 and len(part) == 12  # nothing red by name is drawn in blue


def test_the_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("resvg_py")
    cache = tmp_path / "cache"
    cache.mkdir()
    shortcodes = {f"en/shortcodes/{t}.json": {} for t in ("cldr", "emojibase", "iamcal")}
    names = archive(cache, {"en/data.json": ROWS, **shortcodes})
    (cache / "n-1.tgz").write_bytes(names)
    icons = {"apple": SQUARE.format("red"), "heart": SQUARE.format("pink")}
    data = archive(cache, iconify(icons, {"1f34e": "apple", "2764": "heart"}))
    free, held_out = art_of(data, cache), art_of(data, cache, style="Blob", held_out=True)
    closed = art_of(data, cache, style="Closed", tier=Tier.COPYLEFT)
    digest = hashlib.sha256(names).hexdigest()
    package = recipes.Package("n", "1", digest, "MIT", "N, (c) M")
    book = recipes.Recipes(package, (free, held_out, closed))
    monkeypatch.setattr(recipes, "read", lambda: book)
    output = tmp_path / "out"
    door.main(["build", str(output), "--size=48", f"--cache={cache}", "--workers=0"])
    train, test = Corpus(output), Corpus(output, Split.TEST)
    assert {r.key for r in train} | {r.key for r in test} >= {"plain/apple", "blob/apple"}
    assert {r.attributes["style"] for r in train} == {"Plain"}
    text = (output / "NOTICE").read_text()
    assert "2 drawings: B, (c) A. MIT. From @a/b@1.0, called 'Plain' in captions." in text
    assert "Closed" not in text and "N, (c) M. MIT." in text
    with pytest.raises(SystemExit):
        door.main(["build", str(tmp_path / "other"), "--tiers=free"])
    assert "tiers has 'free'; allowed: permissive, attribution, copyleft" in capsys.readouterr().err
    door.main(["build", str(tmp_path / "one"), "--styles=Plain", f"--cache={cache}", "--workers=0"])
    assert not list(Corpus(tmp_path / "one", Split.TEST)) and list(Corpus(tmp_path / "one"))
    assert "'Blob'" not in (tmp_path / "one" / "NOTICE").read_text()
    for style in ("Plane", "Closed"):
        with pytest.raises(SystemExit):
            door.main(["build", str(tmp_path / "other"), f"--styles={style}"])
        said = f"styles has '{style}'; of these tiers are: Plain, Blob"
        assert said in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    with pytest.raises(SystemExit):
        door.main(["bild", "x"])


def test_help_needs_no_renderer():
    code = "import sys, omnigen.data.corpora.__main__; assert 'resvg_py' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


SMALL = pathlib.Path(__file__).parents[1] / "noto"


def test_the_small_corpus_is_whole_and_small():
    train, test = Corpus(SMALL), Corpus(SMALL, Split.TEST)
    assert len(train) >= 100 and len(test) >= 4
    assert sum(path.stat().st_size for path in SMALL.iterdir()) < 1_000_000
    for record in (*train, *test):
        assert record.attributes["license"] == "Apache-2.0" and record.captions
        assert pictures.decode(record.image).width == record.width == 64
    assert not {r.attributes["subject"] for r in train} & {r.attributes["subject"] for r in test}
