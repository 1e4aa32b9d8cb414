"""The book as an EPUB 3: a document a chapter, and after all of them the answers of each.

Written by hand, since the pages are there already: what an EPUB adds to them is a list of its
files, contents, and XML where a browser is content with HTML.
"""

from __future__ import annotations

import os
import time
import zipfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from bs4 import BeautifulSoup, Tag

from llama_edu import __version__
from llama_edu.chapters import BOOK as SITE
from tools.editions.book import (
    ABOUT,
    ABOUT_APPENDIX,
    APPENDIX,
    AUTHOR,
    HTML,
    ROOT,
    TITLE,
    Book,
    fixed_colours,
)
from tools.editions.pages import Page, place_of

__all__ = ["make_epub"]

HERE = Path(__file__).resolve().parent
# A parser of HTML writes all names small; in the XML of a drawing these have capitals.
CAPITALS: Final = {
    name.lower(): name
    for name in (
        "viewBox patternUnits patternContentUnits patternTransform preserveAspectRatio clipPath "
        "clipPathUnits gradientUnits gradientTransform linearGradient radialGradient spreadMethod "
        "textLength lengthAdjust textPath startOffset markerWidth markerHeight markerUnits refX "
        "refY pathLength maskUnits maskContentUnits foreignObject stdDeviation"
    ).split()
}
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is made
CONTAINER = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="EPUB/package.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>\n"
)


@dataclass(frozen=True)
class Document:
    """A file of the book: its name, its title, and what is in its body."""

    name: str
    title: str
    body: Tag

    @property
    def properties(self) -> str:
        """What the list of files has to say of it."""
        return ' properties="svg"' if self.body.find("svg") else ""


def make_epub(book: Book, to: Path, html: Path = HTML) -> int:
    """Write the EPUB; return how many documents it has. `html` is where the built pages lie.

    Raises `ValueError` for a document that is not well-formed XML.
    """
    chapters = [Document(f"{page.slug}.xhtml", page.title, _body(page)) for page in book.pages]
    answers = [
        Document(f"answers-{page.slug}.xhtml", page.title, _parsed(book.answers(page)))
        for page in book.pages
        if book.answers(page)
    ]
    if answers:
        first = f'<h1 id="appendix">{APPENDIX}</h1><p>{ABOUT_APPENDIX}</p>'
        answers.insert(0, Document("appendix.xhtml", APPENDIX, _parsed(first)))
    documents = [Document("title.xhtml", TITLE, _parsed(_title_page())), *chapters, *answers]
    _link(documents)
    sheet = "\n".join([fixed_colours(html), book.styles, (HERE / "reader.css").read_text("utf-8")])
    files = {
        "META-INF/container.xml": CONTAINER,
        "EPUB/package.opf": _package(documents),
        "EPUB/nav.xhtml": _page("Contents", _nav(book, answers)),
        "EPUB/book.css": sheet,
        "EPUB/cover.svg": _cover(),
    }
    for document in documents:
        for drawing in document.body.find_all("svg"):
            _as_xml(drawing)
        text = _page(document.title, document.body.decode(formatter="minimal"))
        try:
            ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise ValueError(f"{document.name}: expected well-formed XML, got {error}") from error
        files[f"EPUB/{document.name}"] = text
    to.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(to, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mimetype", LONG_AGO), "application/epub+zip")
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED, compresslevel=9)
    return len(documents)


def _parsed(html: str) -> Tag:
    body = BeautifulSoup(f"<body>{html}</body>", "html.parser").body
    if not isinstance(body, Tag):
        raise ValueError(f"expected HTML, got {html[:80]!r}")
    return body


def _body(page: Page) -> Tag:
    article = page.article
    article.name = "body"
    article.attrs = {"id": place_of(page.slug)}
    return article


def _link(documents: list[Document]) -> None:
    """Say of every link within the book in which file its place is."""
    home = {
        str(place["id"]): document.name
        for document in documents
        for place in [document.body, *document.body.find_all(id=True)]
        if place.get("id")
    }
    for document in documents:
        for link in document.body.find_all("a", href=True):
            href = str(link["href"])
            if href.startswith("#") and home[href[1:]] != document.name:
                link["href"] = home[href[1:]] + href


