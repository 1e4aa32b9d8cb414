"""The steppers: what they hold is what the package computed, line by line, and nothing else.

What a reader can do with them in a browser is tested in tests/e2e.
"""

from __future__ import annotations

import html as html_words
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import random, tiny_config, tiny_model

from llama_edu import Llama, Trace, viz
from llama_edu.analysis.roofline import forward_costs, seconds_at_least, total_cost
from llama_edu.engine.sampling import Sampling, probabilities, sample
from llama_edu.errors import InputError
from llama_edu.ops import attention
from llama_edu.ops.linear import matmul_transb
from llama_edu.viz.parts import embed, recorded
from llama_edu.viz.parts import labels as viz_labels
from llama_edu.viz.parts.listing import Listing, watch
from llama_edu.viz.parts.stepper import MAX_DIGITS, Link, Matrix, Operand, Side, Step, stepper

ROOT = Path(__file__).resolve().parents[2]
LAYER = 1
HOSTILE = "</script><script>alert(1)</script>"
PROMPT = [1, 2, 3, 4]
WORDS = [f"w{i}" for i in range(30)]


@cache
def tiny() -> Llama:
    return tiny_model()


@cache
def passes() -> Trace:
    """A prompt of 4 tokens, then one token with 4 in the cache."""
    model = tiny()
    kv = model.new_cache()
    with Trace() as trace:
        model.forward(PROMPT, kv, trace=trace)
        model.forward([5], kv, trace=trace)
    return trace


def labels(count: int) -> list[str]:
    return [f" t{i}" for i in range(count)]


def row() -> np.ndarray:
    return 2 * random(np.random.default_rng(8), len(WORDS))


def whole(*rows: list[int]) -> np.ndarray:
    return np.array(rows)


def product(**changes: Any) -> viz.Html:
    rng = np.random.default_rng(4)
    a, b, c = random(rng, 5, 12), random(rng, 11, 12), random(rng, 5, 11)
    return viz.step_matmul(a, b, c, **({"alpha": 0.5, "beta": 2.0} | changes))


FIGURES: dict[str, Callable[[], viz.Html]] = {
    "matmul": product,
    "matmul plain": lambda: product(alpha=1.0, beta=0.0),
    "matmul whole": lambda: viz.step_matmul(whole([1, 2]), whole([3, -4]), axes=("m", "k", "n")),
    "scores": lambda: viz.step_scores(passes(), LAYER, labels(4), step=0),
    "scores decode": lambda: viz.step_scores(passes(), LAYER, labels(5)),
    "softmax": lambda: viz.step_mask_softmax(passes(), LAYER, labels(4), head=3, step=0),
    "softmax decode": lambda: viz.step_mask_softmax(passes(), LAYER, labels(5), head=5),
    "score_v": lambda: viz.step_score_v(passes(), LAYER, labels(4), kv_head=1, step=0),
    "layer": lambda: viz.step_layer(passes(), LAYER, labels(4), step=0),
    "layer decode": lambda: viz.step_layer(passes(), 0, labels(5)),
    "sampling": lambda: viz.step_sampling(row(), WORDS, Sampling(0.8, 9, 0.6), seed=3),
    "sampling min_p": lambda: viz.step_sampling(row(), WORDS, Sampling(0.8, min_p=0.3), seed=3),
    "sampling both": lambda: viz.step_sampling(row(), WORDS, Sampling(0.8, 0, 0.6, 0.5), seed=3),
    "sampling off": lambda: viz.step_sampling(row(), WORDS, Sampling(2.0), top=40),
    "sampling greedy": lambda: viz.step_sampling(row(), WORDS, Sampling(0.0), seed=3),
    "score_v decode": lambda: viz.step_score_v(passes(), LAYER, labels(5)),
    "cost": lambda: viz.step_cost(tiny_config(), 7, 2e6, 1e9, cache_itemsize=2),
    "cost of one layer": lambda: viz.step_cost(tiny_config(num_hidden_layers=1), 0, 1e9, 1e6),
}
each_figure = pytest.mark.parametrize("name", FIGURES)


@cache
def drawn(name: str) -> viz.Html:
    return FIGURES[name]()


def data_of(figure: viz.Html) -> Any:
    packed = re.search(
        r'<script type="application/json">(.*?)</script>', figure._repr_html_(), re.DOTALL
    )
    assert packed
    return json.loads(packed[1])


