"""One more mutation than Cosmic Ray brings: a keyword argument that is not handed on.

Half of the holes that a first reading of the tests found were of this kind: a function takes an
option and drops it on the way to the next one, and everything stays green.
"""

from collections.abc import Iterator
from typing import Any

from cosmic_ray.operators.operator import Example, Operator

__all__ = ["DropKeywordArgument"]

Position = tuple[tuple[int, int], tuple[int, int]]


class DropKeywordArgument(Operator):
    """Turns `f(a, key=b)` into `f(a)`."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Where a keyword argument is passed."""
        if _is_keyword(node):
            yield node.start_pos, node.end_pos
        elif node.type in ("arglist", "trailer"):
            return

    def mutate(self, node: Any, index: int) -> Any:
        """The argument as an empty unpacking, which passes nothing: `**{}`."""
        first = node.get_first_leaf()
        first.prefix, first.value = first.prefix, "**{}"
        node.children = [first]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For Cosmic Ray's own tests of operators."""
        return (Example("f(a, key=b)", "f(a, **{})"), Example("f(key=b)", "f(**{})"))


def _is_keyword(node: Any) -> bool:
    """Whether a node is `key=value` in a call."""
    return node.type == "argument" and len(node.children) == 3 and node.children[1] == "="
