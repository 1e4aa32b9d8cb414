"""Several ranks give what one process gives: logits within 1e-4, and the same greedy text."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, tiny_config, tiny_tensors

from llama_edu import KVCache, Llama, Sampling, generate
from llama_edu.engine.trace import Trace
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.parallel.cost import (
    cache_nbytes,
    pipeline_wire_nbytes,
    tensor_wire_nbytes,
    weight_nbytes,
)
from llama_edu.parallel.llama import PipelineLlama, TensorLlama, split_llama
from llama_edu.parallel.threads import run_threads
from llama_edu.parallel.world import World

TOLERANCE = 1e-4
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "biases of q, k, v": {"qkv_bias": True},
    "norms of heads": {"qk_norm": True},
    "windows": {"sliding_window": 3, "sliding_layers": (0, 3), "no_rope_layers": (1, 2)},
    "one head a group": {"num_attention_heads": 3},
}
SIZES = {"num_hidden_layers": 4, "num_attention_heads": 9, "num_key_value_heads": 3}
IDS = [3, 30, 0, 14, 15, 9, 26, 5, 7]


def made(config: LlamaConfig, split: str, world: World, **options: Any) -> Llama:
    tensors = tiny_tensors(config)
    if split == "tensor":
        return TensorLlama(config, tensors, world, pad=True, **options)
    return PipelineLlama(config, tensors, world, **options)


def in_pieces(model: Llama) -> np.ndarray:
    """Logits after every id: a prompt, then a chunk, then one at a time from the cache."""
    cache = model.new_cache(len(IDS))
    rows = [model.forward(IDS[:4], cache), model.forward(IDS[4:7], cache)]
    rows += [model.forward([i], cache) for i in IDS[7:]]
    return np.concatenate(rows)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("split", ["tensor", "pipeline"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_every_rank_has_the_logits_of_one_process(kind: str, split: str, size: int) -> None:
    config = tiny_config(**(SIZES | CONFIGS[kind]))
    want = in_pieces(Llama(config, tiny_tensors(config)))
    results = run_threads(size, lambda world: in_pieces(made(config, split, world)))
    for got in results:
        assert_close(got, want, TOLERANCE)
        assert got.tobytes() == results[0].tobytes(), "to the last bit, or they would part"


@pytest.mark.parametrize("precision", ["f32", "bf16", "bf16-pure"])
def test_in_other_precisions(precision: str) -> None:
    config = tiny_config(**SIZES)
    want = in_pieces(Llama(config, tiny_tensors(config), precision=precision))
    for split in ("tensor", "pipeline"):
        for got in run_threads(
            3, lambda world, split=split: in_pieces(made(config, split, world, precision=precision))
        ):
            # Rounded to 16 bits on every rank before the sum, it differs as 16 bits do.
            assert_close(got, want, 0.05 if precision == "bf16-pure" else TOLERANCE)


@pytest.mark.parametrize("split", ["tensor", "pipeline"])
def test_generation_knows_nothing_of_it(split: str) -> None:
    config = tiny_config(**SIZES)
    whole = Llama(config, tiny_tensors(config))
    for sampling in (Sampling(0.0), Sampling(1.5, 12, 0.9)):
        want = list(generate(whole, IDS, max_new_tokens=20, sampling=sampling, seed=4))

        def work(world: World, sampling: Sampling = sampling) -> list[int]:
            model = made(config, split, world)
            return list(generate(model, IDS, max_new_tokens=20, sampling=sampling, seed=4))

        assert run_threads(3, work) == [want] * 3


@pytest.mark.parametrize("split", ["tensor", "pipeline"])
def test_several_texts_in_one_step(split: str) -> None:
    config = tiny_config(**SIZES)
    chunks = [IDS[:3], IDS[3:4], IDS[2:9]]

    def work(world: World | None) -> np.ndarray:
        model = Llama(config, tiny_tensors(config)) if world is None else made(config, split, world)
        caches = [model.new_cache(12) for _ in chunks]
        return np.concatenate(
            [model.forward_chunks(chunks, caches), model.forward_batch([1, 2, 3], caches)]
        )

    want = work(None)
    assert all(assert_close(got, want, TOLERANCE) >= 0 for got in run_threads(3, work))


def test_a_rank_keeps_the_keys_and_values_of_its_own_heads_or_layers() -> None:
    config = tiny_config(**SIZES)
    whole = Llama(config, tiny_tensors(config))
    cache = whole.new_cache(len(IDS))
    whole.forward(IDS, cache)

    def work(world: World, split: str) -> KVCache:
        model = made(config, split, world)
        mine = model.new_cache(len(IDS))
        model.forward(IDS, mine)
        return mine

    for rank, mine in enumerate(run_threads(3, lambda world: work(world, "tensor"))):
        assert_close(mine.keys(2), cache.keys(2)[rank : rank + 1], TOLERANCE)
        assert_close(mine.values(2), cache.values(2)[rank : rank + 1], TOLERANCE)
        assert mine.nbytes == cache_nbytes(config, 3, len(IDS)) == cache.nbytes // 3
    for rank, mine in enumerate(run_threads(2, lambda world: work(world, "pipeline"))):
        assert_close(mine.keys(1), cache.keys(2 * rank + 1), TOLERANCE)


def test_a_trace_sees_this_ranks_part_and_the_sums() -> None:
    config = tiny_config(**SIZES)
    whole = Trace()
    Llama(config, tiny_tensors(config)).forward(IDS, trace=whole)

    def work(world: World, split: str) -> Trace:
        trace = Trace()
        made(config, split, world).forward(IDS, trace=trace)
        return trace

    for rank, trace in enumerate(run_threads(3, lambda world: work(world, "tensor"))):
        name = "layers.1.self_attn.weights"
        assert_close(trace[name].array, whole[name].array[rank : rank + 1], TOLERANCE)
        name = "layers.1.mlp_residual"
        assert_close(trace[name].array, whole[name].array, TOLERANCE)
    for trace in run_threads(2, lambda world: work(world, "pipeline")):
        assert_close(trace["logits"].array, whole["logits"].array, TOLERANCE)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("split", ["tensor", "pipeline"])
def test_what_is_sent_and_held_is_what_the_formulas_say(split: str, size: int) -> None:
    config = tiny_config(**SIZES, tie_word_embeddings=size % 2 == 0)

    def work(world: World) -> tuple[int, int, int]:
        model = made(config, split, world)
        cache = model.new_cache(len(IDS) + 1)
        model.forward(IDS, cache, last_only=True)
        prompt = world.sent_nbytes
        model.forward([1], cache)
        return prompt, world.sent_nbytes - prompt, model.weights.nbytes

    formula = tensor_wire_nbytes if split == "tensor" else pipeline_wire_nbytes
    results = run_threads(size, work)
    assert sum(sent for sent, _, _ in results) == formula(config, size, len(IDS))
    assert sum(sent for _, sent, _ in results) == formula(config, size)
    if split == "tensor":
        assert {held for *_, held in results} == {weight_nbytes(config, size)}


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("piece_rows", [1, 2, 4, 9])
def test_pieces_follow_each_other_through_the_ranks(size: int, piece_rows: int) -> None:
    config = tiny_config(**(SIZES | CONFIGS["windows"]))
    others = [IDS[:2], [5], IDS[3:8]]  # cut within texts, and between them

    def work(world: World | None) -> tuple[list[np.ndarray], list[int]]:
        if world is None:
            model = Llama(config, tiny_tensors(config))
        else:
            model = made(config, "pipeline", world, piece_rows=piece_rows)
        caches = [model.new_cache(20) for _ in others]
        rows, counted = [], [0, 0]
        for step in range(2):  # from nothing, and from what a cache holds
            rows.append(model.forward(IDS, caches[0], last_only=step == 1))
            if world is not None and step == 0:
                counted = [world.sent_nbytes, world.messages]
        rows.append(model.forward_chunks(others[1:], caches[1:]))
        return rows, counted

    want, _ = work(None)
    results = run_threads(size, work)
    for got, _ in results:
        for mine, whole in zip(got, want, strict=True):
            assert_close(mine, whole, TOLERANCE)
    pieces = -(-len(IDS) // piece_rows)
    nbytes, messages = (sum(counted[i] for _, counted in results) for i in (0, 1))
    assert nbytes == pipeline_wire_nbytes(config, size, len(IDS), len(IDS))
    assert messages == (size - 1) * (pieces + 1), "and the logits from each to the next"


def test_two_ranks_work_at_the_same_time() -> None:
    config = tiny_config(**SIZES)
    both = threading.Barrier(2, timeout=20)

    def work(world: World) -> None:
        model = made(config, "pipeline", world, piece_rows=5)
        calls, plain = itertools.count(), model.operators.rms_norm
        # Rank 0 begins its second piece, after two norms in each of two layers.
        when = 4 if world.rank == 0 else 0

        def rms_norm(*args: Any) -> np.ndarray:
            if next(calls) == when:
                both.wait()  # which ends only if the other is within its first piece
            return plain(*args)

        with model.using(operators=model.operators.replaced(rms_norm=rms_norm)):
            model.forward(IDS, model.new_cache(len(IDS)))

    run_threads(2, work)


def test_a_piece_has_a_row() -> None:
    config = tiny_config(**SIZES)
    with pytest.raises(InputError, match="pieces of at least 1 row, got 0"):
        run_threads(1, lambda world: made(config, "pipeline", world, piece_rows=0))


def test_by_name() -> None:
    whole = Llama.from_pretrained("story")
    want = whole.forward([5, 6, 7])
    for split in ("tensor", "pipeline"):
        for got in run_threads(
            2, lambda world, split=split: split_llama(split, "story", world).forward([5, 6, 7])
        ):
            assert_close(got, want, TOLERANCE)
    with pytest.raises(InputError, match="tensor, pipeline, got 'diagonal'"):
        run_threads(1, lambda world: split_llama("diagonal", "story", world))
