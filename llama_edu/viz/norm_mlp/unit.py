"""One neuron of an MLP, drawn with its numbers: what it asks, how far it opens, what it adds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.ops.mlp import silu
from llama_edu.viz.parts.axes import PARTS, axis
from llama_edu.viz.parts.figure import (
    INK,
    MUTED,
    PAPER,
    Number,
    Picture,
    board,
    box,
    picture,
    rounded,
    write,
)

__all__ = ["mlp_unit"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
HEIGHT = 4.05
ZOOM = 1.25  # on a wide page
MAX_NUMBERS, WIDEST = 2, 5  # of a list, and characters of a number
CELL = (0.46, 0.28)
LEFT, MIDDLE, RIGHT = 1.05, WIDTH / 2, WIDTH - 1.05
Numbers = Sequence[Number] | np.ndarray
STREAM, INSIDE = axis("hidden_size").color, PARTS["mlp"][0]


@picture
def mlp_unit(x: Numbers, gate: Numbers, up: Numbers, down: Numbers) -> Picture:
    """A word's list `x` through one unit with its lists `gate`, `up` and `down`, top to bottom.

    All four are `(hidden_size,)`, with at most 2 numbers, and what comes of them has to fit into
    5 characters. Raises `InputError` for other shapes and for longer numbers.
    """
    lists = [np.asarray(given, dtype=np.float64) for given in (x, gate, up, down)]
    shape = lists[0].shape
    if len(shape) != 1 or not 0 < shape[0] <= MAX_NUMBERS or any(a.shape != shape for a in lists):
        raise InputError(
            f"expected four lists of the same 1 to {MAX_NUMBERS} numbers, got shapes "
            f"{[a.shape for a in lists]}"
        )
    word, asks, offers, adds = lists
    asked, offered = float(word @ asks), float(word @ offers)
    opened = float(silu(np.array([asked], dtype=np.float32))[0])
    passed = opened * offered
    long = [v for v in (*np.concatenate(lists), *passed * adds) if len(_short(v)) > WIDEST]
    if long:
        raise InputError(f"expected numbers of at most {WIDEST} characters, got {long}")
    figure, ax = board(HEIGHT, WIDTH)
    write(ax, MIDDLE, 0.16, "the word's list", ha="center")
    _row(ax, MIDDLE, 0.3, word, STREAM)
    for x_at, name, numbers in ((LEFT, "first list", asks), (RIGHT, "second list", offers)):
        _arrow(ax, (MIDDLE, 0.62), (x_at, 0.98))
        write(ax, x_at, 1.08, name, ha="center", color=MUTED)
        _row(ax, x_at, 1.22, numbers, INSIDE)
        _arrow(ax, (x_at, 1.54), (x_at, 1.84))
    _said(ax, LEFT, 1.98, f"gate {_short(asked)}")
    _arrow(ax, (LEFT, 2.12), (LEFT, 2.4))
    _said(ax, LEFT, 2.54, f"opened to {_short(opened)}")
    _said(ax, RIGHT, 1.98, f"offer {_short(offered)}")
    for x_at, y in ((LEFT, 2.68), (RIGHT, 2.12)):
        _arrow(ax, (x_at, y), (MIDDLE + (0.25 if x_at > MIDDLE else -0.25), 2.96))
    product = f"{_short(opened)} · {_short(offered)} = {_short(passed)}"
    _said(ax, MIDDLE, 3.1, product, bold=True)
    third, added = 2.35, 3.65
    write(ax, 0.1, 3.6, "times the third list", color=MUTED)
    write(ax, WIDTH - 0.1, 3.9, "added to the word's list", color=MUTED, ha="right")
    _row(ax, third, 3.46, adds, INSIDE)
    _arrow(ax, (MIDDLE, 3.24), (third, 3.45))
    _arrow(ax, (third + 0.5, 3.6), (added - 0.52, 3.6))
    _row(ax, added, 3.46, passed * adds, STREAM)
    told = ["(" + ", ".join(_short(v) for v in a) + ")" for a in (*lists, passed * adds)]
    alt = (
        f"The word's list {told[0]} meets the unit's first list {told[1]}: the gate is "
        f"{_short(asked)}, opened to {_short(opened)}. With the second list {told[2]} it makes the "
        f"offer {_short(offered)}. Their product, {_short(passed)}, times the third list {told[3]} "
        f"is {told[4]}, which is added to the word's list."
    )
    return Picture(
        figure, alt=alt, caption="One unit, from the list it reads to what it adds.", zoom=ZOOM
    )


def _short(value: Number) -> str:
    """A number with at most two decimals and a real minus."""
    return f"{round(float(value), 2) + 0:g}".replace("-", "−")


def _row(ax: Axes, middle: Number, top: Number, numbers: np.ndarray, color: str) -> None:
    width, height = CELL
    left = middle - width * len(numbers) / 2
    for place, number in enumerate(numbers):
        x = left + place * width
        box(ax, x, top, width, height, PAPER, edgecolor=color, linewidth=1.4)
        write(ax, x + width / 2, top + height / 2, _short(number), ha="center")


def _said(ax: Axes, middle: Number, y: Number, words: str, *, bold: bool = False) -> None:
    width = 0.085 * len(words) + 0.25
    style: dict[str, Any] = {"facecolor": PAPER, "edgecolor": INSIDE, "linewidth": 1.2}
    rounded(ax, middle - width / 2, y - 0.14, width, 0.28, **style)
    write(ax, middle, y, words, ha="center", weight="bold" if bold else "normal")


def _arrow(ax: Axes, start: tuple[Number, Number], end: tuple[Number, Number]) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK, "lw": 0.9})
