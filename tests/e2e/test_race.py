"""The stopwatch in a browser: it writes at the recorded pace, and its end can be had at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from llama_edu import viz

PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Race</title><body>{}</body>'
PIECES = ["One", " two", " three"]
CLOCKS = {"slow": [0.2, 0.4, 600.0], "quick": [0.1, 0.2, 0.3]}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda line: complaints.append(line.text))
    opened.set_content(PAGE.format(viz.stopwatch(PIECES, CLOCKS).html))
    yield opened
    opened.close()
    assert complaints == []


def test_each_text_is_written_at_its_own_pace(page: Page) -> None:
    slow, quick = page.locator(".lr-text").all()
    assert {slow.text_content(), quick.text_content()} == {"One two three"}  # at rest, its end
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".lr-head").nth(1)).to_contain_text("3 tokens, 0.3 s")
    expect(quick).to_have_text("One two three")
    expect(slow).to_have_text("One two")
    expect(page.locator(".lr-head").nth(1)).to_contain_text("3 tokens, 0.3 s")
    page.get_by_role("button", name="Show the end").click()
    expect(slow).to_have_text("One two three")
    expect(page.locator(".ll-say")).to_have_text("3 tokens: slow 600.0 s, quick 0.3 s.")
