"""Read JSON from files we did not write, strictly. Knows nothing about what the JSON means.

Python's `json` keeps the last of two equal keys, accepts `NaN`, turns 1e999 into infinity, lets
half a surrogate pair pass for text, and recurses without a bound. Each of those hides a damaged
file, so here each one is an error.
"""

import codecs
import json
import math
import reprlib
from collections import Counter
from typing import Any

from llama_edu.errors import LlamaEduError
from llama_edu.formats.first_bytes import NBYTES, really

SHORT_NCHARS = 80
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _RefusedError(ValueError):
    """Valid to Python's `json`, and still a sign of a damaged file."""


def parse_object(data: bytes, source: str, error: type[LlamaEduError]) -> dict[str, Any]:
    """Parse UTF-8 JSON whose top level is an object.

    `source` names the file in messages; `error` is the class to raise when the bytes are not
    UTF-8, not JSON, not an object, nested absurdly deep, name one key twice, or hold a number or
    a text that no other reader could hold.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_finite,
            parse_float=_finite,
        )
        # Only an escape can smuggle in half a pair; writing the text out again finds it.
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as problem:
        kind = "UTF-16" if data.startswith(UTF16) else really(data[:NBYTES])
        raise error(f"{source}: expected UTF-8 text, got {kind or problem}") from problem
    except RecursionError:
        raise error(f"{source}: expected JSON of sane depth, got it nested too deep") from None
    except _RefusedError as problem:
        raise error(f"{source}: {problem}") from None
    except ValueError as problem:  # JSONDecodeError, or a number of thousands of digits
        raise error(f"{source}: expected JSON, got {_fault(data, problem)}") from problem
    if not isinstance(value, dict):
        raise error(f"{source}: expected a JSON object, got {type(value).__name__}")
    return value


def _fault(data: bytes, problem: ValueError) -> str:
    """In words, what the file is, or where in it the fault lies."""
    kind = really(data[:NBYTES])
    if kind is None and data.startswith(codecs.BOM_UTF8):
        return "a byte order mark first: save the file as UTF-8 without one"
    if kind is not None or not isinstance(problem, json.JSONDecodeError):
        return kind or str(problem)
    place = f"line {problem.lineno}, column {problem.colno}"
    if not problem.doc[problem.pos :].strip():
        return f"a file that breaks off at {place}"
    return f"a fault at {place}: {problem.msg[:1].lower()}{problem.msg[1:]}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, count),) = Counter(name for name, _ in pairs).most_common(1)
        raise _RefusedError(f"expected each name once, got {short(name)} {count} times")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999, or one of Python's own: NaN, Infinity, -Infinity
        raise _RefusedError(f"expected plain JSON numbers, got {text[:SHORT_NCHARS]}")
    return value


def short(value: Any) -> str:
    """A value for a message, cut short: a hostile file may hold megabytes of it."""
    cutter = _Cutter()  # stops early, where repr would first write all of it
    cutter.maxlist = cutter.maxdict = 8
    cutter.maxstring = cutter.maxlong = SHORT_NCHARS
    text = cutter.repr(value)
    return text if len(text) <= SHORT_NCHARS else text[:SHORT_NCHARS] + "…"


class _Cutter(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        # Python does not write more than 4,300 digits, and nobody reads them.
        long = x.bit_length() > 10_000
        return f"an integer of {x.bit_length()} bits" if long else super().repr_int(x, level)
