"""Turns that read or write the memory of a dialogue: greeting, telling, asking, correcting.

An act takes the random generator and the `Memory`, changes the memory as its turn does, and
returns the `Turn`; or it returns None, with the memory unchanged, where it does not fit (nothing
told yet, nothing left to tell). `dialogues` decides which act comes when.
"""

from collections.abc import Callable

import numpy as np

from training import chat_words as words
from training.chat_memory import Memory
from training.chat_slots import BY_KEY, NAME, Slot
from training.chat_turn import Turn
from training.chat_words import pick, sentence

Act = Callable[[np.random.Generator, Memory], Turn | None]

_HELLOS = ("Hello", "Hi", "Hey", "Hi there", "Good morning", "Good evening", "Hello there")
_LEADS = ("By the way, ", "Oh, and ", "Well, ", "So, ", "One more thing: ", "Listen, ")
_BYES = ("Goodbye!", "Bye!", "See you later.", "I have to go now.", "Good night!", "Bye for now.")


def _lead_in(rng: np.random.Generator, text: str) -> str:
    """Now and then, begin a message the way people do: "By the way, …"."""
    if rng.random() > 0.15:
        return text
    keep = text.startswith(("I ", "I'm", "Pl")) or text.split()[0] in words.PEOPLE
    return pick(rng, _LEADS) + (text if keep else text[0].lower() + text[1:])


def _others(slot: Slot, value: str) -> tuple[str, ...]:
    """The values a reply about this slot must not hold."""
    return tuple(other for other in slot.values if other != value)


