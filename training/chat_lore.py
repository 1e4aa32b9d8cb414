"""Turns about things that are always so: small sums, numbers, colours, animals, days.

Every function takes a generator of random numbers and returns one `Turn`. The tables are small
and complete: a model of this size learns them by heart, and that is all it can do.
"""

import numpy as np

from training import chat_words as words
from training.chat_turn import Turn
from training.chat_words import pick, sentence

BIGGEST = 20
"""Numbers in sums, and their results, run from 0 to this."""

_COLOUR_OF = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "the sun": "yellow",
    "a banana": "yellow", "a lemon": "yellow", "a tomato": "red", "a strawberry": "red",
    "a carrot": "orange", "a frog": "green", "a flamingo": "pink", "chocolate": "brown",
    "milk": "white", "an elephant": "grey", "a swan": "white", "blood": "red", "a plum": "purple",
}  # fmt: skip
_MIXTURES = {
    ("blue", "yellow"): "green", ("red", "yellow"): "orange", ("blue", "red"): "purple",
    ("black", "white"): "grey", ("red", "white"): "pink",
}  # fmt: skip
_SOUNDS = {
    "cow": "moo", "dog": "woof", "cat": "meow", "duck": "quack", "sheep": "baa", "pig": "oink",
    "lion": "roar", "horse": "neigh", "owl": "hoot", "bee": "buzz", "snake": "hiss",
    "mouse": "squeak",
}  # fmt: skip
_LEGS = {
    "spider": 8, "dog": 4, "cat": 4, "cow": 4, "horse": 4, "bee": 6, "ant": 6, "duck": 2, "owl": 2,
    "penguin": 2, "snake": 0, "fish": 0, "frog": 4, "lion": 4, "elephant": 4, "sheep": 4,
}  # fmt: skip
_YOUNG = {
    "dog": "puppy", "cat": "kitten", "cow": "calf", "horse": "foal", "sheep": "lamb",
    "duck": "duckling", "bear": "cub", "pig": "piglet", "goat": "kid", "swan": "cygnet",
    "kangaroo": "joey", "frog": "tadpole",
}  # fmt: skip
_HOMES = {
    "bee": "hive", "bird": "nest", "spider": "web", "dog": "kennel", "horse": "stable",
    "pig": "sty", "rabbit": "burrow", "bear": "den", "hen": "coop",
}  # fmt: skip
_CAN_FLY = {
    "owl": True, "eagle": True, "duck": True, "swan": True, "bee": True, "parrot": True,
    "penguin": False, "pig": False, "cow": False, "snake": False, "whale": False, "tiger": False,
}  # fmt: skip


