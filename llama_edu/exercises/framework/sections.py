"""Where a section of the book is published: topic and heading in, address out.

This is the one place in the package that names the chapters' files.
"""

import re
import unicodedata

__all__ = ["BOOK", "CHAPTER_FILES", "chapter_number", "section_address"]

BOOK = "https://llama-edu.github.io/llama_edu/book"

CHAPTER_FILES = {
    "bytes": "01_read_raw_bytes",
    "linear": "02_multiply",
    "tokenizer": "03_text_to_ids",
    "norm_mlp": "04_embed_normalise_gate",
    "rope": "05_rotate",
    "scores": "06_qk_per_kv_group",
    "mask_softmax": "07_mask_and_softmax",
    "score_v": "08_score_v",
    "model": "09_whole_model",
    "generate": "10_generate_kv_cache",
    "sampling": "11_sample",
    "precision": "12_mixed_precision",
    "chat": "13_chat",
    "serve": "14_serve",
    "cost": "15_how_fast",
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
