"""The distribution a draw is made from, and the generator it is drawn with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from page_engine import PageEngine, called, directory_of

from llama_edu import Sampling
from llama_edu.engine.sampling import adjusted, probabilities
from llama_edu.ops.attention import softmax

quietly = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
rows = st.lists(
    st.one_of(st.integers(-4, 4).map(float), st.floats(-40, 40, width=32)), min_size=1, max_size=60
)


def falls_on_the_line(logits: np.ndarray, sampling: Sampling) -> bool:
    """Whether the border of top-p or min-p comes within rounding of a token's edge."""
    if sampling.temperature == 0:
        return False
    uncut = probabilities(logits, Sampling(sampling.temperature, sampling.top_k, 1.0))
    sorted_ = np.sort(uncut.astype(np.float64))[::-1]
    borders = [sampling.top_p - np.cumsum(sorted_)] if sampling.top_p < 1 else []
    borders += [sorted_[1:] - sampling.min_p * sorted_[0]] if sampling.min_p else []
    return any(np.min(np.abs(border), initial=1.0) < 1e-5 for border in borders)


@quietly
@given(
    logits=rows,
    temperature=st.one_of(st.just(0.0), st.floats(1e-3, 10)),
    top_k=st.integers(0, 70),
    top_p=st.one_of(st.just(1.0), st.floats(1e-3, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
)
@example(logits=[1.0, 3.0, 3.0, 3.0, 2.0], temperature=1.0, top_k=2, top_p=1.0, min_p=0.0)
@example(logits=[0.0, 0.0, 0.0, 0.0], temperature=2.0, top_k=0, top_p=0.3, min_p=0.0)
@example(logits=[1.0, 2.0], temperature=1e-40, top_k=0, top_p=1.0, min_p=0.0)
@example(logits=[1.0, 2.0, 2.5, -3.0], temperature=1.0, top_k=0, top_p=1.0, min_p=0.5)
@example(logits=[1.0, 2.0, 2.5, -3.0], temperature=1.0, top_k=3, top_p=0.9, min_p=0.3)
def test_distributions_are_equal(
    logits: list[float],
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    page_engine: Callable[..., PageEngine],
) -> None:
    engine = page_engine(directory_of("story"))
    row, sampling = np.array(logits, np.float32), Sampling(temperature, top_k, top_p, min_p)
    want = probabilities(row, sampling)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    got = engine.ask("probabilities", logits=row.tolist(), **settings)
    if falls_on_the_line(row, sampling):
        return
    assert np.max(np.abs(want - np.array(got))) <= 1e-6


def test_penalties_are_the_packages(node: str) -> None:
    row = np.random.default_rng(3).normal(0, 4, 40).astype(np.float32)
    prompt, new = [1, 2, 2, 7, 39], [7, 8, 8, 8, 3]
    for repetition, presence, frequency in (
        (1.0, 0.0, 0.0),
        (1.3, 0.0, 0.0),
        (0.7, 0.0, 0.1),
        (1.0, 0.6, 0.0),
        (1.2, -0.3, 0.7),
    ):
        sampling = Sampling(
            repetition_penalty=repetition,
            presence_penalty=presence,
            frequency_penalty=frequency,
        )
        theirs = {
            "repetitionPenalty": repetition,
            "presencePenalty": presence,
            "frequencyPenalty": frequency,
        }
        request = {"logits": row.tolist(), "sampling": theirs, "promptIds": prompt, "newIds": new}
        want = adjusted(row, sampling, frozenset(prompt), Counter(new))
        assert called("adjusted", request) == want.tolist()


def test_a_wide_row(page_engine: Callable[..., PageEngine]) -> None:
    """As wide as SmolLM2's, where only the likely tokens are sorted."""
    engine = page_engine(directory_of("story"))
    row = np.random.default_rng(0).normal(0, 4, 49152).astype(np.float32)
    for temperature, top_k, top_p in (
        (0.7, 0, 0.9),
        (1.0, 40, 0.95),
        (2.0, 0, 1.0),
        (1.0, 500, 1.0),
    ):
        want = probabilities(row, Sampling(temperature, top_k, top_p))
        got = engine.ask(
            "probabilities", logits=row.tolist(), temperature=temperature, top_k=top_k, top_p=top_p
        )
        assert np.max(np.abs(want - np.array(got))) <= 1e-6


def test_broken_numbers_are_refused(page_engine: Callable[..., PageEngine]) -> None:
    engine = page_engine(directory_of("story"))
    for logits in ([1.0, None], [None, 1.0]):  # JSON has no NaN: null stands for it
        assert "NumericsError" in engine.answer("probabilities", logits=logits)["error"]
    for wrong in ({"temperature": -1}, {"top_k": 1.5}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 2}):
        assert "InputError" in engine.answer("probabilities", logits=[1.0, 2.0], **wrong)["error"]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.one_of(st.integers(0, 9), st.integers(0, 2**200)))
def test_a_seed_draws_what_it_draws_in_python(seed: int, node: str) -> None:
    from llama_edu.engine.sampling import sample

    logits = np.random.default_rng(1).normal(0, 2, 300).astype(np.float32)
    sampling = {"temperature": 0.8, "topK": 0, "topP": 0.9}
    request = {"seed": str(seed), "logits": logits.tolist(), "sampling": sampling}
    result = called("draws", request)
    rng = np.random.default_rng(seed)
    assert result["numbers"] == [float(rng.random(dtype=np.float32)) for _ in range(9)]
    rng = np.random.default_rng(seed)
    want = [sample(logits, Sampling(0.8, 0, 0.9), rng) for _ in range(50)]
    p = softmax(logits)
    assert len(set(want)) > 5, p
    assert result["ids"] == want
