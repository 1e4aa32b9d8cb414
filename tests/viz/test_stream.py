"""The figures of the stream: its ledger, a norm's stages, a gate's curve."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from helpers import tiny_model
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from picture_checks import CHECKS, drawn, shown_texts

from llama_edu import Trace, viz
from llama_edu.errors import InputError
from llama_edu.ops.norm import rms_norm
from llama_edu.viz.norm_mlp.ladder import COLUMNS

IDS = [3, 1, 4, 1, 5]


@cache
def trace(layers: int = 2) -> Trace:
    with Trace() as recorded:
        tiny_model(num_hidden_layers=layers).forward(IDS, trace=recorded)
    return recorded


def rows(*sizes: float) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((len(sizes), 20), dtype=np.float32)
    return x * np.float32(sizes)[:, None]


def stages(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ones = np.ones(x.shape[1], dtype=np.float32)
    return x, rms_norm(x, ones, 1e-6), rms_norm(x, ones / 4, 1e-6)


PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "ladder": lambda: viz.residual_ladder(trace()),
    "ladder of one layer": lambda: viz.residual_ladder(trace(1), 0),
    "ladder of many layers": lambda: viz.residual_ladder(trace(32)),
    "norm": lambda: viz.norm_stages(*stages(rows(900, 3, 2)), ["<|endoftext|>", " a", "b"]),
    "norm of many": lambda: viz.norm_stages(*stages(rows(*range(1, 25))), ["word"] * 24),
    "norm of zeros": lambda: viz.norm_stages(*[np.zeros((1, 4))] * 3, ["a"]),
    "gate": lambda: viz.silu_gate(rows(1, 2, 3)),
    "unit": lambda: viz.mlp_unit([2, -1], [1, 0], [1, 1], [0, 5]),
    "unit of wide numbers": lambda: viz.mlp_unit(*np.float32([[-1.25, -0.5]] * 4)),
    "gate far out": lambda: viz.silu_gate(np.float32([-200, 200])),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_is_fit_for_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def texts(picture: viz.Picture) -> list[str]:
    return [text.get_text() for text in shown_texts(picture.figure)]


def bars(ax: Axes, left: float) -> list[float]:
    """The lengths of the bars that begin at `left` inches, from the top."""
    found = [p for p in ax.patches if isinstance(p, Rectangle) and abs(p.get_x() - left) < 1e-6]
    return [p.get_width() for p in sorted(found, key=lambda p: p.get_y())]


@pytest.mark.parametrize("position", [0, 2, -1])
def test_the_ladder_draws_the_lengths_of_the_trace(position: int) -> None:
    picture = viz.residual_ladder(trace(), position)
    records = {record.name: record.array[position] for record in trace() if record.array.ndim == 2}
    names = ["self_attn.o_proj", "attn_residual", "mlp.down_proj", "mlp_residual"]
    lengths = [np.linalg.norm(records[f"layers.{i}.{name}"]) for i in (0, 1) for name in names]
    start = np.linalg.norm(records["embed_tokens"])
    stream = bars(picture.figure.axes[0], COLUMNS[1])
    np.testing.assert_allclose(
        np.array(stream) / stream[0], np.array([start, *lengths[1::2]]) / start, rtol=1e-5
    )
    added = bars(picture.figure.axes[0], COLUMNS[0])[1:]  # the first is the key's square
    np.testing.assert_allclose(
        np.array(added) / stream[0], np.array(lengths[0::2]) / start, rtol=1e-5
    )
    said = texts(picture)
    assert {f"{length:.1f}" for length in (start, *lengths)} <= set(said)
    assert f"layer 1 MLP adds {lengths[6]:.1f}, after it {lengths[7]:.1f}" in picture.alt
    assert f"token {position % len(IDS)} of {len(IDS)}" in picture.alt


def test_a_long_ladder_names_its_longest_entry() -> None:
    recorded = {record.name: record.array for record in trace(32)}
    lengths = {
        (i, name): np.linalg.norm(recorded[f"layers.{i}.{part}"][-1])
        for i in range(32)
        for name, part in (("attention", "self_attn.o_proj"), ("MLP", "mlp.down_proj"))
    }
    layer, name = max(lengths, key=lambda key: lengths[key])
    picture = viz.residual_ladder(trace(32))
    assert f"by the {name} of layer {layer}." in picture.alt
    assert {"layer 5", "layer 30"} <= set(texts(picture))


def test_the_ladder_reads_the_newest_forward_pass() -> None:
    with Trace() as recorded:
        tiny_model().forward([7, 8], trace=recorded)
        tiny_model().forward(IDS, trace=recorded)
    assert viz.residual_ladder(recorded).alt == viz.residual_ladder(trace()).alt


@pytest.mark.parametrize("position", [5, -6])
def test_a_token_that_is_not_there_has_no_ladder(position: int) -> None:
    with pytest.raises(InputError, match=f"from -5 to 4, got {position}"):
        viz.residual_ladder(trace(), position)
    with pytest.raises(InputError, match="without embed_tokens"):
        viz.residual_ladder([])


def test_norm_stages_show_root_mean_squares() -> None:
    picture = viz.norm_stages(*stages(rows(900, 3, 2)), ["big", "mid", "low"])
    sizes = np.sqrt(np.mean(rows(900, 3, 2) ** 2, axis=-1))
    said = texts(picture)
    assert {f"{sizes[0]:.0f}", *(f"{size:.2f}" for size in sizes[1:])} <= set(said)
    assert said.count("1.00") == 3
    assert said.count("0.25") == 3
    assert "the smallest “low”, the largest “big”" in picture.alt


@pytest.mark.parametrize(
    ("arrays", "tokens", "message"),
    [
        ([np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 4))], ["a", "b"], "of one shape"),
        ([np.ones(3)] * 3, ["a"], "of one shape"),
        ([np.ones((25, 3))] * 3, ["a"] * 25, "at most 24 tokens"),
        ([np.ones((2, 3))] * 3, ["a"], "expected 2 token labels"),
    ],
)
def test_stages_that_do_not_fit_are_refused(
    arrays: list[np.ndarray], tokens: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        viz.norm_stages(*arrays, tokens)


def test_every_gate_value_is_counted() -> None:
    values = np.float32([-200, -5.9, -0.1, 0.1, 0.2, 7.0])
    picture = viz.silu_gate(values)
    heights = [p.get_height() for p in picture.figure.axes[-1].patches]
    assert sum(heights) == pytest.approx(1)
    assert heights[0] == pytest.approx(2 / 6)  # −200 and −5.9 stand in the outermost bar
    assert "6 gate values from -200.0 to 7.0: 50% are negative, 17% above 1" in picture.alt


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_a_gate_without_finite_numbers_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError, match="at least 1 finite number"):
        viz.silu_gate(np.array(values))


def test_a_unit_shows_what_it_computes() -> None:
    picture = viz.mlp_unit([2, -1], [1, 0], [1, 1], [0, 5])
    assert {"gate 2", "opened to 1.76", "offer 1", "1.76 · 1 = 1.76", "8.81"} <= set(texts(picture))
    shut = viz.mlp_unit([-20, 3], [1, 0], [0, 1], [1, 1])
    assert "the gate is −20, opened to 0." in shut.alt


def test_numbers_too_long_for_their_cells_are_refused() -> None:
    with pytest.raises(InputError, match="at most 5 characters"):
        viz.mlp_unit([1234.5, 0], [1, 0], [1, 0], [1, 0.5])


@pytest.mark.parametrize("lists", [([1, 2], [1], [1, 2], [1, 2]), ([1] * 4,) * 4, ([],) * 4])
def test_lists_that_do_not_fit_a_unit_are_refused(lists: tuple[list[float], ...]) -> None:
    with pytest.raises(InputError, match="four lists of the same 1 to 2 numbers"):
        viz.mlp_unit(*lists)
