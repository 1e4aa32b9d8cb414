"""Exercises on mask and softmax: the causal mask with a past, and the softmax that follows it."""

from collections.abc import Callable

import numpy as np

from llama_edu.exercises.framework.draw import noise, seeded_noise, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.ops.attention import apply_mask, causal_mask, softmax

Array = np.ndarray


def _scores(seed: int, *shape: int) -> Array:
    return 3 * seeded_noise(seed, *shape)


# ★ staircase(seq, past) -> (seq, total_seq), True where a query may look


def _stairs_compared(seq: int, past: int) -> Array:
    queries, keys = np.arange(past, past + seq), np.arange(past + seq)
    return keys[None, :] <= queries[:, None]


def _stairs_loop(seq: int, past: int) -> Array:
    mask = np.zeros((seq, past + seq), dtype=np.bool_)
    for i in range(seq):
        mask[i, : past + i + 1] = True
    return mask


def _stairs_square(seq: int, past: int) -> Array:
    return np.tri(seq, dtype=np.bool_)


def _stairs_from_the_left(seq: int, past: int) -> Array:
    return np.tri(seq, past + seq, dtype=np.bool_)


def _stairs_not_itself(seq: int, past: int) -> Array:
    return np.tri(seq, past + seq, k=past - 1, dtype=np.bool_)


def _stairs_one_more(seq: int, past: int) -> Array:
    return np.tri(seq, past + seq, k=past + 1, dtype=np.bool_)


def _stairs_without_past(seq: int, past: int) -> Array:
    return np.concatenate([np.zeros((seq, past), np.bool_), np.tri(seq, dtype=np.bool_)], axis=1)


def _stairs_upside_down(seq: int, past: int) -> Array:
    return ~causal_mask(seq, past)


def _staircase_drawn(rng: np.random.Generator) -> list[Case]:
    seq, past = wholes(rng, 2, 2, 9)
    return [Case("another length", (seq, past)), Case("the lengths exchanged", (past, seq))]


STAIRCASE = Exercise(
    name="staircase",
    topic="mask_softmax",
    books=("llama_edu.ops.attention.causal_mask",),
    stars=1,
    task="Build the causal mask of seq new tokens after past ones: True where a query may look.",
    section="Who may look where",
    cases=lambda: [
        Case("4 tokens after a past of 2", (4, 2)),
        Case("5 tokens, no past", (5, 0)),
        Case("1 token after a past of 6", (1, 6)),
        Case("2 tokens after a past of 3", (2, 3)),
    ],
    drawn=_staircase_drawn,
    correct=(causal_mask, _stairs_compared, _stairs_loop),
    axes="seq total_seq",
    mutants=(
        Mutant(
            "square",
            _stairs_square,
            "when the mask is square: it has no columns for the past",
            "https://github.com/meta-llama/llama/issues/899",
            section="The square mask",
        ),
        Mutant(
            "from_the_left",
            _stairs_from_the_left,
            "when the staircase starts at the left edge: the past has to shift it",
        ),
        Mutant("not_itself", _stairs_not_itself, "when a query may not look at its own position"),
        Mutant("one_more", _stairs_one_more, "when a query may look at the position after its own"),
        Mutant("without_past", _stairs_without_past, "when the past is hidden from everyone"),
        Mutant(
            "upside_down",
            _stairs_upside_down,
            "when True means masked: here True means that a query may look",
        ),
        Mutant(
            "all_true",
            lambda seq, past: np.ones((seq, past + seq), dtype=bool),
            "when nothing is hidden",
        ),
        Mutant(
            "past_last",
            lambda seq, past: np.hstack([np.tri(seq, dtype=bool), np.ones((seq, past), bool)]),
            "when the past stands behind the new tokens",
        ),
        Mutant(
            "upper",
            lambda seq, past: np.triu(np.ones((seq, past + seq), dtype=bool), past),
            "when a query looks at itself and the future",
        ),
        Mutant(
            "whole_square",
            lambda seq, past: np.tri(past + seq, dtype=bool),
            "when the past has rows as well",
        ),
        Mutant(
            "turned",
            lambda seq, past: causal_mask(seq, past).T,
            "when rows and columns change places",
        ),
        Mutant(
            "not_bool",
            lambda seq, past: causal_mask(seq, past).astype(np.float32),
            "when the mask is of numbers and not of bool",
        ),
    ),
)


