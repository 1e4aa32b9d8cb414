"""The figures: what they draw is what they were given, and what they say is what they draw.

Colours are measured under simulated colour-blindness. Every figure is searched for words that are
too small, fall off the page, or run into each other.
"""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from figure_samples import masked, scores, softmax, texts, weights, words
from helpers import TINY, tiny_model
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure
from picture_checks import CHECKS, shown_texts

import llama_edu.viz.parts.axes as viz_axes
from llama_edu import KVCache, Trace, viz
from llama_edu.errors import CheckpointError, InputError
from llama_edu.formats.safetensors import read_header, save_file
from llama_edu.viz.attention.maps import stacked
from llama_edu.viz.parts.heatmap import signed
from llama_edu.viz.parts.labels import byte_count, shortened

DARK_PAGE = "#14181e"
COLORS = {"light": "color", "dark": "dark"}

# --- samples -------------------------------------------------------------------------------------


def decoded(n_kv_heads: int, n_groups: int, prompt: int, steps: int) -> list[np.ndarray]:
    first = weights(n_kv_heads, n_groups, prompt, prompt)
    rest = [weights(n_kv_heads, n_groups, 1, prompt + i + 1, seed=i + 1) for i in range(steps)]
    return [first, *rest]


@cache
def checkpoint(dtype: str = "F32") -> bytes:
    """A file like a real one, as bytes."""
    rng = np.random.default_rng(3)
    to = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}[dtype]
    shapes = {
        "model.embed_tokens.weight": (31, 20),
        "model.layers.0.self_attn.q_proj.weight": (48, 20),
        "model.layers.0.mlp.up_proj.weight": (27, 20),
        "model.layers.0.input_layernorm.weight": (20,),
        "model.layers.1.mlp.up_proj.weight": (27, 20),
        "model.norm.weight": (20,),
    }
    tensors = {n: rng.standard_normal(s, dtype=np.float32).astype(to) for n, s in shapes.items()}
    path = Path(cache_folder()) / f"{dtype}.safetensors"
    save_file(tensors, path)
    return path.read_bytes()


@cache
def cache_folder() -> str:
    import tempfile

    return tempfile.mkdtemp()


PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "hex_map f32": lambda: viz.hex_map(checkpoint()),
    "hex_map bf16": lambda: viz.hex_map(checkpoint("BF16"), tensors=3),
    "hex_map empty": lambda: viz.hex_map(struct.pack("<Q", 2) + b"{}"),
    "dtype_bits": lambda: viz.dtype_bits(-0.1),
    "dtype_bits huge": lambda: viz.dtype_bits(3.4e38),
    "dtype_bits tiny": lambda: viz.dtype_bits(-1.17549435e-38),
    "byte_offsets": lambda: viz.byte_offsets(read_header(checkpoint())),
    "byte_histogram": lambda: viz.byte_histogram(scores(40, 50), 4),
    "head_wiring 8/4": lambda: viz.head_wiring(8, 4),
    "head_wiring 9/3": lambda: viz.head_wiring(9, 3),
    "head_wiring 32/8": lambda: viz.head_wiring(32, 8),
    "head_wiring 7/7": lambda: viz.head_wiring(7, 7),
    "head_wiring 32/1": lambda: viz.head_wiring(32, 1),
    "block_grid by hand": lambda: viz.block_grid(2, 3, 4, 5, 6),
    "block_grid story": lambda: viz.block_grid(4, 2, 6, 6, 16),
    "block_grid decode": lambda: viz.block_grid(4, 2, 1, 12, 16),
    "block_grid many": lambda: viz.block_grid(8, 4, 7, 30, 128),
    "block_grid very many": lambda: viz.block_grid(2, 32, 3, 9, 64),
    "block_grid one row of many": lambda: viz.block_grid(1, 12, 5, 5, 8),
    "attention_maps one of each": lambda: viz.attention_maps(weights(1, 1, 1, 1), ["a"]),
    "attention_maps 1x8": lambda: viz.attention_maps(weights(1, 8, 40, 40), words(40)),
    "block_grid smollm2": lambda: viz.block_grid(3, 3, 12, 12, 64),
    "attention_maps": lambda: viz.attention_maps(weights(4, 2, 6, 6), words(6), layer=0),
    "attention_maps decode": lambda: viz.attention_maps(decoded(4, 2, 6, 5), words(11)),
    "attention_maps one row": lambda: viz.attention_maps(weights(4, 2, 1, 7), words(7)),
    "attention_maps 3x3": lambda: viz.attention_maps(decoded(3, 3, 12, 8), words(20), layer=29),
    "attention_maps only": lambda: viz.attention_maps(weights(3, 3, 8, 8), words(8), only=7),
    "attention_maps 1x1": lambda: viz.attention_maps(weights(1, 1, 5, 5), words(5)),
    "score_maps": lambda: viz.score_maps(scores(4, 2, 6, 6), words(6), layer=1),
    "score_maps masked": lambda: viz.score_maps(masked(scores(2, 3, 4, 5)), words(5)),
    "attention_atlas": lambda: viz.attention_atlas([weights(4, 2, 9, 9)] * 2),
    "attention_atlas 3x3": lambda: viz.attention_atlas(
        [decoded(3, 3, 9, 4)] * 3, layers=[1, 17, 29]
    ),
    "score_triptych": lambda: triptych(6, 6),
    "score_triptych past": lambda: triptych(3, 8),
    "score_triptych long": lambda: triptych(12, 12),
    "work": lambda: viz.work_with_and_without_cache([6, 1, 1, 1, 1], [6, 7, 8, 9, 10]),
    "work long": lambda: viz.work_with_and_without_cache([20] + [1] * 39, list(range(20, 60))),
    "attention_by_call": lambda: viz.attention_by_call(by_call(), words(9), [0, 5]),
    "cache_growth": lambda: growth([6, 64, 512]),
    "cache_growth smollm2": lambda: viz.cache_growth(
        [1024, 8192],
        [46080 * 1024, 46080 * 8192],
        layers=30,
        n_kv_heads=3,
        head_dim=64,
        n_heads=9,
    ),
    "probability_bars": lambda: viz.probability_bars(
        softmax(scores(300)), [f" w{i}" for i in range(300)], chosen=4, kept=7
    ),
}


def triptych(seq: int, total_seq: int) -> viz.Picture:
    raw = scores(seq, total_seq)
    return viz.score_triptych(raw, masked(raw), softmax(masked(raw)), words(total_seq), head=3)


