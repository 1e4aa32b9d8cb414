"""A conversation: whatever is done to it, the numbers are those of starting afresh."""

import json
from dataclasses import asdict, replace
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_files import byte_level, write_tokenizer

from llama_edu import ChatSession, Llama, Sampling, Tokenizer
from llama_edu.chat import storage
from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.chat.usage import CacheMissReason, TurnUsage
from llama_edu.engine.guess import DraftModel, Guess, PromptLookup, Tally
from llama_edu.engine.prefix_cache import PrefixCache
from llama_edu.engine.sampling import GREEDY
from llama_edu.errors import ContextError, InputError, NumericsError, SessionError, TokenizerError
from llama_edu.formats.precision import PRECISIONS
from llama_edu.formats.safetensors import SafetensorsFile, save_file

# Story has no template of its own; any program that writes turns down will do.
LINES = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NEW = 5
HOT = Sampling(temperature=1.5)
WARM = Sampling(temperature=0.7)  # hotter, and a trained model writes ids its tokenizer lacks

# Cached against uncached, as a share of the largest logit: float32 sums in another order, and what
# rounding to 16 bits makes of that in a cache, or in every operator.
GAP = dict.fromkeys(PRECISIONS, 5e-3) | {
    "f32": 1e-5, "bf16": 2e-2, "bf16-pure": 6e-2, "f16-pure": 1e-2,
}  # fmt: skip


@cache
def tokenizer_of(name):
    return Tokenizer.from_pretrained(name)


@cache
def model_of(name, precision="f32", backend="numpy"):
    return Llama.from_pretrained(name, precision, backend)


def session(name="chat", precision="f32", backend="numpy", **options):
    tokenizer = tokenizer_of(name)
    template = ChatTemplate(tokenizer, None if tokenizer.chat_template else LINES)
    model = model_of(name, precision, backend)
    return ChatSession(
        model, tokenizer, **{"max_new_tokens": NEW, "seed": 0, "template": template} | options
    )


def say(pieces):
    return "".join(pieces)


def prompt_of(chat, turn):
    """The ids of the prompt of a turn, without any cache, from the session's public face."""
    system = [] if chat.system is None else [Message("system", chat.system)]
    messages = [
        message
        for earlier in chat.turns[chat.turns[turn].usage.forgotten : turn]
        for message in (
            Message("user", earlier.user),
            Message("assistant", earlier.reply, earlier.token_ids),
        )
    ]
    return chat.template.encode([*system, *messages, Message("user", chat.turns[turn].user)])


def assert_as_if_fresh(chat, gap):
    """The last reply, and the logits that follow, are those of a run over everything at once."""
    turn, prompt = chat.turns[-1], prompt_of(chat, len(chat.turns) - 1)
    usage = turn.usage
    assert usage.prompt_tokens == len(prompt)
    assert usage.reused < len(prompt)
    assert usage.generated == len(turn.token_ids) + (turn.end == "done")
    everything = [*prompt, *turn.token_ids]
    assert list(chat.cached_ids) == everything[: len(chat.cached_ids)]

    logits = chat.model.forward(everything)
    largest = float(np.max(np.abs(logits)))
    if chat.sampling.temperature == 0:
        for row, token_id in zip(logits[len(prompt) - 1 :], turn.token_ids, strict=False):
            assert row[token_id] >= np.max(row) - gap * largest

    n_cached = len(chat.cached_ids)
    following = everything[n_cached] if n_cached < len(everything) else everything[-1]
    cached = chat.model.forward([following], chat._cache.copy())[-1]
    fresh = chat.model.forward([*chat.cached_ids, following])[-1]
    np.testing.assert_allclose(cached, fresh, rtol=0, atol=gap * largest)


TEXTS = st.sampled_from(["Hello!", "My name is Ana.", "What is my name?", "Hi", "a <|im_end|>", ""])
ANYWHERE = st.floats(0, 1)
SCRIPTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), TEXTS),
        st.tuples(st.just("edit"), ANYWHERE, TEXTS),
        st.tuples(st.just("regenerate")),
        st.tuples(st.just("rollback"), ANYWHERE),
        st.tuples(st.just("fork")),
        st.tuples(st.just("close"), TEXTS, st.integers(0, NEW)),
        st.tuples(st.just("system"), st.sampled_from([None, "You are Max.", "Be kind."])),
    ),
    min_size=2,
    max_size=7,
)


def act(sessions, step, *details):
    """Do one step of a script with the newest session; True if a reply was made."""
    chat = sessions[-1]
    n_turns = len(chat.turns)
    if step == "send":
        say(chat.send(*details))
    elif step == "edit" and n_turns:
        where, text = details
        say(chat.edit(min(int(where * n_turns), n_turns - 1), text))
    elif step == "regenerate" and n_turns:
        say(chat.regenerate())
    elif step == "close":
        text, n_pieces = details
        reply = chat.send(text)
        said = [piece for _, piece in zip(range(n_pieces), reply, strict=False)]
        reply.close()
        return bool(said)
    elif step == "rollback":
        chat.rollback(round(details[0] * n_turns))
        return False
    elif step == "system":
        chat.system = details[0]
        return False
    elif step == "fork":
        sessions.insert(0, chat)  # the older one is looked at again in the end
        sessions[-1] = chat.fork()
        return False
    else:
        return False
    return True


