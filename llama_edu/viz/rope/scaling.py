"""What a rope_scaling does: positions per turn of every pair, before and after."""

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import MUTED, Picture, board, panel, picture

__all__ = ["frequency_scaling"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it


@picture
def frequency_scaling(plain: np.ndarray, scaled: np.ndarray, context: int) -> Picture:
    """Positions per full turn of each pair, on a logarithmic scale, plain and scaled.

    Both are inverse frequencies `(half_dim,)` in radians per position; `context` is the length the
    model was first trained on, drawn as a line. Raises `InputError` for unlike shapes or numbers
    that are not positive.
    """
    before, after = (np.asarray(turns, dtype=np.float64) for turns in (plain, scaled))
    if before.shape != after.shape or before.ndim != 1 or before.size < 2:
        raise InputError(
            f"expected two arrays (half_dim,) of one length, got {before.shape} and {after.shape}"
        )
    if not (before.min() > 0 and after.min() > 0 and context > 0):
        raise InputError(
            f"expected positive frequencies and context, got {before.min()}, {after.min()} and "
            f"{context}"
        )
    figure, _ = board(3.5, WIDTH)
    ax = panel(figure, 1.3, 0.2, WIDTH - 1.45, 2.75)
    pairs = np.arange(before.size)
    ax.plot(pairs, 2 * np.pi / before, color=MUTED, lw=1.6, ls=(0, (4, 3)), label="plain")
    ax.plot(pairs, 2 * np.pi / after, color=axis("head_dim").color, lw=2.4, label="scaled")
    ax.axhline(context, color=axis("past").color, lw=1.2)
    ax.set_yscale("log")
    words = f"first trained\non {context:,}"  # in two lines, to stay clear of the curves
    ax.text(0.4, context * 1.4, words, color=axis("past").color, fontsize=10)
    ax.tick_params(labelsize=10)
    ax.set_xlabel("pair")
    ax.set_ylabel("positions per turn")
    ax.legend(loc="lower right", frameon=False, fontsize=10)
    ax.set_xlim(0, before.size - 1)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ratio = before / after
    kept = int((ratio < 1.0001).sum())
    whole = int((ratio > 0.9999 * ratio.max()).sum()) if ratio.max() > 1.0001 else 0
    return Picture(
        figure,
        alt=(
            f"Positions per turn of {before.size} pairs, from {2 * np.pi / before[0]:,.1f} to "
            f"{2 * np.pi / before[-1]:,.0f} plain and {2 * np.pi / after[-1]:,.0f} scaled. "
            f"{kept} pairs are unchanged, {whole} turn {ratio.max():.0f} times more slowly, "
            f"{before.size - kept - whole} lie between. The model was first trained on "
            f"{context:,} positions."
        ),
        caption="Pairs that turn often keep their speed; the slow ones are slowed further.",
    )
