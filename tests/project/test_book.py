"""The book's form: what nbval cannot see, because it compares only what is there.

Every notebook has run from top to bottom, shows no error it did not mean to show, stays small and
readable, describes each of its figures in words, and asks nothing of the network.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_edu import chapters as sections
from llama_edu import exercises
from llama_edu.exercises.questions import QUESTIONS
from llama_edu.page.reading_time import sections_of, visible
from tools.notebooks.execute import COLAB_ID, METADATA, colab_source
from tools.pages.axes_css import CSS, axes_css

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"

MAX_BYTES = 700_000  # vector figures, and steppers with their numbers
MAX_CELL_LINES = 15
MAX_MEDIAN_LINES = 6
MAX_LINE = 76  # a longer line hides behind a scroll bar

# A chapter has two parts, to understand and to build, each with these sections in this order.
BUILD = "Build it"
TO_UNDERSTAND = ["Guess first", "What the field calls it", "Break it", "Your turn"]
# The first path has its questions before the second begins.
LAST_TO_UNDERSTAND = ["What you know now", "Check yourself"]
TO_BUILD = ["Common mistakes", "Same numbers?", "Questions for builders"]
BRIDGES = ("In Rust", "In C++", "Bridge")
# What a part shows before anything is unfolded: longer, and something belongs into a fold.
MAX_WORDS_TO_UNDERSTAND = 2_500
MAX_WORDS_TO_BUILD = 2_100
HIDDEN = {"remove-input", "hide-input", "hide-cell", "remove-cell"}
# A notebook shows the package; what it may define itself are foils and answers.
FOILS = ("_loop", "_by_hand", "_mine", "_broken")
FIRST_RELEASE = {"01_read_raw_bytes", "04_qk_per_kv_group", "10_generate_kv_cache"}
# What of the package each chapter is about.
MODULES = {
    "bytes": ["formats.safetensors", "formats.precision", "formats.tensor_shapes"],
    "tokenizer": ["text.tokenizer"],
    "linear": ["ops.linear"],
    "scores": ["ops.attention"],
    "mask_softmax": ["ops.attention"],
    "score_v": ["ops.attention"],
    "rope": ["ops.rope"],
    "norm_mlp": ["ops.norm", "ops.mlp"],
    "model": ["engine.llama"],
    "generate": ["engine.generate"],
    "sampling": ["engine.sampling"],
    "precision": ["formats.precision", "formats.quantize", "analysis.precision_cost"],
    "chat": ["chat.session", "chat.template", "engine.prefix_cache"],
    "serve": ["serve"],
    "cost": ["analysis.roofline", "analysis.timing"],
    "faster": ["engine.guess", "formats.four_bits"],
    "parallel": ["parallel.llama", "parallel.world", "parallel.shards", "parallel.cost"],
}
WITH_SHAPE_LEDGER = range(1, 12)
MIN_EXERCISES = 40  # in the chapters with a shape ledger: the walk from bytes to text
MIN_REPORTS = 60  # known mistakes in their exercises that somebody reported making
REPORT = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/(?:issues|pull|discussions)/\d+")

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


def should_raise(cell: Cell) -> bool:
    """Whether an error belongs to the page; a cell that needs the real model may fail elsewhere."""
    tags = tags_of(cell)
    return "raises-exception" in tags and "pretrained" not in tags


def is_shown(cell: Cell) -> bool:
    """Whether the page shows a cell's code without a click."""
    return not HIDDEN & set(tags_of(cell))


def number_of(path: Path) -> int:
    """The number of a chapter."""
    return int(path.stem[:2])


def topic_of(path: Path) -> str:
    """What a chapter is about: the name of its exercises, figures and tests."""
    return next(topic for topic, file in sections.CHAPTER_FILES.items() if file == path.stem)


