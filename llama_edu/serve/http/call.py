"""One HTTP request's jobs, seen from the event loop: their news as they come, and a way to let go.

The worker's thread posts the events of a whole step in one call; each waiting request finds its
own in a queue. If the client goes away, or whoever reads the events stops, the jobs are cancelled.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request

from llama_edu.errors import LlamaEduError
from llama_edu.serve.http.api_errors import ApiError, as_api_error
from llama_edu.serve.job import Choice, Event, Failed, Finished, Job, TextDelta
from llama_edu.serve.job import Request as TextRequest
from llama_edu.serve.scheduler import Step
from llama_edu.serve.worker import Worker

__all__ = ["Call", "News", "Post"]

News = list[tuple[int, TextDelta | Finished]]
"""What is new of which choice of a reply."""

Box = asyncio.Queue[tuple[Choice, Event] | None]


class Post:
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


class Call:
    """The jobs of one HTTP request. Made on the event loop; `close` it, whatever happens.

    Raises `ApiError` if a job is refused, after letting go of those before it.
    """

    def __init__(
        self, worker: Worker, post: Post, requests: Sequence[TextRequest], http: Request
    ) -> None:
        self._worker, self._post = worker, post
        self._box: Box = asyncio.Queue()
        self._watch: asyncio.Task[None] | None = None
        self.jobs: list[Job] = []
        try:
            for request in requests:
                job = worker.submit(request)
                self.jobs.append(job)
                post.subscribe(job, self._box)
        except LlamaEduError as problem:
            self.close()
            raise self._refusal(problem) from problem
        self._watch = asyncio.create_task(self._wait_for_goodbye(http))

    def close(self) -> None:
        """Stop listening, and cancel what still runs."""
        for job in self.jobs:
            self._post.forget(job)
            if job.ended is None:
                self._worker.cancel(job)
        if self._watch is not None:
            self._watch.cancel()

    async def news(self) -> AsyncGenerator[News, None]:
        """All that is new since last time, until every choice has ended.

        Raises `ApiError` when one fails, and `ClientDisconnect` when nobody listens any more.
        """
        growing = sum(len(job.choices) for job in self.jobs)
        while growing:
            items = [await self._box.get()]
            while not self._box.empty():  # a slow reader gets what has gathered in one piece
                items.append(self._box.get_nowait())
            news = [self._read(item) for item in items]
            growing -= sum(isinstance(event, Finished) for _, event in news)
            yield news

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
        return self.jobs.index(choice.job) * choice.job.request.n + choice.index, event

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
