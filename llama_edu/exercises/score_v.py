"""Exercises on values: weights mix values, and the heads go back to where they came from."""

import numpy as np

from llama_edu.exercises.framework.draw import noise, seed_from, seeded_noise, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.ops.attention import (
    apply_mask,
    causal_mask,
    merge_heads,
    qk_scores,
    score_v,
    softmax,
)
from llama_edu.ops.rope import apply_rope, apply_rope_interleaved

Array = np.ndarray


def _weights(seed: int, n_kv_heads: int, n_groups: int, seq: int, total_seq: int) -> Array:
    scores = 2 * seeded_noise(seed, n_kv_heads, n_groups, seq, total_seq)
    return softmax(apply_mask(scores, causal_mask(seq, total_seq - seq)))


# ★ mix_values(weights, buffer): buffer (n_kv_heads, max_seq, head_dim), total_seq rows of it count


def _mix_matmul(weights: Array, buffer: Array) -> Array:
    return score_v(weights, buffer[:, : weights.shape[-1]])


def _mix_einsum(weights: Array, buffer: Array) -> Array:
    return np.einsum("kgst,ktd->kgsd", weights, buffer[:, : weights.shape[-1]])


def _mix_loop(weights: Array, buffer: Array) -> Array:
    n_kv_heads, n_groups, seq, total_seq = weights.shape
    mixed = np.zeros((n_kv_heads, n_groups, seq, buffer.shape[2]), dtype=np.float32)
    for kv, group, i, j in np.ndindex(n_kv_heads, n_groups, seq, total_seq):
        mixed[kv, group, i] += weights[kv, group, i, j] * buffer[kv, j]
    return mixed


def _mix_stale(weights: Array, buffer: Array) -> Array:
    return score_v(weights, buffer[:, -weights.shape[-1] :])


def _mix_new_only(weights: Array, buffer: Array) -> Array:
    seq, total_seq = weights.shape[-2:]
    return score_v(weights[..., -seq:], buffer[:, total_seq - seq : total_seq])


def _mix_modulo(weights: Array, buffer: Array) -> Array:
    n_kv_heads, n_groups, seq, total_seq = weights.shape
    heads = weights.reshape(-1, seq, total_seq)
    owner = np.arange(len(heads)) % n_kv_heads
    mixed = heads @ buffer[owner, :total_seq]
    return mixed.reshape(n_kv_heads, n_groups, seq, -1)


def _mix_first_head(weights: Array, buffer: Array) -> Array:
    return weights @ buffer[0, : weights.shape[-1]]


def _mix_largest(weights: Array, buffer: Array) -> Array:
    groups = np.arange(len(weights))[:, None, None]
    return buffer[groups, weights.argmax(axis=-1)]


def _mix_not_weighted(weights: Array, buffer: Array) -> Array:
    return _mix_matmul((weights > 0).astype(np.float32), buffer)


def _mix_values_drawn(rng: np.random.Generator) -> list[Case]:
    heads, groups, seq, dim = wholes(rng, 4, 2, 7)
    total = seq + whole(rng, 1, 4)
    buffer = noise(rng, heads, total + whole(rng, 1, 5), dim)
    return [Case("other sizes", (_weights(seed_from(rng), heads, groups, seq, total), buffer))]


