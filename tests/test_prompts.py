# SPDX-License-Identifier: Apache-2.0
"""What docs/prompts.md shows: examples that a model can read, and what it says of them."""

import pathlib
import re

import jax
import numpy as np
import pytest

from omnigen import png
from omnigen.generation import pretrained, sampler
from omnigen.generation.generate import drawn, sketches, written
from omnigen.generation.prompt import prompt_rows
from omnigen.generation.sampler import Drawing, Request
from omnigen.generation.settings import Sampling
from omnigen.models.omni import to_uint8
from omnigen.scenes.omissions import omissions
from omnigen.scenes.reading import Reading
from omnigen.wording.mentions import mentions

PAGE = (pathlib.Path(__file__).resolve().parents[1] / "docs/prompts.md").read_text("utf-8")
NAMED = ("Named things", "Mixtures")  # whose nouns are no lexicon's

has_model = pytest.mark.skipif(not pretrained.NANO.is_dir(), reason="no model in this checkout")


def examples() -> dict[str, list[str]]:
    """The prompts under each heading."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        heading, rest = section.split("\n", 1)
        if blocks := re.findall(r"^```text\n(.*?)^```", rest, flags=re.MULTILINE | re.DOTALL):
            found[heading] = "".join(blocks).splitlines()
    return found


def test_every_kind_has_examples() -> None:
    kinds = examples()
    assert len(kinds) == 11 and min(map(len, kinds.values())) >= 3
    prompts = [prompt for some in kinds.values() for prompt in some]
    assert len(set(prompts)) == len(prompts) >= 55
    assert max(len(prompt.encode()) for prompt in prompts) <= 100
    assert all(prompt == prompt.strip() for prompt in prompts)


@pytest.mark.parametrize("kind", examples())
def test_warnings_know_the_words_of_the_examples(kind: str) -> None:
    """A thing that no lexicon has would be warned of however well it were drawn."""
    for prompt in examples()[kind]:
        told = mentions(prompt)
        assert kind in NAMED or all(one.nouns for one in told), (prompt, told)
        quoted = re.findall('["“](.+?)["”]', prompt)
        missing = [line for line in omissions(prompt, Reading()) if "does not write" in line]
        assert missing == [f'the sketch does not write "{text}"' for text in quoted], prompt


def test_what_it_prints_is_what_the_page_shows() -> None:
    explained, warned = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert f"{Drawing(pixels, 'pw1rC8g71bAogb').explanation}\n" == explained
    pairs = [
        ("a zeppelin", "pw"),
        ("three red stars", "pw2rA6641rAg64"),
        ('the word "Hello"', 'pw"Help"xagg8c'),
        ("hills without trees", "DkGggv4Tggaa"),
    ]
    lines = [line for asked, sketch in pairs for line in Drawing(pixels, sketch, asked).warnings]
    assert [f"omnigen.sample: warning: {line}" for line in lines] == warned.splitlines()


@has_model
def test_the_shipped_model_explains_two_examples() -> None:
    nano = pretrained.load(None, needed=("ar", "head"))
    asked = ["a red circle left of a blue star", "three blue stars"]
    assert set(asked) <= {prompt for some in examples().values() for prompt in some}
    keys = jax.vmap(jax.random.key)(np.zeros(2, np.uint32))
    ids = written(nano.omni, nano.params, prompt_rows(nano.omni, asked), keys, Sampling())
    first, second = (Drawing(np.zeros(0), text) for text in sketches(nano.omni, ids))
    assert re.match("a red circle, [^;]+; a blue star, [^;]+; on ", first.explanation)
    assert re.match(r"three blue stars \([^)]+\); on ", second.explanation)


@has_model
@pytest.mark.slow
def test_every_example_is_drawn(tmp_path: pathlib.Path) -> None:
    """The pictures lie in the temporary folder, to be looked at."""
    nano = pretrained.load(None, needed=("decoder", "ar", "head"))
    prompts = [prompt for some in examples().values() for prompt in some]
    silent = 0
    for start in range(0, len(prompts), BATCH):
        some = (prompts[start:] + prompts)[:BATCH]
        rows = prompt_rows(nano.omni, [Request(prompt).as_read for prompt in some])
        keys = jax.vmap(jax.random.key)(np.zeros(BATCH, np.uint32))
        pictures = drawn(nano.omni, nano.params, rows, keys, Sampling())
        told = sketches(nano.omni, pictures.ids)
        for number, one in enumerate(prompts[start : start + BATCH]):
            drawing = Drawing(to_uint8(pictures.images)[number], told[number], one)
            path, sketch = tmp_path / f"{start + number:02}.png", told[number]
            sampler.save(drawing.pixels, path, Request(one), version="v", sketch=sketch)
            assert png.read(path).texts["prompt"] == one
            assert sketch and "not understood" not in drawing.explanation, one
            print(path.name, one, "|", drawing.explanation, "|", *drawing.warnings)
            silent += not drawing.warnings
    assert silent >= SILENT * len(prompts), silent


BATCH = 16
SILENT = 0.6  # share of examples of which all is in the sketch
