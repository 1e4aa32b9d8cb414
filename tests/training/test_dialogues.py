"""The grammar of dialogues: it keeps its own promises, and the split between the two sides."""

import re
from itertools import combinations, islice
from math import factorial, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import chat_lore as lore
from training import chat_words as words
from training.chat_memory import Memory, is_held_out
from training.chat_slots import BY_KEY, NAME, SLOTS
from training.chat_turn import Turn, holds, is_right
from training.dialogues import (
    END,
    START,
    Dialogue,
    chatml,
    corpus,
    segments,
    write,
)

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 20), st.booleans())
def test_the_reply_of_the_grammar_is_right_by_its_own_scorer(
    seed: int, turns: int, held_out: bool
) -> None:
    dialogue = write(np.random.default_rng(seed), turns, held_out=held_out)
    assert len(dialogue.turns) == turns
    for turn in dialogue.turns:
        assert is_right(turn, turn.reply), turn


@given(seeds)
def test_the_same_seed_writes_the_same_dialogue(seed: int) -> None:
    first, second = (write(np.random.default_rng(seed), 12) for _ in range(2))
    assert first == second


def pairs_of(dialogue: Dialogue) -> list[bool]:
    """For every two facts of a dialogue: is their pair held out?"""
    return [is_held_out(a, b) for a, b in combinations(dialogue.facts, 2) if a != b]


@given(seeds, st.integers(1, 30))
def test_training_never_shows_a_held_out_pair(seed: int, turns: int) -> None:
    assert not any(pairs_of(write(np.random.default_rng(seed), turns)))


@given(seeds)
def test_in_evaluation_every_new_fact_completes_a_held_out_pair(seed: int) -> None:
    facts = write(np.random.default_rng(seed), 18, held_out=True, probes=(1, 3, 5)).facts
    assert len(facts) >= 3
    for at in range(1, len(facts)):
        earlier = [fact for fact in facts[:at] if fact != facts[at]]
        assert any(is_held_out(facts[at], fact) for fact in earlier)


@given(seeds)
def test_every_fact_stands_in_the_text(seed: int) -> None:
    dialogue = write(np.random.default_rng(seed), 12)
    text = " ".join(message["content"] for message in dialogue.messages())
    assert all(holds(text, value) for _, value in dialogue.facts)


def test_planted_questions_stand_at_their_distances() -> None:
    found: list[int] = []
    for seed in range(40):
        dialogue = write(np.random.default_rng(seed), 18, held_out=True, probes=(1, 3, 5, 8))
        found += [t.distance for t in dialogue.turns if t.kind == "recall" and t.distance]
    assert all(found.count(k) >= 38 for k in (1, 3, 5, 8))


def test_a_fact_asked_for_at_a_distance_is_spoken_of_only_when_it_was_told() -> None:
    checked = 0
    for seed in range(150):
        turns = write(np.random.default_rng(seed), 18).turns
        for at, turn in enumerate(turns):
            if turn.kind != "recall" or not turn.distance or turn.distance > at:
                continue
            told, *between = turns[at - turn.distance : at]
            assert holds(told.user, turn.must[0])
            assert not any(other.slot == turn.slot for other in between)
            checked += 1
    assert checked > 200


def test_a_correction_is_what_counts_afterwards() -> None:
    checked = 0
    for seed in range(300):
        turns = write(np.random.default_rng(seed), 16).turns
        for at, turn in enumerate(turns):
            if turn.kind != "correct":
                continue
            for later in turns[at + 1 :]:
                if later.slot == turn.slot and later.kind in ("correct", "tell"):
                    break
                if later.slot == turn.slot and later.kind == "recall":
                    assert later.must == turn.must
                    checked += 1
    assert checked > 50


def test_an_untold_fact_is_never_answered() -> None:
    for seed in range(200):
        told: set[str] = set()
        for turn in write(np.random.default_rng(seed), 14).turns:
            if turn.kind == "unknown":
                assert turn.slot not in told
            elif turn.slot:
                told.add(turn.slot)


