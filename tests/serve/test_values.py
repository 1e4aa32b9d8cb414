"""What is handed around here cannot be changed on the way."""

from helpers import changeable

from llama_edu.serve.job import Choice, Job


def test_only_what_has_a_state_can_be_assigned_to():
    assert changeable("llama_edu.serve") == {
        "Choice",
        "Job",
        "Step",
    }  # what a scheduler moves forward


def test_of_two_that_are_alike_each_is_its_own():
    assert Choice.__eq__ is Job.__eq__ is object.__eq__