def entries(figure: viz.Html, key: str) -> np.ndarray:
    """A matrix as the page shows it, in numbers."""
    shown = data_of(figure)["matrices"][key]
    values = [[-np.inf if v is None else v for v in row] for row in shown["values"]]
    return np.array(values, dtype=np.float64) / 10 ** shown["digits"]


def assert_shown(figure: viz.Html, key: str, want: np.ndarray) -> None:
    got = entries(figure, key)
    assert got.shape == want.shape
    assert np.array_equal(np.isfinite(got), np.isfinite(want))
    finite = np.isfinite(want)
    assert np.abs(got[finite] - want[finite]).max() <= 0.5 * 10**-MAX_DIGITS + 1e-9


# --- what is shown is what was computed ----------------------------------------------------------


def recorded_array(name: str, step: int) -> np.ndarray:
    return passes().steps[step][f"layers.{LAYER}.self_attn.{name}"].array


@pytest.mark.parametrize(("step", "figure"), [(0, "scores"), (1, "scores decode")])
def test_scores_are_those_of_the_trace(step: int, figure: str) -> None:
    q, k, scores = (recorded_array(name, step) for name in ("q_rope", "keys", "scores"))
    n_kv_heads, n_groups, seq, head_dim = q.shape
    dims = slice(0, recorded.DIMS)
    for kv in range(n_kv_heads):
        rows = q[kv].reshape(n_groups * seq, head_dim)
        assert_shown(drawn(figure), f"q{kv}", rows[:, dims])
        assert_shown(drawn(figure), f"k{kv}", k[kv, :, dims].T)
        by_head = scores[kv].reshape(n_groups * seq, -1)
        assert_shown(drawn(figure), f"p{kv}", by_head * head_dim**0.5)
        assert_shown(drawn(figure), f"s{kv}", by_head)


def test_mask_and_softmax_are_those_of_the_trace() -> None:
    figure, place = drawn("softmax"), (1, 0)  # query head 3 of 2 × 3
    for key, name in (("scores", "scores"), ("masked", "masked_scores"), ("weights", "weights")):
        assert_shown(figure, key, recorded_array(name, 0)[place])
    assert np.array_equal(entries(figure, "mask"), np.tri(4))
    masked = recorded_array("masked_scores", 0)[place]
    shifted = masked - masked.max(axis=1, keepdims=True)
    assert_shown(figure, "shifted", shifted)
    assert_shown(figure, "powers", np.exp(shifted))


def test_a_single_token_is_not_masked() -> None:
    shown = data_of(drawn("softmax decode"))
    assert list(shown["matrices"]) == ["masked", "shifted", "powers", "weights"]
    assert "no mask" in shown["steps"][0]["say"]
    assert_shown(drawn("softmax decode"), "weights", recorded_array("weights", 1)[1, 2])


@pytest.mark.parametrize(("step", "kv", "name"), [(0, 1, "score_v"), (1, 0, "score_v decode")])
def test_mixed_values_are_those_of_the_trace(step: int, kv: int, name: str) -> None:
    weights, values, mixed = (recorded_array(n, step) for n in ("weights", "values", "attn_v"))
    merged = recorded_array("merged", step)
    rows = weights.shape[1] * weights.shape[2]
    assert_shown(drawn(name), "w", weights[kv].reshape(rows, -1))
    assert_shown(drawn(name), "v", values[kv, :, : recorded.DIMS])
    assert_shown(drawn(name), "o", mixed[kv].reshape(rows, -1)[:, : recorded.DIMS])
    head_dim, heads = values.shape[2], weights.shape[1]
    first = kv * heads * head_dim
    columns = [first + h * head_dim + d for h in range(heads) for d in range(recorded.NARROW)]
    assert_shown(drawn(name), "m", merged[:, columns])


def test_a_product_is_that_of_the_package() -> None:
    rng = np.random.default_rng(4)
    a, b, c = random(rng, 5, 12), random(rng, 11, 12), random(rng, 5, 11)
    rows, columns, summed = (slice(0, n) for n in (9, 8, 6))
    assert_shown(drawn("matmul"), "a", a[rows, summed])
    assert_shown(drawn("matmul"), "b", b[columns, summed].T)
    assert_shown(drawn("matmul"), "p", matmul_transb(a, b)[:, columns])
    assert_shown(drawn("matmul"), "s", matmul_transb(a, b, alpha=0.5)[:, columns])
    assert_shown(drawn("matmul"), "old", c[:, columns])
    want = matmul_transb(a, b, c, alpha=0.5, beta=2.0)
    assert_shown(drawn("matmul"), "t", want[:, columns])
    made = np.where(np.arange(55).reshape(5, 11) < 11, matmul_transb(a, b), -np.inf)
    assert_shown(drawn("matmul"), "p1", made[:, columns])
    assert np.isfinite(entries(drawn("matmul"), "p0")).sum() == 1
    assert "t" not in data_of(drawn("matmul plain"))["matrices"]
    assert entries(drawn("matmul whole"), "p").tolist() == [[-5]]
    assert data_of(drawn("matmul whole"))["matrices"]["p"]["digits"] == 0


