"""Text to token ids and back, on the `tokenizers` library, with text that streams safely.

Two families of byte-pair encoding are read, as Llama checkpoints use them: byte-level (GPT-2's, in
Llama 3, SmolLM and this package's own models) and SentencePiece's, with ▁ for a space, and with or
without byte fallback (Llama 2, Mistral, small models of one's own). Others are refused by name.
Chat templates are kept as text; `chat.template` renders them.

Decoding works on bytes, never on pieces of text. A token may end in the middle of a character:
its bytes wait until the rest has come, so half a character is never shown and none is lost.
"""

import codecs
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from jaxtyping import Int

from llama_edu import hub
from llama_edu.errors import TokenizerError
from llama_edu.text.tokenizer_files import BYTE_LEVEL, read_tokenizer_files

if TYPE_CHECKING:
    import tokenizers

__all__ = ["TextStream", "Tokenizer", "byte_letters"]

LONG_TEXT = 4096  # characters
SPACE = "▁"  # U+2581, how SentencePiece writes a space


class Tokenizer:
    """The tokenizer of one model directory.

    `bos_token_id` may be None; `eos_token_ids` holds every id that ends a text (a model may have
    several); `chat_template` is the checkpoint's own Jinja text, or None. `names` maps a role such
    as "eos_token" to the text of its token.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Read `tokenizer.json` and the files around it.

        Raises `TokenizerError` if one is missing, damaged, or of a family not supported.
        """
        import tokenizers  # three megabytes, of which a model that is given ids has no use

        files = read_tokenizer_files(directory)
        try:
            # Two of them, since the switch is a state of the object and threads may share this.
            self._parsing = tokenizers.Tokenizer.from_str(files.text)
            self._plain = tokenizers.Tokenizer.from_str(files.text)
        except Exception as problem:  # the library raises nothing narrower
            raise TokenizerError(
                f"{directory}: expected tokenizer.json as `tokenizers` writes it, got {problem}"
            ) from problem
        self._plain.encode_special_tokens = True  # that is: encode them like any other text
        for backend in (self._parsing, self._plain):
            backend.no_truncation()
            backend.no_padding()
        self._added = self._plain.get_added_tokens_decoder()
        self._special = frozenset(i for i, token in self._added.items() if token.special)
        self._byte_level = files.family == BYTE_LEVEL
        self._strips_space = files.strips_space
        self._unk_token, self._fuse_unk = files.unk_token, files.fuse_unk
        self._spelling = byte_letters() if self._byte_level else _byte_names()
        is_bytes = self._byte_level or files.decodes_bytes
        self._byte_of = {text: byte for byte, text in enumerate(self._spelling) if is_bytes}
        writes_bytes = self._byte_level or files.byte_fallback
        self._missing = frozenset(
            byte
            for byte, text in enumerate(self._spelling)
            if not writes_bytes or self._plain.token_to_id(text) is None
        )
        ids = self._plain.get_vocab().values()
        self.vocab_size = 1 + max(ids, default=-1)
        self._ids = np.fromiter(ids, dtype=np.int64)
        self.bos_token_id = files.bos_token_id
        self.eos_token_ids = files.eos_token_ids
        self.chat_template = files.chat_template
        self.names = files.names

    @classmethod
    def from_pretrained(cls, name_or_dir: str | os.PathLike[str]) -> "Tokenizer":
        """The tokenizer of a known model, or of a directory in the Hugging Face layout."""
        return cls(hub.locate(name_or_dir))

    def encode(
        self, text: str, *, add_special: bool = True, parse_special: bool = False
    ) -> list[int]:
        """Text to ids. `[]` for an empty text, unless the tokenizer opens every text with bos.

        `add_special` adds the tokens the tokenizer puts around a text (bos for Llama 3, nothing
        for SmolLM2). `parse_special` lets special tokens written in `text` count as such; leave it
        off for text that a user typed, where `<|im_end|>` is ten characters and nothing more.

        What the vocabulary cannot write becomes its unknown token. Raises `TokenizerError` where
        it has none, and for half of a surrogate pair, which is no character.
        """
        self._check_encodable(text)
        if parse_special:
            return list(_encoded(self._parsing, text, add_special=add_special).ids)
        encoding = _encoded(self._plain, text, add_special=add_special)
        if self._special.isdisjoint(encoding.ids):
            return list(encoding.ids)
        ids: list[int] = []
        for token_id, was_added, (start, stop) in zip(
            encoding.ids, encoding.special_tokens_mask, encoding.offsets, strict=True
        ):
            # Merges of a vocabulary can happen to build "<s>" out of ordinary text.
            built = not was_added and token_id in self._special
            ids.extend(self._spell(text[start:stop]) if built else [token_id])
        return ids

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of the tokens that some file marks as special, or gives a role."""
        return self._special

    def control_tokens(self, template: str) -> dict[int, str]:
        """Ids and texts of the tokens that steer a conversation: none of them can be typed.

        Those are the special ones, and any added token that a chat template writes: checkpoints
        exist that forgot to mark theirs as special.
        """
        return {
            token_id: token.content
            for token_id, token in self._added.items()
            if token.content.strip() and (token.special or token.content in template)
        }

    def encode_rendered(
        self, text: str, authors: bytes, barred: Mapping[int, int], *, continues: bool = False
    ) -> list[int]:
        """Encode a rendered chat. `authors` has a byte for each character: 0 for the template's.

        `barred` maps a token to the authors who cannot write it, one bit each: where a character
        of the token is by one of them, its text is spelled out in the tokens of its bytes. Blanks
        should be nobody's, whoever typed them: a control token may swallow those around it.
        Nothing is put around the text. `continues` says that it goes on from an earlier one, so
        that SentencePiece adds no space.

        Raises `TokenizerError` as `encode` does.
        """
        self._check_encodable(text)
        lead = "\n" if continues and not self._byte_level else ""
        lead_ids = self._parsing.encode(lead, add_special_tokens=False).ids
        encoding = _encoded(self._parsing, lead + text, add_special=False)
        if encoding.ids[: len(lead_ids)] != lead_ids:  # the line break became part of a word
            return self.encode_rendered(text, authors, barred)
        ids: list[int] = []
        spans = [(start - len(lead), stop - len(lead)) for start, stop in encoding.offsets]
        for token_id, (start, stop) in list(zip(encoding.ids, spans, strict=True))[len(lead_ids) :]:
            bar = barred.get(token_id, 0)
            if bar and any(author & bar for author in authors[start:stop]):
                ids.extend(self._spell(text[start:stop]))
            else:
                ids.append(token_id)
        return ids

    def decode(
        self,
        token_ids: Iterable[SupportsIndex],
        *,
        skip_special: bool = True,
        continues: bool = False,
    ) -> str:
        """Ids to text. Bytes that are no UTF-8 become U+FFFD, one for each malformed sequence.

        `skip_special` leaves special tokens out; `continues` is as in `stream`. Raises
        `TokenizerError` for an unknown id.
        """
        data = b"".join(self._visible(token_ids, skip_special))
        if self._strips_space and not continues:
            data = data.removeprefix(b" ")
        return data.decode("utf-8", errors="replace")

    def stream(self, *, skip_special: bool = True, continues: bool = False) -> "TextStream":
        """A decoder to push ids into one by one.

        `continues` says that the text goes on from an earlier one: a SentencePiece tokenizer then
        keeps the space that it drops at the start of a text.
        """
        return TextStream(self, skip_special=skip_special, continues=continues)

    def token_bytes(self, token_id: SupportsIndex) -> bytes:
        """The bytes one token stands for; not always whole characters.

        Raises `TokenizerError` for an id that has no token.
        """
        index = operator.index(token_id)
        added = self._added.get(index)
        if added is not None:
            # One that is looked for in normalised text stands for the space before it, too.
            written = self._plain.id_to_token(index) if added.normalized else None
            if written is not None and not self._byte_level:
                return written.replace(SPACE, " ").encode("utf-8")
            return added.content.encode("utf-8")
        token = self._plain.id_to_token(index) if 0 <= index < self.vocab_size else None
        if token is None:
            raise TokenizerError(
                f"expected a token id from 0 to {self.vocab_size - 1}, got {index}"
            )
        if not self._byte_level:
            byte = self._byte_of.get(token)
            return token.replace(SPACE, " ").encode() if byte is None else bytes([byte])
        letters = [self._byte_of.get(letter) for letter in token]
        return token.encode() if None in letters else bytes(b for b in letters if b is not None)

    def ids_without_token(self, vocab_size: int) -> Int[np.ndarray, " n_without_token"]:
        """The ids below `vocab_size`, a model's number of ids, that have no token; ascending."""
        return np.flatnonzero(~np.isin(np.arange(vocab_size, dtype=np.int64), self._ids))

    def _visible(self, ids: Iterable[SupportsIndex], skip_special: bool) -> Iterator[bytes]:
        for token_id in ids:
            data = self.token_bytes(token_id)
            if not (skip_special and operator.index(token_id) in self._special):
                yield data

    def _check_encodable(self, text: str) -> None:
        try:
            data = text.encode("utf-8")
        except UnicodeEncodeError as problem:
            raise TokenizerError(
                f"expected whole characters, got {text[problem.start]!r} at {problem.start}"
            ) from problem
        # `tokenizers` would drop what it has no token for, and say nothing.
        if self._unk_token is None and self._missing:
            for char in dict.fromkeys(text) if not self._missing.isdisjoint(data) else ():
                if (byte := self._lacking(char)) is not None:
                    raise TokenizerError(
                        f"expected text the vocabulary has tokens for, got {char!r}: "
                        f"no token for its byte 0x{byte:02x}"
                    )

    def _lacking(self, char: str) -> int | None:
        """A byte that keeps the vocabulary from writing this character, or None."""
        own = None if self._byte_level else self._plain.token_to_id(char.replace(" ", SPACE))
        return next((b for b in char.encode() if b in self._missing and own is None), None)

    def _spell(self, text: str) -> list[int]:
        """Text in the smallest tokens there are, so that it is no other token than it looks."""
        ids: list[int] = []
        unknown = None if self._unk_token is None else self._plain.token_to_id(self._unk_token)
        for char in text:
            own = None if self._byte_level else self._plain.token_to_id(char.replace(" ", SPACE))
            lacks = not self._missing.isdisjoint(char.encode())
            if lacks and own is not None:
                ids.append(own)
            elif lacks and unknown is not None:
                ids += [unknown] if not self._fuse_unk or ids[-1:] != [unknown] else []
            else:  # _check_encodable saw that none is missing
                spelled = (self._plain.token_to_id(self._spelling[b]) for b in char.encode())
                ids += [i for i in spelled if i is not None]
        return ids


