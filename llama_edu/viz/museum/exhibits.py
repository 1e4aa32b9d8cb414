"""What the bug museum shows: a card per exhibit, and all exhibits by the size of their gap."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, NullLocator

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    WIDTH,
    Picture,
    board,
    panel,
    picture,
    write,
)
from llama_edu.viz.parts.html import Html, escape

__all__ = ["bug_gaps", "exhibit_card", "two_digits"]

OTHER, SAME = "#b3261e", "#1568e8"
SMALLEST = 1e-4  # a gap below it is rounding
ROW, TOP, LEFT, RIGHT = 0.235, 0.62, 2.2, 1.05
_LINE = (
    "display:block;white-space:pre-wrap;padding:.15em .6em;margin:0;overflow-wrap:anywhere;"
    "font-family:monospace;font-size:.92em"
)
_FACT = (
    "display:grid;grid-template-columns:minmax(0,2fr) minmax(0,3fr);gap:.8em;padding:.2em .6em;"
    "border-top:1px solid color-mix(in srgb,currentColor 18%,transparent)"
)
# A word as wide as the other one, so that the two lines stand one below the other.
_SIGN = '<span style="display:inline-block;width:4em;opacity:.75">'
_WRONG = "background:color-mix(in srgb,#d5443a 18%,transparent)"
_RIGHT = "background:color-mix(in srgb,#2d9270 18%,transparent)"


@picture
def bug_gaps(rows: Sequence[tuple[str, float, str]]) -> Picture:
    """Bugs by how far they move a logit, the farthest on top, and when the text tells.

    Each row is a name, the largest gap between two logits, and the first other token in words, or
    "none". The scale is logarithmic. Raises `InputError` without rows, or for a gap that is no
    number or negative.
    """
    if not rows:
        raise InputError("expected at least one bug, got none")
    if not all(np.isfinite(gap) and gap >= 0 for _, gap, _ in rows):
        raise InputError(f"expected finite gaps of 0 or more, got {[gap for _, gap, _ in rows]}")
    ordered = sorted(rows, key=lambda row: -row[1])
    height = TOP + ROW * len(ordered) + 0.62
    figure, ax = board(height)
    write(ax, LEFT - 0.1, 0.3, "bug", 10, ha="right", weight="bold")
    write(ax, WIDTH - RIGHT + 0.08, 0.3, "first other\ntoken", 9, weight="bold")
    bars = panel(figure, LEFT, TOP, WIDTH - LEFT - RIGHT, ROW * len(ordered))
    for place, (name, gap, token) in enumerate(ordered):
        y = TOP + (place + 0.5) * ROW
        told = token != "none"
        write(ax, LEFT - 0.1, y, name, 9, ha="right")
        words, ink = (token, INK) if told else ("same text", MUTED)
        write(ax, WIDTH - RIGHT + 0.08, y, words, 9, color=ink)
        bars.barh(
            place,
            max(gap, SMALLEST) - SMALLEST,
            height=0.62,
            left=SMALLEST,
            color=OTHER if told else SAME,
            hatch="" if told else "//",
        )
    bars.set_xscale("log")
    bars.set_xlim(SMALLEST, max(10 * SMALLEST, 1.6 * ordered[0][1]))
    bars.set_ylim(len(ordered) - 0.5, -0.5)
    bars.xaxis.set_minor_locator(NullLocator())
    bars.xaxis.set_major_formatter(FuncFormatter(lambda gap, _: f"{gap:g}"))  # no exponents
    bars.set_yticks([])
    bars.grid(axis="x", color=FAINT, lw=0.5)
    bars.set_axisbelow(True)
    bars.set_xlabel("largest gap between two logits", fontsize=9.5)
    return Picture(figure, alt=_alt(ordered), caption=_caption(ordered))


def two_digits(gap: float) -> str:
    """A gap to two digits that count: 0.013, 2.7, 150."""
    return f"{float(f'{gap:.2g}'):g}"


def _alt(rows: Sequence[tuple[str, float, str]]) -> str:
    parts = []
    for name, gap, token in rows:
        size = two_digits(gap) if gap > SMALLEST else "nothing"
        parts.append(f"{name}: {size}, " + ("same text" if token == "none" else token))
    return (
        f"{len(rows)} bugs by the largest gap between two logits, on a logarithmic scale, and the "
        f"first new token that is another one. {'; '.join(parts)}."
    )


def _caption(rows: Sequence[tuple[str, float, str]]) -> str:
    quiet = sum(token == "none" for _, _, token in rows)
    return f"{quiet} of {len(rows)} bugs write the right text, word for word."


def exhibit_card(
    right: str,
    wrong: str,
    texts: Sequence[tuple[str, str]],
    facts: Sequence[tuple[str, str]],
) -> Html:
    """The right line of code and the wrong one, the texts they lead to, and what was measured."""
    lines = [f"right: {right}", f"wrong: {wrong}", ""]
    lines += [line for label, text in texts for line in (f"{label}:", f"  {text}")]
    lines += ["", *(f"{name}: {value}" for name, value in facts)]
    return Html(_card(right, wrong, texts, facts), "\n".join(lines))


def _card(
    right: str,
    wrong: str,
    texts: Sequence[tuple[str, str]],
    facts: Sequence[tuple[str, str]],
) -> str:
    difference = (
        f'<div role="group" aria-label="the difference" style="margin:.6em 0;border-radius:.4em;'
        f'overflow:hidden"><code style="{_LINE};{_RIGHT}">{_SIGN}right</span>{escape(right)}</code>'
        f'<code style="{_LINE};{_WRONG}">{_SIGN}wrong</span>{escape(wrong)}</code></div>'
    )
    written = "".join(
        f'<p style="margin:.5em 0"><b>{escape(label)}</b><br>'
        f'<span style="white-space:pre-wrap">{escape(text)}</span></p>'
        for label, text in texts
    )
    rows = "".join(
        f'<div style="{_FACT}"><dt style="opacity:.75">{escape(name)}</dt>'
        f'<dd style="margin:0;overflow-wrap:anywhere">{escape(value)}</dd></div>'
        for name, value in facts
    )
    body = f'{difference}{written}<dl style="margin:.6em 0;font-size:.92em">{rows}</dl>'
    return f'<div class="llama-card" style="color:inherit">{body}</div>'
