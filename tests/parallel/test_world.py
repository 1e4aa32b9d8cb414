"""Ranks that talk: sums, gathers and broadcasts, with every message counted."""

from __future__ import annotations

import time

import ml_dtypes
import numpy as np
import pytest

from llama_edu.errors import InputError, ParallelError
from llama_edu.parallel.threads import run_threads
from llama_edu.parallel.world import World, pieces_of

SIZES = [1, 2, 3, 4, 5]


def parts(size: int, shape: tuple[int, ...], dtype: type = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(size)
    return [rng.standard_normal(shape).astype(dtype) for _ in range(size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(3, 7), (1, 2), (0, 4), (2, 3, 5)])
def test_a_sum_is_the_sum_on_every_rank_to_the_last_bit(size: int, shape: tuple[int, ...]) -> None:
    given = parts(size, shape)
    kept = [part.copy() for part in given]

    def work(world: World) -> tuple[np.ndarray, int]:
        return world.summed(given[world.rank]), world.sent_nbytes

    results = run_threads(size, work)
    want = np.sum(np.stack(given).astype(np.float64), axis=0)
    for total, _ in results:
        assert total.dtype == np.float32
        assert total.tobytes() == results[0][0].tobytes()
        np.testing.assert_allclose(total, want, rtol=1e-6, atol=1e-6)
    assert sum(sent for _, sent in results) == 2 * (size - 1) * given[0].nbytes
    assert all(np.array_equal(a, b) for a, b in zip(given, kept, strict=True))


def test_a_sum_of_narrow_numbers_that_lie_apart() -> None:
    whole = parts(1, (6, 8), ml_dtypes.bfloat16)[0]
    results = run_threads(2, lambda world: world.summed(whole[:, world.rank :: 2]))
    want = whole[:, 0::2] + whole[:, 1::2]
    assert all(np.array_equal(total, want) for total in results)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_gathered_comes_in_the_order_of_the_ranks(size: int) -> None:
    given = parts(size, (2, 3))
    results = run_threads(
        size, lambda world: (world.gathered(given[world.rank]), world.sent_nbytes)
    )
    for got, _ in results:
        assert np.array_equal(np.stack(got), np.stack(given))
    assert sum(sent for _, sent in results) == size * (size - 1) * given[0].nbytes


@pytest.mark.parametrize("size", SIZES)
def test_what_one_rank_has_comes_to_all(size: int) -> None:
    for root in range(size):
        given = parts(size, (4,))

        def work(world: World, root: int = root, given: list[np.ndarray] = given) -> np.ndarray:
            return world.sent_on(given[world.rank].copy(), root)

        assert all(np.array_equal(got, given[root]) for got in run_threads(size, work))


def test_a_message_of_any_length_comes_to_all() -> None:
    def work(world: World) -> list[bytes]:
        first = world.told("Zoë 🐈".encode() if world.rank == 1 else None, 1)
        return [first, world.told(b"" if world.rank == 0 else None)]

    assert run_threads(3, work) == [["Zoë 🐈".encode(), b""]] * 3


def test_pieces_are_of_nearly_the_same_length() -> None:
    flat = np.arange(10)
    pieces = pieces_of(flat, 4)
    assert [len(piece) for piece in pieces] == [2, 3, 2, 3]
    assert np.array_equal(np.concatenate(pieces), flat)
    assert all(piece.base is flat for piece in pieces)


def test_when_one_rank_fails_the_others_end_and_its_error_is_raised() -> None:
    def work(world: World) -> np.ndarray:
        if world.rank == 1:
            raise InputError("expected nothing, got this")
        return world.summed(np.ones(3, dtype=np.float32))

    start = time.monotonic()
    with pytest.raises(InputError, match="expected nothing"):
        run_threads(3, work)
    assert time.monotonic() - start < 5


def test_a_rank_that_keeps_silent_is_named() -> None:
    def work(world: World) -> None:
        if world.rank == 0:
            world.exchange(None, 1, np.empty(1, dtype=np.float32), 1)

    with pytest.raises(ParallelError, match=r"rank 0: expected .* rank 1 within 0\.2 s, got none"):
        run_threads(2, work, timeout_s=0.2)


def test_numbers_of_ranks_that_cannot_be() -> None:
    with pytest.raises(InputError, match="at least 1 rank, got 0"):
        run_threads(0, lambda world: world.rank)

    class Alone(World):
        def carry(self, out, to, into, source):
            raise AssertionError

    with pytest.raises(InputError, match="from 0 to 1, got 2"):
        Alone(2, 2)
