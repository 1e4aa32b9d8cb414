"""One pair of a query and one of a key, turned by where they stand: the angle between them."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Wedge

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import FAINT, MUTED, PAPER, Picture, board, picture, write

__all__ = ["turned_arrows"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
MAX_PANELS = 3
RADIUS = 0.82
ROW = 1.78  # inches: the dials lie one below the other, so that a phone shows them large
QUERY, KEY = axis("seq").color, axis("n_kv_heads").color


@picture
def turned_arrows(
    query: Sequence[float], key: Sequence[float], turn: float, places: Sequence[tuple[int, int]]
) -> Picture:
    """A dial per pair of positions (query, key), with both arrows turned and the angle between.

    `query` and `key` are two numbers each, `turn` is radians per position. Raises `InputError`
    unless there are 1 to 3 places and both arrows have a length.
    """
    arrows = [np.asarray(arrow, dtype=np.float64) for arrow in (query, key)]
    if not 0 < len(places) <= MAX_PANELS:
        raise InputError(f"expected 1 to {MAX_PANELS} pairs of positions, got {len(places)}")
    if any(arrow.shape != (2,) or not np.linalg.norm(arrow) > 0 for arrow in arrows):
        raise InputError("expected a query and a key of two numbers each, not both 0")
    figure, ax = board(ROW * len(places), WIDTH)
    start = [math.atan2(arrow[1], arrow[0]) for arrow in arrows]
    longest = max(float(np.linalg.norm(arrow)) for arrow in arrows)
    lengths = [float(np.linalg.norm(arrow)) / longest for arrow in arrows]
    told = []
    for index, place in enumerate(places):
        middle = 1.05, ROW * (index + 0.5)
        angles = [begun + turn * at for begun, at in zip(start, place, strict=True)]
        between = math.degrees(math.remainder(angles[0] - angles[1], 2 * math.pi))
        score = float(np.prod([np.linalg.norm(arrow) for arrow in arrows])) * math.cos(
            angles[0] - angles[1]
        )
        _dial(ax, middle, angles, lengths)
        words = f"{abs(between):.0f}° between", f"score {score:.2f}".replace("-", "−")
        x, y = 2.25, middle[1]
        write(ax, x, y - 0.33, f"query at {place[0]}", color=QUERY, weight="bold")
        write(ax, x, y - 0.1, f"key at {place[1]}", color=KEY, weight="bold")
        write(ax, x, y + 0.13, words[0])
        write(ax, x, y + 0.36, words[1], color=MUTED)
        told.append(f"query at {place[0]} and key at {place[1]}: {words[0]}, {words[1]}")
    return Picture(
        figure,
        alt=f"Two arrows turned by {turn:g} radians per position. {'; '.join(told)}.",
        caption="The same two arrows at three places of a text, and the angle between them.",
    )


def _dial(
    ax: Axes, middle: tuple[float, float], angles: Sequence[float], lengths: Sequence[float]
) -> None:
    ax.add_patch(Circle(middle, RADIUS, facecolor=PAPER, edgecolor=FAINT, linewidth=1.2))
    gap = math.remainder(angles[0] - angles[1], 2 * math.pi)
    # The board counts downwards, so angles are drawn with their sign turned.
    ends = sorted((math.degrees(-angles[1]), math.degrees(-angles[1] - gap)))
    ax.add_patch(Wedge(middle, 0.55 * RADIUS, *ends, facecolor=MUTED, alpha=0.45, linewidth=0))
    for angle, length, color in zip(angles, lengths, (QUERY, KEY), strict=True):
        reach = 0.95 * RADIUS * length
        tip = middle[0] + reach * math.cos(angle), middle[1] - reach * math.sin(angle)
        ax.annotate("", tip, middle, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2.2})
