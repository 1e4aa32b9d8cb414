"""Arrays that note what is computed from them: how large a piece at a time, or into what.

Some exercises ask not only for numbers, but for the way to them: in tiles, a block of keys at a
time, or in buffers that are given.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Counted", "Watched"]


class Watched(np.ndarray):
    """A view of an array; `shapes` grows by the shape of each piece that is computed with.

    What comes out of a computation is a plain array again.
    """

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


class Counted(np.ndarray):
    """A view of an array; `made` grows by the shape of each new array that is computed from it.

    What is written into a buffer that is there is no new array.
    """

    made: list[tuple[int, ...]]

    @classmethod
    def of(cls, array: np.ndarray, made: list[tuple[int, ...]]) -> "Counted":
        """A view that notes into `made`."""
        view = array.view(cls)
        view.made = made
        return view

    def __array_finalize__(self, source: Any) -> None:
        """A slice or a transpose notes into the same list."""
        self.made = getattr(source, "made", [])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Arithmetic, `@` and sums: new unless `out` says where to."""
        buffers = options.get("out")
        if buffers is not None:
            options["out"] = tuple(_bare(value) for value in buffers)
        result = getattr(ufunc, method)(*map(_bare, inputs), **options)
        return self._kept(result) if buffers is None else buffers[0]

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        """`np.dot`, `np.einsum` and all the others."""
        result = func(*_bare(args), **{name: _bare(value) for name, value in kwargs.items()})
        return result if kwargs.get("out") is not None else self._kept(result)

    def copy(self, order: Any = "C") -> Any:
        """A new array, too."""
        return self._kept(_bare(self).copy(order))

    def _kept(self, result: Any) -> Any:
        """A result, noted if it is a new array; what is computed from it is noted as well."""
        if not isinstance(result, np.ndarray):
            return result
        self.made.append(result.shape)
        return Counted.of(result, self.made)


def _bare(value: Any) -> Any:
    """A value whose counted arrays are plain."""
    if isinstance(value, list | tuple):
        return type(value)(map(_bare, value))
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def _noted(value: Any) -> Any:
    """A value whose watched arrays have noted their shapes, and are plain."""
    if isinstance(value, Watched):
        value.shapes.append(value.shape)
    if isinstance(value, list | tuple):
        return type(value)(map(_noted, value))
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Watched) else value
