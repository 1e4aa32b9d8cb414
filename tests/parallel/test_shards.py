"""Whose part is what: every number of the model is somewhere, once, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors

from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats.safetensors import SafetensorsFile, save_file
from llama_edu.formats.tensor_shapes import expected_shapes
from llama_edu.parallel.llama import PipelineLlama, TensorLlama
from llama_edu.parallel.shards import (
    LayerShards,
    TensorShards,
    layers_of,
    stage_config,
    tensor_config,
)
from llama_edu.parallel.threads import run_threads

BIASED = {"attention_bias": True, "mlp_bias": True, "qk_norm": True}
# 12 query heads in 4 groups, so that 2 and 4 ranks divide everything.
EVEN = {
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "intermediate_size": 28,
    "vocab_size": 36,
}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_parts_put_together_are_the_whole(size: int) -> None:
    config = tiny_config(**EVEN, **BIASED)
    tensors = tiny_tensors(config)
    share = tensor_config(config, size)
    shards = [TensorShards(tensors, config, rank, size) for rank in range(size)]
    for name, whole in tensors.items():
        parts = [shard[name] for shard in shards]
        assert {part.shape for part in parts} == {expected_shapes(share)[name]}
        if "norm" in name:
            assert all(np.array_equal(part, whole) for part in parts)
        elif name.endswith(("o_proj.bias", "down_proj.bias")):
            assert np.array_equal(parts[0], whole)
            assert not np.any(parts[1:]), "added once, not on every rank"
        else:
            columns = name.endswith(("o_proj.weight", "down_proj.weight"))
            assert np.array_equal(np.concatenate(parts, axis=int(columns)), whole)


def test_heads_that_share_keys_stay_together() -> None:
    config = tiny_config(**EVEN)
    tensors = tiny_tensors(config)
    name = "model.layers.1.self_attn.{}.weight"
    part = TensorShards(tensors, config, 2, 4)
    rows = config.n_groups * config.head_dim  # of the query heads of one KV group
    q, k = name.format("q_proj"), name.format("k_proj")
    assert np.array_equal(part[q], tensors[q][2 * rows : 3 * rows])
    assert np.array_equal(part[k], tensors[k][2 * config.head_dim : 3 * config.head_dim])


def test_what_is_missing_to_a_whole_share_is_zeros() -> None:
    config = tiny_config(**(EVEN | {"vocab_size": 37}), **BIASED)
    tensors = tiny_tensors(config)
    last = TensorShards(tensors, config, 2, 3)  # 4 groups on 3 ranks: 2, 2 and none
    v = last["model.layers.0.self_attn.v_proj.weight"]
    assert v.shape == (2 * config.head_dim, config.hidden_size)
    assert not v.any()
    assert not last["model.layers.0.self_attn.v_proj.bias"].any()
    head = last["lm_head.weight"]
    assert np.array_equal(head[:11], tensors["lm_head.weight"][26:])
    assert head.shape[0] == 13
    assert not head[11:].any()


@pytest.mark.parametrize(
    ("changes", "size", "numbers"),
    [
        ({}, 3, r"divides 2 KV groups, got 3: 2 = 3 · 0 \+ 2"),
        ({}, 2, r"divides 27 columns of the MLP, got 2: 27 = 2 · 13 \+ 1"),
        ({"intermediate_size": 28}, 2, r"divides 31 words of the vocabulary, got 2"),
        ({}, 0, "at least 1 rank, got 0"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_both_numbers(
    changes: dict[str, int], size: int, numbers: str
) -> None:
    with pytest.raises(InputError, match=numbers):
        tensor_config(tiny_config(**changes), size)


@pytest.mark.parametrize(("groups", "size"), [(3, 6), (1, 2), (2, 4), (4, 8)])
def test_padding_has_an_end(groups: int, size: int) -> None:
    config = tiny_config(num_attention_heads=2 * groups, num_key_value_heads=groups)
    with pytest.raises(InputError, match=f"share {groups} KV groups, got {size}"):
        tensor_config(config, size, pad=True)
    assert tensor_config(config, max(1, size // 2), pad=True).num_key_value_heads >= 1


def test_layers_follow_each_other_and_none_is_left() -> None:
    for n_layers in range(1, 9):
        for size in range(1, n_layers + 1):
            parts = [layers_of(n_layers, rank, size) for rank in range(size)]
            assert [i for part in parts for i in part] == list(range(n_layers))
            lengths = [len(part) for part in parts]
            assert max(lengths) - min(lengths) <= 1
    with pytest.raises(InputError, match="1 to 2 ranks for 2 layers, got 3"):
        layers_of(2, 0, 3)


@pytest.mark.parametrize("tied", [True, False])
def test_each_stage_has_its_layers_and_its_table(tied: bool) -> None:
    config = tiny_config(num_hidden_layers=5, tie_word_embeddings=tied, **BIASED)
    tensors = tiny_tensors(config)
    embed = tensors["model.embed_tokens.weight"]
    seen = 0
    for rank in range(3):
        shards, share = LayerShards(tensors, config, rank, 3), stage_config(config, rank, 3)
        assert len(shards) == len(list(shards))
        for i in range(share.num_hidden_layers):
            name = "model.layers.{}.mlp.up_proj.weight"
            assert shards[name.format(i)] is tensors[name.format(seen + i)]
        seen += share.num_hidden_layers
        tables = {name: shards[name] for name in shards if "embed" in name or "head" in name}
        (table,) = tables.values()
        want = embed if tied or rank < 2 else tensors["lm_head.weight"]
        assert np.array_equal(table, want[:0] if rank == 1 else want)
    assert seen == 5


def test_a_stage_counts_special_layers_from_its_own_first() -> None:
    config = tiny_config(
        num_hidden_layers=6, sliding_window=4, sliding_layers=(1, 3, 4), no_rope_layers=range(2, 6)
    )
    assert [stage_config(config, rank, 3).sliding_layers for rank in range(3)] == [(1,), (1,), (0,)]
    assert [stage_config(config, rank, 3).no_rope_layers for rank in range(3)] == [
        (),
        (0, 1),
        (0, 1),
    ]
    assert stage_config(config, 0, 1) is config


def without(name: str):
    def change(tensors):
        del tensors[name]

    return change


def with_one(name: str):
    def change(tensors):
        tensors[name] = np.ones((3, 3), dtype=np.float32)

    return change


@pytest.mark.parametrize("split", [TensorLlama, PipelineLlama])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("model.norm.weight"), "got none named"),
        (without("lm_head.weight"), "not tied|got none named"),
        (with_one("model.layers.2.mlp.up_proj.weight"), "expected no tensor named"),
        (with_one("model.layers.1.mlp.up_proj.weight"), "expected shape"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_a_rank_as_by_all(split, change, words) -> None:
    config = tiny_config(**EVEN)
    tensors = tiny_tensors(config)
    change(tensors)
    with pytest.raises(CheckpointError, match=words):
        run_threads(2, lambda world: split(config, tensors, world))


def test_what_lies_in_a_file_is_not_copied_but_for_the_columns(tmp_path: Path) -> None:
    config = tiny_config(**EVEN)
    save_file(tiny_tensors(config), tmp_path / "model.safetensors")
    stored = SafetensorsFile(tmp_path / "model.safetensors")
    models = run_threads(2, lambda world: TensorLlama(config, stored, world))
    layer = models[1].weights.layers[0]
    assert not layer.q_proj.weight.flags.writeable, "a view of the mapped file"
    assert layer.q_proj.weight.base is not None
    assert layer.o_proj.weight.flags.c_contiguous
    assert layer.o_proj.weight.flags.writeable, "a copy of its own columns"