def a(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def small_sum(rng: np.random.Generator) -> Turn:
    """Add or take away: "What is 7 + 5?". Operands and results lie in 0 … `BIGGEST`."""
    total = int(rng.integers(BIGGEST + 1))
    part = int(rng.integers(total + 1))
    if rng.random() < 0.5:
        sign, left, right, result = "+", part, total - part, total
        spoken, asks = (
            "plus",
            (
                f"I have {left} apples and get {right} more. How many do I have?",
                f"Add {left} and {right}.",
            ),
        )
    else:
        sign, left, right, result = "-", total, part, total - part
        spoken, asks = (
            "minus",
            (
                f"I have {left} apples and eat {right}. How many are left?",
                f"Take {right} away from {left}.",
            ),
        )
    user = pick(
        rng,
        (
            *asks,
            f"What is {left} {sign} {right}?",
            f"What is {left} {sign} {right}?",
            f"How much is {left} {sign} {right}?",
            f"What is {left} {spoken} {right}?",
            f"Can you work out {left} {spoken} {right}?",
            f"{left} {sign} {right} = ?",
            f"{left} {sign} {right}?",
            f"{left}{sign}{right}",
        ),
    )
    equation = f"{left} {sign} {right} = {result}"
    return Turn("sum", user, f"{equation}.", must=(equation,))


def number_order(rng: np.random.Generator) -> Turn:
    """What comes before or after a number, and which of two is bigger."""
    number = int(rng.integers(BIGGEST))
    if rng.random() < 0.5:
        small, big = sorted(int(n) for n in rng.choice(BIGGEST + 1, size=2, replace=False))
        first, second = pick(rng, ((small, big), (big, small)))
        user = pick(rng, ("Which is bigger, {} or {}?", "What is more, {} or {}?"))
        reply = f"{big} is bigger than {small}."
        return Turn("number", user.format(first, second), reply, must=(reply[:-1],))
    if rng.random() < 0.5:
        reply = f"{number + 1} comes after {number}."
        return Turn("number", f"Which number comes after {number}?", reply, must=(reply[:-1],))
    reply = f"{number} comes before {number + 1}."
    return Turn("number", f"Which number comes before {number + 1}?", reply, must=(reply[:-1],))


def _colour_fact(rng: np.random.Generator) -> Turn:
    if rng.random() < 0.3:
        pair, mixture = pick(rng, tuple(_MIXTURES.items()))
        one, two = pick(rng, (pair, pair[::-1]))
        user = pick(
            rng, ("What do you get when you mix {} and {}?", "What colour do {} and {} make?")
        )
        return Turn("fact", user.format(one, two), f"{sentence(one)} and {two} make {mixture}.",
                    must=(mixture,))  # fmt: skip
    thing, colour = pick(rng, tuple(_COLOUR_OF.items()))
    user = pick(rng, ("What colour is {}?", "Which colour is {}?", "Tell me the colour of {}."))
    return Turn("fact", user.format(thing), f"{sentence(thing)} is {colour}.", must=(colour,),
                must_not=words.COLOURS)  # fmt: skip


def _animal_fact(rng: np.random.Generator) -> Turn:
    return pick(rng, (_sound, _legs, _young, _home, _flight))(rng)


def _sound(rng: np.random.Generator) -> Turn:
    animal, sound = pick(rng, tuple(_SOUNDS.items()))
    user = pick(rng, ("What does {} say?", "What sound does {} make?", "How does {} go?"))
    reply = sentence(f"{a(animal)} says {sound}.")
    return Turn("fact", user.format(a(animal)), reply, must=(sound,))


def _legs(rng: np.random.Generator) -> Turn:
    animal, legs = pick(rng, tuple(_LEGS.items()))
    count = str(legs) if legs else "no"
    reply = sentence(f"{a(animal)} has {count} legs.")
    return Turn("fact", f"How many legs does {a(animal)} have?", reply, must=(count,))


def _young(rng: np.random.Generator) -> Turn:
    animal, young = pick(rng, tuple(_YOUNG.items()))
    user = pick(rng, ("What is a baby {} called?", "What do you call a young {}?"))
    reply = f"A young {animal} is called a {young}."
    return Turn("fact", user.format(animal), reply, must=(young,))


def _home(rng: np.random.Generator) -> Turn:
    animal, home = pick(rng, tuple(_HOMES.items()))
    user = pick(rng, ("Where does {} live?", "What is the home of {}?"))
    reply = sentence(f"{a(animal)} lives in {a(home)}.")
    return Turn("fact", user.format(a(animal)), reply, must=(home,))


def _flight(rng: np.random.Generator) -> Turn:
    animal, flies = pick(rng, tuple(_CAN_FLY.items()))
    answer, can = ("Yes", "can") if flies else ("No", "cannot")
    reply = f"{answer}, {a(animal)} {can} fly."
    return Turn("fact", f"Can {a(animal)} fly?", reply, must=(answer, f"{can} fly"))


def _calendar_fact(rng: np.random.Generator) -> Turn:
    names = words.DAYS if rng.random() < 0.6 else words.MONTHS
    unit = "day" if names is words.DAYS else "month"
    at = int(rng.integers(len(names)))
    first, second = names[at], names[(at + 1) % len(names)]
    question = int(rng.integers(3))
    if question == 0:
        return Turn("fact", f"Which {unit} comes after {first}?",
                    f"{second} comes after {first}.", must=(f"{second} comes after",))  # fmt: skip
    if question == 1:
        return Turn("fact", f"Which {unit} comes before {second}?",
                    f"{first} comes before {second}.", must=(f"{first} comes before",))  # fmt: skip
    count, whole = ("7", "week") if unit == "day" else ("12", "year")
    reply = f"There are {count} {unit}s in a {whole}."
    return Turn("fact", f"How many {unit}s are there in a {whole}?", reply, must=(count,))


def fact(rng: np.random.Generator) -> Turn:
    """A fact about colours, animals, days or months."""
    return pick(rng, (_colour_fact, _animal_fact, _animal_fact, _calendar_fact))(rng)
