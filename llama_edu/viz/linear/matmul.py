"""A Bᵀ or A B as three matrices that fit together: what meets in one number stands in line."""

import numpy as np
from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.figure import INK, MUTED, Number, Picture, board, box, picture, write
from llama_edu.viz.parts.numerals import short

__all__ = ["matmul_tile"]

WIDTH = 3.4  # inches, as wide as a phone's page
LEFT, TOP, GAP = 0.3, 0.5, 0.3
SPAN = 3.0  # for k + n columns
LARGEST, READABLE = 0.44, 0.26  # a cell, and the smallest that can hold a number
MOST_SQUARES = 600  # of one matrix, as strokes; more become pixels
MAX_SIDE = 64
PLAIN, ROW_TINT, COLUMN_TINT, TILE = "#f3f5f7", "#dde6fc", "#fdeccb", "#d9eee3"


@picture
def matmul_tile(
    a: np.ndarray,
    b: np.ndarray,
    at: tuple[int, int] = (0, 0),
    *,
    block: int | None = None,
    names: tuple[str, str, str] = ("A", "B", "C"),
    turned: bool = True,
) -> Picture:
    """What one number of C = A Bᵀ is made of, or one tile of `block` × `block` numbers.

    `a` is (m, k) and `b` is (n, k), one row per column of C; B is drawn turned, so that what meets
    stands in line. With `turned=False`, C is A B and `b` is (k, n), drawn as it is. `at` is the
    number, or the tile counted in tiles. Raises `InputError` if the shapes do not fit, for more
    than 64 columns in all, and for a place outside C.
    """
    if not turned and b.ndim == 2:
        b = b.T
    (m, k), n = _sizes(a, b, turned)
    tile = block or 1
    first = at[0] * tile, at[1] * tile
    if tile < 1 or min(at) < 0 or first[0] >= m or first[1] >= n:
        raise InputError(f"expected a place inside {(m, n)} in steps of {tile}, got {at}")
    rows = range(first[0], min(first[0] + tile, m))
    columns = range(first[1], min(first[1] + tile, n))
    cell = min(LARGEST, round((SPAN - GAP) / (k + n), 3))
    right, down = LEFT + k * cell + GAP, TOP + k * cell + GAP
    figure, ax = board(down + m * cell + (0.62 if block is None else 0.3), WIDTH)
    product = a @ b.T
    _names(ax, names, (right, down), cell, (m, k, n), turned)
    _matrix(ax, a, (LEFT, down), cell, {(i, p): ROW_TINT for i in rows for p in range(k)})
    _matrix(ax, b.T, (right, TOP), cell, {(p, j): COLUMN_TINT for p in range(k) for j in columns})
    _matrix(ax, product, (right, down), cell, {(i, j): TILE for i in rows for j in columns})
    place = right + columns[0] * cell, down + rows[0] * cell
    size = len(columns) * cell, len(rows) * cell
    for edge in range(tile, k, tile) if block else ():
        x, y = LEFT + edge * cell, TOP + edge * cell
        _cut(ax, (x, x), (place[1], place[1] + size[1]))
        _cut(ax, (place[0], place[0] + size[0]), (y, y))
    box(ax, *place, *size, "none", edgecolor=INK, linewidth=1.8)
    words = _sum_words(a[rows[0]], b[columns[0]], names[2], first)
    if block is None:
        write(ax, 0.12, down + m * cell + 0.36, words, 10 if len(words) < 36 else 8)
    line = "row" if turned else "column"
    pieces = -(-k // tile)
    said = f"{words}." if block is None else _tile_words(names, rows, columns, pieces, line)
    sizes = f"{n} × {k}" if turned else f"{k} × {n}"
    alt = f"{names[0]} is {m} × {k}, {names[1]} is {sizes}, {names[2]} is {m} × {n}. {said}"
    caption = (
        f"A number of {names[2]}: a row of {names[0]} times a {line} of {names[1]}"
        f"{', drawn turned' if turned else ''}."
        if block is None
        else f"A tile of {names[2]}: {len(rows)} of the rows of {names[0]} times {len(columns)} of "
        f"the {line}s of {names[1]}, in {pieces} pieces."
    )
    return Picture(figure, alt=alt, caption=caption)


def _sizes(a: np.ndarray, b: np.ndarray, turned: bool) -> tuple[tuple[int, int], int]:
    """Of `a` (m, k) and `b` (n, k), as the product has them; the error says them as given."""
    fits = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1] and min(*a.shape, *b.shape) > 0
    if not fits or sum(b.shape) > MAX_SIDE or len(a) > MAX_SIDE:
        raise InputError(
            f"expected a (m, k) and b {'(n, k)' if turned else '(k, n)'} of at most {MAX_SIDE} "
            f"rows and columns, got {a.shape} and {b.shape if turned else b.shape[::-1]}"
        )
    return (len(a), a.shape[1]), len(b)


