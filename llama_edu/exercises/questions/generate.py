"""Questions on generation."""

from llama_edu.exercises.framework.question import Amount, Order

__all__ = ["QUESTIONS"]

TWICE_AS_LONG = Amount(
    name="twice_as_long",
    topic="generate",
    ask="A program without a cache reads the whole text again for every new token. Its prompt is "
    "one token long. It writes 1,000 tokens instead of 500. About how many times as many tokens "
    "does it have to read, all in all?",
    answer=4,
    unit="times",
    within=0.1,
    why="It reads 1 + 2 + 3 and so on. Twice as many readings, and each of them twice as long on "
    "average, make four times the work.",
    near={
        2: "That would be so if each new token cost the same. But the later ones have more to read "
        "again.",
        3: "Only the *second* half costs three times what the first cost. The first half has to be "
        "done as well.",
        8: "The length of the text comes in twice: in how often it is read, and in how long it is.",
        500: "That is how many tokens are added. How much does each of them have to read?",
    },
    other="Add up what is read for the first token, for the second, and so on. A small case "
    "helps: 2 tokens, then 4.",
)

DECODE_ORDER = Order(
    name="decode_order",
    topic="generate",
    ask="A program with a cache answers a question. Put what it does in order.",
    steps=(
        "the whole prompt goes through all layers, and its keys and values are kept",
        "the last row of scores chooses the first new token",
        "that token goes in alone",
        "its query meets all the keys: those that were kept, and its own",
        "the new scores choose the second new token",
    ),
    why=(
        "The scores are what comes out when the prompt has been through all layers.",
        "A token has to be chosen before it can go in.",
        "The query is made from the token, so first the token goes in.",
        "The scores come from the top of the model, and attention is on the way there.",
    ),
    done="The prompt goes in once and all together, and from then on every token goes in once and "
    "alone.",
)

QUESTIONS = (TWICE_AS_LONG, DECODE_ORDER)