def run(script, gap, **options):
    sessions = [session(**options)]
    for step in script:
        if act(sessions, *step):
            assert_as_if_fresh(sessions[-1], gap)
    for chat in sessions:
        if chat.turns and not chat._cause:
            say(chat.send("Hi"))
            assert_as_if_fresh(chat, gap)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), WARM], ids=["greedy", "drawn"])
@pytest.mark.parametrize("name", ["chat", "story"])
@settings(max_examples=25)
@given(script=SCRIPTS)
def test_any_script_gives_what_starting_afresh_gives(name, sampling, script):
    run(script, GAP["f32"], name=name, sampling=sampling)


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "f32"])
@settings(max_examples=3)
@given(script=SCRIPTS, name=st.sampled_from(["chat", "story"]))
def test_in_every_precision(precision, script, name):
    run(script, GAP[precision], name=name, precision=precision)


@pytest.mark.parametrize("precision", [n for n, p in PRECISIONS.items() if not p.is_pure])
@settings(max_examples=3)
@given(script=SCRIPTS, name=st.sampled_from(["chat", "story"]))
def test_on_the_compiled_backend(precision, script, name):
    pytest.importorskip("numba")
    run(script, GAP[precision], name=name, precision=precision, backend="numba")


@settings(max_examples=15)
@given(scripts=st.lists(SCRIPTS, min_size=2, max_size=3), room=st.sampled_from([20_000, 10**9]))
def test_sessions_that_share_a_prefix_cache(scripts, room):
    shared = PrefixCache(room)
    for script in scripts:
        run(script, GAP["f32"], prefix_cache=shared, system="You are Max.")


class HalfRight:
    """Guesses what the model writes, with a mistake here and there, and checks what it is told."""

    most, vocab_size = 5, None

    def __init__(self, model):
        self.draft, self.tally, self.chat = DraftModel(model), Tally(), None

    def begin(self, token_ids, sampling, rng):
        self.ids = list(token_ids)
        if self.chat is not None:  # the whole text that the reply goes on from
            assert self.ids == self.chat._ids
        self.inner = self.draft.begin(token_ids, sampling, rng)
        return self

    def add(self, token_id):
        self.ids.append(token_id)
        self.inner.add(token_id)

    def guesses(self, most):
        right = [guess.token_id for guess in self.inner.guesses(most)]
        places = range(len(self.ids), len(self.ids) + len(right))
        return [
            Guess(max(i - 1, 0) if n % 3 == 0 else i) for i, n in zip(right, places, strict=True)
        ]


def guesser_of(kind, model, other):
    makers = {
        "lookup": lambda: PromptLookup(1),
        "same": lambda: DraftModel(model),
        "other": lambda: DraftModel(other, most=3),
        "half right": lambda: HalfRight(model),
    }
    return makers[kind]()


GUESSERS = ["lookup", "same", "other", "half right"]
GUESSED = st.lists(
    st.one_of(
        st.tuples(st.just("send"), TEXTS),
        st.tuples(st.just("edit"), ANYWHERE, TEXTS),
        st.tuples(st.just("regenerate")),
        st.tuples(st.just("rollback"), ANYWHERE),
        st.tuples(st.just("fork")),
        st.tuples(st.just("close"), TEXTS, st.integers(0, 20)),
        st.tuples(st.just("system"), st.sampled_from([None, "Be kind."])),
    ),
    min_size=2,
    max_size=6,
)


def assert_no_guess_shows(script, plain, guessing):
    """Two sessions that differ in who guesses are the same after every step of a script."""
    pairs = [[plain], [guessing]]
    for step in script:
        for sessions in pairs:
            made = act(sessions, *step)
        ours, theirs = pairs[0][-1], pairs[1][-1]
        assert [asdict(turn) for turn in theirs.turns] == [asdict(turn) for turn in ours.turns]
        assert theirs.cached_ids == ours.cached_ids
        assert theirs._cache.length == len(theirs.cached_ids)
        if made:
            assert_as_if_fresh(theirs, GAP["f32"])


@pytest.mark.parametrize("kind", GUESSERS)
@settings(max_examples=6)
@given(script=GUESSED)
def test_guessing_changes_nothing_that_can_be_seen(kind, script):
    options = {"max_new_tokens": 24, "overflow": "drop_oldest"}
    guesser = guesser_of(kind, model_of("chat"), model_of("chat", "q4"))
    guessing = session(guesser=guesser, **options)
    assert_no_guess_shows(script, session(**options), guessing)


# What each operation reuses, on a model of random numbers that never ends a reply by itself.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = write_tokenizer(tmp_path_factory.mktemp("tokenizer"), byte_level())
    config = tiny_config(vocab_size=400, max_position_embeddings=256)
    return Llama(config, tiny_tensors(config)), Tokenizer(folder)


@pytest.fixture
def new(tiny):
    def new(**options):
        model, tokenizer = tiny
        template = ChatTemplate(tokenizer, options.pop("source", CHATML))
        return ChatSession(
            model, tokenizer, **{"max_new_tokens": 6, "template": template} | options
        )

    return new


class Counted:
    """Counts the positions that go through the model."""

    def __init__(self):
        self.positions = 0

    def __enter__(self):
        forward, counter = Llama.forward, self

        def counted(self, token_ids, *args, **options):
            counter.positions += len(token_ids)
            return forward(self, token_ids, *args, **options)

        self._patch = patch.object(Llama, "forward", counted)
        self._patch.start()
        return self

    def __exit__(self, *exception):
        self._patch.stop()


