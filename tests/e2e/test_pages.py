"""Every page as a reader meets it: wide and narrow, light and dark, without a network."""

from __future__ import annotations

import functools
import html
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any, Literal
from urllib.parse import unquote, urlencode, urljoin

import pytest
from pages import (
    FAINT_TEXT,
    HARMLESS,
    HEAVIEST,
    HTML,
    Visit,
    inaccessible,
    toc_pages,
    weights,
)
from playwright.sync_api import Locator, Page

from llama_edu.chapters import BOOK, CHAPTER_FILES, section_address
from llama_edu.exercises import check

Open = Callable[..., Visit]
Scheme = Literal["light", "dark"]
Look = tuple[int, Scheme]

PAGES = toc_pages()
LOOKS: tuple[Look, ...] = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
# Layout depends on the width and colours on the scheme: two looks have each of them once.
# With LLAMA_EDU_EVERY_LOOK=1 every page is opened in all of them, by axe as well: ten minutes.
EVERY_LOOK = os.environ.get("LLAMA_EDU_EVERY_LOOK") == "1"
WIDE_FIRST, NARROW_FIRST = (LOOKS[0], LOOKS[3]), (LOOKS[3], LOOKS[0])
# axe takes its time: it sees every page in the look it is opened in, wide and folded, or narrow
# and unfolded. In the next look the page is as its reader has turned it.
AXE_FOLDED, AXE_UNFOLDED = (LOOKS, LOOKS) if EVERY_LOOK else (LOOKS[:1], LOOKS[3:])
LOOKED_AT: list[tuple[str, tuple[Look, ...]]] = [
    (name, (WIDE_FIRST, NARROW_FIRST)[place % 2])
    for place, name in enumerate(PAGES)
    if name not in ("index", "book/11_sample")
]
LOOKED_AT += [("index", LOOKS), ("book/11_sample", LOOKS[::-1])]
if EVERY_LOOK:
    LOOKED_AT = [(name, (look,)) for name in PAGES for look in LOOKS]
PLAIN_QUOTES = str.maketrans("‘’“”", "''\"\"")

# Answers and solutions are folded away; what is wrong inside them counts as well.
UNFOLD = """() => {
  document.querySelectorAll(".toggle-hidden").forEach(e => e.classList.remove("toggle-hidden"));
  document.querySelectorAll("details").forEach(e => (e.open = true));
  // Text that fades in is faint while it does.
  return Promise.all(document.getAnimations().map(a => a.finished)).then(() => true);
}"""

LAYOUT = """() => {
  const article = document.querySelector("article.bd-article") ?? document.body;
  const images = [...article.querySelectorAll("img")];
  const describe = element => element.outerHTML.slice(0, 120);
  return {
    sideways: document.documentElement.scrollWidth - window.innerWidth,
    headings: article.querySelectorAll("h1").length,
    rawMath: [...article.querySelectorAll(".math")].filter(m => !m.querySelector("mjx-container"))
      .map(m => m.textContent),
    brokenMath: [...article.querySelectorAll("mjx-merror, [data-mjx-error]")]
      .map(m => m.textContent),
    brokenImages: images.filter(i => !i.complete || i.naturalWidth === 0).map(describe),
    silentImages: images.filter(i => !i.alt.trim()).map(describe),
    spilled: [...article.querySelectorAll("p, li, table, pre, figure, img, div.cell, h1, h2, h3")]
      .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1)
      // what lies in a box that scrolls by itself is reached there
      .filter(e => {
        for (let up = e.parentElement; up && up !== article; up = up.parentElement)
          if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return false;
        return true;
      })
      .map(describe),
  };
}"""


@pytest.mark.parametrize(("name", "looks"), LOOKED_AT)
def test_page(name: str, looks: tuple[Look, ...], visit: Open) -> None:
    seen = visit(name, *looks[0])
    for look in looks:
        if look != looks[0]:
            turn(seen.page, *look)
        looks_right(seen, name, look, opened=look == looks[0])
    assert seen.outside == [], "a page must not ask the network for anything"
    assert [text for text in seen.complaints if HARMLESS not in text] == []
    heaviest = weights(seen.page)
    assert sum(heaviest.values()) <= HEAVIEST, heaviest


