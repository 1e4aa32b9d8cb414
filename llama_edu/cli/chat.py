"""A conversation in a terminal: messages in, replies out as they are made, slash commands.

Replies go to standard output, everything else to standard error. Without a terminal, each line of
standard input is a message, and the first error ends it.
"""

import contextlib
import difflib
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from llama_edu.chat.session import ChatSession
from llama_edu.chat.usage import usage_table
from llama_edu.cli.lines import PROMPT, messages
from llama_edu.cli.terminal import LEAVES, may_colour, one_line, printable, write_now
from llama_edu.errors import ContextError, InputError, LlamaEduError

__all__ = ["COMMANDS", "ChatCommand"]

COMMANDS = f"""\
/edit [N] TEXT   say TEXT in turn N (default: the last one), and go on from there
/retry           another reply to the last message
/undo            take back the last turn
/stats           what each turn reused, computed and dropped
/system [TEXT]   show the system prompt, or set another one; "/system -" removes it
/set [NAME VALUE]   show the settings, or change one, as in /set temperature 0.7
/save FILE       write the conversation, with its cache, to a file
/load FILE       go on with a saved conversation
/new             begin a new conversation
/help            this list
/quit            leave; so do /exit, /bye and {LEAVES}
Ctrl-C stops a reply and keeps what there is of it. To send a message that begins with a slash,
write two. A message of several lines stands between two \"\"\"; with prompt_toolkit installed,
Alt+Enter begins a line, too. What you type is kept for the next time; LLAMA_EDU_HISTORY=off keeps
nothing, and NO_COLOR=1 shows no colours.
"""
SAMPLING = {"temperature": float, "top_k": int, "top_p": float, "min_p": float}
SETTINGS = (*SAMPLING, "max_new_tokens", "overflow", "seed")
LEAVING = ("/quit", "/exit", "/bye")
QUIET, ALARM, PLAIN = "\x1b[2m", "\x1b[31m", "\x1b[0m"
WAYS_OUT = (
    "/undo takes back the last turn, /set overflow drop_oldest leaves out the oldest ones from "
    "here on, and /set max_new_tokens with a lower number asks for shorter replies"
)
HOW_IT_ENDED = {"done": "", "length": "; cut at its limit", "stopped": "; stopped"}


