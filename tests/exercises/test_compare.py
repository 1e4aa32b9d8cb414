"""Two runs of a model: the first array that differs stands right behind the cause."""

import inspect
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors
from tiny_files import byte_level, write_tokenizer

from llama_edu import Llama, Tokenizer
from llama_edu.engine.generate import generate
from llama_edu.engine.trace import Record
from llama_edu.errors import ContextError, InputError
from llama_edu.exercises.framework.compare import (
    NEAR_TIE,
    ArrayGap,
    Feeding,
    Writing,
    array_gap,
    compare,
    relative_gap,
    steadiest,
)
from llama_edu.exercises.framework.tiny import tiny_llama
from llama_edu.ops.attention import causal_mask, qk_scores
from llama_edu.ops.linear import linear
from llama_edu.ops.mlp import swiglu
from llama_edu.ops.norm import rms_norm
from llama_edu.ops.rope import inverse_frequencies, rope_cos_sin

MODEL = tiny_llama()
PROMPT = [3, 14, 15, 9, 26, 5]


def operators(**functions):
    return MODEL.using(operators=MODEL.operators.replaced(**functions))


def test_without_a_change_nothing_differs():
    found = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=9)
    assert found.same
    assert found.array is None
    written = list(generate(MODEL, PROMPT, max_new_tokens=9))
    assert found.changed.ids == found.right.ids == written[: len(found.right.ids)]
    assert found.gaps.shape == (len(PROMPT) + len(found.right.ids) - 1,)
    assert found.gaps.max() == 0


@pytest.mark.parametrize("chunk", [None, 1, 2, 6])
def test_the_whole_writing_is_what_generate_gives(chunk):
    found = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=9, feeding=Feeding(chunk))
    written = list(generate(MODEL, PROMPT, max_new_tokens=9))
    assert found.right == found.changed == Writing(written, "limit")
    assert len(set(written)) > 5  # not one token again and again, fed twice or not


def test_what_changes_the_masked_scores_alone_is_no_longer_the_same():
    def large_but_finite(scores, mask):
        return np.where(mask, scores, np.float32(-1e9))

    found = compare(MODEL, PROMPT, operators(apply_mask=large_but_finite), max_new_tokens=5)
    assert found.array is not None
    assert found.array.name == "layers.0.self_attn.masked_scores"
    assert (found.position, found.token) == (None, None)
    assert not found.same


def test_an_array_of_another_shape_is_told_as_such():
    """Twice as many heads of half the size: every projection keeps its width."""
    config = replace(MODEL.config, num_attention_heads=12, num_key_value_heads=4, head_dim=4)
    more_heads = MODEL.using(config=config, inv_freq=inverse_frequencies(config))
    array = compare(MODEL, PROMPT, more_heads, max_new_tokens=2).array
    assert array is not None
    assert array.name == "layers.0.self_attn.q_rope"
    assert array.place == "shape (4, 3, 3, 4) instead of (2, 3, 3, 8)"
    assert array.largest_gap == np.inf


