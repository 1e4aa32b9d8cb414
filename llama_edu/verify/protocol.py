"""Protocol 1: a program that is asked, line by line, and may do anything but answer.

The program is started with a model's directory as its only argument. It reads requests and writes
answers, one JSON object a line, in order. Whatever else it does (not start, print a greeting, stop
half-way, never answer, write half a line) ends in a `ProgramError` that says so, within a time
limit: a kit that hangs with the engine it examines helps nobody.
"""

import contextlib
import json
import os
import queue
import re
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from llama_edu.errors import LlamaEduError

__all__ = ["PROTOCOL", "Program", "ProgramError", "RefusedError", "command_of"]

PROTOCOL = 1
SHOWN = 160  # characters of what a program wrote, in a message
SHORTEST_LIMIT = 0.1  # seconds
LAST_LINES = 2  # of what it wrote to standard error: where it was, and what was wrong
CAUSE = re.compile(rb"panicked at|panic:|\w(?:Error|Exception)\b|terminate called|[Aa]ssert")
# Numbers that JSON does not know, as C++, Rust and others print them.
NOT_FINITE = re.compile(
    rb"(?<=[\[,:\s])-?(?:nan(?:\(\w*\))?|inf(?:inity)?)(?=[\s,\]}])", re.IGNORECASE
)
MOST_DIGITS = 300  # of an integer, with room below the largest float
MAX_LINE = 256 * 1024 * 1024  # bytes: a vocabulary of ten million, with room


