"""The compiled backend: NumPy's logits, in every precision, on any number of threads."""

import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import random, tiny_config, tiny_tensors

from llama_edu import Llama, Trace, generate
from llama_edu.errors import ContextError, InputError, NumericsError

numba = pytest.importorskip("numba")

from llama_edu.engine.backends.numba import engine as engine_module  # noqa: E402
from llama_edu.engine.backends.numba.engine import FEW, Engine  # noqa: E402
from llama_edu.engine.backends.numba.layout import describe, format_of  # noqa: E402
from llama_edu.engine.backends.numba.simd import multiplies_integers  # noqa: E402
from llama_edu.engine.backends.numba.threads import barrier  # noqa: E402
from llama_edu.formats.precision import cast  # noqa: E402
from llama_edu.formats.quantize import dequantize, quantize, stored_as  # noqa: E402
from llama_edu.ops.rope import apply_rope, rope_cos_sin  # noqa: E402

PRECISIONS = ("f32", "bf16", "f16", "int8", "int8-row", "f8", "q4", "q4_0")
# The largest difference allowed, as a share of the largest logit. Both sides compute in float32
# and differ in the order of sums; with weights in blocks also in the 16 bits that a vector may be
# rounded to. A key or value on the edge between two 16-bit numbers may then be kept as the one or
# the other: half a unit of the cache's format, a few times over.
TOLERANCE = {"f32": 5e-6, "bf16": 1e-3, "f16": 2e-4, "int8-row": 2e-4, "f8": 5e-4}
TOLERANCE |= dict.fromkeys(("int8", "q4", "q4_0"), 1e-3)
IN_BLOCKS = ("int8", "Q4_0", "Q4_1")
# Widths that fill no vector (16) and no block (32), and widths that fill some and leave a rest.
NARROW = tiny_config(attention_bias=True, mlp_bias=True)
WIDE = tiny_config(
    hidden_size=96, intermediate_size=176, head_dim=40, vocab_size=97, tie_word_embeddings=True
)
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9]


def models(config, precision, threads=2):
    tensors = tiny_tensors(config)
    plain = Llama(config, tensors, precision=precision)
    fast = Llama(config, tensors, precision=precision, backend="numba")
    fast.operators = Engine(threads).operators()
    return plain, fast


def decoded(model, ids, prompt=4):
    """Logits of a prompt and then of one token at a time, from a cache."""
    cache = model.new_cache()
    first = model.forward(ids[:prompt], cache)
    return np.concatenate([first, *(model.forward([i], cache) for i in ids[prompt:])])


def assert_same(got, want, tolerance):
    assert got.dtype == np.float32
    assert got.shape == want.shape
    error = float(np.max(np.abs(got - want)) / np.max(np.abs(want)))
    assert error <= tolerance, f"off by {error:.2e} of the largest logit, > {tolerance:.0e}"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("config", [NARROW, WIDE], ids=["narrow", "wide"])
def test_decode_and_prefill_give_numpys_logits(config, precision):
    plain, fast = models(config, precision)
    want = decoded(plain, IDS)
    assert_same(decoded(fast, IDS), want, TOLERANCE[precision])
    assert_same(fast.forward(IDS), want, TOLERANCE[precision])


