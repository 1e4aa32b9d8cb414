"""The causal mask as a staircase, and the rows of weights as bars that reach 1, or do not.

Rows are queries and columns are keys; row `i` is position `past + i`. Both functions take any
mask and any weights of that shape, and mark what is not as it should be.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.ops.attention import causal_mask
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    WIDTH,
    Number,
    Picture,
    board,
    box,
    picture,
    tag,
    write,
)
from llama_edu.viz.parts.heatmap import FUTURE
from llama_edu.viz.parts.labels import checked_labels, shortened

__all__ = ["mask_staircase", "row_sums"]

FEW, FEW_WIDTH = 9, 4.3  # so many positions fit a phone, with words of 10 points
MAX_CELLS = 24  # positions that still fit side by side, to be counted
SEEN, UNSEEN = "#cfe0fb", FUTURE
WRONG = "#b3261e"
MARKS = {"!": "sees the future", "?": "hides what it may see"}


@picture
def mask_staircase(mask: np.ndarray, tokens: Sequence[str | bytes] | None = None) -> Picture:
    """A mask `(seq, total_seq)`, True where a query may look; what is not causal is marked.

    `tokens` are the `total_seq` tokens, for the names of the rows. Raises `InputError` for an
    array that is no such mask, for more than 24 positions, and for labels that do not fit.
    """
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.ndim != 2 or not 0 < mask.shape[0] <= mask.shape[1]:
        raise InputError(
            f"expected a mask (seq, total_seq) of bool with seq ≤ total_seq, "
            f"got {mask.shape} of {mask.dtype}"
        )
    seq, total_seq = mask.shape
    if total_seq > MAX_CELLS:
        raise InputError(f"expected at most {MAX_CELLS} positions to draw, got {total_seq}")
    past = total_seq - seq
    labels = _row_names(tokens, past, total_seq)
    left = 0.45 + 0.079 * max(map(len, labels))
    page, size = (FEW_WIDTH, 10.0) if total_seq <= FEW else (WIDTH, 9.0)
    cell = min(0.4, (page - left - 0.75) / total_seq)
    top = 0.92
    right = causal_mask(seq, past)
    wrong = {"!": bool((mask & ~right).any()), "?": bool((~mask & right).any())}
    legend = [f"{mark} {MARKS[mark]}" for mark, is_there in wrong.items() if is_there]
    if legend:
        legend.insert(0, "hatched: masked")
    figure, ax = board(top + seq * cell + 0.15 + 0.25 * len(legend), page)
    _spans(ax, (left, top, cell), past, seq, size)
    for i in range(seq):
        y = top + (i + 0.5) * cell
        write(ax, left - 0.1, y, labels[i], size, ha="right")
        sees = int(mask[i].sum())
        write(ax, left + total_seq * cell + 0.12, y, f"sees {sees}", size, color=MUTED)
        for j in range(total_seq):
            _mask_cell(ax, left + j * cell, top + i * cell, cell, bool(mask[i, j]), j <= past + i)
    _stairs(ax, left, top, cell, past, seq)
    for line, words in enumerate(legend):
        y = top + seq * cell + 0.27 + 0.22 * line
        write(ax, page / 2, y, words, size, ha="center", color=INK)
    return Picture(
        figure,
        alt=_mask_alt(mask, past),
        caption="Who may look at whom: a row per query, a column per position. The heavy line is "
        "the causal staircase.",
    )


def _row_names(tokens: Sequence[str | bytes] | None, past: int, total_seq: int) -> list[str]:
    positions = range(past, total_seq)
    if tokens is None:
        return [f"position {i}" for i in positions]
    labels = checked_labels(tokens, total_seq, "position")
    return [f"{i} {shortened(labels[i])}" for i in positions]


def _spans(ax: Axes, place: tuple[float, float, float], past: int, seq: int, size: float) -> None:
    """Above the columns: which were cached and which are new, and the number of each."""
    left, top, cell = place
    for name, first, count in (("past", 0, past), ("seq", past, seq)):
        if count == 0:
            continue
        x0, x1 = left + first * cell, left + (first + count) * cell
        color = axis(name).color
        ax.plot([x0 + 0.02, x1 - 0.02], [top - 0.34] * 2, color=color, lw=3, solid_capstyle="butt")
        note = f"{name} = {count}" if count * cell > 0.65 else str(count)
        tag(ax, (x0 + x1) / 2, top - 0.62, name, note, size=size)
    for j in range(past + seq):
        write(
            ax,
            left + (j + 0.5) * cell,
            top - 0.14,
            str(j),
            size if size > 9 else 8.5,
            ha="center",
            color=MUTED,
        )


def _mask_cell(ax: Axes, x: float, y: float, cell: float, is_seen: bool, may_see: bool) -> None:
    style = {"edgecolor": PAPER, "linewidth": 1.0}
    if not is_seen:
        style = {"hatch": "//", "edgecolor": FAINT, "linewidth": 0.4}
    box(ax, x, y, cell, cell, SEEN if is_seen else UNSEEN, **style)
    if is_seen != may_see:
        mark = "!" if is_seen else "?"
        write(ax, x + cell / 2, y + cell / 2, mark, 12, ha="center", color=WRONG, weight="bold")


def _stairs(ax: Axes, left: float, top: float, cell: float, past: int, seq: int) -> None:
    """The line between what a causal model may see and the future."""
    xs, ys = [], []
    for i in range(seq):
        x = left + (past + i + 1) * cell
        xs += [x, x]
        ys += [top + i * cell, top + (i + 1) * cell]
    ax.plot(xs, ys, color=INK, lw=1.8, solid_joinstyle="miter")


def _mask_alt(mask: np.ndarray, past: int) -> str:
    seq, total_seq = mask.shape
    right = causal_mask(seq, past)
    shown, hidden = int((mask & ~right).sum()), int((~mask & right).sum())
    sees = ", ".join(str(int(row.sum())) for row in mask)
    alt = (
        f"Mask of {seq} queries (seq) by {total_seq} keys (total_seq), {past} of them past. Row "
        f"by row, the queries see {sees} keys; {int((~mask).sum())} of {mask.size} entries are "
        "masked. "
    )
    if not shown and not hidden:
        return alt + f"That is the causal staircase: its first step is {past + 1} wide."
    return alt + (
        f"Compared with the causal staircase, {shown} too many are seen (the future), and {hidden} "
        "too few."
    )


@picture
def row_sums(weights: np.ndarray, tokens: Sequence[str | bytes]) -> Picture:
    """One head's weights `(seq, total_seq)`, a bar per query: what past, present and future get.

    Each bar should end at 1 and hold nothing of the future. `tokens` are the `total_seq` tokens.
    Raises `InputError` for other shapes, for weights below 0 or no numbers, and for labels that
    do not fit.
    """
    rows = np.asarray(weights, dtype=np.float32)
    if rows.ndim != 2 or not 0 < rows.shape[0] <= rows.shape[1]:
        raise InputError(
            f"expected weights (seq, total_seq) with seq ≤ total_seq, got {rows.shape}"
        )
    if not np.isfinite(rows).all() or rows.min() < 0:
        raise InputError(f"expected weights ≥ 0, got {rows.min()} among them")
    seq, total_seq = rows.shape
    past = total_seq - seq
    labels = checked_labels(tokens, total_seq, "position")[past:]
    parts = _shares(rows, past)
    sums = parts.sum(axis=1)
    left = 0.25 + 0.085 * max(len(shortened(label)) for label in labels)
    step, top = min(0.3, 6.0 / seq), 0.55
    scale = (FEW_WIDTH - left - 0.6) / max(1.0, float(sums.max()))
    figure, ax = board(top + step * seq + 0.42, FEW_WIDTH)
    _sum_legend(ax, has_past=past > 0, has_future=bool(parts[:, 2].max() > 0))
    every = max(1, int(np.ceil(0.16 / step)))
    for i in range(seq):
        y = top + step * i
        name = labels[i] if i % every == 0 else ""
        _sum_bar(ax, left, y, step, parts[i] * scale, shortened(name) if name else "")
        if name:
            end = left + float(sums[i]) * scale
            write(ax, max(end, left + scale) + 0.1, y + step / 2, f"{sums[i]:.2f}", 10)
    one = left + scale
    ax.plot([one, one], [top - 0.06, top + step * seq + 0.06], color=INK, lw=1.6)
    write(ax, one, top + step * seq + 0.2, "1", 10, ha="center", weight="bold")
    return Picture(
        figure,
        alt=_sums_alt(parts, labels),
        caption="What each query gives away. A right row ends at 1, and none of it "
        "is the future's.",
    )


def _shares(rows: np.ndarray, past: int) -> np.ndarray:
    """Per query: the weight on the past, on this call up to itself, and on the future."""
    allowed = causal_mask(len(rows), past)
    seen = np.where(allowed, rows, np.float32(0))
    before, present = seen[:, :past].sum(axis=1), seen[:, past:].sum(axis=1)
    return np.stack([before, present, np.where(allowed, 0, rows).sum(axis=1)], axis=1)


def _sum_bar(ax: Axes, left: float, y: float, step: float, widths: np.ndarray, label: str) -> None:
    x, height = left, step * 0.72
    styles: tuple[tuple[str, dict[str, object]], ...] = (
        (axis("past").color, {"linewidth": 0}),
        (axis("seq").color, {"linewidth": 0}),
        (UNSEEN, {"hatch": "///", "edgecolor": WRONG, "linewidth": 0.8}),
    )
    for width, (face, style) in zip(widths.tolist(), styles, strict=True):
        if width > 0.002:
            box(ax, x, y + step * 0.14, width, height, face, **style)
            x += width
    write(ax, left - 0.1, y + step / 2, label, 10, ha="right")


def _sum_legend(ax: Axes, *, has_past: bool, has_future: bool) -> None:
    notes = {"past": "past"} if has_past else {}
    x = 0.15
    for name, note in (notes | {"seq": "this call"}).items():
        tag(ax, x, 0.26, name, note, ha="left", size=10.0)
        x += 0.6 + 0.09 * len(note)
    if has_future:
        box(ax, x, 0.16, 0.2, 0.2, UNSEEN, hatch="///", edgecolor=WRONG)
        write(ax, x + 0.28, 0.26, "its future", 10)


def _sums_alt(parts: np.ndarray, labels: list[str]) -> str:
    sums = parts.sum(axis=1)
    last, worst = parts[-1], int(np.argmax(np.abs(sums - 1)))
    # Rounding decides which of several right rows is furthest from 1: then name none.
    alt = f"{len(parts)} rows of attention weights, each summing to 1. "
    if abs(sums[worst] - 1) > 0.005:
        alt = (
            f"{len(parts)} rows of attention weights whose sums go from {_two(sums.min())} to "
            f"{_two(sums.max())}; furthest from 1: “{labels[worst]}”, {_two(sums[worst])}. "
        )
    alt += (
        f"The last row, “{labels[-1]}”, gives {_two(last[0])} to the past and {_two(last[1])} to "
        "this call. "
    )
    most = int(np.argmax(parts[:, 2]))
    if parts[most, 2] == 0:
        return alt + "No row gives anything to the future."
    return alt + f"“{labels[most]}” gives {_two(parts[most, 2])} to its future."


def _two(number: Number) -> str:
    return f"{round(float(number), 2) + 0.0:.2f}"
