"""What is let in, and what every answer carries: the two layers around the routes.

`Door` turns away what should not be answered: another host's name (a page elsewhere may have its
name resolve to this machine), another site's page, a missing key, a body that is no JSON, too
long, or does not come. `Observer`, outside of it, sets the headers that keep our page to itself,
counts, logs, and turns a fault of ours into an answer.
"""

import asyncio
import hmac
import ipaddress
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.logs import complain, tell
from llama_edu.serve.http.metrics import Metrics

__all__ = ["BodyRefused", "Door", "Observer", "Policy"]

HEADERS = {
    # Scripts, styles and data from this server and nowhere else; no inline code; no frames.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Policy:
    """Who may ask, and how much they may send."""

    host: str = "127.0.0.1"
    """The address listened at."""
    allowed_hosts: tuple[str, ...] = ()
    """Other names of this server."""
    api_key: str | None = None
    max_body_nbytes: int = 256 * 1024
    body_seconds: float = 20.0
    head_seconds: float = 10.0
    """How long a connection may be open without the whole head of a request, or go on sending a
    body that was refused."""
    unread_seconds: float = 60.0
    """How long a reader may take for what was sent to it at once."""
    max_connections: int = 512

    def knows_host(self, header: str) -> bool:
        """Whether a Host header means this server.

        A name is known or it is not. An address cannot be made to point elsewhere, so any will do
        where the server listens at all of them.
        """
        name = _host_name(header)
        if name in ("localhost", self.host, *self.allowed_hosts):
            return True
        try:
            asked, own = ipaddress.ip_address(name), ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return asked == own or own.is_unspecified or (asked.is_loopback and own.is_loopback)

    def knows_key(self, header: str) -> bool:
        """Whether an Authorization header has the key. Takes as long for any wrong one."""
        if self.api_key is None:
            return True
        given = header.removeprefix("Bearer ").encode("latin-1")  # as headers are decoded
        return hmac.compare_digest(given, self.api_key.encode())


def _host_name(header: str) -> str:
    """The name in `name:port`, `[v6]:port` or either without its port."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


class Door:
    """Answers what is not let in, and hands the rest on."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the head of a request now, and its body as it comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, limit_body(receive, self._policy), send)

    def _refusal(self, scope: Scope, headers: Headers) -> ApiError | None:
        policy, host = self._policy, headers.get("host", "")
        if not policy.knows_host(host):
            return ApiError("wrong_host", f"expected a Host of this server, got {host[:80]!r}")
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        other_site = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign or (other_site and not _opens_page(scope, headers)):
            return ApiError("cross_site", "expected a page of this server to ask, got another's")
        wants_key = scope["path"].startswith("/v1/") or scope["path"] == "/metrics"
        if wants_key and not policy.knows_key(headers.get("authorization", "")):
            message = "expected the server's key as `Authorization: Bearer …`, got another or none"
            return ApiError("invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})
        if scope["method"] == "POST":
            return self._refused_body(headers)
        return None

    def _refused_body(self, headers: Headers) -> ApiError | None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            message = f"expected Content-Type application/json, got {kind[:80]!r}"
            return ApiError("unsupported_media_type", message)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._policy.max_body_nbytes:
            return _too_large(self._policy, length)
        return None


def _opens_page(scope: Scope, headers: Headers) -> bool:
    """Whether somebody followed a link to the page: it then stands alone, its site out of reach."""
    return (
        scope["method"] in ("GET", "HEAD")
        and scope["path"] == "/"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _too_large(policy: Policy, got: object) -> ApiError:
    return ApiError(
        "body_too_large", f"expected a body of at most {policy.max_body_nbytes} bytes, got {got}"
    )


def limit_body(receive: Receive, policy: Policy) -> Receive:
    """`receive` that raises `BodyRefused` for a body which is too long or too slow."""
    deadline = asyncio.get_running_loop().time() + policy.body_seconds
    nbytes, whole = 0, False

    async def limited() -> Message:
        nonlocal nbytes, whole
        if whole:  # from here on it waits for the client's goodbye, however long that takes
            return await receive()
        try:
            message = await _receive_until(deadline, receive)
        except TimeoutError:
            text = f"expected a body within {policy.body_seconds:g} s, got {nbytes} bytes of it"
            raise BodyRefused(ApiError("body_timeout", text)) from None
        nbytes += len(message.get("body", b""))
        if nbytes > policy.max_body_nbytes:
            raise BodyRefused(_too_large(policy, f"{nbytes} so far"))
        whole = not message.get("more_body", False)
        return message

    return limited


async def _receive_until(deadline: float, receive: Receive) -> Message:
    """The next message. One that is there is never too late, however late we look ourselves."""
    try:
        async with asyncio.timeout_at(deadline):
            return await receive()
    except TimeoutError:
        async with asyncio.timeout(0):
            return await receive()


class BodyRefused(HTTPException):
    """An `ApiError` about a body. FastAPI, which reads the body, takes any other for bad JSON."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.status)
        self.error = error


class Observer:
    """Sees every request come and go."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, with our headers on the answer; then count and log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, status, start = secrets.token_hex(8), 0, time.perf_counter()

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in (HEADERS | {"X-Request-Id": request_id}).items():
                    headers[name] = value
            await send(message)

        try:
            await self._app(scope, receive, marked)
        except Exception as problem:
            complain(problem)
            if status == 0:
                error = ApiError("internal", "expected no fault of the server's, got one")
                await error.response()(scope, receive, marked)
            else:  # too late for an answer: end the connection, so that nobody takes it for whole
                raise
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.observe_answer(route, status)
            seconds = round(time.perf_counter() - start, 4)
            _tell(scope, request_id, route, status, seconds)


def _tell(scope: Scope, request_id: str, route: str, status: int, seconds: float) -> None:
    state: dict[str, Any] = scope.get("state", {})
    call = state.get("call")
    tell(
        "request",
        request_id=request_id,
        method=scope["method"],
        route=route,
        status=status,
        seconds=seconds,
        **({"model": state["model"], **call.summary()} if call is not None else {}),
    )
