"""The same server several times over: replicas with the whole model, on Ray Serve.

What a client talks to is the *entrance*, a small ASGI application behind our own connections. It
reads a request, finds out which conversation it goes on with, and asks a replica, which is our
whole application in a process of Ray's. Ray Serve (https://docs.ray.io/en/latest/serve) starts the
replicas and replaces those that die; it chooses one for each request by our router
(`llama_edu.serve.http.router`).

A request whose answer has not begun when its replica dies is asked again elsewhere; nothing is
lost, since it changes nothing. An answer that has begun ends. Ray is the extra `ray`, imported when
used.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from llama_edu.errors import ServeError
from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.app import create_app
from llama_edu.serve.http.connection import ConnectionMiddleware
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.served import Serving, load
from llama_edu.serve.http.server import uvicorn_config
from llama_edu.serve.job import Limits
from llama_edu.serve.threads import BlasThreads

__all__ = ["Entrance", "Replica", "Setup", "conversation_of", "server_of", "start", "started"]

Message = MutableMapping[str, Any]
NAME = "llama_edu"
TRIES = 4  # a replica that has died, another that dies meanwhile, and some
PAUSE_S = 0.5
PASSED = ("type", "http_version", "method", "scheme", "path", "raw_path", "query_string")
WHICH = b"x-replica"


@dataclass(frozen=True)
class Setup:
    """What every replica is made with."""

    models: Sequence[str]
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    precision: str = "f32"
    backend: str = "numpy"
    threads: int | None = 1


class Replica:
    """Our application in a process of Ray's. Its methods are called through a handle."""

    def __init__(self, setup: Setup) -> None:
        models = load(setup.models, setup.limits, precision=setup.precision, backend=setup.backend)
        self._app = create_app(Serving(models, BlasThreads(setup.threads)), setup.policy)
        self._running = AsyncExitStack()
        self._start = asyncio.Lock()
        self._is_started = False

    async def stop(self) -> None:
        """End what runs, and the workers. Ray ends the whole process instead."""
        await self._running.aclose()

    async def who(self) -> tuple[str, int]:
        """The replica's name and its process."""
        import os

        from ray import serve

        return serve.get_replica_context().replica_id.unique_id, os.getpid()

    async def answer(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[Message]:
        """The application's answer to one request, as ASGI's messages."""
        async with self._start:
            if not self._is_started:
                await self._running.enter_async_context(
                    self._app.router.lifespan_context(self._app)
                )
                self._is_started = True
        name, _ = await self.who()
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.Event()

        async def receive() -> Message:
            if parts:
                return parts.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def run() -> None:
            try:
                await self._app(scope, receive, messages.put)
            finally:
                messages.put_nowait(None)

        task = asyncio.create_task(run())
        try:
            while (message := await messages.get()) is not None:
                if message["type"] == "http.response.start":
                    headers = [*message["headers"], (WHICH, name.encode())]
                    message = dict(message, headers=headers)
                yield message
        finally:
            gone.set()
            await asyncio.wait([task], timeout=PAUSE_S)
            task.cancel()


class Entrance:
    """An ASGI application that lets replicas answer. `handle` is what `start` returns."""

    def __init__(self, handle: Any, policy: Policy) -> None:
        self._handle = handle
        self._most = policy.max_body_nbytes

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Answer one request, or take part in the start and the end of the server.

        Raises what ended an answer that had begun, so that the connection is cut.
        """
        if scope["type"] == "lifespan":
            for done in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{done}.complete"})
            return
        body = b""
        more = True
        while more and len(body) <= self._most:  # one that is too long the replica refuses
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = {name: scope[name] for name in PASSED if name in scope}
        asked["asgi"] = {"version": "3.0"}
        asked["headers"] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        asked["client"], asked["server"] = scope.get("client"), scope.get("server")
        asking = asyncio.create_task(self._ask(asked, body[: self._most + 1], send))
        leaving = asyncio.create_task(_left(receive))
        await asyncio.wait([asking, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        asking.cancel()  # which does nothing to one that is done
        await asyncio.gather(asking, return_exceptions=True)
        if not asking.cancelled() and (problem := asking.exception()) is not None:
            raise problem

    async def _ask(self, scope: dict[str, Any], body: bytes, send: Any) -> None:
        """Hand on a replica's answer; ask another one, if it dies before it has begun."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        mark = conversation_of(body)
        handle = self._handle.options(stream=True, multiplexed_model_id=mark)
        for _ in range(TRIES):
            has_begun = False
            try:
                async for message in handle.answer.remote(scope, body):
                    if message["type"] == "http.response.start":
                        head = message  # kept back until there is something of the answer itself
                        continue
                    if not has_begun:
                        await send(head)
                    has_begun = True
                    await send(message)
                return
            except (RayError, RayServeException):
                if has_begun:
                    raise  # the connection is cut, which tells the reader
                await asyncio.sleep(PAUSE_S)
        refused = ApiError("internal", "expected a replica that answers, got none that lives")
        await send(
            {
                "type": "http.response.start",
                "status": 503,
                "headers": [(b"content-type", b"application/json"), (b"retry-after", b"1")],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(refused.body()).encode()})


async def _left(receive: Any) -> None:
    """Returns when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def conversation_of(body: bytes) -> str:
    """A mark that stays the same while a conversation grows: what it begins with.

    That is the model, and the messages up to the first of the user, or the first 200 letters of a
    prompt. What cannot be read is a conversation of its own; the replica says what is wrong.
    """
    try:
        asked = json.loads(body)
        said = asked.get("messages")
        if isinstance(said, list):
            until = next((i for i, one in enumerate(said) if one.get("role") == "user"), 0)
            begins: Any = said[: until + 1]
        else:
            begins = str(asked.get("prompt"))[:200]
        whole = json.dumps([asked.get("model"), begins], sort_keys=True)
    except (ValueError, AttributeError, RecursionError):
        whole = repr(body[:200])
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def start(setup: Setup, replicas: int) -> Any:
    """Start Ray where it does not run yet, and that many replicas on it; returns their handle.

    Raises `ServeError` without Ray and for less than one replica.
    """
    if replicas < 1:
        raise ServeError("internal", f"expected at least 1 replica, got {replicas}")
    try:
        import ray
        from ray import serve
        from ray.serve.config import RequestRouterConfig

        from llama_edu.serve.http.router import ConversationRouter
    except ImportError as problem:
        raise ServeError(
            "internal", f'{problem}; replicas need: pip install "llama_edu[serve,ray]"'
        ) from problem
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except Exception as problem:  # Ray has no class of its own for a machine too slow for it
            raise ServeError("internal", f"expected Ray to start, got {problem}") from problem
    deployment = serve.deployment(
        Replica,
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=setup.limits.max_queue + setup.limits.max_num_seqs,
        ray_actor_options={"num_cpus": 0},  # they share what there is, as threads would
        health_check_period_s=1,
        request_router_config=RequestRouterConfig(request_router_class=ConversationRouter),
    )
    serve.start(proxy_location="Disabled")  # the entrance is ours
    return serve.run(deployment.bind(setup), name=NAME, route_prefix=None)


@contextmanager
def started(setup: Setup, replicas: int) -> Iterator[Any]:
    """`start`, and at the end of the block neither replicas nor a Ray that was started for them."""
    handle = start(setup, replicas)
    import ray
    from ray import serve

    try:
        yield handle
    finally:
        serve.shutdown()
        ray.shutdown()


def server_of(entrance: Entrance, policy: Policy) -> uvicorn.Server:
    """The entrance behind our own connections, to be run at a socket."""
    return uvicorn.Server(uvicorn_config(ConnectionMiddleware(entrance), policy))
