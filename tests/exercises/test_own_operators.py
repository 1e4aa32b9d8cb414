"""A reader's functions inside the whole model: shown, compared, and taken out again."""

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import llama_edu
from llama_edu import Llama, Tokenizer
from llama_edu.engine.operators import NUMPY
from llama_edu.errors import InputError
from llama_edu.exercises import use_operators
from llama_edu.exercises.framework.compare import ArrayGap, Writing
from llama_edu.exercises.framework.own_operators import NAMES, PROMPTS, Run, as_text
from llama_edu.exercises.framework.tiny import tiny_checkpoint, tiny_llama
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


def test_a_name_brings_its_tokenizer_and_one_that_is_passed_is_used(tokenizer, capsys):
    with use_operators(rms_norm=rms_norm_mine, prompt="Once upon a time", max_new_tokens=2) as run:
        written = run.write("Once upon a time", 3)
    assert written.startswith("Once upon a time")
    assert written == run.tokenizer.decode(run.tokenizer.encode(written))

    class Shouting(Tokenizer):
        def __init__(self):
            self.__dict__.update(tokenizer.__dict__)

        def decode(self, token_ids, *, skip_special=True, continues=False):
            return tokenizer.decode(token_ids, skip_special=skip_special).upper()

    mine = Shouting()
    for model in (BOOK_MODEL, tiny_with(tokenizer)):
        with use_operators(
            model, mine, rms_norm=rms_norm_mine, prompt="Once", max_new_tokens=2
        ) as run:
            assert run.tokenizer is mine
            assert run.write("Once", 2).startswith("ONCE")
    capsys.readouterr()


def tiny_with(tokenizer):
    """A random model whose vocabulary is the tokenizer's."""
    config, tensors = tiny_checkpoint()
    config = replace(config, vocab_size=tokenizer.vocab_size)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = np.resize(tensors[name], (config.vocab_size, config.hidden_size))
    return Llama(config, tensors)


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
        "residual": lambda x, block: x + block,
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


def halved(x):
    return halved_wrongly(x)


def halved_wrongly(x):
    return x / 0 if False else [][1]


def of_the_package(raised):
    """Names of the frames that a learner sees of this package."""
    package = Path(llama_edu.__file__).parent
    return [entry.name for entry in raised.traceback if package in Path(entry.path).parents]


def test_an_error_shows_the_learners_frames_and_few_others(capsys):
    with (
        pytest.raises(IndexError) as raised,
        use_operators(tiny_llama(), prompt=IDS, softmax=halved),
    ):
        pass
    assert [entry.name for entry in raised.traceback][-2:] == ["halved", "halved_wrongly"]
    assert of_the_package(raised) == ["use_operators"]
    with (
        pytest.raises(InputError, match="softmax to return an array") as raised,
        use_operators(tiny_llama(), prompt=IDS, softmax=lambda x: None),
    ):
        pass
    assert of_the_package(raised) == ["use_operators"]
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    capsys.readouterr()


@pytest.mark.parametrize(
    ("right", "changed", "words"),
    [
        (Writing([1, 2], "limit"), Writing([1, 2], "limit"), "none (2 were written)"),
        (Writing([1, 2], "limit"), Writing([1, 3], "limit"), "new token 1 (2 were written)"),
        (
            Writing([1, 2], "limit"),
            Writing([1], "tie"),
            "none of the first 1: there yours ends at a near tie, and the book's goes on",
        ),
        (
            Writing([], "tie"),
            Writing([1], "limit"),
            "none of the first 0: there the book's ends at a near tie, and yours goes on",
        ),
        (Writing([1, 2], "limit"), Writing([1], "eos"), "new token 1 (2 were written)"),
    ],
)
def test_the_first_token_is_told_whoever_stops_first(right, changed, words, capsys):
    with use_operators(tiny_llama(), prompt=IDS, rms_norm=eps_outside, max_new_tokens=2) as run:
        pass
    found = replace(run.comparison, right=right, changed=changed)
    assert f"  First token that differs: {words}" in str(replace(run, comparison=found))
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


@pytest.mark.parametrize(
    ("names", "listed"),
    [(("softmax",), "softmax"), (("a", "b"), "a and b"), (("a", "b", "c"), "a, b and c")],
)
def test_a_comparison_is_told_line_by_line(names, listed, capsys):
    with use_operators(tiny_llama(), rms_norm=rms_norm_mine, max_new_tokens=2) as run:
        pass
    capsys.readouterr()
    found = run.comparison
    assert found.prompt_ids == list(range(8))
    texts = {
        "right": Writing([5, 6], "limit"),
        "changed": Writing([7], "tie"),
    }
    same = replace(found, right=texts["changed"], changed=texts["changed"])
    assert str(replace(run, names=names, comparison=same)).splitlines() == [
        f"✓ the model on your {listed}",
        "  Every array and every row of logits is the book's, up to rounding.",
        "  Both write:",
        "    [0, 1, 2, 3, 4, 5, 6, 7, 7] … (a near tie)",
    ]
    array = ArrayGap("norm", 4, 7, "seq 1, hidden_size 2", 1.23456, -7, 8.25)
    gaps = np.array([0.0, 0.125, 0.5])
    other = replace(found, **texts, array=array, gaps=gaps, scales=np.ones(3))
    assert str(replace(run, names=names, comparison=other)).splitlines() == [
        f"✗ the model on your {listed}",
        "  The book's functions write:",
        "    [0, 1, 2, 3, 4, 5, 6, 7, 5, 6]",
        "  Yours write:",
        "    [0, 1, 2, 3, 4, 5, 6, 7, 7] … (a near tie)",
        "  First array that differs: norm, in the pass over positions 4 to 7",
        "    at seq 1, hidden_size 2: expected 1.235, got -7;",
        "    largest difference 8.2",
        "  First logits that differ: at position 1, by up to 0.12",
        "  First token that differs: new token 0 (2 were written)",
    ]
    long = replace(found, prompt_ids=[10] * 40, array=array)
    lines = str(replace(run, comparison=long)).splitlines()
    assert lines[2] == "    [" + "10, " * 16 + "10,"
    assert max(map(len, lines[2:5])) <= 72
    assert "First logits" not in str(replace(run, comparison=long))


def test_how_far_a_text_is_written_by_default():
    for function in (use_operators, Run.write):
        assert inspect.signature(function).parameters["max_new_tokens"].default == 40


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
