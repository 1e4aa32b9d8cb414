"""Take the README's picture: a page of the built book, at the figure that says most.

make book && .venv/bin/python -m tools.pages.picture
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "_build" / "html" / "book" / "04_qk_per_kv_group.html"
PICTURE = ROOT / ".github" / "page.png"
SIZE: ViewportSize = {"width": 1180, "height": 860}
COLORS = 256


def photograph() -> bytes:
    """The chapter in the light scheme, scrolled to its first attention maps."""
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found)
        page = browser.new_page(viewport=SIZE, color_scheme="light", device_scale_factor=1.5)
        page.set_default_timeout(120_000)
        page.goto(PAGE.as_uri(), wait_until="load")
        page.evaluate("document.fonts.ready.then(() => true)")
        maps = page.locator("figure.llama-figure [aria-label^='Attention']").first
        maps.evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top + scrollY - 270)")
        page.wait_for_timeout(500)
        shot = page.screenshot()
        browser.close()
    return shot


if __name__ == "__main__":
    image = Image.open(io.BytesIO(photograph())).convert("RGB")
    PICTURE.parent.mkdir(exist_ok=True)
    image.quantize(COLORS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")
