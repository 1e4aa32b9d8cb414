"""One step of any mix of spans gives every sequence what a step of its own would give it."""

import numpy as np
import pytest
from helpers import assert_close, tiny_config, tiny_model, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu import Llama, Trace
from llama_edu.errors import ContextError, InputError

TOLERANCE = 2e-5
MODEL = tiny_model()
VOCAB = MODEL.config.vocab_size
IDS = st.integers(0, VOCAB - 1)


# Models whose heads share keys in every way, with biases or without, tied or not.
CONFIGS = st.fixed_dictionaries(
    {
        "num_key_value_heads": st.integers(1, 3),
        "num_hidden_layers": st.integers(1, 3),
        "head_dim": st.sampled_from([2, 6, 16]),
        "attention_bias": st.booleans(),
        "mlp_bias": st.booleans(),
        "tie_word_embeddings": st.booleans(),
    }
)


def sequences(most):
    """Of each sequence, the ids that came before and those of its chunk."""
    past = st.lists(IDS, max_size=9)
    chunk = st.lists(IDS, min_size=1, max_size=8)
    return st.lists(st.tuples(past, chunk), min_size=1, max_size=most)


def filled(model, pasts):
    caches = [model.new_cache() for _ in pasts]
    for past, cache in zip(pasts, caches, strict=True):
        if past:
            model.forward(past, cache)
    return caches


def assert_same_caches(got, want, tolerance):
    for one, other in zip(got, want, strict=True):
        assert one.length == other.length
        for layer in range(one.n_layers):
            for part in ("keys", "values"):
                mine, wanted = (
                    getattr(cache, part)(layer).astype(np.float32) for cache in (one, other)
                )
                assert_close(mine, wanted, tolerance, f"{part} of layer {layer}")


def assert_mixed_equals_separate(model, given_sequences, tolerance):
    pasts, chunks = zip(*given_sequences, strict=True)
    alone, together = filled(model, pasts), filled(model, pasts)
    want = [model.forward(chunk, cache)[-1] for chunk, cache in zip(chunks, alone, strict=True)]
    got = model.forward_chunks(chunks, together)
    assert_close(got, np.stack(want), tolerance)
    assert_same_caches(together, alone, tolerance)


@given(CONFIGS, st.integers(1, 3), st.integers(0, 99), sequences(most=5))
def test_a_mixed_step_equals_a_step_for_each(sizes, n_groups, seed, given_sequences):
    heads = sizes["num_key_value_heads"] * n_groups
    config = tiny_config(**sizes, num_attention_heads=heads)
    model = Llama(config, tiny_tensors(config, seed))
    assert_mixed_equals_separate(model, given_sequences, TOLERANCE)


@settings(max_examples=20)
@given(sequences(most=4))
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("bf16", 0.02), ("f16", 3e-3), ("int8", 3e-3), ("bf16-pure", 0.1)]
)
def test_a_mixed_step_in_other_precisions(precision, tolerance, given_sequences):
    config = tiny_config(attention_bias=True)
    model = Llama(config, tiny_tensors(config), precision=precision)
    # A sum in another order may round to the neighbouring 16-bit number, in cache or activations.
    assert_mixed_equals_separate(model, given_sequences, tolerance)


@settings(max_examples=20)
@given(sequences(most=5))
def test_a_mixed_step_of_the_compiled_backend(given_sequences):
    pytest.importorskip("numba")
    config = tiny_config(attention_bias=True)
    model = Llama(config, tiny_tensors(config), backend="numba")
    assert_mixed_equals_separate(model, given_sequences, TOLERANCE)


@given(st.lists(IDS, min_size=1, max_size=20), st.integers(1, 6), st.lists(IDS, max_size=9))
def test_a_prompt_in_pieces_beside_decoding_equals_one_pass(prompt, chunk, other):
    """As a scheduler does it: a piece of one prompt beside the next token of another sequence."""
    cache, neighbour = filled(MODEL, [[], [1, 2]])
    fed = [1, 2]
    for start in range(0, len(prompt), chunk):
        token = (other or [3])[start % (len(other) or 1)]
        fed.append(token)
        logits = MODEL.forward_chunks([prompt[start : start + chunk], [token]], [cache, neighbour])
    assert_close(logits[0], MODEL.forward(prompt)[-1], TOLERANCE)
    assert_close(logits[1], MODEL.forward(fed)[-1], TOLERANCE)


def test_chunks_of_one_are_a_batched_step():
    pasts = [[1, 2, 3], [4], [5, 6]]
    one, other = filled(MODEL, pasts), filled(MODEL, pasts)
    got = MODEL.forward_chunks([[7], [8], [9]], one)
    np.testing.assert_array_equal(got, MODEL.forward_batch([7, 8, 9], other))


