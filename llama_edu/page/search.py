"""What the search page knows besides Sphinx's index: which chapter explains which word."""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from llama_edu.page.words import GLOSSARY, glossary_of

__all__ = ["add_search", "start_search"]

TOOLS = re.compile(r"<script[^>]*/searchtools\.js[^>]*></script>")


def add_search(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the search page the words of the glossary."""
    if page != "search" or GLOSSARY not in app.env.found_docs:
        return
    words = glossary_of(app.env.get_doctree(GLOSSARY))
    chapters = {word.term: word.document for word in words if word.document}
    terms = json.dumps(chapters, ensure_ascii=False)
    app.add_js_file(None, body=f"const llamaEduTerms = {terms.replace('<', chr(92) + 'u003c')};")


def start_search(app: Sphinx, problem: Exception | None) -> None:
    """Let the script run between Sphinx's, which it changes, and the index, which starts it."""
    page = Path(app.outdir) / "search.html"
    if problem is None and page.is_file() and GLOSSARY in app.env.found_docs:
        script = '\\g<0>\n  <script defer src="_static/search.js"></script>'
        page.write_text(TOOLS.sub(script, page.read_text("utf-8")), "utf-8")
