"""Every file that may name a token, read as `transformers` reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import DATA
from named_files import CASES, TEMPLATE, TEXTS, write_case
from tiny_files import byte_level, write_json, write_tokenizer

from llama_edu import Tokenizer
from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.errors import TokenizerError

NAMED = json.loads((DATA / "chat" / "named.json").read_text("utf-8"))["cases"]
GOLDENS = json.loads((DATA / "chat" / "goldens.json").read_text("utf-8"))
TALK = [Message(*said) for said in GOLDENS["talks"][0]]


def test_there_is_a_golden_for_each_case() -> None:
    assert NAMED.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_roles_ids_and_texts_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    golden, tokenizer = NAMED[name], Tokenizer(write_case(name, tmp_path / "model"))
    assert tokenizer.names == golden["names"]
    ids = [tokenizer.encode(text, parse_special=True) for text in TEXTS]
    assert ids == golden["ids"]
    assert [tokenizer.decode(each, skip_special=False) for each in ids] == golden["shown"]
    assert [tokenizer.decode(each) for each in ids] == golden["said"]


@pytest.mark.parametrize("name", CASES)
def test_conversations_too(name: str, tmp_path: Path) -> None:
    golden, tokenizer = NAMED[name], Tokenizer(write_case(name, tmp_path / "model"))
    chat = ChatTemplate(tokenizer, TEMPLATE)
    assert chat.render(TALK) == golden["text"]
    assert chat.encode(TALK) == golden["prompt"]


MAP = {"special_tokens_map": {"eos_token": "<|im_end|>"}}


@pytest.mark.parametrize(
    ("files", "bos", "eos"),
    [
        ({"config": {"bos_token_id": 1, "eos_token_id": 2}}, "<|im_start|>", "<|im_end|>"),
        ({"generation_config": {"eos_token_id": [2, 0]}}, None, "<|im_end|>"),
        ({"config": {"bos_token_id": 0, "eos_token_id": 0}, **MAP}, "<|endoftext|>", "<|im_end|>"),
    ],
)
def test_a_role_that_no_file_names_is_filled_from_its_id(
    files: dict[str, Any], bos: str | None, eos: str, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path, byte_level())
    for name, content in files.items():
        write_json(tmp_path / f"{name}.json", content)
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.names.get("bos_token") == bos
    assert tokenizer.names["eos_token"] == eos
    rendered = ChatTemplate(tokenizer, "{{ bos_token }}x{{ eos_token }}").render(TALK)
    assert rendered == f"{bos or ''}x{eos}"


def test_no_file_that_names_a_token_is_passed_over(tmp_path: Path) -> None:
    """Where transformers reads the newer file only, the older ones still name tokens."""
    write_tokenizer(tmp_path, byte_level())
    write_json(tmp_path / "added_tokens.json", {"<tool>": 401})
    listed = {"400": {"content": "<|new|>", "special": True}}
    write_json(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": listed})
    write_json(tmp_path / "special_tokens_map.json", {"eos_token": "<|im_end|>", "x_token": "<x>"})
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.encode("<|new|><tool><x>", parse_special=True) == [400, 401, 402]
    assert tokenizer.eos_token_ids == (2,)
    assert {400, 402}.isdisjoint(
        tokenizer.encode("<|new|><tool><x>")
    )  # typed: special ones are not


def test_additional_special_tokens_of_the_older_file_are_special(tmp_path: Path) -> None:
    """To transformers 4; its version 5 renamed the list, and reads the old name less often."""
    write_tokenizer(tmp_path, byte_level())
    write_json(tmp_path / "special_tokens_map.json", {"additional_special_tokens": ["<tool>"]})
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode("a<tool>", parse_special=True)) == "a"


def test_a_token_keeps_the_id_its_file_gives_it(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, byte_level())
    write_json(tmp_path / "added_tokens.json", {"<far>": 450, "<near>": 400})
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.encode("<far>a<near>")[::2] == [450, 400]
    assert tokenizer.decode([450, 400]) == "<far><near>"
    assert tokenizer.vocab_size == 451


def test_a_token_of_the_vocabulary_keeps_its_id_whatever_another_file_says(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, byte_level())
    write_json(tmp_path / "added_tokens.json", {"<|im_end|>": 405})
    assert Tokenizer(tmp_path).encode("<|im_end|>", parse_special=True) == [2]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("added_tokens", {"<a>": 2}, r"one token for each id, got '<\|im_end\|>' and '<a>' for 2"),
        ("added_tokens", {"<a>": 400, "<b>": 400}, "one token for each id, got '<a>' and '<b>'"),
        ("added_tokens", {"<a>": "400"}, "an id for '<a>', got '400'"),
        ("added_tokens", {"<a>": -1}, "an id for '<a>', got -1"),
        ("added_tokens", {"<a>": True}, "an id for '<a>', got True"),
        ("tokenizer_config", {"added_tokens_decoder": [1]}, r"map ids to tokens, got \[1\]"),
        ("tokenizer_config", {"added_tokens_decoder": {"x": "<a>"}}, "ids to tokens, got 'x': '<a"),
        ("tokenizer_config", {"added_tokens_decoder": {"9": {}}}, "ids to tokens, got '9': {}"),
    ],
)
def test_files_that_contradict_are_refused(
    file: str, content: Any, message: str, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path, byte_level())
    write_json(tmp_path / f"{file}.json", content)
    with pytest.raises(TokenizerError, match=message):
        Tokenizer(tmp_path)


@pytest.mark.parametrize(
    "name", ["tokenizer", "tokenizer_config", "special_tokens_map", "added_tokens"]
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("<!doctype html><html>", "an HTML page"),
        ("", "an empty file"),
        ("[]", "a JSON object, got list"),
    ],
)
def test_a_file_that_is_something_else_is_named(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path, byte_level())
    (tmp_path / f"{name}.json").write_text(content, "utf-8")
    with pytest.raises(TokenizerError, match=rf"{name}\.json: expected .*{message}"):
        Tokenizer(tmp_path)
