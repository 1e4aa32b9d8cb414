"""The jobs of one request on the event loop: queued as there is room, told of, and let go of."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from tiny_served import tiny

from llama_edu.errors import ServeError
from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.request_handle import EventRouter, RequestHandle
from llama_edu.serve.job import Finished, Job, Limits, Request, TextDelta
from llama_edu.serve.scheduler import Scheduler

MODEL, TOKENIZER = tiny()


class Desk:
    """A worker that steps when it is told to, and may refuse what is submitted."""

    def __init__(self, **limits: int) -> None:
        self.scheduler = Scheduler(MODEL, TOKENIZER, Limits(**limits))
        self.router = EventRouter(asyncio.get_running_loop())
        self.refusals: list[str | None] = []
        self.tried: list[Request] = []
        self.cancelled: list[Job] = []
        self.gone = asyncio.Event()

    def submit(self, request: Request) -> Job:
        self.tried.append(request)
        code = self.refusals.pop(0) if self.refusals else None
        if code is not None:
            raise ServeError(code, "expected room, got none")
        return self.scheduler.submit(request)

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job)

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def handle(self, *requests: Request) -> RequestHandle:
        http: Any = self
        worker: Any = self
        return RequestHandle(worker, self.router, requests, http)

    def work(self) -> None:
        while not self.scheduler.is_idle:
            self.router.deliver(self.scheduler.step())


def asked(start: int, n: int = 1) -> Request:
    return Request(tuple(range(start, start + 4)), 2, n=n)


async def gathered(desk: Desk, handle: RequestHandle) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    desk.work()
    async for news in handle.news():
        found += news
        desk.work()
    return found


@pytest.mark.parametrize(
    ("limits", "first"),
    [
        ({"max_num_seqs": 4, "max_queue": 9}, 2),
        ({"max_num_seqs": 5, "max_queue": 9}, 2),
        ({"max_num_seqs": 9, "max_queue": 4}, 2),
        ({"max_num_seqs": 2, "max_queue": 9}, 1),
        ({"max_num_seqs": 9, "max_queue": 9}, 3),
    ],
)
def test_no_more_are_queued_than_can_grow(limits: dict[str, int], first: int) -> None:
    async def talk() -> None:
        desk = Desk(**limits)
        requests = [asked(start, n=2) for start in (10, 50, 90)]
        handle = desk.handle(*requests)
        assert (handle.count, desk.tried) == (6, requests[:first])
        found = await gathered(desk, handle)
        assert desk.tried == requests
        ends = [index for index, event in found if isinstance(event, Finished)]
        assert sorted(ends) == list(range(6))
        for index, job in enumerate(handle.jobs):
            for choice in job.choices:
                own = [event for i, event in found if i == 2 * index + choice.index]
                text = "".join(event.text for event in own if isinstance(event, TextDelta))
                assert text == TOKENIZER.decode(choice.new_ids, continues=True)
        handle.close()
        assert desk.cancelled == [], "all have ended"

    asyncio.run(talk())


@pytest.mark.parametrize("code", ["queue_full", "shutting_down", "out_of_memory"])
def test_one_that_is_refused_before_it_has_begun_is_refused(code: str) -> None:
    async def talk() -> None:
        desk = Desk()
        desk.refusals = [code]
        with pytest.raises(ApiError, match="expected room, got none") as seen:
            desk.handle(asked(10))
        assert seen.value.code == code
        assert seen.value.headers == {"Retry-After": "1"}
        desk.refusals = [None, "shutting_down"]
        with pytest.raises(ApiError):
            desk.handle(asked(10), asked(50))
        assert len(desk.cancelled) == 1, "and what was queued before it is let go of"

    asyncio.run(talk())


@pytest.mark.parametrize("code", ["shutting_down", "out_of_memory"])
def test_one_that_has_begun_ends_where_no_more_can_be_queued(code: str) -> None:
    async def talk() -> None:
        desk = Desk(max_num_seqs=1)
        handle = desk.handle(asked(10), asked(50))
        desk.refusals = [code]
        with pytest.raises(ApiError, match="expected room, got none") as seen:
            await gathered(desk, handle)
        assert seen.value.code == code
        handle.close()

    asyncio.run(talk())


def test_one_that_has_begun_waits_for_room_and_looks_now_and_then() -> None:
    async def talk() -> None:
        desk = Desk(max_num_seqs=1)
        handle = desk.handle(asked(10), asked(50))
        desk.refusals = ["queue_full"] * 3
        reading = asyncio.create_task(gathered(desk, handle))
        await asyncio.sleep(0)
        while len(desk.tried) < 5:
            await asyncio.sleep(0.01)
        desk.work()
        found = await asyncio.wait_for(reading, 30)
        assert [i for i, event in found if isinstance(event, Finished)] == [0, 1]
        assert len(desk.tried) == 5
        handle.close()

    start = asyncio.run(timed(talk))
    assert start > 0.1, "it does not ask all the time"


async def timed(talk: Any) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await talk()
    return loop.time() - start


def test_who_goes_away_is_let_go_of() -> None:
    async def talk() -> None:
        desk = Desk(max_num_seqs=1)
        handle = desk.handle(asked(10), asked(50))
        desk.gone.set()
        with pytest.raises(ClientDisconnect):
            await anext(handle.news())
        assert desk.cancelled == handle.jobs
        assert desk.tried == [asked(10)], "and what waits is not begun"
        desk.work()
        await asyncio.sleep(0)  # what comes now has no reader

    asyncio.run(talk())


def test_events_after_the_end_of_the_loop_are_for_nobody() -> None:
    async def desk() -> Desk:
        return Desk()

    made = asyncio.run(desk())
    made.scheduler.submit(asked(10))
    made.work()
