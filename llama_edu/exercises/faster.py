"""Exercises on guessing ahead: guesses checked and replaced, four bits, rows that are shared."""

from collections.abc import Callable
from typing import Any

import numpy as np

from llama_edu.exercises.framework.difference import kind_name
from llama_edu.exercises.framework.draw import whole
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.formats.four_bits import FourBits, dequantize_four, quantize_four

Array = np.ndarray

NIBBLES = "https://github.com/1bit-MONSTER/1bit-MONSTER/pull/572"


# ★ look_up(token_ids, length, most) -> guesses


def _look_up(token_ids: list[int], length: int, most: int) -> list[int]:
    end = token_ids[-length:]
    for start in range(len(token_ids) - length - 1, -1, -1):
        if token_ids[start : start + length] == end:
            return token_ids[start + length : start + length + most]
    return []


def _look_up_by_index(token_ids: list[int], length: int, most: int) -> list[int]:
    after: dict[tuple[int, ...], int] = {}
    for stop in range(length, len(token_ids)):
        after[tuple(token_ids[stop - length : stop])] = stop
    start = after.get(tuple(token_ids[-length:]))
    return [] if start is None else token_ids[start : start + most]


def _look_up_first(token_ids: list[int], length: int, most: int) -> list[int]:
    end = token_ids[-length:]
    for start in range(len(token_ids) - length):
        if token_ids[start : start + length] == end:
            return token_ids[start + length : start + length + most]
    return []


def _look_up_itself(token_ids: list[int], length: int, most: int) -> list[int]:
    end = token_ids[-length:]
    for start in range(len(token_ids) - length, -1, -1):
        if token_ids[start : start + length] == end:
            return token_ids[start + length : start + length + most]
    return []


def _look_up_run(token_ids: list[int], length: int, most: int) -> list[int]:
    end = token_ids[-length:]
    for start in range(len(token_ids) - length - 1, -1, -1):
        if token_ids[start : start + length] == end:
            return token_ids[start : start + most]
    return []


def _look_up_one_id(token_ids: list[int], length: int, most: int) -> list[int]:
    for start in range(len(token_ids) - 2, -1, -1):
        if token_ids[start] == token_ids[-1]:
            return token_ids[start + 1 : start + 1 + most]
    return []


def _look_up_all(token_ids: list[int], length: int, most: int) -> list[int]:
    return _look_up(token_ids, length, len(token_ids))


def _look_up_one_late(token_ids: list[int], length: int, most: int) -> list[int]:
    return _look_up(token_ids, length, most + 1)[1:]


def _look_up_always(token_ids: list[int], length: int, most: int) -> list[int]:
    return _look_up(token_ids, length, most) or token_ids[-1:] * most


def _look_up_drawn(rng: np.random.Generator) -> list[Case]:
    ids = rng.integers(50, size=9).tolist()
    between = rng.integers(50, 99, size=whole(rng, 1, 5)).tolist()
    again = [*ids[:4], *between, *ids[:4], *reversed(between), *ids[:4]]
    return [Case("another text", (again, 3, 3)), Case("nothing twice", ([*ids, 99], 2, 4))]


LOOK_UP = Exercise(
    name="look_up",
    topic="faster",
    books=("llama_edu.engine.guess.PromptLookup",),
    stars=1,
    task="Guess what followed the last tokens the last time they stood in the text.",
    section="The text knows what comes",
    cases=lambda: [
        Case("a list that began before", ([7, 1, 2, 3, 8, 9, 5, 1, 2, 3], 3, 2)),
        Case("twice before, with other ends", ([1, 2, 3, 4, 1, 2, 3, 6, 6, 1, 2, 3], 3, 2)),
        Case("two of three agree", ([1, 2, 3, 4, 5, 9, 2, 3], 3, 2)),
        Case("fewer left than wanted", ([4, 4, 1, 2, 4, 4], 2, 9)),
        Case("nothing like it before", ([1, 2, 3, 4, 5, 6], 2, 3)),
    ],
    drawn=_look_up_drawn,
    correct=(_look_up, _look_up_by_index),
    mutants=(
        Mutant("first", _look_up_first, "when the first place is taken and not the last"),
        Mutant(
            "itself",
            _look_up_itself,
            "when the end of the text finds itself: nothing follows it yet",
        ),
        Mutant("run", _look_up_run, "when the run itself is guessed again, not what follows it"),
        Mutant("one_id", _look_up_one_id, "when one token is looked up and not `length`"),
        Mutant("all", _look_up_all, "when more than `most` are guessed"),
        Mutant("one_late", _look_up_one_late, "when the first token that followed is skipped"),
        Mutant(
            "always",
            _look_up_always,
            "when something is guessed though nothing was found",
            link="https://github.com/huggingface/transformers/pull/27775",
        ),
    ),
)