def parts_of(path: Path) -> Iterator[tuple[str, str, Cell]]:
    """The cells with the section and subsection they stand in, cut where a heading begins."""
    section = subsection = ""
    for cell in cells_of(path):
        if cell["cell_type"] != "markdown":
            yield section, subsection, cell
            continue
        for text in re.split(r"^(?=###? )", cell["source"], flags=re.MULTILINE):
            if text.startswith("## "):
                section, subsection = text.splitlines()[0][3:], ""
            elif text.startswith("### "):
                subsection = text.splitlines()[0][4:]
            yield section, subsection, cell | {"source": text}


def prose_of(page: Path) -> str:
    """What a notebook or a page of Markdown says, without code and outputs."""
    if page.suffix != ".ipynb":
        return page.read_text("utf-8")
    cells = [cell for cell in cells_of(page) if cell["cell_type"] == "markdown"]
    return "\n\n".join(cell["source"] for cell in cells)


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


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_lists_of_chapters_name_them_as_they_name_themselves(path: Path) -> None:
    number, title = cells_of(path)[0]["source"].partition("\n")[0].removeprefix("# ").split(". ", 1)
    assert int(number) == number_of(path)
    assert f"- [{title}](book/{path.name})" in (ROOT / "index.md").read_text("utf-8")
    assert f"| {number} | {title} |" in (ROOT / "README.md").read_text("utf-8")


def test_chapters_come_in_order() -> None:
    """The same chapters, in the same order, in the table of contents, on disk and in the code."""
    assert [number_of(path) for path in CHAPTERS] == list(range(1, len(CHAPTERS) + 1))
    files = [path.stem for path in CHAPTERS]
    assert [name[5:] for name in toc_files() if re.match(r"book/(?!00)\d\d_", name)] == files
    assert list(sections.CHAPTER_FILES.values()) == files
    assert list(MODULES) == list(sections.CHAPTER_FILES)


def modules_used_by(path: Path) -> set[str]:
    """The modules of the package from which a notebook imports, or whose classes it imports."""
    package = importlib.import_module("llama_edu")
    used = set()
    for cell in code_of(path):
        code = "\n".join(line for line in cell["source"].split("\n") if line[:1] not in ("%", "!"))
        for node in ast.walk(ast.parse(code)):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            used.add(node.module)
            for alias in node.names:
                if node.module == "llama_edu" and alias.name in package.__all__:
                    used.add(getattr(package, alias.name).__module__)
                else:
                    used.add(f"{node.module}.{alias.name}")
    return used


@each_chapter
def test_a_chapter_opens_the_modules_it_is_about(path: Path) -> None:
    used = modules_used_by(path)
    for module in (f"llama_edu.{name}" for name in MODULES[topic_of(path)]):
        assert importlib.util.find_spec(module) is not None, f"{module} is not there"
        assert any(name == module or name.startswith(f"{module}.") for name in used), module


@each_chapter
def test_a_chapter_and_its_exercises_belong_together(path: Path) -> None:
    folder = ROOT / "llama_edu" / "exercises"
    topic = topic_of(path)
    module = exercises.CHAPTERS[list(sections.CHAPTER_FILES).index(topic)]
    assert module.__name__ == f"llama_edu.exercises.{topic}"
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert files == set(sections.CHAPTER_FILES), "one module of exercises for each topic"
    assert len(exercises.CHAPTERS) == len(CHAPTERS)
    asked = {
        name for cell in code_of(path) for name in re.findall(r"\bcheck\.(\w+)\(", cell["source"])
    }
    assert asked == {exercise.name for exercise in module.EXERCISES}
    assert all(exercise.topic == topic for exercise in module.EXERCISES)
    tasks = {sub for _, sub, _ in parts_of(path) if "★" in sub}
    assert len(tasks) == len(module.EXERCISES)


