"""Attention step by step, three ways each: loops over single heads, our functions, PyTorch."""

import math

import numpy as np
import pytest
from helpers import assert_close, operator_goldens, random
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llama_edu.ops.attention import (
    apply_mask,
    causal_mask,
    merge_heads,
    qk_scores,
    score_v,
    sliding_window_mask,
    softmax,
    split_kv_heads,
    split_query_heads,
)

TOLERANCE = 2e-6
# n_kv_heads, n_groups: one query head per KV head, several, and one KV head for all
GROUPINGS = {"MHA": (3, 1), "GQA": (2, 3), "MQA": (1, 4)}
SEQ, PAST, HEAD_DIM = 5, 4, 8
TOTAL_SEQ = PAST + SEQ

groupings = pytest.mark.parametrize(
    ("n_kv_heads", "n_groups"), GROUPINGS.values(), ids=GROUPINGS.keys()
)


def attention_loop(q, k, v, past):
    """One query head, one position and one key at a time; head h reads KV head h // n_groups.

    q is (n_heads, seq, head_dim); k and v are (n_kv_heads, total_seq, head_dim).
    Returns scores, weights and outputs per query head, in float64.
    """
    n_heads, seq, head_dim = q.shape
    n_groups = n_heads // k.shape[0]
    scores = np.zeros((n_heads, seq, k.shape[1]))
    weights, out = np.zeros_like(scores), np.zeros(q.shape)
    for h in range(n_heads):
        kv = h // n_groups
        for i in range(seq):
            for j in range(k.shape[1]):
                dot = math.fsum(float(a) * float(b) for a, b in zip(q[h, i], k[kv, j], strict=True))
                scores[h, i, j] = dot / math.sqrt(head_dim)
            seen = past + i + 1
            exponentials = [math.exp(s) for s in scores[h, i, :seen]]
            for j in range(seen):
                weights[h, i, j] = exponentials[j] / math.fsum(exponentials)
                for d in range(head_dim):
                    out[h, i, d] += weights[h, i, j] * float(v[kv, j, d])
    return scores, weights, out


def heads_of(n_kv_heads, n_groups, seed=0):
    rng = np.random.default_rng(seed)
    q = random(rng, n_kv_heads, n_groups, SEQ, HEAD_DIM) * np.float32(2)
    return (
        q,
        random(rng, n_kv_heads, TOTAL_SEQ, HEAD_DIM),
        random(rng, n_kv_heads, TOTAL_SEQ, HEAD_DIM),
    )


@groupings
def test_every_step_equals_the_loop(n_kv_heads, n_groups):
    q, k, v = heads_of(n_kv_heads, n_groups)
    want = attention_loop(q.reshape(-1, SEQ, HEAD_DIM), k, v, PAST)
    shape = (n_kv_heads, n_groups, SEQ)
    scores = qk_scores(q, k)
    weights = softmax(apply_mask(scores, causal_mask(SEQ, PAST)))
    assert_close(scores, want[0].reshape(*shape, TOTAL_SEQ), TOLERANCE, "scores")
    assert_close(weights, want[1].reshape(*shape, TOTAL_SEQ), TOLERANCE, "weights")
    assert_close(score_v(weights, v), want[2].reshape(*shape, HEAD_DIM), TOLERANCE, "attn_v")


def test_every_step_equals_the_reference():
    golden = operator_goldens("attention")
    scores = qk_scores(golden["q"], golden["k"])
    assert_close(scores, golden["scores"], TOLERANCE, "scores")
    np.testing.assert_array_equal(causal_mask(SEQ, PAST), golden["mask"])
    weights = softmax(apply_mask(scores, golden["mask"]))
    assert_close(weights, golden["weights"], TOLERANCE, "weights")
    attn_v = score_v(weights, golden["v"])
    assert_close(attn_v, golden["attn_v"], TOLERANCE, "attn_v, by the fused kernel")
    assert_close(merge_heads(attn_v), golden["merged"], TOLERANCE, "merged, by the eager path")