# ★★ verified(rows, guesses, past) -> (new ids, positions the cache keeps)


def _verified(rows: Array, guesses: list[int], past: int) -> list[object]:
    new = []
    for row, guess in zip(rows, [*guesses, -1], strict=True):
        new.append(int(row.argmax()))
        if new[-1] != guess:
            break
    return [new, past + len(new)]


def _verified_at_once(rows: Array, guesses: list[int], past: int) -> list[object]:
    best = rows.argmax(axis=-1)
    same = np.cumprod(best[:-1] == np.array(guesses, dtype=best.dtype)).sum()
    return [best[: same + 1].tolist(), past + int(same) + 1]


def _changed(
    change: Callable[[list[int], int, Array, list[int]], list[object]],
) -> Callable[..., list[object]]:
    """A wrong answer made of the right one."""

    def wrong(rows: Array, guesses: list[int], past: int) -> list[object]:
        ids, kept = _verified(rows, guesses, past)
        assert isinstance(ids, list)
        assert isinstance(kept, int)
        return change(ids, kept, rows, guesses)

    return wrong


def _verified_not_cut(
    rows: Array,
    guesses: list[int],
    past: int,
) -> list[object]:
    new = []
    for row, guess in zip(rows, [*guesses, None], strict=True):
        new.append(int(row.argmax()))
        if new[-1] != guess:
            break
    return [new, past + len(rows)]


def _verified_shifted(rows: Array, guesses: list[int], past: int) -> list[object]:
    best = rows.argmax(axis=-1)
    same = 0
    while same < len(guesses) and guesses[same] == best[same + 1]:
        same += 1
    return [best[: same + 1].tolist(), past + same + 1]


def _verified_counted(rows: Array, guesses: list[int], past: int) -> list[object]:
    best = rows.argmax(axis=-1)
    same = int(sum(best[:-1] == np.array(guesses, dtype=best.dtype)))
    return [best[: same + 1].tolist(), past + same + 1]


def _rows(rng: np.random.Generator, best: list[int]) -> Array:
    rows = rng.standard_normal((len(best), 11)).astype(np.float32)
    rows[np.arange(len(best)), best] += 9
    return rows


def _verified_cases(rng: np.random.Generator) -> list[Case]:
    return [
        Case("right, right, wrong, right", (_rows(rng, [3, 5, 7, 2, 4]), [3, 5, 1, 2], 6)),
        Case("all right", (_rows(rng, [8, 1, 6]), [8, 1], 10)),
        Case("none right", (_rows(rng, [4, 9, 9]), [2, 9], 5)),
        Case("nothing guessed", (_rows(rng, [7]), [], 3)),
    ]


VERIFIED = Exercise(
    name="verified",
    topic="faster",
    books=("llama_edu.engine.generate.generate", "llama_edu.engine.generate.decode_guessed"),
    stars=2,
    task="Repair the step that keeps the right guesses, and says how much the cache keeps.",
    section="One pass checks them all",
    cases=lambda: _verified_cases(np.random.default_rng(16)),
    drawn=_verified_cases,
    correct=(_verified, _verified_at_once),
    parts=("the new ids", "the positions that the cache keeps"),
    mutants=(
        Mutant(
            "not_cut",
            _verified_not_cut,
            "when the rows of wrong guesses stay in the cache",
            link="https://github.com/Sudharsanselvaraj/Token-Print/issues/110",
        ),
        Mutant(
            "too_many",
            _changed(lambda ids, kept, rows, guesses: [[*ids, int(rows[-1].argmax())], kept]),
            "when one token too many is written",
        ),
        Mutant(
            "no_own",
            _changed(lambda ids, kept, rows, guesses: [ids[:-1], kept - 1]),
            "when only guesses are kept, and the token that the model adds is forgotten",
            link="https://github.com/ohdearquant/lattice/pull/509",
        ),
        Mutant(
            "the_guess",
            _changed(
                lambda ids, kept, rows, guesses: [[*ids[:-1], *guesses[len(ids) - 1 :][:1]], kept]
            ),
            "when the wrong guess is written and not what the model says in its place",
        ),
        Mutant(
            "shifted",
            _verified_shifted,
            "when a guess is compared with the row after its own",
        ),
        Mutant(
            "counted",
            _verified_counted,
            "when right guesses count that stand behind a wrong one",
        ),
        Mutant(
            "one_more_row",
            _changed(lambda ids, kept, rows, guesses: [ids, kept + 1]),
            "when the cache keeps a row for the newest token, which was not fed yet",
        ),
        Mutant(
            "one_row_less",
            _changed(lambda ids, kept, rows, guesses: [ids, kept - 1]),
            "when the row of the token that was fed in front of the guesses is dropped",
        ),
    ),
)


