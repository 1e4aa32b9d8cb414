"""What a model directory says about its tokenizer: files in, one checked record out.

`tokenizer.json` holds the vocabulary and the rules. Around it, `tokenizer_config.json`,
`config.json` and `generation_config.json` say which tokens open and close a text, and hold the
chat template. This module reads and checks them; it encodes and decodes nothing.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_edu.errors import TokenizerError
from llama_edu.formats.strict_json import parse_object

__all__ = ["BYTE_LEVEL", "SENTENCEPIECE", "TokenizerFiles", "read_tokenizer_files"]

BYTE_LEVEL = "byte-level"
SENTENCEPIECE = "SentencePiece with byte fallback"

NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


@dataclass(frozen=True)
class TokenizerFiles:
    """The checked content of a directory's tokenizer files.

    `text` is `tokenizer.json`, with every token that has a special role marked as special there.
    `family` is `BYTE_LEVEL` or `SENTENCEPIECE`. `strips_space` tells whether decoding drops one
    leading space, the one that encoding put there. `names` maps a role such as "bos_token" to the
    text of its token, for the roles that `tokenizer_config.json` fills.
    """

    text: str
    family: str
    strips_space: bool
    unk_token: str | None
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    chat_template: str | None
    names: dict[str, str]


def read_tokenizer_files(directory: str | os.PathLike[str]) -> TokenizerFiles:
    """Read and check the tokenizer files of a model directory; `tokenizer.json` is required.

    Raises `TokenizerError` for a missing or damaged file, or a family that is not supported.
    """
    folder = Path(directory)
    rules = _read(folder / "tokenizer.json")
    if rules is None:
        raise TokenizerError(f"{directory}: expected a tokenizer.json, got none")
    source = str(folder / "tokenizer.json")
    settings = _read(folder / "tokenizer_config.json") or {}
    # Hugging Face's generate() stops at the ids of generation_config.json, where it has them.
    configs = [_read(folder / name) for name in ("generation_config.json", "config.json")]
    vocab = _checked_vocab(rules, source)
    family = _family(rules, source)
    bos = _role_ids("bos", configs, settings, vocab)
    eos = _role_ids("eos", configs, settings, vocab)
    # The tokenizer's own eos ends a text too: fine-tuned checkpoints give it a new one, and leave
    # the model's config as it was.
    named = vocab.get(_token_text(settings.get("eos_token")) or "")
    eos = eos if named is None or named in eos else (*eos, named)
    _mark_special(rules, vocab, {*_special_names(settings)}, {*bos, *eos})
    unk_token = rules["model"].get("unk_token")
    return TokenizerFiles(
        text=json.dumps(rules),
        family=family,
        strips_space=family == SENTENCEPIECE and _strips_space(rules.get("decoder")),
        unk_token=unk_token if isinstance(unk_token, str) else None,
        bos_token_id=bos[0] if bos else None,
        eos_token_ids=eos,
        chat_template=_chat_template(folder, settings),
        names=_named_tokens(settings),
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return parse_object(path.read_bytes(), str(path), TokenizerError)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise TokenizerError(
            f"{path}: expected a readable file, got {problem.strerror}"
        ) from problem


def _checked_vocab(rules: Mapping[str, Any], source: str) -> dict[str, int]:
    """Token text → id, of the model and of the tokens added to it."""
    model = rules.get("model")
    if not isinstance(model, dict):
        raise TokenizerError(f"{source}: expected a model, got {type(model).__name__}")
    vocab = model.get("vocab")
    kind = model.get("type", "BPE" if "merges" in model else "unknown")
    if kind != "BPE" or not isinstance(vocab, dict):
        raise TokenizerError(
            f"{source}: expected a byte-pair encoding (BPE), got {kind!r}: not supported"
        )
    added = rules.get("added_tokens") or []
    if not isinstance(added, list):
        raise TokenizerError(f"{source}: expected a list of added_tokens, got {added!r:.60}")
    known = dict(vocab)
    for entry in added:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise TokenizerError(f"{source}: expected added_tokens with content, got {entry!r:.60}")
        known[entry["content"]] = entry.get("id")
    if not all(type(token_id) is int and token_id >= 0 for token_id in known.values()):
        raise TokenizerError(f"{source}: expected every token to have an id")
    return known


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The JSON objects in a list; nothing when it is not a list."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict):
            yield entry


def _family(rules: Mapping[str, Any], source: str) -> str:
    steps = [*_steps(rules.get("pre_tokenizer")), *_steps(rules.get("decoder"))]
    kinds = {str(step.get("type")) for step in steps}
    if "ByteLevel" in kinds:
        return BYTE_LEVEL
    if rules["model"].get("byte_fallback") and kinds & {"ByteFallback", "Metaspace"}:
        return SENTENCEPIECE
    found = ", ".join(sorted(kinds))[:80] or "no such step"
    raise TokenizerError(
        f"{source}: expected a ByteLevel step, or SentencePiece with byte_fallback, "
        f"got {found}: not supported"
    )


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """A pre-tokenizer or decoder as a flat row of steps, sequences opened up."""
    pending = [part]
    while pending:
        step = pending.pop(0)
        if not isinstance(step, dict):
            continue
        inner = step.get("pretokenizers") or step.get("decoders")
        if step.get("type") == "Sequence" and isinstance(inner, list):
            pending = [*inner, *pending]
        else:
            yield step


def _strips_space(decoder: Any) -> bool:
    for step in _steps(decoder):
        if step.get("type") == "Strip" and step.get("content") == " ":
            return bool(step.get("start"))
        if step.get("type") == "Metaspace":
            never = step.get("prepend_scheme") == "never" or step.get("add_prefix_space") is False
            return not never
    return False


def _named_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: _token_text(settings.get(name)) for name in NAMED_TOKENS}
    return {name: text for name, text in texts.items() if text is not None}


def _special_names(settings: Mapping[str, Any]) -> Iterator[str]:
    """The tokens `tokenizer_config.json` gives a role."""
    yield from _named_tokens(settings).values()
    extra = settings.get("additional_special_tokens")
    for entry in extra if isinstance(extra, list) else ():
        if (text := _token_text(entry)) is not None:
            yield text


def _token_text(value: Any) -> str | None:
    """A token is written as text, or as an object with a `content`."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) and text else None


