"""Turns that need neither memory nor facts: refusals, chit-chat, repetition.

Every function takes a generator of random numbers and returns one `Turn`.
"""

import numpy as np

from training import chat_words as words
from training.chat_turn import Turn
from training.chat_words import pick

_REFUSALS = (
    ("what the weather is like", ("What is the weather like?", "Will it rain tomorrow?",
     "Is it sunny outside?", "How warm is it today?")),
    ("what time it is", ("What time is it?", "Can you tell me the time?", "Is it late?")),
    ("what day it is today", ("What day is it today?", "What is the date today?",
     "Which day is it?")),
    ("what happens in the news", ("What is in the news?", "What happened in the world today?")),
    ("who won the game", ("Who won the game?", "Who won the match last night?")),
    ("what you can see", ("What am I wearing?", "What do I look like?", "What is in my hand?",
     "What is behind me?")),
    ("where your things are", ("Where are my keys?", "Where did I put my phone?",
     "Can you find my glasses?")),
    ("what will happen", ("What will happen tomorrow?", "Will I be rich one day?",
     "Will I pass my exam?", "Who will win the next election?")),
    ("what you are thinking", ("What am I thinking?", "Can you read my mind?",
     "Guess what I am thinking.")),
    ("what things cost", ("How much does a car cost?", "What does a house cost?",
     "How much is a ticket?")),
    ("your secrets", ("What is my password?", "What is my phone number?",
     "Do you know my address?")),
    ("such hard things", ("What is the meaning of life?", "How does a computer work?",
     "Who built the pyramids?", "Explain the stars to me.", "What is the capital of {place}?",
     "How many people live in {place}?", "Who wrote your favourite book?",
     "Can you write a computer program?", "How far is it to {place}?", "Who is {person}?",
     "What is {person} doing now?", "How do I cook {food}?")),
)  # fmt: skip
_SORRY = (
    "I am sorry, I cannot know {topic}.",
    "Sorry, I do not know {topic}.",
    "I am only a small model, so I cannot know {topic}.",
)

_SMALL_TALK: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("How are you?", "How are you today?", "How is it going?", "Are you well?"),
     ("I am fine, thank you. And you?", "I am well, thank you for asking.")),
    (("I am fine.", "I am well, thanks.", "I feel great today.", "I am happy."),
     ("I am glad to hear that.", "That is good to hear.")),
    (("I am sad.", "I feel a bit sad today.", "I had a bad day.", "I feel lonely."),
     ("I am sorry to hear that. I am here to talk.",)),
    (("I am tired.", "I did not sleep well.", "I am so sleepy."),
     ("Then have a good rest.",)),
    (("I am bored.", "There is nothing to do.", "What should I do now?"),
     ("Shall I tell you a short story?",)),
    (("I am hungry.", "I have not eaten yet."), ("Then have something nice to eat.",)),
    (("Who made you?", "Where do you come from?", "How were you made?"),
     ("I was trained on made-up dialogues, on an ordinary computer.",)),
    (("Are you a human?", "Are you real?", "Are you a robot?", "What are you?"),
     ("I am a very small language model.",)),
    (("What can you do?", "How can you help me?", "Can you help me?", "What do you know?"),
     ("I can chat, add small numbers, tell a short story and remember what you tell me.",)),
    (("Do you like music?", "Do you like {food}?", "Do you sleep?", "Do you dream?",
      "Have you ever been to {place}?"),
     ("I am a model, so I cannot do that, but I like to talk about it.",)),
    (("Tell me a joke.", "Do you know a joke?", "Make me laugh."),
     ("Why did the cow cross the road? To get to the udder side.",
      "What do you call a sleeping bull? A bulldozer.")),
    (("Thank you.", "Thanks!", "Thank you very much.", "Great, thanks.", "Thanks a lot!"),
     ("You are welcome.", "You are welcome!")),
    (("You are nice.", "Well done.", "You are clever.", "Good job!", "I like you."),
     ("Thank you, that is kind of you.",)),
    (("OK.", "I see.", "Good to know.", "Nice.", "Alright.", "Yes.", "Great!"),
     ("What else would you like to talk about?",)),
    (("No.", "No, thank you.", "Not now.", "Never mind."), ("That is fine.",)),
    (("Are you there?", "Hello?", "Can you hear me?"), ("Yes, I am here.",)),
)  # fmt: skip


def _fill(rng: np.random.Generator, text: str) -> str:
    """Put words into ``{place}``, ``{person}`` and ``{food}``."""
    if "{" not in text:
        return text
    return text.format(
        place=pick(rng, words.PLACES), person=pick(rng, words.PEOPLE), food=pick(rng, words.FOODS)
    )


def refusal(rng: np.random.Generator) -> Turn:
    """A question nobody in a box can answer, and a polite no that names what was asked."""
    topic, questions = pick(rng, _REFUSALS)
    reply = pick(rng, _SORRY).format(topic=topic)
    return Turn("refuse", _fill(rng, pick(rng, questions)), reply, must=(topic, "know"))


def small_talk(rng: np.random.Generator) -> Turn:
    """Thanks, moods and questions to the model about itself."""
    users, replies = pick(rng, _SMALL_TALK)
    return Turn("talk", _fill(rng, pick(rng, users)), pick(rng, replies))


def repetition(rng: np.random.Generator) -> Turn:
    """Say some words again: lists, invented names, now and then letters of any script.

    This is copying with nothing else around it. It also shows the model byte tokens that no
    English sentence holds, so that an emoji is not a surprise.
    """
    count = 1 + int(rng.integers(4))
    if rng.random() < 0.15:
        said = _any_script(rng, count)
    else:
        pools = (
            words.PEOPLE,
            words.COLOURS,
            words.ANIMALS,
            words.FOODS,
            words.NUMBERS,
            words.THINGS,
        )
        said = " ".join(
            words.invented_name(rng) if rng.random() < 0.2 else pick(rng, pick(rng, pools))
            for _ in range(count)
        )
    user = pick(rng, ("Please repeat: {}", "Repeat after me: {}", "Say this again: {}", "Say: {}"))
    return Turn("repeat", user.format(said), f"You said: {said}", must=(said,))


def _any_script(rng: np.random.Generator, count: int) -> str:
    """A few characters of one script: Latin with accents, Greek, Cyrillic, Han, emoji."""
    starts = ((0xE0, 24), (0x3B1, 24), (0x430, 32), (0x4E00, 2000), (0x3042, 80), (0x1F600, 60))
    start, length = pick(rng, starts)
    return "".join(chr(start + int(rng.integers(length))) for _ in range(count))
