"""Every operator by itself, at the sizes of SmolLM2-135M: one token, and a prompt of 128.

    pytest benchmarks/bench_operators.py
    pytest benchmarks/bench_operators.py --mine my_operators.py -k rms_norm

`--mine` names a Python file with functions called as the operators are. Each is first compared
with the book's, and is measured beside it only if the numbers agree.
"""

import runpy
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_edu.engine.operators import NUMPY, Operators
from llama_edu.ops.attention import causal_mask

HIDDEN, INTER, KV_HEADS, GROUPS, HEAD_DIM, TOTAL = 576, 1536, 3, 3, 64, 256
PROMPT = 128
# The shortcuts, absent by default, do the work of several of these.
OPERATORS = [field.name for field in fields(Operators) if field.default is not None]


def random(*shape: int) -> np.ndarray:
    """Standard normal float32, the same in every run."""
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def arguments(name: str, seq: int) -> tuple[Any, ...]:
    """What the operator is called with in a forward pass of `seq` tokens."""
    scores = random(KV_HEADS, GROUPS, seq, TOTAL)
    angles = random(seq, HEAD_DIM // 2)
    heads = random(KV_HEADS, GROUPS, seq, HEAD_DIM)
    kept = random(KV_HEADS, TOTAL, HEAD_DIM)
    return {
        "linear": (random(seq, HIDDEN), random(INTER, HIDDEN)),
        "rms_norm": (random(seq, HIDDEN), random(HIDDEN), 1e-5),
        "rope_cos_sin": (random(HEAD_DIM // 2), TOTAL - seq, seq),
        "split_query_heads": (random(seq, KV_HEADS * GROUPS * HEAD_DIM), KV_HEADS, HEAD_DIM),
        "split_kv_heads": (random(seq, KV_HEADS * HEAD_DIM), KV_HEADS, HEAD_DIM),
        "apply_rope": (heads, np.cos(angles), np.sin(angles)),
        "qk_scores": (heads, kept),
        "apply_mask": (scores, causal_mask(seq, TOTAL - seq)),
        "softmax": (scores,),
        "score_v": (np.abs(scores) / TOTAL, kept),
        "merge_heads": (heads,),
        "swiglu": (random(seq, INTER), random(seq, INTER)),
        "residual": (random(seq, HIDDEN), random(seq, HIDDEN)),
    }[name]


@pytest.mark.parametrize("seq", [1, PROMPT])
@pytest.mark.parametrize("name", OPERATORS)
def test_the_books(benchmark: Callable[..., Any], name: str, seq: int) -> None:
    benchmark.group = f"{name}, seq {seq}"  # type: ignore[attr-defined]
    benchmark(getattr(NUMPY, name), *arguments(name, seq))


@pytest.mark.parametrize("seq", [1, PROMPT])
@pytest.mark.parametrize("name", OPERATORS)
def test_mine(
    benchmark: Callable[..., Any], request: pytest.FixtureRequest, name: str, seq: int
) -> None:
    path: Path | None = request.config.getoption("--mine")
    function = runpy.run_path(str(path)).get(name) if path else None
    if function is None:
        pytest.skip("--mine names no such function")
    given = arguments(name, seq)
    want = np.asarray(getattr(NUMPY, name)(*given))
    got = np.asarray(function(*arguments(name, seq)))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert got.dtype == want.dtype
    benchmark.group = f"{name}, seq {seq}"  # type: ignore[attr-defined]
    benchmark(function, *given)
