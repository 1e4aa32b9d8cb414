"""Replicas on Ray Serve: one dies under load and nothing is lost; a conversation stays put."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llama_edu.errors import ServeError
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.replicas import Entrance, Setup, conversation_of, start

# Ray and what it brings warn of what they do themselves.
pytestmark = pytest.mark.filterwarnings("ignore")
ASKED = "LLAMA_EDU_RAY"
FIRST = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello, I am Ana."}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "chat"} | fields).encode()


def test_the_mark_of_a_conversation_stays_while_it_grows() -> None:
    later = [*FIRST, {"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Bye."}]
    mark = conversation_of(body(messages=FIRST))
    assert conversation_of(body(messages=later, temperature=0.2)) == mark
    others = [
        body(messages=FIRST[1:]),
        body(messages=[FIRST[0], {"role": "user", "content": "Hello, I am Bo."}]),
        json.dumps({"model": "story", "messages": FIRST}).encode(),
        body(prompt="Once"),
        body(prompt="Twice"),
        b"[1, 2]",
        b"\xff not JSON",
        b'{"messages": [3]}',
    ]
    assert len({mark, *map(conversation_of, others)}) == 1 + len(others)
    begun = "a" * 200
    assert conversation_of(body(prompt=begun + "b")) == conversation_of(body(prompt=begun + "c"))


def test_it_is_told_where_ray_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ServeError, match=r"llama_edu\[serve,ray\]"):
        start(Setup(("chat",)), 2)
    with pytest.raises(ServeError, match="at least 1 replica, got 0"):
        start(Setup(("chat",)), 0)


@pytest.fixture(scope="module")
def handle() -> Iterator[Any]:
    if not os.environ.get(ASKED):
        pytest.skip(f"starting Ray takes up to a minute: {ASKED}=1 asks for it")
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = start(Setup(("chat", "story")), 2)
    yield found
    from ray import serve

    serve.shutdown()
    ray.shutdown()


def client(handle: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=Entrance(handle, Policy()))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=120)


async def processes(handle: Any) -> dict[str, int]:
    found = {}
    for _ in range(40):
        name, pid = await handle.who.remote()
        found[name] = pid
        if len(found) == 2:
            break
    return found


@pytest.mark.timeout(280)
def test_one_dies_under_load_and_what_had_not_begun_is_answered(handle: Any) -> None:
    async def talk() -> tuple[list[httpx.Response], set[str], set[str]]:
        async with client(handle) as web:
            before = await processes(handle)
            questions = [
                {"model": "story", "prompt": f"Once, in year {i},", "max_tokens": 150, "seed": i}
                for i in range(24)
            ]
            asked = [
                asyncio.create_task(web.post("/v1/completions", json=one)) for one in questions
            ]
            await asyncio.sleep(0.3)
            assert not all(task.done() for task in asked), "the load was over too soon"
            os.kill(before[min(before)], signal.SIGKILL)
            answers = await asyncio.gather(*asked)
            return answers, set(before), {a.headers["x-replica"] for a in answers}

    answers, before, answered = asyncio.run(talk())
    assert [answer.status_code for answer in answers] == [200] * 24
    assert all(answer.json()["usage"]["completion_tokens"] > 0 for answer in answers)
    assert max(before) in answered
    assert len(before) == 2


@pytest.mark.timeout(280)
def test_a_conversation_stays_with_the_replica_that_has_its_prefix(handle: Any) -> None:
    async def turn(web: httpx.AsyncClient, said: list[dict[str, str]]) -> httpx.Response:
        asked = {"model": "chat", "messages": said, "max_tokens": 20, "temperature": 0}
        return await web.post("/v1/chat/completions", json=asked)

    async def talk() -> list[list[tuple[str, int]]]:
        told = []
        async with client(handle) as web:
            for name in ("Ana", "Bo", "Cid", "Dora"):
                said = [{"role": "user", "content": f"Hello! My name is {name}."}]
                turns = []
                for question in ("What is my name?", "Tell me a joke.", "Goodbye."):
                    answer = await turn(web, said)
                    assert answer.status_code == 200, answer.text
                    usage = answer.json()["usage"]["prompt_tokens_details"]
                    turns.append((answer.headers["x-replica"], usage["cached_tokens"]))
                    said.append(answer.json()["choices"][0]["message"])
                    said.append({"role": "user", "content": question})
                    await asyncio.sleep(0.5)
                told.append(turns)
        return told

    told = asyncio.run(talk())
    for turns in told:
        assert len({replica for replica, _ in turns}) == 1
        assert all(cached > 5 for _, cached in turns[1:]), "its prefix was there"
