"""Simulated engines with planted mistakes, put to the search for names; prints JSON.

Run as a program of its own by the tests: hundreds of engines are run here, and the checks that the
tests put around every function of the package would take ten times as long as the functions.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from llama_edu.formats.config import LlamaConfig
from llama_edu.verify.cases import Call, calls_for
from llama_edu.verify.checkpoints import TINY, write_tiny
from llama_edu.verify.evidence import (
    Declared,
    Logits,
    Nothing,
    Observed,
    Session,
    references,
    widened,
)
from llama_edu.verify.mistakes import CATALOGUE
from llama_edu.verify.naming import find_mistake
from llama_edu.verify.parts import RIGHT, Clock, Model, Parts, PartsEngine, combined, read_model

FEW = ("mha-tied-f32", "gqa-untied-bf16")
SEVERAL = (*FEW, "both-biases-bf16")

ALONE = (
    "position.no_past",
    "norm.eps_outside",
    "norm.at_least_eps",
    "heads.modulo",
    "mask.unless_cached",
    "cache.grows",
    "cache.cut_one_more",
    "gate.gelu",
    "bias.o_proj",
    "ends.always_tied",
    "mask.not_itself",
    "heads.cached_by_head",
    "rope.k_at_total",
    "bias.first_row",
)
TOGETHER = (
    ("position.no_past", "norm.eps_outside"),
    ("cache.not_emptied", "gate.swapped"),
    ("rope.interleaved", "scores.unscaled"),
)


def _slower(clock: Clock) -> np.ndarray:
    return np.arange(clock.past, clock.past + clock.seq, dtype=np.float32) * np.float32(0.7)


def _later(clock: Clock) -> np.ndarray:
    return np.arange(clock.past + 5, clock.past + 5 + clock.seq, dtype=np.float32)


def _mirrored(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    half = x.shape[-1] // 2
    return RIGHT.rope(np.concatenate([x[..., half:], x[..., :half]], axis=-1), cos, -sin)


def _nearly_normed(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """An entry of the catalogue but for its eps; a second mistake that rounds might hide that."""
    rows = table[ids]
    return rows / np.sqrt(np.mean(rows * rows, axis=-1, keepdims=True) + np.float32(1e-4))


UNKNOWN = {
    "embeddings that are nearly normed": Parts(embed=_nearly_normed),
    "positions at another speed": Parts(positions=_slower),
    "a leaky gate": Parts(gated=lambda g, u: np.where(g > 0, g, np.float32(0.1) * g) * u),
    "keys that fade": Parts(late_keys=lambda k, layer: k * np.float32(0.98)),
}
# Answers that hold nothing to tell mistakes apart by, whatever the catalogue has that ends so.
ALIKE = {
    "nothing but NaN": Parts(logits=lambda logits, model: np.full_like(logits, np.nan)),
    "nothing but NaN, by a mistake that is known": combined(
        [CATALOGUE["mask.not_itself_decode"].change]
    ),
    "nothing but zeros": Parts(logits=lambda logits, model: 0 * logits),
    "nothing but noise": Parts(logits=lambda logits, model: np.float32(1e-7) * logits),
    "one number": Parts(logits=lambda logits, model: 0 * logits + np.float32(3)),
}
HARMLESS = {
    "positions that begin at 5": Parts(positions=_later),
    "two turns that cancel": Parts(rope=_mirrored),
}


class Bench:
    """Sessions of engines made of parts: what the book's engine is asked, answered by another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[str, tuple[Model, tuple[Call, ...], list[np.ndarray], float]] = {}

    def load(self, name: str) -> tuple[Model, tuple[Call, ...], list[np.ndarray], float]:
        if name not in self.known:
            tiny = next(tiny for tiny in TINY if tiny.name == name)
            directory = self.root / name
            directory.mkdir()
            write_tiny(tiny, directory)
            calls = calls_for(LlamaConfig.from_directory(directory), long=tiny.long)
            wanted, bound = references(directory, calls, Declared())
            self.known[name] = read_model(directory), calls, wanted, bound
        return self.known[name]

    def session(self, name: str, parts: Parts) -> Session:
        """With the noise of sums in another order."""
        model, calls, wanted, bound = self.load(name)
        engine, rng = PartsEngine(model, parts), np.random.default_rng(1)
        session = Session(name, model)
        for call, want in zip(calls, wanted, strict=True):
            logits = engine.forward(call.ids, call.past)
            answer: Logits | Nothing = Nothing("not finite")
            if np.isfinite(logits).all():
                noise = rng.uniform(-1e-5, 1e-5, logits.shape).astype(np.float32)
                answer = Logits(logits + noise)
            session.observed.append(Observed(call, answer, want, widened(bound, call)))
        return session

    def names(
        self, parts: Parts, models: tuple[str, ...], seconds: float = 120.0
    ) -> list[list[str]]:
        finding = find_mistake([self.session(name, parts) for name in models], seconds=seconds)
        return [[mistake.key for mistake in group] for group in finding.named]

    def unseen(self) -> Iterator[str]:
        """Entries that change no call with any checkpoint."""
        names = sorted((tiny.name for tiny in TINY), key=lambda name: name not in FEW)
        for key in CATALOGUE:
            if not any(self._shows(key, name) for name in names):
                yield key

    def _shows(self, key: str, name: str) -> bool:
        model, calls, wanted, bound = self.load(name)
        try:
            engine = PartsEngine(model, planted(key))
            gaps = (
                np.abs(engine.forward(call.ids, call.past) - want).max()
                for call, want in zip(calls, wanted, strict=True)
            )
            return any(not gap <= 2 * bound for gap in gaps)
        except ValueError:  # a matrix that does not fit the other way around
            return False


def planted(*keys: str) -> Parts:
    parts = combined([CATALOGUE[key].change for key in keys])
    assert parts is not None
    return parts


def measure(bench: Bench) -> dict[str, object]:
    """Everything the tests ask about."""
    return {
        "alone": {key: bench.names(planted(key), SEVERAL) for key in ALONE},
        "together": {"+".join(keys): bench.names(planted(*keys), FEW) for keys in TOGETHER},
        "same on a model": bench.names(planted("scale.by_hidden_over_heads"), ("mqa-untied-f32",)),
        "unknown": {what: bench.names(parts, FEW, 0.5) for what, parts in UNKNOWN.items()},
        "alike": {what: bench.names(parts, FEW, 0.5) for what, parts in ALIKE.items() if parts},
        "found": {
            what: bench.session(FEW[1], parts).first_wrong() is not None
            for what, parts in (UNKNOWN | HARMLESS).items()
        },
        "unseen": list(bench.unseen()),
    }


def main(write: Callable[[str], object] = sys.stdout.write) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(json.dumps(measure(Bench(Path(folder)))))


if __name__ == "__main__":
    main()
