"""Which notebook of the book tells of which topic, in the order of the walk.

Code, figures, exercises and tests are named by topic; only here, and in the names of the files,
do chapters have numbers. So the order can change in one place. Engines in other languages, and
their starters, point their readers to chapters by number; a test holds those to this table.
"""

import re
import unicodedata

__all__ = ["BOOK", "CHAPTER_FILES", "anchor", "chapter_number", "section_address"]

BOOK = "https://llama-edu.github.io/llama_edu/book"

CHAPTER_FILES = {
    "bytes": "01_read_raw_bytes",
    "tokenizer": "02_text_to_ids",
    "linear": "03_embed_and_multiply",
    "scores": "04_qk_per_kv_group",
    "mask_softmax": "05_mask_and_softmax",
    "score_v": "06_score_v",
    "rope": "07_rotate",
    "norm_mlp": "08_norm_mlp_residual",
    "model": "09_whole_model",
    "generate": "10_generate_kv_cache",
    "sampling": "11_sample",
    "precision": "12_mixed_precision",
    "chat": "13_chat",
    "serve": "14_serve",
    "cost": "15_how_fast",
    "faster": "16_guess_ahead",
    "parallel": "17_split_by_kv_groups",
}


def chapter_number(topic: str) -> int:
    """The number of the chapter on a topic: chapters are reordered, topics stay."""
    return int(CHAPTER_FILES[topic][:2])


def section_address(topic: str, heading: str) -> str:
    """The address of a section, given its topic and its heading without markup."""
    return f"{BOOK}/{CHAPTER_FILES[topic]}.html#{anchor(heading)}"


def anchor(heading: str) -> str:
    """The id that Sphinx gives a heading, unless an earlier one of the page has taken it."""
    plain = unicodedata.normalize("NFKD", heading.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789").rstrip("-")
