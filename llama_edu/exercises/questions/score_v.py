"""Questions on values."""

from llama_edu.exercises.framework.question import Choice, Order

__all__ = ["QUESTIONS"]

ATTENTION_ORDER = Order(
    name="attention_order",
    topic="score_v",
    ask="One word looks back. Put what its layer of attention does in order.",
    steps=(
        "score every key against the word's query, in each head",
        "strike out what comes after the word",
        "turn the scores into shares",
        "mix the values by the shares",
        "lay what the heads have fetched side by side",
        "translate it by `o_proj`, and add it to the word's list",
    ),
    why=(
        "There is nothing to strike out until there are scores.",
        "Strike out first. Taken away after the sharing, the future's shares would be missing, and "
        "the rest would no longer add up to 100%.",
        "Values are mixed by shares. Scores may be negative, and do not add up to 1.",
        "Each head mixes by its own shares, so this is done before heads are put together.",
        "`o_proj` reads all the heads at once, side by side.",
    ),
    done="Score, strike out, share, mix, lay side by side, translate.",
)

OUT_OF_RANGE = Choice(
    name="out_of_range",
    topic="score_v",
    ask="A head may look at three tokens. The first numbers of their values are 2, 5 and 9. "
    "Which of these can **not** be the first number of what it brings back, whatever the shares "
    "are?",
    answers={
        "2": "It can, when the first token gets everything.",
        "6": "It can: a third each gives 5.33, and a little more for the 9 gives 6. A mixture need "
        "not be one of the three.",
        "10": "Yes. Shares are never negative and add up to 1, so a mixture lies between the "
        "smallest and the largest, 2 and 9.",
        "All of them can be": "Try to reach 10 with shares that add up to 100%. Even all of the "
        "9 is not enough.",
    },
    right="10",
)

QUESTIONS = (ATTENTION_ORDER, OUT_OF_RANGE)
