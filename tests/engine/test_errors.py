"""Every kind of bad input, through the package's front door: which error, and that it says enough.

Each row damages one thing in a model that works. The error is of the class a caller would catch,
and its message names what was expected and what came. The modules' own tests go into the details.
"""

import json
import struct

import numpy as np
import pytest
from helpers import TINY, tiny_config, tiny_model, tiny_tensors

from llama_edu import Llama, Sampling, errors, generate
from llama_edu.errors import (
    CheckpointError,
    ConfigError,
    ContextError,
    HubError,
    InputError,
    LlamaEduError,
    NumericsError,
)
from llama_edu.formats.safetensors import save_file

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
NORM = "model.norm.weight"


@pytest.fixture
def directory(tmp_path):
    """A model in the Hugging Face layout that loads and runs."""
    (tmp_path / CONFIG).write_text(json.dumps(TINY | {"model_type": "llama"}), "utf-8")
    save_file(tiny_tensors(tiny_config()), tmp_path / WEIGHTS)
    assert Llama.from_pretrained(tmp_path).forward([1, 2]).shape == (2, TINY["vocab_size"])
    return tmp_path


# Ways to damage a directory


def file(change):
    """Change the bytes of the weights."""

    def damage(directory):
        path = directory / WEIGHTS
        path.write_bytes(change(path.read_bytes()))

    return damage


def header(change):
    """Change the weights' header, as text, and keep its length right."""

    def damaged(data):
        end = 8 + int.from_bytes(data[:8], "little")
        text = change(data[8:end])
        assert text != data[8:end]
        return struct.pack("<Q", len(text)) + text + data[end:]

    return file(damaged)


def entry(**fields):
    """Change fields of one tensor's entry in the header: the 20 gains of the last norm."""

    def changed(text):
        entries = json.loads(text)
        entries[NORM] |= fields
        return json.dumps(entries).encode()

    return header(changed)


