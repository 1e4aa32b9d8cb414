"""From one row of logits to the next token id: bias and penalties, temperature, cuts, a draw.

The order is part of the meaning, and other engines differ: here the temperature comes first, so it
changes how many tokens top-p keeps; then top-k, top-p and min-p, as in transformers. With
`order="llama.cpp"` the same cuts come first, and the temperature is for what they leave.
`probabilities` gives the exact distribution a draw is made from; nothing needs to be estimated by
drawing. What depends on the tokens before, `adjusted` does to the logits first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, Int

from llama_edu.errors import InputError, NumericsError
from llama_edu.ops.attention import softmax

__all__ = [
    "GREEDY",
    "Order",
    "Sampling",
    "adjusted",
    "draw",
    "greedy",
    "probabilities",
    "sample",
]

Order = Literal["transformers", "llama.cpp"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    `temperature` divides the logits: below 1 sharpens, above 1 flattens, 0 takes the largest.
    `top_k` keeps that many of the largest logits; 0 keeps all, and -1 too, as vLLM writes it.
    `top_p` keeps the fewest tokens whose probabilities, largest first, reach it; the token that
    crosses the line is kept whole; 1 keeps all. `min_p` keeps the tokens at least that many times
    as likely as the likeliest; 0 keeps all. Among equal logits the lower id comes first,
    everywhere.

    The rest looks at the tokens before; `adjusted` says how. `repetition_penalty` above 1 makes
    tokens of the prompt and the text less likely, 1 changes nothing. `presence_penalty` is taken
    from the logit of each token of the new text, `frequency_penalty` once for each time it came;
    0 changes nothing. `logit_bias` holds (id, number to add to its logit).

    `order` names the engine whose order is taken. "transformers" heats first and then cuts, so a
    high temperature lets more tokens through top-p and min-p. "llama.cpp" cuts the logits as they
    are, by top-k, top-p and min-p, and heats what is left (its default order of samplers).

    Raises `InputError` for a value outside its range. Sources: top-p, Holtzman et al. 2019,
    equation 3, arXiv:1904.09751; min-p, Nguyen et al. 2024, section 3, arXiv:2407.01082;
    repetition penalty, Keskar et al. 2019, section 4.1, arXiv:1909.05858; presence and frequency
    penalty, OpenAI API reference.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    order: Order = "transformers"

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"expected a temperature of at least 0, got {self.temperature}")
        if type(self.top_k) is not int or self.top_k < -1:
            raise InputError(
                f"expected top_k as a whole number of at least 0, or -1, got {self.top_k!r}"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"expected top_p above 0 and at most 1, got {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise InputError(f"expected min_p from 0 to 1, got {self.min_p}")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(
                f"expected a repetition_penalty above 0, got {self.repetition_penalty}"
            )
        for name in ("presence_penalty", "frequency_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"expected a finite {name}, got {getattr(self, name)}")
        if not all(math.isfinite(number) for _, number in self.logit_bias):
            raise InputError(f"expected finite numbers as logit_bias, got {self.logit_bias}")
        if self.order not in get_args(Order):
            raise InputError(f"expected an order of {get_args(Order)}, got {self.order!r}")

    @classmethod
    def from_saved(cls, fields: Mapping[str, Any]) -> "Sampling":
        """What `dataclasses.asdict` made of one, back from JSON, which has lists for tuples."""
        bias = tuple((int(token_id), float(n)) for token_id, n in fields.get("logit_bias", ()))
        return cls(**{**fields, "logit_bias": bias})

    @property
    def looks_back(self) -> bool:
        """Whether `adjusted` changes anything."""
        return bool(
            self.logit_bias
            or self.repetition_penalty != 1
            or self.presence_penalty
            or self.frequency_penalty
        )


GREEDY = Sampling(temperature=0.0)

# A Python float may lie outside float32: 1e-50 is 0 there, 0 / 0 is NaN, and nothing is below 0.
SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)


def greedy(logits: Float32[np.ndarray, " vocab_size"]) -> int:
    """The id of the largest logit; the lowest id among equals. Raises `NumericsError` on NaN."""
    _check_finite(logits)
    return int(logits.argmax())


def adjusted(
    logits: Float32[np.ndarray, " vocab_size"],
    sampling: Sampling,
    prompt_ids: frozenset[int],
    counts: Mapping[int, int],
) -> Float32[np.ndarray, " vocab_size"]:
    """The logits with bias and penalties: a new array.

    `prompt_ids` are the tokens before the new text, `counts` says how often each token came in it.
    First the bias is added. Then the logit of every token that came before, in either, is divided
    by the repetition penalty, or multiplied where it is below 0. At last the new text's tokens
    lose `presence_penalty + frequency_penalty * count`. That is vLLM's order; transformers has the
    first penalty alone and the same. Raises `InputError` for a bias of an id out of range.
    """
    result = logits.copy()
    for token_id, number in sampling.logit_bias:
        if not 0 <= token_id < len(logits):
            raise InputError(
                f"expected logit_bias for ids from 0 to {len(logits) - 1}, got {token_id}"
            )
        result[token_id] += np.float32(number)
    if sampling.repetition_penalty != 1:
        ids = np.fromiter(prompt_ids.union(counts), dtype=np.int64)
        penalty = np.float32(sampling.repetition_penalty)
        result[ids] = np.where(result[ids] < 0, result[ids] * penalty, result[ids] / penalty)
    if sampling.presence_penalty or sampling.frequency_penalty:
        ids = np.fromiter(counts, dtype=np.int64)
        times = np.fromiter(counts.values(), dtype=np.float32)
        result[ids] -= np.float32(sampling.presence_penalty)
        result[ids] -= np.float32(sampling.frequency_penalty) * times
    return result


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
    heat = min(max(float(sampling.temperature), SMALLEST), LARGEST)
    temperature = heat if sampling.order == "transformers" else 1.0
    # Subtracting first keeps a tiny temperature from overflowing to ∞ - ∞ inside softmax.
    with np.errstate(over="ignore"):
        scaled = (logits - np.max(logits)) / temperature
    candidates = _candidates(scaled, sampling)
    p = softmax(scaled[candidates])
    if sampling.top_p < 1:
        before = np.cumsum(p, dtype=np.float32) - p  # probability of everything likelier
        p = p[before < max(sampling.top_p, SMALLEST)]
    if sampling.min_p > 0:
        p = p[p >= np.float32(sampling.min_p) * np.max(p)]
    if sampling.top_p < 1 or sampling.min_p > 0:
        p /= np.sum(p)
    if sampling.order == "llama.cpp":
        with np.errstate(over="ignore"):
            left = scaled[candidates[: len(p)]] / heat
        p[:] = softmax(left)
    kept[candidates[: len(p)]] = p
    return kept


def sample(
    logits: Float32[np.ndarray, " vocab_size"], sampling: Sampling, rng: np.random.Generator
) -> int:
    """Draw one token id. At temperature 0 the generator is not touched."""
    if sampling.temperature == 0:
        return greedy(logits)
    return draw(probabilities(logits, sampling), rng)


def draw(p: Float32[np.ndarray, " vocab_size"], rng: np.random.Generator) -> int:
    """Draw one id with the probabilities p."""
    cumulative = np.cumsum(p, dtype=np.float32)
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
    if sampling.top_p == 1 and not sampling.min_p:
        return np.arange(count, dtype=np.int64)
    if sampling.top_p == 1:
        return np.argsort(-scaled, kind="stable")
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
