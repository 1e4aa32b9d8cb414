"""What no source holds: a machine's encoding, names replaced or unused, copies, chapter numbers."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import EVERYTHING, ROOT, SOURCES, name_of, tree_of

from llama_edu.chapters import chapter_number


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


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that a module gives to functions, classes and values, without what decorators keep."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from () if node.decorator_list else (node.name,)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def read_names(tree: ast.AST) -> Iterator[str]:
    """Names that a module reads, also as attributes, in imports and in texts such as `"a.b"`."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                yield name
            case ast.alias(name=name):
                yield name.rpartition(".")[2]
            case ast.Constant(value=str(text)):
                yield from re.findall(r"\w+", text)


def unused(module: ast.Module, everything: set[str]) -> list[str]:
    """What a module defines and nobody reads; what is its own, the module itself must read.

    A name in `__all__` counts as read: the package is a library, whose readers are elsewhere.
    """
    own = set(read_names(module))
    return [
        name
        for name in defined(module)
        if name not in (own if name.startswith("_") else everything) and not name.startswith("__")
    ]


def test_every_name_is_used_somewhere() -> None:
    of_pytest = re.compile(r"pytest_\w+")  # called by their names
    everything = {name for path in EVERYTHING for name in read_names(tree_of(path))}
    for path in (ROOT / "book").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        everything |= {name for c in cells for name in re.findall(r"\w+", "".join(c["source"]))}
    found = {
        name_of(path): [n for n in unused(tree_of(path), everything) if not of_pytest.fullmatch(n)]
        for path in EVERYTHING
        if path.parts[len(ROOT.parts)] != "tests"
    }
    assert {name: names for name, names in found.items() if names} == {}


def test_an_unused_name_would_be_seen() -> None:
    source = """
__all__ = ["for_others"]
A, _b = 1, 2
_c: int = 3
def for_others(): return _d
def _d(): ...
class _E: ...
@register
def _f(): ...
"""
    assert unused(ast.parse(source), {"_b", "for_others"}) == ["A", "_b", "_c", "_E"]
    assert unused(ast.parse(source), {"A", "for_others"}) == ["_b", "_c", "_E"]


WORTH_SHARING = 12  # nodes of a body: more than a call with its arguments


def bodies(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each function that is worth sharing: its name, and what it does, whatever it is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if sum(1 for part in body for _ in ast.walk(part)) >= WORTH_SHARING:
                arguments = [argument.arg for argument in node.args.args]
                yield node.name, " ".join([*arguments, *map(ast.dump, body)])


def test_no_function_is_written_twice() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for name, body in bodies(tree_of(path)):
            places.setdefault(body, []).append(f"{name_of(path)}: {name}")
    assert [copies for copies in places.values() if len(copies) > 1] == []


def test_a_copy_would_be_seen() -> None:
    one = "def one(x):\n    'A docstring.'\n    return [x + 1 for y in range(x)]"
    two = "def two(x):  # a comment\n    return [x + 1\n        for y in range(x)]"
    three = "def three(x):\n    return [x + 2 for y in range(x)]"
    (first,), (second,), (third,) = (list(bodies(ast.parse(text))) for text in (one, two, three))
    assert first[1] == second[1] != third[1]
    assert list(bodies(ast.parse("def four(x):\n    return f(x)"))) == []


# An option of the command line, `--chapters 6`, is its user's to give.
A_NUMBER = re.compile(r"(?<!-)\bchapters?\s+(?:# )?\d+", re.IGNORECASE)


def test_the_package_speaks_of_chapters_by_topic() -> None:
    """What a reader sees is no exception: such numbers are computed from `chapters.py`."""
    told = {
        name_of(path): A_NUMBER.findall(path.read_text("utf-8"))
        for path in [*SOURCES, *(ROOT / "llama_edu" / "models").glob("*/README.md")]
    }
    assert {name: numbers for name, numbers in told.items() if numbers} == {}


def test_a_number_would_be_seen() -> None:
    text = "of chapter 9, Chapters 3 to 8 and chapter\n# 12, but --chapters 6 and chapter nine"
    assert A_NUMBER.findall(text) == ["chapter 9", "Chapters 3", "chapter\n# 12"]


# What the engines in other languages, and their starters, say of the chapters they follow:
# how a remark begins, and the topic of its chapter, or of the first and the last.
REMARKS = {
    "Bytes": "bytes",
    "Text to ids, and back": "tokenizer",
    "Products": "linear",
    "Scores, mask and softmax, values": "scores score_v",
    "RoPE": "rope",
    "Norm and gate": "norm_mlp",
    "The whole model": "model",
    "The cache": "generate",
    "Sampling": "sampling",
    "the tensors of": "bytes",
    "the shape of a tensor": "bytes",
    "text to ids": "tokenizer",
    "ids to text": "tokenizer",
    "what is shown after each id": "tokenizer",
    "config.json and the weights": "linear model",
    "keys and values of every layer": "generate",
    "keep": "linear generate",
    "temperature": "sampling",
    "roles and contents": "chat",
}
OTHER_LANGUAGES = sorted(
    path
    for folder in ("engines", "llama_edu/verify/starters")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".rs", ".cpp", ".go", ".zig", ".mjs", ".txt"}
)


@pytest.mark.parametrize("path", OTHER_LANGUAGES, ids=name_of)
def test_an_engine_in_another_language_names_the_chapters_as_they_are(path: Path) -> None:
    text = path.read_text("utf-8")
    headings = re.findall(r"---- (.+): chapters? (\d+)(?: to (\d+))?", text)
    beginnings = re.findall(r"[Cc]hapters? (\d+)(?: to (\d+))?: (.+)", text)
    remarks = headings + [(words, first, last) for first, last, words in beginnings]
    assert len(remarks) == len(A_NUMBER.findall(text)) > 0
    for words, first, last in remarks:
        (topics,) = [said.split() for start, said in REMARKS.items() if words.startswith(start)]
        expected = chapter_number(topics[0]), chapter_number(topics[-1])
        assert (int(first), int(last or first)) == expected, words
