"""RoPE three ways, in both layouts, and what it promises about distances."""

import math

import ml_dtypes
import numpy as np
import pytest
from helpers import assert_close, operator_goldens, random, tiny_config
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.formats.config import RopeScaling
from llama_edu.ops.rope import (
    apply_rope,
    apply_rope_interleaved,
    half_split_to_interleaved,
    interleaved_to_half_split,
    inverse_frequencies,
    rope_cos_sin,
)

TOLERANCE = 1e-6
LLAMA3 = RopeScaling("llama3", 32.0, 1.0, 4.0, 8192)  # as in Llama 3.2 1B
PAST = 4  # in the goldens


def rope_loop(x, inv_freq, past, interleaved):
    """Rotate one pair at a time by a 2 × 2 matrix, in Python's float64."""
    out = np.zeros(x.shape, dtype=np.float64)
    half = x.shape[-1] // 2
    for head in range(x.shape[0]):
        for i in range(x.shape[1]):
            for j in range(half):
                one, other = (2 * j, 2 * j + 1) if interleaved else (j, j + half)
                a, b = float(x[head, i, one]), float(x[head, i, other])
                angle = (past + i) * float(inv_freq[j])
                out[head, i, one] = a * math.cos(angle) - b * math.sin(angle)
                out[head, i, other] = a * math.sin(angle) + b * math.cos(angle)
    return out


@given(
    heads=st.integers(1, 3),
    seq=st.integers(1, 5),
    half=st.integers(1, 4),
    past=st.integers(0, 20),
    seed=st.integers(0, 999),
)
def test_both_layouts_equal_the_loop(heads, seq, half, past, seed):
    x = random(np.random.default_rng(seed), heads, seq, 2 * half)
    inv_freq = inverse_frequencies(tiny_config(head_dim=2 * half))
    cos, sin = rope_cos_sin(inv_freq, past, seq)
    for apply, interleaved in ((apply_rope, False), (apply_rope_interleaved, True)):
        want = rope_loop(x, inv_freq, past, interleaved)
        # Angles reach 24; their float32 rounding, half an ulp of 24, passes into the result.
        assert_close(apply(x, cos, sin), want, 4e-6)


@pytest.mark.parametrize(
    ("name", "theta", "scaling"),
    [
        ("default", 100000.0, None),
        ("linear", 10000.0, RopeScaling("linear", 2.5)),
        ("llama3", 500000.0, LLAMA3),
    ],
)
def test_frequencies_equal_the_reference(name, theta, scaling):
    golden = operator_goldens("rope")[f"inv_freq/{name}"]
    config = tiny_config(head_dim=64, rope_theta=theta, rope_scaling=scaling)
    got = inverse_frequencies(config)
    assert got.dtype == np.float32
    # Ours are rounded once; the reference takes the power in float32.
    np.testing.assert_allclose(got, golden, rtol=1e-6)


def test_half_split_equals_the_reference():
    golden = operator_goldens("rope")
    cos, sin = rope_cos_sin(golden["inv_freq"], PAST, golden["q"].shape[1])
    assert_close(apply_rope(golden["q"], cos, sin), golden["q_half_split"], TOLERANCE)
    assert_close(apply_rope(golden["k"], cos, sin), golden["k_half_split"], TOLERANCE)


def test_interleaved_equals_the_complex_numbers_of_the_reference():
    golden = operator_goldens("rope")
    cos, sin = rope_cos_sin(golden["inv_freq"], PAST, golden["q"].shape[1])
    assert_close(apply_rope_interleaved(golden["q"], cos, sin), golden["q_interleaved"], TOLERANCE)
    assert_close(apply_rope_interleaved(golden["k"], cos, sin), golden["k_interleaved"], TOLERANCE)


@given(
    distance=st.integers(0, 30),
    start=st.integers(0, 60),
    shift=st.integers(1, 60),
    scaling=st.sampled_from([None, RopeScaling("linear", 4.0), LLAMA3]),
    seed=st.integers(0, 999),
)
def test_scores_depend_on_the_distance_alone(distance, start, shift, scaling, seed):
    rng = np.random.default_rng(seed)
    q, k = random(rng, 1, 1, 8), random(rng, 1, 1, 8)
    inv_freq = inverse_frequencies(tiny_config(head_dim=8, rope_scaling=scaling))

    def score(key_position):
        at_query = rope_cos_sin(inv_freq, key_position + distance, 1)
        at_key = rope_cos_sin(inv_freq, key_position, 1)
        return float(np.sum(apply_rope(q, *at_query) * apply_rope(k, *at_key)))

    length = float(np.linalg.norm(q) * np.linalg.norm(k))
    assert abs(score(start) - score(start + shift)) <= 2e-5 * length


