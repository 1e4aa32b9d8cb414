"""Replicas on Ray Serve: one dies under load and nothing is lost; a conversation stays put."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import sys
import threading
import types
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from llama_edu.errors import ServeError
from llama_edu.serve.http import replicas
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.replicas import (
    Entrance,
    Replica,
    Setup,
    conversation_of,
    server_of,
    start,
)
from llama_edu.serve.http.server import address, listen
from llama_edu.serve.job import Limits

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
        b"[" * 100_000,
        b"null",
        b"3",
    ]
    assert len({mark, *map(conversation_of, others)}) == 1 + len(others)
    assert len(bytes.fromhex(mark)) == 8
    told = [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}]
    of_rules = conversation_of(body(messages=told))
    assert of_rules == conversation_of(body(messages=told[:1])), "nobody has spoken yet"
    turned = [dict(reversed(one.items())) for one in FIRST]
    assert conversation_of(body(messages=turned)) == mark
    assert conversation_of(b"\xff" * 200 + b"a") == conversation_of(b"\xff" * 200 + b"b")
    assert conversation_of(b"\xff" * 199 + b"a") != conversation_of(b"\xff" * 199 + b"b")
    begun = "a" * 199
    assert conversation_of(body(prompt=begun + "b")) != conversation_of(body(prompt=begun + "c"))
    begun = "a" * 200
    assert conversation_of(body(prompt=begun + "b")) == conversation_of(body(prompt=begun + "c"))


def test_it_is_told_where_ray_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ServeError, match=r"llama_edu\[serve,ray\]"):
        start(Setup(("chat",)), 2)
    with pytest.raises(ServeError, match="at least 1 replica, got 0"):
        start(Setup(("chat",)), 0)


class Here:
    """A handle on a replica in this process: Ray's part is what a test puts in its place."""

    def __init__(self, replica: Replica, *dies_after: int) -> None:
        self.replica, self.dies_after, self.marks = replica, list(dies_after), []
        self.answer = self

    def options(self, *, stream: bool, multiplexed_model_id: str) -> Here:
        assert stream
        self.marks.append(multiplexed_model_id)
        return self

    async def remote(self, scope, body) -> AsyncIterator[Any]:
        messages = self.dies_after.pop(0) if self.dies_after else None
        count = 0
        async for message in self.replica.answer(scope, body):
            if count == messages:
                ray = sys.modules["ray.exceptions"], sys.modules["ray.serve.exceptions"]
                dead = [ray[0].RayError, ray[1].RayServeException][len(self.dies_after) % 2]
                raise dead("died")
            yield message
            count += 1


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Ray, what it raises."""
    for name, error in (
        ("ray.exceptions", "RayError"),
        ("ray.serve.exceptions", "RayServeException"),
    ):
        module = types.ModuleType(name)
        setattr(module, error, type(error, (Exception,), {}))
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch, errors: None) -> Replica:
    monkeypatch.setattr(replicas, "PAUSE_S", 0.01)

    async def who(self: Replica) -> tuple[str, int]:
        return "here", os.getpid()

    monkeypatch.setattr(Replica, "who", who)
    return Replica(Setup(("story",)))


ASKED_FOR = {"model": "story", "prompt": "Once", "max_tokens": 5, "temperature": 0}


def test_the_entrance_hands_on_and_asks_again_only_before_an_answer_has_begun(replica) -> None:
    async def talk() -> None:
        async with client(Here(replica)) as web:
            want = (await web.post("/v1/completions", json=ASKED_FOR)).json()["choices"]
        handle = Here(replica, 0, 0)
        async with client(handle) as web:
            answer = await web.post("/v1/completions", json=ASKED_FOR)
        assert answer.json()["choices"] == want
        assert answer.headers["x-replica"] == "here"
        assert not handle.dies_after, "two died before"
        async with client(Here(replica, 0, 0, 0)) as web:
            assert (await web.post("/v1/completions", json=ASKED_FOR)).json()["choices"] == want
        async with client(Here(replica, 0, 0, 0, 0)) as web:
            answer = await web.post("/v1/completions", json=ASKED_FOR)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "internal")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["content-type"] == "application/json"
        async with client(Here(replica, 1)) as web:  # of the first answer, the head alone was there
            assert (await web.post("/v1/completions", json=ASKED_FOR)).json()["choices"] == want
        async with client(Here(replica, 2)) as web:
            with pytest.raises(Exception, match="died"):
                await web.post("/v1/completions", json=ASKED_FOR | {"stream": True})
        async with client(Here(replica)) as web:
            assert (await web.get("/v1/models")).json()["data"][0]["id"] == "story"
            assert (await web.get("/", headers={"host": "evil.example"})).status_code == 421
            large = ASKED_FOR | {"prompt": "a" * 300_000}
            assert (await web.post("/v1/completions", json=large)).status_code == 413
        await replica.stop()

    asyncio.run(talk())


def test_the_entrance_behind_a_socket_streams_and_ends(replica) -> None:
    listening = listen("127.0.0.1", 0)
    server = server_of(Entrance(Here(replica), Policy()), Policy())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    lines = []
    with httpx.stream(
        "POST",
        f"{address(listening)}/v1/completions",
        json=ASKED_FOR | {"stream": True},
        timeout=60,
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert len(lines) >= 3
    assert lines[-1] == "data: [DONE]"
    server.should_exit = True
    thread.join(timeout=30)
    assert not thread.is_alive()
    asyncio.run(replica.stop())


@pytest.mark.usefixtures("errors")
def test_the_entrance_hands_on_what_was_asked_and_no_more() -> None:
    """The head of a request as ASGI has it, and of a body that is too long what proves it."""
    asked: list[tuple[dict[str, Any], bytes]] = []
    sent: list[Any] = []

    class Replies:
        answer = property(lambda self: self)

        def options(self, **_: Any) -> Replies:
            return self

        async def remote(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[Any]:
            asked.append((scope, body))
            yield {"type": "http.response.start", "status": 200, "headers": []}
            yield {"type": "http.response.body", "body": b"a", "more_body": True}
            yield {"type": "http.response.body", "body": b"b"}

    entrance = Entrance(Replies(), Policy(max_body_nbytes=10))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/completions",
        "raw_path": b"/v1/completions",
        "query_string": b"a=b",
        "headers": [(bytearray(b"host"), bytearray(b"localhost"))],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8000),
        "state": {"connection": object()},
    }

    def talk(*messages: Any) -> None:
        left = list(messages)

        async def receive() -> Any:
            return left.pop(0) if left else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(entrance(scope, receive, send))

    def part(size: int, more: bool) -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * size, "more_body": more}

    talk(part(4, True), part(6, False))
    head, body = asked.pop()
    assert body == b"x" * 10
    assert head == {
        **{name: value for name, value in scope.items() if name != "state"},
        "asgi": {"version": "3.0"},
        "headers": [(b"host", b"localhost")],
    }
    assert all(type(value) is bytes for pair in head["headers"] for value in pair)
    assert [message.get("body") for message in sent] == [None, b"a", b"b"]
    talk(part(4, True), part(7, True))  # nobody waits for the rest
    assert asked.pop()[1] == b"x" * 11
    talk(part(99, False))
    assert asked.pop()[1] == b"x" * 11
    talk({"type": "http.request"})
    assert asked.pop()[1] == b""
    talk(part(4, True), {"type": "http.disconnect"})
    assert not asked, "who has gone asks nothing"


def test_the_entrance_takes_part_in_the_start_and_the_end_of_the_server() -> None:
    sent: list[Any] = []
    left = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append((message["type"], len(left)))

    asyncio.run(Entrance(None, Policy())({"type": "lifespan"}, receive, send))
    assert sent == [("lifespan.startup.complete", 1), ("lifespan.shutdown.complete", 0)]


@pytest.mark.usefixtures("errors")
def test_who_leaves_is_not_answered_any_more() -> None:
    ended: list[str] = []

    class Slow:
        answer = property(lambda self: self)

        def options(self, **_: Any) -> Slow:
            return self

        async def remote(self, *_: Any) -> AsyncIterator[Any]:
            try:
                await asyncio.sleep(60)
                yield {}
            finally:
                ended.append("the answer")

    left = [{"type": "http.request", "body": b""}, {"type": "http.request"}]

    async def receive() -> Any:
        await asyncio.sleep(0.01)
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "headers": []}
    asyncio.run(asyncio.wait_for(Entrance(Slow(), Policy())(scope, receive, send), 30))
    assert ended == ["the answer"]


class Ray:
    """What of Ray is called to start replicas, and with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, Any]] = []
        self.runs = False
        ray, serve = types.ModuleType("ray"), types.ModuleType("ray.serve")
        config = types.ModuleType("ray.serve.config")
        router = types.ModuleType("llama_edu.serve.http.router")
        config.RequestRouterConfig = dict  # type: ignore[attr-defined]
        router.ConversationRouter = "ours"  # type: ignore[attr-defined]
        ray.serve = serve  # type: ignore[attr-defined]
        for name, call in {
            "is_initialized": lambda: self.runs,
            "init": lambda **given: self.told.append(("init", given)),
            "shutdown": lambda: self.told.append(("shutdown", "ray")),
        }.items():
            setattr(ray, name, call)
        for name, call in {
            "deployment": self.deployment,
            "start": lambda **given: self.told.append(("start", given)),
            "run": lambda app, **given: self.told.append(("run", (app, given))) or "the handle",
            "shutdown": lambda: self.told.append(("shutdown", "serve")),
        }.items():
            setattr(serve, name, call)
        for module in (ray, serve, config, router):
            monkeypatch.setitem(sys.modules, module.__name__, module)

    def deployment(self, kind: Any, **given: Any) -> Any:
        self.told.append(("deployment", (kind, given)))
        return types.SimpleNamespace(bind=lambda setup: setup)


