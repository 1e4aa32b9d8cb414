"""The whole model: against a textbook loop, with and without a cache, and on bad input."""

import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import TINY, assert_close, tiny_config, tiny_model, tiny_tensors, unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu import KVCache, Llama, LlamaConfig, hub
from llama_edu.engine.generate import prefill
from llama_edu.errors import ContextError, InputError
from llama_edu.formats.config import RopeScaling
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.hub import BOOK_MODEL

# Two layers of float32 against float64, or the same sums in another order.
TOLERANCE = 1e-5
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 30, 0]
MODEL = tiny_model()


def textbook(config, tensors, ids):
    """Logits of every position, position by position and head by head, in float64.

    Written from the papers' formulas, with the query heads in a flat row and no cache.
    """
    t = {name: array.astype(np.float64) for name, array in tensors.items()}
    d, theta = config.head_dim, config.rope_theta
    n_groups = config.num_attention_heads // config.num_key_value_heads

    def norm(x, name):
        return t[name] * x / math.sqrt(np.mean(x**2) + config.rms_norm_eps)

    def project(name, x):
        return t[f"{name}.weight"] @ x + t.get(f"{name}.bias", 0.0)

    def rope(x, position):
        """Pair j with j + d/2: one complex number, turned by position · frequency."""
        frequencies = np.array([theta ** (-2 * j / d) for j in range(d // 2)])
        if config.rope_scaling:
            frequencies = frequencies / config.rope_scaling.factor
        turned = (x[: d // 2] + 1j * x[d // 2 :]) * np.exp(1j * position * frequencies)
        return np.concatenate([turned.real, turned.imag])

    xs = [t["model.embed_tokens.weight"][i] for i in ids]
    for layer in range(config.num_hidden_layers):
        name = f"model.layers.{layer}"
        keys, values, after = [], [], []
        for position, x in enumerate(xs):
            a = norm(x, f"{name}.input_layernorm.weight")
            q = project(f"{name}.self_attn.q_proj", a).reshape(-1, d)
            keys.append(
                [rope(k, position) for k in project(f"{name}.self_attn.k_proj", a).reshape(-1, d)]
            )
            values.append(project(f"{name}.self_attn.v_proj", a).reshape(-1, d))
            heads = []
            for h, one in enumerate(q):
                g = h // n_groups
                scores = np.array([rope(one, position) @ k[g] for k in keys]) / math.sqrt(d)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                heads.append(sum(w * v[g] for w, v in zip(weights, values, strict=True)))
            x = x + project(f"{name}.self_attn.o_proj", np.concatenate(heads))
            m = norm(x, f"{name}.post_attention_layernorm.weight")
            gate, up = project(f"{name}.mlp.gate_proj", m), project(f"{name}.mlp.up_proj", m)
            after.append(x + project(f"{name}.mlp.down_proj", gate / (1 + np.exp(-gate)) * up))
        xs = after
    head = t.get("lm_head.weight", t["model.embed_tokens.weight"])
    return np.array([head @ norm(x, "model.norm.weight") for x in xs])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 6},
        {"num_key_value_heads": 1},
        {"tie_word_embeddings": True},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"head_dim": 10, "rope_scaling": RopeScaling("linear", 4.0)},
        {"num_hidden_layers": 1, "rms_norm_eps": 0.3},
    ],
    ids=lambda changes: " ".join(changes) or "plain",
)
def test_forward_equals_the_textbook(changes):
    config = tiny_config(**changes)
    tensors = tiny_tensors(config, seed=5)
    got = Llama(config, tensors).forward(IDS)
    assert_close(got, textbook(config, tensors, IDS), TOLERANCE)


@st.composite
def splits(draw):
    """A prompt cut into consecutive chunks of at least one token."""
    ids = draw(st.lists(st.integers(0, TINY["vocab_size"] - 1), min_size=1, max_size=24))
    cuts = sorted(draw(st.sets(st.integers(1, len(ids) - 1)))) if len(ids) > 1 else []
    return [ids[a:b] for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]


@given(splits())
def test_cached_equals_uncached_for_any_split(chunks):
    cache = MODEL.new_cache()
    got = np.concatenate([MODEL.forward(chunk, cache) for chunk in chunks])
    ids = [i for chunk in chunks for i in chunk]
    assert cache.length == len(ids)
    assert_close(got, MODEL.forward(ids), TOLERANCE)


@given(splits(), st.integers(1, 9))
def test_chunked_prefill_equals_one_pass(chunks, chunk):
    ids = [i for c in chunks for i in c]
    cache = MODEL.new_cache()
    got = prefill(MODEL, ids, cache, chunk=chunk)
    assert cache.length == len(ids)
    assert_close(got, MODEL.forward(ids)[-1:], TOLERANCE)


@given(keep=st.integers(0, 11), other=st.lists(st.integers(0, 30), max_size=6))
def test_truncating_and_appending_again_equals_never_having_left(keep, other):
    cache = MODEL.new_cache()
    MODEL.forward(IDS, cache)
    if other:
        MODEL.forward(other, cache)
    cache.truncate(keep)
    if keep < len(IDS):
        got = MODEL.forward(IDS[keep:], cache)
        assert_close(got, MODEL.forward(IDS)[keep:], TOLERANCE)
    assert cache.length == len(IDS)


@settings(max_examples=25)
@given(st.integers(0, len(IDS) - 2), st.integers(0, 30))
def test_no_token_sees_the_future(position, other):
    changed = [*IDS[: position + 1], *[other] * (len(IDS) - position - 1)]
    seen = slice(0, position + 1)
    assert_close(MODEL.forward(changed)[seen], MODEL.forward(IDS)[seen], TOLERANCE)


def test_last_only_gives_the_last_row():
    for ids in (IDS, IDS[:1]):
        got = MODEL.forward(ids, last_only=True)
        assert got.shape == (1, TINY["vocab_size"])
        assert_close(got, MODEL.forward(ids)[-1:], TOLERANCE)


def test_last_only_fills_the_cache_with_every_token():
    cache = MODEL.new_cache()
    MODEL.forward(IDS[:6], cache, last_only=True)
    assert cache.length == 6
    assert_close(MODEL.forward(IDS[6:], cache), MODEL.forward(IDS)[6:], TOLERANCE)


def test_two_caches_do_not_meet():
    one, other = MODEL.new_cache(), MODEL.new_cache()
    MODEL.forward(IDS[:4], one)
    MODEL.forward([7, 7, 7], other)
    assert_close(MODEL.forward(IDS[4:], one), MODEL.forward(IDS)[4:], TOLERANCE)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_ids_may_be_an_array(kind):
    ids = np.array(IDS, dtype=kind)
    np.testing.assert_array_equal(MODEL.forward(ids), MODEL.forward(IDS))


def test_nothing_the_caller_passed_is_mutated():
    config = tiny_config(attention_bias=True, mlp_bias=True)
    tensors, ids = tiny_tensors(config), np.array(IDS)
    for array in (*tensors.values(), ids):
        array.flags.writeable = False
    before = unchanged(tensors)
    model = Llama(config, tensors)
    first = model.forward(ids)
    np.testing.assert_array_equal(model.forward(ids), first)  # and nothing is remembered
    assert unchanged(tensors) == before


@pytest.mark.parametrize("stored", ["embed_tokens only", "lm_head only", "both"])
def test_tied_embeddings_in_every_storage_form(stored):
    config = tiny_config(tie_word_embeddings=True)
    tensors = tiny_tensors(config)
    want = Llama(config, tensors).forward(IDS)
    table = tensors["model.embed_tokens.weight"]
    if stored != "embed_tokens only":
        tensors["lm_head.weight"] = table
    if stored == "lm_head only":
        del tensors["model.embed_tokens.weight"]
    model = Llama(config, tensors)
    assert model.weights.lm_head is model.weights.embed_tokens
    np.testing.assert_array_equal(model.forward(IDS), want)


def test_untied_embeddings_are_two_tables():
    assert not np.shares_memory(MODEL.weights.lm_head, MODEL.weights.embed_tokens)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "at least one token id, got shape"),
        (np.zeros((0,), dtype=np.int64), "at least one token id, got shape"),
        ([3, 31], "from 0 to 30, got 31"),
        ([-1], "from 0 to 30, got -1"),
        ([2**70], "whole numbers"),
    ],
    ids=["empty", "empty array", "too large", "negative", "huge"],
)
def test_bad_ids_are_refused_and_the_cache_stays(ids, message):
    cache = MODEL.new_cache()
    MODEL.forward(IDS, cache)
    for given_cache in (None, cache):
        with pytest.raises(InputError, match=message):
            MODEL.forward(ids, given_cache)
    assert cache.length == len(IDS)


