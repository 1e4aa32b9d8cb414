"""One HTTP request's jobs, seen from the event loop: their news as they come, and a way to let go.

The worker's thread posts the events of a whole step in one call; each waiting request finds its
own in a queue. If the client goes away, or whoever reads the events stops, the jobs are cancelled.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request

from llama_edu.errors import LlamaEduError, ServeError
from llama_edu.serve.http.api_errors import ApiError, as_api_error
from llama_edu.serve.job import Choice, Event, Failed, Finished, Job, TextDelta
from llama_edu.serve.job import Request as TextRequest
from llama_edu.serve.scheduler import Step
from llama_edu.serve.worker import Worker

__all__ = ["EventRouter", "News", "RequestHandle"]

News = list[tuple[int, TextDelta | Finished]]
"""What is new of which choice of a reply."""

RETRY_SECONDS = 0.05  # between looks for room in the queue

Box = asyncio.Queue[tuple[Choice, Event] | None]


class EventRouter:
    """Brings the events of one worker to those who wait for them on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._boxes: dict[Job, Box] = {}

    def deliver(self, step: Step) -> None:
        """Called in the worker's thread. Returns at once."""
        if step.events:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._sort, step.events)

    def _sort(self, events: Sequence[tuple[Choice, Event]]) -> None:
        for choice, event in events:
            box = self._boxes.get(choice.job)
            if box is not None:
                box.put_nowait((choice, event))

    def subscribe(self, job: Job, box: Box) -> None:
        """From now on, events of `job` go into `box`."""
        self._boxes[job] = box

    def forget(self, job: Job) -> None:
        """Nobody waits for this job."""
        self._boxes.pop(job, None)


class RequestHandle:
    """The jobs of one HTTP request. Made on the event loop; `close` it, whatever happens.

    Of many texts, no more are queued at a time than can grow at a time: the next ones follow as
    those end, so that one request with many texts is no reason to refuse it.

    Raises `ApiError` if a job is refused, after letting go of those before it.
    """

    def __init__(
        self,
        worker: Worker,
        router: EventRouter,
        requests: Sequence[TextRequest],
        http: Request,
    ) -> None:
        self._worker, self._router = worker, router
        self._box: Box = asyncio.Queue()
        self._watch: asyncio.Task[None] | None = None
        self._pending = deque(requests)
        self._n = requests[0].n
        self.count = sum(request.n for request in requests)
        self.jobs: list[Job] = []
        try:
            for request in requests:  # before any work
                worker.scheduler.check(request)
        except LlamaEduError as problem:
            raise self._refusal(problem) from problem
        self._submit_next()
        self._watch = asyncio.create_task(self._wait_for_goodbye(http))

    def close(self) -> None:
        """Stop listening, and cancel what still runs."""
        self._pending.clear()
        for job in self.jobs:
            self._router.forget(job)
            if job.ended is None:
                self._worker.cancel(job)
        if self._watch is not None:
            self._watch.cancel()

    async def news(self) -> AsyncGenerator[News, None]:
        """All that is new since last time, until every choice has ended.

        Raises `ApiError` when one fails, and `ClientDisconnect` when nobody listens any more.
        """
        growing = self.count
        while growing:
            items = [await self._next_item()]
            while not self._box.empty():  # a slow reader gets what has gathered in one piece
                items.append(self._box.get_nowait())
            news = [self._read(item) for item in items]
            growing -= sum(isinstance(event, Finished) for _, event in news)
            self._submit_next()
            yield news

    async def _next_item(self) -> tuple[Choice, Event] | None:
        """Wait for an event; where nothing of ours is under way, for room in the queue as well."""
        while self._pending and not self._n_under_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    return await self._box.get()
            self._submit_next()
        return await self._box.get()

    @property
    def _n_under_way(self) -> int:
        return sum(job.request.n for job in self.jobs if job.ended is None)

    def _submit_next(self) -> None:
        """Queue as many of the texts that wait as may grow at a time."""
        limits = self._worker.scheduler.limits
        most = min(limits.max_num_seqs, limits.max_queue)
        while self._pending and self._n_under_way + self._pending[0].n <= most:
            try:
                job = self._worker.submit(self._pending[0])
            except LlamaEduError as problem:
                is_full = isinstance(problem, ServeError) and problem.code == "queue_full"
                if is_full and self.jobs:
                    return  # by others: we have begun, and wait
                self.close()
                raise self._refusal(problem) from problem
            self._pending.popleft()
            self.jobs.append(job)
            self._router.subscribe(job, self._box)

    def summary(self) -> dict[str, Any]:
        """For the log: counts and times of this request, and nothing of its text."""
        job = self.jobs[0]
        return {
            "prompt_tokens": sum(len(job.request.token_ids) for job in self.jobs),
            "cached_tokens": sum(job.reused for job in self.jobs),
            "completion_tokens": sum(job.n_generated for job in self.jobs),
            "queued_s": _between(job.submitted, job.started),
            "first_token_s": _between(job.submitted, job.first_token),
            "reasons": [choice.reason for job in self.jobs for choice in job.choices],
        }

    def _read(self, item: tuple[Choice, Event] | None) -> tuple[int, TextDelta | Finished]:
        if item is None:
            raise ClientDisconnect
        choice, event = item
        if isinstance(event, Failed):
            raise self._refusal(event.problem)
        # Choices of the first prompt come first.
        return self.jobs.index(choice.job) * self._n + choice.index, event

    def _refusal(self, problem: LlamaEduError) -> ApiError:
        return as_api_error(problem, self._worker.scheduler.retry_after())

    async def _wait_for_goodbye(self, http: Request) -> None:
        # The body has been read, so the next message says that the client is gone.
        while (await http.receive())["type"] != "http.disconnect":
            pass
        self._box.put_nowait(None)
        self.close()


def _between(start: float, end: float | None) -> float | None:
    return None if end is None else round(end - start, 4)
