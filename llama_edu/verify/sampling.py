"""The probabilities an engine draws from: cases, what may differ, and mistakes by name.

What may differ: of equal logits at the edge of top-k any may be kept, or all of them, as
transformers does; and a token whose place is within 1e-5 of top-p may fall on either side, since
sums of float32 do. llama.cpp applies the temperature last: another meaning, accepted from an engine
that says so (`"sampling_order": "llama.cpp"` in its hello), and named in one that does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from llama_edu.verify.mistakes.base import Topic

__all__ = [
    "SAMPLING_CASES",
    "SAMPLING_MISTAKES",
    "SamplingCase",
    "SamplingMistake",
    "distribution",
    "name_sampling",
    "sampling_gap",
]

Array = np.ndarray
BORDER = 1e-5  # of top-p
TOLERANCE = 1e-5  # of a probability


@dataclass(frozen=True)
class SamplingCase:
    """Logits and three settings."""

    label: str
    logits: tuple[float, ...]
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    @property
    def request(self) -> dict[str, object]:
        return {
            "op": "probabilities",
            "logits": list(self.logits),
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
        }


@dataclass(frozen=True)
class Rules:
    """How a distribution is made; the defaults are the book's."""

    temperature_last: bool = False
    keep_ties: bool = False
    high_id_first: bool = False
    border: float = 0.0


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def _order(x: Array, rules: Rules) -> Array:
    ids = np.arange(len(x))
    return np.lexsort((-ids if rules.high_id_first else ids, -x))


def distribution(case: SamplingCase, rules: Rules | None = None) -> Array:
    """The probabilities of a case, in float64: temperature, then top-k, then top-p."""
    rules = Rules() if rules is None else rules
    logits = np.array(case.logits, dtype=np.float64)
    result = np.zeros(len(logits))
    if case.temperature == 0:
        result[logits.argmax()] = 1.0
        return result
    x = logits if rules.temperature_last else logits / case.temperature
    kept = _order(x, rules)
    if 0 < case.top_k < len(x):
        edge = x[kept[case.top_k - 1]]
        kept = kept[x[kept] >= edge] if rules.keep_ties else kept[: case.top_k]
    p = softmax(x[kept])
    if case.top_p < 1:
        before = np.concatenate([[0.0], np.cumsum(p)[:-1]])
        kept = kept[: max(1, int((before < case.top_p + rules.border).sum()))]
    shown = logits[kept] / case.temperature
    result[kept] = softmax(shown)
    return result


def sampling_gap(case: SamplingCase, got: Array, *, temperature_last: bool = False) -> float:
    """How far an answer is from the nearest one that is right."""
    base = Rules(temperature_last=temperature_last)
    switches = product((False, True), (False, True), (0.0, BORDER, -BORDER))
    allowed = [
        replace(base, keep_ties=ties, high_id_first=high, border=border)
        for ties, high, border in switches
    ]
    return min(_gap(distribution(case, rules), got) for rules in allowed)


def _gap(want: Array, got: Array) -> float:
    if got.shape != want.shape:
        return np.inf
    gap = float(np.abs(got - want).max())
    return np.inf if np.isnan(gap) else gap


def _random(seed: int, count: int, size: float) -> tuple[float, ...]:
    values = np.random.default_rng(seed).standard_normal(count) * size
    return tuple(float(x) for x in values.astype(np.float32))


SOME = (1.5, -0.25, 2.75, 0.5, 2.25, -1.0)
FLAT = (0.125, 0.5, 0.25, 0.375, 0.0, 0.625, 0.4375)

