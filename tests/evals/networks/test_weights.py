# SPDX-License-Identifier: Apache-2.0
"""The reader of weights on files that torch wrote, and on pickles that want to do harm."""

import io
import json
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from omnigen.evals.networks import weights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
NUMBERS = np.arange(12, dtype=np.float32)
STATE = {  # what the script beside the golden files saved
    "weight": np.array([[3, 4]], np.float32),
    "bias": np.array([5], np.float32),
    "transposed": NUMBERS.reshape(3, 4).T,
    "tail": NUMBERS[7:],
    "parameter": NUMBERS[:2] / 2,
    "half": np.array([1.5, -2], np.float16),
    "count": np.array(7, np.int64),
}


@pytest.mark.parametrize("name", ["zip", "legacy"])
def test_reads_what_torch_wrote(name: str) -> None:
    found = weights.read(GOLDEN / f"checkpoint_{name}.pth")
    assert found.keys() == STATE.keys() | {"bfloat"}
    for key, value in STATE.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, key)
    assert str(found["bfloat"].dtype) == "bfloat16"
    np.testing.assert_array_equal(found["bfloat"].astype(np.float32), [1.5, -2])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_pickled_numpy(tmp_path: pathlib.Path, protocol: int) -> None:
    tree = {"net": {"kernel": NUMBERS.reshape(3, 4), "step": 3}, "bias": np.asfortranarray([[1.0]])}
    if protocol in (2, 5):  # bytes as a text to decode, arrays as buffers: not what packages hold
        (tmp_path / "w.ckpt").write_bytes(pickle.dumps(tree, protocol))
        with pytest.raises(ValueError, match="refused"):
            weights.read(tmp_path / "w.ckpt")
        return
    (tmp_path / "w.ckpt").write_bytes(pickle.dumps(tree, protocol))
    found = weights.read(tmp_path / "w.ckpt")
    assert found.keys() == {"net/kernel", "bias"}
    np.testing.assert_array_equal(found["net/kernel"], tree["net"]["kernel"])
    np.testing.assert_array_equal(found["bias"], tree["bias"])


def safetensors(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_reads_safetensors(tmp_path: pathlib.Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [1], "data_offsets": [24, 26]},
    }
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors(header, NUMBERS[:6].tobytes() + b"\xc0\x3f"))
    found = weights.read(path)
    np.testing.assert_array_equal(found["a"], NUMBERS[:6].reshape(2, 3))
    assert found.keys() == {"a", "b"} and found["b"].astype(np.float32) == [1.5]
    header["a"]["data_offsets"] = [0, 12]
    path.write_bytes(safetensors(header, bytes(26)))
    with pytest.raises(ValueError, match="damaged: a lies at"):
        weights.read(path)


class Harm:
    def __init__(self, mark: pathlib.Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def archive(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as entries:
        entries.writestr("archive/data.pkl", data)
    return file.getvalue()


@pytest.mark.parametrize("wrap", [bytes, archive], ids=["pickle", "zip"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_runs_nothing(tmp_path: pathlib.Path, wrap, protocol: int) -> None:
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    data = pickle.dumps({"a": Harm(mark)}, protocol)
    path.write_bytes(wrap(data))
    with pytest.raises(ValueError, match="refused: the pickle wants to call (posix|nt).system"):
        weights.read(path)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists(), "the file does no harm: the test shows nothing"


def test_names_what_is_wrong(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(ValueError, match="no such file"):
        weights.read(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="neither safetensors nor a torch checkpoint"):
        weights.read(path)
    path.write_bytes(archive(pickle.dumps(object(), 2)))
    with pytest.raises(ValueError, match="refused"):
        weights.read(path)


@pytest.mark.parametrize("name", ["zip", "legacy"])
def test_any_cut_is_an_error(tmp_path: pathlib.Path, name: str) -> None:
    whole = (GOLDEN / f"checkpoint_{name}.pth").read_bytes()
    path = tmp_path / "w.pth"
    for end in range(0, len(whole) - 1, 23):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"w\.pth"):
            weights.read(path)


@pytest.mark.parametrize("name", ["zip", "legacy"])
def test_a_wrong_byte_is_no_crash(tmp_path: pathlib.Path, name: str) -> None:
    whole = (GOLDEN / f"checkpoint_{name}.pth").read_bytes()
    path = tmp_path / "w.pth"
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), 150, replace=False):
        broken = bytearray(whole)
        broken[place] ^= int(rng.integers(1, 256))
        path.write_bytes(broken)
        try:
            weights.read(path)
        except ValueError as error:
            assert "w.pth" in str(error)