def test_there_is_something_to_check() -> None:
    """Many tests below go through a list and say something of each: none of the lists is empty."""
    everywhere = [cell for path in NOTEBOOKS for cell in code_of(path)]
    pages = [html for path in NOTEBOOKS for html in html_of(path)]
    data = [
        json.loads(text)
        for html in pages
        for text in re.findall(
            r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL
        )
    ]
    images = [
        output
        for path in NOTEBOOKS
        for _, output in outputs_of(path)
        if any(mime.startswith("image/") for mime in output.get("data", {}))
    ]
    found = {
        "notebooks": NOTEBOOKS,
        "chapters": CHAPTERS,
        "functions defined": [cell for cell in everywhere if "def " in cell["source"]],
        "outputs of HTML": pages,
        "drawings in HTML": re.findall(r"<svg\b", "".join(pages)),
        "listings": [listing for figure in data for listing in figure.get("listings", [])],
        "sources cited": re.findall(r"\]\(https?://", "".join(map(prose_of, NOTEBOOKS))),
        "axes in prose": re.findall(r"<span class=", "".join(map(prose_of, NOTEBOOKS))),
    }
    assert [name for name, items in found.items() if not items] == []
    assert all(code_of(path) for path in NOTEBOOKS)
    assert all(any(True for _ in outputs_of(path)) for path in NOTEBOOKS)
    assert not images, "a bare image: test_every_figure_is_described has more to look at now"


