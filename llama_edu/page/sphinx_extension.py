"""Puts labs into the book: a directive for pages in Markdown, the script where there is a lab.

In `_config.yml`: `sphinx: extra_extensions: [llama_edu.page.sphinx_extension]`. A page says

    ```{lab} attention
    ```

and a notebook shows `llama_edu.page.labs.lab("attention")`. After the build the bundle and the
weights of `story` lie in `_static`, where only a reader's click loads the weights.
It links the words of the glossary, too, makes the index (`words.py`), and says how long a chapter
takes (`reading_time.py`).
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx

from llama_edu.page import reading_time, words
from llama_edu.page.files import BUNDLE, write_page_files
from llama_edu.page.head import add_description, drop_scripts
from llama_edu.page.labs import lab
from llama_edu.page.lighter import lighten
from llama_edu.page.search import add_search, start_search

__all__ = ["setup"]

PLACE = 'data-page-lab="'


class LabDirective(Directive):
    """`{lab} name`: a lab's place, with its still; `:running:` starts the machine with the page."""

    required_arguments = 1
    option_spec = {"running": directives.flag}  # noqa: RUF012 (docutils reads it from the class)

    def run(self) -> list[nodes.Node]:
        """The place as raw HTML, and its still as text for every other builder."""
        document = self.state.document.settings.env.docname
        chapters = "" if "/" in document else "book/"
        shown = lab(self.arguments[0], chapters=chapters, running="running" in self.options)
        plain = nodes.literal_block(shown.text, shown.text)
        other = nodes.container("", plain, classes=["lab-still"])
        html = nodes.raw("", shown.html, format="html")
        return [html] if self.state.document.settings.env.app.builder.format == "html" else [other]


def _add_script(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if PLACE in context.get("body", ""):
        app.add_js_file(BUNDLE.name, loading_method="defer")


def _write_files(app: Sphinx, problem: Exception | None) -> None:
    if problem is None and app.builder.format == "html":
        write_page_files(Path(app.outdir) / "_static")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("lab", LabDirective)
    words.connect(app)
    reading_time.connect(app)
    app.connect("html-page-context", _add_script)
    app.connect("html-page-context", add_search)
    # After everybody else has added theirs.
    app.connect("html-page-context", drop_scripts, priority=900)
    app.connect("html-page-context", add_description, priority=900)
    app.connect("build-finished", _write_files)
    app.connect("build-finished", start_search)
    # The theme writes a style sheet of its own at the same event.
    app.connect("build-finished", lighten, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
