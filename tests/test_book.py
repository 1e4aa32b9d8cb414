"""The book's form: what nbval cannot see, because it compares only what is there.

Every notebook has run from top to bottom, shows no error it did not mean to show, stays small and
readable, describes each of its figures in words, and asks nothing of the network.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
sys.path.insert(0, str(ROOT / "tools"))
from execute_notebooks import COLAB_ID, METADATA, colab_source  # noqa: E402

MAX_BYTES = 400_000
MAX_CELL_LINES = 15
MAX_MEDIAN_LINES = 4
MAX_LINE = 76  # a longer line hides behind a scroll bar

# The parts of a chapter, in order; more words may follow after a colon.
SECTIONS = [
    "Predict",
    "By hand",
    "On the real model",
    "Investigate",
    "Your turn",
    "Common mistakes",
    "Same numbers?",
    "Check yourself",
    "Bridge",
]
GOALS = ":::{admonition} You will be able to"
# A notebook shows the package; what it may define itself are foils and answers.
FOILS = ("_loop", "_by_hand", "_mine", "_broken")
FIRST_RELEASE = {"01_read_raw_bytes", "06_qk_per_kv_group", "10_generate_kv_cache"}

Cell = dict[str, Any]
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if re.match(r"(?!00)\d\d_", path.name)]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def text_of(value: str | list[str]) -> str:
    """Notebooks store text as one string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def cells_of(path: Path) -> list[Cell]:
    """The cells, with their source as one string, without the set-up cell for Colab."""
    cells: list[Cell] = json.loads(path.read_text("utf-8"))["cells"]
    for cell in cells:
        cell["source"] = text_of(cell["source"])
    return [cell for cell in cells if cell.get("id") != COLAB_ID]


def code_of(path: Path) -> list[Cell]:
    return [cell for cell in cells_of(path) if cell["cell_type"] == "code"]


def outputs_of(path: Path) -> Iterator[tuple[Cell, dict[str, Any]]]:
    for cell in code_of(path):
        for output in cell["outputs"]:
            yield cell, output


def html_of(path: Path) -> list[str]:
    """Every stored HTML output."""
    data = [output.get("data", {}) for _, output in outputs_of(path)]
    return [text_of(bundle["text/html"]) for bundle in data if "text/html" in bundle]


def tags_of(cell: Cell) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def toc_files() -> list[str]:
    """The files the table of contents names, in order, root first."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield value
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))))


def test_every_page_is_in_the_toc_and_every_toc_entry_is_a_page() -> None:
    pages = [*NOTEBOOKS, *BOOK.glob("*.md"), ROOT / "index.md"]
    names = sorted(str(path.relative_to(ROOT).with_suffix("")) for path in pages)
    assert sorted(toc_files()) == names


def test_the_first_chapters_are_there() -> None:
    missing = FIRST_RELEASE - {path.stem for path in CHAPTERS}
    assert not missing


def test_the_first_page_leads_to_every_chapter() -> None:
    first_page = (ROOT / "index.md").read_text("utf-8")
    missing = [path.name for path in NOTEBOOKS if f"(book/{path.name})" not in first_page]
    assert not missing


def test_chapters_come_in_order() -> None:
    numbers = [name for name in toc_files() if re.match(r"book/\d\d_", name)]
    assert numbers == sorted(numbers)


@each_notebook
def test_ran_from_top_to_bottom(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"


@each_notebook
def test_shows_no_error_and_no_warning_by_accident(path: Path) -> None:
    for cell, output in outputs_of(path):
        if output["output_type"] == "error":
            assert "raises-exception" in tags_of(cell), f"{output['evalue']} in:\n{cell['source']}"
        assert output.get("name") != "stderr", f"{output['text']} in:\n{cell['source']}"


@each_notebook
def test_a_cell_that_should_raise_does(path: Path) -> None:
    for cell in code_of(path):
        if "raises-exception" in tags_of(cell):
            kinds = [output["output_type"] for output in cell["outputs"]]
            assert "error" in kinds, cell["source"]


@each_notebook
def test_is_stored_as_our_tool_stores_it(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    assert notebook["metadata"] == METADATA
    assert path.stat().st_size <= MAX_BYTES
    setup = notebook["cells"][1]
    assert setup["id"] == COLAB_ID, "run `make notebooks`: it puts in the cell that Colab needs"
    assert text_of(setup["source"]) == colab_source(path)
    assert tags_of(setup) == ["remove-cell"]
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))


@each_notebook
def test_code_comes_in_small_pieces_and_prose_leads(path: Path) -> None:
    cells = cells_of(path)
    lengths = []
    for before, cell in zip([None, *cells], cells, strict=False):
        if cell["cell_type"] != "code":
            continue
        source = cell["source"]
        assert before, f"starts with code:\n{source}"
        assert before["cell_type"] == "markdown", f"no prose before:\n{source}"
        lines = [line for line in source.splitlines() if line.strip()]
        assert lines, "an empty code cell"
        assert len(source.splitlines()) <= MAX_CELL_LINES, source
        assert max(map(len, lines)) <= MAX_LINE, source
        lengths.append(len(lines))
    assert lengths, "a notebook without code"
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES


@each_notebook
def test_shows_the_package_instead_of_copying_it(path: Path) -> None:
    ours = {
        node.name
        for source in (ROOT / "llama_edu").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    for cell in code_of(path):
        code = "\n".join(line for line in cell["source"].split("\n") if line[:1] not in ("%", "!"))
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert node.name not in ours, f"{node.name} is a name of the package"
                assert node.name.endswith(FOILS), f"{node.name}: expected a name with {FOILS}"


@each_notebook
def test_every_figure_is_described(path: Path) -> None:
    for cell, output in outputs_of(path):
        bare = [mime for mime in output.get("data", {}) if mime.startswith("image/")]
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        assert not bare or alt, f"a figure without a text alternative:\n{cell['source']}"
    for html in html_of(path):
        for image in re.findall(r"<img\b[^>]*>", html):
            assert re.search(r'\balt="[^"]{20,}"', image), image[:200]
        for drawing in re.findall(r"<svg\b[^>]*>", html):
            assert re.search(r'\baria-(label|hidden)="[^"]+"', drawing), drawing[:200]


@each_notebook
def test_what_can_be_stepped_through_is_the_source_as_it_is(path: Path) -> None:
    for html in html_of(path):
        for data in re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL):
            for listing in json.loads(data).get("listings", []):
                file = listing["title"].rpartition(", ")[0]
                source = (ROOT / file).read_text("utf-8").splitlines()
                for number, line in listing["lines"]:
                    assert line.strip() == source[number - 1].strip(), (
                        f"run this notebook again: {file}:{number}"
                    )


@each_notebook
def test_asks_nothing_of_the_network(path: Path) -> None:
    remote = re.compile(
        r"""<(?:script|link|img|iframe|source|video|audio)\b[^>]*(?:src|href)\s*=\s*["']?(?:https?:)?//"""
        r"""|url\(\s*["']?(?:https?:)?//|@import""",
        re.IGNORECASE,
    )
    for html in html_of(path):
        found = remote.search(html)
        assert not found, found and found.group(0)


