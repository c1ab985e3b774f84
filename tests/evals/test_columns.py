# SPDX-License-Identifier: Apache-2.0
import os
import pathlib

import pytest

from omnigen.evals import columns
from omnigen.evals.columns import Column
from omnigen.evals.registry import SUITES, Use


def test_every_column_has_a_name_of_its_own(tmp_path: pathlib.Path) -> None:
    folders = [tmp_path / name for name in ("a/run~2", "b/run", "c/run", "d/run~2", "a/..")]
    found = columns.named([str(folder) for folder in folders[:2]], map(str, folders[2:]))
    assert [column.name for column in found] == ["run~2", "run", "run~3", "run~2~2", tmp_path.name]
    assert [column.checkpoint for column in found] == [*map(str, folders[:2]), None, None, None]
    assert [column.images for column in found] == [None, None, *folders[2:]]
    assert columns.named(["", "x/shipped"], [])[1].name == "shipped~2"


def test_names_of_columns_are_short_and_printable(tmp_path: pathlib.Path) -> None:
    folders = ["a" * 255, "b" * 48, "c\x1b[2J\nd", "é" * 100, os.fsdecode(b"e\xff"), "a" * 254]
    names = [column.name for column in columns.named([], folders)]
    long = "a" * 47 + "…"
    accents = "é" * 47 + "…"
    assert names == [long, "b" * 48, "c_x1b[2J_nd", accents, "e_udcff", f"{long}~2"]
    for name in names:
        (tmp_path / f"{name}-exact-ceiling.jsonl").write_text("")


@pytest.mark.parametrize(
    ("suite", "images", "reference", "draws", "use"),
    [
        ("exact", False, False, False, Use.MODEL),
        ("exact", False, True, True, Use.DRAWING),
        ("lpips", False, False, True, None),
        ("exact", True, True, False, Use.PICTURES),
        ("fidelity", True, True, False, Use.PAIR),
        ("fidelity", True, False, False, None),
        ("samples", True, True, False, None),
    ],
)
def test_a_suite_judges_a_column_as_it_can(
    suite: str, images: bool, reference: bool, draws: bool, use: Use | None
) -> None:
    column = Column("a", images=pathlib.Path("a")) if images else Column("a", checkpoint="a")
    assert column.use(SUITES[suite], reference=reference, draws=draws) == use
