"""The model of when splitting pays: limits that must hold, and a wall where it should be."""

from __future__ import annotations

import dataclasses

import pytest
from helpers import tiny_config

from llama_edu.analysis.roofline import forward_costs, total_cost
from llama_edu.errors import InputError
from llama_edu.parallel.cost import (
    Link,
    bubble_share,
    cache_nbytes,
    pipeline_seconds,
    pipeline_wire_nbytes,
    tensor_seconds,
    tensor_wire_nbytes,
    weight_nbytes,
)

SMOLLM2 = tiny_config(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    head_dim=64,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)
SLOW, FAST = Link(50e-6, 125e6), Link(5e-6, 12.5e9)


def test_a_token_of_smollm2_on_the_wire_counted_by_hand() -> None:
    # 61 sums of 576 float32, each twice a half from either rank; half of the logits both ways.
    assert tensor_wire_nbytes(SMOLLM2, 2) == 61 * 2 * 576 * 4 + 2 * 24576 * 4 == 477_696
    assert tensor_wire_nbytes(SMOLLM2, 3, seq=10) == 61 * 4 * 5760 * 4 + 6 * 16384 * 4
    assert pipeline_wire_nbytes(SMOLLM2, 3) == 2 * (576 + 49152) * 4
    assert tensor_wire_nbytes(SMOLLM2, 1) == pipeline_wire_nbytes(SMOLLM2, 1) == 0


def test_bytes_of_a_rank() -> None:
    assert weight_nbytes(SMOLLM2, 1) == 134_515_008 * 4
    norms = 61 * 576 * 4
    assert weight_nbytes(SMOLLM2, 3) - norms == (weight_nbytes(SMOLLM2, 1) - norms) / 3
    assert weight_nbytes(SMOLLM2, 1, 2) == (134_515_008 - 61 * 576) * 2 + norms
    untied = dataclasses.replace(SMOLLM2, tie_word_embeddings=False)
    assert weight_nbytes(untied, 3) - weight_nbytes(SMOLLM2, 3) == 16384 * 576 * 4
    assert cache_nbytes(SMOLLM2, 3, 100) * 3 == cache_nbytes(SMOLLM2, 1, 100) == 60 * 192 * 400
    assert cache_nbytes(SMOLLM2, 2, 1) == 2 * cache_nbytes(SMOLLM2, 3, 1), "two groups of four"


def test_a_sum_takes_the_quicker_way() -> None:
    link = Link(1.0, 1.0)
    assert link.message_s(3) == 4.0
    assert link.sum_s(0, 8) == 3.0, "three messages by doubling, and not 14 round the ring"
    assert link.sum_s(8000, 8) == 14 * 1001, "round the ring, and not three times the whole"
    assert link.sum_s(100, 2) == 101.0
    assert link.gather_s(80, 4) == 2 + 60


def test_alone_nothing_is_sent_and_everything_read() -> None:
    reading, talking = tensor_seconds(SMOLLM2, 1, SLOW, 1e9, past=100)
    whole = total_cost(forward_costs(SMOLLM2, 1, 100, weight_itemsize=2, cache_itemsize=2))
    assert reading == pytest.approx(whole.nbytes / 1e9)
    assert talking == 0.0
    assert pipeline_seconds(SMOLLM2, 1, SLOW, 1e9, past=100) == (reading, 0.0)


def test_reading_shrinks_and_talking_grows() -> None:
    for link in (SLOW, FAST):
        seconds = [tensor_seconds(SMOLLM2, size, link, 30e9) for size in (1, 3, 9, 27)]
        readings, talkings = zip(*seconds, strict=True)
        assert list(readings) == sorted(readings, reverse=True)
        assert list(talkings) == sorted(talkings)
    assert (
        sum(tensor_seconds(SMOLLM2, 3, SLOW, 30e9))
        > sum(tensor_seconds(SMOLLM2, 1, SLOW, 30e9)) / 3
    )
    # More ranks than groups: attention is read no faster.
    heads = [tensor_seconds(SMOLLM2, size, FAST, 30e9)[0] for size in (3, 3000)]
    attention = sum(
        cost.nbytes
        for cost in forward_costs(SMOLLM2, 1, 1000, weight_itemsize=2, cache_itemsize=2)
        if cost.part in ("q_proj", "k_proj", "v_proj", "o_proj", "qk_scores", "score_v")
    )
    assert heads[1] > attention / 3 / 30e9
    assert heads[1] < heads[0]


def test_stages_read_as_one_machine_and_send_little() -> None:
    one, talking = pipeline_seconds(SMOLLM2, 30, SLOW, 30e9)
    assert one == pipeline_seconds(SMOLLM2, 1, SLOW, 30e9)[0]
    assert talking == pytest.approx(29 * SLOW.message_s(2304) + SLOW.message_s(4))


def test_the_bubble_counted_turn_by_turn() -> None:
    for size, pieces in ((1, 3), (2, 1), (2, 8), (4, 5)):
        turns = pieces + size - 1
        idle = sum(not 0 <= turn - rank < pieces for turn in range(turns) for rank in range(size))
        assert bubble_share(size, pieces) == pytest.approx(idle / (turns * size))


def test_numbers_that_cannot_be() -> None:
    for size, pieces in ((0, 1), (1, 0)):
        with pytest.raises(InputError, match=f"1 rank and 1 piece, got {size} and {pieces}"):
            bubble_share(size, pieces)
    with pytest.raises(InputError, match="at least 1 machine, got 0"):
        tensor_seconds(SMOLLM2, 0, SLOW, 1e9)
    with pytest.raises(InputError, match="1 to 30 ranks for 30 layers, got 31"):
        pipeline_seconds(SMOLLM2, 31, SLOW, 1e9)
    with pytest.raises(InputError, match="1 to 30 ranks for 30 layers, got 31"):
        pipeline_wire_nbytes(SMOLLM2, 31)
