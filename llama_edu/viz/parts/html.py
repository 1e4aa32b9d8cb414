"""Things a notebook shows as HTML, each with a plain-text twin.

The HTML carries its own inline style and inherits the page's colours, so that it looks the same
in the book, in JupyterLab and where style sheets are stripped. The plain text is for terminals,
for viewers without HTML, and for comparing outputs.
"""

import re
from collections.abc import Iterable
from html import escape

__all__ = ["Html", "aligned", "cell_style", "escape", "inline", "table", "td", "th"]

_RULE = "1px solid color-mix(in srgb,currentColor 18%,transparent)"


class Html:
    """A piece of HTML and the plain text that says the same."""

    def __init__(self, html: str, text: str) -> None:
        self.html = html
        self.text = text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def aligned(rows: list[list[str]], right: set[str]) -> str:
    """Columns padded to one width; the first row holds titles, those in `right` end flush."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ends = [title in right for title in rows[0]]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if end else cell.ljust(width)
            for cell, width, end in zip(row, widths, ends, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def table(head: str, body: Iterable[str], caption: str = "") -> str:
    """A table that scrolls inside itself where the page is narrow."""
    note = f'<caption style="caption-side:top;color:inherit">{escape(caption)}</caption>'
    return (
        '<div class="llama-table" style="overflow-x:auto;margin:.6em 0">'
        '<table style="border-collapse:collapse;margin:0 auto;color:inherit;background:none;'
        'font-size:.92em;font-variant-numeric:tabular-nums">'
        f"{note if caption else ''}<thead>{head}</thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def th(content: str, *, align: str = "left", scope: str = "col") -> str:
    """A heading, of a column or of a row."""
    return f'<th scope="{scope}" style="{cell_style(align)};font-weight:600">{content}</th>'


def td(content: str, *, align: str = "left", style: str = "") -> str:
    """An entry."""
    return f'<td style="{cell_style(align)};{style}">{content}</td>'


def cell_style(align: str) -> str:
    """What all cells have in common."""
    return (
        f"padding:.25em .5em;border:0;border-bottom:{_RULE};text-align:{align};white-space:nowrap"
    )


def inline(text: str) -> str:
    """Text with `code` in backticks, *emphasis* and **bold**, as HTML."""
    html = escape(" ".join(text.split()))
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    html = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html)
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", html)
