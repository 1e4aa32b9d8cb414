"""Questions on the whole model."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

UNTIED = Amount(
    name="untied",
    topic="model",
    ask="SmolLM2 has 135 million numbers. 28 million of them are the table that embeds words, and "
    "the same table scores them at the end. How many million would it have if the end had a table "
    "of its own?",
    answer=163,
    unit="million",
    within=0.5,
    why="135 + 28. The shared table was counted once, and a second one as large comes to it.",
    near={
        135: "The second table has to be stored somewhere. It was the sharing that saved it.",
        28: "That is the second table alone. The other 135 million are still there.",
        191: "That adds it twice. One of the two tables is among the 135 million already.",
        270: "The layers do not double, only the table.",
        107: "That takes the table away. It is still needed, and now a second one is, too.",
    },
    other="What is there already, and what has to be added?",
)

EVERY_ROW = Choice(
    name="every_row",
    topic="model",
    ask="A prompt of ten tokens goes through the model, and the head gives ten rows of scores, one "
    "for each token. What are the first nine rows?",
    answers={
        "Drafts of the last row, which get better from row to row": "Each is about another word. "
        "The third row knows three words and nothing of the rest.",
        "What the model expects after each of the first nine tokens": "Yes. Row three is exactly "
        "what you would get from a prompt of three tokens. Nobody needs it when writing, since "
        "the next word is there already; in training, every one of them is a lesson.",
        "Nothing useful: only the last row is computed to the end": "All ten go through every "
        "layer. An engine may spare nine of them the head; here it gave ten rows.",
    },
    right="What the model expects after each of the first nine tokens",
)

QUESTIONS = (UNTIED, EVERY_ROW)
