"""Attention while a text is written: which call of the model made which row.

A few heads side by side, narrow enough for a phone, with a label at every row.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.attention.maps import stacked
from llama_edu.viz.parts.axes import WEIGHTS_MAP, axis
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    Picture,
    board,
    box,
    panel,
    picture,
    write,
)
from llama_edu.viz.parts.heatmap import WEIGHTS_NORM, hatch_future, paint
from llama_edu.viz.parts.labels import checked_labels, shortened

__all__ = ["attention_by_call"]

NARROW = 3.4  # inches: 340 CSS pixels
LABELS, BRACKET, GAP = 0.82, 0.34, 0.12  # inches at the left, at the right, between the maps
ROW = 0.17  # inches: a line of words 11 pixels high
TOP = 0.62


@picture
def attention_by_call(
    calls: Sequence[np.ndarray], tokens: Sequence[str | bytes], heads: Sequence[int]
) -> Picture:
    """Maps of some query heads of a layer; brackets tell prefill from decode.

    `calls` are the weights `(n_kv_heads, n_groups, seq, total_seq)` of consecutive calls: a
    prefill, then decode steps. `tokens` are the tokens looked at, `heads` one to three query
    heads. Raises `InputError` for calls that do not follow each other, labels that do not fit, or
    a head that is not there.
    """
    rows, prompt = stacked(list(calls))
    labels = checked_labels(tokens, rows.shape[3], "position")
    maps = rows.reshape(-1, *rows.shape[2:])
    if not 0 < len(heads) <= 3 or not all(0 <= head < len(maps) for head in heads):
        raise InputError(f"expected 1 to 3 of the query heads 0 to {len(maps) - 1}, got {heads}")
    count = len(labels)
    width = (NARROW - LABELS - BRACKET - GAP * (len(heads) - 1)) / len(heads)
    figure, ax = board(TOP + ROW * count + 0.12, NARROW)
    for i, label in enumerate(labels):
        style = {"ha": "right", "weight": "bold" if i >= prompt else "normal"}
        write(ax, LABELS - 0.07, TOP + ROW * (i + 0.5), shortened(label, 9), 8.5, **style)
    for number, head in enumerate(heads):
        x = LABELS + number * (width + GAP)
        write(ax, x, TOP - 0.42, f"query head {head}", 9.5, weight="bold")
        write(ax, x, TOP - 0.16, "keys, in order →", 8.5, color=MUTED)
        here = panel(figure, x, TOP, width, ROW * count)
        here.set_label(f"query head {head}")
        paint(here, maps[head], WEIGHTS_MAP, WEIGHTS_NORM)
        hatch_future(here, count, count, 0)
        here.set_axis_off()
        box(ax, x, TOP, width, ROW * count, "none", edgecolor=FAINT)
        here.axhline(prompt - 0.5, color=INK, lw=1.6)
    edge = NARROW - BRACKET + 0.07
    for words, start, stop in (("prefill", 0, prompt), ("decode", prompt, count)):
        if stop > start:
            _bracket(ax, edge, (TOP + ROW * start, TOP + ROW * stop), words)
    return Picture(figure, alt=_alt(maps, labels, prompt, heads), caption=_caption(prompt, count))


def _bracket(ax: Axes, x: float, ends: tuple[float, float], words: str) -> None:
    top, bottom = ends[0] + 0.03, ends[1] - 0.03
    ax.plot([x - 0.04, x, x, x - 0.04], [top, top, bottom, bottom], color=MUTED, lw=1.0)
    style = {"ha": "center", "rotation": 90, "color": axis("seq").color}
    write(ax, x + 0.13, (top + bottom) / 2, words, 9, **style)


def _caption(prompt: int, count: int) -> str:
    return (
        f"Rows are queries. The first {prompt} were computed in one call; each of the "
        f"{count - prompt} below the line in a call of its own. Hatched: the future."
    )


def _alt(maps: np.ndarray, labels: list[str], prompt: int, heads: Sequence[int]) -> str:
    """The rows by call, and for each head where its last row looks."""
    words = [
        f"Attention of {len(heads)} query heads over {len(labels)} positions: the prefill made "
        f"rows 0 to {prompt - 1}, and each later row is a decode step of its own."
    ]
    for head in heads:
        last = maps[head, -1]
        best = int(last.argmax())
        words.append(
            f"Query head {head}: its last row, “{labels[-1]}”, gives {100 * last[best]:.0f}% to "
            f"“{labels[best]}” at position {best}."
        )
    return " ".join(words)