class TestUsage:
    def test_the_first_turn_computes_everything(self, new):
        chat = new(system="the cat")
        with Counted() as counted:
            say(chat.send("Once"))
        usage = chat.turns[0].usage
        assert (usage.reused, usage.dropped, usage.reason) == (0, 0, None)
        assert usage.computed == usage.prompt_tokens == len(prompt_of(chat, 0))
        assert counted.positions == usage.computed + usage.generated - 1

    def test_a_turn_computes_what_is_new_and_no_more(self, new):
        chat = new()
        say(chat.send("Once upon a time there was a cat."))
        with Counted() as counted:
            say(chat.send("The"))
        first, second = (turn.usage for turn in chat.turns)
        # All but the last id of the reply, which was chosen and never fed.
        assert second.reused == first.prompt_tokens + first.generated - 1
        assert (second.dropped, second.reason) == (0, None)
        assert counted.positions == second.computed + second.generated - 1

    def test_an_edit_reuses_up_to_the_first_id_that_differs(self, new):
        chat = new()
        say(chat.send("the cat"))
        say(chat.send("found 12"))
        before = prompt_of(chat, 1)
        cached = len(chat.cached_ids)
        say(chat.edit(1, "found 345"))
        after, usage = prompt_of(chat, 1), chat.turns[1].usage
        same = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
        assert (usage.reused, usage.dropped) == (same, cached - same)
        assert usage.reason is CacheMissReason.EDITED
        assert len(chat.turns) == 2

    def test_an_edit_of_an_early_turn_takes_back_the_later_ones(self, new):
        chat = new()
        for text in "abc":
            say(chat.send(text))
        say(chat.edit(0, "x"))
        assert [turn.user for turn in chat.turns] == ["x"]

    def test_regenerating_runs_one_position_of_the_prompt(self, new):
        chat = new(sampling=HOT, seed=1)
        first = say(chat.send("the cat"))
        again = say(chat.regenerate())
        usage = chat.turns[0].usage
        assert (usage.computed, usage.reason) == (1, CacheMissReason.REGENERATED)
        assert usage.dropped == 6  # five fed of the reply, and the last of the prompt
        assert again != first
        assert len(chat.turns) == 1

    def test_regenerating_answers_the_last_message_and_keeps_the_others(self, new):
        chat = new()
        for text in ("a", "the cat"):
            say(chat.send(text))
        first, second = chat.turns
        assert say(chat.regenerate()) == second.reply
        assert [turn.user for turn in chat.turns] == ["a", "the cat"]
        assert chat.turns[0] is first

    def test_a_rollback_computes_nothing_and_says_so_later(self, new):
        chat = new()
        for text in "abc":
            say(chat.send(text))
        with Counted() as counted:
            chat.rollback(1)
        assert counted.positions == 0
        assert [turn.user for turn in chat.turns] == ["a"]
        say(chat.send("b"))  # the very same: everything up to the reply is still there
        assert chat.turns[1].usage.computed == 1
        assert chat.turns[1].usage.reason is CacheMissReason.ROLLED_BACK
        say(chat.send("c"))
        assert chat.turns[2].usage.reason is None

    def test_another_system_prompt_costs_everything_behind_it(self, new):
        chat = new(system="the cat")
        say(chat.send("a"))
        chat.system = "no cat"
        say(chat.send("b"))
        usage = chat.turns[1].usage
        assert usage.reason is CacheMissReason.EDITED
        assert usage.reused < 10
        assert chat.turns[1].usage.prompt_tokens == len(prompt_of(chat, 1))
        reply = chat.send("c")
        chat.system = "no cats"[:-1]  # the same again, in a string of its own
        say(reply)
        assert chat.turns[2].usage.reason is None

    def test_a_template_that_writes_earlier_turns_anew_is_noticed(self, new):
        source = "{{ messages | length }}" + CHATML  # a count, a date, the latest tools …
        chat = new(source=source)
        say(chat.send("a"))
        say(chat.send("b"))
        usage = chat.turns[1].usage
        assert (usage.reason, usage.reused) == (CacheMissReason.RERENDERED, 0)
        assert usage.dropped == chat.turns[0].usage.prompt_tokens + 5
        chat.rollback(1)
        for text, reason in (("c", CacheMissReason.ROLLED_BACK), ("d", CacheMissReason.RERENDERED)):
            say(chat.send(text))
            assert chat.turns[-1].usage.reason is reason  # what was done before is over

    def test_a_shared_prefix_is_computed_once(self, new):
        shared = PrefixCache(10**9)
        system = "Once upon a time there was a cat."
        chats = [new(system=system, prefix_cache=shared) for _ in range(2)]
        say(chats[0].send("the cat"))
        say(chats[1].send("found 12"))
        first, second = (chat.turns[0].usage for chat in chats)
        assert first.reused == 0
        assert second.reused > len(system) / 4
        assert second.reason is CacheMissReason.OTHER
        for chat in chats:
            assert shared.match(chat.cached_ids) == len(chat.cached_ids)

    def test_where_all_of_a_prompt_is_shared_there_is_nothing_to_explain(self, new):
        shared = PrefixCache(10**9)
        chats = [new(prefix_cache=shared) for _ in range(2)]
        for chat in chats:
            say(chat.send("the cat"))
        usage = chats[1].turns[0].usage
        assert (usage.computed, usage.reason) == (1, None)  # the last id is always run

    def test_a_fork_reuses_all_and_leaves_the_first_alone(self, new):
        chat = new()
        say(chat.send("a"))
        fork, cached = chat.fork(), chat.cached_ids
        say(fork.send("b"))
        assert fork.turns[1].usage.reused == len(cached)
        assert chat.cached_ids == cached
        assert len(chat.turns) == 1
        assert_as_if_fresh(fork, GAP["f32"])
        say(chat.send("c"))
        assert chat.turns[1].usage.reused == len(cached)
        assert_as_if_fresh(chat, GAP["f32"])

    def test_forks_draw_the_same_from_the_same(self, new):
        chat = new(sampling=HOT, seed=3)
        say(chat.send("a"))
        fork = chat.fork()
        assert say(chat.send("b")) == say(fork.send("b"))


