"""The functions a forward pass is made of, by name, so that each can be exchanged.

`llama_edu.engine.forward` is written once, against these names. The defaults are the NumPy
functions the book explains; another number format or a compiled backend brings its own set, and a
reader can put a function of theirs in the place of any one. Nothing here computes anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from llama_edu.engine.step import Step
from llama_edu.engine.weights import Weights
from llama_edu.formats.config import LlamaConfig
from llama_edu.ops import attention, linear, mlp, norm, residual, rope

__all__ = ["NUMPY", "DecodeStep", "Linear", "Operators"]

Array = np.ndarray  # shapes and meaning: see the default each field has
Matrix = Any  # a weight as the precision keeps it: an array, or `llama_edu.formats.quantize.Stored`


@runtime_checkable  # the tests check every annotation as the package runs
class Linear(Protocol):
    """A product with a weight, the bias added where there is one."""

    def __call__(self, x: Array, weight: Matrix, bias: Array | None = None, /) -> Array:
        """Rows of `x` against rows of `weight`: (seq, out_features)."""
        ...


@runtime_checkable
class DecodeStep(Protocol):
    """A whole step in one call, for steps that bring few rows: which ones, `takes` says."""

    def takes(self, weights: Weights, step: Step) -> bool:
        """Whether it can do this step, and is the quicker way to do it."""
        ...

    def __call__(
        self, weights: Weights, config: LlamaConfig, step: Step
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """What `forward` returns, up to rounding; the caches hold the new tokens."""
        ...


@dataclass(frozen=True)
class Operators:
    """What a forward pass calls. The defaults compute in float32 on float32 weights.

    `fused_attention` and `decode_step` are shortcuts, absent by default. Each does the work of
    several named operators at once, so they are passed over while a trace is on, and `replaced`
    drops them.
    """

    linear: Linear = linear.linear
    rms_norm: Callable[[Array, Array, float], Array] = norm.rms_norm
    rope_cos_sin: Callable[[Array, int, int], tuple[Array, Array]] = rope.rope_cos_sin
    split_query_heads: Callable[[Array, int, int], Array] = attention.split_query_heads
    split_kv_heads: Callable[[Array, int, int], Array] = attention.split_kv_heads
    apply_rope: Callable[[Array, Array, Array], Array] = rope.apply_rope
    qk_scores: Callable[[Array, Array], Array] = attention.qk_scores
    apply_mask: Callable[[Array, Array], Array] = attention.apply_mask
    softmax: Callable[[Array], Array] = attention.softmax
    score_v: Callable[[Array, Array], Array] = attention.score_v
    merge_heads: Callable[[Array], Array] = attention.merge_heads
    swiglu: Callable[[Array, Array], Array] = mlp.swiglu
    residual: Callable[[Array, Array], Array] = residual.residual

    fused_attention: Callable[[Array, Array, Array], Array] | None = None
    """`fused_attention(q, k, v)`: `qk_scores` to `score_v` under the causal mask, in one call."""

    decode_step: DecodeStep | None = None
    """Every layer and the head in one call, where it `takes` the step."""

    def replaced(self, **functions: Any) -> "Operators":
        """A copy with some functions exchanged, and without shortcuts that would bypass them.

        For functions known only when it runs, such as a reader's; `dataclasses.replace` does the
        same for those of the package, and there the types are checked. Raises `TypeError` for a
        name that is no operator.
        """
        return replace(self, fused_attention=None, decode_step=None, **functions)


NUMPY = Operators()
"""The operators the book explains."""
