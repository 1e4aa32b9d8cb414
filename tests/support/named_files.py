"""Model directories in which different files name the tokens, for goldens and for tests.

Hugging Face's layout has grown: what a token is called, and what it is for, may stand in any of
five files. Each case here says it in another way, on top of one of two small tokenizers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_files import write_json

CHAT = Path(__file__).parents[1] / "data" / "chat"

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    "the cat",
    " the<|im_end|> cat<|im_start|>\n<|endoftext|>",
    "<|new|> the<plain>cat <tool>\n",
    "<think>the</think> [PAD] <|image|>",
    "the </s><s>cat<unk>",
]

Rules = dict[str, Any]


def _write(directory: Path, rules: Rules, files: dict[str, Any]) -> Path:
    directory.mkdir(parents=True)
    write_json(directory / "tokenizer.json", rules)
    for name, content in files.items():
        write_json(directory / f"{name}.json", content)
    return directory


def _base(name: str) -> Rules:
    rules: Rules = json.loads((CHAT / name / "tokenizer.json").read_text("utf-8"))
    return rules


def _without_added(rules: Rules) -> Rules:
    return rules | {"added_tokens": []}


def _unmarked(rules: Rules) -> Rules:
    return rules | {"added_tokens": [token | {"special": False} for token in rules["added_tokens"]]}


def _opening(rules: Rules) -> Rules:
    """Opens every text with <|im_start|>."""
    bos: Rules = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    parts = [{"Sequence": {"id": letter, "type_id": 0}} for letter in "AB"]
    tokens = {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
    around = {"single": [bos, parts[0]], "pair": [bos, *parts], "special_tokens": tokens}
    return rules | {"post_processor": {"type": "TemplateProcessing", **around}}


def _token(content: str, **flags: bool) -> Rules:
    plain = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"content": content, **plain, **flags}


def _same(rules: Rules) -> Rules:
    return rules


MARKERS = {
    str(token_id): _token(content, special=True)
    for token_id, content in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
}

# Case → the tokenizer it starts from, what is done to tokenizer.json, and the files beside it.
CASES: dict[str, tuple[str, Callable[[Rules], Rules], dict[str, Any]]] = {
    "roles in special_tokens_map.json": (
        "words",
        _same,
        {"special_tokens_map": {"bos_token": "<|im_start|>", "eos_token": _token("<|im_end|>")}},
    ),
    "roles in both, the older file wins": (
        "words",
        _same,
        {
            "tokenizer_config": {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"},
            "special_tokens_map": {"bos_token": "<|im_start|>"},
        },
    ),
    "roles in the settings of the newer kind": (
        "words",
        _same,
        {
            "tokenizer_config": {
                "bos_token": "<|endoftext|>",
                "eos_token": "<|im_end|>",
                "added_tokens_decoder": MARKERS,
            },
            "special_tokens_map": {"bos_token": "<|im_start|>"},
        },
    ),
    "tokens in added_tokens_decoder only": (
        "words",
        _without_added,
        {
            "tokenizer_config": {
                "eos_token": "<|im_end|>",
                "added_tokens_decoder": MARKERS
                | {
                    "400": _token("<|new|>", special=True),
                    "401": _token("<plain>", special=False),
                },
            }
        },
    ),
    "added_tokens_decoder says how to match": (
        "words",
        _same,
        {
            "tokenizer_config": {
                "added_tokens_decoder": MARKERS
                | {"2": _token("<|im_end|>", special=True, lstrip=True, rstrip=True)}
            }
        },
    ),
    "tokens in added_tokens.json": (
        "words",
        _same,
        {
            "added_tokens": {"<tool>": 400, "<think>": 401, "</think>": 402},
            "special_tokens_map": {"extra_special_tokens": ["<tool>"]},
        },
    ),
    "tokens of the vocabulary in added_tokens.json": (
        "words",
        _without_added,
        {"added_tokens": {"<|im_start|>": 1, "<|im_end|>": 2}},
    ),
    "new tokens beside those that tokenizer.json adds": (
        "thinking",
        _same,
        {
            "added_tokens": {"<tool>": 402},
            "special_tokens_map": {"pad_token": "[PAD]", "additional_special_tokens": ["<|new|>"]},
        },
    ),
    "tokens in added_tokens.json, with \u2581 for spaces": (
        "pieces",
        _same,
        {"added_tokens": {"<tool>": 288, "<plain>": 289}},
    ),
    "roles and extras without an id": (
        "words",
        _same,
        {
            "special_tokens_map": {"pad_token": "[PAD]", "eos_token": "<|im_end|>"},
            "tokenizer_config": {"additional_special_tokens": ["<|new|>"]},
        },
    ),
    "roles of one's own": (
        "words",
        _same,
        {"tokenizer_config": {"extra_special_tokens": {"image_token": "<|image|>"}}},
    ),
    "roles for tokens that nobody marked": (
        "words",
        _unmarked,
        {"special_tokens_map": {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}},
    ),
    "add_bos_token counts for nothing": (
        "words",
        _same,
        {
            "tokenizer_config": {
                "bos_token": "<|im_start|>",
                "eos_token": "<|im_end|>",
                "add_bos_token": True,
                "add_eos_token": True,
            }
        },
    ),
    "nor where it is false": (
        "words",
        _opening,
        {"tokenizer_config": {"bos_token": "<|im_start|>", "add_bos_token": False}},
    ),
    "bos as tokenizer.json says": (
        "words",
        _opening,
        {"tokenizer_config": {"bos_token": "<|endoftext|>"}},
    ),
    "SentencePiece with ChatML added": (
        "pieces",
        _same,
        {
            "added_tokens": {"<|im_start|>": 288, "<|im_end|>": 289},
            "special_tokens_map": {"bos_token": "<s>", "eos_token": "<|im_end|>"},
            "tokenizer_config": {"unk_token": "<unk>"},
        },
    ),
    "SentencePiece, all of it in the settings": (
        "pieces",
        _without_added,
        {
            "tokenizer_config": {
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "added_tokens_decoder": {
                    str(i): _token(text, special=True)
                    for i, text in enumerate(("<unk>", "<s>", "</s>"))
                },
            }
        },
    ),
}


def write_case(name: str, directory: Path) -> Path:
    """The model directory of a case (without weights)."""
    base, change, files = CASES[name]
    return _write(directory, change(_base(base)), files)
