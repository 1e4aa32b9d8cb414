"""Questions on speed."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

TWO_WALLS = Amount(
    name="two_walls",
    topic="cost",
    ask="For the next token a machine has to read 500 MB and to do 250 million operations. It "
    "reads 25 GB a second and does 50 billion operations a second. How many milliseconds does "
    "the token take at least?",
    answer=20,
    unit="ms",
    within=0.01,
    why="Reading takes 500 MB / 25 GB/s = 20 ms and computing 5 ms. Both can go on at the same "
    "time, so the slower of the two decides.",
    near={
        25: "That adds the two. A machine can compute with what has come while it reads the rest.",
        5: "That is the computing. Meanwhile, has everything been read?",
        12.5: "The mean of the two says nothing: nobody is done before the slower one is.",
    },
    other="How long does the reading take, and how long the computing? And which of them has to "
    "wait?",
)

LARGER_BATCH = Choice(
    name="larger_batch",
    topic="cost",
    ask="On a graphics card, with short texts and a model whose weights outweigh all their caches, "
    "eight texts in one step gave almost eight times as many words a second as one. But 512 gave "
    "hardly more than 256. What had run out?",
    answers={
        "Memory speed: 512 texts need the weights 512 times": "The weights are read once for all "
        "of them. That is why the first eight were nearly free.",
        "Arithmetic": "Yes. Each weight that arrives is now multiplied 512 times before the next "
        "one is wanted. At some number the computing takes as long as the reading, and from "
        "there on more texts take more time.",
        "Memory speed again: each text brings a cache of its own, and those are not shared": "That "
        "would be so with long texts, and then no number of them would lead out of it. Here all "
        "512 caches together are smaller than the weights.",
        "Nothing: it is a matter of patience": "More patience makes no more words a second. "
        "Something is busy all the time by now.",
    },
    right="Arithmetic",
)

QUESTIONS = (TWO_WALLS, LARGER_BATCH)
