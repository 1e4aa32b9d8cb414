"""The package: who may import whom, what importing costs, and how long a function may be."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import llama_edu

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "llama_edu"
MAX_FUNCTION_LINES = 40  # without its docstring

# From the ground up: a module imports only from rows before its own, wherever the import stands.
# A package (`viz`, `exercises`, `kernels`) has one row; its modules may import one another.
ROWS = (
    "errors",
    "_gguf _json _terminal attention cache download ledger linear mlp norm precision trace",
    "_gguf_tokenizer _tokenizer_files checkpoint config prefix_cache quantize sampling",
    "cost rope weights",
    "_gguf_config one_token",
    "operators",
    "convert mixed pure",
    "hub kernels",
    "backends inspect_report tokenizer",
    "chat_template model",
    "_chat_file budget generate timing",
    "chat",
    "_chat_command",
    "__init__",
    "viz",
    "serve",
    "exercises widget",
    "cli",
    "__main__",
)
ROW = {name: number for number, names in enumerate(ROWS) for name in names.split()}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def unit(name: str) -> str:
    """What a row names: a module, or the package it lies in."""
    return name.split(".")[0]


def imported_modules(tree: ast.AST) -> set[str]:
    """Names of the modules of this package that a module imports, at its top or in a function.

    Imports for type checkers alone do not count: they do not happen.
    """
    found = set()
    for node in walk_what_runs(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports from the package's root"
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in dotted:
            if name.split(".")[0] == "llama_edu":
                found.add(resolve(name.split(".")[1:]))
    return found


def walk_what_runs(node: ast.AST) -> Iterator[ast.AST]:
    """Like `ast.walk`, without the body of `if TYPE_CHECKING:`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield from walk_what_runs(child)


def resolve(parts: list[str]) -> str:
    """The module behind `llama_edu.a.b`, where `b` may be a module or a name inside one."""
    for end in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file():
            return ".".join(parts[:end])
        if (path / "__init__.py").is_file():
            return ".".join([*parts[:end], "__init__"])
    return "__init__"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_only_from_rows_before_its_own(path: Path) -> None:
    name = module_name(path)
    own = unit(name)
    assert own in ROW, f"{own} has no row yet: give it one in {Path(__file__).name}"
    imported = {unit(other) for other in imported_modules(ast.parse(path.read_text("utf-8")))}
    above = sorted(other for other in imported - {own} if ROW[other] >= ROW[own])
    assert not above, f"{name} imports {above}, which come after it"


def test_every_row_names_real_modules() -> None:
    gone = set(ROW) - {unit(module_name(path)) for path in SOURCES}
    assert not gone, f"rows name modules that do not exist: {sorted(gone)}"


def test_resolve_tells_modules_from_names() -> None:
    assert resolve(["cache", "KVCache"]) == "cache"
    assert resolve(["cache"]) == "cache"
    assert resolve(["viz", "axes", "AXES"]) == "viz.axes"
    assert resolve(["viz"]) == "viz.__init__"
    assert resolve(["__version__"]) == "__init__"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_says_what_it_is_and_stays_short(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = code_lines(node)
            assert length <= MAX_FUNCTION_LINES, (
                f"{path.name}:{node.lineno} {node.name} has {length} lines; "
                f"{MAX_FUNCTION_LINES} is the most one can hold in mind"
            )


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


# Runs in a fresh interpreter with warnings as errors: reports what an import did beside importing.
WATCH = """
import sys
seen = set()
sys.addaudithook(lambda event, _: seen.add(event))
import {module}
events = sorted(e for e in seen if e.startswith("socket.") or e in ("subprocess.Popen", "os.fork"))
unwanted = {unwanted!r}
print(events, sorted(m for m in unwanted if m in sys.modules))
"""
SERVERS = ("http.server", "socketserver", "urllib.request", "requests", "httpx")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("llama_edu", ("matplotlib", "IPython", "PIL", "gguf", "numba", "jinja2", *SERVERS)),
        ("llama_edu.cli.main", ("matplotlib", "IPython", "PIL", "gguf", "numba", *SERVERS)),
        ("llama_edu.viz", ("matplotlib.pyplot", "IPython", *SERVERS)),
    ],
)
def test_importing_is_free(module: str, unwanted: tuple[str, ...]) -> None:
    code = WATCH.format(module=module, unwanted=unwanted)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout == "[] []\n"


def test_a_name_the_package_has_not_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'llama_edu' has no attribute 'Chat'"):
        llama_edu.Chat  # noqa: B018
    assert llama_edu.ChatSession.__module__ == "llama_edu.chat.session"
    assert all(hasattr(llama_edu, name) for name in llama_edu.__all__)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file(), "py.typed tells type checkers to read our annotations"
    assert importlib.util.find_spec("llama_edu") is not None
