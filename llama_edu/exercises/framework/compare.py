"""Run a model twice, once as it is and once changed, and find where the two part.

The tokens are the same on both sides: the prompt and what the unchanged model writes after it,
one pass after another over a cache. So every array of one side has its twin on the other, and the
first pair that is not equal stands right behind the cause. What each side writes on its own is
kept as well, since a text may read well and still be wrong.

A text is written greedily, and only as far as rounding has no say in it: where the two best logits
are nearly equal, another processor may go on differently, and so may a right function.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from llama_edu.engine.cache import KVCache
from llama_edu.engine.choose import TokenChooser, Vocabulary
from llama_edu.engine.generate import prefill
from llama_edu.engine.llama import Llama
from llama_edu.engine.trace import Record, Trace
from llama_edu.errors import InputError
from llama_edu.text.tokenizer import Tokenizer

__all__ = [
    "ArrayGap",
    "Comparison",
    "Feeding",
    "Writing",
    "array_gap",
    "compare",
    "relative_gap",
    "steadiest",
]

TOLERANCE = 1e-4  # of an array's largest value: a hundred times what rounding does in float32
NEAR_TIE = 0.05  # between two logits; rounding moves one by 1e-5 or so


@dataclass(frozen=True)
class ArrayGap:
    """The first recorded array that differs: where, by how much, and in which call.

    `first_position` and `last_position` are those of the tokens fed in that call; `place` names
    the axes of the first number that differs, whose two values are `want` and `got`. Where the
    shapes differ, `place` says so, and the gap is infinite.
    """

    name: str
    first_position: int
    last_position: int
    place: str
    want: float
    got: float
    largest_gap: float


@dataclass(frozen=True)
class Writing:
    """New ids, each the likeliest, and why they end.

    `end` is "eos", "limit", "tie" where the two best logits are too close to tell, or "broken"
    where a logit is not a finite number.
    """

    ids: list[int]
    end: str


@dataclass(frozen=True)
class Comparison:
    """What the unchanged model and the changed one did.

    `right` and `changed` are what each writes after `prompt_ids`. `gaps` is measured on the
    unchanged model's text: the largest difference between the two rows of logits, for each
    position, and `scales` the largest right logit of that row.
    """

    prompt_ids: list[int]
    right: Writing
    changed: Writing
    array: ArrayGap | None
    gaps: Float[np.ndarray, " positions"]
    scales: Float[np.ndarray, " positions"]

    @cached_property
    def position(self) -> int | None:
        """The first position whose logits differ by more than rounding."""
        wrong = ~(self.gaps <= TOLERANCE * self.scales)  # a NaN is wrong as well
        return int(wrong.argmax()) if wrong.any() else None

    @property
    def token(self) -> int | None:
        """The first new token, counted from 0, that the changed model chooses otherwise."""
        pairs = zip(self.right.ids, self.changed.ids, strict=False)
        for i, (right, changed) in enumerate(pairs):
            if right != changed:
                return i
        if self.changed.end == "broken":
            return len(self.changed.ids)
        shorter, longer = sorted((self.right, self.changed), key=lambda text: len(text.ids))
        if len(shorter.ids) == len(longer.ids) or shorter.end == "tie":
            return None
        return len(shorter.ids)

    @property
    def same(self) -> bool:
        """Whether nothing differs by more than rounding."""
        return self.array is None and self.position is None and self.token is None


@dataclass(frozen=True)
class Feeding:
    """How a prompt comes to the models that are compared.

    `chunk` tokens at a time; and the changed model's cache holds `earlier_ids` already, as one
    does that was used and not emptied.
    """

    chunk: int | None = None
    earlier_ids: Sequence[int] = ()


def compare(
    model: Llama,
    token_ids: Sequence[int],
    change: AbstractContextManager[object],
    *,
    max_new_tokens: int = 40,
    tokenizer: Tokenizer | None = None,
    feeding: Feeding | None = None,
) -> Comparison:
    """Run `model` on a prompt as it is, and once more inside `with change:`.

    With the model's `tokenizer`, tokens are chosen among its own, and a text ends where it says.

    `feeding` says how the prompt comes, by default in two pieces: the second one brings several
    tokens to a past, which is where many an engine fails. Raises `InputError` for a count below 1,
    as `Llama.forward` does for a bad or too long prompt, and whatever the changed model raises.
    """
    if max_new_tokens < 1:
        raise InputError(f"expected max_new_tokens of at least 1, got {max_new_tokens}")
    prompt = model.checked_ids(token_ids).tolist()
    model.check_room(len(prompt) + max_new_tokens, None)
    feeding = feeding or Feeding()
    chunk = -(-len(prompt) // 2) if feeding.chunk is None else feeding.chunk
    chooser = TokenChooser(Vocabulary.of(model.config, tokenizer))
    right = _written(model, prompt, model.new_cache(), chooser, max_new_tokens, chunk)
    calls = _calls(prompt, right.ids, chunk)
    right_trace, right_logits = _traced(model, calls)
    with change:
        trace, logits = _traced(model, calls, feeding.earlier_ids)
        cache = _cache(model, feeding.earlier_ids)
        writing = _written(model, prompt, cache, chooser, max_new_tokens, chunk)
    with np.errstate(invalid="ignore"):  # ∞ on both sides: their gap is not a number
        gaps = np.abs(right_logits - logits).max(axis=-1)
    scales = np.abs(right_logits).max(axis=-1)
    array = _first_array(right_trace, trace, calls)
    return Comparison(prompt, right, writing, array, gaps, scales)


def steadiest(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 40,
    tokenizer: Tokenizer | None = None,
) -> int:
    """Which of the prompts the model continues furthest without a near tie; the first of equals.

    A text to compare by should not hang on a choice that was all but a toss-up.
    """
    chooser = TokenChooser(Vocabulary.of(model.config, tokenizer))
    lengths = [
        len(_written(model, ids, model.new_cache(), chooser, max_new_tokens, len(ids)).ids)
        for ids in map(list, prompts)
    ]
    return int(np.argmax(lengths))


def relative_gap(want: np.ndarray, got: np.ndarray) -> float:
    """The largest difference of two arrays, as a share of the largest finite number in `want`.

    Infinite if their shapes differ, or if one has an infinity or a NaN where the other has not,
    and where `want` holds only zeros and `got` does not.
    """
    finite = np.isfinite(want)
    if got.shape != want.shape or not np.array_equal(np.isfinite(got), finite):
        return np.inf
    if not np.array_equal(got[~finite], want[~finite]):
        return np.inf
    off = float(np.abs(got[finite] - want[finite]).max(initial=0.0))
    scale = float(np.abs(want[finite]).max(initial=0.0))
    if off == 0.0:  # all zeros, or all masked, is no division by 0
        return 0.0
    return off / scale if scale else np.inf


def _calls(prompt: list[int], new_ids: list[int], chunk: int) -> list[list[int]]:
    """The tokens of each forward pass: pieces of the prompt, then one new token at a time."""
    pieces = [prompt[start : start + chunk] for start in range(0, len(prompt), chunk)]
    return pieces + [[token_id] for token_id in new_ids[:-1]]


def _traced(
    model: Llama, calls: list[list[int]], earlier_ids: Sequence[int] = ()
) -> tuple[Trace, Float[np.ndarray, "positions vocab_size"]]:
    cache = _cache(model, earlier_ids)
    with Trace() as trace:
        rows = [model.forward(ids, cache, trace=trace) for ids in calls]
    return trace, np.concatenate(rows)


def _cache(model: Llama, earlier_ids: Sequence[int]) -> KVCache:
    cache = model.new_cache()
    if len(earlier_ids):
        model.forward(earlier_ids, cache)
    return cache


def _written(
    model: Llama,
    prompt: list[int],
    cache: KVCache,
    chooser: TokenChooser,
    max_new_tokens: int,
    chunk: int,
) -> Writing:
    ids: list[int] = []
    logits = prefill(model, prompt, cache, chunk=chunk)[-1]
    while True:
        if not np.isfinite(logits).all():
            return Writing(ids, "broken")
        second, best = np.partition(chooser.vocabulary.masked(logits), -2)[-2:]
        if best - second < NEAR_TIE:
            return Writing(ids, "tie")
        ids.append(chooser.choose(logits))
        if chooser.ends(ids[-1]):
            return Writing(ids, "eos")
        if len(ids) == max_new_tokens:
            return Writing(ids, "limit")
        logits = model.forward(ids[-1:], cache)[-1]


def _first_array(right: Trace, changed: Trace, calls: list[list[int]]) -> ArrayGap | None:
    first_position = 0
    for step, ids in enumerate(calls):
        for name, want in right.steps[step].items():
            gap = array_gap(want, changed.steps[step][name].array, first_position, len(ids))
            if gap is not None:
                return gap
        first_position += len(ids)
    return None


def array_gap(want: Record, got: np.ndarray, first_position: int, seq: int) -> ArrayGap | None:
    """Where `got` differs from a recorded array by more than rounding; None where it does not.

    `first_position` is that of the first of the call's `seq` tokens.
    """
    last_position = first_position + seq - 1
    if got.shape != want.shape:
        place = f"shape {got.shape} instead of {want.shape}"
        return ArrayGap(want.name, first_position, last_position, place, 0.0, 0.0, np.inf)
    finite = np.isfinite(want.array)
    scale = float(np.abs(want.array, where=finite, out=np.zeros(want.shape, np.float32)).max())
    close = np.isclose(got, want.array, rtol=0.0, atol=TOLERANCE * scale)
    if close.all():
        return None
    index = tuple(int(i) for i in np.argwhere(~close)[0])
    with np.errstate(invalid="ignore"):
        gaps = np.abs(got - want.array)[~close]
    return ArrayGap(
        name=want.name,
        first_position=first_position,
        last_position=last_position,
        place=", ".join(f"{axis} {i}" for axis, i in zip(want.axes, index, strict=True)),
        want=float(want.array[index]),
        got=float(got[index]),
        largest_gap=float(gaps.max()),
    )