SAMPLING_CASES: tuple[SamplingCase, ...] = (
    SamplingCase("six logits as they are", SOME),
    SamplingCase("temperature 0.5", SOME, temperature=0.5),
    SamplingCase("temperature 1.75", SOME, temperature=1.75),
    SamplingCase("temperature 0, greedy", SOME, temperature=0.0),
    SamplingCase("greedy, top-k and top-p set", SOME, temperature=0.0, top_k=3, top_p=0.5),
    SamplingCase("greedy among equals", (0.5, 2.0, 1.0, 2.0, 2.0), temperature=0.0),
    SamplingCase("top-k 1", SOME, top_k=1),
    SamplingCase("top-k 2", SOME, top_k=2),
    SamplingCase("top-k 3 at temperature 2", SOME, temperature=2.0, top_k=3),
    SamplingCase("top-k larger than the vocabulary", SOME, top_k=50),
    SamplingCase("top-k as large as the vocabulary", SOME, top_k=6),
    SamplingCase("equal logits at the edge of top-k", (1.0, 2.0, 1.0, 0.0, 1.0), top_k=2),
    SamplingCase("equal logits within top-k", (1.0, 2.0, 1.0, 0.0, 1.0), top_k=3),
    SamplingCase("top-p 0.6", SOME, top_p=0.6),
    SamplingCase("top-p 0.85", SOME, top_p=0.85),
    SamplingCase("top-p of almost nothing keeps one", SOME, top_p=0.001),
    SamplingCase("top-p 0.5 of a flat choice", FLAT, top_p=0.5),
    SamplingCase("top-p met by equals", (1.0, 1.0, 1.0, 1.0), top_p=0.7),
    SamplingCase("top-p on the border", (0.0, 0.0, 0.0, 0.0), top_p=0.5),
    SamplingCase("temperature before top-p, cold", FLAT, temperature=0.25, top_p=0.75),
    SamplingCase("temperature before top-p, hot", SOME, temperature=3.0, top_p=0.75),
    SamplingCase("top-k before top-p", FLAT, top_k=4, top_p=0.7),
    SamplingCase("all three", SOME, temperature=0.8, top_k=4, top_p=0.9),
    SamplingCase("all three, flat", FLAT, temperature=0.6, top_k=5, top_p=0.55),
    SamplingCase("logits of several hundred", (410.0, 405.5, 400.0, 409.25), temperature=0.75),
    SamplingCase("logits far below 0", (-410.0, -405.5, -400.0, -403.25), temperature=0.75),
    SamplingCase("a cold choice between large logits", (300.0, 299.5, 250.0), temperature=0.05),
    SamplingCase("one token", (3.5,), temperature=0.7, top_k=5, top_p=0.9),
    SamplingCase("a vocabulary of 300", _random(1, 300, 2.0), 0.9, 40, 0.95),
    SamplingCase("a vocabulary of 300, top-p alone", _random(2, 300, 1.0), top_p=0.9),
)
"""Settings under which the usual mistakes part."""

Make = Callable[[SamplingCase], Array]


@dataclass(frozen=True)
class SamplingMistake:
    """A mistake between logits and probabilities."""

    key: str
    says: str
    right: str
    wrong: str
    topic: Topic
    make: Make


TEMPERATURE = Topic("sampling", "Temperature")
TOP_K = Topic("sampling", "Cutting the tail")
TOP_P = Topic("sampling", "Cutting the tail")
ORDER = Topic("sampling", "The order")


def _steps(
    temperature: Callable[[Array, float], Array] | None = None,
    top_k: Callable[[Array, Array, int], Array] | None = None,
    top_p: Callable[[Array, float], Array] | None = None,
) -> Make:
    """The usual three steps, with one of them exchanged."""

    def make(case: SamplingCase) -> Array:
        logits = np.array(case.logits, dtype=np.float64)
        result = np.zeros(len(logits))
        if case.temperature == 0:
            result[logits.argmax()] = 1.0
            return result
        x = (temperature or _divided)(logits, case.temperature)
        kept = np.argsort(-x, kind="stable")
        kept = (top_k or _first_k)(x, kept, case.top_k)
        p = softmax(x[kept]) if len(kept) else np.empty(0)
        p = (top_p or _nucleus)(p, case.top_p)
        result[kept[: len(p)]] = p
        return result

    return make


def _divided(x: Array, temperature: float) -> Array:
    return x / temperature


def _first_k(x: Array, kept: Array, top_k: int) -> Array:
    return kept[:top_k] if top_k else kept


def _before(p: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(p)[:-1]])


def _nucleus(p: Array, top_p: float) -> Array:
    if top_p >= 1:
        return p
    p = p[: max(1, int((_before(p) < top_p).sum()))]
    return p / p.sum()


def _on_logits(change: Callable[[Array, SamplingCase], Array]) -> Make:
    """Right probabilities, changed at the end."""
    return lambda case: change(distribution(case), case)


def _nucleus_kept(count: Callable[[Array, float], int], *, normalised: bool = True) -> Make:
    def top_p(p: Array, line: float) -> Array:
        if line >= 1:
            return p
        p = p[: count(p, line)]
        return p / p.sum() if normalised and p.sum() > 0 else p

    return _steps(top_p=top_p)


def _crossing_shortened(p: Array, line: float) -> Array:
    if line >= 1:
        return p
    return np.diff(np.minimum(np.cumsum(p), line), prepend=0.0) / line


