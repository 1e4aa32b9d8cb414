"""A question on what splitting costs on the wire."""

from llama_edu.exercises.framework.question import Amount

__all__ = ["QUESTIONS"]

WAITING_FOR_WIRES = Amount(
    name="waiting_for_wires",
    topic="parallel",
    ask="A model of 40 layers is split by KV groups over two machines. A message of a few "
    "kilobytes takes 50 µs from one to the other. For a sum each machine sends all that it has to "
    "the other, both at the same time, and adds. How many milliseconds of each token are spent on "
    "waiting for the sums in the layers?",
    answer=4,
    unit="ms",
    within=0.01,
    why="Two sums a layer, after attention and after the MLP, are 80 messages of 50 µs. However "
    "fast the machines compute, they will not write more than 250 tokens a second.",
    near={
        2: "That is one sum a layer. Attention needs one, and the MLP another: between them the "
        "residual stream must be whole, because the norm looks at all of it.",
        8: "Round a ring a sum over two machines would be two steps. Here it is one message each "
        "way, and both go at the same time.",
        0.05: "That is one message. How many times does a token have to wait for one?",
    },
    other="Count how often, on its way through 40 layers, a token needs what the other machine "
    "has.",
)

QUESTIONS = (WAITING_FOR_WIRES,)
