# SPDX-License-Identifier: Apache-2.0
import pytest

from omnigen.scenes.caption import caption, in_grammar
from omnigen.scenes.compose import compose
from omnigen.scenes.omissions import omissions
from omnigen.scenes.reading import read
from omnigen.scenes.scene import Kind
from omnigen.scenes.sketch import sketch


@pytest.mark.parametrize(
    ("prompt", "written", "wanted"),
    [
        ("a red circle", "pw1rC664", []),
        ("a red disc and a box", "pw1rC664", ['the sketch shows nothing of "box"']),
        ("three red stars", "pw2rA6641rAg64", ['the prompt says 3 "red stars", the sketch has 2']),
        ("a red star", "pw1bA664", ['the prompt says 1 "red star", the sketch has 0']),
        ("a red star and a small red star", "pw2rA6641rAg64", []),
        ("three shapes", "pw1rA6641bCg64", ['the prompt says 3 "shapes", the sketch has 2']),
        ("two red shapes, a blue shape", "pw2rA6641rXg641bRgg4", []),
        ("several stars", "pw1rA664", []),
        ("stars above a boat", "NkUgav8Bgg44", []),
        ("two trees by a lake", "DkTrkaaKgngb", []),
        ("a lake", "DkTrkaa", ['the sketch shows nothing of "lake"']),
        ("a lake, no trees", "DkTrkaaKgngb", [
            'the sketch shows "trees", which the prompt rules out']),
        ("no trees here, but a tree there", "Dk", []),
        ('the words "Hi you"', 'pw"Hi"xagg8c', ['the sketch does not write "Hi you"']),
        ("the words “Hi you”, and 'Bye'", 'pw"Hi"xa88834"you"xaog834"bye"xago834', [
            'the sketch does not write "Bye"']),
        ('"Hi," in red', 'pw"Hi"ragg8c', []),
        ("“Don’t”", "pw\"Don't\"xagg8c", []),
        ('"Hi"', 'pw"Hi"x', []),  # cut off, but there
        ('write "Hi", not "Bye"', 'pw"Hi"ragg8c', []),
        ('"a red circle and a star"', "pw1rC6641bAg64", []),
        ("a zeppelin", "~Notopw<owl>gge", ['the sketch shows nothing of "zeppelin"']),
        ("an owl and a teapott", "~Notopw<owl>8gc<teapot>ngc", []),
        ("two owls", "~Notopw<owl>8gc", ['the prompt says 2 "owls", the sketch has 1']),
        ("two wolves", "~Notopw<wolf>8gc<wolf>ogc", []),
        ("a signpost", "~Notopw<blue sign>8gc", []),
        ("a plane", "~Notopw<airplane>8gc", []),
        ("a canoe on a lake", "DkKgngbBgg44", []),  # which the boat may be
        ("a zeppelin over a lake", "DkKgngb", ['the sketch shows nothing of "zeppelin"']),
        ("one little star", "pw1rA664", []),
        ("a star that is yellow, and a shape", "pw1yA6641bA8g4", []),
        ("two stars and a shape in blue", "pw3yA6642yA8641bA8g4", []),
        ('"Strings", no rings', 'pw"Strings"xagg8c', []),
        ("write PEAK", 'pw"PEAK"xagg8c', []),
        ("anything at all", "#AAAA", []),
        ("", "pw", []),
    ],
)  # fmt: skip
def test_what_is_missing_has_a_line(prompt: str, written: str, wanted: list[str]) -> None:
    assert omissions(prompt, read(written)) == wanted


VOICES = {"grammar": in_grammar, "free": caption}


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("kind", Kind)
def test_true_captions_raise_no_alarm_and_those_of_other_scenes_do(kind: Kind, voice: str) -> None:
    _judge(voice, {kind: 60})


@pytest.mark.slow
@pytest.mark.parametrize("voice", VOICES)
def test_alarms_of_two_thousand_scenes(voice: str) -> None:
    _judge(voice, dict.fromkeys(Kind, 500))


def _judge(voice: str, counts: dict[Kind, int]) -> None:
    false, caught, total = [], 0, 0
    for kind, count in counts.items():
        scenes = [compose(seed, kind, held_out=bool(seed % 2)) for seed in range(count)]
        texts = [VOICES[voice](scene, i, 240, uncolored=0.06) for i, scene in enumerate(scenes)]
        readings = [read(sketch(scene)) for scene in scenes]
        others = (*readings[1:], readings[0])
        for text, own, other in zip(texts, readings, others, strict=True):
            false += [(text, own)] if omissions(text, own) else []
            caught += bool(omissions(text, other))
        total += count
    assert len(false) < 0.005 * total or len(false) <= 1, false  # one in 60 may be bad luck
    assert caught > 0.85 * total, caught / total
