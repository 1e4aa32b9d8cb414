"""Exercises on sampling: temperature, top-k and top-p in their order, and the draw."""

from collections.abc import Callable

import numpy as np

from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.exercises.framework.draw import f32, noise, seeded_noise, whole
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.ops.attention import softmax

Array = np.ndarray


def _logits(seed: int, n: int) -> Array:
    return 2 * seeded_noise(seed, n)


# ★ with_temperature(logits, temperature) -> probabilities


def _warm(logits: Array, temperature: float) -> Array:
    return softmax(logits / temperature)


def _warm_loop(logits: Array, temperature: float) -> Array:
    largest = max(logits)
    powers = [np.exp((logit - largest) / temperature) for logit in logits]
    return np.array([power / sum(powers) for power in powers], dtype=np.float32)


def _warm_largest_first(logits: Array, temperature: float) -> Array:
    powers = np.exp((logits - logits.max()) / temperature)
    return powers / powers.sum()


def _warm_multiplied(logits: Array, temperature: float) -> Array:
    return softmax(logits * temperature)


def _warm_after(logits: Array, temperature: float) -> Array:
    p = softmax(logits) / temperature
    return p / p.sum()


def _warm_no_largest(logits: Array, temperature: float) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.exp(logits / temperature)
        return powers / powers.sum()


def _warm_float64(logits: Array, temperature: float) -> Array:
    return softmax(logits.astype(np.float64) / temperature)


def _warm_not_normalised(logits: Array, temperature: float) -> Array:
    return np.exp((logits - logits.max()) / temperature)


def _with_temperature_drawn(rng: np.random.Generator) -> list[Case]:
    n, temperature = whole(rng, 5, 9), whole(rng, 4, 30) / 10
    return [
        Case("other logits", (noise(rng, n) * 3, temperature)),
        Case("other logits around 500", (noise(rng, n) * 3 + np.float32(500), temperature)),
        Case("logits far apart", (noise(rng, n) * 300, temperature)),
    ]


WITH_TEMPERATURE = Exercise(
    name="with_temperature",
    topic="sampling",
    books=("llama_edu.engine.sampling.probabilities",),
    stars=1,
    task="Turn logits into probabilities at a temperature, in float32, without overflow.",
    section="Temperature",
    cases=lambda: [
        Case("5 logits at temperature 0.5", (_logits(1, 5), 0.5)),
        Case("7 logits at temperature 1.7", (_logits(2, 7), 1.7)),
        Case("logits of several hundred", (f32(310.0, 305.0, 300.0), 0.8)),
        Case("logits of 400 at temperature 0.5", (f32(400.0, 399.5, 398.0), 0.5)),
    ],
    drawn=_with_temperature_drawn,
    correct=(_warm, _warm_loop, _warm_largest_first),
    axes="vocab_size",
    tolerance=5e-4,  # logits of 1,000, divided first, are rounded before they are subtracted
    mutants=(
        Mutant("multiplied", _warm_multiplied, "when the logits are multiplied by the temperature"),
        Mutant(
            "after_softmax",
            _warm_after,
            "when the temperature is not used, or divides the probabilities: normalising undoes it",
        ),
        Mutant(
            "no_largest",
            _warm_no_largest,
            "when the largest logit is not subtracted first",
        ),
        Mutant("float64", _warm_float64, "when the arithmetic widens to float64"),
        Mutant(
            "not_normalised",
            _warm_not_normalised,
            "when the exponentials are not divided",
        ),
        Mutant(
            "probabilities",
            lambda logits, temperature: softmax(logits) / np.float32(temperature),
            "when probabilities are divided, and no longer sum to 1",
        ),
        Mutant(
            "greedy",
            lambda logits, temperature: (logits == logits.max()).astype(np.float32),
            "when the likeliest token gets everything",
        ),
        Mutant(
            "root",
            lambda logits, temperature: softmax(logits / np.float32(temperature**0.5)),
            "when the root of the temperature divides",
        ),
        Mutant(
            "by_largest",
            lambda logits, temperature: softmax(
                logits / np.float32(float(logits.max()) * temperature)
            ),
            "when the largest logit divides and is not subtracted",
        ),
        Mutant(
            "logarithms",
            lambda logits, temperature: np.log(
                softmax(logits / np.float32(temperature)) + np.float32(1e-30)
            ),
            "when the logarithms come back",
        ),
        Mutant(
            "clipped",
            lambda logits, temperature: softmax(np.clip(logits / np.float32(temperature), -80, 80)),
            "when large logits are clipped to one size",
        ),
    ),
)