@pytest.mark.parametrize(
    "ids",
    [np.array([1.0, 2.0]), np.array([[1, 2]]), np.array(5), np.array([True]), np.array(["a"])],
)
def test_ids_that_are_no_list_of_whole_numbers_are_refused(ids):
    # Past the annotation, which is enforced during the tests and would object first.
    check = getattr(Llama.checked_ids, "__wrapped__", Llama.checked_ids)
    with pytest.raises(InputError, match=r"expected (whole numbers|a flat list)"):
        check(MODEL, ids)


def test_more_than_the_context_is_refused_before_any_work():
    limit = TINY["max_position_embeddings"]
    model = tiny_model()
    cache = model.new_cache()
    model.forward([1] * (limit - 2), cache)
    model.weights = None  # any work would now fail
    with pytest.raises(ContextError, match=f"at most {limit} positions, got {limit + 1}"):
        model.forward([1] * (limit + 1))
    with pytest.raises(ContextError, match=rf"{limit - 2} past \+ 3 new"):
        model.forward([1, 2, 3], cache)
    assert cache.length == limit - 2


def test_the_whole_context_can_be_used():
    limit = TINY["max_position_embeddings"]
    cache = MODEL.new_cache()
    MODEL.forward([1] * (limit - 1), cache)
    assert MODEL.forward([2], cache).shape == (1, TINY["vocab_size"])
    assert MODEL.forward([1] * limit).shape == (limit, TINY["vocab_size"])


