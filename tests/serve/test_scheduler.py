"""Continuous batching: everyone's own tokens, short before long, bounded, gone when cancelled."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from helpers import tiny_config, tiny_tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_served import CONTEXT, SIZES, tiny

from llama_edu import Llama, Sampling, generate
from llama_edu.engine.cache import KVCache
from llama_edu.engine.guess import Guess
from llama_edu.engine.prefix_cache import PrefixCache
from llama_edu.engine.sampling import GREEDY
from llama_edu.errors import ContextError, InputError, NumericsError, ServeError
from llama_edu.serve.job import Failed, Finished, Limits, Request, TextDelta
from llama_edu.serve.scheduler import PATIENCE, Scheduler

MODEL, TOKENIZER = tiny()
HOT = Sampling(temperature=1.5)
EOS = 2


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def scheduler(**limits):
    return Scheduler(MODEL, TOKENIZER, Limits(**limits), Clock())


def request(n_prompt=5, new=6, start=10, **options):
    return Request(tuple(range(start, start + n_prompt)), new, **options)


def run(one, most=500):
    """Step until idle; the events of every choice, in order."""
    news = {}
    for _ in range(most):
        if one.is_idle:
            return news
        for choice, event in one.step().events:
            news.setdefault((choice.job.number, choice.index), []).append(event)
    raise AssertionError(f"still busy after {most} steps")


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def alone(asked):
    """What `generate` gives for a request's first choice."""
    options = {"tokenizer": TOKENIZER, "sampling": asked.sampling, "seed": asked.seed}
    return list(generate(MODEL, asked.token_ids, max_new_tokens=asked.max_new_tokens, **options))


ASKED = st.fixed_dictionaries(
    {
        "n_prompt": st.integers(1, 40),
        "new": st.integers(1, 12),
        "start": st.integers(3, 300),
        "sampling": st.sampled_from([GREEDY, HOT]),
        "seed": st.integers(0, 9),
    }
)


@settings(max_examples=12)
@given(asked=st.lists(ASKED, min_size=1, max_size=6), prefill=st.integers(1, 50))
def test_everyone_gets_the_tokens_they_would_get_alone(asked, prefill):
    one = scheduler(prefill_tokens=prefill)
    jobs = [one.submit(request(**each)) for each in asked]
    news = run(one)
    for job in jobs:
        ids = alone(job.request)
        assert job.choices[0].new_ids == ids
        stopped = ids[-1] == EOS
        assert news[job.number, 0][-1] == Finished("stop" if stopped else "length")
        text = TOKENIZER.stream(continues=True)
        shown = ids[:-1] if stopped else ids
        assert text_of(news[job.number, 0]) == "".join(map(text.push, shown)) + text.finish()
        assert job.n_generated == len(ids)


class OnlyBelow:
    """A constraint: ids from 3 on, below 200, and the one after the last is not allowed again."""

    def __init__(self, most):
        self.last = None

    def allowed(self):
        allowed = np.zeros(MODEL.config.vocab_size, dtype=bool)
        allowed[3:200] = True
        if self.last is not None:
            allowed[self.last + 1] = False
        return allowed

    def accept(self, token_id):
        self.last = token_id


REPEATED = (5, 6, 7, 8, 9) * 4
AHEAD: list[dict[str, Any]] = [
    {},
    {"sampling": Sampling(temperature=0.3), "seed": 4},
    {"sampling": Sampling(temperature=0, presence_penalty=0.4)},
    {"top_logprobs": 2},
    {"constraint": OnlyBelow},
    {"ignore_eos": True},
]


@pytest.mark.parametrize("options", AHEAD, ids=[*map(str, range(len(AHEAD)))])
@pytest.mark.parametrize("sure", [False, True], ids=["looked up", "known"])
def test_guesses_change_no_token_and_nothing_that_is_told(options, sure, monkeypatch):
    asked = Request(REPEATED, 60, **options)
    plain = scheduler()
    job = plain.submit(asked)
    news = run(plain)
    text = text_of(news[1, 0])
    if sure:  # as if all had been said before, but for a mistake now and then
        ids = [*REPEATED, *job.choices[0].new_ids]
        ids += [3] * 99

        def known(self, most):
            places = range(len(self.ids), len(self.ids) + most)
            return [Guess(3 if n % 7 == 0 else ids[n]) for n in places]

        monkeypatch.setattr("llama_edu.engine.guess._Lookup.guesses", known)
    for stop in ((), (text[5:9],), (text[20:23], text[30:33])):
        asked = dataclasses.replace(asked, stop=stop)
        want, one = scheduler(), scheduler(most_guesses=6)
        (theirs, ours), told, passes = (each.submit(asked) for each in (want, one)), [], 0
        while not one.is_idle:
            step = one.step()
            told, passes = [*told, *step.events], passes + step.passes
            assert step.chosen == [ours.choices[0]] * len(step.chosen)
            assert step.passes == 1  # never one in vain, with more guesses than there is room for
        wanted = run(want)[1, 0]
        assert ours.choices[0].new_ids == theirs.choices[0].new_ids
        assert len(told) == len(wanted)
        for (_, event), other in zip(told, wanted, strict=True):
            if isinstance(event, TextDelta):
                assert event.text == other.text
                for a, b in zip(event.logprobs, other.logprobs, strict=True):
                    assert (a.token_id, a.start) == (b.token_id, b.start)
                    assert a.logprob == pytest.approx(b.logprob, abs=1e-4)
            else:
                assert event == other
        fed = [*REPEATED, *ours.choices[0].new_ids[:-1]]
        assert one.prefixes.match(fed) == want.prefixes.match(fed) == len(fed)
        cache = MODEL.new_cache()
        one.prefixes.restore([*fed, 3], cache)
        fresh = MODEL.new_cache()
        MODEL.forward(fed, fresh)
        for layer in range(cache.n_layers):
            np.testing.assert_allclose(cache.keys(layer), fresh.keys(layer), atol=1e-5)
        if sure and not stop:
            assert passes < ours.n_generated


