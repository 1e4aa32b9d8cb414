"""Tokens guessed before the model has said anything, and the rule that makes guessing harmless.

Whoever guesses, however badly, a token is kept or replaced in such a way that what is chosen is
distributed exactly as if nobody had guessed. Here is that rule, and two ways to guess: what came
after the same words earlier in the text, and what a smaller model would write. How many guesses
are worth their cost is decided by a `Pace`. Feeding them to the model is `generate`'s business.

Sources: Leviathan, Kalman and Matias 2023, section 2.3 and appendix A.1, arXiv:2211.17192 (the
rule and its proof); Saxena 2023, Prompt Lookup Decoding,
https://github.com/apoorvumang/prompt-lookup-decoding (guessing from the text itself).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from llama_edu.engine.cache import KVCache
from llama_edu.engine.llama import Llama
from llama_edu.engine.prefix_cache import common_length
from llama_edu.engine.sampling import Sampling, draw, probabilities
from llama_edu.errors import InputError

__all__ = [
    "DraftModel",
    "Guess",
    "Guesser",
    "Guessing",
    "Pace",
    "PromptLookup",
    "Tally",
    "acceptance",
    "keep_or_replace",
    "residual",
]

CHUNK = 512  # tokens of a prompt that a draft model reads at a time


@dataclass(frozen=True, eq=False)
class Guess:
    """A token that may come next, and the distribution it was drawn from.

    None stands for the distribution that has only this token: nothing was drawn.
    """

    token_id: int
    drawn_from: Float32[np.ndarray, " vocab_size"] | None = None


def acceptance(p: Float32[np.ndarray, " vocab_size"], guess: Guess) -> float:
    """The probability with which a guess is kept, where p says what comes next: min(1, p / q)."""
    q = 1.0
    if guess.drawn_from is not None:
        q = float(guess.drawn_from[guess.token_id])
    return min(1.0, float(p[guess.token_id]) / q)


def residual(
    p: Float32[np.ndarray, " vocab_size"], guess: Guess
) -> Float32[np.ndarray, " vocab_size"]:
    """What a guess that was not kept is replaced from: max(p - q, 0), made to add up to 1.

    Kept guesses have given every token min(p, q) of its probability already; this is the rest.
    """
    if guess.drawn_from is None:
        rest = p.copy()
        rest[guess.token_id] = 0
    else:
        rest = np.maximum(p - guess.drawn_from, np.float32(0))
    total = rest.sum()
    # Where p and q are equal nothing is left,
    # and only rounding can have refused the guess.
    return rest / total if total > 0 else p


def keep_or_replace(
    p: Float32[np.ndarray, " vocab_size"], guess: Guess, rng: np.random.Generator
) -> int:
    """The guessed id, or another one, so that the result is distributed as p."""
    if rng.random() < acceptance(p, guess):
        return guess.token_id
    return draw(residual(p, guess), rng)


@dataclass
class Tally:
    """What guessing came to: passes through the model, guesses that went with them, those kept."""

    passes: int = 0
    guessed: int = 0
    kept: int = 0


@dataclass
class Pace:
    """How many tokens to guess next, by how the last guesses fared.

    A pass with guesses takes longer than one without. So where all were right there will be twice
    as many, up to `most`; where none was, some tokens are written without any, and ever more of
    them while that goes on.
    """

    most: int
    now: int = 4
    pause: int = 0
    misses: int = 0

    def next(self) -> int:
        """How many for the next pass."""
        if self.pause:
            self.pause -= 1
            return 0
        return min(self.now, self.most)

    def heard(self, guessed: int, kept: int) -> None:
        """Take note of a pass with `guessed` tokens, of which `kept` were right."""
        if kept:
            self.misses = 0
            self.now = 2 * guessed if kept == guessed else kept + 1
        else:
            self.misses = min(self.misses + 1, 6)
            self.pause, self.now = 2**self.misses, 2


@runtime_checkable
class Guessing(Protocol):
    """Guessing along one text."""

    def add(self, token_id: int) -> None:
        """Take note of the token that came next."""
        ...

    def guesses(self, most: int) -> list[Guess]:
        """Up to `most` tokens that may come next, one after another."""
        ...


@runtime_checkable
class Guesser(Protocol):
    """A way to guess, and what came of it so far in all texts."""

    @property
    def most(self) -> int:
        """Guesses in one pass."""
        ...

    @property
    def tally(self) -> Tally:
        """What came of them."""
        ...

    @property
    def vocab_size(self) -> int | None:
        """How many ids its guesses are made from, where it has a vocabulary of its own."""
        ...

    def begin(
        self, token_ids: Sequence[int], sampling: Sampling, rng: np.random.Generator
    ) -> Guessing:
        """Guess along a text that begins with these ids and goes on by this sampling.

        They are all there are, those whose keys and values are cached already included.
        """
        ...


@dataclass(frozen=True)
class PromptLookup:
    """Guess that what followed the last few tokens earlier in the text follows them again.

    `length` tokens in a row are looked up. Costs next to nothing, and helps where a text says
    something twice: a list, a table, code, a quotation.
    """

    length: int = 3
    most: int = 12
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        _check_positive(length=self.length, most=self.most)

    @property
    def vocab_size(self) -> int | None:
        """None: it repeats ids it has seen."""
        return None

    def begin(
        self, token_ids: Sequence[int], sampling: Sampling, rng: np.random.Generator
    ) -> "_Lookup":
        """Nothing is drawn: `sampling` and `rng` are not used."""
        return _Lookup(self.length, token_ids)


class _Lookup:
    """The text so far, and where each run of `length` ids in it ended last."""

    def __init__(self, length: int, token_ids: Sequence[int]) -> None:
        self.length = length
        self.ids: list[int] = []
        self.after: dict[tuple[int, ...], int] = {}
        for token_id in token_ids:
            self.add(token_id)

    def add(self, token_id: int) -> None:
        # The run that ends here is not noted yet, or it would be found as its own past.
        if len(self.ids) >= self.length:
            self.after[tuple(self.ids[-self.length :])] = len(self.ids)
        self.ids.append(int(token_id))

    def guesses(self, most: int) -> list[Guess]:
        start = self.after.get(tuple(self.ids[-self.length :]))
        if start is None:
            return []
        found = self.ids[start : start + most]
        period = len(self.ids) - start
        # A run that reaches the end of the text repeats itself: so may what comes after it.
        found += [found[i % period] for i in range(len(found), most)] if found else []
        return [Guess(token_id) for token_id in found[:most]]


@dataclass(frozen=True)
class DraftModel:
    """Guess what a smaller model of the same vocabulary would write.

    It keeps what it read for its last text, so that the next turn of a conversation costs it what
    is new, and no more.
    """

    model: Llama
    most: int = 4
    tally: Tally = field(default_factory=Tally)
    _read: "_Read" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_positive(most=self.most)
        object.__setattr__(self, "_read", _Read([], self.model.new_cache()))

    @property
    def vocab_size(self) -> int | None:
        """The smaller model's."""
        return self.model.config.vocab_size

    def begin(
        self, token_ids: Sequence[int], sampling: Sampling, rng: np.random.Generator
    ) -> "_Draft":
        """Draws by the same sampling, but for penalties, from the same random numbers."""
        return _Draft(self.model, self._read, list(token_ids), sampling, rng)