# ★★ nucleus(p, top_p) -> p with the unlikely tail cut off, summing to 1


def _scattered(p: Array, order: Array, kept: Array) -> Array:
    cut = np.zeros_like(p)
    cut[order[: len(kept)]] = kept
    return cut


def _nucleus(p: Array, top_p: float) -> Array:
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    kept = p[order][before < top_p]
    return _scattered(p, order, kept / kept.sum())


def _nucleus_loop(p: Array, top_p: float) -> Array:
    cut, total = np.zeros_like(p), 0.0
    for token in sorted(range(len(p)), key=lambda i: (-p[i], i)):
        if total >= top_p:
            break
        cut[token] = p[token]
        total += float(p[token])
    return cut / cut.sum()


def _nucleus_drops_crossing(p: Array, top_p: float) -> Array:
    order = np.argsort(-p, kind="stable")
    kept = p[order][np.cumsum(p[order]) <= top_p]
    if len(kept) == 0:
        kept = p[order][:1]
    return _scattered(p, order, kept / kept.sum())


def _nucleus_crossing_shortened(p: Array, top_p: float) -> Array:
    order = np.argsort(-p, kind="stable")
    cumulative = np.minimum(np.cumsum(p[order]), p.dtype.type(top_p))
    kept = np.diff(cumulative, prepend=p.dtype.type(0))
    return _scattered(p, order, kept / kept.sum())


def _nucleus_not_normalised(p: Array, top_p: float) -> Array:
    order = np.argsort(-p, kind="stable")
    return _scattered(p, order, p[order][np.cumsum(p[order]) - p[order] < top_p])


def _nucleus_unsorted(p: Array, top_p: float) -> Array:
    kept = np.where(np.cumsum(p) - p < top_p, p, p.dtype.type(0))
    return kept / kept.sum()


def _nucleus_at_the_line(p: Array, top_p: float) -> Array:
    order = np.argsort(-p, kind="stable")
    kept = p[order][np.cumsum(p[order]) - p[order] <= top_p]
    return _scattered(p, order, kept / kept.sum())


def _nucleus_ties(p: Array, top_p: float) -> Array:
    kept = np.where(p >= p[_nucleus(p, top_p) > 0].min(), p, p.dtype.type(0))
    return kept / kept.sum()


def _up_to_ties(answer: Callable[[Array, float], Array], p: Array, top_p: float) -> Array:
    """What is returned, with equally likely tokens in order: which of them stays is not asked."""
    got = answer(p, top_p)
    if type(got) is not np.ndarray or got.shape != p.shape:
        return got
    got = got.copy()
    for share in np.unique(p):
        alike = p == share
        got[alike] = np.sort(got[alike])[::-1]
    return got


def _nucleus_one_minus(p: Array, top_p: float) -> Array:
    return _nucleus(p, 1 - top_p)


def _nucleus_threshold(p: Array, top_p: float) -> Array:
    kept = np.where(p >= (1 - top_p) * p.max(), p, p.dtype.type(0))
    return kept / kept.sum()


def _nucleus_drawn(rng: np.random.Generator) -> list[Case]:
    p = softmax(noise(rng, whole(rng, 6, 12)))
    return [Case(f"other tokens, top_p {top_p}", (p, top_p)) for top_p in (0.35, 0.72, 0.97)]


def _kept_count(p: Array, top_p: float) -> int:
    return int((_nucleus(p, top_p) > 0).sum())


def _first_tokens(p: Array, n: int) -> Array:
    """The `n` likeliest, summing to 1."""
    kept = np.zeros_like(p)
    best = np.argsort(-p, kind="stable")[:n]
    kept[best] = p[best]
    return kept / kept.sum()