class ProgramError(LlamaEduError, RuntimeError):
    """The program did not answer as protocol 1 asks.

    `kind` is "start" (it could not be started), "ended" (it is gone), "silent" (no answer within
    the limit), or "garbled" (the answer is not what was asked for). `code` is its exit code, if it
    ended; a negative one is the number of the signal that ended it.
    """

    def __init__(self, kind: str, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.code = kind, code

    @property
    def clean_refusal(self) -> bool:
        """Whether it ended by itself, with an exit code that says no: not by a signal."""
        return self.kind == "ended" and self.code is not None and self.code > 0


class RefusedError(LlamaEduError, RuntimeError):
    """The program answered `{"error": …}`: it is there, and does not do this."""


def command_of(text: str) -> list[str]:
    """The words of a command line, as a shell would cut them.

    Raises `ProgramError` if there are none, or a quote is not closed.
    """
    try:
        words = shlex.split(text, posix=os.name != "nt")
    except ValueError as problem:
        raise ProgramError("start", f"expected a command, got {text!r}: {problem}") from problem
    if not words:
        raise ProgramError("start", "expected a command to start, got an empty one")
    return words


class Program:
    """A running program under examination. Use as a context manager: it is ended on the way out."""

    def __init__(self, command: Sequence[str], directory: Path, limit: float = 60.0) -> None:
        """Start it. Raises `ProgramError` of kind "start" if the system cannot."""
        self.limit = max(limit, SHORTEST_LIMIT)
        self.name = " ".join(command)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in `close`
        try:
            self._process = subprocess.Popen(
                [*command, str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=os.name != "nt",  # so that its children can be ended, too
            )
        except OSError as problem:
            self._errors.close()
            raise ProgramError("start", _why_not(command[0], problem)) from problem
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._requests: queue.Queue[bytes | None] = queue.Queue()
        self._threads = [threading.Thread(target=w, daemon=True) for w in (self._read, self._write)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises `RefusedError` for `{"error": …}`, and `ProgramError` for anything that is not one
        JSON object on one line within the time limit.
        """
        self._requests.put(json.dumps(request, ensure_ascii=False).encode() + b"\n")
        what = _told(request)
        try:
            line = self._lines.get(timeout=self.limit)
        except queue.Empty:
            raise ProgramError("silent", self._silence(what)) from None
        if line is None:
            raise self._ended(what)
        try:
            answer = _parsed(line)
        except (ValueError, RecursionError):
            got = f"{_shown(line)} ({_hint(line)})"
            raise ProgramError(
                "garbled", f"expected one line of JSON in answer to {what}, got {got}"
            ) from None
        if not isinstance(answer, dict):
            raise ProgramError(
                "garbled", f"expected a JSON object in answer to {what}, got {_shown(line)}"
            )
        if "error" in answer:
            raise RefusedError(str(answer["error"])[:SHOWN])
        return answer

    def hello(self) -> dict[str, Any]:
        """Greet it; returns its answer, whose name and ops are of the right kind.

        Raises as `ask` does, and for another protocol.
        """
        try:
            answer = self.ask({"op": "hello", "protocol": PROTOCOL})
        except RefusedError as refusal:
            raise ProgramError(
                "garbled", f"expected an answer to hello, got an error: {refusal}"
            ) from refusal
        if answer.get("protocol") != PROTOCOL:
            raise ProgramError(
                "garbled",
                f'expected "protocol":{PROTOCOL} in hello, got {_field(answer, "protocol")}',
            )
        ops = answer.get("ops")
        if not isinstance(ops, list) or not all(isinstance(op, str) for op in ops):
            got = _field(answer, "ops")
            raise ProgramError("garbled", f"expected ops as a list of names in hello, got {got}")
        return answer | {"name": str(answer.get("name", self.name))}

    def close(self) -> None:
        """End the program and everything it started, at once if it does not go by itself."""
        self._requests.put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
        self._kill()
        self._process.wait()
        for thread in self._threads:  # both end with the program's pipes
            thread.join(timeout=1.0)
        if self._process.stdout is not None and not self._threads[0].is_alive():
            self._process.stdout.close()
        self._errors.close()

    def complaint(self) -> str:
        """The last lines the program wrote to standard error, or nothing."""
        self._errors.flush()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4096))
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        # What went wrong may stand above a list of callers, and what it was about beside it.
        cause = max((i for i, line in enumerate(lines) if CAUSE.search(line)), default=len(lines))
        start = max(0, min(cause, len(lines) - LAST_LINES))
        told = lines[start : start + LAST_LINES]
        return " | ".join(line.decode("utf-8", errors="replace")[:SHOWN] for line in told)

    def _silence(self, what: str) -> str:
        told = self.complaint()
        said = f"; its last words: {told}" if told else ""
        return (
            f"expected an answer to {what} within {self.limit:g} s, got none{said}"
            " (end each answer with a newline and flush it; --timeout gives more time)"
        )

    def _ended(self, what: str) -> ProgramError:
        try:
            code = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            return ProgramError(
                "ended", f"expected an answer to {what}, but it closed its standard output"
            )
        told = self.complaint()
        how = f"exit code {code}" if code >= 0 else f"signal {_signal_name(-code)}"
        said = f"; its last words: {told}" if told else ""
        return ProgramError(
            "ended", f"expected an answer to {what}, but it ended with {how}{said}", code
        )

    def _kill(self) -> None:
        if os.name == "nt":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        for line in _lines(stream):
            self._lines.put(line)
        self._lines.put(None)

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):  # it is gone; the reader notices
            while (line := self._requests.get()) is not None:
                stream.write(line)
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    while line := stream.readline(MAX_LINE):
        if line.strip():
            yield line


def _why_not(name: str, problem: OSError) -> str:
    if Path(name).is_dir():
        return f"expected a program to start, got a directory: {name!r}"
    if isinstance(problem, FileNotFoundError):
        if not Path(name).is_file():
            where = f" in {Path.cwd()}" if os.sep in name and not Path(name).is_absolute() else ""
            return f"expected a program to start, got no file called {name!r}{where}"
        if os.sep in name:  # it is there; what its first line names is not
            return f"expected a program to start, but what is to run {name!r} is not installed"
        return f"expected a program to start, got no command {name!r} (did you mean ./{name}?)"
    if isinstance(problem, PermissionError):
        return (
            f"expected a program to start, but {name!r} may not be executed"
            " (a source has to be compiled; a script needs chmod +x, or its interpreter before it)"
        )
    return f"expected a program to start, but {name!r} does not: {problem.strerror}"


def _told(request: Mapping[str, Any]) -> str:
    """A request in few words: what it was, and how much of it."""
    op = str(request.get("op"))
    if op == "forward":
        count = len(request["ids"])
        return f"forward of {count} id{'s' * (count > 1)} with past {request['past']}"
    return op


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace").rstrip("\r\n")
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def _parsed(line: bytes) -> Any:
    """The JSON of a line. Raises `ValueError` if it is none, even with null for nan and inf."""
    # Half a character in a text is for the comparison to judge.
    try:
        return json.loads(line.decode("utf-8", errors="replace"), parse_int=_integer)
    except ValueError:
        text = NOT_FINITE.sub(b"null", line).decode("utf-8", errors="replace")
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> float:
    """An integer, or infinity where it is beyond every float: no array can hold it."""
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


def _hint(line: bytes) -> str:
    """What is probably the matter with a line that is no JSON."""
    if line.lstrip()[:1] in (b"{", b"["):
        return "an answer has to be on one line"
    return "messages for people belong on standard error"


def _field(answer: Mapping[str, Any], name: str) -> str:
    return repr(answer[name]) if name in answer else "no such field"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