def offsets(move_start, move_end, name=NORM):
    """Move where a tensor's bytes start and end, and let its shape follow."""

    def changed(text):
        entries = json.loads(text)
        start, end = entries[name]["data_offsets"]
        start, end = start + move_start, end + move_end
        entries[name] |= {"data_offsets": [start, end], "shape": [(end - start) // 4]}
        return json.dumps(entries).encode()

    return header(changed)


def tensors(**changes):
    """Write the weights anew with some tensors replaced, added, or left out where None."""

    def damage(directory):
        stored = tiny_tensors(tiny_config()) | changes
        save_file({n: t for n, t in stored.items() if t is not None}, directory / WEIGHTS)

    return damage


def config(**fields):
    """Change fields of the config; None drops one."""

    def damage(directory):
        changed = TINY | {"model_type": "llama"} | fields
        text = json.dumps({name: value for name, value in changed.items() if value is not None})
        (directory / CONFIG).write_text(text, "utf-8")

    return damage


def shards(weight_map):
    """Put an index in the place of the weights."""

    def damage(directory):
        (directory / WEIGHTS).rename(directory / "one.safetensors")
        (directory / INDEX).write_text(json.dumps({"weight_map": weight_map}), "utf-8")

    return damage


ZEROS = np.zeros((20, 21), dtype=np.float32)
DATA_NBYTES = sum(tensor.nbytes for tensor in tiny_tensors(tiny_config()).values())
ALL = dict.fromkeys(tiny_tensors(tiny_config()), "one.safetensors")

DAMAGED = {
    # the file
    "no weights": (
        lambda directory: (directory / WEIGHTS).unlink(),
        "expected model.safetensors or model.safetensors.index.json, got neither",
    ),
    "an empty file": (
        file(lambda data: b""),
        "expected a safetensors file, got an empty file",
    ),
    "truncated in the header": (
        file(lambda data: data[:100]),
        "expected a header of 2 to 92 bytes (the file has 100), got a length of 2",
    ),
    "truncated in the data": (
        file(lambda data: data[:-4]),
        " bytes of tensors as the header says, got ",
    ),
    "a header longer than the file": (
        file(lambda data: struct.pack("<Q", len(data) - 7) + data[8:]),
        "), got a length of ",
    ),
    "an absurd header length": (
        file(lambda data: b"\xff" * 8 + data[8:]),
        f"got a length of {2**64 - 1}",
    ),
    # the header
    "not UTF-8": (
        header(lambda text: b'{"\xff' + text[2:]),
        "expected UTF-8 text, got 'utf-8' codec",
    ),
    "not JSON": (
        header(lambda text: text.replace(b":", b"=", 1)),
        "expected JSON, got a ",
    ),
    "not an object": (
        header(lambda text: b"[]"),
        "expected the header to start with '{', got b'['",
    ),
    "a name twice": (
        header(lambda text: text.replace(NORM.encode(), b"lm_head.weight")),
        "expected each name once, got 'lm_head.weight' 2 times",
    ),
    "an unknown dtype": (entry(dtype="F31"), f"'{NORM}': expected a dtype of F64, F32, F16, BF16"),
    "a shape that does not fill its bytes": (
        entry(shape=[21]),
        f"'{NORM}': expected 84 bytes for F32 [21], got 80",
    ),
    "a dtype that does not fill its bytes": (
        entry(dtype="F64"),
        f"'{NORM}': expected 160 bytes for F64 [20], got 80",
    ),
    "sizes that overflow": (
        entry(shape=[2**62, 4, 5]),
        f"'{NORM}': expected a shape of less than 2**63 bytes, got [{2**62}, 4, 5]",
    ),
    "a size past 64 bits": (entry(shape=[2**64]), f"2**63 - 1, got [{2**64}]"),
    "overlap": (offsets(-4, 0), ", overlapping the tensor before"),
    "a hole": (offsets(4, 0), ", leaving a hole"),
    "out of range": (
        offsets(0, 2**40, "lm_head.weight"),
        f"expected {DATA_NBYTES + 2**40} bytes of tensors as the header says, got {DATA_NBYTES}",
    ),
    # the shards
    "a shard outside the directory": (
        shards(ALL | {NORM: "../one.safetensors"}),
        f"'{NORM}': expected the name of a file beside the index, got '../one.safetensors'",
    ),
    "a shard by its absolute path": (
        shards(ALL | {NORM: "/one.safetensors"}),
        "expected the name of a file beside the index, got '/one.safetensors'",
    ),
    "a shard that is not there": (
        shards(ALL | {NORM: "two.safetensors"}),
        "two.safetensors: expected a readable file, got No such file or directory",
    ),
    "a tensor that is not in its shard": (
        shards(ALL | {"x": "one.safetensors"}),
        "expected index and files to agree, got 'x' of 'one.safetensors' in index only",
    ),
    "a tensor that is not in the index": (
        shards({name: shard for name, shard in ALL.items() if name != NORM}),
        f"expected index and files to agree, got '{NORM}' of 'one.safetensors' in file only",
    ),
    # the tensors
    "a missing tensor": (tensors(**{NORM: None}), f"expected 21 tensors, got none named '{NORM}'"),
    "a surplus tensor": (tensors(extra=ZEROS), "expected no tensor named 'extra', got one"),
    "a tensor of the wrong shape": (
        tensors(**{NORM: ZEROS}),
        f"'{NORM}': expected shape (20,) from the config, got (20, 21)",
    ),
    "a config of another shape": (
        config(vocab_size=32),
        "'model.embed_tokens.weight': expected shape (32, 20) from the config, got (31, 20)",
    ),
    "a tensor of whole numbers": (
        tensors(**{NORM: np.ones(20, dtype=np.int8)}),
        f"'{NORM}': expected floating-point weights, got I8",
    ),
    "two tables where one is meant": (
        config(tie_word_embeddings=True),
        "'lm_head.weight' to be equal, since the config ties them, got two different tables",
    ),
    "no head where one is meant": (
        tensors(**{"lm_head.weight": None}),
        "expected 21 tensors, got none named 'lm_head.weight'; the config says",
    ),
}

UNSUITABLE = {
    "no config": (
        lambda directory: (directory / CONFIG).unlink(),
        "expected a config.json, got none",
    ),
    "a config that is not JSON": (
        lambda directory: (directory / CONFIG).write_text("{", "utf-8"),
        "config.json: expected JSON, got a file that breaks off at line 1, column 2",
    ),
    "a missing field": (
        config(hidden_size=None),
        "expected hidden_size to be a whole number of at least 1, got None",
    ),
    "a size of 0": (
        config(num_hidden_layers=0),
        "expected num_hidden_layers to be a whole number of at least 1, got 0",
    ),
    "a contradiction": (
        config(num_key_value_heads=4),
        "expected num_attention_heads to be a multiple of num_key_value_heads, got 6 and 4",
    ),
    "an odd head_dim": (
        config(head_dim=7),
        "expected an even head_dim, since RoPE turns pairs, got 7",
    ),
    "another architecture": (
        config(model_type="mixtral"),
        "expected model_type llama, mistral, qwen2, qwen3, smollm3, got 'mixtral': not supported",
    ),
    "another activation": (config(hidden_act="gelu"), "expected hidden_act 'silu', got 'gelu'"),
    "a sliding window": (
        config(sliding_window=4),
        "expected a sliding_window of the whole context or none, got 4: not supported in a llama",
    ),
    "another RoPE": (
        config(rope_scaling={"rope_type": "longrope", "factor": 2.0}),
        "linear, llama3 or yarn, got 'longrope': not supported",
    ),
}


@pytest.mark.parametrize("what", [*DAMAGED, *UNSUITABLE])
def test_a_bad_directory_is_refused(what, directory):
    damage, message = (DAMAGED | UNSUITABLE)[what]
    damage(directory)
    error = CheckpointError if what in DAMAGED else ConfigError
    with pytest.raises(error) as caught:
        Llama.from_pretrained(directory)
    assert message in str(caught.value)
    assert "expected" in str(caught.value)
    assert "got" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_name_nobody_knows_is_refused():
    with pytest.raises(HubError, match=r"expected .*, got 'no-such-model'"):
        Llama.from_pretrained("no-such-model")


# What a model that works is asked to do. Its context has room for 64 positions.

CALLS = {
    "no tokens": (
        lambda model, cache: model.forward([], cache),
        InputError,
        r"expected a flat list of at least one token id, got shape \(0,\)",
    ),
    "an empty prompt": (
        lambda model, cache: generate(model, [], max_new_tokens=1, cache=cache),
        InputError,
        r"expected a flat list of at least one token id, got shape \(0,\)",
    ),
    "an id past the vocabulary": (
        lambda model, cache: model.forward([3, 31], cache),
        InputError,
        "expected token ids from 0 to 30, got 31",
    ),
    "an id below 0": (
        lambda model, cache: generate(model, [-1], max_new_tokens=1, cache=cache),
        InputError,
        "expected token ids from 0 to 30, got -1",
    ),
    "more tokens than the context": (
        lambda model, cache: model.forward([1] * 65),
        ContextError,
        "expected at most 64 positions, got 65",
    ),
    "more tokens than the cache has left": (
        lambda model, cache: model.forward([1] * 8, cache),
        ContextError,
        r"expected at most 10 positions in this cache, got 3 past \+ 8 new",
    ),
    "more new tokens than the context": (
        lambda model, cache: generate(model, [1, 2], max_new_tokens=63),
        ContextError,
        r"expected at most 64 positions in all, got 0 past \+ 2 prompt \+ 63 new",
    ),
    "more new tokens than the cache has left": (
        lambda model, cache: generate(model, [1, 2], max_new_tokens=6, cache=cache),
        ContextError,
        r"expected at most 10 positions in all, got 3 past \+ 2 prompt \+ 6 new",
    ),
    "a cache larger than the context": (
        lambda model, cache: model.new_cache(65),
        ContextError,
        "expected max_seq from 1 to the context of 64, got 65",
    ),
    "no new tokens": (
        lambda model, cache: generate(model, [1], max_new_tokens=0, cache=cache),
        InputError,
        "expected max_new_tokens of at least 1, got 0",
    ),
    "a temperature below 0": (
        lambda model, cache: Sampling(temperature=-0.5),
        InputError,
        "expected a temperature of at least 0, got -0.5",
    ),
    "a temperature that is no number": (
        lambda model, cache: Sampling(temperature=float("nan")),
        InputError,
        "expected a temperature of at least 0, got nan",
    ),
    "top_k below 0": (
        lambda model, cache: Sampling(top_k=-2),
        InputError,
        "expected top_k as a whole number of at least 0, or -1, got -2",
    ),
    "top_p of 0": (
        lambda model, cache: Sampling(top_p=0.0),
        InputError,
        "expected top_p above 0 and at most 1, got 0.0",
    ),
    "top_p above 1": (
        lambda model, cache: Sampling(top_p=1.5),
        InputError,
        "expected top_p above 0 and at most 1, got 1.5",
    ),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_bad_call_is_refused_at_once_and_nothing_is_lost(what):
    call, error, message = CALLS[what]
    model = tiny_model()
    cache = model.new_cache(10)
    model.forward([4, 5, 6], cache)
    want = model.forward([4, 5, 6, 7])[-1:]
    keys = cache.keys(1).copy()

    weights, model.weights = model.weights, None  # any work would now fail another way
    with pytest.raises(error, match=message):
        call(model, cache)

    model.weights = weights
    assert cache.length == 3
    np.testing.assert_array_equal(cache.keys(1), keys)
    np.testing.assert_allclose(model.forward([7], cache), want, atol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(), Sampling(top_k=3)])
def test_logits_that_broke_are_an_error_and_not_a_token(sampling):
    tensors = tiny_tensors(tiny_config())
    tensors[NORM][0] = np.nan
    model = Llama(tiny_config(), tensors)
    with pytest.raises(NumericsError, match="expected finite logits, got a largest value of nan"):
        next(generate(model, [1, 2], max_new_tokens=3, sampling=sampling, seed=1))


def test_every_error_is_of_one_family_and_of_the_builtin_one_would_expect():
    family = {name: getattr(errors, name) for name in errors.__all__}
    assert all(issubclass(error, LlamaEduError) for error in family.values())
    for error in (CheckpointError, ConfigError, errors.TokenizerError, InputError, ContextError):
        assert issubclass(error, ValueError)
    assert issubclass(ContextError, InputError)
    assert issubclass(NumericsError, ArithmeticError)
    assert issubclass(HubError, RuntimeError)
    assert set(family) == {name for name, value in vars(errors).items() if isinstance(value, type)}