def _by_id(case: SamplingCase) -> Array:
    """Cut in the order of ids, and not of probabilities."""
    logits = np.array(case.logits)
    if case.temperature == 0:
        return distribution(case)
    x = logits / case.temperature
    p = distribution(replace(case, top_p=1.0))
    if case.top_p >= 1:
        return p
    kept = np.where(_before(p) < case.top_p, p, 0.0)
    return kept / kept.sum() if kept.sum() else softmax(x)


def _top_p_first(case: SamplingCase) -> Array:
    p = distribution(replace(case, top_k=0))
    if case.temperature == 0 or not case.top_k:
        return p
    kept = np.argsort(-p, kind="stable")[: case.top_k]
    cut = np.zeros_like(p)
    cut[kept] = p[kept]
    return cut / cut.sum()


def _line_over_all(case: SamplingCase) -> Array:
    """Top-p measures against all tokens, also after top-k took most away."""
    x = np.array(case.logits) / case.temperature
    order = np.argsort(-x, kind="stable")
    p = softmax(x)[order]
    kept = order[_before(p) < case.top_p]
    kept = kept[: case.top_k] if case.top_k else kept
    result = np.zeros(len(x))
    result[kept] = softmax(x[kept])
    return result


def _min_p(case: SamplingCase) -> Array:
    p = distribution(replace(case, top_p=1.0))
    if case.temperature == 0 or case.top_p >= 1:
        return p
    p = np.where(p >= (1 - case.top_p) * p.max(), p, 0.0)
    return p / p.sum()


def _not_shifted(case: SamplingCase) -> Array:
    if case.temperature == 0:
        return distribution(case)
    with np.errstate(all="ignore"):
        powers = np.exp(np.array(case.logits, np.float32) / np.float32(case.temperature))
        powers = np.where(distribution(case) > 0, powers, np.float32(0))
        return (powers / powers.sum()).astype(np.float64)


def _last_of_equals(case: SamplingCase) -> Array:
    if case.temperature:
        return distribution(case)
    result = np.zeros(len(case.logits))
    result[len(result) - 1 - int(np.argmax(case.logits[::-1]))] = 1.0
    return result


def _zero_is_one(case: SamplingCase) -> Array:
    return distribution(replace(case, temperature=case.temperature or 1.0))


def _sorted(case: SamplingCase) -> Array:
    return np.sort(distribution(case))[::-1]


def _k_more(by: int) -> Make:
    def top_k(x: Array, kept: Array, k: int) -> Array:
        return kept[: max(1, k + by)] if k else kept

    return _steps(top_k=top_k)


def _k_less_of_more(x: Array, kept: Array, k: int) -> Array:
    return kept[: max(1, k - 1)] if 0 < k < len(kept) else kept


def _smallest_k(x: Array, kept: Array, k: int) -> Array:
    return kept[::-1][:k] if k and k < len(kept) else kept


def _over_edge(x: Array, kept: Array, k: int) -> Array:
    """Strictly larger than the k-th: one too few."""
    return kept[x[kept] > x[kept[k - 1]]] if 0 < k <= len(kept) and k > 1 else kept[: k or None]


def _no_renormalising(case: SamplingCase) -> Array:
    """Probabilities of all tokens, the cut ones at 0, and no new sum."""
    right = distribution(case)
    if case.temperature == 0:
        return right
    return np.where(right > 0, softmax(np.array(case.logits) / case.temperature), 0.0)


def _k_not_renormalised(case: SamplingCase) -> Array:
    if case.temperature == 0:
        return distribution(case)
    everything = softmax(np.array(case.logits) / case.temperature)
    if case.top_p < 1:
        return _line_over_all(case)
    return np.where(distribution(case) > 0, everything, 0.0)


def _mistake(
    key: str, says: str, code: tuple[str, str], topic: Topic, make: Make
) -> SamplingMistake:
    return SamplingMistake(f"sampling.{key}", says, *code, topic, make)


