"""Seconds per part of a step: the path the model takes, each part once, and nothing left behind."""

import functools
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors

from llama_edu import Llama
from llama_edu.analysis.timing import BETWEEN, OPERATORS, operator_seconds, seconds_per_token
from llama_edu.engine.backends import numpy_decode as one_token
from llama_edu.engine.backends.mixed import MIXED
from llama_edu.engine.operators import NUMPY
from llama_edu.errors import InputError

CONFIG = tiny_config()
PROMPT, TOKENS = [1, 2, 3], [4, 5]
DECODED = len(TOKENS) * CONFIG.num_hidden_layers  # times that a part runs which a layer has once


def a_model(**changes):
    return Llama(CONFIG, tiny_tensors(CONFIG), **changes)


def slow(function, calls):
    @functools.wraps(function)
    def call(*args):
        calls.append(args)
        time.sleep(0.01)
        return function(*args)

    return call


def test_the_step_that_is_timed_is_the_step_that_runs(monkeypatch):
    calls = []
    monkeypatch.setattr(one_token, "swiglu", slow(one_token.swiglu, calls))
    spent = operator_seconds(a_model(), PROMPT, TOKENS)
    assert len(calls) == DECODED  # the prompt takes another path
    assert spent["swiglu"] >= 0.01 * DECODED
    assert spent["swiglu"] > sum(spent.values()) - spent["swiglu"]


def test_parts_and_what_is_between_them_are_the_whole():
    model = a_model()
    operator_seconds(model, PROMPT, TOKENS)  # warm
    start = time.perf_counter()
    spent = operator_seconds(model, PROMPT, TOKENS * 20)
    whole = time.perf_counter() - start
    assert all(seconds >= 0 for seconds in spent.values())
    assert {"rms_norm", "attend", "swiglu", "products", "head", BETWEEN} <= set(spent)
    assert not {"step", "product_for"} & set(spent)
    assert min(spent[name] for name in ("rms_norm", "attend", "swiglu", "products", "head")) > 0
    assert 0 < sum(spent.values()) <= whole


def test_time_inside_another_part_counts_once(monkeypatch):
    # Every product with a matrix sleeps; whoever calls it must not be charged for that.
    def sleeping(weight, *args):
        time.sleep(0.01 if weight.ndim == 2 else 0)
        return np.dot(weight, *args)

    monkeypatch.setattr(one_token, "np", SimpleNamespace(**vars(np) | {"dot": sleeping}))
    spent = operator_seconds(a_model(), PROMPT, TOKENS)
    assert spent["head"] >= 0.01 * len(TOKENS)
    assert spent["products"] >= 0.01 * 3 * DECODED  # however they are grouped
    rest = sum(spent.values()) - spent["head"] - spent["products"]
    assert rest < spent["products"]


def test_a_tied_head_is_told_from_the_embedding():
    config = tiny_config(tie_word_embeddings=True)
    spent = operator_seconds(Llama(config, tiny_tensors(config)), PROMPT, TOKENS)
    assert spent["head"] > 0
    assert spent["products"] > 0


def test_nothing_is_left_wrapped():
    before = dict(vars(one_token))
    model = a_model()
    operators, want = model.operators, model.forward(PROMPT)
    operator_seconds(model, PROMPT, TOKENS)
    assert vars(one_token) == before
    with pytest.raises(InputError, match="token ids from 0"):
        operator_seconds(model, PROMPT, [4, -1])
    assert vars(one_token) == before
    assert model.operators is operators
    np.testing.assert_array_equal(model.forward(PROMPT), want)


@pytest.mark.parametrize("stays", [one_token.STAYS_NBYTES, -1], ids=["dot", "vecdot"])
def test_watching_changes_no_logit(stays, monkeypatch):
    """Nor the way: the sums are in the order of the step that nobody watches."""
    monkeypatch.setattr(one_token, "STAYS_NBYTES", stays)
    seen = []
    model = a_model()
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda *a, **k: seen.append(forward(*a, **k)) or seen[-1], raising=False
    )
    operator_seconds(model, PROMPT, TOKENS)
    cache = model.new_cache()
    want = [forward(PROMPT, cache, last_only=True), *(forward([t], cache) for t in TOKENS)]
    np.testing.assert_array_equal(seen, want)


def test_a_model_without_a_step_is_timed_by_its_operators():
    model = a_model()
    calls = []
    model.operators = NUMPY.replaced(swiglu=slow(NUMPY.swiglu, calls))
    operators = model.operators
    spent = operator_seconds(model, PROMPT, TOKENS)
    assert set(spent) == {*OPERATORS, BETWEEN}
    decoded = [gate for gate, _ in calls if len(gate) == 1]
    assert len(decoded) == DECODED
    # The prompt's calls are not in it, or there would be half as much again.
    assert 0.01 * DECODED <= spent["swiglu"] < 0.015 * DECODED
    assert spent["linear"] > 0
    assert spent["apply_mask"] == 0  # one token has nothing to mask
    assert model.operators is operators


def test_a_mixed_model_takes_the_same_way():
    assert MIXED.step is None
    spent = operator_seconds(a_model(precision="bf16"), PROMPT, TOKENS)
    assert set(spent) == {*OPERATORS, BETWEEN}


def test_a_step_in_one_call_has_no_parts():
    model = a_model()
    model.operators = type(NUMPY)(step=lambda *args: one_token.step(*args))
    with pytest.raises(InputError, match="expected a step written in NumPy"):
        operator_seconds(model, PROMPT, TOKENS)


def test_seconds_per_token_is_the_median_of_steps_alone():
    model = a_model()
    calls = []
    model.operators = NUMPY.replaced(swiglu=slow(NUMPY.swiglu, calls))
    seconds = seconds_per_token(model, PROMPT, TOKENS)
    assert 0.01 * CONFIG.num_hidden_layers <= seconds
    assert len(calls) == DECODED + CONFIG.num_hidden_layers
    with pytest.raises(InputError, match="at least one token"):
        seconds_per_token(model, PROMPT, [])
