"""GGUF metadata → `tokenizer.json` and `tokenizer_config.json`.

Two kinds are rebuilt: byte-level BPE (`tokenizer.ggml.model` "gpt2"), whose way of cutting text
into words GGUF keeps as a mere name, and SentencePiece BPE ("llama"), whose merges are found again
from the scores of its tokens. An unknown kind or name is refused: a guess would give ids that are
almost right.
"""

from collections.abc import Sequence
from typing import Any

from llama_edu.errors import TokenizerError
from llama_edu.hub.gguf.reader import GgufFile, Metadata

__all__ = ["hf_tokenizer", "hf_tokenizer_config"]

# tokenizer.ggml.token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

SPACE = "▁"  # U+2581

# How Llama 3 cuts text into words before merging (`pat_str` in Meta's llama3/tokenizer.py).
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(*, words: bool) -> dict[str, Any]:
    """Bytes to letters; `words` also cuts text the way GPT-2 does."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": words,
    }


# Other names for the last of these: llama.cpp reads them alike (`llama-vocab.cpp`, `pre_type`).
LLAMA3_NAMES = (
    "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"
)  # fmt: skip
PRE_TOKENIZERS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [_byte_level(words=True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _byte_level(words=True)],
    "llama-bpe": [
        {
            "type": "Split",
            "pattern": {"Regex": LLAMA3_WORDS},
            "behavior": "Isolated",
            "invert": False,
        },
        _byte_level(words=False),
    ],
}


def hf_tokenizer(file: GgufFile) -> dict[str, Any]:
    """The content of `tokenizer.json`, as the `tokenizers` library reads it.

    Raises `TokenizerError` for a kind or a pre-tokenizer that is not supported.
    """
    metadata = file.metadata
    tokens = metadata.array("tokenizer.ggml.tokens", str)
    types = metadata.array("tokenizer.ggml.token_type", int)
    if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise TokenizerError(
            f"{file.source}: expected {len(tokens)} different tokens, each with a type, "
            f"got {len(set(tokens))} different ones and {len(types)} types"
        )
    kind = metadata.text("tokenizer.ggml.model")
    if kind == "gpt2":
        parts = _byte_level_parts(metadata, file.source, tokens, types)
    elif kind == "llama":
        parts = _sentencepiece_parts(metadata, file.source, tokens, types)
    else:
        raise TokenizerError(
            f"{file.source}: expected a tokenizer of kind gpt2 or llama, got {kind!r}: "
            "not supported"
        )
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(tokens, types),
        **parts,
        "post_processor": _post_processor(metadata, file.source, tokens),
    }


def hf_tokenizer_config(file: GgufFile, max_length: int) -> dict[str, Any]:
    """The content of `tokenizer_config.json`: named tokens, context length, chat template."""
    metadata = file.metadata
    tokens = metadata.array("tokenizer.ggml.tokens", str)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token_id = metadata.optional(f"tokenizer.ggml.{key}_token_id", metadata.integer)
        if token_id is not None:
            config[f"{name}_token"] = _token(tokens, token_id, file.source)
    template = metadata.optional("tokenizer.chat_template", metadata.text)
    if template is not None:
        config["chat_template"] = template
    return config


def _token(tokens: Sequence[str], token_id: int, source: str) -> str:
    if not 0 <= token_id < len(tokens):
        raise TokenizerError(
            f"{source}: expected a token id from 0 to {len(tokens) - 1}, got {token_id}"
        )
    return tokens[token_id]


def _added_tokens(tokens: Sequence[str], types: Sequence[int]) -> list[dict[str, Any]]:
    """Tokens found in a text as they stand, before any merging; special ones are commands."""
    return [
        {
            "id": token_id,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != USER_DEFINED,
        }
        for token_id, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, UNKNOWN, USER_DEFINED)
    ]


def _vocab(tokens: Sequence[str], types: Sequence[int]) -> dict[str, int]:
    """Every token but the fillers that pad the embedding table."""
    return {token: i for i, token in enumerate(tokens) if types[i] != UNUSED}


def _byte_level_parts(
    metadata: Metadata, source: str, tokens: Sequence[str], types: Sequence[int]
) -> dict[str, Any]:
    named = metadata.text("tokenizer.ggml.pre", "")
    pre = "llama-bpe" if named in LLAMA3_NAMES else named
    if pre not in PRE_TOKENIZERS:
        raise TokenizerError(
            f"{source}: expected a pre-tokenizer of {', '.join(PRE_TOKENIZERS)}, got {named!r}: "
            "not supported"
        )
    vocab = _vocab(tokens, types)
    merges = [pair.split(" ") for pair in metadata.array("tokenizer.ggml.merges", str)]
    for pair in merges:
        if len(pair) != 2 or any(part not in vocab for part in (*pair, "".join(pair))):
            raise TokenizerError(
                f"{source}: expected merges of two tokens into a third, got {' '.join(pair)!r:.80}"
            )
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[pre]},
        "decoder": _byte_level(words=True),
        # Llama 3 takes a word that is a token as it is, even where merges lead elsewhere.
        "model": _bpe(vocab, merges, ignore_merges=pre == "llama-bpe"),
    }


def _sentencepiece_parts(
    metadata: Metadata, source: str, tokens: Sequence[str], types: Sequence[int]
) -> dict[str, Any]:
    if metadata.get("tokenizer.ggml.precompiled_charsmap"):
        raise TokenizerError(f"{source}: expected no precompiled_charsmap, got one: not supported")
    scores = metadata.array("tokenizer.ggml.scores", float)
    if len(scores) != len(tokens):
        raise TokenizerError(f"{source}: expected {len(tokens)} scores, got {len(scores)}")
    prefix = metadata.flag("tokenizer.ggml.add_space_prefix", True)
    unknown = metadata.integer("tokenizer.ggml.unknown_token_id", 0)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    steps = [{"type": "Prepend", "prepend": SPACE}, spaces] if prefix else [spaces]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    model = _bpe(_vocab(tokens, types), _merges_by_score(tokens, types, scores))
    model.update(unk_token=_token(tokens, unknown, source), fuse_unk=True, byte_fallback=True)
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
        "model": model,
    }


def _merges_by_score(
    tokens: Sequence[str], types: Sequence[int], scores: Sequence[float]
) -> list[list[str]]:
    """The merges SentencePiece would make, best first.

    It joins whichever neighbours form the token with the highest score. So each way to cut a token
    in two tokens is a merge, ranked by the score of the whole. Control and byte tokens take no
    part, else plain text could be merged into one.
    """
    ordinary = {t: scores[i] for i, t in enumerate(tokens) if types[i] in (NORMAL, USER_DEFINED)}
    merges = [
        (-score, i, token[:cut], token[cut:])
        for i, (token, score) in enumerate(ordinary.items())
        for cut in range(1, len(token))
        if token[:cut] in ordinary and token[cut:] in ordinary
    ]
    return [[left, right] for _, _, left, right in sorted(merges)]


def _bpe(
    vocab: dict[str, int], merges: list[list[str]], *, ignore_merges: bool = False
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": merges,
    }


def _post_processor(
    metadata: Metadata, source: str, tokens: Sequence[str]
) -> dict[str, Any] | None:
    """Adds bos before a text, eos after it, where the file says so.

    Where it does not, the defaults are llama.cpp's: bos for SentencePiece and for Llama 3.
    """
    kind = metadata.text("tokenizer.ggml.model")
    opens = kind == "llama" or metadata.get("tokenizer.ggml.pre") in LLAMA3_NAMES
    around: dict[str, str] = {}
    for name, default in (("bos", opens), ("eos", False)):
        token_id = metadata.optional(f"tokenizer.ggml.{name}_token_id", metadata.integer)
        if metadata.flag(f"tokenizer.ggml.add_{name}_token", default) and token_id is not None:
            around[name] = _token(tokens, token_id, source)
    if not around:
        return None

    def template(sequence: str, type_id: int) -> list[dict[str, Any]]:
        text: dict[str, Any] = {"Sequence": {"id": sequence, "type_id": type_id}}
        before, after = (
            [{"SpecialToken": {"id": around[name], "type_id": type_id}}] if name in around else []
            for name in ("bos", "eos")
        )
        return [*before, text, *after]

    return {
        "type": "TemplateProcessing",
        "single": template("A", 0),
        "pair": [*template("A", 0), *template("B", 1)],
        "special_tokens": {
            token: {"id": token, "ids": [tokens.index(token)], "tokens": [token]}
            for token in around.values()
        },
    }
