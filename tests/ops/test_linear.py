"""x Wᵀ three ways: an obvious loop, `linear`, and PyTorch."""

import numpy as np
import pytest
from helpers import assert_close, operator_goldens, random
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.ops.linear import (
    SMALL_BATCH,
    RowProduct,
    in_blocks,
    linear,
    linear_small_batch,
    matmul_transb,
    row_product,
    small_is_quick,
)

# Sums of at most 11 products of numbers near 1: a few roundings of 6e-8 each.
TOLERANCE = 1e-6


def gemm_loop(a, b, c, alpha, beta):
    """C = alpha · A Bᵀ + beta · C, one number at a time, in Python's float64."""
    out = np.zeros((len(a), len(b)), dtype=np.float64)
    for i in range(len(a)):
        for j in range(len(b)):
            dot = sum(float(a[i, p]) * float(b[j, p]) for p in range(a.shape[1]))
            out[i, j] = alpha * dot + (beta * float(c[i, j]) if beta else 0.0)
    return out


@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 8)),
    alpha=st.sampled_from([1.0, 0.0, -0.5, 2.0]),
    beta=st.sampled_from([0.0, 1.0, -2.0]),
    seed=st.integers(0, 999),
)
def test_matmul_transb_equals_the_loop(sizes, alpha, beta, seed):
    m, k, n = sizes
    rng = np.random.default_rng(seed)
    a, b, c = random(rng, m, k), random(rng, n, k), random(rng, m, n)
    got = matmul_transb(a, b, c, alpha=alpha, beta=beta)
    # An absolute bound: cancellation can leave a result much smaller than its terms.
    np.testing.assert_allclose(got, gemm_loop(a, b, c, alpha, beta), atol=2e-5)
    assert got.dtype == np.float32


def test_linear_equals_pytorch():
    golden = operator_goldens("linear")
    x, weight, bias = golden["x"], golden["weight"], golden["bias"]
    assert_close(linear(x, weight), golden["y"], TOLERANCE)
    assert_close(linear(x, weight, bias), golden["y_bias"], TOLERANCE)


def test_alpha_and_beta_equal_pytorchs_addmm():
    golden = operator_goldens("linear")
    got = matmul_transb(golden["x"], golden["weight"], golden["c"], alpha=0.75, beta=-1.5)
    assert_close(got, golden["gemm"], TOLERANCE)


def test_beta_zero_does_not_read_c():
    rng = np.random.default_rng(0)
    a, b = random(rng, 2, 3), random(rng, 4, 3)
    nan = np.full((2, 4), np.nan, dtype=np.float32)
    assert np.isfinite(matmul_transb(a, b, nan, beta=0.0)).all()


def test_c_and_the_operands_are_not_written():
    rng = np.random.default_rng(1)
    a, b, c = random(rng, 2, 3), random(rng, 4, 3), random(rng, 2, 4)
    for array in (a, b, c):
        array.flags.writeable = False
    out = matmul_transb(a, b, c, alpha=2.0, beta=3.0)
    assert not np.shares_memory(out, c)


def test_beta_without_c_is_refused():
    rng = np.random.default_rng(2)
    with pytest.raises(ValueError, match="expected c"):
        matmul_transb(random(rng, 2, 3), random(rng, 4, 3), beta=1.0)


def test_a_numpy_scalar_does_not_widen_the_result():
    rng = np.random.default_rng(3)
    a, b, c = random(rng, 2, 3), random(rng, 4, 3), random(rng, 2, 4)
    got = matmul_transb(a, b, c, alpha=np.float64(0.5), beta=np.float64(0.5))
    assert got.dtype == np.float32


def test_a_mismatched_width_is_refused():
    rng = np.random.default_rng(4)
    with pytest.raises(Exception, match=r"[Tt]ype-check|mismatch"):
        linear(random(rng, 2, 3), random(rng, 4, 5))


# Around the numbers of rows and of outputs at which `linear` goes another way.
@pytest.mark.parametrize("rows", [0, 1, 2, 7, SMALL_BATCH, SMALL_BATCH + 1, 40])
@pytest.mark.parametrize("outputs", [1, 63, 64, 197])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_equals_float64_for_any_number_of_rows(rows, outputs, with_bias):
    rng = np.random.default_rng(rows + outputs)
    x, weight = random(rng, rows, 37), random(rng, outputs, 37)
    bias = random(rng, outputs) if with_bias else None
    want = x.astype(np.float64) @ weight.T.astype(np.float64) + (bias if with_bias else 0)
    for laid_out in (weight, np.asfortranarray(weight), np.repeat(weight, 2, axis=0)[::2]):
        got = linear(x, laid_out, bias)
        assert_close(got, want, 1e-5)
        assert got.flags.c_contiguous


@pytest.mark.parametrize("is_quick", [True, False], ids=["small is quick", "small is not"])
@pytest.mark.parametrize("rows", range(2, 7))
def test_a_small_batch_is_the_same_product(rows, is_quick, monkeypatch):
    monkeypatch.setattr("llama_edu.ops.linear.small_is_quick", lambda: is_quick)
    rng = np.random.default_rng(rows)
    x, weight = random(rng, rows, 700), random(rng, 137, 700)
    assert_close(linear_small_batch(x, weight), matmul_transb(x, weight), 1e-5)


