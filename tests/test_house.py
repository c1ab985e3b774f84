# SPDX-License-Identifier: Apache-2.0
"""The rules of the house: which way imports go, how big things get, what every file carries."""

import ast
import pathlib
import re
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "omnigen"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PYTHON = [
    *SOURCES,
    *sorted((ROOT / "configs").rglob("*.py")),
    *sorted((ROOT / "launch").rglob("*.py")),
    *sorted((ROOT / "tests").rglob("*.py")),
    ROOT / "setup.py",
]

# Documents whose lines are wrapped, code and tables too.
WRAPPED = ["launch/README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_LOOP_LINES = 180
MAX_COLUMNS = 100
LOOP = PACKAGE / "training" / "loop.py"

# A part may import parts of a lower layer, and itself. Layer 0 imports nothing of ours.
LAYERS = {
    "parallel": 0,
    "sequence": 0,
    "flow": 0,
    "topologies": 0,
    "nn": 2,
    "wording": 1,
    "scenes": 2,
    "data": 3,
    "models": 3,
    "checkpoints": 3,
    "training": 4,
    "generation": 4,
    "evals": 5,
    "stages": 5,
    "cli": 0,
    "dice": 0,
    "progress": 1,
    "batch": 1,
    "text": 1,
    "png": 1,
    "files": 0,
    "workers": 0,
    "extras": 0,
    "config": 1,
    "safety": 1,
    "recipe": 6,
    "train": 7,
    "sample": 7,
    "evaluate": 7,
    "plan": 7,
    "doctor": 7,
    "bench": 7,
    "encode": 7,
    "provenance": 7,
    "export": 7,
    "serve": 7,
    "__main__": 8,
}
# What knows the world: data, judges, and what tells people what a model wrote.
KNOW_SCENES = ("data", "evals", "generation")
# Downward, but refused: the loop knows nothing about images, models nothing about data, and judges
# ask in words of their own, not in those that are learnt.
REFUSED = {
    *(("training", "models"), ("training", "data"), ("models", "data"), ("evals", "wording")),
    ("data", "nn"),
    *((part, "scenes") for part in LAYERS if part not in ("scenes", *KNOW_SCENES)),
}
# What layer 0 may import from outside, besides the standard library.
OUTSIDE = {
    "parallel": {"jax", "numpy"},
    "sequence": {"jax", "numpy"},
    "flow": {"jax", "numpy"},
    "topologies": set(),
    "dice": set(),
    "cli": {"absl", "jax"},
    "files": set(),
    "workers": set(),
    "extras": set(),
}


def relative(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(module: str) -> str | None:
    """The part that `omnigen.<part>...` belongs to; None for the package itself."""
    names = module.split(".")
    return names[1] if len(names) > 1 else None


def module_of(path: pathlib.Path) -> str:
    names = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every (line, module) imported anywhere in the tree; `from a import b` also gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative import"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(module: str, tree: ast.AST) -> Iterator[str]:
    part = part_of(module)
    for line, name in imports(tree):
        top = name.split(".")[0]
        if top != "omnigen":
            allowed = OUTSIDE.get(part or "", {top}) | set(sys.stdlib_module_names)
            if top not in allowed:
                yield f"{module}:{line} imports {name}; layer 0 knows only {OUTSIDE[part or '']}"
            continue
        target = part_of(name)
        if target is None or target == part or target not in LAYERS:
            continue
        if part is None:
            yield f"{module}:{line} imports {name}; the package itself imports nothing"
        elif (part, target) in REFUSED:
            yield f"{module}:{line} imports {name}; {part} may not know {target}"
        elif LAYERS[target] >= LAYERS[part]:
            yield f"{module}:{line} imports {name}; imports only go down"


def test_every_part_has_a_layer() -> None:
    parts = {part_of(module_of(path)) for path in SOURCES} - {None}
    assert parts <= LAYERS.keys(), f"add {parts - LAYERS.keys()} to LAYERS"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_only_go_down(path: pathlib.Path) -> None:
    found = list(violations(module_of(path), ast.parse(path.read_text(encoding="utf-8"))))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("omnigen.nn.layers", "from omnigen.models import ar"),
        ("omnigen.flow", "import omnigen.sequence"),
        ("omnigen.flow", "def f():\n  import flax"),
        ("omnigen.training.loop", "from omnigen.models import ar"),
        ("omnigen.evals.registry", "from omnigen import stages"),
        ("omnigen.stages.ar", "def f():\n  from omnigen.evals import registry"),
        ("omnigen.data.stream.pipeline", "from omnigen import nn"),
        ("omnigen", "from omnigen import flow"),
    ],
)
def test_the_layering_test_catches(module: str, source: str) -> None:
    assert list(violations(module, ast.parse(source)))


