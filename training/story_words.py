"""The words of the stories that are remembered from their first mention to the end.

The lists share no word, so a reader of a finished story can tell what each word is there for.
"""

from __future__ import annotations

from itertools import permutations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BOYS = _words(
    "Tom Ben Max Sam Leo Jack Tim Finn Oscar Hugo Theo Noah Adam Luke Owen Paul Peter Felix Henry "
    "Oliver Jonas Emil Karl Ivan Omar Ravi Kofi Diego Marco Anton Milo Toby"
)
GIRLS = _words(
    "Mia Anna Lily Emma Lucy Ella Nora Ruby Rosa Clara Ida Eva Zoe Amy Kate Jane Alice Sophie "
    "Hanna Maya Lena Nina Tara Leila Amina Yuki Mei Priya Greta Flora Daisy Molly"
)
KINDS = _words(
    "rabbit fox bear mouse cat dog duck pig frog goat mole otter lamb pony hedgehog badger deer "
    "kitten puppy squirrel monkey tiger lion elephant panda"
)
TRAITS = _words(
    "little young small brave shy happy clever curious quiet cheerful funny merry polite lively "
    "careful dreamy patient honest playful busy"
)
OBJECTS = _words(
    "ball kite hat boat drum cup scarf bell book basket blanket button key umbrella shoe spoon "
    "flute ribbon box bag coat doll whistle bucket pillow crown wagon lantern ring candle pencil "
    "brush sock cap jar shell cushion mirror clock purse"
)
ATTRIBUTES = _words(
    "red blue green yellow purple orange pink white black brown golden silver grey striped "
    "spotted shiny"
)
PLACES = _words(
    "forest river lake meadow hill garden farm village market beach barn pond valley mountain "
    "bridge orchard mill castle harbour cave field park tower"
)
HELPERS = _words(
    "owl turtle crow beaver swan snail toad donkey sparrow cow horse goose eagle stork robin "
    "camel lizard hen sheep whale"
)
RELATIVES = _words("mother father grandmother grandfather aunt uncle sister brother")
SPOTS = (
    "under a bush",
    "behind a rock",
    "inside a hollow log",
    "in the tall grass",
    "under a pile of leaves",
    "behind the old fence",
    "next to an empty nest",
    "between two stones",
    "at the bottom of a ditch",
    "under a bench",
    "beside the path",
    "in a deep hole",
)
PERCHES = (
    "into a tall tree",
    "onto the roof",
    "over a high wall",
    "into a thorny hedge",
    "onto a steep ledge",
    "into the stream",
    "up a chimney",
    "into a muddy ditch",
)
SYLLABLES = _words("la dum ti bo lu ram pim zo")
# A song is five of them in any order. Every one may follow every other, so a song that comes back
# can only be copied, word after word, from its first singing.
SONGS = tuple(" ".join(song) for song in permutations(SYLLABLES, 5))

FACTS = {
    "name": BOYS + GIRLS,
    "kind": KINDS,
    "trait": TRAITS,
    "object": OBJECTS,
    "attribute": ATTRIBUTES,
    "place": PLACES,
    "helper": HELPERS,
    "relative": RELATIVES,
    "spot": SPOTS,
    "perch": PERCHES,
    "song": SONGS,
}
