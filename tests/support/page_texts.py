"""A thousand texts that tokenizers disagree about: made by hypothesis, the same every time."""

from __future__ import annotations

from functools import cache

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<file_sep>")
AWKWARD = (
    *("the ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " a", " \n ", "don't", "I'LL'S we've", "12"),
    *(
        "345.67",
        "½²",
        "٣",
        "Ⅷ",
        "👩‍👩‍👧",
        "🐈",
        "🇮🇸",
        "naïve",
        "Straße",
        "ſ'ſ",
        "从前",
        "日本語の",
        "한국어",
    ),
    *("\u00a0", "\u200b", "\ufeff", "\u0085", "\u2028", "e\u0301", "\u0301", "'", '"', "…", "—"),
    *(
        "Once upon",
        " user",
        "<0x41>",
        "▁",
        "Ġ",
        "<|",
        "|>",
        "_",
        "http://a.b/c?d=1",
        "\x00",
        "\x7f",
    ),
)


@cache
def thousand_texts() -> tuple[str, ...]:
    """Joined from anything in Unicode, special tokens as a user types them, and plain words."""
    part = st.one_of(
        st.text(max_size=12),
        st.sampled_from(AWKWARD),
        st.sampled_from(SPECIALS),
        st.from_regex(r"[A-Za-z ,.!]{1,20}", fullmatch=True),
        st.from_regex(r"[0-9 ]{1,9}", fullmatch=True),
    )
    made: list[str] = []

    @settings(
        max_examples=1000,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(part, max_size=8).map("".join))
    def collect(text: str) -> None:
        made.append(text)

    collect()
    return tuple(made)