def eager_imports(path: pathlib.Path) -> set[str]:
    """Modules of ours that importing the file imports; those inside functions do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for _, name in imports(ast.Module([node], []))
    }
    return {name for name in names if name.startswith("omnigen.")}


def test_no_import_cycle() -> None:
    files = {module_of(path): path for path in SOURCES}
    graph = {module: eager_imports(path) & files.keys() for module, path in files.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for target in graph[module] - {module}:
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_file_is_small_and_licensed(path: pathlib.Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        return
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert len(lines) <= MAX_FILE_LINES, f"{len(lines)} lines"


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_functions_are_small(path: pathlib.Path) -> None:
    limit = MAX_LOOP_LINES if path == LOOP else MAX_FUNCTION_LINES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= limit, f"{node.name} at line {node.lineno} has {length} lines"


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Functions and methods that a reader may call; nested functions are nobody's interface."""
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for member in members:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield member


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_public_functions_are_annotated(path: pathlib.Path) -> None:
    for node in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare, f"{node.name} at line {node.lineno}: {bare} not annotated"
        assert node.returns is not None, f"{node.name} at line {node.lineno}: return not annotated"


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_no_catch_all_modules(path: pathlib.Path) -> None:
    refused = {"utils", "util", "common", "helpers", "misc"}
    assert not refused & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", [p for p in PYTHON if p != pathlib.Path(__file__)], ids=relative)
def test_nothing_unfinished(path: pathlib.Path) -> None:
    stray = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\bbreakpoint\(|\bpdb\b|#{4,}|# ?[-=]{4,}")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not stray.search(line), f"line {number}: {line.strip()}"


def test_the_map_names_every_module() -> None:
    """Where a newcomer looks, docs/architecture.md says of each module what it is for."""
    words = set(re.findall(r"`([\w./]+)`", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    names = {word.rstrip("/").removesuffix(".py").rpartition("/")[2] for word in words}
    folders = (
        *("", "bench", "checkpoints", "evals", "models", "training"),
        *("data", "data/corpus", "data/prepare", "data/prepare/inputs", "data/stream"),
    )
    every = {path.stem for folder in folders for path in (PACKAGE / folder).glob("*.py")}
    assert every - {"__init__", "__main__"} <= names, every - names


def glossary() -> list[tuple[str, str]]:
    """Words of the glossary, each with the path where it is defined."""
    text = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    table = text.partition("## Glossary\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| ([^|`]+) \| [^|]+\. \| `([^`]+)` \|$", table, flags=re.M)


def test_the_glossary_names_each_word_once_in_order_and_where_it_is() -> None:
    words = [word for word, _ in glossary()]
    assert len(words) > 40 and words == sorted(set(words))
    for word, path in glossary():
        assert (PACKAGE / path).exists(), f"{word}: no {path}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_documents_can_be_read_in_a_terminal(name: str) -> None:
    """Commands and rows of tables cannot be broken."""
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.M | re.S)
    long = [line for line in text.splitlines() if len(line) > 100 and not line.startswith("|")]
    assert not long


def long_lines(text: str) -> Iterator[str]:
    """Yields lines over `MAX_COLUMNS`, code and tables too; URLs do not count.

    What `score_tables.py` writes between its two marks is a program's output, and is skipped.
    """
    generated = False
    for number, line in enumerate(text.split("\n"), 1):
        generated = (generated or line == "<!-- scores -->") and line != "<!-- end of scores -->"
        if not generated and len(re.sub(r"https?://[^\s)>]+", "", line)) > MAX_COLUMNS:
            yield f"line {number}: {line}"


@pytest.mark.parametrize("source", WRAPPED)
def test_documents_are_wrapped(source: str) -> None:
    found = list(long_lines((ROOT / source).read_text(encoding="utf-8")))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a" * 100, 0),
        ("a" * 101, 1),
        (f"| {'a' * 98} |", 1),
        (f"    {'a' * 97}", 1),
        (f"see https://example.org/{'a' * 100}", 0),
        (f"<!-- scores -->\n{'a' * 101}\n<!-- end of scores -->\n{'b' * 101}", 1),
    ],
)
def test_the_wrapping_test_catches(text: str, count: int) -> None:
    assert len(list(long_lines(text))) == count


