# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import resource
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from omnigen import png
from omnigen.evals import benchmark, picture_files

PROMPTS = [{"tag": "t", "prompt": f"prompt {i}"} for i in range(5)]
WANTED = picture_files.jobs(PROMPTS, 2)


def shade(job: picture_files.Job) -> int:
    return 10 * job.index + job.sample


class Brush:
    """Paints each job in its own shade, and remembers what it was asked."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.stop_after = stop_after

    def __call__(self, batch):
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt
        self.batches.append([shade(job) for job in batch])
        shades = [np.full((32, 32, 3), shade(job), np.uint8) for job in batch]
        return picture_files.Painted(np.stack(shades), [f"p{shade(job)}é" for job in batch])


def draw(folder: pathlib.Path, brush: Brush, **settings: int) -> None:
    picture_files.draw(folder, WANTED, brush, settings=settings, batch_size=4, what="")


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_batches_are_full_and_pictures_lie_in_their_places(tmp_path: pathlib.Path) -> None:
    brush = Brush()
    draw(tmp_path, brush)
    assert brush.batches == [[0, 1, 10, 11], [20, 21, 30, 31], [40, 41, 41, 41]]
    assert len(contents(tmp_path)) == 10
    with Image.open(tmp_path / "00003/samples/0001.png") as image:
        assert image.getpixel((5, 5)) == (31, 31, 31)
        assert image.info["prompt"] == "prompt 3"
    assert picture_files.read_sketch(tmp_path / "00003/samples/0001.png") == "p31é"
    assert picture_files.read_sketch(tmp_path / "absent.png") is None


def test_a_killed_run_goes_on_with_the_same_batches(tmp_path: pathlib.Path) -> None:
    draw(tmp_path / "whole", Brush())
    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path / "killed", Brush(stop_after=1))
    assert len(contents(tmp_path / "killed")) == 4
    (tmp_path / "killed/00001/samples/0000.png").unlink()
    damaged = tmp_path / "killed/00000/samples/0001.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    kept = tmp_path / "killed/00000/samples/0000.png"
    before = kept.stat().st_mtime_ns
    brush = Brush()
    draw(tmp_path / "killed", brush)
    assert brush.batches == [[0, 1, 10, 11], [20, 21, 30, 31], [40, 41, 41, 41]]
    assert kept.stat().st_mtime_ns == before  # of a batch, only what lacks is written
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    again = Brush()
    draw(tmp_path / "killed", again)
    assert not again.batches


def test_other_settings_draw_anew(tmp_path: pathlib.Path) -> None:
    draw(tmp_path, Brush(), weights=1)
    brush = Brush()
    draw(tmp_path, brush, weights=2)
    assert len(brush.batches) == 3


def save(path: pathlib.Path, size: tuple[int, int] = (40, 40)) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 8, 7)).save(path)
    return path


def test_unsound_pictures_say_why(tmp_path: pathlib.Path) -> None:
    sound = save(tmp_path / "a.png")
    assert picture_files.read(sound).tolist() == [[[9, 8, 7]] * 40] * 40
    cut, text = tmp_path / "cut.png", tmp_path / "text.png"
    cut.write_bytes(sound.read_bytes()[:70])
    text.write_text("no picture")
    foreign, animated = tmp_path / "foreign.tif", tmp_path / "animated.gif"
    Image.new("RGB", (40, 40)).save(foreign)
    frames = [Image.new("L", (40, 40), level) for level in (1, 200)]
    frames[0].save(animated, save_all=True, append_images=frames[1:])
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 40)
    for path, message in (
        (tmp_path / "absent.png", "^missing$"),
        (cut, "^unreadable: "),
        (text, "^unreadable: format not allowed$"),
        (foreign, "^of a foreign format: allowed are JPEG, PNG, WEBP, BMP, GIF$"),
        (animated, "^unreadable: animated$"),
        (tmp_path / "pipe.png", "^unreadable: pipe.png is a pipe; allowed: regular files$"),
        (tmp_path / "zero.png", "^unreadable: zero.png is a device; allowed: regular files$"),
        (tmp_path, "^unreadable: .* is a folder; allowed: regular files$"),
        (tmp_path / "huge.png", "^unreadable: huge.png has 1099511627776 bytes; allowed: up to"),
        (tmp_path / ("a" * 300), "^unreadable: File name too long$"),
        (text / "a.png", "^missing$"),
        (save(tmp_path / "small.png", (40, 31)), "^wrong size: 40 x 31$"),
        (save(tmp_path / "large.png", (4097, 40)), "^wrong size: 4097 x 40$"),
    ):
        with pytest.raises(ValueError, match=message):
            picture_files.read(path)


def test_a_survey_of_what_was_drawn(tmp_path: pathlib.Path) -> None:
    """Pictures of other weights, in the wrong place, and without a mark are told from the rest."""
    draw(tmp_path, Brush(), weights=7, first_seed=3)
    sound = picture_files.survey(tmp_path, WANTED)
    assert sound.settings == {"weights": 7, "first_seed": 3, "batch_size": 4}
    assert sound.problems == ("",) * 10
    draw(tmp_path / "other", Brush(), weights=8, first_seed=3)
    files = [tmp_path / job.path for job in WANTED]
    (tmp_path / "other" / WANTED[0].path).replace(files[0])
    files[1].write_bytes(files[2].read_bytes())
    files[4].write_bytes(files[5].read_bytes())
    save(files[6], (32, 32))
    files[7].unlink()
    files[8].write_text("no picture")
    found = picture_files.survey(tmp_path, WANTED)
    strange = "drawn by other weights or settings than most"
    assert found.settings == sound.settings
    assert list(found.problems) == [
        strange,
        "misplaced: it is picture 0 of 'prompt 1'",
        "",
        "",
        "misplaced: it is picture 1 of 'prompt 2'",
        "",
        strange,
        "",  # what is missing or damaged, reading tells
        "",
        "",
    ]


@pytest.mark.parametrize("mark", ["", "[]", "{", '{"seed": 0}', '{"seed": 0, "metadata": 1}'])
def test_marks_of_others_mean_nothing(tmp_path: pathlib.Path, mark: str) -> None:
    job = WANTED[0]
    (tmp_path / job.path).parent.mkdir(parents=True)
    png.write(np.zeros((32, 32, 3), np.uint8), tmp_path / job.path, {"omnigen": mark})
    assert picture_files.survey(tmp_path, [job]) == picture_files.Survey(("",), {})


def noted(folder: pathlib.Path, name: str, chunk: bytes) -> pathlib.Path:
    """A sound picture with a text chunk in front of its pixels."""
    path = save(folder / name)
    data = path.read_bytes()
    check = zlib.crc32(chunk).to_bytes(4, "big")
    packed = (len(chunk) - 4).to_bytes(4, "big") + chunk + check
    path.write_bytes(data[:33] + packed + data[33:])
    return path


def marked(**more: object) -> bytes:
    mark = {"seed": 0, "metadata": {"prompt": "prompt 0"}, **more}
    return b"tEXtomnigen\0" + json.dumps(mark).encode()


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (b"iTXtomnigen\0\1\0\0\0" + zlib.compress(bytes(1 << 28)), "text of more than 262144 by"),
        (b"zTXtomnigen\0\0" + zlib.compress(bytes(1 << 28)), "text of more than 262144 bytes"),
        (b"zTXtomnigen\0\0nothing", "damaged text: "),
        (b"tEXtomnigen\0" + b" " * (1 << 20), "text of more than 262144 bytes"),
        (b"tEXtomnigen\0" + b"[" * 200_000, "too deep"),
        (b'tEXtomnigen\0{"seed": 0, "metadata": {}, "a": ' + b'{"a":' * 50_000, "too deep"),
        (b'tEXtomnigen\0{"seed": ' + b"9" * 5000 + b', "metadata": {}}', "Exceeds the limit"),
        (b'tEXtomnigen\0{"seed": 0, "metadata": {}, "a": 1e999}', "a is a float that is not"),
        (b'tEXtomnigen\0{"seed": 0, "metadata": {}, "a": NaN}', "a is a float that is not"),
        (marked(weights=["<script>"]), "weights is a list that is not allowed"),
        (marked(first_seed=2**63), "first_seed is a int that is not allowed"),
        (marked(**{"\x1b[2J": {}}), r"\x1b[2J is a dict that is not allowed"),
        (marked(weights="w" * 201), "weights is a str that is not allowed"),
        (marked(**{"k" * 65: 0}), "too many settings, or too long names"),
        (marked(**{str(i): 0 for i in range(33)}), "too many settings, or too long names"),
        (marked(seed=[0]), "seed is a list that is not allowed"),
    ],
)
def test_an_unfit_mark_is_a_problem_of_its_file(
    tmp_path: pathlib.Path, chunk: bytes, reason: str
) -> None:
    """It costs neither time nor memory, and the others are judged."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    for job in WANTED[1:3]:
        save(tmp_path / job.path)
    noted(tmp_path, str(WANTED[0].path), chunk)
    found = picture_files.survey(tmp_path, WANTED[:3])
    assert found.problems[0].startswith(f"with an unfit note: {reason}")
    assert found.problems[1:] == ("", "") and found.settings == {}
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_marks_are_found_however_they_are_written(tmp_path: pathlib.Path) -> None:
    text = json.dumps({"seed": 0, "metadata": {"prompt": "prompt 0"}, "weights": "é"}).encode()
    for chunk in (
        b"iTXtomnigen\0\0\0en\0name\0" + text,
        b"iTXtomnigen\0\1\0\0\0" + zlib.compress(text),
        b"zTXtomnigen\0\0" + zlib.compress(text),
        b"tEXtomnigen\0" + text,
    ):
        noted(tmp_path, str(WANTED[0].path), chunk)
        assert picture_files.survey(tmp_path, WANTED[:1]).settings == {"weights": "é"}


