"""What inputs are made of: whole numbers, arrays and choices, from a generator or written down."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["f32", "noise", "pick", "seed_from", "seeded_noise", "whole", "wholes"]

Item = TypeVar("Item")


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return int(rng.integers(low, high + 1))


def wholes(rng: np.random.Generator, n: int, low: int, high: int) -> list[int]:
    """`n` different ones: axes of different sizes, so that none is taken for another."""
    return [int(i) for i in rng.permutation(np.arange(low, high + 1))[:n]]


def f32(*values: float) -> np.ndarray:
    """A row of float32 numbers that are written down."""
    return np.array(values, dtype=np.float32)


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normally distributed float32 numbers."""
    return rng.standard_normal(shape, dtype=np.float32)


def seeded_noise(seed: int, *shape: int) -> np.ndarray:
    """Such numbers from a seed: a case that is written down has the same ones in every run."""
    return noise(np.random.default_rng(seed), *shape)


def pick(rng: np.random.Generator, items: Sequence[Item], n: int) -> list[Item]:
    """`n` of the items, any of them as often as it comes."""
    return [items[int(i)] for i in rng.integers(len(items), size=n)]


def seed_from(rng: np.random.Generator) -> int:
    """A seed for what makes its arrays from one."""
    return whole(rng, 1000, 10**6)
