"""Which texts a schema or another rule lets through, and where what is left open ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_files import byte_level, write_tokenizer
from tiny_served import tiny

from llama_edu import Tokenizer
from llama_edu.errors import InputError, ServeError
from llama_edu.serve.closing import Closing, Place
from llama_edu.serve.grammar import LONGEST_END, MARGIN, GrammarConstraint, Grammars

MODEL, TOKENIZER = tiny()
GRAMMARS = Grammars(TOKENIZER, MODEL.config.vocab_size)
EOS = 2
LONG = "(" * 500


def takes(constraint: GrammarConstraint, text: str) -> bool:
    """Whether the text may be written, and end there."""
    for token_id in TOKENIZER.encode(text, add_special=False):
        try:
            constraint.accept(token_id)
        except ServeError:
            return False
    return bool(constraint.allowed()[EOS])


def fits(schema: Any, value: Any) -> bool:
    return takes(GRAMMARS.json(schema)(), json.dumps(value))


MOST, FAR = 2**53, 2**54
FREE_INTEGER = [(MOST, True), (MOST + 1, False), (-MOST, True), (-MOST - 1, False)]
FREE_STRING = [("x" * 1000, True), ("x" * 1001, False), ("", True)]
FREE_ARRAY = [([1] * 100, True), ([1] * 101, False)]


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        # docs/server.md, "JSON and tools": 1,000 characters, ±2⁵³ and 100 entries.
        ({"type": "integer"}, FREE_INTEGER),
        ({"type": "string"}, FREE_STRING),
        ({"type": "array", "items": {"type": "integer"}}, FREE_ARRAY),
        # What sets an end by itself keeps its own, on the side on which it does.
        ({"type": "integer", "maximum": FAR}, [(FAR, True), (-MOST - 1, False)]),
        ({"type": "integer", "minimum": -FAR}, [(-FAR, True), (MOST + 1, False)]),
        ({"type": "integer", "exclusiveMaximum": FAR}, [(FAR - 1, True), (-MOST - 1, False)]),
        ({"type": "integer", "exclusiveMinimum": -FAR}, [(1 - FAR, True), (MOST + 1, False)]),
        ({"type": "integer", "multipleOf": 3}, [(3 * MOST, True), (4, False)]),
        ({"type": "integer", "enum": [FAR]}, [(FAR, True), (1, False)]),
        ({"type": "integer", "const": FAR}, [(FAR, True), (1, False)]),
        ({"type": "string", "maxLength": 1002}, [("x" * 1002, True), ("x" * 1003, False)]),
        ({"type": "array", "maxItems": 101}, [([1] * 101, True), ([1] * 102, False)]),
        ({"type": "string", "pattern": "^a*$"}, [("a" * 1001, True), ("b", False)]),
        # However deep.
        (
            {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}]}}},
            [({"a": MOST}, True), ({"a": MOST + 1}, False)],
        ),
        # What is said to be a value is none of the schema's words.
        ({"const": {"type": "integer"}}, [({"type": "integer"}, True)]),
        ({"enum": [{"type": "string"}, 1]}, [({"type": "string"}, True), (1, True)]),
        (
            {"type": ["integer", "null"], "default": {"type": "integer"}},
            [(None, True), (MOST + 1, True)],
        ),
        ({}, [(1, True), ("x", True), ([1, {"a": None}], True)]),
        (True, [(1, True), ("x", True), ({}, True)]),
        ({"type": "boolean"}, [(True, True), (1, False)]),
    ],
)
def test_what_a_schema_lets_through(schema: Any, values: list[tuple[Any, bool]]) -> None:
    for value, good in values:
        assert fits(schema, value) is good, value


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('{"a": [1, 2]}', True),
        ('{"a":[1, 2]}', False),
        ('{"a": [1,2]}', False),
        ('{ "a": [1, 2]}', False),
        ('{"a": [1, 2]}\n', False),
    ],
)
def test_it_is_written_as_json_dumps_does(text: str, good: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]}
    assert takes(GRAMMARS.json(schema)(), text) is good


@pytest.mark.parametrize(
    ("kind", "source", "texts"),
    [
        ("regex", "[ab]{2}", {"ab": True, "a": False, "abc": False}),
        ("choice", ["a cat", 'a "dog"'], {"a cat": True, 'a "dog"': True, "a": False}),
        ("choice", ("yes",), {"yes": True, "no": False}),
        ("gbnf", 'root ::= "x" [0-9]', {"x7": True, "xx": False}),
        ("gbnf", 'start: "x" /[0-9]/', {"x7": True, "x": False}),
    ],
)
def test_what_another_rule_lets_through(kind: Any, source: Any, texts: dict[str, bool]) -> None:
    for text, good in texts.items():
        assert takes(GRAMMARS.text(kind, source)(9), text) is good, text


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: GRAMMARS.json({"type": "fish"}), "expected a schema that can be followed"),
        (lambda: GRAMMARS.json(nested(5000)), "expected a schema that can be followed"),
        (lambda: GRAMMARS.text("regex", "("), "expected a regex that can be followed"),
        (lambda: GRAMMARS.text("gbnf", 'root ::= "x" ('), "expected a grammar that can be"),
        (lambda: GRAMMARS.text("gbnf", "y" * 1000), "expected a grammar that can be followed"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_a_few_words(made: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as seen:
        made()
    assert len(str(seen.value)) <= 300


def test_of_what_the_library_says_the_beginning_is_told() -> None:
    for made in (lambda: GRAMMARS.json({"type": "f" * 500}), lambda: GRAMMARS.text("regex", LONG)):
        with pytest.raises(InputError) as seen:
            made()
        assert len(str(seen.value)) == 300


def test_without_the_library_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ServeError, match=r"llama_edu\[json\]") as seen:
        Grammars(TOKENIZER, 400).json(True)
    assert seen.value.code == "not_supported"


def test_an_id_that_does_not_fit_is_a_fault_of_ours() -> None:
    constraint = GRAMMARS.json({"type": "integer"})()
    with pytest.raises(ServeError, match="llguidance: ") as seen:
        constraint.accept(TOKENIZER.encode("x", add_special=False)[-1])
    assert seen.value.code == "internal"


def test_ids_beyond_the_tokens_are_never_allowed_and_each_text_begins_anew() -> None:
    make = Grammars(TOKENIZER, 410).json(True)
    allowed = make().allowed()
    assert allowed.shape == (410,)
    assert allowed.dtype == bool
    assert not allowed[400:].any()
    assert not allowed[sorted(TOKENIZER.special_ids - {EOS})].any()
    assert takes(make(), '"x"')
    assert takes(make(), '"y"')


@pytest.mark.parametrize("vocab_size", [400, 401])
def test_special_tokens_beyond_the_models_ids_are_none_of_its_texts(
    tmp_path: Path, vocab_size: int
) -> None:
    """Whoever adds one to a tokenizer need not make the model larger as well."""
    tokens = byte_level()
    tokens.add_special_tokens(["<|one|>", "<|another|>"])
    write_tokenizer(tmp_path, tokens, eos_token="<|im_end|>")
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert {400, 401} <= tokenizer.special_ids
    constraint = Grammars(tokenizer, vocab_size).json(True)()
    assert not constraint.allowed()[400:].any()
    assert takes(constraint, '"x"')


def test_a_text_may_end_with_every_token_that_ends_one(tmp_path: Path) -> None:
    tokens = byte_level()
    tokens.add_special_tokens(["<|another|>"])
    write_tokenizer(tmp_path, tokens, eos_token="<|im_end|>")
    other = tokens.token_to_id("<|another|>")
    (tmp_path / "generation_config.json").write_text(
        f'{{"eos_token_id": [{EOS}, {other}]}}', "utf-8"
    )
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert set(tokenizer.eos_token_ids) == {EOS, other}
    constraint = Grammars(tokenizer, other + 1).json({"const": "x"})()
    assert not constraint.allowed()[[EOS, other]].any()
    assert takes(constraint, '"x"')
    assert constraint.allowed()[[EOS, other]].all()


# To an end in time

TOKENS = [b"", b'"', b'",', b"}", b"]", b"},", b", ", b"{", b"ab", b"a", b'{"', b"\\", b"abc"]
CLOSING = Closing(TOKENS, [0])
ALL = frozenset(range(len(TOKENS)))


@pytest.mark.parametrize(
    ("allowed", "text", "forced", "narrowed"),
    [
        # In a string: its end, alone rather than with what begins behind it.
        (ALL, b'"a', b"", {1}),
        (ALL - {1}, b'"a', b"", {2}),
        (ALL - {1, 2}, b'"a', b"", ALL - {1, 2}),
        (ALL, b'"a\\', b"", ALL),
        # Outside: the end of all, the end of one, the end and more, the next.
        (ALL, b"", b"", {0}),
        (ALL - {0}, b"", b"", {3, 4}),
        (ALL - {0, 3, 4}, b"", b"", {5}),
        (ALL - {0, 3, 4, 5}, b"", b"", {6}),
        # What comes anyway, in as few tokens as there are; and nothing that opens something new.
        ({7, 8, 9, 12}, b"", b"abcd", {12}),
        ({7, 8, 9}, b"", b"abcd", {8}),
        ({7, 9, 12}, b"", b"ab", {9}),
        ({7, 8, 10}, b"", b"x", {8}),
        ({7, 8, 9}, b"", b"", {8, 9}),
        ({7, 10}, b"", b"", {7, 10}),
        ({7, 8}, b'"', b"", {7, 8}),
        ({8, 9}, b'"\\', b"a", {9}),
    ],
)
def test_what_brings_a_text_nearest_to_its_end(
    allowed: set[int], text: bytes, forced: bytes, narrowed: set[int]
) -> None:
    place = Place()
    place.go_on(text)
    mask = np.array([i in allowed for i in range(len(TOKENS))])
    found = CLOSING.narrowed(mask, place, forced)
    assert set(np.flatnonzero(found).tolist()) == narrowed
    assert set(np.flatnonzero(mask).tolist()) == set(allowed), "what was given is not changed"


def test_the_longest_way_is_that_of_the_shortest_text() -> None:
    for allowed, longest in (({8, 9, 12}, 9), ({8, 12}, 8), ({0, 9}, 0)):
        mask = np.array([i in allowed for i in range(len(TOKENS))])
        assert CLOSING.likely_longest(mask) == longest


def test_a_place_is_a_copy_of_its_own() -> None:
    place = Place()
    place.go_on(b'"\\')
    other = place.copy()
    other.go_on(b'""')
    assert (place.in_string, place.is_escaped) == (True, True)
    assert (other.in_string, other.is_escaped) == (False, False)


def looks(schema: Any, most: int, wish: str) -> list[int]:
    """After how many tokens it was looked at how far the end is, of a text of one letter."""
    constraint, at = GRAMMARS.json(schema)(most), []
    look = constraint.tokens_to_the_end
    constraint.tokens_to_the_end = lambda closing: at.append(number) or look(closing)  # type: ignore[assignment,func-returns-value,method-assign]
    letter = TOKENIZER.encode(wish, add_special=False)[-1]
    for number in range(most):  # noqa: B007  (`at` has it)
        allowed = constraint.allowed()
        token_id = letter if allowed[letter] else int(np.flatnonzero(allowed)[0])
        if token_id == EOS:
            break
        constraint.accept(token_id)
    return at


def test_the_end_is_looked_for_now_and_then_and_more_often_as_it_comes_near() -> None:
    at = looks({"type": "string"}, 400, "x")
    assert 5 <= len(at) <= 40
    gaps = np.diff(at)
    assert (gaps[:-1] >= gaps[1:]).all()
    assert gaps[0] >= 50
    assert 400 - at[-1] >= MARGIN, "there is some room left"
    assert 400 - at[-1] <= 2 * MARGIN, "and not more than is of use"


@pytest.mark.parametrize(
    ("schema", "tokens"),
    [
        ({"type": "string"}, 2),
        ({"type": "string", "minLength": 10}, 12),
        ({"const": True}, len(TOKENIZER.encode("true", add_special=False))),
        ({"type": "string", "minLength": 900}, 902),
        ({"type": "string", "minLength": 5000, "maxLength": 5000}, LONGEST_END),
    ],
)
def test_how_many_tokens_the_shortest_end_takes(schema: Any, tokens: int) -> None:
    """As if every further token had one letter; no more than are tried."""
    closing = Closing(
        [b"" if i in TOKENIZER.special_ids else TOKENIZER.token_bytes(i) for i in range(400)], [EOS]
    )
    assert GRAMMARS.json(schema)().tokens_to_the_end(closing) == tokens


def test_a_text_that_is_late_from_the_start_is_brought_to_its_end_at_once() -> None:
    wishes = np.arange(400)[::-1]

    def written(most: int) -> str:
        constraint, ids = GRAMMARS.json({"type": "string"})(most), []
        while len(ids) < most:
            token_id = int(np.where(constraint.allowed(), wishes, -1).argmax())
            if token_id == EOS:
                break
            constraint.accept(token_id)
            ids.append(token_id)
        return TOKENIZER.decode(ids, continues=True)

    assert written(MARGIN + 2) == '""'
    assert len(written(MARGIN + 12)) > 2
