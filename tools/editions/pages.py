"""The built pages in the order of the contents, each with a name for every place in it.

An edition is made of the pages that `make book` built and a browser test has looked at, not of the
notebooks again: what a figure or a table looks like is decided once. Here the pages are read, and
their ids become names that no other page uses, so that all pages may stand in one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag

__all__ = ["Page", "classes", "place_of", "read_pages"]

NUMBER = re.compile(r"(\d+)\. ")  # how the title of a numbered chapter begins
IN_URL = re.compile(r"url\(#([^)]+)\)")  # a drawing names a part of its own
NAMING = ("aria-labelledby", "aria-describedby", "for", "headers")  # attributes that hold ids
OUTSIDE = re.compile(r"[a-z]+:")  # an address with a scheme
ARTICLE = re.compile(r"<article\b.*</article>", re.DOTALL)
# The highlighter marks every name, comma and blank, in the colour that text has anyway. Without
# these marks there is half as much to read, and a PDF is half as large.
PLAIN_CODE = re.compile(r'<span class="(?:n|nn|nx|p|w|pre)">([^<]*)</span>')
# What the pages link to that is no page: it stays behind.
LEFT_BEHIND = ("genindex.html", "search.html")


@dataclass
class Page:
    """A page of the book: `article` is what the reader reads, without menus and margins."""

    slug: str  # "04_qk_per_kv_group", as the file is called
    part: str  # the heading under which the contents list it; the first page has none
    title: str
    article: Tag
    number: str = field(init=False)  # "4", or "" for a page that is no numbered chapter

    def __post_init__(self) -> None:
        begins = NUMBER.match(self.title)
        self.number = begins[1] if begins else ""


def place_of(slug: str, inside: str = "") -> str:
    """The id, in an edition, of a page or of a place on it."""
    return f"p-{slug}--{inside}" if inside else f"p-{slug}"


def classes(element: Tag) -> list[str]:
    """The classes of an element; none if it has no attribute of that name."""
    return [str(name) for name in element.get_attribute_list("class") if name]


def listed(contents: Path) -> Iterator[tuple[str, str]]:
    """The name of each page as `_toc.yml` has it, and the part it belongs to."""
    toc = yaml.safe_load(contents.read_text("utf-8"))
    yield toc["root"], ""
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            yield chapter["file"], part["caption"]


def read_pages(html: Path, contents: Path, only: tuple[str, ...] = ()) -> list[Page]:
    """All pages of the book, or those whose slug is in `only`, in the order of the contents.

    Links between them become `#places`; a link to a page that was left out becomes plain text.
    Raises `FileNotFoundError` for a page that was not built, and `ValueError` for a slug that the
    contents do not have and for a link that leads nowhere.
    """
    names = list(listed(contents))
    slugs = [Path(name).name for name, _ in names]
    unknown = sorted(set(only) - set(slugs))
    if unknown:
        raise ValueError(f"expected pages of the book, got {unknown}; there are {slugs}")
    pages = []
    for name, part in names:
        slug = Path(name).name
        if only and slug not in only:
            continue
        file = html / f"{name}.html"
        if not file.is_file():
            raise FileNotFoundError(f"expected the built page {file}; run `make book` first")
        text = ARTICLE.search(file.read_text("utf-8"))
        article = text and BeautifulSoup(PLAIN_CODE.sub(r"\1", text[0]), "html.parser").article
        if not isinstance(article, Tag) or not isinstance(article.h1, Tag):
            raise ValueError(f"{file}: expected an article with a heading, got none")
        for anchor in article.select("a.headerlink"):
            anchor.decompose()
        rename(article, slug, set(slugs))
        pages.append(Page(slug, part, article.h1.get_text().strip(), article))
    settle_links(pages)
    return pages


def rename(article: Tag, slug: str, slugs: set[str]) -> None:
    """Give every id of a page its name in the edition, and every link the name it leads to."""
    seen: set[str] = set()
    for element in article.find_all(True):
        for key, value in list(element.attrs.items()):
            text = value if isinstance(value, str) else " ".join(value)
            if key == "id":
                place = place_of(slug, text)
                if place in seen:  # drawings repeat a part they share; the first will do for all
                    del element["id"]
                else:
                    element["id"] = place
                seen.add(place)
            elif key == "href":
                element["href"] = target(text, slug, slugs)
            elif key in NAMING:
                element[key] = " ".join(place_of(slug, one) for one in text.split())
            elif "url(#" in text:
                element[key] = IN_URL.sub(lambda m: f"url(#{place_of(slug, m[1])})", text)


def target(href: str, slug: str, slugs: set[str]) -> str:
    """Where a link of page `slug` leads in the edition: `#place`, or the address it has."""
    if OUTSIDE.match(href):
        return href
    file, _, inside = href.partition("#")
    name = Path(file).stem if file else slug
    if Path(file).name in LEFT_BEHIND or name not in slugs:
        return ""
    return "#" + place_of(name, inside)


def settle_links(pages: list[Page]) -> None:
    """Turn links to pages that this edition lacks into text; refuse those that lead nowhere."""
    here = {place_of(page.slug) for page in pages}
    here |= {str(e["id"]) for page in pages for e in page.article.find_all(id=True)}
    slugs = {page.slug for page in pages}
    for page in pages:
        for link in page.article.find_all("a", href=True):
            href = str(link["href"])
            if href.startswith("#") and href[1:] not in here:
                if href[3:].split("--")[0] in slugs:
                    raise ValueError(f"{page.slug}: expected a place for {href}, got none")
                href = ""
            if not href:
                link.name = "g" if link.find_parent("svg") else "span"
                link.attrs = {}