MIX_VALUES = Exercise(
    name="mix_values",
    topic="score_v",
    books=("llama_edu.ops.attention.score_v",),
    stars=1,
    task="Mix the first total_seq value rows of each KV group by its queries' attention weights.",
    section="All of them",
    cases=lambda: [
        Case("4 tokens after a past of 2", (_weights(1, 2, 3, 4, 6), seeded_noise(2, 2, 9, 5))),
        Case("1 token after a past of 6", (_weights(3, 4, 2, 1, 7), seeded_noise(4, 4, 8, 3))),
        Case("a buffer without room to spare", (_weights(5, 3, 1, 5, 5), seeded_noise(6, 3, 5, 2))),
    ],
    drawn=_mix_values_drawn,
    correct=(_mix_matmul, _mix_einsum, _mix_loop),
    axes="n_kv_heads n_groups seq head_dim",
    mutants=(
        Mutant(
            "stale_rows",
            _mix_stale,
            "when the last rows of the buffer are read: they hold what an earlier text left there",
            "https://github.com/quantumaikr/quant.cpp/pull/52",
            section="What an earlier text left behind",
        ),
        Mutant(
            "new_only", _mix_new_only, "when only the new tokens' values are mixed, not the past"
        ),
        Mutant(
            "modulo",
            _mix_modulo,
            "when query head h reads value head h % n_kv_heads: a group is a block of neighbours",
            "https://github.com/ekzhang/jax-js/pull/180",
        ),
        Mutant("first_head", _mix_first_head, "when every query reads the values of KV head 0"),
        Mutant(
            "largest",
            _mix_largest,
            "when the row with the largest weight is taken as it is",
            section="One row",
        ),
        Mutant(
            "not_weighted",
            _mix_not_weighted,
            "when the visible rows are added up unweighted",
            section="One row",
        ),
        Mutant(
            "seq_rows",
            lambda weights, buffer: (
                weights[..., : weights.shape[2]] @ buffer[:, None, : weights.shape[2]]
            ),
            "when only seq rows are read, and the rest of the past is not",
        ),
        Mutant(
            "heads_reversed",
            lambda weights, buffer: _mix_matmul(weights, buffer[::-1]),
            "when the groups read the value heads in reverse",
        ),
        Mutant(
            "divided_again",
            lambda weights, buffer: _mix_matmul(weights, buffer) / np.float32(weights.shape[-1]),
            "when the sum is divided by the number of rows: the shares sum to 1 already",
        ),
        Mutant(
            "merged",
            lambda weights, buffer: (
                _mix_matmul(weights, buffer).transpose(2, 0, 1, 3).reshape(weights.shape[2], -1)
            ),
            "when the heads are merged as well",
        ),
        Mutant(
            "turned",
            lambda weights, buffer: np.ascontiguousarray(
                _mix_matmul(weights, buffer).swapaxes(-1, -2)
            ),
            "when tokens and features change places",
        ),
        Mutant(
            "plain_mean",
            lambda weights, buffer: np.broadcast_to(
                buffer[:, None, None, : weights.shape[-1]].mean(axis=-2),
                _mix_matmul(weights, buffer).shape,
            ).copy(),
            "when the rows are averaged and the shares not used",
        ),
    ),
)


# ★★ merge(attn_v): (n_kv_heads, n_groups, seq, head_dim) -> (seq, n_heads · head_dim)


def _merge_loop(attn_v: Array) -> Array:
    n_kv_heads, n_groups, seq, head_dim = attn_v.shape
    merged = np.empty((seq, n_kv_heads * n_groups * head_dim), dtype=attn_v.dtype)
    for kv, group in np.ndindex(n_kv_heads, n_groups):
        start = (kv * n_groups + group) * head_dim
        merged[:, start : start + head_dim] = attn_v[kv, group]
    return merged


def _merge_concatenated(attn_v: Array) -> Array:
    return np.concatenate([head for group in attn_v for head in group], axis=1)


def _merge_reshaped(attn_v: Array) -> Array:
    return attn_v.reshape(attn_v.shape[2], -1)


def _merge_interleaved(attn_v: Array) -> Array:
    return attn_v.transpose(2, 1, 0, 3).reshape(attn_v.shape[2], -1)


def _merge_numbers_first(attn_v: Array) -> Array:
    return attn_v.transpose(2, 3, 0, 1).reshape(attn_v.shape[2], -1)


def _merge_stacked(attn_v: Array) -> Array:
    return _merge_loop(attn_v).T


def _merge_drawn(rng: np.random.Generator) -> list[Case]:
    return [Case("other sizes", (noise(rng, *wholes(rng, 4, 2, 7)),))]


