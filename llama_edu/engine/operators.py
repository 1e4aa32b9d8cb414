"""The functions a forward pass is made of, by name, so that each can be exchanged.

`Llama.forward` is written once, against these names. The defaults are the NumPy functions the
book explains; another number format or a compiled backend brings its own set, and a reader can
put a function of theirs in the place of any one. Nothing here computes anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llama_edu.engine.backends import numpy_decode as one_token
from llama_edu.ops import attention, linear, mlp, norm, rope

__all__ = ["NUMPY", "Operators"]

Array = np.ndarray
Operator = Callable[..., Array]  # shapes and meaning: see the default each field has


@dataclass(frozen=True)
class Operators:
    """What `Llama.forward` calls. The defaults compute in float32 on float32 weights.

    `attend`, `step`, `batch` and `few` are shortcuts, absent by default. All but the last do the
    work of several named operators at once, so they are passed over while a trace is on;
    `replaced` drops them all.
    """

    linear: Operator = linear.linear
    rms_norm: Operator = norm.rms_norm
    apply_rope: Operator = rope.apply_rope
    qk_scores: Operator = attention.qk_scores
    apply_mask: Operator = attention.apply_mask
    softmax: Operator = attention.softmax
    score_v: Operator = attention.score_v
    swiglu: Operator = mlp.swiglu

    attend: Operator | None = None
    """`attend(q, k, v)`: `qk_scores` to `score_v` under the causal mask, in one call."""

    step: Operator | None = None
    """`step(model, x, cos, sin, cache)`: every layer and the head for one new token."""

    batch: Operator | None = None
    """`batch(model, x, cos, sin, caches)`: the same for one new token of each of several texts."""

    few: Operator | None = None
    """`few(x, weight, bias)`: `linear` for the few rows of a batched step."""

    def replaced(self, **functions: Any) -> "Operators":
        """A copy with some functions exchanged, and without shortcuts that would bypass them."""
        return replace(self, attend=None, step=None, batch=None, few=None, **functions)


NUMPY = Operators(step=one_token.step, few=linear.linear_few)
"""The operators the book explains."""