def test_the_whole_layer_is_that_of_the_trace() -> None:
    for name, step, layer, x in (
        ("layer", 0, LAYER, "layers.0.mlp_residual"),
        ("layer decode", 1, 0, "embed_tokens"),
    ):
        records = passes().steps[step]
        shown = data_of(drawn(name))["matrices"]
        assert "mlp_residual" in shown
        for key in set(shown) - {"kᵀ"}:
            array = records[x if key == "x" else f"layers.{layer}.{key}"].array
            first = array[(0,) * (array.ndim - 2)]
            wide = None if key.endswith(("scores", "weights")) else 5
            assert_shown(drawn(name), key, first[:, :wide])
        assert np.array_equal(entries(drawn(name), "kᵀ"), entries(drawn(name), "self_attn.keys").T)


def test_a_layer_walks_in_the_order_of_the_records_and_skips_what_did_not_run() -> None:
    made = [[name for name, _ in step["out"]] for step in data_of(drawn("layer"))["steps"]]
    order = [name.rpartition(".")[2] for name in passes().steps[0] if f"layers.{LAYER}." in name]
    walked = [name for names in made for name in names]
    assert walked == [name for name in order if name in walked]
    titles = {
        name: [s["title"] for s in data_of(drawn(name))["steps"]]
        for name in ("layer", "layer decode")
    }
    assert "append to the cache" not in titles["layer"]
    assert "append to the cache" in titles["layer decode"]
    assert "hide the future" in titles["layer"]
    assert "hide the future" not in titles["layer decode"]


def test_the_choice_is_that_of_the_package() -> None:
    logits, sampling = row(), Sampling(0.8, 9, 0.6)
    want = probabilities(logits, sampling)
    ids = np.argsort(-logits, kind="stable")[:10]
    final = np.where(want[ids] > 0, want[ids], -np.inf)
    assert 0 < np.isfinite(final).sum() < 9
    assert_shown(drawn("sampling"), "logit", logits[ids][:, None])
    assert_shown(drawn("sampling"), "final", final[:, None])
    ranks = np.where(np.arange(1, 11) <= 9, np.arange(1.0, 11.0), -np.inf)
    assert_shown(drawn("sampling"), "rank", ranks[:, None])
    steps = data_of(drawn("sampling"))["steps"]
    token = sample(logits, sampling, np.random.default_rng(3))
    assert f"“w{token}”" in steps[-1]["say"]
    assert steps[-1]["out"] == [[f"token id {token}", []]]


def test_filters_that_are_off_have_no_step() -> None:
    titles = [step["title"] for step in data_of(drawn("sampling off"))["steps"]]
    assert not any("top_p" in title or "point" in title for title in titles)
    greedy = data_of(drawn("sampling greedy"))
    assert [step["title"] for step in greedy["steps"]] == ["take the largest"]
    assert f"“w{int(np.argmax(row()))}”" in greedy["steps"][0]["say"]


def test_a_long_prompt_shows_its_newest_tokens_and_tells_the_rest() -> None:
    ids = list(range(1, 16))
    with Trace() as trace:
        tiny().forward(ids, trace=trace)
    figure = viz.step_scores(trace, 0, labels(15))
    shown = data_of(figure)
    keys = shown["sides"][shown["matrices"]["s0"]["cols"]]
    assert keys["labels"] == [f"·t{i}" for i in range(6, 15)]
    assert keys["total"] == 15
    rows = shown["sides"][shown["matrices"]["s0"]["rows"]]
    per_head = recorded.STACKED // 3
    assert [count for _, count in rows["groups"]] == [per_head] * 3
    scores = trace["layers.0.self_attn.scores"].array
    want = scores[0][:, -per_head:, -recorded.KEYS :].reshape(-1, recorded.KEYS)
    assert_shown(figure, "s0", want)