def test_a_guess_that_is_right_may_be_the_last_but_one(monkeypatch):
    plain = scheduler()
    job = plain.submit(Request(REPEATED, 3, ignore_eos=True))
    run(plain)
    ids = [*REPEATED, *job.choices[0].new_ids]

    def known(self, most):
        return [Guess(i) for i in ids[len(self.ids) :][:most]]

    monkeypatch.setattr("llama_edu.engine.guess._Lookup.guesses", known)
    one = scheduler(most_guesses=6)
    again = one.submit(Request(REPEATED, 3, ignore_eos=True))
    passes = 0
    while not one.is_idle:
        passes += one.step().passes
    assert again.choices[0].new_ids == job.choices[0].new_ids
    assert passes == 2, "one reads the prompt, one confirms a guess and brings the last token"


def test_nothing_is_guessed_while_others_share_the_step():
    one, widths = scheduler(most_guesses=6), []
    forward = MODEL.forward

    def watched(ids, cache):
        widths.append((len(ids), one.n_running))
        return forward(ids, cache)

    one.submit(Request(REPEATED, 60))
    one.submit(Request((7, *REPEATED), 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODEL, "forward", watched)
        run(one)
    assert widths
    assert {running for _, running in widths} == {1}


@pytest.mark.parametrize("problem", [MemoryError(), NumericsError("expected numbers, got none")])
def test_where_guesses_fail_the_newest_token_goes_alone(problem, monkeypatch):
    asked = Request(REPEATED, 30)
    one, failed = scheduler(most_guesses=6), []

    def broken(ids, cache):
        failed.append(len(ids))
        raise problem

    monkeypatch.setattr(MODEL, "forward", broken)
    job = one.submit(asked)
    run(one)
    monkeypatch.undo()
    assert failed
    assert job.choices[0].new_ids == alone(asked)


def test_a_request_joins_while_others_run_and_leaves_before_they_end():
    one = scheduler()
    long = one.submit(request(new=60))
    for _ in range(5):
        one.step()
    short = one.submit(request(start=100, new=3))
    together = 0
    while short.ended is None:
        together += len(one.step().decoded) == 2
    assert together == 2  # its first token came with the prompt
    assert long.ended is None
    assert len(long.choices[0].new_ids) < 20
    run(one)
    assert long.n_generated == 60


def test_a_short_prompt_does_not_wait_for_a_long_one():
    one = scheduler(prefill_tokens=8)
    long = one.submit(request(n_prompt=200, new=1))
    short = one.submit(request(n_prompt=4, new=1, start=300))
    steps = [one.step().prefilled for _ in range(3)]
    assert steps == [{long.number: 8}, {short.number: 4, long.number: 4}, {long.number: 8}]
    assert short.ended is not None
    assert long.first_token is None


def test_texts_that_grow_get_a_token_in_every_step_of_a_long_prompt():
    one = scheduler(prefill_tokens=16)
    growing = one.submit(request(new=40))
    one.step()
    one.submit(request(n_prompt=100, new=1, start=200))
    for _ in range(6):
        before = len(growing.choices[0].new_ids)
        step = one.step()
        assert sum(step.prefilled.values()) <= 16
        assert len(growing.choices[0].new_ids) == before + 1


def test_choices_share_the_prompt_and_draw_for_themselves():
    one = scheduler()
    job = one.submit(request(n_prompt=30, n=3, sampling=HOT, seed=1))
    fed = 0
    while not one.is_idle:
        fed += sum(one.step().prefilled.values())
    assert fed == 30
    first, second, third = (choice.new_ids for choice in job.choices)
    assert first == alone(job.request)
    assert len({tuple(first), tuple(second), tuple(third)}) == 3
    again = one.submit(job.request)
    run(one)
    assert [choice.new_ids for choice in again.choices] == [first, second, third]


def test_what_was_computed_is_not_computed_again():
    one = scheduler()
    first = one.submit(request(n_prompt=30, new=5))
    run(one)
    ids = (*first.request.token_ids, *first.choices[0].new_ids, 7, 8)
    second = one.submit(Request(ids, 5))
    run(one)
    assert first.reused == 0
    assert second.reused == 30 + 4  # the last new token was never fed
    assert second.choices[0].new_ids == alone(second.request)
    third = one.submit(Request(ids, 5))
    run(one)
    assert third.reused == len(ids) - 1  # one token is left to run


def test_a_stop_sequence_ends_the_text_before_it():
    whole = run_text(request(new=20))
    cut = whole[len(whole) // 2 :][:2]
    events = run_events(request(new=20, stop=(cut, "never there")))
    assert text_of(events) == whole[: whole.index(cut)]
    assert events[-1] == Finished("stop")


def run_events(asked):
    one = scheduler()
    job = one.submit(asked)
    return run(one)[job.number, 0]


def run_text(asked):
    return text_of(run_events(asked))


def test_logprobs_are_the_models_own_log_probabilities():
    asked = request(new=8, sampling=HOT, seed=3, top_logprobs=4)
    events = run_events(asked)
    entries = [one for event in events if isinstance(event, TextDelta) for one in event.logprobs]
    ids = alone(asked)
    assert [one.token_id for one in entries] == ids
    logits = MODEL.forward([*asked.token_ids, *ids])[len(asked.token_ids) - 1 : -1]
    for one, row in zip(entries, logits.astype(np.float64), strict=True):
        logprobs = row - np.log(np.sum(np.exp(row - row.max()))) - row.max()
        assert one.logprob == pytest.approx(logprobs[one.token_id], abs=1e-4)
        assert [i for i, _ in one.top] == np.argsort(-logprobs)[:4].tolist()
        assert one.top[0][1] == pytest.approx(logprobs.max(), abs=1e-4)
    for event in events[:-1]:
        assert all(one.start < len(text_of(events)) for one in event.logprobs)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_cancelled_job_is_gone_before_the_next_step(steps):
    one = scheduler(prefill_tokens=20)
    job, other = one.submit(request(n_prompt=30, new=50)), one.submit(request(start=200))
    for _ in range(steps):
        one.step()
    job.cancel()
    step = one.step()
    assert job.ended is not None
    assert job in step.ended
    assert all(choice.job is not job for choice, _ in step.events)
    assert all(choice.job is not job for choice in step.decoded)
    run(one)
    assert other.choices[0].new_ids == alone(other.request)


@pytest.mark.parametrize("reason", ["cancelled", "time_limit", "internal"])
def test_of_a_job_that_is_ended_what_had_come_to_its_end_stays_as_it_was(reason):
    one = scheduler(max_num_seqs=8, max_seconds=10.0)
    ends_soon = dataclasses.replace(HOT, logit_bias=((EOS, 6.0),))
    job = one.submit(request(new=50, n=8, sampling=ends_soon, seed=1))
    while all(choice.reason is None for choice in job.choices):
        one.step()
    growing = [choice for choice in job.choices if choice.reason is None]
    assert growing
    if reason == "cancelled":
        job.cancel()
    elif reason == "time_limit":
        one.clock.now = 10.5
    step = one.fail_all(PROBLEM) if reason == "internal" else one.step()
    assert [choice for choice, _ in step.events] == ([] if reason == "cancelled" else growing)
    seen = [choice.reason for choice in job.choices]
    assert seen == [reason if choice in growing else "stop" for choice in job.choices]
    assert step.ended == [job]
    assert one.is_idle


def test_what_a_cancelled_job_computed_helps_the_next():
    one = scheduler(prefill_tokens=20)
    job = one.submit(request(n_prompt=30, new=50))
    one.step()
    job.cancel()
    again = one.submit(job.request)
    run(one)
    assert again.reused == 20


def test_a_full_queue_refuses_and_names_the_room():
    one = scheduler(max_num_seqs=2, max_queue=3)
    for _ in range(2):
        one.submit(request(new=50))
    one.step()
    for _ in range(3):
        one.submit(request())
    with pytest.raises(
        ServeError, match="at most 3 sequences in the queue, got 3 and 1 more"
    ) as seen:
        one.submit(request())
    assert seen.value.code == "queue_full"
    assert 1 <= one.retry_after() <= 60
    assert (one.n_running, one.n_waiting) == (2, 3)
    run(one)


def test_memory_for_keys_and_values_bounds_who_grows():
    position = 2 * 2 * 2 * 8 * 4  # keys and values of 2 layers, 2 KV heads, 8 numbers of 4 bytes
    one = scheduler(kv_nbytes=100 * position)
    big = [one.submit(request(n_prompt=40, new=20)) for _ in range(2)]
    small = one.submit(request(n_prompt=10, new=20))
    one.step()
    assert [job.started is not None for job in (*big, small)] == [True, False, True]
    run(one)
    with pytest.raises(InputError, match=r"at most 25600 bytes, got 27392 for 1 × 107 positions"):
        one.submit(request(n_prompt=100, new=7))


def test_where_sequences_are_short_all_wait_their_turn():
    """Only memory lets a smaller request pass: of room for sequences there is soon enough."""
    one = scheduler(max_num_seqs=4)
    growing = one.submit(request(n=2, new=5))
    one.step()
    wide, narrow = one.submit(request(n=3, start=50)), one.submit(request(start=90))
    one.step()
    assert (wide.started, narrow.started) == (None, None)
    run_some(one, 5)
    assert growing.ended is not None
    assert wide.started == narrow.started == 0.0
    run(one)


def test_nobody_is_overtaken_for_ever():
    position = 2 * 2 * 2 * 8 * 4
    one = scheduler(kv_nbytes=100 * position)
    one.submit(request(n_prompt=30, new=60))
    big = one.submit(request(n_prompt=80, new=1))
    small = []
    while big.started is None:
        small.append(one.submit(request(n_prompt=2, new=2)))
        one.step()
        assert len(small) < 100
    assert sum(job.started is not None and job.started <= big.started for job in small) >= PATIENCE
    assert big.passed_over == PATIENCE
    run(one)


def test_time_is_limited_in_the_queue_and_out_of_it():
    one = scheduler(max_num_seqs=1, max_seconds=10.0)
    growing, waiting = one.submit(request(new=50)), one.submit(request())
    one.step()
    one.clock.now = 10.5
    events = {choice.job: event for choice, event in one.step().events}
    for job in (growing, waiting):
        assert isinstance(events[job], Failed)
        assert events[job].problem.code == "time_limit"
    assert one.is_idle


def counted_passes(monkeypatch):
    """How many chunks, and of which lengths, each pass of the model was over."""
    passes, forward_chunks = [], Llama.forward_chunks

    def counted(self, chunks, caches):
        passes.append([len(chunk) for chunk in chunks])
        return forward_chunks(self, chunks, caches)

    monkeypatch.setattr(Llama, "forward_chunks", counted)
    return passes


def test_prompts_and_new_tokens_share_one_pass(monkeypatch):
    passes = counted_passes(monkeypatch)
    one = scheduler(prefill_tokens=10)
    growing = one.submit(request(n_prompt=4, new=9, start=200))
    steps = [one.step()]
    jobs = [one.submit(request(n_prompt=n, new=3, start=100 + 10 * n)) for n in (3, 20, 2)]
    while not one.is_idle:
        steps.append(one.step())
    # 3 of the first prompt, 7 of the second, and the token that grows; then 2 of the third, whose
    # turn it is, 8 of the second, the last of one prompt beside the sequences, and so on.
    assert passes == [
        [4],
        [3, 7, 1],
        [2, 8, 1, 1],
        [5, 1, 1, 1],
        [1, 1, 1],
        [1, 1],
        [1],
        [1],
        [1],
    ]
    assert [step.passes for step in steps] == [1] * len(passes)
    assert [step.n_sequences for step in steps] == [len(chunks) for chunks in passes]
    for job in (growing, *jobs):
        assert job.choices[0].new_ids == alone(job.request)


def test_fewer_passes_than_tokens(monkeypatch):
    """The same 26 tokens took 18 passes when prompts and sequences went separately."""
    passes = counted_passes(monkeypatch)
    one = scheduler(prefill_tokens=16)
    jobs = [
        one.submit(request(n_prompt=n, new=new, start=20 + n))
        for n, new in ((5, 12), (52, 8), (8, 6))
    ]
    steps = 0
    while not one.is_idle:
        one.step()
        steps += 1
    assert [job.n_generated for job in jobs] == [12, 8, 6]
    assert len(passes) == steps == 12
    assert sum(map(len, passes)) == 5 + 2 + 11 + 7 + 5  # rows: those of the 18 passes, and no more


def test_the_first_token_comes_with_the_pass_that_ends_the_prompt():
    one = scheduler(prefill_tokens=5)
    job = one.submit(request(n_prompt=10, new=3))
    counts, chosen = [], []
    while not one.is_idle:
        chosen.append(one.step().chosen)
        counts.append(job.n_generated)
    assert counts == [0, 1, 2, 3]
    assert chosen == [[], job.choices, job.choices, job.choices]


def test_an_idle_step_is_no_pass(monkeypatch):
    passes = counted_passes(monkeypatch)
    one = scheduler()
    step = one.step()
    assert (step.passes, step.n_sequences, passes) == (0, 0, [])


@pytest.mark.parametrize("sick", [0, 1, 2], ids=["a prompt", "a sequence", "another"])
def test_broken_numbers_are_the_problem_of_those_who_have_them(monkeypatch, sick):
    forward_chunks = Llama.forward_chunks

    def broken(self, chunks, caches):
        logits = forward_chunks(self, chunks, caches)
        logits[sick] = np.nan
        return logits

    one = scheduler()
    growing = [one.submit(request()), one.submit(request(start=200))]
    one.step()
    jobs = [one.submit(request(start=100)), *growing]  # a step feeds prompts first
    with monkeypatch.context() as patched:
        patched.setattr(Llama, "forward_chunks", broken)
        step = one.step()
    assert step.passes == 1
    failed = [(choice.job, event) for choice, event in step.events if isinstance(event, Failed)]
    assert [(job, type(event.problem)) for job, event in failed] == [(jobs[sick], NumericsError)]
    assert jobs[sick].choices[0].reason == "numerics"
    run(one)
    for job in jobs:
        if job is not jobs[sick]:
            assert job.choices[0].new_ids == alone(job.request)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (MemoryError(), "out_of_memory"),
        (NumericsError("expected finite numbers, got ∞"), "numerics"),
        (ServeError("time_limit", "expected more time, got none"), "time_limit"),
        (InputError("expected ids, got none"), "internal"),
    ],
)
@pytest.mark.parametrize("sick", ["prompt", "sequence"])
def test_a_pass_that_fails_is_made_again_one_by_one(monkeypatch, problem, reason, sick):
    """Whatever one of them cannot do, the others can: they lose time, and no token."""
    one = scheduler()
    growing = one.submit(request()), one.submit(request(start=200))
    one.step()
    prompts = one.submit(request(start=100)), one.submit(request(start=50))
    job = prompts[0] if sick == "prompt" else growing[0]
    cache = job.choices[0].cache
    forward_chunks = Llama.forward_chunks

    def failing(self, chunks, caches):
        logits = forward_chunks(self, chunks, caches)  # it fails when all caches have grown
        mine = job.cache or cache
        if any(fed is mine for fed in caches):
            raise problem
        return logits

    with monkeypatch.context() as patched:
        patched.setattr(Llama, "forward_chunks", failing)
        step = one.step()
    assert step.passes == 1 + 4
    ended = [choice for choice, event in step.events if isinstance(event, Failed)]
    assert ended == job.choices
    assert job.choices[0].reason == reason
    assert job in step.ended
    run(one)
    for other in {*growing, *prompts} - {job}:
        assert other.choices[0].new_ids == alone(other.request)
        assert other.choices[0].reason == "length"