# ★★ mask_scores(scores): the future of every query at −∞; past follows from the shape


def _mask_where(scores: Array) -> Array:
    seq, total_seq = scores.shape[-2:]
    return apply_mask(scores, causal_mask(seq, total_seq - seq))


def _mask_loop(scores: Array) -> Array:
    seq, total_seq = scores.shape[-2:]
    masked = scores.copy()
    for i in range(seq):
        masked[..., i, total_seq - seq + i + 1 :] = -np.inf
    return masked


def _mask_unless_cached(scores: Array) -> Array:
    seq, total_seq = scores.shape[-2:]
    if total_seq > seq:  # there is a past, so these are new tokens
        return scores.copy()
    return np.where(np.tri(seq, dtype=np.bool_), scores, np.float32(-np.inf))


def _mask_multiplied(scores: Array) -> Array:
    seq, total_seq = scores.shape[-2:]
    return scores * causal_mask(seq, total_seq - seq)


def _mask_zero_times_infinity(scores: Array) -> Array:
    seq, total_seq = scores.shape[-2:]
    hidden = ~causal_mask(seq, total_seq - seq)
    with np.errstate(invalid="ignore"):
        return scores + hidden * np.float32(-np.inf)


def _mask_a_little(scores: Array) -> Array:
    seq, total_seq = scores.shape[-2:]
    return scores - np.float32(10) * ~causal_mask(seq, total_seq - seq)


def _mask_no_shift(scores: Array) -> Array:
    return np.where(np.tri(*scores.shape[-2:], dtype=np.bool_), scores, np.float32(-np.inf))


def _mask_in_place(scores: Array) -> Array:
    seq, total_seq = scores.shape[-2:]
    scores[..., ~causal_mask(seq, total_seq - seq)] = -np.inf
    return scores


def _mask_scores_drawn(rng: np.random.Generator) -> list[Case]:
    heads, groups, seq, past = wholes(rng, 4, 2, 7)
    return [Case("tokens after a past", (noise(rng, heads, groups, seq, seq + past),))]


def _mask_by(scores: Array, more: int) -> Array:
    seq, total_seq = scores.shape[-2:]
    allowed = np.tri(seq, total_seq, total_seq - seq + more, dtype=np.bool_)
    return np.where(allowed, scores, np.float32(-np.inf))


MASK_SCORES = Exercise(
    name="mask_scores",
    topic="mask_softmax",
    books=("llama_edu.ops.attention.apply_mask",),
    stars=2,
    task="Repair the mask: every key in the future of its query gets −∞, with a past or without.",
    section='What stands for "not allowed"?',
    cases=lambda: [
        Case("5 tokens, no past", (_scores(1, 2, 3, 5, 5),)),
        Case("4 tokens after a past of 2", (_scores(2, 2, 3, 4, 6),)),
        Case("1 token after a past of 6", (_scores(3, 4, 2, 1, 7),)),
    ],
    drawn=_mask_scores_drawn,
    correct=(_mask_where, _mask_loop),
    axes="n_kv_heads n_groups seq total_seq",
    mutants=(
        Mutant(
            "unless_cached",
            _mask_unless_cached,
            "when there is no mask as soon as there is a past: several new tokens need one",
            "https://github.com/mlx-node/mlx-node/pull/24",
            section="Break it",
        ),
        Mutant(
            "multiplied",
            _mask_multiplied,
            "when scores are multiplied by the mask: a score of 0 is not a share of 0",
            "https://github.com/huggingface/transformers/issues/542",
            section="Who may look where",
        ),
        Mutant(
            "zero_times_infinity",
            _mask_zero_times_infinity,
            "when the mask is multiplied by −∞ and added: 0 · ∞ is NaN",
        ),
        Mutant(
            "a_little",
            _mask_a_little,
            "when a number such as 10 is subtracted: the future keeps a small share",
            section="Common mistakes",
        ),
        Mutant(
            "no_shift",
            _mask_no_shift,
            "when the staircase is not shifted by the past",
            section="Who may look where",
        ),
        Mutant("in_place", _mask_in_place, "when the caller's scores are overwritten"),
        Mutant(
            "not_itself", lambda scores: _mask_by(scores, -1), "when a query does not see itself"
        ),
        Mutant(
            "one_more",
            lambda scores: _mask_by(scores, 1),
            "when a query sees one key of the future",
        ),
        Mutant(
            "upside_down",
            lambda scores: np.where(np.isneginf(_mask_where(scores)), scores, np.float32(-np.inf)),
            "when what may be seen is hidden",
        ),
        Mutant(
            "plus_infinity",
            lambda scores: np.where(np.isneginf(_mask_where(scores)), np.float32(np.inf), scores),
            "when hidden scores are +∞",
        ),
        Mutant(
            "past_hidden",
            lambda scores: np.concatenate(
                [
                    np.full_like(scores[..., : scores.shape[-1] - scores.shape[-2]], -np.inf),
                    _mask_where(scores)[..., scores.shape[-1] - scores.shape[-2] :],
                ],
                axis=-1,
            ),
            "when the past is hidden",
        ),
        Mutant(
            "billion",
            lambda scores: np.where(np.isneginf(_mask_where(scores)), np.float32(-1e9), scores),
            "when hidden scores are a large negative number and not −∞",
        ),
    ),
)


