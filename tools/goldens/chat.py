"""Record how ``transformers`` renders and encodes conversations with chat templates.

    python -m tools.goldens.chat

Writes three small tokenizers and ``goldens.json`` to ``tests/data/chat``: for each
template in ``tests/data/chat/templates``, with each tokenizer, the text and the ids of
several conversations. The tests read these files and need no ``transformers``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jinja2
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from tiny_files import byte_level, sentencepiece, write_tokenizer  # noqa: E402

FOLDER = ROOT / "tests" / "data" / "chat"

# One turn, blanks at every edge, letters that open control tokens, other scripts, nothing at all.
TALKS: list[list[tuple[str, str]]] = [
    [("user", "the cat")],
    [("system", "Be brief."), ("user", "Hello!\n"), ("assistant", "Hi.\n\n"), ("user", " 12")],
    [("user", "  Once\t"), ("assistant", "\n\nupon a time "), ("user", "\r\n")],
    [("user", "a < b, <|x|>, [x]"), ("assistant", "</ s> the cat"), ("user", "🐈 猫 naïve")],
    [("system", ""), ("user", "the"), ("assistant", ""), ("user", "cat")],
    [
        ("system", "Help. /no_think"),
        ("user", "the"),
        ("assistant", "<x>hm</x>\ncat"),
        ("user", "?"),
    ],
    [("user", 'say "hi"\\'), ("assistant", "hi & <bye>"), ("user", "{{ messages }} {% if %}")],
    [("user", "the cat"), ("assistant", "found 12 fish")],
]


def tokenizers() -> dict[str, tuple[Tokenizer, dict[str, str]]]:
    """Each with its named tokens: words apart, merges across everything, SentencePiece."""
    joined = byte_level(across_words=True)
    joined.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    chatml = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    return {
        "words": (byte_level(), chatml),
        "joined": (joined, chatml),
        "pieces": (sentencepiece(), {"bos_token": "<s>", "eos_token": "</s>"}),
    }


def main() -> None:
    """Write the tokenizers, the goldens, and the versions that made them."""
    templates = sorted((FOLDER / "templates").glob("*.jinja"))
    goldens = []
    for name, (backend, names) in tokenizers().items():
        directory = write_tokenizer(FOLDER / name, backend, **names)
        reference = PreTrainedTokenizerFast(
            tokenizer_file=str(directory / "tokenizer.json"), **names
        )
        for template in templates:
            for number, talk in enumerate(TALKS):
                golden = {"tokenizer": name, "template": template.stem, "talk": number}
                goldens.append(golden | encoded(reference, template.read_text("utf-8"), talk))
    versions = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    content = {"versions": versions, "talks": TALKS, "goldens": goldens}
    lines = json.dumps(content, ensure_ascii=False, indent=None).replace(
        '{"tokenizer"', '\n{"tokenizer"'
    )
    (FOLDER / "goldens.json").write_text(lines + "\n", encoding="utf-8")
    print(f"{len(goldens)} conversations")


def encoded(reference: Any, template: str, talk: list[tuple[str, str]]) -> dict[str, Any]:
    """Text and ids, or the template's own words where it refuses the conversation."""
    messages = [{"role": role, "content": content} for role, content in talk]
    options = {
        "chat_template": template,
        "add_generation_prompt": talk[-1][0] == "user",
    }
    try:
        text = reference.apply_chat_template(messages, tokenize=False, **options)
    except jinja2.TemplateError as problem:
        return {"refused": str(problem)}
    ids = reference.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
    return {"text": text, "ids": ids}


if __name__ == "__main__":
    main()
