# SPDX-License-Identifier: Apache-2.0
"""A fresh environment for each extra, in which what it is for runs in its smallest form.

`pytest -m slow tests/test_environments.py -k hf` takes 1 to 4 minutes and about 1 GB an extra, most
of it downloads. What it showed stands in docs/reliability.md.
"""

import pathlib
import shlex
import subprocess
import venv

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOKENIZER = f"--config {ROOT}/configs/tokenizer.py:debug"
SMALL = f"{TOKENIZER} --config.train.global_batch_size=8"
FOUR = "--topology v5e-4 --config.mesh.fsdp=4 --config.mesh.data=1"

TOKENIZERS = """
import tokenizers
from omnigen import text
tokenizers.Tokenizer(tokenizers.models.BPE()).save("t.json")
print(text.load("t.json").encode("a"))
"""
PARQUET = """
import io, pyarrow, pyarrow.parquet
from PIL import Image
from omnigen.data.prepare import __main__ as prepare
def png(i):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50 + i).save(file, "PNG")
    return file.getvalue()
rows = {"image": [png(i) for i in range(6)], "caption": [f"noise number {i}" for i in range(6)]}
pyarrow.parquet.write_table(pyarrow.table(rows), "rows.parquet")
prepare.main(["--input", "rows.parquet", "--output", "corpus", "--workers", "0"])
"""
FAST = """
import io
from PIL import Image
from omnigen.data.corpus import pictures
file = io.BytesIO()
Image.effect_noise((512, 512), 50).convert("RGB").save(file, "JPEG")
print(pictures._fast() is not None, pictures.load(file.getvalue(), pictures.Size.square(64)).shape)
"""
OCR = """
import numpy
from PIL import Image, ImageDraw
from omnigen.evals.judges import reading
image = Image.new("RGB", (256, 256), "white")
ImageDraw.Draw(image).text((40, 100), "hello", fill="black", font_size=60)
print(reading.rapidocr(numpy.asarray(image)))
"""
FIDELITY = """
import pathlib
from PIL import Image
from omnigen import evaluate
for folder in "ab":
    pathlib.Path(folder).mkdir()
    for i in range(10):
        Image.effect_noise((64, 64), 50 + i).convert("RGB").save(f"{folder}/{i}.png")
suite = ["--suites", "kid_lite0", "--images", "a", "--reference", "b", "--output", "out"]
evaluate.main(suite)
"""
RAY = """
from omnigen.serve import replicas
print(type(replicas.app({"replicas": 2})).__name__)
"""
# Of each extra: a module or a program, and a part of what it prints.
RUNS = [
    ("", f"omnigen.plan {SMALL} --topology h100x8", "of 73.23: fits"),
    ("scenes", f"omnigen.bench data --repeats 1 {TOKENIZER}", "images_per_s"),
    ("hf", TOKENIZERS, "[]"),
    ("parquet", PARQUET, "train: "),
    ("corpora", "omnigen.data.corpora build art", "npm, which downloads the packages"),
    ("fast", FAST, "True (64, 64, 3)"),
    ("ocr", OCR, "text='hello'"),
    ("fidelity", FIDELITY, "kid_lite0"),
    ("ray", RAY, "Application"),
    ("plan", f"omnigen.plan {SMALL} {FOUR}", "v5e-4: 4 chips"),
    ("scenes,tensorboard", f"omnigen.train --workdir run {TOKENIZER}", "step 20"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "program", "printed"), RUNS, ids=lambda value: str(value)[:8])
def test_an_extra_is_all_that_is_needed(
    extra: str, program: str, printed: str, tmp_path: pathlib.Path
) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    package = f"{ROOT}[{extra}]" if extra else str(ROOT)
    subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    is_module = program.startswith("omnigen.")
    argv = ["-m", *shlex.split(program)] if is_module else ["-c", program]
    done = subprocess.run(
        [python, *argv],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "env" / "bin"), "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert printed in done.stdout and "Traceback" not in done.stdout, done.stdout[-3000:]
