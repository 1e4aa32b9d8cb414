"""Questions on mask and softmax."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

EQUAL_SCORES = Amount(
    name="equal_scores",
    topic="mask_softmax",
    ask="A row of scores is 7, 7, 7, 7 and −∞. What percentage does the first one get?",
    answer=25,
    unit="percent",
    within=0.01,
    why="Four equal scores share everything. The fifth gets e^−∞, which is 0, and it does not "
    "matter at all how large the 7 is.",
    near={
        20: "That divides by five. What share does −∞ get?",
        7: "That is the score. Shares add up to 100%.",
        100: "It is the largest, but three others are just as large.",
        35: "Scores are not shares: raise them all by 10 and the shares stay as they are.",
    },
    other="Which of the five get anything at all, and how do those differ from each other?",
)

NO_MASK = Choice(
    name="no_mask",
    topic="mask_softmax",
    ask="Somebody leaves the mask out. A prompt of ten tokens is run at once, and of every layer "
    "you look only at the row of the *last* token. What do you see?",
    answers={
        "It is right in every layer, since the last token may look at everything anyway": "Its own "
        "looking is allowed. But what does it look at? The rows of the others are not what they "
        "should be any more.",
        "It is right after the first layer's attention, and wrong from the second layer on": "Yes. "
        "In the first layer it looks at the embeddings, and those know nothing of a mask. From "
        "there on the other nine carry something of words they should not have seen, and it "
        "takes that from them.",
        "It is wrong everywhere": "Not in the first layer: there the last token may look at all "
        "ten, with a mask or without, and nobody has been spoilt yet.",
    },
    right="It is right after the first layer's attention, and wrong from the second layer on",
)

QUESTIONS = (EQUAL_SCORES, NO_MASK)
