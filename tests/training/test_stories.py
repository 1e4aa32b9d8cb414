"""The stories: read back exactly, kept apart from the evaluation, and scored as they deserve."""

import math
import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from training.stories import COMBINED, corpus, grammar, held_out_corpus, is_held_out, many
from training.story_rules import RULES
from training.story_score import NAME, RELATIVE, SONG, Score, score, sentences
from training.story_words import FACTS, GIRLS, SONGS, SYLLABLES

STORIES = grammar()
SAMPLE = list(many(7, 300, held_out=False))


@pytest.fixture(scope="module")
def scores():
    """What each story of the sample is worth: reading them back takes seconds."""
    return [score(story.text, STORIES) for story in SAMPLE]


TEXT = (
    "Do you know Mia, the shy fox from the lake? She liked to sing songs. Her little song was"
    " this: la dum ti bo lu. She had a blue kite, and she loved it very much. One cold day, the"
    ' wind blew the blue kite onto the roof. "Oh no, my blue kite!" cried Mia. Softly she sang: la'
    ' dum ti bo lu. Soon a wise owl came by. "Please help me get my blue kite," she said. "Leave it'
    ' to me," said the owl, and soon the blue kite was safe. "You are a true friend," Mia said to'
    " the owl. Then she carried the blue kite home to the lake. Together they sang: la dum ti"
    " bo lu! And Mia and the blue kite were never apart again. The end."
)


def test_every_story_reads_back_as_exactly_one_derivation():
    for story in SAMPLE:
        (found,) = STORIES.derivations(story.text)
        assert found.log_probability == pytest.approx(story.log_probability)
        assert {key: found.facts[key] for key in story.facts} == story.facts


def test_a_seed_makes_the_same_stories_and_another_seed_others():
    again = [story.text for story in many(7, 20, held_out=False)]
    assert again == [story.text for story in SAMPLE[:20]]
    assert not set(again) & {story.text for story in many(8, 20, held_out=False)}


def test_the_corpora_are_the_stories():
    assert [d[0].text for d in corpus(7, 5)] == [story.text for story in SAMPLE[:5]]
    texts = [story.text for story in many(7, 5, held_out=True)]
    assert [d[0].text for d in held_out_corpus(7, 5)] == texts


def test_held_out_combinations_stay_out_of_training():
    assert not any(is_held_out(story.facts) for story in SAMPLE)
    held_out = list(many(9, 100, held_out=True))
    assert all(is_held_out(story.facts) for story in held_out)


def test_one_combination_in_twenty_is_held_out():
    # Counted over all objects, attributes and places of two names: 29,440 combinations.
    found = [
        is_held_out({"name": n, "object": o, "attribute": a, "place": p})
        for n in ("Tom", "Mia")
        for o in FACTS["object"]
        for a in FACTS["attribute"]
        for p in FACTS["place"]
    ]
    assert sum(found) / len(found) == pytest.approx(1 / 20, abs=0.005)


def test_the_split_never_moves():
    # The weights were trained with this split; another checksum would leak the evaluation.
    kites = [dict(zip(COMBINED, ("Tom", "kite", "red", p), strict=True)) for p in FACTS["place"]]
    assert [kite["place"] for kite in kites if is_held_out(kite)] == ["bridge", "orchard"]


def test_there_are_many_billions_of_stories(scores):
    # A distribution of entropy H needs at least e^H texts to be spread over.
    entropy = -sum(story.log_probability for story in SAMPLE) / len(SAMPLE)
    assert entropy > 60
    assert math.exp(60) > 1e9 * 1e9
    assert len({story.text for story in SAMPLE}) == len(SAMPLE)
    assert len({found.opening for found in scores}) > 295


def test_no_word_means_two_things():
    for (one, words), (two, others) in combinations(FACTS.items(), 2):
        assert not set(words) & set(others), (one, two)
    for words in FACTS.values():
        assert len(set(words)) == len(words)


def test_remembered_words_stand_nowhere_else_in_the_rules():
    # The scorer takes "kite" for the object wherever it stands, so no sentence may mention one.
    # Attributes are exempt: a sky may be blue, only "blue" before an object is scored.
    text = " ".join(template for templates in RULES.values() for template in templates)
    fixed = set(re.findall(r"[A-Za-z]+", re.sub(r"\{[^}]*\}|<\w+>", " ", text)))
    for key in ("name", "object", "place"):
        assert not fixed & set(FACTS[key])
    assert not fixed & set(SYLLABLES)


