"""What turns used: sums that hold, and the words and the table that show them."""

import pytest

from llama_edu.chat.usage import CacheMissReason, TurnUsage, usage_table

FIRST = TurnUsage(prompt_tokens=26, reused=0, computed=26, generated=8)
EDITED = TurnUsage(49, 42, 7, 11, dropped=37, reason=CacheMissReason.EDITED)
FULL = TurnUsage(90, 12, 78, 5, dropped=80, reason=CacheMissReason.OVERFLOW, forgotten=2)


def test_a_prompt_is_what_was_reused_and_what_was_computed():
    with pytest.raises(AssertionError):
        TurnUsage(prompt_tokens=5, reused=2, computed=2, generated=1)


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (FIRST, "26 prompt tokens = 0 reused + 26 computed, 8 new"),
        (EDITED, "49 prompt tokens = 42 reused + 7 computed, 11 new; 37 dropped: edited"),
        (
            FULL,
            "90 prompt tokens = 12 reused + 78 computed, 5 new; 80 dropped: overflow; "
            "oldest 2 turns left out",
        ),
        (
            TurnUsage(26, 16, 10, 20, reason=CacheMissReason.OTHER),
            "26 prompt tokens = 16 reused + 10 computed, 20 new; from there on: other conversation",
        ),
        (
            TurnUsage(9, 0, 9, 5, forgotten=1),
            "9 prompt tokens = 0 reused + 9 computed, 5 new; oldest turn left out",
        ),
    ],
)
def test_in_words(usage, words):
    assert usage.in_words() == words


def test_the_table_adds_up():
    assert list(usage_table([FIRST, EDITED, FULL])) == [
        " turn  prompt  reused  computed   new  dropped  why",
        "    1      26       0        26     8        0",
        "    2      49      42         7    11       37  edited",
        "    3      90      12        78     5       80  overflow, oldest 2 turns left out",
        "  all     165      54       111    24      117",
    ]


def test_a_table_of_nothing():
    assert list(usage_table([]))[-1] == "  all       0       0         0     0        0"
