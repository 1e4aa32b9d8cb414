"""Draw the card that is shown where a page's address is shared: `python -m tools.pages.card`.

1,200 × 630 pixels, the size the networks ask for, drawn by a browser from the book's own logo.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

__all__ = ["CARD", "main"]

STATIC = Path(__file__).resolve().parent.parent.parent / "book" / "_static"
CARD = STATIC / "card.png"
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ align-items: center; background: #fffefb; color: #1b1f24; display: flex; gap: 60px;
  font-family: "Source Sans 3", "DejaVu Sans", sans-serif; height: 630px; margin: 0 70px }}
svg {{ flex: none; height: 300px; width: 300px }}
h1 {{ font-size: 74px; line-height: 1.12; margin: 0 0 28px }}
p {{ color: #565c64; font-size: 34px; line-height: 1.35; margin: 0 }}
</style>{logo}<div><h1>How a Llama works, from bytes to text</h1>
<p>A book that runs: every number computed in NumPy, and again in your browser.</p></div>"""


def main() -> None:
    """Write the card."""
    browsers = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, browsers)), None)
    if found is None:
        sys.exit(f"expected a browser among {', '.join(browsers)}, got none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        page.set_content(PAGE.format(logo=(STATIC / "logo.svg").read_text("utf-8")))
        page.screenshot(path=CARD)
        browser.close()


if __name__ == "__main__":
    main()