def test_a_song_says_nothing_about_its_next_word():
    # Every word follows every other equally often, so only an earlier singing tells what comes.
    follows = Counter(pair for song in SONGS for pair in pairwise(song.split()))
    assert len(follows) == len(SYLLABLES) * (len(SYLLABLES) - 1)
    assert len(set(follows.values())) == 1
    assert not set(SYLLABLES) & {word for key, words in FACTS.items() if key != "song"
                                 for phrase in words for word in phrase.split()}  # fmt: skip


def test_every_song_is_sung_three_times():
    for story in SAMPLE:
        assert SONG.findall(story.text) == [story.facts["song"]] * 3


def test_every_story_has_a_beginning_a_turn_and_an_end():
    for story in SAMPLE:
        assert 7 <= len(sentences(story.text)) <= 22, story.text
        assert len(story.text.split()) < 220  # far below 300 tokens
        assert {"name", "kind", "place", "object", "attribute", "song"} <= set(story.facts)


def test_a_story_never_starts_with_a_name_nor_a_quote_with_one():
    for story in SAMPLE:
        for match in NAME.finditer(story.text):
            assert story.text[match.start() - 1] == " "


def test_the_grammars_own_stories_score_full_marks(scores):
    for story, found in zip(SAMPLE, scores, strict=True):
        assert flags(found) - {"relative"} == {
            "name", "pronouns", "object", "attribute", "place", "song", "grammatical", "consistent"
        }, story.text  # fmt: skip


def test_a_gift_comes_to_whom_it_was_meant_for(scores):
    marks = [found.relative for found in scores]
    assert marks.count(True) > 10
    assert marks.count(False) == 0
    text = next(s.text for s, mark in zip(SAMPLE, marks, strict=True) if mark)
    before, relative, after = text.rpartition(RELATIVE.search(text)[1])
    other = "aunt" if relative != "aunt" else "uncle"
    assert score(before + other + after, STORIES).relative is False
    assert score(TEXT, STORIES).relative is None


def flags(found: Score) -> set[str]:
    """The names of the marks a story got."""
    return {key for key, value in vars(found).items() if value is True}


ALL = flags(score(TEXT, STORIES))


def last(old: str, new: str) -> str:
    """The story with the last mention of a word changed."""
    before, _, after = TEXT.rpartition(old)
    return before + new + after


def test_the_example_scores_full_marks():
    assert len(ALL) == 8
    assert score(TEXT, STORIES).opening == "Do you know Mia, the shy fox from the lake?"


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (last("Mia", "Anna"), {"name", "consistent"}),
        (last("Mia", "Tom"), {"name", "consistent"}),
        (last("she", "he"), {"pronouns", "consistent"}),
        (TEXT.replace("Mia", "Tom"), {"pronouns", "consistent"}),
        (last("kite", "ball"), {"object", "attribute", "consistent"}),
        (last("blue", "brown"), {"attribute", "consistent"}),
        (last("lake", "hill"), {"place", "consistent"}),
        (last("bo lu", "lu bo"), {"song", "consistent"}),
        (last("And Mia", "Mia and"), {"grammatical", "consistent"}),
        (TEXT.partition(" Then")[0], {"place", "song", "grammatical", "consistent"}),
        (
            TEXT.partition(" One cold")[0],
            ALL - {"pronouns", "name", "object", "attribute", "place", "song"},
        ),
        (TEXT.partition(" She had")[0] + " " + "Then the sun came out. " * 4, ALL - {"pronouns"}),
    ],
)
def test_each_fault_costs_its_own_marks(text: str, lost: set[str]):
    assert ALL - flags(score(text, STORIES)) == lost


def test_an_empty_text_scores_nothing():
    assert not flags(score("", STORIES))


def test_girls_are_names():
    assert set(GIRLS) < set(FACTS["name"])


def test_the_stories_kept_for_the_book_are_held_out_ones_of_this_grammar():
    path = Path(__file__).parent.parent / "data" / "held_out_stories.txt"
    kept = path.read_text("utf-8").splitlines()
    assert kept == [story.text for story in many(2026, 3, held_out=True)]
