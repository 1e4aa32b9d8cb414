"""The one way a figure gets to the page.

A `Picture` holds a finished matplotlib figure, its drawing as SVG, and a text alternative written
from the same numbers. In a notebook it shows as an HTML figure; its plain text is the text
alternative, so that comparing notebook outputs compares what the figure says, not its strokes.
Figures are made without pyplot: nothing is registered anywhere, so nothing has to be closed.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.html import escape
from llama_edu.viz.parts.svg import to_svg

__all__ = ["LINES", "Picture", "board", "box", "panel", "picture", "rounded", "tag", "write"]

INK = "#1b1f24"
MUTED = "#56606b"
FAINT = "#c9d1d9"
PAPER = "#ffffff"
WIDTH = 5.6  # inches; 560 CSS pixels, so that 10 pt stay legible when a phone scales it to 360
# Up to three curves in one panel, told apart without colour: colour, width, dashes, marker.
LINES = (
    (axis("seq").color, 2.4, "solid", "o"),
    (axis("n_kv_heads").color, 2.0, (0, (4, 3)), "s"),
    (INK, 1.6, (0, (1, 1.5)), "^"),
)

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "hatch.linewidth": 0.6,
    "figure.facecolor": PAPER,
}

# In a signature "float" lets no int in when types are checked at run time.
Number = float | int | np.floating

P = ParamSpec("P")


class Picture:
    """A figure for the page: a drawing, a caption and a text alternative that says the same.

    A drawing narrow enough for a phone may take `zoom` times its width where the page is wide.
    Raises `InputError` without a text alternative: whoever cannot see it must lose nothing.
    """

    def __init__(self, figure: Figure, *, alt: str, caption: str, zoom: float = 1.0) -> None:
        if not alt.strip():
            raise InputError("expected a text alternative that says what the figure shows, got ''")
        self.figure = figure
        self.alt = " ".join(alt.split())
        self.caption = caption
        self.svg = to_svg(figure, zoom)

    def with_caption(self, caption: str) -> "Picture":
        """The same picture under other words."""
        other = object.__new__(Picture)
        other.__dict__.update(self.__dict__, caption=caption)
        return other

    def _repr_html_(self) -> str:
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        # The box scrolls by itself where the page is narrow, so it can be reached by keyboard.
        return (
            '<figure class="llama-figure" style="margin:1em auto;text-align:center">'
            f'<div class="llama-zoom" role="img" tabindex="0" aria-label="{escape(self.alt)}" '
            f'style="overflow-x:auto">{self.svg}</div>{caption}</figure>'
        )

    def __repr__(self) -> str:
        return self.alt


def picture(draw: Callable[P, Picture]) -> Callable[P, Picture]:
    """Decorator: run a drawing function under the book's style, whatever the reader's settings."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Picture:
        with matplotlib.style.context(["default", _STYLE]):
            return draw(*args, **kwargs)

    return styled


def board(height: Number, width: Number = WIDTH) -> tuple[Figure, Axes]:
    """An empty drawing whose coordinates are inches from its top left corner."""
    size = float(width), float(height)
    figure = Figure(figsize=size)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_xlim(0.0, size[0])
    ax.set_ylim(size[1], 0.0)
    ax.axis("off")
    return figure, ax


def panel(figure: Figure, x: Number, y: Number, width: Number, height: Number) -> Axes:
    """Axes of their own whose top left corner is at inches (x, y) of a board."""
    across, down = figure.get_size_inches()
    return figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))


def write(ax: Axes, x: Number, y: Number, text: str, size: Number = 10.0, **style: object) -> None:
    """Text at inches (x, y); left-aligned and vertically centred unless told otherwise."""
    options: dict[str, object] = {"ha": "left", "va": "center", "color": INK} | style
    ax.text(x, y, text, fontsize=size, parse_math=False, **options)  # type: ignore[arg-type]


def box(
    ax: Axes, x: Number, y: Number, width: Number, height: Number, face: str, **style: object
) -> Rectangle:
    """A filled rectangle whose top left corner is at inches (x, y)."""
    options: dict[str, object] = {"edgecolor": FAINT, "linewidth": 0.8} | style
    rectangle = Rectangle((x, y), width, height, facecolor=face, **options)  # type: ignore[arg-type]
    ax.add_patch(rectangle)
    return rectangle


def tag(
    ax: Axes, x: Number, y: Number, name: str, note: int | str | None = None, **style: object
) -> None:
    """An axis as a coloured tag at inches (x, y): its letter, then its name and size, or a note."""
    known = axis(name)
    size = "" if note is None else f" = {note:,}" if isinstance(note, int) else ""
    text = f"{known.letter}  {note}" if isinstance(note, str) else f"{known.letter}  {name}{size}"
    frame = {"boxstyle": "round,pad=0.3", "facecolor": known.color, "edgecolor": "none"}
    options: dict[str, object] = {"ha": "center", "size": 9.0, "weight": "bold"} | style
    points = float(str(options.pop("size")))
    write(ax, x, y, text, points, **(options | {"color": PAPER, "bbox": frame}))


def rounded(ax: Axes, x: Number, y: Number, width: Number, height: Number, **style: object) -> None:
    """A rectangle with round corners whose top left corner is at inches (x, y)."""
    shape = "round,pad=0,rounding_size=0.06"
    ax.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=shape, **style)  # type: ignore[arg-type]
    )