@groupings
def test_splitting_puts_each_query_head_beside_the_key_it_shares(n_kv_heads, n_groups):
    n_heads = n_kv_heads * n_groups
    # Entry (position, head, number) holds all three in its digits.
    q = np.fromfunction(lambda s, h, d: 100 * h + 10 * s + d, (SEQ, n_heads, 4), dtype=np.float32)
    split = split_query_heads(q.reshape(SEQ, -1), n_kv_heads, 4)
    assert split.shape == (n_kv_heads, n_groups, SEQ, 4)
    for h in range(n_heads):
        np.testing.assert_array_equal(split[h // n_groups, h % n_groups], q[:, h])
    kv = split_kv_heads(q.reshape(SEQ, -1), n_heads, 4)
    for h in range(n_heads):
        np.testing.assert_array_equal(kv[h], q[:, h])


@groupings
def test_merging_undoes_splitting(n_kv_heads, n_groups):
    x = random(np.random.default_rng(0), SEQ, n_kv_heads * n_groups * HEAD_DIM)
    np.testing.assert_array_equal(merge_heads(split_query_heads(x, n_kv_heads, HEAD_DIM)), x)


def test_splitting_copies_nothing():
    x = random(np.random.default_rng(0), SEQ, 6 * HEAD_DIM)
    assert np.shares_memory(split_query_heads(x, 2, HEAD_DIM), x)
    assert np.shares_memory(split_kv_heads(x, 6, HEAD_DIM), x)


@given(seq=st.integers(1, 7), past=st.integers(0, 9))
def test_the_mask_equals_the_loop(seq, past):
    mask = causal_mask(seq, past)
    assert mask.shape == (seq, past + seq)
    for i in range(seq):
        for j in range(past + seq):
            assert mask[i, j] == (j <= past + i)


@given(seq=st.integers(1, 6), past=st.integers(0, 6), seed=st.integers(0, 999))
def test_weights_of_the_future_are_exactly_0_and_rows_sum_to_1(seq, past, seed):
    scores = random(np.random.default_rng(seed), 2, 3, seq, past + seq) * np.float32(20)
    mask = causal_mask(seq, past)
    weights = softmax(apply_mask(scores, mask))
    assert not weights[:, :, ~mask].any()
    assert (weights[:, :, mask] >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.just(-np.inf),
    )
)
def test_any_row_with_a_finite_value_sums_to_1_without_a_warning(x):
    x[..., 0] = np.where(np.isfinite(x[..., 0]), x[..., 0], np.float32(0))
    weights = softmax(x)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert not weights[np.isneginf(x)].any()


@given(shift=st.sampled_from([-1000.0, -1.0, 64.0, 1000.0]), seed=st.integers(0, 99))
def test_softmax_does_not_see_a_constant(shift, seed):
    x = np.round(random(np.random.default_rng(seed), 3, 7) * np.float32(8))  # exact after shifting
    np.testing.assert_array_equal(softmax(x + np.float32(shift)), softmax(x))


def test_softmax_by_hand():
    weights = softmax(np.log(np.array([[1, 2, 5], [3, 3, 2]], dtype=np.float32)))
    np.testing.assert_allclose(weights, [[0.125, 0.25, 0.625], [0.375, 0.375, 0.25]], rtol=1e-6)


def test_nothing_is_written():
    q, k, v = heads_of(2, 3)
    scores, mask = qk_scores(q, k), causal_mask(SEQ, PAST)
    masked = apply_mask(scores, mask)
    weights = softmax(masked)
    before = [a.copy() for a in (q, k, v, scores, mask, masked, weights)]
    merge_heads(score_v(softmax(apply_mask(qk_scores(q, k), mask)), v))
    softmax(masked)
    score_v(weights, v)
    for array, copy in zip((q, k, v, scores, mask, masked, weights), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_keys_of_another_number_of_groups_are_refused(request):
    if not request.config.getoption("--jaxtyping-packages"):
        pytest.skip("shapes are not checked in this run: `python -m tools.check shapes` does")
    q, k, _ = heads_of(2, 3)
    with pytest.raises(Exception, match=r"[Tt]ype-check|mismatch"):
        qk_scores(q, np.concatenate([k, k]))


@pytest.mark.parametrize(("seq", "past", "window"), [(5, 0, 2), (4, 7, 3), (1, 9, 4), (3, 2, 9)])
def test_a_window_shows_that_many_positions_the_own_one_last(seq, past, window):
    mask = sliding_window_mask(seq, past, window)
    want = [
        [query - window < key <= query for key in range(past + seq)]
        for query in range(past, past + seq)
    ]
    assert mask.tolist() == want
    assert np.array_equal(sliding_window_mask(seq, past, past + seq), causal_mask(seq, past))
