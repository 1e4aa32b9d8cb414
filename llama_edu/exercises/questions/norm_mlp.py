"""Questions on norm and MLP."""

from llama_edu.exercises.framework.question import Choice

__all__ = ["QUESTIONS"]

TEN_TIMES = Choice(
    name="ten_times",
    topic="norm_mlp",
    ask="Just before a norm, somebody multiplies a word's whole list by 10. What does the norm "
    "hand on?",
    answers={
        "A list ten times as large": "The norm divides by the size of the list, and the size has "
        "grown tenfold as well.",
        "The same list as without the 10": "Yes, up to rounding. That is what it is for: it brings "
        "every list to one size, so whoever reads it sees only the proportions.",
        "A list a tenth as large": "It divides by what the list measures, once. Ten divided by ten "
        "is one.",
    },
    right="The same list as without the 10",
)

CLOSED_GATE = Choice(
    name="closed_gate",
    topic="norm_mlp",
    ask="A neuron's gate says −20, and what it has to offer is 1,000. About how much passes?",
    answers={
        "−20,000": "That would be a plain product. The gate goes through SiLU first, and there a "
        "large negative number becomes almost nothing.",
        "0": "Yes, less than a ten-thousandth. SiLU of −20 is so close to 0 that even 1,000 "
        "times it is next to nothing: the gate is shut.",
        "1,000": "That would be an open gate. This one says no, very firmly.",
        "980": "Nothing is added here: the gate decides what part of the offer passes.",
    },
    right="0",
)

QUESTIONS = (TEN_TIMES, CLOSED_GATE)
