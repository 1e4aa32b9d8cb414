"""Guessing ahead changes how soon a text comes; not one token, not one probability."""

from collections import Counter
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from helpers import shapes_unchecked, tiny_config, tiny_model, tiny_tensors

from llama_edu import Llama, Sampling, generate
from llama_edu.engine.guess import (
    CHUNK,
    DraftModel,
    Guess,
    Pace,
    PromptLookup,
    acceptance,
    residual,
)
from llama_edu.engine.sampling import GREEDY
from llama_edu.errors import InputError

LIST = [3, 1, 4, 1, 5, 9, 2, 6, 3, 1, 4, 1, 5, 9, 2, 6, 3, 1, 4]
P = np.array([0.5, 0.3, 0.2, 0.0], dtype=np.float32)
Q = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)


class Wrong:
    """Guesses that are always the same, right or not."""

    def __init__(self, token_id, most=3):
        from llama_edu.engine.guess import Tally

        self.token_id, self.most, self.tally, self.vocab_size = token_id, most, Tally(), None

    def begin(self, token_ids, sampling, rng):
        return self

    def add(self, token_id):
        pass

    def guesses(self, most):
        return [Guess(self.token_id)] * most


def chosen(p, q):
    """The distribution of the chosen token, over every guess that q allows."""
    total = np.zeros(len(p))
    for token_id in np.flatnonzero(q):
        guess = Guess(int(token_id), q)
        kept = acceptance(p, guess)
        total[token_id] += q[token_id] * kept
        total += q[token_id] * (1 - kept) * residual(p, guess)
    return total


@pytest.mark.parametrize(
    ("p", "q"), [(P, Q), (Q, P), (P, P), (P, P[::-1].copy()), (Q, np.eye(4, dtype=np.float32)[2])]
)
def test_the_rule_gives_the_models_distribution_exactly(p, q):
    np.testing.assert_allclose(chosen(p, q), p, atol=1e-7)


def test_a_sure_guess_is_one_from_a_distribution_of_one():
    one = np.eye(4, dtype=np.float32)[1]
    for guess in (Guess(1), Guess(1, one)):
        assert acceptance(P, guess) == pytest.approx(0.3)
        np.testing.assert_allclose(residual(P, guess), [0.5 / 0.7, 0, 0.2 / 0.7, 0], rtol=1e-6)


def test_a_token_the_model_never_writes_is_never_kept():
    assert acceptance(P, Guess(3, Q)) == 0


