# SPDX-License-Identifier: Apache-2.0
"""Inputs among which somebody has mixed whatever hangs, swells or breaks a reader.

Every honest picture is kept, each of the others is a reject, and neither memory nor time is lost.
"""

import io
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tarfile
import time
import zlib

import pytest
from inputs import picture, write_tar
from PIL import Image

from omnigen.data.corpus.records import Corpus, Rejected
from omnigen.data.corpus.split import Split
from omnigen.data.prepare import inputs
from omnigen.data.stream import tars

MOST_MB, MOST_S = 400, 60
PREPARE = """
import atexit, pathlib, resource, sys
def say():  # last of all, when every process that was started has ended
    own = pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print("peak:", max(int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
atexit.register(say)
from omnigen.data.prepare import __main__ as prepare
prepare.main(sys.argv[1:])
"""
HOLE = 40 << 30  # bytes of a file that takes no disk


def prepare(source, output, *arguments):
    """Exit code, what was said, and the peak of memory in MB of the largest process."""
    flags = ["--workers=0", f"--input={source}", f"--output={output}", "--near_duplicates=-1"]
    since = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, *flags, *arguments], capture_output=True, text=True
    )
    assert time.monotonic() - since < MOST_S
    peak = int(done.stdout.split("peak:")[1].split()[0]) >> 10
    return done.returncode, done.stderr, peak


def kept(output):
    return {record.key for split in Split for record in Corpus(output, split)}


def rejected(output):
    lines = (output / "rejects.jsonl").read_text("utf-8").splitlines()
    return {line["key"]: line["reason"] for line in map(json.loads, lines)}


def check(source, output, honest, hostile):
    """Prepares the input, and holds the outcome against what it should be."""
    code, said, peak = prepare(source, output, "--test_fraction=0")
    assert code == 0 and "Traceback" not in said, said
    assert peak <= MOST_MB
    assert kept(output) == honest
    assert rejected(output).items() >= hostile.items()
    return rejected(output)


def bomb(side=20_000):
    """A PNG of a few hundred kB that declares 400 megapixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


def noted(size=300 << 20):
    """A sound picture with a note of zeros that unpacks to 300 MB."""
    packer = zlib.compressobj(9)
    body = b"Comment\0\0" + packer.compress(bytes(size)) + packer.flush()
    chunk = b"zTXt" + body
    whole = picture(77)
    note = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return whole[:33] + note + whole[33:]


def hole(path, size=HOLE):
    with path.open("wb") as file:
        file.truncate(size)


def put_special(folder):
    """Files that are no pictures to read, by name; returns why each is left out, by key."""
    os.mkfifo(folder / "fifo.png")
    os.mkfifo(folder / "said.txt")
    (folder / "said.png").write_bytes(picture(2))
    os.mkfifo(folder / "table.jsonl")
    os.mkfifo(folder / "archive.tar")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "table.csv").symlink_to("/dev/zero")
    (folder / "round.png").symlink_to("round.png")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "folder.jpg").mkdir()
    hole(folder / "hole.png")
    hole(folder / "zeros.png", 60 << 20)
    (folder / "long.png").write_bytes(picture(3))
    hole(folder / "long.txt")
    (folder / "pixels.png").write_bytes(bomb())
    (folder / "pixels.txt").write_text("many")
    (folder / "page.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (folder / "page.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (folder / "deep.png").write_bytes(picture(4))
    (folder / "deep.json").write_text("[" * 100_000)
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(folder)  # as the names of sockets are short
        one.bind("socket.png")
        os.chdir(here)
    return {
        **dict.fromkeys(("fifo", "said", "zero", "folder", "socket"), "no regular file"),
        **dict.fromkeys(("table.jsonl", "archive.tar", "table.csv"), "no regular file"),
        **dict.fromkeys(("gone", "round"), "no such file"),
        **dict.fromkeys(("hole", "long"), "file too large"),
        **dict.fromkeys(("zeros", "page"), "format not allowed"),
        "pixels": "too many pixels",
        "deep": "unreadable text",
    }


@pytest.mark.slow
def test_a_folder_of_five_hundred(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    hostile = put_special(folder)
    (folder / "page.jpg").unlink()  # the suffix alone tells of the other
    honest = set()
    for n in range(220):
        key = f"{n}.5 of" if n % 3 else f"{n}"
        (folder / f"{key}.png").write_bytes(noted() if n == 7 else picture(1000 + n))
        (folder / f"{key}.txt").write_text(f"number {n}")
        (folder / f"._{key}.png").write_bytes(b"\x00\x05\x16\x07")
        honest.add(key)
    assert len(list(folder.iterdir())) > 500
    found = check(folder, tmp_path / "out", honest, hostile)
    assert found.keys() == hostile.keys()


def test_a_table_that_names_everything(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    hostile = put_special(folder)
    for name in ("table.jsonl", "archive.tar", "table.csv"):
        (folder / name).unlink()
        del hostile[name]
    for key in ("said", "long", "deep"):  # whose texts a table does not read
        del hostile[key]
    rows = [{"file_name": f"{key}.png"} for key in hostile if key not in ("folder", "page")]
    rows += [{"file_name": "folder.jpg"}, {"file_name": "page.eps"}, {"file_name": "/dev/zero"}]
    rows += [{"file_name": "a\0b.png"}, {"file_name": "../in"}, {"file_name": ".."}, {}]
    honest = {f"{n}" for n in range(20)}
    for key in honest:
        (folder / f"{key}.png").write_bytes(picture(1000 + int(key)))
        rows.insert(int(key), {"file_name": f"{key}.png"})
    text = "".join(json.dumps({**row, "text": "x \ud83d"}) + "\n" for row in rows)
    (folder / "t.jsonl").write_text(text)
    hostile |= {"/dev/zero": "no regular file"}
    found = check(folder, tmp_path / "out", honest, hostile)
    assert found.items() >= {"a\0b": "no such file", "": "no such file"}.items()
    assert len(found) == len(hostile) + 4


def header(name, size, kind=tarfile.REGTYPE):
    """A tar's header whose field of the size is what is given."""
    info = tarfile.TarInfo(name)
    info.type = kind
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    data[124:136] = size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def number(value):
    """A number as GNU tar writes those that eleven octal digits do not hold."""
    return (value % (1 << 96) | (1 << 95 if value >= 0 else 0)).to_bytes(12, "big")


