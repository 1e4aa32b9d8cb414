"""Read and write safetensors files: named tensors over raw bytes.

A file is three things, one after the other (https://github.com/huggingface/safetensors#format):

    8 bytes     N, the length of the header, an unsigned little-endian integer
    N bytes     the header, JSON: {"name": {"dtype", "shape", "data_offsets": [start, end]}, …}
    the rest    the tensors' bytes, little-endian, row after row; offsets count from here

Reading is memory-mapped: opening a file reads its header only, and a tensor is a view of the
mapped bytes that the system brings in when they are touched. Nothing here knows what a Llama is.
"""

import contextlib
import json
import math
import mmap
import os
import secrets
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats.first_bytes import NBYTES, really
from llama_edu.formats.precision import DTYPES, dtype_name
from llama_edu.formats.strict_json import parse_object, short

__all__ = [
    "Header",
    "SafetensorsFile",
    "ShardedCheckpoint",
    "TensorInfo",
    "forget_pages",
    "open_checkpoint",
    "read_header",
    "save_file",
]

LENGTH_NBYTES = 8
MAX_HEADER_NBYTES = 100_000_000  # the reference implementation's bound
MAX_RANK = 64  # NumPy's bound
MAX_SIZE = 2**63 - 1  # NumPy's bound on an axis, and on an array's bytes with axes of 0 left out
OTHERS = {  # weights under other names, and what to do about them
    ".bin": "a pickle, which can run code when read; save it with safe_serialization=True",
    ".pth": "a pickle, which can run code when read; convert it with transformers",
    ".pt": "a pickle, which can run code when read; convert it with transformers",
    ".gguf": "convert it with `python -m llama_edu convert`",
    ".h5": "TensorFlow's weights, not supported",
    ".msgpack": "Flax's weights, not supported",
    ".onnx": "a graph of operators, not supported",
    ".safetensors": "without an index that names it",
}
UNREAD = ("inv_freq", "original_inv_freq", "cos_cached", "sin_cached")  # follow from the config
MAX_FILE_NAME = 255  # the bound of common file systems


@dataclass(frozen=True)
class TensorInfo:
    """One entry of the header. `start` and `end` are bytes counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes the tensor takes in the file."""
        return self.end - self.start


@dataclass(frozen=True)
class Header:
    """The checked header of a safetensors file. `tensors` is in the order of the file's bytes."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    header_nbytes: int
    file_nbytes: int

    @property
    def data_start(self) -> int:
        """Where the first tensor's bytes begin, counted from the start of the file."""
        return LENGTH_NBYTES + self.header_nbytes


def read_header(source: str | os.PathLike[str] | bytes | memoryview) -> Header:
    """Read and check the header of a safetensors file, given its path or its bytes.

    Raises `CheckpointError` when anything disagrees with the format: a truncated file, a length
    past the end, text that is not UTF-8 JSON, a name given twice, an unknown dtype, offsets that
    overlap, leave a hole or run past the end, or a shape that does not fill its bytes.
    """
    if isinstance(source, bytes | memoryview):
        data = memoryview(source).cast("B")
        length = _header_length(bytes(data[:NBYTES]), len(data), "these bytes")
        text = bytes(data[LENGTH_NBYTES : LENGTH_NBYTES + length])
        return _parse_header(text, len(data), "these bytes")
    with _open(Path(source)) as file:
        return header_of(file, str(source))


