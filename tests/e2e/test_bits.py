"""The bits one can flip, by mouse and by keyboard, and what the page says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page

from llama_edu import viz

PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Bits</title><body>{}</body>'


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda line: complaints.append(line.text))
    opened.set_content(PAGE.format(viz.flip_bits(0.1).html))
    yield opened
    opened.close()
    assert complaints == []


def bit(page: Page, row: int, number: int) -> Locator:
    return page.locator(".lb-row").nth(row).locator(f'button[aria-label^="bit {number},"]')


def said(page: Page, row: int) -> str:
    return page.locator(".lb-row").nth(row).inner_text().split("= ")[1]


def test_a_flipped_bit_makes_the_number_the_format_says(page: Page) -> None:
    assert said(page, 0).startswith("0.100000001 (+ 2⁻⁴ × 1.60000002)")
    bit(page, 0, 31).click()  # the sign
    assert said(page, 0).startswith("−0.100000001")
    bit(page, 1, 14).click()  # the exponent's highest bit of bfloat16
    assert said(page, 1).startswith("3.40614674e+37")
    assert said(page, 2).startswith("0.0999755859")  # another row is left alone
    page.get_by_role("button", name="float32: back to 0.1").click()
    assert said(page, 0).startswith("0.100000001")


def test_every_float16_is_read_as_numpy_reads_it(page: Page) -> None:
    codes = [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C01, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0xB555]
    for code in codes:
        for place in range(16):
            button = bit(page, 2, place)
            pressed = button.get_attribute("aria-pressed") == "true"
            if pressed != bool(code >> place & 1):
                button.evaluate("button => button.click()")
        value = np.array(code, dtype="<u2").view("<f2")
        shown = said(page, 2).split(" ")[0].replace("−", "-").replace("∞", "inf")
        np.testing.assert_array_equal(np.float16(shown), value)
        assert shown.startswith("-") == (np.signbit(value) and not np.isnan(value))
        assert ("subnormal" in said(page, 2)) == (code & 0x7C00 == 0)


def test_the_keyboard_reaches_and_flips_every_bit(page: Page) -> None:
    bit(page, 1, 15).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "bit 13, exponent, 0"
    page.keyboard.press("End")
    assert page.evaluate(focused).startswith("bit 0, mantissa")
    page.keyboard.press("ArrowRight")  # nothing beyond the end
    assert page.evaluate(focused).startswith("bit 0, mantissa")
    page.keyboard.press("Home")
    assert page.evaluate(focused).startswith("bit 15, sign")
    # One stop for the tab key in each row of bits, whatever is focused.
    assert page.locator('.lb-row button[aria-pressed][tabindex="0"]').count() == 3


def test_it_fits_a_phone_and_speaks(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator('.lb-row output[aria-live="polite"]').count() == 3
    data = json.loads(page.locator('script[type="application/json"]').inner_text())
    assert data["value"] == "0.1"
    assert not page.locator(".ll-plain").is_visible()