def test_the_bytes_of_a_step_add_up_to_those_of_the_pass() -> None:
    config = tiny_config()
    whole = total_cost(forward_costs(config, 1, 7, cache_itemsize=2))
    last = len(data_of(drawn("cost"))["steps"]) - 1
    mb, so_far, ms = (
        entries(drawn("cost"), f"{name} {last}")[:, 0] for name in ("MB", "MB so far", "ms so far")
    )
    assert last == 10
    assert np.allclose(np.cumsum(mb), so_far, atol=0.01)
    assert so_far[-1] == pytest.approx(whole.nbytes / 1e6, abs=1e-3)
    # Memory is the wall for every part of it, so parts take what the whole takes.
    assert ms[-1] == pytest.approx(1e3 * seconds_at_least(whole, 2e6, 1e9), abs=1e-3)
    assert np.isneginf(entries(drawn("cost"), "MB 0")[1:]).all()
    titles = [step["title"] for step in data_of(drawn("cost of one layer"))["steps"]]
    assert titles[-1] == "lm_head"
    assert "the others" not in titles


# --- the lines ------------------------------------------------------------------------------------


@each_figure
def test_every_line_stands_in_the_package(name: str) -> None:
    shown = data_of(drawn(name))
    for listing in shown["listings"]:
        path = listing["title"].rpartition(", ")[0]
        source = (ROOT / path).read_text("utf-8").splitlines()
        for number, text in listing["lines"]:
            assert source[number - 1].strip() == text.strip()
    for step in shown["steps"]:
        assert step["line"] in [number for number, _ in shown["listings"][step["listing"]]["lines"]]


def test_watching_tells_what_each_line_made_and_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    q, k = random(rng, 2, 3, 4, 6), random(rng, 2, 5, 6)
    before = sys.gettrace()
    run = watch(attention.qk_scores, q, k)
    assert sys.gettrace() is before
    want = attention.qk_scores(q, k)
    assert np.array_equal(run.result, want)
    # The scale is applied in place: the line before it must not show what it made.
    raw, scaled = run.after("np.matmul", "scores"), run.after("scores *=", "scores")
    assert np.allclose(raw, scaled * 6**0.5, atol=1e-6)
    assert not np.allclose(raw, scaled)
    assert np.array_equal(scaled.reshape(want.shape), want)


def test_watching_knows_the_lines_that_were_not_reached() -> None:
    rng = np.random.default_rng(0)
    run = watch(matmul_transb, random(rng, 2, 3), random(rng, 4, 3), alpha=2.0)
    assert run.ran("product *=")
    assert not run.ran("product +=")


def test_watching_passes_on_what_a_function_raises() -> None:
    before = sys.gettrace()
    with pytest.raises(ValueError, match="expected c"):
        watch(matmul_transb, np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), beta=1.0)
    assert sys.gettrace() is before


def test_a_listing_leaves_out_the_docstring_and_keeps_the_numbers() -> None:
    listing = Listing.of(attention.softmax)
    assert listing.title == "llama_edu/ops/attention.py, softmax"
    assert not any("largest value is subtracted" in text for _, text in listing.lines)
    line = listing.find("np.subtract")
    cut = listing.between(line, line + 1)
    assert [text.split("(")[0] for _, text in cut.lines] == [
        "    weights = np.subtract",
        "    np.exp",
    ]


@pytest.mark.parametrize("code", ["no such line", "weights"])
def test_a_line_that_is_not_one_line_is_refused(code: str) -> None:
    with pytest.raises(InputError, match="expected one line with"):
        Listing.of(attention.softmax).find(code)


# --- the page -------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """The tags of a page, the attributes, and the words outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else self._inside

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        self.words += "" if self._inside else data


@each_figure
def test_the_same_figure_has_the_same_bytes(name: str) -> None:
    assert FIGURES[name]()._repr_html_() == drawn(name)._repr_html_()


def test_bytes_do_not_depend_on_the_process() -> None:
    code = (
        "import hashlib, sys; sys.path[:0] = ['tests/support', 'tests/viz'];"
        "import test_stepper as t;"
        "print(hashlib.sha256(t.drawn('scores')._repr_html_().encode()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_figures_have_ids_of_their_own() -> None:
    ids = [Elements(drawn(name)._repr_html_()).found[0][1]["id"] for name in FIGURES]
    assert len(set(ids)) == len(ids)


@each_figure
def test_a_figure_asks_for_nothing_and_has_no_inline_handlers(name: str) -> None:
    page = drawn(name)._repr_html_()
    assert not re.search(r"https?:|//cdn|@import|url\(", page)
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "img", "iframe")
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "href")]


