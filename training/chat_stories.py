"""Very short stories inside a dialogue, and questions about the one told last."""

import numpy as np

from training import chat_words as words
from training.chat_lore import a
from training.chat_memory import Memory
from training.chat_slots import NAME
from training.chat_turn import Turn
from training.chat_words import pick, sentence

_REQUESTS = (
    "Tell me a short story{}.",
    "Please tell me a story{}.",
    "Can you tell me a very short story{}?",
    "I want to hear a story{}.",
)


def story(rng: np.random.Generator, memory: Memory) -> Turn:
    """Ask for a very short story, about an animal, about the user, or about anything."""
    request = pick(rng, _REQUESTS)
    adjective, animal = pick(rng, ("little", "young", "brave")), pick(rng, words.ANIMALS)
    hero, short = f"a {adjective} {animal}", f"the {animal}"
    about, must = "", ["Once upon a time"]
    if NAME in memory.known() and rng.random() < 0.25:
        hero = short = memory.facts[NAME.key]
        about = " about me"
        must.append(hero)
        memory.mention(NAME.key)
    elif rng.random() < 0.7:
        about = f" about {a(animal)}"
        must.append(animal)
    found = a(pick(rng, words.COLOURS))
    thing, scene = pick(rng, words.THINGS), pick(rng, words.SCENES)
    memory.story = {"hero": short, "thing": f"{found} {thing}", "scene": scene}
    start = f"Once upon a time, {hero} went to the {scene} and found {found} {thing}."
    ends = ("It was a good day.", f"{sentence(short)} was very happy.",
            f"{sentence(short)} took the {thing} home.")  # fmt: skip
    return Turn("story", request.format(about), f"{start} {pick(rng, ends)}", must=tuple(must))


def ask_story(rng: np.random.Generator, memory: Memory) -> Turn | None:
    """Ask about the story just told."""
    if not memory.story:
        return None
    hero, thing, scene = (memory.story[key] for key in ("hero", "thing", "scene"))
    if rng.random() < 0.5:
        return Turn("story question", f"What did {hero} find?",
                    f"{sentence(hero)} found {thing}.", must=(thing,))  # fmt: skip
    return Turn("story question", f"Where did {hero} go?",
                f"{sentence(hero)} went to the {scene}.", must=(scene,))  # fmt: skip