# ★★ replaced_from(p, q) -> the distribution that takes the place of a refused guess


def _replaced(p: Array, q: Array) -> Array:
    rest = np.maximum(p - q, np.float32(0))
    return rest / rest.sum()


def _replaced_loop(p: Array, q: Array) -> Array:
    rest = np.zeros_like(p)
    for i in range(len(p)):
        if p[i] > q[i]:
            rest[i] = p[i] - q[i]
    return rest / rest.sum(dtype=np.float32)


def _from_p(p: Array, q: Array) -> Array:
    return p / p.sum()


def _absolute(p: Array, q: Array) -> Array:
    rest = np.abs(p - q)
    return rest / rest.sum()


def _only_better(p: Array, q: Array) -> Array:
    rest = np.where(p > q, p, np.float32(0))
    return rest / rest.sum()


def _replaced_cases(rng: np.random.Generator) -> list[Case]:
    p, q = rng.dirichlet(np.ones(6), size=2).astype(np.float32)
    sure = np.zeros(6, dtype=np.float32)
    sure[int(p.argmax())] = 1
    return [Case("two distributions", (p, q)), Case("a guess that was sure", (p, sure))]


REPLACED_FROM = Exercise(
    name="replaced_from",
    topic="faster",
    books=("llama_edu.engine.guess.residual",),
    stars=2,
    task="Repair the distribution that replaces a guess which was not kept.",
    section="Guess with dice, and change nothing",
    axes="token",
    cases=lambda: [
        Case(
            "the one of the text",
            (
                np.array([0.5, 0.3, 0.2, 0.0], dtype=np.float32),
                np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32),
            ),
        ),
        *_replaced_cases(np.random.default_rng(5)),
    ],
    drawn=_replaced_cases,
    correct=(_replaced, _replaced_loop),
    mutants=(
        Mutant(
            "from_p",
            _from_p,
            "when a new token is drawn from p: those the guesser likes come too often",
            link="https://github.com/ShopeeLLM/Spec-RL/issues/14",
        ),
        Mutant("from_q", lambda p, q: q.copy(), "when it is drawn from q, the guesser's own"),
        Mutant(
            "not_to_one",
            lambda p, q: np.maximum(p - q, np.float32(0)),
            "when what is left is not made to add up to 1",
        ),
        Mutant("absolute", _absolute, "when q - p counts as well, where q is the larger"),
        Mutant("turned", lambda p, q: _replaced(q, p), "when p is taken from q"),
        Mutant("only_better", _only_better, "when q is not taken off where p is the larger"),
        Mutant(
            "softmax",
            lambda p, q: np.exp(p - q) / np.exp(p - q).sum(),
            "when a softmax is made of the difference: these are probabilities already",
        ),
    ),
)


# ★★★ unpack_q4(blocks) -> weights


def _unpack(blocks: Array) -> Array:
    scale = np.ascontiguousarray(blocks[:, 0:2]).view(np.float16).astype(np.float32)
    offset = np.ascontiguousarray(blocks[:, 2:4]).view(np.float16).astype(np.float32)
    codes = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return codes.astype(np.float32) * scale + offset


def _unpack_books(blocks: Array) -> Array:
    return dequantize_four(FourBits(blocks[:, None]))


def _codes(blocks: Array) -> tuple[Array, Array, Array, Array]:
    """Scale, offset, lower and upper codes, as float32."""
    heads = np.ascontiguousarray(blocks[:, :4]).view(np.float16).astype(np.float32)
    lower, upper = blocks[:, 4:] & 15, blocks[:, 4:] >> 4
    return heads[:, :1], heads[:, 1:], lower.astype(np.float32), upper.astype(np.float32)


def _unpack_wrong(
    change: Callable[[Array, Array, Array, Array], Array],
) -> Callable[[Array], Array]:
    return lambda blocks: change(*_codes(blocks))


