# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

import omnigen
from omnigen import sample
from omnigen.checkpoints import manager as checkpoints
from omnigen.generation.sampler import Drawing
from omnigen.generation.settings import Sampling

PROMPT = 'a cloud with the words "Déjà vu"'


@pytest.fixture(scope="module")
def sampler(untrained: pathlib.Path) -> sample.Sampler:
    return sample.Sampler.load(untrained)


def test_pictures_do_not_depend_on_their_number(sampler: sample.Sampler) -> None:
    several = sampler(PROMPT, seed=5, num_images=3)
    assert several.shape == (3, 32, 32, 3) and several.dtype == np.uint8
    for i in range(3):
        np.testing.assert_array_equal(several[i], sampler(PROMPT, seed=5 + i)[0])
    assert len({image.tobytes() for image in several}) == 3


def test_batches_draw_the_same_pictures(sampler: sample.Sampler) -> None:
    alone = sampler(PROMPT, seed=7, num_images=3).astype(int)
    together = sampler(PROMPT, seed=7, num_images=3, batch_size=2).astype(int)
    assert together.shape == alone.shape
    assert abs(together - alone).max() <= 1


def test_what_is_not_asked_for_is_as_evaluations_draw() -> None:
    assert sample.Request("x").settings() == Sampling().settings()


def test_programs_compiled_while_weights_are_read_draw_the_same(
    sampler: sample.Sampler, untrained: pathlib.Path, caplog
) -> None:
    request = sample.Request(PROMPT, seed=5, guidance=1.0, head_steps=1)
    (wanted,) = sampler.batches(request)
    early = sample.Sampler.load(untrained, expected=request)
    assert early.version == sampler.version
    with jax.log_compiles(), caplog.at_level("WARNING"):
        (image,) = early.batches(request)
    np.testing.assert_array_equal(image, wanted)
    assert not [line for line in caplog.messages if "compilation of jit(d" in line]


def test_requests_of_numpys_numbers_are_plain() -> None:
    given = sample.Request(
        "x", seed=np.int64(3), head_steps=np.int32(4), temperature=np.float32(0.5), guidance=2
    )
    assert given == sample.Request("x", seed=3, head_steps=4, temperature=0.5, guidance=2.0)
    assert {type(value) for value in dataclasses.asdict(given).values()} <= {
        str, int, float, bool, type(None)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", 3.5, "seed is 3.5; it must be a whole number"),
        ("num_images", 2.0, "num_images is 2.0; it must be a whole number"),
        ("head_steps", 4.0, "head_steps is 4.0; it must be a whole number"),
        ("guidance", "high", "guidance is 'high'; it must be a number"),
    ],
)
def test_requests_of_other_kinds_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample.Request("x", **{field: value})  # type: ignore[arg-type]


def test_prompt_guidance_and_steps_matter(sampler: sample.Sampler) -> None:
    base = sampler(PROMPT)
    for other in (
        sampler("something else"),
        sampler(PROMPT, guidance=1.0),
        sampler(PROMPT, head_steps=3),
        sampler(PROMPT, last_head_steps=1),
        sampler(PROMPT, head_shift=2.0),
        sampler(PROMPT, decoder_steps=3),
    ):
        assert (other != base).any()


