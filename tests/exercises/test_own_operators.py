"""A reader's functions inside the whole model: shown, compared, and taken out again."""

import numpy as np
import pytest

from llama_edu import Llama, Tokenizer
from llama_edu.engine.operators import NUMPY
from llama_edu.errors import InputError
from llama_edu.exercises import use_operators
from llama_edu.exercises.framework.own_operators import NAMES, PROMPTS, as_text
from llama_edu.exercises.framework.tiny import tiny_llama
from llama_edu.hub import BOOK_MODEL
from llama_edu.ops import attention, mlp, norm
from llama_edu.ops.linear import linear
from llama_edu.ops.rope import apply_rope, rope_cos_sin

IDS = [3, 14, 15, 9, 26, 5]


@pytest.fixture(scope="module")
def story():
    return Llama.from_pretrained(BOOK_MODEL)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_pretrained(BOOK_MODEL)


def rms_norm_mine(x, weight, eps):
    rows = [row * weight / np.sqrt((row * row).mean() + eps) for row in x]
    return np.stack(rows)


def eps_outside(x, weight, eps):
    return weight * (x / (np.sqrt((x * x).mean(axis=-1, keepdims=True)) + 1.0))


def test_a_right_function_changes_nothing(story, tokenizer, capsys):
    before = story.operators
    with use_operators(story, tokenizer, rms_norm=rms_norm_mine) as run:
        assert story.operators.rms_norm is not before.rms_norm
        assert run.model is story
    assert run.comparison.same
    assert story.operators is before
    shown = capsys.readouterr().out
    assert shown.startswith("✓ the model on your rms_norm\n")
    written = shown.split("Both write:\n    ")[1]
    assert written.startswith(tuple(prompt[:15] for prompt in PROMPTS))
    assert len(written.split()) > 15


def test_a_wrong_one_is_shown_with_its_text_and_where_it_parts(story, tokenizer, capsys):
    with use_operators(story, tokenizer, rms_norm=eps_outside, prompt="Tom had a red ball") as run:
        inside = run.write("Tom had a red ball", 12)
    shown = capsys.readouterr().out
    assert shown == f"{run}\n"
    assert shown.startswith("✗ the model on your rms_norm\n")
    assert "First array that differs: layers.0.input_layernorm, in the pass over positions" in shown
    assert "at seq 0, hidden_size 0: expected" in shown
    assert "First logits that differ: at position 0, by up to" in shown
    assert max(map(len, shown.splitlines())) <= 88
    assert not run.comparison.same
    words = " ".join(shown.split())
    assert words.count("Tom had a red ball") >= 2
    assert inside.startswith("Tom had a red ball")
    outside = run.write("Tom had a red ball", 12)
    for half, text in zip(words.split("Yours write:"), (outside, inside), strict=True):
        shown_text = half.split("write:")[-1].split("First")[0].split("…")[0].strip()
        assert shown_text.startswith(text) or text.startswith(shown_text)


def test_without_a_model_it_runs_the_book_s(capsys):
    with use_operators(swiglu=lambda gate, up: mlp.swiglu(gate, up)) as run:
        assert run.model.config == Llama.from_pretrained(BOOK_MODEL).config
    assert run.comparison.same
    assert "the model on your swiglu" in capsys.readouterr().out


def test_several_functions_at_once_and_a_model_alone(capsys):
    model = tiny_llama()
    with use_operators(model, rms_norm=rms_norm_mine, softmax=lambda x: attention.softmax(x)):
        assert model.operators.softmax is not NUMPY.softmax
    shown = capsys.readouterr().out
    assert "on your rms_norm and softmax" in shown
    assert "[0, 1, 2, 3, 4, 5, 6, 7" in shown


def test_every_operator_can_be_brought(capsys):
    mine = {
        "linear": lambda x, weight, bias=None: linear(x, weight, bias),
        "rms_norm": norm.rms_norm,
        "rope_cos_sin": rope_cos_sin,
        "split_query_heads": attention.split_query_heads,
        "split_kv_heads": attention.split_kv_heads,
        "apply_rope": apply_rope,
        "qk_scores": attention.qk_scores,
        "apply_mask": attention.apply_mask,
        "softmax": attention.softmax,
        "score_v": attention.score_v,
        "merge_heads": attention.merge_heads,
        "swiglu": mlp.swiglu,
    }
    assert tuple(mine) == NAMES
    with use_operators(tiny_llama(), prompt=IDS, **mine) as run:
        pass
    assert run.comparison.same
    capsys.readouterr()


