"""The application around the routes: its page, its hints, its health, and how it is run."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from tiny_served import write_tiny

from llama_edu.engine.llama import Llama
from llama_edu.errors import InputError, ServeError
from llama_edu.serve.http import server
from llama_edu.serve.http.app import create_app
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.served import Serving, load
from llama_edu.serve.job import Limits
from llama_edu.serve.threads import BlasThreads

KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


def test_every_file_of_the_page_is_there_and_asked_for_once(site: Any) -> None:
    files = list(resources.files("llama_edu.serve.http").joinpath("static").iterdir())
    assert len(files) > 3
    for file in files:
        path, kind = f"/static/{file.name}", KINDS.get(file.name.rpartition(".")[2])
        if file.name == "index.html":
            path, kind = "/", "text/html"
        answer = site.http.get(path)
        assert answer.content == file.read_bytes()
        assert (
            answer.headers["content-type"] == f"{kind}; charset=utf-8"
            if (kind != "image/svg+xml")
            else kind
        )
        assert answer.headers["cache-control"] == "no-cache"
        known = {"if-none-match": answer.headers["etag"]}
        again = site.http.get(path, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        assert site.http.get(path, headers={"if-none-match": '"another"'}).status_code == 200
    assert len({site.http.get(f"/static/{f.name}").headers.get("etag") for f in files}) >= 3


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/v1/models", "/v1/models"),
        ("/v1/v1", "/v1/models"),
        ("/v1/", "/v1/models"),
        ("//v1//models", "/v1/models"),
        ("/completions/", "/v1/completions"),
        ("/model", "/v1/models"),
        ("/v1/tokenise", "/tokenize"),
        ("/metric", "/metrics"),
        ("/redoc", None),
        ("/docs", None),
        ("/somewhere/else", None),
        ("/v1/models" + "/" * 300 + "x", "/v1/models"),
        ("/" + "x" * 300, None),
    ],
)
def test_of_an_address_that_is_none_the_nearest_is_named(
    site: Any, path: str, near: str | None
) -> None:
    answer = site.http.get(site.url + path)
    hint = "" if near is None else f"; did you mean {near}?"
    wanted = f"expected an address that GET /openapi.json lists, got none of them{hint}"
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == wanted


def test_of_a_wrong_method_the_right_one_is_named(site: Any) -> None:
    for method, path, right in (("GET", "/tokenize", "POST"), ("DELETE", "/v1/models", "GET")):
        answer = site.http.request(method, path)
        wanted = f"expected {right} at this address, got {method}"
        assert (answer.status_code, answer.json()["error"]["message"]) == (405, wanted)
        assert answer.headers["allow"] == right


def test_a_stream_is_stored_and_gathered_by_nobody(site: Any) -> None:
    body = {"model": "tiny", "prompt": "x", "max_tokens": 1, "stream": True}
    answer = site.http.post("/v1/completions", json=body)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_what_answers_are_named_by(site: Any) -> None:
    before = int(time.time())
    said = {"messages": [{"role": "user", "content": "x"}]}
    for path, prefix, body in (
        ("/v1/completions", "cmpl", {"prompt": "x"}),
        ("/v1/chat/completions", "chatcmpl", said),
    ):
        asked = {"model": "tiny", "max_tokens": 1} | body
        first, second = (site.http.post(path, json=asked).json() for _ in range(2))
        kind, _, number = first["id"].partition("-")
        assert (kind, len(bytes.fromhex(number))) == (prefix, 12)
        assert first["id"] != second["id"]
        assert before <= first["created"] <= time.time()
    for card in site.http.get("/v1/models").json()["data"]:
        assert (card["object"], card["owned_by"]) == ("model", "llama_edu")
        assert 0 <= before - card["created"] < 3600


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("app") / "tiny", chat_template=None)


def health(client: TestClient) -> list[tuple[int, str]]:
    answers = [client.get(path) for path in ("/healthz", "/readyz", "/health")]
    return [(answer.status_code, answer.json()["status"]) for answer in answers]


def test_health_follows_the_workers(model: Path) -> None:
    serving = Serving(load([str(model)]), BlasThreads(1))
    with TestClient(create_app(serving), base_url="http://localhost") as client:
        ok, not_ok = (200, "ok"), (503, "unavailable")
        assert health(client) == [ok, ok, ok]
        assert client.get("/props").json()["chat_template"] == ""
        # One model is meant without being named.
        asked = {"prompt": "The cat", "max_tokens": 2, "temperature": 0}
        assert client.post("/v1/completions", json=asked).json()["model"] == "tiny"
        serving.stopping = True
        assert health(client) == [ok, not_ok, not_ok]
        serving.stop(0.0)
        serving.models["tiny"].worker.join()
        assert health(client) == [not_ok, not_ok, not_ok]
        refused = client.post("/v1/completions", json=asked)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "shutting_down"


def test_the_application_ends_its_workers(model: Path) -> None:
    serving = Serving(load([str(model)]), BlasThreads(1))
    with TestClient(create_app(serving), base_url="http://localhost"):
        assert serving.is_well
    serving.models["tiny"].worker.join()
    assert serving.stopping
    assert not serving.is_well


def test_what_a_model_is_loaded_with(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, dict[str, str]]] = []
    loaded = Llama.from_pretrained

    def watched(name: str, **options: str) -> Llama:
        given.append((name, options))
        return loaded(name)

    monkeypatch.setattr(Llama, "from_pretrained", staticmethod(watched))
    (plain,) = load([str(model)])
    (other,) = load([str(model)], Limits(max_queue=3), precision="bf16", backend="numba")
    defaults = {"precision": "f32", "backend": "numpy"}
    asked = {"precision": "bf16", "backend": "numba"}
    assert given == [(str(model), defaults), (str(model), asked)]
    assert (plain.name, plain.limits, other.limits) == ("tiny", Limits(), Limits(max_queue=3))
    assert other.scheduler.limits == Limits(max_queue=3)
    with pytest.raises(InputError, match="names of their own, got two called 'tiny'"):
        load([str(model), str(model)])


# How it is run


def test_what_uvicorn_is_told(model: Path) -> None:
    serving = Serving(load([str(model)]), BlasThreads(1))
    config = server.Server(serving, Policy(), 3.4).config
    assert config.timeout_graceful_shutdown == 8, "5 s more than what runs is given"
    told = {
        "log_config": None,  # the lines are ours
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # nobody is whom a header names
        "ws": "none",
        "lifespan": "on",  # a fault at the start ends the server
    }
    assert {name: getattr(config, name) for name in told} == told


def test_where_one_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    made = socket.socket

    def watched(*given: Any) -> socket.socket:
        opened.append(made(*given))
        return opened[-1]

    with server.listen("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        assert server.address(one) == f"http://127.0.0.1:{port}"
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", watched)
            with pytest.raises(OSError, match="in use"):
                server.listen("127.0.0.1", port)
        assert [other.fileno() for other in opened] == [-1], "and nothing is left open"
        if socket.has_ipv6:
            with contextlib.suppress(OSError), server.listen("::", 0) as other:
                assert server.address(other) == f"http://[::]:{other.getsockname()[1]}"
                alone = other.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                assert alone == 1, "it takes no port of IPv4 beside its own"
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"x")
            server_side, _ = one.accept()
            with server_side:
                assert server_side.recv(1) == b"x"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_does_not_start_is_told_of(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = Serving(load([str(model)]), BlasThreads(1))

    def broken() -> None:
        raise RuntimeError("no worker")

    monkeypatch.setattr(serving, "start", broken)
    start = time.monotonic()
    with (
        pytest.raises(ServeError, match="a server that starts, got one that did not"),
        server.running(serving),
    ):
        pytest.fail("it did not start")
    assert time.monotonic() - start < 20, "nobody waits for a thread that is gone"


def test_a_running_server_is_a_daemon_and_ends_with_its_block(model: Path) -> None:
    serving = Serving(load([str(model)]), BlasThreads(1))
    before = set(threading.enumerate())
    with server.running(serving) as url:
        host, port = url.removeprefix("http://").split(":")
        assert all(thread.daemon for thread in set(threading.enumerate()) - before)
        socket.create_connection((host, int(port))).close()
    serving.models["tiny"].worker.join()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)))


def test_it_is_told_where_before_it_is_served_and_one_ends_it_by_the_keyboard(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[Any] = []

    def run(self: server.Server, sockets: list[socket.socket]) -> None:
        happened.append((self.config.timeout_graceful_shutdown, sockets))
        raise KeyboardInterrupt

    monkeypatch.setattr(server.Server, "run", run)
    serving = Serving(load([str(model)]), BlasThreads(1))
    with server.listen("127.0.0.1", 0) as one:
        server.run(serving, Policy(), one, grace=7.0, ready=happened.append)
        assert happened == [server.address(one), (12, [one])]


@pytest.mark.parametrize("hurried", [False, True])
def test_at_the_end_nothing_new_then_what_runs_then_all(
    model: Path, monkeypatch: pytest.MonkeyPatch, hurried: bool
) -> None:
    """At a second Ctrl-C uvicorn goes away as it is: then every reader hears of it first."""
    serving = Serving(load([str(model)]), BlasThreads(1))
    one = server.Server(serving, Policy(), 3.0)
    happened: list[Any] = []

    async def shutdown(self: Any, sockets: Any = None) -> None:
        happened.append(sockets)

    async def talk() -> None:
        last_words = asyncio.create_task(asyncio.sleep(0.02, "said"))
        one.server_state.tasks.add(last_words)  # type: ignore[arg-type]
        one.force_exit = hurried
        await one.shutdown([])
        assert last_words.done() is hurried
        last_words.cancel()

    class Lifespan:
        async def shutdown(self) -> None:
            happened.append("the end")

    one.lifespan = Lifespan()  # type: ignore[assignment]
    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    monkeypatch.setattr(serving, "stop", happened.append)
    asyncio.run(talk())
    assert happened == [3.0, [], 0.0, "the end"] if hurried else [3.0, []]
