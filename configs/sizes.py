# SPDX-License-Identifier: Apache-2.0
"""The one table of model sizes.

| | nano (ships) | base | 3b | 14b |
|---|---|---|---|---|
| image side, pixels | 128 | 256 | 256, then 1024 | 1024 |
| AR transformer | 12 x 512 | 20 x 1024 | 28 x 2048 (Qwen3-1.7B's shape) | 40 x 5120 (Qwen3-14B's) |
| trains on | 1 GPU | 8 GPUs or v5e-64 | v5p-128 | v5p-512 and up |
"""

from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "nano": {
        "image_size": 128,
        "text": "bytes",
        "sketch_length": 128,
        "encoder": {
            "patch_size": 8,
            "merge": 2,
            "latent_dim": 64,
            "embed_dim": 256,
            "num_layers": 4,
            "num_heads": 4,
            "mlp_dim": 768,
            "local": True,  # pictures of a corpus come many times (docs/decisions.md)
        },
        "decoder": {
            "patch_size": 8,
            "embed_dim": 320,
            "num_layers": 6,
            "num_heads": 5,
            "mlp_dim": 832,
            "num_steps": 1,
            "noise_scale": 0.0,  # 64 numbers a token leave little to be guessed
            "unroll": True,
        },
        "ar": {
            "vocab_size": 264,
            "embed_dim": 512,
            "num_layers": 12,
            "num_heads": 8,
            "num_kv_heads": 4,
            "head_dim": 64,
            "mlp_dim": 1280,
            "unroll": True,
        },
        "head": {
            "embed_dim": 512,
            "num_blocks": 3,
            "mlp_dim": 768,
        },
    },
    "base": {
        "image_size": 256,
        "text": "bytes",
        "encoder": {
            "patch_size": 8,
            "merge": 2,
            "latent_dim": 16,
            "embed_dim": 512,
            "num_layers": 8,
            "num_heads": 4,
            "mlp_dim": 1344,
        },
        "decoder": {
            "patch_size": 8,
            "embed_dim": 768,
            "num_layers": 12,
            "num_heads": 6,
            "mlp_dim": 2048,
        },
        "ar": {
            "vocab_size": 264,
            "embed_dim": 1024,
            "num_layers": 20,
            "num_heads": 16,
            "num_kv_heads": 4,
            "head_dim": 64,
            "mlp_dim": 2816,
        },
        "head": {
            "embed_dim": 1024,
            "num_blocks": 8,
            "mlp_dim": 1536,
        },
    },
    "3b": {
        "image_size": 256,
        "text": "bytes",
        "encoder": {
            "patch_size": 16,
            "merge": 1,
            "latent_dim": 16,
            "embed_dim": 768,
            "num_layers": 12,
            "num_heads": 6,
            "mlp_dim": 2048,
        },
        "decoder": {
            "patch_size": 16,
            "embed_dim": 1152,
            "num_layers": 16,
            "num_heads": 9,
            "mlp_dim": 3072,
        },
        "ar": {
            "vocab_size": 264,
            "embed_dim": 2048,
            "num_layers": 28,
            "num_heads": 16,
            "num_kv_heads": 8,
            "head_dim": 128,
            "mlp_dim": 6144,
        },
        "head": {
            "embed_dim": 1280,
            "num_blocks": 10,
            "mlp_dim": 1920,
        },
    },
    "14b": {
        "image_size": 1024,
        "text": "bytes",
        "encoder": {
            "patch_size": 16,
            "merge": 1,
            "latent_dim": 32,
            "embed_dim": 1024,
            "num_layers": 16,
            "num_heads": 8,
            "mlp_dim": 2752,
        },
        "decoder": {
            "patch_size": 16,
            "embed_dim": 1536,
            "num_layers": 24,
            "num_heads": 12,
            "mlp_dim": 4096,
        },
        "ar": {
            "vocab_size": 264,
            "embed_dim": 5120,
            "num_layers": 40,
            "num_heads": 40,
            "num_kv_heads": 8,
            "head_dim": 128,
            "mlp_dim": 17408,
        },
        "head": {
            "embed_dim": 1536,
            "num_blocks": 12,
            "mlp_dim": 2304,
        },
    },
}

# How the devices are shared out; what a size does not name, `data` takes.
MESHES: dict[str, dict[str, int]] = {
    "nano": {},
    "base": {},
    "3b": {"data": 1, "fsdp": -1},
    "14b": {"data": 1, "fsdp": -1, "tensor": 4},
}

# What `debug` puts in place of any size's values: a model that takes a laptop seconds.
DEBUG: dict[str, dict[str, Any]] = {
    "encoder": {"embed_dim": 32, "num_layers": 1, "num_heads": 2, "mlp_dim": 64},
    "decoder": {"embed_dim": 32, "num_layers": 1, "num_heads": 2, "mlp_dim": 64, "num_steps": 2},
    "ar": {
        "embed_dim": 64,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 16,
        "mlp_dim": 128,
    },
    "head": {"embed_dim": 32, "num_blocks": 1, "mlp_dim": 64, "num_steps": 2},
}
DEBUG_IMAGE_SIZE = 32


def parse(argument: str) -> tuple[str, bool]:
    """Reads a recipe's argument: a size, `debug`, or `size,debug`.

    Returns:
        The size and whether to shrink it; `debug` alone shrinks nano.

    Raises:
        ValueError: If it is anything else.
    """
    words = [word for word in argument.split(",") if word]
    sizes = [word for word in words if word != "debug"] or ["nano"]
    if len(sizes) > 1 or sizes[0] not in SIZES:
        raise ValueError(
            f"config argument {argument!r}: write one of {', '.join(SIZES)}, "
            "then ',debug' for a version that runs on a laptop"
        )
    return sizes[0], "debug" in words


def model(size: str, *, debug: bool, remat: str = "none") -> dict[str, Any]:
    """Returns the model group of a recipe, in bfloat16, or float32 if it is shrunk to debug.

    Args:
        size: Key of `SIZES`.
        debug: Whether to shrink the model and its image.
        remat: What the backward pass of the transformers keeps.
    """
    compute: dict[str, Any] = {"dtype": "float32" if debug else "bfloat16"}
    parts = {
        name: {**SIZES[size][name], **(DEBUG[name] if debug else {}), **compute}
        for name in ("encoder", "decoder", "ar", "head")
    }
    for name in ("encoder", "decoder", "ar"):
        parts[name]["remat"] = remat
    image_size = DEBUG_IMAGE_SIZE if debug else SIZES[size]["image_size"]
    return {
        "image_size": image_size,
        "text": SIZES[size]["text"],
        "sketch_length": SIZES[size].get("sketch_length", 0),
        **parts,
    }


def mesh(size: str, *, debug: bool) -> dict[str, int]:
    """Returns the mesh group of a recipe; a shrunk model runs on whatever there is."""
    return {} if debug else dict(MESHES[size])
