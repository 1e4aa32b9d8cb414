"""The precision budget: errors against float64, argmax flips, bytes, perplexity."""

import ml_dtypes
import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors

from llama_edu import Llama
from llama_edu.analysis import precision_cost
from llama_edu.analysis.precision_cost import OPERATORS, operator_errors, perplexity, qualities
from llama_edu.errors import InputError
from llama_edu.formats.precision import PRECISIONS
from llama_edu.formats.quantize import stored_as

CONFIG = tiny_config(attention_bias=True, mlp_bias=True)
TENSORS = tiny_tensors(CONFIG)
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
ROUNDING = {"F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}  # half a step, as a share


@pytest.fixture(scope="module")
def errors():
    found = operator_errors(Llama(CONFIG, TENSORS), IDS, PRECISIONS)
    return {(e.operator, e.precision): e for e in found}


def test_every_operator_is_measured_in_every_precision(errors):
    assert set(errors) == {(o, p) for o in OPERATORS for p in PRECISIONS}
    assert all(0 < e.mean <= e.largest < 1 for e in errors.values())


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_errs_about_as_much_as_its_narrowest_format_rounds(errors, operator):
    for name, precision in PRECISIONS.items():
        if precision.is_quantized and operator == "linear":
            continue  # its step depends on the scale
        formats = [precision.compute]
        if operator == "linear":
            formats.append(precision.storage)
        if operator in ("qk_scores", "score_v"):
            formats.append(precision.cache)
        coarsest = max(ROUNDING[form] for form in formats)
        assert coarsest / 20 < errors[operator, name].largest < 40 * coarsest


def test_narrower_weights_err_more(errors):
    linear = [errors["linear", name].mean for name in ("f32", "f16", "bf16", "int8", "f8")]
    assert linear == sorted(linear)
    assert errors["linear", "int8"].mean <= errors["linear", "int8-row"].mean


def test_the_error_of_one_operator_by_hand(errors):
    model = Llama(CONFIG, TENSORS)
    x = model.weights.embed_tokens[IDS]
    # The first call of rms_norm in bf16-pure, done with plain NumPy.
    wide = x.astype(ml_dtypes.bfloat16).astype(np.float64)
    normed = wide / np.sqrt((wide * wide).mean(-1, keepdims=True) + CONFIG.rms_norm_eps)
    gain = model.weights.layers[0].input_layernorm.astype(ml_dtypes.bfloat16)
    got = normed.astype(ml_dtypes.bfloat16) * gain
    exact = x.astype(np.float64)
    exact = exact / np.sqrt((exact * exact).mean(-1, keepdims=True) + CONFIG.rms_norm_eps)
    exact *= model.weights.layers[0].input_layernorm
    gap = np.abs(got.astype(np.float64) - exact).max() / np.abs(exact).max()
    assert 0 < gap <= errors["rms_norm", "bf16-pure"].largest


def test_measuring_leaves_the_model_as_it_was():
    model = Llama(CONFIG, TENSORS)
    operators, before = model.operators, model.forward(IDS)
    operator_errors(model, IDS, ["bf16"])
    assert model.operators is operators
    np.testing.assert_array_equal(model.forward(IDS), before)


def test_only_a_float32_model_is_the_measure():
    with pytest.raises(InputError, match="expected a model in precision 'f32', got 'bf16'"):
        operator_errors(Llama(CONFIG, TENSORS, precision="bf16"), IDS, ["f16"])


def test_qualities_of_whole_models():
    found = {q.precision: q for q in qualities(CONFIG, TENSORS, IDS, PRECISIONS)}
    exact = Llama(CONFIG, TENSORS).forward(IDS)
    assert (found["f32"].gap, found["f32"].flips) == (0, 0)
    for name, quality in found.items():
        model = Llama(CONFIG, TENSORS, precision=name)
        logits = model.forward(IDS, cache := model.new_cache())
        assert quality.weight_nbytes == model.weights.nbytes
        assert quality.cache_nbytes * len(IDS) == cache.nbytes
        assert quality.gap == np.abs(logits - exact).max()
        assert quality.flips == (logits.argmax(-1) != exact.argmax(-1)).sum()
        assert quality.positions == len(IDS)
        assert quality.perplexity == perplexity(logits, IDS)
    assert found["f8"].gap > found["int8"].gap > found["f16"].gap > 0


def test_perplexity_of_an_even_guess_is_the_number_of_choices():
    logits = np.zeros((4, 7), dtype=np.float32)
    assert perplexity(logits, [6, 0, 2, 2]) == pytest.approx(7)


def test_perplexity_by_hand():
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.6, 0.3], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)
    # Row 0 gives token 1 a quarter, row 1 gives token 2 three tenths, row 2 is not asked.
    got = perplexity(np.log(p) + np.float32(100), [0, 1, 2])
    assert got == pytest.approx((0.25 * 0.3) ** -0.5, rel=1e-5)


@pytest.mark.parametrize(("rows", "ids"), [(1, [1]), (3, [1, 2]), (0, [])])
def test_perplexity_needs_a_text(rows, ids):
    with pytest.raises(InputError, match="expected at least 2 tokens and a row of logits each"):
        perplexity(np.zeros((rows, 5), dtype=np.float32), ids)


def test_the_head_is_measured_in_the_bits_it_is_kept_in(errors, monkeypatch):
    asked = []

    def watched(weight, storage, block):
        asked.append((weight.shape, storage))
        return stored_as(weight, storage, block)

    monkeypatch.setattr(precision_cost, "stored_as", watched)
    found = operator_errors(Llama(CONFIG, TENSORS), IDS, ["q4"])
    head = (CONFIG.vocab_size, CONFIG.hidden_size)
    assert {storage for shape, storage in asked if shape == head} == {"I8"}
    assert {storage for shape, storage in asked if shape != head} == {"Q4_1"}
    assert found[0] == errors["linear", "q4"]