def _mark_special(
    rules: dict[str, Any], vocab: Mapping[str, int], names: set[str], ids: set[int]
) -> None:
    """Mark in `rules` every token with a role as special.

    Fine-tuned checkpoints exist whose `<|im_end|>` is an ordinary added token, or no added token
    at all. A user who typed it would end the turn. `rules` is ours, read a moment ago.
    """
    added = {entry["content"]: entry for entry in rules.get("added_tokens") or ()}
    for text, token_id in vocab.items():
        if text not in names and token_id not in ids:
            continue
        entry = added.setdefault(
            text,
            {
                "id": token_id,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            },
        )
        entry["special"] = True
    rules["added_tokens"] = sorted(added.values(), key=lambda entry: int(entry["id"]))


def _role_ids(
    role: str,
    configs: list[dict[str, Any] | None],
    settings: Mapping[str, Any],
    vocab: Mapping[str, int],
) -> tuple[int, ...]:
    """The ids with a role: of the first config that names some, else of the token named."""
    for config in configs:
        value = (config or {}).get(f"{role}_token_id")
        ids = value if isinstance(value, list) else [] if value is None else [value]
        known = set(vocab.values()) if ids else set()
        for token_id in ids:
            if type(token_id) is not int or token_id not in known:
                raise TokenizerError(
                    f"expected {role}_token_id to be among the {len(vocab)} tokens "
                    f"of tokenizer.json, got {token_id!r}"
                )
        if ids:
            return tuple(ids)
    text = _token_text(settings.get(f"{role}_token"))
    return (vocab[text],) if text is not None and text in vocab else ()


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The template as text: of its own file, else of the settings (one, or several by name)."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        try:
            return own.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise TokenizerError(f"{own}: expected UTF-8 text, got {problem}") from problem
    template = settings.get("chat_template")
    for entry in _objects(template):
        if entry.get("name") == "default":
            template = entry.get("template")
    return template if isinstance(template, str) else None
