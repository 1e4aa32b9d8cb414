"""What a precision costs in accuracy and in bytes: measured, operator by operator and as a whole.

`operator_errors` catches what really flows through a model, gives it to the same operator in
another precision, and compares with that operator in float64. `qualities` runs the whole model in
each precision over a text. This is analysis: the one place where float64 is meant to be.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer

from llama_edu.engine.backends.select import operators_of
from llama_edu.engine.llama import Llama
from llama_edu.engine.operators import NUMPY
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import Precision, cast, precision_named
from llama_edu.formats.quantize import stored_as

__all__ = ["OPERATORS", "OperatorError", "Quality", "operator_errors", "perplexity", "qualities"]

OPERATORS = ("linear", "rms_norm", "apply_rope", "qk_scores", "softmax", "score_v", "swiglu")
"""The operators that round; `apply_mask` moves numbers and changes none."""

Calls = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class OperatorError:
    """How far an operator is from float64, as a share of the largest exact result.

    `mean` and `largest` are taken over all elements of all calls that were caught.
    """

    operator: str
    precision: str
    mean: float
    largest: float


@dataclass(frozen=True)
class Quality:
    """A whole model in one precision, on one text.

    weight_nbytes    bytes of all weights, scales included; a tied table counts once
    cache_nbytes     bytes of cache per position
    gap              largest difference of a logit from float32's
    flips            positions where another token is the likeliest, of `positions`
    perplexity       e to the mean surprise, in nats, at each token of the text after the first
    """

    precision: str
    weight_nbytes: int
    cache_nbytes: int
    gap: float
    flips: int
    positions: int
    perplexity: float


def operator_errors(
    model: Llama, token_ids: Sequence[int], precisions: Iterable[str]
) -> list[OperatorError]:
    """Mean and largest error of every operator in every precision, against float64.

    `model` is a float32 one; its inputs to each operator, caught in a forward pass over
    `token_ids`, are rounded to what the precision stores, computes and caches, so that the error
    is that of rounding the inputs and of computing with them. Raises `InputError` for a model of
    another precision or an unknown name, and `NumericsError` where a number does not fit.
    """
    if model.precision.name != "f32":
        raise InputError(f"expected a model in precision 'f32', got {model.precision.name!r}")
    calls, head = _caught(model, token_ids), model.weights.lm_head
    return [
        _error(name, precision_named(precision), calls[name], head)
        for name in OPERATORS
        for precision in precisions
    ]


def _caught(model: Llama, token_ids: Sequence[int]) -> Calls:
    """What every operator was called with in one forward pass."""
    calls: Calls = {name: [] for name in OPERATORS}

    def watched(name: str) -> Callable[..., np.ndarray]:
        function = getattr(NUMPY, name)

        def call(*args: Any) -> np.ndarray:
            calls[name].append(args)
            result: np.ndarray = function(*args)
            return result

        return call

    # A second Llama around the same weights: the caller's is left as it is.
    twin = copy.copy(model)
    twin.operators = model.operators.replaced(**{name: watched(name) for name in OPERATORS})
    twin.forward(token_ids, last_only=True)
    return calls


def _error(
    name: str, precision: Precision, calls: list[tuple[Any, ...]], head: Any
) -> OperatorError:
    operators = operators_of("numpy", precision)
    total, count, largest = 0.0, 0, 0.0
    for args in calls:
        exact = getattr(NUMPY, name)(*map(_as_float64, args))
        got = getattr(operators, name)(*_as_stored(name, args, precision, head))
        gap = np.abs(got.astype(np.float64) - exact) / np.max(np.abs(exact))
        total, count = total + float(gap.sum()), count + gap.size
        largest = max(largest, float(gap.max()))
    return OperatorError(name, precision.name, total / count, largest)


def _as_float64(value: Any) -> Any:
    return value.astype(np.float64) if isinstance(value, np.ndarray) else value


def _as_stored(name: str, args: tuple[Any, ...], precision: Precision, head: Any) -> list[Any]:
    """The arguments in the formats this precision would bring them in."""
    kept = [cast(arg, precision.compute) if isinstance(arg, np.ndarray) else arg for arg in args]
    if name == "linear":
        weight = args[1]
        storage = precision.head_storage if weight is head else precision.storage
        kept[1] = (
            stored_as(weight, storage, precision.block)
            if precision.is_quantized
            else cast(weight, storage)
        )
    if name in ("qk_scores", "score_v"):  # the second argument comes out of the cache
        kept[1] = cast(args[1], precision.cache)
    return kept


def qualities(
    config: LlamaConfig,
    tensors: Mapping[str, np.ndarray],
    token_ids: Sequence[int],
    precisions: Iterable[str],
) -> list[Quality]:
    """The whole model in every precision, on one text of at least two tokens.

    Takes what `Llama` takes, since each precision loads the weights anew. Raises as it does.
    """
    exact = Llama(config, tensors).forward(token_ids)
    found = []
    for name in precisions:
        model = Llama(config, tensors, precision=name)
        cache = model.new_cache(len(token_ids))
        logits = model.forward(token_ids, cache)
        found.append(
            Quality(
                precision=name,
                weight_nbytes=model.weights.nbytes,
                cache_nbytes=cache.nbytes // cache.length,
                gap=float(np.max(np.abs(logits - exact))),
                flips=int(np.sum(logits.argmax(axis=-1) != exact.argmax(axis=-1))),
                positions=len(token_ids),
                perplexity=perplexity(logits, token_ids),
            )
        )
    return found


def perplexity(
    logits: Float32[np.ndarray, "seq vocab_size"],
    token_ids: Sequence[int] | Integer[np.ndarray, " seq"],
) -> float:
    """e to the mean of -ln p over every token but the first, each given those before it.

    Row t of `logits` predicts token t + 1; the last row predicts none that is there. Raises
    `InputError` for fewer than two tokens, or rows that do not match them.
    """
    ids = np.asarray(token_ids)
    if len(ids) < 2 or len(logits) != len(ids):
        raise InputError(
            f"expected at least 2 tokens and a row of logits each, got {len(ids)} tokens "
            f"and {len(logits)} rows"
        )
    rows = logits[:-1].astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(rows, ids[1:, None], axis=-1)[:, 0]
    surprise = np.log(np.exp(rows).sum(axis=-1)) - chosen
    return float(np.exp(surprise.mean()))
