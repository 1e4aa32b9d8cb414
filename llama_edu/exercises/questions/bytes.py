"""Questions on bytes."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

FILE_SIZE = Amount(
    name="file_size",
    topic="bytes",
    ask="A file begins with eight bytes that say how long the text after them is. The text has 200 "
    "bytes, and then come 1,000 numbers of four bytes each. How large is the file?",
    answer=4208,
    unit="bytes",
    why="8 for the length, 200 for the text, 4 · 1,000 for the numbers, and nothing else.",
    near={
        4200: "Text and numbers are there. And the length itself, where does it stand?",
        4000: "These are the numbers alone. A reader has to be told what they are.",
        1208: "A number is not a byte: each of them takes four.",
    },
    other="Add up the three parts: the length, the text, and the numbers with their four bytes.",
)

SWAPPED_NAMES = Choice(
    name="swapped_names",
    topic="bytes",
    ask="Two matrices of the same shape stand in a file. By mistake its text gives the first one "
    "the place of the second, and the second that of the first. What happens when the file is "
    "loaded?",
    answers={
        "Loading fails: the numbers do not belong to these names": "What in a number would say "
        "whose it is? Four bytes are four bytes.",
        "Loading succeeds, and each name now stands for the other's numbers": "Yes. The text is "
        "all that connects a name with its numbers, and the sizes are right. It will show when the "
        "model writes nonsense, and not before.",
        "Loading succeeds, and it makes no difference, since all the numbers are there": "They are "
        "all there. But each matrix is used in its own place, and there the other's numbers now "
        "do the work.",
    },
    right="Loading succeeds, and each name now stands for the other's numbers",
)

QUESTIONS = (FILE_SIZE, SWAPPED_NAMES)
