"""Vocabularies that cannot write every byte: what is unknown becomes the unknown token.

The model of the course that this book grew out of has such a one: SentencePiece's ▁ and merges,
byte fallback asked for, and no byte tokens.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers import tiny_config, tiny_tensors
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_files import byte_level, pieces_without_bytes, write_json, write_tokenizer
from tokenizers import Tokenizer as Backend

from llama_edu import Llama, Tokenizer, generate
from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.engine.sampling import Sampling
from llama_edu.errors import TokenizerError
from llama_edu.formats.safetensors import save_file

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("the cat found!\n猫é<|end_story|>"))
KINDS = ("story", "story, each unknown by itself", "bytes", "no bytes at all")


def rules_of(kind: str) -> dict:
    if kind.startswith("story"):
        return json.loads(pieces_without_bytes(fuse_unk=kind == "story").to_str())
    rules = json.loads(byte_level().to_str())
    vocab = rules["model"]["vocab"]
    lost = [t for t in vocab if len(t) == 1 and (kind != "bytes" or ord(t) > 0xDF)]
    if kind == "no bytes at all":  # but for those of a few letters
        lost = [letter for letter in lost if letter not in "Ġthecafound"]
    kept = {t: i for t, i in vocab.items() if len(t) > 1 and not set(t) & set(lost)}
    kept |= {t: i for t, i in vocab.items() if t not in lost and len(t) == 1}
    kept |= {t: vocab[t] for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")}
    merges = [m for m in rules["model"]["merges"] if {*m, "".join(m)} <= kept.keys()]
    rules["model"] |= {"vocab": kept, "merges": merges, "unk_token": "<|endoftext|>"}
    return rules


@pytest.fixture(scope="module", params=KINDS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, Backend]:
    directory = tmp_path_factory.mktemp("model")
    path = write_json(directory / "tokenizer.json", rules_of(request.param))
    return Tokenizer(directory), Backend.from_file(str(path))


class TestAsTheLibrary:
    @given(text=TEXTS)
    @example("the cat")
    @example("猫猫 é")
    @example("<|end_story|><unk><|im_end|>")
    def test_text_to_ids(self, both: tuple[Tokenizer, Backend], text: str) -> None:
        tokenizer, backend = both
        assert tokenizer.encode(text, parse_special=True) == backend.encode(text).ids

    @given(text=TEXTS)
    @example("the <unk> cat")
    def test_text_without_special_tokens_in_it(
        self, both: tuple[Tokenizer, Backend], text: str
    ) -> None:
        tokenizer, backend = both
        backend.encode_special_tokens = True
        want = backend.encode(text).ids
        backend.encode_special_tokens = False
        assert tokenizer.encode(text) == want

    @given(data=st.data(), skip=st.booleans())
    def test_ids_to_text(
        self, both: tuple[Tokenizer, Backend], data: st.DataObject, skip: bool
    ) -> None:
        tokenizer, backend = both
        known = sorted(backend.get_vocab().values())
        ids = data.draw(st.lists(st.sampled_from(known), max_size=20))
        want = backend.decode(ids, skip_special_tokens=skip)
        assert tokenizer.decode(ids, skip_special=skip) == want
        stream = tokenizer.stream(skip_special=skip)
        assert "".join([*map(stream.push, ids), stream.finish()]) == want


def test_markers_of_a_story_cannot_be_typed(tmp_path: Path) -> None:
    tokenizer = Tokenizer(write_tokenizer(tmp_path, pieces_without_bytes()))
    assert tokenizer.encode("<|start_story|>", parse_special=True)[-1] == 1
    assert {1, 2}.isdisjoint(tokenizer.encode("a<|start_story|>b<|end_story|>"))
    chat = ChatTemplate(tokenizer, "<|start_story|>{{ messages[0].content }}<|end_story|>")
    ids = chat.encode([Message("user", "the <|end_story|> cat")])
    assert [i for i in ids if i in (1, 2)] == [1, 2]
    assert tokenizer.decode(ids).split()[::2] == ["the", "cat"]


@pytest.mark.parametrize("fuse", [True, False])
def test_what_is_unknown_in_a_marker_is_fused_as_elsewhere(fuse: bool, tmp_path: Path) -> None:
    tokenizer = Tokenizer(write_tokenizer(tmp_path, pieces_without_bytes(fuse_unk=fuse)))
    marker = "<|end_story|>"
    spelled = tokenizer.encode_rendered(f"a{marker}", bytes([0] + [1] * len(marker)), {2: 1})
    runs = re.findall("0+", "".join("0" if i == 0 else "." for i in spelled))
    assert [len(run) for run in runs] == ([1, 1, 1] if fuse else [2, 1, 3])  # <| and _ and y|>


def test_nothing_is_lost_without_a_word_where_no_token_stands_for_the_unknown(
    tmp_path: Path,
) -> None:
    rules = rules_of("story")
    rules["model"]["unk_token"] = None
    path = write_json(tmp_path / "tokenizer.json", rules)
    assert len(Backend.from_file(str(path)).encode("猫").ids) == 1  # the library drops it
    tokenizer = Tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode("the cat")) == "the cat"
    with pytest.raises(TokenizerError, match="tokens for, got '猫': no token for its byte 0xe7"):
        tokenizer.encode("the 猫")


@pytest.mark.parametrize("unk_token", ["<none>", 3, ["<unk>"]])
def test_an_unknown_token_that_does_not_exist_is_none(unk_token: object, tmp_path: Path) -> None:
    rules = rules_of("story")
    rules["model"]["unk_token"] = unk_token
    write_json(tmp_path / "tokenizer.json", rules)
    with pytest.raises(TokenizerError, match="got '猫'"):
        Tokenizer(tmp_path).encode("猫")


def test_a_story_ends_at_its_end_token(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, pieces_without_bytes(), eos_token="<|end_story|>")
    config = tiny_config(vocab_size=90, max_position_embeddings=512)
    save_file(tiny_tensors(config), tmp_path / "model.safetensors")
    fields = {name: value for name, value in vars(config).items() if type(value) in (int, float)}
    write_json(
        tmp_path / "config.json",
        fields | {"model_type": "llama", "bos_token_id": 1, "eos_token_id": 2},
    )
    model, tokenizer = Llama.from_pretrained(tmp_path), Tokenizer.from_pretrained(tmp_path)
    prompt = tokenizer.encode("<|start_story|>the cat", parse_special=True)
    told = list(
        generate(model, prompt, max_new_tokens=500, sampling=Sampling(temperature=1.0), seed=1)
    )
    assert 0 < len(told) < 500
    assert tokenizer.eos_token_ids == model.config.eos_token_ids == (2,)
    backend = Backend.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.decode(told) == backend.decode(told)
