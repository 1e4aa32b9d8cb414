"""Generation: the same tokens as the slow way, an end at every end, refusals before any work."""

from collections.abc import Generator

import numpy as np
import pytest
from helpers import TINY, tiny_config, tiny_model, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_files import byte_level, write_tokenizer

from llama_edu import Llama, Sampling, Tokenizer, generate
from llama_edu.engine.generate import prefill
from llama_edu.engine.guess import PromptLookup
from llama_edu.errors import ContextError, InputError, NumericsError

MODEL = tiny_model()  # its config names no eos
IDS = [3, 1, 4, 1, 5]
HOT = Sampling(temperature=2.0)
CONTEXT = TINY["max_position_embeddings"]


def padded_model():
    """A model of 410 ids for a tokenizer of 400; the other ten are often the likeliest."""
    config = tiny_config(vocab_size=410)
    tensors = tiny_tensors(config)
    tensors["lm_head.weight"][400:] *= 4
    return Llama(config, tensors)


PADDED = padded_model()


def plain(folder):
    """A tokenizer that names no eos."""
    return Tokenizer(write_tokenizer(folder / "plain", byte_level()))


def tokens(ids=IDS, n=20, model=MODEL, **options):
    return list(generate(model, ids, max_new_tokens=n, **options))


def greedy_without_a_cache(ids, n):
    ids = list(ids)
    for _ in range(n):
        ids.append(int(np.argmax(MODEL.forward(ids)[-1])))
    return ids[-n:]


@settings(max_examples=20)
@given(ids=st.lists(st.integers(0, 30), min_size=1, max_size=9), chunk=st.integers(1, 12))
def test_greedy_equals_running_everything_again_for_each_token(ids, chunk):
    assert tokens(ids, 8, chunk=chunk) == greedy_without_a_cache(ids, 8)


def test_it_counts_new_tokens_only():
    assert len(tokens(n=7)) == 7
    assert len(tokens(IDS * 3, n=7)) == 7
    assert all(type(i) is int for i in tokens(n=3))


def test_the_same_seed_gives_the_same_text_and_another_seed_another():
    assert tokens(sampling=HOT, seed=1) == tokens(sampling=HOT, seed=1)
    assert tokens(sampling=HOT, seed=1) != tokens(sampling=HOT, seed=2)
    assert tokens(sampling=HOT) != tokens(sampling=HOT)  # no seed, no promise


def test_a_generator_may_stand_for_the_seed_and_goes_on():
    rng = np.random.default_rng(1)
    first = tokens(sampling=HOT, seed=rng)
    assert first == tokens(sampling=HOT, seed=1)
    assert first != tokens(sampling=HOT, seed=rng)


@given(st.integers(0, 2**32))
@settings(max_examples=5)
def test_temperature_0_ignores_the_seed(seed):
    assert tokens(n=5, sampling=Sampling(temperature=0.0), seed=seed) == tokens(n=5)


def test_top_k_of_1_is_greedy():
    assert tokens(sampling=Sampling(temperature=3.0, top_k=1), seed=9) == tokens()


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 512])
def test_chunked_prefill_draws_the_same_text(chunk):
    assert tokens(sampling=HOT, seed=4, chunk=chunk) == tokens(sampling=HOT, seed=4)


@pytest.fixture
def sizes(monkeypatch):
    """Tokens of each forward pass."""
    seen, forward = [], Llama.forward

    def counted(self, token_ids, cache, **options):
        seen.append(len(token_ids))
        return forward(self, token_ids, cache, **options)

    monkeypatch.setattr(Llama, "forward", counted)
    return seen


def test_prefill_runs_chunks_of_the_size_asked_for(sizes):
    prefill(MODEL, IDS, MODEL.new_cache(), chunk=2)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("chunk", "prompt"), [(1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (None, [5])]
)
@pytest.mark.parametrize("guesser", [None, PromptLookup()])
def test_generate_runs_chunks_of_the_size_asked_for_and_then_single_tokens(
    sizes, chunk, prompt, guesser
):
    tokens(n=4, guesser=guesser, **({} if chunk is None else {"chunk": chunk}))
    assert sizes[: len(prompt)] == prompt
    if guesser is None:
        assert sizes[len(prompt) :] == [1, 1, 1]


@pytest.mark.parametrize("position", [0, 3, 11])
def test_it_ends_after_any_of_the_stop_ids(position):
    every = tokens(sampling=HOT, seed=7)
    stop = every[position]
    want = every[: every.index(stop) + 1]  # the id that ends it is there too
    assert tokens(sampling=HOT, seed=7, stop_ids=[stop]) == want
    never = next(i for i in range(31) if i not in every)
    assert tokens(sampling=HOT, seed=7, stop_ids={never, stop}) == want
    assert tokens(sampling=HOT, seed=7, stop_ids=(never,)) == every


def test_the_eos_ids_of_the_config_end_it_unless_told_otherwise():
    every = tokens(sampling=HOT, seed=7)
    config = tiny_config(eos_token_ids=(every[9], every[2]))
    model = Llama(config, tiny_tensors(config))
    first = min(every.index(i) for i in config.eos_token_ids)
    assert tokens(model=model, sampling=HOT, seed=7) == every[: first + 1]
    assert tokens(model=model, sampling=HOT, seed=7, stop_ids=()) == every
    assert tokens([*config.eos_token_ids, 5], 1, model=model)  # in the prompt they end nothing