class TestReply:
    @pytest.mark.parametrize("seed", range(16))
    def test_pieces_come_one_by_one_and_join_to_the_reply(self, new, seed):
        chat = new(sampling=HOT, seed=seed)  # which often ends within a character
        pieces = list(chat.send("the"))
        assert "".join(pieces) == chat.turns[0].reply
        assert len(pieces) > 1

    def test_ids_are_kept_and_never_made_from_text_again(self, new, tiny):
        chat = new(sampling=HOT, seed=4)
        say(chat.send("the"))
        ids, text = chat.turns[0].token_ids, chat.turns[0].reply
        assert tuple(tiny[1].encode(text)) != ids  # a random model never writes tidy words
        say(chat.send("cat"))
        assert chat.turns[1].usage.dropped == 0
        n_prompt = chat.turns[0].usage.prompt_tokens
        assert chat.cached_ids[n_prompt : n_prompt + len(ids)] == ids

    def test_a_reply_that_ends_itself_is_done(self):
        chat = session(max_new_tokens=60)
        text = say(chat.send("Hello! My name is Ana."))
        turn = chat.turns[0]
        assert turn.end == "done"
        assert turn.usage.generated == len(turn.token_ids) + 1
        assert "<|im_end|>" not in text
        assert not set(turn.token_ids) & set(chat.tokenizer.eos_token_ids)

    def test_a_reply_at_its_limit_says_so(self, new):
        chat = new()
        say(chat.send("the"))
        assert (chat.turns[0].end, len(chat.turns[0].token_ids)) == ("length", 6)

    @pytest.mark.parametrize("n_pieces", [1, 3])
    def test_a_reply_closed_early_is_kept_as_far_as_it_went(self, new, n_pieces):
        chat = new()
        reply = chat.send("the")
        said = "".join(next(reply) for _ in range(n_pieces))
        reply.close()
        turn = chat.turns[0]
        assert turn.end == "stopped"
        assert turn.reply.startswith(said)
        assert turn.usage.generated == len(turn.token_ids) < 6
        say(chat.send("cat"))
        assert chat.turns[1].usage.dropped == 0
        assert_as_if_fresh(chat, GAP["f32"])

    def test_a_reply_nobody_reads_any_more_is_closed(self, new):
        chat = new()
        next(chat.send("the"))  # the generator is gone at once
        assert chat.turns[0].end == "stopped"

    def test_a_reply_never_begun_changes_nothing(self, new):
        chat = new()
        chat.send("the").close()
        chat.send("the")
        assert (chat.turns, chat.cached_ids) == ((), ())

    @pytest.mark.parametrize("after", [0, 2])
    def test_ctrl_c_in_the_middle_of_a_step(self, new, after):
        chat = new()
        say(chat.send("a"))
        steps, forward = iter(range(99)), Llama.forward

        def interrupted(self, *args, **options):
            if next(steps) == after:
                raise KeyboardInterrupt
            return forward(self, *args, **options)

        with patch.object(Llama, "forward", interrupted), pytest.raises(KeyboardInterrupt):
            say(chat.send("the"))
        turn = chat.turns[1]
        assert (turn.end, len(turn.token_ids)) == ("stopped", after)
        say(chat.send("cat"))
        assert_as_if_fresh(chat, GAP["f32"])

    def test_a_model_that_breaks_before_its_first_token_changes_nothing(self, new):
        chat = new()
        say(chat.send("a"))
        turns = chat.turns

        def broken(self, *args, **options):
            raise NumericsError("expected numbers, got none")

        with patch.object(Llama, "forward", broken):
            for ask in (lambda: chat.send("b"), chat.regenerate, lambda: chat.edit(0, "c")):
                with pytest.raises(NumericsError):
                    say(ask())
        assert chat.turns == turns
        say(chat.send("b"))
        assert_as_if_fresh(chat, GAP["f32"])

    def test_an_id_without_a_token_is_never_written(self, tiny):
        config = tiny_config(vocab_size=500, max_position_embeddings=256)  # the tokenizer has 400
        tensors = tiny_tensors(config)
        tensors["lm_head.weight"][400:] *= 4  # they would often be the likeliest
        model, tokenizer = Llama(config, tensors), tiny[1]
        chat = ChatSession(
            model,
            tokenizer,
            template=ChatTemplate(tokenizer, CHATML),
            sampling=HOT,
            seed=6,
            max_new_tokens=100,
        )
        say(chat.send("the"))
        (turn,) = chat.turns
        assert len(turn.token_ids) > 50
        assert max(turn.token_ids) < 400
        chat.max_new_tokens = 1
        chat.send("cat").close()
        assert_as_if_fresh(chat, GAP["f32"])

    @pytest.mark.parametrize("overflow", ["refuse", "drop_oldest"])
    def test_a_prompt_may_fill_all_the_room_there_is(self, overflow):
        chat = session(max_new_tokens=NEW, overflow=overflow)
        say(chat.send("Hello!"))
        messages = [
            Message("user", "Hello!"),
            Message("assistant", chat.turns[0].reply, chat.turns[0].token_ids),
            Message("user", "Who are you?"),
        ]
        prompt = chat.template.encode(messages)
        context = chat.model.config.max_position_embeddings
        chat.max_new_tokens = context - len(prompt)
        chat.send("Who are you?").close()
        chat.max_new_tokens += 1
        if overflow == "refuse":
            with pytest.raises(ContextError, match=f"at most {len(prompt) - 1} tokens"):
                chat.send("Who are you?")
        else:
            reply = chat.send("Who are you?")
            next(reply)
            reply.close()
            assert chat.forgotten == 1

    def test_one_reply_at_a_time(self, new):
        chat = new()
        reply = chat.send("a")
        next(reply)
        for act in (
            lambda: chat.send("b"),
            lambda: chat.edit(0, "b"),
            chat.fork,
            lambda: chat.rollback(0),
            lambda: chat.save("never"),
        ):
            with pytest.raises(InputError, match=r"read to its end|from 0 to -1"):
                act()
        say(reply)
        say(chat.send("b"))
        assert len(chat.turns) == 2

    def test_only_the_reply_asked_for_last_may_begin(self, new):
        chat = new()
        early, late = chat.send("a"), chat.send("b")
        with pytest.raises(InputError, match="asked for last"):
            next(early)
        say(late)
        assert [turn.user for turn in chat.turns] == ["b"]
        for change in (lambda: setattr(chat, "system", "the cat"), lambda: chat.rollback(0)):
            stale = chat.send("c")
            change()
            with pytest.raises(InputError, match="asked for last"):
                next(stale)


