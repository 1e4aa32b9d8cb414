"""The glossary, and what it promises: no word before its chapter, unless a link explains it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))
ENTRIES = dict(
    re.findall(
        r"^(\S.*)\n  (.*)$",
        (BOOK / "glossary.md").read_text("utf-8").split("```")[1],
        re.MULTILINE,
    )
)
# Words that everybody uses, too, in a sense that needs no chapter.
EVERYDAY = {"turn", "value", "weight"}
# What is no prose, or is explained at once: code, formulas, links; and the keys of a keyboard.
NO_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|<[^>]*>|arrow keys", re.DOTALL
)


def introduced(term: str) -> int:
    """The number of the chapter that an entry names."""
    return int(re.findall(r"See \[\]\((\d\d)_\w+\.ipynb\)\.$", ENTRIES[term])[0])


@cache
def prose(path: Path) -> str:
    """What a chapter says, without code, formulas and links."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    said = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return "\n\n".join(NO_PROSE.sub(" ", text) for text in said)


def uses(term: str, text: str) -> list[str]:
    """A term in a text, its plural too, each with what stands around it."""
    found = re.finditer(rf"(?<![\w-]){re.escape(term)}(?:e?s)?(?![\w-])", text)
    return [text[max(0, word.start() - 60) : word.end() + 40] for word in found]


def test_the_glossary_is_in_order() -> None:
    assert len(ENTRIES) >= 70
    assert list(ENTRIES) == sorted(ENTRIES, key=str.lower)


@pytest.mark.parametrize("term", ENTRIES)
def test_a_word_is_introduced_where_the_glossary_says(term: str) -> None:
    path = CHAPTERS[introduced(term)]
    assert path.name.startswith(f"{introduced(term):02}")
    assert uses(term, prose(path)), f"{path.stem} never says {term!r}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_word_comes_before_its_chapter(path: Path) -> None:
    text, number = prose(path), int(path.name[:2])
    later = [term for term in ENTRIES if introduced(term) > number and term not in EVERYDAY]
    assert {term: uses(term, text) for term in later if uses(term, text)} == {}


def test_an_early_word_would_be_seen() -> None:
    assert uses("logit", "They are called logits.") == ["They are called logits."]
    assert not uses("key", NO_PROSE.sub(" ", "Press the arrow keys, or a [key](x.ipynb)."))


# In these chapters the word would be taken for the shares of attention, which have both words.
ABOUT_ATTENTION = [path for path in CHAPTERS if path.name[:2] in ("04", "05", "06")]


def bare_weights(text: str) -> list[str]:
    """Where *weights* stand without *attention*, the model's own set apart."""
    return re.findall(r".{0,60}(?<!attention )(?<!model's )\b[Ww]eights?\b.{0,40}", text)


def said_below_figures(path: Path) -> str:
    """The captions of a chapter's figures, and what is written in place of one."""
    said = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            html = "".join(output.get("data", {}).get("text/html", ""))
            said += re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", html, re.DOTALL)
            said += re.findall(r'<div class="llama-zoom"[^>]* aria-label="([^"]*)"', html)
    return "\n".join(said)


@pytest.mark.parametrize("path", ABOUT_ATTENTION, ids=lambda path: path.stem)
def test_attention_weights_have_both_words(path: Path) -> None:
    assert bare_weights(prose(path)) == []
    said = said_below_figures(path)
    assert said
    assert bare_weights(said.replace("Attention", "attention")) == []


def test_a_bare_weight_would_be_seen() -> None:
    assert bare_weights("Each row of weights sums to 1.") == ["Each row of weights sums to 1."]
    assert not bare_weights("attention weights, and the model's weights")
