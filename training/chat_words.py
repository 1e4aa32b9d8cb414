"""The words that dialogues are made of: names, favourites, places and invented names.

Each list holds plain words, short enough for the tokenizer to give most of them a token of their
own. This module draws words; it does not know what a sentence is.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _listed(
    """Ada Aisha Alex Amir Ana Anna Anton Ava Bea Ben Bruno Carla Chen Chloe Clara Dan Dana Dara
    David Dina Elena Eli Ella Emil Emma Eric Erik Eva Fatima Felix Finn Fiona Frank Freya George
    Gina Grace Hana Harry Hassan Helen Hugo Ida Ines Ira Isla Ivan Jack Jana Jane Jay Jin Joe John
    Jonas Julia Kai Karim Kate Kenji Kim Lara Leila Lena Leo Liam Lily Lin Lisa Louis Lucas Lucy
    Luis Mara Marco Maria Mark Marta Max Maya Mei Mia Mila Mina Mohamed Nadia Nina Noah Nora Olga
    Oliver Omar Oscar Owen Pablo Paul Pavel Petra Priya Rafa Ravi Rita Rosa Ruth Sam Sara Simon
    Sofia Stella Sven Tara Theo Tim Tom Uma Vera Victor Wei Wilma Yara Yuki Zoe"""
)
PETS = _listed(
    """Bella Biscuit Bolt Bubbles Buddy Button Cocoa Comet Daisy Fluffy Ginger Honey Lucky Luna
    Milo Misty Nemo Oreo Patch Peanut Pepper Poppy Rex Rocky Rusty Shadow Simba Smokey Snowy Spot
    Toby Waffles Whiskers Ziggy"""
)
COLOURS = _listed(
    """black blue brown gold green grey orange pink purple red silver turquoise violet white
    yellow"""
)
ANIMALS = _listed(
    """bear bee camel cat cow crocodile deer dog dolphin duck eagle elephant fish fox frog giraffe
    goat hamster hedgehog horse kangaroo lion monkey mouse octopus owl panda parrot penguin pig
    rabbit shark sheep snail snake spider squirrel swan tiger turtle whale wolf zebra"""
)
FOODS = _listed(
    """bread cake cheese chicken chocolate couscous curry dumplings falafel honey hummus lasagne
    noodles omelette pancakes pasta pie pizza popcorn porridge rice salad salmon sandwiches soup
    stew sushi tacos toast tofu waffles"""
)
FRUITS = _listed(
    """apples apricots bananas blueberries cherries figs grapes kiwis lemons mangoes melons
    oranges papayas peaches pears plums raspberries strawberries"""
)
DRINKS = _listed("cider cocoa coffee juice lemonade milk tea water")
SPORTS = _listed(
    """badminton baseball basketball boxing climbing cricket cycling football golf hockey judo
    rowing rugby running sailing skiing surfing swimming tennis volleyball yoga"""
)
INSTRUMENTS = _listed("cello clarinet drum flute guitar harp oboe piano trumpet violin")
FLOWERS = _listed("buttercup daffodil iris lily lotus orchid poppy rose sunflower tulip")
SEASONS = ("spring", "summer", "autumn", "winter")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = _listed(
    """January February March April May June July August September October November
    December"""
)
PLACES = _listed(
    """Athens Berlin Boston Brazil Cairo Canada Chicago Chile China Cuba Delhi Denmark Dublin
    Egypt Finland France Geneva Ghana Greece Havana India Ireland Italy Japan Kenya Kyoto Lagos
    Lima Lisbon London Madrid Mexico Morocco Mumbai Nepal Norway Oslo Paris Peru Poland Portugal
    Prague Rome Seoul Spain Sweden Sydney Tokyo Toronto Vienna Wales"""
)
NUMBERS = tuple(str(number) for number in range(1, 21))
AGES = tuple(str(age) for age in range(5, 80))
BOTS = ("Pip", "Bit", "Nova", "Echo", "Pixel", "Robin", "Byte", "Sunny", "Widget", "Dot")
THINGS = _listed(
    "ball balloon bell boat book box bucket button coin cup drum feather hat kite key lamp leaf "
    "map pebble ring scarf shell shoe spoon star stone umbrella"
)
SCENES = ("forest", "garden", "park", "field", "village", "valley", "meadow", "barn", "house")

_ONSETS = _listed("b br ch d dr f fl g gr h j k kr l m n p pl r s sh st t th tr v w z")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ee", "ou", "é", "ö")
_CODAS = ("", "", "", "l", "m", "n", "r", "s", "th", "x", "ck")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of ``options``, each as likely as the next."""
    return options[int(rng.integers(len(options)))]


def invented_name(rng: np.random.Generator, *, echo: float = 0.0) -> str:
    """Make up a name that no list holds, such as "Broushi", from two or three syllables.

    A model that can repeat these copies tokens; it cannot have learned them by heart. ``echo`` is
    the chance that one onset or one vowel stands in every syllable ("Plöpléck", "Lalasa"). Who
    copies by looking for what followed the same token before needs to look further back there.
    """
    syllables = 2 + int(rng.random() < 0.4)
    parts = [[pick(rng, _ONSETS), pick(rng, _VOWELS)] for _ in range(syllables)]
    if echo and rng.random() < echo:
        same = int(rng.integers(2))
        for part in parts:
            part[same] = parts[0][same]
    name = "".join(onset + vowel for onset, vowel in parts)
    return (name + pick(rng, _CODAS)).capitalize()


def sentence(text: str) -> str:
    """Start with a capital letter and leave the rest as it is."""
    return text[0].upper() + text[1:]
