"""The built pages on paper and in an e-reader: nothing is lost, and every link finds its place."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from pages import HTML, Visit
from playwright.sync_api import Browser
from pypdf import PdfReader
from pypdf.generic import Destination

from llama_edu.page.labs import LABS
from tools.editions.book import APPENDIX, read_book
from tools.editions.epub import make_epub
from tools.editions.pdf import destinations, document, printed

CHAPTER = "10_generate_kv_cache"  # a race, questions of three kinds, exercises, long listings
XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
A4 = (595, 842)  # points


def squeezed(text: str) -> str:
    """Text without blanks, since a line may be broken anywhere in print."""
    return re.sub(r"\s", "", text)


@dataclass
class Printed:
    """A chapter in print: the file, and the text of each of its pages."""

    file: Path
    texts: list[str]


@pytest.fixture(scope="module")
def pdf(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """A chapter as a PDF, by the command that makes the whole book."""
    file = tmp_path_factory.mktemp("edition") / "chapter.pdf"
    command = [sys.executable, "-m", "tools.editions", "pdf", CHAPTER, "--to", str(file)]
    subprocess.run(command, check=True, cwd=HTML.parents[1], capture_output=True)
    return Printed(file, [page.extract_text() for page in PdfReader(file).pages])


def test_a_chapter_in_print_has_its_pages_numbers_and_outline(pdf: Printed) -> None:
    reader, texts = PdfReader(pdf.file), pdf.texts
    assert 12 <= len(texts) <= 40
    assert {tuple(round(float(n)) for n in page.mediabox[2:]) for page in reader.pages} == {A4}
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert min(len(text) for text in texts[1:]) > 40, "an empty page"
    for number, text in enumerate(texts[2:], start=3):
        assert str(number) in text.split("\n"), text
    [chapter] = read_book((CHAPTER,)).pages
    titles = [item for item in reader.outline if isinstance(item, Destination)]
    assert [item.title for item in titles] == ["Contents", chapter.title, APPENDIX]
    sections = [h.get_text() for h in chapter.article.find_all("h2")]
    nested = reader.outline[2]
    assert [item.title for item in nested if isinstance(item, Destination)] == sections
    places = destinations(pdf.file.read_bytes())
    assert f"{chapter.title} {places[f'p-{CHAPTER}']}" in " ".join(texts[2].split())


def test_a_chapter_in_print_says_all_that_its_page_says_in_order(pdf: Printed) -> None:
    everything = squeezed("".join(pdf.texts))
    book = read_book((CHAPTER,))
    [chapter] = book.pages
    at = 0
    for heading in chapter.article.find_all(["h1", "h2", "h3"]):
        at = everything.find(squeezed(heading.get_text()), at)
        assert at >= 0, heading
    answers = BeautifulSoup(book.answers(chapter), "html.parser")
    listings = [*chapter.article.find_all("pre"), *answers.find_all("pre")]
    assert len(listings) > 40
    for listing in listings:
        for line in listing.get_text().splitlines():
            assert squeezed(line) in everything, line
    for number, page in re.findall(r"→\s*(\d+),\s*page\s*(\d+)", "\n".join(pdf.texts)):
        entry = next(e for e in book.appendix[CHAPTER] if e.number == int(number))
        assert squeezed(f"{number} {entry.label}") in squeezed(pdf.texts[int(page) - 1])
    for leftover in ("Hide the code", "press Start", "on a phone"):
        assert squeezed(leftover) not in everything


def test_what_is_wider_than_the_paper_is_not_printed_but_named(browser: Browser) -> None:
    wide = '<section id="p-x"><pre style="width:300mm">a long line</pre></section>'
    with pytest.raises(RuntimeError, match=r"got .'p-x: pre a long line'"):
        printed(browser, f"<!doctype html><body style='margin:0'>{wide}")


def test_a_page_is_printed_open_and_by_daylight(
    visit: Callable[..., Visit], tmp_path: Path
) -> None:
    page = visit("book/08_norm_mlp_residual", scheme="dark").page
    file = tmp_path / "page.pdf"
    page.pdf(path=file, format="A4")
    text = squeezed("".join(sheet.extract_text() for sheet in PdfReader(file).pages))
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("article details[open]").count() == 0
    [chapter] = read_book(("08_norm_mlp_residual",)).pages
    for heading in chapter.article.find_all(["h1", "h2"]):
        assert squeezed(heading.get_text()) in text
    for answer in BeautifulSoup(
        (HTML / "book" / "08_norm_mlp_residual.html").read_text("utf-8"), "html.parser"
    ).select("article .llama-predict details > p, article .admonition.dropdown li"):
        assert squeezed(answer.get_text()) in text
    assert "Previous" not in text


@pytest.fixture(scope="module")
def epub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ElementTree.Element]:
    """The whole book as an EPUB: the root of each of its documents."""
    file = tmp_path_factory.mktemp("edition") / "book.epub"
    make_epub(read_book(), file)
    with zipfile.ZipFile(file) as archive:
        return {
            Path(name).name: ElementTree.fromstring(archive.read(name))
            for name in archive.namelist()
            if name.endswith((".xhtml", ".opf"))
        }


def test_every_link_of_the_epub_finds_its_place(epub: dict[str, ElementTree.Element]) -> None:
    ids = {
        name: Counter(e.get("id") for e in root.iter() if e.get("id"))
        for name, root in epub.items()
    }
    assert {
        (n, i) for n, counts in ids.items() for i, count in counts.items() if count > 1
    } == set()
    links = 0
    for name, root in epub.items():
        for link in root.iter(f"{XHTML}a"):
            file, _, place = link.get("href", "").partition("#")
            if ":" not in file:
                links += 1
                assert not place or place in ids[file or name], (name, link.get("href"))
    assert links > 1500
    listed = [item.get("href") for item in epub["package.opf"].iter() if item.get("href")]
    assert set(epub) - {"package.opf"} == {name for name in listed if name.endswith("xhtml")}
    contents = {link.get("href") for link in epub["nav.xhtml"].iter(f"{XHTML}a")}
    assert contents == set(epub) - {"package.opf", "nav.xhtml", "title.xhtml"}


def test_every_figure_of_the_epub_is_there_and_described(
    epub: dict[str, ElementTree.Element],
) -> None:
    pages = [path.read_text("utf-8") for path in (HTML / "book").glob("*.html")]
    drawn = sum(page.count('<svg class="llama-drawing"') for page in pages)
    drawings = [
        (name, parent, child)
        for name, root in epub.items()
        for parent in root.iter()
        for child in parent
        if child.tag == f"{SVG}svg"
    ]
    assert sum("llama-drawing" in d.get("class", "") for _, _, d in drawings) == drawn > 60
    for name, parent, drawing in drawings:
        assert drawing.get("aria-label") or parent.get("aria-label"), name
    images = [image for root in epub.values() for image in root.iter(f"{XHTML}img")]
    assert [image.get("alt") for image in images if not image.get("alt")] == []


def test_the_editions_have_every_lab_as_a_still_with_its_table(
    epub: dict[str, ElementTree.Element], browser: Browser
) -> None:
    labs = read_book(("labs",)).pages[0].article.select(".page-lab")
    assert len(labs) == len(LABS)
    for place in labs:  # the PDF is printed of these
        assert place.select_one("figure svg[aria-label]"), place
        assert place.figcaption
        assert place.figcaption.get_text(strip=True)
        assert len(place.select("tbody tr")) >= 3
        assert place.select("details, button") == []
    assert printed(browser, document(read_book(("labs",))))[:5] == b"%PDF-"  # nothing is too wide
    bound = [
        one
        for one in epub["labs.xhtml"].iter(f"{XHTML}div")
        if "page-lab" in one.get("class", "").split()
    ]
    assert len(bound) == len(LABS)
    for one in bound:
        assert one.find(f".//{SVG}svg") is not None
        assert len(list(one.iter(f"{XHTML}tr"))) >= 4


def test_nothing_in_the_epub_is_meant_for_a_screen(epub: dict[str, ElementTree.Element]) -> None:
    for name, root in epub.items():
        tags = {element.tag.removeprefix(XHTML) for element in root.iter()}
        assert tags & {"script", "button", "details", "input", "canvas", "style"} == set(), name
        text = ElementTree.tostring(root, "unicode")
        assert "light-dark(" not in text
        assert "color-mix(" not in text
        assert "screen-only" not in text
