# SPDX-License-Identifier: Apache-2.0
import ml_dtypes
import numpy as np
import pytest

from omnigen.checkpoints import quantized
from omnigen.checkpoints.store import Array

RNG = np.random.default_rng(0)


def flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def test_weights_are_off_by_half_a_step_at_most() -> None:
    stack = RNG.normal(size=(3, 128, 96)).astype(np.float32) * np.exp(RNG.normal(size=(3, 1, 96)))
    stack[1, :, 5] = 0  # a column of zeros
    params = {
        "ar": {"w": stack.astype(np.float32), "small": RNG.normal(size=(8, 8)), "b": stack[0, 0]}
    }
    packed = dict(flat(quantized.pack(params)))
    assert {name: value.dtype.name for name, value in packed.items()} == {
        "ar/w": "int8",
        "ar/w-scale": "float32",
        "ar/small": "bfloat16",
        "ar/b": "bfloat16",
    }
    assert packed["ar/w-scale"].shape == (3, 1, 96)
    found = quantized.unpack(packed)
    assert found.keys() == {"ar/w", "ar/small", "ar/b"}
    largest = np.abs(stack).max(axis=1, keepdims=True)
    assert np.all(np.abs(found["ar/w"] - stack) <= largest / 254 * (1 + 1e-5))
    assert not found["ar/w"][1, :, 5].any()
    np.testing.assert_array_equal(
        found["ar/small"], params["ar"]["small"].astype(ml_dtypes.bfloat16)
    )


def test_the_largest_weight_of_a_column_stays_what_it_is() -> None:
    weights = RNG.normal(size=(256, 256)).astype(np.float32)
    found = quantized.unpack(dict(flat(quantized.pack({"w": weights}))))["w"]
    rows = np.abs(weights).argmax(axis=0)
    columns = np.arange(256)
    np.testing.assert_allclose(found[rows, columns], weights[rows, columns], rtol=1e-6)


def array(dtype, *shape) -> Array:
    return Array(shape, np.dtype(dtype), 100)


def test_what_is_packed_is_declared_as_floats() -> None:
    stored = {
        "a": array("int8", 3, 4, 5),
        "a-scale": array("float32", 3, 1, 5),
        "b": array("f4", 2),
    }
    found = quantized.declared(stored)
    assert found == {"a": Array((3, 4, 5), np.dtype("float32"), 200), "b": stored["b"]}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x/a": array("int8", 4, 5)}, "x/a is int8 and has no a-scale"),
        ({"a": array("int8", 5), "a-scale": array("float32", 5)}, "a is int8 and has no a-scale"),
        (
            {"a": array("int8", 4, 5), "a-scale": array("float32", 4, 5)},
            r"a-scale is float32 \(4, 5\); allowed: float32 \(1, 5\)",
        ),
        (
            {"a": array("int8", 4, 5), "a-scale": array("float64", 1, 5)},
            r"a-scale is float64 \(1, 5\); allowed: float32 \(1, 5\)",
        ),
        ({"a-scale": array("float32", 1, 5)}, "a-scale belongs to no int8 array"),
        (
            {"a": array("float32", 4, 5), "a-scale": array("float32", 1, 5)},
            "a-scale belongs to no int8 array",
        ),
    ],
)
def test_scales_that_do_not_fit_are_refused(arrays, message) -> None:
    with pytest.raises(ValueError, match=message):
        quantized.declared(arrays)
