"""Messages from a person at a terminal, or from a pipe: one line each, or several between marks.

On a terminal the lines can be edited, and those of earlier sessions come back with the arrow.
prompt_toolkit does that where it is installed (the extra `terminal`), with Alt+Enter for another
line and pasted text kept whole; else readline, where Python has it; else the terminal itself.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from llama_edu.cli.terminal import LEAVES, may_colour
from llama_edu.errors import InputError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

__all__ = ["PROMPT", "SEVERAL", "history_file", "messages"]

PROMPT = "> "
MORE = ". "
SEVERAL = '"""'
"""What stands before and after a message of several lines."""

HISTORY_VARIABLE = "LLAMA_EDU_HISTORY"
HISTORY_LINES = 1000  # of readline; prompt_toolkit keeps all


def history_file() -> Path | None:
    """Where what was typed is kept between sessions; None if the user wants nothing kept."""
    chosen = os.environ.get(HISTORY_VARIABLE)
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_path("llama_edu", False)) / "chat_history"


def messages(tell: Callable[[str], None]) -> Iterator[str]:
    """Messages that are not blank, until the input ends.

    `tell` says something to the person at the terminal. Ctrl-C there forgets what was begun; off a
    terminal it leaves as `KeyboardInterrupt`. Raises `InputError` for input that is no UTF-8, or
    that ends within a message of several lines.
    """
    interactive = sys.stdin.isatty()
    with contextlib.ExitStack() as at_the_end:
        read = _reader(interactive, at_the_end)
        while True:
            try:
                message = _message(read)
            except KeyboardInterrupt:
                if not interactive:
                    raise
                tell(f"\n{LEAVES} leaves")
                continue
            except EOFError:
                if interactive:
                    tell("")
                return
            if message.strip():
                yield message


def _message(read: Callable[[str], str]) -> str:
    """One line, or what stands between two `SEVERAL`."""
    line = read(PROMPT)
    if not line.startswith(SEVERAL):
        return line
    lines = [line.removeprefix(SEVERAL)]
    while not lines[-1].endswith(SEVERAL):
        try:
            lines.append(read(MORE))
        except EOFError:
            raise InputError(f"expected {SEVERAL} at the end of a message, got none") from None
    lines[-1] = lines[-1].removesuffix(SEVERAL)
    return "\n".join(lines).strip("\n")


def _reader(interactive: bool, at_the_end: contextlib.ExitStack) -> Callable[[str], str]:
    """A function that reads a line after a prompt, and raises `EOFError` at the end."""
    if not (interactive and sys.stdout.isatty()):
        return lambda prompt: _plain(prompt if interactive else "")
    if os.environ.get("TERM") != "dumb":
        # Any other: a console of Windows that no editor can use, as under mintty.
        with contextlib.suppress(ImportError, Exception):
            session = _session()
            return lambda prompt: str(session.prompt(prompt))
    with contextlib.suppress(ImportError):  # Windows has no readline
        _use_readline(at_the_end)
    return input


def _plain(prompt: str) -> str:
    """A line of bytes; the prompt goes where it does not mix with replies that go to a file."""
    if prompt:
        print(prompt, end="", file=sys.stderr, flush=True)
    data = sys.stdin.buffer.readline()
    if not data:
        raise EOFError
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as problem:
        raise InputError(f"expected UTF-8 text on standard input, got {problem}") from problem


def _session() -> "PromptSession[str]":
    """prompt_toolkit's editor: Enter sends, Alt+Enter begins a line."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.output import ColorDepth

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    path = history_file()
    history: History = InMemoryHistory()
    if path is not None:
        with contextlib.suppress(OSError):  # nowhere to keep it: it lasts as long as this session
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            history = FileHistory(str(path))
    return PromptSession(
        history=history,
        key_bindings=keys,
        multiline=True,
        prompt_continuation=MORE,
        color_depth=None if may_colour(sys.stdout) else ColorDepth.DEPTH_1_BIT,
    )


def _use_readline(at_the_end: contextlib.ExitStack) -> None:
    """Let `input` have an editor and a history that outlasts the session."""
    import readline

    path = history_file()
    if path is None:
        return
    own = path.with_name(path.name + "_readline")  # the two libraries write in different ways
    readline.clear_history()
    with contextlib.suppress(OSError):  # there is none yet, or it cannot be read
        readline.read_history_file(own)

    def keep() -> None:
        with contextlib.suppress(OSError):
            own.parent.mkdir(parents=True, exist_ok=True)
            own.touch(mode=0o600)
            readline.set_history_length(HISTORY_LINES)
            readline.write_history_file(own)

    at_the_end.callback(keep)
