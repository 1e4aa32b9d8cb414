"""Exercises on products: where a number lies, C = βC + αABᵀ, and tests that can tell."""

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from llama_edu.exercises.framework.draw import noise, pick, seeded_noise, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.watched import Watched
from llama_edu.ops.linear import matmul_transb

Array = np.ndarray
Gemm = Callable[[Array, float, Array, Array, float], None]
Arguments = tuple[Array, float, Array, Array, float]


# ★ position(index, shape): the place in memory of array[index], rows first, counted in numbers


def _position_by_strides(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    stride, place = 1, 0
    for i, size in zip(reversed(index), reversed(shape), strict=True):
        place += i * stride
        stride *= size
    return place


def _position_by_factoring(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    place = 0
    for i, size in zip(index, shape, strict=True):
        place = place * size + i
    return place


def _position_columns_first(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return _position_by_factoring(index[::-1], shape[::-1])


def _position_own_size(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return sum(i * size for i, size in zip(index[:-1], shape[:-1], strict=True)) + index[-1]


def _position_next_size(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return sum(i * size for i, size in zip(index, (*shape[1:], 1), strict=True))


def _position_in_bytes(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return 4 * _position_by_factoring(index, shape)


def _position_drawn(rng: np.random.Generator) -> list[Case]:
    def case(axes: int) -> Case:
        shape = tuple(wholes(rng, axes, 2, 9))
        return Case(f"{axes} axes", (tuple(whole(rng, 0, n - 1) for n in shape), shape))

    return [case(2), case(3), case(4)]


POSITION = Exercise(
    name="position",
    topic="linear",
    stars=1,
    task="Say where array[index] lies in memory, for any number of axes, counted in numbers.",
    section="A matrix lies in memory as a line",
    cases=lambda: [
        Case("index (1, 2) of 3 × 4", ((1, 2), (3, 4))),
        Case("index (2, 0) of 3 × 4", ((2, 0), (3, 4))),
        Case("index (1, 2, 3) of 2 × 3 × 5", ((1, 2, 3), (2, 3, 5))),
        Case("index (1, 0, 2, 1) of 2 × 3 × 4 × 6", ((1, 0, 2, 1), (2, 3, 4, 6))),
        Case("index (5,) of 7", ((5,), (7,))),
    ],
    drawn=_position_drawn,
    correct=(_position_by_strides, _position_by_factoring),
    mutants=(
        Mutant(
            "columns_first",
            _position_columns_first,
            "when the first index runs fastest, as in Fortran: here the last one does",
            section="Turn it over",
        ),
        Mutant(
            "own_size",
            _position_own_size,
            "when an index is multiplied by the size of its own axis, not of those after it",
        ),
        Mutant(
            "next_size",
            _position_next_size,
            "when only the next axis is counted: a step along one axis skips all axes after it",
        ),
        Mutant("in_bytes", _position_in_bytes, "when bytes are counted instead of numbers"),
        Mutant(
            "summed",
            lambda index, shape: sum(index),
            "when the numbers of the index are added as they are",
        ),
        Mutant(
            "multiplied",
            lambda index, shape: math.prod(index),
            "when the numbers of the index are multiplied",
        ),
        Mutant("last_only", lambda index, shape: index[-1], "when only the last axis counts"),
        Mutant(
            "two_axes",
            lambda index, shape: index[0] * shape[-1] + index[-1],
            "when only the first and the last axis count",
        ),
        Mutant(
            "one_stride",
            lambda index, shape: index[0] * math.prod(shape[1:]) + sum(index[1:]),
            "when only the first axis has a stride",
        ),
        Mutant(
            "stride_with_itself",
            lambda index, shape: sum(i * math.prod(shape[axis:]) for axis, i in enumerate(index)),
            "when an axis's own length is part of its stride",
        ),
        Mutant(
            "from_one",
            lambda index, shape: _position_by_strides(index, shape) + 1,
            "when places are counted from 1",
        ),
    ),
)


# ★★ gemm(c, beta, a, b, alpha): C ← βC + αABᵀ, written into c


def _gemm_whole(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    c[...] = matmul_transb(a, b, c, alpha=alpha, beta=beta)


def _gemm_loop(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    for i, j in np.ndindex(c.shape):
        total = sum(float(x) * float(y) for x, y in zip(a[i], b[j], strict=True))
        c[i, j] = alpha * total + (beta * float(c[i, j]) if beta else 0.0)


def _gemm_beta_ignored(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    for i, j in np.ndindex(c.shape):
        for p in range(a.shape[1]):
            c[i, j] += alpha * a[i, p] * b[j, p]


def _gemm_overwrites(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    c[...] = alpha * (a @ b.T)


def _gemm_alpha_ignored(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    c[...] = matmul_transb(a, b, c, beta=beta)


def _gemm_alpha_on_all(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    c[...] = alpha * matmul_transb(a, b, c, beta=beta)


def _gemm_beta_each_step(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    c[...] = c if beta else 0.0
    for p in range(a.shape[1]):
        c[...] = beta * c + alpha * np.outer(a[:, p], b[:, p])


def _gemm_reads_at_zero(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    with np.errstate(invalid="ignore"):
        c[...] = beta * c + alpha * (a @ b.T)


def _gemm_swapped(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    found = (b @ a.T).reshape(c.shape)
    c[...] = alpha * found + (beta * c if beta else 0.0)


def _gemm_not_turned(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    found = a @ b.reshape(b.shape[::-1])
    c[...] = alpha * found + (beta * c if beta else 0.0)


def _gemm_short_sum(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    short = min(len(a), a.shape[1])  # the loop over p runs over the rows of A
    c[...] = alpha * (a[:, :short] @ b[:, :short].T) + (beta * c if beta else 0.0)


def _gemm_infinity_cleaned(c: Array, beta: float, a: Array, b: Array, alpha: float) -> None:
    with np.errstate(over="ignore"):  # the largest float32, which stands for ∞, times β
        c[...] = np.nan_to_num(c) * beta + alpha * (a @ b.T)


def _gemm_returns(c: Array, beta: float, a: Array, b: Array, alpha: float) -> Array:
    return matmul_transb(a, b, c, alpha=alpha, beta=beta)


def _written(answer: Gemm, c: Array, beta: float, a: Array, b: Array, alpha: float) -> Array:
    out = c.copy()
    answer(out, beta, a, b, alpha)
    return out


def _gemm_cases() -> list[Case]:
    dirty = np.full((2, 4), np.nan, dtype=np.float32)
    dirty[1] = np.inf
    spoilt = seeded_noise(15, 3, 5)
    spoilt[0, 1], spoilt[2, 3] = np.nan, np.inf
    return [
        Case(
            "a used buffer, α 2 and β 0.5",
            (seeded_noise(1, 3, 5), 0.5, seeded_noise(2, 3, 4), seeded_noise(3, 5, 4), 2.0),
        ),
        Case(
            "a used buffer, α −1.5 and β 0.25",
            (seeded_noise(12, 4, 2), 0.25, seeded_noise(13, 4, 5), seeded_noise(14, 2, 5), -1.5),
        ),
        Case(
            "a used buffer, α 1 and β 0",
            (seeded_noise(4, 2, 4), 0.0, seeded_noise(5, 2, 3), seeded_noise(6, 4, 3), 1.0),
        ),
        Case(
            "a buffer of NaN and ∞, α −3 and β 0",
            (dirty, 0.0, seeded_noise(7, 2, 5), seeded_noise(8, 4, 5), -3.0),
        ),
        Case(
            "a NaN and an ∞ that count, α 3 and β −2",
            (spoilt, -2.0, seeded_noise(16, 3, 4), seeded_noise(17, 5, 4), 3.0),
        ),
        Case(
            "square matrices, α 1 and β 1",
            (seeded_noise(9, 3, 3), 1.0, seeded_noise(10, 3, 3), seeded_noise(11, 3, 3), 1.0),
        ),
    ]


def _gemm_drawn(rng: np.random.Generator) -> list[Case]:
    (m, n, k), c = wholes(rng, 3, 2, 7), noise(rng, 3, 3)
    alpha, beta = pick(rng, [-2.5, 0.75, 3.0], 1)[0], pick(rng, [-0.5, 1.5, 2.0], 1)[0]
    c[0, 1], c[2, 2] = np.nan, np.inf  # with a β that is not 0, they stay what they are
    return [
        Case("a used buffer", (noise(rng, m, n), beta, noise(rng, m, k), noise(rng, n, k), alpha)),
        Case("an old NaN that counts", (c, beta, noise(rng, 3, k), noise(rng, 3, k), alpha)),
    ]


def _write(c: Array, result: Array) -> None:
    c[...] = result


GEMM = Exercise(
    name="gemm",
    topic="linear",
    books=("llama_edu.ops.linear.matmul_transb",),
    stars=2,
    task="Repair C ← βC + αABᵀ, written into the buffer c, whatever the buffer held.",
    section="C = β C + α A Bᵀ",
    cases=_gemm_cases,
    harness=_written,
    drawn=_gemm_drawn,
    correct=(_gemm_whole, _gemm_loop),
    axes="rows columns",
    mutants=(
        Mutant(
            "beta_ignored",
            _gemm_beta_ignored,
            "when β is ignored and the sums are added to whatever the buffer held",
            section="A buffer that is not clean",
        ),
        Mutant("overwrites", _gemm_overwrites, "when βC is left out and the buffer overwritten"),
        Mutant("alpha_ignored", _gemm_alpha_ignored, "when α is ignored"),
        Mutant("alpha_on_all", _gemm_alpha_on_all, "when α multiplies βC, too"),
        Mutant(
            "beta_each_step",
            _gemm_beta_each_step,
            "when β multiplies C again at each step of the sum",
        ),
        Mutant(
            "reads_at_zero",
            _gemm_reads_at_zero,
            "when β is 0 and the buffer is read all the same: 0 · NaN is NaN",
            "https://github.com/codeplaysoftware/portBLAS/pull/237",
        ),
        Mutant(
            "swapped",
            _gemm_swapped,
            "when A and B change places: the result is turned, and its numbers are in wrong order",
            "https://github.com/LearningInfiniTensor/learning-lm-rs/blob/"
            "0c88fc38f009f70bf7785baf4c7cca01b3832879/src/operators.rs",
            section="A test that three wrong versions pass",
        ),
        Mutant(
            "not_turned",
            _gemm_not_turned,
            "when B is reshaped, not transposed: the shape fits, the rows are cut to pieces",
            "https://github.com/rish-16/tokenlearner-pytorch/issues/1",
            section="Reshape is not transpose",
        ),
        Mutant("returns", _gemm_returns, "when the result is returned and the buffer left alone"),
        Mutant(
            "beta_on_all",
            lambda c, beta, a, b, alpha: _write(c, beta * (c + alpha * (a @ b.T))),
            "when β multiplies αABᵀ too",
        ),
        Mutant(
            "factors_exchanged",
            lambda c, beta, a, b, alpha: _write(c, alpha * c + beta * (a @ b.T)),
            "when α and β change places",
        ),
        Mutant(
            "written_first",
            lambda c, beta, a, b, alpha: _write(c, (1 + beta) * alpha * (a @ b.T)),
            "when the product is written before the old C is read",
        ),
        Mutant(
            "alpha_on_all_and_zero",
            lambda c, beta, a, b, alpha: _write(c, alpha * (beta * c + a @ b.T)),
            "when α multiplies βC too, and β = 0 still reads C",
        ),
        Mutant(
            "infinity_cleaned",
            _gemm_infinity_cleaned,
            "when NaN and ∞ are replaced: with a β that is not 0 they count",
        ),
    ),
)


# ★★ telling_case(): c, beta, a, b, alpha that tell wrong versions from the right one

WRONG_GEMMS: tuple[Gemm, ...] = (
    _gemm_beta_ignored,
    _gemm_alpha_ignored,
    _gemm_alpha_on_all,
    _gemm_swapped,
    _gemm_not_turned,
    _gemm_short_sum,
)


def _unseen(answer: Callable[[], Arguments]) -> str:
    """The wrong versions that the case takes for right."""
    c, beta, a, b, alpha = answer()
    want = _written(_gemm_whole, c, beta, a, b, alpha)
    got = {wrong.__name__: _written(wrong, c, beta, a, b, alpha) for wrong in WRONG_GEMMS}
    names = [name.removeprefix("_gemm_") for name, c in got.items() if np.allclose(c, want)]
    return f"not seen: {', '.join(names)}" if names else "all six are seen"


def _f32(*rows: list[int]) -> Array:
    return np.array(rows, dtype=np.float32)


def _telling_small() -> Arguments:
    c, a = _f32([1, 2, 3], [4, 5, 6]), _f32([1, 2, 0, 1], [0, 3, 1, -1])
    return c, 0.5, a, _f32([1, 0, 2, 4], [2, 5, 0, 1], [-1, 4, 3, 0]), 2.0


def _telling_random() -> Arguments:
    return seeded_noise(1, 3, 5), -1.5, seeded_noise(2, 3, 4), seeded_noise(3, 5, 4), 0.75


def _telling_equal_matrices() -> Arguments:
    same = _f32([1, 2, 3], [4, 5, 6])
    return _f32([1, 2], [3, 4]), 1.0, same, same, 1.0


def _telling_ones() -> Arguments:
    c, a, b, alpha = np.full((2, 3), 7.0, dtype=np.float32), (2, 4), (3, 4), 2.0
    return c, 0.5, np.ones(a, dtype=np.float32), np.ones(b, dtype=np.float32), alpha


def _telling_empty_buffer() -> Arguments:
    _, beta, a, b, alpha = _telling_small()
    return np.zeros((2, 3), dtype=np.float32), beta, a, b, alpha


def _telling_plain_sum() -> Arguments:
    c, _, a, b, _ = _telling_small()
    return c, 1.0, a, b, 1.0


TELLING_CASE = Exercise(
    name="telling_case",
    topic="linear",
    stars=2,
    task="Repair a test: return c, beta, a, b, alpha on which six wrong versions are seen.",
    section="A test that three wrong versions pass",
    cases=lambda: [Case("six wrong versions", ())],
    harness=_unseen,
    correct=(_telling_small, _telling_random),
    mutants=(
        Mutant(
            "equal_matrices",
            _telling_equal_matrices,
            "when A and B are equal and α and β are 1: the product is its own transpose",
        ),
        Mutant(
            "ones",
            _telling_ones,
            "when all numbers of a matrix are alike: no order is the wrong order",
        ),
        Mutant(
            "empty_buffer",
            _telling_empty_buffer,
            "when the buffer holds zeros: whatever β does to them, they stay zeros",
            section="A buffer that is not clean",
        ),
        Mutant(
            "plain_sum",
            _telling_plain_sum,
            "when α and β are 1, which is what those who forget them take them for",
        ),
    ),
)


# ★★★ in_blocks(a, b, block): A Bᵀ, read in tiles of block × block


def _blocks(size: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, size)) for start in range(0, size, block))


def _in_blocks(a: Array, b: Array, block: int) -> Array:
    c = np.zeros((len(a), len(b)), dtype=a.dtype)
    for rows, columns in product(_blocks(len(a), block), _blocks(len(b), block)):
        for depth in _blocks(a.shape[1], block):
            c[rows, columns] += a[rows, depth] @ b[columns, depth].T
    return c


def _in_blocks_tile_by_tile(a: Array, b: Array, block: int) -> Array:
    def tile(rows: slice, columns: slice) -> Array:
        parts = (a[rows, d] @ b[columns, d].T for d in _blocks(a.shape[1], block))
        return np.asarray(sum(parts))

    stripes = [[tile(r, c) for c in _blocks(len(b), block)] for r in _blocks(len(a), block)]
    return np.block(stripes)


def _in_blocks_at_once(a: Array, b: Array, block: int) -> Array:
    return a @ b.T


def _in_blocks_stripes(a: Array, b: Array, block: int) -> Array:
    return np.concatenate([a[rows] @ b.T for rows in _blocks(len(a), block)])


def _in_blocks_float32(a: Array, b: Array, block: int) -> Array:
    return _in_blocks(a, b, block).astype(np.float32)


def _in_tiles(answer: Callable[..., Array], a: Array, b: Array, block: int) -> list[object]:
    """The product, and whether anything larger than a tile was ever computed with."""
    shapes: list[tuple[int, ...]] = []
    c = answer(Watched.of(a, shapes), Watched.of(b, shapes), block)
    largest = max(shapes, key=lambda shape: max(shape, default=0), default=(0, 0))
    size = max(largest, default=0)
    tiles = f"at most {block} × {block}" if size <= block else " × ".join(map(str, largest))
    return [np.asarray(c) if isinstance(c, Watched) else c, tiles]


def _in_blocks_overwrites(a: Array, b: Array, block: int) -> Array:
    c = np.zeros((len(a), len(b)), dtype=a.dtype)
    for rows, columns in product(_blocks(len(a), block), _blocks(len(b), block)):
        for depth in _blocks(a.shape[1], block):
            c[rows, columns] = a[rows, depth] @ b[columns, depth].T
    return c


def _in_blocks_whole_only(a: Array, b: Array, block: int) -> Array:
    c = np.zeros((len(a), len(b)), dtype=a.dtype)
    m, n, k = (size // block * block for size in (*c.shape, a.shape[1]))
    c[:m, :n] = _in_blocks(a[:m, :k], b[:n, :k], block)
    return c


def _in_blocks_depth_cut(a: Array, b: Array, block: int) -> Array:
    k = a.shape[1] // block * block
    return _in_blocks(a[:, :k], b[:, :k], block)


def _in_blocks_uncleared(a: Array, b: Array, block: int) -> Array:
    c = np.zeros((len(a), len(b)), dtype=a.dtype)
    tile = np.zeros((block, block), dtype=a.dtype)
    for rows, columns in product(_blocks(len(a), block), _blocks(len(b), block)):
        for depth in _blocks(a.shape[1], block):
            part = a[rows, depth] @ b[columns, depth].T
            tile[: len(part), : part.shape[1]] += part
        c[rows, columns] = tile[: rows.stop - rows.start, : columns.stop - columns.start]
    return c


def _in_blocks_float64(a: Array, b: Array, block: int) -> Array:
    c = np.zeros((len(a), len(b)), dtype=np.float64)
    c += _in_blocks(a, b, block)
    return c


def _in_blocks_drawn(rng: np.random.Generator) -> list[Case]:
    m, n, k = wholes(rng, 3, 3, 9)
    return [Case("tiles that do not fit", (noise(rng, m, k), noise(rng, n, k), whole(rng, 2, 3)))]


IN_BLOCKS = Exercise(
    name="in_blocks",
    topic="linear",
    books=(
        "llama_edu.ops.linear.matmul_transb",
        "llama_edu.ops.linear.linear",
        "llama_edu.ops.linear.linear_small_batch",
        "llama_edu.ops.linear.in_blocks",
    ),
    stars=3,
    task="Compute A Bᵀ in tiles of block × block, for sizes that are no multiple of block.",
    section="All of them, three ways",
    cases=lambda: [
        Case("5 × 7 and 6 × 7 in blocks of 3", (seeded_noise(1, 5, 7), seeded_noise(2, 6, 7), 3)),
        Case("4 × 8 and 2 × 8 in blocks of 2", (seeded_noise(3, 4, 8), seeded_noise(4, 2, 8), 2)),
        Case("one block for all", (seeded_noise(5, 2, 3), seeded_noise(6, 4, 3), 8)),
        Case("blocks of one number", (seeded_noise(7, 2, 3), seeded_noise(8, 3, 3), 1)),
        Case(
            "float64, 5 × 4 and 3 × 4 in blocks of 2",
            (
                seeded_noise(9, 5, 4).astype(np.float64),
                seeded_noise(10, 3, 4).astype(np.float64),
                2,
            ),
        ),
    ],
    harness=_in_tiles,
    parts=("the product", "the largest piece that was multiplied"),
    drawn=_in_blocks_drawn,
    correct=(_in_blocks, _in_blocks_tile_by_tile),
    axes="rows columns",
    mutants=(
        Mutant(
            "overwrites",
            _in_blocks_overwrites,
            "when a tile is overwritten by each piece of its sum instead of added to",
        ),
        Mutant("whole_only", _in_blocks_whole_only, "when tiles at the edges are left out"),
        Mutant(
            "depth_cut", _in_blocks_depth_cut, "when the last, shorter piece of the sum is lost"
        ),
        Mutant(
            "uncleared",
            _in_blocks_uncleared,
            "when the tile is not cleared before the next one: sums of all tiles run together",
            section="A buffer that is not clean",
        ),
        Mutant(
            "float64",
            _in_blocks_float64,
            "when the buffer is np.zeros without a dtype, which makes float64",
            section="Where float64 comes from",
        ),
        Mutant("at_once", _in_blocks_at_once, "when nothing is cut into tiles"),
        Mutant(
            "stripes",
            _in_blocks_stripes,
            "when only the rows of A are cut: a stripe is as wide as the whole matrix",
        ),
        Mutant("float32", _in_blocks_float32, "when the result is float32 whatever comes in"),
        Mutant(
            "added_to_old",
            lambda a, b, block: _in_blocks(a, b, block) + a.dtype.type(7),
            "when the result begins as something else than zeros",
        ),
        Mutant("turned", lambda a, b, block: _in_blocks(b, a, block), "when a and b change places"),
        Mutant(
            "depth_by_columns",
            lambda a, b, block: sum(
                (
                    _in_blocks(a[:, k : k + block], b[:, k : k + block], block)
                    for k in range(0, min(a.shape[1], len(a)), block)
                ),
                np.zeros((len(a), len(b)), a.dtype),
            ),
            "when the inner axis is taken to be as long as the rows are many",
        ),
    ),
)

EXERCISES = (POSITION, GEMM, TELLING_CASE, IN_BLOCKS)
