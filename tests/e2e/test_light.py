"""Pages are light, describe themselves, and every icon they show is in the small font."""

from __future__ import annotations

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
