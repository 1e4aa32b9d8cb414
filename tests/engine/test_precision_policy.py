"""Precisions: what is stored, what is computed, what it costs, and what transformers says."""

import json

import ml_dtypes
import numpy as np
import pytest
from helpers import DATA, operator_goldens, random, tiny_config, tiny_tensors

from llama_edu import Llama, Trace
from llama_edu.engine.backends import pure16 as pure
from llama_edu.engine.backends.select import operators_of
from llama_edu.errors import InputError, NumericsError
from llama_edu.formats.four_bits import FourBits
from llama_edu.formats.precision import DTYPES, PRECISIONS, cast, precision_named
from llama_edu.formats.quantize import Quantized, dequantize, quantize, rows_as_float32

CONFIG = tiny_config(attention_bias=True, mlp_bias=True)
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
# Difference from float32's logits, as a share of the largest: above a bound, something is wrong;
# below a tenth of it, something is not as narrow as it says.
ERROR = {
    "f32": 1e-6,
    "bf16": 2e-2,
    "f16": 2e-3,
    "bf16-pure": 6e-2,
    "f16-pure": 8e-3,
    "int8": 3e-2,
    "int8-row": 3e-2,
    "f8": 2e-1,
}
# Cached against uncached: float32 sums in another order, and what a 16-bit rounding makes of that.
CACHED_GAP = {
    "f32": 1e-6,
    "bf16": 1e-3,
    "f16": 2e-4,
    "bf16-pure": 2e-2,
    "f16-pure": 3e-3,
    "int8": 2e-4,
    "int8-row": 2e-4,
    "f8": 2e-4,
}
# Four bits need rows of whole blocks, which this model has not: see the test of `BLOCKS`.
NAMES = [name for name in PRECISIONS if name in ERROR]
BLOCKS = tiny_config(hidden_size=64, intermediate_size=96, head_dim=16)
FORMATS = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16}


def tiny(precision, **options):
    return Llama(CONFIG, tiny_tensors(CONFIG), precision=precision, **options)


def share(difference, of):
    return float(np.max(np.abs(difference)) / np.max(np.abs(of)))


REFERENCE = tiny("f32").forward(IDS)


@pytest.mark.parametrize("name", PRECISIONS)
def test_sums_are_held_in_what_the_precision_says(name):
    """A running sum of 10,000 ones stops at 256 in bfloat16, and at 2,048 in float16."""
    precision = PRECISIONS[name]
    assert precision.accumulate == "F32"
    compute = DTYPES[precision.compute]
    x, weight = np.ones((1, 10_000), dtype=compute), np.ones((1, 10_000), dtype=compute)
    operators = operators_of("numpy", precision)
    want = float(np.array(10_000, dtype=compute))
    assert float(operators.linear(x, weight)[0, 0]) == want
    values = np.ones((1, 10_000, 1), dtype=compute)
    weights = np.ones((1, 1, 1, 10_000), dtype=compute)
    assert float(operators.score_v(weights, values).item()) == want
    # 300² in float16 would be infinite, let alone the sum of such squares.
    row = np.full((1, 4), 300, dtype=compute)
    normed = operators.rms_norm(row, np.ones(4, dtype=compute), 1e-5)
    np.testing.assert_array_equal(normed.astype(np.float32), 1.0)


def test_float32_is_the_default():
    model = Llama(CONFIG, tiny_tensors(CONFIG))
    assert model.precision == PRECISIONS["f32"]
    np.testing.assert_array_equal(model.forward(IDS), REFERENCE)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_as_far_from_float32_as_the_precision_is_coarse(name):
    logits = tiny(name).forward(IDS)
    assert logits.dtype == np.float32
    error = share(logits - REFERENCE, REFERENCE)
    assert error <= ERROR[name]
    assert name == "f32" or error >= ERROR[name] / 100


@pytest.mark.parametrize("name", NAMES)
def test_cached_equals_uncached(name):
    model = tiny(name)
    cache = model.new_cache()
    parts = [model.forward(IDS[:4], cache), *(model.forward([i], cache) for i in IDS[4:])]
    whole = model.forward(IDS)
    assert share(np.concatenate(parts) - whole, whole) <= CACHED_GAP[name]