def test_other_suffixes_at_the_place_count(tmp_path: pathlib.Path) -> None:
    """JPEGs where PNGs are asked for are taken; beside a PNG they are too many."""
    names = ["0000.jpg", "0001.JPEG", "0000.png", "0001.tif", "._0000.png", "0000.txt"]
    shelf = tmp_path / "00000" / "samples"
    shelf.mkdir(parents=True)
    for name in (names[0], names[1], names[5]):
        (shelf / name).write_text("")
    assert [path.name for path in picture_files.locate(tmp_path, WANTED[:3])] == [
        *names[:2],
        names[2],
    ]
    for name in names[2:5]:
        (shelf / name).write_text("")
    assert [path.name for path in picture_files.locate(tmp_path, WANTED[:2])] == [
        names[2],
        names[1],
    ]
    extra = picture_files.unexpected(tmp_path, WANTED[:2])
    assert extra == [f"00000/samples/{name}" for name in ("0000.jpg", "0000.txt", "0001.tif")]


def test_what_cannot_be_looked_at_is_a_problem_of_its_own(tmp_path: pathlib.Path) -> None:
    """A pipe, a device and a picture of another language in a folder that is judged."""
    for job in WANTED[:5]:
        save(tmp_path / job.path)
    (tmp_path / WANTED[0].path).unlink()
    os.mkfifo(tmp_path / WANTED[0].path)
    (tmp_path / WANTED[1].path).unlink()
    (tmp_path / WANTED[1].path).symlink_to("/dev/zero")
    page = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 128 128\n%%EndComments\n(a) print\n%%EOF\n"
    (tmp_path / WANTED[2].path).write_text(page)
    assert picture_files.survey(tmp_path, WANTED[:5]) == picture_files.Survey(("",) * 5, {})
    found = benchmark.judge(
        benchmark.Benchmark("t", "1", (), seen, lambda records: {}, lambda metadata: None),
        tmp_path,
        WANTED[:5],
        journal=tmp_path / "journal",
    )
    assert [(record["problem"], record["is_seen"]) for record in found] == [
        ("unreadable: 0000.png is a pipe; allowed: regular files", False),
        ("unreadable: 0001.png is a device; allowed: regular files", False),
        ("unreadable: format not allowed", False),
        ("", True),
        ("", True),
    ]


def seen(metadata, image) -> dict:
    return {"is_seen": image is not None}


def test_the_usual_size_and_what_is_unexpected(tmp_path: pathlib.Path) -> None:
    assert picture_files.survey(tmp_path, WANTED) == picture_files.Survey(("",) * 10, {})
    for job in WANTED[:5]:
        save(tmp_path / picture_files.place(job.index, job.sample), (64, 48))
    save(tmp_path / picture_files.place(4, 0), (48, 48))
    save(tmp_path / picture_files.place(4, 7))
    (tmp_path / "prompts.jsonl").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".0001.png.77.tmp").write_text("")
    problems = picture_files.survey(tmp_path, WANTED).problems
    assert problems == ("",) * 8 + ("wrong size: 48 x 48", "")
    assert picture_files.unexpected(tmp_path, WANTED) == ["00004/samples/0007.png", "notes.txt"]
