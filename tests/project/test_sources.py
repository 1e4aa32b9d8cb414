"""What no source holds: text in an encoding of the machine, another module's names replaced."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "llama_edu").rglob("*.py"))
EVERYTHING = sorted(
    path
    for folder in ("llama_edu", "tests", "tools", "benchmarks", "training", "engines")
    for path in (ROOT / folder).rglob("*.py")
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def without_encoding(tree: ast.AST) -> list[str]:
    """Calls which read or write text in the encoding that a machine prefers."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [ast.unparse(call) for call in calls if lacks_encoding(call)]


def lacks_encoding(call: ast.Call) -> bool:
    function, given = call.func, {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given:
        return False
    match function:
        case ast.Attribute(attr="read_text"):
            return not call.args
        case ast.Attribute(attr="write_text"):
            return len(call.args) < 2
        case ast.Attribute(value=ast.Name(id="os" | "Image"), attr="open"):
            return False  # a descriptor, and a picture
        case ast.Attribute(attr="open"):
            modes = call.args[:1]
        case ast.Name(id="open"):
            modes = call.args[1:2]
        case _:
            return False
    mode = given.get("mode", modes[0] if modes else ast.Constant("r"))
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))


def test_text_has_an_encoding() -> None:
    found = {name_of(path): without_encoding(tree_of(path)) for path in EVERYTHING}
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "call",
    ["p.read_text()", "p.write_text(s)", "p.open()", "p.open('w')", "open(p)", "open(p, mode='a')"],
)
def test_text_without_an_encoding_would_be_seen(call: str) -> None:
    assert without_encoding(ast.parse(call)) == [call]


@pytest.mark.parametrize(
    "call",
    [
        "p.read_text('ascii')",
        "p.write_text(s, encoding='utf-8')",
        "p.open('rb')",
        "p.open(encoding='utf-8')",
        "open(p, 'w', encoding='utf-8')",
        "open(p, mode='xb')",
        "os.open(p, os.O_RDONLY)",
    ],
)
def test_bytes_and_named_encodings_are_let_through(call: str) -> None:
    assert without_encoding(ast.parse(call)) == []


def replaced_names(tree: ast.AST) -> Iterator[str]:
    """Attributes of what a module imports which it sets, deletes, or has set by `setattr`."""
    imported = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=of, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[of, *_]):
                pass
            case _:
                continue
        while isinstance(of, ast.Attribute):
            of = of.value
        if isinstance(of, ast.Name) and of.id in imported:
            yield ast.unparse(node)


def test_no_module_replaces_what_is_of_another() -> None:
    found = {name_of(path): list(replaced_names(tree_of(path))) for path in SOURCES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_module_replaces_a_method_of_an_object() -> None:
    """The type checker, which is strict here, sees every such assignment that is not excused."""
    excused = re.compile(r"type: ignore\[[^\]]*method-assign")
    assert [name_of(path) for path in SOURCES if excused.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "line", ["a.b = 1", "a.b.c += 1", "del e.f", "setattr(e, 'f', 1)", "(g, a.b) = 1, 2"]
)
def test_a_replaced_name_would_be_seen(line: str) -> None:
    assert len(list(replaced_names(ast.parse(f"import a.b\nfrom d import e\n{line}")))) == 1


def test_own_attributes_are_no_replaced_names() -> None:
    source = "import a\nclass B:\n    def __init__(self):\n        self.a = a.c\nB.d = 1"
    assert list(replaced_names(ast.parse(source))) == []
