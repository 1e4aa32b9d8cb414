"""The application behind a socket: in the foreground for a command, in a thread for a notebook."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from llama_edu.errors import ServeError
from llama_edu.serve.http.app import create_app
from llama_edu.serve.http.connection import bounded_protocol
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.served import Serving

__all__ = ["address", "listen", "run", "running", "uvicorn_config"]

START_SECONDS = 60.0
SPARE_SECONDS = 5.0  # to send the last words after the grace
LAST_SECONDS = 2.0  # for the last words, where somebody would not wait
BACKLOG = 256


class Server(uvicorn.Server):
    """Ends in order: nothing new, `grace` seconds for what runs, then the last words, then all."""

    def __init__(self, serving: Serving, policy: Policy, grace: float) -> None:
        config = uvicorn_config(create_app(serving, policy), policy)
        config.timeout_graceful_shutdown = round(grace + SPARE_SECONDS)
        super().__init__(config)
        self._serving, self._grace = serving, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what can end, then close the connections. At a second Ctrl-C, end it all now."""
        self._serving.stop(self._grace)
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn goes away as it is; let each reader hear of it
            self._serving.stop(0.0)
            if self.server_state.tasks:
                await asyncio.wait(set(self.server_state.tasks), timeout=LAST_SECONDS)
            await self.lifespan.shutdown()


def uvicorn_config(app: ASGIApp, policy: Policy) -> uvicorn.Config:
    """How an application of ours is run behind connections of ours."""
    return uvicorn.Config(
        app,
        http=bounded_protocol(policy),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is whoever connected, not whom a header names
        ws="none",
        lifespan="on",
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises `OSError` if that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, since asyncio sets TCP_NODELAY on no other: without it, the second part of
    # every answer waits 40 ms for the acknowledgement of the first (Nagle meets delayed ACK).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def address(listening: socket.socket) -> str:
    """The URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    serving: Serving,
    policy: Policy,
    listening: socket.socket,
    *,
    grace: float,
    ready: Callable[[str], None],
) -> None:
    """Serve at a socket until SIGINT or SIGTERM. `ready` is called with its URL before."""
    ready(address(listening))
    with contextlib.suppress(KeyboardInterrupt):  # how one ends a server, not an accident
        Server(serving, policy, grace).run(sockets=[listening])


@contextlib.contextmanager
def running(
    serving: Serving, policy: Policy | None = None, *, port: int = 0, grace: float = 5.0
) -> Iterator[str]:
    """A server in a thread of its own, for as long as the block runs; gives its URL.

    Raises `ServeError` if it does not start.
    """
    policy = policy or Policy()
    listening = listen(policy.host, port)
    server = Server(serving, policy, grace)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        _wait_for_start(server, thread)
        yield address(listening)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _wait_for_start(server: Server, thread: threading.Thread) -> None:
    tick = threading.Event()
    for _ in range(round(START_SECONDS / 0.02)):
        if server.started or not thread.is_alive():
            break
        tick.wait(0.02)
    if not server.started:
        raise ServeError("internal", "expected a server that starts, got one that did not")
