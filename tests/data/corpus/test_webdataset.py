# SPDX-License-Identifier: Apache-2.0
"""Tars as people really have them: damaged, cut off, linked, joined."""

import io
import tarfile
import time

from inputs import members, picture, prepared, write_tar

from omnigen.data.corpus import webdataset
from omnigen.data.prepare import inputs
from omnigen.data.prepare.ingest import Settings


def test_a_second_picture_of_a_name(pets):
    more = [("3.jpg", picture(30, kind="JPEG")), ("3.png", picture(31)), ("3.txt", b"three")]
    write_tar(pets / "a.tar", [*members(1), ("1.png", picture(9)), ("1.txt", b"again"), *more])
    found, rejects = prepared(pets)
    assert found == {"1": ("number 1",), "1#2": ("again",), "3": ("three",)}
    assert rejects == {"3.png": "duplicate"}


def test_a_damaged_tar_gives_what_comes_after(pets):
    path = pets / "a.tar"
    offsets = write_tar(path, members(0, 1, 2, 3, 4))
    whole = path.read_bytes()
    path.write_bytes(whole[: offsets[4]] + b"#" * 300 + whole[offsets[4] + 300 :])
    found, rejects = prepared(pets)
    assert {*found} == {"0", "1", "3", "4"}  # of the third the caption alone is left
    assert rejects == {"2": "no such file", "a.tar": "damaged picture"}
    path.write_bytes(whole[: offsets[8]])  # cut between two samples: nothing else tells
    found, rejects = prepared(pets)
    assert {*found} == {"0", "1", "2", "3"} and rejects == {"a.tar": "damaged picture"}
    path.write_bytes(whole + whole.replace(b"number", b"NUMBER"))  # as cat does
    found, rejects = prepared(pets, Settings(near_duplicates=-1, test_fraction=0.0))
    assert found == {str(n): (f"number {n}", f"NUMBER {n}") for n in range(5)} and not rejects
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(path, "w", format=form, pax_headers={"comment": "global"}) as tar:
            info = tarfile.TarInfo(f"{'x' * 150}.png")
            info.size = len(picture(1))
            tar.addfile(info, io.BytesIO(picture(1)))
            tar.addfile(tarfile.TarInfo("link"))
        assert not prepared(pets, Settings(min_caption=0, test_fraction=0.0))[1]


def test_a_flipped_byte_in_any_header_costs_its_own_sample_alone(pets):
    """Headers of pax come in pairs: of the second one, too, and of the first file."""
    path = pets / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members(*range(12)):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5  # type: ignore[assignment]
            tar.addfile(info, io.BytesIO(data))
    whole = path.read_bytes()
    headers = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
    assert len(headers) == 48
    for at in headers:
        path.write_bytes(whole[: at + 5] + bytes([whole[at + 5] ^ 64]) + whole[at + 6 :])
        index = webdataset.index_tar(path)
        complete = [key for key, found in index.samples.items() if len(found) == 2]
        assert len(complete) >= 11 and index.damage
    path.write_bytes(b"#" + whole[1:])
    assert len(webdataset.index_tar(path).samples) >= 11


def test_a_tar_cut_off_between_files_is_told(pets):
    path = pets / "a.tar"
    offsets = write_tar(path, members(*range(4)))
    whole = path.read_bytes()
    assert not webdataset.index_tar(path).damage
    for cut in (offsets[4] - 300, offsets[4], offsets[4] + 5):
        path.write_bytes(whole[:cut])
        index = webdataset.index_tar(path)
        assert index.damage and {"0", "1"} <= set(index.samples)


def test_links_in_tars(pets):
    path = pets / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in members(0):
            info = tarfile.TarInfo(f"in/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for kind, name, target in (
            (tarfile.LNKTYPE, "in/7.png", "in/0.png"),
            (tarfile.LNKTYPE, "in/7.txt", "in/0.txt"),
            (tarfile.SYMTYPE, "out/8.png", "../in/0.png"),
            (tarfile.SYMTYPE, "out/8.txt", "../in/0.txt"),
            (tarfile.SYMTYPE, "in/9.png", "nowhere.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    found = [raw for part in inputs.find(path) for raw in part.read()]
    assert [(raw.key, raw.image, raw.captions) for raw in found] == [
        (key, picture(0), ("number 0",)) for key in ("in/0", "in/7", "out/8")
    ]


def test_many_files_of_one_name_take_no_longer_each(pets):
    path = pets / "a.tar"
    write_tar(path, [("0.txt", b"x")] * 3000)
    since = time.process_time()
    index = webdataset.index_tar(path)
    assert time.process_time() - since < 3 and len(index.samples) == 3000
    assert list(index.samples)[-1] == "0#3000"


def test_global_headers_are_no_damage_wherever_they_are(pets):
    path = pets / "a.tar"
    with tarfile.open(path, "w", pax_headers={"comment": "git"}) as tar:
        info = tarfile.TarInfo("0.png")
        info.size = len(picture(0))
        tar.addfile(info, io.BytesIO(picture(0)))
    path.write_bytes(path.read_bytes() * 2)
    index = webdataset.index_tar(path)
    assert (list(index.samples), index.damage) == (["0", "0#2"], "")
