"""Questions on RoPE."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

QUARTER_TURN = Amount(
    name="quarter_turn",
    topic="rope",
    ask="A pair of numbers turns by a quarter of a circle for each word. Two words look the same "
    "to this pair if they stand how far apart, at least?",
    answer=4,
    unit="words",
    why="After four quarters the pair is back where it was. This pair alone cannot tell the next "
    "word from the fifth, which is why there are slower ones.",
    near={
        2: "Two quarters make half a circle: the arrow points the opposite way, and every score of "
        "the pair changes its sign.",
        1: "One word further on it is turned by a quarter. That is quite a difference.",
        90: "That is the angle in degrees. How many words does it take to come round?",
        8: "It does look the same after 8. But did it not do so before?",
    },
    other="When does the arrow point where it pointed before?",
)

UNSEEN_ANGLES = Choice(
    name="unseen_angles",
    topic="rope",
    ask="A model was trained on texts of up to 2,000 words. Its fastest pair goes round every 6 "
    "words, its slowest once in 50,000. Now it is given a text of 8,000. Whose angles has it never "
    "met?",
    answers={
        "The fastest pair's: it turns furthest": "It turns furthest, but it goes round and round. "
        "After the first 6 words it has been at every place it will ever be.",
        "The slowest pair's": "Yes. In training it never got further than a 25th of a circle. "
        "Beyond 2,000 it points where it has never pointed, and nobody has learnt what that "
        "means.",
        "All of them: the positions are new": "Positions are not seen, only angles. Most pairs "
        "have been all round the circle many times.",
        "None: a circle is a circle": "The whole circle is there, but the slow pair has only "
        "seen the beginning of it.",
    },
    right="The slowest pair's",
)

QUESTIONS = (QUARTER_TURN, UNSEEN_ANGLES)