def batched(model, texts, steps):
    """Logits (steps, texts, vocab_size) of texts that go on together, each from its own past."""
    caches = [model.new_cache() for _ in texts]
    for text, cache in zip(texts, caches, strict=True):
        model.forward(text, cache)
    rows = [model.forward_batch(new, caches) for new in steps]
    assert [cache.length for cache in caches] == [len(text) + len(steps) for text in texts]
    return np.stack(rows)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("config", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("count", [2, 4, 7])  # a rest of four, none, and both
def test_texts_in_one_step_get_the_logits_each_gets_alone(config, precision, count):
    plain, fast = models(config, precision)
    texts = [IDS[: 1 + 2 * t] for t in range(count)]
    steps = [IDS[:count], IDS[-count:], IDS[3 : 3 + count]]
    together = batched(fast, texts, steps)
    assert_same(together, batched(plain, texts, steps), TOLERANCE[precision])
    for t, text in enumerate(texts):
        alone = decoded(fast, [*text, *(step[t] for step in steps)], prompt=len(text))
        assert_same(together[:, t], alone[-len(steps) :], TOLERANCE[precision])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_any_number_of_threads_computes_a_batch(threads, monkeypatch):
    monkeypatch.setattr("llama_edu.engine.backends.numba.engine.SMALL_NBYTES", 0)
    plain, fast = models(WIDE, "f32", threads)
    texts, steps = [IDS[:5], IDS[:1], IDS[2:9]], [[1, 2, 3], [4, 5, 6]]
    assert_same(batched(fast, texts, steps), batched(plain, texts, steps), TOLERANCE["f32"])


def test_a_batch_with_caches_of_two_formats_is_computed_too():
    plain, fast = models(WIDE, "bf16")
    other = Llama(WIDE, tiny_tensors(WIDE), precision="bf16", cache_dtype="f32")
    caches = [[model.new_cache(), other.new_cache()] for model in (plain, fast)]
    want, got = (m.forward_batch([3, 4], c) for m, c in zip((plain, fast), caches, strict=True))
    assert_same(got, want, TOLERANCE["bf16"])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_any_number_of_threads_computes_the_same(threads, monkeypatch):
    monkeypatch.setattr("llama_edu.engine.backends.numba.engine.SMALL_NBYTES", 0)
    plain, fast = models(WIDE, "f32", threads)
    assert_same(decoded(fast, IDS), decoded(plain, IDS), TOLERANCE["f32"])


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_cache_holds_what_numpys_would(precision):
    plain, fast = models(NARROW, precision)
    caches = plain.new_cache(), fast.new_cache()
    for model, cache in zip((plain, fast), caches, strict=True):
        for i in IDS:
            model.forward([i], cache)
    assert caches[0].dtype == caches[1].dtype
    assert caches[0].length == caches[1].length == len(IDS)
    for layer in range(2):
        for want, got in ((caches[0].keys, caches[1].keys), (caches[0].values, caches[1].values)):
            tolerance = 1e-5 if precision == "f32" else 2e-2
            wide = [a(layer).astype(np.float32) for a in (want, got)]
            np.testing.assert_allclose(wide[1], wide[0], atol=tolerance, rtol=tolerance)


def test_a_trace_sees_every_name_and_the_same_numbers():
    plain, fast = models(NARROW, "f32")
    records = []
    for model in (plain, fast):
        cache = model.new_cache()
        with Trace() as trace:
            model.forward(IDS[:5], cache, trace=trace)
            model.forward([7], cache, trace=trace)
        records.append(list(trace))
    assert [r.name for r in records[0]] == [r.name for r in records[1]]
    for want, got in zip(*records, strict=True):
        np.testing.assert_allclose(got.array, want.array, atol=2e-5, err_msg=want.name)


def test_a_replaced_operator_is_really_called():
    _, fast = models(NARROW, "f32")
    calls = []

    def doubled(gate, up):
        calls.append(len(gate))
        return 2 * gate * up

    before = decoded(fast, IDS)
    fast.operators = fast.operators.replaced(swiglu=doubled)
    assert np.max(np.abs(decoded(fast, IDS) - before)) > 0.1
    assert len(calls) == 2 * (1 + len(IDS) - 4)  # per layer: the prompt, then every token


@pytest.mark.parametrize("kind", ["f32", "bf16", "f16", "int8", "rows", "f8"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 31), (7, 64), (64, 200), (3, 1000)])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("by_blas", [False, True])
def test_linear_in_every_format_equals_float64(kind, shape, rows, by_blas):
    check_linear(kind, shape, rows, by_blas)


# In codes of four bits the columns are whole blocks; rows that fill the kernel's groups and leave
# some over; more rows of the weight than are widened at a time.
@pytest.mark.parametrize("kind", ["bf16", "int8", "rows", "Q4_0", "Q4_1"])
@pytest.mark.parametrize("shape", [(35, 64), (33, 96), (70, 2080)])
@pytest.mark.parametrize("rows", [4, 23, 41])
@pytest.mark.parametrize("by_blas", [False, True])
def test_a_product_of_many_rows_equals_float64(kind, shape, rows, by_blas, monkeypatch):
    monkeypatch.setattr(engine_module, "WIDENED_NBYTES", 16 * 4 * shape[1])
    check_linear(kind, shape, rows, by_blas)


