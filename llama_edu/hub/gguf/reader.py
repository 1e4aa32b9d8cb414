"""Read a GGUF file: metadata asked for by type, tensors dequantised by the `gguf` library.

    4 bytes     "GGUF"
    uint32      the version; the two counts that follow are uint64
    tensors, pairs
    pairs       key, type, value; a string is its length and its bytes, a list its type and length
    tensors     name, number of axes, axes (innermost first), type, offset from the data on
    the rest    the tensors' bytes, from the next multiple of `general.alignment` on

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The library has a reader, too,
but reading past the end is no error there, so that a damaged count keeps it busy for ever. This
module knows nothing about Llamas; `convert` does.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gguf
import numpy as np
from jaxtyping import Float32, UInt8

from llama_edu.errors import CheckpointError
from llama_edu.formats.first_bytes import NBYTES, really

__all__ = ["GgufFile", "Metadata", "Tensor", "open_gguf"]

T = TypeVar("T")

VERSIONS = (2, 3)
MAX_AXES = 4
# What reading a damaged file may run into; the first of each is our own.
UNREADABLE = (ValueError, LookupError, ArithmeticError, RecursionError)

# The number of a type → how a value of it is stored, but for strings and lists.
SCALARS = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "?",
           10: "u8", 11: "i8", 12: "f8"}  # fmt: skip
STRING, LIST = 8, 9


class Metadata(Mapping[str, Any]):
    """The key-value pairs of a GGUF file, as plain Python values.

    Asked for by type, one that is missing or of another type is a `CheckpointError`.
    """

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
        """A list of one kind of value. Raises `CheckpointError` if one of them is another."""
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
class Tensor:
    """One tensor of the file, described and not read.

    `axes` has the innermost size first, as the file writes it; `data` are its bytes, mapped.
    """

    name: str
    axes: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    data: np.ndarray


@dataclass(frozen=True)
class GgufFile:
    """An open GGUF file: metadata, and tensors that are dequantised when asked for."""

    source: str
    metadata: Metadata
    tensors: dict[str, Tensor]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape in NumPy's order, (out_features, in_features); GGUF writes it reversed."""
        return tuple(reversed(self.tensors[name].axes))

    def blocks(self, name: str, nbytes: int) -> UInt8[np.ndarray, "rows n_blocks nbytes"]:
        """A matrix that is stored in blocks of so many bytes: a view of the file."""
        tensor = self.tensors[name]
        return tensor.data.reshape(math.prod(tensor.axes[1:]), -1, nbytes)

    def float32(self, name: str) -> Float32[np.ndarray, "..."]:
        """The values of one tensor, dequantised if need be.

        Raises `CheckpointError` for a type that has no dequantisation.
        """
        tensor = self.tensors[name]
        n_rows = math.prod(tensor.axes[1:])
        try:
            values = gguf.dequantize(tensor.data.reshape(n_rows, -1), tensor.kind)
        except (NotImplementedError, ValueError) as problem:
            raise CheckpointError(
                f"{self.source}: {name!r}: expected a type that can be dequantised, "
                f"got {tensor.kind.name}"
            ) from problem
        return np.asarray(values, dtype=np.float32).reshape(self.shape(name))


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Open a GGUF file, memory-mapped: metadata is read, tensors only described.

    Raises `CheckpointError` for a file that cannot be read, is no GGUF, is cut short, or is one
    part of several.
    """
    source = str(path)
    try:
        empty = Path(path).stat().st_size == 0  # which cannot be mapped
        data = np.empty(0, dtype=np.uint8) if empty else np.memmap(Path(path), np.uint8, mode="r")
        values, tensors = _parse(np.asarray(data))
    except OSError as problem:
        raise CheckpointError(
            f"{source}: expected a readable file, got {problem.strerror or problem}"
        ) from problem
    except UNREADABLE as problem:
        with Path(path).open("rb") as file:
            first = file.read(NBYTES)
        known = None if first.startswith(b"GGUF") else really(first)
        raise CheckpointError(
            f"{source}: expected a GGUF file, got "
            f"{known or f'one that cannot be read: {problem or type(problem).__name__}':.200}"
        ) from problem
    metadata = Metadata(values, source)
    if metadata.integer("split.count", 0) > 1:
        raise CheckpointError(
            f"{source}: expected one whole GGUF file, got a part of {metadata['split.count']}"
        )
    return GgufFile(source, metadata, tensors)


def _parse(data: np.ndarray) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Pairs and tensors of a file's bytes. Raises `ValueError` and its like for a damaged one."""
    cursor = _Cursor(data)
    if cursor.take(4).tobytes() != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = cursor.integer("u4")
    if version & 0xFFFF == 0:  # written on a machine that puts the largest byte first
        cursor.order = ">"
        version = int(np.uint32(version).byteswap())
    if version not in VERSIONS:
        raise ValueError(f"expected version {' or '.join(map(str, VERSIONS))}, got {version}")
    n_tensors, n_pairs = cursor.integer("u8"), cursor.integer("u8")
    values: dict[str, Any] = {}
    for _ in range(n_pairs):
        key = cursor.text()
        if key in values:
            raise ValueError(f"expected each key once, got {key!r:.80} twice")
        values[key] = cursor.value(cursor.integer("u4"))
    infos = [_tensor_info(cursor) for _ in range(n_tensors)]
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise ValueError(f"expected an alignment of at least 1, got {alignment!r:.80}")
    start = math.ceil(cursor.at / alignment) * alignment
    tensors: dict[str, Tensor] = {}
    for name, axes, kind, offset in infos:
        if name in tensors:
            raise ValueError(f"expected each tensor once, got {name!r:.80} twice")
        block, nbytes = gguf.GGML_QUANT_SIZES[kind]
        if axes and axes[0] % block:
            raise ValueError(f"{name!r:.80}: expected rows of whole blocks of {block}, got {axes}")
        cursor.at = start + offset
        tensors[name] = Tensor(name, axes, kind, cursor.take(math.prod(axes) // block * nbytes))
    return values, tensors


def _tensor_info(
    cursor: "_Cursor",
) -> tuple[str, tuple[int, ...], gguf.GGMLQuantizationType, int]:
    name, n_axes = cursor.text(), cursor.integer("u4")
    if n_axes > MAX_AXES:
        raise ValueError(f"{name!r:.80}: expected at most {MAX_AXES} axes, got {n_axes}")
    axes = tuple(cursor.integer("u8") for _ in range(n_axes))
    return name, axes, gguf.GGMLQuantizationType(cursor.integer("u4")), cursor.integer("u8")


class _Cursor:
    """Where we are in the bytes; nothing is read past the end."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.at = 0
        self.order = "<"

    def take(self, nbytes: int) -> np.ndarray:
        end = self.at + nbytes
        if end > len(self.data):
            raise ValueError(f"the file ends {end - len(self.data)} bytes too early")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def numbers(self, kind: str, count: int) -> list[Any]:
        dtype = np.dtype(self.order + kind)
        raw = self.take(count * dtype.itemsize)
        if kind == "?" and raw.size and raw.max() > 1:
            raise ValueError(f"expected 0 or 1 for false or true, got {raw.max()}")
        values: list[Any] = np.frombuffer(raw.tobytes(), dtype=dtype).tolist()
        return values

    def integer(self, kind: str) -> int:
        raw = self.take(int(kind[1])).tobytes()
        return int.from_bytes(raw, "little" if self.order == "<" else "big")

    def text(self) -> str:
        return self.take(self.integer("u8")).tobytes().decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != LIST:
            (value,) = self.numbers(SCALARS[kind], 1)
            return value
        inner, count = self.integer("u4"), self.integer("u8")
        if inner in SCALARS:
            return self.numbers(SCALARS[inner], count)
        return [self.value(inner) for _ in range(count)]