def test_a_pass_that_fails_half_way_leaves_the_cache_as_it_was(monkeypatch):
    cache = MODEL.new_cache()
    MODEL.forward(IDS[:5], cache)
    append = KVCache.append

    def failing(self, layer, k, v):
        if layer == 1:
            raise KeyboardInterrupt
        return append(self, layer, k, v)

    with monkeypatch.context() as patch:
        patch.setattr(KVCache, "append", failing)
        with pytest.raises(KeyboardInterrupt):
            MODEL.forward(IDS[5:], cache)
    assert cache.length == 5
    assert_close(MODEL.forward(IDS[5:], cache), MODEL.forward(IDS)[5:], TOLERANCE)


@pytest.mark.parametrize(
    "changes", [{"num_hidden_layers": 3}, {"num_key_value_heads": 3}, {"head_dim": 10}]
)
def test_the_cache_of_another_model_is_refused(changes):
    cache = tiny_model(**changes).new_cache()
    with pytest.raises(InputError, match=r"expected a cache of .* \(2, 2, 8\), got"):
        MODEL.forward(IDS, cache)


def test_a_cache_has_room_for_the_context_unless_told_otherwise():
    assert MODEL.new_cache().max_seq == TINY["max_position_embeddings"]
    for max_seq in (1, 7, TINY["max_position_embeddings"]):
        assert MODEL.new_cache(max_seq=max_seq).max_seq == max_seq
    assert MODEL.new_cache().allocated_nbytes == 0


@pytest.mark.parametrize("max_seq", [0, -1, 65])
def test_a_cache_past_the_context_is_refused(max_seq):
    with pytest.raises(ContextError, match=f"from 1 to the context of 64, got {max_seq}"):
        MODEL.new_cache(max_seq=max_seq)


# Several texts in one step


def decoded_alone(model, texts, new_ids):
    """Logits of each text's new token, each in a pass of its own; and the caches after it."""
    caches = [model.new_cache() for _ in texts]
    rows = []
    for text, new_id, cache in zip(texts, new_ids, caches, strict=True):
        prefill(model, text, cache)
        rows.append(model.forward([new_id], cache)[0])
    return np.stack(rows), caches


def decoded_together(model, texts, new_ids):
    caches = [model.new_cache() for _ in texts]
    for text, cache in zip(texts, caches, strict=True):
        prefill(model, text, cache)
    return model.forward_batch(new_ids, caches), caches


@settings(max_examples=15)
@given(texts=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=9), min_size=1, max_size=7))
def test_a_batched_step_gives_each_text_what_it_would_get_alone(texts):
    new_ids = [text[0] for text in texts]
    alone, apart = decoded_alone(MODEL, texts, new_ids)
    together, shared = decoded_together(MODEL, texts, new_ids)
    assert_close(together, alone, TOLERANCE)
    for one, other in zip(apart, shared, strict=True):
        assert one.length == other.length
        for layer in range(MODEL.config.num_hidden_layers):
            assert_close(other.keys(layer), one.keys(layer), TOLERANCE)
            assert_close(other.values(layer), one.values(layer), TOLERANCE)


