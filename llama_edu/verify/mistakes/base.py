"""What an entry of the catalogue is, and where the book explains it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llama_edu.chapters import chapter_number, section_address
from llama_edu.exercises import check

__all__ = ["TOPICS", "Mistake", "Topic", "entry", "known"]


@dataclass(frozen=True)
class Topic:
    """A section of the book, by the topic of its chapter."""

    topic: str
    section: str

    @property
    def chapter(self) -> int:
        return chapter_number(self.topic)

    @property
    def address(self) -> str:
        return section_address(self.topic, self.section)


def _of(exercise: str) -> Topic:
    """The section an exercise sends its readers back to."""
    found = getattr(check, exercise).exercise
    return Topic(found.topic, found.section)


TOPICS: dict[str, Topic] = {
    "bytes": _of("read_tensor"),
    "bf16": _of("bf16_to_float32"),
    "f16": Topic("bytes", "Four bytes, one number"),
    "product": _of("gemm"),
    "embedding": Topic("linear", "What a layer asks of a row"),
    "norm": _of("norm_rows"),
    "gate": _of("gated"),
    "mlp": _of("add_mlp"),
    "angles": _of("angles"),
    "rotate": _of("rotate"),
    "layout": _of("rows_to_neighbours"),
    "scaling": _of("scaled_turns"),
    "what is turned": Topic("rope", "What is turned in one run"),
    "theta": Topic("rope", "A wrong theta"),
    "scores": _of("group_scores"),
    "heads": _of("split_queries"),
    "sharing": Topic("scores", "Break it"),
    "mask": _of("mask_scores"),
    "staircase": _of("staircase"),
    "softmax": _of("row_softmax"),
    "values": _of("mix_values"),
    "merge": _of("merge"),
    "residual": Topic("score_v", "The residual"),
    "attention": _of("attention_rows"),
    "order": Topic("model", "The parts in order"),
    "config": Topic("model", "Where the numbers are"),
    "ends": _of("both_ends"),
    "past": _of("rotate_in_calls"),
    "cut": _of("reuse_prefix"),
    "chunks": _of("prefill_chunks"),
    "count": Topic("generate", "Forget to count"),
    "precision": Topic("precision", "Range or resolution"),
}
"""Where the book explains a kind of mistake."""


@dataclass(frozen=True)
class Mistake:
    """A mistake in a whole model: what it does, and the parts it exchanges.

    `says` completes "the mistake: …". `right` and `wrong` are a line of code each. `change` maps
    fields of `Parts` to what stands in their place. `exhibit` is the name of its card in the bug
    museum. `loose` is how many times the tolerance its numbers may be off: mistakes that round
    leave some numbers on either side of a border.
    """

    key: str
    says: str
    right: str
    wrong: str
    topic: Topic
    change: Mapping[str, Callable[..., Any]]
    exhibit: str = ""
    loose: float = 1.0


def entry(
    key: str,
    says: str,
    code: tuple[str, str],
    topic: str,
    **options: Any,
) -> Mistake:
    """One entry: `exhibit` and `loose` as in `Mistake`, all other options are fields of `Parts`."""
    exhibit, loose = options.pop("exhibit", ""), options.pop("loose", 1.0)
    return Mistake(key, says, *code, TOPICS[topic], options, exhibit, loose)


def known(exercise: str, name: str) -> Callable[..., Any]:
    """A wrong answer that an exercise of the book knows by this name.

    Raises `KeyError` if it knows none.
    """
    mutants = getattr(check, exercise).exercise.mutants
    return {mutant.name: mutant.function for mutant in mutants}[name]