SAMPLING_MISTAKES: tuple[SamplingMistake, ...] = (
    _mistake(
        "temperature_multiplies",
        "logits are multiplied by the temperature",
        ("logits / temperature", "logits · temperature"),
        TEMPERATURE,
        _steps(temperature=lambda x, t: x * t),
    ),
    _mistake(
        "temperature_ignored",
        "the temperature changes nothing (or divides probabilities, which normalising undoes)",
        ("logits / temperature", "softmax(logits) / temperature"),
        TEMPERATURE,
        _steps(temperature=lambda x, t: x),
    ),
    _mistake(
        "temperature_squared",
        "the temperature divides twice",
        ("logits / temperature", "logits / temperature²"),
        TEMPERATURE,
        _steps(temperature=lambda x, t: x / t / t),
    ),
    _mistake(
        "temperature_root",
        "the root of the temperature divides",
        ("logits / temperature", "logits / √temperature"),
        TEMPERATURE,
        _steps(temperature=lambda x, t: x / t**0.5),
    ),
    _mistake(
        "temperature_last",
        "the temperature comes after top-k and top-p, as in llama.cpp: no mistake, if the engine "
        'says so ("sampling_order": "llama.cpp" in its hello)',
        ("temperature, top-k, top-p", "top-k, top-p, temperature"),
        ORDER,
        lambda case: distribution(case, Rules(temperature_last=True)),
    ),
    _mistake(
        "zero_is_one",
        "temperature 0 is taken as 1",
        ("if temperature == 0: greedy", "if temperature == 0: temperature = 1"),
        TEMPERATURE,
        _zero_is_one,
    ),
    _mistake(
        "last_of_equals",
        "greedy takes the last of equal logits, and not the first",
        ("argmax: >", "argmax: >="),
        TEMPERATURE,
        _last_of_equals,
    ),
    _mistake(
        "not_shifted",
        "the largest logit is not subtracted before the exponential, which then overflows",
        ("exp(x - max)", "exp(x)"),
        TEMPERATURE,
        _not_shifted,
    ),
    _mistake(
        "base_2",
        "probabilities are made with powers of 2, and not of e",
        ("exp(x)", "2 ** x"),
        TEMPERATURE,
        _steps(temperature=lambda x, t: x / t * np.log(2.0)),
    ),
    _mistake("k_ignored", "top-k is ignored", ("keep k", "keep all"), TOP_K, _k_more(10**6)),
    _mistake(
        "k_one_more", "top-k keeps one more", ("order[..k]", "order[..k + 1]"), TOP_K, _k_more(1)
    ),
    _mistake(
        "k_one_less", "top-k keeps one less", ("order[..k]", "order[..k - 1]"), TOP_K, _k_more(-1)
    ),
    _mistake(
        "k_one_less_of_more",
        "top-k keeps one less, where there are more than k",
        ("order[..k]", "order[..k - 1]"),
        TOP_K,
        _steps(top_k=_k_less_of_more),
    ),
    _mistake(
        "k_over_edge",
        "top-k keeps what is larger than the k-th, and loses the k-th itself",
        ("x >= kth", "x > kth"),
        TOP_K,
        _steps(top_k=_over_edge),
    ),
    _mistake(
        "k_smallest",
        "top-k keeps the smallest",
        ("sort descending", "sort ascending"),
        TOP_K,
        _steps(top_k=_smallest_k),
    ),
    _mistake(
        "k_zero_is_one",
        "top-k 0 keeps one token, where it means all",
        ("if top_k > 0", "max(top_k, 1)"),
        TOP_K,
        _steps(top_k=lambda x, kept, k: kept[: max(k, 1)]),
    ),
    _mistake(
        "k_not_renormalised",
        "after top-k, probabilities keep the sum of all tokens, and top-p measures against it",
        ("p = softmax(kept)", "p = softmax(all)[kept]"),
        TOP_K,
        _k_not_renormalised,
    ),
    _mistake(
        "p_ignored",
        "top-p is ignored",
        ("keep the fewest that reach top_p", "keep all"),
        TOP_P,
        _steps(top_p=lambda p, line: p),
    ),
    _mistake(
        "p_crossing_dropped",
        "the token that crosses top-p is dropped",
        ("before < top_p", "before + p <= top_p"),
        TOP_P,
        _nucleus_kept(lambda p, line: max(1, int((np.cumsum(p) <= line).sum()))),
    ),
    _mistake(
        "p_meeting_dropped",
        "the token that reaches top-p is dropped, whether it crosses or meets it",
        ("before < top_p", "before + p < top_p"),
        TOP_P,
        _nucleus_kept(lambda p, line: max(1, int((np.cumsum(p) < line - BORDER / 10).sum()))),
    ),
    _mistake(
        "p_one_more",
        "one token more than needed is kept",
        ("before < top_p", "keep one more"),
        TOP_P,
        _nucleus_kept(lambda p, line: int((_before(p) < line).sum()) + 1),
    ),
    _mistake(
        "p_crossing_shortened",
        "the token that crosses top-p keeps only what was missing",
        ("the crossing token is kept whole", "p = top_p - before"),
        TOP_P,
        _steps(top_p=_crossing_shortened),
    ),
    _mistake(
        "p_not_renormalised",
        "after top-p, probabilities are not divided by their new sum",
        ("p / p.sum()", "p"),
        TOP_P,
        _nucleus_kept(lambda p, line: max(1, int((_before(p) < line).sum())), normalised=False),
    ),
    _mistake(
        "never_renormalised",
        "after top-k and top-p, probabilities are those of the whole vocabulary",
        ("p / p.sum()", "p"),
        TOP_P,
        _no_renormalising,
    ),
    _mistake(
        "p_one_minus",
        "1 - top_p stands where top_p should",
        ("before < top_p", "before < 1 - top_p"),
        TOP_P,
        _nucleus_kept(lambda p, line: max(1, int((_before(p) < 1 - line).sum()))),
    ),
    _mistake(
        "p_unsorted",
        "top-p goes through the tokens by id, and not by probability",
        ("sort, then cumsum", "cumsum"),
        TOP_P,
        _by_id,
    ),
    _mistake(
        "p_is_min_p",
        "a share of the largest probability is the line: that is min-p",
        ("cumsum(p) before < top_p", "p >= (1 - top_p) · p.max()"),
        TOP_P,
        _min_p,
    ),
    _mistake(
        "p_threshold",
        "tokens of at least 1 - top_p are kept",
        ("cumsum(p) before < top_p", "p >= 1 - top_p"),
        TOP_P,
        _nucleus_kept(lambda p, line: max(1, int((p >= 1 - line).sum()))),
    ),
    _mistake(
        "p_smallest_first",
        "top-p adds up the least likely first",
        ("sort descending", "sort ascending"),
        TOP_P,
        lambda case: _p_smallest(case),
    ),
    _mistake(
        "p_before_k",
        "top-p comes before top-k, so it measures against all tokens",
        ("top-k, then top-p", "top-p, then top-k"),
        ORDER,
        _top_p_first,
    ),
    _mistake(
        "sorted",
        "probabilities are given from large to small, and not by id",
        ("p[id]", "p[rank]"),
        ORDER,
        _sorted,
    ),
    _mistake(
        "logs",
        "log-probabilities are given",
        ("p", "log p"),
        TEMPERATURE,
        _on_logits(lambda p, case: np.log(np.maximum(p, 1e-300))),
    ),
    _mistake(
        "percent",
        "probabilities are given in percent",
        ("p", "100 · p"),
        TEMPERATURE,
        _on_logits(lambda p, case: 100 * p),
    ),
    _mistake(
        "greedy_always",
        "the choice is always greedy",
        ("if temperature == 0", "always"),
        TEMPERATURE,
        lambda case: distribution(replace(case, temperature=0.0)),
    ),
    _mistake(
        "cumulative",
        "sums up to each token are given",
        ("p", "cumsum(p)"),
        TEMPERATURE,
        _on_logits(lambda p, case: np.cumsum(p)),
    ),
)
"""Mistakes by name, each a distribution of its own."""


