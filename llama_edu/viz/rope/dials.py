"""RoPE as a row of clocks: each pair of numbers is a hand, and each turns at its own speed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    FAINT,
    MUTED,
    PAPER,
    Number,
    Picture,
    board,
    picture,
    write,
)

__all__ = ["rope_clock"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
PER_LINE, LINE = 4, 1.7
MAX_PAIRS, MAX_POSITIONS = 12, 16
RADIUS = 0.42


@picture
def rope_clock(
    inv_freq: np.ndarray, positions: Sequence[int], *, pairs: Sequence[int] | None = None
) -> Picture:
    """A dial per pair with a hand per position, the first pale and the last dark.

    `inv_freq` is `(half_dim,)`, radians per position. The hand points right at position 0 and
    turns counter-clockwise. `pairs` chooses among them. Raises `InputError` for more than 12 dials
    or 16 positions, and for a pair that is not there.
    """
    turns = np.asarray(inv_freq, dtype=np.float64)
    chosen = list(range(len(turns))) if pairs is None else list(pairs)
    if not 0 < len(chosen) <= MAX_PAIRS or not 0 < len(positions) <= MAX_POSITIONS:
        raise InputError(
            f"expected 1 to {MAX_PAIRS} pairs and 1 to {MAX_POSITIONS} positions, "
            f"got {len(chosen)} and {len(positions)}"
        )
    outside = [pair for pair in chosen if not 0 <= pair < len(turns)]
    if outside:
        raise InputError(f"expected pairs from 0 to {len(turns) - 1}, got {outside[0]}")
    lines = math.ceil(len(chosen) / PER_LINE)
    figure, ax = board(LINE * lines + 0.4, WIDTH)
    slot = WIDTH / PER_LINE
    for index, pair in enumerate(chosen):
        line, column = divmod(index, PER_LINE)
        middle = slot * (column + 0.5), 0.36 + RADIUS + LINE * line
        _dial(ax, middle, float(turns[pair]), positions)
        write(ax, middle[0], middle[1] - RADIUS - 0.16, f"pair {pair}", ha="center", weight="bold")
        words = f"a turn in\n{_counted(2 * math.pi / float(turns[pair]))}"
        write(ax, middle[0], middle[1] + RADIUS + 0.25, words, ha="center", color=MUTED)
    span = f"positions {positions[0]} (pale) to {positions[-1]} (dark)"
    write(ax, WIDTH / 2, LINE * lines + 0.18, span, ha="center", color=axis("seq").color)
    return Picture(
        figure,
        alt=_clock_alt(turns, chosen, positions),
        caption="Every pair of numbers is a hand. Each position turns it further, fast or slowly.",
    )


def _dial(ax: Axes, middle: tuple[float, float], turn: float, positions: Sequence[int]) -> None:
    x, y = middle
    ax.add_patch(Circle(middle, RADIUS, facecolor=PAPER, edgecolor=FAINT, linewidth=1.2))
    for rank, position in enumerate(positions, start=1):
        angle = position * turn
        tip = x + 0.92 * RADIUS * math.cos(angle), y - 0.92 * RADIUS * math.sin(angle)
        share = rank / len(positions)
        style: dict[str, Any] = {"color": axis("seq").color, "alpha": 0.15 + 0.85 * share**2}
        ax.plot([x, tip[0]], [y, tip[1]], lw=1 + 1.4 * (rank == len(positions)), **style)
    ax.plot([x], [y], "o", color=axis("seq").color, ms=3)


def _counted(count: Number) -> str:
    return f"{count:.1f}" if count < 100 else f"{count:,.0f}"


def _clock_alt(turns: np.ndarray, chosen: list[int], positions: Sequence[int]) -> str:
    words = "; ".join(
        f"pair {pair} makes a turn in {_counted(2 * math.pi / float(turns[pair]))} positions and "
        f"has turned {_counted(math.degrees(positions[-1] * float(turns[pair])))}°"
        for pair in chosen
    )
    return (
        f"{len(chosen)} dials, one per pair, each with a hand for the positions {positions[0]} to "
        f"{positions[-1]}. At position {positions[-1]}: {words}."
    )