def test_scores_do_depend_on_the_distance():
    q = np.ones((1, 1, 8), dtype=np.float32)
    inv_freq = inverse_frequencies(tiny_config(head_dim=8))
    at_0, at_9 = rope_cos_sin(inv_freq, 0, 1), rope_cos_sin(inv_freq, 9, 1)
    same = float(np.sum(apply_rope(q, *at_9) * apply_rope(q, *at_9)))
    apart = float(np.sum(apply_rope(q, *at_9) * apply_rope(q, *at_0)))
    assert abs(same - apart) > 1


@given(n_heads=st.integers(1, 4), half=st.integers(1, 4), seed=st.integers(0, 999))
def test_permuting_the_weight_rows_maps_one_layout_onto_the_other(n_heads, half, seed):
    seq, hidden, head_dim = 3, 5, 2 * half
    rng = np.random.default_rng(seed)
    x, weight = random(rng, seq, hidden), random(rng, n_heads * head_dim, hidden)
    k_weight = random(rng, n_heads * head_dim, hidden)
    turn = rope_cos_sin(inverse_frequencies(tiny_config(head_dim=head_dim)), 2, seq)

    def heads(w):
        return (x @ w.T).reshape(seq, n_heads, head_dim).transpose(1, 0, 2)

    q, k = (apply_rope(heads(w), *turn) for w in (weight, k_weight))
    q_pairs, k_pairs = (
        apply_rope_interleaved(heads(half_split_to_interleaved(w, n_heads)), *turn)
        for w in (weight, k_weight)
    )
    scores, scores_pairs = q @ k.transpose(0, 2, 1), q_pairs @ k_pairs.transpose(0, 2, 1)
    assert_close(scores_pairs, scores, 1e-5)
    back = interleaved_to_half_split(q_pairs[:, 0].reshape(-1, 1), n_heads)
    assert_close(back.reshape(n_heads, head_dim), q[:, 0], 1e-6)


def test_reading_one_layout_as_the_other_gives_other_scores():
    golden = operator_goldens("rope")
    cos, sin = rope_cos_sin(golden["inv_freq"], PAST, golden["q"].shape[1])
    half_split, pairs = (f(golden["q"], cos, sin) for f in (apply_rope, apply_rope_interleaved))
    assert np.max(np.abs(half_split - pairs)) > 0.5


