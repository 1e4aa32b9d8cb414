"""The next token's odds, as bars."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    INK,
    MUTED,
    Number,
    Picture,
    board,
    box,
    picture,
    write,
)
from llama_edu.viz.parts.labels import TokenBytes, shortened, token_label, token_labels

__all__ = ["probability_bars"]

OTHERS = "#c4cad1"
WIDTH = 3.4  # inches, as wide as a phone's page
LEFT = 1.24  # where the bars begin
LONGEST = 1.42  # of a bar; its number stands after it


@picture
def probability_bars(
    probabilities: np.ndarray,
    names: TokenBytes | Sequence[str | bytes],
    *,
    top: int = 10,
    chosen: int | None = None,
    kept: int | None = None,
) -> Picture:
    """The likeliest next tokens as bars, the rest in one bar.

    `probabilities` is `(vocab_size,)` and sums to 1; `names` is a tokenizer, or one label per id.
    `chosen` marks an id, `kept` draws the cut after that many candidates. Equal probabilities
    stand in the order of their ids. Raises `InputError` for anything that is no distribution, and
    for an id or a count out of range.
    """
    values = _distribution(probabilities, top, chosen)
    if kept is not None and kept < 1:
        raise InputError(f"expected at least 1 candidate kept, got {kept}")
    ids = np.argsort(-values, kind="stable")[:top]
    labels = _names(names, ids, values.size)
    rest = max(0.0, 1.0 - float(values[ids].sum()))
    rows = list(zip(labels, values[ids].tolist(), ids.tolist(), strict=True))
    figure, ax = board(0.25 + 0.3 * (len(rows) + (values.size > len(rows))), WIDTH)
    scale = LONGEST / float(values[ids].max())
    for row, (label, value, token_id) in enumerate(rows):
        is_out = kept is not None and row >= kept
        color = OTHERS if is_out else axis("vocab_size").color
        _bar(ax, row, (label, value), scale, color, is_chosen=token_id == chosen)
    if values.size > len(rows):
        words = f"{values.size - len(rows):,} others together: {_share(rest)}"
        write(ax, LEFT, 0.27 + 0.3 * len(rows), words, 9, color=MUTED)
    if kept is not None and kept < len(rows):
        _cut_line(ax, 0.12 + 0.3 * kept)
    return Picture(
        figure,
        alt=_bars_alt(rows, rest, values.size, chosen, kept),
        caption=_caption(rows, chosen),
    )


def _caption(rows: list[tuple[str, float, int]], chosen: int | None) -> str:
    words = "The likeliest candidates for what comes next, and their probabilities."
    return words + (" The one chosen has a frame." if chosen in {row[2] for row in rows} else "")


def _cut_line(ax: Axes, y: float) -> None:
    ax.plot([0.15, WIDTH - 0.15], [y, y], color=INK, lw=1.4, ls=(0, (3, 2)))
    write(ax, WIDTH - 0.15, y + 0.12, "cut: never drawn", 9, ha="right")


def _distribution(probabilities: np.ndarray, top: int, chosen: int | None) -> np.ndarray:
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isclose(values.sum(), 1.0, atol=1e-4):
        raise InputError(
            f"expected probabilities (vocab_size,) that sum to 1, got {values.shape} "
            f"summing to {values.sum():.4f}"
        )
    if values.min() < 0 or top < 1 or (chosen is not None and not 0 <= chosen < values.size):
        raise InputError(
            f"expected probabilities ≥ 0, top ≥ 1 and an id to mark below "
            f"{values.size}, got {values.min()}, {top} and {chosen}"
        )
    return values


def _names(names: TokenBytes | Sequence[str | bytes], ids: np.ndarray, count: int) -> list[str]:
    if not isinstance(names, Sequence):
        return token_labels(names, ids.tolist())
    if len(names) != count:
        raise InputError(f"expected {count} labels, one per vocab_size, got {len(names)}")
    return [token_label(names[i]) for i in ids.tolist()]


def _share(value: Number) -> str:
    return "<0.1%" if 0 < value < 0.0005 else f"{100 * value:.1f}%"


def _bar(
    ax: Axes, row: int, bar: tuple[str, Number], scale: Number, color: str, *, is_chosen: bool
) -> None:
    label, value = bar
    y, weight = 0.27 + 0.3 * row, "bold" if is_chosen else "normal"
    write(ax, LEFT - 0.08, y, shortened(label, 13), 10, ha="right", weight=weight)
    width = max(value * scale, 0.01)
    edge = {"edgecolor": INK, "linewidth": 1.8} if is_chosen else {"linewidth": 0}
    box(ax, LEFT, y - 0.11, width, 0.22, color, **edge)
    write(ax, LEFT + 0.07 + width, y, _share(value), 10, weight=weight)


def _bars_alt(
    rows: list[tuple[str, float, int]],
    rest: Number,
    count: int,
    chosen: int | None,
    kept: int | None,
) -> str:
    words = ", ".join(f"“{label}” {_share(value)}" for label, value, _ in rows)
    alt = f"The {len(rows)} likeliest of {count:,} tokens: {words}; all others {_share(rest)}."
    if kept is not None:
        alt += f" The cut keeps the first {kept}."
    if chosen is not None:
        names = {token_id: label for label, _, token_id in rows}
        alt += f" Chosen: {f'“{names[chosen]}”' if chosen in names else 'one of the others'}."
    return alt