def docstring_faults(source: str) -> Iterator[str]:
    """Yields what is wrong with docstrings, beside what ruff sees: sections, verbs, arguments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or ""
            for found in re.finditer(
                r"^(Args|Attributes|Raises|Returns|Yields):\n(.*)", text, re.M
            ):
                if not re.match(r" {4}\S", found[2]):
                    yield f"{node.name}: section {found[1]} is not indented by 4"
    for node in public_functions(tree):
        text, decorators = ast.get_docstring(node), " ".join(map(ast.unparse, node.decorator_list))
        if text is None:
            continue
        # Words that end in "s" and are no verbs: "As", "Is", "Its", "This".
        is_verb = re.match(r"(?!(As|Is|Its|This)\b)[A-Z][a-z]+s\b", text)
        if not is_verb and "property" not in decorators:
            yield f"{node.name}: begins with {text.split()[0]!r}; allowed: a verb as in 'Returns'"
        given = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        given = given[1:] if given[:1] == ["self"] or "classmethod" in decorators else given
        stars = [a.arg for a in (node.args.vararg, node.args.kwarg) if a]
        given = [*given, *stars[:1], *(a.arg for a in node.args.kwonlyargs), *stars[1:]]
        section = re.search(r"^Args:\n((?: {4}.*\n?)+)", text, re.M)
        told = re.findall(r"^ {4}\\?\*{0,2}(\w+): ", section[1], re.M) if section else given
        if sorted(told) != sorted(given) or (not stars and told != given):
            yield f"{node.name}: Args are {told}; the signature has {given}"
        if "\n" in text and "ValueError" in raised(node) and "ValueError:" not in text:
            yield f"{node.name}: raises ValueError and does not say so"


def raised(node: ast.FunctionDef) -> set[str]:
    """Names of the exceptions that a function raises itself, outside of `try`."""
    caught = {n for t in ast.walk(node) if isinstance(t, ast.Try) for n in ast.walk(t)}
    raises = [n.exc for n in ast.walk(node) if isinstance(n, ast.Raise) and n not in caught]
    return {ast.unparse(exc.func) for exc in raises if isinstance(exc, ast.Call)}


@pytest.mark.parametrize(
    "path", [p for p in PYTHON if "tests" not in p.relative_to(ROOT).parts], ids=relative
)
def test_docstrings_have_one_handwriting(path: pathlib.Path) -> None:
    faults = list(docstring_faults(path.read_text(encoding="utf-8")))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("signature", "doc"),
    [
        ("f()", "The sum."),
        ("f()", "As above."),
        ("f(x)", "Adds.\n\n    Args:\n      x: Number.\n    "),
        ("f(x, y)", "Adds.\n\n    Args:\n        y: Number.\n        x: Number.\n    "),
        ("f(x)", "Adds.\n\n    Args:\n        x: Number.\n        z: Number.\n    "),
        ("f(*x, y)", "Adds.\n\n    Args:\n        y: Number.\n    "),
        ("f()", "Adds.\n\n    Twice.\n    "),
    ],
)
def test_the_docstring_test_catches(signature: str, doc: str) -> None:
    source = f'def {signature}:\n    """{doc}"""\n    raise ValueError("no")\n'
    assert len(list(docstring_faults(source))) == 1 + ("Args" in doc)


def test_the_docstring_test_lets_pass() -> None:
    source = (
        'def f(x, *y, z):\n    """Adds.\n\n    Args:\n        x: One.\n        *y: Two.\n'
        '        z: Three.\n\n    Raises:\n        ValueError: If not.\n    """\n'
        '    raise ValueError("no")\n'
    )
    assert not list(docstring_faults(source))
