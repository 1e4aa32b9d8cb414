"""The grammar: every probability can be checked by hand, and every text can be read back."""

import math

import numpy as np
import pytest

from training.grammar import Grammar, compile_rules

VALUES = {"name": ("Tom", "Mia"), "thing": ("kite", "orange", "ball")}


def tiny(*templates: str, **rules: list[str]) -> Grammar:
    root = compile_rules({"root": list(templates), **rules}, "root", set(VALUES))
    return Grammar(root, VALUES, frozenset({"Mia"}))


def texts_of(grammar: Grammar, count: int = 300) -> set[str]:
    rng = np.random.default_rng(0)
    return {grammar.write(rng).text for _ in range(count)}


def test_a_rule_picks_one_of_its_templates():
    assert texts_of(tiny("one", "two", "three")) == {"one", "two", "three"}


def test_brackets_nest_and_may_be_empty():
    assert texts_of(tiny("a[ b[ c|]|].")) == {"a.", "a b.", "a b c."}


def test_a_rule_is_drawn_afresh_at_every_mention():
    assert texts_of(tiny("<x><x>", x=["0", "1"])) == {"00", "01", "10", "11"}


def test_a_fact_is_drawn_once_and_remembered():
    assert texts_of(tiny("{thing} {thing}")) == {"kite kite", "orange orange", "ball ball"}


def test_the_article_goes_with_the_sound():
    assert texts_of(tiny("{a thing}")) == {"a kite", "an orange", "a ball"}


def test_pronouns_agree_even_before_the_name():
    assert texts_of(tiny("{His} name is {name}; {he} likes {himself}.")) == {
        "His name is Tom; he likes himself.",
        "Her name is Mia; she likes herself.",
    }


def test_the_probability_multiplies_the_choices():
    # Two templates, then three things once (the second mention is free), then one of four words.
    grammar = tiny("{thing} {thing} [a|b|c|d]", "{thing}")
    rng = np.random.default_rng(1)
    for _ in range(20):
        written = grammar.write(rng)
        options = 2 * 3 * 4 if " " in written.text else 2 * 3
        assert written.log_probability == pytest.approx(-math.log(options))


def test_the_probabilities_of_all_texts_sum_to_one():
    grammar = tiny("{name} has {a thing}[, {he} says| and {his} {thing}|].", "[No|Yes], {name}.")
    texts = texts_of(grammar, 2000)
    assert len(texts) == 2 * 3 * 3 + 2 * 2
    total = 0.0
    for text in texts:
        (found,) = grammar.derivations(text)
        total += math.exp(found.log_probability)
    assert total == pytest.approx(1)


def test_a_fact_that_is_given_is_used_and_costs_the_same():
    grammar = tiny("{name} {thing}")
    given = grammar.write(np.random.default_rng(0), {"thing": "ball", "name": "Mia"})
    assert given.text == "Mia ball"
    assert given.log_probability == pytest.approx(-math.log(2 * 3))


def test_reading_tells_consistent_from_grammatical():
    grammar = tiny("{name} lost {his} {thing}. {He} found the {thing}.")
    right = "Mia lost her kite. She found the kite."
    assert [found.facts["thing"] for found in grammar.derivations(right)] == ["kite"]
    for wrong in (
        "Mia lost his kite. She found the kite.",
        "Mia lost her kite. He found the kite.",
        "Mia lost her kite. She found the ball.",
    ):
        assert not list(grammar.derivations(wrong))
        assert len(list(grammar.derivations(wrong, consistent=False))) == 1
    assert not list(grammar.derivations("Mia lost her. She found the kite.", consistent=False))


def test_a_pronoun_before_the_name_binds_the_name():
    grammar = tiny("{His} name is {name}.")
    assert not list(grammar.derivations("Her name is Tom."))
    assert len(list(grammar.derivations("Her name is Mia."))) == 1


def test_reading_stops_at_nothing_left_over():
    grammar = tiny("a[ b|]")
    assert not list(grammar.derivations("a b c"))
    assert not list(grammar.derivations(""))


@pytest.mark.parametrize("template", ["[a|b", "a]b", "a|b", "{thing", "<x"])
def test_a_broken_template_is_refused(template: str):
    with pytest.raises(ValueError, match="template"):
        tiny(template, x=["0"])