def test_what_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its documentation names the options; a newer Ray that knows them no more says so."""
    ray = Ray(monkeypatch)
    setup = Setup(("chat",), Limits(max_num_seqs=3, max_queue=4))
    started = [
        (
            "deployment",
            (
                Replica,
                {
                    "name": "llama_edu",
                    "num_replicas": 2,
                    "max_ongoing_requests": 7,  # all that may grow or wait
                    "ray_actor_options": {"num_cpus": 0},
                    "health_check_period_s": 1,
                    "request_router_config": {"request_router_class": "ours"},
                },
            ),
        ),
        ("start", {"proxy_location": "Disabled"}),
        ("run", (setup, {"name": "llama_edu", "route_prefix": None})),
    ]
    begun = ("init", {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"})
    assert start(setup, 2) == "the handle"
    assert ray.told == [begun, *started]
    ray.told.clear()
    ray.runs = True
    ended = [("shutdown", "serve"), ("shutdown", "ray")]
    with contextlib.suppress(KeyError), replicas.started(setup, 2) as handle:
        assert (handle, ray.told) == ("the handle", started), "one that runs is not begun anew"
        raise KeyError
    assert ray.told == [*started, *ended]


def test_a_machine_that_ray_does_not_start_on_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    Ray(monkeypatch)

    def slow(**_: Any) -> None:
        raise TimeoutError("too slow")

    monkeypatch.setattr(sys.modules["ray"], "init", slow)
    with pytest.raises(ServeError, match="expected Ray to start, got too slow") as seen:
        start(Setup(("chat",)), 1)
    assert seen.value.code == "internal"


def test_a_replica_is_made_of_its_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def loaded(*given: Any, **options: Any) -> list[Any]:
        seen.append((given, options))
        return []

    monkeypatch.setattr(replicas, "load", loaded)
    monkeypatch.setattr(replicas, "BlasThreads", lambda number: seen.append(number))
    monkeypatch.setattr(replicas, "create_app", lambda _, policy: seen.append(policy))
    policy = Policy(max_connections=5)
    limits = Limits(max_queue=5)
    Replica(Setup(("chat",), limits, policy, "bf16", "numba", None))
    assert seen == [
        ((("chat",), limits), {"precision": "bf16", "backend": "numba"}),
        None,
        policy,
    ]
    seen.clear()
    Replica(Setup(("chat",)))
    assert seen == [
        ((("chat",), Limits()), {"precision": "f32", "backend": "numpy"}),
        1,
        Policy(),
    ]


class Full:
    """What of Ray's router ours builds on: which replicas have room."""

    full: tuple[str, ...] = ()

    def select_available_replicas(self, candidates: list[Any]) -> list[Any]:
        return [one for one in candidates if one.replica_id not in self.full]


