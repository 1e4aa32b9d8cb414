"""Read a GGUF file on the `gguf` library, with bad files caught and metadata asked for by type.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. This module knows nothing about
Llamas; `convert` does.
"""

import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex, TypeVar

import gguf
import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from llama_edu.errors import CheckpointError

__all__ = ["GgufFile", "Metadata", "open_gguf"]

T = TypeVar("T")

# What the library's reading of a damaged file may run into.
UNREADABLE = (ValueError, LookupError, ArithmeticError, RecursionError)


class Metadata(Mapping[str, Any]):
    """The key-value pairs of a GGUF file, as plain Python values."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self._values = dict(values)
        self._source = source

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def number(self, key: str, default: float | None = None) -> float:
        """A number. A float32 comes back as the shortest decimal that means it: 1e-05."""
        value: float = self._typed(key, (float, int), default)
        return float(str(np.float32(value)))

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value: int = self._typed(key, (int,), default)
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value: bool = self._typed(key, (bool,), default)
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value: str = self._typed(key, (str,), default)
        return value

    def array(self, key: str, kind: type[T]) -> list[T]:
        """A list of one kind of value."""
        value: list[T] = self._typed(key, (list,), None)
        if not all(type(entry) is kind for entry in value):
            raise CheckpointError(f"{self._source}: expected {key} to hold {kind.__name__}s")
        return value

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """`read(key)`, or None if the file does not say."""
        return read(key) if key in self._values else None

    def _typed(self, key: str, kinds: tuple[type, ...], default: Any) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise CheckpointError(f"{self._source}: expected metadata {key}, got none")
        if type(value) not in kinds:
            raise CheckpointError(
                f"{self._source}: expected {key} as {kinds[0].__name__}, got {value!r:.60}"
            )
        return value


@dataclass(frozen=True)
class GgufFile:
    """An open GGUF file: metadata, and tensors that are dequantised when asked for."""

    source: str
    metadata: Metadata
    tensors: dict[str, gguf.ReaderTensor]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape in NumPy's order, (out_features, in_features); GGUF writes it reversed."""
        return tuple(int(size) for size in reversed(self.tensors[name].shape))

    def float32(self, name: str) -> Float32[np.ndarray, "..."]:
        """The values of one tensor, dequantised if need be.

        Raises `CheckpointError` for a type that has no dequantisation.
        """
        tensor = self.tensors[name]
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, ValueError) as problem:
            raise CheckpointError(
                f"{self.source}: {name!r}: expected a type that can be dequantised, "
                f"got {tensor.tensor_type.name}"
            ) from problem
        return np.asarray(values, dtype=np.float32).reshape(self.shape(name))


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Open a GGUF file, memory-mapped: metadata is read, tensors only described.

    Raises `CheckpointError` for a file that cannot be read, is no GGUF, is cut short, or is one
    part of several.
    """
    source = str(path)
    try:
        reader = _CheckedReader(path)
        values = {key: field.contents() for key, field in reader.fields.items()}
    except OSError as problem:
        raise CheckpointError(
            f"{source}: expected a readable file, got {problem.strerror or problem}"
        ) from problem
    except UNREADABLE as problem:
        raise CheckpointError(f"{source}: expected a GGUF file, got {problem!r:.200}") from problem
    metadata = Metadata(values, source)
    if metadata.integer("split.count", 0) > 1:
        raise CheckpointError(
            f"{source}: expected one whole GGUF file, got a part of {metadata['split.count']}"
        )
    return GgufFile(source, metadata, {tensor.name: tensor for tensor in reader.tensors})


class _CheckedReader(gguf.GGUFReader):
    """The library's reader, but reading past the end is an error.

    As it comes, it reads nothing there and goes on: a damaged count keeps it busy for ever.
    Plain array views instead of memory-map views also make it three times as fast.
    """

    def _get(
        self,
        offset: SupportsIndex,
        dtype: npt.DTypeLike,
        count: SupportsIndex = 1,
        override_order: Literal["I", "S", "<"] | None = None,
    ) -> npt.NDArray[Any]:
        start = operator.index(offset)
        nbytes = np.dtype(dtype).itemsize * operator.index(count)
        raw = np.asarray(self.data)[start : start + nbytes]
        if raw.nbytes != nbytes:
            raise ValueError(f"the file ends {nbytes - raw.nbytes} bytes too early")
        values = raw.view(dtype)
        return values.view(values.dtype.newbyteorder(override_order or self.byte_order))