@pytest.mark.parametrize("name", NAMES)
def test_everything_has_the_format_the_precision_names(name):
    model = tiny(name)
    precision, compute = model.precision, FORMATS[model.precision.compute]
    weight = model.weights.layers[1].down_proj.weight
    stored = weight.codes if isinstance(weight, Quantized) else weight
    assert stored.dtype == DTYPES[precision.storage]
    assert model.weights.norm.dtype == compute
    assert model.weights.layers[0].q_proj.bias.dtype == compute
    cache = model.new_cache()
    with Trace() as trace:
        model.forward(IDS, cache, trace=trace)
        model.forward([7], cache, trace=trace)
    assert cache.dtype == FORMATS[precision.cache]
    kept = {r.dtype for r in trace if r.name.endswith(("keys", "values"))}
    assert kept == {cache.dtype}
    others = {r.dtype for r in trace if not r.name.endswith(("keys", "values"))}
    assert others == {np.dtype(compute)}


@pytest.mark.parametrize("name", ["q4", "q4_0"])
def test_four_bits_are_for_the_layers_and_eight_for_the_head(name):
    tensors = tiny_tensors(BLOCKS)
    model = Llama(BLOCKS, tensors, precision=name)
    assert {name, *NAMES, "q4", "q4_0"} == {*PRECISIONS}
    want = Llama(BLOCKS, tensors).forward(IDS)
    logits = model.forward(IDS)
    assert 2e-3 < share(logits - want, want) < 0.4
    for part in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        weight = getattr(model.weights.layers[1], part).weight
        assert isinstance(weight, FourBits)
        assert weight.storage == model.precision.storage
    for end in (model.weights.lm_head, model.weights.embed_tokens):
        assert isinstance(end, Quantized)
        assert end.codes.dtype == np.int8
        assert end.block == 32
    cache = model.new_cache()
    parts = [model.forward(IDS[:4], cache), *(model.forward([i], cache) for i in IDS[4:])]
    assert cache.dtype == np.float16
    assert share(np.concatenate(parts) - logits, logits) <= 2e-4
    other = Llama(BLOCKS, tensors, precision="int8")
    assert model.weights.nbytes < 0.8 * other.weights.nbytes
    assert len({m.weights.sha256() for m in (model, other)}) == 2


def test_bytes_are_counted():
    matrices = sum(np.prod(a.shape) for a in tiny_tensors(CONFIG).values() if a.ndim == 2)
    vectors = sum(a.size for a in tiny_tensors(CONFIG).values() if a.ndim == 1)
    for name, per_weight in (("f32", 4), ("bf16", 2), ("f16", 2)):
        assert tiny(name).weights.nbytes == per_weight * matrices + 4 * vectors
    assert tiny("bf16-pure").weights.nbytes == 2 * (matrices + vectors)
    assert matrices < tiny("int8").weights.nbytes - 4 * vectors < 1.2 * matrices


def test_a_tied_table_counts_once():
    config = tiny_config(tie_word_embeddings=True)
    model = Llama(config, tiny_tensors(config))
    assert model.weights.nbytes == sum(a.nbytes for a in tiny_tensors(config).values())


