# SPDX-License-Identifier: Apache-2.0
"""The page of a report that is known: what is on it, and that it needs nothing else."""

import base64
import html.parser
import io
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from omnigen.evals.reports import charts, table
from omnigen.evals.reports import page as web

SCORE = {"value": 0.5, "low": 0.25, "high": 0.75, "prompts": 8}
SEEN = [{"shape": "ring", "color": "red", "box": [0.1, 0.2, 0.3, 0.4]}]


def record(index: int, *, correct: bool, **more) -> dict:
    atoms = [{"what": "blue <ring>", "met": correct}]
    basic = {"index": index, "sample": 0, "tag": "colors", "prompt": f"prompt {index} & co"}
    return {**basic, "correct": correct, "atoms": atoms, "seen": SEEN, "problem": "", **more}


def column(name: str, *records: dict, folder: str = "", ceiling: bool = False) -> dict:
    suite = {
        "judge": "shapes 1",
        "folder": folder,
        "expected": 2,
        "judged": 2,
        "prompts_sha256": "ab" * 32,
        "scores": {"overall": SCORE, "colors": SCORE, "colors_strict": SCORE, "scene_3": SCORE},
        "ceiling": {"colors": {**SCORE, "value": 1.0}} if ceiling else {},
        "problems": {},
        "pictures": records,
    }
    return {"name": name, "images": folder, "suites": {"exact": suite}}


@pytest.fixture
def page(tmp_path: pathlib.Path) -> str:
    Image.fromarray(np.full((600, 600, 3), 77, np.uint8)).save(tmp_path / "large.png")
    Image.fromarray(np.full((32, 32, 3), 33, np.uint8)).save(tmp_path / "small.png")
    ours = column(
        "ours",
        record(0, correct=True, file="small.png"),
        record(1, correct=False, file="small.png", reasons=["0 of <ring>"]),
        ceiling=True,
    )
    ours |= {"checkpoint": "runs/ar", "model": "0123", "step": 7, "digest": "f" * 64}
    theirs = column(
        "theirs",
        record(0, correct=True, file="large.png"),
        record(1, correct=True, file="large.png"),
        folder=str(tmp_path),
    )
    found = {"omnigen": "1.2", "columns": [ours, theirs]}
    return web.page(json.loads(json.dumps(found)), tmp_path)


