"""Arrays that note what is computed from them, and the models of the exercises."""

import copy

import numpy as np
import pytest

from llama_edu.engine.trace import Trace
from llama_edu.exercises.framework.tiny import (
    BatchCountingModel,
    CountingModel,
    tiny_checkpoint,
    tiny_llama,
)
from llama_edu.exercises.framework.watched import Counted, Watched

A = np.arange(12, dtype=np.float32).reshape(3, 4)
B = np.arange(20, dtype=np.float32).reshape(5, 4)


@pytest.mark.parametrize(
    ("compute", "noted"),
    [
        (lambda a: a @ B.T, [(3, 4)]),
        (lambda a: a[:2] @ B[:, :].T, [(2, 4)]),
        (lambda a: a[1:, :3] @ B[:2, :3].T, [(2, 3)]),
        (lambda a: B @ a.T, [(4, 3)]),
        (lambda a: a.dot(B.T), [(3, 4)]),
        (lambda a: np.dot(B, a.T), [(4, 3)]),
        (lambda a: np.einsum("ij,kj->ik", a, B), [(3, 4)]),
        (lambda a: np.tensordot(a, B, axes=([1], [1])), [(3, 4)]),
        (lambda a: a[0] * 2, [(4,)]),
        (lambda a: a.sum(axis=0), [(3, 4)]),
        (lambda a: np.concatenate([a[:1], a[1:]]), [(1, 4), (2, 4)]),
        (lambda a: np.exp(a.reshape(2, 6)), [(2, 6)]),
        (lambda a: np.array([row @ B[0] for row in a]), [(4,)] * 3),
    ],
)
def test_every_way_to_compute_is_noted_and_gives_plain_arrays(compute, noted):
    shapes = []
    got = compute(Watched.of(A, shapes))
    assert shapes == noted
    assert type(got) is np.ndarray
    assert np.array_equal(got, compute(A))


def test_reading_and_writing_are_not_computing():
    shapes = []
    watched = Watched.of(A.copy(), shapes)
    assert watched.shape == (3, 4)
    assert len(watched) == 3
    assert watched.dtype == np.float32
    turned = watched[1:].T
    assert isinstance(turned, Watched)
    assert turned.shapes is shapes
    out = np.zeros((3, 5), dtype=np.float32)
    np.matmul(A, B.T, out=out)
    np.add(out, 1, out=Watched.of(out, shapes))
    assert shapes == []
    assert out[0, 0] == 1 + A[0] @ B[0]


def test_the_weights_of_an_exercise_can_be_read_and_not_written():
    model = tiny_llama()
    layer = model.weights.layers[0]
    weights = (model.weights.lm_head, model.weights.norm, layer.input_layernorm)
    for array in (*weights, layer.q_proj.weight, layer.down_proj.weight):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    for twin in (copy.deepcopy(CountingModel(model)), CountingModel(model)):
        with pytest.raises(ValueError, match="read-only"):
            twin.weights.norm[...] = 0


def test_every_axis_of_the_tiny_model_has_a_size_of_its_own():
    config, tensors = tiny_checkpoint()
    sizes = (
        *(config.vocab_size, config.hidden_size, config.intermediate_size, config.head_dim),
        *(config.num_attention_heads, config.num_key_value_heads, config.max_position_embeddings),
    )
    assert len(set(sizes)) == len(sizes)
    # The inputs of the exercises were chosen for a model of this size and strength.
    assert sizes == (31, 20, 27, 8, 6, 2, 64)
    assert config.num_hidden_layers == 2
    assert (config.rms_norm_eps, config.rope_theta) == (1e-5, 100.0)
    for name, array in tensors.items():
        strength = 0.3 if "norm" in name else 1.0
        if "norm" not in name and "embed" not in name:
            strength = 1.5 / array.shape[-1] ** 0.5
        assert array.std() == pytest.approx(strength, rel=0.4 if array.ndim == 1 else 0.1), name
    one, other = tiny_llama(), tiny_llama()
    assert one is not other  # whoever changes its operators changes no other's
    assert one.weights is other.weights
    assert config.num_attention_heads % config.num_key_value_heads == 0
    assert config.num_attention_heads * config.head_dim != config.hidden_size
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    norms = [array for name, array in tensors.items() if "norm" in name]
    assert norms
    assert all(abs(array.mean() - 1) < 0.3 for array in norms)
    assert all(array.std() > 0.1 for array in norms)
    again, other = tiny_checkpoint(0)[1], tiny_checkpoint(1)[1]
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)
    assert not any(np.array_equal(other[name], tensors[name]) for name in tensors)
    assert np.array_equal(tiny_checkpoint()[1]["lm_head.weight"], tensors["lm_head.weight"])
    assert np.array_equal(tiny_llama().weights.lm_head, tensors["lm_head.weight"])
    assert tiny_llama(0).weights is tiny_llama().weights


def test_a_copy_counts_anew_and_shares_the_weights():
    model = CountingModel(tiny_llama(2))
    cache = model.new_cache()
    logits = model.forward([1, 2, 3], cache)
    model.forward([4], cache, last_only=True)
    assert model.positions == [3, 1]
    assert np.array_equal(logits, tiny_llama(2).forward([1, 2, 3]))
    twin = copy.deepcopy(model)
    assert twin.positions == []
    assert twin.weights is model.weights
    assert len(twin.forward([5, 6], last_only=True)) == 1
    assert (model.positions, twin.positions) == ([3, 1], [2])
    with Trace() as trace:
        model.forward([1], trace=trace)
    assert trace.steps


def test_shared_steps_are_counted_and_computed_as_usual():
    usual, model = tiny_llama(2), BatchCountingModel(tiny_llama(2))
    assert model.weights is usual.weights
    expected = usual.forward_batch([1, 2], [usual.new_cache(), usual.new_cache()])
    caches = [model.new_cache(), model.new_cache()]
    assert np.array_equal(model.forward_batch([1, 2], caches), expected)
    model.forward_batch([3], caches[1:])
    assert model.sequences == [2, 1]
    assert [cache.length for cache in caches] == [1, 2]


@pytest.mark.parametrize(
    ("compute", "shapes"),
    [
        (lambda a, b: np.add(a, b, out=a), []),
        (lambda a, b: a.__iadd__(b), []),
        (lambda a, b: np.dot(a, b.T, out=np.zeros((2, 2))), []),
        (lambda a, b: a + b, [(2, 3)]),
        (lambda a, b: (a + 1) * b, [(2, 3), (2, 3)]),
        (lambda a, b: a @ b.T, [(2, 2)]),
        (lambda a, b: np.einsum("ij,ij->i", a, b), [(2,)]),
        (lambda a, b: a.mean(axis=1, keepdims=True), [(2, 1)]),
        (lambda a, b: a[0] * 2, [(3,)]),
        (lambda a, b: a.copy(), [(2, 3)]),
        (lambda a, b: a.T[1:], []),
    ],
)
def test_new_arrays_are_counted_and_buffers_are_not(compute, shapes):
    made = []
    plain = np.arange(6.0).reshape(2, 3)
    got = compute(Counted.of(plain.copy(), made), Counted.of(plain.copy(), made))
    np.testing.assert_array_equal(np.asarray(got), compute(plain.copy(), plain.copy()))
    assert made == shapes