MERGE = Exercise(
    name="merge",
    topic="score_v",
    books=("llama_edu.ops.attention.merge_heads",),
    stars=2,
    task="Repair the way back: all heads of a token side by side in one row, head 0 first.",
    section="Back into rows",
    cases=lambda: [
        Case("4 tokens, 2 groups of 3 heads", (seeded_noise(7, 2, 3, 4, 5),)),
        Case("1 token, 4 groups of 2 heads", (seeded_noise(8, 4, 2, 1, 3),)),
        Case("5 tokens, 3 groups of 1 head", (seeded_noise(9, 3, 1, 5, 2),)),
    ],
    drawn=_merge_drawn,
    correct=(_merge_loop, _merge_concatenated, merge_heads),
    axes="seq n_heads*head_dim",
    mutants=(
        Mutant(
            "reshaped",
            _merge_reshaped,
            "when nothing is transposed: one row then holds several tokens of one head",
            "https://github.com/jsbaan/transformer-from-scratch/pull/6",
        ),
        Mutant(
            "interleaved",
            _merge_interleaved,
            "when the heads go back one of each group in turn: 0, 3, 1, 4, … instead of 0, 1, 2",
            section="The heads in another order",
        ),
        Mutant(
            "numbers_first",
            _merge_numbers_first,
            "when the first numbers of all heads stand together, then the second ones",
        ),
        Mutant("stacked", _merge_stacked, "when tokens are the columns: a row is a token"),
        Mutant(
            "mean",
            lambda attn_v: attn_v.mean(axis=(0, 1)),
            "when the heads are averaged: each keeps its own columns",
        ),
        Mutant(
            "summed",
            lambda attn_v: attn_v.sum(axis=(0, 1)),
            "when the heads are added: each keeps its own columns",
        ),
        Mutant(
            "not_merged",
            lambda attn_v: attn_v.transpose(2, 0, 1, 3),
            "when tokens come first, and the heads are not joined",
        ),
        Mutant(
            "below",
            lambda attn_v: attn_v.reshape(-1, attn_v.shape[-1]),
            "when the heads stand below one another and not side by side",
        ),
        Mutant(
            "one_axis",
            lambda attn_v: attn_v.transpose(1, 2, 0, 3).reshape(
                attn_v.shape[1], attn_v.shape[2], -1
            ),
            "when only one of the two head axes is joined",
        ),
        Mutant(
            "tokens_and_groups",
            lambda attn_v: attn_v.swapaxes(1, 2).reshape(attn_v.shape[2], -1),
            "when tokens and groups change places, and heads stay in front",
        ),
        Mutant(
            "reversed",
            lambda attn_v: _merge_loop(attn_v[::-1]),
            "when the last KV head comes first",
        ),
    ),
)


# ★★ attention_rows(q, k, v, cos, sin): from unrotated heads to (seq, n_heads · head_dim)
# q (n_kv_heads, n_groups, seq, head_dim); k, v (n_kv_heads, total_seq, head_dim);
# cos, sin (total_seq, head_dim / 2) for positions 0 to total_seq - 1


def _mixed(q: Array, k: Array, v: Array) -> Array:
    seq, total_seq = q.shape[2], k.shape[1]
    scores = apply_mask(qk_scores(q, k), causal_mask(seq, total_seq - seq))
    return merge_heads(score_v(softmax(scores), v))


def _newest(table: Array, q: Array) -> Array:
    return table[len(table) - q.shape[2] :]


def _rows(q: Array, k: Array, v: Array, cos: Array, sin: Array) -> Array:
    turned = apply_rope(q, _newest(cos, q), _newest(sin, q))
    return _mixed(turned, apply_rope(k, cos, sin), v)


def _rows_by_head(q: Array, k: Array, v: Array, cos: Array, sin: Array) -> Array:
    n_kv_heads, n_groups, seq, head_dim = q.shape
    past = k.shape[1] - seq
    heads = []
    for kv, group in np.ndindex(n_kv_heads, n_groups):
        queries = apply_rope(q[kv, group], cos[past:], sin[past:])
        scores = queries @ apply_rope(k[kv], cos, sin).T * head_dim**-0.5
        for i in range(seq):
            scores[i, past + i + 1 :] = -np.inf
        heads.append(softmax(scores) @ v[kv])
    return np.concatenate(heads, axis=1)


def _rows_v_rotated(q: Array, k: Array, v: Array, cos: Array, sin: Array) -> Array:
    q = apply_rope(q, cos[-q.shape[2] :], sin[-q.shape[2] :])
    k, v = apply_rope(k, cos, sin), apply_rope(v, cos, sin)
    return _mixed(q, k, v)


def _rows_no_offset(q: Array, k: Array, v: Array, cos: Array, sin: Array) -> Array:
    seq = q.shape[2]
    return _mixed(apply_rope(q, cos[:seq], sin[:seq]), apply_rope(k, cos, sin), v)


def _rows_k_not_rotated(q: Array, k: Array, v: Array, cos: Array, sin: Array) -> Array:
    return _mixed(apply_rope(q, _newest(cos, q), _newest(sin, q)), k, v)


def _rows_k_for_v(q: Array, k: Array, v: Array, cos: Array, sin: Array) -> Array:
    return _rows(q, k, k, cos, sin)


def _rows_no_mask(q: Array, k: Array, v: Array, cos: Array, sin: Array) -> Array:
    turned = apply_rope(q, _newest(cos, q), _newest(sin, q))
    return merge_heads(score_v(softmax(qk_scores(turned, apply_rope(k, cos, sin))), v))


