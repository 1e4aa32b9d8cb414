"""The two layouts of RoPE's pairs, and the reordering of rows that makes one of the other."""

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.ops.rope import half_split_to_interleaved
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import MUTED, Number, Picture, board, box, picture, write
from llama_edu.viz.scores.heads import TINTS

__all__ = ["rope_layouts"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
MAX_HEAD_DIM = 16


@picture
def rope_layouts(head_dim: int) -> Picture:
    """The rows of one head in both layouts, pairs in one tint, a line from each row to its place.

    The order comes from `half_split_to_interleaved`. Raises `InputError` unless `head_dim` is even
    and from 4 to 16.
    """
    if head_dim % 2 or not 4 <= head_dim <= MAX_HEAD_DIM:
        raise InputError(f"expected an even head_dim from 4 to {MAX_HEAD_DIM}, got {head_dim}")
    order = half_split_to_interleaved(np.arange(head_dim), 1).tolist()
    figure, ax = board(2.5, WIDTH)
    cell = min(0.6, (WIDTH - 0.3) / head_dim)
    left = (WIDTH - cell * head_dim) / 2
    write(ax, left, 0.2, "half-split: Hugging Face", weight="bold")
    write(ax, left, 2.3, "interleaved: Meta's files, GGUF of Llama", weight="bold")
    for place, row in enumerate(order):
        middle = [left + (x + 0.5) * cell for x in (row, place)]
        _row_box(ax, left + row * cell, 0.38, cell, row, head_dim)
        _row_box(ax, left + place * cell, 1.68, cell, row, head_dim)
        ax.plot(middle, [0.38 + 0.42, 1.68], color=MUTED, lw=1.1)
    half = head_dim // 2
    pairs = ", ".join(f"{j} and {j + half}" for j in range(half))
    return Picture(
        figure,
        alt=(
            f"{head_dim} rows of one head, in two orders. Half-split, rows 0 to {head_dim - 1}, "
            f"turns the pairs {pairs}. Interleaved puts the partners side by side: "
            f"{', '.join(map(str, order))}."
        ),
        caption="The same rows in two orders. Rows of one tint are a pair and turn together.",
    )


def _row_box(ax: Axes, x: Number, y: Number, cell: Number, row: int, head_dim: int) -> None:
    pair = row % (head_dim // 2)
    edge = axis("head_dim").color
    box(ax, x + 0.02, y, cell - 0.04, 0.42, TINTS[pair % len(TINTS)], edgecolor=edge)
    write(ax, x + cell / 2, y + 0.21, str(row), 11, ha="center", weight="bold")
