"""What is inside a safetensors file, as lines of text: its bytes, its tensors, its totals.

The report reads the file the way the chapter on bytes does: eight bytes, then JSON, then tensors,
and marks in a hex view which byte belongs to which. Lines are plain text; colour is added only
when asked for, on top of marks that stand for themselves. Nothing is printed here.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from llama_edu import hub
from llama_edu.errors import ConfigError, InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.safetensors import SafetensorsFile, ShardedCheckpoint, open_checkpoint

__all__ = ["narrower_dtype", "report"]

BYTES_PER_ROW = 16
HEADER_ROWS = 4  # of the JSON, shown from its start
SHOWN_TENSORS = 3  # with their first row of bytes
SCAN_ELEMENTS = 2**20  # looked at in one go

COLOURS = {"L": 33, "J": 36, "a": 32, "b": 35, "c": 34}  # ANSI: yellow, cyan, green, magenta, blue


def report(name_or_path: str, *, colour: bool = False) -> Iterator[str]:
    """The lines that describe a known model, a model directory, or one safetensors file.

    Raises `HubError` for an unknown name and `CheckpointError` for a damaged file.
    """
    path = Path(name_or_path)
    if path.suffix in (".safetensors", ".gguf") and not path.exists():
        raise InputError(f"{path}: expected a file there, got none")
    if path.is_file() and name_or_path not in hub.known_names():
        if path.suffix == ".gguf":
            raise InputError(
                f"expected a safetensors file, got {path}; "
                "turn it into a directory first: python -m llama_edu convert FILE DIRECTORY"
            )
        files = [SafetensorsFile(path)]
    else:
        directory = hub.locate(name_or_path)
        yield from _config_lines(directory)
        checkpoint = open_checkpoint(directory)
        sharded = isinstance(checkpoint, ShardedCheckpoint)
        files = [*checkpoint.shards.values()] if isinstance(checkpoint, ShardedCheckpoint) else []
        files = files if sharded else [SafetensorsFile(directory / "model.safetensors")]
    for file in files:
        yield from _byte_lines(file, colour)
        yield ""
        yield from _tensor_lines(file)
        yield ""
    yield from _total_lines(files)


def narrower_dtype(values: Float32[np.ndarray, "..."]) -> str:
    """The dtype, "BF16" or "F16", that holds each value bit for bit; "" if neither does.

    bfloat16 is the upper half of a float32, so a value fits when its lower 16 bits are zero.
    """
    flat = values.reshape(-1)
    if flat.size == 0:
        return ""
    parts = [flat[i : i + SCAN_ELEMENTS] for i in range(0, flat.size, SCAN_ELEMENTS)]
    if all(not np.any(part.view(np.uint32) & np.uint32(0xFFFF)) for part in parts):
        return "BF16"
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float16: it does not fit
        same = (
            np.array_equal(
                part.astype(np.float16).astype(np.float32).view(np.uint32), part.view(np.uint32)
            )
            for part in parts
        )
        return "F16" if all(same) else ""


def _config_lines(directory: Path) -> Iterator[str]:
    yield f"{directory}"
    try:
        config = LlamaConfig.from_directory(directory)
    except ConfigError as problem:
        yield str(problem) if "config.json" in str(problem) else f"config.json: {problem}"
    else:
        tied = "tied" if config.tie_word_embeddings else "not tied"
        yield (
            f"{config.num_hidden_layers} layers, hidden_size {config.hidden_size}, "
            f"intermediate_size {config.intermediate_size}, "
            f"{config.num_attention_heads} query heads over {config.num_key_value_heads} KV heads "
            f"of head_dim {config.head_dim}"
        )
        yield (
            f"vocabulary of {config.vocab_size:,}, embeddings {tied}, "
            f"context of {config.max_position_embeddings:,} positions"
        )
    yield ""


def _byte_lines(file: SafetensorsFile, colour: bool) -> Iterator[str]:
    """The file's parts, then rows of their first bytes, each row marked with its part."""
    header = file.header
    shown = list(header.tensors.values())[:SHOWN_TENSORS]
    yield f"{file.path.name}: {header.file_nbytes:,} bytes"
    yield f"  L  8 bytes: length of the header, little-endian: {header.header_nbytes:,}"
    yield f"  J  {header.header_nbytes:,} bytes: header, JSON"
    for letter, info in zip("abc", shown, strict=False):
        yield f"  {letter}  {info.nbytes:,} bytes: {info.name}, {info.dtype} {_shape(info.shape)}"
    if len(header.tensors) > len(shown):
        yield f"     {len(header.tensors) - len(shown):,} more tensors"
    yield ""
    end = header.data_start
    spans = [("L", 0, 8), ("J", 8, min(end, 8 + HEADER_ROWS * BYTES_PER_ROW))]
    last = max(spans[-1][2], end - BYTES_PER_ROW)
    spans.append(("J", last, end))
    for letter, info in zip("abc", shown, strict=False):
        start = end + info.start
        spans.append((letter, start, start + min(info.nbytes, BYTES_PER_ROW)))
    with file.path.open("rb") as raw:
        before = 0
        for letter, start, stop in spans:
            if start > before:
                yield f"{'':14}… {start - before:,} bytes"
            raw.seek(start)
            for row in range(start, stop, BYTES_PER_ROW):
                data = raw.read(min(BYTES_PER_ROW, stop - row))
                yield _hex_row(letter, row, data, colour)
            before = max(before, stop)
    if before < header.file_nbytes:
        yield f"{'':14}… {header.file_nbytes - before:,} bytes"