@each_notebook
def test_ran_from_top_to_bottom(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"


@each_notebook
def test_shows_no_error_and_no_warning_by_accident(path: Path) -> None:
    for cell, output in outputs_of(path):
        if output["output_type"] == "error":
            assert should_raise(cell), f"{output['evalue']} in:\n{cell['source']}"
        assert output.get("name") != "stderr", f"{output['text']} in:\n{cell['source']}"


@each_notebook
def test_a_cell_that_should_raise_does(path: Path) -> None:
    assert silent(code_of(path)) == []


def silent(cells: list[Cell]) -> list[str]:
    """Sources of cells that should raise an error and show none."""
    return [
        cell["source"]
        for cell in cells
        if should_raise(cell)
        and "error" not in [output["output_type"] for output in cell["outputs"]]
    ]


def undescribed(html: str) -> list[str]:
    """Images and drawings without words for those who do not see them."""
    images = re.findall(r"<img\b[^>]*>", html)
    drawings = re.findall(r"<svg\b[^>]*>", html)
    return [
        *(tag for tag in images if not re.search(r'\balt="[^"]{20,}"', tag)),
        *(tag for tag in drawings if not re.search(r'\baria-(label|hidden)="[^"]+"', tag)),
    ]


def test_rules_for_what_the_book_may_not_have_now_can_fail() -> None:
    """No page raises on purpose today, and none holds a bare drawing; one may tomorrow."""
    raising = {"metadata": {"tags": ["raises-exception"]}, "source": "1 / 0", "outputs": []}
    assert silent([raising]) == ["1 / 0"]
    assert silent([raising | {"outputs": [{"output_type": "error"}]}]) == []
    assert silent([raising | {"metadata": {"tags": ["raises-exception", "pretrained"]}}]) == []
    words = "a picture of twenty letters"
    assert (
        undescribed(f'<img alt="{words}"><svg aria-label="{words}"><svg aria-hidden="true">') == []
    )
    assert undescribed('<img alt="short"><svg role="img">') == [
        '<img alt="short">',
        '<svg role="img">',
    ]


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
    """Of the code a page shows: hidden cells may be longer, and stand anywhere."""
    lengths, in_a_row = [], 0
    for cell in cells_of(path):
        if cell["cell_type"] != "code":
            in_a_row = 0
            continue
        if not is_shown(cell):
            continue
        source = cell["source"]
        in_a_row += 1
        assert in_a_row <= 3, f"no prose before:\n{source}"
        lines = [line for line in source.splitlines() if line.strip()]
        assert lines, "an empty code cell"
        assert len(lines) <= MAX_CELL_LINES, source
        assert max(map(len, lines)) <= MAX_LINE, source
        lengths.append(len(lines))
    assert lengths, "a notebook without code"
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES


@each_chapter
def test_shows_numbers_and_no_verdicts(path: Path) -> None:
    for cell in code_of(path):
        if not is_shown(cell):
            continue
        assert not re.search(r"^\s*assert\b", cell["source"], re.MULTILINE), cell["source"]
        for output in cell["outputs"]:
            said = text_of(output.get("text", ""))
            if said.lstrip().startswith("def "):  # a listing, not a result
                continue
            assert not re.search(r"(?<![=\w])(?:True|False)\b", said), (
                f"{said}\nof\n{cell['source']}"
            )


@cache
def names_of_the_package() -> set[str]:
    """Of every function and class in it."""
    return {
        node.name
        for source in (ROOT / "llama_edu").rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


@each_notebook
def test_shows_the_package_instead_of_copying_it(path: Path) -> None:
    ours = names_of_the_package()
    for cell in code_of(path):
        code = "\n".join(line for line in cell["source"].split("\n") if line[:1] not in ("%", "!"))
        nodes = list(ast.walk(ast.parse(code)))
        # What a foil's methods are called is the foil's own affair.
        methods = [part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body]
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node not in methods:
                assert node.name not in ours, f"{node.name} is a name of the package"
                assert node.name.endswith(FOILS), f"{node.name}: expected a name with {FOILS}"


@each_notebook
def test_every_figure_is_described(path: Path) -> None:
    for cell, output in outputs_of(path):
        bare = [mime for mime in output.get("data", {}) if mime.startswith("image/")]
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        assert not bare or alt, f"a figure without a text alternative:\n{cell['source']}"
    for html in html_of(path):
        assert undescribed(html) == []


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


# `62 %`, and in a template `{share:.0f} %`; but not a remainder, `8 % 3`.
LOOSE_PERCENT = re.compile(r"[\d}][ \u00a0\u202f]%(?! [\d(])")


@each_notebook
def test_the_percent_sign_stands_at_its_number(path: Path) -> None:
    shown = "\n".join(html_of(path))
    assert [shown[m.start() - 20 : m.end() + 5] for m in LOOSE_PERCENT.finditer(shown)] == []


@pytest.mark.parametrize("folder", ["llama_edu/viz", "llama_edu/page"])
def test_what_figures_write_has_the_percent_sign_at_its_number(folder: str) -> None:
    files = [
        path
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".js") and path.name != "llama.js"
    ]
    assert files
    found = [
        (path.name, line.strip())
        for path in files
        for line in path.read_text("utf-8").splitlines()
        if LOOSE_PERCENT.search(line) and not line.lstrip().startswith("#")
    ]
    assert found == []


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
    titles = re.findall(r"^# (.+)$", prose, re.MULTILINE)
    assert len(titles) == 2
    assert titles[1] == BUILD
    understand, build = (
        re.findall(r"^## (.+)$", part, re.MULTILINE)
        for part in re.split(rf"^# {BUILD}$", prose, flags=re.MULTILINE)
    )
    assert [title for title in understand if title in TO_UNDERSTAND] == TO_UNDERSTAND
    assert understand[-2:] == LAST_TO_UNDERSTAND
    assert [title for title in build if title in TO_BUILD] == TO_BUILD
    assert sum(title in BRIDGES for title in build) == 1
    machine = cells[1]["source"]
    assert f'viz.machine("{topic_of(path)}")' in machine


@each_chapter
def test_the_second_part_says_who_needs_it_and_where_others_go_on(path: Path) -> None:
    first = next(c["source"] for c in cells_of(path) if c["source"].startswith(f"# {BUILD}\n"))
    said = first.split("\n\n")[1]
    assert said.startswith("*This part is for those who write ")
    assert "At its end you " in said
    if path != CHAPTERS[-1]:
        assert f"]({CHAPTERS[CHAPTERS.index(path) + 1].name})" in said


@each_chapter
def test_neither_part_is_long_before_anything_is_unfolded(path: Path) -> None:
    parts = sections_of(path)
    assert visible(parts, builds=False).words <= MAX_WORDS_TO_UNDERSTAND
    assert visible(parts, builds=True).words <= MAX_WORDS_TO_BUILD


@each_chapter
def test_answers_are_folded(path: Path) -> None:
    prose = "\n".join(c["source"] for c in cells_of(path) if c["cell_type"] == "markdown")
    answers = re.findall(r"(?:Answer|Hint|Solution)s?(?=</summary>)", prose)
    assert answers, "a chapter asks, and answers in a fold"
    # Every editor and every viewer knows this fold; only one of them knows `{admonition}`.
    assert "dropdown" not in prose
    begins = prose.count('<details class="admonition">\n<summary class="admonition-title">')
    assert begins == prose.count("<details") == prose.count("</summary>\n\n") > 0
    assert begins == prose.count("\n\n</details>")


@each_notebook
def test_editors_fold_what_the_pages_fold(path: Path) -> None:
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tags, folded = tags_of(cell), cell["metadata"].get("jupyter", {})
        hidden = bool({"hide-input", "hide-cell", "remove-input", "remove-cell"} & set(tags))
        assert folded.get("source_hidden", False) == hidden, cell["id"]  # JupyterLab
        assert (cell["metadata"].get("cellView") == "form") == hidden, cell["id"]  # Colab
        closed = bool({"hide-output", "hide-cell"} & set(tags))
        assert folded.get("outputs_hidden", False) == closed, cell["id"]


@each_notebook
def test_every_fold_ends_where_it_is_meant_to(path: Path) -> None:
    """A fence that closes too early leaves answers in the open, and a stray one on the page."""
    for cell in cells_of(path):
        if cell["cell_type"] == "markdown":
            opened = re.findall(r"^:{3,}\{", cell["source"], re.MULTILINE)
            closed = re.findall(r"^:{3,}\s*$", cell["source"], re.MULTILINE)
            assert len(opened) == len(closed), cell["id"]


@each_chapter
def test_every_exercise_shows_its_hints_before_its_solution(path: Path) -> None:
    """Its head comes from the package: minutes, difficulty, importance, and three hints."""
    shown: dict[str, list[str]] = {}
    for _, task, cell in parts_of(path):
        if "★" in task and cell["cell_type"] == "code":
            heads = re.findall(r"^check\.(\w+)$", cell["source"], re.MULTILINE)
            solutions = re.findall(r"^def (\w+)_mine\(", cell["source"], re.MULTILINE)
            steps = [f"head of {name}" for name in heads] if "solution" not in tags_of(cell) else []
            shown.setdefault(task, []).extend([*steps, *solutions])
    names = [e.name for e in exercises.CHAPTERS[number_of(path) - 1].EXERCISES]
    assert len(shown) == len(names)
    for steps in shown.values():
        head, name = steps[:2]
        assert head == f"head of {name}"
        assert name in names
    assert "Hint" not in re.findall(r"(\w+)[^\n]*</summary>", prose_of(path)), (
        "hints are written in the package"
    )


@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem[:2].isdigit()], ids=lambda path: path.stem
)
def test_every_question_is_asked_in_its_chapter(path: Path) -> None:
    topic = topic_of(path) if path in CHAPTERS else "start"
    asked = [
        name
        for cell in code_of(path)
        for name in re.findall(r'^exercises\.question\("(\w+)"\)$', cell["source"], re.MULTILINE)
    ]
    assert sorted(asked) == sorted(q.name for q in QUESTIONS.values() if q.topic == topic)


