"""Which ids may be chosen, which end a text, and what a seed means."""

import json

import numpy as np
import pytest
from helpers import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_files import byte_level, write_json, write_tokenizer

from llama_edu import Sampling, Tokenizer
from llama_edu.engine.choose import TokenChooser, Vocabulary, random_generator
from llama_edu.engine.sampling import probabilities, sample
from llama_edu.errors import NumericsError

HOT = Sampling(temperature=2.0)
N_TOKENS = 400


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return Tokenizer(write_tokenizer(folder, byte_level(), eos_token="<|im_end|>"))


@pytest.fixture(scope="module")
def with_a_hole(tmp_path_factory):
    """A tokenizer of the ids 0 to 399, and 450."""
    rules = json.loads(byte_level().to_str())
    rules["model"]["vocab"]["zzz"] = 450
    folder = tmp_path_factory.mktemp("hole")
    write_json(folder / "tokenizer.json", rules)
    return Tokenizer(folder)


@pytest.mark.parametrize(
    ("vocab_size", "missing"),
    [(1, []), (400, []), (403, [400, 401, 402]), (450, [*range(400, 450)])],
)
def test_ids_without_a_token_are_those_that_decode_to_nothing(tokenizer, vocab_size, missing):
    assert tokenizer.ids_without_token(vocab_size).tolist() == missing


def test_holes_are_found_as_well_as_padding(with_a_hole):
    assert with_a_hole.ids_without_token(451).tolist() == [*range(400, 450)]
    assert with_a_hole.ids_without_token(453).tolist() == [*range(400, 450), 451, 452]
    assert with_a_hole.ids_without_token(400).tolist() == []


@pytest.mark.parametrize("without", [[], [0], [399], [1, 7, 8]])
def test_what_has_no_token_is_masked_and_nothing_else(without):
    logits = np.arange(400, dtype=np.float32)
    got = Vocabulary(frozenset(), np.array(without, dtype=np.int64)).masked(logits)
    assert np.flatnonzero(got == -np.inf).tolist() == without
    kept = np.setdiff1d(np.arange(400), without)
    np.testing.assert_array_equal(got[kept], kept)
    np.testing.assert_array_equal(logits, np.arange(400))  # the model's own stay as they are


def test_a_text_ends_at_the_eos_of_config_and_tokenizer_and_at_nothing_else_if_told(tokenizer):
    config = tiny_config(vocab_size=400, eos_token_ids=(7, 9))
    assert Vocabulary.of(config).stop_ids == {7, 9}
    assert Vocabulary.of(config, tokenizer).stop_ids == {2, 7, 9}
    assert Vocabulary.of(config, tokenizer, (5,)).stop_ids == {5}
    assert Vocabulary.of(config, tokenizer, ()).stop_ids == frozenset()
    chooser = TokenChooser(Vocabulary.of(config, tokenizer))
    assert [i for i in range(400) if chooser.ends(i)] == [2, 7, 9]


LOGITS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).uniform(-30, 30, 455).astype(np.float32)
)  # as 455 floats of its own, Hypothesis would find them too many
SAMPLINGS = [Sampling(temperature=0.0), HOT, Sampling(1.0, top_k=5), Sampling(0.7, top_p=0.8)]


@settings(max_examples=30)
@given(logits=LOGITS, sampling=st.sampled_from(SAMPLINGS), seed=st.integers(-9, 9))
def test_what_has_no_token_takes_no_part_in_the_draw(with_a_hole, logits, sampling, seed):
    before = logits.copy()
    config = tiny_config(vocab_size=455)
    chooser = TokenChooser(Vocabulary.of(config, with_a_hole), sampling, seed)
    real = [*range(400), 450]
    # The distribution is that of the real ids alone, each with the logit it has.
    p = probabilities(chooser.vocabulary.masked(logits), sampling)
    assert np.allclose(p[real], probabilities(logits[real], sampling), atol=1e-6)
    assert p.sum() == pytest.approx(p[real].sum())
    ids = [chooser.choose(logits) for _ in range(5)]
    assert set(ids) <= set(real)
    assert logits.tobytes() == before.tobytes()


def test_without_padding_a_draw_is_a_draw_of_sample(tokenizer):
    rng = np.random.default_rng(3)
    chooser = TokenChooser(Vocabulary.of(tiny_config(vocab_size=400), tokenizer), HOT, 3)
    for _ in range(20):
        logits = np.random.default_rng(1).standard_normal(400, dtype=np.float32)
        assert chooser.choose(logits) == sample(logits, HOT, rng)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_broken_logit_of_a_token_is_told_and_one_of_padding_is_not(tokenizer, sampling):
    chooser = TokenChooser(Vocabulary.of(tiny_config(vocab_size=402), tokenizer), sampling, 0)
    logits = np.zeros(402, dtype=np.float32)
    logits[401] = np.nan
    assert chooser.choose(logits) < N_TOKENS
    logits[3] = np.nan
    with pytest.raises(NumericsError, match="finite logits"):
        chooser.choose(logits)


def numbers(seed, choice=0):
    return random_generator(seed, choice).integers(2**62, size=4).tolist()


def test_every_whole_number_is_a_seed():
    seeds = [0, 1, 2**63 - 1, 2**63, 2**64 - 2, np.int64(5)]
    assert len({tuple(numbers(seed)) for seed in seeds}) == len(seeds)
    assert numbers(-1) == numbers(2**64 - 1)
    assert numbers(2**64 + 3) == numbers(3)
    assert (
        numbers(np.int64(5))
        == numbers(5)
        == np.random.default_rng(5).integers(2**62, size=4).tolist()
    )
    assert numbers(None) != numbers(None)


def test_choices_of_one_seed_draw_for_themselves():
    assert len({tuple(numbers(5, choice)) for choice in range(6)}) == 6
    assert numbers(5, 3) == numbers(5, 3)
    assert numbers(5, 1) != numbers(6, 1)


def test_a_generator_goes_on_where_it_is():
    rng = np.random.default_rng(1)
    assert random_generator(rng) is rng
