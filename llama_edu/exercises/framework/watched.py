"""An array that notes what is computed from it: how large a piece at a time.

Some exercises ask not only for numbers, but for the way to them: in tiles, or a block of keys at a
time. What comes out of a computation is a plain array again.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Watched"]


class Watched(np.ndarray):
    """A view of an array; `shapes` grows by the shape of each piece that is computed with."""

    shapes: list[tuple[int, ...]]

    @classmethod
    def of(cls, array: np.ndarray, shapes: list[tuple[int, ...]]) -> "Watched":
        """A view that notes into `shapes`."""
        view = array.view(cls)
        view.shapes = shapes
        return view

    def __array_finalize__(self, source: Any) -> None:
        """A slice or a transpose notes into the same list."""
        self.shapes = getattr(source, "shapes", [])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Arithmetic, `@` and sums."""
        plain = [_noted(value) for value in inputs]
        if options.get("out") is not None:
            options["out"] = tuple(_plain(value) for value in options["out"])
        return getattr(ufunc, method)(*plain, **options)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        """`np.dot`, `np.einsum` and all the others."""
        return func(*_noted(args), **{name: _noted(value) for name, value in kwargs.items()})

    def dot(self, other: Any, out: Any = None) -> Any:
        """The method; `np.dot` comes by another door."""
        return np.dot(_noted(self), _noted(other), out)


def _noted(value: Any) -> Any:
    """A value whose watched arrays have noted their shapes, and are plain."""
    if isinstance(value, Watched):
        value.shapes.append(value.shape)
    if isinstance(value, list | tuple):
        return type(value)(map(_noted, value))
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Watched) else value
