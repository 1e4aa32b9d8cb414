"""Words of the glossary become links with notes; the index finds words and functions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sphinx.application import Sphinx

from llama_edu import hub
from llama_edu.ops import norm
from llama_edu.page.words import Word, functions_used, words_in

CONF = """
extensions = ["myst_nb", "llama_edu.page.sphinx_extension"]
myst_enable_extensions = ["deflist"]
nb_execution_mode = "off"
"""
GLOSSARY = """# Words

```{glossary}
key
  What a token puts up. See [](04_scores.md).

value
  What a token *gives*. See [](06_mix.md).

weight
  A number that was learned. See [](04_scores.md).

zero
  The number that changes no sum.
```
"""
CODE = """
from llama_edu.hub import BOOK_MODEL, locate
from llama_edu.ops import norm
norm.rms_norm(x)
"""
PAGES = {
    "index": "# Book\n\nA key.\n\n```{toctree}\n:glob:\nbook/*\n```\n",
    "book/glossary": GLOSSARY,
    "book/references": "# References\n\nSharing\n: A. Author, *On Keys*, [x](https://a.org/1).\n",
    "book/04_scores": "# Keys\n\n## A key\n\nIn `key` and [a key](06_mix.md) there is none. Keys"
    " have a weight, and the key a **weight**; see [Author](https://a.org/1).\n\nNo value here.\n",
    "book/06_mix": "# Mix\n\nA key/value head, the arrow keys, the **value** of a key.\n",
    "book/notes": "# Notes\n\nA zero.\n",
    "book/index_of_words": "# Index\n\n```{words-and-functions}\n```\n",
}


def notebook(title: str, code: str) -> dict[str, Any]:
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {}, "source": f"# {title}"},
        {"cell_type": "code", "metadata": {}, "source": code, "outputs": []},
    ]
    cells[1]["execution_count"] = None
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    (source / "book").mkdir()
    (source / "conf.py").write_text(CONF, "utf-8")
    for name, text in PAGES.items():
        (source / f"{name}.md").write_text(text, "utf-8")
    for name, code in (("07_first", CODE), ("08_second", CODE + "norm.rms_norm(y)\nx.norm()\n")):
        (source / "book" / f"{name}.ipynb").write_text(json.dumps(notebook(name, code)), "utf-8")
    target = source / "html"
    Sphinx(str(source), str(source), str(target), str(source / "t"), "html", status=None).build()
    return target / "book"


def links(page: Path, kind: str) -> list[tuple[str, str]]:
    """Notes and texts of a page's links of one kind."""
    found = r'<a class="[^"]*\b{}\b[^"]*" href="[^"]*" title="([^"]*)">([^<]*)</a>'
    return re.findall(found.format(kind), page.read_text("utf-8"))


def test_the_first_use_of_a_word_has_a_note(built: Path) -> None:
    assert links(built / "04_scores.html", "word") == [
        ("What a token puts up.", "Keys"),
        ("A number that was learned.", "weight"),  # the one that is set off
    ]
    text = (built / "04_scores.html").read_text("utf-8")
    assert "<strong><a" in text
    assert "glossary.html#term-weight" in text


def test_a_word_waits_for_its_chapter(built: Path) -> None:
    assert ("What a token gives.", "value") in links(built / "06_mix.html", "word")
    assert len(links(built / "06_mix.html", "word")) == 2  # of "key" the last one


def test_a_paper_brings_what_the_references_say(built: Path) -> None:
    assert links(built / "04_scores.html", "paper") == [("A. Author, On Keys, x.", "Author")]


def test_a_word_that_no_chapter_introduces_is_explained_everywhere(built: Path) -> None:
    assert links(built / "notes.html", "word") == [("The number that changes no sum.", "zero")]


def test_where_there_are_no_words_none_are_found() -> None:
    assert list(words_in("A key.", [])) == []


def test_the_index_names_the_chapters_of_a_word_and_of_a_function(built: Path) -> None:
    html = (built / "index_of_words.html").read_text("utf-8")
    words = re.sub(r"<[^>]+>", " ", html.partition(" book-index")[2]).split()
    told = (
        "key chapters 4 , 6 locate {locate} chapters 7 , 8 rms_norm {norm} chapters 7 , 8 "
        "value chapter 6 weight chapter 4 zero"
    )
    sentences = {
        name: f"{' '.join(str(thing.__doc__).split(chr(10) * 2)[0].split())} "
        f"({thing.__module__}.{thing.__name__})".replace("`", "")
        for name, thing in (("locate", hub.locate), ("norm", norm.rms_norm))
    }
    assert " ".join(words[1:]).startswith(told.format(**sentences))


def test_longer_words_go_first_and_cases_are_kept() -> None:
    words = [
        Word("head", "", "a", "book/04_a"),
        Word("query head", "", "b", "book/04_a"),
        Word("RoPE", "", "c", "book/07_c"),
    ]
    found = [word.term for _, _, word in words_in("Query heads, the head, a rope, RoPE.", words)]
    assert found == ["query head", "head", "RoPE"]


def test_functions_are_those_a_notebook_imports(tmp_path: Path) -> None:
    code = "if here:\n    %pip install x\nfrom llama_edu.ops import norm\nnorm.rms_norm(x)\n"
    cells = [
        {"cell_type": "code", "source": [code]},
        {"cell_type": "markdown", "source": ["import"]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), "utf-8")
    assert functions_used(tmp_path / "a.ipynb") == {
        ("llama_edu.ops", "norm"),
        ("llama_edu.ops.norm", "rms_norm"),
    }