def _neighbours(scale: Array, offset: Array, lower: Array, upper: Array) -> Array:
    codes = np.stack([lower, upper], axis=-1).reshape(len(lower), -1)
    return codes * scale + offset


def _half(lower: Array, upper: Array) -> Array:
    return np.concatenate([lower, upper], axis=1)


def _blocks(rng: np.random.Generator) -> list[Case]:
    weights = rng.standard_normal((3, 32), dtype=np.float32)
    return [Case("three blocks", (quantize_four(weights).blocks[:, 0].copy(),))]


UNPACK_Q4 = Exercise(
    name="unpack_q4",
    topic="faster",
    books=("llama_edu.formats.four_bits.dequantize_four",),
    stars=3,
    task="Read blocks of 32 weights in four bits, (n, 20) bytes, as float32.",
    section="Two weights in a byte",
    axes="n_blocks weights",
    cases=lambda: [
        *_blocks(np.random.default_rng(4)),
        Case("one block", (quantize_four(np.arange(32, dtype=np.float32)[None]).blocks[0].copy(),)),
    ],
    drawn=_blocks,
    correct=(_unpack, _unpack_books),
    mutants=(
        Mutant(
            "neighbours",
            _unpack_wrong(_neighbours),
            "when the two codes of a byte are taken for neighbours",
            link="https://github.com/kekzl/imp/pull/567",
        ),
        Mutant(
            "halves",
            _unpack_wrong(lambda s, o, low, up: _half(up, low) * s + o),
            "when the upper half of a byte comes first",
        ),
        Mutant(
            "no_offset",
            _unpack_wrong(lambda s, o, low, up: _half(low, up) * s),
            "when the offset is forgotten",
        ),
        Mutant(
            "less_eight",
            _unpack_wrong(lambda s, o, low, up: (_half(low, up) - 8) * s),
            "when codes are taken as in Q4_0, which has no offset: less 8, times the scale",
        ),
        Mutant(
            "scaled_offset",
            _unpack_wrong(lambda s, o, low, up: (_half(low, up) + o) * s),
            "when the offset is scaled as well",
        ),
        Mutant(
            "exchanged",
            _unpack_wrong(lambda s, o, low, up: _half(low, up) * o + s),
            "when scale and offset are exchanged",
        ),
        Mutant(
            "one_scale",
            _unpack_wrong(lambda s, o, low, up: _half(low, up) * s[:1] + o[:1]),
            "when every block takes the scale of the first",
        ),
        Mutant(
            "signed",
            _unpack_wrong(
                lambda s, o, low, up: (lambda c: np.where(c > 7, c - 16, c))(_half(low, up)) * s + o
            ),
            "when codes above 7 are taken for negative ones",
            link=NIBBLES,
        ),
    ),
)

# ★★ go_on_from(runs, length, new) -> the runs of a conversation that goes on from `length`


def _on_from(runs: list[Array], length: int, new: Array) -> list[Array]:
    mine, start = [], 0
    for run in runs:
        mine.append(run[: max(length - start, 0)])
        start += len(run)
    return [*mine, new]


def _on_from_whole_ones(runs: list[Array], length: int, new: Array) -> list[Array]:
    ends = np.cumsum([len(run) for run in runs], dtype=int)
    whole = int(np.searchsorted(ends, length, side="right"))
    left = length - (int(ends[whole - 1]) if whole else 0)
    return [*runs[:whole], *([runs[whole][:left]] if left else []), new]


def _on_written_over(
    runs: list[Array],
    length: int,
    new: Array,
) -> list[Array]:
    mine, start = [], 0
    for run in runs:
        stays = max(length - start, 0)
        room = run[stays:][: len(new)]
        room[:] = new[: len(room)]
        new = new[len(room) :]
        mine.append(run[: stays + len(room)])
        start += len(run)
    return [*mine, new]


def _on_emptied(runs: list[Array], length: int, new: Array) -> list[Array]:
    mine, start = [], 0
    for run in runs:
        stays = max(length - start, 0)
        run[stays:] = 0
        mine.append(run[:stays])
        start += len(run)
    return [*mine, new]


def _on_cut_for_all(runs: list[Array], length: int, new: Array) -> list[Array]:
    runs[:] = _on_from(runs, length, new)[:-1]
    return [*runs, new]


def _on_longer_for_all(runs: list[Array], length: int, new: Array) -> list[Array]:
    mine = _on_from(runs, length, new)
    runs.append(new)
    return mine


def _on_whole_run(runs: list[Array], length: int, new: Array) -> list[Array]:
    mine, start = [], 0
    for run in runs:
        if start < length:
            mine.append(run)
        start += len(run)
    return [*mine, new]


