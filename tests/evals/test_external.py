# SPDX-License-Identifier: Apache-2.0
"""Layouts against what the benchmarks' scorers do to find pictures, written out here."""

import glob
import json
import os
import pathlib
import re

import jax
import numpy as np
import pytest
from PIL import Image

from omnigen import parallel
from omnigen.evals import external
from omnigen.evals.external import Layout
from omnigen.models.omni import OmniConfig

SIDE = 32
WEIGHTS = {"ar": np.ones(3, np.float32)}


class Stamps:
    """Draws flat pictures: the prompt's length in red, its seed in green."""

    config = OmniConfig()

    def __init__(self) -> None:
        self.drawn = 0

    def prompts(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    def generate(self, weights, rows, keys, sampling):
        self.drawn += len(rows)
        seeds = np.asarray(jax.vmap(jax.random.key_data)(keys))[:, -1]
        levels = np.stack([np.array(rows), seeds * 10, np.zeros(len(rows))], axis=1)
        return np.broadcast_to((levels / 127.5 - 1)[:, None, None], (len(rows), SIDE, SIDE, 3))


def stamp(path: str | pathlib.Path) -> tuple[int, int]:
    """Length of the prompt and seed of a picture."""
    red, green, _ = np.asarray(Image.open(path))[0, 0]
    return int(red), int(green) // 10


def drawn(layout: Layout, source: pathlib.Path, output: pathlib.Path, **options: int) -> Stamps:
    count, omni = external.count_of(layout, None), Stamps()
    prompts = external.read(source, layout)
    external.draw(omni, WEIGHTS, prompts, layout, output=output, count=count, **options)
    return omni


def geneval_prompts(folder: pathlib.Path) -> tuple[pathlib.Path, list[dict]]:
    metadata = [
        {"tag": "counting", "include": [{"class": "bird", "count": n}], "prompt": "bird " * n}
        for n in (1, 2, 3)
    ]
    path = folder / "evaluation_metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, metadata)))
    return path, metadata


def test_geneval(tmp_path: pathlib.Path) -> None:
    source, metadata = geneval_prompts(tmp_path)
    images = tmp_path / "out"
    drawn(Layout.GENEVAL, source, images, batch_size=5)
    found = {}
    for subfolder in os.listdir(images):  # as evaluate_images.py walks
        assert subfolder.isdigit()
        with open(images / subfolder / "metadata.jsonl") as file:
            entry = json.load(file)
        names = os.listdir(images / subfolder / "samples")
        assert all(re.match(r"\d+\.png", name) for name in names)
        found[subfolder] = entry, [stamp(images / subfolder / "samples" / n) for n in sorted(names)]
    assert found == {
        f"{i:05d}": (m, [(len(m["prompt"]), seed) for seed in range(4)])
        for i, m in enumerate(metadata)
    }


def test_wise(tmp_path: pathlib.Path) -> None:
    items = [{"prompt_id": 400 + i, "Prompt": "x" * i, "Explanation": ""} for i in (1, 2, 3)]
    source, images = tmp_path / "data.json", tmp_path / "out"
    source.write_text(json.dumps(items))
    drawn(Layout.WISE, source, images)
    prompts = {item["prompt_id"]: item for item in json.loads(source.read_text())}
    for prompt_id in prompts:  # as gpt_eval.py looks
        assert stamp(os.path.join(images, f"{prompt_id}.png")) == (prompt_id - 400, 0)
    assert len(os.listdir(images)) == 3


def test_dpg(tmp_path: pathlib.Path) -> None:
    source, images = tmp_path / "prompts", tmp_path / "out"
    source.mkdir()
    for name, text in (("partiprompts1", "one\n"), ("COCOval2014_7", "seven ")):
        (source / f"{name}.txt").write_text(text)
    omni = drawn(Layout.DPG, source, images, batch_size=4)
    assert omni.drawn == 8
    keys = {}
    for name in os.listdir(images):  # as compute_dpg_bench.py crops
        picture = Image.open(os.path.join(images, name))
        boxes = [(x, y, x + SIDE, y + SIDE) for y in (0, SIDE) for x in (0, SIDE)]
        crops = [np.asarray(picture.crop(box)) for box in boxes]
        assert all((crop == crop[0, 0]).all() for crop in crops)
        keys[os.path.basename(name).split(".")[0]] = [
            (int(c[0, 0, 0]), int(c[0, 0, 1]) // 10) for c in crops
        ]
    assert keys == {
        "partiprompts1": [(3, seed) for seed in range(4)],
        "COCOval2014_7": [(5, seed) for seed in range(4)],
    }


def test_longtext(tmp_path: pathlib.Path) -> None:
    items = [{"prompt_id": i, "prompt": "t" * (i + 5), "text": ["a"]} for i in (0, 7)]
    source, images = tmp_path / "text_prompts.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps(item) + "\n" for item in items))
    drawn(Layout.LONGTEXT, source, images)
    found = []
    for file in sorted(glob.glob(f"{images}/*.png")):  # as evaluate_text_reward.py parses
        name = file.split("/")[-1]
        assert "_" in name
        found.append((int(name.split("_")[0]), *stamp(file)))
    assert found == [(i, i + 5, seed) for i in (0, 7) for seed in range(4)]


def test_folder(tmp_path: pathlib.Path) -> None:
    source, images = tmp_path / "prompts.txt", tmp_path / "out"
    source.write_text("a cat\na whale\n")
    drawn(Layout.FOLDER, source, images)
    assert {p.name: stamp(p) for p in images.iterdir()} == {
        "00000-0.png": (5, 0),
        "00001-0.png": (7, 0),
    }


def test_what_is_there_is_kept(tmp_path: pathlib.Path) -> None:
    """A second run draws nothing, a damaged picture alone is drawn again, other weights all."""
    source, _ = geneval_prompts(tmp_path)
    images = tmp_path / "out"
    assert drawn(Layout.GENEVAL, source, images, batch_size=4).drawn == 12
    assert drawn(Layout.GENEVAL, source, images, batch_size=4).drawn == 0
    path = images / "00001" / "samples" / "0002.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert drawn(Layout.GENEVAL, source, images, batch_size=4).drawn == 4
    assert path.read_bytes() == whole
    omni = Stamps()
    prompts = external.read(source, Layout.GENEVAL)
    other = {"ar": np.zeros(3, np.float32)}
    external.draw(omni, other, prompts, Layout.GENEVAL, output=images, count=4, batch_size=4)
    assert omni.drawn == 12


def test_processes_share_the_work(tmp_path: pathlib.Path, monkeypatch) -> None:
    """Three of them draw each picture once, and the same bytes as one alone."""
    source, _ = geneval_prompts(tmp_path)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    drawn(Layout.GENEVAL, source, alone, batch_size=5)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    met: list[str] = []
    monkeypatch.setattr(parallel, "meet", met.append)
    numbers = []
    for index in (2, 0, 1):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        numbers.append(drawn(Layout.GENEVAL, source, shared, batch_size=5).drawn)
    assert numbers == [5, 5, 5]  # the last batch of two is filled up
    assert met == ["drawn"] * 3  # and none leaves before the others

    def files(folder: pathlib.Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.*")}

    assert files(alone) == files(shared) and len(files(alone)) == 15


BROKEN = [
    (Layout.GENEVAL, '{"prompt": "a"}\n{"prompt": "b"\n', "line 2: not JSON"),
    (Layout.GENEVAL, '{"prompt": "a"}\n\n{"prompt": 3}\n', "line 3: prompt is 3; it must be text"),
    (Layout.GENEVAL, '{"prompt": "a"}\n{"tag": "x"}\n', "line 2: prompt is null; it must be text"),
    (Layout.GENEVAL, '["a"]\n', r"line 1: not an object but \[\"a\"\]"),
    (Layout.GENEVAL, "\n\n", "no prompts"),
    (Layout.WISE, '[{"prompt_id": 1, "Prompt": "a"}, 2]', "item 2: not an object but 2"),
    (Layout.WISE, '[{"prompt_id": "1", "Prompt": "a"}]', 'item 1: prompt_id is "1"; .* a number'),
    (Layout.WISE, '[{"prompt_id": 1, "Prompt": ""}]', 'item 1: Prompt is ""; it must be text'),
    (Layout.WISE, '{"prompt_id": 1}', "not a list of objects with prompt_id and Prompt"),
    (Layout.WISE, "[", "not JSON: "),
    (
        Layout.LONGTEXT,
        '{"prompt_id": 4, "prompt": "a"}\n{"prompt_id": 4, "prompt": "b"}\n',
        "prompt_id 4 occurs twice",
    ),
    (Layout.FOLDER, "a cat\n\na dog\n", "line 2: empty"),
    (Layout.DPG, "a cat", "not a folder; the layout dpg reads one of NAME.txt"),
]


@pytest.mark.parametrize(("layout", "text", "message"), BROKEN)
def test_broken_prompts_are_named(
    layout: Layout, text: str, message: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^prompts {re.escape(str(path))}(, |: ){message}"):
        external.read(path, layout)


def test_unreadable_prompts_are_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match="latin: cannot be read: .*utf-8"):
        external.read(tmp_path / "latin", Layout.FOLDER)
    with pytest.raises(ValueError, match="absent: cannot be read: .*No such file"):
        external.read(tmp_path / "absent", Layout.GENEVAL)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: cannot be read: .* is a pipe; allowed: regular"):
        external.read(tmp_path / "pipe", Layout.FOLDER)
    (tmp_path / "._6.txt").write_text("left by a Mac")
    (tmp_path / "7.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"7.txt: empty"):
        external.read(tmp_path, Layout.DPG)


@pytest.mark.parametrize(
    ("layout", "text", "message"),
    [
        (Layout.WISE, '[{"prompt_id": ' + "7" * 260 + ', "Prompt": "a"}]', "a file of 264 bytes"),
        (Layout.WISE, '[{"prompt_id": ' + "7" * 5000 + ', "Prompt": "a"}]', "not JSON: Exceeds"),
        (Layout.WISE, "[" * 100_000, "nested too deep"),
        (Layout.LONGTEXT, '{"prompt_id": ' + "7" * 247 + ', "prompt": "a"}', "of 256 bytes; allow"),
        (Layout.GENEVAL, '{"prompt": "half \\ud83d"}', r"half a character in half \\ud83d"),
        (Layout.GENEVAL, '{"a":' * 100_000, "nested too deep"),
    ],
)
def test_what_could_not_be_written_is_refused(
    layout: Layout, text: str, message: str, tmp_path: pathlib.Path
) -> None:
    """Before anything is drawn."""
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError, match=f"^prompts {tmp_path}/file.*: .*{message}"):
        external.read(tmp_path / "file", layout)


def test_names_may_be_as_long_as_the_disk_allows(tmp_path: pathlib.Path) -> None:
    source, images = tmp_path / "prompts", tmp_path / "out"
    source.mkdir()
    (source / ("a" * 251 + ".txt")).write_text("one")
    drawn(Layout.DPG, source, images, batch_size=4)
    assert [path.name for path in images.iterdir()] == ["a" * 251 + ".png"]


def test_only_as_many_as_there_is_room_for() -> None:
    assert external.count_of(Layout.GENEVAL, None) == 4 and external.count_of(Layout.FOLDER, 9) == 9
    with pytest.raises(ValueError, match="count is 3; the layout dpg has room for 1 or 4"):
        external.count_of(Layout.DPG, 3)
    with pytest.raises(ValueError, match="count is 4; the layout wise has room for 1$"):
        external.count_of(Layout.WISE, 4)