def test_the_router_keeps_a_conversation_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("ray.serve.request_router")
    module.RequestRouter = Full  # type: ignore[attr-defined]
    for name in ("ray", "ray.serve"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "ray.serve.request_router", module)
    # Not among the modules, where the real one may be wanted: this one is made of what is no Ray.
    spec = importlib.util.find_spec("llama_edu.serve.http.router")
    ours = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ours)
    monkeypatch.setattr(ours, "CONVERSATIONS", 2)
    router = ours.ConversationRouter()
    router.initialize_state()
    all_three = [types.SimpleNamespace(replica_id=name) for name in "abc"]

    def asked(mark: str) -> Any:
        metadata = types.SimpleNamespace(multiplexed_model_id=mark)
        context = types.SimpleNamespace(should_backoff=False)
        return types.SimpleNamespace(metadata=metadata, routing_context=context)

    def chosen(mark: str, among: list[Any] = all_three) -> str:
        request = asked(mark)
        (found,) = asyncio.run(router.choose_replicas(among, request))
        assert request.routing_context.should_backoff
        return "".join(sorted(one.replica_id for one in found))

    assert chosen("Ana") == chosen("") == "abc", "nobody has had it"
    for mark, replica in (("Ana", "b"), ("", "c"), ("Bo", "a")):
        router.on_request_routed(asked(mark), replica, None)
    assert (chosen("Ana"), chosen("Bo"), chosen("")) == ("b", "a", "abc")
    assert chosen("Ana", all_three[:1] + all_three[2:]) == "ac", "b has died"
    router.full = ("b",)
    assert chosen("Ana") == "abc", "and not in a line that is full"
    router.full = ()
    router.on_request_routed(asked("Ana"), "c", None)
    router.on_request_routed(asked("Cid"), "c", None)
    assert (chosen("Ana"), chosen("Bo"), chosen("Cid")) == ("c", "abc", "c"), "Bo is longest past"
    firsts = {asyncio.run(router.choose_replicas(all_three))[0][0].replica_id for _ in range(50)}
    assert firsts == set("abc"), "where all have as much to do, not always the same"


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
    """The two replicas, as soon as there are two: one that was killed has been replaced then."""
    found: dict[str, int] = {}
    while len(found) < 2:
        name, pid = await handle.who.remote()
        found[name] = pid
        await asyncio.sleep(0.05)
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

    async def conversation(web: httpx.AsyncClient, name: str) -> list[tuple[str, int]]:
        said, turns = [{"role": "user", "content": f"Hello! My name is {name}."}], []
        for question in ("What is my name?", "Tell me a joke.", "Why?", "Goodbye."):
            answer = await turn(web, said)
            assert answer.status_code == 200, answer.text
            usage = answer.json()["usage"]["prompt_tokens_details"]
            turns.append((answer.headers["x-replica"], usage["cached_tokens"]))
            said.append(answer.json()["choices"][0]["message"])
            said.append({"role": "user", "content": question})
        return turns

    async def talk() -> list[list[tuple[str, int]]]:
        async with client(handle) as web:
            await processes(handle)
            names = ("Ana", "Bo", "Cid", "Dora", "Eve", "Finn", "Gus", "Hal")
            return await asyncio.gather(*[conversation(web, name) for name in names])

    told = asyncio.run(talk())
    for turns in told:
        assert len({replica for replica, _ in turns}) == 1, "without a pause between its turns"
        assert all(cached > 20 for _, cached in turns[1:]), "its prefix was there"