def test_a_single_chunk_is_a_plain_forward():
    got = MODEL.forward_chunks([[7, 8, 9]], [MODEL.new_cache()])
    np.testing.assert_array_equal(got, MODEL.forward([7, 8, 9], last_only=True))


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        ([[1, 2], [VOCAB]], InputError, f"got {VOCAB}"),
        ([[1, 2], []], InputError, "at least one token id"),
        ([[1, 2], [3, 4, 5]], ContextError, r"2 past \+ 3 new"),
        ([[1, 2]], InputError, "each of 1 chunks, got 2 caches in 2 places"),
        ([[1], [2], [3]], InputError, "each of 3 chunks, got 2 caches"),
        ([], InputError, "at least one chunk"),
    ],
)
def test_a_step_that_cannot_be_done_changes_nothing(chunks, error, message):
    caches = [MODEL.new_cache(), MODEL.new_cache(max_seq=4)]
    for cache in caches:
        MODEL.forward([1, 2], cache)
    before = [cache.keys(1).tobytes() for cache in caches]
    with pytest.raises(error, match=message):
        MODEL.forward_chunks(chunks, caches)
    assert [cache.length for cache in caches] == [2, 2]
    assert [cache.keys(1).tobytes() for cache in caches] == before


def test_a_cache_twice_or_of_another_model_is_refused():
    cache = MODEL.new_cache()
    with pytest.raises(InputError, match="got 1 caches in 2 places"):
        MODEL.forward_chunks([[1], [2]], [cache, cache])
    other = tiny_model(head_dim=10).new_cache()
    with pytest.raises(InputError, match=r"expected a cache of .* \(2, 2, 8\), got"):
        MODEL.forward_chunks([[1], [2]], [cache, other])
    assert cache.length == 0


# The last call of each kind; of `linear` that is the head's, when all layers are through.
@pytest.mark.parametrize(
    ("where", "last"), [("apply_rope", 4), ("score_v", 4), ("swiglu", 2), ("linear", 15)]
)
def test_a_mixed_step_that_fails_half_way_leaves_every_cache_as_it_was(where, last):
    pasts, chunks = [[1, 2, 3], [4]], [[5], [6, 7]]
    caches = filled(MODEL, pasts)
    calls = []

    def broken(*args):
        calls.append(args)
        if len(calls) == last:
            raise KeyboardInterrupt
        return getattr(MODEL.operators, where)(*args)

    model = tiny_model()
    model.operators = MODEL.operators.replaced(**{where: broken})
    with pytest.raises(KeyboardInterrupt):
        model.forward_chunks(chunks, caches)
    assert [cache.length for cache in caches] == [3, 1]
    want = MODEL.forward_chunks(chunks, filled(MODEL, pasts))
    assert_close(MODEL.forward_chunks(chunks, caches), want, TOLERANCE)


def test_a_mixed_step_can_be_traced():
    pasts, chunks = [[1, 2, 3], []], [[7], [8, 9]]
    with Trace() as t:
        got = MODEL.forward_chunks(chunks, filled(MODEL, pasts), trace=t)
    np.testing.assert_array_equal(t["logits"].array, got)
    assert t["logits"].axes == ("n_spans", "vocab_size")
    assert t["layers.1.mlp.gated"].shape[0] == 3  # the rows of both go through together
    assert t["layers.1.self_attn.spans.0.scores"].shape == (2, 3, 1, 4)
    assert t["layers.1.self_attn.spans.1.scores"].shape == (2, 3, 2, 2)
    assert "layers.1.self_attn.scores" not in t
    for n, (past, chunk) in enumerate(zip(pasts, chunks, strict=True)):
        (cache,) = filled(MODEL, [past])
        with Trace() as alone:
            MODEL.forward(chunk, cache, trace=alone)
        for name in ("keys", "values", "scores", "masked_scores", "weights", "attn_v"):
            record = t[f"layers.1.self_attn.spans.{n}.{name}"]
            want = alone[f"layers.1.self_attn.{name}"]
            assert record.axes == want.axes
            assert_close(record.array, want.array, TOLERANCE, name)


def test_a_batched_step_can_be_traced():
    caches = filled(MODEL, [[1, 2], [3]])
    with Trace() as t:
        got = MODEL.forward_batch([4, 5], caches, trace=t)
    np.testing.assert_array_equal(t["logits"].array, got)
    assert t["layers.0.self_attn.merged"].shape[0] == 2
    assert t["layers.0.self_attn.spans.0.keys"].shape[1] == 3
    assert t["layers.0.self_attn.spans.1.keys"].shape[1] == 2


def test_other_parts_are_used_inside_the_block_alone():
    model = tiny_model()
    want = model.forward([1, 2, 3])
    doubled = model.operators.replaced(swiglu=lambda gate, up: 2 * gate * up)
    with model.using(operators=doubled):
        assert np.abs(model.forward([1, 2, 3]) - want).max() > 0.1
    np.testing.assert_array_equal(model.forward([1, 2, 3]), want)
    broken = model.operators.replaced(swiglu=lambda gate, up: 1 / 0)
    with pytest.raises(ZeroDivisionError), model.using(operators=broken):
        model.forward([1])
    np.testing.assert_array_equal(model.forward([1, 2, 3]), want)
    with pytest.raises(InputError, match=r"expected operators, .* got 'layers'"):
        model.using(layers=()).__enter__()
