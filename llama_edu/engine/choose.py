"""From logits to the next token id, by one rule for everything that writes.

`generate`, a chat, the server's scheduler and the comparison of the exercises all choose here. So
they agree on which ids may be chosen at all, on which of them end a text, and on what a seed means.
"""

import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int

from llama_edu.engine.guess import Guess, keep_or_replace
from llama_edu.engine.sampling import GREEDY, Sampling, adjusted, probabilities, sample
from llama_edu.formats.config import LlamaConfig
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["Constraint", "Seed", "TokenChooser", "Vocabulary", "random_generator"]

Seed = SupportsIndex | np.random.Generator | None
"""A whole number, negative ones too; random numbers that are under way; None for any at all."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The ids a model may choose, and those of them that end a text.

    A model's vocabulary is often padded to a round size: its last rows, and sometimes some in the
    middle, belong to no token. `without_token` holds their ids, and they are never chosen.
    """

    stop_ids: frozenset[int]
    without_token: Int[np.ndarray, " n_without_token"]

    @classmethod
    def of(
        cls,
        config: LlamaConfig,
        tokenizer: Tokenizer | None = None,
        stop_ids: Iterable[int] | None = None,
    ) -> "Vocabulary":
        """What a model's config and its tokenizer say together.

        A text ends at any eos id of either. The config's are those of `generation_config.json`,
        where it names some, as in transformers' `generate`; the tokenizer adds its eos token.
        `stop_ids`, where given, replace them all. Without a tokenizer every id may be chosen.
        """
        if stop_ids is None:
            stop_ids = (*config.eos_token_ids, *(tokenizer.eos_token_ids if tokenizer else ()))
        without_token = tokenizer.ids_without_token(config.vocab_size) if tokenizer else ()
        return cls(frozenset(stop_ids), np.asarray(without_token, dtype=np.int64))

    def masked(
        self, logits: Float32[np.ndarray, " vocab_size"]
    ) -> Float32[np.ndarray, " vocab_size"]:
        """The logits, with -∞ for every id that has no token."""
        if self.without_token.size == 0:
            return logits
        masked = logits.copy()
        masked[self.without_token] = -np.inf
        return masked


@runtime_checkable
class Constraint(Protocol):
    """What the tokens of a text must follow, such as a grammar."""

    def allowed(self) -> Bool[np.ndarray, " vocab_size"]:
        """For each id, whether it may come next. At least one may."""
        ...

    def accept(self, token_id: int) -> None:
        """Take note of the id that came next."""
        ...


class TokenChooser:
    """Chooses the tokens of one sequence, one after another.

    `seed` makes sampled tokens repeatable: the same seed and logits give the same ids, wherever
    they are chosen. `prompt_ids` are those before the first one, for the repetition penalty.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampling: Sampling = GREEDY,
        seed: Seed = None,
        prompt_ids: Iterable[int] = (),
        constraint: Constraint | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.sampling = sampling
        self.rng = random_generator(seed)
        self.constraint = constraint
        looks_back = sampling.looks_back
        self._prompt_ids = frozenset(map(int, prompt_ids)) if looks_back else frozenset()
        self._counts: Counter[int] = Counter()

    def choose(self, logits: Float32[np.ndarray, " vocab_size"], guess: Guess | None = None) -> int:
        """The next id: with a guess, that one or another, by the rule of `keep_or_replace`.

        A guess changes which random numbers mean which token, and no probability. Raises
        `NumericsError` if a token's logit is NaN or +∞.
        """
        logits = self.vocabulary.masked(logits)
        if self.sampling.looks_back:
            logits = adjusted(logits, self.sampling, self._prompt_ids, self._counts)
        if self.constraint is not None:
            logits = np.where(self.constraint.allowed(), logits, np.float32(-np.inf))
        if guess is None or self.sampling.temperature == 0:
            token_id = sample(logits, self.sampling, self.rng)
        else:
            token_id = keep_or_replace(probabilities(logits, self.sampling), guess, self.rng)
        if self.sampling.looks_back:
            self._counts[token_id] += 1
        if self.constraint is not None:
            self.constraint.accept(token_id)
        return token_id

    def ends(self, token_id: int) -> bool:
        """Whether a text ends with this id."""
        return token_id in self.vocabulary.stop_ids


def random_generator(seed: Seed, choice: int = 0) -> np.random.Generator:
    """The random numbers of a seed, for the first of several texts that share it, or a later one.

    Numbers count modulo 2⁶⁴, so that any whole number is a seed. A generator is used as it is.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        return np.random.default_rng()
    number = operator.index(seed) % 2**64
    return np.random.default_rng(number if choice == 0 else [number, choice])
