"""Questions on serving."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

HELD_BACK = Amount(
    name="held_back",
    topic="serve",
    ask="A reply must end before the text `END`, and not show it. So far the model has written "
    "`THE EN`. How many of these six characters may not be sent yet?",
    answer=2,
    unit="characters",
    why="`EN` may be the beginning of `END`, and what is sent cannot be taken back. The four "
    "before it can no longer become part of it.",
    near={
        3: "The stop text has three letters, but only those that may begin it have to wait.",
        0: "If a `D` comes next, `END` is there, and two letters of it would have been sent.",
        6: "`THE` and the blank cannot become part of `END` any more. They may go.",
        1: "`N` alone begins nothing. It is the two together that may become `END`.",
        5: "Look from the end: which ending of the text is also a beginning of `END`?",
    },
    other="Look for the longest ending of the text that is also a beginning of `END`.",
)

EIGHT_TOGETHER = Choice(
    name="eight_together",
    topic="serve",
    ask="A step for one text takes 30 ms, a step for eight texts together takes 40 ms. Eight "
    "people want an answer of 100 words each. When do they have them, one after another or all "
    "together?",
    answers={
        "Together nobody has to wait longer than alone: 3 seconds each": "A shared step does "
        "take a little longer than one's own, 40 ms instead of 30.",
        "One after another the last waits 24 seconds; together all are done after 4": "Yes. 100 "
        "steps of 40 ms serve all eight. Only the very first would have been done sooner on "
        "their own, after 3 seconds.",
        "It is the same: eight times as much has to be computed": "As much is computed, but not "
        "as much is read. The weights are fetched once for all eight, and that takes most of the "
        "30 ms.",
        "Together takes eight times 4 seconds": "The 40 ms are for all eight texts at once.",
    },
    right="One after another the last waits 24 seconds; together all are done after 4",
)

QUESTIONS = (HELD_BACK, EIGHT_TOGETHER)
