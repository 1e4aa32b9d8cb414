"""Record the named arrays of a forward pass, with the names of their axes.

    with Trace() as t:
        model.forward(ids, cache, trace=t)
    t["layers.0.self_attn.scores"].shape

Names follow the checkpoint's. Each array's axes are checked against the sizes of the model and of
the call, so a recorded axis name is a fact, not a comment. Nothing here computes anything, and a
model without a trace pays for one call of an empty function per name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np

from llama_edu.errors import InputError

__all__ = ["IGNORE", "Record", "Recorder", "Trace"]


@dataclass(frozen=True)
class Record:
    """One array, as it was when it was recorded: a read-only copy.

    `is_view` says whether the engine held a view of other memory at that moment (a projection
    re-laid out, or rows of the cache) or an array of its own. `step` counts the trace's forward
    passes from 0.
    """

    name: str
    axes: tuple[str, ...]
    array: np.ndarray
    is_view: bool
    step: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        return self.array.nbytes


@runtime_checkable  # the tests check every annotation as the package runs
class Recorder(Protocol):
    """What the engine calls: `record(name, array, axes)`, with `axes` separated by spaces."""

    def __call__(self, name: str, array: np.ndarray, axes: str) -> None: ...

    def at(self, prefix: str, **sizes: int) -> "Recorder":
        """The same recorder with `prefix` and a dot before every name.

        `sizes` are those of axes that have another size below it.
        """
        ...


class _Ignore:
    """The recorder of a forward pass nobody watches."""

    def __call__(self, name: str, array: np.ndarray, axes: str) -> None:
        pass

    def at(self, prefix: str, **sizes: int) -> "_Ignore":
        return self


IGNORE: Recorder = _Ignore()


class Trace:
    """The records of one or more forward passes, in the order they were made.

    `trace[name]` is the newest record of that name, or a `KeyError`; `trace.steps[i]` maps the
    names of the i-th forward pass. Arrays are copies, so a trace of a long prompt holds every score
    matrix: trace what you want to look at, not a whole conversation.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Record]] = []
        self._open = True

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open = False

    def __getitem__(self, name: str) -> Record:
        for step in reversed(self.steps):
            if name in step:
                return step[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name in step for step in self.steps)

    def __iter__(self) -> Iterator[Record]:
        for step in self.steps:
            yield from step.values()

    def __len__(self) -> int:
        return sum(map(len, self.steps))

    def new_step(self, sizes: Mapping[str, int]) -> Recorder:
        """Begin a forward pass whose axes have these sizes; returns its recorder.

        Raises `InputError` after the `with` block has ended: a trace read is a trace finished.
        """
        if not self._open:
            raise InputError("expected a trace that is still open, got one whose block has ended")
        self.steps.append({})
        return _StepRecorder(self.steps[-1], dict(sizes), len(self.steps) - 1)


class _StepRecorder:
    def __init__(
        self, records: dict[str, Record], sizes: Mapping[str, int], step: int, prefix: str = ""
    ) -> None:
        self._records, self._sizes, self._step, self._prefix = records, sizes, step, prefix

    def at(self, prefix: str, **sizes: int) -> "_StepRecorder":
        known = {**self._sizes, **sizes}
        return _StepRecorder(self._records, known, self._step, f"{self._prefix}{prefix}.")

    def __call__(self, name: str, array: np.ndarray, axes: str) -> None:
        full_name = self._prefix + name
        names = tuple(axes.split())
        # An axis may be a product ("n_heads*head_dim"): several axes laid side by side.
        expected = tuple(prod(self._size(axis) for axis in name.split("*")) for name in names)
        if array.shape != expected:
            raise ValueError(f"{full_name}: expected {names} = {expected}, got {array.shape}")
        copy = array.copy()
        copy.flags.writeable = False
        self._records[full_name] = Record(full_name, names, copy, _is_view(array), self._step)

    def _size(self, axis: str) -> int:
        return int(axis) if axis.isdigit() else self._sizes[axis]


def _is_view(array: np.ndarray) -> bool:
    """Whether other names see these bytes too.

    A result that was reshaped as soon as it was made has a base as well, but one that nobody else
    holds. It shows: all the base's bytes are there, in their order, only the shape is another.
    """
    owner = array.base
    if not isinstance(owner, np.ndarray):
        return owner is not None
    whole = array.nbytes == owner.nbytes and array.flags.c_contiguous
    return not whole or array.shape == owner.shape
