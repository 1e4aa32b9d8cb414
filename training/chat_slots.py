"""What a user can tell about themselves, and every way to tell it, ask for it and correct it.

A `Slot` is one kind of fact (a name, a favourite colour, a brother's name). Its phrasings hold
``{v}`` where the value goes. Slots know words only: which facts a dialogue has told so far is the
business of `chat_memory`.
"""

from dataclasses import dataclass

from training import chat_words as words


@dataclass(frozen=True)
class Slot:
    """One kind of fact. ``noun`` finishes "you have not told me …", as in "your name"."""

    key: str
    noun: str
    values: tuple[str, ...]
    tells: tuple[str, ...]
    asks: tuple[str, ...]
    answer: str
    corrections: tuple[str, ...]
    article: str = ""
    invents: bool = False

    def say(self, phrase: str, value: str) -> str:
        """Put ``value`` into a phrase of this slot, with its article when it wants one."""
        return phrase.format(v=self.article + value)


def _favourite(noun: str, values: tuple[str, ...], article: str = "") -> Slot:
    """The slot of a favourite: the same phrasings serve a colour, an animal or a food."""
    return Slot(
        key=noun,
        noun=f"your favourite {noun}",
        values=values,
        article=article,
        tells=(
            f"My favourite {noun} is {{v}}.",
            f"My favourite {noun} is {{v}}.",
            f"The {noun} I like best is {{v}}.",
            f"I think the best {noun} is {{v}}.",
            f"If you ask me, the best {noun} is {{v}}.",
            f"Please remember that my favourite {noun} is {{v}}.",
            f"You should know that my favourite {noun} is {{v}}.",
            f"My favourite {noun} has always been {{v}}.",
            f"You know, the {noun} I love most is {{v}}.",
        ),
        asks=(
            f"What is my favourite {noun}?",
            f"What is my favourite {noun}?",
            f"Which {noun} do I like best?",
            f"What {noun} do I love most?",
            f"Do you remember my favourite {noun}?",
            f"Can you tell me my favourite {noun}?",
            f"Do you still know which {noun} I like best?",
            f"I forgot. What is my favourite {noun}?",
            f"Tell me my favourite {noun} again.",
            f"What did I say my favourite {noun} is?",
        ),
        answer=f"your favourite {noun} is {{v}}",
        corrections=(
            f"No, my favourite {noun} is {{v}}.",
            f"Actually, my favourite {noun} is {{v}}.",
            f"Wait, I changed my mind. My favourite {noun} is {{v}} now.",
            f"Sorry, that was wrong. My favourite {noun} is {{v}}.",
            f"No, the {noun} I like best is {{v}}.",
        ),
    )


def _named(noun: str, values: tuple[str, ...]) -> Slot:
    """The slot of somebody the user knows by name: a friend, a sister, a dog."""
    return Slot(
        key=noun,
        noun=f"your {noun}'s name",
        values=values,
        invents=True,
        tells=(
            f"My {noun} is called {{v}}.",
            f"My {noun}'s name is {{v}}.",
            f"I have a {noun} called {{v}}.",
            f"The name of my {noun} is {{v}}.",
            f"Did I tell you that my {noun} is called {{v}}?",
        ),
        asks=(
            f"What is my {noun} called?",
            f"What is my {noun}'s name?",
            f"What is the name of my {noun}?",
            f"Do you remember what my {noun} is called?",
            f"Can you tell me my {noun}'s name?",
            f"I forgot. What is my {noun} called?",
        ),
        answer=f"your {noun} is called {{v}}",
        corrections=(
            f"No, my {noun} is called {{v}}.",
            f"Actually, my {noun}'s name is {{v}}.",
            f"Sorry, that was wrong. My {noun} is called {{v}}.",
        ),
    )


NAME = Slot(
    key="name",
    noun="your name",
    values=words.PEOPLE,
    invents=True,
    tells=(
        "My name is {v}.",
        "My name is {v}.",
        "I am {v}.",
        "I'm {v}.",
        "I am called {v}.",
        "You can call me {v}.",
        "Please call me {v}.",
        "Call me {v}.",
        "This is {v}.",
        "People call me {v}.",
        "It is {v} here.",
        "{v} is my name.",
    ),
    asks=(
        "What is my name?",
        "What is my name?",
        "What's my name?",
        "Do you remember my name?",
        "Do you know my name?",
        "Who am I?",
        "What am I called?",
        "Can you tell me my name?",
        "Tell me my name, please.",
        "I forgot. What is my name?",
        "Do you still know who I am?",
        "What did I say my name is?",
        "Say my name.",
    ),
    answer="your name is {v}",
    corrections=(
        "No, my name is {v}.",
        "No, I am {v}.",
        "Actually, my name is {v}.",
        "Actually, I am called {v}.",
        "Sorry, that was wrong. My name is {v}.",
        "That is not my name. My name is {v}.",
    ),
)

HOME = Slot(
    key="home",
    noun="where you live",
    values=words.PLACES,
    tells=(
        "I live in {v}.",
        "I live in {v}.",
        "My home is in {v}.",
        "I have lived in {v} for years.",
        "I have a small house in {v}.",
        "I just moved to {v}.",
    ),
    asks=(
        "Where do I live?",
        "Where do I live?",
        "Where is my home?",
        "Do you remember where I live?",
        "Can you tell me where I live?",
        "What did I say about where I live?",
        "In which place do I live?",
    ),
    answer="you live in {v}",
    corrections=(
        "No, I live in {v}.",
        "Actually, I live in {v}.",
        "Sorry, that was wrong. I live in {v}.",
        "I moved. I live in {v} now.",
    ),
)

AGE = Slot(
    key="age",
    noun="your age",
    values=words.AGES,
    tells=("I am {v} years old.", "My age is {v}.", "I just turned {v}.", "I'm {v} years old."),
    asks=("How old am I?", "What is my age?", "Do you remember my age?", "Tell me how old I am."),
    answer="you are {v} years old",
    corrections=(
        "No, I am {v} years old.",
        "Actually, I am {v} years old.",
        "Sorry, that was wrong. I am {v} years old.",
    ),
)

SLOTS: tuple[Slot, ...] = (
    NAME,
    HOME,
    AGE,
    _favourite("colour", words.COLOURS),
    _favourite("animal", words.ANIMALS, article="the "),
    _favourite("food", words.FOODS),
    _favourite("place", words.PLACES),
    _favourite("fruit", words.FRUITS),
    _favourite("drink", words.DRINKS),
    _favourite("sport", words.SPORTS),
    _favourite("instrument", words.INSTRUMENTS, article="the "),
    _favourite("flower", words.FLOWERS, article="the "),
    _favourite("season", words.SEASONS),
    _favourite("day", words.DAYS),
    _favourite("month", words.MONTHS),
    _favourite("number", words.NUMBERS),
    _named("friend", words.PEOPLE),
    _named("sister", words.PEOPLE),
    _named("brother", words.PEOPLE),
    _named("dog", words.PETS),
    _named("cat", words.PETS),
)
BY_KEY = {slot.key: slot for slot in SLOTS}
