"""Rows of the KV cache that several conversations begin with: held by each, or held once."""

from collections.abc import Sequence

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import MUTED, Picture, board, box, picture, write

__all__ = ["shared_rows"]

WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points
LEFT, RIGHT, GAP = 0.1, 4.5, 0.35
BAR, STEP = 0.2, 0.3
SHARED = "#e3eefb"
COLOR = axis("seq").color


@picture
def shared_rows(shared: int, own: Sequence[int]) -> Picture:
    """The rows of conversations that begin alike, drawn twice: once in each cache, and once in all.

    `shared` rows are those of the common beginning, `own` those of each conversation behind it.
    Raises `InputError` unless there are 2 to 6 conversations, each with a row of its own at least.
    """
    if not 2 <= len(own) <= 6 or shared < 1 or min(own) < 1:
        raise InputError(
            f"expected a beginning and 2 to 6 conversations of 1 row or more, got {shared} "
            f"and {list(own)}"
        )
    in_each, in_one = len(own) * shared + sum(own), shared + sum(own)
    unit = (RIGHT - LEFT - GAP) / (shared + max(own))
    begin, behind = LEFT + unit * shared, LEFT + unit * shared + GAP
    half = 0.55 + STEP * len(own)
    figure, ax = board(2 * half, WIDTH)
    write(ax, LEFT, 0.2, f"in every cache: {in_each:,} rows", SIZE)
    write(ax, LEFT, half + 0.2, f"the same rows, once: {in_one:,} rows", SIZE)
    middle = half + 0.42 + (STEP * (len(own) - 1) + BAR) / 2
    box(ax, LEFT, middle - BAR / 2, unit * shared, BAR, SHARED, edgecolor=COLOR)
    for row, n in enumerate(own):
        y = 0.42 + STEP * row
        box(ax, LEFT, y, unit * shared, BAR, SHARED, edgecolor=COLOR)
        box(ax, begin, y, unit * n, BAR, COLOR, edgecolor=COLOR)
        box(ax, behind, half + y, unit * n, BAR, COLOR, edgecolor=COLOR)
        ax.plot([begin, behind], [middle, half + y + BAR / 2], color=MUTED, lw=1.0)
    alt = (
        f"{len(own)} conversations begin with the same {shared:,} rows and have "
        f"{', '.join(map(str, own))} of their own. In every cache: {in_each:,} rows. "
        f"The beginning once, and every conversation's own rows behind it: {in_one:,}."
    )
    caption = "Outlined: rows of the common beginning. Filled: a conversation's own, behind it."
    return Picture(figure, alt=alt, caption=caption)