def check_linear(kind, shape, rows, by_blas):
    """A product of the engine's, by its own kernel or by BLAS, against one in float64."""
    rng = np.random.default_rng(sum(shape))
    weight, bias, x = random(rng, *shape), random(rng, shape[0]), random(rng, rows, shape[1])
    stored: Any
    if kind in ("int8", "rows", "f8"):
        stored = quantize(weight, "F8_E4M3" if kind == "f8" else "I8", 32 if kind == "int8" else 0)
        wide = dequantize(stored)
    elif kind.startswith("Q4"):
        stored = stored_as(weight, kind, 32)
        wide = dequantize(stored)
    else:
        stored = cast(weight, kind.upper())
        wide = stored.astype(np.float32)
    want = x.astype(np.float64) @ wide.T.astype(np.float64) + bias
    engine = Engine(2)
    engine.few = 0 if by_blas else rows  # both on any machine
    got = engine.linear(x, stored, bias)
    bound = np.abs(x.astype(np.float64)) @ np.abs(wide.T) * 1e-6 + 1e-6
    if multiplies_integers() and kind in IN_BLOCKS and shape[1] % 32 == 0:
        bound += half_a_step(x) @ np.abs(wide.T)
    assert np.all(np.abs(got - want) <= bound)


def half_a_step(x):
    """How far each number of x may be off, in blocks of 32 whose largest is 32767 steps."""
    largest = np.abs(x).reshape(len(x), -1, 32).max(axis=2)
    return np.repeat(largest, 32, axis=1) / 65534


def in_blocks(kind, rows, columns, seed=0):
    """A weight in blocks, of a format by its name in `IN_BLOCKS`."""
    weight = random(np.random.default_rng(seed), rows, columns)
    return quantize(weight, "I8", 32) if kind == "int8" else stored_as(weight, kind, 32)


@pytest.mark.parametrize("kind", IN_BLOCKS)
@pytest.mark.parametrize("rows", [4, 9, 34])
def test_a_vector_of_whole_steps_is_multiplied_exactly(kind, rows):
    """What 16 bits hold is not rounded, in any of the columns: unlike a vector in eight bits."""
    rng = np.random.default_rng(rows)
    x = rng.integers(-32767, 32768, (3, 96)).astype(np.float32)
    x[:, ::32] = 32767  # so that a step is 1
    stored = in_blocks(kind, rows, 96)
    wide = dequantize(stored).astype(np.float64)
    got = np.concatenate([Engine(2).linear(row[None], stored) for row in x])
    np.testing.assert_allclose(got, x @ wide.T, rtol=0, atol=32767 * 96 * 1e-6)


@pytest.mark.parametrize("kind", IN_BLOCKS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 1, 33, 63])
def test_a_number_that_is_none_is_not_rounded_away(kind, value, column):
    x = np.ones((1, 64), dtype=np.float32)
    x[0, column] = value
    assert not np.isfinite(Engine(1).linear(x, in_blocks(kind, 8, 64))).any()


@pytest.mark.parametrize("kind", IN_BLOCKS)
@pytest.mark.parametrize("size", [0.0, 1e-42, 1e-35, 1e-20, 1e30])
def test_vectors_of_any_size_are_multiplied(kind, size):
    """Also one whose first block has only zeros, and one too small to be divided by."""
    x = np.zeros((1, 64), dtype=np.float32)
    x[0, 32:] = size
    stored = in_blocks(kind, 8, 64)
    want = x.astype(np.float64) @ dequantize(stored).T.astype(np.float64)
    got = Engine(1).linear(x, stored)
    assert np.all(np.abs(got - want) <= 3e-5 * size + 1e-28)


