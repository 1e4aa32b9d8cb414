"""Small model files made on the spot: tokenizers of both families, GGUF files, a wheel.

Everything is built with the libraries that define the formats (`tokenizers`, `gguf`, `zipfile`),
so that what our readers are tested on was not written by our own code.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = (
    "Once upon a time there was a cat. The cat couldn't find 12 fish, it found 345 birds!\n"
    "  Two spaces, then a line.\n\nEine Katze saß auf dem Dach. Il était une fois un chat.\n"
    "从前有一只猫。猫找到了鱼。🐈🐟 👩‍👩‍👧 naïve café — “quoted” …\n"
) * 3
CHAT_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# As llama.cpp names them. Split points of each were taken from the models' own files.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    "llama-bpe": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


@cache
def _trained(vocab_size: int, across_words: bool) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=not across_words
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=CHAT_TOKENS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    return tokenizer.to_str()


def byte_level(
    pre: str = "gpt-2", *, bos: bool = False, vocab_size: int = 400, across_words: bool = False
) -> Tokenizer:
    """A byte-level BPE trained on a few lines; its first three tokens are special.

    With `across_words` the merges join anything to anything, "12" and "t. T" too, so that where
    `pre` cuts a text is seen in the ids.
    """
    rules = json.loads(_trained(vocab_size, across_words))
    rules["model"]["ignore_merges"] = pre == "llama-bpe"
    tokenizer = Tokenizer.from_str(json.dumps(rules))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        )
    return tokenizer


# Token → score, as SentencePiece trains them: the earlier merged, the higher. No control token.
PIECES = {
    "▁t": -1.0, "▁th": -3.0, "▁the": -4.0, "he": -2.0, "ca": -5.0, "cat": -6.0, "▁cat": -7.0,
    "▁c": -8.0, "▁ca": -9.0, "at": -10.0, "▁▁": -11.0, "s>": -12.0, "</": -13.0, "▁a": -14.0,
}  # fmt: skip
LETTERS = "▁etacthsn.</>0é猫"


def sentencepiece_pieces() -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores and GGUF token types of a SentencePiece BPE with byte fallback."""
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = list(dict.fromkeys(LETTERS))
    tokens = ["<unk>", "<s>", "</s>", *byte_tokens, *PIECES, *letters]
    scores = [0.0] * 259 + [*PIECES.values()] + [-20.0 - i for i in range(len(letters))]
    kind = gguf.TokenType
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256
    return tokens, scores, [int(t) for t in types + [kind.NORMAL] * (len(tokens) - 259)]


def sentencepiece() -> Tokenizer:
    """The same as Hugging Face would store it, `</s>` reachable by merges as in Llama 2's."""
    tokens, _, _ = sentencepiece_pieces()
    merges = [("▁", "t"), ("h", "e"), ("▁t", "h"), ("▁t", "he"), ("▁th", "e"), ("c", "a")]
    merges += [("ca", "t"), ("▁", "cat"), ("▁", "c"), ("▁", "ca"), ("▁c", "a"), ("▁ca", "t")]
    merges += [("a", "t"), ("▁", "▁"), ("s", ">"), ("<", "/"), ("</", "s>"), ("▁", "a")]
    rules = {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": content, "special": True, "normalized": False}
            | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
            for i, content in enumerate(("<unk>", "<s>", "</s>"))
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,
        },
    }
    return Tokenizer.from_str(json.dumps(rules))


STORY_TOKENS = ["<unk>", "<|start_story|>", "<|end_story|>"]


def pieces_without_bytes(vocab_size: int = 90, *, fuse_unk: bool = True) -> Tokenizer:
    """A small story model's tokenizer: ▁ for spaces, byte fallback asked for, and no byte tokens.

    So what its letters cannot write is unknown, and nothing else.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=fuse_unk))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=STORY_TOKENS, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS.splitlines()[:1], trainer)
    return tokenizer


def write_tokenizer(directory: Path, tokenizer: Tokenizer, **settings: Any) -> Path:
    """A directory with `tokenizer.json`, and `tokenizer_config.json` if there are settings."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    if settings:
        write_json(directory / "tokenizer_config.json", settings)
    return directory


GGUF_CONFIG: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 64,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.rope.dimension_count": 16,
    "llama.rope.freq_base": 5000.0,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}


def gguf_tokenizer(pre: str = "smollm", tokenizer: Tokenizer | None = None) -> dict[str, Any]:
    """The metadata that carries a byte-level tokenizer."""
    rules = json.loads((tokenizer or byte_level(pre)).to_str())
    vocab = rules["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    kind = gguf.TokenType
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [
            int(kind.CONTROL if token in CHAT_TOKENS else kind.NORMAL) for token in tokens
        ],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in rules["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages }}",
    }


def gguf_tensors(seed: int = 0, vocab_size: int = 400, *, tied: bool = True) -> dict[str, Any]:
    """Random weights under GGUF's names, for `GGUF_CONFIG`."""
    rng = np.random.default_rng(seed)
    shapes = {"token_embd": (vocab_size, 64), "output_norm": (64,)}
    for i in range(2):
        shapes |= {
            f"blk.{i}.{name}": shape
            for name, shape in {
                "attn_norm": (64,),
                "attn_q": (64, 64),
                "attn_k": (32, 64),
                "attn_v": (32, 64),
                "attn_output": (64, 64),
                "ffn_norm": (64,),
                "ffn_gate": (96, 64),
                "ffn_up": (96, 64),
                "ffn_down": (64, 96),
            }.items()
        }
    if not tied:
        shapes["output"] = (vocab_size, 64)
    return {
        f"{name}.weight": rng.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
        + np.float32("norm" in name)
        for name, shape in shapes.items()
    }


def write_gguf(
    path: Path,
    tensors: Mapping[str, np.ndarray] | None = None,
    metadata: Mapping[str, Any] | None = None,
    quantised: Mapping[str, gguf.GGMLQuantizationType] | None = None,
) -> Path:
    """A GGUF file by the `gguf` library. A metadata value of None leaves that key out."""
    values = {**GGUF_CONFIG, **gguf_tokenizer(), **(metadata or {})}
    writer = gguf.GGUFWriter(path, values["general.architecture"])
    for key, value in values.items():
        if key == "general.architecture" or value is None:
            continue  # the writer has put it there
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
            add.get(type(value), writer.add_string)(key, value)
    for name, values in (gguf_tensors() if tensors is None else tensors).items():
        kind = (quantised or {}).get(name)
        if kind is None:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Path:
    """A wheel that pip and uv accept, holding `files`."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        "Requires-Dist: a-package-that-does-not-exist\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content = {**files, **{path: text.encode() for path, text in texts.items()}}
    record = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in {**content, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, data)
    return wheel