@given(seeds)
def test_sums_are_true_and_small(seed: int) -> None:
    turn = lore.small_sum(np.random.default_rng(seed))
    left, sign, right, _, result = turn.reply.rstrip(".").split()
    expected = int(left) + int(right) if sign == "+" else int(left) - int(right)
    assert int(result) == expected
    assert all(0 <= int(n) <= lore.BIGGEST for n in (left, right, result))


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("Your favourite colour is blue.", True),
        ("It is BLUE!", True),
        ("Your favourite colour is red.", False),
        ("It is blue or red.", False),
        ("It is bluer.", False),
        ("", False),
    ],
)
def test_the_scorer_wants_the_value_and_no_other(reply: str, right: bool) -> None:
    turn = Turn("recall", "", "", must=("blue",), must_not=words.COLOURS)
    assert is_right(turn, reply) is right


def test_the_hash_holds_out_about_a_tenth_and_does_not_mind_the_order() -> None:
    pairs = [(("name", name), ("food", food)) for name in words.PEOPLE for food in words.FOODS]
    share = np.mean([is_held_out(*pair) for pair in pairs])
    assert 0.08 < share < 0.12
    assert all(is_held_out(a, b) == is_held_out(b, a) for a, b in pairs)


def test_memory_refuses_the_other_side() -> None:
    rng = np.random.default_rng(0)
    for held_out in (False, True):
        memory = Memory(held_out=held_out)
        memory.tell(NAME, "Ana")
        value = memory.draw_value(BY_KEY["food"], rng)
        assert value is not None
        assert is_held_out(("name", "Ana"), ("food", value)) is held_out


def test_six_facts_alone_make_more_than_a_thousand_billion_dialogues() -> None:
    """Six kinds of facts in any order, less the share of the fifteen pairs that is held out."""
    kinds = ("name", "home", "age", "animal", "food", "friend")
    combinations_of_values = prod(len(BY_KEY[kind].values) for kind in kinds)
    assert combinations_of_values * factorial(6) * 0.9**15 > 1e12


def test_dialogues_do_not_repeat() -> None:
    texts = ["".join(s.text for s in document) for document in corpus(0, 3000)]
    assert len(set(texts)) == 3000


@given(seeds)
def test_no_dialogue_with_two_facts_could_stand_on_both_sides(seed: int) -> None:
    """With fewer than two facts nothing can be held out; from two on, the sides never meet."""
    for held_out in (False, True):
        dialogue = write(np.random.default_rng(seed), 14, held_out=held_out)
        if len(set(dialogue.facts)) > 1:
            assert any(pairs_of(dialogue)) is held_out


def test_only_what_the_assistant_says_is_learnt() -> None:
    for document in islice(corpus(1, 50), 50):
        role = ""
        for segment in document:
            if segment.text.startswith(START):
                role = segment.text.removeprefix(START).strip()
                assert not segment.learn
            elif segment.text.endswith(END):
                assert segment.learn is (role == "assistant")


def test_segments_spell_the_same_text_as_chatml() -> None:
    dialogue = write(np.random.default_rng(3), 9)
    assert "".join(s.text for s in segments(dialogue)) == chatml(dialogue.messages())


def test_values_tell_themselves_apart() -> None:
    """A scorer that looks for whole words needs lists in which no value holds another."""
    for slot in SLOTS:
        assert len(set(slot.values)) == len(slot.values)
        clashes = [(a, b) for a in slot.values for b in slot.values if a != b and holds(a, b)]
        assert not clashes


def onsets_and_vowels(name: str) -> list[tuple[str, str]]:
    return re.findall(r"([b-df-hj-np-tv-z]+)([aeiouéö]+)", name.lower())


def test_echoing_names_keep_one_onset_or_one_vowel() -> None:
    for seed in range(200):
        name = words.invented_name(np.random.default_rng(seed), echo=1)
        parts = onsets_and_vowels(name)
        onset, vowel = parts[0]
        kept_onset = all(o.endswith(onset) for o, _ in parts)
        assert len(parts) >= 2
        assert kept_onset or all(v == vowel for _, v in parts), name


def test_training_is_the_harder_side_in_names() -> None:
    def invented(*, held_out: bool) -> float:
        rng = np.random.default_rng(3)
        drawn = [Memory(held_out=held_out).draw_value(NAME, rng) for _ in range(600)]
        return sum(name not in NAME.values for name in drawn) / len(drawn)

    assert invented(held_out=True) == pytest.approx(0.15, abs=0.05)
    assert invented(held_out=False) == pytest.approx(0.35, abs=0.06)
