"""A conversation in a notebook: `chat_widget(session)`, on ipywidgets (extra `widget`).

The reply is made in a thread, so that the kernel stays free to hear the Stop button. What people
and models say is put on the page as text, never as HTML. Under the conversation the usage of its
turns is drawn, one by one.
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

from llama_edu.chat.session import ChatSession, Turn
from llama_edu.errors import LlamaEduError
from llama_edu.viz.chat.turns import MAX_TURNS, turn_timeline
from llama_edu.viz.parts.html import escape

try:
    import ipywidgets  # type: ignore[import-untyped]
except ImportError as problem:
    raise ImportError("chat_widget needs ipywidgets: pip install 'llama_edu[widget]'") from problem

__all__ = ["ChatWidget", "chat_widget"]

# ipywidgets sets every line as high as a button.
LINES = '<div style="line-height:1.5"{}>{}</div>'
BUBBLE = (
    "margin:.4em 0;padding:.4em .7em;border-radius:.6em;white-space:pre-wrap;max-width:85%;"
    "width:fit-content;overflow-wrap:anywhere;line-height:1.5;"
    "border:1px solid color-mix(in srgb,currentColor 25%,transparent)"
)
MINE = BUBBLE + ";margin-left:auto;background:color-mix(in srgb,currentColor 9%,transparent)"


def chat_widget(session: ChatSession) -> "ChatWidget":
    """Show a session in a notebook, with a place to write and what each of its turns used.

    The session can be used from code as well, but not while a reply is under way.
    """
    return ChatWidget(session)


class ChatWidget:
    """The widgets of one conversation. A notebook shows it when it is last in a cell."""

    def __init__(self, session: ChatSession) -> None:
        self.session = session
        self.transcript = ipywidgets.HTML()
        self.usage = ipywidgets.HTML()
        self.status = ipywidgets.HTML()
        # "auto" fills the row; 100 % and the margins are wider than it, and the edge is cut off.
        wide = ipywidgets.Layout(width="auto", height="4em")
        self.message = ipywidgets.Textarea(placeholder="Write a message", layout=wide)
        self.send = self._button("Send", self._send)
        self.send.button_style = "primary"
        self.stop = self._button("Stop", lambda: self._stopping.set())
        self.retry = self._button("Retry", self._retry, "Make the last reply again")
        self.undo = self._button("Undo", self._undo, "Take the last message back, to mend it")
        buttons = ipywidgets.HBox(
            [self.send, self.stop, self.retry, self.undo],
            layout=ipywidgets.Layout(flex_flow="row wrap"),
        )
        self.box = ipywidgets.VBox(
            [self.transcript, self.message, buttons, self.status, self.usage]
        )
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._show()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    def wait(self) -> None:
        """Return when the reply under way is finished."""
        if self._thread is not None:
            self._thread.join()

    def _button(self, name: str, act: Callable[[], None], hint: str = "") -> Any:
        layout = ipywidgets.Layout(width="5em", height="auto", min_height="40px")
        button = ipywidgets.Button(description=name, tooltip=hint or name, layout=layout)

        def clicked(_: Any) -> None:
            try:
                act()
            except LlamaEduError as problem:
                self._tell(str(problem))

        button.on_click(clicked)
        return button

    def _send(self) -> None:
        text = self.message.value
        if not text.strip():
            self._tell("Write a message first.")
            return
        pieces = self.session.send(text)
        self.message.value = ""  # only now: a message that was refused stays to be mended
        self._reply(self.session.turns, text, pieces)

    def _retry(self) -> None:
        pieces = self.session.regenerate()
        self._reply(self.session.turns[:-1], self.session.turns[-1].user, pieces)

    def _undo(self) -> None:
        taken = self.session.turns[-1].user
        self.session.rollback(len(self.session.turns) - 1)
        if not self.message.value.strip():  # what is being written there is worth more
            self.message.value = taken
        self._show()

    def _reply(self, kept: Sequence[Turn], text: str, pieces: Generator[str, None, None]) -> None:
        self._stopping.clear()
        said = [*_said(kept), (MINE, text)]
        self._show_busy(said, "")
        self._thread = threading.Thread(target=self._make, args=(said, pieces), daemon=True)
        self._thread.start()

    def _make(self, said: list[tuple[str, str]], pieces: Generator[str, None, None]) -> None:
        """In the thread: put the reply on the page as it is made."""
        reply, problem = "", ""
        try:
            with contextlib.closing(pieces):
                for piece in pieces:
                    reply += piece
                    self._show_busy(said, reply)
                    if self._stopping.is_set():
                        break
        except Exception as raised:  # a thread has nobody else to tell
            problem = f"{type(raised).__name__}: {raised}"
        self._show(problem)

    def _show_busy(self, said: list[tuple[str, str]], reply: str) -> None:
        self.transcript.value = _log([*said, (BUBBLE, reply or "…")])
        for button in (self.send, self.retry, self.undo):
            button.disabled = True
        self.stop.disabled = False
        self._tell("")

    def _show(self, problem: str = "") -> None:
        """The conversation as it stands, with nothing under way."""
        turns = self.session.turns
        self.transcript.value = _log(_said(turns))
        self.send.disabled, self.stop.disabled = False, True
        self.retry.disabled = self.undo.disabled = not turns
        self._tell(problem or (_account(turns[-1]) if turns else ""))
        # The oldest turns scroll out of the figure, not out of the conversation.
        shown = [turn.usage for turn in turns[-MAX_TURNS:]]
        picture = turn_timeline(shown)._repr_html_() if shown else ""
        self.usage.value = LINES.format("", picture) if shown else ""

    def _tell(self, text: str) -> None:
        self.status.value = LINES.format(' role="status"', escape(text))


def _account(turn: Turn) -> str:
    """What a turn cost, and why its reply ended if the model did not end it."""
    ends = {"done": "", "length": "; cut at its limit", "stopped": "; stopped"}
    return turn.usage.in_words() + ends[turn.end]


def _said(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    return [part for turn in turns for part in ((MINE, turn.user), (BUBBLE, turn.reply))]


def _log(said: list[tuple[str, str]]) -> str:
    bubbles = "".join(f'<div style="{style}">{escape(text)}</div>' for style, text in said)
    return f'<div role="log" aria-label="Conversation">{bubbles}</div>'
