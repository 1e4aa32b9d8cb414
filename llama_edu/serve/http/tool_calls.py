"""Calls of tools in what a model writes, in the formats of Hermes and of Llama 3.1.

Hermes (and Qwen) put each call between marks, with any text before them:

    <tool_call>
    {"name": "weather", "arguments": {"city": "Paris"}}
    </tool_call>

Llama 3.1 writes a call and nothing else, its arguments as "parameters", behind `<|python_tag|>`
or not. A forced call is written as Hermes', without the marks.

Sources: https://github.com/NousResearch/Hermes-Function-Calling, README, "Prompt Format for
Function Calling"; Llama 3.1 model card and prompt formats, "JSON based tool calling".
"""

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from llama_edu.serve.output import open_end

__all__ = ["ToolCall", "ToolCallReader"]

OPENING, CLOSING, PYTHON_TAG = "<tool_call>", "</tool_call>", "<|python_tag|>"


@dataclass(frozen=True)
class ToolCall:
    """Which function is called, and with what, as JSON."""

    call_id: str
    name: str
    arguments: str

    def body(self) -> dict[str, Any]:
        """As OpenAI's API has it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.call_id, "type": "function", "function": function}


class ToolCallReader:
    """Parts the text of one reply, as it comes, from the calls in it.

    Text that may turn out to be a call is held back until that is settled: for Llama's format that
    is the whole text, if it begins like one.
    """

    def __init__(self, names: Collection[str]) -> None:
        """`names` are those of the tools; what calls any other is text."""
        self._names = frozenset(names)
        self._held = ""
        self._began = False

    def push(self, text: str) -> str:
        """The text that is certainly no call."""
        self._held += text
        if not self._began:
            start = self._held.lstrip()
            if any(_may_begin(start, mark) for mark in (OPENING, PYTHON_TAG, "{")):
                return ""
            self._began = True
        at = self._held.find(OPENING)
        if at < 0:
            at = len(self._held) - open_end(self._held, (OPENING,))
        shown, self._held = self._held[:at], self._held[at:]
        return shown

    def finish(self) -> tuple[str, list[ToolCall]]:
        """What text is left at the end, and the calls."""
        text, self._held = self._held, ""
        if OPENING in text:
            before, _, rest = text.partition(OPENING)
            calls = self._calls(rest, (CLOSING, OPENING))
            before = before if before.strip() else ""
        else:
            before = ""
            calls = self._calls(text.strip().removeprefix(PYTHON_TAG), (";",))
        return (before, calls) if calls else (text, [])

    def _calls(self, text: str, marks: Sequence[str]) -> list[ToolCall]:
        """The calls that a text consists of, with these marks between them; none if it does not.

        JSON says itself where it ends, since a mark may stand in its texts. After the last closing
        mark, anything may follow.
        """
        calls, at = [], 0
        while True:
            at += len(text[at:]) - len(text[at:].lstrip())
            try:
                content, at = json.JSONDecoder().raw_decode(text, at)
            except (ValueError, RecursionError):
                return []
            call = self._call(content)
            if call is None:  # no call after all: all of it is text
                return []
            calls.append(call)
            is_closed = False
            for mark in marks:
                rest = text[at:].lstrip()
                if rest.startswith(mark):
                    is_closed = mark == CLOSING
                    at = len(text) - len(rest) + len(mark)
            rest = text[at:]
            if not rest.strip():
                return calls
            if is_closed:  # and no other opens at once
                if OPENING not in rest:
                    return calls
                at += rest.index(OPENING) + len(OPENING)

    def _call(self, content: Any) -> ToolCall | None:
        if not isinstance(content, dict) or content.get("name") not in self._names:
            return None
        arguments = content.get("arguments", content.get("parameters", {}))
        if isinstance(arguments, str):
            written = arguments
        else:
            written = json.dumps(arguments, ensure_ascii=False)
        return ToolCall(f"call_{secrets.token_hex(12)}", content["name"], written)


def _may_begin(text: str, mark: str) -> bool:
    """Whether a text begins with the mark, or may, once it goes on."""
    return text.startswith(mark) or mark.startswith(text)