def test_a_text_ends_and_is_chosen_as_the_tokenizer_says(tmp_path):
    """What `generate` does with the tokenizer: the same end, and no id that has no token."""
    config = tiny_config(vocab_size=410)
    tensors = tiny_tensors(config)
    tensors["lm_head.weight"][400:] *= 4
    model = Llama(config, tensors)
    plain = Tokenizer(write_tokenizer(tmp_path / "plain", byte_level()))
    written = list(generate(model, PROMPT, max_new_tokens=30, tokenizer=plain))
    assert list(generate(model, PROMPT, max_new_tokens=30)) != written
    found = compare(model, PROMPT, nullcontext(), max_new_tokens=30, tokenizer=plain).right
    assert len(found.ids) > 3
    assert found.ids == written[: len(found.ids)]
    vocab = {token_id: text for text, token_id in byte_level().get_vocab().items()}
    knows_its_end = Tokenizer(
        write_tokenizer(tmp_path / "eos", byte_level(), eos_token=vocab[written[2]])
    )
    at = written.index(written[2]) + 1
    found = compare(model, PROMPT, nullcontext(), max_new_tokens=30, tokenizer=knows_its_end).right
    assert found == Writing(written[:at], "eos")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"rms_norm": lambda x, w, e: rms_norm(x, w, 0.3)}, "layers.0.input_layernorm"),
        ({"swiglu": lambda gate, up: swiglu(up, gate)}, "layers.0.mlp.gated"),
        ({"qk_scores": lambda q, k: qk_scores(q, k) * np.float32(2)}, "layers.0.self_attn.scores"),
        ({"softmax": lambda x: np.exp(x)}, "layers.0.self_attn.weights"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_names_the_array_behind_the_cause(change, name):
    found = compare(MODEL, PROMPT, operators(**change), max_new_tokens=5)
    assert found.array is not None
    assert found.array.name == name
    assert (found.array.first_position, found.array.last_position) == (0, 2)
    assert not found.same


def test_says_where_and_by_how_much():
    def one_number_up(gate, up):
        gated = swiglu(gate, up)
        gated[-1, 7] += np.float32(3)
        return gated

    found = compare(
        MODEL, PROMPT, operators(swiglu=one_number_up), feeding=Feeding(2), max_new_tokens=2
    )
    array = found.array
    assert array is not None
    assert array.place == "seq 1, intermediate_size 7"
    assert array.got - array.want == pytest.approx(3, abs=1e-5)
    assert array.largest_gap == pytest.approx(3, abs=1e-5)


def test_counts_positions_from_the_start_of_the_text():
    def forgetful(inv_freq, past, seq):
        return rope_cos_sin(inv_freq, 0, seq)

    change = operators(rope_cos_sin=forgetful)
    found = compare(MODEL, PROMPT, change, feeding=Feeding(4), max_new_tokens=6)
    assert found.array is not None
    assert found.array.name == "layers.0.self_attn.q_rope"
    assert (found.array.first_position, found.array.last_position) == (4, 5)
    assert found.position == 4
    assert found.gaps[:4].max() < 1e-5

    change = operators(rope_cos_sin=forgetful)
    whole = compare(MODEL, PROMPT, change, feeding=Feeding(len(PROMPT)), max_new_tokens=6)
    assert whole.position == len(PROMPT)
    assert whole.token != 0  # the first token comes from the prefill, which is right


def test_the_second_piece_of_the_prompt_shows_a_mask_that_was_skipped():
    change = patch(
        "llama_edu.ops.attention.causal_mask", lambda seq, past: causal_mask(seq, past) | (past > 0)
    )
    found = compare(MODEL, PROMPT, change, max_new_tokens=3)
    assert found.array is not None
    assert found.array.name == "layers.0.self_attn.masked_scores"
    assert (found.array.first_position, found.array.last_position) == (3, 5)
    assert found.array.want == -np.inf
    assert found.array.largest_gap == np.inf


def test_broken_logits_end_the_text_and_are_told():
    found = compare(MODEL, PROMPT, operators(softmax=lambda x: x * np.float32(np.nan)))
    assert found.changed == Writing([], "broken")
    assert found.token == 0
    assert found.position == 0
    assert np.isnan(found.gaps).all()


@pytest.mark.parametrize(
    ("right", "changed", "token"),
    [
        (Writing([5, 6, 7], "limit"), Writing([5, 6, 7], "limit"), None),
        (Writing([5, 6, 7], "limit"), Writing([5, 9, 7], "limit"), 1),
        (Writing([5, 6, 7], "limit"), Writing([5, 6], "eos"), 2),
        (Writing([5, 6, 7], "limit"), Writing([5, 6], "tie"), None),
        (Writing([5, 6], "tie"), Writing([5, 6, 7], "limit"), None),
        (Writing([5, 6, 7], "tie"), Writing([], "broken"), 0),
        (Writing([], "tie"), Writing([], "broken"), 0),
        (Writing([5], "tie"), Writing([5, 6], "broken"), 2),
    ],
)
def test_the_first_other_token_is_found_and_so_is_an_early_end(right, changed, token):
    found = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=1)
    assert replace(found, right=right, changed=changed).token == token


def test_a_text_ends_at_a_near_tie():
    def flat(x, weight, bias=None):  # logits 1 apart, but for the two best
        y = linear(x, weight, bias)
        if weight is MODEL.weights.lm_head:
            y[:] = np.arange(len(weight), dtype=np.float32)
            y[:, -2] = y[:, -1] - gap
        return y

    for gap, end in ((NEAR_TIE * 0.9, "tie"), (NEAR_TIE * 1.1, "limit")):  # noqa: B007
        found = compare(MODEL, PROMPT, operators(linear=flat), max_new_tokens=3)
        assert found.changed.end == end
        assert found.changed.ids == ([] if end == "tie" else [MODEL.config.vocab_size - 1] * 3)


def test_a_text_ends_with_an_end_token():
    first = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=1).right.ids[0]
    config = replace(MODEL.config, eos_token_ids=(first,))
    with patch.object(MODEL, "config", config):
        assert compare(MODEL, PROMPT, nullcontext()).right == Writing([first], "eos")


def test_the_model_is_left_as_it_was_when_a_change_raises():
    before = MODEL.operators

    @contextmanager
    def failing():
        with operators(softmax=lambda x: 1 / 0):
            yield

    with pytest.raises(ZeroDivisionError):
        compare(MODEL, PROMPT, failing())
    assert MODEL.operators is before


def test_the_steadiest_prompt_is_the_one_continued_furthest():
    prompts = [[3], [14, 15], [9, 26, 5], [7, 7]]
    lengths = [
        len(compare(MODEL, prompt, nullcontext(), max_new_tokens=30).right.ids)
        for prompt in prompts
    ]
    assert len(set(lengths)) > 1
    assert steadiest(MODEL, prompts, 30) == lengths.index(max(lengths))
    assert steadiest(MODEL, [[3], [3]], 5) == 0


