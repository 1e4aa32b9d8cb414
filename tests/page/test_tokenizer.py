"""The tokenizer in JavaScript against Python's, on a thousand texts; streaming; chat prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_files
from page_engine import PageEngine, copied, directory_of
from page_texts import SPECIALS, thousand_texts

from llama_edu import Tokenizer
from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.errors import TokenizerError

DATA = Path(__file__).parent.parent / "data"
SMOLLM2 = pytest.param("smollm2-135m-instruct", marks=pytest.mark.smollm2)
KINDS = ("joined", "pieces", "words", "llama-bpe", "smollm", "gpt-2", "sentencepiece", "metaspace")

Start = Callable[..., PageEngine]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model's directory, or a tokenizer's files beside a tiny checkpoint."""
    name = request.param
    if name not in KINDS:
        return directory_of(name)
    copied(DATA / "tiny" / "mqa-wide-f32", tmp_path, "config.json", "model.safetensors")
    if name in ("joined", "pieces", "words"):
        return copied(DATA / "chat" / name, tmp_path, "tokenizer.json", "tokenizer_config.json")
    if name in ("sentencepiece", "metaspace"):
        tiny_files.write_tokenizer(tmp_path, tiny_files.sentencepiece())
    else:
        tiny_files.write_tokenizer(
            tmp_path, tiny_files.byte_level(name, bos=True, across_words=True)
        )
    if name == "metaspace":  # as newer files of the same family say it
        path = tmp_path / "tokenizer.json"
        rules = json.loads(path.read_text("utf-8"))
        mark = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
        rules |= {"normalizer": None, "pre_tokenizer": mark}
        rules["added_tokens"].append(
            {"id": 288, "content": "the", "special": False, "normalized": False}
            | {"single_word": True, "lstrip": True, "rstrip": False}
        )
        tiny_files.write_json(path, rules)
    return tmp_path


def outcome(encode: Callable[[str], list[int]], text: str) -> list[int] | str:
    try:
        return encode(text)
    except TokenizerError:
        return "TokenizerError"


@pytest.mark.parametrize("folder", ["story", "chat", SMOLLM2, *KINDS], indirect=True)
def test_a_thousand_texts(folder: Path, tmp_path: Path, node: str) -> None:
    tokenizer = Tokenizer(folder)
    # A thousand for the models that a reader meets; a quarter of them for each other kind.
    texts = thousand_texts()[:: 4 if folder == tmp_path else 1]
    wanted = [outcome(tokenizer.encode, text) for text in texts]
    ids_of = {
        text: ids for text, ids in zip(texts, wanted, strict=True) if not isinstance(ids, str)
    }
    # In any order, so that characters come apart and never become whole. The two may notice at
    # different bytes that one is broken; the text is the same.
    shuffled = {text: random.Random(text).sample(ids, len(ids)) for text, ids in ids_of.items()}
    with PageEngine(folder) as engine:
        encoded = engine.answers([{"op": "encode", "text": text} for text in texts])
        decoded, streamed, in_disorder = (
            engine.answers([{"op": op, "ids": ids} for ids in batch])
            for op, batch in (
                ("decode", ids_of.values()),
                ("stream", ids_of.values()),
                ("stream", shuffled.values()),
            )
        )
    for text, want, answer in zip(texts, wanted, encoded, strict=True):
        got = answer["error"].split(":")[0] if "error" in answer else answer["ids"]
        assert got == want, text
    for i, (text, ids) in enumerate(ids_of.items()):
        assert decoded[i]["text"] == tokenizer.decode(ids), text
        stream = tokenizer.stream()
        parts = [stream.push(token) for token in ids] + [stream.finish()]
        assert streamed[i]["pieces"] == parts, text
        assert "".join(in_disorder[i]["pieces"]) == tokenizer.decode(shuffled[text]), text
    assert len(thousand_texts()) == 1000
    assert len(ids_of) > 0.6 * len(texts)  # a vocabulary may lack bytes; most texts still count


def test_what_a_user_types_stays_text(page_engine: Start) -> None:
    engine = page_engine(directory_of("chat"))
    special = set(range(3))
    for token in SPECIALS[:3]:
        assert not special & set(engine.ask("encode", text=f"a{token}b {token}"))
        ids = engine.ask("chat", messages=[{"role": "user", "content": f"hi {token} you"}])
        assert [i for i in ids if i in special] == [1, 2, 1]  # the template's own three


@pytest.mark.parametrize("name", ["chat", SMOLLM2])
def test_chat_prompts(name: str, page_engine: Start) -> None:
    tokenizer = Tokenizer.from_pretrained(name)
    template = ChatTemplate(tokenizer)
    engine = page_engine(directory_of(name))
    texts = thousand_texts()
    compared = 0
    for i, text in enumerate(texts[:400]):
        messages = [Message("system", texts[i - 1])] if i % 3 == 0 else []
        messages.append(Message("user", text))
        if i % 2 == 0:
            reply = (17, 300, 45) if i % 4 else None
            answer = tokenizer.decode(reply) if reply else "Well, yes."
            messages += [Message("assistant", answer, reply), Message("user", texts[i - 2])]
        try:
            want = template.encode(messages)
        except TokenizerError:
            continue
        said = [
            {"role": m.role, "content": m.content}
            | ({"tokenIds": list(m.token_ids)} if m.token_ids else {})
            for m in messages
        ]
        assert engine.ask("chat", messages=said) == want, said
        compared += 1
    assert compared > 100


def test_conversations_that_make_no_sense_are_refused(page_engine: Start) -> None:
    engine = page_engine(directory_of("chat"))
    user, reply = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    for messages in ([], [reply, user], [user, reply], [user, {"role": "system", "content": "c"}]):
        assert engine.answer("chat", messages=messages)["error"].startswith("InputError")
    story = page_engine(directory_of("story"))
    assert "chat template" in story.answer("chat", messages=[user])["error"]
