"""Text to token ids and back, on the `tokenizers` library, with text that streams safely.

Two families of byte-pair encoding are read, as Llama checkpoints use them: byte-level (GPT-2's, in
Llama 3, SmolLM and this package's own models) and SentencePiece's with byte fallback (Llama 2,
Mistral). Others are refused by name. Chat templates are kept as text; nothing renders them here.

Decoding works on bytes, never on pieces of text. A token may end in the middle of a character:
its bytes wait until the rest has come. `tokenizers` decodes for the round-trip tests only.
"""

import codecs
import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers

from llama_edu import hub
from llama_edu._json import parse_object
from llama_edu._tokenizer_files import TokenizerFiles, read_tokenizer_files
from llama_edu.errors import TokenizerError

__all__ = ["TextStream", "Tokenizer"]