def _ascending(p: Array, top_p: float) -> Array:
    order = np.argsort(p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    return _scattered(
        p, order[before < top_p], p[order[before < top_p]] / p[order[before < top_p]].sum()
    )


NUCLEUS = Exercise(
    name="nucleus",
    topic="sampling",
    books=("llama_edu.engine.sampling.probabilities",),
    stars=2,
    task="Repair top-p: keep the fewest likeliest tokens whose probabilities reach top_p.",
    section="Cutting the tail",
    cases=lambda: [
        Case("four tokens, top_p 0.6", (f32(0.15, 0.5, 0.05, 0.3), 0.6)),
        Case("top_p below the likeliest", (f32(0.2, 0.1, 0.7), 0.4)),
        Case("nine tokens, top_p 0.9", (softmax(_logits(3, 9)), 0.9)),
        Case("equal probabilities", (f32(0.25, 0.25, 0.25, 0.25), 0.3)),
        Case("the likeliest reaches top_p alone", (f32(0.25, 0.5, 0.25), 0.5)),
        Case("two of five equal ones reach top_p", (f32(0.1, 0.2, 0.2, 0.2, 0.3), 0.6)),
    ],
    harness=_up_to_ties,
    drawn=_nucleus_drawn,
    correct=(_nucleus, _nucleus_loop),
    axes="vocab_size",
    mutants=(
        Mutant(
            "crossing_dropped",
            _nucleus_drops_crossing,
            "when the token that crosses the line is dropped: the kept ones do not reach top_p",
            "https://github.com/thu-nics/C2C/pull/21",
            section="One name, four meanings",
        ),
        Mutant(
            "crossing_shortened",
            _nucleus_crossing_shortened,
            "when the crossing token keeps only the part of its probability below the line",
            section="One name, four meanings",
        ),
        Mutant(
            "not_normalised", _nucleus_not_normalised, "when what is kept is not made to sum to 1"
        ),
        Mutant("unsorted", _nucleus_unsorted, "when tokens are added up in the order of their ids"),
        Mutant(
            "one_minus",
            _nucleus_one_minus,
            "when 1 - top_p is kept",
            "https://github.com/lucidrains/x-transformers/issues/184",
            section="Common mistakes",
        ),
        Mutant(
            "threshold",
            _nucleus_threshold,
            "when each token is compared with the likeliest: that is min-p, another method",
        ),
        Mutant(
            "at_the_line",
            _nucleus_at_the_line,
            "when one more token is taken although the line is reached",
        ),
        Mutant(
            "ties_kept",
            _nucleus_ties,
            "when all tokens as likely as the last one are kept: fewer would do",
        ),
        Mutant(
            "one_more",
            lambda p, top_p: _first_tokens(p, _kept_count(p, top_p) + 1),
            "when one token more is kept",
        ),
        Mutant(
            "likeliest", lambda p, top_p: _first_tokens(p, 1), "when only the likeliest is kept"
        ),
        Mutant("all", lambda p, top_p: p.copy(), "when everything is kept"),
        Mutant(
            "at_least_two",
            lambda p, top_p: _first_tokens(p, max(2, _kept_count(p, top_p))),
            "when at least two tokens are kept",
        ),
        Mutant(
            "ascending", lambda p, top_p: _ascending(p, top_p), "when the least likely come first"
        ),
        Mutant(
            "in_order",
            lambda p, top_p: np.sort(_nucleus(p, top_p))[::-1].copy(),
            "when the result stays in the order of size",
        ),
        Mutant(
            "share_of_largest",
            lambda p, top_p: (
                np.where(p >= top_p * p.max(), p, 0) / np.where(p >= top_p * p.max(), p, 0).sum()
            ),
            "when a share of the largest is the border: that is min-p",
        ),
    ),
)


# ★★ filtered(logits, temperature, top_k, top_p) -> probabilities, all three in their order


def _filtered(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    return probabilities(logits, Sampling(temperature, top_k, top_p))


def _filtered_by_steps(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    scaled = logits / temperature
    if 0 < top_k < len(scaled):
        keep = np.argsort(-scaled, kind="stable")[:top_k]
        masked = np.full_like(scaled, -np.inf)
        masked[keep] = scaled[keep]
        scaled = masked
    return _nucleus(softmax(scaled), top_p)


def _filters_first(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    p = _filtered_by_steps(logits, 1.0, top_k, top_p)
    kept = np.where(p > 0, logits, logits.dtype.type(-np.inf))
    return softmax(kept / temperature)


def _top_p_first(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    p = _nucleus(softmax(logits / temperature), top_p)
    if 0 < top_k < len(p):
        keep = np.argsort(-p, kind="stable")[:top_k]
        cut = np.zeros_like(p)
        cut[keep] = p[keep]
        p = cut / cut.sum()
    return p


def _top_k_ties(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    scaled = logits / temperature
    if 0 < top_k < len(scaled):
        line = np.sort(scaled)[-top_k]
        scaled = np.where(scaled < line, scaled.dtype.type(-np.inf), scaled)
    return _nucleus(softmax(scaled), top_p)


def _top_k_zero_is_one(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    return _filtered(logits, temperature, max(1, top_k), top_p)


def _no_top_k(logits: Array, temperature: float, top_k: int, top_p: float) -> Array:
    return _filtered(logits, temperature, 0, top_p)


def _filtered_drawn(rng: np.random.Generator) -> list[Case]:
    x, t = noise(rng, whole(rng, 7, 12)) * 2, whole(rng, 5, 20) / 10
    tied = np.round(noise(rng, 9)) + np.float32(0)
    return [
        Case("other logits", (x, t, whole(rng, 2, 5), 0.65)),
        Case("other logits, all of them", (x, t, 0, 0.8)),
        Case("other equal logits", (tied, t, whole(rng, 2, 4), 1.0)),
    ]


FILTERED = Exercise(
    name="filtered",
    topic="sampling",
    books=("llama_edu.engine.sampling.probabilities",),
    stars=2,
    task="Repair the order to this engine's: temperature, then top-k, then top-p on what is left.",
    section="The real function",
    cases=lambda: [
        Case("temperature 2, top_k 4, top_p 0.7", (_logits(4, 9), 2.0, 4, 0.7)),
        Case("temperature 0.5, top_k 0 (off), top_p 0.8", (_logits(5, 8), 0.5, 0, 0.8)),
        Case("top_k on equal logits", (f32(1.0, 3.0, 1.0, 1.0), 1.0, 2, 1.0)),
        Case("top_k larger than the vocabulary", (_logits(6, 5), 1.3, 50, 0.9)),
    ],
    drawn=_filtered_drawn,
    correct=(_filtered, _filtered_by_steps),
    axes="vocab_size",
    mutants=(
        Mutant(
            "filters_first",
            _filters_first,
            "when the temperature comes last, as in llama.cpp: the cuts work as if it were 1. This "
            "engine, like transformers, puts it first",
            "https://github.com/fishaudio/fish-speech/pull/1150",
            section="The order",
        ),
        Mutant(
            "top_p_first",
            _top_p_first,
            "when top-p comes before top-k",
        ),
        Mutant(
            "ties",
            _top_k_ties,
            "when every logit equal to the k-th is kept, as in transformers: here exactly k remain",
            section="Equal tokens on the line",
        ),
        Mutant(
            "zero_is_one",
            _top_k_zero_is_one,
            "when top_k 0 means the likeliest, not all",
            section="Cutting the tail",
        ),
        Mutant("no_top_k", _no_top_k, "when top_k is not used", section="Cutting the tail"),
        Mutant(
            "no_temperature",
            lambda logits, temperature, top_k, top_p: _filtered(logits, 1.0, top_k, top_p),
            "when the temperature is not used",
        ),
        Mutant(
            "no_top_p",
            lambda logits, temperature, top_k, top_p: _filtered(logits, temperature, top_k, 1.0),
            "when top-p is not used",
        ),
        Mutant(
            "one_more",
            lambda logits, temperature, top_k, top_p: _filtered(
                logits, temperature, top_k + 1 if top_k else 0, top_p
            ),
            "when top-k keeps one too many",
        ),
        Mutant(
            "multiplied",
            lambda logits, temperature, top_k, top_p: _filtered(
                logits, 1 / temperature, top_k, top_p
            ),
            "when the temperature multiplies",
        ),
        Mutant(
            "higher_ids",
            lambda logits, temperature, top_k, top_p: _filtered(
                logits[::-1].copy(), temperature, top_k, top_p
            )[::-1].copy(),
            "when the higher ids of equal logits are kept",
        ),
    ),
)


# ★★★ draw(p, point): the token whose share of the line from 0 to 1 holds the point


def _draw_cumulative(p: Array, point: float) -> int:
    cumulative = np.cumsum(p)
    at = min(point * float(cumulative[-1]), float(np.nextafter(cumulative[-1], np.float32(0))))
    return int(np.searchsorted(cumulative, np.float32(at), side="right"))


def _draw_loop(p: Array, point: float) -> int:
    total, last = 0.0, 0
    point = point * float(np.sum(p))
    for token, share in enumerate(p):
        if share > 0:
            last = token
            total += float(share)
            if point < total:
                return token
    return last


def _draw_left(p: Array, point: float) -> int:
    return int(np.searchsorted(np.cumsum(p), np.float32(point), side="left"))


def _draw_one_more(p: Array, point: float) -> int:
    return min(_draw_cumulative(p, point) + 1, len(p) - 1)


def _draw_among_sorted(p: Array, point: float) -> int:
    return _draw_cumulative(np.sort(p)[::-1].copy(), point)


def _draw_past_the_end(p: Array, point: float) -> int:
    return int(np.searchsorted(np.cumsum(p), np.float32(point), side="right"))


def _draw_drawn(rng: np.random.Generator) -> list[Case]:
    p = rng.random(9) * (rng.random(9) < 0.6)
    p[4] += 0.1
    p = (p / p.sum()).astype(np.float32)
    return [Case(f"point {u:.3f}", (p, u)) for u in rng.random(5).tolist()]


DRAW = Exercise(
    name="draw",
    topic="sampling",
    books=("llama_edu.engine.sampling.sample",),
    stars=3,
    task="Draw a token id, given a random point from 0 to 1; a token of probability 0 never comes.",
    section="The draw",
    cases=lambda: [
        Case("a point in the middle", (f32(0.1, 0.0, 0.6, 0.3), 0.5)),
        Case("the point 0, first token impossible", (f32(0.0, 0.25, 0.75), 0.0)),
        Case("a point on a border", (f32(0.25, 0.25, 0.5), 0.5)),
        Case("a point near 1, last tokens impossible", (f32(0.5, 0.49999, 0.0, 0.0), 0.9999999)),
    ],
    drawn=_draw_drawn,
    correct=(_draw_cumulative, _draw_loop),
    mutants=(
        Mutant(
            "left", _draw_left, "when a point on a border goes to the token before: at 0, to any"
        ),
        Mutant("one_more", _draw_one_more, "when the token after the right one is taken"),
        Mutant(
            "among_sorted",
            _draw_among_sorted,
            "when the place in a sorted list is taken for the id of the token",
        ),
        Mutant(
            "past_the_end",
            _draw_past_the_end,
            "when rounding lets the point pass the end of the sums: float32 shares do not add to 1",
            "https://github.com/sherjilozair/char-rnn-tensorflow/issues/18",
            section="Common mistakes",
        ),
        Mutant(
            "likeliest",
            lambda p, point: int(p.argmax()),
            "when the likeliest is taken, whatever the point",
        ),
        Mutant(
            "equal_pieces",
            lambda p, point: min(int(point * len(p)), len(p) - 1),
            "when all pieces of the line are taken to be equally long",
        ),
        Mutant(
            "from_the_end",
            lambda p, point: len(p) - 1 - _draw_cumulative(p[::-1], point),
            "when the line is laid out from the last token",
        ),
        Mutant(
            "other_point",
            lambda p, point: _draw_cumulative(p, min(1 - point, 1 - 1e-9)),
            "when 1 − point is used",
        ),
        Mutant(
            "last_id",
            lambda p, point: min(
                int(np.searchsorted(np.cumsum(p), point, side="right")), len(p) - 1
            ),
            "when the last id is taken near 1, though its probability may be 0",
        ),
        Mutant(
            "probability",
            lambda p, point: float(p[_draw_cumulative(p, point)]),
            "when the probability comes back and not the id",
        ),
    ),
)

EXERCISES = (WITH_TEMPERATURE, NUCLEUS, FILTERED, DRAW)
