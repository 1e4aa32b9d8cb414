"""The catalogue: mistakes in a whole model, each a real variation that can be run."""

from llama_edu.verify.mistakes.attention import ATTENTION
from llama_edu.verify.mistakes.base import TOPICS, Mistake, Topic
from llama_edu.verify.mistakes.cached import CACHED
from llama_edu.verify.mistakes.stored import STORED
from llama_edu.verify.mistakes.sublayers import SUBLAYERS

__all__ = ["CATALOGUE", "TOPICS", "Mistake", "Topic"]

CATALOGUE: dict[str, Mistake] = {
    mistake.key: mistake for mistake in (*STORED, *SUBLAYERS, *ATTENTION, *CACHED)
}
"""Every mistake by its key."""
