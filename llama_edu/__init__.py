"""llama_edu: a Llama, from the bytes of its checkpoint to generated text, in readable NumPy."""

from typing import TYPE_CHECKING, Any

from llama_edu.engine.cache import KVCache
from llama_edu.engine.generate import generate
from llama_edu.engine.llama import Llama
from llama_edu.engine.sampling import Sampling
from llama_edu.engine.trace import Trace
from llama_edu.formats.config import LlamaConfig
from llama_edu.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llama_edu.chat.session import ChatSession

__all__ = [
    "ChatSession",
    "KVCache",
    "Llama",
    "LlamaConfig",
    "Sampling",
    "Tokenizer",
    "Trace",
    "generate",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `ChatSession` at its first use: template engine and all, it is a third of the rest.

    Any other name is an `AttributeError`, as in a module without this function.
    """
    if name != "ChatSession":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from llama_edu.chat.session import ChatSession

    return ChatSession
