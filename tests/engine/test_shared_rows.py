"""Rows that several caches look at: each holds what it would hold alone, and each row is once."""

from itertools import pairwise, product

import numpy as np
import pytest
from helpers import random, tiny_config, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu import Llama
from llama_edu.engine.cache import MAX_RUNS, MIN_CAPACITY, KVCache, Rows
from llama_edu.engine.prefix_cache import PrefixCache
from llama_edu.errors import ContextError, InputError

N_LAYERS, N_KV_HEADS, HEAD_DIM = 2, 3, 4
POSITION = 2 * N_LAYERS * N_KV_HEADS * HEAD_DIM * 4  # bytes


def new_cache(max_seq=1000):
    return KVCache(N_LAYERS, N_KV_HEADS, HEAD_DIM, max_seq)


def rows(seq, seed=0):
    rng = np.random.default_rng(seed)
    shape = N_LAYERS, N_KV_HEADS, seq, HEAD_DIM
    return Rows(random(rng, *shape), random(rng, *shape))


def append(cache, new):
    """As a forward pass does it: layer by layer, and each gets all rows back."""
    for layer in range(N_LAYERS):
        keys, values = cache.append(layer, new.keys[layer], new.values[layer])
        assert keys.shape == values.shape == (N_KV_HEADS, cache.length + len(new), HEAD_DIM)
        np.testing.assert_array_equal(keys[:, cache.length :], new.keys[layer])
        np.testing.assert_array_equal(values[:, cache.length :], new.values[layer])
    cache.advance(len(new))


def check_holds(cache, expected):
    """What a cache says it holds, in each way of asking, is what a plain array would hold."""
    assert cache.length == expected.shape[3]
    assert cache.nbytes == cache.length * POSITION
    for layer in range(N_LAYERS):
        np.testing.assert_array_equal(cache.keys(layer), expected[0, layer])
        np.testing.assert_array_equal(cache.values(layer), expected[1, layer])
    middle = cache.length // 3
    for start, stop in ((0, cache.length), (middle, cache.length), (middle, middle)):
        np.testing.assert_array_equal(cache.rows(start, stop), expected[:, :, :, start:stop])


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "extend", "borrow", "truncate", "fork", "copy"]),
        st.integers(0, 3),
        st.integers(1, 40),
    ),
    max_size=24,
)


