"""What the search page knows besides Sphinx's index: which chapter explains which word."""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

__all__ = ["add_search", "start_search"]

GLOSSARY = "book/glossary"
TOOLS = re.compile(r"<script[^>]*/searchtools\.js[^>]*></script>")
CHAPTER = re.compile(r"\d\d_\w+")


def add_search(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the search page the words of the glossary."""
    if page != "search" or GLOSSARY not in app.env.found_docs:
        return
    terms = json.dumps(explaining_chapters(app.env.get_doctree(GLOSSARY)), ensure_ascii=False)
    app.add_js_file(None, body=f"const llamaEduTerms = {terms.replace('<', chr(92) + 'u003c')};")


def start_search(app: Sphinx, problem: Exception | None) -> None:
    """Let the script run between Sphinx's, which it changes, and the index, which starts it."""
    page = Path(app.outdir) / "search.html"
    if problem is None and page.is_file() and GLOSSARY in app.env.found_docs:
        script = '\\g<0>\n  <script defer src="_static/search.js"></script>'
        page.write_text(TOOLS.sub(script, page.read_text("utf-8")), "utf-8")


def explaining_chapters(glossary: nodes.document) -> dict[str, str]:
    """The page of the last chapter that a term's entry names, for the terms that name one."""
    chapters: dict[str, str] = {}
    for item in glossary.findall(nodes.definition_list_item):
        targets = [link["reftarget"] for link in item.findall(addnodes.pending_xref)]
        found = [name[0] for name in map(CHAPTER.search, targets) if name]
        if found:
            for term in item.findall(nodes.term):
                chapters[term.astext()] = f"book/{found[-1]}"
    return chapters
