"""From logits to the next token id, by one rule for everything that writes.

`generate`, a chat, the server's scheduler and the comparison of the exercises all choose here. So
they agree on which ids may be chosen at all, on which of them end a text, and on what a seed means.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float32, Int

from llama_edu.engine.sampling import GREEDY, Sampling, sample
from llama_edu.formats.config import LlamaConfig
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["Seed", "TokenChooser", "Vocabulary", "random_generator"]

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


class TokenChooser:
    """Chooses the tokens of one sequence, one after another.

    `seed` makes sampled tokens repeatable: the same seed and logits give the same ids, wherever
    they are chosen.
    """

    def __init__(
        self, vocabulary: Vocabulary, sampling: Sampling = GREEDY, seed: Seed = None
    ) -> None:
        self.vocabulary = vocabulary
        self.sampling = sampling
        self.rng = random_generator(seed)

    def choose(self, logits: Float32[np.ndarray, " vocab_size"]) -> int:
        """The next id. Raises `NumericsError` if a token's logit is NaN or +∞."""
        return sample(self.vocabulary.masked(logits), self.sampling, self.rng)

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