@pytest.mark.parametrize("precision", ["bf16", "f16", "bf16-pure", "f16-pure", "int8", "f8"])
def test_a_batched_step_in_every_precision(precision):
    config = tiny_config(attention_bias=True, mlp_bias=True)
    model = Llama(config, tiny_tensors(config), precision=precision)
    texts, new_ids = [[1, 2, 3], [4], [5, 6, 7, 8, 9]], [10, 11, 12]
    alone, _ = decoded_alone(model, texts, new_ids)
    together, _ = decoded_together(model, texts, new_ids)
    # A sum in another order may round to the neighbouring 16-bit number, in cache or activations.
    assert_close(together, alone, 0.03 if "pure" in precision else 0.01)


def test_a_batched_step_of_the_compiled_backend():
    pytest.importorskip("numba")
    config = tiny_config(attention_bias=True)
    model = Llama(config, tiny_tensors(config), backend="numba")
    texts, new_ids = [[1, 2, 3], [4], [5, 6, 7, 8, 9]], [10, 11, 12]
    alone, _ = decoded_alone(model, texts, new_ids)
    assert_close(decoded_together(model, texts, new_ids)[0], alone, TOLERANCE)


def test_a_batched_step_that_cannot_be_done_changes_nothing():
    caches = [MODEL.new_cache(), MODEL.new_cache(max_seq=2)]
    for cache in caches:
        prefill(MODEL, [1, 2], cache)
    with pytest.raises(ContextError, match="2 past \\+ 1 new"):
        MODEL.forward_batch([3, 4], caches)
    with pytest.raises(InputError, match=r"got 1 caches in 2 places"):
        MODEL.forward_batch([3, 4], [caches[0], caches[0]])
    with pytest.raises(InputError, match=r"each of 1 token ids, got 2 caches"):
        MODEL.forward_batch([3], caches)
    with pytest.raises(InputError, match="got 31"):
        MODEL.forward_batch([3, 31], caches)
    assert [cache.length for cache in caches] == [2, 2]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16"},
        {"backend": "numba"},
        {"precision": "bf16", "cache_dtype": "f32", "backend": "numba"},
        {"precision": "f16-pure", "cache_dtype": None},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "none",
)
def test_from_pretrained_hands_every_choice_on(options):
    """What a model is loaded with is what one made of the same tensors would have."""
    if options.get("backend") == "numba":
        pytest.importorskip("numba")
    loaded = Llama.from_pretrained(BOOK_MODEL, **options)
    directory = hub.locate(BOOK_MODEL)
    config = LlamaConfig.from_directory(directory)
    made = Llama(config, open_checkpoint(directory), **options)
    assert loaded.precision == made.precision
    assert loaded.new_cache(3).dtype == made.new_cache(3).dtype
    assert loaded.weights.lm_head.dtype == made.weights.lm_head.dtype
    functions = [inspect.unwrap(model.operators.linear) for model in (loaded, made)]
    names = [f"{function.__module__}.{function.__name__}" for function in functions]
    assert names[0] == names[1]
    assert names[0].startswith("llama_edu.engine.backends.numba") is (
        options.get("backend") == "numba"
    )
    assert np.array_equal(loaded.forward([1, 2, 3]), made.forward([1, 2, 3]))


def test_a_model_by_name_is_loaded_as_one_asks():
    model = Llama.from_pretrained(BOOK_MODEL, precision="bf16", cache_dtype="f32")
    assert model.weights.lm_head.dtype.name == "bfloat16"
    assert model.new_cache(4).dtype == np.float32


class Never:
    """A quick way that takes no step."""

    def takes(self, weights, step):
        return False

    def __call__(self, weights, config, step):
        raise AssertionError


def test_exchanging_a_function_leaves_out_what_would_bypass_it():
    short = replace(MODEL.operators, decode_step=Never(), fused_attention=lambda q, k, v: q)
    changed = short.replaced(swiglu=np.add)
    assert changed.swiglu is np.add
    assert changed.decode_step is None
    assert changed.fused_attention is None
    assert short.decode_step is not None
