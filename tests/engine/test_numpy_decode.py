"""The shortcut for one new token of a small model: the general pass is what it must agree with."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_close, tiny_config, tiny_tensors
from watched import FLOAT32, Watched, watched

from llama_edu import Llama, Trace
from llama_edu.engine.backends import numpy_decode
from llama_edu.engine.backends.numpy_decode import SmallModelDecode
from llama_edu.errors import ContextError
from llama_edu.formats.config import RopeScaling

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7]
IDS += [9, 5, 0, 2, 8]  # more than a cache first has room for
TOLERANCE = 2e-5

CONFIGS = {
    "plain": {},
    "biased": {"attention_bias": True, "mlp_bias": True},
    "biased in attention": {"attention_bias": True},
    "tied": {"tie_word_embeddings": True},
    "llama3 rope": {"rope_scaling": RopeScaling("llama3", 8.0, 1.0, 4.0, 16)},
    "linear rope": {"rope_scaling": RopeScaling("linear", 4.0)},
    "as many keys as queries": {"num_attention_heads": 3, "num_key_value_heads": 3},
    "one key": {"num_attention_heads": 5, "num_key_value_heads": 1},
    "heads of 2": {"head_dim": 2},
    "heads wider than the model": {"head_dim": 22, "num_hidden_layers": 3},
    "one of everything": {
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "num_hidden_layers": 1,
        "head_dim": 2,
        "hidden_size": 1,
        "intermediate_size": 1,
    },
}


def without_shortcut(model):
    """The same model, on the operators of the book alone."""
    plain = copy.copy(model)
    plain.operators = model.operators.replaced()
    return plain


def token_by_token(model, ids, cache):
    return np.concatenate([model.forward([token_id], cache) for token_id in ids])


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("prompt", [0, 7])
def test_every_step_gives_what_forward_gives(changes, prompt):
    config = tiny_config(**changes)
    model = Llama(config, tiny_tensors(config, seed=prompt))
    want = without_shortcut(model)
    cache, other = model.new_cache(), model.new_cache()
    if prompt:
        model.forward(IDS[:prompt], cache)
        model.forward(IDS[:prompt], other)
    got = token_by_token(model, IDS[prompt:], cache)
    assert_close(got, token_by_token(want, IDS[prompt:], other), TOLERANCE, "stepped")
    assert_close(got, want.forward(IDS)[prompt:], TOLERANCE, "uncached")
    assert cache.length == len(IDS)
    for i in range(cache.n_layers):
        assert_close(cache.keys(i), other.keys(i), TOLERANCE, f"keys {i}")
        assert_close(cache.values(i), other.values(i), TOLERANCE, f"values {i}")


def test_the_models_above_do_take_the_shortcut():
    config = tiny_config()
    model = Llama(config, tiny_tensors(config))
    calls = []

    def counted(gate, up):
        calls.append(len(gate))
        return shortcut.swiglu(gate, up)

    shortcut = model.operators.decode_step
    assert isinstance(shortcut, SmallModelDecode)
    model.operators = replace(model.operators, decode_step=replace(shortcut, swiglu=counted))
    cache = model.new_cache()
    model.forward(IDS[:3], cache)  # a prompt is not for it
    model.forward([1])  # nor what has no cache
    model.forward_batch([1, 2], [model.new_cache(), model.new_cache()])
    assert calls == []
    model.forward([1], cache)
    assert len(calls) == config.num_hidden_layers
    with Trace() as t:
        model.forward([1], cache, trace=t)
    assert len(calls) == config.num_hidden_layers
    for precision in ("bf16", "f16-pure"):
        assert (
            Llama(config, tiny_tensors(config), precision=precision).operators.decode_step is None
        )


def test_a_large_model_goes_the_general_way(monkeypatch):
    config = tiny_config()
    model = Llama(config, tiny_tensors(config))
    want = token_by_token(model, IDS[:5], model.new_cache())
    monkeypatch.setattr(numpy_decode, "STAYS_NBYTES", model.weights.nbytes - 1)
    shortcut = model.operators.decode_step
    assert isinstance(shortcut, numpy_decode.SmallModelDecode)
    broken = replace(shortcut, swiglu=lambda gate, up: gate[10**9])
    model.operators = replace(model.operators, decode_step=broken)
    assert_close(token_by_token(model, IDS[:5], model.new_cache()), want, TOLERANCE)


def by_columns(array):
    return np.asfortranarray(array)


def every_other(array):
    wide = np.zeros(tuple(2 * size for size in array.shape), dtype=np.float32)
    wide[tuple(slice(None, None, 2) for _ in array.shape)] = array
    return wide[tuple(slice(None, None, 2) for _ in array.shape)]


def straddling(array):
    """Numbers that begin in the middle of a machine word, as a file may lay them out."""
    raw = np.zeros(array.nbytes + 1, dtype=np.uint8)
    odd = raw[1:].view(np.float32).reshape(array.shape)
    odd[...] = array
    return odd


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("lay_out", [by_columns, every_other, straddling, read_only])
def test_weights_lie_in_memory_as_they_like(lay_out):
    config = tiny_config(attention_bias=True, mlp_bias=True)
    tensors = tiny_tensors(config)
    want = Llama(config, tensors).forward(IDS)
    model = Llama(config, {name: lay_out(array) for name, array in tensors.items()})
    assert_close(token_by_token(model, IDS, model.new_cache()), want, TOLERANCE)


def test_nothing_is_wider_than_float32():
    config = tiny_config(attention_bias=True, mlp_bias=True)
    tensors = {name: watched(array) for name, array in tiny_tensors(config).items()}
    model = Llama(config, tensors)
    cache = model.new_cache()
    for token_id in IDS:
        assert isinstance(model.forward([token_id], cache), Watched)  # the watch was never lost
    assert {dtype for dtype in Watched.seen if dtype.kind == "f"} == {FLOAT32}


def test_a_trace_sees_every_operator():
    config = tiny_config()
    model = Llama(config, tiny_tensors(config))
    cache, traced = model.new_cache(), model.new_cache()
    got = token_by_token(model, IDS[:5], cache)
    with Trace() as t:
        want = [model.forward([token_id], traced, trace=t) for token_id in IDS[:5]]
    assert_close(got, np.concatenate(want), TOLERANCE)
    assert "layers.1.self_attn.weights" in {record.name for record in t}


# In the second layer or after the first, and where all layers are through: the last norm, the head.
@pytest.mark.parametrize(
    ("where", "last"),
    [
        *[(name, 2) for name in ("attend", "swiglu", "rms_norm", "apply_rope")],
        *[("rms_norm", 5), ("linear", 9)],
    ],
)
def test_a_step_that_fails_leaves_the_cache_as_it_was(where, last):
    config = tiny_config()
    model = Llama(config, tiny_tensors(config))
    operators, shortcut = model.operators, model.operators.decode_step
    assert isinstance(shortcut, numpy_decode.SmallModelDecode)
    cache = model.new_cache()
    model.forward(IDS[:32], cache)
    before = [cache.keys(1).tobytes(), cache.values(1).tobytes()]
    calls = []

    def broken(*args):
        calls.append(args)
        if len(calls) == last:
            raise KeyboardInterrupt
        return getattr(shortcut, where)(*args)

    with (
        model.using(operators=replace(operators, decode_step=replace(shortcut, **{where: broken}))),
        pytest.raises(KeyboardInterrupt),
    ):
        model.forward([IDS[32]], cache)
    assert cache.length == 32
    assert before == [cache.keys(1).tobytes(), cache.values(1).tobytes()]
    assert_close(model.forward([IDS[32]], cache), model.forward(IDS[:33])[-1:], TOLERANCE)


def test_a_full_cache_refuses_a_step():
    config = tiny_config()
    model = Llama(config, tiny_tensors(config))
    cache = model.new_cache(3)
    model.forward(IDS[:3], cache)
    with pytest.raises(ContextError, match="at most 3 positions"):
        model.forward([1], cache)
    assert cache.length == 3


@pytest.mark.parametrize("large", ["gate_proj", "q_proj"])
def test_exponents_of_any_size_are_no_warning(large):
    config = tiny_config()
    tensors = tiny_tensors(config)
    for name in tensors:
        if large in name:
            tensors[name] = tensors[name] * np.float32(1000)
    model = Llama(config, tensors)
    got = token_by_token(model, IDS, model.new_cache())
    assert np.all(np.isfinite(got))


def test_steps_on_several_threads_do_not_meet():
    config = tiny_config()
    model = Llama(config, tiny_tensors(config))
    texts = [IDS[start : start + 12] for start in range(8)]
    want = [token_by_token(model, ids, model.new_cache()) for ids in texts]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda ids: token_by_token(model, ids, model.new_cache()), texts * 5))
    for number, logits in enumerate(got):
        assert np.array_equal(logits, want[number % len(texts)])
