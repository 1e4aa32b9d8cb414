"""Seconds per operator: each is counted once, in decoding only, and the model is left alone."""

import time

import numpy as np
from helpers import tiny_config, tiny_tensors

from llama_edu import Llama
from llama_edu.operators import NUMPY
from llama_edu.timing import OPERATORS, operator_seconds

CONFIG = tiny_config()


def test_a_slow_operator_shows():
    model = Llama(CONFIG, tiny_tensors(CONFIG))
    calls = []

    def slow_swiglu(gate, up):
        calls.append(len(gate))
        time.sleep(0.01)
        return NUMPY.swiglu(gate, up)

    model.operators = NUMPY.replaced(swiglu=slow_swiglu)
    operators = model.operators
    spent = operator_seconds(model, [1, 2, 3], [4, 5])
    assert set(spent) == {*OPERATORS, "between"}
    decoded = [rows for rows in calls if rows == 1]
    assert len(decoded) == 2 * CONFIG.num_hidden_layers
    # The prompt's calls are not in it, or there would be half as much again.
    assert 0.01 * len(decoded) <= spent["swiglu"]
    assert all(seconds >= 0 for seconds in spent.values())
    assert spent["linear"] > 0
    assert spent["apply_mask"] == 0  # one token has nothing to mask
    assert model.operators is operators
    np.testing.assert_array_equal(
        model.forward([1]), Llama(CONFIG, tiny_tensors(CONFIG)).forward([1])
    )
