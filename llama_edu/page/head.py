"""What a built page need not load, and what it says about itself to who only sees its head.

The theme, Thebe and MathJax put scripts into every page. Here a page loses those it has no use
for: Thebe, which would ask the network, and MathJax where there is no mathematics. In their place
come a description, taken from the page's first sentences, and a card for who shares its address.
"""

import re
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from llama_edu.chapters import BOOK

__all__ = ["add_description", "drop_scripts"]

SITE = BOOK.removesuffix("/book")
LONGEST = 160  # characters of a description; search engines show about that many
SHORTEST = 50


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