@settings(max_examples=150)
@given(STEPS)
def test_each_cache_holds_what_it_would_hold_alone(steps):
    nothing = np.empty((2, N_LAYERS, N_KV_HEADS, 0, HEAD_DIM), dtype=np.float32)
    caches, expected = [new_cache()], [nothing]
    for seed, (step, which, amount) in enumerate(steps):
        n = which % len(caches)
        cache, new = caches[n], rows(amount, seed)
        if step in ("fork", "copy"):
            caches.append(cache.fork() if step == "fork" else cache.copy())
            expected.append(expected[n])
        elif step == "truncate":
            cache.truncate(cache.length * amount // 40)
            expected[n] = expected[n][:, :, :, : cache.length]
        else:
            if step == "append":
                append(cache, new)
            elif step == "extend":
                cache.extend(new.keys, new.values)
            else:
                cache.borrow(new)
            both = np.stack([new.keys, new.values])
            expected[n] = np.concatenate([expected[n], both], axis=3)
        assert len(cache.runs) <= MAX_RUNS
        assert all(map(len, cache.runs))
        assert cache.borrowed == sum(map(len, cache.runs)) <= cache.length
        for one, held in zip(caches, expected, strict=True):
            check_holds(one, held)


def test_borrowed_rows_stay_where_they_are():
    shared = rows(9)
    cache, other = new_cache(), new_cache()
    for one in (cache, other):
        one.borrow(shared)
        append(one, rows(2))
        assert np.shares_memory(one.runs[0].keys, shared.keys)
        assert one.allocated_nbytes == MIN_CAPACITY * POSITION  # what a cache takes at first
    with pytest.raises(ValueError, match="read-only"):
        cache.runs[0].keys[:] = 0


def test_rows_in_one_place_too_many_are_copied():
    cache = new_cache()
    for n in range(MAX_RUNS + 2):
        cache.borrow(rows(5, n))
    assert len(cache.runs) == MAX_RUNS
    assert cache.length == (MAX_RUNS + 2) * 5


def test_a_fork_takes_no_memory_for_what_was_computed_before_it():
    cache = new_cache()
    append(cache, rows(100))
    forks = [cache.fork() for _ in range(5)]
    for one in (cache, *forks):
        assert one.allocated_nbytes == 0
        assert np.shares_memory(one.runs[0].keys, cache.runs[0].keys)


def test_a_fork_of_a_fork_has_what_both_have_computed():
    cache = new_cache()
    append(cache, rows(20))
    child = cache.fork()
    append(child, rows(3, 1))
    grandchild = child.fork()
    assert grandchild.length == child.length == 23
    np.testing.assert_array_equal(grandchild.keys(1), child.copy().keys(1))
    np.testing.assert_array_equal(grandchild.keys(1)[:, 20:], rows(3, 1).keys[1])


def test_what_is_refused_leaves_a_cache_as_it_was():
    cache = new_cache(max_seq=30)
    cache.borrow(rows(20))
    for wrong, problem in (
        (rows(16), ContextError),
        (Rows(*(np.zeros((N_LAYERS, 1, 9, HEAD_DIM), np.float32) for _ in "kv")), InputError),
    ):
        with pytest.raises(problem, match="expected"):
            cache.borrow(wrong)
        assert (cache.length, cache.borrowed) == (20, 20)
    empty = new_cache(max_seq=30)
    with pytest.raises(InputError, match="expected keys of shape"):
        empty.borrow(Rows(*(np.zeros((N_LAYERS, 1, 20, HEAD_DIM), np.float32) for _ in "kv")))
    assert (empty.length, empty.runs) == (0, ())


def test_a_system_prompt_is_in_memory_once_however_many_talk_under_it():
    system, talks, each = list(range(200)), 32, 20
    prefixes, caches, places = PrefixCache(10**9), [], {}
    for talk in range(talks):
        ids = [*system, *(1000 + talk * each + i for i in range(each))]
        cache = new_cache()
        reused = prefixes.restore(ids, cache)
        assert reused == (200 if talk else 0)
        append(cache, rows(len(ids) - reused, talk))
        prefixes.store(ids, cache)
        caches.append(cache)
    for cache in caches:
        assert (cache.length, cache.borrowed, cache.allocated_nbytes) == (220, 220, 0)
        places |= {
            id(base): base.nbytes for run in cache.runs for base in map(base_of, run_of(run))
        }
    assert prefixes.nbytes == (200 + talks * each) * POSITION
    # The first one looks at rows that the tree has cut in two since, the second at one of them.
    assert sum(places.values()) <= prefixes.nbytes + (200 + each) * POSITION


def run_of(run):
    return run.keys, run.values


def base_of(array):
    while array.base is not None:
        array = array.base
    return array


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 50)), min_size=1, max_size=10))
def test_a_cache_that_was_stored_goes_on_as_before(turns):
    """Prompts in turn, by three speakers, of which each begins as the others do."""
    prefixes = PrefixCache(10**9)
    texts, caches = [list(range(30))] * 3, [new_cache() for _ in range(3)]
    for speaker, count in turns:
        cache, ids = caches[speaker], [*texts[speaker], *(speaker + 100 * n for n in range(count))]
        texts[speaker] = ids
        prefixes.restore(ids, cache)
        new = made_of(ids)
        append(cache, new[cache.length :])
        prefixes.store(ids, cache)
        check_holds(cache, np.stack([new.keys, new.values]))
        cache.truncate(len(ids) - count // 2)
        texts[speaker] = ids[: cache.length]


def made_of(ids):
    """Rows that tell all the ids they were made from, as real ones would."""
    told = [hash(tuple(ids[: n + 1])) % 99991 for n in range(len(ids))]
    keys = np.empty((N_LAYERS, N_KV_HEADS, len(ids), HEAD_DIM), dtype=np.float32)
    keys[:] = np.array(told, dtype=np.float32)[:, None]
    return Rows(keys, -keys)


def check_same(logits, want, precision):
    """Up to the order of sums; in 16 bits also up to a key that fell on an edge."""
    tolerance = 5e-6 if precision == "f32" else 1e-3
    assert np.abs(logits - want).max() <= tolerance * np.abs(want).max()


MIXED = ("f32", "bf16", "f16", "int8")  # of both backends; a pure precision is NumPy's alone


@pytest.mark.parametrize(
    ("backend", "precision"),
    [*product(("numpy", "numba"), MIXED), ("numpy", "bf16-pure")],
)
def test_a_model_gives_the_same_logits_wherever_its_rows_lie(backend, precision):
    if backend == "numba":
        pytest.importorskip("numba")
    config = tiny_config(max_position_embeddings=200)
    model = Llama(config, tiny_tensors(config), precision=precision, backend=backend)
    rng = np.random.default_rng(3)
    ids = rng.integers(0, config.vocab_size, 90).tolist()
    plain = model.new_cache(200)
    model.forward(ids, plain)
    caches = [plain]
    for cut in ((0, 90), (0, 17, 90), (0, 16, 33, 61, 90), (0, 40)):
        cache = model.new_cache(200)
        for start, stop in pairwise(cut):
            cache.borrow(Rows(*plain.rows(start, stop)))
        cache.extend(*plain.rows(cache.length, 90))
        assert len(cache.runs) == len(cut) - 1
        caches.append(cache)
    for fed in ([5], [7], [1, 2], rng.integers(0, config.vocab_size, 40).tolist()):
        want, *others = (model.forward(fed, cache) for cache in caches)
        for logits in others:
            check_same(logits, want, precision)
    want, *others = model.forward_batch([3] * len(caches), caches)
    for logits in others:
        check_same(logits, want, precision)
