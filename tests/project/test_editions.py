"""What the editions make of pages: links, folds, stills and XML. The pages here are made up.

The book's own pages are printed and bound in `tests/e2e/test_editions.py`.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup

from llama_edu.chapters import BOOK as SITE
from tools.editions import book as books
from tools.editions.book import Book
from tools.editions.epub import make_epub
from tools.editions.pages import read_pages
from tools.editions.stills import plain_colours

ROOT = Path(__file__).resolve().parents[2]
FIRST = """<section id="first"><h1>The first<a class="headerlink" href="#first">#</a></h1>
<p>See <a href="book/01_two.html#deep">two</a>, <a href="https://example.org/">elsewhere</a> and
<a href="genindex.html">the index</a>. <span class="screen-only">Press the button.</span></p>
<button>Press</button><script>alert(1)</script></section>"""
SECOND = """<section id="two"><h1>1. Two &amp; more</h1>
<div class="llama-predict"><style>.llama-predict{color:light-dark(#111,#eee)}</style><p>Which?</p>
<details><summary>This <em>one</em></summary><p>No: wrong.</p></details>
<details class="right"><summary>That one</summary><p>Yes: right.</p></details></div>
<div class="admonition dropdown"><p class="admonition-title">Answers</p><p>Forty-two, as
<a href="#deep">below</a>.</p></div>
<div class="cell tag_hide-input"><details class="admonition hide above-input"><summary>
<p class="collapsed admonition-title">Show the code: a loop</p>
<p class="expanded admonition-title">Hide the code</p></summary>
<div class="cell_input"><div class="highlight"><pre><span class="k">for</span>\
<span class="w"> </span>\
<span class="n">i</span>: pass\n</pre></div></div></details><div class="cell_output">
<svg viewBox="0 0 9 9" style="fill:light-dark(#123456,#fff)"><defs>
<clipPath id="c"><path d=""/></clipPath></defs>
<g clip-path="url(#c)"><a href="../index.html"><path d="M0 0"/></a></g></svg></div></div>
<div class="llama-exercise"><p>about 5 minutes</p>
<details><summary>Hint 1: a question</summary><p>What?</p></details>
<details><summary>Hint 2: the idea</summary><p>So.</p></details></div>
<div class="page-lab" data-page-lab="machine"><p>still</p>
<details><summary>The same as a table</summary><table><tr><td>7</td></tr></table></details></div>
</section><section id="build-it"><h1>Build it</h1><h2 id="deep">Deep</h2><p>Down.</p></section>"""


def built(folder: Path, pages: dict[str, str]) -> Path:
    """Pages as `make book` leaves them, with their contents beside them."""
    (folder / "_static").mkdir()
    (folder / "_static" / "pygments.css").write_text(
        'html[data-theme="light"] .highlight .k { color: #6730C5 }\nhtml[data-theme="dark"] x {}',
        "utf-8",
    )
    for name, article in pages.items():
        file = folder / f"{name}.html"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'<html><article class="bd-article">{article}</article></html>', "utf-8")
    root, *others = pages
    parts = [{"caption": "The walk", "chapters": [{"file": name} for name in others]}]
    (folder / "_toc.yml").write_text(yaml.safe_dump({"root": root, "parts": parts}), "utf-8")
    return folder


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    """A book of two pages."""
    html = built(tmp_path, {"index": FIRST, "book/01_two": SECOND})
    monkeypatch.setattr(books, "CONTENTS", html / "_toc.yml")
    return books.read_book(html=html)


def test_places_have_one_name_in_the_book_and_links_find_them(small: Book) -> None:
    first, second = small.pages
    assert [link.get("href") for link in first.article.find_all("a")] == [
        "#p-01_two--deep",
        "https://example.org/",
    ]
    assert "the index" in first.article.get_text()  # what it led to stays behind
    assert [(page.part, page.title, page.number) for page in small.pages] == [
        ("", "The first", ""),
        ("The walk", "1. Two & more", "1"),
    ]
    assert second.article.select_one("g")["clip-path"] == "url(#p-01_two--c)"
    assert second.article.select_one("svg a")["href"] == "#p-index"
    headings = [(h.name, h.get_text()) for h in second.article.find_all(["h1", "h2", "h3"])]
    assert headings == [("h1", "1. Two & more"), ("h2", "Build it"), ("h3", "Deep")]


def test_a_page_alone_keeps_the_words_of_links_that_lead_out_of_it(tmp_path: Path) -> None:
    html = built(tmp_path, {"index": FIRST, "book/01_two": SECOND})
    [page] = read_pages(html, html / "_toc.yml", ("index",))
    assert [link["href"] for link in page.article.find_all("a")] == ["https://example.org/"]
    assert "See two, elsewhere" in page.article.get_text()


def test_what_only_a_screen_can_do_is_left_out(small: Book) -> None:
    text = "".join(str(page.article) for page in small.pages)
    for word in ("<button", "<script", "Press", "<details", "light-dark", "data-page-lab"):
        assert word not in text
    assert small.styles == ".llama-predict{color:#111}"
    lab = small.pages[1].article.select_one(".page-lab")
    assert lab.table.get_text() == "7"  # its table is no answer: it stays with the still
    assert "fill:#123456" in text


def test_what_was_folded_is_in_the_appendix_and_linked_both_ways(small: Book) -> None:
    article, answers = small.pages[1].article, small.answers(small.pages[1])
    entries = small.appendix["01_two"]
    assert [(e.number, e.label) for e in entries] == [
        (1, "Answer"),
        (2, "Answers"),
        (3, "The code: a loop"),
        (4, "Hints"),
    ]
    for secret in ("wrong.", "right.", "Forty-two", "for", "Hint 1"):
        assert secret not in article.get_text()
        assert secret in answers
    assert [li.get_text() for li in article.select(".llama-predict li")] == ["This one", "That one"]
    assert [dt.get_text() for dt in BeautifulSoup(answers, "html.parser").select("dt")] == [
        "a) This one",
        "b) That one ✓",
    ]
    there = [str(a["href"])[1:] for a in article.select(".moved a")]
    here = [str(p["id"]) for p in article.select(".moved")]
    back = re.findall(r'<h3 id="([^"]+)"><a href="#([^"]+)">', answers)
    assert back == list(zip(there, here, strict=True))
    assert '<span class="k">for</span> i: pass' in answers
    assert "Show" not in answers


def test_refusals_name_what_was_expected(tmp_path: Path) -> None:
    dead = FIRST.replace("#deep", "#gone")
    html = built(tmp_path, {"index": dead, "book/01_two": SECOND})
    with pytest.raises(ValueError, match="expected a place for #p-01_two--gone, got none"):
        read_pages(html, html / "_toc.yml")
    with pytest.raises(ValueError, match=r"expected pages of the book, got \['03_x'\]"):
        read_pages(html, html / "_toc.yml", ("03_x",))
    (html / "book" / "01_two.html").unlink()
    with pytest.raises(FileNotFoundError, match=r"01_two\.html; run `make book` first"):
        read_pages(html, html / "_toc.yml")


def test_a_formula_in_tex_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = '<section id="a"><h1>A</h1><p><span class="math">x^2</span></p></section>'
    html = built(tmp_path, {"index": page})
    monkeypatch.setattr(books, "CONTENTS", html / "_toc.yml")
    with pytest.raises(ValueError, match="expected a page without TeX"):
        books.read_book(html=html)


@pytest.mark.parametrize(
    ("style", "plain"),
    [
        ("color:light-dark(#fff,#14181e)", "color:#fff"),
        ("color: light-dark(#1568e8, #77a8ff)", "color: #1568e8"),
        ("color-mix(in srgb,#2d9270 18%,transparent)", "rgba(45,146,112,0.18)"),
        ("color-mix(in srgb,currentColor 5%,transparent)", "rgba(0,0,0,0.05)"),
        ("width:calc(1em + 2px)", "width:calc(1em + 2px)"),
    ],
)
def test_colours_are_those_of_white_paper(style: str, plain: str) -> None:
    assert plain_colours(style) == plain


def test_an_epub_is_xml_with_every_file_listed(small: Book, tmp_path: Path) -> None:
    file = tmp_path / "small.epub"
    assert make_epub(small, file, html=tmp_path) == 5
    with zipfile.ZipFile(file) as archive:
        first = archive.infolist()[0]
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert texts.pop("mimetype") == "application/epub+zip"
    trees = {
        Path(name).name: ElementTree.fromstring(text)
        for name, text in texts.items()
        if not name.endswith(".css")
    }
    listed = {item.get("href") for item in trees["package.opf"].iter() if item.get("media-type")}
    assert {Path(name).name for name in texts} - listed == {"package.opf", "container.xml"}
    chapter = trees["01_two.xhtml"]
    drawing = next(e for e in chapter.iter() if e.tag.endswith("}svg"))
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing.get("viewBox") == "0 0 9 9"
    assert any(e.tag == "{http://www.w3.org/2000/svg}clipPath" for e in drawing.iter())
    links = [e.get("href", "") for e in chapter.iter() if e.tag.endswith("}a")]
    assert "answers-01_two.xhtml#answer-1" in links
    assert "index.xhtml#p-index" in links
    assert 'href="01_two.xhtml#p-01_two--deep"' in texts["EPUB/index.xhtml"]
    assert ".highlight .k { color: #6730C5 }" in texts["EPUB/book.css"]


def test_both_editions_lie_where_the_first_page_says() -> None:
    """Made beside the pages before these are published, and attached to releases."""
    index = (ROOT / "index.md").read_text("utf-8")
    for name in ("book.pdf", "book.epub"):
        assert f"({SITE.removesuffix('/book')}/{name})" in index
    for workflow, command in (("test", "check pdf epub"), ("release", "check book pdf epub")):
        text = (ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text("utf-8")
        assert f"tools.{command}" in text
        assert text.index(f"tools.{command}") < text.index(
            "path: _build/html" if workflow == "test" else "upload-artifact"
        )
    assert "cp _build/html/book.pdf _build/html/book.epub dist/" in text
    assert "epubcheck _build/html/book.epub" in text
