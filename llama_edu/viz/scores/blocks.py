"""Where each score matrix comes from: blocks of Q, blocks of K, and a grid of their products.

Only shapes are drawn, and they are the caller's.
"""

from dataclasses import dataclass

from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import INK, Picture, board, box, picture, tag, write
from llama_edu.viz.scores.heads import TINTS, checked_groups

__all__ = ["block_grid"]

WIDTH = 4.3  # inches: with words of 10 points, 341 pixels of a phone hold all of it
LEFT = 0.86  # inches; where the blocks begin, right of their row's name
SPAN = WIDTH - LEFT - 0.1
GRID_INDENT = 0.95  # of the grid of scores, for the names of its rows


@dataclass(frozen=True)
class _Blocks:
    """Sizes of the array and, in inches, of the blocks that stand for it."""

    n_kv_heads: int
    n_groups: int
    seq: int
    total_seq: int
    head_dim: int
    position: float  # one position, down a block of q or k, or across a score matrix
    feature: float  # one entry of head_dim
    gap: float  # between the heads of a group
    group_gap: float  # between groups

    @property
    def pitch(self) -> float:
        """From one score matrix to the next; enough for its name where the page allows it."""
        room = (SPAN - GRID_INDENT + 0.1) / self.n_groups
        return min(max(self.score_width + 0.3, 0.8), room)

    @property
    def head_width(self) -> float:
        return self.head_dim * self.feature

    @property
    def score_width(self) -> float:
        return self.total_seq * self.position

    @property
    def rows(self) -> float:
        return self.seq * self.position


@picture
def block_grid(n_kv_heads: int, n_groups: int, seq: int, total_seq: int, head_dim: int) -> Picture:
    """Q as a row of blocks, K as a row of blocks, the scores as a grid of matrices.

    Row `i` of the grid holds the `n_groups` query heads that meet KV head `i`; each element is a
    `(seq, total_seq)` matrix. Raises `InputError` for sizes below 1 and for `total_seq < seq`.
    """
    sizes = (n_kv_heads, n_groups, seq, total_seq, head_dim)
    if min(sizes) < 1 or total_seq < seq:
        raise InputError(f"expected sizes ≥ 1 and total_seq ≥ seq, got {sizes}")
    checked_groups(n_kv_heads * n_groups, n_kv_heads)
    blocks = _sized_blocks(*sizes)
    q_top = 1.8
    k_top = q_top + blocks.rows + 0.62
    grid_top = k_top + total_seq * blocks.position + 0.92
    figure, ax = board(grid_top + n_kv_heads * (blocks.rows + 0.36), WIDTH)
    names = ("n_kv_heads", "n_groups", "seq", "total_seq", "head_dim")
    for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
        column, row = index % 2, index // 2
        tag(ax, 1.1 + 2.0 * column, 0.24 + 0.4 * row, name, size, size=10.0)
    _queries_and_keys(ax, blocks, q_top, k_top)
    _score_grid(ax, blocks, grid_top)
    alt = (
        f"Q is a row of {n_kv_heads * n_groups} blocks, each {seq} × {head_dim} (seq × head_dim); "
        f"K is a row of {n_kv_heads} blocks, each {total_seq} × {head_dim} (total_seq × head_dim). "
        f"The scores are a grid of {n_kv_heads} rows (n_kv_heads) by {n_groups} columns "
        f"(n_groups), each element a {seq} × {total_seq} matrix (seq × total_seq). First row: "
        f"{', '.join(f'q{j}·k0ᵀ' for j in range(n_groups))}."
    )
    caption = (
        f"The scores have the shape ({n_kv_heads}, {n_groups}, {seq}, {total_seq}): row i of the "
        "grid is everything KV head i takes part in."
    )
    return Picture(figure, alt=alt, caption=caption)


def _sized_blocks(
    n_kv_heads: int, n_groups: int, seq: int, total_seq: int, head_dim: int
) -> _Blocks:
    """The largest blocks that fit the page, positions drawn at one scale throughout."""
    n_heads = n_kv_heads * n_groups
    gap, group_gap = min(0.07, 0.2 * SPAN / n_heads), min(0.17, 0.2 * SPAN / n_kv_heads)
    free = SPAN - gap * n_heads - group_gap * n_kv_heads
    column = (SPAN - GRID_INDENT) / n_groups
    across = (column - min(0.3, 0.2 * column)) / total_seq
    down = 3.2 / (n_kv_heads * seq)
    position = min(0.15, 1.2 / total_seq, across, down)
    feature = min(position, free / (n_heads * head_dim))
    sizes = (n_kv_heads, n_groups, seq, total_seq, head_dim)
    return _Blocks(*sizes, position, feature, gap, group_gap)