def test_the_model_comes_back_after_any_error(capsys):
    model = tiny_llama()
    before = model.operators
    with (
        pytest.raises(KeyError),
        use_operators(model, prompt=IDS, rms_norm=rms_norm_mine),
    ):
        raise KeyError
    with (
        pytest.raises(ZeroDivisionError),
        use_operators(model, prompt=IDS, softmax=lambda x: 1 / 0),
    ):
        pass
    assert model.operators is before
    capsys.readouterr()


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"rmsnorm": rms_norm_mine}, "expected operators of linear, rms_norm, .*, got 'rmsnorm'"),
        ({"attend": rms_norm_mine}, "got 'attend'"),
        ({}, "expected at least one operator of linear, .*, got none"),
        ({"softmax": 3}, "expected a function as softmax, got int"),
        (
            {"rms_norm": lambda x, w, e: x[0]},
            r"rms_norm to return shape \(4, 20\), got \(20,\)",
        ),
        (
            {"linear": lambda x, w, b=None: x},
            r"linear to return shape \(4, 48\), got \(4, 20\)",
        ),
        (
            {"qk_scores": lambda q, k: attention.qk_scores(q, k)[0]},
            r"qk_scores to return shape \(2, 3, 4, 4\), got \(3, 4, 4\)",
        ),
        (
            {"score_v": lambda w, v: w},
            r"score_v to return shape \(2, 3, 4, 8\), got \(2, 3, 4, 4\)",
        ),
        (
            {"swiglu": lambda gate, up: mlp.swiglu(gate, up).astype(np.float64)},
            "swiglu to return float32, got float64",
        ),
        ({"softmax": lambda x: None}, "softmax to return an array, got NoneType"),
        (
            {"merge_heads": lambda a: attention.merge_heads(a).T},
            r"merge_heads to return shape \(4, 48\), got \(48, 4\)",
        ),
        (
            {"split_query_heads": lambda q, n, d: attention.split_query_heads(q, n, d)[0]},
            r"split_query_heads to return shape \(2, 3, 4, 8\), got \(3, 4, 8\)",
        ),
        (
            {"split_kv_heads": lambda kv, n, d: kv},
            r"split_kv_heads to return shape \(2, 4, 8\), got \(4, 16\)",
        ),
        ({"rope_cos_sin": lambda f, past, seq: f}, "to return two arrays, got ndarray"),
        (
            {"rope_cos_sin": lambda f, past, seq: (f, f)},
            r"rope_cos_sin to return shape \(4, 4\), got \(4,\)",
        ),
    ],
)
def test_says_what_is_wrong_with_a_function(functions, message):
    with pytest.raises(InputError, match=message), use_operators(tiny_llama(), **functions):
        pass


def test_text_needs_a_tokenizer(capsys):
    with (
        pytest.raises(InputError, match="expected a tokenizer for a prompt in words"),
        use_operators(tiny_llama(), prompt="Once", rms_norm=rms_norm_mine),
    ):
        pass
    with use_operators(tiny_llama(), rms_norm=rms_norm_mine) as run:
        pass
    with pytest.raises(InputError, match="expected a tokenizer"):
        run.write("Once")
    capsys.readouterr()


def test_a_function_cannot_write_into_what_it_is_given():
    def in_place(gate, up):
        gate *= up
        return gate

    with (
        pytest.raises(ValueError, match="read-only"),
        use_operators(tiny_llama(), swiglu=in_place),
    ):
        pass


def test_ids_that_stand_for_nothing_are_shown_as_such(tokenizer):
    ids = tokenizer.encode("Tom had a red ball.")
    n = tokenizer.vocab_size
    assert as_text(tokenizer, ids) == "Tom had a red ball."
    assert as_text(tokenizer, [*ids, n, n + 7, *ids[-1:]]) == f"Tom had a red ball.⟨{n}⟩⟨{n + 7}⟩."


def test_broken_logits_are_told(capsys):
    def nothing(x):
        return x * np.float32(np.nan)

    with use_operators(tiny_llama(), softmax=nothing):
        pass
    shown = capsys.readouterr().out
    assert "… (logits that are no numbers)" in shown
    assert "First token that differs: new token 0 (" in shown
