"""Questions on queries and keys."""

from llama_edu.exercises.framework.question import Choice

__all__ = ["QUESTIONS"]

LONGER_KEY = Choice(
    name="longer_key",
    topic="scores",
    ask="The key of one word is doubled, all its numbers times 2. For which queries does the "
    "word's score go up?",
    answers={
        "For all of them: it stands out more now": "Think of a query that points away from it, "
        "with a score of −1. The score is a sum of products, and every product is doubled.",
        "For those it fitted already, with a score above 0": "Yes. Every score of this key is "
        "doubled, so what was positive goes up and what was negative goes further down. A long key "
        "is looked at more by some, and less by others.",
        "For none: only the direction of a key counts": "Halve the dog's note in the example of "
        "this chapter, and it falls behind the cat. Length does count.",
    },
    right="For those it fitted already, with a score above 0",
)

FEWER_BOARDS = Choice(
    name="fewer_boards",
    topic="scores",
    ask="A model with 8 query heads is built twice: once with 8 KV heads, once with 2. Which gets "
    "smaller in the second, the number of scores or the memory for the keys?",
    answers={
        "Both, to a quarter": "Who makes the scores? Every query head still asks every token, "
        "whoever shares its keys.",
        "The number of scores": "There are as many query heads as before, and each scores every "
        "token. Sharing a key does not save asking it.",
        "The memory for the keys": "Yes, to a quarter: 2 keys for each token instead of 8. The "
        "scores are as many as before, because all 8 query heads still ask.",
        "Neither: all heads need keys": "They need some to read, but not each its own. Four query "
        "heads may read the same key.",
    },
    right="The memory for the keys",
)

QUESTIONS = (LONGER_KEY, FEWER_BOARDS)
