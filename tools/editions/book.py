"""All of an edition in one place: its pages as stills, what they folded away, and their style."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from llama_edu.chapters import BOOK
from tools.editions.folds import Appendix, Folded, answer_id, question_id
from tools.editions.pages import Page, place_of, read_pages
from tools.editions.stills import make_still, plain_colours

__all__ = [
    "ABOUT",
    "ABOUT_APPENDIX",
    "APPENDIX",
    "AUTHOR",
    "HTML",
    "ROOT",
    "TITLE",
    "Book",
    "fixed_colours",
    "read_book",
]

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
CONTENTS = ROOT / "_toc.yml"
TITLE = "How a Llama works, from bytes to text"
AUTHOR = "the llama_edu authors"
APPENDIX = "Answers, hints, solutions and code"
LIGHT = 'html[data-theme="light"] '  # begins what pygments.css says of light pages
ABOUT_APPENDIX = (
    "Here is what the pages on the web fold away, in the order in which the chapters need it: "
    "answers to their questions, hints, solutions, and the code behind their figures. "
    "The number of each entry leads back to the place it belongs to."
)
SITE = BOOK.removesuffix("/book")
ABOUT = (
    f'<p>On the web this book runs: <a href="{SITE}/">{SITE.removeprefix("https://")}</a>. '
    "There its figures can be stepped through, its labs take a sentence of yours, and its answers "
    "are folded away until you ask for them. In this edition you see a still of each, and what is "
    "folded stands at the end of the book. A line with an arrow says under which number.</p>"
)


@dataclass(frozen=True)
class Book:
    """The pages in their order, the appendix by page, and the styles of their figures."""

    pages: list[Page]
    appendix: dict[str, list[Folded]]
    styles: str

    def parts(self) -> list[tuple[str, list[Page]]]:
        """The pages under the headings that the contents give them."""
        captions = dict.fromkeys(page.part for page in self.pages)
        return [(part, [page for page in self.pages if page.part == part]) for part in captions]

    def answers(self, page: Page) -> str:
        """What a page folded away, as HTML; empty if it folds nothing."""
        entries = self.appendix.get(page.slug, [])
        if not entries:
            return ""
        heading = f'<h2><a href="#{place_of(page.slug)}">{escape(page.title)}</a></h2>'
        return heading + "\n".join(map(_entry, entries))


def _entry(entry: Folded) -> str:
    back = f'<a href="#{question_id(entry.number)}">{entry.number}</a>'
    title = f'<h3 id="{answer_id(entry.number)}">{back} {escape(entry.label)}</h3>'
    return f'<div class="entry">{title}{"".join(map(str, entry.body))}</div>'


def read_book(only: tuple[str, ...] = (), html: Path = HTML) -> Book:
    """The whole book, or the pages of it named in `only`. Raises as `read_pages` does."""
    pages = read_pages(html, CONTENTS, only)
    appendix = Appendix()
    styles: dict[str, None] = {}  # a figure brings its style along wherever it is shown
    for page in pages:
        styles |= dict.fromkeys(make_still(page.article))
        appendix.take_from(page)
    return Book(pages, appendix.by_page, "\n".join(styles))


def fixed_colours(html: Path = HTML) -> str:
    """The style of axes, and of code as Sphinx wrote it for a light page."""
    axes = (ROOT / "book" / "_static" / "axes.css").read_text("utf-8")
    code = (html / "_static" / "pygments.css").read_text("utf-8").splitlines()
    light = [line.replace(LIGHT, "") for line in code if line.startswith(LIGHT)]
    return "\n".join([plain_colours(axes), *light])
