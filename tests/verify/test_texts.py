"""Tokens, sampling, conversations: right answers pass, every mistake is told from the rest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llama_edu import hub
from llama_edu.chat.template import ChatTemplate
from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.verify.chats import CHAT_MISTAKES, CHATS, ChatMistake, name_chat, right_ids
from llama_edu.verify.checkpoints import TINY, write_tiny
from llama_edu.verify.sampling import (
    SAMPLING_CASES,
    SAMPLING_MISTAKES,
    TOLERANCE,
    Rules,
    SamplingCase,
    SamplingMistake,
    distribution,
    name_sampling,
    sampling_gap,
)
from llama_edu.verify.tokens import (
    DECODE_MISTAKES,
    ENCODE_MISTAKES,
    TEXTS,
    Asked,
    TokenMistake,
    allowed_ids,
    allowed_texts,
    byte_pairs,
    decode_cases,
    name_decode,
    name_encode,
)


@pytest.mark.parametrize("case", SAMPLING_CASES, ids=lambda case: case.label)
def test_the_book_s_sampling_is_right(case: SamplingCase) -> None:
    logits = np.array(case.logits, dtype=np.float32)
    got = probabilities(logits, Sampling(case.temperature, case.top_k, case.top_p))
    assert sampling_gap(case, got.astype(np.float64)) <= TOLERANCE


@pytest.mark.parametrize(
    "rules", [Rules(keep_ties=True), Rules(high_id_first=True), Rules(border=1e-5)], ids=str
)
def test_what_may_differ_passes(rules: Rules) -> None:
    gaps = [sampling_gap(case, distribution(case, rules)) for case in SAMPLING_CASES]
    assert max(gaps) <= TOLERANCE


def test_llama_cpp_s_order_passes_where_it_is_declared_and_is_named_where_not() -> None:
    order = Rules(temperature_last=True)
    answers = [(case, distribution(case, order)) for case in SAMPLING_CASES]
    assert all(sampling_gap(c, a, temperature_last=True) <= TOLERANCE for c, a in answers)
    assert any(sampling_gap(c, a) > TOLERANCE for c, a in answers)
    assert [m.key for m in name_sampling(answers)] == ["sampling.temperature_last"]


@pytest.mark.parametrize("mistake", SAMPLING_MISTAKES, ids=lambda mistake: mistake.key)
def test_a_mistake_of_sampling_is_found_and_named(mistake: SamplingMistake) -> None:
    answers: list[tuple[SamplingCase, np.ndarray | None]] = []
    for case in SAMPLING_CASES:
        with np.errstate(all="ignore"):
            made = mistake.make(case)
        answers.append((case, made if np.isfinite(made).all() else None))
    assert any(a is None or sampling_gap(c, a) > TOLERANCE for c, a in answers)
    assert [found.key for found in name_sampling(answers)] == [mistake.key]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Asked], list[Asked]]:
    """Every question the kit asks three tokenizers, with what would be right."""
    tiny = tmp_path_factory.mktemp("tiny")
    write_tiny(TINY[0], tiny)
    encoded, decoded = [], []
    for directory in (Path(hub.locate("story")), Path(hub.locate("chat")), tiny):
        tokenizer, pairs = Tokenizer(directory), byte_pairs(directory)
        assert pairs is not None
        encoded += [Asked(pairs, t, None, allowed_ids(tokenizer, t)) for t in TEXTS.values()]
        some = [ids for _, ids in decode_cases(tokenizer)]
        decoded += [Asked(pairs, ids, None, allowed_texts(tokenizer, ids)) for ids in some]
    return encoded, decoded


def test_the_tokenizer_written_out_is_the_book_s(asked: tuple[list[Asked], list[Asked]]) -> None:
    assert all(one.pairs.encode(one.given) in one.allowed for one in asked[0])


@pytest.mark.parametrize(
    "mistake", [*ENCODE_MISTAKES, *DECODE_MISTAKES], ids=lambda mistake: mistake.key
)
def test_a_mistake_of_tokens_is_found_and_named(
    mistake: TokenMistake, asked: tuple[list[Asked], list[Asked]]
) -> None:
    encodes = mistake in ENCODE_MISTAKES
    questions = asked[0] if encodes else asked[1]
    answers = [
        Asked(q.pairs, q.given, mistake.make(q.pairs, q.given), q.allowed) for q in questions
    ]
    assert any(one.came not in one.allowed for one in answers)
    found = (name_encode if encodes else name_decode)(answers)
    assert [one.key for one in found] == [mistake.key]


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "Unigram"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Split"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"normalizer": {"type": "NFC"}},
        {"model": {"type": "BPE", "ignore_merges": True}},
    ],
)
def test_mistakes_of_other_tokenizers_have_no_names(
    change: dict[str, object], tmp_path: Path
) -> None:
    write_tiny(TINY[0], tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    assert byte_pairs(tmp_path) is None


@pytest.mark.parametrize("mistake", CHAT_MISTAKES, ids=lambda mistake: mistake.key)
def test_a_mistake_of_conversations_is_named(mistake: object) -> None:
    directory = Path(hub.locate("chat"))
    tokenizer = Tokenizer(directory)
    template = ChatTemplate(tokenizer)
    answers = [(turns, mistake.make(tokenizer, template, turns)) for turns in CHATS.values()]  # type: ignore[attr-defined]
    assert any(ids != right_ids(template, turns) for turns, ids in answers)
    assert [found.key for found in name_chat(directory, answers)] == [mistake.key]  # type: ignore[attr-defined]


@pytest.mark.parametrize("mistake", [m for m in CHAT_MISTAKES if m.careless], ids=lambda m: m.key)
def test_it_is_named_in_an_engine_that_reads_typed_control_tokens_too(mistake: ChatMistake) -> None:
    directory = Path(hub.locate("chat"))
    tokenizer = Tokenizer(directory)
    template = ChatTemplate(tokenizer)
    assert mistake.careless is not None
    made = [(turns, mistake.careless(tokenizer, template, turns)) for turns in CHATS.values()]
    assert [found.key for found in name_chat(directory, made)] == [mistake.key]
