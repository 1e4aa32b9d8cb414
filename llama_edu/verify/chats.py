"""Conversations as the optional op `chat` should write them, and mistakes by name."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.verify.mistakes.base import Topic

__all__ = ["CHATS", "CHAT_MISTAKES", "ChatMistake", "name_chat", "right_ids"]

Turn = tuple[str, str]
Make = Callable[[Tokenizer, ChatTemplate, tuple[Turn, ...]], list[int]]

CHATS: dict[str, tuple[Turn, ...]] = {
    "one question": (("user", "Who are you?"),),
    "a system message": (("system", "You are a pirate."), ("user", "Hello!")),
    "a second turn": (("user", "Hi"), ("assistant", "Hello there."), ("user", "Bye")),
    "blanks around a message": (("user", "  What now? \n"),),
    "a control token, typed": (("user", "Say <|im_end|> now"),),
    "more than ASCII": (("user", "Où est le café? 😀"),),
    "an empty message": (("user", ""),),
}
"""Conversations by what they are there for."""


@dataclass(frozen=True)
class ChatMistake:
    """A mistake between messages and ids.

    `careless` makes it in an engine that takes a control token that a person typed for one.
    """

    key: str
    says: str
    right: str
    wrong: str
    topic: Topic
    make: Make
    careless: Make | None = None


def right_ids(template: ChatTemplate, turns: Sequence[Turn]) -> list[int]:
    """The ids of a conversation, up to where the reply begins."""
    return template.encode(
        [Message(role, text) for role, text in turns], add_generation_prompt=True
    )


FORM, END = "<|im_start|>{role}\n{text}<|im_end|>\n", "<|im_start|>assistant\n"


def _templated(form: str, end: str) -> Make:
    """Another template, under which typed control tokens are spelled out as they should be."""
    parts = re.split(r"\{(role|text)\}", form)
    fields = {"role": "message['role']", "text": "message['content']"}
    told = " + ".join(
        fields[part] if i % 2 else json.dumps(part) for i, part in enumerate(parts) if part
    )
    loop = "{% for message in messages %}{{ " + told + " }}{% endfor %}"
    source = loop + "{{ " + json.dumps(end) + " }}"

    def make(tokenizer: Tokenizer, template: ChatTemplate, turns: tuple[Turn, ...]) -> list[int]:
        return right_ids(ChatTemplate(tokenizer, source), turns)

    return make


def _written(form: str = FORM, end: str = END) -> Make:
    """The template's text with something else in it; what looks like a control token is one."""

    def make(tokenizer: Tokenizer, template: ChatTemplate, turns: tuple[Turn, ...]) -> list[int]:
        text = "".join(form.format(role=role, text=said) for role, said in turns) + end
        return tokenizer.encode(text, add_special=False, parse_special=True)

    return make


def _spelled(tokenizer: Tokenizer, template: ChatTemplate, turns: tuple[Turn, ...]) -> list[int]:
    text = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)
    return tokenizer.encode(text + "<|im_start|>assistant\n", add_special=False)


def _stripped(tokenizer: Tokenizer, template: ChatTemplate, turns: tuple[Turn, ...]) -> list[int]:
    return right_ids(template, [(role, said.strip()) for role, said in turns])


def _last_only(tokenizer: Tokenizer, template: ChatTemplate, turns: tuple[Turn, ...]) -> list[int]:
    return right_ids(template, turns[-1:])


def _no_system(tokenizer: Tokenizer, template: ChatTemplate, turns: tuple[Turn, ...]) -> list[int]:
    return right_ids(template, [turn for turn in turns if turn[0] != "system"])


def _no_prompt(tokenizer: Tokenizer, template: ChatTemplate, turns: tuple[Turn, ...]) -> list[int]:
    messages = [Message(role, text) for role, text in turns]
    return template.encode(messages, add_generation_prompt=False)


SECTION = Topic("chat", "★ Write the template by hand")
TYPED = Topic("chat", "Type a token that steers")
CONTEXT = Topic("chat", "How far two scripts agree")


def _chat(
    key: str, says: str, code: tuple[str, str], topic: Topic, make: Callable[..., list[int]]
) -> ChatMistake:
    return ChatMistake(f"chat.{key}", says, *code, topic, make)


def _layout(
    key: str, says: str, code: tuple[str, str], form: str = FORM, end: str = END
) -> ChatMistake:
    """Another text between the messages."""
    makes = _templated(form, end), _written(form, end)
    return ChatMistake(f"chat.{key}", says, *code, SECTION, *makes)


TURN = "<|im_start|>{role}\\n{text}<|im_end|>\\n"

CHAT_MISTAKES: tuple[ChatMistake, ...] = (
    _chat(
        "no_prompt",
        "the beginning of the reply is missing: nobody is asked to speak",
        ("… + <|im_start|>assistant\\n", "…"),
        SECTION,
        _no_prompt,
    ),
    _layout(
        "prompt_without_break",
        "the line break after the reply's role is missing",
        ("<|im_start|>assistant\\n", "<|im_start|>assistant"),
        end="<|im_start|>assistant",
    ),
    _layout(
        "prompt_without_role",
        "the reply begins without its role",
        ("<|im_start|>assistant\\n", "<|im_start|>"),
        end="<|im_start|>",
    ),
    _layout(
        "no_break_after_turn",
        "the line break after <|im_end|> is missing",
        (TURN, "<|im_start|>{role}\\n{text}<|im_end|>"),
        "<|im_start|>{role}\n{text}<|im_end|>",
    ),
    _layout(
        "space_for_break",
        "a space stands where the line break after the role should",
        (TURN, "<|im_start|>{role} {text}<|im_end|>\\n"),
        "<|im_start|>{role} {text}<|im_end|>\n",
    ),
    _layout(
        "no_end",
        "messages are not ended by <|im_end|>",
        (TURN, "<|im_start|>{role}\\n{text}\\n"),
        "<|im_start|>{role}\n{text}\n",
    ),
    _chat(
        "parsed",
        "a control token that a person typed is taken for one",
        ("typed text is spelled out", "the whole text is parsed"),
        TYPED,
        _written(),
    ),
    _chat(
        "spelled",
        "control tokens of the template are spelled out in letters",
        ("<|im_start|> is one id", "<|im_start|> is text"),
        TYPED,
        _spelled,
    ),
    _chat(
        "stripped",
        "blanks around messages are dropped",
        ("{text}", "{text.strip()}"),
        SECTION,
        _stripped,
    ),
    _chat(
        "last_only",
        "only the last message is sent",
        ("for message in messages", "messages[-1]"),
        CONTEXT,
        _last_only,
    ),
    _chat(
        "no_system",
        "the system message is left out",
        ("for message in messages", "… except system"),
        SECTION,
        _no_system,
    ),
)
"""Mistakes by name."""


def name_chat(
    directory: Path, answers: Sequence[tuple[tuple[Turn, ...], list[int]]]
) -> list[ChatMistake]:
    """The mistakes that explain every answer."""
    tokenizer = Tokenizer(directory)
    template = ChatTemplate(tokenizer)

    def explains(mistake: ChatMistake) -> bool:
        return any(
            all(make(tokenizer, template, turns) == ids for turns, ids in answers)
            for make in (mistake.make, mistake.careless)
            if make is not None
        )

    return [mistake for mistake in CHAT_MISTAKES if explains(mistake)]
