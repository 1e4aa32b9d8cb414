"""Questions on rows and products."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

PRODUCTS = Amount(
    name="products",
    topic="linear",
    ask="Ten words come along, each a list of 4 numbers. A layer asks each of them 3 questions, "
    "and every question is a list of 4 numbers as well. How many multiplications is that?",
    answer=120,
    unit="multiplications",
    why="One question to one word takes 4. There are 10 · 3 pairs of a word and a question.",
    near={
        12: "That is one word's share: 3 questions of 4 multiplications. There are ten words.",
        30: "That is how many answers come out. Each takes more than one multiplication.",
        40: "That is how many numbers go in. Each of them is used by every question.",
        70: "Adding will not do: *every* word meets *every* question.",
    },
    other="How many does one question to one word take, and how many such pairs are there?",
)

DOUBLED_ROW = Choice(
    name="doubled_row",
    topic="linear",
    ask="Every number in the row of one word is doubled. What becomes of its dot product with "
    "another row, and of its cosine?",
    answers={
        "Both double": "The cosine never goes beyond 1. It divides by the length of the row, and "
        "that has doubled as well.",
        "The dot product doubles, the cosine stays": "Yes. Each product in the sum is doubled. The "
        "cosine divides by the lengths, so that only the direction is left, and the direction is "
        "what it was.",
        "Neither changes: the row points where it pointed": "True of the direction. But the dot "
        "product asks for length as well: it is a sum of products, and each of them has doubled.",
    },
    right="The dot product doubles, the cosine stays",
)

QUESTIONS = (PRODUCTS, DOUBLED_ROW)
