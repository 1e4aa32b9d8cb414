"""float32 in, float32 all the way: no float64 in a result, in a temporary, or in the source."""

import ast
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from helpers import random, tiny_config, tiny_tensors
from watched import FLOAT32, Watched, watched

import llama_edu
from llama_edu import Llama, Sampling, Trace, generate
from llama_edu.engine.sampling import probabilities
from llama_edu.formats.config import RopeScaling

CONFIG = tiny_config(
    attention_bias=True,
    mlp_bias=True,
    rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 16),
)
IDS = [3, 1, 4, 1, 5]
STORAGES = [np.float32, np.float16, ml_dtypes.bfloat16, np.float64]


def model_stored_as(dtype):
    tensors = tiny_tensors(CONFIG)
    return Llama(CONFIG, {name: array.astype(dtype) for name, array in tensors.items()})


@pytest.mark.parametrize("storage", STORAGES, ids=lambda dtype: np.dtype(dtype).name)
def test_every_recorded_array_is_float32_whatever_the_checkpoint_stores(storage):
    model = model_stored_as(storage)
    cache = model.new_cache()
    with Trace() as t:
        outputs = [model.forward(ids, cache, trace=t) for ids in (IDS, [9], [2, 6])]
        outputs.append(model.forward(IDS, trace=t, last_only=True))
    assert {record.dtype for record in t} == {FLOAT32}
    assert {logits.dtype for logits in outputs} == {FLOAT32}
    assert {cache.keys(i).dtype for i in range(cache.n_layers)} == {FLOAT32}
    assert {cache.values(i).dtype for i in range(cache.n_layers)} == {FLOAT32}


def test_the_watch_sees_a_temporary():
    x = watched(np.ones(3, dtype=np.float32))
    (x * np.float64(2)).astype(np.float32)
    assert np.dtype(np.float64) in Watched.seen


def test_no_step_of_a_forward_pass_is_wider_than_float32():
    tensors = {name: watched(array) for name, array in tiny_tensors(CONFIG).items()}
    model = Llama(CONFIG, tensors)
    cache = model.new_cache()
    for ids in (IDS, [9]):
        assert isinstance(model.forward(ids, cache), Watched)  # the watch was never lost
    assert {dtype for dtype in Watched.seen if dtype.kind == "f"} == {FLOAT32}


@pytest.mark.parametrize("sampling", [Sampling(0.7), Sampling(1.0, 5, 0.8)], ids=str)
def test_no_step_of_sampling_is_wider_than_float32(sampling):
    logits = watched(random(np.random.default_rng(0), 31))
    assert probabilities(logits, sampling).dtype == FLOAT32
    assert {dtype for dtype in Watched.seen if dtype.kind == "f"} == {FLOAT32}


def test_generation_holds_float32_only():
    model = model_stored_as(np.float32)
    cache = model.new_cache()
    list(generate(model, IDS, max_new_tokens=3, sampling=Sampling(), seed=1, cache=cache))
    assert cache.keys(0).dtype == cache.values(1).dtype == FLOAT32


# NumPy makes float64 unless told otherwise; these are the ways to make an array.
# `asarray` is not among them: it is how ids of any integer type come in.
CONSTRUCTORS = {
    *("array", "zeros", "ones", "empty", "full", "arange", "linspace", "logspace", "geomspace"),
    *("eye", "identity", "tri", "frombuffer", "fromiter", "fromfunction", "fromfile"),
}
PACKAGE = Path(llama_edu.__file__).parent
ROOMS = ("formats", "ops", "hub", "text", "engine", "chat", "analysis", "cli")
ENGINE = sorted(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))


def constructor_calls(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of, name = node.func.value, node.func.attr
            if isinstance(of, ast.Name) and of.id == "np" and name in CONSTRUCTORS:
                yield node


def names_a_dtype(call):
    return any(keyword.arg == "dtype" for keyword in call.keywords)


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_array_constructor_names_a_dtype(path):
    calls = list(constructor_calls(path.read_text(encoding="utf-8")))
    silent = [f"line {c.lineno}: {ast.unparse(c)}" for c in calls if not names_a_dtype(c)]
    assert not silent, silent


def test_the_rule_can_fail_and_finds_the_engine():
    silent, named = constructor_calls("np.zeros(3)\nnp.arange(2, dtype=np.float32)")
    assert not names_a_dtype(silent)
    assert names_a_dtype(named)
    found = {
        path.stem for path in ENGINE if any(constructor_calls(path.read_text(encoding="utf-8")))
    }
    assert found >= {"attention", "cache", "rope", "sampling"}