def _p_smallest(case: SamplingCase) -> Array:
    p = distribution(replace(case, top_p=1.0))
    if case.temperature == 0 or case.top_p >= 1:
        return p
    order = np.argsort(p, kind="stable")
    order = order[p[order] > 0]
    kept = order[_before(p[order]) < case.top_p]
    result = np.zeros_like(p)
    result[kept] = p[kept]
    return result / result.sum()


def name_sampling(
    answers: Sequence[tuple[SamplingCase, Array | None]], *, temperature_last: bool = False
) -> list[SamplingMistake]:
    """The mistakes that explain every answer; None stands for numbers that were not finite."""
    return [m for m in SAMPLING_MISTAKES if all(_explains(m, c, a) for c, a in answers)]


def _explains(mistake: SamplingMistake, case: SamplingCase, answer: Array | None) -> bool:
    with np.errstate(all="ignore"):
        made = mistake.make(case)
    if answer is None:
        return not bool(np.isfinite(made).all())
    if _gap(made, answer) <= TOLERANCE * max(1.0, float(np.abs(made).max())):
        return True
    # What may differ in a right engine may differ beside a mistake that does nothing here.
    harmless = _gap(made, distribution(case)) <= TOLERANCE
    return harmless and sampling_gap(case, answer) <= TOLERANCE
