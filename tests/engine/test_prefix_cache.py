"""The prefix cache against a plain list of what was stored: nothing shared, nothing too much."""

import threading
import weakref

import numpy as np
import pytest
from helpers import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.engine.cache import KVCache
from llama_edu.engine.generate import prefill
from llama_edu.engine.prefix_cache import PrefixCache
from llama_edu.errors import ContextError, InputError

N_LAYERS, N_KV_HEADS, HEAD_DIM = 2, 3, 4
POSITION = 2 * N_LAYERS * N_KV_HEADS * HEAD_DIM * 4  # bytes
PLENTY = 10**9


def new_cache(max_seq=100):
    return KVCache(N_LAYERS, N_KV_HEADS, HEAD_DIM, max_seq)


def filled(ids, max_seq=100):
    """A cache in which each row tells all the ids it was made from, as a real one would."""
    cache = new_cache(max_seq)
    rows = np.empty((N_LAYERS, N_KV_HEADS, len(ids), HEAD_DIM), dtype=np.float32)
    for position in range(len(ids)):
        rows[:, :, position] = hash(tuple(ids[: position + 1])) % 99991
    cache.extend(rows, -rows)
    return cache


def restored(prefixes, ids):
    cache = new_cache()
    assert prefixes.restore(ids, cache) == cache.length
    want = filled(ids[: cache.length])
    for layer in range(N_LAYERS):
        np.testing.assert_array_equal(cache.keys(layer), want.keys(layer))
        np.testing.assert_array_equal(cache.values(layer), want.values(layer))
    return cache.length


def stored(*conversations, max_nbytes=PLENTY):
    prefixes = PrefixCache(max_nbytes)
    for ids in conversations:
        prefixes.store(ids, filled(ids))
    return prefixes


def common(a, b):
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    return same


IDS = st.lists(st.integers(0, 2), min_size=1, max_size=9)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), IDS), max_size=12))
def test_it_finds_what_a_list_of_everything_would(script):
    prefixes, everything = PrefixCache(PLENTY), []
    for is_store, ids in script:
        if is_store:
            prefixes.store(ids, filled(ids))
            everything.append(ids)
        longest = max((common(ids, other) for other in everything), default=0)
        assert prefixes.match(ids) == longest
        assert restored(prefixes, ids) == min(longest, len(ids) - 1)
    distinct = {tuple(ids[: i + 1]) for ids in everything for i in range(len(ids))}
    assert prefixes.n_positions == len(distinct)  # what is shared is held once
    assert prefixes.nbytes == len(distinct) * POSITION


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), IDS), max_size=20), st.integers(1, 15))
def test_it_never_holds_more_than_it_may_and_never_a_wrong_row(script, room):
    prefixes = PrefixCache(room * POSITION)
    for is_store, ids in script:
        if is_store:
            prefixes.store(ids, filled(ids))
            assert prefixes.match(ids) == min(len(ids), room)  # the newest stays
        restored(prefixes, ids)
        assert prefixes.nbytes == prefixes.n_positions * POSITION <= room * POSITION


def test_the_last_id_is_left_to_run():
    prefixes = stored([1, 2, 3])
    assert prefixes.match([1, 2, 3]) == 3
    assert restored(prefixes, [1, 2, 3]) == 2
    assert restored(prefixes, [1, 2, 3, 4]) == 3
    assert restored(prefixes, [1]) == 0


def test_a_cache_that_holds_some_rows_gets_the_rest():
    prefixes = stored([1, 2, 3, 4, 5, 6], [1, 2, 3, 7])
    cache = filled([1, 2])
    assert prefixes.restore([1, 2, 3, 4, 9], cache) == 2
    np.testing.assert_array_equal(cache.keys(1), filled([1, 2, 3, 4]).keys(1))
    full = filled([1, 2, 3, 4])
    assert prefixes.restore([1, 2, 3, 4, 9], full) == 0
    assert full.length == 4


def test_a_long_conversation_grows_where_it_ended():
    ids = [i % 7 for i in range(400)]
    prefixes = PrefixCache(PLENTY)
    for length in (300, 300, 400):
        prefixes.store(ids[:length], filled(ids[:length], 400))
    cache = new_cache(400)
    assert prefixes.restore(ids, cache) == 399
    assert [len(run) for run in cache.runs] == [300, 99]


def test_the_least_recently_used_goes_first():
    prefixes = stored([1, 1], [2, 2], [3, 3], max_nbytes=6 * POSITION)
    restored(prefixes, [1, 1, 0])
    prefixes.store([4, 4], filled([4, 4]))
    assert [prefixes.match([i, i]) for i in (1, 2, 3, 4)] == [2, 0, 2, 2]
    assert prefixes.stats().evicted == 2


def test_rows_that_were_cut_in_two_are_not_held_whole_as_well():
    prefixes, cache = PrefixCache(PLENTY), filled([1, 2, 3, 4])
    prefixes.store([1, 2, 3, 4], cache)
    whole = [weakref.ref(array) for array in (cache.runs[0].keys, cache.runs[0].values)]
    del cache
    prefixes.store([1, 2, 3, 4, 5], filled([1, 2, 3, 4, 5]))
    assert all(array() is not None for array in whole)
    prefixes.store([1, 2, 6], filled([1, 2, 6]))
    assert all(array() is None for array in whole)