def _on_dropped_run(runs: list[Array], length: int, new: Array) -> list[Array]:
    mine, start = [], 0
    for run in runs:
        start += len(run)
        if start <= length:
            mine.append(run)
    return [*mine, new]


def _on_copied(runs: list[Array], length: int, new: Array) -> list[Array]:
    return [np.concatenate([*runs, new[:0]])[:length], new]


def _went_on(
    answer: Callable[..., Any], runs: list[Array], length: int, new: Array
) -> list[object]:
    """What both conversations read afterwards, and what the second has in memory of its own."""
    others = [run.copy() for run in runs]
    held, fed = list(others), new.copy()
    mine = answer(others, length, fed)
    if not isinstance(mine, list | tuple):
        raise TypeError(f"expected a list of runs, got {kind_name(mine)}")
    own = [run for run in mine if not any(np.may_share_memory(run, other) for other in held)]
    nothing = new[:0]
    return [
        np.concatenate([nothing, *mine]),
        np.concatenate([nothing, *others]),
        sum(map(len, own)),
    ]


def _runs(rng: np.random.Generator, *lengths: int) -> list[Array]:
    return [rng.standard_normal((n, 3), dtype=np.float32) for n in lengths]


def _on_from_cases(rng: np.random.Generator) -> list[Case]:
    new = _runs(rng, 2)[0]
    return [
        Case("a cut through the last run", (_runs(rng, 6, 5), 8, new)),
        Case("a cut through the first of three", (_runs(rng, 7, 2, 4), 4, new)),
        Case("a cut between two runs", (_runs(rng, 4, 3, 6), 7, new)),
        Case("a cut behind all of them", (_runs(rng, 5, 4), 9, new)),
        Case("a cut in front of all of them", (_runs(rng, 4, 2), 0, new)),
    ]


def _on_from_drawn(rng: np.random.Generator) -> list[Case]:
    runs = _runs(rng, *(whole(rng, 3, 7) for _ in range(4)))
    length = whole(rng, 1, sum(map(len, runs)) - 1)
    return [Case(f"four runs, a cut at {length}", (runs, length, _runs(rng, 3)[0]))]


GO_ON_FROM = Exercise(
    name="go_on_from",
    topic="faster",
    stars=2,
    task="Repair the step that goes back to a position and on from there, over rows others read.",
    section="Runs of rows",
    cases=lambda: _on_from_cases(np.random.default_rng(32)),
    drawn=_on_from_drawn,
    harness=_went_on,
    correct=(_on_from, _on_from_whole_ones),
    parts=(
        "the rows that this conversation reads",
        "the rows that the other one reads",
        "its rows in memory of its own",
    ),
    mutants=(
        Mutant(
            "written_over",
            _on_written_over,
            "when new rows are written into a run that is shared: the other conversation reads "
            "them, too",
            link="https://github.com/Avarok-Cybersecurity/atlas/pull/692",
        ),
        Mutant(
            "emptied",
            _on_emptied,
            "when the rows that one forgets are emptied: the other one still reads them",
            link="https://github.com/raullenchai/Rapid-MLX/issues/196",
        ),
        Mutant(
            "cut_for_all",
            _on_cut_for_all,
            "when the list that the other conversation holds is cut, and not a new one made",
        ),
        Mutant(
            "longer_for_all",
            _on_longer_for_all,
            "when the new rows go into the list of the other conversation as well",
            link="https://github.com/jjang-ai/vmlx/issues/198",
        ),
        Mutant(
            "copied",
            _on_copied,
            "when rows are copied that could be looked at where they are",
        ),
        Mutant(
            "whole_run",
            _on_whole_run,
            "when a run that the cut goes through is kept whole",
        ),
        Mutant(
            "dropped_run",
            _on_dropped_run,
            "when a run that the cut goes through is dropped whole",
        ),
        Mutant(
            "each_run",
            lambda runs, length, new: [*(run[:length] for run in runs), new],
            "when `length` is counted from the beginning of each run",
        ),
        Mutant(
            "not_cut",
            lambda runs, length, new: [*runs, new],
            "when nothing is forgotten",
        ),
        Mutant(
            "one_less",
            lambda runs, length, new: _on_from(runs, length - 1, new),
            "when one row too many is forgotten",
        ),
    ),
)

EXERCISES = (LOOK_UP, VERIFIED, REPLACED_FROM, UNPACK_Q4, GO_ON_FROM)
