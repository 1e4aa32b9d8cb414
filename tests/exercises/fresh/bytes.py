"""Reading bytes."""

import json
import math
import struct

import numpy as np
from fresh_answers import right, wrong

HL, RT, BF, CF = "header_length", "read_tensor", "bf16_to_float32", "check_file"


def header_loop(data):
    total = 0
    for place, byte in enumerate(data[:8]):
        total += byte << (8 * place)
    return total


def header_reads_on(data):
    total = 0
    for byte in data[:8]:
        total = total * 256 + byte
    return total


def tensor(data, name, *, skip=8, dtype="<f4", order="C", shape=True, end=True):
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[name]
    first, last = entry["data_offsets"]
    piece = data[skip + length + first : skip + length + last] if end else data[first:last]
    array = np.frombuffer(piece, dtype)
    return array.reshape(entry["shape"], order=order) if shape else array


def tensor_struct(data, name):
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length].decode())[name]
    count = math.prod(entry["shape"])
    numbers = struct.unpack_from(f"<{count}f", data, 8 + length + entry["data_offsets"][0])
    return np.array(numbers, dtype=np.float32).reshape(entry["shape"])


def tensor_from_offset(data, name):
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[name]
    start = 8 + length + entry["data_offsets"][0]
    count = math.prod(entry["shape"])
    return np.frombuffer(data, "<f4", count, start).reshape(entry["shape"])


def tensor_to_the_end(data, name):
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[name]
    rest = np.frombuffer(data[8 + length :], "<f4")
    return rest[: math.prod(entry["shape"])].reshape(entry["shape"])


def tensor_rounded_up(data, name):
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[name]
    start = (8 + length + entry["data_offsets"][0] + 7) // 8 * 8
    count = math.prod(entry["shape"])
    piece = data[start : start + 4 * count].ljust(4 * count, b"\0")
    return np.frombuffer(piece, "<f4").reshape(entry["shape"])


def tensor_in_numbers(data, name):
    length = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + length])[name]
    start, end = entry["data_offsets"]
    numbers = np.frombuffer(data[8 + length :], "<f4")
    return numbers[start:end].reshape(entry["shape"])


def bf_struct(data):
    twos = [data[i : i + 2] for i in range(0, len(data), 2)]
    return np.array([struct.unpack("<f", b"\0\0" + two)[0] for two in twos], np.float32)


def bf_zeros_between(data):
    wide = np.zeros((len(data) // 2, 4), np.uint8)
    wide[:, 2:] = np.frombuffer(data, np.uint8).reshape(-1, 2)
    return wide.reshape(-1).view("<f4")


def whole(
    data,
    *,
    dtypes=True,
    sizes=True,
    holes=True,
    overlaps=True,
    last=True,
    sort=True,
    meta=True,
    error=ValueError,
):
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise error("too short")
    header = json.loads(data[8 : 8 + length].decode("utf-8"))
    if meta:
        header.pop("__metadata__", None)
    entries = list(header.values())
    if any(not isinstance(entry, dict) or len(entry) != 3 for entry in entries) and meta:
        raise error("entry")
    if sort:
        entries.sort(key=lambda entry: entry["data_offsets"])
    known = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "U8": 1, "I64": 8, "I32": 4}
    known |= {"I16": 2, "U16": 2, "U32": 4, "U64": 8, "BOOL": 1}
    at = 0
    for entry in entries:
        start, end = entry["data_offsets"]
        if any(size < 0 for size in entry["shape"]):
            raise error("sign")
        if dtypes and entry["dtype"] not in known:
            raise error("dtype")
        if sizes and end - start != math.prod(entry["shape"]) * known.get(entry["dtype"], 4):
            raise error("size")
        if holes and start > at:
            raise error("hole")
        if overlaps and start < at:
            raise error("overlap")
        at = end
    if last and 8 + length + at != len(data):
        raise error("end")


def sums_only(data):
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length].decode("utf-8"))
    header.pop("__metadata__", None)
    known = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "U8": 1}
    total = 0
    for entry in header.values():
        if entry["dtype"] not in known:
            raise ValueError("dtype")
        total += math.prod(entry["shape"]) * known[entry["dtype"]]
    if total != len(data) - 8 - length:
        raise ValueError("sizes")


def says_false(data):
    try:
        whole(data)
    except ValueError:
        return False
    return True


def judged_twice(data):
    if len(data) < 8:
        raise ValueError("no length")
    (n,) = struct.unpack("<Q", data[:8])
    if 8 + n > len(data):
        raise ValueError("header ends behind the file")
    table = json.loads(str(data[8 : 8 + n], "utf-8"))
    spans = []
    for name, item in table.items():
        if name == "__metadata__":
            continue
        if not isinstance(item, dict) or "shape" not in item or min(item["shape"]) < 0:
            raise ValueError(f"{name}: no tensor")
        begin, end = item["data_offsets"]
        size = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
        if item["dtype"] not in size:
            raise ValueError(f"{name}: dtype")
        if np.prod(item["shape"], dtype=np.int64) * size[item["dtype"]] != end - begin:
            raise ValueError(f"{name}: bytes")
        spans.append((begin, end))
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    starts = [*(begin for begin, _ in spans), len(data) - 8 - n]
    if ends != starts:
        raise ValueError("hole or overlap")


