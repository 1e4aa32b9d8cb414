"""What a task rules out is refused, and the book's own function is called by its name."""

import copy
import functools
import importlib
import textwrap

import ml_dtypes
import numpy as np
import pytest

from llama_edu.engine.generate import generate, prefill
from llama_edu.exercises import check
from llama_edu.exercises.framework import progress
from llama_edu.exercises.framework.ruled_out import ruled_out
from llama_edu.ops import attention, mlp, norm, rope

OWN = "right, but your function leaves the work to the book's own"
RULED_OUT = "which the task rules out"


pytestmark = pytest.mark.usefixtures("own_progress")


def said(verdict):
    return " ".join(repr(verdict).split())


def rows_looped(x, weight, eps):
    wide = np.zeros(x.shape, np.float32)
    for i, row in enumerate(x.astype(np.float32)):
        wide[i] = row / np.sqrt(np.mean(row * row) + np.float32(eps)) * weight
    return wide


def angles_of_a_list(head_dim, theta, past, seq):
    pairs = range(head_dim // 2)
    return np.array(
        [[p * theta ** (-2 * j / head_dim) for j in pairs] for p in range(past, past + seq)],
        dtype=np.float32,
    )


def bf16_by_ml_dtypes(data):
    return np.frombuffer(data, ml_dtypes.bfloat16).astype(np.float32)


def bf16_by_its_name(data):
    return np.frombuffer(data, np.dtype("bfloat16")).astype(np.float32)


def mlp_with_a_new_array(x, *others):
    gain, gate, up, down, eps, work = others
    normed, gated, lifted = work[:3]
    normed[...] = norm.rms_norm(np.asarray(x), gain, eps)
    np.matmul(normed, gate.T, out=gated)
    np.matmul(normed, up.T, out=lifted)
    np.multiply(lifted, gated / (1 + np.exp(-gated)), out=gated)
    x += np.matmul(gated, down.T, out=work[3])


def rate_by_roofline(config, past, itemsize, bytes_per_s, flops_per_s):
    from llama_edu.analysis.roofline import forward_costs, seconds_at_least, total_cost

    sizes = {"weight_itemsize": itemsize, "cache_itemsize": itemsize}
    cost = total_cost(forward_costs(config, 1, past, **sizes))
    return 1 / seconds_at_least(cost, bytes_per_s, flops_per_s)


@pytest.mark.parametrize(
    ("name", "answer", "what"),
    [
        ("norm_rows", rows_looped, "your function has a loop"),
        ("angles", angles_of_a_list, "your function has a loop"),
        ("bf16_to_float32", bf16_by_ml_dtypes, "your function uses"),
        ("bf16_to_float32", bf16_by_its_name, "your function uses bfloat16"),
        ("tokens_per_s", rate_by_roofline, "your function called llama_edu.analysis.roofline."),
        ("fork_cache", lambda model, cache: copy.deepcopy(cache), "called copy.deepcopy"),
        ("add_mlp", mlp_with_a_new_array, "right, but your function makes a new array of shape"),
    ],
)
def test_what_the_text_rules_out_is_refused(name, answer, what):
    item = getattr(check, name)
    verdict = item(answer)
    assert not verdict
    assert what in said(verdict)
    assert RULED_OUT in said(verdict)
    assert progress.solved() == set()


@pytest.mark.parametrize(
    ("name", "answer", "own"),
    [
        ("norm_rows", lambda x, weight, eps: norm.rms_norm(x, weight, eps), "rms_norm"),
        ("row_softmax", lambda s: getattr(attention, "soft" + "max")(s), "softmax"),
        ("gated", lambda gate, up: mlp.silu(gate) * up, "silu"),
        ("mix_values", lambda w, b: attention.score_v(w, b[:, : w.shape[-1]]), "score_v"),
        ("merge", lambda a: np.asarray(next(map(attention.merge_heads, [a]))), "merge_heads"),
        (
            "rotate",
            lambda x, cos, sin: functools.partial(rope.apply_rope, x)(cos, sin),
            "apply_rope",
        ),
        (
            "decode_loop",
            lambda model, ids, n: list(generate(model, ids, max_new_tokens=n)),
            "generate",
        ),
        (
            "prefill_chunks",
            lambda model, cache, ids, chunk: prefill(model, ids, cache, chunk=chunk)[-1],
            "prefill",
        ),
        ("fork_cache", lambda model, cache: cache.copy(), "KVCache.copy"),
    ],
)
def test_who_wraps_the_books_function_is_told_so_and_not_credited(name, answer, own):
    verdict = getattr(check, name)(answer)
    assert not verdict
    assert OWN in said(verdict)
    assert f".{own}`. Now write yours." in said(verdict)
    assert progress.solved() == set()


def test_a_wrong_answer_that_wraps_is_told_what_is_wrong():
    verdict = check.norm_rows(lambda x, weight, eps: 2 * norm.rms_norm(x, weight, eps))
    assert not verdict
    assert OWN not in said(verdict)


def test_what_the_text_allows_is_allowed():
    """`attend_in_blocks` needs a softmax, `last_logits` the model, `fork_cache` its methods."""
    assert check.last_logits(lambda model, ids: model.forward(ids, last_only=True))

    def forked(model, cache):
        other = model.new_cache(cache.max_seq)
        for layer in range(cache.n_layers):
            other.append(layer, cache.keys(layer), cache.values(layer))
        other.advance(cache.length)
        return other

    assert check.fork_cache(forked)


def test_all_that_is_named_is_there():
    for item in check:
        for name in (*item.exercise.books, *item.exercise.forbids):
            parts = name.split(".")
            for cut in range(len(parts), 0, -1):
                try:
                    found = importlib.import_module(".".join(parts[:cut]))
                except ModuleNotFoundError:
                    continue
                for part in parts[cut:]:
                    found = getattr(found, part)
                break
            else:
                pytest.fail(f"{item.exercise.name} names {name}, which is not there")


def helper(x):
    return [one + 1 for one in x]


def uses_helper(x):
    return np.array(helper(x))


def by_while(x):
    while x < 3:
        x = x + 1
    return x


def first_row(x):
    for row in x:
        return row
    return x


def calls_itself(x):
    return uses_helper(x) if x[0] > 3 else calls_itself(x + 1)


def steps_down(x):
    return x if x[0] > 3 else steps_down(x + 1)


def holds_a_loop(x):
    def inner(y):
        return {one: one for one in y}

    return inner(x)


@pytest.mark.parametrize(
    ("answer", "loops"),
    [
        (lambda x: x + 1, False),
        (lambda x: np.sum(x) if x is not None else 0, False),
        (uses_helper, True),
        (by_while, True),
        (first_row, True),
        (calls_itself, True),
        (steps_down, False),
        (holds_a_loop, True),
        (lambda x: np.apply_along_axis(np.sum, 0, x), True),
        (lambda x: textwrap.dedent(x), False),  # what another's function does is its own affair
        (lambda x: sum(one for one in x), True),
        (lambda x: np.vectorize(abs)(x), True),
        (lambda x: list(map(abs, x)), True),
        (check.norm_rows.exercise.correct[0], False),
        (len, False),
    ],
)
def test_a_loop_is_one_wherever_it_stands(answer, loops):
    assert (ruled_out(answer, (), loops=False) is not None) == loops
    assert ruled_out(answer, (), loops=True) is None


def names_it(x):
    return np.matmul(x, x)


def says_it(x):
    return getattr(np, "matmul")(x, x)  # noqa: B009  the point of it


def says_more(x):
    return "matmul of x", x


@pytest.mark.parametrize(
    ("answer", "uses"),
    [
        (names_it, "matmul"),
        (says_it, "matmul"),
        (lambda x: names_it(x), "matmul"),
        (functools.partial(names_it), "matmul"),
        (says_more, None),
        (lambda x: x @ x, None),
        (lambda x: np.dot(np.matmul(x, x), x), "dot"),
    ],
)
def test_a_name_is_ruled_out_where_it_is_written(answer, uses):
    said = None if uses is None else f"your function uses {uses}"
    assert ruled_out(answer, ("dot", "matmul"), loops=False) == said
    assert ruled_out(answer, (), loops=False) is None