class Outline(html.parser.HTMLParser):
    """Text and pictures of a page; every tag that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        assert tag != "script"
        values = dict(attrs)
        assert "href" not in values
        if tag == "img":
            self.sources.append(values["src"])
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        pass

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text.append(data)


def test_the_page_is_whole_and_carries_its_pictures(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert not outline.open
    sizes = []
    for source in outline.sources:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            sizes.append((image.size, image.getpixel((1, 1))[0]))
    assert sizes == [((32, 32), 33), ((256, 256), 77)]  # the one failure, in both systems
    assert "//" not in page.replace(";base64,", "").replace("http-equiv", "").split("<main>")[0]
    assert "http:" not in page and "https:" not in page


def test_a_failure_shows_what_the_model_wrote(tmp_path: pathlib.Path) -> None:
    wrote = {"correct": False, "text": "~Twemojipw<cute panda>gge"}
    found = column("ours", record(0, correct=False, reasons=["no panda"], sketch=wrote))
    page = web.page({"omnigen": "1.2", "columns": [found]}, tmp_path)
    assert "<li>sketch: ~Twemojipw&lt;cute panda&gt;gge</li><li>no panda</li>" in page


def test_the_page_says_what_was_found(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    text = " ".join(outline.text)
    for part in (
        "runs/ar",
        "model 0123, step 7",
        "judge shapes 1; 2 pictures judged of 2",
        "0.500 [0.250, 0.750]",
        "of 1.000",
        "prompt 1 & co colors",
        "0 of <ring>",
        "red ring",
        "1 more",
    ):
        assert part in re.sub(r"\s+", " ", text), part
    assert "prompt 0" not in text  # right in both
    assert '<rect x="10.0" y="20.0" width="20.0" height="20.0"/>' in page


SCRIPT = "<script src=//x></script><img src=x onerror=alert(1)>"
HOSTILE = (
    SCRIPT,
    "\"'><svg onload=alert(1) style=x:y>",
    "</style></main><iframe src='javascript:alert(1)'>",
    "a\0b\x1b[2J\r\n\u202ec\ud83d",
    "x" * 1_000_000 + SCRIPT,
    [SCRIPT],
    {SCRIPT: SCRIPT},
    10**5000,
    -1e308,
    float("nan"),
    float("inf"),
    True,
    None,
)


def known(folder: pathlib.Path) -> dict:
    """A report in which everything that a page shows is there."""
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    more = {"file": "a.png", "reasons": ["r"], "psnr_dB": 30.0, "ssim": 0.9, "mse": 4.0}
    seen = [{**SEEN[0], "text": "word"}]
    records = [record(i, correct=False, **more) | {"seen": seen} for i in range(2)]
    records.append(record(2, correct=False, file="a.png", problem="unreadable: x"))
    records.append(record(3, correct=False, file="a.png"))
    ours = column("ours", *records, folder=str(folder), ceiling=True)
    ours |= {"checkpoint": "runs/ar", "model": "0123", "step": 7, "digest": "f" * 64}
    scores = {"plain": {"value": 2.5}, **{f"scene_{k}_atoms": SCORE for k in (3, 5)}}
    suite = ours["suites"]["exact"]
    suite["scores"] |= scores
    suite |= {"seeds": [0, 1], "problems": {"missing": ["b.png"]}, "settings": {"weights": "w"}}
    theirs = column("theirs", *records, folder=str(folder))
    return {"omnigen": "1.2", "columns": [ours, theirs]}


def leaves(tree, path=()):
    """Paths of everything in plain data that is neither a list nor a dict."""
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from leaves(tree[key], (*path, key))
    else:
        yield path


def put(tree, path, value):
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def renamed(tree, old: str, new: str):
    if isinstance(tree, dict):
        return {new if k == old else k: renamed(v, old, new) for k, v in tree.items()}
    return [renamed(one, old, new) for one in tree] if isinstance(tree, list) else tree


class Elements(html.parser.HTMLParser):
    """Every tag with the names of its attributes, and the values that are no measures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[tuple] = set()
        self.values: set[tuple] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add((tag, *(name for name, _ in attrs)))
        for name, value in attrs:
            is_picture = name == "src" and re.fullmatch("data:image/png;base64,[\\w+/=]+", value)
            is_measure = re.fullmatch(r"(-?[\d.]+|nan)([ ,](-?[\d.]+|nan))*", value or "")
            if value and not is_picture and not is_measure:
                self.values.add((tag, name, value))

    handle_startendtag = handle_starttag

    def handle_data(self, data) -> None:
        self.text += data

    def handle_comment(self, data) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = lambda self, data: None


@pytest.mark.parametrize("value", HOSTILE, ids=map(str, range(len(HOSTILE))))
def test_nothing_of_strangers_becomes_markup(tmp_path: pathlib.Path, value: object) -> None:
    """In every field at once, in each alone, and as every name."""
    honest = json.dumps(known(tmp_path))
    own = Elements(web.page(json.loads(honest), tmp_path))
    assert ("meta", "http-equiv", "content") in own.tags
    verdicts = {("div", "class", f"name {verdict}") for verdict in ("", "right")}
    paths = list(leaves(json.loads(honest)))
    assert len(paths) > 150
    trees = [json.loads(honest) for _ in paths]
    for tree, path in zip(trees, paths, strict=True):
        put(tree, path, value)
    whole = json.loads(honest)
    for path in paths:
        put(whole, path, value)
    trees = [whole, *trees[:: 1 if value is SCRIPT else 7]]
    if isinstance(value, str):
        names = ("exact", "overall", "plain", "missing", "weights")
        trees += [renamed(json.loads(honest), name, value) for name in names]
    for tree in trees:
        page = web.page(tree, tmp_path)
        found = Elements(page)
        assert found.tags <= own.tags
        assert found.values <= own.values | verdicts
        page.encode("utf-8")
        assert len(page) < 200_000
        assert not set(found.text) & set("\0\x1b\u202e")