def _grid_block(
    ax: Axes, x: float, y: float, shape: tuple[int, int], unit: tuple[float, float], face: str
) -> None:
    """A matrix as a block, with its cells drawn where they are large enough to count."""
    rows, columns = shape
    height, width = rows * unit[0], columns * unit[1]
    box(ax, x, y, width, height, face, edgecolor=INK, linewidth=0.9)
    if unit[1] >= 0.055:
        for j in range(1, columns):
            ax.plot([x + j * unit[1]] * 2, [y, y + height], color=INK, lw=0.3, alpha=0.5)
    if unit[0] >= 0.055:
        for i in range(1, rows):
            ax.plot([x, x + width], [y + i * unit[0]] * 2, color=INK, lw=0.3, alpha=0.5)


def _side(
    ax: Axes,
    name: str,
    size: int,
    start: tuple[float, float],
    end: tuple[float, float],
    offset: float = 0.09,
) -> None:
    """A coloured bar along one side of a block, with the axis's letter and size."""
    known = axis(name)
    (x0, y0), (x1, y1) = start, end
    label = f"{known.letter}={size}"
    bold = {"color": known.color, "weight": "bold", "ha": "center"}
    if x0 == x1:
        ax.plot([x0 - offset] * 2, [y0, y1], color=known.color, lw=3, solid_capstyle="butt")
        write(ax, x0 - offset - 0.06, (y0 + y1) / 2, label, 10, **(bold | {"ha": "right"}))
    else:
        ax.plot([x0, x1], [y0 - offset] * 2, color=known.color, lw=3, solid_capstyle="butt")
        write(ax, (x0 + x1) / 2, y0 - offset - 0.11, label, 10, **bold)


def _queries_and_keys(ax: Axes, b: _Blocks, q_top: float, k_top: float) -> None:
    unit = (b.position, b.feature)
    group_width = b.n_groups * (b.head_width + b.gap) - b.gap
    write(ax, 0.12, q_top + b.rows / 2, "Q", 15, weight="bold")
    write(ax, 0.12, k_top + b.total_seq * b.position / 2, "K", 15, weight="bold")
    for group in range(b.n_kv_heads):
        x = LEFT + group * (group_width + b.group_gap)
        middle = x + group_width / 2
        tint = TINTS[group % len(TINTS)]
        for j in range(b.n_groups):
            at = x + j * (b.head_width + b.gap)
            _grid_block(ax, at, q_top, (b.seq, b.head_dim), unit, tint)
            center = at + b.head_width / 2
            if b.head_width > 0.22:
                label = f"q{group * b.n_groups + j}"
                write(ax, center, q_top + b.rows + 0.12, label, 10, ha="center")
            ends = [q_top + b.rows + 0.24, k_top - 0.22]
            ax.plot([center, middle], ends, color=axis("n_kv_heads").color, lw=1.2)
        write(ax, middle, k_top - 0.11, f"k{group}", 10, ha="center", weight="bold")
        key = (b.total_seq, b.head_dim)
        _grid_block(ax, middle - b.head_width / 2, k_top, key, unit, tint)
    _side(ax, "seq", b.seq, (LEFT, q_top), (LEFT, q_top + b.rows))
    _side(ax, "head_dim", b.head_dim, (LEFT, q_top), (LEFT + b.head_width, q_top))
    x = LEFT + (group_width - b.head_width) / 2
    _side(ax, "total_seq", b.total_seq, (x, k_top), (x, k_top + b.total_seq * b.position))


def _score_grid(ax: Axes, b: _Blocks, top: float) -> None:
    unit = (b.position, b.position)
    down = b.rows + 0.36
    left = LEFT + GRID_INDENT
    right = left + (b.n_groups - 1) * b.pitch + b.score_width
    bottom = top + (b.n_kv_heads - 1) * down + b.rows
    write(ax, 0.12, top - 0.36, "Q @ Kᵀ", 13, weight="bold")
    for group in range(b.n_kv_heads):
        y = top + group * down
        tint = TINTS[group % len(TINTS)]
        write(ax, left - 0.72, y + b.rows / 2, f"k{group}", 10, ha="center", weight="bold")
        for j in range(b.n_groups):
            x = left + j * b.pitch
            _grid_block(ax, x, y, (b.seq, b.total_seq), unit, tint)
            head = f"q{group * b.n_groups + j}"
            label = f"{head}·k{group}ᵀ" if b.pitch > 0.75 else head if b.pitch > 0.3 else ""
            write(ax, x + b.score_width / 2, y + b.rows + 0.13, label, 10, ha="center")
    _side(ax, "n_kv_heads", b.n_kv_heads, (LEFT, top), (LEFT, bottom))
    _side(ax, "n_groups", b.n_groups, (left, top - 0.3), (right, top - 0.3))
    _side(ax, "seq", b.seq, (left, top), (left, top + b.rows))
    _side(ax, "total_seq", b.total_seq, (left, top), (left + b.score_width, top))
