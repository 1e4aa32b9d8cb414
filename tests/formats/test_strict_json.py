"""JSON from files we did not write: what Python's `json` would let through is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.errors import CheckpointError, ConfigError
from llama_edu.formats.strict_json import SHORT_NCHARS, parse_object, short

text = st.text(max_size=8)  # never half a surrogate pair
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def parse(data, error=CheckpointError):
    return parse_object(data, "a.json", error)


@settings(max_examples=50)
@given(st.dictionaries(text, values, max_size=4), st.booleans())
def test_what_json_wrote_is_read_back(value, ensure_ascii):
    assert parse(json.dumps(value, ensure_ascii=ensure_ascii).encode()) == value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected JSON, got an empty file"),
        (b'{"a": 1', "expected JSON, got a file that breaks off at line 1, column 8"),
        (b'{"a": 1,\n ', "expected JSON, got a file that breaks off at line 2, column 2"),
        (b'{"a": 1 "b": 2}', "expected JSON, got a fault at line 1, column 9: expecting ','"),
        (b'{"a": 1,}', "expected JSON, got"),
        (b'{"a": 1} {}', "expected JSON, got a fault at line 1, column 10: extra data"),
        (b'{"a\n": 1}', "expected JSON, got a fault at line 1, column 4: invalid control"),
        (b"{'a': 1}", "expected JSON, got"),
        (b'{"a": 01}', "expected JSON, got"),
        (b'{"a": ' + b"1" * 5000 + b"}", "expected JSON, got Exceeds the limit"),
        (b'\xef\xbb\xbf{"a": 1}', "expected JSON, got a byte order mark first: save"),
        (b"[1]", "expected a JSON object, got list"),
        (b'"a"', "expected a JSON object, got str"),
        (b"null", "expected a JSON object, got NoneType"),
        (b'{"a": "\xff"}', "expected UTF-8 text, got 'utf-8' codec can't decode byte 0xff"),
        ('{"a": 1}'.encode("utf-16"), "expected UTF-8 text, got UTF-16"),
        (b'{"a": "\\ud800"}', "expected UTF-8 text, got 'utf-8' codec can't encode"),
        (b'{"\\udc00": 1}', "expected UTF-8 text, got 'utf-8' codec can't encode"),
        (b'{"a": 1, "a": 1}', "expected each name once, got 'a' 2 times"),
        (b'{"b": {"x": 1, "a": 1, "a": 2, "a": 3}}', "expected each name once, got 'a' 3 times"),
        (b'{"a": 1, "\\u0061": 2}', "expected each name once, got 'a' 2 times"),
        (b'{"a": NaN}', "expected plain JSON numbers, got NaN"),
        (b'{"a": Infinity}', "expected plain JSON numbers, got Infinity"),
        (b'{"a": -Infinity}', "expected plain JSON numbers, got -Infinity"),
        (b'{"a": 1e999}', "expected plain JSON numbers, got 1e999"),
        (b'{"a": [-2.5e+400]}', "expected plain JSON numbers, got -2.5e"),
        (b'{"a": ' + b"[" * 100_000, "expected JSON of sane depth, got it nested too deep"),
        (b'{"a": ' * 100_000, "expected JSON of sane depth, got it nested too deep"),
    ],
)
def test_everything_else_is_refused(data, message):
    with pytest.raises(CheckpointError) as caught:
        parse(data)
    assert str(caught.value).startswith(f"a.json: {message}")


def test_the_error_is_of_the_class_asked_for():
    for data in (b"", b"[]", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000):
        with pytest.raises(ConfigError, match=r"a\.json: expected"):
            parse(data, ConfigError)


def test_a_surrogate_pair_is_one_character():
    assert parse(b'{"a": "\\ud83d\\ude00", "b": "\\\\ud800"}') == {"a": "😀", "b": "\\ud800"}


@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_any_depth_ends_in_an_object_or_in_the_error(opening, closing):
    """Just below the limit, something that comes after parsing might still recurse too deep."""

    def parses(depth):
        nested = b'{"a":"\\u0041","b":' + opening * depth + b"0" + closing * depth + b"}"
        try:
            value = parse(nested)
        except CheckpointError as problem:
            assert "nested too deep" in str(problem)  # noqa: PT017
            return False
        assert len(short(value)) <= SHORT_NCHARS + 1
        return True

    low, high = 1, 100_000
    assert parses(low)
    assert not parses(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parses(middle) else (low, middle)
    assert low > 50  # no honest file comes near
    for depth in range(low - 8, low + 8):
        parses(depth)


@given(values)
def test_short_is_short_and_repr_where_repr_is(value):
    assert len(short(value)) <= SHORT_NCHARS + 1
    if not isinstance(value, dict | list):
        assert short(value) == repr(value) or len(repr(value)) > SHORT_NCHARS


def test_short_keeps_both_ends_of_what_it_cuts():
    cut = short("a" * 10_000 + "z")
    assert cut.startswith("'aaa")
    assert cut.endswith("az'")
    assert short([1] * 10_000) == "[1, 1, 1, 1, 1, 1, 1, 1, ...]"
    assert short({"shape": [1, 2]}) == "{'shape': [1, 2]}"
    assert short({"a" * 70: "b" * 70}).endswith("…")
    assert len(short("a" * 10_000)) == len(short(10**1000)) == SHORT_NCHARS == 80
    # More digits than Python writes.
    assert short([1, -(2**50_000)]) == "[1, an integer of 50001 bits]"
    fits, too_long = ["a" * 36, "b" * 36], ["a" * 36, "b" * 37]
    assert short(fits) == repr(fits)
    assert short(too_long) == repr(too_long)[:80] + "…"


def test_short_does_not_write_all_of_a_huge_value_first():
    class Counted:
        written = 0

        def __repr__(self):
            Counted.written += 1
            return "x"

    short([Counted() for _ in range(1000)])
    assert 0 < Counted.written < 10
