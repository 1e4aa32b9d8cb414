"""The model of when splitting pays: limits that must hold, and a wall where it should be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers import tiny_config

from llama_edu.analysis.roofline import forward_costs, total_cost
from llama_edu.errors import InputError
from llama_edu.parallel.cost import (
    Link,
    bubble_share,
    cache_nbytes,
    llama_config,
    pipeline_seconds,
    pipeline_wire_nbytes,
    sum_ways,
    tensor_seconds,
    tensor_wire_nbytes,
    weight_nbytes,
)
from llama_edu.parallel.threads import run_threads
from llama_edu.parallel.world import World

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


def test_a_sum_takes_the_quickest_way() -> None:
    link = Link(1.0, 1.0)
    assert link.sum_s(0, 8) == (3.0, 0.0), "three messages by doubling, and not 14 round the ring"
    assert link.sum_s(8000, 8) == (6.0, 14_000.0), "each half there and back: a ring's bytes"
    assert link.sum_s(100, 2) == (1.0, 100.0)
    assert link.sum_s(2, 3) == (2.0, 4.0), "from each of the two others"
    assert link.gather_s(80, 4) == (2.0, 60.0)
    ways = [link.sum_way(nbytes, 8) for nbytes in (0, 8000)]
    assert ways == ["doubling", "halving and doubling"]


@pytest.mark.parametrize("size", [2, 4, 8])
def test_the_algorithms_played_through_send_what_is_counted(size: int) -> None:
    """Halving and doubling, by every rank: who has which numbers, and how many it has sent."""
    rows = np.arange(size * size, dtype=np.int64).reshape(size, size) ** 2
    held = [row.copy() for row in rows]
    mine = [(0, size)] * size
    messages = numbers = 0
    for distance in [size >> step for step in range(1, size.bit_length())]:
        before = [row.copy() for row in held]
        for rank in range(size):
            start, stop = mine[rank]
            middle = (start + stop) // 2
            mine[rank] = (middle, stop) if rank & distance else (start, middle)
            keeps = slice(*mine[rank])
            held[rank][keeps] += before[rank ^ distance][keeps]
        messages, numbers = messages + 1, numbers + distance
    for distance in [1 << step for step in range(size.bit_length() - 1)]:
        before, had = [row.copy() for row in held], list(mine)
        for rank in range(size):
            other = had[rank ^ distance]
            held[rank][slice(*other)] = before[rank ^ distance][slice(*other)]
            mine[rank] = (min(had[rank][0], other[0]), max(had[rank][1], other[1]))
        messages, numbers = messages + 1, numbers + distance
    assert all(np.array_equal(row, rows.sum(axis=0)) for row in held)
    assert sum_ways(size, size)["halving and doubling"] == (messages, numbers)


def test_a_ring_sends_what_is_counted_and_waits_as_often() -> None:
    def ring(world: World) -> tuple[int, int]:
        world.summed(np.ones(12, np.float32))
        return world.messages, world.sent_nbytes

    for size in (2, 3, 4):
        assert set(run_threads(size, ring)) == {sum_ways(48, size)["ring"]}


def test_who_may_send_to_all_at_once_waits_once() -> None:
    one_by_one, at_once = Link(20e-6, 1.25e9), Link(20e-6, 1.25e9, at_once=True)
    assert at_once.sum_way(2304, 8) == "all at once"
    assert at_once.sum_s(2304, 8) == pytest.approx((20e-6, 7 * 2304 / 1.25e9))
    assert one_by_one.sum_s(2304, 8) == pytest.approx((60e-6, 3 * 2304 / 1.25e9))
    assert at_once.sum_way(1e6, 64) == "halving and doubling", "63 times a megabyte is too much"
    assert at_once.gather_s(80, 4)[0] == 20e-6


def test_alone_nothing_is_sent_and_everything_read() -> None:
    took = tensor_seconds(SMOLLM2, 1, SLOW, 1e9, past=100)
    whole = total_cost(forward_costs(SMOLLM2, 1, 100, weight_itemsize=2, cache_itemsize=2))
    assert took.reading == took.total == pytest.approx(whole.nbytes / 1e9)
    assert took.talking == 0.0
    assert pipeline_seconds(SMOLLM2, 1, SLOW, 1e9, past=100) == took
    assert tensor_seconds(SMOLLM2, 1, SLOW, 1e9, past=100, copies=True) == took


def test_a_token_by_hand() -> None:
    # Llama 3.1 8B on 64 machines at 1 Gbit/s: 65 sums of 16,384 bytes and 128,256 logits.
    took = tensor_seconds(llama_config("8 B"), 64, Link(20e-6, 125e6), 34e9)
    assert took.latency == pytest.approx(65 * 12 * 20e-6 + 6 * 20e-6)
    assert took.sending == pytest.approx((65 * 2 * 16_384 + 4 * 128_256) * 63 / 64 / 125e6)
    attention = 32 * 4096 * (2 * 4096 + 2 * 1024) + 32 * 1001 * 2 * 1024
    others = 32 * 3 * 4096 * 14_336 + 128_256 * 4096
    assert took.reading == pytest.approx(2 * (attention / 8 + others / 64) / 34e9)
    assert took.talking == took.latency + took.sending
    assert took.total == pytest.approx(sum(took))


def test_copies_of_keys_share_the_query_heads_of_a_group() -> None:
    large = llama_config("8 B")

    def reading(size: int, *, copies: bool) -> float:
        return tensor_seconds(large, size, FAST, 2.0, copies=copies).reading

    for size in (1, 3, 8):
        assert reading(size, copies=True) == reading(size, copies=False)
    queries, keys = 32 * 4096 * 2 * 4096, 32 * 4096 * 2 * 1024 + 32 * 1001 * 2 * 1024
    others = 32 * 3 * 4096 * 14_336 + 128_256 * 4096
    # 16 machines: two query heads and one KV head each; 64: one of 32 query heads, no fewer.
    assert reading(16, copies=True) == pytest.approx(queries / 16 + keys / 8 + others / 16)
    assert reading(64, copies=True) == pytest.approx(queries / 32 + keys / 8 + others / 64)
    assert reading(12, copies=True) > reading(16, copies=True)


def test_reading_shrinks_and_talking_grows() -> None:
    for link in (SLOW, FAST):
        seconds = [tensor_seconds(SMOLLM2, size, link, 30e9) for size in (1, 3, 9, 27)]
        readings = [took.reading for took in seconds]
        talkings = [took.talking for took in seconds]
        assert readings == sorted(readings, reverse=True)
        assert talkings == sorted(talkings)
        assert seconds[1].total > seconds[0].total / 3
    # More ranks than groups: attention is read no faster.
    heads = [tensor_seconds(SMOLLM2, size, FAST, 30e9).reading for size in (3, 3000)]
    attention = sum(
        cost.nbytes
        for cost in forward_costs(SMOLLM2, 1, 1000, weight_itemsize=2, cache_itemsize=2)
        if cost.part in ("q_proj", "k_proj", "v_proj", "o_proj", "qk_scores", "score_v")
    )
    assert heads[1] > attention / 3 / 30e9
    assert heads[1] < heads[0]


def test_stages_read_as_one_machine_and_send_little() -> None:
    took = pipeline_seconds(SMOLLM2, 30, SLOW, 30e9)
    assert took.reading == pipeline_seconds(SMOLLM2, 1, SLOW, 30e9).reading
    assert took.latency == pytest.approx(30 * SLOW.latency_s)
    assert took.sending == pytest.approx((29 * 2304 + 4) / SLOW.bytes_per_s)
    assert took.talking == took.latency + took.sending


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
    with pytest.raises(InputError, match="one of 1 B, 8 B, 70 B, got '7 B'"):
        llama_config("7 B")
    with pytest.raises(InputError, match="1 to 30 ranks for 30 layers, got 31"):
        pipeline_seconds(SMOLLM2, 31, SLOW, 1e9)
    with pytest.raises(InputError, match="1 to 30 ranks for 30 layers, got 31"):
        pipeline_wire_nbytes(SMOLLM2, 31)