def test_a_run_that_is_cut_in_two_is_no_younger_for_it():
    prefixes = stored([1, 1, 1, 1], [2, 2], [1, 1, 3, 3], max_nbytes=8 * POSITION)
    prefixes.store([4, 4], filled([4, 4]))
    assert [prefixes.match(ids) for ids in ([1, 1, 1, 1], [2, 2], [1, 1, 3, 3])] == [2, 2, 4]


def test_what_does_not_fit_is_never_taken_in():
    prefixes = stored([1], [2, 2], max_nbytes=POSITION - 1)
    assert (prefixes.n_positions, prefixes.stats().evicted) == (0, 0)
    assert PrefixCache(1).max_nbytes == 1


def test_looking_without_taking_keeps_nothing_alive():
    prefixes = stored([1, 1], [2, 2], max_nbytes=4 * POSITION)
    prefixes.match([1, 1])
    prefixes.store([3, 3], filled([3, 3]))
    assert prefixes.match([1, 1]) == 0


def test_a_shared_beginning_outlives_its_branches():
    prefixes = stored([5, 5, 1, 1], [5, 5, 2, 2], max_nbytes=6 * POSITION)
    prefixes.store([5, 5, 3, 3], filled([5, 5, 3, 3]))
    assert [prefixes.match([5, 5, i, i]) for i in (1, 2, 3)] == [2, 4, 4]


def test_what_it_holds_is_nobody_elses():
    cache = filled([1, 2, 3])
    prefixes = PrefixCache(PLENTY)
    prefixes.store([1, 2, 3], cache)
    cache.keys(0)[:] = 0  # the giver goes on writing
    taken = new_cache()
    prefixes.restore([1, 2, 3, 4], taken)
    taken.keys(0)[:] = 0  # and so does a taker
    assert restored(prefixes, [1, 2, 3, 4]) == 3


def test_counts():
    prefixes = stored([1, 2, 3])
    restored(prefixes, [1, 2, 9])
    restored(prefixes, [7, 7])
    stats = prefixes.stats()
    assert (stats.lookups, stats.asked, stats.reused, stats.evicted) == (2, 5, 2, 0)
    prefixes.clear()
    assert (prefixes.nbytes, prefixes.n_positions, prefixes.match([1])) == (0, 0, 0)
    assert prefixes.stats() == stats


class TestRefused:
    def test_more_ids_than_rows(self):
        with pytest.raises(InputError, match="rows of 3 ids, got 2 rows"):
            PrefixCache(PLENTY).store([1, 2, 3], filled([1, 2]))

    @pytest.mark.parametrize(
        "cache",
        [
            KVCache(N_LAYERS + 1, N_KV_HEADS, HEAD_DIM, 9),
            KVCache(N_LAYERS, N_KV_HEADS, HEAD_DIM, 9, np.dtype(np.float16)),
        ],
    )
    def test_the_cache_of_another_model(self, cache):
        prefixes = stored([1, 2])
        for method in (prefixes.store, prefixes.restore):
            with pytest.raises(InputError, match="expected a cache of"):
                method([], cache)

    def test_rows_that_do_not_fit(self):
        prefixes, cache = stored([1, 2, 3]), new_cache(max_seq=2)
        with pytest.raises(ContextError):
            prefixes.restore([1, 2, 3, 4], cache)
        assert cache.length == 0

    @pytest.mark.parametrize("max_nbytes", [0, -1])
    def test_no_room_at_all(self, max_nbytes):
        with pytest.raises(InputError, match=f"max_nbytes of at least 1, got {max_nbytes}"):
            PrefixCache(max_nbytes)


@settings(max_examples=10)
@given(
    prompt=st.lists(st.integers(0, 30), min_size=2, max_size=20),
    other=st.lists(st.integers(0, 30), min_size=1, max_size=20),
)
def test_restored_rows_give_the_logits_of_a_fresh_run(prompt, other):
    model, prefixes = tiny_model(), PrefixCache(PLENTY)
    for ids in (prompt[:-1], [*prompt[: len(prompt) // 2], *other]):
        cache = model.new_cache()
        prefill(model, ids, cache)
        prefixes.store(ids, cache)
    cache = model.new_cache()
    assert prefixes.restore(prompt, cache) == len(prompt) - 1
    logits = prefill(model, prompt[cache.length :], cache)
    np.testing.assert_allclose(logits[-1], model.forward(prompt)[-1], atol=1e-5)


def test_threads_may_share_it():
    """Writers split and evict what readers copy: every row that comes out must be right."""
    prefixes, problems = PrefixCache(40 * POSITION), []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            for _ in range(150):
                ids = rng.integers(0, 2, rng.integers(2, 14)).tolist()
                restored(prefixes, ids)
                prefixes.store(ids, filled(ids))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert prefixes.nbytes <= 40 * POSITION