def _turns(total_seq: int, head_dim: int) -> tuple[Array, Array]:
    angles = np.outer(np.arange(total_seq), 5.0 ** -np.linspace(0, 1, head_dim // 2))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _heads(
    seed: int, n_kv_heads: int, n_groups: int, seq: int, total_seq: int, head_dim: int
) -> tuple[Array, ...]:
    q = 2 * seeded_noise(seed, n_kv_heads, n_groups, seq, head_dim)
    k, v = (seeded_noise(seed + i, n_kv_heads, total_seq, head_dim) for i in (1, 2))
    return (q, k, v, *_turns(total_seq, head_dim))


def _attention_rows_drawn(rng: np.random.Generator) -> list[Case]:
    heads, groups, seq, past = wholes(rng, 4, 2, 6)
    dim = 2 * whole(rng, 2, 5)
    return [Case("other sizes", _heads(seed_from(rng), heads, groups, seq, seq + past, dim))]


def _mixed_from_the_left(q: Array, k: Array, v: Array) -> Array:
    mask = np.tri(q.shape[2], k.shape[1], dtype=np.bool_)
    return merge_heads(score_v(softmax(apply_mask(qk_scores(q, k), mask)), v))


ATTENTION_ROWS = Exercise(
    name="attention_rows",
    topic="score_v",
    stars=2,
    task="Repair attention as a whole: turn what has to be turned, score, mask, mix and merge.",
    section="On the story model",
    cases=lambda: [
        Case("4 tokens after a past of 3", _heads(10, 2, 3, 4, 7, 6)),
        Case("1 token after a past of 4", _heads(13, 4, 2, 1, 5, 8)),
        Case("5 tokens, no past", _heads(16, 3, 1, 5, 5, 2)),
    ],
    drawn=_attention_rows_drawn,
    correct=(_rows, _rows_by_head),
    axes="seq n_heads*head_dim",
    mutants=(
        Mutant(
            "v_rotated",
            _rows_v_rotated,
            "when the values are rotated, too: positions belong in the scores alone",
            "https://github.com/lucidrains/x-transformers/issues/182",
            section="Turn the values, too",
        ),
        Mutant(
            "no_offset",
            _rows_no_offset,
            "when the queries are turned as if they stood at position 0, not after the past",
            section="Turn the values, too",
        ),
        Mutant(
            "k_not_rotated",
            _rows_k_not_rotated,
            "when only the queries are turned",
            section="Turn the values, too",
        ),
        Mutant(
            "k_for_v",
            _rows_k_for_v,
            "when keys are mixed where the values should be",
            section="One row",
        ),
        Mutant("no_mask", _rows_no_mask, "when nothing hides the future", section="By hand"),
        Mutant(
            "q_not_rotated",
            lambda q, k, v, cos, sin: _mixed(q, apply_rope(k, cos, sin), v),
            "when the queries are not turned",
        ),
        Mutant(
            "nothing_rotated", lambda q, k, v, cos, sin: _mixed(q, k, v), "when nothing is turned"
        ),
        Mutant(
            "backwards",
            lambda q, k, v, cos, sin: (
                _rows(q, k, v, cos, -sin)
                if q.shape[2] < 0
                else _mixed(
                    apply_rope(q, cos[-q.shape[2] :], -sin[-q.shape[2] :]),
                    apply_rope(k, cos, sin),
                    v,
                )
            ),
            "when the queries are turned the other way than the keys",
        ),
        Mutant(
            "interleaved",
            lambda q, k, v, cos, sin: _mixed(
                apply_rope_interleaved(q, cos[-q.shape[2] :], sin[-q.shape[2] :]),
                apply_rope_interleaved(k, cos, sin),
                v,
            ),
            "when neighbours are turned together, not half-split pairs",
        ),
        Mutant(
            "scaled_twice",
            lambda q, k, v, cos, sin: _rows(q * np.float32(q.shape[-1] ** -0.5), k, v, cos, sin),
            "when the scores are divided by √head_dim twice",
        ),
        Mutant(
            "unscaled",
            lambda q, k, v, cos, sin: _rows(q * np.float32(q.shape[-1] ** 0.5), k, v, cos, sin),
            "when the scores are not divided by √head_dim",
        ),
        Mutant(
            "mask_without_past",
            lambda q, k, v, cos, sin: _mixed_from_the_left(
                apply_rope(q, cos[-q.shape[2] :], sin[-q.shape[2] :]), apply_rope(k, cos, sin), v
            ),
            "when the mask knows no past",
        ),
        Mutant(
            "not_merged",
            lambda q, k, v, cos, sin: (
                _rows(q, k, v, cos, sin).reshape(q.shape[2], *q.shape[:2], -1).transpose(1, 2, 0, 3)
            ),
            "when the heads are not merged",
        ),
    ),
)


# ★★★ without_head(merged, weight, head, head_dim): what o_proj gives when one head is silent
# merged (seq, n_heads · head_dim), weight (hidden_size, n_heads · head_dim)


def _slice_of(head: int, head_dim: int) -> slice:
    return slice(head * head_dim, (head + 1) * head_dim)


def _silent_input(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    quiet = merged.copy()
    quiet[:, _slice_of(head, head_dim)] = 0
    return quiet @ weight.T


def _silent_by_difference(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    here = _slice_of(head, head_dim)
    return merged @ weight.T - merged[:, here] @ weight[:, here].T


def _silent_by_others(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    out = np.zeros((len(merged), len(weight)), dtype=np.float32)
    for other in range(merged.shape[1] // head_dim):
        if other != head:
            here = _slice_of(other, head_dim)
            out += merged[:, here] @ weight[:, here].T
    return out


def _silent_rows(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    quiet = weight.copy()
    quiet[_slice_of(head, head_dim)] = 0
    return merged @ quiet.T


def _silent_from_one(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    return _silent_input(merged, weight, head - 1, head_dim)


def _silent_interleaved(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    quiet = merged.copy()
    quiet[:, head :: merged.shape[1] // head_dim] = 0
    return quiet @ weight.T


def _silent_others(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    here = _slice_of(head, head_dim)
    return merged[:, here] @ weight[:, here].T


def _silent_in_place(merged: Array, weight: Array, head: int, head_dim: int) -> Array:
    merged[:, _slice_of(head, head_dim)] = 0
    return merged @ weight.T


def _without_head_drawn(rng: np.random.Generator) -> list[Case]:
    heads, dim, hidden, seq = wholes(rng, 4, 2, 7)
    width = heads * dim
    return [
        Case(
            "a head in the middle",
            (noise(rng, seq, width), noise(rng, hidden, width), heads // 2, dim),
        )
    ]


WITHOUT_HEAD = Exercise(
    name="without_head",
    topic="score_v",
    stars=3,
    task="Compute what o_proj gives when one query head says nothing, and the others as before.",
    section="Break it",
    cases=lambda: [
        Case(
            "head 2 of 6, width 30 to 20", (seeded_noise(19, 4, 30), seeded_noise(20, 20, 30), 2, 5)
        ),
        Case(
            "head 0 of 4, width 12 to 17", (seeded_noise(21, 1, 12), seeded_noise(22, 17, 12), 0, 3)
        ),
        Case("the last head of 3", (seeded_noise(23, 5, 12), seeded_noise(24, 15, 12), 2, 4)),
    ],
    drawn=_without_head_drawn,
    correct=(_silent_input, _silent_by_difference, _silent_by_others),
    axes="seq hidden_size",
    mutants=(
        Mutant(
            "rows",
            _silent_rows,
            "when rows of o_proj are cleared: a head owns columns, one per number it writes",
            section="o_proj: every head writes into every number",
        ),
        Mutant(
            "from_one", _silent_from_one, "when heads are counted from 1: here the first is head 0"
        ),
        Mutant(
            "interleaved",
            _silent_interleaved,
            "when every n_heads-th number is cleared: the numbers of one head are neighbours",
            section="o_proj: every head writes into every number",
        ),
        Mutant("others", _silent_others, "when only that head speaks, and all others are silent"),
        Mutant("in_place", _silent_in_place, "when the caller's rows are overwritten"),
        Mutant(
            "all_heads",
            lambda merged, weight, head, head_dim: merged @ weight.T,
            "when no head is silent",
        ),
        Mutant(
            "next_head",
            lambda merged, weight, head, head_dim: _silent_input(
                merged, weight, (head + 1) % (weight.shape[1] // head_dim), head_dim
            ),
            "when the head after it is silent",
        ),
        Mutant(
            "head_before",
            lambda merged, weight, head, head_dim: _silent_input(
                merged, weight, max(head - 1, 0), head_dim
            ),
            "when heads are counted from 1",
        ),
        Mutant(
            "one_number",
            lambda merged, weight, head, head_dim: _silent_input(merged, weight, head, 1),
            "when one column is silent and not a whole head",
        ),
        Mutant(
            "heads_before",
            lambda merged, weight, head, head_dim: (
                merged[:, : head * head_dim] @ weight[:, : head * head_dim].T
            ),
            "when the heads behind it are silent as well",
        ),
        Mutant(
            "turned",
            lambda merged, weight, head, head_dim: _silent_input(merged, weight, head, head_dim).T,
            "when tokens and features change places",
        ),
    ),
)

EXERCISES = (MIX_VALUES, MERGE, ATTENTION_ROWS, WITHOUT_HEAD)