@each_figure
def test_without_scripts_a_numbered_table_of_the_steps_remains(name: str) -> None:
    page = drawn(name)._repr_html_()
    steps = data_of(drawn(name))["steps"]
    words = Elements(page).words
    rows = re.findall(r"<tr><th>(\d+)</th>", page)
    assert rows == [str(i) for i in range(1, len(steps) + 1)]
    for step in steps:
        assert step["title"] in words
        assert step["say"].replace("`", "") in words


@each_figure
def test_the_plain_text_tells_every_step(name: str) -> None:
    shown = data_of(drawn(name))
    steps = shown["steps"]
    lines = repr(drawn(name)).splitlines()
    assert len(lines) == 1 + len(steps)
    for number, (line, step) in enumerate(zip(lines[1:], steps, strict=True), 1):
        assert line.startswith(f"{number}. {step['title']} [")
        code = dict(shown["listings"][step["listing"]]["lines"])[step["line"]]
        assert f": {code.partition('  #')[0].strip()}]" in line
        assert line.endswith(step["say"])


@each_figure
def test_a_figure_is_small(name: str) -> None:
    assert len(drawn(name)._repr_html_()) < 50_000


@pytest.mark.parametrize("token", [HOSTILE, "<!--", "`", "\u2028", "&lt;", '"><img src=x>'])
def test_a_hostile_token_stays_text(token: str) -> None:
    tokens = [*labels(3), token]
    figures = [
        viz.step_scores(passes(), LAYER, tokens, step=0),
        viz.step_mask_softmax(passes(), LAYER, tokens, step=0),
        viz.step_score_v(passes(), LAYER, tokens, step=0),
    ]
    for figure in figures:
        page = figure._repr_html_()
        tags = [tag for tag, _ in Elements(page).found]
        usual = [tag for tag, _ in Elements(drawn("softmax")._repr_html_()).found]
        assert set(tags) <= set(usual)
        assert tags.count("script") == 2
        seen = [label for side in data_of(figure)["sides"] for label in side["labels"]]
        assert viz_labels.shortened(viz.token_label(token)) in seen


def test_the_scripts_comments_stay_at_home() -> None:
    script = (embed.STATIC / "stepper.js").read_text("utf-8")
    assert "// A stepper:" in script
    page = drawn("scores")._repr_html_()
    assert "// A stepper:" not in page
    assert "/*" not in re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]  # type: ignore[index]
    assert "class Stepper {" in page


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.step_scores(passes(), 7, labels(5)), "layers.7.self_attn.scores"),
        (lambda: viz.step_scores(passes(), 0, labels(4)), "expected 5 token labels"),
        (lambda: viz.step_scores(passes(), 0, labels(5), step=2), "pass of the 2 in the trace"),
        (lambda: viz.step_scores(passes(), 0, labels(5), step=-1), "got -1"),
        (lambda: viz.step_mask_softmax(passes(), 0, labels(5), head=6), "from 0 to 5, got 6"),
        (lambda: viz.step_score_v(passes(), 0, labels(5), kv_head=2), "from 0 to 1, got 2"),
        (lambda: viz.step_matmul(np.ones((2, 3)), np.ones((3, 2))), r"b \(n, k\), got \(2, 3\)"),
        (lambda: viz.step_matmul(whole([1, 2]), whole([1, 2]), beta=1.0), r"expected c \(1, 1\)"),
        (lambda: viz.step_matmul(*[whole([1, 2])] * 3, beta=1.0), r"got \(1, 2\)"),
        (lambda: viz.step_matmul(*[whole([1])] * 2, row_labels=["a", "b"]), "expected 1 token"),
        (lambda: viz.step_sampling(row()[None], WORDS, Sampling()), r"float32 \(1, 30\)"),
        (lambda: viz.step_sampling(row().astype(np.float64), WORDS, Sampling()), "got float64"),
        (lambda: viz.step_sampling(row(), WORDS[1:], Sampling()), "expected 30 labels"),
        (lambda: viz.step_sampling(row(), WORDS, Sampling(), top=0), "top of at least 1, got 0"),
        (lambda: viz.step_matmul(*[np.full((1, 1), np.nan)] * 2), "got NaN"),
        (lambda: viz.step_cost(tiny_config(), -1, 1e9, 1e9), "past ≥ 0"),
        (lambda: viz.step_cost(tiny_config(), 0, 0, 1e9), "speeds above 0"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], viz.Html], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_another_number_format_is_refused() -> None:
    model = tiny_model()
    with Trace() as trace:
        model.forward(PROMPT, trace=trace)
    records = trace.steps[0]
    name = "layers.0.self_attn.scores"
    changed = records[name].array.astype(np.float64)
    records[name] = type(records[name])(name, records[name].axes, changed, False, 0)
    with pytest.raises(InputError, match="float32 model, got float64"):
        viz.step_scores(trace, 0, labels(4))


