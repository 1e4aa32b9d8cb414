"""Fuzz the checkpoint reader: every damaged file ends well or in `CheckpointError`, and soon.

    python -m tools.fuzz.checkpoint --count 100000 --seed 0
    python -m tools.fuzz.checkpoint --atheris --seconds 300     (needs `pip install atheris`)

Each file is read from memory and from disk. Both must agree; what is accepted must add up, tensor
by tensor; CPU time and memory are bounded by the file's size; a message stays short. `safetensors`
reads each file too: where the two disagree, `STRICTER` or `LOOSER` must say why.

Run by hand. `tests/formats/test_fuzz_checkpoint.py` runs a small, fixed share of the same checks.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import tracemalloc
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors

from llama_edu.errors import CheckpointError
from llama_edu.formats import safetensors as checkpoint
from llama_edu.formats import strict_json
from llama_edu.formats.precision import DTYPES
from llama_edu.formats.safetensors import SafetensorsFile, ShardedCheckpoint, read_header
from tools.fuzz.mutations import (
    mutate,
    mutate_index,
    pack,
    split,
    valid_files,
    valid_index,
)

MESSAGE_NCHARS = 600
SECONDS, SECONDS_PER_BYTE = 0.1, 2e-6
MEMORY, MEMORY_PER_BYTE = 200_000, 64  # Python's smallest dict takes 64 bytes, "{}," takes three
MEMORY_EVERY = 16  # files; tracing memory is slow

# What we refuse and `safetensors` 0.8 accepts: what our message says → why we refuse it.
STRICTER = {
    "expected the header to start with": "the format says it begins with {",
    "expected each name once": "the format disallows duplicate keys; one of the two is lost",
    "expected dtype, shape and data_offsets": "a list for an object",
    "expected a printable tensor name": "a name that cannot be seen, or that moves the cursor",
    "sizes from 0 to 2": "more axes than NumPy has",
    "expected a shape of less than": "an empty array NumPy cannot hold",
    r"expected a dtype of .*, got 'F(4|6)": "sub-byte floats, which NumPy cannot view",
}
# What we accept and `safetensors` refuses: what is in the header → why we accept it.
LOOSER = {
    rb"[\[:,\s]-0[\s,\]]": "-0 is a JSON integer, and equal to 0",
}


class FaultError(Exception):
    """The reader did what it must not."""


def examine(file: bytes, path: Path) -> str:
    """Read one file both ways and with `safetensors`; our message, "" if it was accepted."""
    path.write_bytes(file)
    message = _message(lambda: read_header(file))
    from_disk = _message(lambda: examine_accepted(file, SafetensorsFile(path)))
    if (message == "") != (from_disk == ""):
        raise FaultError(f"in memory {message!r}, from disk {from_disk!r}")
    _compare_with_oracle(file, message)
    return message


def examine_index(text: bytes, directory: Path) -> str:
    """Open a shard index beside the shards `write_shards` wrote; our message, "" if accepted."""
    index = directory / "model.safetensors.index.json"
    index.write_bytes(text)

    def read() -> None:
        for name, array in ShardedCheckpoint(index).items():
            if (name, array.tobytes()) not in ((n, n.encode() * 4) for n in "abc"):
                raise FaultError(f"{name!r} holds {array.tobytes()!r}")

    return _message(read)


def write_shards(directory: Path) -> None:
    """The two files that `valid_index` lists. Each tensor is four times the letter of its name."""
    for shard, names in {"one": "ab", "two": "c"}.items():
        tensors = {name: np.frombuffer(name.encode() * 4, dtype=np.uint8) for name in names}
        checkpoint.save_file(tensors, directory / shard)


def within_bounds(nbytes: int, read: Callable[[], str], trace_memory: bool) -> str:
    """Run `read` and hold it to the bounds for an input of `nbytes`."""
    if trace_memory:
        message, peak = _traced(read)
        if peak > MEMORY + MEMORY_PER_BYTE * nbytes:
            raise FaultError(f"a peak of {peak} bytes for {nbytes} bytes")
        return message
    for _ in range(3):  # a machine short of memory may slow down one of them, not all
        start = time.process_time()  # not the clock on the wall: other programs run too
        message = read()
        seconds = time.process_time() - start
        if seconds <= SECONDS + SECONDS_PER_BYTE * nbytes:
            return message
    raise FaultError(f"{seconds:.2f} s for {nbytes} bytes")


def _traced(read: Callable[[], str]) -> tuple[str, int]:
    tracemalloc.start()
    try:
        return read(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def damaged(start: bytes, change: Callable[[bytes, Random], bytes], rng: Random) -> bytes:
    """`start` after one to four changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = change(start, rng)
    return start