@dataclass(frozen=True)
class _Read:
    """What a draft model has read: the rows of its cache were computed from the first of `ids`."""

    ids: list[int]
    cache: KVCache


class _Draft:
    """A text that the smaller model goes on with, from where it agrees with what that has read."""

    def __init__(
        self,
        model: Llama,
        read: _Read,
        token_ids: list[int],
        sampling: Sampling,
        rng: np.random.Generator,
    ) -> None:
        self.model, self.read, self.ids, self.sampling, self.rng = (
            model, read, token_ids, sampling, rng,
        )  # fmt: skip

    def add(self, token_id: int) -> None:
        self.ids.append(int(token_id))

    def guesses(self, most: int) -> list[Guess]:
        ids, cache = self.read.ids, self.read.cache
        count = min(most, cache.max_seq - len(self.ids))
        if count < 1:
            return []
        # Guesses that were wrong go, and so does what another text has left here.
        cache.truncate(min(common_length(ids[: cache.length], self.ids), len(self.ids) - 1))
        ids[:] = self.ids
        found = list[Guess]()
        for _ in range(count):
            while len(ids) - cache.length > CHUNK:
                self.model.forward(ids[cache.length :][:CHUNK], cache, last_only=True)
            logits = self.model.forward(ids[cache.length :], cache, last_only=True)[-1]
            q = probabilities(logits, self.sampling)
            found.append(Guess(draw(q, self.rng), q))
            ids.append(found[-1].token_id)
        return found


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"expected {name} of at least 1, got {number}")