class ChatCommand:
    """Holds a conversation between standard input and a session until one side leaves."""

    def __init__(self, session: ChatSession) -> None:
        self.session = session
        self._interactive = sys.stdin.isatty()
        self._commands: dict[str, Callable[[str], None]] = {
            "edit": self._edit,
            "retry": lambda _: self._show(self.session.regenerate()),
            "undo": self._undo,
            "stats": self._stats,
            "system": self._system,
            "set": self._set,
            "save": self._save,
            "load": self._load,
            "new": self._new,
            "help": lambda _: _tell(COMMANDS.rstrip()),
        }

    def run(self) -> None:
        """Talk until `/quit` or the end of the input.

        Off a terminal the first problem is raised; on one it is told, and the conversation goes on.
        """
        if self._interactive:
            _tell(f"/help lists the commands. Ctrl-C stops a reply, {LEAVES} leaves.")
        for message in messages(_tell):
            if message.strip() in LEAVING:
                return
            try:
                self._answer(message)
            except ContextError as problem:
                if not self._interactive:
                    raise ContextError(f"{problem}; --overflow drop_oldest goes on") from problem
                _tell(f"error: {one_line(problem)}", ALARM)
                _tell(f"The conversation is full: {WAYS_OUT}.")
            except (LlamaEduError, OSError) as problem:
                if not self._interactive:
                    raise
                _tell(f"error: {one_line(problem)}", ALARM)
            except KeyboardInterrupt:  # outside of a reply: while a file is read, say
                if not self._interactive:
                    raise
                _tell("\nstopped")

    def _answer(self, line: str) -> None:
        if not line.startswith("/"):
            self._show(self.session.send(line))
        elif line.startswith("//"):
            self._show(self.session.send(line[1:]))
        else:
            name, _, argument = line[1:].partition(" ")
            command = self._commands.get(name.strip())
            if command is None:
                near = difflib.get_close_matches(name, [*self._commands, "quit"], 1)
                hint = f"did you mean /{near[0]}? " if near else ""
                raise InputError(
                    f"expected a command of /{', /'.join(self._commands)}, /quit, got /{name}; "
                    f"{hint}//{name} would send it"
                )
            command(argument.strip())

    def _show(self, pieces: Generator[str, None, None]) -> None:
        """Print a reply as it is made, then what it cost. Ctrl-C on a terminal stops it."""
        before, start, first = self.session.turns, time.perf_counter(), 0.0
        try:
            with contextlib.closing(pieces):
                for piece in pieces:
                    first = first or time.perf_counter()
                    write_now(piece)
        except KeyboardInterrupt:
            if not self._interactive:
                raise
        write_now("\n")
        if self.session.turns == before:
            _tell("stopped before the reply began")
            return
        turn = self.session.turns[-1]
        waited = f"; first text after {first - start:.2f} s" if first else ""
        _tell(f"[{turn.usage.in_words()}{waited}{HOW_IT_ENDED[turn.end]}]", QUIET)

    def _edit(self, argument: str) -> None:
        last = len(self.session.turns)
        number, _, text = argument.partition(" ")
        if not number.isdecimal():
            number, text = str(last), argument
        if not text.strip() or not last:
            raise InputError(
                f"expected /edit [N] TEXT with a turn N of {last} so far, got {argument!r}"
            )
        if not 1 <= int(number) <= last:
            raise InputError(f"expected a turn from 1 to {last}, got {number}")
        self._show(self.session.edit(int(number) - 1, text.strip()))

    def _undo(self, _: str) -> None:
        turns = self.session.turns
        if not turns:
            raise InputError("expected a turn to take back, got none yet")
        self.session.rollback(len(turns) - 1)
        _tell(f"took back: {printable(turns[-1].user)}")

    def _new(self, _: str) -> None:
        self.session.rollback(0)
        _tell("a new conversation")

    def _stats(self, _: str) -> None:
        for line in usage_table(turn.usage for turn in self.session.turns):
            _tell(line)

    def _system(self, text: str) -> None:
        if text:
            self.session.system = None if text == "-" else text
        _tell(f"system prompt: {printable(self.session.system or 'none')}")

    def _set(self, argument: str) -> None:
        name, _, value = argument.partition(" ")
        name, value = name.replace("-", "_"), value.strip()
        if name and (name not in SETTINGS or not value):
            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"; did you mean {near[0]}?" if near and near[0] != name else ""
            raise InputError(
                f"expected /set NAME VALUE with a name of {', '.join(SETTINGS)}, "
                f"got /set {argument}{hint}"
            )
        session = self.session
        if name in SAMPLING:
            changed: dict[str, Any] = {name: _number(name, value, SAMPLING[name])}
            session.sampling = replace(session.sampling, **changed)
        elif name == "seed":
            session.reseed(int(_number(name, value, int)))
        elif name == "max_new_tokens":
            session.max_new_tokens = int(_number(name, value, int))
        elif name == "overflow":
            session.overflow = value
        shown = {one: getattr(session.sampling, one) for one in SAMPLING}
        shown |= {"max_new_tokens": session.max_new_tokens, "overflow": session.overflow}
        if name == "seed":
            shown = {name: value}
        for one, now in shown.items():
            if not name or one == name:
                _tell(f"{one}: {now}")

    def _save(self, path: str) -> None:
        self._check_file(path, "save")
        self.session.save(path)
        _tell(f"saved {len(self.session.turns)} turns to {path}")

    def _load(self, path: str) -> None:
        self._check_file(path, "load")
        old = self.session
        self.session = ChatSession.load(
            path, old.model, old.tokenizer, template=old.template, guesser=old.guesser
        )
        for turn in self.session.turns:
            _tell(f"{PROMPT}{printable(turn.user)}")
            _tell(printable(turn.reply))
        cached = len(self.session.cached_ids)
        _tell(f"loaded {len(self.session.turns)} turns; {cached} positions are cached")

    @staticmethod
    def _check_file(path: str, command: str) -> None:
        if not path:
            raise InputError(f"expected a file name after /{command}, got none")


def _number(name: str, value: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(value)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"expected {wanted} as {name}, got {value!r}") from None


def _tell(text: str, colour: str = "") -> None:
    if colour and may_colour(sys.stderr):
        text = f"{colour}{text}{PLAIN}"
    print(text, file=sys.stderr, flush=True)
