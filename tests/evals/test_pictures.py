# SPDX-License-Identifier: Apache-2.0
import pathlib

import numpy as np
import pytest
from PIL import Image

from omnigen import png
from omnigen.evals import pictures

PROMPTS = [{"tag": "t", "prompt": f"prompt {i}"} for i in range(5)]
WANTED = pictures.jobs(PROMPTS, 2)


def shade(job: pictures.Job) -> int:
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
        return np.stack([np.full((32, 32, 3), shade(job), np.uint8) for job in batch])


def draw(folder: pathlib.Path, brush: Brush, **settings: int) -> None:
    pictures.draw(folder, WANTED, brush, settings=settings, batch_size=4, what="")


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
    assert pictures.read(sound).tolist() == [[[9, 8, 7]] * 40] * 40
    cut, text = tmp_path / "cut.png", tmp_path / "text.png"
    cut.write_bytes(sound.read_bytes()[:70])
    text.write_text("no picture")
    for path, message in (
        (tmp_path / "absent.png", "^missing$"),
        (cut, "^unreadable: "),
        (text, "^unreadable: cannot identify image file 'text.png'$"),
        (save(tmp_path / "small.png", (40, 31)), "^wrong size: 40 x 31$"),
        (save(tmp_path / "large.png", (4097, 40)), "^wrong size: 4097 x 40$"),
    ):
        with pytest.raises(ValueError, match=message):
            pictures.read(path)


def test_a_survey_of_what_was_drawn(tmp_path: pathlib.Path) -> None:
    """Pictures of other weights, in the wrong place, and without a mark are told from the rest."""
    draw(tmp_path, Brush(), weights=7, first_seed=3)
    sound = pictures.survey(tmp_path, WANTED)
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
    found = pictures.survey(tmp_path, WANTED)
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
    assert pictures.survey(tmp_path, [job]) == pictures.Survey(("",), {})


def test_the_usual_size_and_what_is_unexpected(tmp_path: pathlib.Path) -> None:
    assert pictures.survey(tmp_path, WANTED) == pictures.Survey(("",) * 10, {})
    for job in WANTED[:5]:
        save(tmp_path / pictures.place(job.index, job.sample), (64, 48))
    save(tmp_path / pictures.place(4, 0), (48, 48))
    save(tmp_path / pictures.place(4, 7))
    (tmp_path / "prompts.jsonl").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".0001.png.77.tmp").write_text("")
    problems = pictures.survey(tmp_path, WANTED).problems
    assert problems == ("",) * 8 + ("wrong size: 48 x 48", "")
    assert pictures.unexpected(tmp_path, WANTED) == ["00004/samples/0007.png", "notes.txt"]
