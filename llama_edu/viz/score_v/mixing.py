"""How one query mixes value rows, and how the heads are laid side by side again."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import SCORES_MAP, axis
from llama_edu.viz.parts.figure import (
    INK,
    MUTED,
    Picture,
    board,
    box,
    panel,
    picture,
    tag,
    write,
)
from llama_edu.viz.parts.heatmap import paint, percent, scores_norm
from llama_edu.viz.parts.labels import checked_labels, shortened
from llama_edu.viz.scores.heads import TINTS, checked_groups

__all__ = ["head_concat", "mixing_bars"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
WIDE = 5.6  # for more than eight heads side by side
MAX_ROWS, MAX_WIDTH = 24, 32
WRONG = "#b3261e"
ROW = 0.27  # inches


@picture
def mixing_bars(
    weights: np.ndarray,
    values: np.ndarray,
    tokens: Sequence[str | bytes],
    *,
    plain: bool = False,
) -> Picture:
    """One query's weights, the value rows they weigh, and the sum: its row of Score@V.

    `weights` is `(total_seq,)`, `values` is `(total_seq, head_dim)`; `tokens` are the `total_seq`
    tokens looked at. `plain` names shares and lists, for a page that has not named weights and
    values yet. Raises `InputError` for other shapes, for more than 24 rows or 32 columns,
    for numbers that are not finite, and for labels that do not fit.
    """
    shares, rows = np.asarray(weights, np.float32), np.asarray(values, np.float32)
    if shares.ndim != 1 or rows.ndim != 2 or len(shares) != len(rows) or 0 in rows.shape:
        raise InputError(
            f"expected weights (total_seq,) and values (total_seq, head_dim), "
            f"got {shares.shape} and {rows.shape}"
        )
    if len(rows) > MAX_ROWS or rows.shape[1] > MAX_WIDTH:
        raise InputError(
            f"expected at most {MAX_ROWS} × {MAX_WIDTH} values to draw, got {rows.shape}"
        )
    if not (np.isfinite(shares).all() and np.isfinite(rows).all()) or shares.min() < 0:
        raise InputError("expected weights ≥ 0 and values that are finite numbers")
    labels = checked_labels(tokens, len(rows), "position")
    mixed = shares @ rows
    norm = scores_norm(rows)
    left = 0.2 + 0.079 * max(len(shortened(label)) for label in labels)
    bar, strip = 0.5, (WIDTH - left - 1.4) / 2
    top, height = 0.42 if plain else 0.72, ROW * len(rows)
    columns = (left + bar + 0.62, left + bar + 0.78 + strip)
    figure, ax = board(top + height + 1.14, WIDTH)
    names = ("share", "list", "share × list") if plain else ("share", "value row", "share × row")
    for x, words in zip((left, *columns), names, strict=True):
        write(ax, x, 0.2, words, 10, weight="bold")
    for x, matrix in zip(columns, (rows, shares[:, None] * rows), strict=True):
        _strip(figure, (x, top, strip, height), matrix, norm)
    if not plain:
        tag(ax, columns[0] + 0.05, 0.52, "head_dim", rows.shape[1], ha="left", size=10.0)
    for i, label in enumerate(labels):
        y = top + ROW * (i + 0.5)
        _share(ax, (left, y), bar, (float(shares[i]), float(shares.max())), shortened(label))
    y = top + height + 0.28
    ax.plot([columns[1], columns[1] + strip], [y - 0.14] * 2, color=INK, lw=1.4)
    write(ax, columns[1] - 0.12, y + ROW / 2, "added up", 10, ha="right")
    _strip(figure, (columns[1], y, strip, ROW), mixed[None], norm)
    for line, words in enumerate(_key_words(norm)):
        write(ax, WIDTH / 2, y + ROW + 0.22 * (line + 1), words, 10, ha="center", color=MUTED)
    return Picture(
        figure,
        alt=_mixing_alt(shares, mixed, labels),
        caption="Every list, made as faint as its share is small, and their sum."
        if plain
        else "One row of Score@V: every value row, made as faint as its share is small, and "
        "their sum.",
    )


def _strip(
    figure: Figure,
    place: tuple[float, float, float, float],
    rows: np.ndarray,
    norm: Normalize,
) -> None:
    paint(panel(figure, *place), rows, SCORES_MAP, norm)


def _share(
    ax: Axes, place: tuple[float, float], bar: float, shares: tuple[float, float], label: str
) -> None:
    """One weight, and beside it the largest of all, which fills the bar."""
    (left, y), (share, largest) = place, shares
    width = max(bar * share / largest, 0.01) if largest else 0.01
    write(ax, left - 0.08, y, label, 10, ha="right")
    box(ax, left, y - 0.09, width, 0.18, axis("total_seq").color, linewidth=0)
    write(ax, left + width + 0.06, y, _exactly(share), 10)


def _exactly(share: float) -> str:
    """An eighth as 12.5%, where `percent` would round; what has more digits is rounded as there."""
    eighths = 8 * share
    return f"{100 * share:g}%" if eighths == round(eighths) else percent(share)


def _key_words(norm: Normalize) -> tuple[str, str]:
    reach = float(norm.vmax or 0.0)
    return "white is 0;", f"darkest blue is −{reach:.1f}, darkest orange +{reach:.1f}"


def _mixing_alt(shares: np.ndarray, mixed: np.ndarray, labels: list[str]) -> str:
    order = np.argsort(-shares, kind="stable")[:3]
    most = ", ".join(f"“{labels[i]}” {percent(shares[i])}" for i in order.tolist())
    return (
        f"{len(shares)} value rows (total_seq) of {len(mixed)} numbers (head_dim), mixed by one "
        f"query's shares. The largest: {most}; all together {percent(shares.sum())}. The "
        f"sum of the mixed rows goes from {mixed.min():.2f} to {mixed.max():.2f}.".replace("-", "−")
    )


@picture
def head_concat(
    n_kv_heads: int, n_groups: int, head_dim: int, order: Sequence[int] | None = None
) -> Picture:
    """The heads of all groups, and the row of one token in which they stand side by side.

    `order[i]` is the head put into place `i`; by default, head `i`. Heads in a wrong place are
    marked. Raises `InputError` for sizes below 1, more than 16 heads, and an order that is none.
    """
    n_heads = n_kv_heads * n_groups
    if min(n_kv_heads, n_groups, head_dim) < 1 or n_heads > 16:
        raise InputError(
            f"expected sizes ≥ 1 and at most 16 heads to draw, got {n_kv_heads} × {n_groups} heads "
            f"of {head_dim}"
        )
    checked_groups(n_heads, n_kv_heads)
    placed = list(range(n_heads)) if order is None else list(order)
    if sorted(placed) != list(range(n_heads)):
        raise InputError(f"expected an order of the heads 0 to {n_heads - 1}, got {placed}")
    page = WIDTH if n_heads <= 8 else WIDE
    slot = (page - 0.3) / n_heads
    wrong = [i for i, head in enumerate(placed) if head != i]
    figure, ax = board(3.56 + (0.5 if wrong else 0.0), page)
    ax.set_ylim(3.16 + (0.5 if wrong else 0.0), -0.4)
    sizes = {"n_kv_heads": n_kv_heads, "n_groups": n_groups, "head_dim": head_dim}
    places = ((page / 2 - 0.95, -0.16), (page / 2 + 0.95, -0.16), (page / 2, 0.24))
    for (x, y), (name, size) in zip(places, sizes.items(), strict=True):
        tag(ax, x, y, name, size, size=10.0)
    ink = axis("n_heads").color
    for place, head in enumerate(placed):
        x, to = 0.15 + head * slot, 0.15 + place * slot
        color = WRONG if head != place else MUTED
        ax.plot([x + slot / 2, to + slot / 2], [1.12, 1.82], color=color, lw=1.3)
        _piece(ax, x, 0.7, slot, head, n_groups)
        _piece(ax, to, 1.84, slot, head, n_groups)
        if head != place:
            box(ax, to + 0.02, 1.84, slot - 0.04, 0.42, "none", edgecolor=WRONG, linewidth=2.4)
        write(ax, to + 0.02, 2.38, str(place * head_dim), 10 if slot > 0.4 else 8.5, color=MUTED)
    write(ax, page / 2, 2.66, "one row of merged: n_heads × head_dim", 10, ha="center", color=ink)
    product = f"= {n_heads} × {head_dim} = {n_heads * head_dim}"
    write(ax, page / 2, 2.88, product, 10, ha="center", color=ink)
    if wrong:
        for y, text in (
            (3.16, f"{len(wrong)} of {n_heads} heads stand where"),
            (3.38, "o_proj expects another one"),
        ):
            write(ax, page / 2, y, text, 10, ha="center", color=WRONG, weight="bold")
    return Picture(
        figure,
        alt=_concat_alt(n_groups, head_dim, placed, len(wrong)),
        caption="Above, the heads group by group; below, the row they make. The small numbers say "
        "where each head begins.",
    )


def _piece(ax: Axes, x: float, y: float, slot: float, head: int, n_groups: int) -> None:
    group = head // n_groups
    tint = TINTS[group % len(TINTS)]
    box(ax, x + 0.02, y, slot - 0.04, 0.42, tint, edgecolor=axis("n_heads").color, linewidth=0.9)
    write(ax, x + slot / 2, y + 0.14, f"q{head}", 10 if slot > 0.4 else 8.5, ha="center")
    write(
        ax,
        x + slot / 2,
        y + 0.31,
        f"KV{group}",
        10 if slot > 0.4 else 8,
        ha="center",
        color=axis("n_kv_heads").color,
    )


def _concat_alt(n_groups: int, head_dim: int, placed: list[int], wrong: int) -> str:
    groups = len(placed) // n_groups
    row = ", ".join(f"head {head} at {i * head_dim}" for i, head in enumerate(placed))
    alt = (
        f"{len(placed)} heads in {groups} KV groups of {n_groups}, laid side by side in one row of "
        f"{len(placed) * head_dim} numbers: {row}. "
    )
    if not wrong:
        return alt + "Every head is in its own place."
    return alt + f"{wrong} heads are in another head's place."