def test_a_pass_too_large_for_memory_is_made_in_parts(monkeypatch):
    forward_chunks = Llama.forward_chunks

    def small_only(self, chunks, caches):
        if len(chunks) > 1:
            raise MemoryError
        return forward_chunks(self, chunks, caches)

    monkeypatch.setattr(Llama, "forward_chunks", small_only)
    one = scheduler()
    jobs = [one.submit(request(start=start, n_prompt=40)) for start in (10, 100, 200)]
    run(one)
    for job in jobs:
        assert job.choices[0].new_ids == alone(job.request)


def test_two_jobs_may_fill_the_room_exactly():
    position = 2 * 2 * 2 * 8 * 4  # keys and values of 2 layers, 2 KV heads, 8 numbers of 4 bytes
    half = {"n_prompt": 40, "new": 10}
    for limits, started in (
        ({"kv_nbytes": 100 * position}, [True, True]),
        ({"kv_nbytes": 100 * position - 1}, [True, False]),
        ({"max_num_seqs": 4}, [True, True]),
        ({"max_num_seqs": 3}, [True, False]),
        ({"max_queue": 4}, [True, True]),
    ):
        one = scheduler(**limits)
        jobs = [one.submit(request(**half)) for _ in range(2)]
        if "kv_nbytes" not in limits:
            one = scheduler(**limits)
            jobs = [one.submit(request(**half, n=2)) for _ in range(2)]
        one.step()
        assert [job.started is not None for job in jobs] == started, limits
        run(one)
    one = scheduler(max_queue=3)
    one.submit(request(n=2))
    with pytest.raises(ServeError, match="at most 3 sequences in the queue, got 2 and 2 more"):
        one.submit(request(n=2))


