"""The whole model's figures: the parity staircase, the parameter treemap, the shape ledger."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers import tiny_config, tiny_model
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from picture_checks import CHECKS, drawn

from llama_edu import Trace, viz
from llama_edu.errors import InputError
from llama_edu.formats.tensor_shapes import expected_shapes
from llama_edu.viz.model.treemap import Area, squarified

LAYERS = [f"layers.{i}.{part}" for i in range(3) for part in ("self_attn.scores", "mlp.gated")]
NAMES = ["embed_tokens", *LAYERS, "norm", "logits"]
FINE = {name: (i + 1) * 1e-7 for i, name in enumerate(NAMES)}
MANY = {f"layers.{i}.{j}": 1e-7 for i in range(30) for j in range(21)}


def sizes_of(**changes: object) -> dict[str, int]:
    shapes = expected_shapes(tiny_config(**changes))
    return {name: int(np.prod(shape)) for name, shape in shapes.items()}


SHARES = np.array([[0.1, 0.2, 0.3], [0.25, 0.87, 0.0]])

PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "agrees": lambda: viz.parity_staircase(FINE, bound=2e-5),
    "jumps early": lambda: viz.parity_staircase(FINE | {NAMES[1]: 0.3}, bound=2e-5),
    "jumps late": lambda: viz.parity_staircase(FINE | {"logits": np.inf}, bound=2e-5),
    "jumps first": lambda: viz.parity_staircase(FINE | {"embed_tokens": np.nan}, bound=2e-5),
    "one array": lambda: viz.parity_staircase({"logits": 0.0}, bound=1e-5),
    "many arrays": lambda: viz.parity_staircase(MANY | {"logits": 2.0}, bound=2e-5),
    "tied": lambda: viz.parameter_treemap(
        {name: n for name, n in sizes_of().items() if name != "lm_head.weight"}
    ),
    "untied": lambda: viz.parameter_treemap(sizes_of(vocab_size=90, num_hidden_layers=3)),
    "many layers": lambda: viz.parameter_treemap(sizes_of(num_hidden_layers=30)),
    "ranks": lambda: viz.rank_by_layer(
        [9, 3], [8, 1], "Paris", 20, {"Rome": [7, 5], "b": [19, 20]}
    ),
    "heads": lambda: viz.head_map(SHARES, "attention"),
    "one head": lambda: viz.head_map(np.array([[0.5]]), "attention", lowest=True),
    "a table alone": lambda: viz.parameter_treemap({"lm_head.weight": 7}),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def said(picture: viz.Picture) -> list[str]:
    return [text.get_text() for text in picture.figure.findobj(Text) if text.get_text()]


def test_agreement_is_said_without_sizes_that_differ_between_processors() -> None:
    picture = PICTURES["agrees"]()
    assert "9 arrays" in picture.alt
    assert "All stay below the bound of 2e-05." in picture.alt
    assert "1e-07" not in picture.alt
    assert "agree up to rounding" in picture.caption


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ({"layers.1.mlp.gated": 1e-3}, "is layers.1.mlp.gated; the 4 before it stay below"),
        ({"layers.1.mlp.gated": 2e-5}, "All stay below"),  # the bound itself is allowed
        (
            {"layers.1.mlp.gated": np.nan, "logits": 5.0},
            "is layers.1.mlp.gated; the 4 before it stay below",
        ),
        ({"embed_tokens": np.inf}, "is embed_tokens; it is the first of all"),
    ],
)
def test_the_first_jump_is_named(gaps: dict[str, float], words: str) -> None:
    picture = viz.parity_staircase(FINE | gaps, bound=2e-5)
    assert words in picture.alt
    named = "beyond" in picture.alt
    assert (next(iter(gaps)) in said(picture)) == named
    assert (next(iter(gaps)) in picture.caption) == named


def test_every_array_has_its_point_at_its_height() -> None:
    picture = viz.parity_staircase(FINE | {"norm": 0.5, "embed_tokens": 0.0}, bound=2e-5)
    ax = picture.figure.axes[1]
    points = {
        int(x): y for line in ax.lines if line.get_marker() in "oD" for x, y in line.get_xydata()
    }
    assert len(points) == len(NAMES)
    assert points[NAMES.index("norm")] == pytest.approx(0.5)
    assert points[2] == pytest.approx(3e-7)
    assert points[0] == pytest.approx(1e-9)  # equal to the last bit


@pytest.mark.parametrize(
    ("lowest", "label"), [(0.0, "0"), (1e-11, "less"), (2e-9, None), (np.inf, None)]
)
def test_the_floor_has_its_own_mark(lowest: float, label: str | None) -> None:
    words = said(viz.parity_staircase(FINE | {"embed_tokens": lowest}, bound=2e-5))
    assert {"0", "less"} & set(words) == ({label} if label else set())


@pytest.mark.parametrize("first", range(0, 45, 4))
def test_the_name_of_the_first_jump_stays_inside_the_panel(first: int) -> None:
    name = "layers.1.self_attn.k_proj"
    gaps = {f"array {i}": 1e-7 for i in range(first)} | {name: 0.9}
    gaps |= {f"array {i}": 0.5 for i in range(first + 1, 45)}
    figure = viz.parity_staircase(gaps, bound=2e-5).figure
    ax = figure.axes[1]
    figure.canvas.draw()
    box = next(text for text in ax.texts if text.get_text() == name).get_window_extent()
    assert ax.bbox.x0 <= box.x0
    assert box.x1 <= ax.bbox.x1


def test_layers_are_named_where_there_is_room() -> None:
    assert {"layer 0", "layer 1", "layer 2"} <= set(said(PICTURES["agrees"]()))
    words = said(PICTURES["many arrays"]())
    assert "layer 0" in words
    assert "25" in words
    assert "26" not in words


@pytest.mark.parametrize(
    ("gaps", "bound", "message"),
    [
        ({}, 1e-5, "at least one array"),
        ({"logits": -1.0}, 1e-5, "gaps of 0 or more"),
        ({"logits": 1.0}, 0.0, "a positive bound"),
    ],
)
def test_a_staircase_refuses(gaps: dict[str, float], bound: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        viz.parity_staircase(gaps, bound=bound)


def test_every_rectangle_is_as_large_as_its_share() -> None:
    sizes = {"a": 60, "b": 30, "c": 5, "d": 4, "e": 1}
    areas = squarified(sizes, Area(1.0, 2.0, 5.0, 3.0))
    assert areas.keys() == sizes.keys()
    for name, area in areas.items():
        assert area.width * area.height == pytest.approx(15 * sizes[name] / 100)
        assert area.x >= 1 - 1e-9
        assert area.x + area.width <= 6 + 1e-9
        assert area.y >= 2 - 1e-9
        assert area.y + area.height <= 5 + 1e-9
    places = list(areas.values())
    for i, one in enumerate(places):
        for two in places[i + 1 :]:
            across = min(one.x + one.width, two.x + two.width) - max(one.x, two.x)
            down = min(one.y + one.height, two.y + two.height) - max(one.y, two.y)
            assert across < 1e-9 or down < 1e-9, "two rectangles overlap"


def test_equal_shares_come_near_to_squares() -> None:
    areas = squarified(dict.fromkeys("abcdef", 1), Area(0.0, 0.0, 3.0, 2.0))
    for area in areas.values():
        assert max(area.width / area.height, area.height / area.width) < 1.6


def test_the_treemap_says_the_shares() -> None:
    sizes = sizes_of()
    total = sum(sizes.values())
    tables = sizes["model.embed_tokens.weight"] + sizes["lm_head.weight"]
    picture = viz.parameter_treemap(sizes)
    assert f"{total:,} numbers in {len(sizes)} tensors" in picture.alt
    assert f"embedding, head {100 * tables / total:.1f}%" in picture.alt
    layer = sum(n for name, n in sizes.items() if name.startswith("model.layers.0."))
    assert f"2 layers of {layer:,} numbers each." in picture.alt
    frames = [
        patch
        for patch in picture.figure.axes[0].patches
        if isinstance(patch, Rectangle) and not patch.get_fill()
    ]
    assert len(frames) == 2


def test_names_stand_on_the_tensors_of_few_layers_only() -> None:
    few, many = said(PICTURES["untied"]()), said(PICTURES["many layers"]())
    assert {"gate", "up", "down"} <= set(few)
    assert any(text.startswith("lm_head") for text in few)
    assert not {"gate", "up", "down", "q"} & set(many)


def test_a_treemap_refuses_nothing_and_less_than_one() -> None:
    for sizes in ({}, {"lm_head.weight": 0}):
        with pytest.raises(InputError, match="at least 1 number each"):
            viz.parameter_treemap(sizes)


def traced(*calls: list[int]) -> Trace:
    model = tiny_model()
    cache = model.new_cache()
    with Trace() as trace:
        for ids in calls:
            model.forward(ids, cache, trace=trace)
    return trace


def test_the_ledger_has_each_name_once_and_a_shape_per_call() -> None:
    ledger = viz.shape_ledger(traced([3, 1, 4], [1]), notes={"logits": "the answer"})
    lines = str(ledger).splitlines()
    assert len(lines) == 1 + 1 + 21 + 2
    assert lines[0].split() == ["name", "axes", "call", "0", "call", "1", "note"]
    (scores,) = [line for line in lines if ".scores " in line]
    assert "layers.*.self_attn.scores" in scores
    assert "(2, 3, 3, 3)" in scores
    assert "(2, 3, 1, 4)" in scores
    assert lines[-1].endswith("the answer")
    assert ledger.html.count("<tr>") == 1 + 24 + 7  # titles, rows, and a row where a module begins


def test_the_ledger_of_one_call_has_one_column_of_shapes() -> None:
    ledger = viz.shape_ledger(traced([3, 1, 4]))
    assert str(ledger).splitlines()[0].split() == ["name", "axes", "shape"]
    assert "2 times" in ledger.html


def test_a_ledger_refuses() -> None:
    with pytest.raises(InputError, match="at least one record"):
        viz.shape_ledger([])
    with pytest.raises(InputError, match="recorded names, got scores"):
        viz.shape_ledger(traced([3]), notes={"scores": "chapter 6"})
    records = [*traced([3, 1]), *traced([3])]
    with pytest.raises(InputError, match=r"expected embed_tokens to be \(2, 20\) in every layer"):
        viz.shape_ledger(records)


def test_a_map_of_heads_frames_the_largest_or_the_smallest_share() -> None:
    largest = viz.head_map(SHARES, "attention", first_layer=18)
    assert (
        "The largest is 87% at head 1 of layer 19, the next 30% at head 2 of layer 18"
        in largest.alt
    )
    frames = {
        line.get_linewidth(): line.get_xydata().mean(axis=0).round().tolist()
        for line in largest.figure.axes[1].lines
    }
    assert frames == {1.8: [1, 1], 0.8: [0, 2]}
    smallest = viz.head_map(SHARES, "attention", lowest=True)
    assert (
        "The smallest is 0% at head 2 of layer 1, the next 10% at head 0 of layer 0" in smallest.alt
    )
    for wrong in (SHARES[0], SHARES + 1, np.zeros((81, 2))):
        with pytest.raises(InputError):
            viz.head_map(wrong, "attention")


def test_ranks_of_other_words_are_told_at_the_jump() -> None:
    picture = viz.rank_by_layer([9, 3], [8, 1], "Paris", 20, {"Rome": [7, 5]})
    assert "“Rome” stands between 5 and 7, at 5 after layer 1 and at 5 in the end." in picture.alt
    for others in ({"Rome": [7]}, {"Rome": [7, 21]}, {name: [7, 5] for name in "abc"}):
        with pytest.raises(InputError):
            viz.rank_by_layer([9, 3], [8, 1], "Paris", 20, others)