def test_scripts_are_forbidden_and_digests_are_digests(tmp_path: pathlib.Path) -> None:
    found = known(tmp_path)
    page = web.page(found, tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and policy[1].startswith("default-src 'none';") and "script" not in policy[1]
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert f">{'f' * 16}<" in page
    for digest in ("<script src=//x>", ["f" * 64], "F" * 64, "f" * 63, "f" * 64 + "\n"):
        found["columns"][0]["digest"] = digest
        assert '<td class="metric"></td></tr>' in web.page(found, tmp_path)


def test_only_files_below_the_folder_are_shown(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    for path in (tmp_path / "a.png", tmp_path / "in" / "a.png"):
        Image.new("RGB", (32, 32)).save(path)
    assert web._picture(tmp_path / "in", "a.png")
    for name in ("../a.png", str(tmp_path / "a.png"), "b.png", "", "a\0.png", 3, ["a.png"]):
        assert web._picture(tmp_path / "in", name) == ""


def test_the_terminal_gets_plain_text(capsys: pytest.CaptureFixture) -> None:
    found = {"columns": [column("a\x1b[2J\nb")]}
    suite = found["columns"][0]["suites"].pop("exact")
    suite["scores"] = {"m\r": SCORE, "n": {"value": "x"}}
    found["columns"][0]["suites"]["s\x07"] = suite
    table.show(found)
    assert capsys.readouterr().out.splitlines() == [
        "suite  metric  a\\x1b[2J\\nb",
        "s\\x07  m\\r  0.500 [0.250, 0.750]",
        "s\\x07  n  nan",
    ]


def test_an_interval_lies_on_its_line() -> None:
    drawn = charts.interval(SCORE, color="red", ceiling={"value": 1.0})
    assert '<rect x="32.0"' in drawn and 'width="56.0"' in drawn and 'cx="60.0"' in drawn
    assert 'x1="116.0"' in drawn


def test_a_curve_passes_through_its_points() -> None:
    scores = [{"value": v, "low": v, "high": v} for v in (0.0, 1.0)]
    drawn = charts.curve("t", ("1", "2", "3"), {"a": [*scores, None], "a ceiling": [*scores, None]})
    lines = re.findall(r'<polyline points="([^"]*)".*?stroke-dasharray="([^"]*)"', drawn)
    assert [dashes for _, dashes in lines] == ["none", "4 4"]
    odd = charts.curve("t", ("1",), {"my-ceiling": scores[:1], "b ceiling": scores[:1]})
    assert odd.count('stroke-dasharray="none"') >= 2  # which are nobody's
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in lines[0][0].split())
    assert (y0, y1) == (216, 14) and x1 - x0 == pytest.approx((440 - 40 - 36) / 2)


def test_the_table_has_a_row_a_metric_and_a_column_a_system() -> None:
    ours, theirs = column("ours", ceiling=True), column("theirs")
    del theirs["suites"]["exact"]["scores"]["colors"]
    found = {"columns": [ours, theirs]}
    assert table.names(found) == ["ours", "its ceiling", "theirs"]
    rows = {metric: [table.text(cell) for cell in cells] for _, metric, cells in table.rows(found)}
    assert rows["overall"] == ["0.500 [0.250, 0.750]", "", "0.500 [0.250, 0.750]"]
    assert rows["colors"] == ["0.500 [0.250, 0.750]", "1.000 [0.250, 0.750]", ""]


def test_the_worst_come_first_and_few_of_a_task() -> None:
    records = [record(i, correct=i % 2 == 0) for i in range(12)]
    records[7]["atoms"] = [{"what": "a", "met": False}, {"what": "b", "met": True}]
    records[9]["tag"] = "other"
    assert web._worst([records]) == [1, 3, 5, 9]
    assert web._worst([records, [record(i, correct=i != 11) for i in range(12)]]) == [
        11,
        1,
        3,
        9,
    ]
    assert web._worst([]) == []


def test_names_end_inside_the_picture() -> None:
    boxes = [[0.1, 0.2, 0.3, 0.4], [0.7, 0.0, 0.9, 0.2]]
    drawn = list(web._boxes([{"shape": "ring", "color": "orange", "box": box} for box in boxes]))
    assert 'text x="10.0" y="19.0"' in drawn[0] and 'anchor="start">orange ring' in drawn[0]
    assert 'text x="90.0" y="4.6"' in drawn[1] and 'anchor="end">orange ring' in drawn[1]
