"""JSON replies end within the tokens there are for them, whatever the model would write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tiny_served import tiny

from llama_edu.errors import InputError
from llama_edu.serve.closing import Place
from llama_edu.serve.grammar import Grammars

MODEL, TOKENIZER = tiny()
GRAMMARS = Grammars(TOKENIZER, MODEL.config.vocab_size)
PET: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "legs": {"type": "integer"}},
    "required": ["name", "legs"],
    "additionalProperties": False,
}
NODE = {
    "type": "object",
    "properties": {
        "is": {"type": "string"},
        "in": {"type": "array", "items": {"$ref": "#/$defs/n"}},
    },
    "required": ["is", "in"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Any] = {
    "pet": PET,
    "anything": True,
    "any object": {"type": "object"},
    "pets": {"type": "array", "items": PET},
    "two pets": {"type": "array", "items": PET, "minItems": 2},
    "nested in itself": {"$ref": "#/$defs/n", "$defs": {"n": NODE}},
    "a text": {"type": "string"},
    "a long text": {"type": "string", "minLength": 30},
    "a number": {"type": "number"},
    "a choice": {"enum": ["one of us", "none"]},
    "a pattern": {"type": "string", "pattern": "^[a-z]+-[0-9]{3}$"},
    "may be left out": {"type": "object", "properties": {"a": {"type": "string"}, "b": PET}},
}
MOST = 120


def written(schema: Any, wishes: np.ndarray, most: int) -> str:
    """What comes of a model that wants the ids in the order of `wishes`, at every step anew."""
    constraint = GRAMMARS.json(schema)(most)
    ids: list[int] = []
    for wish in wishes[:most]:
        token_id = int(np.where(constraint.allowed(), wish, -np.inf).argmax())
        if token_id in TOKENIZER.eos_token_ids:
            break
        constraint.accept(token_id)
        ids.append(token_id)
    return TOKENIZER.decode(ids, continues=True)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("seed", range(3))
def test_it_ends_in_time(schema: Any, seed: int) -> None:
    wishes = np.random.default_rng(seed).random((MOST, MODEL.config.vocab_size))
    json.loads(written(schema, wishes, MOST))


@pytest.mark.parametrize("letter", ["a", "{", "[", "1", "\\", " "])
def test_so_it_does_if_the_model_wants_the_same_for_ever(letter: str) -> None:
    wishes = np.zeros((MOST, MODEL.config.vocab_size))
    wishes[:, TOKENIZER.encode(letter, add_special=False)] = 1
    for schema in (True, PET, {"type": "array"}, SCHEMAS["nested in itself"]):
        json.loads(written(schema, wishes, MOST))


def test_where_there_is_room_nothing_is_hurried() -> None:
    """The model's own choices stand as long as the end is not near."""
    wishes = np.random.default_rng(0).random((60, MODEL.config.vocab_size))
    free = GRAMMARS.json({"type": "string", "minLength": 50})()
    hurried = GRAMMARS.json({"type": "string", "minLength": 50})(1000)
    for wish in wishes[:40]:
        allowed = free.allowed()
        assert np.array_equal(hurried.allowed(), allowed)
        token_id = int(np.where(allowed, wish, -np.inf).argmax())
        free.accept(token_id)
        hurried.accept(token_id)


def test_a_schema_without_an_end_is_refused() -> None:
    endless = NODE | {"properties": {"in": {"$ref": "#/$defs/n"}}, "required": ["in"]}
    with pytest.raises(InputError, match="expected a rule that can be followed, got one with"):
        GRAMMARS.json({"$ref": "#/$defs/n", "$defs": {"n": endless}})


@pytest.mark.parametrize(
    ("text", "in_string", "is_escaped"),
    [
        (b"", False, False),
        (b'{"a', True, False),
        (b'{"a": "b"', False, False),
        (b'"\\', True, True),
        (b'"\\"', True, False),
        (b'"\\\\"', False, False),
    ],
)
def test_where_one_is(text: bytes, in_string: bool, is_escaped: bool) -> None:
    place = Place()
    for byte in text:
        place.go_on(bytes([byte]))
    assert (place.in_string, place.is_escaped) == (in_string, is_escaped)
    assert not place.copy().is_escaped or is_escaped