class SafetensorsFile(Mapping[str, np.ndarray]):
    """One safetensors file as a read-only mapping from name to array, memory-mapped.

    Arrays are views of the file's bytes: nothing is copied, and they stay valid after this object
    is gone. Do not truncate the file while they live.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with _open(self.path) as file:
            self.header = header_of(file, str(path))
            self._data = _mapped(file, self.header, str(path))

    def __getitem__(self, name: str) -> np.ndarray:
        info = self.header.tensors[name]
        return self._data[info.start : info.end].view(DTYPES[info.dtype]).reshape(info.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.tensors)

    def __len__(self) -> int:
        return len(self.header.tensors)


class ShardedCheckpoint(Mapping[str, np.ndarray]):
    """Tensors spread over several files, found through `model.safetensors.index.json`.

    Raises `CheckpointError` if the index names a file outside its directory, or if index and
    files disagree about which tensors exist where. RoPE's frequencies are left out: old checkpoints
    store them, in the index or beside it, and they follow from the config.
    """

    def __init__(self, index: str | os.PathLike[str]) -> None:
        self.path = Path(index)
        with _open(self.path) as file:
            data = file.read()
        content = parse_object(data, str(index), CheckpointError)
        if "weight_map" not in content and (kind := really(data[:NBYTES])):
            raise CheckpointError(f"{index}: expected an index of shards, got {kind}")
        listed_at = _checked_weight_map(content.get("weight_map"), str(index))
        self.weight_map = {n: file for n, file in listed_at.items() if not is_of_rope(n)}
        names = sorted(set(self.weight_map.values()))
        self.shards = {name: SafetensorsFile(self.path.parent / name) for name in names}
        listed = set(self.weight_map.items())
        stored = {
            (name, shard)
            for shard, tensors in self.shards.items()
            for name in tensors
            if not is_of_rope(name) and not self._is_copy(name, shard)
        }
        if stored != listed:
            name, shard = min(stored ^ listed)
            side = "index only" if (name, shard) in listed else "file only"
            raise CheckpointError(
                f"{index}: expected index and files to agree, "
                f"got {short(name)} of {shard!r} in {side}"
            )

    def _is_copy(self, name: str, shard: str) -> bool:
        """Whether the index finds this tensor in another file, byte for byte the same."""
        elsewhere = self.weight_map.get(name, shard)
        if elsewhere == shard or name not in self.shards[elsewhere]:
            return False
        one, other = self.shards[shard][name], self.shards[elsewhere][name]
        is_alike = one.dtype == other.dtype and one.shape == other.shape
        return is_alike and one.tobytes() == other.tobytes()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.shards[self.weight_map[name]][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weight_map)

    def __len__(self) -> int:
        return len(self.weight_map)


def open_checkpoint(directory: str | os.PathLike[str]) -> SafetensorsFile | ShardedCheckpoint:
    """Open the weights of a model directory: one `model.safetensors`, or an index of shards.

    Raises `CheckpointError` if there is neither, naming what lies there instead, or if what there
    is cannot be read.
    """
    single = Path(directory) / "model.safetensors"
    index = Path(directory) / "model.safetensors.index.json"
    if single.is_file():
        return SafetensorsFile(single)
    if index.is_file():
        return ShardedCheckpoint(index)
    names = [path.name for path in Path(directory).glob("*")]
    others = sorted(n for n in names if Path(n.removesuffix(".index.json")).suffix in OTHERS)
    kind = Path(others[0].removesuffix(".index.json")).suffix if others else ""
    found = f"{others[0]}: {OTHERS[kind]}" if others else "neither"
    raise CheckpointError(f"{directory}: expected {single.name} or {index.name}, got {found}")


def forget_pages(array: np.ndarray) -> None:
    """Let the system take back the memory in which it keeps an array of a mapped file.

    For an array that has been converted. It stays valid: what is read again, the system fetches
    again. Nothing happens to an array that is no view of a file mapped for reading alone, and where
    Python has no way to say so, as on Windows.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise") or not array.size:
        return
    if not memoryview(base).readonly:  # what was written there could be lost
        return
    start = array.ctypes.data - np.frombuffer(base, dtype=np.uint8).ctypes.data
    before = start % mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, start - before, before + array.nbytes)


def is_of_rope(name: str) -> bool:
    """Whether a tensor holds RoPE's angles, which old checkpoints store."""
    return name.rpartition(".")[2] in UNREAD and "rotary_emb." in name


