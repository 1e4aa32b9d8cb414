"""Record how ``transformers`` renders and encodes conversations with chat templates.

    python -m tools.goldens.chat

Writes small tokenizers and ``goldens.json`` to ``tests/data/chat``: for each template in
``tests/data/chat/templates``, with each tokenizer, the text and the ids of several
conversations. And ``named.json``: for each way in which files may name tokens
(``tests/support/named_files.py``), the roles, the ids of texts and of a conversation. The
tests read these files and need no ``transformers``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import jinja2
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from named_files import CASES, TEMPLATE, TEXTS, write_case  # noqa: E402
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
    # Earlier thoughts, which templates cut out by looking for where they end.
    [
        ("user", "the"),
        ("assistant", "<think>\nhm, 2+2\n</think>\n\ncat"),
        ("user", "a"),
        ("assistant", "no thought"),
        ("user", "?"),
    ],
    [("user", "the"), ("assistant", "</think> a </think>cat "), ("user", "?")],
]


def tokenizers() -> dict[str, tuple[Tokenizer, dict[str, str]]]:
    """Each with its named tokens: words apart, merges across everything, SentencePiece."""
    joined = byte_level(across_words=True)
    thinking = byte_level()
    thinking.add_tokens(["<think>", "</think>"])
    joined.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    chatml = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    return {
        "words": (byte_level(), chatml),
        "joined": (joined, chatml),
        "thinking": (thinking, chatml),
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
    with tempfile.TemporaryDirectory() as folder:
        named = {
            name: named_tokens(write_case(name, Path(folder) / str(number)))
            for number, name in enumerate(CASES)
        }
    text = json.dumps({"versions": versions, "cases": named}, ensure_ascii=False, indent=1)
    (FOLDER / "named.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(named)} ways to name tokens")


def named_tokens(directory: Path) -> dict[str, Any]:
    """What a directory's files come to: roles, ids and texts, a conversation."""
    reference = PreTrainedTokenizerFast.from_pretrained(directory)
    encoded = [reference.encode(text) for text in TEXTS]
    talk = [{"role": role, "content": content} for role, content in TALKS[0]]
    options = {"chat_template": TEMPLATE, "add_generation_prompt": True}
    return {
        "names": dict(reference.special_tokens_map),
        "ids": encoded,
        "shown": [reference.decode(ids, skip_special_tokens=False) for ids in encoded],
        "said": [reference.decode(ids, skip_special_tokens=True) for ids in encoded],
        "text": reference.apply_chat_template(talk, tokenize=False, **options),
        "prompt": reference.apply_chat_template(talk, tokenize=True, return_dict=False, **options),
    }


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
