"""The book as a PDF: all pages in one document, printed by Chromium.

It is printed twice. The first print says on which page each chapter and each answer came to lie;
the second has these numbers in its contents and behind its references. They keep the same room in
both, so nothing moves.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, PdfObject, TextStringObject

from llama_edu import __version__
from tools.editions.book import (
    ABOUT,
    ABOUT_APPENDIX,
    APPENDIX,
    AUTHOR,
    ROOT,
    TITLE,
    Book,
    fixed_colours,
)
from tools.editions.pages import Page, place_of

__all__ = ["destinations", "document", "make_pdf", "printed"]

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPENDIX_ID = "appendix"
TO_ANSWER = re.compile(r'(<a href="#(answer-\d+)">[^<]*)</a>')
REFERENCE = re.compile(r'<span class="on" data-to="([^"]+)">[^<]*</span>')
PRINT_TIMEOUT_MS = 600_000
COLUMN_PX = round((210 - 24 - 22) / 25.4 * 96)  # what the margins in paper.css leave of A4
# What does not fit would be cut off, silently.
TOO_WIDE = """() => {
  const edge = document.body.getBoundingClientRect().right + 1;
  const wide = (box) => box.getBoundingClientRect().right > edge
    || (box.matches("pre") && box.scrollWidth > box.clientWidth + 1);
  const where = (box) => box.closest("section[id]")?.id ?? "the first pages";
  return [...document.querySelectorAll("pre, table, svg, figure, p, code")].filter(wide)
    .map((box) => `${where(box)}: ${box.localName} ${box.textContent.slice(0, 60)}`);
}"""
HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")]
  .map((heading) => heading.textContent)"""