def test_command_writes_pngs_that_can_be_recreated(
    sampler: sample.Sampler, untrained: pathlib.Path, tmp_path: pathlib.Path, capsys
) -> None:
    common = ["--checkpoint", str(untrained), "--noprovenance"]
    output = tmp_path / "out.png"
    argv = ["--prompt", PROMPT, "--output", str(output), "--seed=3", "--num_images=2"]
    sample.main(
        [
            *argv,
            "--guidance=2.5",
            "--temperature=0.5",
            "--sketch_temperature=0.75",
            "--decoder_steps=3",
            *common,
        ]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-0.png", "out-1.png"]
    second = tmp_path / "out-1.png"
    with Image.open(second) as image:
        expected = sampler(
            PROMPT, seed=4, guidance=2.5, temperature=0.5, sketch_temperature=0.75, decoder_steps=3
        )[0]
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert image.info["prompt"] == PROMPT
        assert image.info["seed"] == "4"
        settings = {
            "guidance": 2.5,
            "temperature": 0.5,
            "sketch_temperature": 0.75,
            "head_steps": None,
            "last_head_steps": None,
            "head_shift": 1.0,
            "decoder_steps": 3,
        }
        assert json.loads(image.info["settings"]) == settings
        assert image.info["model"] == sampler.version
        assert image.info["software"].startswith("omnigen ")

    capsys.readouterr()
    sample.main(["--recreate", str(second), *common])
    assert "identical pixels" in capsys.readouterr().err
    assert (tmp_path / "out-1-again.png").read_bytes() == second.read_bytes()
    with Image.open(second) as image:
        Image.fromarray(255 - np.asarray(image)).save(
            second, pnginfo=_chunks({k: str(v) for k, v in image.info.items()})
        )
    sample.main(["--recreate", str(second), "--output", str(tmp_path / "third.png"), *common])
    note = capsys.readouterr().err
    assert "pixels differ" in note and "drew" not in note
    with Image.open(second) as image:
        chunks = {**image.info, "software": "omnigen 0.0.1"}
        image.save(second, pnginfo=_chunks({k: str(v) for k, v in chunks.items()}))
    sample.main(["--recreate", str(second), "--output", str(tmp_path / "fourth.png"), *common])
    assert f"which omnigen 0.0.1 drew; this is omnigen {omnigen.__version__}" in (
        capsys.readouterr().err
    )


class _Stub:
    """A sampler that has drawn already."""

    version = "v"

    def __init__(self, *sketches: str) -> None:
        pixels = np.zeros((8, 8, 3), np.uint8)
        self.drawn = [Drawing(pixels, sketch) for sketch in sketches]

    def drawings(self, request: sample.Request):
        for drawing in self.drawn[request.seed :][: request.num_images]:
            yield dataclasses.replace(drawing, prompt=request.prompt)


def test_explains_what_was_meant(tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    stub = _Stub('pw1rC664"Hi"xagg8c', "", "pw\x1b[2J")
    monkeypatch.setattr(sample.Sampler, "load", lambda *_, **__: stub)
    argv = ["--prompt", "x", "--output", str(tmp_path / "a.png"), "--num_images=3"]
    argv += ["--noprovenance"]
    sample.main(argv)
    assert capsys.readouterr().out == ""
    sample.main([*argv, "--explain"])
    assert capsys.readouterr().out.splitlines() == [
        'a red circle, top left, small; the word "Hi" in black, centre; on plain white',
        "the model wrote nothing before it drew",
        "nothing; on plain white; not understood: \\x1b[2J",
    ]
    for i, sketch in enumerate(('pw1rC664"Hi"xagg8c', None, "pw\x1b[2J")):
        with Image.open(tmp_path / f"a-{i}.png") as image:
            assert image.info.get("sketch") == sketch
    first = tmp_path / "a-0.png"
    sample.main(["--recreate", str(first), "--explain", "--noprovenance"])
    assert capsys.readouterr().out.startswith("a red circle, top left")
    assert (tmp_path / "a-0-again.png").read_bytes() == first.read_bytes()


def test_warns_of_what_is_not_there(tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    stub = _Stub("pw3rA6643rA8643rAa64", 'pw1rC664"Hey"xagg8c')
    monkeypatch.setattr(sample.Sampler, "load", lambda *_, **__: stub)
    prompt = 'three red stars, a zeppelin and the word "Hey", but no circles'
    sample.main(["--prompt", prompt, "--output", str(tmp_path / "a.png"), "--num_images=2"])
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if "warning" in line]
    assert lines == [
        'omnigen.sample: warning: the sketch shows nothing of "zeppelin"',
        'omnigen.sample: warning: the sketch does not write "Hey"',
        'omnigen.sample: warning: the sketch shows nothing of "stars"',
        'omnigen.sample: warning: the sketch shows nothing of "zeppelin"',
        'omnigen.sample: warning: the sketch shows "circles", which the prompt rules out',
    ]


def _chunks(texts: dict[str, str]):
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_itxt(key, value)
    return info


OUT = ["--output", "out.png"]
GOOD = ["--prompt", "a star", *OUT]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--prompt is required"),
        (["--prompt", "a star"], "--output is required"),
        (["--prompt", " ", *OUT], "prompt ' ' is empty"),
        (["--prompt", "é" * 2001, *OUT], "prompt has 4002 bytes; at most 4000"),
        (["--prompt", "\udcff", *OUT], "is not valid UTF-8"),
        (["--prompt", "a star", "--output", "out.gif"], "--output out.gif: must end in .png"),
        (["--prompt", "a star", "--output", "no/out.png"], "there is no folder no"),
        (["--prompt", "a star", "--output", "folder.png"], "not a writable file"),
        ([*GOOD, "--num_images=0"], "flag --num_images=0: 0 is not an integer in the range"),
        ([*GOOD, "--num_images=1000"], "1000 is not an integer in the range [1, 64]"),
        ([*GOOD, "--guidance=nan"], "guidance is nan; allowed: 0 ... 30"),
        ([*GOOD, "--guidance=inf"], "guidance is inf; allowed: 0 ... 30"),
        ([*GOOD, "--guidance=-1"], "guidance is -1.0; allowed: 0 ... 30"),
        ([*GOOD, "--guidance=31"], "guidance is 31.0; allowed: 0 ... 30"),
        ([*GOOD, "--temperature=nan"], "temperature is nan; allowed: 0 ... 2"),
        ([*GOOD, "--temperature=2.1"], "temperature is 2.1; allowed: 0 ... 2"),
        ([*GOOD, "--sketch_temperature=-1"], "sketch_temperature is -1.0; allowed: 0 ... 2"),
        ([*GOOD, "--guidance=much"], "flag --guidance=much"),
        ([*GOOD, "--seed=-1"], "seed is -1; seeds must lie in 0 ... 4294967295"),
        ([*GOOD, "--seed=4294967295", "--num_images=2"], "seed is 4294967295"),
        ([*GOOD, "--head_steps=0"], "head_steps is 0; allowed: 1 ... 1000"),
        ([*GOOD, "--last_head_steps=0"], "last_head_steps is 0; allowed: 1 ... 1000"),
        ([*GOOD, "--head_shift=0"], "head_shift is 0.0; allowed: 0.01 ... 100"),
        ([*GOOD, "--head_shift=nan"], "head_shift is nan; allowed: 0.01 ... 100"),
        ([*GOOD, "--image", "in.png"], "--image in.png: this model draws from text alone"),
        ([*GOOD, "--promt", "x"], "unknown flag --promt; did you mean --prompt?"),
        ([*GOOD, "stray"], "unexpected argument 'stray'"),
        ([*GOOD, "--checkpoint", "absent"], "absent: no such checkpoint folder"),
        ([*GOOD, "--checkpoint", "folder.png"], "no checkpoint here"),
        (["--recreate", "absent.png"], "absent.png cannot be read as PNG"),
        (["--recreate", "plain.png"], "plain.png does not say how it was drawn"),
        (["--recreate", "text.png"], "text.png cannot be read as PNG"),
        (["--recreate", "nan.png"], "guidance is nan"),
        (["--recreate", "plain.png", "--seed=1"], "drop --seed"),
    ],
)
def test_bad_input(
    argv: list[str], message: str, tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    plain = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    plain.save("plain.png")
    settings = json.dumps({"guidance": math.nan})
    chunks = {"prompt": "x", "seed": "0", "settings": settings, "model": "m"}
    plain.save("nan.png", pnginfo=_chunks(chunks))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        sample.main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("omnigen.sample: ") and error.count("\n") == 1
    assert message in error
    assert sorted(tmp_path.rglob("*")) == before


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr besides those that say how long the model is being loaded."""
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if not line.startswith("loading and compiling the model, "))
    return line


def test_bad_checkpoints(
    untrained: pathlib.Path, sampler: sample.Sampler, tmp_path: pathlib.Path, capsys
) -> None:
    damaged = tmp_path / "damaged"
    checkpoints.export_model(untrained, damaged)
    assert sample.Sampler.load(damaged).version == sampler.version
    largest = max((p for p in damaged.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    output = tmp_path / "out.png"
    argv = ["--prompt", "a star", "--output", str(output), "--checkpoint", str(damaged)]
    with pytest.raises(SystemExit) as caught:
        sample.main(argv)
    assert caught.value.code == 2
    assert "damaged checkpoint" in last_line(capsys)
    assert not output.exists()


def test_another_model_does_not_recreate(
    untrained: pathlib.Path, tmp_path: pathlib.Path, capsys
) -> None:
    foreign = tmp_path / "foreign.png"
    chunks = {"prompt": "x", "seed": "0", "settings": "{}", "model": "0123"}
    Image.new("RGB", (8, 8)).save(foreign, pnginfo=_chunks(chunks))
    with pytest.raises(SystemExit):
        sample.main(["--recreate", str(foreign), "--checkpoint", str(untrained)])
    assert "drawn by model 0123, and this is model" in capsys.readouterr().err


def test_nothing_is_left_when_writing_fails(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        image = np.zeros((8, 8, 3), np.uint8)
        sample.save(image, tmp_path / "out.png", sample.Request("x"), version="v")
    assert not list(tmp_path.iterdir())


def test_help_is_quick_and_imports_no_jax() -> None:
    probe = (
        "import sys; from omnigen import sample\n"
        "try: sample.main(['--help'])\n"
        "except SystemExit: print('jax' in sys.modules, 'numpy' in sys.modules)"
    )
    started = time.monotonic()
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 5  # a busy machine; 0.1 s when idle
    assert out.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"settings": '{"num_images": 3}'}, "num_images"),
        ({"settings": '{"prompt": "another"}'}, "allowed: guidance"),
        ({"settings": "[" * 4000}, "does not say how it was drawn"),
        ({"settings": '{"guidance": ' + "[" * 2000 + "]" * 2000 + "}"}, "does not say"),
        ({"settings": '{"guidance": 1' + "0" * 400 + "}"}, "does not say how it was drawn"),
        ({"settings": '{"guidance": 1' + "0" * 5000 + "}"}, "have 5015 characters"),
        ({"settings": '{"head_steps": 1' + "0" * 400 + "}"}, "head_steps is "),
        ({"settings": '{"guidance": 1e999}'}, "guidance is inf; allowed: 0 ... 30"),
        ({"settings": '{"guidance": true}'}, "guidance is True"),
        ({"settings": '{"guidance": [3.0]}'}, "guidance is [3.0]"),
        ({"settings": '{"\\u001b[31m": 1}'}, "allowed: guidance"),
        ({"settings": "[]"}, "settings are []"),
        ({"settings": "null"}, "settings are None"),
        ({"seed": "1" * 5000}, "seed is '11111111111111111111'"),
        ({"seed": "-1"}, "seed is '-1'"),
        ({"seed": "9999999999"}, "seed is 9999999999; seeds must lie in"),
        ({"seed": "٣"}, "seed is '٣'"),
        ({"prompt": "x" * 4001}, "prompt has 4001 bytes"),
        ({"model": "\x1b[2J" + "m" * 10_000}, "drawn by model \\x1b[2Jmmm"),
        ({"seeds": "0 1 2 3"}, "is a sheet of several pictures; name one of them, such as a-0.png"),
    ],
)
def test_pictures_of_strangers_are_not_recreated(
    changed: dict[str, str],
    message: str,
    untrained: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch,
    capsys,
) -> None:
    monkeypatch.chdir(tmp_path)
    chunks = {"prompt": "x", "seed": "0", "settings": "{}", "model": "m", **changed}
    Image.new("RGB", (8, 8)).save("a-grid.png", pnginfo=_chunks(chunks))
    with pytest.raises(SystemExit) as caught:
        sample.main(["--recreate", "a-grid.png", "--checkpoint", str(untrained)])
    assert caught.value.code == 2
    error = last_line(capsys)
    assert message in error and "\x1b" not in error and len(error) < 1100
    assert [path.name for path in tmp_path.iterdir()] == ["a-grid.png"]


def test_a_sheet_shows_all_pictures_and_says_what_they_are(
    sampler: sample.Sampler, untrained: pathlib.Path, tmp_path: pathlib.Path, capsys
) -> None:
    argv = ["--prompt", PROMPT, "--output", str(tmp_path / "a.png"), "--checkpoint", str(untrained)]
    argv += ["--num_images=3", "--grid", "--seed=5"]
    for _ in range(2):  # the second time over the first's
        sample.main(argv)
        assert f"{tmp_path / 'a-grid.png'}: all 3" in capsys.readouterr().err
    names = ["a-0.png", "a-1.png", "a-2.png", "a-grid.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / "a-grid.png") as image:
        sheet = np.asarray(image)
        assert (image.info["prompt"], image.info["seeds"]) == (PROMPT, "5 6 7")
        assert image.info["model"] == sampler.version and "seed" not in image.info
    drawn = [np.asarray(Image.open(tmp_path / name)) for name in names[:3]]
    np.testing.assert_array_equal(sheet[:32, :32], drawn[0])
    np.testing.assert_array_equal(sheet[:32, 34:], drawn[1])
    np.testing.assert_array_equal(sheet[34:, :32], drawn[2])
    assert (sheet[34:, 34:] == 255).all()
    Image.new("RGB", (8, 8)).save(tmp_path / "a-grid.png")  # of somebody else
    before = (tmp_path / "a-grid.png").read_bytes()
    with pytest.raises(SystemExit):
        sample.main(argv)
    assert "a-grid.png exists and is no sheet" in capsys.readouterr().err
    assert (tmp_path / "a-grid.png").read_bytes() == before


@pytest.mark.parametrize(
    ("stem", "more", "is_taken"),
    [
        ("a" * 246, [], True),
        ("é" * 125, [], True),  # two bytes each
        ("a" * 252, [], False),
        ("é" * 126, [], False),
        ("a" * 251, ["--num_images=2"], False),  # -0
        ("a" * 248, ["--num_images=2", "--grid"], False),  # -grid
        ("a" * 300, [], False),
    ],
)
def test_names_are_tried_before_anything_is_loaded(
    stem: str, more: list[str], is_taken: bool, tmp_path: pathlib.Path, capsys
) -> None:
    """What the disk takes gets as far as the checkpoint, which is not there."""
    argv = ["--prompt", "x", "--output", str(tmp_path / f"{stem}.png"), "--checkpoint", "absent"]
    with pytest.raises(SystemExit) as caught:
        sample.main([*argv, *more])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count("\n") == 1
    assert ("absent" if is_taken else "File name too long") in error


@pytest.mark.slow
def test_python_keeps_compiled_programs(untrained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Unless the program that uses the sampler has told JAX where to keep them."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    environment |= {"OMNIGEN_CACHE": str(tmp_path / "ours")}
    load = f"from omnigen.sample import Sampler; Sampler.load({str(untrained)!r})"
    for before, wanted in (
        ("import jax; jax.numpy.zeros(3) + 1", "ours"),
        ("import jax; jax.config.update('jax_compilation_cache_dir', 'own')", "own"),
        ("import jax; jax.config.update('jax_enable_compilation_cache', False)", "None"),
    ):
        after = "print(jax.config.jax_compilation_cache_dir); jax.jit(lambda x: x * 3)(1.0)"
        program = f"{before}; {load}; {after}"
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert pathlib.Path(ran.stdout.strip()).name == wanted
        if wanted != "None":
            assert list((tmp_path / wanted).iterdir())
