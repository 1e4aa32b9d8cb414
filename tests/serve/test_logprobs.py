"""Log-probabilities, and the likeliest ids in order, against sorting everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.serve.logprobs import log_probabilities, token_logprob

LOGITS = st.lists(st.sampled_from([-np.inf, -30.0, -1.0, 0.0, 0.5, 2.0, 90.0]), max_size=12).map(
    lambda some: np.array([1.0, *some], dtype=np.float32)
)


@given(LOGITS, st.integers(0, 15), st.data())
def test_the_likeliest_are_those_of_all_that_are_sorted(logits, top, data):
    token_id = data.draw(st.integers(0, len(logits) - 1))
    found = token_logprob(logits, token_id, 7, top)
    wide = logits.astype(np.float64)
    want = wide - np.log(np.exp(wide - wide.max()).sum()) - wide.max()
    np.testing.assert_allclose(log_probabilities(logits), want, atol=1e-5)
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    assert [i for i, _ in found.top] == order[:top]
    np.testing.assert_allclose([value for _, value in found.top], want[order[:top]], atol=1e-5)
    assert (found.token_id, found.start) == (token_id, 7)
    assert found.logprob == pytest.approx(want[token_id], abs=1e-5)


def test_of_equals_the_lower_id_comes_first_however_many_there_are():
    found = token_logprob(np.zeros(500, dtype=np.float32), 3, 0, 4)
    assert [i for i, _ in found.top] == [0, 1, 2, 3]