@each_chapter
def test_has_the_parts_of_a_chapter_in_order(path: Path) -> None:
    cells = cells_of(path)
    prose = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    prose = re.sub(r"^(`{3,}|~{3,}).*?^\1", "", prose, flags=re.MULTILINE | re.DOTALL)
    assert cells[0]["source"].startswith("# ")
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
    assert GOALS in prose
    headings = re.findall(r"^## (.+)$", prose, re.MULTILINE)
    assert [heading.split(":")[0].strip() for heading in headings] == SECTIONS


@each_chapter
def test_answers_are_folded(path: Path) -> None:
    prose = "\n".join(c["source"] for c in cells_of(path) if c["cell_type"] == "markdown")
    answers = re.findall(
        r"^:{3,}\{admonition\} (?:Answer|Hint|Solution)[^\n]*\n((?::\w+:[^\n]*\n)*)",
        prose,
        re.MULTILINE,
    )
    assert answers, "a chapter asks, and answers in a fold"
    assert all("dropdown" in options for options in answers)


def test_the_axis_colours_come_from_the_package() -> None:
    from axes_css import CSS, axes_css

    assert CSS.read_text("utf-8") == axes_css(), "run `make notebooks`"


def test_every_axis_is_in_the_notation() -> None:
    page = (BOOK / "notation.md").read_text("utf-8")
    shown = re.findall(r"^\| \[(\w+)\]\{\.axis \.axis-(\w+)\} \|", page, re.MULTILINE)
    assert shown, "the table of axes is gone"
    assert all(name == css_class for name, css_class in shown)
    css = (BOOK / "_static" / "axes.css").read_text("utf-8")
    assert [name for name, _ in shown] == re.findall(r"^\.axis-(\w+)", css, re.MULTILINE)


def test_the_project_has_one_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    address = project["urls"]["Repository"]
    assert config["repository"]["url"] == address
    readme = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"https://github\.com/llama[\w-]*/[\w-]+", readme))
    assert named <= {address}


def test_the_code_in_the_readme_runs() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == 3
    code = "\n".join(blocks)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    story, shape = result.stdout.rsplit("\n", 2)[0], result.stdout.rsplit("\n", 2)[1]
    assert len(story.split()) > 10
    assert re.search(r"\d+ prompt tokens = 0 reused \+ \d+ computed", result.stdout)
    assert re.fullmatch(r"\(\d+, \d+, \d+, \d+\)", shape)


def test_the_readme_shows_the_tree_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = re.search(r"```text\n(llama_edu/\n.*?)```", readme, re.DOTALL)
    assert tree, "the README has no tree"
    for line in tree.group(1).splitlines():
        entry = re.match(r"( {2,})(\S+)", line)
        if entry and len(entry.group(1)) == 2:
            for name in entry.group(2).rstrip("/").split(","):
                assert (ROOT / name).exists(), f"the tree names {name}, which is not there"
