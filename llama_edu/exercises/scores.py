"""Exercises on scores: queries meet the keys of their KV group."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from llama_edu.exercises.framework.draw import noise, seeded_noise, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.watched import Watched
from llama_edu.ops.attention import qk_scores, softmax, split_query_heads

Array = np.ndarray


# ★ group_scores(q, k): q (n_kv_heads, n_groups, seq, head_dim), k (n_kv_heads, total_seq, head_dim)


def _scores_einsum(q: Array, k: Array) -> Array:
    return np.einsum("kgsd,ktd->kgst", q, k) * q.shape[-1] ** -0.5


def _scores_by_group(q: Array, k: Array) -> Array:
    blocks = [queries @ keys.T * q.shape[-1] ** -0.5 for queries, keys in zip(q, k, strict=True)]
    return np.stack(blocks)


def _scores_unscaled(q: Array, k: Array) -> Array:
    return np.einsum("kgsd,ktd->kgst", q, k)


def _scores_by_width(q: Array, k: Array) -> Array:
    width = q.shape[0] * q.shape[1] * q.shape[3]
    return np.einsum("kgsd,ktd->kgst", q, k) * width**-0.5


def _scores_by_dim(q: Array, k: Array) -> Array:
    return np.einsum("kgsd,ktd->kgst", q, k) * q.shape[-1] ** -1.0


def _scores_float64(q: Array, k: Array) -> Array:
    return np.einsum("kgsd,ktd->kgst", q, k) / np.sqrt(q.shape[-1])


def _scores_modulo(q: Array, k: Array) -> Array:
    n_kv_heads, n_groups, seq, head_dim = q.shape
    flat = q.reshape(n_kv_heads * n_groups, seq, head_dim)
    rows = [flat[h] @ k[h % n_kv_heads].T * head_dim**-0.5 for h in range(len(flat))]
    return np.stack(rows).reshape(n_kv_heads, n_groups, seq, -1)


def _scores_keys_first(q: Array, k: Array) -> Array:
    return np.einsum("kgsd,ktd->kgts", q, k) * q.shape[-1] ** -0.5


def _scores_scaled_in_place(q: Array, k: Array) -> Array:
    q *= q.shape[-1] ** -0.5
    return np.einsum("kgsd,ktd->kgst", q, k)


def _score_cases() -> list[Case]:
    return [
        Case("3 tokens after a past of 2", (seeded_noise(1, 2, 3, 3, 6), seeded_noise(2, 2, 5, 6))),
        Case(
            "1 token after a past of 6", (seeded_noise(3, 4, 2, 1, 10), seeded_noise(4, 4, 7, 10))
        ),
        Case("one query head per KV head", (seeded_noise(5, 3, 1, 4, 2), seeded_noise(6, 3, 4, 2))),
    ]


def _group_scores_drawn(rng: np.random.Generator) -> list[Case]:
    heads, groups, seq, dim = wholes(rng, 4, 2, 7)
    total = seq + whole(rng, 1, 4)
    return [
        Case(
            "heads of other sizes",
            (noise(rng, heads, groups, seq, dim), noise(rng, heads, total, dim)),
        )
    ]


GROUP_SCORES = Exercise(
    name="group_scores",
    topic="scores",
    books=("llama_edu.ops.attention.qk_scores",),
    stars=1,
    task="Score every query against the keys of its KV group, with one einsum or one matmul.",
    section="The real function",
    cases=_score_cases,
    drawn=_group_scores_drawn,
    correct=(_scores_einsum, _scores_by_group, qk_scores),
    axes="n_kv_heads n_groups seq total_seq",
    mutants=(
        Mutant(
            "unscaled",
            _scores_unscaled,
            "when the scores are not divided by √head_dim",
            section="Why the scores are divided",
        ),
        Mutant(
            "scaled_by_width",
            _scores_by_width,
            "when the scores are divided by the root of the whole width, not of one head's",
            "https://github.com/Graylab/DL4Proteins-notebooks/issues/12",
            section="Common mistakes",
        ),
        Mutant(
            "scaled_twice",
            _scores_by_dim,
            "when the scores are divided by head_dim, not by √",
            section="Blocks in memory",
        ),
        Mutant(
            "float64",
            _scores_float64,
            "when a NumPy scalar does the scaling: np.sqrt(6) is a float64 and widens the scores",
            "https://github.com/numpy/numpy/issues/25683",
        ),
        Mutant(
            "modulo",
            _scores_modulo,
            "when query head h reads key head h % n_kv_heads: a group is a block of neighbours",
            "https://github.com/onnx/onnx/pull/7274",
            section="Break it",
        ),
        Mutant(
            "keys_first",
            _scores_keys_first,
            "when the last two axes change places: a row is a query, a column a key",
            "https://github.com/poloclub/transformer-explainer/issues/19",
            section="Common mistakes",
        ),
        Mutant(
            "scaled_in_place",
            _scores_scaled_in_place,
            "when the caller's queries are scaled in place",
        ),
        Mutant(
            "multiplied",
            lambda q, k: _scores_einsum(q, k) * float(q.shape[-1]),
            "when the scores are multiplied by √head_dim and not divided",
        ),
        Mutant(
            "by_keys",
            lambda q, k: _scores_einsum(q, k) * float(q.shape[-1] / k.shape[1]) ** 0.5,
            "when the scale is that of the number of keys",
        ),
        Mutant(
            "one_key_head",
            lambda q, k: _scores_einsum(q, np.repeat(k[:1], len(k), axis=0)),
            "when every group reads the keys of the first",
        ),
        Mutant(
            "softmax_too",
            lambda q, k: softmax(_scores_einsum(q, k)),
            "when the softmax is taken as well",
        ),
        Mutant(
            "turned",
            lambda q, k: np.ascontiguousarray(_scores_einsum(q, k).swapaxes(0, 1)),
            "when heads and groups change places",
        ),
    ),
)


# ★★ split_queries(q, n_kv_heads, head_dim): (seq, width) -> (n_kv_heads, n_groups, seq, head_dim)


def _split_transposed(q: Array, n_kv_heads: int, head_dim: int) -> Array:
    return q.reshape(len(q), n_kv_heads, -1, head_dim).transpose(1, 2, 0, 3)


def _split_loop(q: Array, n_kv_heads: int, head_dim: int) -> Array:
    seq, width = q.shape
    n_groups = width // head_dim // n_kv_heads
    heads = np.empty((n_kv_heads, n_groups, seq, head_dim), dtype=q.dtype)
    for group in range(n_kv_heads):
        for member in range(n_groups):
            start = (group * n_groups + member) * head_dim
            heads[group, member] = q[:, start : start + head_dim]
    return heads


def _split_reshaped(q: Array, n_kv_heads: int, head_dim: int) -> Array:
    return q.reshape(n_kv_heads, -1, len(q), head_dim)


def _split_groups_first(q: Array, n_kv_heads: int, head_dim: int) -> Array:
    return q.reshape(len(q), -1, n_kv_heads, head_dim).transpose(2, 1, 0, 3)


def _split_dim_first(q: Array, n_kv_heads: int, head_dim: int) -> Array:
    n_groups = q.shape[1] // head_dim // n_kv_heads
    return q.reshape(len(q), head_dim, n_kv_heads, n_groups).transpose(2, 3, 0, 1)


def _split_cases() -> list[Case]:
    return [
        Case("5 tokens, 2 groups of 3 heads", (seeded_noise(7, 5, 24), 2, 4)),
        Case("1 token, 4 groups of 2 heads", (seeded_noise(8, 1, 48), 4, 6)),
        Case("3 tokens, 3 groups of 1 head", (seeded_noise(9, 3, 6), 3, 2)),
    ]


def _split_queries_drawn(rng: np.random.Generator) -> list[Case]:
    seq, heads, groups, dim = wholes(rng, 4, 2, 7)
    return [Case("other sizes", (noise(rng, seq, heads * groups * dim), heads, dim))]


SPLIT_QUERIES = Exercise(
    name="split_queries",
    topic="scores",
    books=("llama_edu.ops.attention.split_query_heads",),
    stars=2,
    task="Repair the way from a projection's rows to one matrix per query head.",
    section="Rows into heads",
    cases=_split_cases,
    drawn=_split_queries_drawn,
    correct=(_split_transposed, _split_loop, split_query_heads),
    axes="n_kv_heads n_groups seq head_dim",
    mutants=(
        Mutant(
            "reshape_as_transpose",
            _split_reshaped,
            "when a reshape is used as a transpose: the shape is right, the numbers are not",
            "https://github.com/hyunwoongko/transformer/issues/15",
        ),
        Mutant(
            "groups_first",
            _split_groups_first,
            "when the heads of a group are taken n_kv_heads apart, not side by side",
            section="Blocks in memory",
        ),
        Mutant(
            "dim_first",
            _split_dim_first,
            "when the numbers of one head are taken for the same number of many heads",
        ),
        Mutant(
            "token_first",
            lambda q, n_kv_heads, head_dim: q.reshape(len(q), n_kv_heads, -1, head_dim),
            "when tokens stay the first axis",
        ),
        Mutant(
            "one_axis_moved",
            lambda q, n_kv_heads, head_dim: q.reshape(len(q), n_kv_heads, -1, head_dim).transpose(
                1, 0, 2, 3
            ),
            "when the tokens are moved past one axis only",
        ),
        Mutant(
            "no_groups",
            lambda q, n_kv_heads, head_dim: q.reshape(len(q), -1, head_dim).transpose(1, 0, 2),
            "when the query heads keep one axis",
        ),
        Mutant(
            "turned_and_reshaped",
            lambda q, n_kv_heads, head_dim: np.ascontiguousarray(q.T).reshape(
                n_kv_heads, -1, len(q), head_dim
            ),
            "when the matrix is turned and then reshaped",
        ),
    ),
)


# ★★ key_head_of(head, n_heads, n_kv_heads): which key/value head a query head reads


def _key_head(head: int, n_heads: int, n_kv_heads: int) -> int:
    return head // (n_heads // n_kv_heads)


def _key_head_by_blocks(head: int, n_heads: int, n_kv_heads: int) -> int:
    blocks = np.split(np.arange(n_heads), n_kv_heads)
    return next(i for i, block in enumerate(blocks) if head in block)


def _key_head_modulo(head: int, n_heads: int, n_kv_heads: int) -> int:
    return head % n_kv_heads


def _key_head_swapped(head: int, n_heads: int, n_kv_heads: int) -> int:
    return head // n_kv_heads


def _key_head_same(head: int, n_heads: int, n_kv_heads: int) -> int:
    return head


def _all_key_heads(answer: Callable[..., int], n_heads: int, n_kv_heads: int) -> list[int]:
    return [answer(head, n_heads, n_kv_heads) for head in range(n_heads)]


def _key_head_cases() -> list[Case]:
    sizes = [(8, 4), (9, 3), (6, 1), (5, 5), (12, 2)]
    return [Case(f"{h} query heads, {kv} key/value heads", (h, kv)) for h, kv in sizes]


def _key_head_of_drawn(rng: np.random.Generator) -> list[Case]:
    kv, groups = whole(rng, 3, 6), whole(rng, 3, 5)
    return [Case("other sizes", (kv * groups, kv)), Case("two groups", (2 * groups, 2))]


KEY_HEAD_OF = Exercise(
    name="key_head_of",
    topic="scores",
    stars=2,
    task="Repair the rule that tells which key/value head a query head reads.",
    section="Nine heads, three boards",
    cases=_key_head_cases,
    harness=_all_key_heads,
    drawn=_key_head_of_drawn,
    correct=(_key_head, _key_head_by_blocks),
    mutants=(
        Mutant(
            "modulo",
            _key_head_modulo,
            "when head h reads key head h % n_kv_heads: neighbours share, not every n-th",
            "https://github.com/ekzhang/jax-js/pull/180",
            section="Break it",
        ),
        Mutant(
            "swapped",
            _key_head_swapped,
            "when head h reads key head h // n_kv_heads: the block length is n_groups",
        ),
        Mutant(
            "own_head",
            _key_head_same,
            "when every query head has a key head of its own",
            section="On the real model",
        ),
        Mutant(
            "always_first",
            lambda head, n_heads, n_kv_heads: 0,
            "when every query head reads key head 0",
        ),
        Mutant(
            "rounded",
            lambda head, n_heads, n_kv_heads: round(head * n_kv_heads / n_heads),
            "when the share is rounded and not cut",
        ),
        Mutant(
            "in_group",
            lambda head, n_heads, n_kv_heads: head % (n_heads // n_kv_heads),
            "when the place within the group is taken for the group",
        ),
        Mutant(
            "at_most_last",
            lambda head, n_heads, n_kv_heads: min(head, n_kv_heads - 1),
            "when the heads after the last key head all read it",
        ),
        Mutant(
            "one_more",
            lambda head, n_heads, n_kv_heads: head // (n_heads // n_kv_heads) + 1,
            "when groups are counted from 1",
        ),
        Mutant(
            "backwards",
            lambda head, n_heads, n_kv_heads: n_kv_heads - 1 - head // (n_heads // n_kv_heads),
            "when groups are counted from the end",
        ),
        Mutant(
            "a_float",
            lambda head, n_heads, n_kv_heads: head // (n_heads / n_kv_heads),
            "when a float comes out of a division",
        ),
        Mutant(
            "a_share",
            lambda head, n_heads, n_kv_heads: head / (n_heads / n_kv_heads),
            "when the share is not cut to a whole number",
        ),
    ),
)


# ★★★ attend_in_blocks(q_row, k, v, block): one query's output, keys read a block at a time


def _blocks(total_seq: int, block: int) -> Iterator[slice]:
    return (slice(start, start + block) for start in range(0, total_seq, block))


def _online(q_row: Array, k: Array, v: Array, block: int) -> Array:
    largest, total = np.float32(-np.inf), np.float32(0)
    mixed = np.zeros(v.shape[1], dtype=np.float32)
    for here in _blocks(len(k), block):
        scores = k[here] @ q_row * len(q_row) ** -0.5
        new_largest = max(largest, scores.max())
        shrink = np.exp(largest - new_largest)
        weights = np.exp(scores - new_largest)
        total = total * shrink + weights.sum()
        mixed = mixed * shrink + weights @ v[here]
        largest = new_largest
    return mixed / total


def _two_passes(q_row: Array, k: Array, v: Array, block: int) -> Array:
    scale = len(q_row) ** -0.5
    largest = max(float((k[here] @ q_row).max()) for here in _blocks(len(k), block)) * scale
    total, mixed = 0.0, np.zeros(v.shape[1], dtype=np.float32)
    for here in _blocks(len(k), block):
        powers = np.exp(k[here] @ q_row * scale - np.float32(largest))
        total += float(powers.sum())
        mixed += powers @ v[here]
    return mixed / np.float32(total)


def _all_at_once(q_row: Array, k: Array, v: Array, block: int) -> Array:
    return softmax(k @ q_row * len(q_row) ** -0.5) @ v


def _online_from_zero(q_row: Array, k: Array, v: Array, block: int) -> Array:
    largest, total = np.float32(0), np.float32(0)
    mixed = np.zeros(v.shape[1], dtype=np.float32)
    with np.errstate(invalid="ignore"):
        for here in _blocks(len(k), block):
            scores = k[here] @ q_row * len(q_row) ** -0.5
            new_largest = max(largest, scores.max())
            shrink = np.exp(largest - new_largest)
            weights = np.exp(scores - new_largest)
            total = total * shrink + weights.sum()
            mixed = mixed * shrink + weights @ v[here]
            largest = new_largest
        return mixed / total


def _read_in_blocks(
    answer: Callable[..., Array], q_row: Array, k: Array, v: Array, block: int
) -> list[object]:
    """The output, and how many rows of keys or values were computed with at a time."""
    keys: list[tuple[int, ...]] = []
    values: list[tuple[int, ...]] = []
    out = answer(q_row, Watched.of(k, keys), Watched.of(v, values), block)
    widths = [(shape, k.shape[1]) for shape in keys] + [(shape, v.shape[1]) for shape in values]
    rows = max((math.prod(shape) // width for shape, width in widths), default=0)
    return [out, f"at most {block}" if rows <= block else f"{rows}"]


def _online_not_shrunk(q_row: Array, k: Array, v: Array, block: int) -> Array:
    largest, total = np.float32(-np.inf), np.float32(0)
    mixed = np.zeros(v.shape[1], dtype=np.float32)
    for here in _blocks(len(k), block):
        scores = k[here] @ q_row * len(q_row) ** -0.5
        largest = max(largest, scores.max())
        weights = np.exp(scores - largest)
        total, mixed = total + weights.sum(), mixed + weights @ v[here]
    return mixed / total


def _block_softmax(q_row: Array, k: Array, v: Array, block: int) -> Array:
    mixed = np.zeros(v.shape[1], dtype=np.float32)
    for here in _blocks(len(k), block):
        mixed += softmax(k[here] @ q_row * len(q_row) ** -0.5) @ v[here]
    return mixed


def _no_largest(q_row: Array, k: Array, v: Array, block: int) -> Array:
    total, mixed = np.float32(0), np.zeros(v.shape[1], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for here in _blocks(len(k), block):
            weights = np.exp(k[here] @ q_row * len(q_row) ** -0.5)
            total, mixed = total + weights.sum(), mixed + weights @ v[here]
        return mixed / total


def _last_block_lost(q_row: Array, k: Array, v: Array, block: int) -> Array:
    whole = len(k) // block * block or len(k)
    return _online(q_row, k[:whole], v[:whole], block)


def _attend_cases() -> list[Case]:
    return [
        Case(
            "7 keys in blocks of 3",
            (seeded_noise(10, 6), seeded_noise(11, 7, 6), seeded_noise(12, 7, 5), 3),
        ),
        Case(
            "8 keys in blocks of 4",
            (seeded_noise(13, 2), seeded_noise(14, 8, 2), seeded_noise(15, 8, 3), 4),
        ),
        Case("one block", (seeded_noise(16, 4), seeded_noise(17, 3, 4), seeded_noise(18, 3, 2), 9)),
        Case(
            "scores of several hundred",
            (seeded_noise(19, 4) * 40, seeded_noise(20, 9, 4) * 40, seeded_noise(21, 9, 3), 2),
        ),
        Case(
            "scores near −400",
            (
                seeded_noise(22, 4) / 4 + 20,
                seeded_noise(23, 7, 4) / 9 - 10,
                seeded_noise(24, 7, 3),
                3,
            ),
        ),
    ]


def _attend_in_blocks_drawn(rng: np.random.Generator) -> list[Case]:
    keys, dim, wide = wholes(rng, 3, 5, 12)
    q, k, v = noise(rng, dim), noise(rng, keys, dim), noise(rng, keys, wide)
    return [Case("more keys", (q, k, v, whole(rng, 2, 4))), Case("larger keys", (q, k * 30, v, 2))]


def _not_divided(q_row: Array, k: Array, v: Array, block: int) -> Array:
    """The mix as it is held, without the division at the end."""
    scores = [k[i : i + block] @ q_row * len(q_row) ** -0.5 for i in range(0, len(k), block)]
    largest = max(float(some.max()) for some in scores)
    parts = [
        np.exp(some - largest) @ v[i * block : (i + 1) * block] for i, some in enumerate(scores)
    ]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float32)


def _total_not_shrunk(q_row: Array, k: Array, v: Array, block: int) -> Array:
    largest, total, mix = -np.inf, 0.0, np.zeros(v.shape[1], dtype=np.float32)
    for i in range(0, len(k), block):
        scores = k[i : i + block] @ q_row * len(q_row) ** -0.5
        new = max(largest, float(scores.max()))
        powers = np.exp(scores - new)
        total += float(powers.sum())
        mix = mix * np.float32(np.exp(largest - new)) + powers @ v[i : i + block]
        largest = new
    return (mix / total).astype(np.float32)


def _own_maximum(q_row: Array, k: Array, v: Array, block: int) -> Array:
    total, mix = 0.0, np.zeros(v.shape[1], dtype=np.float32)
    for i in range(0, len(k), block):
        scores = k[i : i + block] @ q_row * len(q_row) ** -0.5
        powers = np.exp(scores - scores.max())
        total += float(powers.sum())
        mix += powers @ v[i : i + block]
    return (mix / total).astype(np.float32)


ATTEND_IN_BLOCKS = Exercise(
    name="attend_in_blocks",
    topic="scores",
    books=("llama_edu.ops.attention.score_v",),
    stars=3,
    task="Compute softmax(q kᵀ / √d) v for one query, reading keys and values a block at a time.",
    section="The real function",
    cases=_attend_cases,
    harness=_read_in_blocks,
    parts=("the output", "the keys or values read at a time"),
    drawn=_attend_in_blocks_drawn,
    correct=(_online, _two_passes),
    axes="head_dim",
    tolerance=1e-4,
    mutants=(
        Mutant(
            "not_shrunk",
            _online_not_shrunk,
            "when a larger score is met and what was summed before is not scaled down to it",
        ),
        Mutant("block_softmax", _block_softmax, "when each block has a softmax of its own"),
        Mutant(
            "no_largest",
            _no_largest,
            "when the largest score is not subtracted: eˣ overflows",
            "https://github.com/ggml-org/llama.cpp/pull/2665",
        ),
        Mutant("all_at_once", _all_at_once, "when all scores are held at once"),
        Mutant(
            "from_zero",
            _online_from_zero,
            "when the largest score starts at 0: if all are far below, every power is 0",
        ),
        Mutant("last_block_lost", _last_block_lost, "when a last, shorter block is left out"),
        Mutant(
            "unscaled",
            lambda q_row, k, v, block: _online(q_row * np.float32(len(q_row) ** 0.5), k, v, block),
            "when the scores are not divided by √head_dim",
        ),
        Mutant(
            "not_divided",
            lambda q_row, k, v, block: _not_divided(q_row, k, v, block),
            "when the mix is not divided by the total at the end",
        ),
        Mutant(
            "total_not_shrunk",
            lambda q_row, k, v, block: _total_not_shrunk(q_row, k, v, block),
            "when the mix is made smaller with a new maximum and the total is not",
        ),
        Mutant(
            "own_maximum",
            lambda q_row, k, v, block: _own_maximum(q_row, k, v, block),
            "when each block subtracts a maximum of its own",
        ),
        Mutant(
            "one_row",
            lambda q_row, k, v, block: _online(q_row, k, v, block)[None],
            "when the result has an axis too many",
        ),
    ),
)

EXERCISES = (GROUP_SCORES, SPLIT_QUERIES, KEY_HEAD_OF, ATTEND_IN_BLOCKS)