def _hex_row(letter: str, offset: int, data: bytes, colour: bool) -> str:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    body = f"{data.hex(' '):<{3 * BYTES_PER_ROW - 1}}  {text}"
    if colour:
        body = f"\x1b[{COLOURS[letter]}m{body}\x1b[0m"
    return f"{offset:010x}  {letter} {body}".rstrip()


def _tensor_lines(file: SafetensorsFile) -> Iterator[str]:
    """One line per tensor, in the order of the file."""
    rows = [("tensor", "dtype", "shape", "parameters", "bytes", "at byte")]
    rows += [
        (
            info.name,
            info.dtype,
            _shape(info.shape),
            f"{math.prod(info.shape):,}",
            f"{info.nbytes:,}",
            f"{file.header.data_start + info.start:,}",
        )
        for info in file.header.tensors.values()
    ]
    yield from _table(rows, left=3)
    for key, value in file.header.metadata.items():
        yield f"metadata {key!r}: {value!r}"


def _total_lines(files: Sequence[SafetensorsFile]) -> Iterator[str]:
    """Totals per dtype, and whether float32 is wider than its values need."""
    sizes: dict[str, list[int]] = {}
    narrow: dict[str, int] = {}
    for file in files:
        for name, info in file.header.tensors.items():
            total = sizes.setdefault(info.dtype, [0, 0, 0])
            for i, amount in enumerate((1, math.prod(info.shape), info.nbytes)):
                total[i] += amount
            if info.dtype == "F32" and (fits := narrower_dtype(file[name])):
                narrow[fits] = narrow.get(fits, 0) + 1
    everything = [sum(column) for column in zip(*sizes.values(), strict=True)] or [0, 0, 0]
    rows: list[tuple[str, ...]] = [("dtype", "tensors", "parameters", "bytes")]
    for name, total in {**sizes, "total": everything}.items():
        rows.append((name, *(f"{amount:,}" for amount in total)))
    yield from _table(rows, left=1)
    for fits, count in narrow.items():
        yield (
            f"{count} of {sizes['F32'][0]} F32 tensors hold only values that {fits} can hold: "
            f"{fits} would store them exactly in half the bytes"
        )


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(str(size) for size in shape) or "scalar"


def _table(rows: Sequence[Sequence[str]], *, left: int) -> Iterator[str]:
    """Rows in columns; the first `left` of them start on the left, numbers end on the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if i < left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
