"""Questions on precision."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

SMALLEST_CODE = Amount(
    name="smallest_code",
    topic="precision",
    ask="The largest weight of a block is 2.54, and it gets the code 127; every weight becomes the "
    "nearest whole code. Weights above which size do not become 0?",
    answer=0.01,
    unit="as a decimal number",
    within=0.0005,
    why="One code is worth 2.54 / 127 = 0.02, and beyond half of that a weight is rounded up to 1.",
    near={
        0.02: "That is what one code is worth. But must a weight be a whole step away from 0 to be "
        "rounded to 1?",
        0.5: "Half a *code*, yes. And how much is one code worth?",
        127: "That is the largest code, not a weight.",
        0: "Anything above 0 will not do: what is nearer to code 0 than to code 1 becomes 0.",
    },
    other="How much is one code worth, and from where on is a number nearer to 1 code than to 0?",
)

TWO_SUMS = Choice(
    name="two_sums",
    topic="precision",
    ask="Two programs add up the same thousand float32 numbers and differ in the last digit. Which "
    "of them is broken?",
    answers={
        "The one that is further from the exact sum": "Being a little off is what rounding does. "
        "It says nothing about the program.",
        "At least one of them: the same numbers have one sum": "On paper they have. In 32 bits "
        "every step on the way is rounded, and another order takes other steps.",
        "Perhaps neither: they may add in another order": "Yes. Each step is rounded, and which "
        "sums are rounded depends on the order. That is why this book compares with a tolerance.",
    },
    right="Perhaps neither: they may add in another order",
)

QUESTIONS = (SMALLEST_CODE, TWO_SUMS)