def make_pdf(book: Book, to: Path) -> int:
    """Write the PDF; return how many pages it has.

    Raises `FileNotFoundError` where there is no Chromium, and `RuntimeError` for what is wider than
    the paper, or if the page numbers of the first print are not those of the second.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise FileNotFoundError(f"expected a browser among {', '.join(BROWSERS)}, got none")
    text = document(book)
    with sync_playwright() as playwright:
        sealed = "--host-resolver-rules=MAP * ~NOTFOUND"
        browser = playwright.chromium.launch(executable_path=found, args=[sealed])
        pages = destinations(printed(browser, REFERENCE.sub('<span class="on">000</span>', text)))
        numbered = REFERENCE.sub(lambda m: f'<span class="on">{pages[m[1]]}</span>', text)
        result = printed(browser, numbered)
        browser.close()
    if destinations(result) != pages:
        raise RuntimeError("expected both prints to have the same pages, got other numbers")
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(result)
    return len(PdfReader(io.BytesIO(result)).pages)


def document(book: Book) -> str:
    """The whole book as one page of HTML, with a place for each number of a page."""
    chapters = [_chapter(page) for page in book.pages]
    answers = "".join(book.answers(page) for page in book.pages)
    if answers:
        chapters.append(
            f'<section class="chapter appendix" id="{APPENDIX_ID}" style="page: {APPENDIX_ID}">'
            f"<h1>{APPENDIX}</h1><p>{ABOUT_APPENDIX}</p>{answers}</section>"
        )
    body = TO_ANSWER.sub(lambda m: f"{m[1]}, page {_on(m[2])}</a>", "\n".join(chapters))
    sheets = [
        _fonts(),
        fixed_colours(),
        book.styles,
        (HERE / "paper.css").read_text("utf-8"),
        "\n".join(map(_heads, book.pages)),
    ]
    style = "\n".join(sheets).replace("</", "<\\/")
    return (
        f'<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f'<title>{TITLE}</title><meta name="author" content="{AUTHOR}"><style>{style}</style>'
        f"</head><body>{_title_page()}{_contents(book)}{body}</body></html>"
    )


def _on(place: str) -> str:
    return f'<span class="on" data-to="{place}"></span>'


def _chapter(page: Page) -> str:
    place = place_of(page.slug)
    inner = page.article.decode_contents()
    return f'<section class="chapter" id="{place}" style="page: {place}">{inner}</section>'


def _title_page() -> str:
    logo = (ROOT / "book" / "_static" / "logo.svg").read_text("utf-8")
    return (
        f'<section class="title-page">{logo}<p class="title">{TITLE}</p>'
        f'<p>llama_edu {__version__}</p></section><section class="about">{ABOUT}</section>'
    )


def _contents(book: Book) -> str:
    lines = []
    for part, pages in book.parts():
        if part:
            lines.append(f'<p class="part">{escape(part)}</p>')
        lines += [_line(page.title, place_of(page.slug)) for page in pages]
    if book.appendix:
        lines.append('<p class="part">Appendix</p>')
        lines.append(_line(APPENDIX, APPENDIX_ID))
    return f'<nav class="contents"><h1>Contents</h1>{"".join(lines)}</nav>'


def _line(title: str, place: str) -> str:
    return f'<p><a href="#{place}">{escape(title)} {_on(place)}</a></p>'


def _heads(page: Page) -> str:
    """The title of a chapter above each of its pages."""
    words = page.title.replace("\\", "\\\\").replace('"', '\\"')
    return f'@page {place_of(page.slug)} {{ @top-left {{ content: "{words}" }} }}'


def _fonts() -> str:
    """The fonts of the pages, by their addresses on this machine."""
    text = (ROOT / "book" / "_static" / "llama.css").read_text("utf-8")
    faces = re.findall(r"@font-face \{.*?\}", text, re.DOTALL)
    fonts = (ROOT / "assets" / "fonts").as_uri()
    return "\n".join(face.replace('url("fonts', f'url("{fonts}') for face in faces).replace(
        "font-display: optional", "font-display: block"
    )


def printed(browser: Browser, text: str) -> bytes:
    """A document on A4. Raises `RuntimeError` for what does not fit between the margins."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "book.html"
        file.write_text(text, "utf-8")
        page = browser.new_page(color_scheme="light", viewport={"width": COLUMN_PX, "height": 900})
        page.set_default_timeout(PRINT_TIMEOUT_MS)
        page.emulate_media(media="print")
        page.goto(file.as_uri())
        wide = page.evaluate(TOO_WIDE)
        if wide:
            page.close()
            raise RuntimeError(f"expected everything to fit between the margins, got {wide}")
        headings = page.evaluate(HEADINGS)
        result = page.pdf(
            prefer_css_page_size=True, print_background=True, outline=True, tagged=True
        )
        page.close()
    return _with_outline(result, headings)


def _with_outline(pdf: bytes, headings: list[str]) -> bytes:
    """The outline with the headings as they are: Chromium drops the blank where a line ends."""
    writer = PdfWriter(io.BytesIO(pdf), incremental=True)
    known = {"".join(heading.split()): " ".join(heading.split()) for heading in headings}
    for item in _outline(writer.root_object.get("/Outlines")):
        told = str(item["/Title"])
        item[NameObject("/Title")] = TextStringObject(known.get("".join(told.split()), told))
    result = io.BytesIO()
    writer.write(result)
    return result.getvalue()


def _outline(parent: PdfObject | None) -> Iterator[DictionaryObject]:
    """The entries below one entry of an outline, in the order in which they are read."""
    above = parent.get_object() if parent is not None else None
    child = above.get("/First") if isinstance(above, DictionaryObject) else None
    while child is not None:
        entry = child.get_object()
        if not isinstance(entry, DictionaryObject):
            raise RuntimeError(f"expected an entry of the outline, got {entry}")
        yield entry
        yield from _outline(entry)
        child = entry.get("/Next")


def destinations(printed: bytes) -> dict[str, int]:
    """The number of the page on which each place lies that something links to."""
    reader = PdfReader(io.BytesIO(printed))
    found = {}
    for name, destination in reader.named_destinations.items():
        number = reader.get_destination_page_number(destination)
        if number is not None:
            found[name.removeprefix("/")] = number + 1
    return found
