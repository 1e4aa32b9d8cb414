"""Run a model twice, once as it is and once changed, and find where the two part.

The tokens are the same on both sides: the prompt and what the unchanged model writes after it,
one pass after another over a cache. So every array of one side has its twin on the other, and the
first pair that is not equal stands right behind the cause. What each side writes on its own is
kept as well, since a text may read well and still be wrong.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from llama_edu.errors import NumericsError
from llama_edu.generate import generate
from llama_edu.model import Llama
from llama_edu.trace import Record, Trace

__all__ = ["ArrayGap", "Comparison", "compare"]

TOLERANCE = 1e-4  # of an array's largest value: a hundred times what rounding does in float32


@dataclass(frozen=True)
class ArrayGap:
    """The first recorded array that differs: where, by how much, and in which call.

    `first_position` and `last_position` are those of the tokens fed in that call; `place` names
    the axes of the first number that differs, whose two values are `want` and `got`.
    """

    name: str
    first_position: int
    last_position: int
    place: str
    want: float
    got: float
    largest_gap: float


@dataclass(frozen=True)
class Comparison:
    """What the unchanged model and the changed one did.

    `right_ids` and `ids` are what each writes after `prompt_ids`, greedily. `gaps` is measured on
    the unchanged model's text: the largest difference between the two rows of logits, for each
    position, and `scales` the largest right logit of that row. `error` is what stopped the
    changed model's writing, if its logits broke.
    """

    prompt_ids: list[int]
    right_ids: list[int]
    ids: list[int]
    array: ArrayGap | None
    gaps: Float[np.ndarray, " positions"]
    scales: Float[np.ndarray, " positions"]
    error: str = ""

    @cached_property
    def position(self) -> int | None:
        """The first position whose logits differ by more than rounding."""
        wrong = ~(self.gaps <= TOLERANCE * self.scales)  # a NaN is wrong as well
        return int(wrong.argmax()) if wrong.any() else None

    @property
    def token(self) -> int | None:
        """The first new token, counted from 0, that the changed model chooses otherwise."""
        pairs = zip(self.right_ids, self.ids, strict=False)
        different = (i for i, (right, mine) in enumerate(pairs) if right != mine)
        shorter = min(len(self.right_ids), len(self.ids))
        ends = shorter if len(self.right_ids) != len(self.ids) else None
        return next(different, ends)

    @property
    def same(self) -> bool:
        """Whether nothing differs by more than rounding."""
        return self.array is None and self.position is None and self.token is None


def compare(
    model: Llama,
    token_ids: Sequence[int],
    change: AbstractContextManager[object],
    *,
    max_new_tokens: int = 40,
    chunk: int | None = None,
) -> Comparison:
    """Run `model` on a prompt as it is, and once more inside `with change:`.

    The prompt is fed `chunk` tokens at a time, by default in two pieces: the second one brings
    several tokens to a past, which is where many an engine fails. Raises as `generate` does for a
    bad prompt, and whatever the changed model raises, except that broken logits end its text.
    """
    prompt = [int(token_id) for token_id in token_ids]
    chunk = max(1, -(-len(prompt) // 2)) if chunk is None else chunk
    right_ids, _ = _written(model, prompt, max_new_tokens, chunk)
    calls = _calls(prompt, right_ids, chunk)
    right_trace, right_logits = _traced(model, calls)
    with change:
        trace, logits = _traced(model, calls)
        ids, error = _written(model, prompt, max_new_tokens, chunk)
    with np.errstate(invalid="ignore"):  # ∞ on both sides: their gap is not a number
        gaps = np.abs(right_logits - logits).max(axis=-1)
    scales = np.abs(right_logits).max(axis=-1)
    array = _first_array(right_trace, trace, calls)
    return Comparison(prompt, right_ids, ids, array, gaps, scales, error)


def _calls(prompt: list[int], new_ids: list[int], chunk: int) -> list[list[int]]:
    """The tokens of each forward pass: pieces of the prompt, then one new token at a time."""
    pieces = [prompt[start : start + chunk] for start in range(0, len(prompt), chunk)]
    return pieces + [[token_id] for token_id in new_ids[:-1]]


def _traced(
    model: Llama, calls: list[list[int]]
) -> tuple[Trace, Float[np.ndarray, "positions vocab_size"]]:
    cache = model.new_cache()
    with Trace() as trace:
        rows = [model.forward(ids, cache, trace=trace) for ids in calls]
    return trace, np.concatenate(rows)


def _written(
    model: Llama, prompt: list[int], max_new_tokens: int, chunk: int
) -> tuple[list[int], str]:
    ids: list[int] = []
    try:
        for token_id in generate(model, prompt, max_new_tokens=max_new_tokens, chunk=chunk):
            ids.append(token_id)  # noqa: PERF402 — what came before an error is kept
    except NumericsError as problem:
        return ids, str(problem)
    return ids, ""


def _first_array(right: Trace, changed: Trace, calls: list[list[int]]) -> ArrayGap | None:
    first_position = 0
    for step, ids in enumerate(calls):
        for name, want in right.steps[step].items():
            gap = _gap(want, changed.steps[step][name].array, first_position, len(ids))
            if gap is not None:
                return gap
        first_position += len(ids)
    return None


def _gap(want: Record, got: np.ndarray, first_position: int, seq: int) -> ArrayGap | None:
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
        last_position=first_position + seq - 1,
        place=", ".join(f"{axis} {i}" for axis, i in zip(want.axes, index, strict=True)),
        want=float(want.array[index]),
        got=float(got[index]),
        largest_gap=float(gaps.max()),
    )
