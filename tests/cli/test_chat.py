"""The terminal chat: through a pipe, and on a pseudo-terminal with somebody at the keyboard."""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llama_edu import ChatSession, Llama, Tokenizer
from llama_edu.chat.template import ChatTemplate
from llama_edu.cli import lines
from llama_edu.cli import main as cli
from llama_edu.cli.chat import ChatCommand

GREEDY = ("--temperature", "0", "--max-new-tokens", "60")


def chat(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *lines: str | bytes,
    options: tuple[str, ...] = GREEDY,
) -> tuple[int, list[str], str]:
    """Exit code, lines of standard output, and all of standard error."""
    data = b"".join(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    try:
        code = cli.main(["chat", *options])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


class TestThroughAPipe:
    @pytest.fixture
    def say(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
        return lambda *lines, **options: chat(capsys, monkeypatch, *lines, **options)

    def test_replies_go_out_and_the_usage_beside_them(self, say: Any) -> None:
        code, replies, err = say("Hello! My name is Ana.", "", "   ", "What is my name?")
        assert code == 0
        assert len(replies) == 2  # blank lines are no messages
        assert all("Ana" in reply for reply in replies)
        usages = re.findall(r"\[(\d+) prompt tokens = (\d+) reused \+ (\d+) computed", err)
        assert int(usages[0][1]) == 0
        assert int(usages[1][1]) > int(usages[0][0])

    def test_the_same_as_a_session(self, say: Any) -> None:
        model, tokenizer = Llama.from_pretrained("chat"), Tokenizer.from_pretrained("chat")
        session = ChatSession(model, tokenizer, max_new_tokens=60, system="You are Max.")
        texts = ["Hello!", "What is 2 + 3?"]
        want = ["".join(session.send(text)) for text in texts]
        assert say(*texts, options=(*GREEDY, "--system", "You are Max."))[1] == want

    def test_every_command(self, say: Any, tmp_path: Path) -> None:
        file = tmp_path / "a.chat"
        code, replies, err = say(
            "Hello! My name is Ana.",
            "What is my name?",
            "/edit 1 Hello! My name is Ben.",
            "What is my name?",
            "/retry",
            f"/save {file}",
            "/undo",
            "/edit Hello! My name is Eva.",
            "/stats",
            f"/load {file}",
            "What is my name?",
            "/system You are Max.",
            "/system",
            "/system -",
            "/help",
            "/quit",
            "never read",
        )
        assert code == 0, err
        names = [re.search("Ana|Ben|Eva", reply) for reply in replies]
        assert [name[0] if name else None for name in names] == [
            *("Ana", "Ana", "Ben", "Ben", "Ben", "Eva", "Ben")
        ]
        assert "dropped: edited" in err
        assert "dropped: regenerated" in err
        assert "took back: What is my name?" in err
        assert "saved 2 turns" in err
        assert "loaded 2 turns" in err
        assert "> Hello! My name is Ben." in err  # what was said so far
        assert re.search(r"turn +prompt +reused +computed +new +dropped +why\n +1 ", err)
        assert err.count("system prompt: You are Max.") == 2
        assert "system prompt: none" in err
        assert "/undo            take back the last turn" in err

    def test_a_conversation_goes_on_in_another_process(self, say: Any, tmp_path: Path) -> None:
        say("Hello! My name is Ana.", f"/save {tmp_path / 'a.chat'}")
        code, replies, err = say("What is my name?", options=("--load", f"{tmp_path / 'a.chat'}"))
        assert (code, len(replies)) == (0, 1)
        assert "Ana" in replies[0]
        assert " 0 reused" not in err

    @pytest.mark.parametrize("options", [("--guess",), ("--draft", "chat")])
    def test_guessing_ahead_changes_no_greedy_reply(
        self, say: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        held: list[ChatCommand] = []

        class Held(ChatCommand):
            def __init__(self, session: ChatSession) -> None:
                super().__init__(session)
                held.append(self)

        monkeypatch.setattr(cli, "ChatCommand", Held)
        file = tmp_path / "a.chat"
        told = ["Hello! My name is Ana.", "What is my name?", f"/save {file}", "/edit 1 Hi!"]
        told += [f"/load {file}", "What is my name?", "/retry"]
        plain = say(*told)[1]
        assert say(*told, options=(*GREEDY, *options))[:2] == (0, plain)
        assert len(plain) == 5
        last = held[1].session.guesser
        assert last is not None  # also in the session that was loaded
        assert last.tally.kept > 0
        assert say("Hello!", options=("--load", str(file), *options))[0] == 0
        assert held[2].session.guesser is not None

    def test_settings_are_shown_and_changed(self, say: Any) -> None:
        code, replies, err = say(
            "/set temperature 0.7",
            "/set top-k 3",
            "/set max_new_tokens 2",
            "/set seed 5",
            "Hello!",
            "/set",
        )
        assert code == 0, err
        assert len(replies) == 1
        assert "2 new; " in err
        assert "cut at its limit" in err
        told = err.splitlines()
        assert told[:4] == ["temperature: 0.7", "top_k: 3", "max_new_tokens: 2", "seed: 5"]
        assert told[-6:] == [
            *("temperature: 0.7", "top_k: 3", "top_p: 0.95", "min_p: 0.0"),
            *("max_new_tokens: 2", "overflow: refuse"),
        ]

    def test_a_message_of_several_lines_is_one(
        self, say: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, replies, err = say('"""Hello!', "My name is Ana.", '"""', "/undo")
        assert (code, len(replies)) == (0, 1)
        assert "took back: Hello!\\nMy name is Ana." in err
        code, _, err = say('"""never ended')
        assert code == 1
        assert 'expected """ at the end of a message, got none' in err

    def test_a_full_context_names_the_way_out(self, say: Any) -> None:
        code, _, err = say("word " * 1100)
        assert code == 1
        assert "--overflow drop_oldest" in err

    @pytest.mark.parametrize("leave", ["/exit", "/bye"])
    def test_a_new_conversation_knows_nothing_of_the_old_one(self, say: Any, leave: str) -> None:
        code, replies, err = say(
            "Hello! My name is Ana.", "/new", "/stats", "Hi!", leave, "no more"
        )
        assert (code, len(replies)) == (0, 2)
        assert "a new conversation" in err
        assert "Ana" not in replies[1]

    def test_two_slashes_send_one(self, say: Any) -> None:
        code, replies, err = say("//hello", "/edit 1 //x", "/undo")
        assert (code, len(replies)) == (0, 2)
        assert "took back: //x" in err  # behind a command, text is text

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("/dance", "expected a command of /edit, .*/quit, got /dance; //dance would send it"),
            ("/undu", r"got /undu; did you mean /undo\? //undu would send it"),
            ("/set temprature 1", r"got /set temprature 1; did you mean temperature\?"),
            ("/", "got /"),
            ("/retry", "expected a turn whose reply to make again, got none"),
            ("/undo", "expected a turn to take back, got none"),
            ("/set heat 3", "expected /set NAME VALUE with a name of temperature, top_k"),
            ("/set temperature warm", "expected a number as temperature, got 'warm'"),
            ("/set temperature -1", "expected a temperature of at least 0, got -1"),
            ("/set max_new_tokens 9999", "expected max_new_tokens from 1 to 1023"),
            ("/set overflow never", "expected overflow of refuse, drop_oldest, got 'never'"),
            ("/edit", r"expected /edit \[N\] TEXT"),
            ("/edit 1 x", r"expected /edit \[N\] TEXT with a turn N of 0 so far"),
            ("/save", "expected a file name after /save, got none"),
            ("/load", "expected a file name after /load, got none"),
            ("/load none.chat", "expected a saved conversation, got none.chat"),
            ("/save /no/such/folder/a.chat", "expected a file or a folder there, got none"),
            (b"\xff\xfe\n", "expected UTF-8 text on standard input"),
            ("word " * 900, "expected a conversation of at most 964 tokens"),
        ],
    )
    def test_a_problem_ends_it_with_one_line(
        self, say: Any, line: str | bytes, message: str
    ) -> None:
        code, replies, err = say(line, "Hello!")
        assert (code, replies) == (1, [])
        assert re.search(f"^error: .*{message}", err)
        assert err.count("\n") == 1

    @pytest.mark.parametrize("turn", ["0", "2"])
    def test_editing_a_turn_that_is_not_there(self, say: Any, turn: str) -> None:
        code, _, err = say("Hello!", f"/edit {turn} x")
        assert code == 1
        assert f"expected a turn from 1 to 1, got {turn}" in err

    def test_a_model_that_was_not_taught_to_talk(self, say: Any) -> None:
        code, replies, err = say("Hello!", options=("story",))
        assert (code, replies) == (1, [])
        assert "expected a chat template" in err

    @pytest.mark.parametrize(
        "options",
        [
            ["--temperature", "-1"],
            ["--max-new-tokens", "0"],
            ["--overflow", "forget"],
            ["--seed", "-1"],
            ["--load", "a.chat", "--system", "You are Max."],
        ],
    )
    def test_wrong_usage(self, say: Any, options: list[str]) -> None:
        code, _, err = say(options=tuple(options))
        assert code == 2
        assert err.startswith("usage: ")

    def test_the_oldest_turns_go_when_asked_to(self, say: Any) -> None:
        long = "My favourite colour is green. " * 25
        options = (*GREEDY, "--max-new-tokens", "400", "--overflow", "drop_oldest")
        code, replies, err = say(long, long, long, long, options=options)
        assert (code, len(replies)) == (0, 4)
        assert re.search(r"dropped: overflow; oldest (\d )?turns? left out", err)


# The keyboard. `pty` gives a terminal whose other end the test holds.

pytest_pty = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are of POSIX systems")

# The same command with a model that takes its time, so that there is a reply to stop.
SLOW = """
import sys, time
from llama_edu.cli import main as cli
from llama_edu import Llama
forward = Llama.forward
def slowly(*args, **options):
    time.sleep(0.2)
    return forward(*args, **options)
Llama.forward = slowly
sys.exit(cli.main(sys.argv[1:]))
"""


class Keyboard:
    """A process on a pseudo-terminal: type at it, and wait for what it shows."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        import fcntl
        import pty
        import termios

        self._end, terminal = pty.openpty()

        def take_terminal() -> None:  # so that Ctrl-C reaches the process
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=take_terminal,
            env={**os.environ, "TERM": "dumb", "LLAMA_EDU_HISTORY": "off", **environment},
        )
        os.close(terminal)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait_for(self, pattern: str, seconds: float = 240) -> str:
        """What was shown up to a match, which is then behind us."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            ready, _, _ = select.select([self._end], [], [], deadline - time.monotonic())
            assert ready, f"waited for {pattern!r} and saw {self.shown!r}"
            try:
                data = os.read(self._end, 4096)
            except OSError:  # how Linux says that nobody is there any more
                data = b""
            assert data, f"it left; waited for {pattern!r} and saw {self.shown!r}"
            self.shown += data.decode(errors="replace")
        seen, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return seen

    def press_until(self, key: str, pattern: str) -> None:
        """Press a key again and again until it works.

        Python loses a Ctrl-C that comes just before readline begins to wait for the next key.
        """
        for _ in range(60):
            self.type(key)
            with contextlib.suppress(AssertionError):
                self.wait_for(pattern, seconds=4)
                return
        self.wait_for(pattern)

    def leave(self) -> int:
        """Read until it is gone, so that it never waits for us."""
        deadline = time.monotonic() + 120
        with contextlib.suppress(OSError):
            while select.select([self._end], [], [], max(0, deadline - time.monotonic()))[0]:
                if not os.read(self._end, 4096):
                    break
        return self.process.wait(timeout=60)


@pytest.fixture
def keyboard() -> Any:
    started: list[Keyboard] = []

    def start(*arguments: str, **environment: str) -> Keyboard:
        started.append(Keyboard(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        os.close(one._end)


@pytest_pty
class TestAtTheKeyboard:
    def test_a_conversation_and_its_mistakes(self, keyboard: Any) -> None:
        terminal = keyboard("-m", "llama_edu", "chat", *GREEDY)
        terminal.wait_for("/help lists the commands")
        terminal.wait_for("> ")
        terminal.type("Hello! My name is Ana.\n")
        assert terminal.wait_for(r"\[\d+ prompt tokens").count("Ana") == 2  # its echo, its reply
        terminal.wait_for("> ")
        terminal.type("/dance\n")
        terminal.wait_for("error: expected a command")  # and it goes on
        terminal.type("/set max_new_tokens 1020\n")
        terminal.type("Hello!\n")
        terminal.wait_for("The conversation is full: /undo takes back")
        terminal.type("/set max_new_tokens 60\n")
        terminal.type("What is my name?\n")
        terminal.wait_for(r"\[\d+ prompt tokens = [1-9]\d* reused")
        terminal.wait_for("> ")
        terminal.type("\x04")  # Ctrl-D, which means something only to who is reading
        assert terminal.leave() == 0

    def test_ctrl_c_stops_the_reply_and_keeps_the_conversation(self, keyboard: Any) -> None:
        terminal = keyboard("-c", SLOW, "chat", *GREEDY)
        terminal.wait_for("> ")
        terminal.type("Tell me a story.\n")
        terminal.wait_for(r"story\.\s+\w+")  # it has begun
        terminal.type("\x03")
        terminal.wait_for(r"\[\d+ prompt tokens .*; stopped\]")
        terminal.type("/stats\n")
        terminal.wait_for(r"\n +1 ")
        terminal.type("Hello!\n")
        terminal.wait_for(r"\[\d+ prompt tokens = [1-9]\d* reused")
        terminal.type("/quit\n")
        assert terminal.leave() == 0

    def test_ctrl_c_at_the_prompt_only_clears_the_line(self, keyboard: Any) -> None:
        terminal = keyboard("-m", "llama_edu", "chat", *GREEDY)
        terminal.wait_for("> ")
        terminal.type("half a mess")
        terminal.wait_for("half a mess")
        terminal.press_until("\x03", "Ctrl-D leaves")
        terminal.wait_for("> ")
        terminal.type("/stats\n")
        terminal.wait_for(r"all +0")
        terminal.type("/quit\n")
        assert terminal.leave() == 0

    @pytest.mark.parametrize("kind", ["dumb", "xterm"])  # readline, prompt_toolkit
    def test_what_was_typed_comes_back_with_the_arrow_in_another_session(
        self, keyboard: Any, tmp_path: Path, kind: str
    ) -> None:
        pytest.importorskip("readline" if kind == "dumb" else "prompt_toolkit")
        prompt = "> " if kind == "dumb" else ">\x08"  # an editor moves the cursor
        where = {"TERM": kind, "LLAMA_EDU_HISTORY": f"{tmp_path / 'new' / 'history'}"}
        where["PROMPT_TOOLKIT_NO_CPR"] = "1"  # nobody here answers where the cursor is
        for line in ("/system You are Max.\r", "\x1b[A\x1b[A\r"):  # up, up: over /quit
            terminal = keyboard("-m", "llama_edu", "chat", *GREEDY, **where)
            terminal.wait_for(prompt)
            terminal.type(line)
            terminal.wait_for(r"system prompt: You are Max\.")
            terminal.wait_for(prompt)
            if kind == "xterm" and line[0] == "/":  # Alt+Enter, or a paste, begins a line
                terminal.type("/system one\x1b\rtwo\r")
                terminal.wait_for(r"system prompt: one\\ntwo")
                terminal.type("\x1b[200~/system three\nfour\x1b[201~\r")
                terminal.wait_for(r"system prompt: three\\nfour")
                terminal.type("\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\r")
                terminal.wait_for(r"system prompt: You are Max\.")
            terminal.type("/quit\r")
            assert terminal.leave() == 0


def test_a_template_is_looked_for_before_the_weights_are_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Llama, "from_pretrained", lambda *_: pytest.fail("read the weights"))
    assert chat(capsys, monkeypatch, "Hello!", options=("story",))[0] == 1
    assert ChatTemplate(Tokenizer.from_pretrained("chat"))


class OnATerminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


def test_where_no_editor_can_be_used_the_terminal_itself_reads(monkeypatch: Any) -> None:
    """As in some consoles of Windows: prompt_toolkit is there, and raises when it begins."""

    def broken(*args: Any, **options: Any) -> None:
        raise RuntimeError("no console screen buffer")

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LLAMA_EDU_HISTORY", "off")
    monkeypatch.setitem(sys.modules, "readline", None)  # as on Windows
    monkeypatch.setitem(sys.modules, "prompt_toolkit", SimpleNamespace(PromptSession=broken))
    monkeypatch.setattr(sys, "stdin", OnATerminal("Hello\n\nBye\n"))
    monkeypatch.setattr(sys, "stdout", OnATerminal())
    assert list(lines.messages(lambda _: None)) == ["Hello", "Bye"]


def interrupted(*arguments: Any, **options: Any) -> Any:
    raise KeyboardInterrupt


class StoppedSession(SimpleNamespace):
    """A conversation in which everything takes so long that Ctrl-C is pressed."""

    turns = ()

    def send(self, message: str) -> Iterator[str]:
        yield from interrupted()


@pytest.mark.parametrize(
    ("line", "told"),
    [("Hello!", "stopped before the reply began"), ("/load a.chat", "stopped")],
)
def test_ctrl_c_stops_what_is_being_done_and_off_a_terminal_all(
    line: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llama_edu.cli.chat.ChatSession.load", interrupted)
    for kind in (OnATerminal, io.StringIO):
        text = f"{line}\n/quit\n"
        stream = kind(text)
        monkeypatch.setattr(stream, "buffer", io.BytesIO(text.encode()), raising=False)
        monkeypatch.setattr(sys, "stdin", stream)
        command = ChatCommand(
            StoppedSession(model=None, tokenizer=None, template=None, guesser=None)
        )
        if stream.isatty():
            command.run()
            assert told in capsys.readouterr().err
        else:
            with pytest.raises(KeyboardInterrupt):
                command.run()


def test_off_a_terminal_ctrl_c_at_the_prompt_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "buffer", SimpleNamespace(readline=interrupted), raising=False)
    monkeypatch.setattr(sys, "stdin", stream)
    with pytest.raises(KeyboardInterrupt):
        list(lines.messages(lambda _: None))


def test_what_was_typed_is_kept_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_EDU_HISTORY", "off")
    assert lines.history_file() is None
    monkeypatch.setenv("LLAMA_EDU_HISTORY", str(tmp_path / "mine"))
    assert lines.history_file() == tmp_path / "mine"
    monkeypatch.delenv("LLAMA_EDU_HISTORY")
    assert lines.history_file().parts[-2:] == ("llama_edu", "chat_history")


def test_errors_stand_out_where_there_are_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdin", OnATerminal())
    monkeypatch.setattr(sys.stdin, "buffer", io.BytesIO(b"/dance\n"), raising=False)
    told = OnATerminal()
    monkeypatch.setattr(sys, "stderr", told)
    ChatCommand(StoppedSession()).run()
    (error,) = [line for line in told.getvalue().splitlines() if "error: " in line]
    assert re.fullmatch(r"(> )?\x1b\[31merror: expected a command .*\x1b\[0m", error)