@pytest.mark.parametrize("guesser", [PromptLookup(2), Wrong(7), "same", "other"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_greedy_text_is_the_same_token_by_token(guesser, backend):
    if backend == "numba":
        pytest.importorskip("numba")
    config = tiny_config()
    model = Llama(config, tiny_tensors(config), backend=backend)
    if isinstance(guesser, str):
        guesser = DraftModel(model if guesser == "same" else tiny_model(1))
    plain = list(generate(model, LIST, max_new_tokens=40, stop_ids=()))
    assert list(generate(model, LIST, max_new_tokens=40, stop_ids=(), guesser=guesser)) == plain


def test_a_draft_that_is_the_model_itself_is_always_right():
    model = tiny_model()
    draft = DraftModel(model, most=3)
    list(generate(model, LIST, max_new_tokens=33, stop_ids=(), guesser=draft))
    assert draft.tally.kept == draft.tally.guessed
    assert draft.tally.passes <= 1 + 32 // 4


@pytest.mark.parametrize("guesser", [PromptLookup(2), Wrong(7, most=1), Wrong(7), "other"])
def test_sampled_pairs_have_the_models_distribution(guesser):
    """χ² of 1,000 texts of three tokens, the last two of them counted, against exact numbers."""
    model = tiny_model(vocab_size=3, num_hidden_layers=1)
    if guesser == "other":
        guesser = DraftModel(tiny_model(5, vocab_size=3, num_hidden_layers=1), most=2)
    sampling, prompt, texts = Sampling(temperature=1.5), [0, 1, 0, 1], 1000
    if isinstance(guesser, Wrong):
        guesser.token_id = 2
    exact = np.zeros((3, 3, 3))
    for ids in product(range(3), repeat=3):
        logits = model.forward([*prompt, *ids[:2]])[len(prompt) - 1 :] / 1.5
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        exact[ids] = np.prod([row[i] for row, i in zip(shares, ids, strict=True)])
    rng = np.random.default_rng(16)
    options = {"max_new_tokens": 3, "sampling": sampling, "seed": rng, "stop_ids": ()}

    def written(texts):
        return Counter(
            tuple(generate(model, prompt, guesser=guesser, **options)) for _ in range(texts)
        )

    counts = written(20)
    with shapes_unchecked():  # no text has one that was not in the first
        counts += written(texts - 20)
    square = sum(
        (counts[ids] - texts * exact[ids]) ** 2 / (texts * exact[ids])
        for ids in product(range(3), repeat=3)
    )
    assert square < 54.05  # 26 degrees of freedom: more than this once in a thousand seeds


@pytest.mark.parametrize("guesser", [PromptLookup(2), Wrong(7)])
def test_the_cache_holds_what_was_fed_at_every_token(guesser):
    model = tiny_model()
    cache, plain = model.new_cache(), model.new_cache()
    text = generate(model, LIST, max_new_tokens=30, stop_ids=(), cache=cache, guesser=guesser)
    ids = []
    for token_id in text:
        ids.append(token_id)
        assert cache.length == len(LIST) + len(ids) - 1
    model.forward([*LIST, *ids[:-1]], plain)
    for layer in range(2):
        np.testing.assert_allclose(cache.keys(layer), plain.keys(layer), atol=1e-5)
        np.testing.assert_allclose(cache.values(layer), plain.values(layer), atol=1e-5)


def test_a_text_ends_at_its_stop_id_and_at_its_length_though_more_was_guessed():
    model = tiny_model()
    plain = list(generate(model, LIST, max_new_tokens=40, stop_ids=()))
    for count in range(1, 9):
        same = DraftModel(model, most=5)
        assert (
            list(generate(model, LIST, max_new_tokens=count, guesser=same, stop_ids=()))
            == (plain[:count])
        )
    stop = plain[5]
    want = plain[: plain.index(stop) + 1]
    same = DraftModel(model, most=5)
    assert list(generate(model, LIST, max_new_tokens=40, guesser=same, stop_ids=[stop])) == want


def test_a_full_context_has_room_for_its_last_token():
    model = tiny_model()
    new = model.config.max_position_embeddings - len(LIST)
    for guesser in (DraftModel(model), PromptLookup(1), Wrong(7)):
        text = generate(model, LIST, max_new_tokens=new, stop_ids=(), guesser=guesser)
        assert len(list(text)) == new


def test_a_draft_model_of_another_vocabulary_is_refused():
    with pytest.raises(InputError, match="vocabulary of 31, got a draft model with one of 7"):
        generate(
            tiny_model(),
            LIST,
            max_new_tokens=2,
            guesser=DraftModel(tiny_model(vocab_size=7)),
        )
    with pytest.raises(InputError, match="expected most of at least 1, got 0"):
        PromptLookup(most=0)
    with pytest.raises(InputError, match="expected most of at least 1, got 0"):
        DraftModel(tiny_model(), most=0)


def looked_up(ids, most=8, length=3):
    guessing = PromptLookup(length).begin(ids, Sampling(), np.random.default_rng(0))
    return [guess.token_id for guess in guessing.guesses(most)]


def test_lookup_repeats_what_came_after_the_last_such_run():
    assert looked_up([1, 2, 3, 4, 5, 1, 2, 3], most=2) == [4, 5]
    assert looked_up([1, 2, 3, 4, 1, 2, 3, 9, 9, 1, 2, 3], most=1) == [9]
    assert looked_up([1, 2, 3, 4, 5, 2, 3]) == []
    assert looked_up([5]) == []
    assert looked_up([7, 7, 7, 7], most=3) == [7, 7, 7]
    assert looked_up([1, 2, 1, 2, 1], most=4, length=2) == [2, 1, 2, 1]


def continued(model, known, new, **options):
    """What follows `known` and `new`, the rows of the former cached already."""
    cache = model.new_cache()
    model.forward(known, cache)
    options = {"max_new_tokens": 24, "stop_ids": (), "past_ids": known} | options
    return list(generate(model, new, cache=cache, **options))


def test_what_the_cache_holds_already_is_part_of_the_text():
    model = tiny_model()
    plain = list(generate(model, LIST, max_new_tokens=24, stop_ids=()))
    draft = DraftModel(model)
    assert continued(model, LIST[:15], LIST[15:], guesser=draft) == plain
    assert draft.tally.kept == draft.tally.guessed > 0
    seen = Wrong(7)
    with patch.object(seen, "begin", wraps=seen.begin) as begin:
        continued(model, LIST[:15], LIST[15:], guesser=seen)
    assert begin.call_args.args[0] == LIST


def test_penalties_count_what_the_cache_holds_already():
    model, cold = tiny_model(), Sampling(temperature=0.0, repetition_penalty=1.6)
    options = {"max_new_tokens": 24, "stop_ids": (), "sampling": cold}
    whole = list(generate(model, LIST, **options))
    for guesser in (None, Wrong(7)):
        assert continued(model, LIST[:15], LIST[15:], sampling=cold, guesser=guesser) == whole
    assert continued(model, LIST[:15], LIST[15:], sampling=cold, past_ids=()) != whole


def test_a_past_of_another_length_is_refused():
    with pytest.raises(InputError, match="past_ids for the 15 positions of the cache, got 14"):
        continued(tiny_model(), LIST[:15], LIST[15:], past_ids=LIST[:14])
    with pytest.raises(InputError, match="token ids from 0 to 30, got 31"):
        continued(tiny_model(), LIST[:2], LIST[2:], past_ids=[3, 31])


def test_a_draft_model_reads_what_is_new_and_no_more():
    model, small = tiny_model(), tiny_model(1)
    draft, fed = DraftModel(small), []
    forward = Llama.forward

    def counted(self, ids, *args, **options):
        fed.extend([len(ids)] if self is small else [])
        return forward(self, ids, *args, **options)

    with patch.object(Llama, "forward", counted):
        first = list(generate(model, LIST, max_new_tokens=9, stop_ids=(), guesser=draft))
        assert fed[0] == len(LIST) + 1
        fed.clear()
        whole = [*LIST, *first, 2, 7, 1]
        list(generate(model, whole, max_new_tokens=9, stop_ids=(), guesser=draft))
        assert fed[0] <= 9 + 3 + 1
        guessing = draft.begin(LIST, GREEDY, np.random.default_rng(0))
        right, wrong, _ = guessing.guesses(3)
        for token_id in (right.token_id, (wrong.token_id + 1) % small.config.vocab_size):
            guessing.add(token_id)
        fed.clear()
        guessing.guesses(3)
        assert fed == [1, 1, 1]


def test_one_draft_model_guesses_along_several_texts_in_turn():
    model = tiny_model()
    draft = DraftModel(model)
    options = {"max_new_tokens": 20, "stop_ids": ()}
    prompts = [LIST, LIST[:9], [8, *LIST]]
    plain = [list(generate(model, prompt, **options)) for prompt in prompts]
    texts = [generate(model, prompt, guesser=draft, **options) for prompt in prompts]
    assert [list(ids) for ids in zip(*zip(*texts, strict=True), strict=True)] == plain
    assert draft.tally.kept == draft.tally.guessed > 0


def test_ctrl_c_right_after_a_pass_leaves_no_guess_in_the_cache():
    model, ids = tiny_model(), []
    cache, forward = model.new_cache(), Llama.forward

    def interrupted(self, token_ids, *args, **options):
        logits = forward(self, token_ids, *args, **options)
        if ids:
            raise KeyboardInterrupt
        return logits

    text = generate(model, LIST, max_new_tokens=9, stop_ids=(), cache=cache, guesser=Wrong(7))
    with patch.object(Llama, "forward", interrupted), pytest.raises(KeyboardInterrupt):
        ids.extend(text)
    assert cache.length == len(LIST) + len(ids) == len(LIST) + 1


def test_the_pace_quickens_where_guesses_are_right_and_pauses_where_they_are_not():
    pace = Pace(most=12)
    assert pace.next() == 4
    pace.heard(4, 4)
    assert pace.next() == 8
    pace.heard(8, 8)
    assert pace.next() == 12
    pace.heard(12, 2)
    assert pace.next() == 3
    pace.heard(3, 0)
    assert [pace.next() for _ in range(3)] == [0, 0, 2]
    pace.heard(2, 0)
    assert [pace.next() for _ in range(5)] == [0, 0, 0, 0, 2]


def test_a_draft_model_guesses_as_far_as_its_context_goes():
    draft = DraftModel(tiny_model(max_position_embeddings=16))
    rng = np.random.default_rng(0)
    found = [len(draft.begin([1] * n, GREEDY, rng).guesses(4)) for n in (12, 13, 15, 16, 17)]
    assert found == [4, 3, 1, 0, 0]


@pytest.mark.parametrize("n_ids", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_a_draft_model_reads_a_prompt_of_any_length(n_ids):
    model = tiny_model(max_position_embeddings=2 * CHUNK + 9)
    ids = [n % 31 for n in range(n_ids)]
    (guess,) = DraftModel(model).begin(ids, GREEDY, np.random.default_rng(0)).guesses(1)
    assert guess.token_id == int(np.argmax(model.forward(ids, last_only=True)))


def test_a_pause_after_wrong_guesses_grows_up_to_a_limit():
    pace, pauses = Pace(most=4), []
    for _ in range(8):
        pace.heard(2, 0)
        pauses.append(pace.pause)
    assert pauses == [2, 4, 8, 16, 32, 64, 64, 64]
