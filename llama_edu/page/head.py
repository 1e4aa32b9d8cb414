"""What a built page need not load, and what it says about itself to who only sees its head.

The theme, Thebe and MathJax put scripts into every page. Here a page loses those it has no use
for: Font Awesome's script, since the theme's style sheet shows the same icons by their font; Thebe,
which would ask the network; and MathJax where there is no mathematics. In their place come a
description, taken from the page's first sentences, and a card for who shares its address.
"""

import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from llama_edu.chapters import BOOK

__all__ = ["add_description", "drop_scripts", "drop_theme_scripts", "use_small_icons"]

SITE = BOOK.removesuffix("/book")
LONGEST = 160  # characters of a description; search engines show about that many
SHORTEST = 50
FONT_SCRIPT = re.compile(r"\s*<(?:script|link)[^>]*scripts/fontawesome\.js[^>]*>(?:</script>)?")
WHOLE_FONT = re.compile(
    r'url\(\.\./vendor/fontawesome/webfonts/fa-(solid|brands)-\d+\.woff2\) format\("woff2"\),'
    r'url\([^)]*\) format\("truetype"\)'
)


def drop_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Leave out the scripts that this page has no use for."""
    has_formulas = 'class="math' in context.get("body", "")

    def is_used(script: Any) -> bool:
        # An entry is a file, or the text of a script.
        attributes = getattr(script, "attributes", None) or {}
        text = f"{getattr(script, 'filename', None) or script} {attributes.get('body', '')}"
        if "thebe" in text.lower():
            return False
        return has_formulas or "mathjax" not in text.lower()

    context["script_files"] = [script for script in context["script_files"] if is_used(script)]


def add_description(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """A description, and a card for those who share the page's address."""
    if doctree is None:
        return
    title = re.sub(r"<[^>]+>", "", context.get("title", ""))
    words = escape(_description(doctree))
    card = {
        "og:type": "article",
        "og:site_name": str(app.config.html_title),
        "og:title": title,
        "og:description": words,
        "og:url": f"{SITE}/{page}.html",
        "og:image": f"{SITE}/_static/card.png",
    }
    lines = [f'<meta name="description" content="{words}">']
    lines += [f'<meta property="{name}" content="{text}">' for name, text in card.items()]
    lines.append('<meta name="twitter:card" content="summary_large_image">')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(lines) + "\n"


def _description(doctree: nodes.document) -> str:
    """The first paragraphs of a page, until there is enough to say, cut at the end of a word."""
    text = ""
    for paragraph in doctree.findall(nodes.paragraph):
        text = f"{text} {' '.join(paragraph.astext().split())}".strip()
        if len(text) >= SHORTEST:
            break
    if len(text) <= LONGEST:
        return text
    return text[: LONGEST - 1].rsplit(" ", 1)[0].rstrip(",;:.") + "…"


def drop_theme_scripts(app: Sphinx, problem: Exception | None) -> None:
    """Take Font Awesome's script, which the theme writes by itself, out of the finished pages."""
    if problem is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        if shorter := FONT_SCRIPT.sub("", text):
            page.write_text(shorter, "utf-8")


def use_small_icons(app: Sphinx, problem: Exception | None) -> None:
    """Let the theme's style sheet name the small fonts of icons in place of the whole ones.

    To declare them again in a style sheet of ours is not enough: a script that asks for the layout
    before that sheet is there makes the browser load the whole fonts.
    """
    sheet = Path(app.outdir) / "_static" / "styles" / "pydata-sphinx-theme.css"
    if problem is None and sheet.is_file():
        small = r'url(../fonts/icons-\1.woff) format("woff")'
        sheet.write_text(WHOLE_FONT.sub(small, sheet.read_text("utf-8")), "utf-8")
