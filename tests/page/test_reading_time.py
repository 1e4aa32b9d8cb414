"""How long a chapter takes, its folds, and the table of all: counted from what a page shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from llama_edu.page.reading_time import Effort, Section, sections_of, visible

CONF = """
extensions = ["myst_nb", "llama_edu.page.sphinx_extension"]
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"
"""
WORDS = "word " * 150
FOLDED = """<details class="admonition">
<summary class="admonition-title">Two words</summary>

hidden hidden

```rust
let hidden = 1;
```

</details>"""
LISTING = "```rust\nlet a = 1;\n\n# Not a heading\n```"
HEAD = "check.a: Do.\n  ★★ · about 20 minutes · useful"
INDEX = "# Book\n\n```{toctree}\n:glob:\nbook/*\n```\n\n```{reading-times}\n```\n"


def text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str, tags: list[str], *outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        **text(source),
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {"tags": tags},
        "outputs": list(outputs),
    }


def shown(plain: str, **more: str) -> dict[str, Any]:
    data = {"text/plain": plain} | {kind.replace("_", "/"): said for kind, said in more.items()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


FIGURE = shown("a drawing", text_html="<b>drawn</b>")
CELLS = [
    text("# 4. Scores"),
    code("viz.machine()", ["remove-input"], FIGURE),
    text(f"## Idea\n\n{WORDS}\n\n{FOLDED}"),
    text("## Your turn\n\n### ★★ Repair"),
    code("check.a", ["remove-input"], shown(HEAD, text_html="<b>head</b>")),
    code("def a_mine():\n    pass", ["hide-cell"], shown("hidden")),
    text("## Check yourself\n\n1. Why? [Because](https://a.org/so) of | this | `x`."),
    text("# Build it\n\nFor builders.\n\n## Memory\n\n" + WORDS * 5 + "\n\n" + LISTING),
    text(f"### Aside\n\nWhat it finds.\n\n<!-- fold -->\n\n{WORDS * 3}"),
    code("print(1)\n\nprint(2)", [], {"output_type": "stream", "name": "stdout", "text": "1\n2\n"}),
    text("## The end\n\nOver."),
]


# A chapter with a drawing and nothing else, and one without even that.
SHORT = {
    "05_short": [code("import viz", ["remove-input"]), text("# 5. Short"), CELLS[1]],
    "06_bare": [text(f"# 6. Bare\n\n{WORDS}")],
}


def write(folder: Path, name: str, cells: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.ipynb"
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(notebook), "utf-8")
    return path


@pytest.fixture(scope="module")
def chapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "book"
    for name, cells in SHORT.items():
        write(folder, name, cells)
    return write(folder, "04_scores", CELLS)


@pytest.fixture(scope="module")
def built(chapter: Path) -> Path:
    source = chapter.parents[1]
    (source / "conf.py").write_text(CONF, "utf-8")
    (source / "index.md").write_text(INDEX, "utf-8")
    target = source / "html"
    Sphinx(str(source), str(source), str(target), str(source / "t"), "html", status=None).build()
    return target


def plain(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_each_section_has_what_it_shows(chapter: Path) -> None:
    assert sections_of(chapter) == [
        Section("4. Scores", 1, False, False, Effort(words=2, looks=1)),
        Section("Idea", 2, False, False, Effort(words=1 + 150 + 2)),
        Section("Your turn", 2, False, False, Effort(words=2)),
        Section("★★ Repair", 3, False, False, Effort(words=1, exercises=(20,))),
        Section("Check yourself", 2, False, False, Effort(words=2 + 6)),
        Section("Build it", 1, True, False, Effort(words=2 + 2)),
        Section("Memory", 2, True, False, Effort(words=1 + 750 + 1, lines=2)),
        Section("Aside", 3, True, True, Effort(words=450, lines=4), lead=Effort(words=1 + 3)),
        Section("The end", 2, True, False, Effort(words=2 + 1)),
    ]


def test_a_fold_takes_no_time_but_its_exercises_do() -> None:
    long = Effort(words=1500, lines=30, looks=2, exercises=(10,))
    sections = [
        Section("a", 1, False, False, long),
        Section("b", 2, False, True, long, lead=Effort(words=15)),
        Section("c", 1, True, False, long),
    ]
    assert visible(sections, builds=False) == Effort(1515, 30, 2, (10, 10))
    assert visible(sections, builds=True).minutes == 10 + 2 + 2
    assert [Effort(words=150 * n).told for n in (1, 7, 8)] == [5, 5, 10]


def test_a_fold_needs_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "04_scores.ipynb"
    path.write_text(json.dumps({"cells": [text("# A"), text("<!-- fold -->\n\nb")]}), "utf-8")
    with pytest.raises(ValueError, match=r"expected a heading above .* got '<!-- fold -->"):
        sections_of(path)


def test_the_box_stands_below_the_drawing(built: Path) -> None:
    page = (built / "book" / "04_scores.html").read_text("utf-8")
    begin = page.index("reading-time")
    assert page.index("<b>drawn</b>") < begin < page.index('id="idea"')
    box = page[page.rindex("<div", 0, begin) : page.index("</div>", begin)]
    assert plain(box) == (
        "Understand about 5 minutes, down to Check yourself ; its exercise about 20 more. "
        "Build it , if you want to: about 5 minutes more to read. Memory · The end"
    )
    links = re.findall(r'href="(#[^"]+)"', box)
    assert links == ["#check-yourself", "#build-it", "#memory", "#the-end"]
    assert all(f'id="{link[1:]}"' in page for link in links)


def test_a_short_chapter_has_a_short_box_and_one_without_a_drawing_none(built: Path) -> None:
    page = (built / "book" / "05_short.html").read_text("utf-8")
    begin = page.index("reading-time")
    box = page[page.rindex("<div", 0, begin) : page.index("</div>", begin)]
    assert plain(box) == "Understand about 5 minutes."
    assert "reading-time" not in (built / "book" / "06_bare.html").read_text("utf-8")


def test_code_above_the_first_heading_is_no_section_s(tmp_path: Path) -> None:
    path = write(tmp_path, "05_short", SHORT["05_short"])
    assert sections_of(path) == [Section("5. Short", 1, False, False, Effort(words=2, looks=1))]


def test_a_page_with_other_sections_than_its_notebook_is_refused(tmp_path: Path) -> None:
    """Times would stand at the wrong ones."""
    write(tmp_path / "book", "04_scores", [text("# 4. Scores\n\n<!--\n# Later\n-->")])
    (tmp_path / "conf.py").write_text(CONF, "utf-8")
    (tmp_path / "index.md").write_text(INDEX, "utf-8")
    where = (str(tmp_path), str(tmp_path), str(tmp_path / "html"), str(tmp_path / "t"))
    with pytest.raises(ExtensionError, match=r"expected 2 sections in 04_scores\.ipynb, .* got 1"):
        Sphinx(*where, "html", status=None).build()


def test_a_fold_ends_where_the_next_heading_begins(built: Path) -> None:
    page = (built / "book" / "04_scores.html").read_text("utf-8")
    (fold,) = re.findall(r'<details class="fold">(.*?)</details>', page, re.DOTALL)
    assert "<summary>Show this section, about 3 minutes</summary>" in fold
    assert plain(fold).count("word") == 450
    assert "Aside" not in fold
    assert "Over" not in fold


def test_what_stands_above_the_mark_stays_in_sight(built: Path) -> None:
    page = (built / "book" / "04_scores.html").read_text("utf-8")
    before, fold = page.split('<details class="fold">')
    assert plain(before).endswith("What it finds.")
    assert "What it finds" not in fold


def test_the_table_adds_both_ways_up(built: Path) -> None:
    page = (built / "index.html").read_text("utf-8")
    table = page[page.index("<table") : page.index("</table>")]
    assert plain(table) == (
        "Chapter Understand Build it 4. Scores 5 + 20 5 5. Short 5 6. Bare 5 "
        "All of them, in hours 0.2 + 0.3 0.1"
    )
    assert 'href="book/04_scores.html"' in table
