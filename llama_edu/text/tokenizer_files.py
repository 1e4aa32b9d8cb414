"""What a model directory says about its tokenizer: files in, one checked record out.

`tokenizer.json` holds the vocabulary and the rules. Around it lie files that name tokens, each
older than the next: `added_tokens.json`, `special_tokens_map.json`, `tokenizer_config.json` (roles,
and `added_tokens_decoder`), and the configs with `bos_token_id` and `eos_token_id`. All are read,
in transformers' order of precedence (`tokenization_utils_base.py`, `_from_pretrained`): a token
that any of them names is a token, never spelled out letter by letter. The chat template comes from
here, too. This module reads and checks; it encodes and decodes nothing.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_edu.errors import TokenizerError
from llama_edu.formats.strict_json import parse_object, short

__all__ = ["BYTE_LEVEL", "SENTENCEPIECE", "TokenizerFiles", "read_tokenizer_files"]

BYTE_LEVEL = "byte-level"
SENTENCEPIECE = "SentencePiece"

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class TokenizerFiles:
    """The checked content of a directory's tokenizer files.

    `text` is `tokenizer.json` with every token in it that some file names, those with a role marked
    as special. `family` is `BYTE_LEVEL` or `SENTENCEPIECE`. `byte_fallback` tells whether letters
    without a token are written in tokens such as `<0x0A>`, `decodes_bytes` whether those are read
    as bytes, `strips_space` whether decoding drops one leading space, the one that encoding put
    there. `unk_token` stands for what the vocabulary cannot write, several in
    a row as one if `fuse_unk`. `names` maps a role such as "bos_token" to the text of its token.
    """

    text: str
    family: str
    byte_fallback: bool
    decodes_bytes: bool
    strips_space: bool
    unk_token: str | None
    fuse_unk: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    chat_template: str | None
    names: dict[str, str]


def read_tokenizer_files(directory: str | os.PathLike[str]) -> TokenizerFiles:
    """Read and check the tokenizer files of a model directory; `tokenizer.json` is required.

    Raises `TokenizerError` for a missing or damaged file, a family that is not supported, or files
    that give one id to two tokens.
    """
    folder = Path(directory)
    rules = _read(folder / "tokenizer.json")
    if rules is None:
        raise TokenizerError(f"{directory}: expected a tokenizer.json, got none")
    source = str(folder / "tokenizer.json")
    settings = _read(folder / "tokenizer_config.json") or {}
    # Hugging Face's generate() stops at the ids of generation_config.json, where it has them.
    configs = [_read(folder / name) or {} for name in ("generation_config.json", "config.json")]
    _checked_vocab(rules, source)
    family, decodes_bytes, strips_space = _family(rules, source)
    roles, others = _named(settings, _read(folder / "special_tokens_map.json") or {})
    specials = {_text_of(token): token for token in (*roles.values(), *others)}
    _add_tokens(rules, _entries(folder, settings, source), specials, source)
    vocab = _checked_vocab(rules, source)
    names = {role: _text_of(token) for role, token in roles.items()}
    bos = _role_ids("bos", configs, names, vocab)
    eos = _role_ids("eos", configs, names, vocab)
    # The tokenizer's own eos ends a text too: fine-tuned checkpoints give it a new one, and leave
    # the model's config as it was.
    named = vocab.get(names.get("eos_token", ""))
    eos = eos if named is None or named in eos else (*eos, named)
    text_of = {token_id: text for text, token_id in vocab.items()}
    for role, ids in (("bos_token", bos), ("eos_token", eos)):
        if ids:
            names.setdefault(role, text_of[ids[0]])
    _mark_special(rules, vocab, specials.keys(), {*bos, *eos})
    unk_token = rules["model"].get("unk_token")
    # The library would fail at the first unknown letter.
    if not isinstance(unk_token, str) or unk_token not in vocab:
        rules["model"]["unk_token"] = unk_token = None
    return TokenizerFiles(
        text=json.dumps(rules),
        family=family,
        byte_fallback=bool(rules["model"].get("byte_fallback")),
        decodes_bytes=decodes_bytes,
        strips_space=strips_space,
        unk_token=unk_token,
        fuse_unk=bool(rules["model"].get("fuse_unk")),
        bos_token_id=bos[0] if bos else None,
        eos_token_ids=eos,
        chat_template=_chat_template(folder, settings),
        names=names,
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
    for token, token_id in known.items():
        if type(token_id) is not int or token_id < 0:
            raise TokenizerError(
                f"{source}: expected every token to have an id of 0 or more, got {token_id!r:.30} "
                f"for {token!r:.60}"
            )
    return known


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The JSON objects in a list; nothing when it is not a list."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict):
            yield entry


def _family(rules: Mapping[str, Any], source: str) -> tuple[str, bool, bool]:
    """The family, whether `<0x0A>` is a byte, and whether decoding drops a leading space."""
    model = rules["model"]
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise TokenizerError(
                f"{source}: expected no {name}, got {short(model[name])}: not supported"
            )
    decoding = list(_steps(rules.get("decoder")))
    kinds = {str(step.get("type")) for step in (*_steps(rules.get("pre_tokenizer")), *decoding)}
    if "ByteLevel" in kinds:
        return BYTE_LEVEL, False, False
    if not kinds & {"ByteFallback", "Metaspace"} and not any(map(_writes_spaces, decoding)):
        found = ", ".join(sorted(kinds))[:80] or "no such step"
        raise TokenizerError(
            f"{source}: expected a ByteLevel step, or SentencePiece's ▁ for spaces, "
            f"got {found}: not supported"
        )
    for step in decoding:
        known = step.get("type") in ("ByteFallback", "Fuse", "Metaspace")
        if not known and not _writes_spaces(step) and not _strips_one(step):
            raise TokenizerError(
                f"{source}: expected a decoder of ▁, bytes and one leading space, "
                f"got {short(step)}: not supported"
            )
    decodes_bytes = bool(model.get("byte_fallback")) or "ByteFallback" in kinds
    return SENTENCEPIECE, decodes_bytes, _strips_space(decoding)


def _writes_spaces(step: Mapping[str, Any]) -> bool:
    replaced = (step.get("type"), step.get("pattern"), step.get("content"))
    return replaced == ("Replace", {"String": "▁"}, " ")


def _strips_one(step: Mapping[str, Any]) -> bool:
    strip = (step.get("content"), step.get("start"), step.get("stop"))
    return step.get("type") == "Strip" and strip in ((" ", 1, 0), (" ", 0, 0))


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The steps of a pre-tokenizer or decoder in any order, sequences opened up."""
    pending = list(_objects([part]))
    while pending:
        step = pending.pop()
        if step.get("type") == "Sequence":
            pending += _objects(step.get("pretokenizers") or step.get("decoders"))
        else:
            yield step


