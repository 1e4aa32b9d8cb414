"""A grammar's mask over the vocabulary at one step, and what it does to the model's own wish."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import FAINT, INK, MUTED, PAPER, Picture, board, box, picture, write
from llama_edu.viz.parts.labels import TokenBytes, shortened, token_label, token_labels

__all__ = ["grammar_mask"]

WIDTH = 4.6  # inches: with words of this size a phone shows all of it, and 11 pixels high
SIZE = 11.0  # points
COLUMNS, ROWS = 48, 16  # squares of the map, at most
SQUARE = 0.09  # inches
REFUSED = "#c4cad1"


@picture
def grammar_mask(
    logits: np.ndarray,
    allowed: Bool[np.ndarray, " vocab_size"],
    names: TokenBytes | Sequence[str | bytes],
    *,
    top: int = 4,
    written: str = "",
) -> Picture:
    """Which tokens a grammar lets through at one step, and which the model would have chosen.

    `logits` is `(vocab_size,)`; `allowed` says of each id whether the text may go on with it, as
    `GrammarConstraint.allowed` does; `names` is a tokenizer, or one label per id; `written` is the
    text so far. Above, the whole vocabulary in the order of the ids. Below, the `top` likeliest
    tokens, and the likeliest that is allowed: its probability before the mask and after it. Raises
    `InputError` for logits and a mask of different shapes, and where nothing is allowed.
    """
    if logits.ndim != 1 or logits.shape != allowed.shape or not allowed.any() or top < 1:
        raise InputError(
            "expected logits and a mask (vocab_size,) that allows a token, and top ≥ 1, got "
            f"{logits.shape} and {allowed.shape} with {int(allowed.sum())} allowed, and {top}"
        )
    before = _softmax(logits)
    after = _softmax(np.where(allowed, logits, -np.inf))
    ids = np.argsort(-before, kind="stable")[:top].tolist()
    best = int(after.argmax())
    ids += [best] if best not in ids else []
    rows = list(zip(_labels(names, ids, logits.size), ids, strict=True))
    per_square = -(-logits.size // (COLUMNS * ROWS))
    shares = _shares(allowed, per_square)
    foot = 0.95 + SQUARE * len(shares)
    figure, ax = board(foot + 0.35 + 0.3 * len(rows), WIDTH)
    counts = f"{int(allowed.sum()):,} of {logits.size:,} tokens may come next"
    write(ax, 0.14, 0.2, counts, SIZE, weight="bold")
    _map(ax, shares, 0.4)
    _key(ax, foot - 0.35)
    write(ax, 0.14, foot + 0.05, "The model's likeliest:", SIZE, color=MUTED)
    for row, (label, token_id) in enumerate(rows):
        parts = (label, float(before[token_id]), float(after[token_id]), bool(allowed[token_id]))
        _bar(ax, foot + 0.35 + 0.3 * row, parts, float(before[ids].max()))
    so_far = f" after {written}" if written else ""
    said = _said(rows, before, after, allowed)
    return Picture(
        figure,
        alt=f"The mask over the vocabulary{so_far}: {counts}. {said}",
        caption=f"One step{so_far}. A square is {per_square:,} tokens of the vocabulary, in the "
        "order of their ids. A token that may not come next gets a logit of -∞, and what is left "
        "is divided by its sum.",
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def _labels(names: TokenBytes | Sequence[str | bytes], ids: list[int], count: int) -> list[str]:
    if not isinstance(names, Sequence):
        return token_labels(names, ids)
    if len(names) != count:
        raise InputError(f"expected {count} labels, one per vocab_size, got {len(names)}")
    return [token_label(names[i]) for i in ids]


def _shares(allowed: np.ndarray, per_square: int) -> list[list[float]]:
    """For each square of the map, row by row, how many of its tokens are allowed, from 0 to 1."""
    starts = range(0, allowed.size, per_square)
    flat = [float(allowed[start : start + per_square].mean()) for start in starts]
    return [flat[start : start + COLUMNS] for start in range(0, len(flat), COLUMNS)]


def _map(ax: Axes, shares: list[list[float]], top: float) -> None:
    """Squares of which all tokens are allowed run together; of some, a smaller one is drawn."""
    green, left = axis("vocab_size").color, 0.14
    for row, line in enumerate(shares):
        y = top + SQUARE * row
        box(ax, left, y, SQUARE * len(line), SQUARE, FAINT, linewidth=0)
        start = 0
        for column, share in enumerate([*line, 0.0]):
            if share < 1:
                if column > start:
                    box(
                        ax, left + SQUARE * start, y, SQUARE * (column - start), SQUARE, green, lw=0
                    )
                start = column + 1
            if 0 < share < 1:
                _some(ax, left + SQUARE * column, y)


def _some(ax: Axes, x: float, y: float) -> None:
    air = 0.2 * SQUARE
    inside = SQUARE - 2 * air
    box(ax, x, y, SQUARE, SQUARE, PAPER, linewidth=0)
    box(ax, x + air, y + air, inside, inside, axis("vocab_size").color, linewidth=0)


def _key(ax: Axes, y: float) -> None:
    words = (("all may", 0.14), ("some may", 1.25), ("none may", 2.5))
    for name, x in words:
        write(ax, x + 0.17, y, name, SIZE)
    side = y - SQUARE / 2
    green = axis("vocab_size").color
    box(ax, words[0][1], side, SQUARE, SQUARE, green, linewidth=0)
    _some(ax, words[1][1], side)
    box(ax, words[1][1], side, SQUARE, SQUARE, "none", edgecolor=green, linewidth=0.8)
    box(ax, words[2][1], side, SQUARE, SQUARE, FAINT, linewidth=0)


def _bar(ax: Axes, y: float, parts: tuple[str, float, float, bool], most: float) -> None:
    label, before, after, is_allowed = parts
    write(ax, 0.95, y, shortened(label, 10), SIZE, ha="right", color=INK if is_allowed else MUTED)
    width = max(1.6 * before / most, 0.01)
    box(ax, 1.05, y - 0.1, width, 0.2, axis("vocab_size").color if is_allowed else REFUSED, lw=0)
    words = f"{_percent(before)} → {_percent(after)}" if is_allowed else f"{_percent(before)} → no"
    write(ax, 1.12 + width, y, words, SIZE, weight="bold" if is_allowed else "normal")


def _said(
    rows: list[tuple[str, int]], before: np.ndarray, after: np.ndarray, allowed: np.ndarray
) -> str:
    said = "; ".join(
        f"“{label}” {_percent(before[i])}, "
        + (f"after the mask {_percent(after[i])}" if allowed[i] else "refused")
        for label, i in rows
    )
    return f"The model's likeliest: {said}."


def _percent(share: float) -> str:
    whole = round(100 * float(share))
    return "<1%" if whole == 0 and share > 0 else f"{whole}%"
