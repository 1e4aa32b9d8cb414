"""Counted costs are those of a real pass: every product watched, every byte weighed."""

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors

from llama_edu import Llama
from llama_edu.analysis.roofline import Cost, forward_costs, seconds_at_least, total_cost
from llama_edu.engine.operators import NUMPY
from llama_edu.errors import InputError

CONFIG = tiny_config()


def watched_flops(model, seq, past):
    """Operations of all products in a real pass, from the shapes that really met."""
    counted = {"linear": 0, "qk_scores": 0, "score_v": 0}

    def linear(x, weight, bias=None):
        counted["linear"] += 2 * len(x) * weight.size
        return NUMPY.linear(x, weight, bias)

    def qk_scores(q, k):
        scores = NUMPY.qk_scores(q, k)
        counted["qk_scores"] += 2 * scores.size * q.shape[-1]
        return scores

    def score_v(weights, v):
        counted["score_v"] += 2 * weights.size * v.shape[-1]
        return NUMPY.score_v(weights, v)

    cache = model.new_cache()
    if past:
        model.forward([1] * past, cache)
    model.operators = NUMPY.replaced(linear=linear, qk_scores=qk_scores, score_v=score_v)
    model.forward([2] * seq, cache, last_only=True)
    return counted, cache


@pytest.mark.parametrize(("seq", "past"), [(1, 0), (7, 0), (1, 9), (4, 5)])
def test_operations_are_those_of_a_real_pass(seq, past):
    counted, cache = watched_flops(Llama(CONFIG, tiny_tensors(CONFIG)), seq, past)
    parts = {cost.part: cost for cost in forward_costs(CONFIG, seq, past)}
    attention = {"qk_scores", "score_v"}
    assert {name: parts[name].flops for name in attention} == {n: counted[n] for n in attention}
    assert sum(c.flops for n, c in parts.items() if n not in attention) == counted["linear"]
    assert sum(parts[name].cache_nbytes for name in attention) == cache.nbytes


@pytest.mark.parametrize("tied", [True, False])
def test_bytes_are_those_of_the_matrices_a_step_reads(tied):
    config = tiny_config(tie_word_embeddings=tied)
    weights = Llama(config, tiny_tensors(config)).weights
    matrices = [weights.lm_head]
    for layer in weights.layers:
        matrices += [p.weight for name, p in vars(layer).items() if name.endswith("proj")]
    total = total_cost(forward_costs(config, 1, 3))
    assert total.weight_nbytes == sum(matrix.nbytes for matrix in matrices)
    half = total_cost(forward_costs(config, 1, 3, weight_itemsize=2, cache_itemsize=2))
    assert half.nbytes * 2 == total.nbytes
    assert half.flops == total.flops


def test_a_prompt_shares_the_reading_of_the_weights():
    one, many = (total_cost(forward_costs(CONFIG, seq)) for seq in (1, 16))
    assert one.weight_nbytes == many.weight_nbytes
    assert many.intensity > 6 * one.intensity
    assert one.intensity == pytest.approx(0.5, rel=0.05)  # 2 operations for each 4-byte weight


def test_the_roof_is_the_slower_of_the_two():
    cost = Cost("x", flops=600, weight_nbytes=100, cache_nbytes=20)
    assert cost.nbytes == 120
    assert cost.intensity == 5
    assert seconds_at_least(cost, bytes_per_s=60, flops_per_s=1e9) == 2
    assert seconds_at_least(cost, bytes_per_s=1e9, flops_per_s=200) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"seq": 0}, {"past": -1}, {"weight_itemsize": 0}, {"cache_itemsize": -4}],
)
def test_what_cannot_be_counted_is_refused(wrong):
    with pytest.raises(InputError, match="expected seq ≥ 1, past ≥ 0 and item sizes > 0"):
        forward_costs(CONFIG, **({"seq": 1} | wrong))


def test_a_machine_without_speed_is_refused():
    with pytest.raises(InputError, match="expected speeds above 0"):
        seconds_at_least(Cost("x", 1, 1), np.inf, 0.0)
