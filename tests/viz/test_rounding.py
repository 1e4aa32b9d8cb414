"""The figures of what rounding costs, and the bits to flip."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from figure_samples import all_texts as texts
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.analysis.precision_cost import OPERATORS, OperatorError, Quality
from llama_edu.errors import InputError
from llama_edu.formats.precision import PRECISIONS

ERRORS = [
    OperatorError(operator, precision, 10.0 ** -(2 + (3 * i + j) % 8), 0.5)
    for i, operator in enumerate(OPERATORS)
    for j, precision in enumerate(PRECISIONS)
]
QUALITIES = [
    Quality(name, 400_000_000 // (i + 1), 512, 0.03 * i, i, 30, 9.1573 + i)
    for i, name in enumerate(PRECISIONS)
]
PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "errors": lambda: viz.error_map(ERRORS),
    "one error": lambda: viz.error_map(ERRORS[:1]),
    "largest errors": lambda: viz.error_map(ERRORS[:8], largest=True),
    "sums": viz.running_sums,
    "sums that agree": lambda: viz.running_sums(20),
    "a line": lambda: viz.number_line(252, 1, 8),
    "a line of halves": lambda: viz.number_line(1.0, 0.5, 4, "float16"),
    "fields": lambda: viz.bit_fields(0.1),
    "fields of one format": lambda: viz.bit_fields(-65_504, ("float16",)),
    "bytes": lambda: viz.bytes_and_gap(QUALITIES),
    "bytes of small models": lambda: viz.bytes_and_gap(
        [Quality("f32", 2_624_000, 8, 0.0, 0, 9, 123.4)]
    ),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_every_error_is_in_its_cell_and_noise_is_called_noise() -> None:
    picture = viz.error_map(ERRORS)
    said = [text for text in texts(picture) if "e-" in text]
    want = [e.mean for e in ERRORS]
    assert said == [f"{w:.0e}".replace("e-0", "e-") for w in want if w >= 1e-6]
    assert texts(picture).count("·") == sum(w < 1e-6 for w in want) > 0
    assert "linear: f32 1e-2, bf16 1e-3, f16 1e-4" in picture.alt
    assert "<1e-6" in picture.alt


@pytest.mark.parametrize("errors", [[], ERRORS[:-1], [*ERRORS, ERRORS[0]]])
def test_a_grid_with_holes_is_refused(errors: list[OperatorError]) -> None:
    with pytest.raises(InputError, match="expected one error for each of"):
        viz.error_map(errors)


def test_sums_stop_where_the_format_has_no_next_whole_number() -> None:
    alt = viz.running_sums(10_000).alt
    assert "float32 ends at 10,000, float16 ends at 2,048, bfloat16 ends at 256" in alt
    # 256 + 1 lies half-way between two bfloat16, and the even one is 256.
    assert ml_dtypes.bfloat16(257) == ml_dtypes.bfloat16(256)
    assert np.float16(2049) == np.float16(2048)
    assert "bfloat16 ends at 20" in viz.running_sums(20).alt
    with pytest.raises(InputError, match="expected at least 2 additions, got 1"):
        viz.running_sums(1)


def test_a_line_has_the_numbers_of_its_format_and_ends_where_a_sum_stops() -> None:
    alt = viz.number_line(252, 1, 8).alt
    assert "250, 251, 252, 253, 254, 255, 256, 258, 260, 262. A sum" in alt  # no odd one after 256
    assert alt.endswith("255 + 1 = 256, 256 + 1 = 257, rounded to 256.")
    # float16 keeps three bits more: its odd numbers go on to 2,048.
    assert viz.number_line(252, 1, 8, "float16").alt.endswith("259 + 1 = 260.")
    # Half-way between two numbers the even one wins, which may be the one above.
    assert "258 + 1 = 259, rounded to 260" in viz.number_line(258, 1, 1).alt


@pytest.mark.parametrize(
    ("start", "term", "adds", "form"),
    [(257, 1, 3, "bfloat16"), (1, 0, 3, "bfloat16"), (1, 1, 0, "bfloat16"), (1, 1, 13, "float16")],
)
def test_a_line_that_cannot_be_drawn_is_refused(
    start: float, term: float, adds: int, form: str
) -> None:
    with pytest.raises(InputError, match="expected a start that"):
        viz.number_line(start, term, adds, form)


def test_a_format_without_a_line_is_refused() -> None:
    with pytest.raises(InputError, match="expected a format among float32"):
        viz.number_line(1, 1, 1, "int8")


def test_bytes_and_gaps_are_those_given() -> None:
    picture = viz.bytes_and_gap(QUALITIES)
    assert "f32: 400 MB, every logit equal, 0 of 30 flips, perplexity 9.16" in picture.alt
    assert "bf16: 200 MB, a logit off by up to 0.03, 1 of 30 flips, perplexity 10.16" in picture.alt
    assert {"400 MB", "200 MB", "exact", "0.03", "9.16", "1"} <= set(texts(picture))
    with pytest.raises(InputError, match="expected at least one precision, got none"):
        viz.bytes_and_gap([])


def test_the_fields_say_what_a_number_is_worth() -> None:
    alt = viz.bit_fields(0.1).alt
    assert "bfloat16 0 01111011 (1.)1001101: exponent 123 − 127 = −4, so 1.6015625 · 2⁻⁴" in alt
    largest = viz.bit_fields(-65_504, ("float16",))
    assert "exponent 30 − 15 = 15, so −1.99902344 · 2¹⁵ = −65504" in largest.alt
    assert float(np.finfo(np.float16).max) == (2 - 2.0**-10) * 2**15
    digits = [text for text in texts(largest) if text in ("0", "1", "1.")]
    assert digits == [*"111110", "1.", *"1111111111"]


@pytest.mark.parametrize(
    ("value", "formats"),
    [(0.0, ("float32",)), (70_000, ("float16",)), (1e-7, ("float16",)), (1.0, ("int8",)), (1, ())],
)
def test_what_has_no_leading_1_is_refused(value: float, formats: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"expected (a number in the usual range|formats among)"):
        viz.bit_fields(value, formats)


@pytest.mark.parametrize("value", [0.1, -3.5, 70000.0, 1e-7, 0.0])
def test_bits_to_flip_are_the_bits_of_the_number(value: float) -> None:
    shown = viz.flip_bits(value)
    data = json.loads(re.search(r'application/json">(.*?)</script>', shown.html)[1])
    kinds = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
    assert [form["name"] for form in data["formats"]] == list(kinds)
    for form in data["formats"]:
        with np.errstate(over="ignore"):
            stored = np.array(value, dtype=np.float32).astype(kinds[form["name"]])
        assert int(form["bits"], 2) == int.from_bytes(stored.tobytes(), "little")
        assert len(form["bits"]) == 8 * stored.itemsize
        bits, exponent = form["bits"], form["exponent"]
        fields = f"{bits[0]} {bits[1 : 1 + exponent]} {bits[1 + exponent :]}"
        assert fields in shown.text  # what is compared
        assert fields in shown.html  # what stays without a script


def test_only_finite_numbers_have_bits_to_flip() -> None:
    with pytest.raises(InputError, match="expected a finite number, got inf"):
        viz.flip_bits(float("inf"))