@pytest.mark.parametrize("storage", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("name", NAMES)
def test_any_storage_loads_into_any_precision(storage, name):
    tensors = {k: a.astype(DTYPES[storage]) for k, a in tiny_tensors(CONFIG).items()}
    logits = Llama(CONFIG, tensors, precision=name).forward(IDS)
    assert share(logits - REFERENCE, REFERENCE) <= ERROR[name] + 3e-2


def test_what_is_stored_as_wanted_is_not_copied():
    tensors = {k: a.astype(ml_dtypes.bfloat16) for k, a in tiny_tensors(CONFIG).items()}
    weights = Llama(CONFIG, tensors, precision="bf16").weights
    assert np.shares_memory(weights.lm_head, tensors["lm_head.weight"])


def test_the_cache_is_chosen_on_its_own():
    model = tiny("f32", cache_dtype="bf16")
    cache = model.new_cache()
    logits = model.forward(IDS, cache)
    assert cache.dtype == ml_dtypes.bfloat16
    assert 1e-5 < share(logits - REFERENCE, REFERENCE) < 2e-2
    np.testing.assert_array_equal(model.forward(IDS), logits)  # the same without a cache
    wide = tiny("bf16", cache_dtype="f32")
    wide.forward(IDS, cache := wide.new_cache())
    assert cache.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "expected a precision of f32, bf16"),
        ({"precision": "f32", "cache_dtype": "int8"}, "expected a cache of f32"),
        ({"precision": "bf16-pure", "cache_dtype": "f32"}, "expected a BF16 cache"),
        ({"precision": "f32", "backend": "cuda"}, "expected a backend of numpy"),
    ],
)
def test_unknown_names_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        tiny(**options)


def test_a_weight_beyond_float16_is_refused_by_name():
    tensors = tiny_tensors(CONFIG)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = 1e5
    with pytest.raises(NumericsError, match=r"layers\.1\.mlp\.up_proj.*65504"):
        Llama(CONFIG, tensors, precision="f16")
    Llama(CONFIG, tensors, precision="bf16")  # bfloat16 reaches as far as float32


# --- against transformers, which ran the whole model in 16 bits -----------------------------------

CASES = ("gqa-wide-bf16", "mha-linear-bf16", "mqa-llama3-bf16", "gqa-llama3-f32")
# The module of transformers → our name. Bit for bit, but where a sum's order tips a rounding.
MODULES = {
    "rms_norm.out": "layers.0.input_layernorm",
    "q_proj.out": "layers.0.self_attn.q_proj",
    "o_proj.in": "layers.0.self_attn.merged",
    "o_proj.out": "layers.0.self_attn.o_proj",
    "down_proj.in": "layers.0.mlp.gated",
    "down_proj.out": "layers.0.mlp.down_proj",
    "layer.out": "layers.0.mlp_residual",
}
EPSILON = {"bf16": 2.0**-8, "f16": 2.0**-11}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_pure_operators_round_where_transformers_rounds(dtype, case):
    with np.load(DATA / "precision" / f"{dtype}.npz") as file:
        golden = {k.removeprefix(f"{case}/"): file[k] for k in file if k.startswith(f"{case}/")}
    model = Llama.from_pretrained(DATA / "tiny" / case, f"{dtype}-pure")
    with Trace() as trace:
        logits = model.forward(golden["ids"], trace=trace)
    for module, name in MODULES.items():
        got, want = trace[name].array.astype(np.float32), golden[module]
        assert share(got - want, want) <= 2 * EPSILON[dtype], module
        different = np.mean(got != want)
        assert different <= 0.1, f"{module}: {different:.0%} of the numbers differ"
    assert share(logits - golden["logits"], golden["logits"]) <= 4 * EPSILON[dtype]


def test_rms_norm_rounds_before_the_gain_as_transformers_does():
    """Where the cast stands shows: rounding once, at the end, gives other numbers."""
    with np.load(DATA / "precision" / "bf16.npz") as file:
        x, want = file["gqa-wide-bf16/rms_norm.in"], file["gqa-wide-bf16/rms_norm.out"]
    model = Llama.from_pretrained(DATA / "tiny" / "gqa-wide-bf16", "bf16-pure")
    gain, eps = model.weights.layers[0].input_layernorm, model.config.rms_norm_eps
    x = x.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(pure.rms_norm(x, gain, eps).astype(np.float32), want)
    wide = x.astype(np.float32)
    normed = wide / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + eps)
    once = (gain.astype(np.float32) * normed).astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.mean(once != want) > 0.05


def test_the_goldens_say_who_made_them():
    assert set(json.loads((DATA / "precision" / "made_with.json").read_text("utf-8"))) == {
        "torch",
        "transformers",
    }