def test_rounding_has_an_inside_and_an_outside():
    """Of a row of logits by its largest, and of an array by its largest that is finite."""
    found = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=1)
    scales = np.array([1e-6, 1.0, 1e6])
    for share, position in ((0.99e-4, None), (1.01e-4, 1), (np.nan, 1)):
        gaps = scales * np.array([0.5e-4, share, share])
        other = replace(found, gaps=gaps, scales=scales)
        assert other.position == position
        assert other.same is (position is None)
    for scale in (1e-6, 1.0, 1e6):
        numbers = np.array([[-8.0, 0.5, -np.inf], [1.0, 2.0, 3.0]])
        want = Record("x", ("seq", "head_dim"), np.float32(scale * numbers), False, 0)
        for share in (0.98, -0.98, 1.02, -1.02):
            got = want.array.copy()
            got[1, 0] += np.float32(share * 1e-4 * 8 * scale)
            gap = array_gap(want, got, 5, 2)
            assert (gap is None) is (abs(share) < 1)
        got[1, 2] -= np.float32(2 * scale)
        gap = array_gap(want, got, 5, 2)
        assert gap is not None
        assert (gap.name, gap.first_position, gap.last_position) == ("x", 5, 6)
        assert gap.place == "seq 1, head_dim 0"
        assert gap.want == pytest.approx(scale)
        assert gap.got == pytest.approx(scale * (1 - 1.02 * 8e-4))
        assert gap.largest_gap == pytest.approx(2 * scale)
        got[0, 2] = 0
        gap = array_gap(want, got, 0, 2)
        assert gap is not None
        assert (gap.place, gap.want, gap.got) == ("seq 0, head_dim 2", -np.inf, 0)
    other_shape = array_gap(want, got[:1], 5, 2)
    assert other_shape == ArrayGap("x", 5, 6, "shape (1, 3) instead of (2, 3)", 0.0, 0.0, np.inf)


def test_the_first_half_of_a_prompt_is_the_larger_one():
    change = operators(rope_cos_sin=lambda inv_freq, past, seq: rope_cos_sin(inv_freq, 0, seq))
    found = compare(MODEL, PROMPT[:5], change, max_new_tokens=1)
    assert found.array is not None
    assert (found.array.first_position, found.array.last_position) == (3, 4)
    assert found.position == 3
    assert found.scales.shape == (5,)


def test_a_cache_that_was_not_emptied_is_the_changed_models_alone():
    feeding = Feeding(3, earlier_ids=[7, 8])
    found = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=3, feeding=feeding)
    assert found.array is not None
    assert found.array.name == "layers.0.self_attn.q_rope"
    assert found.array.first_position == 0
    clean = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=3)
    assert found.right == clean.right
    cache = MODEL.new_cache()
    MODEL.forward([7, 8], cache)
    logits = MODEL.forward(PROMPT, cache)[-1]
    assert found.changed.ids[0] == logits.argmax()


def test_how_far_a_text_is_written_by_default():
    for function in (compare, steadiest):
        assert inspect.signature(function).parameters["max_new_tokens"].default == 40


def test_a_text_may_fill_the_model():
    found = compare(MODEL, PROMPT, nullcontext(), max_new_tokens=58)
    assert found.same
    with pytest.raises(ContextError, match="at most 64 positions, got 65"):
        compare(MODEL, PROMPT, nullcontext(), max_new_tokens=59)


def test_a_bad_prompt_is_refused():
    with pytest.raises(InputError, match="at least one token id"):
        compare(MODEL, [], nullcontext())
    with pytest.raises(InputError, match="at least 1, got 0"):
        compare(MODEL, PROMPT, nullcontext(), max_new_tokens=0)
    with pytest.raises(ContextError, match="at most 64 positions, got 66"):
        compare(MODEL, PROMPT, nullcontext(), max_new_tokens=60)


def test_a_gap_is_a_share_of_the_largest_number():
    want = np.array([[1.0, -4.0], [2.0, -np.inf]], dtype=np.float32)
    got = want.copy()
    assert relative_gap(want, got) == 0
    got[1, 0] = 2.5
    assert relative_gap(want, got) == pytest.approx(0.125)
    for wrong in (np.inf, 0.0, np.nan):
        got[1, 1] = wrong
        assert relative_gap(want, got) == np.inf
    got[1, 1], got[0, 0] = -np.inf, np.nan
    assert relative_gap(want, got) == np.inf
    assert relative_gap(want, want[:1]) == np.inf


@pytest.mark.parametrize("value", [0.0, -np.inf])
def test_arrays_of_zeros_and_wholly_masked_ones_are_equal_to_themselves(value: float):
    flat = np.full((2, 3), value, dtype=np.float32)
    assert relative_gap(flat, flat.copy()) == 0
    other = flat.copy()
    other[1, 2] = 1e-9
    assert relative_gap(flat, other) == np.inf
    assert relative_gap(flat[:0], flat[:0]) == 0
