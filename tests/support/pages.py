"""The built pages: where they are, which there are, and what is looked for on each."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
PATIENCE_MS = 120_000  # a loaded machine is slow, not wrong
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"  # `npm ci` brings it

HEAVIEST = 450_000  # bytes of a page on the way to a reader, with all it loads, before a lab starts
PACKED = (".woff", ".woff2", ".png")  # which gzip makes no smaller

# sphinx-thebe emits one script twice; the second copy only repeats a constant.
HARMLESS = "Identifier 'THEBE_JS_URL' has already been declared"


# Text whose contrast with what lies behind it is under WCAG's 4.5 : 1 (3 : 1 for large text).
FAINT_TEXT = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const colors = new Map();
  const rgba = color => {
    if (!colors.has(color)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      colors.set(color, [r, g, b, a / 255]);
    }
    return colors.get(color);
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const grounds = new Map([[null, [255, 255, 255]]]);
  const behind = element => {
    if (!grounds.has(element))
      grounds.set(element,
        over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement)));
    return grounds.get(element);
  };
  const luminance = color => color
    .map(c => c / 255)
    .map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const silent = "script, style, noscript, dialog, mjx-assistive-mml, .headerlink";
  const shown = element => !element.closest(silent)
    && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !shown(element)) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = over(rgba(style.color), ground);
    const [high, low] = [luminance(ink), luminance(ground)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5))
      found.set(`${element.tagName}.${element.className} on ${ground.map(Math.round)}`,
        `${ratio.toFixed(2)} "${text.slice(0, 40)}"`);
  }
  return [...found].map(([where, what]) => `${what} in ${where}`);
}"""


def toc_pages() -> list[str]:
    """The pages the table of contents names, in order."""

    def walk(node: Any) -> Iterator[str]:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key in ("root", "file"):
                yield value
            elif isinstance(value, dict | list):
                yield from walk(value)

    return list(walk(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))))


@dataclass
class Visit:
    """A loaded page, with everything it asked for outside and everything it complained about."""

    page: Page
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@cache
def bytes_on_the_way(path: Path) -> int:
    """As a server sends a file that compresses what can be compressed."""
    content = path.read_bytes()
    return len(content if path.suffix in PACKED else gzip.compress(content))


def weights(page: Page) -> dict[str, int]:
    """What the page has loaded, itself included: bytes by path, the heaviest first."""
    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    inside = {unquote(urlsplit(url).path)[1:] for url in [page.url, *loaded] if "http" in url[:4]}
    sizes = {path: bytes_on_the_way(HTML / path) for path in inside}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def inaccessible(page: Page, *, contrast: bool = True) -> list[str]:
    """What axe finds wrong with the page as it is now: rule, help, and where.

    Its look at the contrast takes half of the time, and `FAINT_TEXT` looks at that too.
    Without axe this finds nothing, except where LLAMA_EDU_REQUIRE_BROWSER is set: there it fails.
    """
    if not AXE.is_file():
        assert not os.environ.get("LLAMA_EDU_REQUIRE_BROWSER"), f"{AXE} is missing: run `npm ci`"
        return []
    page.evaluate(AXE.read_text("utf-8"))
    options = {
        "resultTypes": ["violations"],
        "rules": {"color-contrast": {"enabled": contrast}},
    }
    found = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [f"{one['id']}: {one['help']}: {[n['target'] for n in one['nodes']]}" for one in found]