SIZES = {
    "terabyte": number(1 << 40),
    "octal": b"77777777777\0",
    "minus": number(-1),
    "back": number(-(1 << 20)),
    "2^63": number(1 << 63),
    "2^80": number(1 << 80),
}


def pax(**fields):
    """A header of such fields that belongs to the file after it."""
    body = b""
    for name, value in fields.items():
        line = f" {name}={value}\n".encode()
        length = len(line) + len(str(len(line) + len(str(len(line)))))
        body += str(length).encode() + line
    whole = body + bytes(-len(body) % 512)
    return header("pax", b"%011o\0" % len(body), tarfile.XHDTYPE) + whole


def hostile_tar(path):
    """A tar of twenty honest samples with lying headers between them; returns their keys."""
    pieces, hostile = [], {}
    for name, size in SIZES.items():
        pieces.append(header(f"{name}.png", size) + b"x" * 512)
        hostile[name] = "damaged picture"
    for name, fields in {
        "paxed": {"size": 1 << 50},
        "paxminus": {"size": -(1 << 30)},
        "sparse": {"GNU.sparse.major": 1, "GNU.sparse.minor": 0, "GNU.sparse.realsize": 1 << 50},
    }.items():
        start = header(f"{name}.png", b"%011o\0" % 512)
        pieces.append(pax(**fields) + start + b"1\n0\n512\n".ljust(512, b"\0") + bytes(512))
        hostile[name] = "damaged picture"
    pieces.append(header("holes.png", b"%011o\0" % 512, tarfile.GNUTYPE_SPARSE) + b"x" * 512)
    hostile["holes"] = "damaged picture"
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
        pieces += [header("x", number(1 << 40), kind), header("x", number(-512), kind)]
    pieces.append(pax(**{"GNU.sparse.map": "1,x", "size": "x"}) + header("map.txt", b"0" * 12))
    pieces.append(header("fifo.png", b"0" * 12, tarfile.FIFOTYPE))
    pieces.append(header("device.png", b"0" * 12, tarfile.CHRTYPE))
    hostile |= dict.fromkeys(("fifo", "device"), "damaged picture")
    honest = []
    for n in range(20):
        write_tar(path, [(f"{n}.5.png", picture(1000 + n)), (f"{n}.5.txt", b"number %d" % n)])
        honest.append(path.read_bytes().rstrip(b"\0"))
    joined = b""
    for n, one in enumerate(honest):
        joined += one + bytes(-len(one) % 512) + (pieces[n] if n < len(pieces) else b"")
    assert len(pieces) <= 20
    path.write_bytes(joined + bytes(1024))
    return hostile


def test_a_tar_of_lying_headers(tmp_path):
    path = tmp_path / "a.tar"
    hostile = hostile_tar(path)
    honest = {f"{n}.5" for n in range(20)}
    check(path, tmp_path / "out", honest, hostile)
    both = [tars.TarCorpus(path, split) for split in Split]
    good = set()
    for corpus in both:
        for index in range(len(corpus)):
            try:
                good.add(corpus[index].key)
            except Rejected as rejected:
                assert rejected.reason == "damaged picture"
    assert good == honest


def test_a_tar_of_headers_alone_takes_no_time(tmp_path):
    path = tmp_path / "a.tar"
    write_tar(path, [("1.png", picture(1)), ("1.txt", b"one")])
    path.write_bytes(pax(comment="x" * 400) * 6000 + path.read_bytes())
    since = time.process_time()
    corpus = tars.TarCorpus(path)
    assert [record.key for record in corpus] == ["1"] and time.process_time() - since < 5


