"""Damaged checkpoints end well or in `CheckpointError`, soon, and as `safetensors` would have it.

A small, fixed share of what `tools/fuzz/checkpoint.py` does by the hundred thousand.
"""

import time
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.errors import CheckpointError
from llama_edu.formats.safetensors import SafetensorsFile
from tools.fuzz import checkpoint as fuzz
from tools.fuzz import mutations

# Run-time type checks cost time of their own; the tool runs without them, and is stricter.
SLACK = 200_000  # bytes

seeds = st.integers(0, 2**64 - 1)
starts = mutations.valid_files()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fuzz")
    fuzz.write_shards(directory)
    return directory


@settings(max_examples=600)
@given(seed=seeds, start=st.sampled_from(starts))
def test_damaged_files(directory, seed, start):
    file = fuzz.damaged(start, mutations.mutate, Random(seed))
    path = directory / "damaged"
    fuzz.within_bounds(len(file) + SLACK, lambda: fuzz.examine(file, path), trace_memory=False)


@settings(max_examples=150)
@given(seed=seeds)
def test_damaged_indexes(directory, seed):
    text = fuzz.damaged(mutations.valid_index(), mutations.mutate_index, Random(seed))
    fuzz.within_bounds(
        len(text) + SLACK, lambda: fuzz.examine_index(text, directory), trace_memory=False
    )


# A fuzzer that cannot fail proves nothing: each of its checks meets a reader that breaks it.


def test_what_is_undamaged_passes(directory):
    for start in starts:
        assert fuzz.examine(start, directory / "damaged") == ""
    assert fuzz.examine_index(mutations.valid_index(), directory) == ""


def refuse(message):
    def read(source):
        raise CheckpointError(message)

    return read


@pytest.mark.parametrize(
    ("reader", "fault"),
    [
        (refuse("expected something else, got this"), "in memory '.*', from disk ''"),
        (refuse("x" * 10_000), "a message of 10000 characters"),
        (refuse(""), "a message of 0 characters"),
    ],
)
def test_a_refusal_that_is_wrong_is_a_fault(reader, fault, directory, monkeypatch):
    monkeypatch.setattr(fuzz, "read_header", reader)
    with pytest.raises(fuzz.FaultError, match=fault):
        fuzz.examine(starts[1], directory / "damaged")


def test_refusing_what_safetensors_accepts_needs_a_reason(directory, monkeypatch):
    for name in ("read_header", "SafetensorsFile"):
        monkeypatch.setattr(fuzz, name, refuse("expected better, got this"))
    with pytest.raises(fuzz.FaultError, match="safetensors accepts this, we say: expected better"):
        fuzz.examine(starts[1], directory / "damaged")
    for name in ("read_header", "SafetensorsFile"):
        monkeypatch.setattr(fuzz, name, refuse("expected each name once, got 'a' 2 times"))
    assert fuzz.examine(starts[1], directory / "damaged").startswith("expected each name once")


def test_accepting_what_safetensors_refuses_needs_a_reason(directory, monkeypatch):
    for name in ("read_header", "SafetensorsFile"):
        monkeypatch.setattr(fuzz, name, lambda source: None)
    monkeypatch.setattr(fuzz, "examine_accepted", lambda file, opened: None)
    with pytest.raises(fuzz.FaultError, match="accepted, but safetensors says: "):
        fuzz.examine(starts[1][:-1], directory / "damaged")


def test_another_error_is_not_taken_for_a_refusal(directory, monkeypatch):
    monkeypatch.setattr(fuzz, "read_header", lambda source: [][0])
    with pytest.raises(IndexError):
        fuzz.examine(starts[1], directory / "damaged")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"dtype": "I32"}, "came as float32"),
        ({"shape": (4, 3)}, "came as float32"),
        ({"start": 4}, "after byte 0"),
        ({"end": 44}, "with 48 bytes"),
    ],
)
def test_an_array_that_is_not_what_the_header_says_is_a_fault(changes, fault, directory):
    path = directory / "damaged"
    path.write_bytes(starts[1])
    opened = SafetensorsFile(path)
    array = opened["a"]
    info = replace(opened.header.tensors["a"], **changes)

    class Lying(dict):
        header = replace(opened.header, tensors={"a": info})

    with pytest.raises(fuzz.FaultError, match=fault):
        fuzz.examine_accepted(starts[1], Lying(a=array))


def test_other_bytes_or_left_over_bytes_are_a_fault(directory):
    path = directory / "damaged"
    path.write_bytes(starts[1])
    opened = SafetensorsFile(path)
    with pytest.raises(fuzz.FaultError, match="holds other bytes"):
        fuzz.examine_accepted(starts[1][:-1] + b"\1", opened)
    with pytest.raises(fuzz.FaultError, match="49 bytes of tensors, 48 used"):
        fuzz.examine_accepted(starts[1] + b"\0", opened)


def test_the_wrong_shard_is_a_fault(directory, monkeypatch):
    monkeypatch.setattr(fuzz, "ShardedCheckpoint", lambda index: {"a": memoryview(b"bbbb")})
    with pytest.raises(fuzz.FaultError, match="'a' holds"):
        fuzz.examine_index(mutations.valid_index(), directory)


def test_taking_long_or_much_is_a_fault():
    def slow():
        end = time.process_time() + 0.15
        while time.process_time() < end:
            pass
        return ""

    def large():
        return str(len(bytes(1_000_000)))

    with pytest.raises(fuzz.FaultError, match=r"0\.\d\d s for 10 bytes"):
        fuzz.within_bounds(10, slow, trace_memory=False)
    assert fuzz.within_bounds(100_000, slow, trace_memory=False) == ""
    with pytest.raises(fuzz.FaultError, match=r"a peak of 1\d{6} bytes for 10 bytes"):
        fuzz.within_bounds(10, large, trace_memory=True)
    assert fuzz.within_bounds(100_000, large, trace_memory=True) == "1000000"
