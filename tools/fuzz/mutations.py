"""Damage safetensors files, and shard indexes, the ways that find faults in a reader.

Flipping random bytes alone nearly always breaks the JSON and tests nothing behind it. So most
mutations know the format: they change one value of the header and keep the rest in order. A
mutation is a function of the bytes and of a `random.Random`, and of nothing else.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import save

Pairs = list[tuple[str, Any]]

DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2FNUZ", "F4", "U8", "BOOL", "C64", "f32")
SIZES = (0, 1, 2, 3, 4, 8, 255, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**60)
NAMES = (
    "",
    "a",
    "__metadata__",
    "\x1b[2J",
    "x\ny",
    "\u00a0",
    "\u202e",
    "é",
    "😀",
    "\ud800",
    "../a",
)
FILES = (
    "",
    ".",
    "..",
    "../a",
    "/etc/passwd",
    "C:\\a",
    "a/b",
    "a\\b",
    "\0",
    "x" * 300,
    "\ud800",
    "a:b",
)
# Raw JSON that `json.dumps` would not write.
TOKENS = (
    b"-0",
    b"-1",
    b"1.0",
    b"1e2",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"01",
    b"true",
    b"null",
    b'"\\ud800"',
    b'"\\u0000"',
    b"\xff",
    b"\xed\xa0\x80",
    b"{}",
    b"[]",
    b'{"":0}',
    b",",
    b"1" * 5000,
    b"\x00",
    b" ",
)


def valid_files() -> list[bytes]:
    """Small files that `safetensors` wrote, and one by hand that is valid but unusual."""
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    odd = (
        b'{"z":{"dtype":"F32","shape":[0],"data_offsets":[3,3]},'
        b'"w":{"dtype":"BF16","shape":[1,2],"data_offsets":[3,7]},'
        b'"v":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}  '
    )
    return [
        save({}),
        save({"a": matrix}),
        save({"a": matrix, "b": matrix.astype(np.float16)}, {"format": "np", "é": "line\n"}),
        save({"": np.array(1.5, dtype=np.float64), "empty": np.empty((0, 7), dtype=np.int8)}),
        save({f"layers.{i}": matrix[: i + 1] for i in range(5)}),
        pack(odd, bytes(7)),
    ]


def valid_index() -> bytes:
    """An index over two shards, "one" holding tensors a and b, "two" holding c."""
    weight_map = {"a": "one", "b": "one", "c": "two"}
    return json.dumps({"metadata": {"total_size": 12}, "weight_map": weight_map}).encode()


def pack(text: bytes, data: bytes) -> bytes:
    """A file of this header and these tensor bytes, with the right header length."""
    return struct.pack("<Q", len(text)) + text + data


def split(file: bytes) -> tuple[bytes, bytes]:
    """Header and tensor bytes, by the file's own header length, however wrong."""
    length = int.from_bytes(file[:8], "little")
    return file[8 : 8 + length], file[8 + length :]


def mutate(file: bytes, rng: Random) -> bytes:
    """The file after one mutation: of its header's values, its header's text, or its bytes."""
    text, data = split(file)
    kind = rng.random()
    if kind < 0.6:
        pairs = _pairs(text)
        if pairs:
            rng.choice(HEADER_MUTATIONS)(pairs, rng)
            return pack(_dump(pairs, text), data)
    if kind < 0.8:
        return pack(mutate_text(text, rng), data)
    return rng.choice(FILE_MUTATIONS)(file, rng)


def mutate_text(text: bytes, rng: Random) -> bytes:
    """JSON with a token put in, cut out, doubled, or blown up."""
    start = rng.randint(0, len(text))
    end = min(len(text), start + rng.choice((0, 1, 2, 8, 30)))
    kind = rng.random()
    if kind < 0.5:
        return text[:start] + rng.choice(TOKENS) + text[end:]
    if kind < 0.65:
        return text[:start] + text[end:]
    if kind < 0.8:
        return text[:end] + text[start:]
    if kind < 0.9:  # nested this deep; a few of them near Python's own limit
        depth = rng.choice((3, 100, 500, 900, 990, 2000, 50_000))
        opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
        return text[:start] + opening * depth + b"1" + closing * depth + text[end:]
    return text[:start] + rng.choice(TOKENS[:-2]) * rng.choice((10, 100, 3000)) + text[end:]


def mutate_index(text: bytes, rng: Random) -> bytes:
    """A shard index after one mutation."""
    pairs = _pairs(text)
    weight_map = dict(pairs or ()).get("weight_map")
    if rng.random() < 0.3 or not isinstance(weight_map, dict):
        return mutate_text(text, rng)
    name = rng.choice((*weight_map, *NAMES))
    if rng.random() < 0.3:
        weight_map.pop(name, None)
    else:
        weight_map[name] = rng.choice((*FILES, "one", "two", "three", 1, None, ["one"]))
    return _dump(pairs, text)


def _drop(pairs: Pairs, rng: Random) -> None:
    del pairs[rng.randrange(len(pairs))]


