"""Attention in one call: the numbers of the operators it stands for, and of a loop in float64."""

import math

import numpy as np
import pytest
from helpers import random, tiny_model

from llama_edu import Trace
from llama_edu.engine.backends.numpy_attention import fused_attention
from llama_edu.ops.attention import apply_mask, causal_mask, qk_scores, score_v, softmax

SIZES = [(1, 1, 0, 1), (2, 3, 0, 1), (3, 2, 11, 1), (2, 3, 0, 7), (3, 2, 11, 5), (1, 4, 40, 2)]


def arrays(n_kv_heads, n_groups, past, seq, head_dim=6):
    rng = np.random.default_rng(past + seq)
    q = random(rng, n_kv_heads, n_groups, seq, head_dim)
    room = random(rng, 2, n_kv_heads, past + seq + 9, head_dim)  # as a cache has room behind
    return q, room[0, :, : past + seq], room[1, :, : past + seq]


@pytest.mark.parametrize("sizes", SIZES)
def test_it_gives_what_the_operators_give_one_after_another(sizes):
    q, k, v = arrays(*sizes)
    before = [array.copy() for array in (q, k, v)]
    weights = softmax(apply_mask(qk_scores(q, k), causal_mask(sizes[3], sizes[2])))
    got, want = fused_attention(q, k, v), score_v(weights, v)
    assert got.shape == want.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)
    for array, same in zip((q, k, v), before, strict=True):
        np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize("sizes", SIZES)
def test_it_gives_what_a_loop_gives(sizes):
    q, k, v = arrays(*sizes)
    got = fused_attention(q, k, v)
    for group, head, i in np.ndindex(q.shape[:3]):
        seen = sizes[2] + i + 1
        scores = [float(q[group, head, i].astype(np.float64) @ k[group, t]) for t in range(seen)]
        powers = [math.exp((score - max(scores)) / math.sqrt(q.shape[3])) for score in scores]
        want = sum(p * v[group, t].astype(np.float64) for t, p in enumerate(powers)) / sum(powers)
        np.testing.assert_allclose(got[group, head, i], want, rtol=0, atol=5e-6)


@pytest.mark.parametrize("count", [1, 6])
def test_a_trace_goes_the_long_way_to_the_same_logits(count):
    model = tiny_model()
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    caches = [model.new_cache(), model.new_cache()]
    for cache in caches:
        model.forward(ids[: -count or None], cache)
    assert model.operators.fused_attention is fused_attention
    traced = model.forward(ids[-count:], caches[0], trace=Trace())
    quick = model.forward(ids[-count:], caches[1])
    np.testing.assert_allclose(quick, traced, rtol=0, atol=1e-5)
