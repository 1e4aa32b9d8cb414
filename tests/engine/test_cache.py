"""The KV cache against a plain list of rows, under any sequence of appends and truncations."""

import numpy as np
import pytest
from helpers import random
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.engine.cache import MIN_CAPACITY, KVCache
from llama_edu.errors import ContextError, InputError

N_LAYERS, N_KV_HEADS, HEAD_DIM = 3, 2, 4


def new_cache(max_seq=200):
    return KVCache(N_LAYERS, N_KV_HEADS, HEAD_DIM, max_seq)


def rows(seq, seed=0):
    """Keys and values of `seq` new positions for every layer."""
    rng = np.random.default_rng(seed)
    return [
        (random(rng, N_KV_HEADS, seq, HEAD_DIM), random(rng, N_KV_HEADS, seq, HEAD_DIM))
        for _ in range(N_LAYERS)
    ]


def append(cache, new):
    for layer, (k, v) in enumerate(new):
        cache.append(layer, k, v)
    cache.advance(new[0][0].shape[1])


steps = st.lists(
    st.tuples(st.just("append"), st.integers(1, 40)) | st.tuples(st.just("keep"), st.floats(0, 1)),
    max_size=8,
)


@given(steps)
def test_it_holds_what_a_list_would_hold(steps):
    cache = new_cache(max_seq=400)
    expected = rows(0)
    for seed, (step, amount) in enumerate(steps):
        if step == "append":
            new = rows(amount, seed)
            append(cache, new)
            expected = [
                (np.concatenate([k, k_new], axis=1), np.concatenate([v, v_new], axis=1))
                for (k, v), (k_new, v_new) in zip(expected, new, strict=True)
            ]
        else:
            length = round(amount * cache.length)
            cache.truncate(length)
            expected = [(k[:, :length], v[:, :length]) for k, v in expected]
        assert cache.length == expected[0][0].shape[1]
        for layer, (k, v) in enumerate(expected):
            np.testing.assert_array_equal(cache.keys(layer), k)
            np.testing.assert_array_equal(cache.values(layer), v)


def test_append_returns_the_past_and_the_new_rows():
    cache, past, new = new_cache(), rows(5, 1), rows(3, 2)
    append(cache, past)
    k, v = cache.append(1, *new[1])
    np.testing.assert_array_equal(k, np.concatenate([past[1][0], new[1][0]], axis=1))
    np.testing.assert_array_equal(v, np.concatenate([past[1][1], new[1][1]], axis=1))


def test_rows_count_only_after_advance():
    cache = new_cache()
    append(cache, rows(4))
    for layer, (k, v) in enumerate(rows(3, 1)):
        cache.append(layer, k, v)
    assert cache.length == 4  # a pass that failed here would leave the past as it was
    again = rows(2, 2)
    append(cache, again)
    np.testing.assert_array_equal(cache.keys(2)[:, 4:], again[2][0])


def test_bytes_are_two_float32_vectors_per_layer_head_and_position():
    cache = new_cache()
    assert cache.nbytes == cache.allocated_nbytes == 0
    append(cache, rows(5))
    assert cache.nbytes == 2 * N_LAYERS * N_KV_HEADS * 5 * HEAD_DIM * 4
    cache.truncate(3)
    assert cache.nbytes == 2 * N_LAYERS * N_KV_HEADS * 3 * HEAD_DIM * 4


def test_memory_grows_with_use_and_never_past_max_seq():
    cache, per_position = new_cache(max_seq=150), 2 * N_LAYERS * N_KV_HEADS * HEAD_DIM * 4
    held = []
    for seed in range(150):
        append(cache, rows(1, seed))
        held.append(cache.allocated_nbytes // per_position)
        assert cache.length <= held[-1] <= 150
        assert held[-1] <= max(MIN_CAPACITY, 2 * cache.length)  # not all at once
    assert len(set(held)) <= 4  # doubling: a few copies, not one per token
    np.testing.assert_array_equal(cache.keys(0)[:, 0], rows(1, 0)[0][0][:, 0])


def test_the_arrays_are_float32_views():
    cache = new_cache()
    append(cache, rows(5))
    assert cache.keys(0).dtype == cache.values(0).dtype == np.float32
    assert np.shares_memory(cache.keys(1), cache.append(1, *rows(1)[1])[0])
    assert not np.shares_memory(cache.keys(0), cache.keys(1))
    assert not np.shares_memory(cache.keys(0), cache.values(0))


def test_what_it_was_given_is_copied():
    cache, new = new_cache(), rows(2)
    append(cache, new)
    before = cache.keys(0).copy()
    new[0][0][:] = 0
    np.testing.assert_array_equal(cache.keys(0), before)


def test_the_last_position_fits_and_one_more_is_refused():
    cache = new_cache(max_seq=6)
    append(cache, rows(4))
    with pytest.raises(ContextError, match=r"at most 6 positions .* 4 past \+ 3 new"):
        cache.append(0, *rows(3)[0])
    with pytest.raises(ContextError):
        cache.advance(3)
    assert cache.length == 4
    append(cache, rows(2))
    assert cache.length == 6


@pytest.mark.parametrize("length", [-1, 5])
def test_truncating_to_what_was_never_held_is_refused(length):
    cache = new_cache()
    append(cache, rows(4))
    with pytest.raises(InputError, match=f"from 0 to 4, got {length}"):
        cache.truncate(length)
    assert cache.length == 4


def test_it_says_what_it_was_made_for():
    cache = new_cache(max_seq=9)
    shape = (cache.n_layers, cache.n_kv_heads, cache.head_dim, cache.max_seq, cache.length)
    assert shape == (N_LAYERS, N_KV_HEADS, HEAD_DIM, 9, 0)


def test_rows_taken_out_and_put_back_are_the_same_rows():
    cache, other = new_cache(), new_cache()
    append(cache, rows(7))
    other.extend(*cache.rows(0, 3))
    other.extend(*cache.rows(3, 7))
    assert other.length == 7
    for layer in range(N_LAYERS):
        np.testing.assert_array_equal(other.keys(layer), cache.keys(layer))
        np.testing.assert_array_equal(other.values(layer), cache.values(layer))


def test_a_copy_goes_its_own_way():
    cache = new_cache()
    append(cache, rows(4))
    copy, before = cache.copy(), cache.keys(1).copy()
    copy.keys(1)[:] = 0
    append(copy, rows(2, 1))
    np.testing.assert_array_equal(cache.keys(1), before)
    assert (cache.length, copy.length, copy.max_seq) == (4, 6, cache.max_seq)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 5)])
def test_rows_that_are_not_there(start, stop):
    cache = new_cache()
    append(cache, rows(4))
    with pytest.raises(InputError, match=f"within the 4 cached ones, got {start} to {stop}"):
        cache.rows(start, stop)


def test_rows_of_another_shape_or_format_or_too_many_are_refused():
    cache = new_cache(max_seq=5)
    append(cache, rows(4))
    k, v = cache.rows(0, 2)
    with pytest.raises(InputError, match="expected keys of shape"):
        cache.extend(k[:2], v[:2])
    with pytest.raises(InputError, match=r"as float32, got .* as float16"):
        cache.extend(k.astype(np.float16), v.astype(np.float16))
    with pytest.raises(ContextError):
        cache.extend(k, v)
    assert cache.length == 4
