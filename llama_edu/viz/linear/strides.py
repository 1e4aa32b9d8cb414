"""An array and the memory it stands on: where each entry lies, and how far one step goes.

The memory is that of the array itself, or of the one it is a view of, found by following `.base`.
"""

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import MUTED, PAPER, Picture, board, box, picture, write
from llama_edu.viz.scores.heads import TINTS

__all__ = ["stride_grid"]

MAX_COLUMNS = 10
MAX_MEMORY = 48  # numbers of memory that can be drawn and still be read
PER_LINE = 6
WIDTH = 3.4  # inches, as wide as a phone's page
CELL, ROW = 0.43, 0.42
LEFT = 0.2
UNUSED = "#eceff2"
HIGHEST = 999  # of the numbers, in absolute value: more digits fit into no cell


@picture
def stride_grid(array: np.ndarray) -> Picture:
    """A small array above the numbers of memory that it, or what it is a view of, stands on.

    `array` has one or two dimensions and holds whole numbers. Each row has a tint, and each
    cell of memory carries the index of the entry that lies there; cells without one are not part
    of the array. Raises `InputError` for other arrays, and for more than 48 numbers of memory.
    """
    memory, start = _memory_of(array)
    matrix = np.atleast_2d(array)
    strides = [stride // array.itemsize for stride in matrix.strides]
    places = start + np.add.outer(
        np.arange(matrix.shape[0]) * strides[0], np.arange(matrix.shape[1]) * strides[1]
    )
    below = 0.98 + ROW * matrix.shape[0]
    lines = -(-memory.size // PER_LINE)
    figure, ax = board(below + 0.8 + lines * 0.66, max(WIDTH, LEFT + 0.82 + CELL * matrix.shape[1]))
    shape = " × ".join(map(str, array.shape))
    steps = strides[-array.ndim :]
    head = f"shape {shape} · strides {', '.join(map(str, steps))}"
    write(ax, LEFT, 0.2, f"{head} · starts at {start}", 8.5, weight="bold")
    _grid(ax, matrix, steps)
    _memory(ax, below, memory, places, array.ndim)
    return Picture(
        figure,
        alt=_alt(array, memory, places, steps, start),
        caption="The array, and where each of its entries lies in memory.",
    )


def _memory_of(array: np.ndarray) -> tuple[np.ndarray, int]:
    """The numbers of memory in their order, and the position of the array's first entry there."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    can_draw = (
        array.ndim in (1, 2)
        and 0 < array.shape[-1] <= MAX_COLUMNS
        and array.size > 0
        and array.dtype.kind in "iu"
        and array.dtype == owner.dtype
        and owner.flags.c_contiguous
    )
    if not can_draw or owner.size > MAX_MEMORY:
        raise InputError(
            f"expected whole numbers in at most {MAX_COLUMNS} columns, 1 or 2 dimensions, "
            f"on at most {MAX_MEMORY} numbers in one piece, "
            f"got {array.dtype} of shape {array.shape} on {owner.size}"
        )
    if np.abs(owner).max() > HIGHEST:
        raise InputError(f"expected numbers up to {HIGHEST}, got {np.abs(owner).max()}")
    addresses = [int(a.__array_interface__["data"][0]) for a in (array, owner)]
    return owner.reshape(-1), (addresses[0] - addresses[1]) // array.itemsize


def _grid(ax: Axes, matrix: np.ndarray, steps: list[int]) -> None:
    top, left = 0.78, LEFT + 0.72
    write(ax, left, top - 0.22, f"one step right: {steps[-1]:+d}", 9.5, color=MUTED)
    if len(steps) == 2:
        words = f"one step\ndown: {steps[0]:+d}"
        middle = top + ROW * len(matrix) / 2
        write(ax, left - 0.12, middle, words, 9.5, color=MUTED, ha="right", linespacing=1.3)
    for i, row in enumerate(matrix.tolist()):
        for j, number in enumerate(row):
            x, y = left + j * CELL, top + i * ROW
            box(ax, x, y, CELL, ROW, TINTS[i % len(TINTS)], edgecolor=PAPER, linewidth=1.5)
            write(ax, x + CELL / 2, y + ROW / 2, _text(number), 11, ha="center", weight="bold")


def _memory(ax: Axes, top: float, memory: np.ndarray, places: np.ndarray, ndim: int) -> None:
    """The numbers in a row; above each its position, below it the index of the entry."""
    entry_at = {int(place): index for index, place in np.ndenumerate(places)}
    write(ax, LEFT, top + 0.14, "memory", 11, weight="bold")
    write(ax, LEFT, top + 0.34, "position above, index below", 9, color=MUTED)
    for place, number in enumerate(memory.tolist()):
        x = LEFT + place % PER_LINE * CELL
        y = top + 0.68 + place // PER_LINE * 0.66
        index = entry_at.get(place)
        face = UNUSED if index is None else TINTS[index[0] % len(TINTS)]
        box(ax, x, y, CELL, 0.3, face, edgecolor=PAPER, linewidth=1.5)
        write(ax, x + CELL / 2, y - 0.08, str(place), 8, ha="center", color=MUTED)
        ink = {} if index is not None else {"color": MUTED}
        write(ax, x + CELL / 2, y + 0.15, _text(number), 11, ha="center", **ink)
        if index is not None:
            words = ",".join(map(str, index[-ndim:]))
            write(ax, x + CELL / 2, y + 0.4, words, 8.5, ha="center")


def _text(number: int) -> str:
    return str(number).replace("-", "−")


def _alt(
    array: np.ndarray, memory: np.ndarray, places: np.ndarray, steps: list[int], start: int
) -> str:
    rows = "; ".join(
        f"row {i} holds {' '.join(map(_text, row))} from positions {' '.join(map(str, where))}"
        for i, (row, where) in enumerate(
            zip(np.atleast_2d(array).tolist(), places.tolist(), strict=True)
        )
    )
    down = f"one step down is {steps[0]:+d}, " if len(steps) == 2 else ""
    unused = memory.size - len(set(places.reshape(-1).tolist()))
    rest = f" {unused} numbers of memory are not part of it." if unused else ""
    return (
        f"An array of shape {array.shape} on {memory.size} numbers of memory, starting at position "
        f"{start}: {down}one step right is {steps[-1]:+d}. {rows}.{rest}"
    )
