"""llama_edu: a Llama, from the bytes of its checkpoint to generated text, in readable NumPy."""

from llama_edu.cache import KVCache
from llama_edu.chat import ChatSession
from llama_edu.config import LlamaConfig
from llama_edu.generate import generate
from llama_edu.model import Llama
from llama_edu.sampling import Sampling
from llama_edu.tokenizer import Tokenizer
from llama_edu.trace import Trace

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
