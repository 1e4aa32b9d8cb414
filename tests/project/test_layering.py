"""The package: who may import whom, what importing costs, and how long a function may be."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import llama_edu

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "llama_edu"
MAX_FUNCTION_LINES = 40  # without its docstring

SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


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