def test_one_request_may_fill_all_the_room_there_is():
    position = 2 * 2 * 2 * 8 * 4
    one = scheduler(kv_nbytes=107 * position)
    job = one.submit(request(n_prompt=100, new=7))
    run(one)
    assert job.n_generated == 7
    one = scheduler()
    job = one.submit(request(n_prompt=200, new=CONTEXT - 200))
    run(one)
    assert job.n_generated == CONTEXT - 200


def test_an_id_without_a_token_is_never_chosen():
    config = tiny_config(**SIZES | {"vocab_size": 410})  # ten ids more than the tokenizer has
    one = Scheduler(Llama(config, tiny_tensors(config)), TOKENIZER, clock=Clock())
    asked = request(new=40, sampling=HOT, seed=0)
    one.model.weights.lm_head[405] *= 5  # often the likeliest
    job = one.submit(asked)
    run(one)
    options = {"max_new_tokens": 40, "sampling": HOT, "seed": 0}
    assert 405 in generate(one.model, asked.token_ids, **options)
    drawn = list(generate(one.model, asked.token_ids, tokenizer=TOKENIZER, **options))
    assert job.choices[0].new_ids == drawn
    assert len(drawn) == 40
    assert max(drawn) < 400


def test_a_step_without_memory_fails_those_in_it_and_serves_the_next(monkeypatch):
    one = scheduler()
    jobs = [one.submit(request()), one.submit(request(start=200))]
    one.step()
    waiting = one.submit(request(start=100))
    with monkeypatch.context() as patched:
        patched.setattr(Llama, "forward_chunks", full)
        events = {choice.job: event for choice, event in one.step().events}
    assert [events[job].problem.code for job in (*jobs, waiting)] == ["out_of_memory"] * 3
    assert one.is_idle
    again = one.submit(request())
    run(one)
    assert again.choices[0].new_ids == alone(again.request)


