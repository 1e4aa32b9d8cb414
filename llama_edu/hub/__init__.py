"""Models by name: where their files are, and how one that is not here gets here."""

from llama_edu.hub.registry import (
    BOOK_MODEL,
    FETCHABLE,
    PRETRAINED_MODEL,
    PackagedModel,
    Report,
    fetch,
    home,
    known_names,
    locate,
)

__all__ = [
    "BOOK_MODEL",
    "FETCHABLE",
    "PRETRAINED_MODEL",
    "PackagedModel",
    "Report",
    "fetch",
    "home",
    "known_names",
    "locate",
]
