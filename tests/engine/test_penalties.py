"""Bias, penalties and min-p: each against a loop, and through everything that chooses tokens."""

import dataclasses
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.engine.choose import TokenChooser, Vocabulary
from llama_edu.engine.sampling import GREEDY, Sampling, adjusted, probabilities
from llama_edu.errors import InputError

N = 11
ANY = Vocabulary(frozenset(), np.empty(0, dtype=np.int64))
values = st.lists(st.integers(-8, 8).map(float), min_size=N, max_size=N)
ids = st.integers(0, N - 1)
penalties = st.floats(-2, 2, width=32)


def adjusted_loop(logits, sampling, prompt_ids, new_ids):
    """In float64, token by token: bias, then what came before, then what was written."""
    result = list(map(float, logits))
    for token_id, number in sampling.logit_bias:
        result[token_id] += number
    for token_id in set(prompt_ids) | set(new_ids):
        one = result[token_id]
        factor = sampling.repetition_penalty
        result[token_id] = one * factor if one < 0 else one / factor
    for token_id in set(new_ids):
        result[token_id] -= sampling.presence_penalty
        result[token_id] -= sampling.frequency_penalty * new_ids.count(token_id)
    return result


SETTINGS = st.fixed_dictionaries(
    {
        "logit_bias": st.lists(st.tuples(ids, st.floats(-100, 100, width=32)), max_size=4).map(
            tuple
        ),
        "repetition_penalty": st.floats(0.5, 2, width=32),
        "presence_penalty": penalties,
        "frequency_penalty": penalties,
    }
)


@given(
    logits=values,
    settings=SETTINGS,
    before=st.lists(ids, max_size=6),
    new=st.lists(ids, max_size=8),
)
def test_adjusted_equals_the_loop(logits, settings, before, new):
    sampling = Sampling(**settings)
    given_logits = np.array(logits, dtype=np.float32)
    got = adjusted(given_logits, sampling, frozenset(before), Counter(new))
    assert got.dtype == np.float32
    np.testing.assert_allclose(
        got, adjusted_loop(logits, sampling, before, new), rtol=1e-5, atol=1e-4
    )
    assert given_logits.tolist() == logits  # as they were


def test_what_is_forbidden_stays_so():
    logits = np.array([1.0, -np.inf, 2.0], dtype=np.float32)
    sampling = Sampling(repetition_penalty=1.5, presence_penalty=1.0, logit_bias=((1, 100.0),))
    assert adjusted(logits, sampling, frozenset({1}), Counter({1: 2}))[1] == -np.inf


@pytest.mark.parametrize(
    ("changes", "looks_back"),
    [
        ({}, False),
        ({"temperature": 0.0, "top_k": 5, "top_p": 0.9, "min_p": 0.1}, False),
        ({"logit_bias": ((3, 1.0),)}, True),
        ({"repetition_penalty": 0.9}, True),
        ({"presence_penalty": -0.5}, True),
        ({"frequency_penalty": 0.5}, True),
    ],
)
def test_only_what_looks_at_the_tokens_before_says_so(changes, looks_back):
    assert Sampling(**changes).looks_back is looks_back


@given(logits=values, min_p=st.sampled_from([0.0, 0.05, 0.3, 1.0]), top_k=st.integers(0, 5))
def test_min_p_keeps_what_is_likely_enough(logits, min_p, top_k):
    sampling = Sampling(1.3, top_k, min_p=min_p)
    without = probabilities(np.array(logits, dtype=np.float32), Sampling(1.3, top_k))
    largest = max(without)
    margin = min(abs(p - min_p * largest) / largest for p in without) if min_p else 1.0
    if 0 < margin < 1e-5:
        return  # on the line: float32 decides
    kept = np.where(without >= np.float32(min_p) * largest, without, 0)
    got = probabilities(np.array(logits, dtype=np.float32), sampling)
    np.testing.assert_allclose(got, kept / kept.sum(), rtol=1e-5, atol=1e-7)


def test_min_p_comes_after_top_p():
    """As in transformers: what top-p keeps is decided before."""
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    got = probabilities(logits, Sampling(top_p=0.9, min_p=0.5))
    np.testing.assert_allclose(got, [0.625, 0.375, 0, 0], rtol=1e-5)


def test_a_greedy_text_with_a_penalty_moves_on():
    logits = np.array([1.0, 0.9, 0.5], dtype=np.float32)
    chooser = TokenChooser(ANY, dataclasses.replace(GREEDY, frequency_penalty=0.2))
    assert [chooser.choose(logits) for _ in range(6)] == [0, 1, 0, 1, 0, 2]


def test_a_prompt_counts_for_the_repetition_penalty_alone():
    logits = np.array([1.0, 0.9], dtype=np.float32)
    for options, first in (
        ({"repetition_penalty": 1.5}, 1),
        ({"presence_penalty": 1.5}, 0),
        ({"frequency_penalty": 1.5}, 0),
    ):
        chooser = TokenChooser(ANY, dataclasses.replace(GREEDY, **options), prompt_ids=[0, 0])
        assert chooser.choose(logits) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_p": -0.1}, "min_p from 0 to 1, got -0.1"),
        ({"min_p": math.nan}, "min_p from 0 to 1, got nan"),
        ({"repetition_penalty": 0.0}, "repetition_penalty above 0, got 0.0"),
        ({"repetition_penalty": math.inf}, "repetition_penalty above 0, got inf"),
        ({"presence_penalty": math.nan}, "finite presence_penalty, got nan"),
        ({"frequency_penalty": math.inf}, "finite frequency_penalty, got inf"),
        ({"logit_bias": ((3, math.inf),)}, "finite numbers as logit_bias"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        Sampling(**options)


def test_a_bias_of_an_id_that_is_none():
    logits = np.zeros(3, dtype=np.float32)
    with pytest.raises(InputError, match="from 0 to 2, got 3"):
        adjusted(logits, Sampling(logit_bias=((3, 1.0),)), frozenset(), {})


def test_what_a_saved_conversation_holds_is_the_same_again():
    sampling = Sampling(0.7, min_p=0.1, logit_bias=((3, -1.5),), order="llama.cpp")
    saved = json.loads(json.dumps(dataclasses.asdict(sampling)))
    assert Sampling.from_saved(saved) == sampling
    del saved["order"]  # as it was saved before there was one
    assert Sampling.from_saved(saved).order == "transformers"


class Even:
    """Lets only even ids come, and notes them."""

    def __init__(self):
        self.seen = []

    def allowed(self):
        return np.arange(N) % 2 == 0

    def accept(self, token_id):
        self.seen.append(token_id)


def test_a_constraint_is_followed():
    rule = Even()
    chooser = TokenChooser(ANY, Sampling(5.0), 1, constraint=rule)
    logits = np.arange(N, dtype=np.float32)
    got = [chooser.choose(logits) for _ in range(40)]
    assert got == rule.seen
    assert {one % 2 for one in got} == {0}
    assert len(set(got)) > 2
