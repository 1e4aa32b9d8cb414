"""The package: who may import whom, what importing costs, and how long a function may be."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import nbformat
import pytest
from importlinter.cli import lint_imports
from sources import EVERYTHING, PACKAGE, ROOT, SOURCES, name_of, tree_of

import llama_edu

MAX_FUNCTION_LINES = 60  # without its docstring

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports of the package: in a function, or for type checkers alone, too."""
    graph = grimp.build_graph("llama_edu", cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_the_layers_hold(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert status == 0, capsys.readouterr().out


def test_no_import_leads_back_to_where_it_began(imports: dict[str, set[str]]) -> None:
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError, naming the circle
    assert order.index("llama_edu.errors") < order.index("llama_edu.engine.generate")


def test_no_folder_leads_back_to_where_it_began(imports: dict[str, set[str]]) -> None:
    order = list(TopologicalSorter(between_neighbours(imports)).static_order())
    assert order.index("llama_edu.hub") < order.index("llama_edu.engine")


def between_neighbours(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """What lies side by side in a folder, modules and folders, and which of it imports which."""
    found: dict[str, set[str]] = {}
    for importer, imported in ((one, other) for one in imports for other in imports[one]):
        one, other = importer.split("."), imported.split(".")
        depth = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if depth is not None:  # else one of the two is the folder in which the other lies
            found.setdefault(".".join(one[: depth + 1]), set()).add(".".join(other[: depth + 1]))
    return found


def test_a_circle_of_folders_is_seen_where_no_modules_make_one() -> None:
    imports = {"p.hub.a": {"p.engine.b", "p.hub"}, "p.engine.c": {"p.hub.d"}}
    assert between_neighbours(imports) == {"p.hub": {"p.engine"}, "p.engine": {"p.hub"}}
    with pytest.raises(CycleError):
        TopologicalSorter(between_neighbours(imports)).prepare()


def underscored_imports(tree: ast.AST) -> list[str]:
    """What a module takes that is another's own: `from m import _x`, or `m._x`."""
    modules: set[str] = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if is_private(alias.name)]
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            of = node.value
            if isinstance(of, ast.Name) and of.id in modules and of.id.islower():
                found.append(f"{of.id}.{node.attr}")
    # Documented, and named so because it ends a process at once.
    return [name for name in found if name != "os._exit"]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_takes_nothing_underscored_from_another_module(path: Path) -> None:
    assert underscored_imports(tree_of(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_chapter_imports_public_names(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    for cell in (cell for cell in cells if cell.cell_type == "code"):
        source = re.sub(r"^(\s*)[!%].*", r"\1pass", cell.source, flags=re.MULTILINE)
        assert underscored_imports(ast.parse(source)) == [], cell.source


def test_underscored_imports_are_seen() -> None:
    source = "from a import _b, __version__, c\nimport d\nd._e\nself._f\nfrom g import h\nh._i"
    assert underscored_imports(ast.parse(source)) == ["_b", "d._e", "h._i"]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_says_what_it_is_and_stays_short(path: Path) -> None:
    tree = tree_of(path)
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
        (
            "llama_edu",
            ("matplotlib", "IPython", "PIL", "gguf", "numba", "jinja2", "tokenizers", *SERVERS),
        ),
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
