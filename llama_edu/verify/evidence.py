"""What an engine answered, beside what is right, and how near the two have to be.

Two right engines differ by rounding: they sum in another order. How much that is grows with the
size of the logits and the number of layers, so the bound does, too (`tolerance_of`). An engine
that rounds on purpose, and says so in its hello, is measured against that rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from llama_edu.engine.llama import Llama
from llama_edu.verify.cases import Call
from llama_edu.verify.parts import Model

__all__ = [
    "Answer",
    "Declared",
    "Logits",
    "Logprobs",
    "Nothing",
    "Observed",
    "Session",
    "Unseen",
    "references",
    "tolerance_of",
    "widened",
]

Array = np.ndarray
LEAST = 2e-5  # of logits: what sums in another order differ by in a model of two layers
PER_LOGIT = 3e-6  # times the largest logit; float32 keeps 1.2e-7 of a number
PER_LAYER = 0.1
PER_POSITION = 1 / 50  # an angle of 300 radians is exact to 2e-5 in float32, and so are its sines
ROOM = 3.0  # between two engines that round to the same format at other moments


@runtime_checkable  # the tests check every annotation as the package runs
class Answer(Protocol):
    """What came back for one call."""

    @property
    def spread(self) -> float:
        """From its smallest number to its largest: how much there is to tell entries apart by."""
        ...

    def gap(self, logits: Array) -> float:
        """How far it is from these logits; infinite if it cannot be compared."""
        ...


@dataclass(frozen=True)
class Logits:
    """Logits of the last position, all finite."""

    logits: Array

    @property
    def spread(self) -> float:
        return float(np.ptp(self.logits)) if self.logits.size else 0.0

    def gap(self, logits: Array) -> float:
        if self.logits.shape != logits.shape or not np.isfinite(logits).all():
            return np.inf
        return float(np.abs(self.logits - logits).max())


@dataclass(frozen=True)
class Logprobs:
    """Log-probabilities of some tokens. A number added to all logits is not seen in them."""

    ids: Array
    logprobs: Array

    @property
    def spread(self) -> float:
        return float(np.ptp(self.logprobs)) if len(self.logprobs) else 0.0

    def gap(self, logits: Array) -> float:
        if not np.isfinite(logits).all() or not len(self.ids):
            return np.inf
        shifted = logits - logits.max()
        right = shifted - np.log(np.exp(shifted).sum())
        return float(np.abs(self.logprobs - right[self.ids]).max())


@dataclass(frozen=True)
class Nothing:
    """Numbers that are not finite, or an error in place of an answer."""

    reason: str

    @property
    def spread(self) -> float:
        return 0.0

    def gap(self, logits: Array) -> float:
        return np.inf if np.isfinite(logits).all() else 0.0


@dataclass(frozen=True)
class Unseen:
    """A call whose answer nobody looked at: it took place, and says nothing."""

    @property
    def spread(self) -> float:
        return 0.0

    def gap(self, logits: Array) -> float:
        return 0.0


@dataclass(frozen=True)
class Observed:
    """One call with its answer, what is right, and the bound between them."""

    call: Call
    answer: Answer
    want: Array
    tolerance: float

    @property
    def gap(self) -> float:
        return self.answer.gap(self.want)

    @property
    def right(self) -> bool:
        return self.gap <= self.tolerance


def widened(tolerance: float, call: Call) -> float:
    """The bound for one call: angles far from 0 are less exact."""
    return tolerance * (1 + PER_POSITION * (call.past + len(call.ids)))


@dataclass
class Session:
    """One program with one model: what was asked, in order, and what came."""

    name: str
    model: Model
    observed: list[Observed] = field(default_factory=list)
    optional: bool = False  # the model has something that an engine need not know

    def first_wrong(self) -> int | None:
        """The index of the first call that is off."""
        return next((i for i, seen in enumerate(self.observed) if not seen.right), None)

    def cost_to(self, index: int) -> int:
        """Roughly what it takes to compute the calls up to and with `index`."""
        fed = sum(len(seen.call.ids) + 1 for seen in self.observed[: index + 1])
        config = self.model.config
        width = config.hidden_size * (config.intermediate_size + 2 * config.hidden_size)
        return fed * (config.num_hidden_layers * width + config.vocab_size * config.hidden_size)


@dataclass(frozen=True)
class Declared:
    """The formats an engine says it computes in and keeps its cache in: "f32", "f16" or "bf16"."""

    dtype: str = "f32"
    cache_dtype: str = "f32"

    @property
    def words(self) -> str:
        cache = f", cache {self.cache_dtype}" if self.cache_dtype != self.dtype else ""
        return self.dtype + cache

    @property
    def exact(self) -> bool:
        return (self.dtype, self.cache_dtype) == ("f32", "f32")


def tolerance_of(wanted: Sequence[Array], n_layers: int) -> float:
    """The bound between two right float32 engines, for these logits of one model."""
    largest = max((float(np.abs(logits).max()) for logits in wanted), default=0.0)
    return max(LEAST, PER_LOGIT * largest * (1 + PER_LAYER * n_layers))


def references(
    directory: Path, calls: Sequence[Call], declared: Declared
) -> tuple[list[Array], float]:
    """What the book's engine answers to these calls, and the bound for an engine as declared."""
    wanted = _answers(Llama.from_pretrained(directory), calls)
    model = Llama.from_pretrained(directory)
    bound = tolerance_of(wanted, model.config.num_hidden_layers)
    if not declared.exact:
        compute = {"f32": "f32", "bf16": "bf16-pure", "f16": "f16-pure"}[declared.dtype]
        rounding = Llama.from_pretrained(directory, compute, cache_dtype=declared.cache_dtype)
        pairs = zip(_answers(rounding, calls), wanted, strict=True)
        bound = max(bound, ROOM * max(float(np.abs(a - b).max()) for a, b in pairs))
    return wanted, bound


def _answers(model: Llama, calls: Sequence[Call]) -> list[Array]:
    cache = model.new_cache()
    answers = []
    for call in calls:
        cache.truncate(call.past)
        answers.append(model.forward(list(call.ids), cache, last_only=True)[0])
    return answers