@each_chapter
def test_every_common_mistake_was_made_by_somebody(path: Path) -> None:
    prose = "".join(c["source"] for section, _, c in parts_of(path) if section == "Common mistakes")
    mistakes = [text for text in re.split(r"\n{2,}|\n(?=\*\*)", prose) if text.startswith("**")]
    assert len(mistakes) >= 3
    assert [text for text in mistakes if "](https://github.com/" not in text] == []


@pytest.mark.parametrize(
    "path",
    [path for path in CHAPTERS if number_of(path) in WITH_SHAPE_LEDGER],
    ids=lambda p: p.stem,
)
def test_ends_with_its_rows_of_the_shape_ledger(path: Path) -> None:
    cells = cells_of(path)
    starts = [i for i, c in enumerate(cells) if "shape ledger" in c["source"].lower()]
    assert starts, "no rows of the shape ledger"
    shown = [
        output
        for cell in cells[starts[0] :]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
    ]
    assert any("text/html" in output.get("data", {}) for output in shown)


def test_the_walk_has_enough_exercises_and_real_mistakes() -> None:
    walk = [e for n in WITH_SHAPE_LEDGER for e in exercises.CHAPTERS[n - 1].EXERCISES]
    assert len(walk) >= MIN_EXERCISES
    links = [mutant.link for exercise in walk for mutant in exercise.mutants]
    assert sum(REPORT.fullmatch(link) is not None for link in links) >= MIN_REPORTS


