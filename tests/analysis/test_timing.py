"""Seconds per part of a step: the path the model takes, each part once, and nothing left behind."""

import functools
import time
from dataclasses import replace

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors

from llama_edu import Llama
from llama_edu.analysis.timing import BETWEEN, operator_seconds, seconds_per_token
from llama_edu.engine.backends.numpy_decode import SmallModelDecode
from llama_edu.engine.operators import NUMPY
from llama_edu.errors import InputError

CONFIG = tiny_config()
PROMPT, TOKENS = [1, 2, 3], [4, 5]
DECODED = len(TOKENS) * CONFIG.num_hidden_layers  # times that a part runs which a layer has once
SMALL = {"linear", "head", "rms_norm", "apply_rope", "attend", "swiglu", BETWEEN}
GENERAL = {
    *("linear", "head", "rms_norm", "rope_cos_sin", "split_query_heads", "split_kv_heads"),
    *("apply_rope", "qk_scores", "softmax", "score_v", "merge_heads", "swiglu"),
    *("residual", BETWEEN),
}


def a_model(**changes):
    return Llama(CONFIG, tiny_tensors(CONFIG), **changes)


def without_shortcut(**functions):
    model = a_model()
    model.operators = NUMPY.replaced(**functions)
    return model


def slow(function, calls, seconds=None):
    """The function, a hundredth of a second later; `seconds` gets what each call then took."""

    @functools.wraps(function)
    def call(*args):
        calls.append(args)
        start = time.perf_counter()
        time.sleep(0.01)
        result = function(*args)
        if seconds is not None:
            seconds.append(time.perf_counter() - start)
        return result

    return call


def test_the_step_that_is_timed_is_the_step_that_runs():
    calls, model = [], a_model()
    shortcut = model.operators.decode_step
    slower = replace(shortcut, swiglu=slow(shortcut.swiglu, calls))
    model.operators = replace(model.operators, decode_step=slower)
    spent = operator_seconds(model, PROMPT, TOKENS)
    assert len(calls) == DECODED  # the prompt takes another path
    assert spent["swiglu"] >= 0.01 * DECODED
    assert spent["swiglu"] > sum(spent.values()) - spent["swiglu"]


@pytest.mark.parametrize(("make", "parts"), [(a_model, SMALL), (without_shortcut, GENERAL)])
def test_parts_and_what_is_between_them_are_the_whole(make, parts):
    model = make()
    operator_seconds(model, PROMPT, TOKENS)  # warm
    start = time.perf_counter()
    spent = operator_seconds(model, PROMPT, TOKENS * 20)
    whole = time.perf_counter() - start
    assert set(spent) == parts | {"rope_cos_sin"}  # of one step: the angles come before it
    assert min(spent.values()) >= 0
    assert min(spent[name] for name in parts - {BETWEEN}) > 0
    assert 0 < sum(spent.values()) <= whole


def test_a_tied_head_is_told_from_the_embedding():
    config = tiny_config(tie_word_embeddings=True)
    spent = operator_seconds(Llama(config, tiny_tensors(config)), PROMPT, TOKENS)
    assert spent["head"] > 0
    assert spent["linear"] > 0


def test_nothing_is_left_wrapped():
    model = a_model()
    before, want = dict(vars(model)), model.forward(PROMPT)
    operator_seconds(model, PROMPT, TOKENS)
    assert vars(model) == before
    with pytest.raises(InputError, match="token ids from 0"):
        operator_seconds(model, PROMPT, [4, -1])
    assert vars(model) == before
    np.testing.assert_array_equal(model.forward(PROMPT), want)


def test_watching_changes_no_logit():
    """Nor the way: the sums are in the order of the step that nobody watches."""
    seen = []

    class Watched(Llama):
        def forward(self, *args, **options):
            seen.append(super().forward(*args, **options))
            return seen[-1]

    model = Watched(CONFIG, tiny_tensors(CONFIG))
    operator_seconds(model, PROMPT, TOKENS)
    plain, cache = a_model(), a_model().new_cache()
    want = [plain.forward(PROMPT, cache, last_only=True)]
    want += [plain.forward([t], cache) for t in TOKENS]
    np.testing.assert_array_equal(seen, want)


def test_a_model_without_a_shortcut_is_timed_by_its_operators():
    calls, seconds = [], []
    model = without_shortcut(swiglu=slow(NUMPY.swiglu, calls, seconds))
    operators = model.operators
    spent = operator_seconds(model, PROMPT, TOKENS)
    decoded = [len(gate) == 1 for gate, _ in calls]
    assert sum(decoded) == DECODED < len(decoded)
    # The prompt's calls are not in it. A busy machine may sleep much longer than it is asked to.
    of_decode = sum(took for took, counts in zip(seconds, decoded, strict=True) if counts)
    assert 0.01 * DECODED <= of_decode <= spent["swiglu"] < sum(seconds)
    assert "apply_mask" not in spent  # one token has nothing to mask
    assert model.operators is operators


def test_a_mixed_model_takes_the_general_way():
    assert set(operator_seconds(a_model(precision="bf16"), PROMPT, TOKENS)) == GENERAL


def test_a_step_in_one_call_has_no_parts():
    class Compiled:
        def takes(self, weights, step):
            return True

        def __call__(self, weights, config, step):
            return SmallModelDecode()(weights, config, step)

    model = a_model()
    model.operators = replace(NUMPY, decode_step=Compiled())
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
