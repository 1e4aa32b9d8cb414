"""A server process and a client as simple as can be, for the runs that put load on it.

The client speaks HTTP over a plain socket, so that it can also send what no library would, costs
little, and can stop reading whenever it likes.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
JSON = {"Content-Type": "application/json"}


class Server:
    """`python -m llama_edu serve` as a process of its own."""

    def __init__(self, *arguments: str, port: int = 0, log: Path | None = None) -> None:
        with (log or Path(os.devnull)).open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llama_edu", "serve", *arguments, "--port", str(port)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("Serving "):
            raise RuntimeError(f"expected a server that starts, got exit {self.process.wait()}")
        self.port = int(line.rsplit(":", 1)[1])

    @property
    def memory_nbytes(self) -> int:
        """What it has in memory now, without what it only maps."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def kill(self) -> None:
        """As if the power failed."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End in order; returns the exit code."""
        self.process.terminate()
        return self.process.wait()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def error(self) -> dict[str, Any]:
        """The error object, or one that says there is none."""
        try:
            found: dict[str, Any] = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return {"code": None, "message": self.body[:80].decode(errors="replace")}
        return found


class Connection:
    """One request on one connection, closed afterwards.

    `narrow`: hardly more than what has been read gets through, so that the server notices at once
    when nobody reads. Some 50 kB lie in between; otherwise it would be megabytes.
    """

    def __init__(self, port: int, *, narrow: bool = False) -> None:
        self._port, self._narrow = port, narrow

    async def __aenter__(self) -> "Connection":
        if not self._narrow:
            self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
            return self
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (HOST, self._port))
        self._reader, self._writer = await asyncio.open_connection(sock=connection, limit=4096)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """GET, or POST where there is a body."""
        fields = {"Host": f"{HOST}:{self._port}", "Connection": "close", **(headers or {})}
        if body is not None:
            fields.setdefault("Content-Length", str(len(body)))
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        await self._writer.drain()

    async def head(self) -> Answer:
        """Status and headers."""
        text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.rstrip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), headers)

    async def chunks(self, answer: Answer) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `ConnectionError` if it ends before its end."""
        if answer.headers.get("transfer-encoding") != "chunked":
            yield await self._reader.readexactly(int(answer.headers.get("content-length", "0")))
            return
        while True:
            try:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                data = await self._reader.readexactly(size + 2)
            except asyncio.IncompleteReadError as problem:
                raise ConnectionResetError("the stream was cut") from problem
            if not size:
                return
            yield data[:-2]

    async def answer(self) -> Answer:
        """All of it."""
        try:
            found = await self.head()
            found.body = b"".join([part async for part in self.chunks(found)])
        except asyncio.IncompleteReadError as problem:
            raise ConnectionResetError("the answer was cut") from problem
        return found


async def ask(port: int, path: str, body: Any = None) -> Answer:
    """One request with JSON, and its answer."""
    async with Connection(port) as connection:
        await connection.send(path, None if body is None else json.dumps(body).encode(), JSON)
        return await connection.answer()


def events(data: bytes) -> list[dict[str, Any]]:
    """The JSON of the frames in a stream, `[DONE]` left out."""
    frames = [part.removeprefix(b"data: ") for part in data.split(b"\n\n") if part]
    return [json.loads(one) for one in frames if one != b"[DONE]"]
