# SPDX-License-Identifier: Apache-2.0
import io
import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
import signed
from PIL import Image

import omnigen
from omnigen import png, provenance, sample
from omnigen.generation.sampler import Drawing
from omnigen.safety.provenance.hashes import HashLog
from omnigen.safety.provenance.signing import Signer

pytest.importorskip("c2pa")
VERSION = "0123456789ab"


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("OMNIGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "provenance"


@pytest.fixture
def picture(cache: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A signed picture that is in the log, too."""
    image, path = signed.pixels(1), tmp_path / "a.png"
    data = signed.encoded(image, "image/png", prompt="a box")
    path.write_bytes(Signer.load().sign(data, "image/png", model=VERSION))
    HashLog(cache / "pictures.sqlite").add(image, {"model": VERSION, "seed": "7"})
    return path


def ran(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    with pytest.raises(SystemExit) as stopped:
        provenance.main([str(each) for each in argv])
    told = capsys.readouterr()
    return int(str(stopped.value.code)), told.out, told.err


def test_a_signed_picture_says_who_made_it(picture: pathlib.Path, capsys) -> None:
    code, out, err = ran(capsys, picture)
    first, *rest = out.splitlines()
    assert (code, err) == (0, "")
    assert first == "valid: it is as it was signed; who signed it is not proven"
    told = {line[2:14].strip(): line[14:] for line in rest}
    assert told["signed by"] == "omnigen, self-made certificate"
    assert told["software"] == f"omnigen {omnigen.__version__}" and told["model"] == VERSION
    assert told["made"].endswith(" UTC")
    assert told["source"] == "made by a model (trainedAlgorithmicMedia)"
    assert told.keys() == {"signed by", "software", "model", "made", "source"}


def test_anchors_make_it_trusted(picture: pathlib.Path, cache: pathlib.Path, capsys) -> None:
    code, out, _ = ran(capsys, picture, "--anchors", cache / "certificate.pem")
    assert code == 0 and out.startswith("trusted: it is as it was signed, by a certificate that")


def test_a_tampered_one_is_told(picture: pathlib.Path, capsys) -> None:
    picture.write_bytes(signed.png_flipped(picture.read_bytes(), 5000))
    code, out, _ = ran(capsys, picture)
    assert code == 4
    assert out.startswith("tampered: what it says does not hold\n  problem     assertion.dataHash.")
    assert "mismatch: the picture was changed after it was signed\n" in out
    assert f"looks like it: model {VERSION}, seed 7\n" in out


@pytest.mark.parametrize("kind", ["stripped", "JPEG", "smaller"])
def test_a_stripped_one_is_found_in_the_log(kind: str, picture: pathlib.Path, capsys) -> None:
    if kind == "stripped":
        picture.write_bytes(signed.stripped(picture.read_bytes(), "image/png"))
    else:
        image = Image.open(picture).convert("RGB")
        image = image.resize((96, 96)) if kind == "smaller" else image
        image.save(picture, "JPEG", quality=75)
    code, out, _ = ran(capsys, picture)
    told = f"  log         a picture drawn here looks like it: model {VERSION}, seed 7"
    assert (code, out.splitlines()) == (3, ["absent: it does not say who made it", told])


def test_edits_are_counted(picture: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    data, path = signed.encoded(signed.pixels(2), "image/webp"), tmp_path / "b.webp"
    more = {"model": VERSION, "action": "edited", "ingredients": [picture.read_bytes()]}
    path.write_bytes(Signer.load().sign(data, "image/webp", **more))
    code, out, _ = ran(capsys, path)
    assert code == 0 and "made of another picture by a model (compositeWithTrained" in out
    assert "  edits       1, of whose pictures 1 manifest came along\n" in out


def test_json_has_the_words_of_content_provenance_checks(
    picture: pathlib.Path, tmp_path: pathlib.Path, capsys
) -> None:
    code, out, _ = ran(capsys, picture, "--json")
    told = json.loads(out)
    assert code == 0 and (told["outcome"], told["validation_state"]) == ("detected", "valid")
    assert (told["issuer"], told["model"]) == ("omnigen, self-made certificate", VERSION)
    assert told["generated_at"].endswith("+00:00") and told["issues"] == []
    (tmp_path / "c.jpg").write_bytes(signed.encoded(signed.pixels(9), "image/jpeg"))
    code, out, _ = ran(capsys, tmp_path / "c.jpg", "--json")
    told = json.loads(out)
    assert code == 3
    assert (told["outcome"], told["validation_state"]) == ("not_detected", "not_present")
    assert told["issuer"] is told["generated_at"] is told["logged"] is None


def test_bad_input_is_one_line(cache: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "good.png").write_bytes(signed.encoded(signed.pixels(1), "image/png"))
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(provenance.MOST_BYTES + 1)
    for argv, message in (
        ([], "name a picture; allowed: PNG, JPEG and WebP files"),
        (["absent.png"], "absent.png: No such file or directory"),
        (["text.png"], "text.png: the file is no picture of an allowed format"),
        (["pipe.png"], "pipe.png is a pipe; allowed: regular files"),
        (["large.png"], "large.png has 67108865 bytes; allowed: up to 67108864"),
        (["."], " is a folder; allowed: regular files"),
        (["good.png", "--anchors", "text.png"], "anchors holds no certificates in PEM"),
        (["good.png", "--anchor", "x"], "unknown flag --anchor; did you mean --anchors?"),
    ):
        paths = [tmp_path / each if "." in each else each for each in argv]
        code, out, err = ran(capsys, *paths)
        assert (code, out) == (2, ""), argv
        assert err.startswith("omnigen.provenance: ") and message in err and err.count("\n") == 1


def test_texts_of_strangers_cannot_move_the_cursor(tmp_path: pathlib.Path, capsys) -> None:
    chain, key, _ = signed.made(name="Ac\x1b[2Jme")
    signer = Signer.load(*signed.written(tmp_path, chain, key))
    data = signed.encoded(signed.pixels(1), "image/png")
    (tmp_path / "a.png").write_bytes(signer.sign(data, "image/png", model="\x1b]0;x\x07 m\n"))
    code, out, _ = ran(capsys, tmp_path / "a.png")
    assert code == 0 and "Ac\\x1b[2Jme" in out and "\x1b" not in out and "\x07" not in out


def test_hostile_files_end_in_an_exit_code(picture: pathlib.Path, capsys) -> None:
    """Cut, changed and of huge announced sizes: none crashes, and none is said to be well."""
    data, rng = picture.read_bytes(), random.Random(0)
    for _ in range(40):
        changed = bytearray(data[: rng.randrange(40, len(data))])
        for _ in range(rng.randrange(5)):
            changed[rng.randrange(8, len(changed))] ^= 1 << rng.randrange(8)
        picture.write_bytes(changed)
        code, out, _ = ran(capsys, picture)
        assert code in (3, 4) and out
    picture.write_bytes(data[:16] + b"\x7f\xff\xff\xff" * 2 + data[24:])
    assert ran(capsys, picture)[0] == 4


def test_without_a_log_nothing_is_looked_for(tmp_path: pathlib.Path, cache, capsys) -> None:
    (tmp_path / "a.png").write_bytes(signed.encoded(signed.pixels(1), "image/png"))
    assert ran(capsys, tmp_path / "a.png")[:2] == (3, "absent: it does not say who made it\n")
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "pictures.sqlite").write_bytes(b"x" * 5000)
    code, _, err = ran(capsys, tmp_path / "a.png")
    assert code == 2 and "pictures.sqlite is no log of pictures" in err


def test_help_needs_nothing() -> None:
    probe = (
        "import sys; from omnigen import provenance\n"
        "try: provenance.main(['--help'])\n"
        "except SystemExit: print({'jax', 'numpy', 'c2pa', 'PIL'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "--anchors" in ran.stdout and ran.stdout.splitlines()[-1] == "set()"


class Stub:
    """A sampler that draws the pictures of `signed.pixels`."""

    version = VERSION

    def drawings(self, request):
        for i in range(request.num_images):
            yield Drawing(signed.pixels(request.seed + i), "", request.prompt)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub()
    monkeypatch.setattr(sample.Sampler, "load", lambda *_, **__: stub)


def test_sample_signs_what_it_draws(stub, cache, tmp_path: pathlib.Path, capsys) -> None:
    argv = ["--prompt", "Déjà vu", "--output", str(tmp_path / "a.png")]
    sample.main([*argv, "--num_images=2", "--seed=3", "--grid"])
    err = capsys.readouterr().err
    assert err.count("signed by omnigen, self-made certificate; --noprovenance leaves that") == 1
    for name in ("a-0.png", "a-1.png", "a-grid.png"):
        code, out, _ = ran(capsys, tmp_path / name)
        assert code == 0 and f"  model       {VERSION}\n" in out
    found = png.read(tmp_path / "a-1.png")
    assert found.texts["prompt"] == "Déjà vu" and found.texts["seed"] == "4"
    np.testing.assert_array_equal(found.pixels, signed.pixels(4))
    Image.fromarray(found.pixels).save(tmp_path / "a.jpg", quality=75)
    code, out, _ = ran(capsys, tmp_path / "a.jpg")
    assert code == 3 and f"model {VERSION}" in out and "seed 4" in out
    sample.main(["--recreate", str(tmp_path / "a-1.png")])
    assert "identical pixels" in capsys.readouterr().err
    assert ran(capsys, tmp_path / "a-1-again.png")[0] == 0


def test_sample_leaves_it_out_if_asked(stub, cache, tmp_path: pathlib.Path, capsys) -> None:
    argv = ["--prompt", "x", "--output", str(tmp_path / "a.png"), "--noprovenance"]
    sample.main(argv)
    assert "signed" not in capsys.readouterr().err
    assert b"caBX" not in (tmp_path / "a.png").read_bytes() and not cache.exists()
    again = io.BytesIO((tmp_path / "a.png").read_bytes())
    sample.main(argv)
    assert again.getvalue() == (tmp_path / "a.png").read_bytes()


def test_sample_does_without_the_extra(stub, cache, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    sample.main(["--prompt", "x", "--output", str(tmp_path / "a.png")])
    assert "signed" not in capsys.readouterr().err
    assert b"caBX" not in (tmp_path / "a.png").read_bytes()


def test_sample_refuses_a_bad_certificate_before_it_draws(
    stub, tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("OMNIGEN_CERTIFICATE", str(tmp_path / "absent.pem"))
    monkeypatch.setenv("OMNIGEN_KEY", str(tmp_path / "key.pem"))
    with pytest.raises(SystemExit) as stopped:
        sample.main(["--prompt", "x", "--output", str(tmp_path / "a.png")])
    assert stopped.value.code == 2 and list(tmp_path.iterdir()) == []
    assert "absent.pem cannot be read: No such file" in capsys.readouterr().err


def test_a_log_that_fails_does_not_lose_the_picture(stub, cache, tmp_path, capsys) -> None:
    cache.mkdir(parents=True)
    (cache / "pictures.sqlite").write_bytes(b"x" * 5000)
    sample.main(["--prompt", "x", "--output", str(tmp_path / "a.png")])
    assert "warning: the picture is not in the log: " in capsys.readouterr().err
    assert ran(capsys, tmp_path / "a.png")[0] == 0
