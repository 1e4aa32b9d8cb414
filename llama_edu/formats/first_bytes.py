"""What a file really is, by its first bytes, when it is not what its name says.

Downloads go wrong in a few known ways: Git hands out a pointer instead of the file, a server
answers with a page or an error, a browser unpacks or packs, an older format keeps its name. A
reader that met something it cannot parse asks here, so that its message can name the real fault.
"""

import re

__all__ = ["NBYTES", "really"]

NBYTES = 512  # how many bytes of a file's beginning are enough

PICKLE_IN_ZIP = "PyTorch's own format (a zip of pickles), which can run code when read"
SIGNATURES = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, a few lines that stand for the file: fetch it with `git lfs pull`",
    ),
    (b"PK\x03\x04", PICKLE_IN_ZIP),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"GGUF", "a GGUF file: convert it with `python -m llama_edu convert`"),
    (b"ggjt", "a file of llama.cpp's format before GGUF"),
    (b"lmgg", "a file of llama.cpp's format before GGUF"),
    (b"tjgg", "a file of llama.cpp's format before GGUF"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes weights"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"#!", "a script"),
)
PICKLE = re.compile(rb"\x80[\x02-\x05][\x95}\]()cX\x8a\x8c]")  # its version, then a first step
PAGE = re.compile(
    rb"\s*(<!--.*?-->\s*)?<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
ERROR = re.compile(rb"\s*\{\s*\"(error|message|detail|errors|code|status)\"\s*:", re.IGNORECASE)
REFUSAL = re.compile(
    rb"\s*(Entry not found|Not Found|404|401|403|Forbidden|Unauthorized|Access denied|"
    rb"Access to model|Invalid (username|credentials)|Repository not found)",
    re.IGNORECASE,
)

TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")  # no control characters


def really(first: bytes) -> str | None:
    """In words, what a file that begins with these bytes is; None if nothing is recognised."""
    if not first:
        return "an empty file"
    for signature, words in SIGNATURES:
        if first.startswith(signature):
            return words
    if PICKLE.match(first):
        return "a Python pickle, which can run code when read"
    text = first.removeprefix(b"\xef\xbb\xbf")
    if PAGE.match(text):
        return "an HTML page: an address of a page, or a page that says what went wrong"
    if text.lstrip().startswith((b"<?xml", b"<Error>")):
        return "an XML document: most likely a server's error"
    if ERROR.match(text):
        return f"a server's error: {_one_line(text)}"
    if REFUSAL.match(text):
        return f"a server's refusal: {_one_line(text)}"
    if not any(first):
        return "nothing but zeros: a download that was never finished"
    if len(text) >= 8 and not text.lstrip().startswith((b"{", b"[")) and TEXT.fullmatch(text):
        return f"a text that begins with {_one_line(text)[:40]!r}"
    return None


def _one_line(text: bytes) -> str:
    return " ".join(text.decode("utf-8", errors="replace").split())[:80]