def test_the_data_of_a_walk_is_what_the_page_reads() -> None:
    """The page's script is written for these keys, and the place of each value is part of them."""
    heads = Side("n_heads", ["h0", "h1"], 5, [("KV 0", 2)], narrow=1)
    keys = Side("total_seq", ["a", "b", "c"], 9)
    cells = np.array([[0.25, -1.0, -np.inf], [2.0, 0.0, 3.5]])
    link = Link("other", "row", "col")
    matrix = Matrix("scores", cells, heads, keys, "share", [link], "{row}", absent="masked")
    listing = Listing.of(attention.softmax)
    takes, gives = Operand("scores", ["seq", "total_seq"], [2, 3]), Operand("seed 3")
    step = Step(
        "exponentials", "Each `x` rises.", listing, "np.exp", [takes], [gives], ["m"], "grid",
        ("m", 1, 2),
    )  # fmt: skip
    side = {"axis": "n_heads", "labels": ["h0", "h1"], "total": 5, "groups": [["KV 0", 2]]}
    other = {"axis": "total_seq", "labels": ["a", "b", "c"], "total": 9, "groups": []}
    whole = Matrix("ids", np.array([[4.0, 5.0]]), Side("seq", ["a"], 1), Side("seq", ["a", "b"], 2))
    shown = data_of(stepper("A walk", [step], {"m": matrix, "n": whole}))
    assert shown == {
        "title": "A walk",
        "listings": [{"title": listing.title, "lines": [list(line) for line in listing.lines]}],
        "steps": [
            {
                "title": "exponentials",
                "say": "Each `x` rises.",
                "listing": 0,
                "line": listing.find("np.exp"),
                "in": [["scores", [["seq", 2], ["total_seq", 3]]]],
                "out": [["seed 3", []]],
                "show": ["m"],
                "layout": "grid",
                "at": ["m", 1, 2],
            }
        ],
        "matrices": {
            "m": {
                "name": "scores",
                "rows": 0,
                "cols": 1,
                "digits": 3,
                "values": [[250, -1000, None], [2000, 0, 3500]],
                "kind": "share",
                "links": [["other", "row", "col"]],
                "tell": "{row}",
                "absent": "masked",
            },
            "n": {
                "name": "ids",
                "rows": 2,
                "cols": 3,
                "digits": 0,
                "values": [[4, 5]],
                "kind": "signed",
                "links": [],
                "tell": "{row}, {col}: {value}",
                "absent": "−∞",
            },
        },
        "sides": [
            side | {"narrow": 1},
            other | {"narrow": 0},
            {"axis": "seq", "labels": ["a"], "total": 1, "groups": [], "narrow": 0},
            {"axis": "seq", "labels": ["a", "b"], "total": 2, "groups": [], "narrow": 0},
        ],
    }
    script = (embed.STATIC / "stepper.js").read_text("utf-8")
    for part in (shown, *shown["steps"], *shown["matrices"].values(), *shown["sides"]):
        for key in part:
            assert re.search(rf"\.{key}\b|\[?[{{,]\s*{key}\b", script), f"the page reads no {key}"


def test_a_matrix_and_its_labels_must_agree() -> None:
    side = Side("seq", ["a", "b"], 2)
    with pytest.raises(InputError, match=r"expected 2 × 2 entries of q, got \(2, 3\)"):
        Matrix("q", np.zeros((2, 3)), side, side).data([])


def test_an_operand_and_its_axes_must_agree() -> None:
    with pytest.raises(InputError, match=r"expected 2 axes \(seq head_dim\) of q, got \(3,\)"):
        Operand.of("q", np.zeros(3), "seq head_dim")


def test_a_step_shows_only_what_is_there() -> None:
    step = Step("t", "s", Listing.of(attention.softmax), "np.exp", [], [], ["gone"])
    with pytest.raises(InputError, match="to show, got 'gone'"):
        stepper("title", [step], {})


def test_words_in_the_table_are_escaped() -> None:
    step = Step("<b>", "a & b", Listing.of(attention.softmax), "np.exp", [], [], [])
    page = stepper("<title>", [step], {})._repr_html_()
    assert html_words.escape("<b>") in page
    assert "a &amp; b" in page
    assert "<title>" not in page