def test_the_eos_of_the_tokenizer_ends_it_as_it_ends_a_reply_of_the_server(tmp_path):
    every = tokens(
        ids=[5, 6, 7], model=PADDED, sampling=HOT, seed=7, n=40, tokenizer=plain(tmp_path)
    )
    end = every[11]
    vocab = byte_level().get_vocab()
    (text,) = [text for text, i in vocab.items() if i == end]
    knows_its_end = Tokenizer(write_tokenizer(tmp_path / "eos", byte_level(), eos_token=text))
    assert PADDED.config.eos_token_ids == ()
    again = tokens(ids=[5, 6, 7], model=PADDED, sampling=HOT, seed=7, n=40, tokenizer=knows_its_end)
    assert again == every[: every.index(end) + 1]


def test_ids_that_have_no_token_are_never_yielded(tmp_path):
    options = {"ids": [5, 6, 7], "model": PADDED, "sampling": HOT, "seed": 7, "n": 40}
    assert max(tokens(**options)) >= 400  # without the tokenizer nobody knows
    assert max(tokens(**options, tokenizer=plain(tmp_path))) < 400
    greedy_ids = tokens([5, 6, 7], 20, PADDED, tokenizer=plain(tmp_path))
    assert max(greedy_ids) < 400


def test_a_negative_seed_is_a_seed():
    assert tokens(sampling=HOT, seed=-1) == tokens(sampling=HOT, seed=2**64 - 1)


def test_a_cache_is_continued_and_holds_all_that_was_fed():
    cache = MODEL.new_cache()
    first = tokens(n=4, cache=cache)
    assert cache.length == len(IDS) + 3  # the last token was chosen, never fed
    more = tokens([first[-1], 7, 8], n=5, cache=cache)
    assert more == greedy_without_a_cache([*IDS, *first, 7, 8], 5)


def test_a_stop_leaves_the_cache_without_the_stop():
    cache = MODEL.new_cache()
    first = tokens(n=1)
    assert tokens(n=9, cache=cache, stop_ids=first) == first
    assert cache.length == len(IDS)


def test_tokens_come_one_by_one():
    cache = MODEL.new_cache()
    stream = generate(MODEL, IDS, max_new_tokens=9, cache=cache)
    assert cache.length == 0
    assert next(stream) == tokens(n=1)[0]
    assert cache.length == len(IDS)
    next(stream)
    assert cache.length == len(IDS) + 1
    assert isinstance(stream, Generator)
    stream.close()
    assert cache.length == len(IDS) + 1


def test_the_prompt_is_not_mutated():
    ids = list(IDS)
    tokens(ids)
    assert ids == IDS


@pytest.fixture
def no_work(monkeypatch):
    """Any forward pass fails the test."""

    def forward(*args, **options):
        pytest.fail("worked before refusing")

    monkeypatch.setattr(Llama, "forward", forward)


# Each is refused by the call itself: no token is asked for.
@pytest.mark.usefixtures("no_work")
class TestRefusedBeforeAnyWork:
    @pytest.mark.parametrize(("prompt", "new"), [(60, 5), (64, 1), (65, 1), (1, 64), (1, 10**9)])
    def test_prompt_and_new_tokens_past_the_context(self, prompt, new):
        message = rf"at most {CONTEXT} positions in all, got 0 past \+ {prompt} prompt \+ {new} new"
        with pytest.raises(ContextError, match=message):
            generate(MODEL, [1] * prompt, max_new_tokens=new)

    def test_what_a_smaller_cache_cannot_hold(self):
        with pytest.raises(ContextError, match="at most 9 positions"):
            generate(MODEL, IDS, max_new_tokens=5, cache=MODEL.new_cache(max_seq=9))

    def test_the_cache_of_another_model(self):
        with pytest.raises(InputError, match="expected a cache of"):
            generate(MODEL, IDS, max_new_tokens=5, cache=tiny_model(head_dim=10).new_cache())

    @pytest.mark.parametrize(
        ("ids", "message"),
        [([], "at least one token id"), ([31], "from 0 to 30, got 31"), ([-1], "got -1")],
    )
    def test_bad_ids(self, ids, message):
        with pytest.raises(InputError, match=message):
            generate(MODEL, ids, max_new_tokens=5)
        with pytest.raises(InputError, match=message):
            prefill(MODEL, ids, MODEL.new_cache())

    @pytest.mark.parametrize("new", [0, -1])
    def test_nothing_to_do(self, new):
        with pytest.raises(InputError, match=f"max_new_tokens of at least 1, got {new}"):
            generate(MODEL, IDS, max_new_tokens=new)

    @pytest.mark.parametrize("chunk", [0, -3])
    def test_chunks_without_tokens(self, chunk):
        with pytest.raises(InputError, match=f"chunk of at least 1 token, got {chunk}"):
            generate(MODEL, IDS, max_new_tokens=5, chunk=chunk)
        with pytest.raises(InputError, match=f"chunk of at least 1 token, got {chunk}"):
            prefill(MODEL, IDS, MODEL.new_cache(), chunk=chunk)

    def test_a_prompt_that_does_not_fit_its_cache_in_chunks(self):
        cache = MODEL.new_cache(max_seq=4)
        with pytest.raises(ContextError, match=r"at most 4 positions .* 0 past \+ 5 new"):
            prefill(MODEL, IDS, cache, chunk=2)
        assert cache.length == 0


def test_the_context_can_be_filled_to_the_brim():
    assert len(tokens([1] * 60, n=4)) == 4
    assert len(tokens(n=5, cache=MODEL.new_cache(max_seq=10))) == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), HOT], ids=["greedy", "drawn"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_broken_weights_end_in_an_error_and_not_in_text(bad, sampling):
    tensors = tiny_tensors(MODEL.config)
    tensors["model.norm.weight"][3] = bad
    model = Llama(MODEL.config, tensors)
    with pytest.raises(NumericsError, match="finite logits"):
        tokens(model=model, sampling=sampling, seed=0)
