"""Things a notebook shows as HTML, each with a plain-text twin.

The HTML carries its own inline style and inherits the page's colours, so that it looks the same
in the book, in JupyterLab and where style sheets are stripped. The plain text is for terminals,
for viewers without HTML, and for comparing outputs.
"""

from html import escape

__all__ = ["Html", "escape"]


class Html:
    """A piece of HTML and the plain text that says the same."""

    def __init__(self, html: str, text: str) -> None:
        self.html = html
        self.text = text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text