@pytest.mark.parametrize("kind", IN_BLOCKS)
@pytest.mark.parametrize("count", [2, 3, 8])
def test_vectors_that_meet_a_weight_together_get_what_each_gets_alone(kind, count):
    stored, engine = in_blocks(kind, 34, 96), Engine(2)
    engine.few = count  # by the kernel for a few, on any machine
    x = random(np.random.default_rng(count), count, 96)
    alone = np.concatenate([engine.linear(row[None], stored) for row in x])
    np.testing.assert_allclose(engine.linear(x, stored), alone, rtol=0, atol=2e-5)


def test_every_float8_code_is_read_right():
    codes = np.arange(256, dtype=np.uint8)
    codes[(codes & 127) == 127] = 0  # NaN is no weight
    weight = quantize(np.ones((256, 1), dtype=np.float32), "F8_E4M3")
    weight.codes.view(np.uint8)[:, 0] = codes
    weight.scales[:] = 1
    got = Engine(1).linear(np.ones((1, 1), dtype=np.float32), weight)
    np.testing.assert_array_equal(got[0], weight.codes[:, 0].astype(np.float32))


def test_weights_are_read_where_they_lie():
    _, fast = models(NARROW, "bf16")
    keep = []
    described = describe(fast.weights.lm_head, None, keep)
    assert described[0] == fast.weights.lm_head.ctypes.data
    assert format_of(fast.weights.lm_head).name == "bf16"


@pytest.mark.parametrize("kind", ["f32", "bf16", "int8"])
def test_nothing_the_caller_passed_is_written(kind):
    """Kernels are given addresses, which no read-only flag protects: so copies are compared."""
    engine, rng = Engine(2), np.random.default_rng(0)
    x, gain, up = random(rng, 70, 20), random(rng, 20), random(rng, 70, 20)
    weight, bias = random(rng, 33, 20), random(rng, 33)
    q, k, v = random(rng, 2, 3, 5, 8), random(rng, 2, 9, 8), random(rng, 2, 9, 8)
    turn = rope_cos_sin(random(rng, 4), 5, 70)
    heads = random(rng, 6, 70, 8)
    stored = quantize(weight, "I8", 32) if kind == "int8" else cast(weight, kind.upper())
    parts = [stored.codes, stored.scales] if kind == "int8" else [stored]
    passed = [x, gain, up, bias, q, k, v, *turn, heads, *parts]
    before = [array.tobytes() for array in passed]
    engine.rms_norm(x, gain, 1e-5)
    engine.swiglu(x, up)
    for rows in (1, 3):
        engine.linear(x[:rows], stored, bias)
    engine.fused_attention(q, k, v)
    engine.apply_rope(heads, *turn)
    assert [array.tobytes() for array in passed] == before