# ★★ row_softmax(scores): (…, seq, total_seq), −∞ among them; rows far from each other


def _rows_stable(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _rows_loop(scores: Array) -> Array:
    weights = np.empty_like(scores)
    for index in np.ndindex(scores.shape[:-1]):
        powers = np.exp(scores[index] - scores[index].max())
        weights[index] = powers / powers.sum()
    return weights


def _columns(scores: Array) -> Array:
    highest = np.maximum(scores.max(axis=-2, keepdims=True), np.float32(-1e30))
    powers = np.exp(scores - highest)
    return powers / np.maximum(powers.sum(axis=-2, keepdims=True), np.float32(1e-30))


def _rows_no_largest(scores: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.exp(scores)
        return powers / powers.sum(axis=-1, keepdims=True)


def _rows_one_largest(scores: Array) -> Array:
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max())
        return powers / powers.sum(axis=-1, keepdims=True)


def _rows_one_sum(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum()


def _rows_not_divided(scores: Array) -> Array:
    return np.exp(scores - scores.max(axis=-1, keepdims=True))


def _rows_float64(scores: Array) -> Array:
    return _rows_stable(scores.astype(np.float64))


def _far_rows() -> Array:
    """Each row is harmless by itself; together they span more than float32 exponents do."""
    rows = _scores(6, 1, 2, 3, 5)
    return rows + np.array([400, -350, 0], dtype=np.float32)[:, None]


def _row_softmax_drawn(rng: np.random.Generator) -> list[Case]:
    heads, groups, seq, past = wholes(rng, 4, 2, 7)
    return [Case("masked rows", (_mask_where(noise(rng, heads, groups, seq, seq + past) * 5),))]


def _soft_over(scores: Array, axis: int | None) -> Array:
    with np.errstate(invalid="ignore"):  # a column may be masked as a whole
        powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
        return powers / powers.sum(axis=axis, keepdims=True)


def _soft_unshifted(scores: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        powers = np.exp(scores)
        return powers / powers.sum(axis=-1, keepdims=True)


ROW_SOFTMAX = Exercise(
    name="row_softmax",
    topic="mask_softmax",
    books=("llama_edu.ops.attention.softmax",),
    stars=2,
    task="Repair the softmax: every row of (seq, total_seq) sums to 1, whatever its scores are.",
    section="The softmax, row by row",
    cases=lambda: [
        Case("4 masked rows after a past of 2", (_mask_where(_scores(4, 2, 3, 4, 6)),)),
        Case("1 row, no mask", (_scores(5, 4, 2, 1, 7),)),
        Case("rows around 400, −350 and 0", (_far_rows(),)),
    ],
    drawn=_row_softmax_drawn,
    correct=(_rows_stable, _rows_loop, softmax),
    axes="n_kv_heads n_groups seq total_seq",
    mutants=(
        Mutant(
            "columns",
            _columns,
            "when the columns sum to 1: the shares are a query's, so the axis is the last",
            "https://github.com/nerminnuraydogan/vision-transformer/issues/1",
            section="Softmax over the wrong axis",
        ),
        Mutant(
            "no_largest",
            _rows_no_largest,
            "when the largest score is not subtracted: e⁸⁹ is more than float32 can hold",
            "https://github.com/pytorch/executorch/pull/18407",
            section="Large scores",
        ),
        Mutant(
            "one_largest",
            _rows_one_largest,
            "when one largest score serves all rows: in the others every power falls to 0",
            section="Large scores",
        ),
        Mutant("one_sum", _rows_one_sum, "when everything is divided by the sum of everything"),
        Mutant("not_divided", _rows_not_divided, "when the powers are not divided by their sum"),
        Mutant("float64", _rows_float64, "when the softmax is computed and returned in float64"),
        Mutant(
            "first_axis",
            lambda scores: _soft_over(scores, 0),
            "when the softmax is over the first axis",
        ),
        Mutant(
            "powers_of_two",
            lambda scores: softmax(scores * np.float32(np.log(2))),
            "when powers of 2 are taken, not of e",
        ),
        Mutant(
            "scaled_again",
            lambda scores: softmax(scores * np.float32(scores.shape[-1] ** -0.5)),
            "when the scores are scaled once more",
        ),
        Mutant(
            "hard",
            lambda scores: (scores == scores.max(axis=-1, keepdims=True)).astype(np.float32),
            "when the largest score gets everything",
        ),
        Mutant(
            "logarithms",
            lambda scores: np.log(softmax(scores)),
            "when the logarithms of the shares come back",
        ),
        Mutant(
            "all_numbers",
            lambda scores: _soft_over(scores, None),
            "when the softmax is over all numbers together",
        ),
        Mutant(
            "shares",
            lambda scores: scores / scores.sum(axis=-1, keepdims=True),
            "when the scores are divided by their sum, without a power",
        ),
        Mutant(
            "nan_made_0",
            lambda scores: np.nan_to_num(_soft_unshifted(scores)).astype(np.float32),
            "when no largest score is subtracted, and NaN is made 0",
        ),
    ),
)


# ★★★ fold_block(largest, total, block): the softmax's two numbers, one block of scores later

Fold = Callable[[float, float, Array], tuple[float, float]]


def _fold(largest: float, total: float, block: Array) -> tuple[float, float]:
    new_largest = max(largest, float(block.max()))
    if new_largest == -np.inf:
        return largest, total
    shrink = float(np.exp(largest - new_largest))
    return new_largest, total * shrink + float(np.exp(block - new_largest).sum())


def _fold_one_by_one(largest: float, total: float, block: Array) -> tuple[float, float]:
    for score in block.tolist():
        if score > largest:
            total, largest = total * float(np.exp(largest - score)) + 1.0, score
        elif score > -np.inf:
            total += float(np.exp(score - largest))
    return largest, total


def _fold_not_shrunk(largest: float, total: float, block: Array) -> tuple[float, float]:
    new_largest = max(largest, float(block.max()))
    if new_largest == -np.inf:
        return largest, total
    return new_largest, total + float(np.exp(block - new_largest).sum())


def _fold_masked_block(largest: float, total: float, block: Array) -> tuple[float, float]:
    new_largest = max(largest, float(block.max()))
    with np.errstate(invalid="ignore"):
        shrink = float(np.exp(np.subtract(largest, new_largest)))
        return new_largest, total * shrink + float(np.exp(block - new_largest).sum())


def _fold_forgets(largest: float, total: float, block: Array) -> tuple[float, float]:
    if block.max() == -np.inf:
        return largest, total
    here = float(block.max())
    return here, total * float(np.exp(min(largest - here, 80.0))) + float(
        np.exp(block - here).sum()
    )


def _fold_masked_resets(largest: float, total: float, block: Array) -> tuple[float, float]:
    if block.max() == -np.inf:
        return -np.inf, 0.0
    return _fold(largest, total, block)


def _fold_grown(largest: float, total: float, block: Array) -> tuple[float, float]:
    new_largest = max(largest, float(block.max()))
    if new_largest == -np.inf or largest == -np.inf:
        return _fold(largest, total, block)
    grow = float(np.exp(min(new_largest - largest, 80.0)))
    return new_largest, total * grow + float(np.exp(block - new_largest).sum())


def _fold_counts(largest: float, total: float, block: Array) -> tuple[float, float]:
    new_largest, new_total = _fold(largest, total, block)
    return new_largest, new_total + float((block == -np.inf).sum())


def _states(fold: Fold, scores: Array, block: int) -> Array:
    """What `fold` holds after each block of the row: (blocks, 2)."""
    largest, total, states = -np.inf, 0.0, []
    for start in range(0, len(scores), block):
        largest, total = fold(largest, total, scores[start : start + block])
        states.append([largest, total])
    return np.array(states, dtype=np.float32)


def _row(*scores: float | int) -> Array:
    return np.array(scores, dtype=np.float32)


def _fold_block_drawn(rng: np.random.Generator) -> list[Case]:
    scores = noise(rng, 12) * 9
    scores[rng.random(12) < 0.4] = -np.inf
    return [
        Case("a row with masked scores", (scores, 2)),
        Case("the same row in longer blocks", (scores, 4)),
        Case("a row without them", (noise(rng, 9) * 30, 3)),
    ]


def _fold_old(largest: float, total: float, block: Array) -> tuple[float, float]:
    with np.errstate(over="ignore"):
        both = total + float(np.exp(block - np.float32(largest)).sum())
    return max(largest, float(block.max())), both


FOLD_BLOCK = Exercise(
    name="fold_block",
    topic="mask_softmax",
    stars=3,
    task="Take one more block of a row's scores into the softmax's largest and total.",
    section="The same in one reading",
    cases=lambda: [
        Case("scores that rise, in blocks of 2", (_row(1, 2, 3, 5, 8), 2)),
        Case("scores that fall, in blocks of 3", (_row(4, 2.5, 1, 0.5, -3, 2, -1), 3)),
        Case("a first block that is all masked", (_row(-np.inf, -np.inf, 0.5, 2, -np.inf, 1), 2)),
        Case("a masked block after one that is not", (_row(1, 2, -np.inf, -np.inf, 3, 0.5), 2)),
        Case("scores of several hundred", (_row(-300, 200, 350, 348, -500, 351), 1)),
    ],
    harness=_states,
    axes="block largest,total",
    drawn=_fold_block_drawn,
    correct=(_fold, _fold_one_by_one),
    mutants=(
        Mutant(
            "not_shrunk",
            _fold_not_shrunk,
            "when a larger score is met and the old total is not scaled down to it",
        ),
        Mutant(
            "masked_block",
            _fold_masked_block,
            "when a block of nothing but −∞ comes first: −∞ minus −∞ is NaN",
            section="A row that may look at nothing",
        ),
        Mutant("forgets", _fold_forgets, "when each block's own largest replaces the one before"),
        Mutant(
            "masked_resets",
            _fold_masked_resets,
            "when a block that is all masked throws away what was seen before it",
        ),
        Mutant("grown", _fold_grown, "when the old total is scaled up instead of down"),
        Mutant(
            "counts_masked",
            _fold_counts,
            "when a masked score adds 1 to the total, as e⁰ does",
            section='What stands for "not allowed"?',
        ),
        Mutant(
            "exchanged",
            lambda largest, total, block: _fold(largest, total, block)[::-1],
            "when largest and total change places",
        ),
        Mutant(
            "block_alone",
            lambda largest, total, block: (
                (largest, total) if block.max() == -np.inf else _fold(-np.inf, 0.0, block)
            ),
            "when a block replaces what was held",
        ),
        Mutant(
            "mean",
            lambda largest, total, block: (
                _fold(largest, total, block)[0],
                _fold(largest, total, block)[1] / len(block),
            ),
            "when the total is divided by the length of the block",
        ),
        Mutant(
            "from_0",
            lambda largest, total, block: _fold(max(largest, 0.0), total, block),
            "when the largest score begins at 0 and not at −∞",
        ),
        Mutant(
            "nothing",
            lambda largest, total, block: (largest, total),
            "when what is held stays as it was",
        ),
        Mutant(
            "total_alone",
            lambda largest, total, block: _fold(largest, total, block)[1],
            "when only the total comes back",
        ),
        Mutant(
            "old_largest",
            lambda largest, total, block: (
                _fold(largest, total, block)
                if largest == -np.inf
                else _fold_old(largest, total, block)
            ),
            "when the old largest score is subtracted and not the new one",
        ),
    ),
)

EXERCISES = (STAIRCASE, MASK_SCORES, ROW_SOFTMAX, FOLD_BLOCK)
