"""Exercises on conversations: a template, replies as ids, and what to forget."""

from collections.abc import Callable, Sequence

import numpy as np

from llama_edu.exercises.framework.draw import pick, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant

Ids = list[int]
Talk = list[tuple[str, str]]


# ★ chatml(messages) -> the text of a prompt that asks for a reply


def _chatml(messages: Talk) -> str:
    turns = [f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def _chatml_loop(messages: Talk) -> str:
    text = ""
    for role, content in [*messages, ("assistant", None)]:
        text += "<|im_start|>" + role + "\n"
        if content is not None:
            text += content + "<|im_end|>\n"
    return text


def _chatml_no_prompt(messages: Talk) -> str:
    return _chatml(messages).removesuffix("<|im_start|>assistant\n")


def _chatml_no_break(messages: Talk) -> str:
    turns = [f"<|im_start|>{role}\n{content}<|im_end|>" for role, content in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def _chatml_space(messages: Talk) -> str:
    turns = [f"<|im_start|>{role} {content}<|im_end|>\n" for role, content in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def _chatml_closed(messages: Talk) -> str:
    return _chatml(messages) + "<|im_end|>\n"


def _chatml_last_only(messages: Talk) -> str:
    return _chatml(messages[-1:])


def _chatml_trimmed(messages: Talk) -> str:
    return _chatml([(role, content.strip()) for role, content in messages])


def _chatml_cases() -> list[Case]:
    system = ("system", "You are Max.")
    long = [system, ("user", "Hello!"), ("assistant", "Hi.\n"), ("user", "  code:\n    x = 1 ")]
    return [
        Case("one question", ([("user", "Hello!")],)),
        Case("a system prompt and a question", ([system, ("user", "Who are you?")],)),
        Case("two turns, with blanks that count", (long,)),
    ]


def _chatml_drawn(rng: np.random.Generator) -> list[Case]:
    said = ["Hello!", " so ", "\n", "x = 1\n", "Who?", "a  b"]
    roles = ["system", *["user", "assistant"] * whole(rng, 1, 2), "user"]
    messages = list(zip(roles, pick(rng, said, len(roles)), strict=True))
    return [Case("another conversation", (messages,))]


CHATML = Exercise(
    name="chatml",
    topic="chat",
    books=("llama_edu.chat.template.ChatTemplate.render",),
    stars=1,
    task="Write a conversation as the text of a ChatML prompt that asks for the next reply.",
    section="A script with the speakers' names",
    cases=_chatml_cases,
    drawn=_chatml_drawn,
    correct=(_chatml, _chatml_loop),
    mutants=(
        Mutant(
            "no_generation_prompt",
            _chatml_no_prompt,
            "when nothing asks for a reply: the model may go on as the user",
            "https://github.com/huggingface/smolagents/issues/993",
        ),
        Mutant(
            "no_line_break", _chatml_no_break, "when the line break after <|im_end|> is missing"
        ),
        Mutant("space", _chatml_space, "when a space stands after the role, not a line break"),
        Mutant("closed", _chatml_closed, "when the reply is closed before it began"),
        Mutant("last_message", _chatml_last_only, "when only the last message is sent"),
        Mutant("trimmed", _chatml_trimmed, "when messages are trimmed and the template does not"),
        Mutant(
            "colon",
            lambda messages: (
                "".join(f"<|im_start|>{role}: {said}<|im_end|>\n" for role, said in messages)
                + "<|im_start|>assistant\n"
            ),
            "when a colon stands after the role",
        ),
        Mutant(
            "reversed",
            lambda messages: _chatml(messages[::-1]),
            "when the last message comes first",
        ),
        Mutant(
            "as_user",
            lambda messages: _chatml(messages).removesuffix("assistant\n") + "user\n",
            "when the user is asked to go on",
        ),
        Mutant(
            "blank_line",
            lambda messages: _chatml(messages).replace("<|im_end|>\n", "<|im_end|>\n\n"),
            "when an empty line stands between messages",
        ),
        Mutant(
            "right_trimmed",
            lambda messages: _chatml([(role, said.rstrip()) for role, said in messages]),
            "when blanks at the end of a message are lost",
        ),
        Mutant(
            "bos",
            lambda messages: "<s>" + _chatml(messages),
            "when the text begins with a token of its own",
        ),
        Mutant(
            "no_last_break",
            lambda messages: _chatml(messages)[:-1],
            "when the line break after the last role is missing",
        ),
    ),
)


# ★★ next_prompt(history, reply, question) -> ids

# An encoder with two merges, as any real one has thousands: a model may write "b" and "c" one after
# the other, and their text comes back as one token.
BOS, END = 1, 2
_LETTERS = {char: 10 + i for i, char in enumerate("abcdefgh .")}
_MERGED = {"bc": 30, "fa": 31}


def encode_toy(text: str, add_special: bool = True) -> Ids:
    """Letters to ids, with two merges; opens with bos unless told not to."""
    ids, rest = ([BOS] if add_special else []), text
    while rest:
        size = 2 if rest[:2] in _MERGED else 1
        ids.append(_MERGED[rest[:2]] if size == 2 else _LETTERS[rest[0]])
        rest = rest[size:]
    return ids


def decode_toy(ids: Sequence[int]) -> str:
    """Ids back to text."""
    text_of = {number: text for text, number in (_LETTERS | _MERGED).items()}
    return "".join(text_of.get(number, "") for number in ids)


def _next(history: Ids, reply: Ids, question: str) -> Ids:
    return [*history, *reply, END, *encode_toy(question, add_special=False)]


def _next_in_steps(history: Ids, reply: Ids, question: str) -> Ids:
    ids = list(history)
    ids.extend(reply)
    ids.append(END)
    ids += [number for number in encode_toy(question) if number != BOS]
    return ids


def _next_from_text(history: Ids, reply: Ids, question: str) -> Ids:
    said = encode_toy(decode_toy(reply), add_special=False)
    return [*history, *said, END, *encode_toy(question, add_special=False)]


def _next_all_from_text(history: Ids, reply: Ids, question: str) -> Ids:
    text = decode_toy(history) + decode_toy(reply)
    return [*encode_toy(text), END, *encode_toy(question, add_special=False)]


def _next_two_bos(history: Ids, reply: Ids, question: str) -> Ids:
    return [*history, *reply, END, *encode_toy(question)]


def _next_no_end(history: Ids, reply: Ids, question: str) -> Ids:
    return [*history, *reply, *encode_toy(question, add_special=False)]


def _next_two_ends(history: Ids, reply: Ids, question: str) -> Ids:
    return [*history, *reply, END, END, *encode_toy(question, add_special=False)]


def _next_in_place(history: Ids, reply: Ids, question: str) -> Ids:
    history += [*reply, END, *encode_toy(question, add_special=False)]
    return history


def _next_cases() -> list[Case]:
    first = encode_toy("a bad face.")
    return [
        Case("a reply whose tokens would merge", (first, encode_toy("a", False), "dad")),
        Case("a reply of b and c apart", (first, [*encode_toy("b", False), 12], "a cab")),
        Case("a reply that says things twice", (first, [10, 11, 10, 30, 30], "dad")),
        Case("an empty reply", (encode_toy("abc"), [], "fad")),
        Case("two letters that merge across turns", (encode_toy("a f"), [10, 15], "bc")),
    ]


def _next_prompt_drawn(rng: np.random.Generator) -> list[Case]:
    history = encode_toy("".join(pick(rng, "abcdefgh .", 6)))
    reply = pick(rng, [10, 11, 12, 15, 30, 31], 7)
    return [Case("another reply", (history, reply, "".join(pick(rng, "abcdef", 5))))]


NEXT_PROMPT = Exercise(
    name="next_prompt",
    topic="chat",
    stars=2,
    task="Continue a conversation with a reply that was generated and a new question, as ids.",
    section="Replies are kept as ids",
    cases=_next_cases,
    drawn=_next_prompt_drawn,
    correct=(_next, _next_in_steps),
    mutants=(
        Mutant(
            "reply_from_text",
            _next_from_text,
            "when the reply is decoded and encoded again: other ids, and the prefix breaks",
            "https://github.com/kubernetes-sigs/inference-perf/issues/649",
            section="Encode the reply again",
        ),
        Mutant(
            "all_from_text",
            _next_all_from_text,
            "when everything is encoded from its text",
            section="Encode the reply again",
        ),
        Mutant(
            "two_bos",
            _next_two_bos,
            "when the question is encoded as if it opened a text: a second bos, here in the middle",
            "https://github.com/abetlen/llama-cpp-python/issues/1501",
            section="Common mistakes",
        ),
        Mutant(
            "no_end",
            _next_no_end,
            "when the reply is not closed with its end token",
            section="A script with the speakers' names",
        ),
        Mutant(
            "two_ends",
            _next_two_ends,
            "when the reply is closed twice",
            section="A script with the speakers' names",
        ),
        Mutant("in_place", _next_in_place, "when the history is changed in place"),
        Mutant(
            "reply_left_out",
            lambda history, reply, question: _next(history, [], question),
            "when the reply is left out",
        ),
        Mutant(
            "history_left_out",
            lambda history, reply, question: _next([], reply, question),
            "when the history is left out",
        ),
        Mutant(
            "bos_as_end",
            lambda history, reply, question: [
                *history,
                *reply,
                BOS,
                *encode_toy(question, add_special=False),
            ],
            "when bos stands where the end token is due",
        ),
        Mutant(
            "end_behind",
            lambda history, reply, question: [
                *history,
                *reply,
                *encode_toy(question, add_special=False),
                END,
            ],
            "when the end token stands behind the question",
        ),
        Mutant(
            "one_text",
            lambda history, reply, question: [
                *history,
                *encode_toy(decode_toy(reply) + question, add_special=False),
            ],
            "when reply and question are encoded as one text",
        ),
        Mutant(
            "all_one_text",
            lambda history, reply, question: encode_toy(
                decode_toy(history) + decode_toy(reply) + question
            ),
            "when everything is encoded again as one text",
        ),
        Mutant(
            "each_once",
            lambda history, reply, question: _next(history, list(dict.fromkeys(reply)), question),
            "when ids that come again in the reply are dropped",
        ),
    ),
)


# ★★★ turns_to_drop(system, turns, question, reply_room, context) -> how many of the oldest go


def _drop(system: int, turns: list[int], question: int, reply_room: int, context: int) -> int:
    for dropped in range(len(turns) + 1):
        if system + sum(turns[dropped:]) + question + reply_room <= context:
            return dropped
    raise ValueError("the question alone does not fit")


def _drop_from_the_end(
    system: int, turns: list[int], question: int, reply_room: int, context: int
) -> int:
    room = context - system - question - reply_room
    if room < 0:
        raise ValueError("the question alone does not fit")
    kept = 0
    for tokens in reversed(turns):
        if tokens > room:
            break
        room -= tokens
        kept += 1
    return len(turns) - kept


def _drop_no_system(
    system: int, turns: list[int], question: int, reply_room: int, context: int
) -> int:
    return _drop(0, turns, question, reply_room, context)


def _drop_no_reply(
    system: int, turns: list[int], question: int, reply_room: int, context: int
) -> int:
    return _drop(system, turns, question, 0, context)


def _drop_strictly(
    system: int, turns: list[int], question: int, reply_room: int, context: int
) -> int:
    return _drop(system, turns, question, reply_room, context - 1)


def _drop_all(system: int, turns: list[int], question: int, reply_room: int, context: int) -> int:
    fits = system + sum(turns) + question + reply_room <= context
    if system + question + reply_room > context:
        raise ValueError("the question alone does not fit")
    return 0 if fits else len(turns)


def _drop_largest(
    system: int, turns: list[int], question: int, reply_room: int, context: int
) -> int:
    return _drop(system, sorted(turns, reverse=True), question, reply_room, context)


def _drop_one(system: int, turns: list[int], question: int, reply_room: int, context: int) -> int:
    fits = system + sum(turns) + question + reply_room <= context
    if system + question + reply_room > context:
        raise ValueError("the question alone does not fit")
    return 0 if fits else 1


def _drop_silently(
    system: int, turns: list[int], question: int, reply_room: int, context: int
) -> int:
    try:
        return _drop(system, turns, question, reply_room, context)
    except ValueError:
        return len(turns)


def _drop_cases() -> list[Case]:
    return [
        Case("all fits", (10, [20, 30], 5, 20, 100)),
        Case("it fits to the token", (10, [20, 30], 5, 20, 85)),
        Case("one token too many", (10, [20, 30], 5, 20, 84)),
        Case("three turns must go", (12, [30, 9, 25, 14], 8, 20, 60)),
        Case("no system prompt", (0, [7, 7, 7], 7, 7, 21)),
        Case("no turn may stay", (10, [40, 50], 15, 20, 45)),
        Case("a long turn between short ones", (10, [5, 40, 5], 5, 20, 60)),
        Case("the oldest turn is the longest", (5, [30, 10, 10, 10], 5, 10, 50)),
        Case("the question alone is too long", (10, [5], 80, 20, 100)),
    ]


def _turns_to_drop_drawn(rng: np.random.Generator) -> list[Case]:
    def case(label: str, more: int) -> Case:
        turns = rng.integers(3, 40, size=6).tolist()
        rest = wholes(rng, 3, 3, 25)
        return Case(label, (rest[0], turns, rest[1], rest[2], sum(rest) + more + sum(turns[2:])))

    return [case("room for most turns", 0), case("room for a little more", 2), case("tight", -9)]


def _drop_and(
    system: int,
    turns: list[int],
    question: int,
    reply_room: int,
    context: int,
    change: Callable[[int], int],
) -> int:
    return change(_drop(system, turns, question, reply_room, context))


def _whatever_fits(
    system: int, turns: list[int], question: int, reply_room: int, context: int
) -> int:
    left = context - system - question - reply_room
    if left < 0:
        raise ValueError("the question alone is too long")
    kept = 0
    for turn in turns:
        if turn <= left:
            left, kept = left - turn, kept + 1
    return len(turns) - kept


TURNS_TO_DROP = Exercise(
    name="turns_to_drop",
    topic="chat",
    stars=3,
    task="Say how many of the oldest turns must go so that prompt and reply fit the context.",
    section="Fill the context",
    cases=_drop_cases,
    drawn=_turns_to_drop_drawn,
    correct=(_drop, _drop_from_the_end),
    refuses=(ValueError,),
    mutants=(
        Mutant(
            "no_system",
            _drop_no_system,
            "when the system prompt is not counted",
        ),
        Mutant("no_reply", _drop_no_reply, "when no room is left for the reply"),
        Mutant("strictly", _drop_strictly, "when a context filled to the last token is too full"),
        Mutant("all_of_them", _drop_all, "when every turn goes as soon as one must"),
        Mutant("largest", _drop_largest, "when the largest turns go first, not the oldest"),
        Mutant("one_of_them", _drop_one, "when one turn goes, whether that is enough or not"),
        Mutant(
            "silently",
            _drop_silently,
            "when a question that can never fit is sent all the same",
            "https://github.com/ollama/ollama/issues/8531",
        ),
        Mutant(
            "no_question",
            lambda system, turns, question, reply_room, context: _drop(
                system, turns, 0, reply_room, context
            ),
            "when the question is not counted",
        ),
        Mutant(
            "newest",
            lambda system, turns, question, reply_room, context: _drop(
                system, turns[::-1], question, reply_room, context
            ),
            "when the newest turns go first",
        ),
        Mutant(
            "one_more",
            lambda system, turns, question, reply_room, context: _drop_and(
                system, turns, question, reply_room, context, lambda n: min(n + (n > 0), len(turns))
            ),
            "when one turn more goes than must",
        ),
        Mutant(
            "at_least_one",
            lambda system, turns, question, reply_room, context: _drop_and(
                system, turns, question, reply_room, context, lambda n: max(n, min(1, len(turns)))
            ),
            "when a turn goes even where all fits",
        ),
        Mutant(
            "in_pairs",
            lambda system, turns, question, reply_room, context: _drop_and(
                system, turns, question, reply_room, context, lambda n: n + n % 2
            ),
            "when turns go in pairs",
        ),
        Mutant(
            "whatever_fits",
            lambda system, turns, question, reply_room, context: _whatever_fits(
                system, turns, question, reply_room, context
            ),
            "when old turns are kept as long as they fit, and newer ones go",
        ),
        Mutant(
            "a_list",
            lambda system, turns, question, reply_room, context: turns[
                _drop(system, turns, question, reply_room, context) :
            ],
            "when the turns that stay come back, and their number is due",
        ),
    ),
)

EXERCISES = (CHATML, NEXT_PROMPT, TURNS_TO_DROP)