def _matrix(
    ax: Axes,
    values: np.ndarray,
    corner: tuple[float, float],
    cell: float,
    tints: dict[tuple[int, int], str],
) -> None:
    texts = [[short(number, 6) for number in row] for row in values.tolist()]
    widest = max(len(text) for row in texts for text in row)
    is_readable = cell >= READABLE and widest * 0.105 < cell
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            x, y = corner[0] + j * cell, corner[1] + i * cell
            face = tints.get((i, j), PLAIN)
            square = box(ax, x, y, cell, cell, face, linewidth=0.8 if cell > 0.15 else 0.3)
            square.set_rasterized(values.size > MOST_SQUARES)
            if is_readable:
                style = {"weight": "bold"} if face == TILE else {}
                write(ax, x + cell / 2, y + cell / 2, text, 10, ha="center", **style)


def _cut(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    ax.plot(x, y, color=INK, lw=1.4, ls=(0, (3, 2)))


def _names(
    ax: Axes,
    names: tuple[str, str, str],
    corner: tuple[float, float],
    cell: float,
    sizes: tuple[int, int, int],
    turned: bool,
) -> None:
    (right, down), (m, k, n) = corner, sizes
    middle = down + m * cell / 2
    for x, y, name in (
        (LEFT, down, names[0]),
        (right, TOP, f"{names[1]}ᵀ" if turned else names[1]),
        (right, down, names[2]),
    ):
        write(ax, x, y - 0.14, name, 12, weight="bold")
    note = f"{n} columns: the rows of {names[1]}" if turned else f"{n} columns"
    x = min(right + 0.4, LEFT + SPAN + 0.3 - 0.076 * len(note))
    if x > right + 0.3:
        write(ax, x, TOP - 0.14, note, 9.5, color=MUTED)
    write(ax, LEFT - 0.1, middle, f"{m} rows", 9.5, color=MUTED, ha="right", rotation=90)
    write(ax, LEFT + 0.35, down - 0.14, f"{k} columns", 9.5, color=MUTED)


def _sum_words(row: np.ndarray, other: np.ndarray, name: str, at: tuple[int, int]) -> str:
    """`C[1,2] = 2·1 + 0·3 = 2`, in the middle of a long sum three dots."""
    pairs = [
        f"{_factor(x)}·{_factor(y)}" for x, y in zip(row.tolist(), other.tolist(), strict=True)
    ]
    shown = pairs if len(pairs) <= 6 else [*pairs[:3], "…", pairs[-1]]
    total = row @ other
    return f"{name}[{at[0]},{at[1]}] = {' + '.join(shown)} = {short(total.item(), 6)}"


def _factor(number: Number) -> str:
    return f"({short(number, 6)})" if number < 0 else short(number, 6)


def _tile_words(
    names: tuple[str, str, str], rows: range, columns: range, pieces: int, line: str
) -> str:
    other = "" if line == "row" else f"{line}s "
    return (
        f"The tile of {names[2]} at rows {rows[0]} to {rows[-1]} and columns {columns[0]} to "
        f"{columns[-1]} needs the same rows of {names[0]} and {other}of {names[1]}, read in "
        f"{pieces} pieces: each piece is used for {len(rows) * len(columns)} numbers."
    )
