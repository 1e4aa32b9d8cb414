"""What a task rules out and a function's code shows: loops, and names that may not be written.

What is ruled out by its module is seen when it is called (`limited.Calls`).
"""

import dis
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from llama_edu.exercises.framework.answer import function_of, is_of_the_package

__all__ = ["ruled_out"]

# Functions that loop over Python code in disguise.
LOOPING = ("vectorize", "frompyfunc", "fromiter", "fromfunction", "apply_along_axis", "map")


def ruled_out(answer: Callable[..., Any], bans: tuple[str, ...], loops: bool) -> str | None:
    """What an answer does that its task rules out, as the beginning of a sentence.

    It is looked for in the answer itself, in what it defines inside, and in the learner's own
    functions that it calls. The package's functions are not looked at: mistakes of ours may loop.
    """
    function = function_of(answer)
    if not isinstance(function, FunctionType) or is_of_the_package(function):
        return None
    for code in _own_codes(function, set()):
        words = {*code.co_names, *(c for c in code.co_consts if isinstance(c, str))}
        for name in bans:
            if name in words:
                return f"your function uses {name}"
        if not loops and (_jumps_back(code) or words & set(LOOPING)):
            return "your function has a loop"
    return None


def _own_codes(function: FunctionType, seen: set[CodeType]) -> Iterator[CodeType]:
    """The code of a function, of those inside it, and of those beside it that it uses."""
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        if code in seen:
            continue
        seen.add(code)
        yield code
        waiting += [part for part in code.co_consts if isinstance(part, CodeType)]
        used = [function.__globals__.get(name) for name in code.co_names]
        waiting += [
            one.__code__
            for one in used
            if isinstance(one, FunctionType) and one.__globals__ is function.__globals__
        ]


def _jumps_back(code: CodeType) -> bool:
    """Whether some of a code runs again: `for`, `while`, and comprehensions of every kind."""
    return any(
        step.opname == "FOR_ITER" or "JUMP_BACKWARD" in step.opname
        for step in dis.get_instructions(code)
    )
