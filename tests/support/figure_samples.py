"""Arrays and labels that several figures are drawn from, and the words a figure shows."""

from __future__ import annotations

import numpy as np
from matplotlib.text import Text
from picture_checks import shown_texts

from llama_edu import viz


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def masked(scores: np.ndarray) -> np.ndarray:
    seq, total_seq = scores.shape[-2:]
    future = np.arange(total_seq) > total_seq - seq + np.arange(seq)[:, None]
    return np.where(future, -np.inf, scores).astype(np.float32)


def scores(*shape: int, seed: int = 0) -> np.ndarray:
    return 2 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return softmax(masked(scores(*shape, seed=seed)))


def words(count: int) -> list[str]:
    return ["<|endoftext|>", *(f" word{i}" for i in range(count - 1))]


def texts(picture: viz.Picture) -> list[str]:
    return [text.get_text() for text in shown_texts(picture.figure)]


def all_texts(picture: viz.Picture) -> list[str]:
    """Every text of a figure, shown or not."""
    return [text.get_text() for text in picture.figure.findobj(Text)]
