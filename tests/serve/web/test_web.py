# SPDX-License-Identifier: Apache-2.0
"""The page without a browser: how it is served, and what holds for its files."""

import hashlib
import html.parser
import pathlib
import re

import pytest

from omnigen.serve import web

PAGE = web.FOLDER / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
MOST_BYTES = 150_000
SVG = "http://www.w3.org/2000/svg"  # a name, which nothing asks for


def text(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def client():
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    with TestClient(Starlette(routes=web.routes())) as opened:
        yield opened


def test_every_file_is_served_with_its_type(client) -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    on_disk = {p for p in web.FOLDER.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert set(web.files().values()) == on_disk
    assert len(on_disk) > 12
    for url, path in web.files().items():
        got = client.get(url)
        assert got.status_code == 200 and got.content == path.read_bytes()
        assert got.headers["content-type"].startswith(kinds.get(path.suffix, "text/html"))
        assert got.headers["content-length"] == str(path.stat().st_size)
    assert client.get("/").text == text(web.FOLDER / "index.html")


def test_nothing_else_is_reached(client) -> None:
    for url in ("/index.html", "/__init__.py", "/page/", "/page/../__init__.py", "/page/%2e%2e/x"):
        assert client.get(url).status_code == 404, url
    assert client.post("/").status_code == 405
    assert client.head("/").status_code == 200


def test_every_answer_has_a_strict_policy(client) -> None:
    for url in web.files():
        headers = client.get(url).headers
        rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["frame-ancestors"] == rules["trusted-types"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["img-src"] == "'self' blob: data:"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "camera=(self)" in headers["permissions-policy"]


def test_a_known_file_is_not_sent_again(client) -> None:
    first = client.get("/page/main.js")
    assert first.headers["etag"].strip('"') == hashlib.sha256(first.content).hexdigest()[:32]
    again = client.get("/page/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/page/dom.js", headers={"if-none-match": first.headers["etag"]})
    assert other.status_code == 200


def test_the_package_carries_the_files() -> None:
    setup = text(web.FOLDER.parents[2] / "setup.py")
    assert all(f'"**/*{suffix}"' in setup for suffix in (".html", ".css", ".js", ".svg"))


@pytest.mark.parametrize("path", list(web.files().values()), ids=lambda path: path.name)
def test_files_keep_to_the_rules(path: pathlib.Path) -> None:
    lines = text(path).splitlines()
    assert len(lines) <= 500
    if path.suffix != ".svg":
        assert "SPDX-License-Identifier: Apache-2.0" in "\n".join(lines[:2])
        assert not [line for line in lines if len(line) > 100]
    outside = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"')]*""", text(path))
    assert not [url for url in outside if url != SVG]
    assert not re.search(r"@import|url\(", text(path)) or path.suffix == ".js"


def test_the_whole_page_is_small() -> None:
    sizes = [path.stat().st_size for path in web.files().values()]
    assert sum(sizes) < MOST_BYTES


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_markup_of_texts(path: pathlib.Path) -> None:
    bad = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    assert not re.search(bad, text(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_a_script_imports_is_exported(path: pathlib.Path) -> None:
    """Without a build, a wrong name is found only when the page is opened."""
    exported = r"^export (?:const|let|async function\*?|function\*?|class) (\w+)"
    found = re.findall(r'import (?:\* as (\w+)|\{([^}]*)\}) from "\./(\w+\.js)"', text(path))
    assert found or path.name in ("dom.js", "sha256.js", "png.js", "store.js", "api.js")
    body = re.sub(r"^import .*?;$", "", text(path), flags=re.M | re.S)
    for space, names, source in found:
        known = set(re.findall(exported, text(PAGE / source), re.M))
        used = {name.strip() for name in names.split(",") if name.strip()}
        used |= set(re.findall(rf"\b{space}\.(\w+)", body)) if space else set()
        assert used <= known, f"{source} lacks {used - known}"
        assert all(re.search(rf"\b{name}\b", body) for name in used), f"of {source}, unused"


def test_icons_that_are_named_exist() -> None:
    known = set(re.findall(r'^  (\w+): "M', text(PAGE / "dom.js"), re.M))
    every = "\n".join(map(text, [*SCRIPTS, web.FOLDER / "index.html"]))
    used = set(re.findall(r'icon: "(\w+)"|data-icon="(\w+)"', every))
    names = {name for pair in used for name in pair if name}
    assert len(names) > 10 and names <= known, names - known


class Markup(html.parser.HTMLParser):
    """The elements of the page: (name, attributes, text inside)."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[list[str]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words: list[str] = []
        self.elements.append((tag, {name: value or "" for name, value in attrs}, words))
        if tag not in ("input", "meta", "link", "img", "br"):
            self._open.append(words)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for words in self._open:
            words.append(data.strip())


MARKUP = Markup(text(web.FOLDER / "index.html")).elements


def test_names_and_labels_of_the_page_pair_up() -> None:
    ids = [attributes["id"] for _, attributes, _ in MARKUP if "id" in attributes]
    assert len(ids) == len(set(ids)) > 40
    labelled = {a["for"] for tag, a, _ in MARKUP if tag == "label"}
    assert labelled <= set(ids)
    # Titles of sheets that scripts fill are made with them, of the name of the sheet.
    made = {f"{a['id']}-title" for tag, a, _ in MARKUP if tag == "dialog"}
    for tag, attributes, words in MARKUP:
        if tag in ("input", "textarea", "select"):
            assert attributes["id"] in labelled or attributes.get("aria-label"), attributes
        if tag == "button":
            assert "".join(words) or attributes.get("aria-label"), attributes
        for name in ("aria-controls", "aria-describedby", "aria-labelledby"):
            assert attributes.get(name, ids[0]) in {*ids, *made}, attributes
        if tag == "dialog":
            assert attributes["aria-labelledby"] == f"{attributes['id']}-title"
        if tag == "fieldset":
            assert "".join(words), attributes


def test_the_page_has_nothing_inline() -> None:
    for tag, attributes, words in MARKUP:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag != "style" and (tag != "script" or not "".join(words))


def test_labels_that_scripts_make_name_what_they_make() -> None:
    every = "\n".join(map(text, SCRIPTS))
    made = set(re.findall(r'\bid: "([\w-]+)"', every)) | {"id"}
    ids = {attributes.get("id") for _, attributes, _ in MARKUP}
    assert set(re.findall(r'\bfor: "([\w-]+)"', every)) <= made | ids
    sought = set(re.findall(r'\bfind\("([\w-]+)"\)', every))
    assert len(sought) > 30 and sought <= made | ids, sought - made - ids


def luminance(color: str) -> float:
    """As WCAG defines it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def themes() -> list[dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", text(PAGE / "base.css"), re.S)
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in blocks)
    return [light, light | dark]


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
def test_texts_stand_out(theme: dict[str, str]) -> None:
    pairs = [(ink, paper) for ink in ("ink", "soft") for paper in ("paper", "card", "sunk")]
    pairs += [("on-accent", "accent"), ("accent", "tint"), ("warm", "card"), ("paper", "ink")]
    pairs += [(ink, tint) for ink in ("ink", "soft") for tint in ("tint", "warm-tint")]
    for ink, paper in pairs:
        low, high = sorted(luminance(theme[name]) for name in (ink, paper))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
