"""Exercises on splitting: whose rows, one sum, one part of an MLP, a head in parts, a ring."""

from collections.abc import Callable

import numpy as np

from llama_edu.exercises.framework.draw import noise, whole
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.ops.mlp import silu

Array = np.ndarray


# ★ group_rows(q, k, n_kv_heads, rank, size) -> [rows of q, rows of k]


def _rows(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    share = -(-n_kv_heads // size)
    start, stop = rank * share, (rank + 1) * share
    return [part[start * n : stop * n] for part in (q, k) for n in [len(part) // n_kv_heads]]


def _rows_by_head(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    groups = np.arange(n_kv_heads)
    mine = groups // -(-n_kv_heads // size) == rank
    by_group = [part.reshape(n_kv_heads, -1, part.shape[1])[mine] for part in (q, k)]
    return [part.reshape(-1, part.shape[2]) for part in by_group]


def _rows_even(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    return [part[len(part) * rank // size : len(part) * (rank + 1) // size] for part in (q, k)]


def _rows_dealt(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    by_group = [part.reshape(n_kv_heads, -1, part.shape[1])[rank::size] for part in (q, k)]
    return [part.reshape(-1, part.shape[2]) for part in by_group]


def _rows_keys_whole(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    return [_rows(q, k, n_kv_heads, rank, size)[0], k]


def _rows_same(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    rows = -(-n_kv_heads // size) * (len(k) // n_kv_heads)
    return [part[rank * rows : (rank + 1) * rows] for part in (q, k)]


def _rows_columns(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    return [np.array_split(part, size, axis=1)[rank] for part in (q, k)]


def _rows_one_group(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    return _rows(q, k, n_kv_heads, rank, n_kv_heads)


def _rows_rounded_down(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    share = n_kv_heads // size
    start, stop = rank * share, (rank + 1) * share
    return [part[start * n : stop * n] for part in (q, k) for n in [len(part) // n_kv_heads]]


def _rows_balanced(q: Array, k: Array, n_kv_heads: int, rank: int, size: int) -> list[Array]:
    ends = [len(mine) for mine in np.array_split(np.arange(n_kv_heads), size)]
    start = sum(ends[:rank])
    groups = slice(start, start + ends[rank])
    by_group = [part.reshape(n_kv_heads, -1, part.shape[1])[groups] for part in (q, k)]
    return [part.reshape(-1, part.shape[2]) for part in by_group]


def _rows_case(
    rng: np.random.Generator, n_kv_heads: int, n_groups: int, rank: int, size: int
) -> Case:
    q, k = noise(rng, n_kv_heads * n_groups * 4, 6), noise(rng, n_kv_heads * 4, 6)
    return Case(
        f"{n_kv_heads} KV groups of {n_groups} query heads, rank {rank} of {size}",
        (q, k, n_kv_heads, rank, size),
    )


def _rows_cases() -> list[Case]:
    rng = np.random.default_rng(1)
    sizes = [(4, 3, 1, 2), (3, 3, 0, 2), (3, 3, 1, 2), (6, 2, 2, 3), (7, 4, 1, 3)]
    return [_rows_case(rng, *numbers) for numbers in sizes]


def _rows_drawn(rng: np.random.Generator) -> list[Case]:
    size = whole(rng, 2, 3)
    return [_rows_case(rng, whole(rng, 4, 8), whole(rng, 2, 4), whole(rng, 0, 1), size)]


GROUP_ROWS = Exercise(
    name="group_rows",
    topic="parallel",
    books=("llama_edu.parallel.shards.TensorShards",),
    stars=1,
    task="Give one rank its rows of q and of k: whole KV groups, rounded up.",
    section="Cut between the groups",
    cases=_rows_cases,
    drawn=_rows_drawn,
    correct=(_rows, _rows_by_head),
    parts=("the rows of q", "the rows of k"),
    mutants=(
        Mutant(
            "inside",
            _rows_even,
            "when the rows are cut evenly, and so inside a KV group: queries on one rank, their "
            "keys on another",
            section="A cut inside a head",
        ),
        Mutant(
            "dealt",
            _rows_dealt,
            "when groups are dealt like cards: o_proj's columns would have to be dealt too",
        ),
        Mutant("keys_whole", _rows_keys_whole, "when every rank keeps all keys"),
        Mutant(
            "same_rows",
            _rows_same,
            "when q is cut like k: a group has several query heads and one KV head",
        ),
        Mutant("columns", _rows_columns, "when columns are cut and not rows"),
        Mutant("one_group", _rows_one_group, "when a rank gets one group, whatever is left"),
        Mutant(
            "balanced",
            _rows_balanced,
            "when the groups are shared out as evenly as they go: here a share is rounded up, and "
            "the last rank has what is left",
        ),
        Mutant(
            "rounded_down",
            _rows_rounded_down,
            "when the share is rounded down, and the last groups are nobody's",
        ),
    ),
)


# ★★ joined(x, parts, bias) -> the residual stream after a block


def _joined(x: Array, parts: list[Array], bias: Array) -> Array:
    return x + (np.sum(np.stack(parts), axis=0, dtype=np.float32) + bias)


def _joined_loop(x: Array, parts: list[Array], bias: Array) -> Array:
    total = np.zeros_like(x)
    for part in parts:
        total += part
    total += bias
    total += x
    return total


def _joined_everywhere(x: Array, parts: list[Array], bias: Array) -> Array:
    on_each_rank = [part + bias for part in parts]
    return x + _total(on_each_rank)


def _joined_twice(x: Array, parts: list[Array], bias: Array) -> Array:
    totals = [_total(parts) for _ in parts]  # an all-reduce, and another of its results
    return x + bias + _total(totals)


def _total(parts: list[Array]) -> Array:
    result: Array = sum(parts[1:], parts[0])
    return result


JOINED = Exercise(
    name="joined",
    topic="parallel",
    stars=2,
    task="Repair the end of a block: what all ranks have of it, the bias and the residual.",
    section="What is added once",
    cases=lambda: [
        Case(f"{n} ranks, seq {seq}", _joined_args(np.random.default_rng(n), n, seq))
        for n, seq in ((2, 3), (3, 1), (4, 5))
    ],
    drawn=lambda rng: [
        Case("other numbers", _joined_args(rng, whole(rng, 2, 5), whole(rng, 2, 4)))
    ],
    correct=(_joined, _joined_loop),
    axes="seq hidden_size",
    mutants=(
        Mutant(
            "bias_everywhere",
            _joined_everywhere,
            "when every rank adds the bias to its part",
        ),
        Mutant(
            "residual_everywhere",
            lambda x, parts, bias: _total([part + x for part in parts]) + bias,
            "when every rank adds the residual to its part",
        ),
        Mutant(
            "both_everywhere",
            lambda x, parts, bias: _total([part + x + bias for part in parts]),
            "when every rank adds residual and bias",
        ),
        Mutant("twice", _joined_twice, "when what was summed already is summed again"),
        Mutant(
            "not_at_all",
            lambda x, parts, bias: x + parts[0] + bias,
            "when the first rank goes on with its own part: nothing was reduced",
        ),
        Mutant(
            "mean",
            lambda x, parts, bias: x + _total(parts) / np.float32(len(parts)) + bias,
            "when the mean is taken, as for gradients in training",
        ),
        Mutant(
            "no_residual",
            lambda x, parts, bias: _total(parts) + bias,
            "when the residual is forgotten",
        ),
        Mutant("no_bias", lambda x, parts, bias: x + _total(parts), "when the bias is forgotten"),
    ),
)


def _joined_args(rng: np.random.Generator, n: int, seq: int) -> tuple[Array, list[Array], Array]:
    return noise(rng, seq, 6), [noise(rng, seq, 6) for _ in range(n)], noise(rng, 6)


# ★★ mlp_part(x, gate, up, down, rank, size) -> one rank's part of the MLP's sum


def _part(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    width = len(gate) // size
    mine = slice(rank * width, (rank + 1) * width)
    return (silu(x @ gate[mine].T) * (x @ up[mine].T)) @ down[:, mine].T


def _part_masked(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    owner = np.arange(len(gate)) * size // len(gate)
    gated = silu(x @ gate.T) * (x @ up.T)
    return np.where(owner == rank, gated, np.float32(0)) @ down.T


def _part_whole(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def _part_rows(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    gated = silu(x @ gate.T) * (x @ up.T)
    return gated @ np.array_split(down, size)[rank].T


def _part_crossed(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    width = len(gate) // size
    mine = slice(rank * width, (rank + 1) * width)
    theirs = slice((rank + 1) % size * width, ((rank + 1) % size + 1) * width)
    return (silu(x @ gate[mine].T) * (x @ up[theirs].T)) @ down[:, mine].T


def _part_dealt(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    width = len(gate) // size
    mine, columns = slice(rank, None, size), slice(rank * width, (rank + 1) * width)
    return (silu(x @ gate[mine].T) * (x @ up[mine].T)) @ down[:, columns].T


def _part_inputs(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    columns = np.array_split(np.arange(x.shape[1]), size)[rank]
    inner = x[:, columns] @ gate[:, columns].T, x[:, columns] @ up[:, columns].T
    return (silu(inner[0]) * inner[1]) @ down.T


def _part_first(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    return _part(x, gate, up, down, 0, size)


def _part_no_gate(x: Array, gate: Array, up: Array, down: Array, rank: int, size: int) -> Array:
    mine = slice(len(gate) // size * rank, len(gate) // size * (rank + 1))
    return ((x @ gate[mine].T) * (x @ up[mine].T)) @ down[:, mine].T


def _summed_over_ranks(
    answer: Callable[..., Array], x: Array, gate: Array, up: Array, down: Array, size: int
) -> Array:
    """What the ranks have together, which is what the residual stream gets."""
    return _total([answer(x, gate, up, down, rank, size) for rank in range(size)])


def _reads_others(answer: Callable[..., Array]) -> str | None:
    """What an answer does that computes with another rank's weights, if it does."""
    rng = np.random.default_rng(8)
    x, gate, up, down = noise(rng, 2, 6), noise(rng, 8, 6), noise(rng, 8, 6), noise(rng, 6, 8)
    got = answer(x, gate, up, down, 1, 2)
    gate[:4], up[:4], down[:, :4] = noise(rng, 4, 6), noise(rng, 4, 6), noise(rng, 6, 4)
    if np.allclose(got, answer(x, gate, up, down, 1, 2), atol=1e-4):
        return None
    return "gives rank 1 another result when rank 0's weights change: it should not have them"


def _mlp_case(rng: np.random.Generator, seq: int, inter: int, size: int) -> Case:
    arrays = noise(rng, seq, 6), noise(rng, inter, 6), noise(rng, inter, 6), noise(rng, 6, inter)
    return Case(f"seq {seq}, an MLP {inter} wide on {size} ranks", (*arrays, size))


MLP_PART = Exercise(
    name="mlp_part",
    topic="parallel",
    stars=2,
    task="Repair one rank's part of the MLP: the parts of all ranks must add up to it.",
    section="What is added once",
    cases=lambda: [
        _mlp_case(np.random.default_rng(size), seq, inter, size)
        for seq, inter, size in ((3, 8, 2), (1, 12, 3), (5, 20, 4))
    ],
    drawn=lambda rng: [_mlp_case(rng, whole(rng, 2, 5), 4 * whole(rng, 4, 8), 4)],
    harness=_summed_over_ranks,
    rule=_reads_others,
    correct=(_part, _part_masked),
    axes="seq hidden_size",
    mutants=(
        Mutant(
            "whole", _part_whole, "when every rank computes the whole, and all of them are added"
        ),
        Mutant(
            "rows_of_down",
            _part_rows,
            "when down_proj is cut by rows: then there are columns to join, and nothing to add",
            section="Cut between the groups",
        ),
        Mutant(
            "crossed", _part_crossed, "when gate and up are of different ranks: they go in pairs"
        ),
        Mutant(
            "dealt",
            _part_dealt,
            "when gate and up are dealt like cards and down_proj is cut in pieces",
        ),
        Mutant(
            "inputs",
            _part_inputs,
            "when gate and up are cut by columns: silu of a part is no part of silu",
        ),
        Mutant("first", _part_first, "when every rank takes the first rank's slices"),
        Mutant("no_silu", _part_no_gate, "when silu is left out"),
    ),
)


# ★★ gathered_id(parts, vocab_size) -> the id of the largest logit, whoever has it


def _gathered(parts: list[Array], vocab_size: int) -> int:
    return int(np.concatenate(parts)[:vocab_size].argmax())


def _gathered_pairs(parts: list[Array], vocab_size: int) -> int:
    best, first = (-np.inf, -1), 0
    for part in parts:  # one pair from each rank instead of all its logits
        mine = part[: max(0, vocab_size - first)]
        if len(mine) and mine.max() > best[0]:
            best = float(mine.max()), first + int(mine.argmax())
        first += len(part)
    return best[1]


def _gathered_local(parts: list[Array], vocab_size: int) -> int:
    return int(max(parts, key=lambda part: part.max()).argmax())


def _gathered_args(rng: np.random.Generator, vocab_size: int, size: int) -> tuple[list[Array], int]:
    share = -(-vocab_size // size)
    # All below 0, so that the zeros past the end would win; the best is never in the first part.
    logits = np.zeros(share * size, dtype=np.float32)
    logits[:vocab_size] = -1 - np.abs(noise(rng, vocab_size))
    logits[whole(rng, share, vocab_size - 1)] = -0.5
    return list(logits.reshape(size, share)), vocab_size


GATHERED_ID = Exercise(
    name="gathered_id",
    topic="parallel",
    stars=2,
    task="Repair the choice of the likeliest id from every rank's part of the logits.",
    section="A table cut by words",
    cases=lambda: [
        Case(f"{v} words on {n} ranks", _gathered_args(np.random.default_rng(v), v, n))
        for v, n in ((12, 2), (11, 3), (29, 4), (31, 5))
    ],
    drawn=lambda rng: [Case("other logits", _gathered_args(rng, whole(rng, 14, 40), 4))],
    correct=(_gathered, _gathered_pairs),
    mutants=(
        Mutant(
            "local",
            _gathered_local,
            "when a rank's own row number is taken for the id",
        ),
        Mutant(
            "first_rank",
            lambda parts, vocab_size: int(parts[0].argmax()),
            "when only the first rank's words can be chosen",
        ),
        Mutant(
            "last_rank",
            lambda parts, vocab_size: (
                len(parts[0]) * (len(parts) - 1)
                + int(parts[-1][: vocab_size - len(parts[0]) * (len(parts) - 1)].argmax())
            ),
            "when only the last rank's words can be chosen",
        ),
        Mutant(
            "padding",
            lambda parts, vocab_size: int(np.concatenate(parts).argmax()),
            "when the zeros past the end of the vocabulary may win",
        ),
        Mutant(
            "added",
            lambda parts, vocab_size: int(_total(parts).argmax()),
            "when the parts are added: they are different words",
        ),
        Mutant(
            "dealt",
            lambda parts, vocab_size: int(np.stack(parts, axis=1).reshape(-1).argmax()),
            "when the words were dealt out one by one",
        ),
    ),
)


# ★★★ ring_step(rank, size, step) -> (piece to send on, piece that comes)

Step = tuple[int, int]


def _ring(rank: int, size: int, step: int) -> Step:
    return (rank - step) % size, (rank - step - 1) % size


def _ring_neighbour(rank: int, size: int, step: int) -> Step:
    # Start at rank 0, whose pieces count down, and take a piece further for each rank.
    pieces = [-i % size for i in range(size - 1)] + [(1 - i) % size for i in range(size - 1)]
    out = pieces[step]
    for _ in range(rank):
        out = out + 1 if out < size - 1 else 0
    return out, out - 1 if out else size - 1


def _played(answer: Callable[[int, int, int], Step], parts: Array) -> Array:
    """What every rank holds in the end, if all take these steps: adding first, then copying."""
    size = len(parts)
    held = parts.reshape(size, size, -1).copy()
    for step in range(2 * (size - 1)):
        said = [answer(rank, size, step) for rank in range(size)]
        sent = [held[rank, said[rank][0]].copy() for rank in range(size)]
        for rank in range(size):
            into = said[rank][1]
            if step < size - 1:
                held[rank, into] += sent[rank - 1]
            else:
                held[rank, into] = sent[rank - 1]
    return held.reshape(size, -1)


def _ring_case(rng: np.random.Generator, size: int) -> Case:
    return Case(f"{size} ranks, pieces of 2", (noise(rng, size, 2 * size),))


RING_STEP = Exercise(
    name="ring_step",
    topic="parallel",
    books=("llama_edu.parallel.world.World.summed",),
    stars=3,
    task="Say which piece a rank sends on and which comes, at each step of a sum round a ring.",
    section="A sum that goes round",
    cases=lambda: [_ring_case(np.random.default_rng(size), size) for size in (2, 3, 4, 5)],
    drawn=lambda rng: [_ring_case(rng, whole(rng, 3, 7))],
    harness=_played,
    correct=(_ring, _ring_neighbour),
    axes="n_ranks piece",
    mutants=(
        Mutant(
            "second_lap_late",
            lambda rank, size, step: (
                (rank - step % (size - 1)) % size,
                (rank - step % (size - 1) - 1) % size,
            ),
            "when the second lap starts with a rank's own piece: the finished one is the next",
        ),
        Mutant(
            "own_piece",
            lambda rank, size, step: (rank, (rank - 1) % size),
            "when a rank sends the same piece at every step",
        ),
        Mutant(
            "other_way",
            lambda rank, size, step: ((rank + step) % size, (rank + step + 1) % size),
            "when the pieces count up while the ring goes to the right",
        ),
        Mutant(
            "same_place",
            lambda rank, size, step: (_ring(rank, size, step)[0],) * 2,
            "when what comes is put where the piece that left was",
        ),
        Mutant(
            "everybody_alike",
            lambda rank, size, step: _ring(0, size, step),
            "when every rank sends the piece of the same number",
        ),
        Mutant(
            "one_lap",
            lambda rank, size, step: (
                _ring(rank, size, step) if step < size - 1 else ((rank - 1) % size, rank)
            ),
            "when the second lap sends no finished piece",
        ),
    ),
)

EXERCISES = (GROUP_ROWS, JOINED, MLP_PART, GATHERED_ID, RING_STEP)