def test_every_source_is_in_the_references() -> None:
    """Papers by their identifier; whatever else is not on GitHub, by its link."""
    page = BOOK / "references.md"
    known = prose_of(page)
    ours = sections.BOOK.removesuffix("/book")  # the editions, for one
    missing = set()
    for other in [*NOTEBOOKS, *BOOK.glob("*.md"), ROOT / "index.md"]:
        text = prose_of(other)
        cited = set(re.findall(r"\]\((https?://(?!github\.com/)[^\s)]+)\)", text))
        cited |= set(re.findall(r"\b(?:arxiv\.org/\w+/|arXiv:)(\d{4}\.\d{4,5})", text))
        cited |= set(re.findall(r"\bdoi(?:\.org/|:)(10\.[^\s)\]]+)", text))
        cited = {source for source in cited if not source.startswith(ours)}
        missing |= {f"{other.name}: {source}" for source in cited if source not in known}
    assert sorted(missing) == []


@each_notebook
def test_axes_in_prose_are_readable_without_the_book(path: Path) -> None:
    raw = re.findall(r"\[[^\]]*\]\{[^}]*\}", re.sub(r"`[^`]*`|\$[^$]*\$", "", prose_of(path)))
    assert raw == [], "write <span class=...>: only the built book understands [...]{...}"


def test_the_axis_colours_come_from_the_package() -> None:
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
    owner, name = address.removeprefix("https://github.com/").split("/")
    assert f"https://{owner}.github.io/{name}/book" == sections.BOOK  # where pages.yml publishes
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
    tree = re.search(r"```text\n(llama_edu/ .*?)```", readme, re.DOTALL)
    assert tree, "the README has no tree"
    lines = tree.group(1).splitlines()
    assert len(lines) > 10
    for line in lines:
        entry = re.fullmatch(r"( {2})?(\S+(?: \S+)*) {2,}.*", line)
        assert entry, line
        folder = ROOT / "llama_edu" if entry[1] else ROOT
        for name in entry[2].split():
            assert (folder / name).exists(), f"the tree names {name}, which is not there"


def names_of(cell: Cell) -> tuple[set[str], set[str]]:
    """The names a code cell makes, and those it uses."""
    lines = cell["source"].splitlines()
    tree = ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("!", "%"))))
    made, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
    return made, used


@each_chapter
def test_what_visible_code_uses_is_made_where_it_can_be_seen(path: Path) -> None:
    code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
    seen = [c for c in code if not {"remove-input", "remove-cell"} & {*tags_of(c)}]
    made = {name for cell in seen for name in names_of(cell)[0]} | set(dir(builtins))
    for cell in seen:
        missing = names_of(cell)[1] - made
        assert not missing, f"{sorted(missing)}, in: {cell['source'][:60]!r}"