ANSWERS = (
    right(HL, "byte by byte", header_loop),
    right(HL, "struct", lambda data: struct.unpack("<Q", data[:8])[0]),
    right(HL, "a NumPy number", lambda data: int(np.frombuffer(data[:8], "<u8")[0])),
    wrong(HL, "largest byte first", lambda data: int.from_bytes(data[:8], "big"), "big_endian"),
    wrong(HL, "four bytes", lambda data: int.from_bytes(data[:4], "little"), "four_bytes"),
    wrong(HL, "two bytes", lambda data: struct.unpack("<H", data[:2])[0], "two_bytes"),
    wrong(HL, "the first byte", lambda data: data[0], "one_byte"),
    wrong(HL, "length of the data", len, "whole_file"),
    wrong(HL, "the tuple of struct", lambda data: struct.unpack("<Q", data[:8]), "not_unpacked"),
    wrong(
        HL,
        "with its own 8 bytes",
        lambda data: 8 + int.from_bytes(data[:8], "little"),
        "counts_itself",
    ),
    wrong(HL, "loop from the big end", header_reads_on, "big_endian"),
    wrong(HL, "a float", lambda data: float(int.from_bytes(data[:8], "little"))),
    wrong(HL, "signed", lambda data: int.from_bytes(data[:7], "little"), "seven_bytes"),
    wrong(HL, "the bytes themselves", lambda data: data[:8]),
    wrong(HL, "sum of bytes", lambda data: sum(data[:8]), "bytes_summed"),
    wrong(HL, "as text", lambda data: int(data[:8])),
    right(RT, "struct", tensor_struct),
    right(RT, "frombuffer with an offset", tensor_from_offset),
    wrong(RT, "8 bytes forgotten", lambda d, n: tensor(d, n, skip=0), "without_length"),
    wrong(RT, "from the start of the file", lambda d, n: tensor(d, n, end=False), "from_zero"),
    wrong(
        RT, "big endian", lambda d, n: tensor(d, n, dtype=">f4").astype(np.float32), "big_endian"
    ),
    wrong(RT, "flat", lambda d, n: tensor(d, n, shape=False), "flat"),
    wrong(RT, "Fortran order", lambda d, n: tensor(d, n, order="F"), "columns"),
    wrong(RT, "transposed", lambda d, n: tensor(d, n).T),
    wrong(RT, "float64", lambda d, n: tensor(d, n).astype(np.float64)),
    wrong(RT, "integers", lambda d, n: tensor(d, n, dtype="<i4")),
    wrong(RT, "always the first tensor", tensor_to_the_end, "always_first"),
    wrong(RT, "start rounded up", tensor_rounded_up),
    wrong(RT, "offsets counted in numbers", tensor_in_numbers),
    wrong(RT, "a list", lambda d, n: tensor(d, n).tolist()),
    wrong(BF, "struct", bf_struct),
    right(
        BF,
        "multiplied",
        lambda d: (np.frombuffer(d, "<u2").astype(np.uint32) * np.uint32(65536)).view(np.float32),
    ),
    right(BF, "zeros between", bf_zeros_between),
    wrong(BF, "as float16", lambda d: np.frombuffer(d, "<f2").astype(np.float32), "as_f16"),
    wrong(BF, "as float32", lambda d: np.frombuffer(d, "<f4")),
    wrong(
        BF,
        "not shifted",
        lambda d: np.frombuffer(d, "<u2").astype(np.uint32).view(np.float32),
        "unshifted",
    ),
    wrong(
        BF,
        "shifted before widening",
        lambda d: (np.frombuffer(d, "<u2") << 16).astype(np.uint32).view(np.float32),
        "lost_in_16",
    ),
    wrong(
        BF,
        "value instead of view",
        lambda d: (np.frombuffer(d, "<u2").astype(np.uint32) << 16).astype(np.float32),
        "value_shifted",
    ),
    wrong(
        BF,
        "big endian",
        lambda d: (np.frombuffer(d, ">u2").astype(np.uint32) << 16).view(np.float32),
        "big_endian",
    ),
    wrong(
        BF,
        "signed, widened",
        lambda d: np.frombuffer(d, "<u2").astype(np.float32),
        "value",
    ),
    wrong(
        BF,
        "float64",
        lambda d: (
            (np.frombuffer(d, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        ),
    ),
    wrong(
        BF,
        "shift by 8",
        lambda d: (np.frombuffer(d, "<u2").astype(np.uint32) << 8).view(np.float32),
        "by_8",
    ),
    wrong(BF, "every second", lambda d: bf_struct(d)[::2], "every_second"),
    wrong(BF, "a list of floats", lambda d: bf_struct(d).tolist()),
    wrong(BF, "sign lost", lambda d: np.abs(bf_struct(d)), "sign_lost"),
    right(CF, "with a walk", whole),
    right(CF, "ends against starts", judged_twice),
    wrong(CF, "sums only", sums_only),
    wrong(CF, "not sorted", lambda d: whole(d, sort=False), "order"),
    wrong(CF, "metadata is a tensor", lambda d: whole(d, meta=False), "metadata"),
    wrong(CF, "holes pass", lambda d: whole(d, holes=False), "hole"),
    wrong(CF, "overlaps pass", lambda d: whole(d, overlaps=False), "overlap"),
    wrong(CF, "last byte not looked at", lambda d: whole(d, last=False), "truncation"),
    wrong(CF, "sizes not looked at", lambda d: whole(d, sizes=False), "size"),
    wrong(CF, "dtypes not looked at", lambda d: whole(d, dtypes=False, sizes=False)),
    wrong(CF, "returns False", says_false),
    wrong(CF, "another error", lambda d: whole(d, error=AssertionError)),
    wrong(CF, "accepts all", lambda d: None),
    wrong(CF, "only JSON", lambda d: json.loads(d[8 : 8 + d[0]]) and None),
)
