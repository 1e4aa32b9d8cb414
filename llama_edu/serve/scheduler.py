"""Continuous batching: which tokens of which texts go through the model in the next step.

A step feeds some prompt tokens of the requests that came last, in turn, and then the newest token
of every text that grows, all together. A text joins as soon as its prompt is computed and leaves
when it ends; nobody waits for a batch to fill or to finish. Nothing here runs by itself: `step`
does one step, and `llama_edu.serve.worker` calls it from a thread.

Source: Yu et al. 2022, Orca, section 3 (iteration-level scheduling), OSDI 22.
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
from llama_edu.engine.llama import Llama
from llama_edu.engine.prefix_cache import PrefixCache
from llama_edu.engine.sampling import sample
from llama_edu.errors import ContextError, InputError, LlamaEduError, ServeError, TokenizerError
from llama_edu.serve.job import Choice, Ended, Event, Failed, Job, Limits, Piece, Request
from llama_edu.serve.logprobs import score
from llama_edu.serve.output import OutputText
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["Scheduler", "Step"]

PATIENCE = 8  # smaller requests that may overtake one that waits for memory
USUAL_SECONDS = 2.0  # that a request takes, until we know better


@dataclass
class Step:
    """What one step did: prompt tokens fed, texts that got a token, and the news of each text."""

    prefilled: dict[int, int] = field(default_factory=dict)
    """Prompt tokens by the number of their job."""
    decoded: list[Choice] = field(default_factory=list)
    """The rows of the batch, in order."""
    events: list[tuple[Choice, Event]] = field(default_factory=list)
    ended: list[Job] = field(default_factory=list)


class Scheduler:
    """The requests one model is working on. `submit` and `Job.cancel` may come from any thread.

    Every text gets the tokens it would get alone: it has its own cache and its own random
    numbers, and the rows of a batched step know nothing of each other.
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
        self._stop_ids = frozenset(model.config.eos_token_ids) | set(tokenizer.eos_token_ids)
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
        """Texts in the queue."""
        return sum(job.request.n for job in tuple(self._waiting))

    @property
    def n_live(self) -> int:
        """Texts that grow, or will once their prompt is computed."""
        return len(self._decoding) + sum(job.request.n for job in tuple(self._prefilling))

    @property
    def is_idle(self) -> bool:
        return not self._jobs

    def submit(self, request: Request) -> Job:
        """Queue a request.

        Raises `InputError` for ids, counts and lengths out of range, `ContextError` for more
        positions than the model has, and `ServeError` ("queue_full") if too many wait.
        """
        self._check(request)
        with self._lock:
            waiting = self.n_waiting
            if waiting + request.n > self.limits.max_waiting:
                raise ServeError(
                    "queue_full",
                    f"expected at most {self.limits.max_waiting} texts in the queue, "
                    f"got {waiting} and {request.n} more",
                )
            self._submitted += 1
            job = Job(self._submitted, request, self.clock())
            for index in range(request.n):
                stream = self.tokenizer.stream(continues=request.continues)
                output = OutputText(stream, request.stop)
                job.choices.append(Choice(job, index, request.generator(index), output))
            self._jobs.append(job)
            self._waiting.append(job)
        return job

    def retry_after(self) -> int:
        """Seconds after which a refused request may find room: a guess, from 1 to 60."""
        turns = (self.n_waiting + 1) / self.limits.max_live
        return max(1, min(60, math.ceil(turns * self._seconds)))

    def step(self) -> Step:
        """Do one step and say what happened. Does nothing when idle."""
        self._drop()
        self._admit()
        self._prefill()
        self._decode()
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

    def _check(self, request: Request) -> None:
        ids = self.model.checked_ids(request.token_ids)
        limits, context = self.limits, self.model.config.max_position_embeddings
        for name, value, most in (
            ("choices", request.n, min(limits.max_live, limits.max_waiting)),
            ("prompt tokens", len(ids), limits.max_prompt_tokens),
            ("new tokens", request.max_new_tokens, limits.max_new_tokens),
        ):
            if not 1 <= value <= most:
                raise InputError(f"expected 1 to {most} {name}, got {value}")
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
            if self.n_live + job.request.n > self.limits.max_live:
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
        try:
            job.reused = self.prefixes.restore(job.request.token_ids, job.cache)
        except MemoryError:  # what was computed once can be computed again
            job.cache = self.model.new_cache(_longest(job.request))
        self._prefilling.append(job)

    def _prefill(self) -> None:
        """Feed prompts, each in turn, until this step's share of prompt tokens is used up."""
        budget = self.limits.prefill_tokens
        while budget and self._prefilling:
            job = self._prefilling[0]
            assert job.cache is not None
            ids = job.request.token_ids[job.cache.length :][:budget]
            try:
                logits = self.model.forward(ids, job.cache, last_only=True)
                budget -= len(ids)
                self._step.prefilled[job.number] = len(ids)
                if job.cache.length < len(job.request.token_ids):
                    self._prefilling.rotate(-1)  # the next one's turn
                else:
                    self._branch(job, logits[0])
            except (LlamaEduError, MemoryError) as problem:
                self._end_job(job, Failed(_as_ours(problem)))

    def _branch(self, job: Job, logits: Float32[np.ndarray, " vocab_size"]) -> None:
        """The prompt is computed: let every choice draw its first token from the same logits."""
        assert job.cache is not None
        self._keep(job.request.token_ids, job.cache)
        job.first_token = self.clock()
        for choice in job.choices:
            choice.cache = job.cache if choice.index == 0 else job.cache.copy()
            self._decoding.append(choice)
        self._prefilling.remove(job)
        job.cache = None
        for choice in job.choices:
            self._choose(choice, logits)

    def _decode(self) -> None:
        """The newest token of every text, in one pass through the weights."""
        choices = list(self._decoding)
        if not choices:
            return
        caches = [choice.cache for choice in choices if choice.cache is not None]
        try:
            logits = self.model.forward_batch([choice.new_ids[-1] for choice in choices], caches)
        except (LlamaEduError, MemoryError) as problem:
            for choice in choices:
                self._end(choice, Failed(_as_ours(problem)))
            return
        self._step.decoded = choices
        for choice, row in zip(choices, logits, strict=True):
            self._choose(choice, row)

    def _choose(self, choice: Choice, logits: Float32[np.ndarray, " vocab_size"]) -> None:
        """Draw a choice's next token, and tell what it means for the text."""
        request, output = choice.job.request, choice.output
        try:
            token_id = self._draw(logits, choice)
            start = output.length
            is_end = token_id in self._stop_ids
            text = "" if is_end else output.push(token_id)
        except LlamaEduError as problem:
            self._end(choice, Failed(_as_ours(problem)))
            return
        choice.new_ids.append(token_id)
        if is_end:
            self._tell(choice, output.finish())
            self._end(choice, Ended("stop"))
            return
        if request.top_scores is not None:
            choice.scores.append(score(logits, token_id, start, request.top_scores))
        if len(choice.new_ids) == request.max_new_tokens and not output.stopped:
            self._tell(choice, text + output.finish())
            self._end(choice, Ended("stop" if output.stopped else "length"))
            return
        self._tell(choice, text)
        if output.stopped:
            self._end(choice, Ended("stop"))

    def _draw(self, logits: Float32[np.ndarray, " vocab_size"], choice: Choice) -> int:
        """A choice's next id. Ids that only fill a vocabulary up to a round size are redrawn."""
        sampling, n_tokens = choice.job.request.sampling, self.tokenizer.vocab_size
        token_id = sample(logits, sampling, choice.rng)
        return token_id if token_id < n_tokens else sample(logits[:n_tokens], sampling, choice.rng)

    def _tell(self, choice: Choice, text: str) -> None:
        """Report text that is settled, with the scores of the tokens that begin in it."""
        shown = choice.output.shown
        scores = tuple(one for one in choice.scores if one.start < shown)
        choice.scores = choice.scores[len(scores) :]
        if text or scores:
            self._step.events.append((choice, Piece(text, scores)))

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


def _longest(request: Request) -> int:
    """Positions a text may come to."""
    return len(request.token_ids) + request.max_new_tokens


def _position_nbytes(model: Llama) -> int:
    """Bytes of one position's keys and values."""
    cache = model.new_cache(1)
    cache.reserve(1)
    return cache.allocated_nbytes


def _reason(event: Event | None) -> str:
    if isinstance(event, Ended):
        return event.reason
    if isinstance(event, Failed):
        return event.problem.code if isinstance(event.problem, ServeError) else "numerics"
    return "cancelled"


def _as_ours(problem: LlamaEduError | MemoryError) -> LlamaEduError:
    if isinstance(problem, TokenizerError):
        return ServeError("internal", f"the model chose an id without a token: {problem}")
    if isinstance(problem, LlamaEduError):
        return problem
    return ServeError("out_of_memory", "expected memory for one more step, got none")
