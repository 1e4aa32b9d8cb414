"""The detective exercise: its answers are true, not merely what two versions agree on."""

import pytest

from llama_edu.exercises.rope import LAYOUT_OF

CASES = LAYOUT_OF.cases()


@pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
def test_the_layout_found_is_the_one_the_checkpoint_was_given(case):
    truth = "interleaved" if "interleaved" in case.label else "half-split"
    assert [answer(*case.args) for answer in LAYOUT_OF.correct] == [truth] * 2
