# SPDX-License-Identifier: Apache-2.0
import pickle
import subprocess
import sys

import numpy as np
import pytest

from omnigen import text

SAMPLES = [
    "",
    "a red circle",
    'words "AGC is Awesome!"',
    "naïve café",
    "日本語",
    "👩‍🚀🏳️‍🌈",
    "\x00\n\t",
    "\ud83d",
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_bytes_round_trip(sample):
    ids = text.ByteText().encode(sample)
    assert ids == list(sample.encode("utf-8", "surrogatepass"))
    assert text.ByteText().decode(ids) == sample


def test_bytes_round_trip_of_every_code_point():
    every = "".join(map(chr, range(0x110000)))
    tokenizer = text.ByteText()
    ids = tokenizer.encode(every)
    assert max(ids) < tokenizer.vocab_size == 256
    surrogates = {chr(code) for code in range(0xD800, 0xE000)}
    plain = "".join(letter for letter in every if letter not in surrogates)
    assert tokenizer.decode(tokenizer.encode(plain)) == plain


def test_invalid_bytes_become_replacement_characters():
    assert text.ByteText().decode([0x61, 0xFF, 0x62, 0xE2, 0x82]) == "a\ufffdb\ufffd"


def test_ids_may_be_an_array():
    assert text.ByteText().decode(np.array([104, 105], np.int32)) == "hi"


def test_special_ids_are_no_bytes():
    with pytest.raises(ValueError, match="256"):
        text.ByteText().decode([256])


@pytest.fixture
def tokenizer_file(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {"[UNK]": 0, "a": 1, "red": 2, "circle": 3}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.add_special_tokens(["[CLS]"])
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 4)]
    )
    path = tmp_path / "tokenizer.json"
    words.save(str(path))
    return str(path)


def test_file_tokenizer(tokenizer_file):
    tokenizer = text.load(tokenizer_file)
    assert tokenizer.vocab_size == 5
    assert tokenizer.encode("a red circle") == [1, 2, 3]  # and not the file's [CLS]
    assert tokenizer.decode([1, 2, 3]) == "a red circle"
    assert pickle.loads(pickle.dumps(tokenizer)).encode("red") == [2]


def test_load_knows_bytes():
    assert isinstance(text.load("bytes"), text.ByteText)


def test_missing_and_foreign_files(tmp_path):
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match="nowhere.json.*allowed: 'bytes'"):
        text.load(str(tmp_path / "nowhere.json"))
    foreign = tmp_path / "foreign.json"
    foreign.write_text('{"a": 1}')
    with pytest.raises(ValueError, match="foreign.json") as raised:
        text.load(str(foreign))
    assert "\n" not in str(raised.value)


def test_missing_library_names_the_extra(monkeypatch, tokenizer_file):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"pip install 'omnigen-jax\[hf\]'"):
        text.load(tokenizer_file)


def test_import_is_light():
    heavy = "{'jax', 'grain', 'tokenizers', 'numpy', 'skia'}"
    code = f"import sys, omnigen.text; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_half_a_character_is_a_replacement_character(tokenizer_file):
    encode = text.FileText(tokenizer_file).encode
    assert encode("a \ud83d red") == encode("a \ufffd red")
    assert encode("a \ud83d\ude00") == encode("a \U0001f600")
