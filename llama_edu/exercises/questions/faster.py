"""Questions on guessing ahead, and four bits."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

ONE_PASS_FOUR_GUESSES = Choice(
    name="one_pass_four_guesses",
    topic="faster",
    ask="Four tokens are guessed, and the first two are right. How many new tokens does that one "
    "pass give?",
    answers={
        "Two": "The right ones, and one more: the row behind them says what comes in the place of "
        "the third, and that is the model's own word.",
        "Three": "Yes. Two guesses, and the token that the model itself puts where the third guess "
        "was wrong.",
        "Five": "That would be so if all four had been right: four, and one behind them.",
    },
    right="Three",
)

BITS_OF_A_BLOCK = Amount(
    name="bits_of_a_block",
    topic="faster",
    ask="A block has 32 codes of 4 bits, a scale of 16 bits and an offset of 16 bits. How many "
    "bits is that for each weight?",
    answer=5,
    unit="bits",
    within=0.01,
    why="32 codes of 4 bits are 128 bits, and the two numbers add 32: 160 bits for 32 weights.",
    near={
        4: "Those are the codes alone. Scale and offset have to be stored as well.",
        4.5: "That is a block without an offset. Here there are two numbers of 16 bits.",
        20: "Those are bytes, and of the whole block.",
    },
    other="How many bits has the whole block, and how many weights share them?",
)

QUESTIONS = (ONE_PASS_FOUR_GUESSES, BITS_OF_A_BLOCK)