def _repeat(pairs: Pairs, rng: Random) -> None:
    name, value = rng.choice(pairs)
    pairs.append((name if rng.random() < 0.5 else f"{name}2", value))


def _rename(pairs: Pairs, rng: Random) -> None:
    at = rng.randrange(len(pairs))
    long = "n" * rng.choice((1, 100, 20_000))
    pairs[at] = (rng.choice((*NAMES, long)), pairs[at][1])


def _multiply(pairs: Pairs, rng: Random) -> None:
    """Many entries: empty tensors at the very end, so that the file may stay valid."""
    end = max((e["data_offsets"][1] for _, e in pairs if _is_whole(e)), default=0)
    entry = {"dtype": "F32", "shape": [rng.choice((0, 0, 1)), 3], "data_offsets": [end, end]}
    pairs += [(f"m{i}", entry) for i in range(rng.choice((1, 10, 500)))]


def _change_entry(pairs: Pairs, rng: Random) -> None:
    at = rng.randrange(len(pairs))
    name, entry = pairs[at]
    entry = dict(entry) if isinstance(entry, dict) else {}
    field = rng.choice(("dtype", "shape", "data_offsets", "extra"))
    if rng.random() < 0.15:
        entry.pop(field, None)
    elif rng.random() < 0.3:
        entry[field] = _odd_value(rng)
    elif field == "dtype":
        entry[field] = rng.choice(DTYPES)
    else:
        entry[field] = _changed_sizes(entry.get(field), rng)
    pairs[at] = (name, entry if rng.random() < 0.97 else _odd_value(rng))


def _swap_offsets(pairs: Pairs, rng: Random) -> None:
    """Two tensors trade places: overlap, holes, or a valid file in another order."""
    whole = [entry for _, entry in pairs if _is_whole(entry)]
    if len(whole) >= 2:
        one, two = rng.sample(whole, 2)
        one["data_offsets"], two["data_offsets"] = two["data_offsets"], one["data_offsets"]


def _change_metadata(pairs: Pairs, rng: Random) -> None:
    text = {rng.choice(NAMES): rng.choice(NAMES) for _ in range(rng.choice((0, 1, 3)))}
    pairs.append(("__metadata__", text if rng.random() < 0.5 else _odd_value(rng)))


def _changed_sizes(sizes: Any, rng: Random) -> Any:
    """One number of a list moved a little or a lot, or a number more, or one less."""
    sizes = list(sizes) if isinstance(sizes, list) else []
    if not sizes or rng.random() < 0.2:
        return [*sizes, *[rng.choice(SIZES)] * rng.choice((1, 1, 2, 70))]
    at = rng.randrange(len(sizes))
    if rng.random() < 0.2:
        del sizes[at]
    elif type(sizes[at]) is int and rng.random() < 0.5:
        sizes[at] += rng.choice((-4, -1, 1, 4, 2**32))
    else:
        sizes[at] = rng.choice(SIZES)
    return sizes


def _odd_value(rng: Random) -> Any:
    text = rng.choice(NAMES) * rng.choice((1, 1, 1000))
    many: list[Any] = [rng.choice((0, 1, [], {}, "", 300))] * rng.choice((1, 10, 2000))
    number = rng.choice(SIZES) * rng.choice((1, -1))
    return rng.choice((None, True, 0.5, text, many, number, [], {}, {text: many}, float("nan")))


def _is_whole(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    offsets = entry.get("data_offsets")
    return isinstance(offsets, list) and len(offsets) == 2 and type(offsets[1]) is int


def _change_length(file: bytes, rng: Random) -> bytes:
    length = int.from_bytes(file[:8], "little")
    near = max(0, length + rng.choice((-8, -1, 1, 8)))
    chosen = rng.choice((0, 1, 2, near, near, len(file) - 8, 100_000_001, 2**63, 2**64 - 1))
    return (chosen % 2**64).to_bytes(8, "little") + file[8:]


def _flip(file: bytes, rng: Random) -> bytes:
    flipped = bytearray(file)
    for _ in range(rng.choice((1, 1, 4, 16)) if file else 0):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


def _truncate(file: bytes, rng: Random) -> bytes:
    return file[: rng.randint(0, len(file))]


def _extend(file: bytes, rng: Random) -> bytes:
    return file + bytes(rng.choice((1, 8, 4096)))


HEADER_MUTATIONS: tuple[Callable[[Pairs, Random], None], ...] = (
    _drop,
    _repeat,
    _rename,
    _multiply,
    _change_entry,
    _change_entry,
    _change_entry,
    _swap_offsets,
    _change_metadata,
)
FILE_MUTATIONS = (_change_length, _flip, _truncate, _extend)


def _pairs(text: bytes) -> Pairs:
    """The header's top level as pairs, so that a name may come twice; none if it is damaged."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return list(value.items()) if isinstance(value, dict) else []


def _dump(pairs: Pairs, text: bytes) -> bytes:
    """The pairs as JSON, or the `text` they came from if they nest too deep to be written."""
    try:
        items = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs]
    except RecursionError:
        return text
    return ("{" + ",".join(items) + "}").encode("utf-8")