class TestGuessing:
    TEXT = "Once upon a time there was a cat."

    @pytest.fixture(params=GUESSERS)
    def guesser(self, tiny, request):
        config = tiny[0].config
        return guesser_of(request.param, tiny[0], Llama(config, tiny_tensors(config, seed=1)))

    def test_with_drops_of_the_oldest_turns(self, new, guesser):
        options = {"overflow": "drop_oldest", "max_new_tokens": 40}
        guessing = new(guesser=guesser, **options)
        script = [("send", self.TEXT)] * 4 + [("edit", 0.5, "cat"), ("send", self.TEXT)]
        assert_no_guess_shows([*script, ("regenerate",)], new(**options), guessing)
        assert max(turn.usage.forgotten for turn in guessing.turns) > 0
        assert guesser.tally.passes > 0

    @pytest.mark.parametrize("n_pieces", range(1, 9))
    def test_closed_at_any_piece(self, new, guesser, n_pieces):
        script = [("send", "the the"), ("close", "the the", n_pieces), ("send", "cat")]
        plain, guessing = (new(max_new_tokens=12, guesser=one) for one in (None, guesser))
        assert_no_guess_shows(script, plain, guessing)

    @pytest.mark.parametrize("after", range(5))
    @pytest.mark.parametrize("when", ["before a pass", "after a pass"])
    def test_ctrl_c_at_any_pass(self, new, tiny, guesser, when, after):
        plain, chat = (new(max_new_tokens=20, guesser=one) for one in (None, guesser))
        say(chat.send("a"))
        passes, forward = iter(range(99)), Llama.forward

        def interrupted(self, token_ids, cache=None, **options):
            last = cache is chat._cache and next(passes) == after
            if last and when == "before a pass":
                raise KeyboardInterrupt
            logits = forward(self, token_ids, cache, **options)
            if last:
                raise KeyboardInterrupt
            return logits

        with patch.object(Llama, "forward", interrupted), pytest.raises(KeyboardInterrupt):
            say(chat.send("the"))
        for text in ("a", "the"):
            say(plain.send(text))
        ids = chat.turns[1].token_ids
        assert chat.turns[1].end == "stopped"
        assert ids == plain.turns[1].token_ids[: len(ids)]
        assert chat._cache.length <= len(chat._ids)
        say(chat.send("cat"))
        assert chat.turns[2].usage.dropped == 0
        assert_as_if_fresh(chat, GAP["f32"])

    def test_the_guesser_knows_the_whole_conversation(self, new, tiny):
        guesser = HalfRight(tiny[0])
        chat = guesser.chat = new(guesser=guesser, prefix_cache=PrefixCache(10**9))
        for text in "abc":
            say(chat.send(text))
        say(chat.edit(1, "d"))
        assert len(guesser.ids) == len(prompt_of(chat, 1)) + len(chat.turns[1].token_ids)

    def test_what_was_said_in_an_earlier_turn_is_found(self):
        chat = session(max_new_tokens=60, guesser=PromptLookup())
        say(chat.send("Hello! My name is Ana."))
        before = chat.guesser.tally.kept
        say(chat.send("Hello! My name is Ana."))
        assert chat.guesser.tally.kept > before

    def test_it_goes_on_in_a_fork_and_in_a_file(self, new, tiny, tmp_path):
        lookup = PromptLookup(1)
        chat = new(guesser=lookup)
        say(chat.send("the the"))
        assert chat.fork().guesser is lookup
        chat.save(tmp_path / "a.chat")
        again = ChatSession.load(tmp_path / "a.chat", *tiny, template=chat.template, guesser=lookup)
        assert say(again.send("cat")) == say(chat.send("cat"))
        assert again.guesser is lookup

    def test_a_draft_model_of_another_vocabulary_is_refused(self, new, tiny, tmp_path):
        other = tiny_config(vocab_size=300)
        draft = DraftModel(Llama(other, tiny_tensors(other)))
        with pytest.raises(InputError, match="vocabulary of 400, got a draft model with one of"):
            new(guesser=draft)
        new().save(tmp_path / "a.chat")
        with pytest.raises(InputError, match="vocabulary of 400, got a draft model with one of"):
            ChatSession.load(tmp_path / "a.chat", *tiny, guesser=draft)