# --- 8 bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 100])
@pytest.mark.parametrize(("storage", "block"), [("I8", 32), ("I8", 0), ("F8_E4M3", 0)])
def test_quantising_costs_at_most_half_a_step(columns, storage, block):
    weight = random(np.random.default_rng(columns), 5, columns)
    stored = quantize(weight, storage, block)
    assert stored.codes.dtype == DTYPES[storage]
    assert stored.scales.dtype == (np.float16 if block else np.float32)
    assert stored.shape == weight.shape
    scale = np.repeat(stored.scales.astype(np.float32), stored.block, axis=1)[:, :columns]
    # A step of int8 is its scale; a float8 keeps 4 significant bits, and below that is fixed.
    if storage == "I8":
        bound = 0.51 * scale
    else:
        bound = np.maximum(np.abs(weight) * 2.0**-4, scale * 2.0**-10)
    # Rounding the scale itself may cut the largest code by half a thousandth.
    assert np.all(np.abs(dequantize(stored) - weight) <= bound + 127 * scale * 2.0**-11)


def test_whole_numbers_up_to_127_survive_int8():
    weight = np.arange(-127, 128, dtype=np.float32)[None]
    np.testing.assert_array_equal(dequantize(quantize(weight, "I8")), weight)


def test_a_block_of_zeros_stays_zero():
    weight = np.zeros((2, 64), dtype=np.float32)
    weight[0, 40] = 3.0
    np.testing.assert_allclose(dequantize(quantize(weight, "I8", 32)), weight, rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e10])
def test_what_no_scale_can_hold_is_refused(bad):
    weight = np.ones((2, 40), dtype=np.float32)
    weight[1, 3] = bad
    with pytest.raises(NumericsError):
        quantize(weight, "I8", 32)


def test_rows_of_a_stored_table_widen_alone():
    weight = random(np.random.default_rng(0), 9, 50)
    ids = np.array([4, 0, 4], dtype=np.int64)
    for stored in (weight, cast(weight, "BF16"), quantize(weight, "I8", 32)):
        wide = dequantize(stored) if isinstance(stored, Quantized) else stored.astype(np.float32)
        np.testing.assert_array_equal(rows_as_float32(stored, ids), wide[ids])


def test_pure_linear_equals_pytorch_rounded():
    golden = operator_goldens("linear")
    narrow = [golden[name].astype(ml_dtypes.bfloat16) for name in ("x", "weight", "bias")]
    got = pure.linear(*narrow)
    x, weight, bias = (a.astype(np.float64) for a in narrow)
    want = (x @ weight.T + bias).astype(ml_dtypes.bfloat16)
    assert got.dtype == ml_dtypes.bfloat16
    assert np.mean(got != want) <= 0.05


def test_precision_named_gives_the_listed_ones():
    for name, precision in PRECISIONS.items():
        assert precision_named(name) is precision


@pytest.mark.parametrize("stored", [np.float32, ml_dtypes.bfloat16, np.float16])
@pytest.mark.parametrize("precision", ["bf16", "f16", "int8"])
def test_every_operator_that_reads_storage_widens_it(precision, stored):
    """What a mixed precision keeps narrow is computed with as float32, operator by operator."""
    ops, exact = (operators_of("numpy", precision_named(name)) for name in (precision, "f32"))
    rng = np.random.default_rng(5)
    x, weight = random(rng, 4, 6), random(rng, 5, 6).astype(stored)
    q, k = random(rng, 2, 3, 4, 6), random(rng, 2, 7, 6).astype(stored)
    weights, v = random(rng, 2, 3, 4, 7), random(rng, 2, 7, 5).astype(stored)
    pairs = [
        (ops.linear(x, weight), exact.linear(x, weight.astype(np.float32))),
        (ops.qk_scores(q, k), exact.qk_scores(q, k.astype(np.float32))),
        (ops.score_v(weights, v), exact.score_v(weights, v.astype(np.float32))),
    ]
    for got, want in pairs:
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    used = [f.__module__ for f in (ops.linear, ops.qk_scores, ops.score_v)]
    assert set(used) == {"llama_edu.engine.backends.mixed"}
