"""Documents -> token ids on disk -> batches. No torch here.

A batch holds one document a row, all of nearly equal length. Documents are not glued end to end:
a story never has to learn to ignore the story before it, and almost nothing is padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from training.recipe import Document, Recipe

IGNORED = -100  # a target that is not counted in the loss
WINDOW = 8192  # documents that are sorted by length together


@dataclass(frozen=True)
class Corpus:
    """Encoded documents, one after the other in a flat array."""

    ids: NDArray[np.uint16]  # (n_tokens,)
    learn: NDArray[np.bool_]  # (n_tokens,): is this token a target?
    starts: NDArray[np.int64]  # (n_documents + 1,)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each document."""
        return np.diff(self.starts)

    def save(self, path: Path) -> None:
        """Write an .npz file, whole or not at all."""
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, ids=self.ids, learn=self.learn, starts=self.starts)
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> Corpus:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return Corpus(arrays["ids"], arrays["learn"], arrays["starts"])


def encode(documents: Iterable[Document], tokenizer: Tokenizer, prefix: str, suffix: str) -> Corpus:
    """Encode every document between `prefix` and `suffix`; the suffix is learnt, too."""
    before = tokenizer.encode(prefix, add_special_tokens=False).ids
    after = tokenizer.encode(suffix, add_special_tokens=False).ids
    all_ids: list[NDArray[np.uint16]] = []
    all_learn: list[NDArray[np.bool_]] = []
    iterator = iter(documents)
    while chunk := list(islice(iterator, 1000)):
        texts = [segment.text for document in chunk for segment in document]
        encoded = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        for document in chunk:
            parts = [(next(encoded).ids, segment.learn) for segment in document]
            ids = before + [i for part, _ in parts for i in part] + after
            flags = [False] * len(before) + [f for part, f in parts for _ in part]
            all_ids.append(np.array(ids, dtype=np.uint16))
            all_learn.append(np.array(flags + [True] * len(after), dtype=np.bool_))
    starts = np.zeros(len(all_ids) + 1, dtype=np.int64)
    starts[1:] = np.cumsum([len(ids) for ids in all_ids])
    return Corpus(np.concatenate(all_ids), np.concatenate(all_learn), starts)


def from_recipe(recipe: Recipe, tokenizer: Tokenizer) -> tuple[Corpus, Corpus]:
    """The training and held-out documents of a recipe, encoded; kept in its run directory."""
    r = recipe.corpus
    made = []
    for which, seed, count in (
        (r.generator, r.seed, r.documents),
        (r.held_out, r.seed + 1, r.held_out_documents),
    ):
        path = recipe.run_directory / f"{which.partition(':')[2]}.npz"
        if not path.exists():
            documents = tqdm(r.documents_of(which)(seed, count), which, total=count)
            encode(documents, tokenizer, r.prefix, r.suffix).save(path)
        made.append(Corpus.load(path))
    return made[0], made[1]


def plan(lengths: NDArray[np.int64], tokens_per_step: int, seed: int) -> list[NDArray[np.int64]]:
    """The documents of every step of one epoch, decided by the seed alone."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    steps: list[NDArray[np.int64]] = []
    for begin in range(0, len(order), WINDOW):
        window = order[begin : begin + WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches = list(_fill(window, lengths, tokens_per_step))
        steps += [batches[i] for i in rng.permutation(len(batches))]
    return steps


def _fill(
    window: NDArray[np.int64], lengths: NDArray[np.int64], tokens_per_step: int
) -> Iterator[NDArray[np.int64]]:
    """Cut documents sorted by length into rectangles of at most `tokens_per_step` tokens."""
    begin = 0
    for end in range(1, len(window) + 1):
        full = end < len(window) and (end + 1 - begin) * lengths[window[end]] > tokens_per_step
        if full or end == len(window):
            yield window[begin:end]
            begin = end


def batch(corpus: Corpus, documents: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Inputs and targets, both (len(documents), longest - 1); target t is the token after input t.

    Padding is on the right, where causal attention never looks, and its targets are IGNORED.
    """
    longest = int(corpus.lengths[documents].max())
    ids = np.zeros((len(documents), longest), dtype=np.int64)
    targets = np.full((len(documents), longest), IGNORED, dtype=np.int64)
    for row, document in enumerate(documents):
        begin, end = corpus.starts[document], corpus.starts[document + 1]
        ids[row, : end - begin] = corpus.ids[begin:end]
        learn = corpus.learn[begin:end]
        targets[row, : end - begin][learn] = corpus.ids[begin:end][learn]
    return ids[:, :-1], targets[:, 1:]