def greet(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Say hello, with or without a name."""
    hello = pick(rng, _HELLOS)
    if rng.random() < 0.5 and NAME.key not in memory.facts:
        value = memory.draw_value(NAME, rng)
        if value is None:
            return None
        memory.tell(NAME, value)
        phrase = NAME.say(pick(rng, NAME.tells), value)
        return Turn("tell", f"{hello}{pick(rng, ('!', '.'))} {phrase}", _welcome(rng, value),
                    must=(value,), slot=NAME.key)  # fmt: skip
    if NAME in memory.known():
        memory.mention(NAME.key)
        name = memory.facts[NAME.key]
        return Turn("greet", f"{hello}!", f"Hello, {name}! How can I help you?", must=(name,))
    if NAME.key in memory.facts:
        return None
    memory.bare_name_next = rng.random() < 0.5
    reply = "Hello! What is your name?" if memory.bare_name_next else "Hello! How can I help you?"
    return Turn("greet", f"{hello}{pick(rng, ('!', '.', ''))}", reply, must=("Hello",))


def _welcome(rng: np.random.Generator, name: str) -> str:
    return pick(rng, ("Nice to meet you, {}!", "Hello, {}! Nice to meet you.")).format(name)


def tell_bare_name(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Answer "What is your name?" with the name and little else."""
    value = memory.draw_value(NAME, rng)
    memory.bare_name_next = False
    if value is None:
        return None
    memory.tell(NAME, value)
    user = pick(rng, ("{}.", "{}", "{}!", "It is {}.", "I'm {}.", "My name is {}."))
    return Turn("tell", user.format(value), _welcome(rng, value), must=(value,), slot=NAME.key)


def tell(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Tell a fact that has not been told, most often the name when that is still unknown."""
    unknown = memory.unknown()
    if not unknown:
        return None
    slot = NAME if NAME in unknown and rng.random() < 0.3 else pick(rng, unknown)
    return tell_slot(rng, memory, slot)


def tell_slot(rng: np.random.Generator, memory: Memory, slot: Slot) -> Turn | None:
    """Tell a new value for ``slot``; the reply echoes it or just promises to remember."""
    value = memory.draw_value(slot, rng)
    if value is None:
        return None
    memory.tell(slot, value)
    user = _lead_in(rng, slot.say(pick(rng, slot.tells), value))
    if slot is NAME:
        return Turn("tell", user, _welcome(rng, value), must=(value,), slot=slot.key)
    answer = slot.say(slot.answer, value)
    if rng.random() < 0.25:
        replies = ("Thank you, I will remember that.", "Good to know. I will remember it.")
    else:
        replies = (f"I will remember that {answer}.", f"I see, {answer}.")
    reply, wrong = pick(rng, replies), _others(slot, value)
    return Turn("tell", user, reply, must_not=wrong, slot=slot.key)


def tell_two(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Tell two facts in one message."""
    unknown = memory.unknown()
    if len(unknown) < 2:
        return None
    phrases, answers = [], []
    for at in rng.choice(len(unknown), size=2, replace=False):
        slot = unknown[int(at)]
        value = memory.draw_value(slot, rng)
        if value is None:
            continue
        memory.tell(slot, value)
        phrases.append(slot.say(slot.tells[0], value)[:-1])
        answers.append(slot.say(slot.answer, value))
    if len(phrases) < 2:
        return None if not phrases else Turn("tell", phrases[0] + ".", f"I see, {answers[0]}.")
    second = phrases[1] if phrases[1].startswith("I ") else phrases[1].replace("My", "my", 1)
    return Turn("tell", f"{phrases[0]} and {second}.", f"I see, {answers[0]} and {answers[1]}.")


def ask(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Ask for a fact that was told."""
    known = memory.known()
    return ask_slot(rng, memory, pick(rng, known)) if known else None


def ask_slot(rng: np.random.Generator, memory: Memory, slot: Slot) -> Turn:
    """Ask for the fact of ``slot``, which must have been told."""
    value = memory.facts[slot.key]
    question = pick(rng, slot.asks)
    answer = slot.say(slot.answer, value)
    reply = f"Yes, {answer}." if question.startswith("Do you") else f"{sentence(answer)}."
    turn = Turn("recall", _lead_in(rng, question), reply, must=(value,),
                must_not=_others(slot, value), distance=memory.distance(slot.key),
                slot=slot.key)  # fmt: skip
    memory.mention(slot.key)
    return turn


def ask_two(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Ask for two facts at once: "What are my name and my favourite colour?"."""
    known = [slot for slot in memory.known() if slot.key not in ("home", "age")]
    if len(known) < 2:
        return None
    slots = [known[int(at)] for at in rng.choice(len(known), size=2, replace=False)]
    answers = [slot.say(slot.answer, memory.facts[slot.key]) for slot in slots]
    nouns = [slot.noun.replace("your", "my", 1) for slot in slots]
    for slot in slots:
        memory.mention(slot.key)
    return Turn("recall two", f"What are {nouns[0]} and {nouns[1]}?",
                f"{sentence(answers[0])} and {answers[1]}.",
                must=tuple(memory.facts[slot.key] for slot in slots))  # fmt: skip


def ask_unknown(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Ask for a fact that was never told; the right reply says so."""
    unknown = memory.unknown()
    if not unknown:
        return None
    slot = pick(rng, unknown)
    return Turn("unknown", _lead_in(rng, pick(rng, slot.asks)),
                f"You have not told me {slot.noun} yet.", must=("have not told me", slot.noun),
                slot=slot.key)  # fmt: skip


def correct(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Take back a fact and tell another one in its place."""
    known = memory.known()
    if not known:
        return None
    slot = known[-1] if rng.random() < 0.5 else pick(rng, known)
    value = memory.draw_value(slot, rng)
    if value is None:
        return None
    memory.tell(slot, value)
    user = slot.say(pick(rng, slot.corrections), value)
    answer = slot.say(slot.answer, value)
    reply = pick(
        rng, (f"Sorry! Now I know that {answer}.", f"Thank you. Now I know that {answer}.")
    )
    return Turn("correct", user, reply, must=(value,), must_not=_others(slot, value),
                slot=slot.key)  # fmt: skip


def ask_bot_name(rng: np.random.Generator, memory: Memory) -> Turn:
    """Ask the model its own name, which a system message may have set."""
    user = pick(rng, ("Who are you?", "What is your name?", "What are you called?"))
    return Turn("identity", user, f"My name is {memory.bot}.", must=(memory.bot,),
                must_not=tuple(bot for bot in words.BOTS if bot != memory.bot))  # fmt: skip


def farewell(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Say goodbye, by name when the name is known."""
    if NAME not in memory.known():
        if NAME.key in memory.facts:
            return None
        return Turn("bye", pick(rng, _BYES), "Goodbye! Come back soon.", must=("Goodbye",))
    memory.mention(NAME.key)
    name = memory.facts[NAME.key]
    return Turn("bye", pick(rng, _BYES), f"Goodbye, {name}! Come back soon.", must=(name,))


def system_message(rng: np.random.Generator, memory: Memory) -> str | None:
    """Draw a system message, or none; note in the memory what it sets."""
    if rng.random() < 0.5:
        return None
    kind = int(rng.integers(4))
    if kind == 0:
        return pick(rng, ("You are a helpful assistant.", "You are a friendly assistant.",
                          "Answer in short sentences.", "Be kind and brief."))  # fmt: skip
    if kind == 1:
        memory.bot = pick(rng, words.BOTS)
        return pick(rng, ("You are {}, a friendly assistant.", "Your name is {}.",
                          "You are called {}.")).format(memory.bot)  # fmt: skip
    slot, phrase = pick(rng, ((NAME, "The user is called {v}."), (NAME, "The user's name is {v}."),
                              (BY_KEY["home"], "The user lives in {v}.")))  # fmt: skip
    value = memory.draw_value(slot, rng)
    if value is None:
        return None
    memory.tell(slot, value)
    return slot.say(phrase, value)
