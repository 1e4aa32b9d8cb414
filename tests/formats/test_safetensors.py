"""safetensors files, byte by byte, and side by side with the `safetensors` library."""

import gc
import json
import os
import re
import stat
import struct
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats import safetensors as checkpoint
from llama_edu.formats.precision import DTYPES
from llama_edu.formats.safetensors import (
    SafetensorsFile,
    ShardedCheckpoint,
    TensorInfo,
    forget_pages,
    open_checkpoint,
    read_header,
    save_file,
)

# One float32 tensor of two numbers, the smallest file in which everything can be wrong.
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DATA = struct.pack("<2f", 1.5, -2.0)

names = st.text(max_size=6).filter(lambda name: name.isprintable() and name != "__metadata__")
metadatas = st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3)


@st.composite
def arrays(draw):
    """Any dtype, any small shape with empty and 0-d ones, any bit pattern."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 2 if dtype.kind == "b" else 256, count * dtype.itemsize, dtype=np.uint8
    )
    return raw.view(dtype).reshape(shape)


def pack(header, data=DATA, length=None):
    """A file: `header` is its text, or what to write as JSON."""
    if isinstance(header, dict):
        header = json.dumps(header)
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**changes):
    """The smallest file, with some fields of its entry changed, or dropped where None."""
    entry = {k: v for k, v in (ENTRY | changes).items() if v is not None}
    return pack({"a": entry})


def write(path, file):
    path.write_bytes(file)
    return path


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def same_bits(got, want):
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert got.tobytes() == want.tobytes()


# What is read


def test_a_file_written_by_hand(tmp_path):
    file = (
        b"\xc4\x00\x00\x00\x00\x00\x00\x00"
        b'{"w":{"dtype":"F16","shape":[1,3],"data_offsets":[4,10]},'
        b'"__metadata__":{"format":"np"},'
        b'"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]},'
        b'"i":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}   }'
        b"\x07\xff"
        b"\xc0\x3f"
        b"\x00\x3c\x00\xc0\xff\x7b"
    )
    header = read_header(file)
    assert header.header_nbytes == 196
    assert header.data_start == 204
    assert header.file_nbytes == len(file) == 214
    assert header.metadata == {"format": "np"}
    assert list(header.tensors.values()) == [
        TensorInfo("i", "U8", (2,), 0, 2),
        TensorInfo("b", "BF16", (), 2, 4),
        TensorInfo("w", "F16", (1, 3), 4, 10),
    ]
    assert [info.nbytes for info in header.tensors.values()] == [2, 2, 6]

    opened = SafetensorsFile(write(tmp_path / "x", file))
    assert opened.header == header
    assert opened.path == tmp_path / "x"
    assert list(opened) == ["i", "b", "w"]
    assert len(opened) == 3
    assert opened["i"].tolist() == [7, 255]
    assert opened["b"] == ml_dtypes.bfloat16(1.5)
    assert opened["w"].tolist() == [[1.0, -2.0, 65504.0]]
    assert "w" in opened
    assert "x" not in opened
    with pytest.raises(KeyError):
        opened["x"]


def test_header_from_path_bytes_and_memoryview_are_the_same(tmp_path):
    file = one()
    path = write(tmp_path / "x", file)
    padded = memoryview(np.frombuffer(file + b"!", dtype=np.uint8))[: len(file)]
    for source in (path, str(path), memoryview(file), padded):
        assert read_header(source) == read_header(file)


def test_a_file_without_tensors(tmp_path):
    opened = SafetensorsFile(write(tmp_path / "x", pack("{}", b"")))
    assert dict(opened) == {}
    assert opened.header.data_start == opened.header.file_nbytes == 10


def test_tensors_are_read_only_views_of_the_mapped_file(tmp_path):
    path = tmp_path / "x"
    save_file({"a": np.arange(6, dtype=np.float32), "e": np.empty((0, 3), np.float32)}, path)
    opened = SafetensorsFile(path)
    first, again = opened["a"], opened["a"]
    assert np.shares_memory(first, again)
    for array in (first, opened["e"]):
        assert not array.flags.owndata
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    del opened, again
    gc.collect()
    assert first.tolist() == [0, 1, 2, 3, 4, 5]


def test_opening_reads_the_header_only(tmp_path):
    """Four gigabytes that were never written take no room on the disk, and none in memory."""
    nbytes = 2**32
    path = write(tmp_path / "x", one(dtype="U8", shape=[nbytes], data_offsets=[0, nbytes]))
    os.truncate(path, path.stat().st_size - len(DATA) + nbytes)
    tracemalloc.start()
    opened = SafetensorsFile(path)
    tail = opened["a"][-3:].tolist()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tail == [0, 0, 0]
    assert opened["a"].nbytes == nbytes
    assert peak < 1_000_000


def test_numbers_at_odd_offsets_are_read_right(tmp_path):
    want = np.array([1.5, -3.25e7], dtype=np.float32)
    header = {
        "flag": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
        "b": {"dtype": "BF16", "shape": [1], "data_offsets": [9, 11]},
    }
    opened = SafetensorsFile(
        write(tmp_path / "x", pack(header, b"\x01" + want.tobytes() + b"\x80\x3f"))
    )
    assert not opened["a"].flags.aligned
    assert opened["a"].tolist() == want.tolist()
    assert opened["b"].astype(np.float32).tolist() == [1.0]
    assert opened["flag"].tolist() == [True]


def test_an_open_file_outlives_its_name(tmp_path):
    path = tmp_path / "x"
    save_file({"a": np.array([1, 2], dtype=np.int16)}, path)
    old = SafetensorsFile(path)
    save_file({"a": np.array([3, 4], dtype=np.int16)}, path)
    assert old["a"].tolist() == [1, 2]
    assert SafetensorsFile(path)["a"].tolist() == [3, 4]
    path.unlink()
    assert old["a"].tolist() == [1, 2]


def test_a_file_cut_short_while_it_is_opened(tmp_path, monkeypatch):
    path = write(tmp_path / "x", one())
    read = checkpoint.header_of

    def read_then_cut(file, source):
        header = read(file, source)
        os.truncate(path, 20)
        return header

    monkeypatch.setattr(checkpoint, "header_of", read_then_cut)
    with pytest.raises(CheckpointError, match=r"x: expected to map the file, got .*size"):
        SafetensorsFile(path)


# `safetensors` as the oracle


@settings(max_examples=150)
@given(st.dictionaries(names, arrays(), max_size=4), metadatas)
def test_what_we_write_safetensors_reads(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.getbasetemp() / "ours"
    save_file(tensors, path, metadata)
    theirs = dict(safetensors.deserialize(path.read_bytes()))
    assert theirs.keys() == tensors.keys()
    for name, want in tensors.items():
        assert DTYPES[theirs[name]["dtype"]] == want.dtype
        assert tuple(theirs[name]["shape"]) == want.shape
        assert bytes(theirs[name]["data"]) == want.tobytes()
    with safetensors.safe_open(path, "numpy") as opened:
        assert (opened.metadata() or {}) == metadata
    header = read_header(path)
    assert header.header_nbytes % 8 == 0
    assert all(info.start % DTYPES[info.dtype].itemsize == 0 for info in header.tensors.values())


@settings(max_examples=150)
@given(st.dictionaries(names, arrays(), max_size=4), metadatas)
def test_what_safetensors_writes_we_read(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.getbasetemp() / "theirs"
    path.write_bytes(safetensors.numpy.save(tensors, metadata or None))  # {} comes out broken
    ours = SafetensorsFile(path)
    assert ours.keys() == tensors.keys()
    assert ours.header.metadata == metadata
    for name, want in tensors.items():
        same_bits(ours[name], want)


def test_every_whole_byte_dtype_of_safetensors_is_known():
    with pytest.raises(safetensors.SafetensorError) as caught:
        safetensors.deserialize(one(dtype="nonsense"))
    theirs = set(re.findall(r"`([A-Z0-9_]+)`", str(caught.value)))
    assert {"F32", "BF16", "F4"} < theirs
    assert theirs - DTYPES.keys() == {"F4", "F6_E2M3", "F6_E3M2"}
    assert DTYPES.keys() <= theirs


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}

# Files on which we and `safetensors` 0.8 disagree, and why we decide as we do.
STRICTER = {
    "space before the brace: the format says the header begins with {": (
        pack(" " + json.dumps({"a": ENTRY})),
        "expected the header to start with '{', got b' '",
    ),
    "one name twice: the format forbids it, and one of the two would be lost": (
        pack(f'{{"a":{json.dumps(ENTRY)},"a":{json.dumps(ENTRY)}}}'),
        "expected each name once, got 'a' 2 times",
    ),
    "one metadata key twice: the same": (
        pack(f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{json.dumps(ENTRY)}}}'),
        "expected each name once, got 'k' 2 times",
    ),
    "an entry as a list: the format says an object": (
        pack({"a": ["F32", [2], [0, 8]]}),
        "expected dtype, shape and data_offsets, got ['F32'",
    ),
    "a name that clears the terminal it is printed on": (
        pack({"\x1b[2J": ENTRY}),
        r"expected a printable tensor name, got '\x1b[2J'",
    ),
    "a name that looks like another: a no-break space": (
        pack({"a\u00a0b": ENTRY}),
        r"expected a printable tensor name, got 'a\xa0b'",
    ),
    "more axes than NumPy has": (
        one(shape=[1] * 64 + [2]),
        "expected a shape of at most 64 sizes from 0 to 2**63 - 1, got [1, 1",
    ),
    "empty, but NumPy multiplies the other axes and overflows": (
        pack({"a": EMPTY | {"shape": [0, 2**40, 2**40]}}, b""),
        "expected a shape of less than 2**63 bytes, got [0, 1099511627776",
    ),
    "floats of 4 bits: NumPy cannot view them": (
        one(dtype="F4", shape=[16]),
        "expected a dtype of F64, F32",
    ),
}
LOOSER = {
    "-0: it is a JSON integer, and it is 0": pack(
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[-0,8]}}'
    ),
}


@pytest.mark.parametrize("reason", STRICTER)
def test_stricter_than_safetensors_on_purpose(reason):
    file, message = STRICTER[reason]
    safetensors.deserialize(file)  # accepts
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read_header(file)


@pytest.mark.parametrize("reason", LOOSER)
def test_looser_than_safetensors_on_purpose(reason, tmp_path):
    file = LOOSER[reason]
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(file)
    assert SafetensorsFile(write(tmp_path / "x", file))["a"].tobytes() == DATA


@pytest.mark.parametrize(
    "file",
    [
        pack({"": ENTRY}),
        pack({"é/../\\": ENTRY}),
        pack({"a": ENTRY, "__metadata__": {}}),
        pack({"a": ENTRY, "__metadata__": None}),
        pack({"a": ENTRY | {"note": {"by": ["x"]}}}),
        pack({"a": ENTRY, "__metadata__": {"k\n": "\x00"}}),
        pack({"a": ENTRY, "z": EMPTY | {"data_offsets": [8, 8]}}),
        pack({"a": ENTRY, "z": EMPTY}),
        pack({"a": ENTRY, "z": EMPTY | {"shape": [2**40, 0, 2**20]}}),
        pack(json.dumps({"a": ENTRY}) + " \n\t"),
        pack(json.dumps({"a": ENTRY}, indent=1)),
        pack('{"\\ud83d\\ude00":{"\\u0064type":"F\\u00332","shape":[2],"data_offsets":[0,8]}}'),
        one(shape=[1] * 63 + [2]),
        one(shape=[], dtype="F64"),
    ],
)
def test_unusual_files_that_both_accept(file, tmp_path):
    theirs = {name: bytes(t["data"]) for name, t in safetensors.deserialize(file)}
    opened = SafetensorsFile(write(tmp_path / "x", file))
    assert {name: array.tobytes() for name, array in opened.items()} == theirs


# What is refused, by both

TWO = {"a": ENTRY | {"shape": [1], "data_offsets": [0, 4]}, "b": ENTRY | {"shape": [1]}}
REFUSED = {
    "nothing": (b"", "expected a safetensors file, got an empty file"),
    "7 bytes": (b"\x02" + bytes(6), "expected at least 8 bytes (the header's length), got 7"),
    "a length and no more": (pack("", b"", 5), "of 2 to 0 bytes (the file has 8), got a length of"),
    "no header": (
        bytes(8),
        "expected a safetensors file, got nothing but zeros",
    ),
    "a header of 1 byte": (pack("{", b"}"), "got a length of 1"),
    "a length past the end": (pack("{}", b"", 3), "of 2 to 2 bytes (the file has 10), got a leng"),
    "a length with the sign bit": (pack("{}", length=2**63), f"got a length of {2**63}"),
    "the largest length": (pack("{}", length=2**64 - 1), f"got a length of {2**64 - 1}"),
    "a big-endian length": (b"\0\0\0\0\0\0\0\x02{}", f"got a length of {2**57}"),
    "a header cut short": (pack({"a": ENTRY})[:-20], "bytes (the file has"),
    "a length inside the header": (pack({"a": ENTRY}, length=30), "header: expected JSON, got"),
    "a length inside the data": (pack({}, b"\0\0", length=4), "header: expected JSON, got a "),
    "UTF-16": (pack(json.dumps({"a": ENTRY}).encode("utf-16-le")), "header: expected JSON, got"),
    "not UTF-8": (pack(b'{"\xff":1}'), "header: expected UTF-8 text, got 'utf-8' codec can't"),
    "not JSON": (
        pack("{'a': 1}"),
        "header: expected JSON, got a fault at line 1, column 2: expecting property name",
    ),
    "a list": (pack("[]"), "expected the header to start with '{', got b'['"),
    "a BOM": (pack('\ufeff{"a":1}'), r"expected the header to start with '{', got b'\xef'"),
    "NaN": (pack('{"a":NaN}'), "expected plain JSON numbers, got NaN"),
    "deep": (pack("[" * 10**5), "expected the header to start with '{', got b'['"),
    "deep inside": (pack('{"a":' + "[" * 10**5), "expected JSON of sane depth"),
    "one field twice": (
        pack('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        "expected each name once, got 'dtype' 2 times",
    ),
    "metadata of numbers": (
        pack({"__metadata__": {"k": 1}, "a": ENTRY}),
        "expected __metadata__ to map text to text, got {'k': 1}",
    ),
    "metadata as a list": (pack({"__metadata__": []}), "to map text to text, got []"),
    "half a character in metadata": (
        pack(b'{"__metadata__":{"k":"\\ud800"}}'),
        "header: expected UTF-8 text, got",
    ),
    "half a character in a name": (pack(b'{"\\ud800":1}'), "header: expected UTF-8 text, got"),
    "an entry as text": (pack({"a": "F32"}), "'a': expected dtype, shape and data_offsets, got 'F"),
    "no dtype": (one(dtype=None), "'a': expected dtype, shape and data_offsets, got {"),
    "no shape": (one(shape=None), "'a': expected dtype, shape and data_offsets, got {"),
    "no offsets": (one(data_offsets=None), "'a': expected dtype, shape and data_offsets, got {"),
    "an unknown dtype": (one(dtype="f32"), ", C64, got 'f32'"),
    "a dtype as a number": (one(dtype=4), "'a': expected a dtype of F64, F32,"),
    "a dtype as a list": (one(dtype=["F32"]), ", C64, got ['F32']"),
    "a shape as a number": (one(shape=2), "'a': expected a shape of at most 64 sizes"),
    "the largest size": (
        one(dtype="U8", shape=[2**63 - 1], data_offsets=[0, 2**63 - 1]),
        f"expected {2**63 - 1} bytes of tensors as the header says, got 8",
    ),
    "a size beyond the largest": (one(shape=[2**63]), f"2**63 - 1, got [{2**63}]"),
    "a size below 0": (one(shape=[-1]), "2**63 - 1, got [-1]"),
    "a size of 2.0": (one(shape=[2.0]), "2**63 - 1, got [2.0]"),
    "a size of true": (one(shape=[2, True]), "2**63 - 1, got [2, True]"),
    "a size of null": (one(shape=[None]), "2**63 - 1, got [None]"),
    "a size of '2'": (one(shape=["2"]), "2**63 - 1, got ['2']"),
    "a size of 2**64": (one(shape=[2**64]), f"2**63 - 1, got [{2**64}]"),
    "a product that overflows to 8": (
        one(dtype="U8", shape=[2**62, 4, 2], data_offsets=[0, 8]),
        f"expected a shape of less than 2**63 bytes, got [{2**62}, 4, 2]",
    ),
    "a size in bytes that overflows to 0": (
        one(shape=[2**62], data_offsets=[0, 0]),
        f"expected a shape of less than 2**63 bytes, got [{2**62}]",
    ),
    "overflow, then 0": (
        one(shape=[2**40, 2**40, 0], data_offsets=[0, 0]),
        "expected a shape of less than 2**63 bytes",
    ),
    "one offset": (one(data_offsets=[8]), "'a': expected data_offsets [start, end], got [8]"),
    "three offsets": (one(data_offsets=[0, 8, 8]), "[start, end], got [0, 8, 8]"),
    "offsets as an object": (one(data_offsets={"0": 8}), "[start, end], got {'0': 8}"),
    "an offset below 0": (one(data_offsets=[-8, 0]), "[start, end], got [-8, 0]"),
    "an offset of 8.0": (one(data_offsets=[0, 8.0]), "[start, end], got [0, 8.0]"),
    "an offset of false": (one(data_offsets=[False, 8]), "[start, end], got [False, 8]"),
    "an offset of 2**64": (one(data_offsets=[0, 2**64]), f"[start, end], got [0, {2**64}]"),
    "end before start": (one(data_offsets=[8, 0]), "[start, end], got [8, 0]"),
    "shape and bytes disagree": (
        one(shape=[3]),
        "'a': expected 12 bytes for F32 [3], got 8",
    ),
    "dtype and bytes disagree": (one(dtype="F16"), "expected 4 bytes for F16 [2], got 8"),
    "0-d and bytes disagree": (one(shape=[]), "expected 4 bytes for F32 [], got 8"),
    "a hole at the start": (
        one(shape=[1], data_offsets=[4, 8]),
        "'a': expected data to start at byte 0, got 4, leaving a hole",
    ),
    "a hole between": (
        pack({**TWO, "b": TWO["b"] | {"data_offsets": [5, 9]}}, DATA + b"\0"),
        "'b': expected data to start at byte 4, got 5, leaving a hole",
    ),
    "bytes shared": (
        pack({**TWO, "b": TWO["b"] | {"data_offsets": [3, 7]}}, DATA),
        "'b': expected data to start at byte 4, got 3, overlapping the tensor before",
    ),
    "all bytes shared": (
        pack({"a": ENTRY, "b": ENTRY}),
        "'b': expected data to start at byte 8, got 0, overlapping the tensor before",
    ),
    "an empty tensor inside another": (
        pack({"a": ENTRY, "b": EMPTY | {"data_offsets": [4, 4]}}),
        "'b': expected data to start at byte 8, got 4, overlapping the tensor before",
    ),
    "an empty tensor past the end": (
        pack({"a": ENTRY, "b": EMPTY | {"data_offsets": [80, 80]}}),
        "'b': expected data to start at byte 8, got 80, leaving a hole",
    ),
    "past the end": (
        one(shape=[3], data_offsets=[0, 12]),
        "expected 12 bytes of tensors as the header says, got 8",
    ),
    "bytes cut off": (one()[:-1], "expected 8 bytes of tensors as the header says, got 7"),
    "bytes left over": (one() + b"!", "expected 8 bytes of tensors as the header says, got 9"),
    "bytes, and no tensors": (pack("{}"), "expected 0 bytes of tensors as the header says, got 8"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_damaged_files_are_refused(what, tmp_path):
    file, message = REFUSED[what]
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(file)
    with pytest.raises(CheckpointError) as caught:
        read_header(file)
    assert str(caught.value).startswith("these bytes: ")
    assert message in str(caught.value)

    path = write(tmp_path / "x", file)
    with pytest.raises(CheckpointError) as from_disk:
        SafetensorsFile(path)
    assert str(from_disk.value) == str(caught.value).replace("these bytes", str(path), 1)


def test_a_header_is_at_most_as_long_as_safetensors_allows(monkeypatch):
    file = one()
    length = len(file) - 8 - len(DATA)
    monkeypatch.setattr(checkpoint, "MAX_HEADER_NBYTES", length)
    read_header(file)
    monkeypatch.setattr(checkpoint, "MAX_HEADER_NBYTES", length - 1)
    with pytest.raises(CheckpointError, match=f"expected a header of 2 to {length - 1} bytes"):
        read_header(file)


def test_safetensors_allows_headers_of_as_many_bytes_as_we_do():
    limit = checkpoint.MAX_HEADER_NBYTES
    for length, message in ((limit, "invalid header length"), (limit + 1, "header too large")):
        with pytest.raises(safetensors.SafetensorError, match=message):
            safetensors.deserialize(pack("{}", length=length))


def test_what_is_no_file_is_refused(tmp_path):
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no", "No such file")):
        for read in (read_header, SafetensorsFile, ShardedCheckpoint):
            with pytest.raises(CheckpointError, match=f"expected a readable file, got {reason}"):
                read(path)


# Time and memory are bounded by the size of the file

N = 60_000
HOSTILE = {
    "empty lists": '{"a":[' + "[]," * (N // 3) + "[]]}",
    "empty objects": '{"a":[' + "{}," * (N // 3) + "{}]}",
    "objects": '{"a":[' + '{"":0},' * (N // 7) + "{}]}",
    "one name often": "{" + '"":0,' * (N // 5) + '"":0}',
    "many names": "{" + ",".join(f'"{i:x}":[]' for i in range(N // 9)) + "}",
    "many tensors": "{" + ",".join(f'"{i:x}":{json.dumps(EMPTY)}' for i in range(N // 52)) + "}",
    "much metadata": '{"__metadata__":{' + ",".join(f'"{i:x}":0' for i in range(N // 9)) + "}}",
    "a long shape": '{"a":{"dtype":"U8","data_offsets":[0,8],"shape":[' + "1," * (N // 2) + "8]}}",
    "huge sizes": '{"a":{"dtype":"U8","data_offsets":[0,0],"shape":['
    + ("9" * 4000 + ",") * (N // 4001)
    + "0]}}",
    "a long number": '{"a":' + "9" * N + "}",
    "a long name": '{"' + "a" * N + '":0}',
    "a long unprintable name": '{"' + "\\n" * (N // 2) + '":0}',
    "a long name twice": '{"' + "a" * (N // 2) + '":0,"' + "a" * (N // 2) + '":0}',
    "a long dtype": '{"a":{"dtype":"' + "F" * N + '","shape":[],"data_offsets":[]}}',
    "a long wide name": '{"' + "a" * N + '😀":0}',
    "deep": '{"a":' * (N // 5),
    "escapes": '{"' + "\\u0041" * (N // 6) + '":0}',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers_cost_no_more_than_their_size(what):
    file = pack(HOSTILE[what], b"")
    assert len(file) > N // 2
    tracemalloc.start()
    try:
        read_header(file)
        message = ""
    except CheckpointError as problem:
        message = str(problem)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bool(message) == (what != "many tensors")
    assert len(message) < 400
    # Python's smallest dict takes 64 bytes, and "{}," three.
    assert peak < 40 * len(file)


# Shards


@pytest.fixture
def shards(tmp_path):
    """Two shards with tensors a, b and c, and a function that writes their index."""
    a, b, c = (np.full(2, i, dtype=np.float32) for i in (1, 2, 3))
    save_file({"a": a, "b": b}, tmp_path / "one.safetensors")
    save_file({"c": c}, tmp_path / "two.safetensors")
    one_, two = "one.safetensors", "two.safetensors"

    def index(weight_map=None, **changes):
        weight_map = {"a": one_, "b": one_, "c": two} if weight_map is None else weight_map
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": weight_map | changes}), "utf-8")
        return path

    return index


def test_shards_are_one_mapping(shards):
    stored = open_checkpoint(shards().parent)
    assert isinstance(stored, ShardedCheckpoint)
    assert list(stored) == ["a", "b", "c"]
    assert len(stored) == 3
    assert {name: array[0] for name, array in stored.items()} == {"a": 1, "b": 2, "c": 3}
    assert sorted(stored.shards) == ["one.safetensors", "two.safetensors"]
    assert np.shares_memory(stored["a"], stored["a"])
    assert "d" not in stored


def test_one_file_comes_before_an_index(shards):
    directory = shards().parent
    save_file({"z": np.zeros(1, dtype=np.float32)}, directory / "model.safetensors")
    stored = open_checkpoint(directory)
    assert isinstance(stored, SafetensorsFile)
    assert list(stored) == ["z"]


def test_a_directory_without_weights_is_refused(tmp_path):
    message = "expected model.safetensors or model.safetensors.index.json, got neither"
    for directory in (tmp_path, tmp_path / "no"):
        with pytest.raises(CheckpointError, match=re.escape(f"{directory}: {message}")):
            open_checkpoint(directory)


def test_an_index_of_pickles_is_named(tmp_path):
    (tmp_path / "pytorch_model.bin.index.json").touch()
    with pytest.raises(CheckpointError, match=r"got pytorch_model\.bin\.index\.json: a pickle"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../one.safetensors",
        "sub/../one.safetensors",
        "./one.safetensors",
        "one.safetensors/",
        "/etc/hostname",
        "C:\\one.safetensors",
        "C:one.safetensors",
        "..\\one.safetensors",
        "sub\\one.safetensors",
        "..",
        ".",
        "",
        "one.safetensors\0",
        "one\n.safetensors",
        "n" * 300,
        7,
        None,
        ["one.safetensors"],
    ],
)
def test_an_index_cannot_point_outside_its_directory(shards, name, monkeypatch):
    def opened(path):
        raise AssertionError(f"{path} was opened")

    index = shards(a=name)
    monkeypatch.setattr(checkpoint, "SafetensorsFile", opened)
    with pytest.raises(
        CheckpointError, match=r"'a': expected the name of a file beside the index, got"
    ) as caught:
        ShardedCheckpoint(index)
    assert repr(name)[:30] in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_name_of_a_shard_is_at_most_as_long_as_file_systems_have_them(shards, tmp_path):
    longest = "n" * 255
    (tmp_path / "two.safetensors").rename(tmp_path / longest)
    assert ShardedCheckpoint(shards(c=longest))["c"][0] == 3
    with pytest.raises(CheckpointError, match="the name of a file beside the index"):
        ShardedCheckpoint(shards(c=longest + "n"))


def test_a_shard_may_be_a_link(shards, tmp_path):
    """The Hugging Face cache is laid out so: names that link to blobs elsewhere."""
    index = shards()
    blob = tmp_path / "blobs"
    blob.mkdir()
    (tmp_path / "two.safetensors").rename(blob / "0123")
    (tmp_path / "two.safetensors").symlink_to(Path("blobs") / "0123")
    assert ShardedCheckpoint(index)["c"][0] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d": "two.safetensors"}, "got 'd' of 'two.safetensors' in index only"),
        ({"b": "two.safetensors"}, "got 'b' of 'one.safetensors' in file only"),
        ({"d": "three.safetensors"}, "three.safetensors: expected a readable file, got No such"),
        ({"d": "model.safetensors.index.json"}, "index.json: expected a header of 2 to"),
    ],
)
def test_an_index_and_its_shards_must_agree(shards, changes, message):
    with pytest.raises(CheckpointError, match=re.escape(message)):
        ShardedCheckpoint(shards(**changes))


def test_a_tensor_in_a_shard_and_not_in_the_index(shards):
    index = shards({"a": "one.safetensors", "c": "two.safetensors"})
    with pytest.raises(CheckpointError, match=r"agree, got 'b' of 'one\.safetensors' in file only"):
        ShardedCheckpoint(index)


@pytest.mark.parametrize("value", [2, 7])
def test_a_tensor_in_two_shards_is_one_only_if_both_say_the_same(shards, value):
    index = shards()
    arrays = {"b": np.full(2, value, np.float32), "c": np.full(2, 3, np.float32)}
    save_file(arrays, index.parent / "two.safetensors")
    if value == 2:
        assert ShardedCheckpoint(index)["b"].tolist() == [2, 2]
        return
    with pytest.raises(CheckpointError, match=r"agree, got 'b' of 'two\.safetensors' in file only"):
        ShardedCheckpoint(index)


def test_stored_angles_of_rope_are_left_out(shards):
    index = shards()
    names = ("inv_freq", "original_inv_freq", "cos_cached", "sin_cached")
    ropes = {f"model.layers.0.self_attn.rotary_emb.{n}": np.ones(2, np.float32) for n in names}
    save_file({"c": np.full(2, 3, np.float32)} | ropes, index.parent / "two.safetensors")
    assert list(ShardedCheckpoint(index)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "index.json: expected JSON, got"),
        ("{}", "expected a weight_map of names to files, got None"),
        ('{"error": "gated"}', "index.json: expected an index of shards, got a server's error"),
        ('{"weight_map": {}}', "expected a weight_map of names to files, got {}"),
        ('{"weight_map": ["a"]}', "expected a weight_map of names to files, got ['a']"),
        (
            '{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}',
            "index.json: expected each name once, got 'a' 2 times",
        ),
    ],
)
def test_a_damaged_index_is_refused(shards, text, message):
    index = shards()
    index.write_text(text, "utf-8")
    with pytest.raises(CheckpointError, match=re.escape(message)):
        open_checkpoint(index.parent)


# What is written


def test_the_bytes_of_a_small_file(tmp_path):
    path = tmp_path / "x"
    tensors = {
        "i": np.array([1, 2, 3], dtype=np.uint8),
        "w": np.array([[1.0], [-2.0]], dtype=np.float32),
        "h": np.array(0.5, dtype=np.float16),
    }
    save_file(tensors, path, {"é": "✓"})
    header = (
        '{"__metadata__":{"é":"✓"},'
        '"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},'
        '"h":{"dtype":"F16","shape":[],"data_offsets":[8,10]},'
        '"i":{"dtype":"U8","shape":[3],"data_offsets":[10,13]}}'
    ).encode()
    header += b" " * (-len(header) % 8)
    data = b"\x00\x00\x80\x3f\x00\x00\x00\xc0" + b"\x00\x38" + b"\x01\x02\x03"
    assert path.read_bytes() == pack(header, data)


big_endian = np.array([[1.5, -2.0, 3.0]], dtype=">f4")


@pytest.mark.parametrize(
    "array",
    [
        big_endian,
        np.array([1, -2], dtype=">i8"),
        np.array([1.5, 2.5], dtype=ml_dtypes.bfloat16).astype(
            np.dtype(ml_dtypes.bfloat16).newbyteorder(">")
        ),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.asfortranarray(np.arange(12, dtype=np.float64).reshape(3, 4)),
        np.arange(12, dtype=np.int16)[::-3],
        np.broadcast_to(np.float32(7), (2, 3)),
        np.frombuffer(b"\0" + bytes(range(8)), dtype=np.uint8)[1:].view("<f4"),
        np.array(3, dtype=np.int64),
        np.empty((3, 0, 2), dtype=np.float16),
        np.ma.array([1, 2], dtype=np.int32),
    ],
)
def test_any_layout_in_memory_is_written_row_by_row_and_little_endian(array, tmp_path):
    path = tmp_path / "x"
    before = array.tobytes()
    save_file({"a": array}, path)
    read = SafetensorsFile(path)["a"]
    assert read.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(np.asarray(array, dtype=read.dtype), read)
    ((_, theirs),) = safetensors.deserialize(path.read_bytes())
    assert bytes(theirs["data"]) == read.tobytes()
    assert array.tobytes() == before


def test_a_file_can_be_rewritten_from_its_own_tensors(tmp_path):
    path = tmp_path / "x"
    save_file({"a": np.arange(4, dtype=np.float32)}, path, {"v": "1"})
    opened = SafetensorsFile(path)
    save_file({"b": opened["a"][1:]}, path)
    assert opened["a"].tolist() == [0, 1, 2, 3]
    assert SafetensorsFile(path)["b"].tolist() == [1, 2, 3]
    assert SafetensorsFile(path).header.metadata == {}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"a": np.zeros(2, dtype=object)}, None, "expected a dtype safetensors can store (F64,"),
        ({"a": np.zeros(2, dtype="U3")}, None, "C64), got <U3"),
        ({"a": np.zeros(2, dtype=np.complex128)}, None, "C64), got complex128"),
        ({"a": np.zeros(2, dtype="f4,f4")}, None, "expected a dtype safetensors can store (F64,"),
        ({"a": np.zeros(2, dtype=ml_dtypes.int4)}, None, "C64), got int4"),
        ({"__metadata__": big_endian}, None, "not __metadata__, got '__metadata__'"),
        (
            {"a\n": big_endian},
            None,
            r"expected a printable tensor name, not __metadata__, got 'a\n",
        ),
        ({"\ud800": big_endian}, None, r"not __metadata__, got '\ud800'"),
        ({}, {"v": "1", "k": 1}, "expected metadata to map text to text, got ('k', 1)"),
        ({}, {"v": "1", 1: "v"}, "expected metadata to map text to text, got (1, 'v')"),
        ({}, {"k": "\ud800"}, r"expected metadata to map text to text, got ('k', '\ud800')"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(tensors, metadata, message, tmp_path):
    path = write(tmp_path / "x", b"as it was")
    with pytest.raises(InputError, match=re.escape(message)):
        save_file(tensors, path, metadata)
    assert path.read_bytes() == b"as it was"
    assert names_in(tmp_path) == ["x"]


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, problem):
    path = write(tmp_path / "x", b"as it was")
    seen = []

    def fail(handle):
        seen.append(names_in(tmp_path))
        raise problem

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(problem)):
        save_file({"a": big_endian}, path)
    ((temporary, kept),) = seen
    assert temporary.startswith(".x.")
    assert kept == "x"
    assert path.read_bytes() == b"as it was"
    assert names_in(tmp_path) == ["x"]


def test_what_failed_is_told_where_somebody_swept_the_folder_meanwhile(tmp_path, monkeypatch):
    def sweep_and_fail(handle):
        for path in tmp_path.iterdir():
            path.unlink()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", sweep_and_fail)
    with pytest.raises(OSError, match="No space left"):
        save_file({"a": big_endian}, tmp_path / "x")


def test_an_array_is_written_from_where_it_lies(tmp_path):
    array = np.zeros((1000, 1000), dtype=np.float32)
    tracemalloc.start()
    save_file({"a": array}, tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes // 10


def test_a_folder_that_is_not_there_stays_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_file({}, tmp_path / "no" / "x")
    assert names_in(tmp_path) == []


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    """As in a cache, where one blob may serve many names."""
    blob = write(tmp_path / "blob", one())
    link = tmp_path / "x"
    link.symlink_to(blob)
    save_file({}, link)
    assert blob.read_bytes() == one()
    assert not link.is_symlink()


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_file({}, tmp_path / "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


needs_smaps = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="this system does not say what is in memory"
)


def resident_nbytes(path):
    """How much of a mapped file this process has in memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


@needs_smaps
def test_pages_are_forgotten_and_stay_readable(tmp_path):
    path = tmp_path / "model.safetensors"
    arrays = {name: np.full((300, 1001), i, dtype=np.float32) for i, name in enumerate("abc")}
    save_file(arrays, path)
    file = SafetensorsFile(path)
    assert all((file[name] == arrays[name]).all() for name in "abc")
    before = resident_nbytes(path)
    assert before > 3 * 1_000_000
    for array in (file["b"], file["b"][0, :0]):
        forget_pages(array)
    after = resident_nbytes(path)
    assert 1_150_000 < before - after < 1_300_000, "one of three, in whole pages"
    assert all((file[name] == arrays[name]).all() for name in "abc")


def test_only_what_is_mapped_for_reading_is_forgotten(tmp_path):
    path = tmp_path / "numbers"
    np.arange(5000, dtype=np.float32).tofile(path)
    changed = np.memmap(path, np.float32, mode="c")
    changed[:] = 7
    for array in (changed, changed[10:4000], np.ones(5000)[3:], np.ones(())):
        forget_pages(array)
    assert (changed == 7).all()