@pytest.mark.parametrize(
    ("rows", "threads", "is_quick", "in_use"),
    [
        (2, 2, True, True),
        (16, 1, True, True),
        (17, 2, True, False),
        (8, 3, True, False),  # BLAS shares among three what blocks share among two
        (8, 2, False, False),
    ],
)
def test_blocks_are_forfew_rows_few_threads_and_a_blas_that_is_quick_at_them(
    rows, threads, is_quick, in_use, monkeypatch
):
    calls = []
    monkeypatch.setattr("llama_edu.ops.linear.small_is_quick", lambda: is_quick)
    monkeypatch.setattr("llama_edu.ops.linear.helper.threads", threads)
    monkeypatch.setattr("llama_edu.ops.linear.in_blocks", lambda w, x: calls.append(1) or x @ w.T)
    weight, x = np.ones((300, 250), dtype=np.float32), np.ones((rows, 250), dtype=np.float32)
    assert_close(linear_small_batch(x, weight), x @ weight.T, 1e-6)
    assert bool(calls) == in_use
    linear_small_batch(x[:, :3], weight[:5, :3])
    assert len(calls) == in_use, "a small matrix is one block"


@pytest.mark.parametrize(
    ("n_out", "n_in", "rows"),
    [
        (1009, 600, 7),  # shared, with rows left over in each part
        (40, 9000, 5),  # 8 rows a block
        (7, 70_000, 12),  # not even one row is small enough
        (300, 250, 2),  # not worth sharing
        (1, 70_000, 3),
    ],
)
def test_blocks_make_the_same_product(n_out, n_in, rows):
    rng = np.random.default_rng(n_out)
    x, weight = random(rng, rows, n_in), random(rng, n_out, n_in)
    want = x.astype(np.float64) @ weight.T.astype(np.float64)
    for laid_out in (weight, np.asfortranarray(weight), np.repeat(weight, 2, axis=0)[::2]):
        got = in_blocks(laid_out, x)
        np.testing.assert_allclose(got, want, atol=2e-6 * n_in)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous


@pytest.mark.parametrize(("four", "is_quick"), [(0.5, True), (0.7, True), (0.9, False), (1, False)])
def test_a_blas_is_quick_at_small_products_if_half_of_one_takes_less(four, is_quick, monkeypatch):
    now = [0.0]

    def product(a, b):
        now[0] += four if b.shape[1] == 4 else 1.0
        return a @ b

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(np, "matmul", product)
    assert small_is_quick.__wrapped__() == is_quick


@pytest.mark.parametrize("slow", [np.dot, np.vecdot])
def test_a_row_goes_through_what_was_sooner(slow, monkeypatch):
    """By a clock that only runs while one of the two works."""
    now, calls, fast = [0.0], [], np.vecdot if slow is np.dot else np.dot
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def counted(weight, x):
        calls.append(fast)
        return fast(weight, x)

    def slowed(weight, x):
        calls.append(slow)
        now[0] += 1.0
        return slow(weight, x)

    slowed.__name__, counted.__name__ = slow.__name__, fast.__name__
    weight, x = random(np.random.default_rng(0), 300, 250), np.ones(250, dtype=np.float32)
    want = weight @ x
    monkeypatch.setattr(np, slow.__name__, slowed)
    monkeypatch.setattr(np, fast.__name__, counted)
    product = RowProduct()
    assert product.chosen(weight.shape) is None
    for _ in range(12):
        assert_close(product(weight, x), want, 1e-5)
    # Each half of the time; of two neighbours now the one was first and now the other.
    assert calls.count(slow) == calls.count(fast) == 6
    assert {tuple(calls[i : i + 2]) for i in range(0, 12, 2)} == {(slow, fast), (fast, slow)}
    assert product.chosen(weight.shape) == fast.__name__
    assert product.chosen((300, 251)) is None  # another shape is found out by itself
    product(weight, x)
    product(weight, x)
    assert calls[12:] == [fast, fast]


def test_linear_multiplies_a_single_row_in_that_way():
    x, weight = (random(np.random.default_rng(0), rows, 251) for rows in (1, 290))
    for _ in range(12):
        linear(x, weight)
    assert row_product.chosen(weight.shape) in ("dot", "vecdot")


@pytest.mark.parametrize("is_quick", [True, False], ids=["small is quick", "small is not"])
@pytest.mark.parametrize("rows", [2, 8, 20, 40])
def test_several_rows_are_the_same_bits_whenever_they_come(rows, is_quick, monkeypatch):
    monkeypatch.setattr("llama_edu.ops.linear.small_is_quick", lambda: is_quick)
    rng = np.random.default_rng(rows)
    x, weight = random(rng, rows, 300), random(rng, 1300, 300)
    first = linear(x, weight)
    assert all((linear(x, weight) == first).all() for _ in range(20))


def test_a_small_matrix_is_not_timed(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: pytest.fail("timed"))
    weight, x = random(np.random.default_rng(0), 5, 3), np.ones(3, dtype=np.float32)
    product = RowProduct()
    for _ in range(20):
        assert_close(product(weight, x), weight @ x, 1e-6)


def test_both_ways_to_multiply_a_row_are_the_same():
    rng = np.random.default_rng(3)
    weight, x = random(rng, 50, 700), random(rng, 700)
    assert_close(np.dot(weight, x), np.vecdot(weight, x), 1e-5)
