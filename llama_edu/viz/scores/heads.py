"""Which query heads share a KV head: `h // n_groups`, drawn."""

from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    MUTED,
    PAPER,
    WIDTH,
    Picture,
    board,
    picture,
    rounded,
    tag,
    write,
)

__all__ = ["TINTS", "checked_groups", "head_wiring"]

# One pale tint per KV group, in turn; the number on each block tells groups of one tint apart.
TINTS = ("#f9dcd7", "#fdeccb", "#d9eee3", "#dde6fc")
HEADS_PER_LINE = 12
FEW_HEADS, FEW_WIDTH = 9, 4.3  # so few fit a phone, with words of 10 points
MAX_GROUPS = 32  # query heads of one group that still fit side by side, numbered


def checked_groups(n_heads: int, n_kv_heads: int) -> int:
    """Query heads per KV head. Raises `InputError` unless they come out even."""
    if n_kv_heads < 1 or n_heads < 1 or n_heads % n_kv_heads:
        raise InputError(
            f"expected n_heads to be a multiple of n_kv_heads, got {n_heads} and {n_kv_heads}"
        )
    n_groups = n_heads // n_kv_heads
    if n_groups > MAX_GROUPS:
        raise InputError(f"expected at most {MAX_GROUPS} heads in a group to draw, got {n_groups}")
    return n_groups


@picture
def head_wiring(n_heads: int, n_kv_heads: int) -> Picture:
    """Which KV head each query head reads: contiguous blocks, `h // n_groups`.

    Raises `InputError` unless `n_heads` is a multiple of `n_kv_heads`.
    """
    n_groups = checked_groups(n_heads, n_kv_heads)
    groups_per_line = max(1, HEADS_PER_LINE // n_groups)
    lines = [
        range(first, min(first + groups_per_line, n_kv_heads))
        for first in range(0, n_kv_heads, groups_per_line)
    ]
    is_small = n_heads <= FEW_HEADS
    page, top = (FEW_WIDTH, 0.98) if is_small else (WIDTH, 0.62)
    line_height = 1.62
    figure, ax = board(top + line_height * len(lines) + 0.45, page)
    sizes = {"n_heads": n_heads, "n_kv_heads": n_kv_heads, "n_groups": n_groups}
    places = ((1.0, 0.27), (2.9, 0.27), (page / 2, 0.66))
    if not is_small:
        places = ((0.95, 0.27), (2.8, 0.27), (4.65, 0.27))
    for (x, y), (name, size) in zip(places, sizes.items(), strict=True):
        tag(ax, x, y, name, size, size=10.0 if is_small else 9.0)
    slot = (page - 0.3) / min(n_heads, groups_per_line * n_groups)
    for row, groups in enumerate(lines):
        for column, group in enumerate(groups):
            x = 0.15 + column * slot * n_groups
            _wired_group(ax, x, top + row * line_height, slot, group, n_groups)
    rule = f"head h reads KV head h // n_groups = h // {n_groups}"
    write(ax, page / 2, top + line_height * len(lines) + 0.18, rule, ha="center", color=MUTED)
    return Picture(figure, alt=_wiring_alt(n_heads, n_kv_heads), caption=_wiring_caption(n_groups))


def _wired_group(ax: Axes, x: float, y: float, slot: float, group: int, n_groups: int) -> None:
    """One KV group: its query heads above, its KV head below, a line from each to it."""
    width, pad = slot * n_groups, min(0.05, slot * 0.12)
    tint, ink = TINTS[group % len(TINTS)], axis("n_kv_heads").color
    rounded(ax, x + pad, y, width - 2 * pad, 1.5, facecolor=tint, edgecolor="none")
    middle = x + width / 2
    for j in range(n_groups):
        left = x + pad + 0.03 + j * (width - 2 * pad - 0.06) / n_groups
        cell = (width - 2 * pad - 0.06) / n_groups - 0.04
        ax.plot([left + 0.02 + cell / 2, middle], [y + 0.46, y + 1.06], color=ink, lw=1.4)
        edge = axis("n_heads").color
        rounded(ax, left + 0.02, y + 0.1, cell, 0.36, facecolor=PAPER, edgecolor=edge, lw=1.1)
        head = group * n_groups + j
        label = f"q{head}" if cell > 0.3 else str(head)
        size = 11 if cell > 0.3 else 8
        write(ax, left + 0.02 + cell / 2, y + 0.28, label, size, ha="center", color=edge)
    key = min(width - 2 * pad - 0.1, 0.62)
    rounded(ax, middle - key / 2, y + 1.03, key, 0.36, facecolor=ink, edgecolor="none")
    label = f"KV{group}" if key > 0.36 else str(group)
    bold = {"ha": "center", "color": PAPER, "weight": "bold"}
    write(ax, middle, y + 1.21, label, 11 if key > 0.5 else 10, **bold)


def _wiring_alt(n_heads: int, n_kv_heads: int) -> str:
    n_groups = n_heads // n_kv_heads
    shares = []
    for group in range(n_kv_heads):
        first, last = group * n_groups, (group + 1) * n_groups - 1
        heads = f"head {first}" if first == last else f"heads {first} to {last}"
        shares.append(f"{heads} → KV head {group}")
    return (
        f"{n_heads} query heads wired to {n_kv_heads} KV heads, {n_groups} neighbours to each. "
        f"Query {'; '.join(shares)}."
    )


def _wiring_caption(n_groups: int) -> str:
    if n_groups == 1:
        return "Multi-head attention: every query head has a KV head of its own."
    return f"Every KV head is shared by {n_groups} neighbouring query heads: one KV group."