def turn(page: Page, width: int, scheme: Scheme) -> None:
    """What a reader does who turns the phone, or whose evening begins."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "([width, scheme]) => window.innerWidth === width"
        " && document.documentElement.dataset.theme === scheme",
        arg=[width, scheme],
    )
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")


def looks_right(seen: Visit, name: str, look: Look, *, opened: bool) -> None:
    assert seen.page.evaluate("document.documentElement.dataset.theme") == look[1]
    if opened and look in AXE_FOLDED:
        assert inaccessible(seen.page, contrast=EVERY_LOOK) == []
    seen.page.evaluate(UNFOLD)
    if opened and look in AXE_UNFOLDED:
        assert inaccessible(seen.page, contrast=EVERY_LOOK) == []
    layout: dict[str, Any] = seen.page.evaluate(LAYOUT)
    assert layout == {
        "sideways": 0,
        # a chapter has two parts, each under a title of its own
        "headings": 2 if re.match(r"book/(?!00)\d\d_", name) else 1,
        "rawMath": [],
        "brokenMath": [],
        "brokenImages": [],
        "silentImages": [],
        "spilled": [],
    }
    assert seen.page.evaluate(FAINT_TEXT) == []


@functools.cache
def ids_of(path: str) -> set[str]:
    """The places a link into a page may name."""
    return set(re.findall(r"""\b(?:id|name)=["']([^"']+)["']""", (HTML / path).read_text("utf-8")))


class _Links(HTMLParser):
    """Collects where the links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found |= {to for name, to in attrs if name == "href" and to is not None}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_pages_and_places_that_exist(name: str) -> None:
    links = _Links()
    links.feed((HTML / f"{name}.html").read_text("utf-8"))
    assert links.found
    dead = []
    for link in links.found:
        address = urljoin(f"http://book/{name}.html", link)
        if not address.startswith("http://book/"):
            continue
        whole, _, place = address.removeprefix("http://book/").partition("#")
        path = unquote(whole.split("?")[0]) or "index.html"
        if not (HTML / path).is_file() or (place and unquote(place) not in ids_of(path)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("topic", CHAPTER_FILES)
def test_the_exercises_lead_to_places_that_exist(topic: str) -> None:
    """What a verdict tells to read again, as it will stand in the published book."""
    asked = [item.exercise for item in check if item.exercise.topic == topic]
    assert asked
    headings = {e.section for e in asked} | {m.section for e in asked for m in e.mutants}
    page = f"book/{CHAPTER_FILES[topic]}.html"
    for heading in headings - {""}:
        path, _, place = section_address(topic, heading).removeprefix(f"{BOOK}/").partition("#")
        assert f"book/{path}" == page
        built = re.search(
            rf'<section id="{place}">\s*<h[23]>(.*?)<a class="headerlink"',
            (HTML / page).read_text("utf-8"),
        )
        assert built, f"no section {place!r} in {page}"
        title = html.unescape(re.sub(r"<[^>]+>", "", built.group(1)))
        assert title.translate(PLAIN_QUOTES) == heading


def test_the_fonts_are_ours(visit: Open) -> None:
    page = visit("index").page
    loaded = page.evaluate(
        "[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family)"
    )
    assert {"Source Serif 4", "Source Sans 3"} <= {family.strip('"') for family in loaded}


def test_axis_colours_change_with_the_page(visit: Open) -> None:
    colour = (
        "getComputedStyle(document.querySelector('.axis-n_kv_heads'), '::before').backgroundColor"
    )
    light = visit("book/notation", scheme="light").page.evaluate(colour)
    dark = visit("book/notation", scheme="dark").page.evaluate(colour)
    assert light.startswith("rgb(")
    assert light != dark


@pytest.mark.parametrize(
    ("asked", "first", "section"),
    [
        ("tokeniser", "book/02_text_to_ids.html", "> Tokens"),
        ("Softmax", "book/05_mask_and_softmax.html", "> The softmax, row by row"),
        ("KV cache", "book/10_generate_kv_cache.html", "Words, "),
        ("colors", "book/notation.html", "> One colour for one axis"),
        ("total_seq", "", "One word for one thing"),
    ],
)
def test_search_finds_sections_and_the_chapter_that_explains_first(
    asked: str, first: str, section: str, visit: Open
) -> None:
    seen = visit("search")
    seen.page.goto(seen.page.url + "?" + urlencode({"q": asked}))
    seen.page.wait_for_selector(".search-summary:has-text('found')")
    links = seen.page.locator("#search-results li > a")
    titles = links.all_text_contents()
    assert any(section in title for title in titles), titles
    if first:
        assert (links.first.get_attribute("href") or "").split("?")[0].endswith(first), titles
    assert seen.outside == []
    assert [text for text in seen.complaints if HARMLESS not in text] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_that_goes_on_to_the_right_has_a_shade(scheme: str, visit: Open) -> None:
    page = visit("book/15_how_fast", 390, scheme).page
    blocks = page.locator(".bd-article div.cell_input pre:visible")
    over = "blocks => blocks.map(block => block.scrollWidth - block.clientWidth)"
    cut = blocks.evaluate_all(over)
    goes_on, fits = (blocks.nth(next(i for i, x in enumerate(cut) if is_it(x)))
                     for is_it in (lambda x: x > 60, lambda x: x == 0))  # fmt: skip

    def edge(block: Locator) -> bytes:
        """The right end of the padding above the code, where no letter is."""
        block.scroll_into_view_if_needed()
        place = block.bounding_box()
        assert place
        clip = {"x": place["x"] + place["width"] - 24, "y": place["y"] + 2}
        return page.screenshot(clip={**clip, "width": 20, "height": 5})

    at_first = edge(goes_on)
    goes_on.evaluate("block => (block.scrollLeft = block.scrollWidth)")
    at_last = edge(goes_on)
    assert at_first != at_last
    assert at_last == edge(fits)


def test_the_menu_opens_on_a_phone(visit: Open) -> None:
    page = visit("index", 390).page
    entry = page.locator(".bd-sidebar-primary").get_by_role("link", name="One word for one thing")
    entry.wait_for(state="hidden")
    page.locator(".primary-toggle:visible").first.click()
    entry.wait_for(state="visible")