def bug(*_, **__):
    raise RuntimeError("a bug")


def full(*_, **__):
    raise MemoryError


PROBLEM = ServeError("internal", "expected no fault, got one")


def test_after_a_fault_in_a_pass_every_job_is_ended(monkeypatch):
    one = scheduler(max_num_seqs=2)
    growing = one.submit(request(new=9))
    one.step()
    jobs = [growing, one.submit(request(start=50)), one.submit(request(start=90))]
    monkeypatch.setattr(Llama, "forward_chunks", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        one.step()
    step = one.fail_all(PROBLEM)
    assert {choice.job: event for choice, event in step.events} == dict.fromkeys(
        jobs, Failed(PROBLEM)
    )
    assert [choice.reason for job in jobs for choice in job.choices] == ["internal"] * 3
    assert len(step.ended) == 3
    assert one.is_idle


def test_what_ended_in_a_step_before_its_fault_is_told(monkeypatch):
    one = scheduler()
    done, growing = one.submit(request(new=1)), one.submit(request(new=9, start=50))
    monkeypatch.setattr(growing.choices[0].output, "push", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        one.step()
    last = {choice.job: event for choice, event in one.fail_all(PROBLEM).events}
    assert last == {done: Finished("length"), growing: Failed(PROBLEM)}
    assert one.fail_all(PROBLEM).events == []


@pytest.mark.parametrize("method", ["store", "restore"])
def test_a_prefix_cache_without_memory_costs_nobody_the_text(monkeypatch, method):
    one = scheduler()
    first = one.submit(request(n_prompt=30))
    run(one)
    with monkeypatch.context() as patched:
        patched.setattr(PrefixCache, method, full)
        second = one.submit(request(n_prompt=30, new=9))
        news = run(one)
    assert news[second.number, 0][-1] == Finished("length")
    assert second.choices[0].new_ids == alone(second.request)
    assert second.reused == (29 if method == "store" else 0)
    assert first.ended is not None


def test_rows_restored_in_part_are_not_kept(monkeypatch):
    borrow, calls = KVCache.borrow, []

    def borrow_once(self, *rows):
        calls.append(rows)
        if len(calls) == 2:
            raise MemoryError
        borrow(self, *rows)

    one = scheduler()
    one.submit(request(n_prompt=30))
    one.submit(Request((*range(10, 25), 7), 3))  # so that the way to the first has two parts
    run(one)
    with monkeypatch.context() as patched:
        patched.setattr(KVCache, "borrow", borrow_once)
        again = one.submit(request(n_prompt=30))
        run(one)
    assert len(calls) > 2  # the others look at rows that are kept
    assert again.choices[0].new_ids == alone(again.request)
    assert again.reused == 0


def test_choices_without_memory_of_their_own_end_as_one_job(monkeypatch):
    one = scheduler()
    job, other = one.submit(request(n=3)), one.submit(request(start=200))
    with monkeypatch.context() as patched:
        patched.setattr(KVCache, "fork", full)
        events = [event for choice, event in one.step().events if choice.job is job]
    assert [event.problem.code for event in events] == ["out_of_memory"] * 3
    run(one)
    assert other.choices[0].new_ids == alone(other.request)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"token_ids": ()}, InputError, "at least one token id"),
        ({"token_ids": (400,)}, InputError, "from 0 to 399, got 400"),
        ({"max_new_tokens": -1}, InputError, "expected 0 to 100 new tokens, got -1"),
        ({"max_new_tokens": 101}, InputError, "expected 0 to 100 new tokens, got 101"),
        ({"token_ids": (9,) * 201}, InputError, "expected 1 to 200 prompt tokens, got 201"),
        ({"n": 9}, InputError, "expected 1 to 8 choices, got 9"),
        (
            {"token_ids": (9,) * 200, "max_new_tokens": 57},
            ContextError,
            f"at most {CONTEXT} positions in all, got 200 prompt \\+ 57 new",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_door(changes, error, message):
    one = scheduler(max_num_seqs=8, max_prompt_tokens=200, max_new_tokens=100)
    with pytest.raises(error, match=message):
        one.submit(dataclasses.replace(request(), **changes))
    assert one.is_idle


@pytest.mark.parametrize(
    ("waiting", "at_a_time", "took", "seconds"),
    [
        (0, 1, (), 2),  # two seconds each, until it is known better
        (3, 1, (), 8),
        (3, 2, (), 4),
        (29, 1, (), 60),
        (40, 1, (), 60),  # and no more than a minute is said
        (0, 32, (), 1),
        (0, 1, (12.0,), 3),  # a tenth of the way to what the last one took: 2 + 0.1 · 10
        (1, 1, (12.0,), 6),
        (0, 1, (0.0, 0.0), 2),  # 1.62, which is rounded up
        (0, 1, (0.0,) * 30, 1),
    ],
)
def test_when_to_come_back_is_guessed_from_how_long_they_took(waiting, at_a_time, took, seconds):
    one = scheduler(max_num_seqs=at_a_time, max_queue=64)
    for duration in took:
        one.submit(request(new=2))
        one.clock.now += 5.0  # in the queue, which is another matter
        one.step()
        one.clock.now += duration
        run(one)
    for _ in range(waiting):
        one.submit(request())
    assert one.retry_after() == seconds


def test_time_is_up_behind_the_limit_and_not_at_it():
    one = scheduler(max_seconds=10.0)
    one.clock.now = 100.0
    job = one.submit(request(new=50))
    one.clock.now = 110.0
    one.step()
    assert job.ended is None
    one.clock.now = 110.1
    ((_, event),) = one.step().events
    assert str(event.problem) == "expected to be done within 10 s, got no further than this"
    assert job.ended == 110.1


@pytest.mark.parametrize("prefill", [3, 64])
def test_a_prompt_whose_tokens_are_scored_is_fed_alone_and_all_of_it(prefill):
    """Whoever shares the step with it gets what they would get alone."""
    one = scheduler(prefill_tokens=prefill)
    plain = one.submit(request(n_prompt=7, new=9, start=200))
    run_some(one, 3)
    asked = request(n_prompt=8, new=4, prompt_logprobs=2)
    first = one.submit(asked)
    others = [one.submit(request(n_prompt=5, new=4, start=start)) for start in (100, 150)]
    alike = one.submit(asked)  # and none of it is taken from what was computed before
    steps = []
    while not one.is_idle:
        steps.append(one.step())
    for job in (plain, first, *others, alike):
        assert job.choices[0].new_ids == alone(job.request)
    logits = MODEL.forward(asked.token_ids).astype(np.float64)
    for job in (first, alike):
        assert job.reused == 0
        nothing, *entries = job.prompt_logprobs
        assert nothing is None
        assert [entry.token_id for entry in entries] == list(asked.token_ids[1:])
        for entry, row in zip(entries, logits, strict=False):
            scores = row - np.log(np.sum(np.exp(row - row.max()))) - row.max()
            assert entry.logprob == pytest.approx(scores[entry.token_id], abs=1e-4)
            assert [i for i, _ in entry.top] == np.argsort(-scores)[:2].tolist()
    numbers = {first.number, alike.number}
    for step in steps:
        scored = len(numbers & step.prefilled.keys())
        assert step.passes == scored + (step.n_sequences > scored)


def run_some(one, steps):
    return [one.step() for _ in range(steps)]


def test_a_request_for_no_tokens_computes_its_prompt():
    one = scheduler()
    job = one.submit(request(n_prompt=20, new=0, n=2))
    step = one.step()
    assert [(choice.index, event) for choice, event in step.events] == [
        (0, Finished("length")),
        (1, Finished("length")),
    ]
    assert (job.n_generated, step.chosen, step.prefilled) == (0, [], {1: 20})
    again = one.submit(job.request)
    run(one)
    assert again.reused == 19


def test_the_times_of_a_job_are_those_of_the_clock():
    one = scheduler(prefill_tokens=4, max_num_seqs=1)
    one.clock.now = 10.0
    first, second = one.submit(request(n_prompt=6, new=3)), one.submit(request(new=1, start=90))
    assert (first.number, second.number, first.submitted) == (1, 2, 10.0)
    while not one.is_idle:
        one.clock.now += 1.0
        one.step()
    assert (first.started, first.first_token, first.ended) == (11.0, 12.0, 14.0)
    assert (second.started, second.first_token, second.ended) == (15.0, 16.0, 16.0)
    assert one.n_running == one.n_waiting == 0


def test_scores_come_with_the_text_that_their_tokens_begin_in():
    """A token whose text is held back is told of when that is shown, and of no other text."""
    asked = request(new=40, sampling=HOT, seed=11, top_logprobs=0)
    plain = run_events(asked)
    text = text_of(plain)
    stop = text[-1] + "\0"  # held back once and again, and never complete
    entries, shown = [], 0
    for event in run_events(dataclasses.replace(asked, stop=(stop,))):
        if isinstance(event, TextDelta):
            assert all(one.start < shown + len(event.text) for one in event.logprobs)
            assert event.text or event.logprobs
            shown += len(event.text)
            entries += event.logprobs
    assert shown == len(text)
    assert entries == [one for e in plain if isinstance(e, TextDelta) for one in e.logprobs]
    starts = [one.start for one in entries]
    assert starts == sorted(starts)


def test_what_one_takes_on_is_counted_in_sequences():
    one = scheduler(max_num_seqs=5, prefill_tokens=4)
    one.submit(request(n_prompt=6, n=2, new=9))
    one.submit(request(n_prompt=3, n=3, start=90))
    assert (one.n_waiting, one.n_running) == (5, 0)
    one.step()
    assert (one.n_waiting, one.n_running) == (0, 5)
    one.submit(request())
    run_some(one, 2)
    assert (one.n_waiting, one.n_running) == (1, 5)
    run(one)


@pytest.mark.parametrize(
    ("bias", "good"), [(0, True), (399, True), (400, False), (-1, False)], ids=str
)
def test_a_bias_is_for_an_id_there_is(bias, good):
    one = scheduler()
    asked = request(sampling=Sampling(logit_bias=((bias, 1.0),)))
    if good:
        one.check(asked)
    else:
        with pytest.raises(InputError, match=f"for ids from 0 to 399, got {bias}"):
            one.check(asked)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({"max_new_tokens": 0}, True),
        ({"max_new_tokens": 100}, True),
        ({"token_ids": (9,) * 200, "max_new_tokens": 56}, True),
        ({"token_ids": (9,) * 201}, False),
        ({"token_ids": (9,)}, True),
        ({"n": 8}, True),
        ({"n": 0}, False),
        ({"n": 9}, False),
    ],
)
def test_the_edges_of_what_can_be_done(changes, good):
    for limits in ({"max_num_seqs": 8, "max_queue": 20}, {"max_num_seqs": 20, "max_queue": 8}):
        one = scheduler(max_prompt_tokens=200, max_new_tokens=100, **limits)
        asked = dataclasses.replace(request(), **changes)
        if good:
            one.check(asked)
        else:
            with pytest.raises(InputError):
                one.check(asked)


