"""Exercises on bytes: a header's length, a tensor's place, 16-bit numbers, damaged files."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from llama_edu.exercises.framework.draw import noise, pick, whole
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.formats.precision import DTYPES
from llama_edu.formats.safetensors import read_header

Array = np.ndarray


def _file(tensors: dict[str, Array], spaces: int = 0) -> bytes:
    """The bytes of a safetensors file of float32 tensors."""
    header: dict[str, Any] = {}
    end = 0
    for name, array in tensors.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode() + b" " * spaces
    data = b"".join(array.tobytes() for array in tensors.values())
    return struct.pack("<Q", len(text)) + text + data


def _tensors() -> dict[str, Array]:
    rng = np.random.default_rng(1)
    shapes = {"norm": (5,), "q_proj": (4, 3), "k_proj": (2, 3)}
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


# ★ header_length(data) -> int


def _length_struct(data: bytes) -> int:
    return int(struct.unpack("<Q", data[:8])[0])


def _length_loop(data: bytes) -> int:
    return sum(byte * 256**position for position, byte in enumerate(data[:8]))


def _length_big(data: bytes) -> int:
    return int.from_bytes(data[:8], "big")


def _length_four(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _length_signed(data: bytes) -> int:
    return int.from_bytes(data[:8], "little", signed=True)


def _length_with_itself(data: bytes) -> int:
    return int.from_bytes(data[:8], "little") + 8


def _length_text(data: bytes) -> int:
    return len(data) - 8


def _header_length_drawn(rng: np.random.Generator) -> list[Case]:
    few, many = whole(rng, 3, 250), int.from_bytes(rng.bytes(8), "little")
    lengths = {"a length": few * 257, "a length of 8 bytes": many}
    return [Case(label, (n.to_bytes(8, "little") + b"{}",)) for label, n in lengths.items()]


HEADER_LENGTH = Exercise(
    name="header_length",
    topic="bytes",
    books=("llama_edu.formats.safetensors.read_header",),
    stars=1,
    task="Read the length of the header from the first bytes of a file.",
    section="A file you can write yourself",
    cases=lambda: [
        Case("a small file", (_file(_tensors()),)),
        Case(
            "a length above 255", (bytes([0x50, 0x08, 0, 0, 0, 0, 0, 0]) + b"{}" * 1064 + b"data",)
        ),
        Case("a length that fills all 8 bytes", (bytes([1, 2, 3, 4, 5, 6, 7, 200]) + b"{}",)),
    ],
    drawn=_header_length_drawn,
    correct=(_length_struct, _length_loop),
    mutants=(
        Mutant(
            "big_endian",
            _length_big,
            "when the bytes are read with the largest first",
            section="Guess first",
        ),
        Mutant("four_bytes", _length_four, "when only 4 of the 8 bytes are read"),
        Mutant("signed", _length_signed, "when the number is read as signed"),
        Mutant("counts_itself", _length_with_itself, "when the 8 bytes count themselves"),
        Mutant("rest_of_file", _length_text, "when everything after the length counts as header"),
        Mutant(
            "two_bytes",
            lambda data: int.from_bytes(data[:2], "little"),
            "when two of the eight bytes are read",
        ),
        Mutant("one_byte", lambda data: data[0], "when the first byte alone is read"),
        Mutant(
            "seven_bytes",
            lambda data: int.from_bytes(data[:7], "little"),
            "when seven of the eight bytes are read",
        ),
        Mutant(
            "bytes_summed",
            lambda data: sum(data[:8]),
            "when the bytes are added as if each weighed the same",
        ),
        Mutant(
            "whole_file",
            lambda data: len(data),
            "when the data are counted, and what they say is not read",
        ),
        Mutant(
            "not_unpacked",
            lambda data: struct.unpack("<Q", data[:8]),
            "when the tuple that `struct.unpack` gives is not unpacked",
        ),
    ),
)


# ★★ read_tensor(data, name) -> array: one float32 tensor out of a file's bytes


def _entry(data: bytes, name: str) -> tuple[int, dict[str, Any]]:
    length = _length_struct(data)
    return 8 + length, json.loads(data[8 : 8 + length])[name]


def _tensor_from(data: bytes, name: str, start_of_data: int | None = None) -> Array:
    data_start, entry = _entry(data, name)
    if start_of_data is not None:
        data_start = start_of_data
    start, end = entry["data_offsets"]
    piece = data[data_start + start : data_start + end]
    return np.frombuffer(piece, dtype="<f4").reshape(entry["shape"])


def _tensor_frombuffer(data: bytes, name: str) -> Array:
    return _tensor_from(data, name)


def _tensor_unpack(data: bytes, name: str) -> Array:
    info, data_start = read_header(data).tensors[name], read_header(data).data_start
    values = [
        struct.unpack_from("<f", data, at)[0]
        for at in range(data_start + info.start, data_start + info.end, 4)
    ]
    return np.array(values, dtype=np.float32).reshape(info.shape)


def _tensor_after_length(data: bytes, name: str) -> Array:
    return _tensor_from(data, name, start_of_data=8)


def _tensor_from_zero(data: bytes, name: str) -> Array:
    return _tensor_from(data, name, start_of_data=0)


def _tensor_without_length(data: bytes, name: str) -> Array:
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[name]
    start, end = entry["data_offsets"]
    piece = data[length + start : length + end]
    return np.frombuffer(piece, dtype="<f4").reshape(entry["shape"])


def _tensor_big(data: bytes, name: str) -> Array:
    return _tensor_from(data, name).view(">f4").astype(np.float32)


def _tensor_columns(data: bytes, name: str) -> Array:
    array = _tensor_from(data, name)
    return array.reshape(-1).reshape(array.shape, order="F")


def _tensor_flat(data: bytes, name: str) -> Array:
    return _tensor_from(data, name).reshape(-1)


def _tensor_cases() -> list[Case]:
    plain, padded = _file(_tensors()), _file(_tensors(), spaces=4)
    return [
        Case("a tensor at the start", (plain, "norm")),
        Case("a matrix in the middle", (plain, "q_proj")),
        Case("a matrix at the end of a padded header's file", (padded, "k_proj")),
    ]


def _read_tensor_drawn(rng: np.random.Generator) -> list[Case]:
    shapes = {"first": (whole(rng, 2, 5),), "second": (whole(rng, 2, 5), 7), "third": (3, 4)}
    tensors = {name: noise(rng, *shape) for name, shape in shapes.items()}
    data = _file(tensors, spaces=whole(rng, 0, 9))
    return [Case(f"the {name} of three tensors", (data, name)) for name in tensors]


def _tensor_at_the_start(data: bytes, name: str) -> Array:
    length = int.from_bytes(data[:8], "little")
    shape = json.loads(data[8 : 8 + length])[name]["shape"]
    numbers = np.frombuffer(data[8 + length :], dtype="<f4")
    return numbers[: int(np.prod(shape))].reshape(shape)


READ_TENSOR = Exercise(
    name="read_tensor",
    topic="bytes",
    books=("llama_edu.formats.safetensors.read_header",),
    stars=2,
    task="Repair a function that cuts one float32 tensor out of a file's bytes.",
    section="A file you can write yourself",
    cases=_tensor_cases,
    drawn=_read_tensor_drawn,
    correct=(_tensor_frombuffer, _tensor_unpack),
    axes="",
    tolerance=0.0,
    mutants=(
        Mutant(
            "without_length",
            _tensor_without_length,
            "when the 8 bytes of the length are forgotten: the data starts after them, too",
            section="Break it",
        ),
        Mutant("from_zero", _tensor_from_zero, "when offsets are counted from the file's start"),
        Mutant(
            "after_length", _tensor_after_length, "when offsets are counted from the header's start"
        ),
        Mutant(
            "big_endian",
            _tensor_big,
            "when each number is read with its largest byte first",
            "https://github.com/safetensors/safetensors/issues/307",
            section="Break it",
        ),
        Mutant(
            "columns",
            _tensor_columns,
            "when the numbers fill columns first, not rows",
            section="Nothing is copied",
        ),
        Mutant(
            "flat",
            _tensor_flat,
            "when the shape in the header is not used",
            section="Nothing is copied",
        ),
        Mutant(
            "always_first",
            _tensor_at_the_start,
            "when the tensor's own start is not added: every one begins where the first does",
        ),
    ),
)


# ★★ bf16_to_float32(data) -> float32 array


def _bf16_shift(data: bytes) -> Array:
    halves = np.frombuffer(data, dtype="<u2").astype(np.uint32)
    return (halves << 16).view(np.float32)


def _bf16_chunks(data: bytes) -> Array:
    pieces = [data[i : i + 2] for i in range(0, len(data), 2)]
    values = [struct.unpack("<f", b"\x00\x00" + piece)[0] for piece in pieces]
    return np.array(values, dtype=np.float32)


def _bf16_library(data: bytes) -> Array:
    return np.frombuffer(data, dtype=DTYPES["BF16"]).astype(np.float32)


def _bf16_as_f16(data: bytes) -> Array:
    with np.errstate(invalid="ignore"):
        return np.frombuffer(data, dtype="<f2").astype(np.float32)


def _bf16_unshifted(data: bytes) -> Array:
    return np.frombuffer(data, dtype="<u2").astype(np.uint32).view(np.float32)


def _bf16_big(data: bytes) -> Array:
    halves = np.frombuffer(data, dtype=">u2").astype(np.uint32)
    return (halves << 16).view(np.float32)


def _bf16_value(data: bytes) -> Array:
    return np.frombuffer(data, dtype="<u2").astype(np.float32)


def _bf16_as_f32(data: bytes) -> Array:
    return np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4")


def _bf16_bytes(values: list[float]) -> bytes:
    return np.array(values, dtype=np.float32).astype(DTYPES["BF16"]).tobytes()


def _bf16_to_float32_drawn(rng: np.random.Generator) -> list[Case]:
    values = (noise(rng, whole(rng, 5, 9)) * 100).tolist()
    return [Case("numbers of both signs", (_bf16_bytes(values),))]


BF16_TO_FLOAT32 = Exercise(
    name="bf16_to_float32",
    forbids=("ml_dtypes", "struct", "_struct", "array", "ctypes"),
    bans=("bfloat16", "ml_dtypes", "struct"),
    topic="bytes",
    books=("llama_edu.formats.precision.to_float32",),
    stars=2,
    task="Cut bytes into twos and read each as a bfloat16, widened to float32.",
    section="What the field calls it",
    cases=lambda: [
        Case("six numbers", (_bf16_bytes([1.0, -2.5, 0.0078125, 3.0e38, -1e-30, 0.0]),)),
        Case("three numbers", (_bf16_bytes([-0.1, 100.0, 7.0]),)),
    ],
    drawn=_bf16_to_float32_drawn,
    correct=(_bf16_shift, _bf16_chunks, _bf16_library),
    tolerance=0.0,
    mutants=(
        Mutant(
            "as_f16",
            _bf16_as_f16,
            "when the bits are read as float16: bf16 has 8 exponent bits",
            section="The wrong sixteen bits",
        ),
        Mutant("unshifted", _bf16_unshifted, "when the two bytes become the low half of the four"),
        Mutant(
            "big_endian",
            _bf16_big,
            "when the two bytes are read with the larger first",
            "https://github.com/safetensors/safetensors/issues/307",
            section="Break it",
        ),
        Mutant(
            "value",
            _bf16_value,
            "when the pattern is taken for a whole number",
            section="Four bytes, one number",
        ),
        Mutant(
            "as_f32",
            _bf16_as_f32,
            "when the bytes are cut into fours",
            "https://github.com/microsoft/onnxruntime-genai/issues/2202",
            section="Common mistakes",
        ),
        Mutant(
            "value_shifted",
            lambda data: (np.frombuffer(data, "<u2").astype(np.uint32) << 16).astype(np.float32),
            "when the shifted bits are converted and not viewed",
        ),
        Mutant(
            "by_8",
            lambda data: (np.frombuffer(data, "<u2").astype(np.uint32) << 8).view(np.float32),
            "when the bits are shifted by 8 places, not 16",
        ),
        Mutant(
            "lost_in_16",
            lambda data: (np.frombuffer(data, "<u2") << 16).astype(np.uint32).view(np.float32),
            "when 16 bits are shifted before they are widened: nothing is left of them",
        ),
        Mutant("sign_lost", lambda data: np.abs(_bf16_shift(data)), "when the sign is lost"),
        Mutant(
            "every_second",
            lambda data: _bf16_shift(data)[::2],
            "when every second number is left out",
        ),
    ),
)


# ★★★ check_file(data): raises ValueError if the bytes are no valid safetensors file


def _check_package(data: bytes) -> None:
    read_header(data)


FIELDS = {"dtype", "shape", "data_offsets"}


def _check(data: bytes, skip: str = "") -> None:
    def need(what: str, holds: bool) -> None:
        if not holds and what != skip:
            raise ValueError(what)

    need("length", len(data) >= 8 and _length_struct(data) <= len(data) - 8)
    length = _length_struct(data)
    text = data[8 : 8 + length]
    header = json.loads(text.decode("utf-8", "replace" if skip == "utf8" else "strict"))
    if skip != "metadata":
        header.pop("__metadata__", None)
    entries = list(header.values())
    need("fields", all(isinstance(entry, dict) and entry.keys() >= FIELDS for entry in entries))
    if skip != "order":
        entries.sort(key=lambda entry: entry["data_offsets"])
    end = entries[0]["data_offsets"][0] if skip == "start" else 0
    for entry in entries:
        start, stop = entry["data_offsets"]
        need("dtype", entry["dtype"] in DTYPES)
        need("overlap", start >= end)
        need("hole", start <= end)
        size = DTYPES.get(entry["dtype"], np.dtype("<f4")).itemsize
        need("negative", min(entry["shape"], default=0) >= 0)
        need("size", stop - start == size * int(np.prod(entry["shape"])))
        end = stop
    need("end", end == len(data) - 8 - length)


def _check_sizes(data: bytes) -> None:
    """Adds up what the shapes say, and never looks where a tensor lies."""
    length = _length_struct(data)
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("length")
    header = json.loads(data[8 : 8 + length].decode())
    header.pop("__metadata__", None)
    total = 0
    for entry in header.values():
        if not isinstance(entry, dict) or entry.keys() < FIELDS or entry["dtype"] not in DTYPES:
            raise ValueError("dtype")
        total += DTYPES[entry["dtype"]].itemsize * int(np.prod(entry["shape"]))
    if total != len(data) - 8 - length:
        raise ValueError("end")


def _without(check: str) -> Callable[[bytes], None]:
    return lambda data: _check(data, skip=check)


def _damaged() -> dict[str, bytes]:
    def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    def packed(header: dict[str, Any], nbytes: int) -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + bytes(nbytes)

    whole = _file(_tensors())
    a, b, c = entry([2], 0, 8), entry([2], 8, 16), entry([2], 16, 24)
    described = {"__metadata__": {"format": "pt"}, "a": a, "b": b}
    broken_name = packed({"wXY": entry([2], 0, 8)}, 8).replace(b"XY", b"\xff\xfe")
    return {
        "a whole file": whole,
        "a whole file with metadata": packed(described, 16),
        "a whole file whose header has another order": packed({"b": c, "w": a, "a": b}, 24),
        "a file cut off in its header": whole[:40],
        "a file cut off in its data": whole[:-4],
        "a byte too many at the end": whole + b"\0",
        "a header that is not UTF-8": broken_name,
        "two tensors that overlap": packed({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12),
        "an overlap and a hole of one size": packed(
            {"a": entry([2], 0, 8), "b": entry([2], 4, 12), "c": entry([2], 16, 24)}, 24
        ),
        "a hole before the first tensor": packed({"a": entry([2], 4, 12)}, 12),
        "a hole between two tensors": packed({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, 20),
        "a shape that does not fill its bytes": packed({"a": entry([3], 0, 8)}, 8),
        "a shape with sizes below 0": packed({"a": entry([-2, -3], 0, 24)}, 24),
        "a tensor without a shape": packed({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, 8),
        "an entry that is a number": packed({"a": 7}, 8),
        "an unknown dtype": packed({"a": entry([2], 0, 8, dtype="F31")}, 8),
    }


def _check_file_drawn(rng: np.random.Generator) -> list[Case]:
    tensors = {name: noise(rng, whole(rng, 1, 9), 3) for name in pick(rng, "abcdefghij", 4)}
    data = _file(tensors, spaces=whole(rng, 0, 9))
    return [
        Case("a whole file", (data,)),
        Case("a file that lacks some bytes", (data[: -whole(rng, 1, 12)],)),
        Case("a file with bytes too many", (data + rng.bytes(whole(rng, 1, 8)),)),
    ]


CHECK_FILE = Exercise(
    name="check_file",
    topic="bytes",
    books=("llama_edu.formats.safetensors.read_header",),
    stars=3,
    task="Raise ValueError for a damaged file, and nothing for a whole one.",
    section="Damaged files",
    cases=lambda: [Case(label, (data,)) for label, data in _damaged().items()],
    drawn=_check_file_drawn,
    correct=(_check_package, _check),
    refuses=(ValueError,),
    mutants=(
        Mutant("truncation", _without("end"), "when nobody asks whether all bytes are there"),
        Mutant("overlap", _without("overlap"), "when tensors may overlap"),
        Mutant(
            "hole", _without("hole"), "when bytes may lie between tensors, hidden from everyone"
        ),
        Mutant("size", _without("size"), "when shape and byte count are never compared"),
        Mutant(
            "negative",
            _without("negative"),
            "when sizes below 0 are accepted: −2 × −3 is 6, and the bytes add up",
        ),
        Mutant(
            "dtype",
            _without("dtype"),
            "when any dtype is accepted",
            section="The wrong sixteen bits",
        ),
        Mutant("utf8", _without("utf8"), "when text that is not UTF-8 is repaired silently"),
        Mutant(
            "metadata",
            _without("metadata"),
            "when __metadata__, which real files carry, is taken for a tensor",
        ),
        Mutant(
            "order",
            _without("order"),
            "when the header is read in its own order: that of the data may be another",
        ),
        Mutant(
            "start", _without("start"), "when the first tensor may begin anywhere, not at the start"
        ),
        Mutant("sizes", _check_sizes, "when sizes are added up, and no offset is ever looked at"),
    ),
)

EXERCISES = (HEADER_LENGTH, READ_TENSOR, BF16_TO_FLOAT32, CHECK_FILE)