@pytest.mark.parametrize("shape", [(24,), (24, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_permutations_undo_each_other_for_weights_and_biases(shape, dtype):
    weight = np.arange(math.prod(shape), dtype=np.float32).reshape(shape).astype(dtype)
    mixed = half_split_to_interleaved(weight, 3)
    assert mixed.dtype == dtype
    assert not np.array_equal(mixed, weight)
    np.testing.assert_array_equal(interleaved_to_half_split(mixed, 3), weight)
    np.testing.assert_array_equal(half_split_to_interleaved(weight, 3), mixed)


def test_the_permutation_by_hand():
    rows = np.array([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15])  # two heads of 6
    want = [0, 2, 4, 1, 3, 5, 10, 12, 14, 11, 13, 15]
    assert interleaved_to_half_split(rows, 2).tolist() == want


@given(past=st.integers(0, 50), seed=st.integers(0, 99))
def test_a_rotation_keeps_lengths(past, seed):
    x = random(np.random.default_rng(seed), 2, 3, 6)
    turn = rope_cos_sin(inverse_frequencies(tiny_config(head_dim=6)), past, 3)
    for apply in (apply_rope, apply_rope_interleaved):
        lengths = np.linalg.norm(apply(x, *turn), axis=-1)
        np.testing.assert_allclose(lengths, np.linalg.norm(x, axis=-1), rtol=1e-5)


def test_position_0_turns_nothing():
    x = random(np.random.default_rng(0), 2, 1, 6)
    turn = rope_cos_sin(inverse_frequencies(tiny_config(head_dim=6)), 0, 1)
    np.testing.assert_array_equal(apply_rope(x, *turn), x)


def test_a_rotation_with_a_past_is_a_slice_of_the_whole():
    inv_freq = inverse_frequencies(tiny_config())
    whole, part = rope_cos_sin(inv_freq, 0, 20), rope_cos_sin(inv_freq, 13, 7)
    for all_rows, rows in zip(whole, part, strict=True):
        np.testing.assert_array_equal(rows, all_rows[13:])


def test_linear_scaling_makes_4_positions_count_as_one():
    plain = inverse_frequencies(tiny_config())
    scaled = inverse_frequencies(tiny_config(rope_scaling=RopeScaling("linear", 4.0)))
    np.testing.assert_allclose(rope_cos_sin(scaled, 40, 1), rope_cos_sin(plain, 10, 1), rtol=1e-5)


def test_llama3_scaling_keeps_fast_pairs_slows_slow_ones_and_blends_between():
    config = tiny_config(head_dim=64, rope_theta=500000.0)
    plain = inverse_frequencies(config)
    scaled = inverse_frequencies(tiny_config(**vars(config) | {"rope_scaling": LLAMA3}))
    wavelengths = 2 * np.pi / plain.astype(np.float64)
    fast, slow = wavelengths < 8192 / 4, wavelengths > 8192
    between = ~fast & ~slow
    assert fast.any()
    assert slow.any()
    assert between.any()
    np.testing.assert_array_equal(scaled[fast], plain[fast])
    np.testing.assert_allclose(scaled[slow], plain[slow] / 32, rtol=1e-6)
    assert np.all((plain[between] / 32 < scaled[between]) & (scaled[between] < plain[between]))


def test_nothing_is_written():
    x = random(np.random.default_rng(0), 2, 3, 6)
    x.flags.writeable = False
    turn = rope_cos_sin(inverse_frequencies(tiny_config(head_dim=6)), 1, 3)
    assert apply_rope(x, *turn).dtype == apply_rope_interleaved(x, *turn).dtype == np.float32


def yarn_loop(theta, head_dim, scaling):
    """YaRN as its paper has it: the pairs between two rotations are found by looking for them."""

    def pair_that_turns(times):
        low, high = -50.0, 50.0 * head_dim  # halved until only one pair is left between
        for _ in range(200):
            pair = (low + high) / 2
            turn = theta ** (-2 * pair / head_dim)
            turns = scaling.original_max_position_embeddings * turn / (2 * math.pi)
            low, high = (pair, high) if turns > times else (low, pair)
        return low

    first, last = pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    out = []
    for pair in range(head_dim // 2):
        turn = theta ** (-2 * pair / head_dim)
        if pair <= first:
            share = 0.0
        elif pair >= last:
            share = 1.0
        else:
            share = (pair - first) / (last - first)
        out.append(turn * (1 - share) + turn / scaling.factor * share)
    return out


@pytest.mark.parametrize("theta", [10_000.0, 500.0, 4.0])  # of 4, no pair turns as seldom as that
@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("betas", [(32.0, 1.0), (5.0, 0.4), (4000.0, 2.0)])
def test_yarn_equals_the_loop(theta, truncate, betas):
    scaling = RopeScaling(
        *("yarn", 6.0),
        original_max_position_embeddings=300,
        beta_fast=betas[0],
        beta_slow=betas[1],
        truncate=truncate,
    )
    config = tiny_config(head_dim=22, rope_theta=theta, rope_scaling=scaling)
    got = inverse_frequencies(config)
    np.testing.assert_allclose(got, yarn_loop(theta, 22, scaling), rtol=2e-6)


def test_yarn_where_no_pair_lies_between_the_two_rotations():
    """Both bounds are the first pair: it keeps its frequency, and every other one is slow."""
    numbers = {"original_max_position_embeddings": 300, "beta_fast": 4000.0, "beta_slow": 50.0}
    scaled = tiny_config(head_dim=22, rope_scaling=RopeScaling("yarn", 6.0, **numbers))
    plain = inverse_frequencies(tiny_config(head_dim=22))
    want = plain / np.array([1] + 10 * [6], dtype=np.float32)
    np.testing.assert_allclose(inverse_frequencies(scaled), want, rtol=2e-6)