def _strips_space(decoding: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a step drops a leading space: Strip if it says so, Metaspace but for `never`."""
    return any(
        step.get("start")
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never")
        for step in decoding
    )


def _named(
    settings: Mapping[str, Any], token_map: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    """Role → token, and the special tokens without a role, of both files that name them.

    The older map counts for more, as in transformers, unless the settings are of the newer kind
    that lists all tokens; then it fills what they leave open.
    """
    newer = "added_tokens_decoder" in settings
    roles: dict[str, Any] = {}
    others: list[Any] = []
    for given in (token_map, settings) if newer else (settings, token_map):
        roles |= {
            name: token
            for name, token in given.items()
            if name.endswith("_token") and _token_text(token) is not None
        }
        for listing in ("additional_special_tokens", "extra_special_tokens"):
            extra = given.get(listing)
            if isinstance(extra, dict):  # by roles of their own, such as "image_token"
                roles |= {name: t for name, t in extra.items() if _token_text(t) is not None}
            elif isinstance(extra, list):
                others += [token for token in extra if _token_text(token) is not None]
    return roles, others


def _entries(folder: Path, settings: Mapping[str, Any], source: str) -> dict[str, dict[str, Any]]:
    """Token text → entry as in `tokenizer.json`, from the two other files that list tokens."""
    entries: dict[str, dict[str, Any]] = {}
    for text, token_id in (_read(folder / "added_tokens.json") or {}).items():
        entries[text] = {"id": token_id, "content": text}
    listed = settings.get("added_tokens_decoder") or {}
    if not isinstance(listed, dict):
        raise TokenizerError(
            f"{source}: expected added_tokens_decoder to map ids to tokens, got {short(listed)}"
        )
    for key, token in listed.items():
        content = _token_text(token)
        if content is None or not key.isdecimal():
            raise TokenizerError(
                f"{source}: expected added_tokens_decoder to map ids to tokens, "
                f"got {short(key)}: {short(token)}"
            )
        entries[content] = {"id": int(key), "content": content, **_flags(token)}
    return entries


def _add_tokens(
    rules: dict[str, Any],
    entries: Mapping[str, dict[str, Any]],
    specials: Mapping[str, Any],
    source: str,
) -> None:
    """Put into `rules` every token that another file names, under the id that file gives it.

    Where `tokenizer.json` knows the token its id stands, as for transformers. A role whose token
    has no id anywhere gets the next free one, as there; the model then has no row for it, and says
    so should it ever be used. `rules` is ours, read a moment ago.
    """
    vocab = _checked_vocab(rules, source)
    added = {entry["content"]: entry for entry in rules.get("added_tokens") or ()}
    known = set(added)
    for text, entry in entries.items():
        token_id = vocab.get(text, entry["id"])
        if type(token_id) is not int or token_id < 0:
            raise TokenizerError(
                f"{source}: expected an id for {short(text)}, got {short(token_id)}"
            )
        flags = _flags(entry)
        if text in added:
            added[text] |= flags
        else:
            is_special = flags.get("special", text in specials)
            added[text] = _entry(text, token_id) | {"normalized": not is_special} | flags
    owners = {token_id: text for text, token_id in vocab.items()}
    for text, entry in added.items():
        owner = owners.setdefault(entry["id"], text)
        if owner != text:
            raise TokenizerError(
                f"{source}: expected one token for each id, got {short(owner)} and {short(text)} "
                f"for {entry['id']}"
            )
    for text, token in specials.items():
        if text not in vocab and text not in added:
            added[text] = _entry(text, max(owners, default=-1) + 1) | _flags(token)
            owners[added[text]["id"]] = text
    # The library numbers added tokens itself, from the vocabulary's end on, but for those that the
    # vocabulary numbers already. With new ones in it, that end has moved for those of before, too.
    if added.keys() - known:
        for text, entry in added.items():
            rules["model"]["vocab"].setdefault(text, entry["id"])
    rules["added_tokens"] = sorted(added.values(), key=lambda entry: int(entry["id"]))


def _entry(text: str, token_id: int) -> dict[str, Any]:
    return {"id": token_id, "content": text} | dict.fromkeys(FLAGS, False)


def _flags(token: Any) -> dict[str, bool]:
    """How a token is matched in a text, as far as the file says."""
    return {flag: bool(token[flag]) for flag in FLAGS if isinstance(token, dict) and flag in token}


def _token_text(value: Any) -> str | None:
    """A token is written as text, or as an object with a `content`."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) and text else None


def _text_of(token: Any) -> str:
    text = _token_text(token)
    assert text is not None, token  # `_named` takes no other
    return text


def _mark_special(
    rules: dict[str, Any], vocab: Mapping[str, int], names: Collection[str], ids: set[int]
) -> None:
    """Mark in `rules` every token with a role as special.

    Fine-tuned checkpoints exist whose `<|im_end|>` is an ordinary added token, or no added token
    at all. A user who typed it would end the turn. `rules` is ours, read a moment ago.
    """
    added = {entry["content"]: entry for entry in rules.get("added_tokens") or ()}
    for text, token_id in vocab.items():
        if text not in names and token_id not in ids:
            continue
        entry = added.setdefault(text, _entry(text, token_id))
        entry["special"] = True
    rules["added_tokens"] = sorted(added.values(), key=lambda entry: int(entry["id"]))


def _role_ids(
    role: str,
    configs: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    vocab: Mapping[str, int],
) -> tuple[int, ...]:
    """The ids with a role: of the first config that names some, else of the token named."""
    for config in configs:
        value = config.get(f"{role}_token_id")
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
    text = names.get(f"{role}_token")
    return () if text is None else (vocab[text],)


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