class TextStream:
    """Turns ids into text as they come, showing whole characters only.

    `"".join(stream.push(i) for i in ids) + stream.finish() == tokenizer.decode(ids)`, however the
    tokens cut the characters.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool, continues: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._strip_next = tokenizer._strips_space and not continues
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: SupportsIndex) -> str:
        """The text this id completes; "" while a character still lacks bytes.

        Raises `TokenizerError` for an id that has no token.
        """
        data = b"".join(self._tokenizer._visible([token_id], self._skip_special))
        if self._strip_next and data:
            data = data.removeprefix(b" ")
            self._strip_next = False
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What is left at the end: U+FFFD if a character never became whole, else ""."""
        return self._decoder.decode(b"", final=True)


def _encoded(
    backend: "tokenizers.Tokenizer", text: str, *, add_special: bool
) -> "tokenizers.Encoding":
    """A long text may take a second; only as a batch does it let other threads run meanwhile."""
    if len(text) < LONG_TEXT:  # a batch starts threads of its own
        return backend.encode(text, add_special_tokens=add_special)
    return backend.encode_batch([text], add_special_tokens=add_special)[0]


def byte_letters() -> list[str]:
    """GPT-2's alphabet: one printable letter for each byte (`bytes_to_unicode` in its encoder.py).

    Bytes that print as one Latin-1 character stand for themselves; the 68 others, in order, get
    the characters from U+0100 on. A space is "Ġ", a line break "Ċ".
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _byte_names() -> list[str]:
    """SentencePiece's byte tokens: "<0x00>" to "<0xFF>"."""
    return [f"<0x{byte:02X}>" for byte in range(256)]
