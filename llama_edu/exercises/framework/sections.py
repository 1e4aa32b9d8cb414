"""Where a section of the book is published: chapter and heading in, address out.

This is the one place in the package that names the chapters' files.
"""

import re
import unicodedata

__all__ = ["BOOK", "CHAPTER_FILES", "section_address"]

BOOK = "https://llama-edu.github.io/llama_edu/book"

CHAPTER_FILES = {
    1: "01_read_raw_bytes",
    2: "02_multiply",
    3: "03_text_to_ids",
    4: "04_embed_normalise_gate",
    5: "05_rotate",
    6: "06_qk_per_kv_group",
    7: "07_mask_and_softmax",
    8: "08_score_v",
    9: "09_whole_model",
    10: "10_generate_kv_cache",
    11: "11_sample",
    12: "12_mixed_precision",
    13: "13_chat",
    14: "14_serve",
    15: "15_how_fast",
}


def section_address(chapter: int, heading: str) -> str:
    """The address of a section, given its chapter and its heading without markup."""
    return f"{BOOK}/{CHAPTER_FILES[chapter]}.html#{anchor(heading)}"


def anchor(heading: str) -> str:
    """The id that Sphinx gives a heading, unless an earlier one of the page has taken it."""
    plain = unicodedata.normalize("NFKD", heading.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789").rstrip("-")