def _message(read: Callable[[], Any]) -> str:
    try:
        read()
    except CheckpointError as problem:
        message = str(problem)
        if not 0 < len(message) <= MESSAGE_NCHARS:
            raise FaultError(
                f"a message of {len(message)} characters: {message[:200]}"
            ) from problem
        return message
    return ""


def examine_accepted(file: bytes, opened: SafetensorsFile) -> None:
    """An accepted file's tensors are its bytes, all of them, each once."""
    _, data = split(file)
    ends = 0
    for name, array in opened.items():
        info = opened.header.tensors[name]
        if info.start != ends or array.nbytes != info.nbytes:
            raise FaultError(f"{info} after byte {ends}, with {array.nbytes} bytes")
        ends = info.end
        if (array.shape, array.dtype) != (info.shape, DTYPES[info.dtype]) or array.flags.writeable:
            raise FaultError(f"{info} came as {array.dtype} {array.shape}, {array.flags}")
        if array.tobytes() != data[info.start : info.end]:
            raise FaultError(f"{info} holds other bytes")
    if ends != len(data):
        raise FaultError(f"{len(data)} bytes of tensors, {ends} used")


def _compare_with_oracle(file: bytes, message: str) -> None:
    try:
        safetensors.deserialize(file)
    except safetensors.SafetensorError as problem:
        if not message and not any(re.search(p, split(file)[0]) for p in LOOSER):
            raise FaultError(f"accepted, but safetensors says: {problem}") from problem
    else:
        if message and not any(re.search(p, message) for p in STRICTER):
            raise FaultError(f"safetensors accepts this, we say: {message}")


def run(count: int, seed: int, directory: Path) -> Counter[str]:
    """Examine `count` damaged files and indexes; how each ended, by the gist of the message."""
    write_shards(directory)
    path, starts, ends = directory / "damaged", valid_files(), Counter[str]()
    for number in range(count):
        rng = Random(f"{seed}/{number}")  # so that one number is enough to see a fault again
        if number % 10:
            damage = damaged(rng.choice(starts), mutate, rng)
            read = lambda: examine(damage, path)  # noqa: B023, E731
        else:
            damage = damaged(valid_index(), mutate_index, rng)
            read = lambda: examine_index(damage, directory)  # noqa: B023, E731
        try:
            message = within_bounds(len(damage), read, number % MEMORY_EVERY == 0)
        except Exception as problem:
            print(f"file {number} of seed {seed}: {damage[:300]!r}", file=sys.stderr)
            raise FaultError(f"file {number} of seed {seed}") from problem
        ends[_gist(message)] += 1
    return ends


def _gist(message: str) -> str:
    """What was expected, without names and numbers: one line per way to fail."""
    if not message:
        return "accepted"
    expected = message[message.index("expected") :].split(", got")[0]
    return re.sub(r"'.*?'|\".*?\"|\d+", "…", expected.split(" for ")[0])[:60]


def run_atheris(seconds: int, directory: Path) -> None:
    """Let atheris look for inputs that reach new lines, starting from the valid files."""
    import atheris

    for module in (checkpoint, strict_json):
        for function in [f for f in vars(module).values() if isinstance(f, types.FunctionType)]:
            if function.__module__ == module.__name__:
                atheris.instrument_func(function)
    corpus, path = directory / "corpus", directory / "damaged"
    corpus.mkdir()
    for number, file in enumerate(valid_files()):
        (corpus / str(number)).write_bytes(file)

    def mutator(file: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < 0.3:  # its own mutations, with a length that fits again
            text, data = split(file)
            file = pack(atheris.Mutate(text, max(8, len(text) + 16)), data)
        return mutate(file, rng)[:max_size]

    def read(file: bytes) -> None:
        within_bounds(len(file), lambda: examine(file, path), trace_memory=False)

    # Its own time limit goes by the clock on the wall; `within_bounds` is the one that counts.
    options = [
        f"-max_total_time={seconds}",
        "-max_len=65536",
        "-timeout=600",
        "-print_final_stats=1",
        f"-artifact_prefix={tempfile.gettempdir()}/fault-",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], read, custom_mutator=mutator)
    atheris.Fuzz()


def main() -> None:
    """Parse the command line and run; a fault ends the run with a traceback."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="files to damage and read")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same files")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage instead")
    parser.add_argument("--seconds", type=int, default=300, help="how long --atheris runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.atheris:
            run_atheris(options.seconds, Path(folder))
            return
        start = time.perf_counter()
        ends = run(options.count, options.seed, Path(folder))
        seconds = time.perf_counter() - start
    for gist, count in ends.most_common():
        print(f"{count:8}  {gist}")
    print(f"{options.count} files in {seconds:.0f} s ({options.count / seconds:.0f}/s), no fault")
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"at most {peak} MB resident")


if __name__ == "__main__":
    main()
