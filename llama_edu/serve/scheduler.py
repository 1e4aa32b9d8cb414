"""Continuous batching: which tokens of which sequences go through the model in the next step.

A step is one pass through the weights over everything that is ready: some prompt tokens of the
requests that came last, in turn, and the newest token of every sequence that grows. A sequence
joins as soon as its prompt is computed, its first token chosen from that same pass, and leaves
when it ends; nobody waits for a batch to fill or to finish. Nothing here runs by itself: `step`
does one step, and `llama_edu.serve.worker` calls it from a thread.

Sources: Yu et al. 2022, Orca, section 3 (iteration-level scheduling), OSDI 22; Agrawal et al. 2024,
Sarathi-Serve, section 4 (prompt chunks and decode rows in one pass), arXiv:2403.02310.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from llama_edu.engine.cache import KVCache
from llama_edu.engine.choose import TokenChooser, Vocabulary, random_generator
from llama_edu.engine.guess import Guess, Pace, PromptLookup
from llama_edu.engine.llama import Llama
from llama_edu.engine.prefix_cache import PrefixCache
from llama_edu.errors import ContextError, InputError, LlamaEduError, NumericsError, ServeError
from llama_edu.serve.job import Choice, Event, Failed, Finished, Job, Limits, Request, TextDelta
from llama_edu.serve.logprobs import token_logprob
from llama_edu.serve.output import OutputText
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["Scheduler", "Step"]

PATIENCE = 8  # smaller requests that may overtake one that waits for memory
USUAL_SECONDS = 2.0  # that a request takes, until we know better


@dataclass
class Step:
    """What one step did: the tokens fed, who got a new one, and the news of each sequence."""

    prefilled: dict[int, int] = field(default_factory=dict)
    """Prompt tokens by the number of their job."""
    decoded: list[Choice] = field(default_factory=list)
    """The sequences whose newest token was fed, in order."""
    chosen: list[Choice] = field(default_factory=list)
    """The sequences that got a new token: those, and any whose prompt came to its end. One that
    got several, because they were guessed, is there as often."""
    passes: int = 0
    """Passes through the weights, those that failed included: one for all that was fed, as a rule.

    A chunk of a prompt whose own log-probabilities are asked for takes one of its own. A pass that
    failed is made again: with guesses for the newest token alone, with several chunks for each."""
    events: list[tuple[Choice, Event]] = field(default_factory=list)
    ended: list[Job] = field(default_factory=list)

    @property
    def n_sequences(self) -> int:
        """How many shared the step."""
        return len(self.prefilled) + len(self.decoded)


@dataclass(frozen=True)
class _Chunk:
    """What one sequence feeds in a step: a part of a job's prompt, or a choice's newest token."""

    owner: Job | Choice
    token_ids: Sequence[int]
    cache: KVCache


class Scheduler:
    """The requests one model is working on. `submit` and `Job.cancel` may come from any thread.

    Every sequence gets the tokens it would get alone: it has its own cache and its own random
    numbers, and the rows of a pass know nothing of each other. What fails for one of them ends
    that one.
    """

    def __init__(
        self,
        model: Llama,
        tokenizer: Tokenizer,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.limits = limits or Limits()
        self.clock = clock
        self.prefixes = PrefixCache(self.limits.prefix_nbytes)
        self._vocabulary = Vocabulary.of(model.config, tokenizer)
        self._endless = Vocabulary.of(model.config, tokenizer, stop_ids=())
        self._position_nbytes = _position_nbytes(model)
        self._lock = threading.Lock()  # of these two; never held while anything is computed
        self._jobs: list[Job] = []  # all that have not ended, so that nobody is forgotten
        self._waiting: deque[Job] = deque()
        self._prefilling: deque[Job] = deque()
        self._decoding: list[Choice] = []
        self._submitted = 0
        self._seconds = USUAL_SECONDS  # that requests took of late, from start to end
        self._step = Step()

    @property
    def n_waiting(self) -> int:
        """Sequences in the queue."""
        return sum(job.request.n for job in tuple(self._waiting))

    @property
    def n_running(self) -> int:
        """Sequences that grow, or will once their prompt is computed."""
        return len(self._decoding) + sum(job.request.n for job in tuple(self._prefilling))

    @property
    def is_idle(self) -> bool:
        return not self._jobs

    def submit(self, request: Request) -> Job:
        """Queue a request.

        Raises `InputError` for ids, counts and lengths out of range, `ContextError` for more
        positions than the model has, and `ServeError` ("queue_full") if too many wait.
        """
        self.check(request)
        with self._lock:
            waiting = self.n_waiting
            if waiting + request.n > self.limits.max_queue:
                raise ServeError(
                    "queue_full",
                    f"expected at most {self.limits.max_queue} sequences in the queue, "
                    f"got {waiting} and {request.n} more",
                )
            self._submitted += 1
            job = Job(self._submitted, request, self.clock())
            for index in range(request.n):
                stream = self.tokenizer.stream(continues=request.continues)
                output = OutputText(stream, request.stop)
                rng = random_generator(request.seed, index)
                rule = request.constraint and request.constraint(request.max_new_tokens)
                vocabulary = self._endless if request.ignore_eos else self._vocabulary
                chooser = TokenChooser(vocabulary, request.sampling, rng, request.token_ids, rule)
                job.choices.append(Choice(job, index, chooser, output))
            self._jobs.append(job)
            self._waiting.append(job)
        return job

    def retry_after(self) -> int:
        """Seconds after which a refused request may find room: a guess, from 1 to 60."""
        turns = (self.n_waiting + 1) / self.limits.max_num_seqs
        return max(1, min(60, math.ceil(turns * self._seconds)))

    def step(self) -> Step:
        """Do one step and say what happened. Does nothing when idle."""
        self._drop()
        self._admit()
        chunks = [*self._prompt_chunks(), *self._newest_tokens()]
        for chunk, logits in self._one_pass(chunks):
            self._go_on(chunk, logits)
        return self._take_step()

    def fail_all(self, problem: LlamaEduError) -> Step:
        """End every request, waiting or not, with `problem`.

        After a step that raised, what had happened in it until then is told as well.
        """
        for job in tuple(self._jobs):
            self._end_job(job, Failed(problem))
        return self._take_step()

    def _take_step(self) -> Step:
        step, self._step = self._step, Step()
        return step

    def check(self, request: Request) -> None:
        """Raise as `submit` does, but for a full queue."""
        ids = self.model.checked_ids(request.token_ids)
        limits, context = self.limits, self.model.config.max_position_embeddings
        for name, value, least, most in (
            ("choices", request.n, 1, min(limits.max_num_seqs, limits.max_queue)),
            ("prompt tokens", len(ids), 1, min(limits.max_prompt_tokens, context)),
            ("new tokens", request.max_new_tokens, 0, limits.max_new_tokens),
        ):
            if not least <= value <= most:
                problem = ContextError if name == "prompt tokens" else InputError
                raise problem(f"expected {least} to {most} {name}, got {value}")
        for token_id, _ in request.sampling.logit_bias:
            if not 0 <= token_id < self.model.config.vocab_size:
                raise InputError(
                    f"expected logit_bias for ids from 0 to {self.model.config.vocab_size - 1}, "
                    f"got {token_id}"
                )
        if _longest(request) > context:
            raise ContextError(
                f"expected at most {context} positions in all, "
                f"got {len(ids)} prompt + {request.max_new_tokens} new"
            )
        if self._kv_nbytes(request) > limits.kv_nbytes:
            raise InputError(
                f"expected keys and values of at most {limits.kv_nbytes} bytes, "
                f"got {self._kv_nbytes(request)} for {request.n} × {_longest(request)} positions"
            )

    def _kv_nbytes(self, request: Request) -> int:
        return self._position_nbytes * _longest(request) * request.n

    def _drop(self) -> None:
        """Let go of what was cancelled, and end what takes too long."""
        now, most = self.clock(), self.limits.max_seconds
        for job in tuple(self._jobs):
            if job.cancelled:
                self._end_job(job, None)
            elif now - job.submitted > most:
                message = f"expected to be done within {most:g} s, got no further than this"
                self._end_job(job, Failed(ServeError("time_limit", message)))

    def _admit(self) -> None:
        """Start jobs in order of arrival; where memory is short, small ones may overtake a few."""
        started = [job for job in tuple(self._jobs) if job.started is not None]
        used = sum(self._kv_nbytes(job.request) for job in started)
        passed_over: list[Job] = []
        for job in tuple(self._waiting):
            if self.n_running + job.request.n > self.limits.max_num_seqs:
                break
            if used + self._kv_nbytes(job.request) > self.limits.kv_nbytes:
                passed_over.append(job)
                if job.passed_over >= PATIENCE:
                    break
                continue
            used += self._kv_nbytes(job.request)
            for other in passed_over:
                other.passed_over += 1
            self._start(job)

    def _start(self, job: Job) -> None:
        with self._lock:
            self._waiting.remove(job)
        job.started = self.clock()
        job.cache = self.model.new_cache(_longest(job.request))
        if job.request.prompt_logprobs is not None:  # every token is to be computed, and looked at
            job.prompt_logprobs.append(None)
            self._prefilling.append(job)
            return
        try:
            job.reused = self.prefixes.restore(job.request.token_ids, job.cache)
        except MemoryError:  # what was computed once can be computed again
            job.cache = self.model.new_cache(_longest(job.request))
        self._prefilling.append(job)

    def _prompt_chunks(self) -> list[_Chunk]:
        """The next tokens of each prompt in turn, until this step's share of them is used up."""
        chunks, budget = [], self.limits.prefill_tokens
        for job in self._prefilling:
            assert job.cache is not None
            start = job.cache.length
            if ids := job.request.token_ids[start : start + budget]:
                budget -= len(ids)
                chunks.append(_Chunk(job, ids, job.cache))
        return chunks

    def _newest_tokens(self) -> list[_Chunk]:
        """The token that each sequence got last."""
        return [
            _Chunk(choice, choice.new_ids[-1:], choice.cache)
            for choice in self._decoding
            if choice.cache is not None
        ]

    def _go_ahead(self, choice: Choice, cache: KVCache) -> bool:
        """Feed guesses with the newest token of a sequence that has the step to itself.

        Tokens are chosen as without guesses, drawn ones too: a row counts if what was chosen before
        it is what was guessed. False if nothing was guessed, or nothing came of it.
        """
        guesses, past = self._guesses(choice), cache.length
        if not guesses:
            return False
        self._step.passes += 1
        try:
            ids = [choice.new_ids[-1], *(guess.token_id for guess in guesses)]
            rows = self.model.forward(ids, cache)
        except (LlamaEduError, MemoryError):
            cache.truncate(past)
            return False
        self._step.decoded.append(choice)
        cache.truncate(past + 1)
        for row, guess in zip(rows, [*guesses, None], strict=True):
            self._choose(choice, row)
            if choice.reason or guess is None or choice.new_ids[-1] != guess.token_id:
                break
            cache.advance(1)  # its row is there already
        assert choice.pace is not None
        choice.pace.heard(len(guesses), cache.length - past - 1)
        return True

    def _guesses(self, choice: Choice) -> list[Guess]:
        """What may follow a sequence's newest token, by what its text says earlier."""
        most, request = self.limits.most_guesses, choice.job.request
        if not most:
            return []
        if choice.guessing is None or choice.pace is None:
            text = [*request.token_ids, *choice.new_ids]
            lookup = PromptLookup(most=most)
            choice.guessing = lookup.begin(text, request.sampling, choice.chooser.rng)
            choice.pace = Pace(most)
        remaining = request.max_new_tokens - len(choice.new_ids)
        return choice.guessing.guesses(min(choice.pace.next(), remaining - 1))

    def _one_pass(
        self, chunks: Sequence[_Chunk]
    ) -> list[tuple[_Chunk, Float32[np.ndarray, " vocab_size"]]]:
        """The logits after each chunk; none if a sequence alone has gone ahead by guesses."""
        owner = chunks[0].owner if len(chunks) == 1 else None
        if isinstance(owner, Choice) and self._go_ahead(owner, chunks[0].cache):
            return []
        return self._computed(chunks)

    def _computed(
        self, chunks: Sequence[_Chunk]
    ) -> list[tuple[_Chunk, Float32[np.ndarray, " vocab_size"]]]:
        """The logits after each chunk, all computed together.

        Where that fails, each is computed alone, and only those that fail again are ended.
        """
        if not chunks:
            return []
        scored = [chunk for chunk in chunks if _is_scored(chunk)]
        if scored and len(chunks) > 1:  # those alone, since they want the logits in between too
            others = [chunk for chunk in chunks if not _is_scored(chunk)]
            alone = [done for chunk in scored for done in self._computed([chunk])]
            return [*alone, *self._computed(others)]
        lengths = [chunk.cache.length for chunk in chunks]
        self._step.passes += 1
        try:
            logits = self._logits_after(chunks)
        except (LlamaEduError, MemoryError) as problem:
            for chunk, length in zip(chunks, lengths, strict=True):
                chunk.cache.truncate(length)
            if len(chunks) == 1:
                self._fail(chunks[0].owner, problem)
                return []
            return [done for chunk in chunks for done in self._computed([chunk])]
        return list(zip(chunks, logits, strict=True))

    def _logits_after(self, chunks: Sequence[_Chunk]) -> Float32[np.ndarray, "n_chunks vocab_size"]:
        """One pass, and for a prompt whose tokens are looked at, their log-probabilities."""
        chunk = chunks[0]
        if not (isinstance(chunk.owner, Job) and _is_scored(chunk)):
            return self.model.forward_chunks(
                [chunk.token_ids for chunk in chunks], [chunk.cache for chunk in chunks]
            )
        job, top = chunk.owner, chunk.owner.request.prompt_logprobs
        assert top is not None
        logits = self.model.forward(chunk.token_ids, chunk.cache)
        following = job.request.token_ids[chunk.cache.length - len(chunk.token_ids) + 1 :]
        for row, token_id in zip(logits, following, strict=False):
            job.prompt_logprobs.append(token_logprob(row, int(token_id), 0, top))
        return logits[-1:]

    def _go_on(self, chunk: _Chunk, logits: Float32[np.ndarray, " vocab_size"]) -> None:
        """A chunk was fed: choose a token after a newest token, or at the end of a prompt."""
        if isinstance(chunk.owner, Choice):
            self._step.decoded.append(chunk.owner)
            self._choose(chunk.owner, logits)
            return
        job = chunk.owner
        self._step.prefilled[job.number] = len(chunk.token_ids)
        self._prefilling.remove(job)
        if chunk.cache.length < len(job.request.token_ids):
            self._prefilling.append(job)  # the others' turn comes first
            return
        try:
            self._branch(job, chunk.cache)
        except MemoryError as problem:
            self._fail(job, problem)
            return
        for choice in job.choices:
            if job.request.max_new_tokens == 0:
                self._end(choice, Finished("length"))
            else:
                self._choose(choice, logits)

    def _branch(self, job: Job, cache: KVCache) -> None:
        """The prompt is computed: every choice goes on with a cache of its own."""
        self._keep(job.request.token_ids, cache)
        copies = [cache.fork() for _ in job.choices[1:]]
        job.first_token = self.clock()
        job.cache = None
        for choice, own in zip(job.choices, [cache, *copies], strict=True):
            choice.cache = own
            self._decoding.append(choice)

    def _fail(self, owner: Job | Choice, problem: LlamaEduError | MemoryError) -> None:
        """End a choice, or all of a job's."""
        if isinstance(problem, MemoryError):
            problem = ServeError("out_of_memory", "expected memory for one more step, got none")
        if isinstance(owner, Choice):
            self._end(owner, Failed(problem))
        else:
            self._end_job(owner, Failed(problem))

    def _choose(self, choice: Choice, logits: Float32[np.ndarray, " vocab_size"]) -> None:
        """Choose a sequence's next token, and tell what it means for the text."""
        request, output = choice.job.request, choice.output
        try:
            token_id = choice.chooser.choose(logits)
        except NumericsError as problem:
            self._fail(choice, problem)
            return
        choice.new_ids.append(token_id)
        if choice.guessing is not None:
            choice.guessing.add(token_id)
        self._step.chosen.append(choice)
        if choice.chooser.ends(token_id):
            self._tell(choice, output.finish())
            self._end(choice, Finished("stop"))
            return
        start = output.length
        text = output.push(token_id)
        if request.top_logprobs is not None:
            entry = token_logprob(logits, token_id, start, request.top_logprobs)
            choice.logprobs.append(entry)
        if len(choice.new_ids) == request.max_new_tokens and not output.stopped:
            self._tell(choice, text + output.finish())
            self._end(choice, Finished("stop" if output.stopped else "length"))
            return
        self._tell(choice, text)
        if output.stopped:
            self._end(choice, Finished("stop"))

    def _tell(self, choice: Choice, text: str) -> None:
        """Report text that is settled, with log-probabilities of the tokens that begin in it."""
        shown = choice.output.shown
        logprobs = tuple(one for one in choice.logprobs if one.start < shown)
        choice.logprobs = choice.logprobs[len(logprobs) :]
        if text or logprobs:
            self._step.events.append((choice, TextDelta(text, logprobs)))

    def _end(self, choice: Choice, event: Event | None) -> None:
        """Take a choice out, tell whoever asked, and keep what it computed for others."""
        if choice.reason is not None:
            return
        choice.reason = _reason(event)
        job, cache = choice.job, choice.cache
        if event is not None:
            self._step.events.append((choice, event))
        if cache is not None:
            self._decoding.remove(choice)
            choice.cache = None
        if all(other.reason is not None for other in job.choices):
            self._finish(job)
        if cache is not None and not isinstance(event, Failed):
            ids = [*job.request.token_ids, *choice.new_ids]
            self._keep(ids[: cache.length], cache)

    def _finish(self, job: Job) -> None:
        """Every choice has ended: so has the job."""
        with self._lock:
            self._jobs.remove(job)
        job.ended = self.clock()
        self._step.ended.append(job)
        if job.started is not None:
            self._seconds += 0.1 * (job.ended - job.started - self._seconds)

    def _end_job(self, job: Job, event: Event | None) -> None:
        """End all choices of a job, wherever it stands."""
        with self._lock:
            if job.started is None:
                self._waiting.remove(job)
        if job in self._prefilling:
            self._prefilling.remove(job)
        cache, job.cache = job.cache, None
        for choice in job.choices:
            self._end(choice, event)
        if cache is not None and event is None:
            self._keep(job.request.token_ids[: cache.length], cache)

    def _keep(self, token_ids: Sequence[int], cache: KVCache) -> None:
        """Keep rows for prompts that begin alike. That only saves work, so it may fail."""
        try:
            self.prefixes.store(token_ids, cache)
        except MemoryError:
            self.prefixes.clear()  # there are better uses for what memory there is


def _is_scored(chunk: _Chunk) -> bool:
    """Whether the chunk is of a prompt whose tokens' log-probabilities are asked for."""
    return isinstance(chunk.owner, Job) and chunk.owner.request.prompt_logprobs is not None


def _longest(request: Request) -> int:
    """Positions a sequence may come to."""
    return len(request.token_ids) + request.max_new_tokens


def _position_nbytes(model: Llama) -> int:
    """Bytes of one position's keys and values."""
    cache = model.new_cache(1)
    cache.reserve(1)
    return cache.allocated_nbytes


def _reason(event: Event | None) -> str:
    if isinstance(event, Finished):
        return event.reason
    if isinstance(event, Failed):
        if isinstance(event.problem, ServeError):
            return event.problem.code
        return "numerics" if isinstance(event.problem, NumericsError) else "internal"
    return "cancelled"
