"""Pages are light, describe themselves, and every icon they show is in the small font."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import pytest
from fontTools.ttLib import TTFont
from pages import HEAVIEST, HTML, Visit, weights
from playwright.sync_api import Browser, expect

from tools.pages.icons import FONTS, characters


@pytest.mark.parametrize("name", ["index", "book/labs", "book/notation", "book/06_score_v"])
def test_a_page_is_light_stands_still_and_complains_of_nothing(
    name: str, browser: Browser, site: str
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    complaints: list[str] = []

    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver((list) => { for (const entry of"
        " list.getEntries()) window.moved += entry.value; })"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    page.goto(f"{site}/{name}.html", wait_until="networkidle")
    sizes = weights(page)
    assert sum(sizes.values()) <= HEAVIEST, sizes
    assert not [path for path in sizes if "fontawesome" in path or "mathjax" in path]
    assert page.evaluate("window.moved") < 0.1
    assert complaints == []
    said = page.locator('meta[name="description"]').get_attribute("content") or ""
    assert 50 <= len(said) <= 160
    page.close()


def test_the_model_in_javascript_takes_no_more_than_300_lines() -> None:
    page = (HTML / "book" / "javascript.html").read_text("utf-8")
    shown = re.findall(r'<div class="highlight-javascript.*?<pre>(.*?)</pre>', page, re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", "", "\n".join(shown)))
    without_comments = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    lines = [line for line in without_comments.splitlines() if line.strip()]
    for part in ("rmsNorm", "applyRope", "applyMask", "softmax", "swiglu", "attention(", "sample("):
        assert part in without_comments
    assert 200 < len(lines) <= 300


def test_every_icon_is_in_the_small_font() -> None:
    kept = {code for font in FONTS.values() for code in TTFont(font).getBestCmap()}
    assert characters(HTML) <= kept, "python -m tools.pages.icons"


def test_a_figure_can_be_looked_at_larger(visit: Callable[..., Visit]) -> None:
    page = visit("book/06_score_v").page
    page.locator(".llama-zoom").first.press("Enter")
    page.locator("dialog.llama-large svg").wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog.llama-large").wait_for(state="detached")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_word_shows_its_entry_to_pointer_and_keyboard(
    width: int, visit: Callable[..., Visit]
) -> None:
    page = visit("book/04_qk_per_kv_group", width).page
    word = page.locator("a.word", has_text="query").first
    note = word.get_attribute("data-note")
    assert note
    assert word.get_attribute("aria-description") == note
    card = page.locator(".note-card")
    for show, away in ((word.hover, lambda: page.mouse.move(0, 0)), (word.focus, word.blur)):
        show()
        expect(card).to_have_text(note)
        box = card.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        away()
        expect(card).to_have_count(0)
    assert page.locator("a.paper").first.get_attribute("data-note")