def save_file(
    tensors: Mapping[str, np.ndarray],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays as one safetensors file, whole or not at all.

    The bytes go to a temporary file beside `path`, which then takes its place in one step.
    Wider dtypes come first and the header is padded to a multiple of 8, so that every tensor
    starts at a multiple of its item size. Raises `InputError` for what `read_header` would refuse:
    a dtype the format lacks, a name that does not print, metadata that is not text. What the
    system refuses, such as a full disk, stays an `OSError`.
    """
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": _checked_metadata(metadata)} if metadata else {}
    start = 0
    for name, array in ordered:
        if name == "__metadata__" or not name.isprintable():
            raise InputError(f"expected a printable tensor name, not __metadata__, got {name!r}")
        end = start + array.nbytes
        header[name] = {
            "dtype": dtype_name(array.dtype),
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with _replacing(Path(path)) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in ordered:
            little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
            file.write(little.reshape(-1).view(np.uint8).data)


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for pair in metadata.items():
        try:
            "".join(pair).encode("utf-8")
        except (TypeError, UnicodeEncodeError):  # not text, or half a surrogate pair
            raise InputError(f"expected metadata to map text to text, got {short(pair)}") from None
    return dict(metadata)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes `path`'s place only when everything went well."""
    # Not `tempfile`: its files are private to one user, and a model need not be.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as problem:
        raise CheckpointError(
            f"{path}: expected a readable file, got {problem.strerror}"
        ) from problem


def _mapped(file: BinaryIO, header: Header, source: str) -> np.ndarray:
    """The bytes after the header, as an array that the system reads in when they are touched."""
    try:
        mapped = mmap.mmap(file.fileno(), header.file_nbytes, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as problem:  # ValueError: cut short since the header was read
        raise CheckpointError(f"{source}: expected to map the file, got {problem}") from problem
    return np.frombuffer(mapped, dtype=np.uint8)[header.data_start :]


def header_of(file: BinaryIO, source: str) -> Header:
    """The header of an open file, read from its first bytes; errors name `source`."""
    file_nbytes = os.fstat(file.fileno()).st_size
    length = _header_length(file.read(NBYTES), file_nbytes, source)
    file.seek(LENGTH_NBYTES)
    return _parse_header(file.read(length), file_nbytes, source)


def _header_length(first: bytes, file_nbytes: int, source: str) -> int:
    kind = really(first)
    if kind is not None and not first.startswith(b"{", LENGTH_NBYTES):
        raise CheckpointError(f"{source}: expected a safetensors file, got {kind}")
    if len(first) < LENGTH_NBYTES:
        raise CheckpointError(
            f"{source}: expected at least {LENGTH_NBYTES} bytes (the header's length), "
            f"got {len(first)}"
        )
    (length,) = struct.unpack_from("<Q", first)
    limit = min(file_nbytes - LENGTH_NBYTES, MAX_HEADER_NBYTES)
    if not 2 <= length <= limit:
        raise CheckpointError(
            f"{source}: expected a header of 2 to {limit} bytes "
            f"(the file has {file_nbytes}), got a length of {length}"
        )
    return int(length)


def _parse_header(text: bytes, file_nbytes: int, source: str) -> Header:
    if not text.startswith(b"{"):
        raise CheckpointError(f"{source}: expected the header to start with '{{', got {text[:1]!r}")
    entries = parse_object(text, f"{source}: header", CheckpointError)
    metadata = entries.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _refusal(source, "__metadata__ to map text to text", metadata)
    infos = [_parse_entry(name, entry, source) for name, entry in entries.items()]
    infos.sort(key=lambda info: (info.start, info.end))
    data_nbytes = file_nbytes - LENGTH_NBYTES - len(text)
    end = 0
    for info in infos:
        if info.start != end:
            fault = "overlapping the tensor before" if info.start < end else "leaving a hole"
            raise CheckpointError(
                f"{source}: {short(info.name)}: expected data to start at byte {end}, "
                f"got {info.start}, {fault}"
            )
        end = info.end
    if end != data_nbytes:
        raise CheckpointError(
            f"{source}: expected {end} bytes of tensors as the header says, got {data_nbytes}"
        )
    return Header({info.name: info for info in infos}, metadata, len(text), file_nbytes)


def _parse_entry(name: str, entry: Any, source: str) -> TensorInfo:
    where = f"{source}: {short(name)}"
    if not name.isprintable():
        raise _refusal(where, "a printable tensor name", name)
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise _refusal(where, "dtype, shape and data_offsets", entry)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _refusal(where, f"a dtype of {', '.join(DTYPES)}", dtype)
    if not _are_sizes(shape) or len(shape) > MAX_RANK:
        raise _refusal(where, f"a shape of at most {MAX_RANK} sizes from 0 to 2**63 - 1", shape)
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _refusal(where, "data_offsets [start, end]", offsets)
    itemsize = DTYPES[dtype].itemsize
    # An empty array may have huge axes beside its axis of 0, but NumPy multiplies those too.
    if math.prod(size for size in shape if size) * itemsize > MAX_SIZE:
        raise _refusal(where, "a shape of less than 2**63 bytes", shape)
    start, end = offsets
    nbytes = math.prod(shape) * itemsize
    if nbytes != end - start:
        raise _refusal(where, f"{nbytes} bytes for {dtype} {short(shape)}", end - start)
    return TensorInfo(name, dtype, tuple(shape), start, end)


def _refusal(where: str, expected: str, got: Any) -> CheckpointError:
    return CheckpointError(f"{where}: expected {expected}, got {short(got)}")


def _are_sizes(value: Any) -> bool:
    # `type(x) is int`, since JSON's true and false are ints to isinstance.
    return isinstance(value, list) and all(type(x) is int and 0 <= x <= MAX_SIZE for x in value)


def _checked_weight_map(weight_map: Any, source: str) -> dict[str, str]:
    if not isinstance(weight_map, dict) or not weight_map:
        raise _refusal(source, "a weight_map of names to files", weight_map)
    for name, file in weight_map.items():
        if not isinstance(file, str) or not _is_plain_file_name(file):
            where = f"{source}: {short(name)}"
            raise _refusal(where, "the name of a file beside the index", file)
    return weight_map


def _is_plain_file_name(text: str) -> bool:
    """Nothing that leads out of a directory, here or on a system with other separators."""
    fits = 0 < len(text) <= MAX_FILE_NAME and text.isprintable()
    return fits and text not in (".", "..") and not set(text) & set("/\\:")