def test_a_penalty_counts_the_whole_conversation_however_much_is_cached(new):
    chat = new(sampling=Sampling(temperature=0.0, repetition_penalty=1.8), max_new_tokens=20)
    for text in ("the cat", "found", "12"):
        say(chat.send(text))
    fresh = new(sampling=chat.sampling, max_new_tokens=20)
    fresh._turns = chat.turns[:2]  # as if they had been told, and nothing computed
    say(fresh.send("12"))
    assert fresh.turns[2].usage.reused == 0
    assert fresh.turns[2].token_ids == chat.turns[2].token_ids


class TestOverflow:
    TEXT = "Once upon a time there was a cat."

    def test_refusing_changes_nothing(self, new):
        chat = new(max_new_tokens=100)
        say(chat.send(self.TEXT * 2))
        turns, cached = chat.turns, chat.cached_ids
        with pytest.raises(ContextError, match=r"at most 156 tokens, to leave room .* of 100 in a"):
            chat.send(self.TEXT * 2)
        assert (chat.turns, chat.cached_ids) == (turns, cached)

    def test_dropping_leaves_out_whole_turns_and_says_so(self, new):
        chat = new(overflow="drop_oldest", system="the cat", max_new_tokens=30)
        for _ in range(6):
            say(chat.send(self.TEXT))
            assert_as_if_fresh(chat, GAP["f32"])
        forgotten = [turn.usage.forgotten for turn in chat.turns]
        assert forgotten[0] == 0
        assert forgotten == sorted(forgotten)
        assert forgotten[-1] > 0
        assert chat.forgotten == forgotten[-1]
        assert len(chat.turns) == 6  # still there to read
        for before, turn in zip(chat.turns, chat.turns[1:], strict=False):
            broke = turn.usage.forgotten > before.usage.forgotten
            assert turn.usage.reason is (CacheMissReason.OVERFLOW if broke else None)
            assert bool(turn.usage.dropped) is broke
            assert not broke or turn.usage.reused > 0  # the system prompt stays

    def test_what_was_left_out_before_is_no_reason_again(self, new):
        chat = new(overflow="drop_oldest", max_new_tokens=30)
        while not chat.forgotten:
            say(chat.send(self.TEXT))
        say(chat.regenerate())  # the turn that began to leave out
        again = chat.turns[-1].usage
        assert (again.reason, again.computed) == (CacheMissReason.REGENERATED, 1)
        say(chat.send(self.TEXT))
        forgotten = chat.forgotten
        for text, reason in (
            (self.TEXT[::-1], CacheMissReason.EDITED),
            (self.TEXT * 9, CacheMissReason.OVERFLOW),
        ):
            say(chat.edit(len(chat.turns) - 1, text))
            assert chat.turns[-1].usage.reason is reason
            assert (chat.forgotten > forgotten) == (reason is CacheMissReason.OVERFLOW)

    def test_it_leaves_out_no_more_than_it_must(self, new):
        chat = new(overflow="drop_oldest", max_new_tokens=30)
        while not chat.forgotten:
            say(chat.send(self.TEXT))
        n_last = chat.forgotten
        kept = chat.turns[-1].usage.prompt_tokens
        turn_tokens = len(prompt_of(chat, len(chat.turns) - 1)) - kept
        assert turn_tokens == 0
        assert n_last == 1 or kept + 60 > 226  # one turn fewer would not have fitted

    def test_what_was_taken_back_makes_room_again(self, new):
        chat = new(overflow="drop_oldest", max_new_tokens=30)
        while not chat.forgotten:
            say(chat.send(self.TEXT))
        chat.rollback(1)
        say(chat.send("a"))
        assert chat.turns[-1].usage.forgotten == 0
        assert_as_if_fresh(chat, GAP["f32"])

    @pytest.mark.parametrize("overflow", ["refuse", "drop_oldest"])
    def test_a_message_that_fits_nowhere(self, new, overflow):
        chat = new(overflow=overflow)
        with pytest.raises(ContextError, match="at most 250 tokens"):
            chat.send(self.TEXT * 30)
        assert chat.turns == ()


TURN = {
    "user": "a",
    "reply": "b",
    "token_ids": [5],
    "end": "done",
    "usage": asdict(TurnUsage(prompt_tokens=3, reused=0, computed=3, generated=2)),
}


