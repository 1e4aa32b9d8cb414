"""What is handed around here cannot be changed on the way."""

from helpers import changeable


def test_only_what_has_a_state_can_be_assigned_to():
    # The nodes of the prefix cache grow and are dropped; a guesser counts, and learns its pace.
    assert changeable("llama_edu.engine") == {"_Node", "Tally", "Pace"}
