"""Read JSON from files we did not write, strictly. Knows nothing about what the JSON means.

Python's `json` keeps the last of two equal keys, accepts `NaN`, and recurses without a bound.
Each of those hides a damaged file, so here each one is an error.
"""

import json
from collections import Counter
from typing import Any, NoReturn

from llama_edu.errors import LlamaEduError


def parse_object(data: bytes, source: str, error: type[LlamaEduError]) -> dict[str, Any]:
    """Parse UTF-8 JSON whose top level is an object.

    `source` names the file in messages; `error` is the class to raise when the bytes are not
    UTF-8, not JSON, not an object, nested absurdly deep, or name one key twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            raise error(f"{source}: expected each name once, got {counts.most_common(1)[0]!r}")
        return found

    def refuse_constant(text: str) -> NoReturn:
        raise error(f"{source}: expected plain JSON numbers, got {text}")

    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse_constant
        )
    except UnicodeDecodeError as problem:
        raise error(f"{source}: expected UTF-8 text, got {problem}") from problem
    except RecursionError:
        raise error(f"{source}: expected JSON of sane depth, got it nested too deep") from None
    except LlamaEduError:
        raise
    except ValueError as problem:  # JSONDecodeError, or a number of thousands of digits
        raise error(f"{source}: expected JSON, got {problem}") from problem
    if not isinstance(value, dict):
        raise error(f"{source}: expected a JSON object, got {type(value).__name__}")
    return value
