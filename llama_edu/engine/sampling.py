"""From one row of logits to the next token id: temperature, then top-k, then top-p, then a draw.

The order is part of the meaning, and other engines differ: here the temperature comes first, so it
changes how many tokens top-p keeps. `probabilities` gives the exact distribution a draw is made
from; nothing needs to be estimated by drawing.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from llama_edu.errors import InputError, NumericsError
from llama_edu.ops.attention import softmax

__all__ = ["GREEDY", "Sampling", "greedy", "probabilities", "sample"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    `temperature` divides the logits: below 1 sharpens, above 1 flattens, 0 takes the largest.
    `top_k` keeps that many of the largest logits; 0 keeps all, and -1 too, as vLLM writes it.
    `top_p` keeps the fewest tokens whose probabilities, largest first, reach it; the token that
    crosses the line is kept whole; 1 keeps all. Among equal logits the lower id comes first,
    everywhere.

    Raises `InputError` for a value outside its range. Source for top-p: Holtzman et al. 2019,
    equation 3, arXiv:1904.09751.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"expected a temperature of at least 0, got {self.temperature}")
        if type(self.top_k) is not int or self.top_k < -1:
            raise InputError(
                f"expected top_k as a whole number of at least 0, or -1, got {self.top_k!r}"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"expected top_p above 0 and at most 1, got {self.top_p}")


GREEDY = Sampling(temperature=0.0)

# A Python float may lie outside float32: 1e-50 is 0 there, 0 / 0 is NaN, and nothing is below 0.
SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)


def greedy(logits: Float32[np.ndarray, " vocab_size"]) -> int:
    """The id of the largest logit; the lowest id among equals. Raises `NumericsError` on NaN."""
    _check_finite(logits)
    return int(logits.argmax())


def probabilities(
    logits: Float32[np.ndarray, " vocab_size"], sampling: Sampling
) -> Float32[np.ndarray, " vocab_size"]:
    """The exact distribution that `sample` draws from: 0 for every token that was cut.

    Raises `NumericsError` if a logit is NaN or +∞, or if all are -∞.
    """
    _check_finite(logits)
    kept = np.zeros(logits.shape, dtype=np.float32)
    if sampling.temperature == 0:
        kept[np.argmax(logits)] = 1.0
        return kept
    temperature = min(max(float(sampling.temperature), SMALLEST), LARGEST)
    # Subtracting first keeps a tiny temperature from overflowing to ∞ - ∞ inside softmax.
    with np.errstate(over="ignore"):
        scaled = (logits - np.max(logits)) / temperature
    candidates = _candidates(scaled, sampling)
    p = softmax(scaled[candidates])
    if sampling.top_p < 1:
        before = np.cumsum(p, dtype=np.float32) - p  # probability of everything likelier
        p = p[before < max(sampling.top_p, SMALLEST)]
        p /= np.sum(p)
    kept[candidates[: len(p)]] = p
    return kept


def sample(
    logits: Float32[np.ndarray, " vocab_size"], sampling: Sampling, rng: np.random.Generator
) -> int:
    """Draw one token id. At temperature 0 the generator is not touched."""
    if sampling.temperature == 0:
        return greedy(logits)
    cumulative = np.cumsum(probabilities(logits, sampling), dtype=np.float32)
    # Float32 sums end near 1, not at 1, so the draw is scaled to the end and kept before it.
    end = cumulative[-1]
    point = min(rng.random(dtype=np.float32) * end, np.nextafter(end, np.float32(0)))
    return int(np.searchsorted(cumulative, point, side="right"))


def _candidates(
    scaled: Float32[np.ndarray, " vocab_size"], sampling: Sampling
) -> Int[np.ndarray, " kept"]:
    """Ids of the `top_k` largest values (all, if 0), lower id first among equals.

    Largest first, as far as top-p can reach: sorting 50,000 values to keep a few would take longer
    than all the rest of sampling. `scaled` has its largest value at 0.
    """
    count = len(scaled)
    if 0 < sampling.top_k < count:
        line = np.partition(scaled, -sampling.top_k)[-sampling.top_k]
        above = np.flatnonzero(scaled > line)
        level = np.flatnonzero(scaled == line)[: sampling.top_k - len(above)]
        ids = np.sort(np.concatenate([above, level]))
        return ids[np.argsort(-scaled[ids], kind="stable")]
    if sampling.top_p == 1:
        return np.arange(count, dtype=np.int64)
    # A probability is at most e^scaled. Tokens that stay below (1 - top_p) / count are so unlikely
    # that not even all of them together fill what top-p leaves out.
    likely = scaled >= math.log((1 - sampling.top_p) / count)
    ids = np.flatnonzero(likely)
    order = ids[np.argsort(-scaled[ids], kind="stable")]
    return np.concatenate([order, np.flatnonzero(~likely)])


def _check_finite(logits: Float32[np.ndarray, " vocab_size"]) -> None:
    largest = logits.max()  # NaN if any is NaN
    if not math.isfinite(largest):
        raise NumericsError(f"expected finite logits, got a largest value of {largest}")