def arrays_of(value):
    """Every array within a model's weights."""
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from arrays_of(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from arrays_of(item)


@pytest.mark.parametrize("count", [1, 3])
def test_a_step_writes_its_own_rows_of_the_caches_and_nothing_else(count, monkeypatch):
    monkeypatch.setattr("llama_edu.engine.backends.numba.engine.SMALL_NBYTES", 0)
    _, fast = models(WIDE, "bf16", threads=3)
    caches = [fast.new_cache(40) for _ in range(count)]
    for number, cache in enumerate(caches):
        fast.forward(IDS[: 2 + number], cache)
    weights = [array.tobytes() for array in arrays_of(fast.weights)]
    assert len(weights) > 2 * 9  # those of both layers are among them
    storage = [(cache.reserve(1), cache.length) for cache in caches]
    for arrays, past in storage:
        for array in arrays:  # room that was never written may hold, by chance, what will be
            array[:, :, past:] = 77
    before = [[array.copy() for array in arrays] for arrays, _ in storage]
    if count == 1:
        fast.forward([7], caches[0])
    else:
        fast.forward_batch([7] * count, caches)
    for (arrays, past), old in zip(storage, before, strict=True):
        for array, want in zip(arrays, old, strict=True):
            same = (array.view(np.uint16) == want.view(np.uint16)).all(axis=(0, 1, 3))
            assert not same[past]
            assert np.delete(same, past).all()
    assert [array.tobytes() for array in arrays_of(fast.weights)] == weights


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_long_pasts_fit_the_workspace_of_every_thread(threads, monkeypatch):
    """Each thread scores into a place of its own: with pasts this long, one too near is seen."""
    monkeypatch.setattr("llama_edu.engine.backends.numba.engine.SMALL_NBYTES", 0)
    config = tiny_config(
        hidden_size=96, intermediate_size=176, head_dim=40, max_position_embeddings=512
    )
    plain, fast = models(config, "f32", threads)
    rng = np.random.default_rng(threads)
    texts = [rng.integers(0, 31, n).tolist() for n in (230, 3, 200, 117, 251)]
    steps = [rng.integers(0, 31, len(texts)).tolist() for _ in range(2)]
    assert_same(batched(fast, texts, steps), batched(plain, texts, steps), TOLERANCE["f32"])
    assert_same(decoded(fast, texts[0], 226), decoded(plain, texts[0], 226), TOLERANCE["f32"])


def test_attention_looks_at_no_later_position():
    rng = np.random.default_rng(1)
    q, k, v = random(rng, 2, 3, 5, 8), random(rng, 2, 9, 8), random(rng, 2, 9, 8)
    before = Engine(2).fused_attention(q, k, v)
    k[:, 7:], v[:, 7:] = 1e3, 1e3  # positions of the last two queries
    after = Engine(2).fused_attention(q, k, v)
    np.testing.assert_array_equal(after[:, :, :3], before[:, :, :3])
    assert np.max(np.abs(after[:, :, 3:] - before[:, :, 3:])) > 1


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_prompt_that_attends_in_parts_gives_the_same(precision, monkeypatch):
    monkeypatch.setattr("llama_edu.engine.backends.numba.engine.QUERIES", 4)
    plain, fast = models(WIDE, precision)
    assert_same(fast.forward(IDS), plain.forward(IDS), TOLERANCE[precision])
    caches = [model.new_cache() for model in (plain, fast)]
    for model, cache in zip((plain, fast), caches, strict=True):
        model.forward(IDS[:6], cache)
    want, got = (m.forward(IDS[6:], c) for m, c in zip((plain, fast), caches, strict=True))
    assert_same(got, want, TOLERANCE[precision])


@pytest.mark.parametrize("seq", [FEW - 1, FEW, FEW + 7])
@pytest.mark.parametrize("head_dim", [6, 40, 64])
def test_rope_of_many_rows_is_numpys(seq, head_dim):
    rng = np.random.default_rng(seq)
    rows = random(rng, seq, 2 * 3 * head_dim)
    turn = rope_cos_sin(random(rng, head_dim // 2), 5, seq)
    for heads in (
        rows.reshape(seq, 2, 3, head_dim).transpose(1, 2, 0, 3),
        rows.reshape(seq, 6, head_dim).transpose(1, 0, 2),
        np.repeat(rows.reshape(seq, 6, head_dim), 2, axis=-1)[..., ::2].transpose(1, 0, 2),
    ):
        got = Engine(2).apply_rope(heads, *turn)
        assert got.flags.c_contiguous
        assert_same(got, apply_rope(heads, *turn), 1e-6)


def test_large_scores_do_not_overflow():
    rng = np.random.default_rng(2)
    q, k, v = 1e3 * random(rng, 1, 1, 4, 16), 1e3 * random(rng, 1, 4, 16), random(rng, 1, 4, 16)
    assert np.isfinite(Engine(1).fused_attention(q, k, v)).all()


def test_a_full_cache_is_refused_and_stays_as_it_was():
    _, fast = models(NARROW, "f32")
    cache = fast.new_cache(4)
    fast.forward(IDS[:4], cache)
    with pytest.raises(ContextError):
        fast.forward([1], cache)
    assert cache.length == 4


def test_a_pure_precision_is_refused():
    with pytest.raises(InputError, match="numpy"):
        Llama(NARROW, tiny_tensors(NARROW), precision="bf16-pure", backend="numba")


def test_many_callers_at_once_get_their_own_tokens(monkeypatch):
    monkeypatch.setattr("llama_edu.engine.backends.numba.engine.SMALL_NBYTES", 0)
    _, fast = models(WIDE, "f32")
    prompts = [[i + 1, 2 * i + 1, 3] for i in range(4)]
    want = [list(generate(fast, p, max_new_tokens=12, stop_ids=())) for p in prompts]
    got = [None] * len(prompts)

    def work(i):
        got[i] = list(generate(fast, prompts[i], max_new_tokens=12, stop_ids=()))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert got == want


def test_without_numba_the_error_says_what_to_install(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('no numba here')\n", "utf-8")
    code = "from llama_edu.engine.backends import numba; numba.operators()"
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 1
    assert 'pip install "llama_edu[fast]"' in done.stderr


def test_a_key_too_large_for_a_float16_cache_is_refused():
    config = tiny_config()
    tensors = tiny_tensors(config)
    for name in tensors:
        if "k_proj" in name:
            tensors[name] = tensors[name] * np.float32(5e4)
    for backend in ("numpy", "numba"):
        model = Llama(config, tensors, precision="f16", backend=backend)
        caches = [model.new_cache(), model.new_cache()]
        with pytest.raises(NumericsError, match="65504"):
            model.forward([1], caches[0])
        with pytest.raises(NumericsError, match="65504"):
            model.forward_batch([1, 2], caches)
        assert [cache.length for cache in caches] == [0, 0]


SOURCES = Path(__file__).parents[2] / "llama_edu"
GATE = """
import numpy as np
from llama_edu.engine.backends.numba.decode import WORKSPACE, swiglu_features as gate
x, up = np.full(32, 2, np.float32), np.full(32, 3, np.float32)
work = np.zeros(len(WORKSPACE), np.int64)
work[WORKSPACE.index("gate")], work[WORKSPACE.index("up")] = x.ctypes.data, up.ctypes.data
gate(32, work, 1, 0, 1)
print(float(x[0]), sum(gate.stats.cache_hits.values()))
"""


def test_what_is_kept_on_disk_is_forgotten_when_any_kernel_changes(tmp_path):
    tree = tmp_path / "llama_edu"
    shutil.copytree(SOURCES, tree, ignore=shutil.ignore_patterns("__pycache__", "models"))
    env = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    def gated():
        done = subprocess.run(
            [sys.executable, "-c", GATE],
            capture_output=True,
            text=True,
            env=env,
            cwd=tmp_path,
            check=True,
        )
        value, hits = done.stdout.split()
        return float(value), int(hits)

    first = 2 / (1 + np.exp(-2.0)) * 3
    assert gated() == (pytest.approx(first, rel=1e-6), 0)
    assert gated() == (pytest.approx(first, rel=1e-6), 1)
    kernels = tree / "engine" / "backends" / "numba"
    pieces = kernels / "primitives.py"  # not the file of the function that is called
    source = pieces.read_text("utf-8")
    assert source.count("div(g, add(one, exp(mul(g, minus))))") == 1
    pieces.write_text(source.replace("div(g, add(one", "div(g, add(add(one, one)"), "utf-8")
    assert gated() == (pytest.approx(2 / (2 + np.exp(-2.0)) * 3, rel=1e-6), 0)


def test_a_first_use_that_takes_long_is_announced_once(monkeypatch, capfd):
    monkeypatch.setattr("llama_edu.engine.backends.numba.engine.PATIENCE_S", 0.01)
    engine = Engine(1)
    run = engine.team.run

    def slow(*args, **kwargs):
        time.sleep(0.5)  # as compiling does
        run(*args, **kwargs)

    monkeypatch.setattr(engine.team, "run", slow)
    x, gain = np.ones((1, 16), np.float32), np.ones(16, np.float32)
    engine.rms_norm(x, gain, 1e-5)
    assert "compiling kernels" in capfd.readouterr().err
    engine.rms_norm(x, gain, 1e-5)
    assert capfd.readouterr().err == ""


def test_other_threads_run_while_a_kernel_does():
    """A kernel that waits for a second thread would wait for ever if it held Python's lock."""
    counter = np.zeros(1, dtype=np.int64)
    done = []

    def wait():
        barrier(counter.ctypes.data, 2)
        done.append(True)

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert done == [True, True]
