"""A norm at work: the size of each token's row before it, after dividing, and after its weights."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import FAINT, MUTED, Number, Picture, board, box, picture, write
from llama_edu.viz.parts.labels import checked_labels, shortened

__all__ = ["norm_stages"]

TITLES = (("before", "√ mean x²"), ("divided", "by that size"), ("weighted", "per feature"))
WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
COLUMNS = (0.95, 2.12, 3.22)
BAR = 0.56  # the longest bar, in inches
MAX_TOKENS = 24


@picture
def norm_stages(
    before: np.ndarray, divided: np.ndarray, after: np.ndarray, tokens: Sequence[str | bytes]
) -> Picture:
    """The root mean square of every token's row at three stages of an RMSNorm.

    Each array is `(seq, hidden_size)`: the input, the input divided by its size, and that times
    the weights. Raises `InputError` for other shapes, more than 24 tokens, or labels that do not
    fit.
    """
    stages = [np.asarray(stage, dtype=np.float64) for stage in (before, divided, after)]
    shapes = [stage.shape for stage in stages]
    if len(set(shapes)) > 1 or len(shapes[0]) != 2 or not 0 < shapes[0][0] <= MAX_TOKENS:
        raise InputError(
            f"expected three arrays of one shape (seq, hidden_size), at most {MAX_TOKENS} tokens, "
            f"got {shapes}"
        )
    labels = checked_labels(tokens, shapes[0][0], "token")
    sizes = [np.sqrt(np.mean(stage * stage, axis=-1)) for stage in stages]
    row, top = 0.27, 0.72
    figure, ax = board(top + row * len(labels) + 0.12, WIDTH)
    for x, (title, words) in zip(COLUMNS, TITLES, strict=True):
        write(ax, x, 0.2, title, 11, weight="bold")
        write(ax, x, 0.44, words, color=MUTED)
    for index, label in enumerate(labels):
        y = top + row * index
        write(ax, 0.87, y + row / 2, shortened(label), ha="right")
        for x, size in zip(COLUMNS, sizes, strict=True):
            _bar(ax, x, y, row, float(size[index]), float(size.max()))
    return Picture(
        figure,
        alt=_norm_alt(sizes, labels),
        caption="The size of each row, each column on a scale of its own.",
    )


def _bar(ax: Axes, x: Number, y: Number, row: Number, size: float, widest: float) -> None:
    box(ax, x, y + 0.04, BAR, row - 0.08, FAINT, linewidth=0, alpha=0.35)
    width = max(BAR * size / widest, 0.01) if widest else 0.01
    box(ax, x, y + 0.04, width, row - 0.08, axis("hidden_size").color, linewidth=0)
    write(ax, x + BAR + 0.06, y + row / 2, _told(size))


def _norm_alt(sizes: list[np.ndarray], labels: list[str]) -> str:
    low, high = int(np.argmin(sizes[0])), int(np.argmax(sizes[0]))
    spans = [f"from {_told(size.min())} to {_told(size.max())}" for size in sizes]
    return (
        f"Root mean square of {len(labels)} rows. Before the norm {spans[0]}, the smallest "
        f"“{labels[low]}”, the largest “{labels[high]}”. After dividing {spans[1]}. After the "
        f"weights {spans[2]}."
    )


def _told(size: Number) -> str:
    """Two decimals where they are to be had on every processor; a large size whole."""
    return f"{size:.2f}" if size < 100 else f"{size:.0f}"
