"""Questions on sampling."""

from llama_edu.exercises.framework.question import Amount, Choice

__all__ = ["QUESTIONS"]

HALF_TEMPERATURE = Amount(
    name="half_temperature",
    topic="sampling",
    ask="At temperature 1, one word is 4 times as likely as another. How many times as likely is "
    "it at temperature 0.5?",
    answer=16,
    unit="times",
    within=0.01,
    why="Dividing by 0.5 doubles the distance of the two scores, and a doubled distance *squares* "
    "the odds: 4 · 4.",
    near={
        8: "It is the distance of the scores that doubles. Odds are e to the power of that "
        "distance, so what happens to them?",
        2: "That is what temperature 2 would give: higher is flatter. Lower is sharper.",
        4: "Then temperature would change nothing.",
        4.5: "Nothing is added: the scores are divided by the temperature.",
    },
    other="The scores are divided by 0.5. What does that do to their distance, and what does the "
    "distance do to the odds?",
)

DOUBLED_LOGITS = Choice(
    name="doubled_logits",
    topic="sampling",
    ask="A mistake doubles all the scores before the draw. What does the reader of the text "
    "notice?",
    answers={
        "Nothing: the order of the words is the same": "If the likeliest word were always taken, "
        "yes. But words are drawn, and their probabilities have moved.",
        "It becomes bolder, with more unlikely words": "Doubling pulls the scores apart, so the "
        "unlikely words become rarer still.",
        "It becomes tamer, as if the temperature had been halved": "Yes, exactly as if: dividing "
        "by 0.5 is doubling. It is hard to notice, since the text is perfectly good.",
        "It becomes nonsense: the probabilities add up to 2": "They are made to add up to 1 "
        "afterwards, whatever the scores are.",
    },
    right="It becomes tamer, as if the temperature had been halved",
)

QUESTIONS = (HALF_TEMPERATURE, DOUBLED_LOGITS)
