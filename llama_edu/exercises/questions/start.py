"""Questions of the opening chapter: meet the model."""

from llama_edu.exercises.framework.question import Choice

__all__ = ["QUESTIONS"]

ASK_TWICE = Choice(
    name="ask_twice",
    topic="start",
    ask="You ask the model for the capital of France twice, in two fresh conversations, and each "
    "time the program takes the likeliest piece. How do the two answers differ?",
    answers={
        "In a few words, as a person would put it differently the second time": "A person has "
        "moods, and remembers having been asked. Here the same numbers go through the same sums. "
        "Where would a difference come from?",
        "The second one is better, since the model has met the question by then": "While it "
        "answers, its 135 million numbers are only read. Nothing of the first conversation is "
        "left in them.",
        "Not at all": "Yes. The same pieces go in, the same arithmetic is done, and the same piece "
        "is the likeliest. What makes chat programs vary is a draw that somebody adds on top.",
    },
    right="Not at all",
)

QUESTIONS = (ASK_TWICE,)