def by_call() -> list[np.ndarray]:
    """A prefill of 6 tokens and three decode steps."""
    whole = weights(4, 2, 9, 9)
    return [whole[:, :, :6, :6], *(whole[:, :, i : i + 1, : i + 1] for i in (6, 7, 8))]


def growth(lengths: list[int]) -> viz.Picture:
    cache = KVCache(n_layers=2, n_kv_heads=4, head_dim=16, max_seq=512)
    per_position = 2 * 2 * 4 * 16 * 4
    nbytes = []
    for length in lengths:
        cache.length = length
        nbytes.append(cache.nbytes)
    assert nbytes == [per_position * length for length in lengths]
    return viz.cache_growth(lengths, nbytes, layers=2, n_kv_heads=4, head_dim=16, n_heads=8)


@cache
def drawn(name: str) -> viz.Picture:
    return PICTURES[name]()


# --- colours -------------------------------------------------------------------------------------

# Severe deficiency, linear RGB: Machado, Oliveira and Fernandes, "A Physiologically-based Model
# for Simulation of Color Vision Deficiency" (2009), table 1.
EYES = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(color: str | np.ndarray) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(color: str | np.ndarray, eyes: np.ndarray = EYES["usual"]) -> np.ndarray:
    """CIELAB under D65, as seen through `eyes`."""
    xyz = XYZ @ np.clip(eyes @ linear(color), 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def delta_e(one: np.ndarray, two: np.ndarray) -> float:
    """CIEDE2000 (Sharma, Wu and Dalal, 2005)."""
    mean_c = (np.hypot(*one[1:]) + np.hypot(*two[1:])) / 2
    g = 1.5 - 0.5 * np.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    (l1, a1, b1), (l2, a2, b2) = one * (1, g, 1), two * (1, g, 1)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    dh = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    dh_term = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    mean_l, c = (l1 + l2) / 2, (c1 + c2) / 2
    h = (h1 + h2) / 2 + (180 if abs(h1 - h2) > 180 else 0) if c1 * c2 else h1 + h2
    cos = lambda degrees: np.cos(np.radians(degrees))  # noqa: E731
    t = 1 - 0.17 * cos(h - 30) + 0.24 * cos(2 * h) + 0.32 * cos(3 * h + 6) - 0.2 * cos(4 * h - 63)
    turn = 60 * np.exp(-((((h % 360) - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(c**7 / (c**7 + 25**7)) * np.sin(np.radians(turn))
    sl = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    terms = (l2 - l1) / sl, (c2 - c1) / (1 + 0.045 * c), dh_term / (1 + 0.015 * c * t)
    return float(np.sqrt(sum(x * x for x in terms) + rotation * terms[1] * terms[2]))


@pytest.mark.parametrize(
    ("one", "two", "distance"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ],
)
def test_our_ruler_for_colours_gives_the_published_distances(
    one: tuple[float, ...], two: tuple[float, ...], distance: float
) -> None:
    assert delta_e(np.array(one), np.array(two)) == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("name", ["bytes/filemap", "norm_mlp/ladder", "model/treemap"])
def test_figures_of_the_models_parts_have_no_colours_of_their_own(name: str) -> None:
    source = (Path(viz.__file__).parent / f"{name}.py").read_text("utf-8")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", source) == []
    assert "PARTS[" in source


def test_a_tint_lies_between_its_colour_and_white() -> None:
    assert viz_axes.tinted("#9a1408", 1.0) == "#9a1408"
    assert viz_axes.tinted("#9a1408", 0.0) == "#ffffff"
    assert viz_axes.tinted("#000000", 0.2) == "#cccccc"


def contrast(one: str, two: str) -> float:
    """WCAG 2.2 contrast ratio."""
    high, low = sorted((float(XYZ[1] @ linear(c)) + 0.05 for c in (one, two)), reverse=True)
    return high / low


# The sets whose members meet in one array or one figure, and so must differ at a glance.
TOGETHER = (
    frozenset(viz.AXES) - {"hidden_size", "intermediate_size", "vocab_size"},  # attention
    frozenset(viz.AXES) - {"past", "total_seq", "n_groups", "layers"},  # activations, weights
    frozenset({"layers", "hidden_size", "intermediate_size", "vocab_size"}),  # sizes of a config
)


@pytest.mark.parametrize("name", viz.AXES)
def test_an_axis_is_readable_on_its_page(name: str) -> None:
    assert contrast(viz.axis(name).color, "#ffffff") >= 4.5
    assert contrast(viz.axis(name).dark, DARK_PAGE) >= 4.5


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("page", COLORS)
def test_axes_that_meet_stay_apart_for_every_eye(page: str, eyes: str) -> None:
    for group in TOGETHER:
        for one, two in itertools.combinations(sorted(group), 2):
            seen = [lab(getattr(viz.axis(name), COLORS[page]), EYES[eyes]) for name in (one, two)]
            assert delta_e(*seen) >= 10, (one, two)


def test_axes_have_letters_and_patterns_of_their_own() -> None:
    known = viz.AXES.values()
    for field in ("letter", "color", "dark", "hatch"):
        assert len({getattr(axis, field) for axis in known}) == len(known), field
    assert len({viz_axes.hatched(name) for name in viz.AXES}) == len(known)
    assert {name for group in TOGETHER for name in group} == set(viz.AXES)


def test_every_axis_of_a_trace_is_in_the_vocabulary_and_meets_only_axes_it_differs_from() -> None:
    with Trace() as trace:
        tiny_model().forward([1, 2, 3], trace=trace)
    assert len(trace) > 30
    for record in trace:
        names = {part for axis in record.axes for part in axis.split("*") if not part.isdigit()}
        assert names <= set(viz.AXES), record.name
        assert any(names <= group for group in TOGETHER), record.name


def lightness(colors: Colormap, eyes: str, count: int = 33) -> np.ndarray:
    return np.array([lab(np.array(colors(x)[:3]), EYES[eyes])[0] for x in np.linspace(0, 1, count)])


@pytest.mark.parametrize("eyes", EYES)
def test_weights_darken_evenly_for_every_eye(eyes: str) -> None:
    steps = -np.diff(lightness(viz_axes.WEIGHTS_MAP, eyes))
    assert steps.min() > 0
    assert steps.max() < 2.2 * steps.mean()


@pytest.mark.parametrize("eyes", EYES)
def test_scores_darken_away_from_zero_and_differ_by_sign_for_every_eye(eyes: str) -> None:
    levels = lightness(viz_axes.SCORES_MAP, eyes)
    assert np.all(np.diff(levels[:17]) > 0)
    assert np.all(np.diff(levels[16:]) < 0)
    for x in (0.15, 0.3, 0.5):
        ends = [np.array(viz_axes.SCORES_MAP(0.5 + side * x)[:3]) for side in (-1, 1)]
        assert delta_e(*(lab(end, EYES[eyes]) for end in ends)) > 12
    assert contrast(np.array(viz_axes.SCORES_MAP(0.5)[:3]), "#ffffff") < 1.1  # 0 is white


# --- every picture -------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_fit_for_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(name))


def test_the_same_numbers_give_the_same_bytes() -> None:
    for name in ("attention_maps", "hex_map f32", "cache_growth"):
        assert PICTURES[name]().svg == drawn(name).svg


def test_the_readers_settings_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "figure.dpi": 50}):
        assert PICTURES["cache_growth"]().svg == drawn("cache_growth").svg
        assert matplotlib.rcParams["font.size"] == 30


def test_a_picture_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="text alternative"):
        viz.Picture(Figure(), alt=" \n", caption="A figure.")


def test_other_words_under_the_same_picture() -> None:
    picture = drawn("head_wiring 8/4")
    other = picture.with_caption("Heads <shared>.")
    assert (other.svg, other.alt) == (picture.svg, picture.alt)
    assert "<figcaption>Heads &lt;shared&gt;.</figcaption>" in other._repr_html_()
    assert "shared>" not in picture._repr_html_()


def test_drawing_needs_no_pyplot_and_no_window() -> None:
    code = (
        "import sys; from llama_edu import viz; viz.head_wiring(8, 4);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "label"),
    [
        (b" cat", "·cat"),
        (" cat", "·cat"),
        ("▁cat", "·cat"),
        ("Ġcat", "·cat"),
        (b"\n", "⏎"),
        ("Ċ", "⏎"),
        ("<0x0A>", "⏎"),
        ("<0xE4>", "<E4>"),
        (b"\t", "⇥"),
        (b"\xe4\xbd", "<E4BD>"),
        ("你".encode(), "<E4BDA0>"),
        ("👋".encode(), "<F09F918B>"),
        ("naïve", "naïve"),
        ("ключ".encode(), "ключ"),
        ("“so”…".encode(), "“so”…"),
        ("\u0120".encode(), "<C4A0>"),  # the letter Ġ itself, when the bytes are known
        (b"\x00", "<00>"),
        (b"", "∅"),
        ("\ud83d", "<EDA0BD>"),
        ("$x$", "$x$"),
        ("<|im_end|>", "<|im_end|>"),
    ],
)
def test_token_labels_are_readable_in_one_font(token: str | bytes, label: str) -> None:
    assert viz.token_label(token) == label
    assert viz.token_label(label) == label or label.startswith("<0x")


def test_labels_of_ids_come_from_the_tokenizers_bytes() -> None:
    class Bytes:
        def token_bytes(self, token_id: int) -> bytes:
            return {3: b" a", 7: b"\xf0\x9f"}[token_id]

    assert viz.token_labels(Bytes(), np.array([7, 3])) == ["<F09F>", "·a"]


def test_any_token_can_be_drawn_without_a_missing_glyph() -> None:
    odd = ["你好", "👋", "\u202eabc", "$\\frac", "é", "ﷺ", b"\xff\xfe", "\x07"]
    viz.attention_maps(weights(1, 2, 8, 8), odd)  # a missing glyph would be a warning: an error


def test_long_labels_are_cut_in_the_middle() -> None:
    assert shortened("<|endoftext|>") == "<|endo…t|>"
    assert shortened("0123456789") == "0123456789"


def test_byte_counts_are_in_thousands() -> None:
    assert [byte_count(n) for n in (0, 999, 65_536, 1_048_576, 269_060_544, 3 * 10**9)] == [
        "0 B",
        "999 B",
        "65.5 kB",
        "1.05 MB",
        "269 MB",
        "3 GB",
    ]


# --- axes and tables -----------------------------------------------------------------------------


def test_a_chip_names_its_axis_and_a_product_names_both() -> None:
    assert ">k</span>n_kv_heads</span>" in viz.chip("n_kv_heads")
    assert viz.axis("n_kv_heads").color in viz.chip("n_kv_heads")
    product = re.sub(r"<[^>]+>", "", viz.chip("n_heads*head_dim"))
    assert product.replace("\u202f", "") == "hn_heads×dhead_dim"
    assert viz.chip("1") == "1"


@pytest.mark.parametrize("name", ["kv_groups", "", "n_heads*dim"])
def test_an_axis_outside_the_vocabulary_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected an axis among seq, past"):
        viz.chip(name)


def test_a_legend_gives_sizes_and_meanings() -> None:
    legend = viz.axis_legend("seq", "vocab_size", sizes={"vocab_size": 49152})
    assert repr(legend) == (
        "s  seq: tokens in this call\nv  vocab_size = 49,152: tokens the model knows"
    )
    assert "<b> = 49,152</b>" in legend._repr_html_()
    assert viz_axes.hatched("seq") in legend._repr_html_()
    assert len(repr(viz.axis_legend()).splitlines()) == len(viz.AXES)


@cache
def two_steps() -> Trace:
    model = tiny_model()
    kv = model.new_cache()
    with Trace() as trace:
        model.forward([1, 2, 3, 4], kv, trace=trace)
        model.forward([5], kv, trace=trace, last_only=True)
    return trace


def test_the_shape_table_holds_the_traces_facts() -> None:
    table = viz.shape_table(two_steps(), ["layers.1.self_attn.*s", "logits"], step=0)
    lines = repr(table).splitlines()
    assert lines[0].split() == ["name", "axes", "shape", "dtype", "bytes", "memory"]
    scores_line = next(line for line in lines if "self_attn.scores" in line)
    assert re.split(r"\s{2,}", scores_line) == [
        "layers.1.self_attn.scores",
        "n_kv_heads, n_groups, seq, total_seq",
        "(2, 3, 4, 4)",
        "float32",
        "384",
        "own",
    ]
    assert "view" in next(line for line in lines if "self_attn.keys" in line)
    assert "q_proj" not in repr(table)
    html = table._repr_html_()
    assert "<code>masked_scores</code>" in html
    assert "<code>layers.1.self_attn</code>" in html
    sizes = re.sub(r"<[^>]+>", "", html[html.index("<code>scores") :])
    assert sizes.startswith("scoresk2 × g3 × s4 × t4float32384own")


def test_the_shape_table_tells_forward_passes_apart() -> None:
    table = viz.shape_table(two_steps(), ["layers.0.self_attn.scores", "logits"])
    assert "step" in repr(table).splitlines()[0]
    assert "(2, 3, 1, 5)" in repr(table)
    assert "(1, 31)" in repr(table)
    assert "forward pass 0" in table._repr_html_()
    assert "forward pass 1" in table._repr_html_()
    assert "step" not in repr(viz.shape_table(two_steps(), step=1)).splitlines()[0]


def test_every_record_can_stand_in_the_shape_table() -> None:
    assert len(repr(viz.shape_table(two_steps())).splitlines()) == len(two_steps()) + 1


def test_the_shape_table_refuses_what_was_not_recorded() -> None:
    with pytest.raises(InputError, match=r"got 'layers\.9\.\*', which matches none"):
        viz.shape_table(two_steps(), ["logits", "layers.9.*"])
    with pytest.raises(InputError, match="empty trace"):
        viz.shape_table(Trace())


def test_a_matrix_to_reckon_with() -> None:
    table = viz.tensor_table(
        np.array([[1.006, -0.004, -np.inf], [np.nan, 2.5, 10.0]], dtype=np.float32),
        "seq",
        "keys",
        highlight=[(1, 2)],
        row_labels=["a", "<b>"],
        caption="by hand",
    )
    assert repr(table).splitlines() == [
        "by hand",
        "seq ↓ keys →     0     1        2",
        "a             1.01  0.00       −∞",
        "<b>            nan  2.50  [10.00]",
    ]
    html = table._repr_html_()
    assert html.count("color-mix(in srgb,#f5a524") == 1
    assert "&lt;b&gt;" in html
    assert viz.axis("seq").color in html
    assert html.count('scope="row"') == 2
    assert html.count('scope="col"') == 4


def test_whole_numbers_stay_whole_and_one_row_is_a_matrix() -> None:
    table = viz.tensor_table([3, -4], "seq", "head_dim")
    assert repr(table).splitlines() == ["seq ↓ head_dim →  0   1", "0                 3  −4"]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((2, 2, 2)), {}, r"got \(2, 2, 2\)"),
        (np.zeros((33, 32)), {}, "1 to 1024 entries"),
        (np.zeros((0, 3)), {}, r"got \(0, 3\)"),
        (np.zeros((2, 3)), {"row_labels": ["a"]}, "expected 2 labels for seq, got 1"),
        (np.zeros((2, 3)), {"highlight": [(0, 3)]}, r"inside \(2, 3\), got \[\(0, 3\)\]"),
    ],
)
def test_a_matrix_that_cannot_be_shown(values: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        viz.tensor_table(values, "seq", "total_seq", **options)


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_hex_map_shows_the_files_own_bytes_and_numbers(dtype: str, tmp_path: Path) -> None:
    data = checkpoint(dtype)
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    header = read_header(path)
    picture = viz.hex_map(path, json_rows=2, tensor_rows=2, tensors=1)
    mono = [t for t in shown_texts(picture.figure) if t.get_fontfamily() == ["DejaVu Sans Mono"]]
    said = texts(picture)
    first = next(iter(header.tensors.values()))
    start = header.data_start + first.start
    shown = data[:24] + data[start : start + 16]
    assert [text.get_text() for text in mono] == [f"{byte:02x}" for byte in shown]
    assert any(text.endswith(f"= {header.header_nbytes:,}") for text in said)
    to = {"F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16}[dtype]
    for value in np.frombuffer(data[start : start + 16], dtype=to).astype(np.float64):
        assert f"{value:.4g}".replace("-", "−") in said
    assert f"{header.header_nbytes:,}" in picture.alt
    assert f"byte {header.data_start:,}" in picture.alt
    assert viz.hex_map(data, header, json_rows=2, tensor_rows=2, tensors=1).alt == picture.alt


def test_the_length_is_written_out_as_a_sum_that_comes_out() -> None:
    header = read_header(checkpoint())
    total = next(text for text in texts(viz.hex_map(checkpoint())) if text.startswith("0x"))
    hexadecimal, decimal, result = total.replace(",", "").replace("\n", " ").split(" = ")
    value = lambda terms: sum(  # noqa: E731
        np.prod([int(factor, 0) for factor in term.split(" × ")]) for term in terms.split(" + ")
    )
    assert value(hexadecimal) == value(decimal) == int(result) == header.header_nbytes


def test_a_tensor_smaller_than_a_row_and_of_single_bytes(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_file({"a": np.array([7], dtype=np.int32), "b": np.array([-3, 4], dtype=np.int8)}, path)
    said = texts(viz.hex_map(path))
    assert {"7", "−3", "4"} <= {text.replace("-", "−") for text in said}
    assert "I32, 1, 4 bytes each" in said


def test_a_damaged_file_is_not_drawn() -> None:
    with pytest.raises(CheckpointError):
        viz.hex_map(checkpoint()[:-1])
    with pytest.raises(InputError, match="rows ≥ 0"):
        viz.hex_map(checkpoint(), json_rows=-1)


@pytest.mark.parametrize(
    "value", [0.15625, -0.1, 0.0, -0.0, 1.0, 70000.0, 1e-6, 65504.0, 3.4e38, -1e-40, 1e-46]
)
def test_bits_are_the_stored_bits(value: float) -> None:
    picture = viz.dtype_bits(value)
    with np.errstate(over="ignore"):
        stored = {
            "float32": np.float32(value).tobytes(),
            "bfloat16": np.array(value, np.float32).astype(ml_dtypes.bfloat16).tobytes(),
            "float16": np.float32(value).astype(np.float16).tobytes(),
        }
    bits = "".join(text for text in texts(picture) if text in "01" and len(text) == 1)
    expected = [f"{int.from_bytes(data, 'little'):0{8 * len(data)}b}" for data in stored.values()]
    assert bits == "".join(expected)
    for name, data in zip(stored, expected, strict=True):
        exponent = 5 if name == "float16" else 8
        fields = f"{data[0]} {data[1 : 1 + exponent]} {data[1 + exponent :]}"
        assert f"{name} {fields}, which is" in picture.alt


@pytest.mark.parametrize("value", [0.15625, -0.1, 1e-6, 3.3e38, 6.1e-5, 5.9e-8])
def test_sign_power_and_mantissa_multiply_to_the_stored_number(value: float) -> None:
    powers = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")
    found = 0
    for sign, power, mantissa, result in re.findall(
        r"which is ([+−]) 2([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+) × ([\d.e+−]+) = ([\d.e+−]+?)[;.](?:\s|$)",
        viz.dtype_bits(value).alt,
    ):
        product = 2.0 ** int(power.translate(powers)) * float(mantissa.translate(powers))
        assert (-product if sign == "−" else product) == pytest.approx(
            float(result.translate(powers)), rel=1e-7
        )
        found += 1
    assert found == (2 if value == 3.3e38 else 3)


def test_a_number_too_large_for_float16_is_said_to_be() -> None:
    assert "float16 0 11111 0000000000, which is +∞" in viz.dtype_bits(70000).alt
    assert "too large for this format" in texts(viz.dtype_bits(70000))
    for value in (np.inf, np.nan):
        with pytest.raises(InputError, match="finite"):
            viz.dtype_bits(value)


def test_the_parts_of_a_file_add_up() -> None:
    header = read_header(checkpoint())
    alt = viz.byte_offsets(header).alt
    parts = dict(re.findall(r"(embedding|attention|MLP|norms) ([\d,]+) \(", alt))
    assert {name: int(n.replace(",", "")) for name, n in parts.items()} == {
        "embedding": 4 * 31 * 20,
        "attention": 4 * 48 * 20,
        "MLP": 4 * 2 * 27 * 20,
        "norms": 4 * 2 * 20,
    }
    assert "up_proj.weight 2,160" in alt
    assert "In model.layers.1: mlp.up_proj.weight 2,160." in (
        viz.byte_offsets(header, zoom="model.layers.1.").alt
    )
    with pytest.raises(InputError, match=r"'model\.layers\.7\.'"):
        viz.byte_offsets(header, zoom="model.layers.7.")


def test_the_ribbon_has_a_piece_per_tensor_at_its_offset() -> None:
    header = read_header(checkpoint())
    pieces = [
        patch
        for patch in drawn("byte_offsets").figure.axes[0].patches
        if patch.get_y() == 0.42 and patch.get_height() == 0.46
    ]
    assert len(pieces) == 1 + len(header.tensors)
    scale = 3.2 / header.file_nbytes
    for piece, info in zip(pieces[1:], header.tensors.values(), strict=True):
        assert piece.get_x() == pytest.approx(0.1 + scale * (header.data_start + info.start))
        assert piece.get_width() == pytest.approx(scale * info.nbytes)


def test_bytes_give_away_numbers_stored_wider_than_they_are() -> None:
    narrow = scores(40, 50).astype(ml_dtypes.bfloat16)
    wide = viz.byte_histogram(narrow.astype(np.float32), 4)
    assert "byte 0: 0.0 bits, most often 00 (100%)" in wide.alt
    assert "byte 1: 0.0 bits, most often 00 (100%)" in wide.alt
    tail = re.findall(r"byte \d: (\S+) bits", wide.alt)[2:]
    assert tail == re.findall(r"byte \d: (\S+) bits", viz.byte_histogram(narrow, 2).alt)
    even = viz.byte_histogram(bytes(range(256)), 1)
    assert "byte 0: 8.0 bits" in even.alt
    assert viz.byte_histogram(narrow.tobytes(), 2).alt == viz.byte_histogram(narrow, 2).alt
    for data, itemsize in ((b"", 4), (b"12345", 4), (b"1234", 0)):
        with pytest.raises(InputError, match=f"items of {itemsize} bytes"):
            viz.byte_histogram(data, itemsize)


# --- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(8, 4), (9, 3), (7, 7), (6, 1), (32, 8)])
def test_each_query_head_is_wired_to_its_block(n_heads: int, n_kv_heads: int) -> None:
    picture = viz.head_wiring(n_heads, n_kv_heads)
    n_groups = n_heads // n_kv_heads
    lines = picture.figure.axes[0].get_lines()
    assert len(lines) == n_heads
    labels = {
        tuple(np.round(t.get_position(), 6)): t.get_text() for t in picture.figure.axes[0].texts
    }
    starts = [(line.get_xdata()[0], line.get_ydata()[0] - 0.18) for line in lines]
    names = [labels[tuple(np.round(start, 6))].lstrip("q") for start in starts]
    assert names == [str(head) for head in range(n_heads)]
    targets = [(round(line.get_xdata()[1], 6), round(line.get_ydata()[1], 6)) for line in lines]
    for h, one in enumerate(targets):
        for other, two in enumerate(targets):
            assert (one == two) == (h // n_groups == other // n_groups)
    for group in range(n_kv_heads):
        first, last = group * n_groups, (group + 1) * n_groups - 1
        who = f"{first} to {last}" if n_groups > 1 else f"head {first}"
        assert f"{who} → KV head {group}" in picture.alt
    assert f"h // {n_groups}" in " ".join(texts(picture))


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(8, 3), (0, 1), (4, 0), (2, 4), (40, 1)])
def test_heads_that_do_not_come_out_even_are_refused(n_heads: int, n_kv_heads: int) -> None:
    with pytest.raises(InputError, match=f"got {n_heads}"):
        viz.head_wiring(n_heads, n_kv_heads)


def test_the_grid_has_a_matrix_for_every_query_head() -> None:
    picture = drawn("block_grid by hand")
    said = texts(picture)
    products = [text for text in said if "·" in text and "ᵀ" in text]
    assert products == ["q0·k0ᵀ", "q1·k0ᵀ", "q2·k0ᵀ", "q3·k1ᵀ", "q4·k1ᵀ", "q5·k1ᵀ"]
    blocks = [p for p in picture.figure.axes[0].patches if p.get_linewidth() == 0.9]
    assert len(blocks) == 6 + 2 + 6
    unit = blocks[0].get_height() / 4
    heights = [round(block.get_height() / unit) for block in blocks]
    assert sorted(heights) == [4] * 12 + [5] * 2
    assert [round(b.get_width() / unit) for b in blocks[-6:]] == [5] * 6
    assert "(2, 3, 4, 5)" in picture.caption
    assert "2 rows (n_kv_heads) by 3 columns (n_groups), each element a 4 × 5" in picture.alt
    for letter, size in zip("kgstd", (2, 3, 4, 5, 6), strict=True):
        assert f"{letter}={size}" in said


@pytest.mark.parametrize("sizes", [(0, 3, 4, 5, 6), (2, 3, 4, 3, 6), (2, 3, 0, 5, 6)])
def test_impossible_grids_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="total_seq ≥ seq"):
        viz.block_grid(*sizes)


def maps(picture: viz.Picture) -> dict[str, np.ndarray]:
    """What each labelled map of a picture shows."""
    return {
        ax.get_label(): np.asarray(ax.images[0].get_array())
        for ax in picture.figure.axes
        if ax.images
    }


def covered(picture: viz.Picture, label: str) -> set[tuple[int, int]]:
    """The cells of a map that are hatched or greyed out, as (row, column)."""
    ax = next(ax for ax in picture.figure.axes if ax.get_label() == label)
    return {
        (round(p.get_y() + 0.5), column)
        for p in ax.patches
        for column in range(round(p.get_x() + 0.5), round(p.get_x() + p.get_width() + 0.5))
    }


def test_maps_show_the_weights_of_their_head() -> None:
    given = weights(4, 2, 6, 6)
    shown = maps(viz.attention_maps(given, words(6)))
    assert list(shown) == [f"KV group {h // 2}, query head {h}" for h in range(8)]
    for head, cells in enumerate(shown.values()):
        np.testing.assert_array_equal(cells, given[head // 2, head % 2])


def test_one_head_can_be_drawn_alone() -> None:
    given = weights(4, 2, 6, 6)
    picture = viz.attention_maps(given, words(6), framed=3, only=5)
    shown = maps(picture)
    assert list(shown) == ["KV group 2, query head 5"]
    np.testing.assert_array_equal(shown["KV group 2, query head 5"], given[2, 1])
    most = int(given[2, 1, 3].argmax())
    looks, looked_at = (words(6)[i].replace(" ", "·") for i in (3, most))
    assert f"with a frame, “{looks}” gives most to “{looked_at}”" in picture.alt
    with pytest.raises(InputError, match="from 0 to 7 to draw, got 8"):
        viz.attention_maps(given, words(6), only=8)


def test_the_future_is_covered_whatever_the_past() -> None:
    picture = viz.attention_maps(weights(1, 2, 3, 5), words(5))
    assert covered(picture, "KV group 0, query head 1") == {(0, 3), (0, 4), (1, 4)}


def numbers_in(picture: viz.Picture, label: str) -> dict[tuple[int, int], str]:
    """What is written into the cells of a map, by (row, column)."""
    ax = next(ax for ax in picture.figure.axes if ax.get_label() == label)
    written = [(text.get_position(), text.get_text()) for text in ax.texts if text.get_text()]
    return {(round(y), round(x)): text for (x, y), text in written}


@pytest.mark.parametrize("past", [0, 1, 3])
def test_a_cell_shows_its_own_number_unless_the_mask_hides_it(past: int) -> None:
    given = weights(2, 2, 4, 4 + past)
    picture = viz.attention_maps(given, words(4 + past))
    for head in range(4):
        rows = given[head // 2, head % 2]
        assert numbers_in(picture, f"KV group {head // 2}, query head {head}") == {
            (i, j): f"{100 * rows[i, j]:.0f}" for i in range(4) for j in range(past + i + 1)
        }


def test_scores_are_written_where_they_are_numbers() -> None:
    raw = scores(1, 2, 3, 5)
    label = "KV group 0, query head 1"
    everywhere = {(i, j): signed(raw[0, 1, i, j], 1) for i in range(3) for j in range(5)}
    assert numbers_in(viz.score_maps(raw, words(5)), label) == everywhere
    seen = {place: text for place, text in everywhere.items() if place[1] <= place[0] + 2}
    assert numbers_in(viz.score_maps(masked(raw), words(5)), label) == seen


def test_small_cells_show_no_numbers() -> None:
    picture = viz.attention_maps(weights(1, 8, 40, 40), words(40))
    assert not any(numbers_in(picture, f"KV group 0, query head {head}") for head in range(8))


def test_calls_are_stacked_into_one_staircase() -> None:
    calls = decoded(2, 3, 4, 2)
    rows, first = stacked(calls)
    assert rows.shape == (2, 3, 6, 6)
    assert rows.dtype == np.float32
    assert first == 4
    np.testing.assert_array_equal(rows[:, :, :4, :4], calls[0])
    np.testing.assert_array_equal(rows[:, :, 4, :5], calls[1][:, :, 0])
    np.testing.assert_array_equal(rows[:, :, 5], calls[2][:, :, 0])
    assert not rows[:, :, :5, 5].any()


def test_generated_rows_are_told_apart() -> None:
    picture = viz.attention_maps(decoded(1, 2, 6, 3), words(9))
    first = next(ax for ax in picture.figure.axes if ax.get_label().endswith("head 0"))
    (line,) = first.get_lines()
    assert list(line.get_ydata()) == [5.5, 5.5]
    bold = [tick.get_text() for tick in first.get_yticklabels() if tick.get_weight() == "bold"]
    assert bold == ["·word5", "·word6", "·word7"]
    assert "positions 6 to 8 belong to generated tokens" in picture.alt
    assert {"prompt", "generated"} <= set(texts(picture))
    whole = viz.attention_maps(weights(1, 2, 6, 6), words(6))
    assert "generated" not in texts(whole)
    assert "generated" not in whole.alt
    later = viz.attention_maps(weights(1, 2, 6, 6), words(6), prompt=4)
    assert "positions 4 to 5 belong to generated tokens" in later.alt


def test_a_lone_decode_step_is_a_generated_row() -> None:
    picture = viz.attention_maps(weights(2, 1, 1, 7), words(7))
    assert "The row of position 6 belongs to a generated token." in picture.alt
    assert "Hatched" not in picture.caption


def test_the_text_names_the_strongest_weight() -> None:
    given = np.zeros((2, 3, 3, 4), dtype=np.float32)  # past 1
    given[..., 0] = 1.0
    given[1, 2, 1] = [0.05, 0.15, 0.80, 0.0]
    given[0, 1] = [[0.2, 0.8, 0, 0], [0.3, 0.7, 0, 0], [0.25, 0.25, 0.25, 0.25]]
    alt = viz.attention_maps(given * np.float32(0.99), ["a", " b", "c", "d"], layer=7).alt
    assert alt.startswith("Attention weights of layer 7: 2 KV groups × 3 query heads, each 3 × 4")
    assert "Strongest: 99%, KV group 0, query head 0, query “·b”, key “a”." in alt
    assert "Away from the first token: 79%, KV group 0, query head 1, query “·b”, key “·b”" in alt
    assert "On average, query head 0 (KV group 0) gives most to the first token: 99%." in alt


def test_the_first_row_does_not_count_for_it_has_no_choice() -> None:
    given = np.zeros((1, 2, 2, 2), dtype=np.float32)
    given[:, :, 0, 0] = 1.0
    given[0, :, 1] = [[0.31, 0.69], [0.4, 0.6]]
    alt = viz.attention_maps(given, ["a", "b"]).alt
    assert "Strongest: 69%, KV group 0, query head 0, query “b”, key “b”." in alt
    assert "query head 1 (KV group 0) gives most to the first token: 40%" in alt


def test_weights_of_a_trace_are_one_array_per_forward_pass() -> None:
    found = viz.weights_of(two_steps(), 1)
    assert [array.shape for array in found] == [(2, 3, 4, 4), (2, 3, 1, 5)]
    picture = viz.attention_maps(found, words(5), layer=1)
    assert "each 5 × 5 (seq × total_seq)" in picture.alt
    for layer in (TINY["num_hidden_layers"], -1):
        with pytest.raises(InputError, match=rf"layers\.{layer}\."):
            viz.weights_of(two_steps(), layer)
    with pytest.raises(InputError, match="every forward pass"):
        viz.weights_of(Trace(), 0)


@pytest.mark.parametrize(
    ("given", "tokens", "message"),
    [
        (np.zeros((2, 3, 4)), 4, r"\(n_kv_heads, n_groups, seq, total_seq\), got \[\(2, 3, 4\)\]"),
        ([], 4, r"got \[\]"),
        (np.zeros((1, 1, 0, 4)), 4, "got"),
        (np.zeros((1, 1, 5, 4)), 4, r"got shape \(1, 1, 5, 4\)"),
        ([np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 1, 6))], 6, "4 past positions"),
        ([np.zeros((1, 1, 4, 4)), np.zeros((1, 2, 1, 5))], 5, "4 past positions"),
        (np.zeros((1, 1, 4, 4)), 5, "expected 4 token labels, one per position, got 5"),
    ],
)
def test_weights_that_make_no_map(given: object, tokens: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        viz.attention_maps(given, words(tokens))


def test_scores_show_their_extremes_and_hatch_what_the_mask_hid() -> None:
    raw = scores(2, 3, 4, 5)
    raw[1, 0, 2, 4], raw[0, 2, 1, 3] = 9.5, -8.25
    picture = viz.score_maps(raw, ["a", "b", "c", "d", "e"], layer=0)
    assert "Highest 9.50: KV group 1, query head 3, query “d”, key “e”." in picture.alt
    assert "Lowest −8.25: KV group 0, query head 2, query “c”, key “d”." in picture.alt
    assert not covered(picture, "KV group 0, query head 0")
    hidden = viz.score_maps(masked(raw), words(5))
    assert covered(hidden, "KV group 0, query head 0") == {
        (i, j) for i in range(4) for j in range(i + 2, 5)
    }
    assert "9.50" not in hidden.alt
    raw[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        viz.score_maps(raw, words(5))


def test_the_row_that_is_asked_about_has_a_frame_in_every_map() -> None:
    picture = viz.attention_maps(weights(1, 2, 3, 5), words(5), framed=3)
    assert picture.alt.endswith(f"the row of “{viz.token_label(words(5)[3])}”.")
    shown = [ax for ax in picture.figure.axes if ax.get_label() in maps(picture)]
    for ax in shown:
        (frame,) = [p for p in ax.patches if p.get_width() == 5]
        assert frame.get_xy() == (-0.5, 0.5)
    with pytest.raises(InputError, match="from 2 to 4 to frame, got 1"):
        viz.attention_maps(weights(1, 2, 3, 5), words(5), framed=1)


def test_zero_is_white_however_lopsided_the_scores() -> None:
    picture = viz.score_maps(np.full((1, 1, 2, 2), 3.0, dtype=np.float32), words(2))
    norm = picture.figure.axes[1].images[0].norm
    assert norm(0.0) == pytest.approx(0.5)
    assert norm(3.0) == pytest.approx(1.0)


def test_the_atlas_has_a_thumbnail_per_head_and_layer() -> None:
    layers = [weights(3, 2, 5, 5, seed=seed) for seed in (1, 2)]
    picture = viz.attention_atlas(layers, layers=[4, 9])
    shown = maps(picture)
    assert len(shown) == 12
    np.testing.assert_array_equal(shown["layer 9, KV group 2, query head 5"], layers[1][2, 1])
    assert {"4", "9", "q5"} <= set(texts(picture))
    sink = layers[0].reshape(6, 5, 5)[:, 1:, 0].mean(axis=-1)
    assert (
        f"Layer 4: most to the first token, query head {sink.argmax()} ({100 * sink.max():.0f}%)"
        in picture.alt
    )
    diagonal = layers[1].reshape(6, 5, 5)[:, range(1, 5), range(4)].mean(axis=-1)
    assert (
        f"to the token before, query head {diagonal.argmax()} ({100 * diagonal.max():.0f}%)"
        in picture.alt.split("Layer 9")[1]
    )


def test_the_atlas_tells_generated_rows_from_the_prompt() -> None:
    prompt_alone = viz.attention_atlas([weights(2, 2, 4, 4)])
    continued = viz.attention_atlas([decoded(2, 2, 4, 3)] * 2)
    for ax in maps(continued).values():
        assert ax.shape == (7, 7)
    lines = [len(ax.lines) for ax in continued.figure.axes if ax.get_label() in maps(continued)]
    assert lines == [1] * 8
    words_for_it = "Below the line, from position 4 on: generated tokens."
    assert words_for_it in continued.alt
    assert "generated" not in prompt_alone.alt


@pytest.mark.parametrize(
    ("given", "names"),
    [([], None), ([(1, 1, 3), (1, 1, 4)], None), ([(1, 1, 3)], [0, 1])],
)
def test_an_atlas_needs_layers_of_one_shape(
    given: list[tuple[int, int, int]], names: list[int] | None
) -> None:
    pages = [weights(*shape, shape[-1]) for shape in given]
    with pytest.raises(InputError, match="layers of one shape"):
        viz.attention_atlas(pages, layers=names)


def test_the_triptych_shows_the_three_stages() -> None:
    raw = scores(3, 5)
    stages = raw, masked(raw), softmax(masked(raw))
    picture = viz.score_triptych(*stages, words(5), head=2)
    shown = maps(picture)
    np.testing.assert_array_equal(shown["① scores"], raw)
    np.testing.assert_array_equal(shown["③ attention weights"], stages[2])
    assert covered(picture, "① scores") == set()
    assert covered(picture, "② masked scores") == {(0, 3), (0, 4), (1, 4)}
    assert texts(picture).count("−∞") == 3
    assert "The mask sets 3 of 15 entries to −∞." in picture.alt
    assert picture.alt.startswith("Scores of query head 2, 3 × 5 (seq × total_seq), from −")
    last = stages[2][-1]
    said = f"gives most to “{viz.token_label(words(5)[last.argmax()])}”: {100 * last.max():.0f}%"
    assert said in picture.alt


def test_a_triptych_of_unlike_stages_is_refused() -> None:
    raw = scores(3, 5)
    with pytest.raises(InputError, match="one shape"):
        viz.score_triptych(raw, raw, raw[:, :4], words(5))
    with pytest.raises(InputError, match="one shape"):
        viz.score_triptych(raw.T, raw.T, raw.T, words(3))
    with pytest.raises(InputError, match="finite"):
        viz.score_triptych(masked(raw), masked(raw), raw, words(5))


# --- the cache -----------------------------------------------------------------------------------


def test_work_is_one_square_per_position_computed() -> None:
    picture = drawn("work")
    alt = picture.alt
    assert "Without a cache 40 positions go through the model (6, 7, 8, … 10)" in alt
    assert "with a cache 10 (6, 1, 1, … 1): 4.0 times fewer." in alt
    filled = {}
    for squares in picture.figure.axes[0].collections:
        colors = squares.get_facecolors()[:, :3]
        filled[squares.get_label()] = "".join(".#"[bool((c < 1).any())] for c in colors)
    first, rows = "#" * 6, ["#" * n for n in (7, 8, 9, 10)]
    assert filled["without a cache"] == first + "".join(rows)
    assert filled["with a cache"] == first + "".join("." * (len(row) - 1) + "#" for row in rows)


@pytest.mark.parametrize(
    ("with_cache", "without"),
    [([], []), ([6, 1], [6]), ([6, 1], [6, 8]), ([6, 0], [6, 6]), ([1] * 41, list(range(1, 42)))],
)
def test_work_that_does_not_fit_together_is_refused(
    with_cache: list[int], without: list[int]
) -> None:
    with pytest.raises(InputError, match=r"expected (two runs|each call)"):
        viz.work_with_and_without_cache(with_cache, without)


def test_rows_are_told_apart_by_the_call_that_made_them() -> None:
    picture = drawn("attention_by_call")
    assert list(maps(picture)) == ["query head 0", "query head 5"]
    whole = weights(4, 2, 9, 9).reshape(8, 9, 9)
    np.testing.assert_array_equal(maps(picture)["query head 5"], np.tril(whole[5]))
    said = [text.get_text() for text in picture.figure.axes[0].texts]
    assert {"·word3", "·word7", "prefill", "decode"} <= set(said)
    assert "the prefill made rows 0 to 5" in picture.alt
    with pytest.raises(InputError, match="query heads 0 to 7"):
        viz.attention_by_call(by_call(), words(9), [8])


def test_growth_draws_the_measured_points_on_the_line() -> None:
    picture = growth([6, 64, 512])
    assert "1,024 bytes per cached position" in picture.alt
    assert "6,144 bytes at 6, 65,536 bytes at 64, 524,288 bytes at 512" in picture.alt
    assert "8 query heads would be 2 times as steep" in picture.alt
    repeated, line, points = picture.figure.axes[1].get_lines()
    assert list(points.get_xdata()) == [6, 64, 512]
    assert list(points.get_ydata()) == [6144, 65536, 524288]
    assert list(line.get_ydata()) == [0, 524288]
    assert list(repeated.get_ydata()) == [0, 2 * 524288]


def test_a_measurement_off_the_line_is_an_error_not_a_figure() -> None:
    sizes = {"layers": 2, "n_kv_heads": 4, "head_dim": 16}
    with pytest.raises(InputError, match=r"\[10240\] bytes at lengths \[10\].*got \[20480\]"):
        viz.cache_growth([10], [20480], **sizes)
    with pytest.raises(InputError, match=r"got \[\]"):
        viz.cache_growth([], [], **sizes)


def test_bars_show_the_likeliest_first_and_the_rest_as_a_sum() -> None:
    given = np.array([0.05, 0.5, 0.0, 0.15, 0.3])
    picture = viz.probability_bars(given, ["x", " cat", "z", "\n", "dog"], top=3, chosen=3, kept=2)
    assert picture.alt == (
        "The 3 likeliest of 5 tokens: “·cat” 50.0%, “dog” 30.0%, “⏎” 15.0%; all others 5.0%. "
        "The cut keeps the first 2. Chosen: “⏎”."
    )
    bars = picture.figure.axes[0].patches
    widths = np.array([bar.get_width() for bar in bars])
    np.testing.assert_allclose(widths / widths[0], [1, 0.6, 0.3])
    assert "2 others together: 5.0%" in texts(picture)
    assert "Chosen: one of the others." in viz.probability_bars(given, "abcde", top=1, chosen=0).alt
    assert "<0.1%" in viz.probability_bars(np.array([0.9999, 0.0001]), "ab").alt


def test_equal_odds_stand_in_the_order_of_their_ids() -> None:
    alt = viz.probability_bars(np.full(4, 0.25), ["d", "c", "b", "a"], top=2).alt
    assert "“d” 25.0%, “c” 25.0%" in alt


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([0.5, 0.4], {}, "summing to 0.9000"),
        ([[0.5, 0.5]], {}, r"\(vocab_size,\)"),
        ([1.5, -0.5], {}, "probabilities ≥ 0"),
        ([np.nan, 0.5], {}, "summing to nan"),
        ([0.5, 0.5], {"chosen": 2}, "below 2"),
        ([0.5, 0.5], {"top": 0}, "top ≥ 1"),
        ([0.5, 0.5], {"kept": 0}, "at least 1 candidate"),
        ([0.5, 0.3, 0.2], {}, "expected 3 labels, one per vocab_size, got 2"),
    ],
)
def test_what_is_no_distribution_is_refused(
    given: list[float], options: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        viz.probability_bars(np.array(given), ["a", "b"], **options)
