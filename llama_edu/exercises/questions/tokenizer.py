"""Questions on text and ids."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

MERGE_TWICE = Amount(
    name="merge_twice",
    topic="tokenizer",
    ask="The text `hahaha` begins as six pieces, one for each letter. The list has two merges: "
    "first `h` + `a` makes `ha`, then `ha` + `ha` makes `haha`. How many pieces are left?",
    answer=2,
    unit="pieces",
    why="The first merge leaves `ha ha ha`. The second joins the first two of them, and `haha` and "
    "`ha` remain: no merge joins those.",
    near={
        3: "That is where the first merge leaves you. Now comes the second.",
        1: "For one piece, a third merge would have to join `haha` and `ha`. The list has none.",
        6: "That is the beginning, before any merge.",
    },
    other="Write the six letters down and join `h` and `a` wherever they meet. Then do the same "
    "for `ha` and `ha`, from the left.",
)

GREEK = Choice(
    name="greek",
    topic="tokenizer",
    ask="A list of pieces was learned by counting in English stories. The same short sentence is "
    "encoded in English and in Greek. Which of the two takes more tokens?",
    answers={
        "Neither: they say the same": "A token stands for a piece of text, not for what is meant "
        "by it. And which pieces there are was decided by counting.",
        "The English one, because the list has so many English pieces to choose from": "It has, "
        "and so a whole word is often one piece. The more there is to choose from, the fewer one "
        "needs.",
        "The Greek one": "Yes. Hardly any Greek letters stood side by side in English stories, so "
        "hardly any were joined. What is left are single bytes, two for each letter.",
        "The Greek one cannot be encoded at all": "It can: every text is bytes, and each byte "
        "has a piece of its own to fall back on.",
    },
    right="The Greek one",
)

QUESTIONS = (MERGE_TWICE, GREEK)