def test_large_members_of_tars_are_not_read(tmp_path):
    path = tmp_path / "a.tar"
    names = ("hole.png", "zeros.png", "told.txt", "told.png")
    with tarfile.open(path, "w") as tar:
        for name, data in (("1.png", picture(1)), ("1.txt", b"one"), ("told.png", picture(2))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, size in zip(names, (HOLE, 60 << 20, HOLE), strict=False):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.fileobj.write(info.tobuf(tar.format))  # type: ignore[union-attr]
            tar.fileobj.seek(size, os.SEEK_CUR)  # type: ignore[union-attr]
            tar.offset += tarfile.BLOCKSIZE + size
    reasons = {"hole": "file too large", "told": "file too large", "zeros": "format not allowed"}
    assert check(path, tmp_path / "out", {"1"}, reasons) == reasons


@pytest.mark.slow
def test_parquet_that_unpacks_to_anything(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "in"
    folder.mkdir()
    large = pyarrow.large_binary()

    def write(name, images, captions=None, **options):
        captions = captions or [f"number {n}" for n in range(len(images))]
        table = pyarrow.table({"image": pyarrow.array(images, large), "caption": captions})
        parquet.write_table(table, folder / name, **{"compression": "zstd", **options})

    zeros = bytes(150 << 20)
    write("large.parquet", [zeros, zeros], use_dictionary=False, row_group_size=1)
    write("same.parquet", [zeros] * 3, dictionary_pagesize_limit=1 << 30)
    del zeros
    few = bytes(60 << 20)
    write("many.parquet", [few] * 4, use_dictionary=False, data_page_size=1, write_batch_size=1)
    write("told.parquet", [picture(5)], ["x" * (200 << 20)], use_dictionary=False)
    rows = [picture(1), few[: 30 << 20], b"%PDF", b"", picture(2), None]
    write("mixed.parquet", rows, [f"mixed {n}" for n in range(6)], use_dictionary=False)
    del few
    lists = pyarrow.array([["x" * (1 << 20)] * 300], pyarrow.list_(pyarrow.string()))
    listed = pyarrow.table({"image": pyarrow.array([picture(6)], large), "captions": lists})
    parquet.write_table(listed, folder / "lists.parquet", dictionary_pagesize_limit=1 << 30)
    del lists, listed
    (folder / "broken.parquet").write_bytes(b"PAR1" + b"\xff" * 100 + b"PAR1")
    os.mkfifo(folder / "fifo.parquet")
    hole(folder / "hole.parquet")
    hostile = {
        **{f"large/{n}": "file too large" for n in range(2)},
        **{f"same/{n}": "file too large" for n in range(3)},
        **{f"many/{n}": "file too large" for n in range(4)},
        "told/0": "file too large",
        "lists/0": "file too large",
        "mixed/1": "format not allowed",
        "mixed/2": "format not allowed",
        "mixed/3": "empty file",
        "mixed/5": "no such file",
        "broken.parquet": "damaged picture",
        "hole.parquet": "damaged picture",
        "fifo.parquet": "no regular file",
    }
    assert check(folder, tmp_path / "out", {"mixed/0", "mixed/4"}, hostile) == hostile


def test_a_footer_that_lies_of_rows_and_sizes(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    rows = [picture(n) for n in range(300)]
    options = {"use_dictionary": False, "compression": "none", "store_schema": False}
    parquet.write_table(pyarrow.table({"image": rows, "text": ["a"] * 300}), path, **options)
    whole = path.read_bytes()
    begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    chunk = parquet.ParquetFile(path).metadata.row_group(0).column(0)
    tried = 0
    for honest in (300, chunk.total_uncompressed_size):
        old = varint(2 * honest)
        for lie in (2, 7, 2 ** (7 * len(old)) - 2, 2 ** (7 * len(old)) - 1):
            new = varint(lie, len(old))
            place = whole.find(old, begin)
            while place >= 0:
                path.write_bytes(whole[:place] + new + whole[place + len(old) :])
                try:
                    found = [raw for part in inputs.find(path) for raw in part.read()]
                except ValueError as error:
                    assert "no parquet file" in str(error)
                    found = []
                assert len(found) <= 64 * len(whole)
                assert all(one.image in rows for one in found if isinstance(one.image, bytes))
                tried, place = tried + 1, whole.find(old, place + 1)
    assert tried >= 8


def varint(value, length=0):
    """A number as Thrift writes it, of at least so many bytes."""
    data = bytearray()
    while value > 127 or len(data) + 1 < length:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])


@pytest.mark.parametrize("name", ["a.png", "a.tar"])
def test_a_single_input_that_is_no_file_is_one_line(tmp_path, name):
    path = pathlib.Path(tmp_path, name)
    os.mkfifo(path)
    code, said, _ = prepare(path, tmp_path / "out")
    assert code == 2 and said.endswith("is a pipe; allowed: regular files\n")
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()
    path.unlink()
    path.symlink_to("/dev/zero")
    code, said, _ = prepare(path, tmp_path / "out")
    assert code == 2 and said.endswith("is a device; allowed: regular files\n")
