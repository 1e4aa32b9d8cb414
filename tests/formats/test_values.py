"""What is handed around here cannot be changed on the way."""

from helpers import changeable


def test_only_what_has_a_state_can_be_assigned_to():
    assert changeable("llama_edu.formats") == set()