class TestSaveAndLoad:
    def load(self, chat, path, **options):
        return ChatSession.load(
            path, chat.model, chat.tokenizer, **{"template": chat.template} | options
        )

    def test_it_goes_on_as_if_nothing_had_happened(self, new, tmp_path):
        chat = new(system="the cat", sampling=HOT, seed=5, overflow="drop_oldest")
        say(chat.send("the 🐈"))
        next(chat.send("cat"))
        chat.save(tmp_path / "a.chat")
        again = self.load(chat, tmp_path / "a.chat")
        assert (again.turns, again.system, again.cached_ids) == (
            chat.turns,
            chat.system,
            chat.cached_ids,
        )
        with Counted() as counted:
            text = say(again.send("found"))
        usage = again.turns[-1].usage
        assert usage.reused == len(chat.cached_ids)
        assert counted.positions == usage.computed + usage.generated - 1
        assert text == say(chat.send("found"))  # the very next random number, too
        assert asdict(again.turns[-1]) == asdict(chat.turns[-1])

    def test_where_turns_were_left_out_all_that_is_cached_is_in_the_file(self, new, tmp_path):
        chat = new(overflow="drop_oldest", max_new_tokens=30)
        while not chat.forgotten:
            say(chat.send("Once upon a time there was a cat."))
        chat.save(tmp_path / "a.chat")
        again = self.load(chat, tmp_path / "a.chat")
        assert (again.forgotten, again.cached_ids) == (chat.forgotten, chat.cached_ids)

    def test_what_is_said_later_goes_into_the_prefix_cache(self, new, tmp_path):
        new().save(tmp_path / "a.chat")
        shared = PrefixCache(10**9)
        again = self.load(new(), tmp_path / "a.chat", prefix_cache=shared)
        say(again.send("the"))
        assert shared.match(again.cached_ids) == len(again.cached_ids) > 0

    @pytest.mark.parametrize("precision", ["bf16", "f16", "int8"])
    def test_the_cache_keeps_its_format(self, precision, tmp_path):
        chat = session(precision=precision)
        say(chat.send("Hello!"))
        chat.save(tmp_path / "a.chat")
        again = self.load(chat, tmp_path / "a.chat")
        assert again._cache.dtype == chat._cache.dtype
        for layer in range(chat._cache.n_layers):
            np.testing.assert_array_equal(again._cache.keys(layer), chat._cache.keys(layer))

    def test_what_was_taken_back_is_not_in_the_file(self, new, tmp_path):
        chat = new()
        say(chat.send("the"))
        chat.save(tmp_path / "short.chat")
        say(chat.send("a secret"))
        chat.rollback(1)
        chat.save(tmp_path / "a.chat")
        assert b"secret" not in (tmp_path / "a.chat").read_bytes()
        rows = SafetensorsFile(tmp_path / "a.chat")["keys"].shape[2]
        short = SafetensorsFile(tmp_path / "short.chat")["keys"].shape[2]
        assert rows <= short + 3  # the id that closes a turn follows in either
        chat.rollback(0)
        chat.save(tmp_path / "a.chat")
        empty = SafetensorsFile(tmp_path / "a.chat")
        assert empty["keys"].shape[2] == 0
        assert empty["token_ids"].dtype == np.int64  # as where there are some
        assert self.load(chat, tmp_path / "a.chat").turns == ()

    def test_saving_again_replaces_the_file_or_leaves_it(self, new, tmp_path):
        chat, path = new(), tmp_path / "a.chat"
        say(chat.send("the"))
        chat.save(path)
        say(chat.send("cat"))
        chat.save(path)
        assert len(self.load(chat, path).turns) == 2
        before = path.read_bytes()
        with patch("os.fsync", side_effect=OSError("disk full")), pytest.raises(OSError):
            chat.save(path)
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["a.chat"]

    def test_any_damage_is_noticed(self, new, tmp_path):
        chat, path = new(system="the"), tmp_path / "a.chat"
        say(chat.send("cat"))
        chat.save(path)
        whole = path.read_bytes()
        rng = np.random.default_rng(0)
        for position in rng.integers(0, len(whole), 40):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << int(rng.integers(0, 8))
            path.write_bytes(damaged)
            with pytest.raises(SessionError):
                self.load(chat, path)
        for length in (0, 7, 100, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(SessionError):
                self.load(chat, path)

    def test_no_file_and_another_kind_of_file(self, new, tmp_path):
        chat = new()
        with pytest.raises(SessionError, match=r"expected a saved conversation, got .*none"):
            self.load(chat, tmp_path / "none.chat")
        save_file({"x": np.zeros(3, np.float32)}, tmp_path / "x.chat")
        with pytest.raises(SessionError, match=r"of the kind .* got 'another safetensors file'"):
            self.load(chat, tmp_path / "x.chat")

    def test_a_file_with_a_part_too_few_or_too_many(self, new, tmp_path):
        chat, path = new(), tmp_path / "a.chat"
        chat.save(path)
        file = SafetensorsFile(path)
        tensors, metadata = {name: file[name].copy() for name in file}, file.header.metadata
        fewer_or_more = [
            *(({n: tensors[n] for n in tensors if n != part}, metadata) for part in tensors),
            *((tensors, {n: metadata[n] for n in metadata if n != part}) for part in metadata),
            (tensors | {"more": tensors["keys"]}, metadata),
            (tensors, metadata | {"more": ""}),
        ]
        for parts in fewer_or_more:
            save_file(parts[0], path, parts[1])
            with pytest.raises(SessionError, match="expected a file of the kind"):
                self.load(chat, path)

    def test_metadata_in_another_order_says_the_same_and_numbers_of_another_kind_do_not(
        self, new, tmp_path
    ):
        chat, path = new(), tmp_path / "a.chat"
        say(chat.send("the"))
        chat.save(path)
        file = SafetensorsFile(path)
        tensors, metadata = {name: file[name].copy() for name in file}, file.header.metadata
        save_file(tensors, path, dict(reversed(metadata.items())))
        assert self.load(chat, path).turns == chat.turns
        for name, array in tensors.items():
            save_file(tensors | {name: array.view(np.uint32)}, path, metadata)
            with pytest.raises(SessionError, match="it is damaged"):
                self.load(chat, path)

    def test_rows_that_the_model_has_no_place_for_with_a_right_checksum(self, new, tmp_path):
        chat, path = new(), tmp_path / "a.chat"
        say(chat.send("the"))
        chat.save(path)
        saved = storage.read_chat(path, chat.model)
        foreign = replace(saved, token_ids=[*saved.token_ids[1:], 400])
        storage.write_chat(path, foreign, chat.model)
        with pytest.raises(SessionError, match=r"a\.chat: .* ids from 0 to 399, got 400"):
            self.load(chat, path)
        storage.write_chat(path, saved, chat.model)
        shorter = tiny_config(vocab_size=400, max_position_embeddings=len(saved.token_ids) - 1)
        model = Llama(shorter, tiny_tensors(shorter))
        with pytest.raises(SessionError, match=r"a\.chat: expected at most .* positions"):
            ChatSession.load(path, model, chat.tokenizer, template=chat.template)

    def test_another_model_is_named(self, new, tiny, tmp_path):
        chat = new()
        say(chat.send("the"))
        chat.save(tmp_path / "a.chat")
        config = chat.model.config
        for other in (
            Llama(config, tiny_tensors(config, seed=1)),
            Llama(config, tiny_tensors(config), precision="bf16"),
        ):
            with pytest.raises(SessionError, match=r"with this model, 2 layers of 20, .*got one"):
                ChatSession.load(tmp_path / "a.chat", other, tiny[1], template=chat.template)

    @pytest.mark.parametrize(
        "change",
        [
            {"overflow": "explode"},
            {"max_new_tokens": 0},
            {"random": {}},
            {"turns": [{}]},
            {"turns": 3},
            {"turns": [TURN | {"end": "never"}]},
            {"turns": [TURN | {"usage": TURN["usage"] | {"reason": "never"}}]},
            {"sampling": {"heat": 1}},
        ],
    )
    def test_a_file_that_says_nonsense_with_a_right_checksum(self, new, tmp_path, change):
        chat, path = new(), tmp_path / "a.chat"
        say(chat.send("the"))
        chat.save(path)
        saved = storage.read_chat(path, chat.model)
        saved.state.update(change)
        storage.write_chat(path, saved, chat.model)
        with pytest.raises(SessionError, match="expected the state of a session, got"):
            self.load(chat, path)

    def test_an_early_file_is_read_where_usage_had_another_name(self, new, tmp_path):
        chat, path = new(), tmp_path / "a.chat"
        say(chat.send("the"))
        chat.save(path)
        saved = storage.read_chat(path, chat.model)
        for turn in saved.state["turns"]:
            turn["ledger"] = turn.pop("usage")
        storage.write_chat(path, saved, chat.model)
        assert self.load(chat, path).turns == chat.turns
        assert chat.turns[0].ledger == chat.turns[0].usage

    def test_nothing_is_unpickled(self, new, tmp_path):
        chat = new()
        say(chat.send("the"))
        chat.save(tmp_path / "a.chat")
        metadata = SafetensorsFile(tmp_path / "a.chat").header.metadata
        assert json.loads(metadata["state"])["turns"][0]["user"] == "the"
        assert metadata["model"].endswith(f", SHA-256 {chat.model.weights.sha256()[:16]}")


def test_what_is_done_unless_something_else_is_said():
    chat = ChatSession(model_of("chat"), tokenizer_of("chat"))
    assert (chat.system, chat.turns, chat.forgotten, chat.guesser) == (None, (), 0, None)
    assert (chat.sampling, chat.max_new_tokens, chat.overflow) == (GREEDY, 256, "refuse")


class TestRefused:
    @pytest.mark.parametrize("n", [0, -1, 256, 300])
    def test_a_limit_that_leaves_no_room(self, new, n):
        with pytest.raises(InputError, match=f"max_new_tokens from 1 to 255, .* got {n}"):
            new(max_new_tokens=n)

    def test_an_unknown_policy(self, new):
        with pytest.raises(InputError, match="overflow of refuse, drop_oldest, got 'forget'"):
            new(overflow="forget")

    def test_a_model_without_a_template(self, tiny):
        with pytest.raises(TokenizerError, match="expected a chat template"):
            ChatSession(*tiny, max_new_tokens=5)

    def test_turns_that_are_not_there(self, new):
        chat = new()
        with pytest.raises(InputError, match="a turn whose reply to make again, got none"):
            chat.regenerate()
        say(chat.send("a"))
        for turn in (-1, 1):
            with pytest.raises(InputError, match=f"a turn from 0 to 0, got {turn}"):
                chat.edit(turn, "b")
        with pytest.raises(InputError, match="a turn from 0 to 1, got 2"):
            chat.rollback(2)

    def test_text_that_cannot_be_encoded_changes_nothing(self, new):
        chat = new()
        with pytest.raises(TokenizerError, match="expected whole characters"):
            chat.send("a\ud800")
        assert chat.turns == ()


def test_a_name_told_is_a_name_known():
    chat = session(max_new_tokens=60)
    say(chat.send("Hello! My name is Ana."))
    say(chat.send("My favourite colour is green."))
    assert "Ana" in say(chat.send("What is my name?"))
