"""The stride grid and the matmul tile: what they say is what the arrays hold."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from figure_samples import texts
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.errors import InputError


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, shape)


PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "grid": lambda: viz.stride_grid(np.arange(-90, 5).reshape(5, 19)[:4, :10].copy()),
    "turned grid": lambda: viz.stride_grid(np.arange(100, 135).reshape(7, 5).T),
    "part of a row": lambda: viz.stride_grid(np.arange(48)[3::5]),
    "tile": lambda: viz.matmul_tile(whole(2, 3), whole(4, 3, seed=1), (1, 2)),
    "tile of a block": lambda: viz.matmul_tile(
        whole(5, 8), whole(6, 8, seed=1), (1, 1), block=2, names=("x", "W", "y")
    ),
    "tile of B as it is": lambda: viz.matmul_tile(
        whole(4, 3), whole(3, 2, seed=1), (3, 0), turned=False, names=("x", "Wq", "q")
    ),
    "large tile": lambda: viz.matmul_tile(whole(40, 24), whole(40, 24, seed=1), (9, 9), block=4),
    "tall tile": lambda: viz.matmul_tile(whole(1, 16), whole(3, 16, seed=1)),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


FLAT = np.arange(10, 22)
GRID = FLAT.reshape(3, 4)


def said(picture: viz.Picture) -> tuple[int, list[tuple[list[int], list[int]]]]:
    """Where the array starts, and for each row its numbers and their positions, from the alt."""
    start = re.search(r"starting at position (\d+)", picture.alt)
    assert start
    rows = re.findall(r"row \d+ holds ([−\d ]+) from positions ([\d ]+)", picture.alt)
    numbers = [[[int(w.replace("−", "-")) for w in part.split()] for part in row] for row in rows]
    return int(start[1]), [(values, places) for values, places in numbers]


@pytest.mark.parametrize(
    "array",
    [GRID, GRID.T, GRID[1:, 1::2], GRID[::-1], GRID.T[1:3].T, GRID.T.reshape(2, 6), GRID[:, :0:-2]],
    ids=["grid", "turned", "part", "upside down", "columns", "copied", "backwards"],
)
def test_stride_grid_finds_every_number_where_it_lies(array: np.ndarray) -> None:
    memory = FLAT if np.shares_memory(array, FLAT) else array.reshape(-1)
    picture = viz.stride_grid(array)
    start, rows = said(picture)
    assert memory[start] == array[0, 0]
    assert [values for values, _ in rows] == array.tolist()
    assert [[int(memory[p]) for p in places] for _, places in rows] == array.tolist()
    down, right = (stride // array.itemsize for stride in array.strides)
    assert f"one step down is {down:+d}, one step right is {right:+d}" in picture.alt
    unused = f"{memory.size - array.size} numbers of memory are not part of it"
    assert (unused in picture.alt) == (memory.size != array.size)


def test_stride_grid_draws_each_index_under_its_number() -> None:
    drawn = texts(viz.stride_grid(GRID.T))
    assert f"shape {4} × {3} · strides 1, 4 · starts at 0" in drawn
    indices = [text for text in drawn if re.fullmatch(r"\d,\d", text)]
    assert indices == [f"{j},{i}" for i in range(3) for j in range(4)]


def test_stride_grid_of_a_row() -> None:
    assert said(viz.stride_grid(FLAT[2::3])) == (2, [([12, 15, 18, 21], [2, 5, 8, 11])])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60).reshape(6, 10),
        np.arange(8).reshape(2, 2, 2),
        np.array(3),
        np.zeros((0, 3), dtype=np.int64),
        np.ones((2, 2), dtype=np.float32),
        np.array([[1000]]),
        np.arange(12),
        np.arange(8, dtype=np.int64).view(np.int32),
    ],
    ids=["large", "deep", "scalar", "empty", "floats", "long", "wide", "another dtype"],
)
def test_stride_grid_refuses_what_it_cannot_draw(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.stride_grid(array)


A = np.array([[3, -1, -2], [-1, 0, 2]])
B = np.array([[0, -2, 0], [1, 2, 2], [3, -1, 3], [-2, 1, -1]])


def tinted(picture: viz.Picture, color: str) -> int:
    patches = picture.figure.axes[0].patches
    return sum(isinstance(p, Rectangle) and to_hex(p.get_facecolor()) == color for p in patches)


def test_matmul_tile_says_the_sum_of_the_number_it_marks() -> None:
    picture = viz.matmul_tile(A, B, (1, 2))
    assert "A is 2 × 3, B is 4 × 3, C is 2 × 4." in picture.alt
    assert "C[1,2] = (−1)·3 + 0·(−1) + 2·3 = 3." in picture.alt
    numbers = [text for text in texts(picture) if re.fullmatch(r"−?\d+", text)]
    product = A @ B.T
    wanted = [*A.reshape(-1), *B.T.reshape(-1), *product.reshape(-1)]
    assert numbers == [str(n).replace("-", "−") for n in wanted]
    # One row of A, one of B, one number of C.
    assert [tinted(picture, c) for c in ("#dde6fc", "#fdeccb", "#d9eee3")] == [3, 3, 1]


def test_matmul_tile_draws_b_as_it_is_where_c_is_a_b() -> None:
    picture = viz.matmul_tile(A, B.T, (1, 2), turned=False)
    assert "A is 2 × 3, B is 3 × 4, C is 2 × 4." in picture.alt
    assert "C[1,2] = (−1)·3 + 0·(−1) + 2·3 = 3." in picture.alt
    assert "B" in texts(picture)
    assert "Bᵀ" not in texts(picture)
    with pytest.raises(InputError, match=r"b \(k, n\) .* got \(2, 3\) and \(4, 3\)"):
        viz.matmul_tile(A, B, turned=False)


def test_matmul_tile_of_a_block() -> None:
    a, b = np.arange(40).reshape(5, 8), np.arange(48).reshape(6, 8)
    picture = viz.matmul_tile(a, b, (2, 1), block=2, names=("x", "W", "y"))
    assert "The tile of y at rows 4 to 4 and columns 2 to 3" in picture.alt
    assert "in 4 pieces: each piece is used for 2 numbers" in picture.alt
    assert [tinted(picture, c) for c in ("#dde6fc", "#fdeccb", "#d9eee3")] == [8, 16, 2]


def test_matmul_tile_shortens_long_sums() -> None:
    ones = np.ones((2, 20), dtype=np.int64)
    assert "C[0,0] = 1·1 + 1·1 + 1·1 + … + 1·1 = 20." in viz.matmul_tile(ones, ones).alt


@pytest.mark.parametrize(
    ("a", "b", "at", "block"),
    [
        (A, B.T, (0, 0), None),
        (A, B, (2, 0), None),
        (A, B, (0, 4), None),
        (A, B, (0, -1), None),
        (A, B, (1, 0), 2),
        (A, B, (0, 0), -1),
        (A, B[0], (0, 0), None),
        (A[:0], B, (0, 0), None),
        (np.ones((65, 2)), B[:, :2], (0, 0), None),
        (np.ones((2, 60)), np.ones((5, 60)), (0, 0), None),
    ],
)
def test_matmul_tile_refuses_what_does_not_fit(
    a: np.ndarray, b: np.ndarray, at: tuple[int, int], block: int | None
) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.matmul_tile(a, b, at, block=block)
