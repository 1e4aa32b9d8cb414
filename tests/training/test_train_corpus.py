"""From documents to batches, without torch: nothing is lost, nothing is counted twice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import bpe, corpus
from training.corpus import IGNORED, Corpus
from training.recipe import Segment, TokenizerRecipe, load
from training.stories import many
from training.story_words import FACTS

RECIPE = TokenizerRecipe(320, ("<|endoftext|>", "<|other|>"), eos=("<|endoftext|>",), bos=None)
TOKENIZER = bpe.train((story.text for story in many(1, 50, held_out=False)), RECIPE)
TRAINING = Path(bpe.__file__).parent


@given(st.text())
def test_no_text_is_unencodable(text: str):
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_the_vocabulary_has_the_size_asked_for_and_begins_with_the_special_tokens():
    assert TOKENIZER.get_vocab_size() == 320
    assert TOKENIZER.token_to_id("<|endoftext|>") == 0
    assert TOKENIZER.token_to_id("<|other|>") == 1


def test_a_bos_token_is_put_in_front():
    recipe = TokenizerRecipe(300, ("<s>", "</s>"), eos=("</s>",), bos="<s>")
    tokenizer = bpe.train(["a kite"], recipe)
    assert tokenizer.encode("a").tokens == ["<s>", "a"]
    assert tokenizer.encode("a", add_special_tokens=False).tokens == ["a"]


def test_merges_do_not_learn_from_special_tokens():
    texts = ["<|endoftext|>x" * 50]
    recipe = TokenizerRecipe(300, ("<|endoftext|>",), eos=("<|endoftext|>",))
    plain = [bpe.without_special_tokens(text) for text in texts]
    assert "endoftext" not in bpe.train(plain, recipe).get_vocab()


def test_a_recipe_gets_a_token_for_every_id_or_says_how_many_it_got():
    recipe = load(TRAINING / "story.toml")
    few = replace(recipe.tokenizer, sample_documents=20, more_documents=20)
    with pytest.raises(ValueError, match=r"expected 2048 tokens, but the texts give only \d+"):
        bpe.train_from_recipe(replace(recipe, tokenizer=few))
    without_more = replace(few, more=None, vocab_size=300)
    assert bpe.train_from_recipe(replace(recipe, tokenizer=without_more)).get_vocab_size() == 300


def test_every_remembered_word_of_the_stories_is_one_token():
    # Copying one token is what two layers can do; a name in pieces would have to be spelt.
    recipe = load(TRAINING / "story.toml")
    texts = (story.text for story in many(recipe.corpus.seed, 4000, held_out=False))
    tokenizer = bpe.train(texts, recipe.tokenizer)
    for key in ("name", "kind", "trait", "object", "attribute", "place", "helper", "relative"):
        for word in FACTS[key]:
            assert len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) == 1, word


def encoded(*documents: tuple[Segment, ...]) -> Corpus:
    return corpus.encode(documents, TOKENIZER, prefix="<|endoftext|>", suffix="<|endoftext|>")


def test_segments_that_are_not_learnt_are_not_targets():
    data = encoded((Segment("ab", learn=False), Segment("c")), (Segment("d"),))
    assert [len(data), *data.lengths] == [2, 5, 3]
    a, b, c = (TOKENIZER.token_to_id(letter) for letter in "abc")
    assert data.ids[:5].tolist() == [0, a, b, c, 0]
    assert data.learn[:5].tolist() == [False, False, False, True, True]


def test_a_batch_shifts_the_targets_and_pads_on_the_right():
    data = encoded((Segment("ab", learn=False), Segment("c")), (Segment("d"),))
    ids, targets = corpus.batch(data, np.array([0, 1], dtype=np.int64))
    a, b, c, d = (TOKENIZER.token_to_id(letter) for letter in "abcd")
    assert ids.tolist() == [[0, a, b, c], [0, d, 0, 0]]
    assert targets.tolist() == [[IGNORED, IGNORED, c, 0], [d, 0, IGNORED, IGNORED]]


def test_a_corpus_survives_its_file(tmp_path: Path):
    data = encoded((Segment("ab", learn=False), Segment("c")))
    data.save(tmp_path / "data.npz")
    again = Corpus.load(tmp_path / "data.npz")
    for field in ("ids", "learn", "starts"):
        np.testing.assert_array_equal(getattr(again, field), getattr(data, field))
    assert [p.name for p in tmp_path.iterdir()] == ["data.npz"]


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=200),
    st.integers(90, 400),
    st.integers(0, 9),
)
def test_the_plan_takes_every_document_once_within_the_budget(
    lengths: list[int], tokens_per_step: int, seed: int
):
    sizes = np.array(lengths, dtype=np.int64)
    steps = corpus.plan(sizes, tokens_per_step, seed)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(lengths)))
    for documents in steps:
        assert len(documents) * sizes[documents].max() <= tokens_per_step


def test_the_plan_is_decided_by_its_seed():
    sizes = np.arange(1, 300, dtype=np.int64) % 50 + 1
    one, same, other = (corpus.plan(sizes, 500, seed) for seed in (1, 1, 2))
    assert [s.tolist() for s in one] == [s.tolist() for s in same]
    assert [s.tolist() for s in one] != [s.tolist() for s in other]


def test_little_of_a_batch_is_padding():
    sizes = np.random.default_rng(0).integers(100, 200, 20000)
    steps = corpus.plan(sizes, 6000, seed=0)
    area = sum(len(d) * int(sizes[d].max()) for d in steps)
    assert sizes.sum() / area > 0.97


def test_an_unknown_key_in_a_recipe_is_refused(tmp_path: Path):
    text = (TRAINING / "story.toml").read_text(encoding="utf-8")
    (tmp_path / "r.toml").write_text(text.replace("peak_lr", "peek_lr"), encoding="utf-8")
    with pytest.raises(TypeError, match="peek_lr"):
        load(tmp_path / "r.toml")
