"""The text that models with a tokenizer are fed, as ids."""

from pathlib import Path

from llama_edu.errors import LlamaEduError
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.verify.checkpoints import TINY

__all__ = ["ids_of_text"]

TEXT = (
    "Once upon a time, a small boat lay by the river. A girl and her old dog saw it there, and the "
    "girl said: who are you waiting for? The dog knew, but dogs do not say such things."
)


def ids_of_text(directory: Path, name: str) -> tuple[int, ...]:
    """Ids of a text in the model's own language; none for a random checkpoint."""
    if name in {tiny.name for tiny in TINY}:
        return ()
    try:
        return tuple(Tokenizer(directory).encode(TEXT, add_special=False))
    except LlamaEduError:
        return ()