def test_a_stop_may_be_complete_with_the_last_token_or_with_the_end_itself():
    whole = run_text(request(new=8))
    last = whole[-1]
    ids = alone(request(new=8))
    assert TOKENIZER.token_bytes(ids[-1]).decode()[-1:] == last
    events = run_events(request(new=8, stop=(whole[-2:],)))
    assert (text_of(events), events[-1]) == (whole[: whole.index(whole[-2:])], Finished("stop"))
    # Half of a letter is told at the end, as a mark of its own, which may be a stop as well.
    half = next(i for i in range(400) if TOKENIZER.token_bytes(i) == b"\xc3")
    sampling = Sampling(temperature=0, logit_bias=((half, 100.0),))
    for stop, text, reason in (((), "\ufffd", "length"), (("\ufffd",), "", "stop")):
        events = run_events(request(new=1, sampling=sampling, stop=stop))
        assert (text_of(events), events[-1]) == (text, Finished(reason))


def test_what_a_text_that_failed_had_computed_is_not_kept(monkeypatch):
    one = scheduler(prefill_tokens=20)
    growing, reading = one.submit(request(new=50)), one.submit(request(n_prompt=40, start=60))
    run_some(one, 2)
    monkeypatch.setattr(Llama, "forward_chunks", full)
    one.step()
    assert [job.choices[0].reason for job in (growing, reading)] == ["out_of_memory"] * 2
    ids = [*growing.request.token_ids, *growing.choices[0].new_ids]
    assert len(ids) > 6
    assert one.prefixes.match(ids) == len(growing.request.token_ids), "which was, before"
    assert one.prefixes.match(reading.request.token_ids) == 0