def _as_xml(drawing: Tag) -> None:
    """Give a drawing its namespace and its names their capitals."""
    drawing["xmlns"] = "http://www.w3.org/2000/svg"
    for element in [drawing, *drawing.find_all(True)]:
        element.name = CAPITALS.get(element.name, element.name)
        element.attrs = {CAPITALS.get(key, key): value for key, value in element.attrs.items()}


def _page(title: str, body: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" '
        'xml:lang="en" lang="en" data-theme="light"><head>'
        f"<title>{escape(title)}</title>"
        '<link rel="stylesheet" type="text/css" href="book.css"/></head>'
        f"{body}</html>\n"
    )


def _title_page() -> str:
    return (
        f'<section class="title-page"><img src="cover.svg" alt="A llama of small squares"/>'
        f"<h1>{TITLE}</h1><p>llama_edu {__version__}</p>"
        f"{ABOUT}</section>"
    )


def _cover() -> str:
    logo = (ROOT / "book" / "_static" / "logo.svg").read_text("utf-8")
    drawing = logo[logo.index("</title>") + len("</title>") : logo.index("</svg>")]
    lines = "".join(
        f'<text x="300" y="{y}" font-size="46" font-weight="700">{words}</text>'
        for y, words in ((600, "How a Llama works,"), (660, "from bytes to text"))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 900" width="600" height="900">'
        f"<title>{TITLE}</title>"
        '<rect width="600" height="900" fill="#fffefb"/>'
        f'<g transform="translate(138 150) scale(23)">{drawing}</g>'
        f'<g font-family="sans-serif" fill="#26231e" text-anchor="middle">{lines}</g></svg>\n'
    )


def _nav(book: Book, answers: list[Document]) -> str:
    parts = []
    for part, pages in book.parts():
        items = "".join(
            f'<li><a href="{page.slug}.xhtml">{escape(page.title)}</a></li>' for page in pages
        )
        parts.append(f"<li><span>{escape(part)}</span><ol>{items}</ol></li>" if part else items)
    if answers:
        first, *rest = answers
        items = "".join(f'<li><a href="{d.name}">{escape(d.title)}</a></li>' for d in rest)
        parts.append(f'<li><a href="{first.name}">{escape(APPENDIX)}</a><ol>{items}</ol></li>')
    return (
        f'<body><nav epub:type="toc" id="toc"><h1>Contents</h1><ol>{"".join(parts)}</ol></nav>'
        '<nav epub:type="landmarks" hidden="hidden"><ol>'
        f'<li><a epub:type="bodymatter" href="{book.pages[0].slug}.xhtml">Begin</a></li>'
        "</ol></nav></body>"
    )


def _package(documents: list[Document]) -> str:
    made = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    items = "".join(
        f'<item id="d{n}" href="{d.name}" media-type="application/xhtml+xml"{d.properties}/>'
        for n, d in enumerate(documents)
    )
    spine = "".join(f'<itemref idref="d{n}"/>' for n in range(len(documents)))
    features = "".join(
        f'<meta property="schema:accessibilityFeature">{feature}</meta>'
        for feature in ("alternativeText", "tableOfContents", "structuralNavigation")
    )
    modes = "".join(
        f'<meta property="schema:accessMode">{mode}</meta>' for mode in ("textual", "visual")
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" '
        'xml:lang="en"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">{SITE}#{__version__}</dc:identifier><dc:title>{TITLE}</dc:title>'
        f"<dc:language>en</dc:language><dc:creator>{AUTHOR}</dc:creator>"
        "<dc:rights>MIT License</dc:rights>"
        f'<meta property="dcterms:modified">{time.strftime("%Y-%m-%dT%H:%M:%SZ", made)}</meta>'
        f'{modes}<meta property="schema:accessModeSufficient">textual</meta>{features}'
        '<meta property="schema:accessibilityHazard">none</meta>'
        '<meta property="schema:accessibilitySummary">Figures have text alternatives; '
        "what a figure shows is also said in words.</meta></metadata><manifest>"
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="css" href="book.css" media-type="text/css"/>'
        '<item id="cover" href="cover.svg" media-type="image/svg+xml" properties="cover-image"/>'
        f"{items}</manifest><spine>{spine}</spine></package>\n"
    )
