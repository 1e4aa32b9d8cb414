"""A recipe: everything that decides what a training run makes, read from one TOML file.

Two runs with the same recipe, on the same machine and thread count, end in the same weights.
"""

from __future__ import annotations

import hashlib
import importlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNS = Path(__file__).resolve().parent / "runs"


@dataclass(frozen=True)
class Segment:
    """A stretch of a document, and whether the model is asked to predict it."""

    text: str
    learn: bool = True


Document = tuple[Segment, ...]
Generator = Callable[[int, int], Iterator[Document]]


@dataclass(frozen=True)
class CorpusRecipe:
    """Which generator writes the documents, how many, and what stands around each of them."""

    generator: str  # "module:function"; the function takes (seed, count)
    held_out: str  # the same, for documents that training never sees
    documents: int
    seed: int
    held_out_documents: int = 400
    prefix: str = ""  # special tokens put before every document …
    suffix: str = ""  # … and after it

    def documents_of(self, which: str) -> Generator:
        """The function that a "module:function" string names."""
        module, _, function = which.partition(":")
        found: Generator = getattr(importlib.import_module(module), function)
        return found


@dataclass(frozen=True)
class TokenizerRecipe:
    """A byte-level BPE vocabulary and the special tokens at its beginning."""

    vocab_size: int
    special_tokens: tuple[str, ...]
    eos: tuple[str, ...]  # generation stops at any of these
    bos: str | None = None  # put in front of every encoded text, if given
    pad: str | None = None
    sample_documents: int = 20000  # how many documents the merges are learnt from
    more: str | None = None  # a second generator, if the corpus has too few words for all ids …
    more_documents: int = 0  # … and how many of its documents are added
    chat_template: str | None = None


@dataclass(frozen=True)
class Guide:
    """A head that is shown where to look, early in training; see `guides`."""

    layer: int
    head: int
    to: str  # "previous_token", "first_token", or a fact of the stories: "name", for example


@dataclass(frozen=True)
class OptimiserRecipe:
    """AdamW (or Muon for the matrices), warm-up, then half a cosine down to nothing."""

    seed: int
    tokens_per_step: int
    peak_lr: float
    warmup_steps: int
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    muon_lr: float = 0.0  # above zero: the blocks' matrices learn by Muon at this rate
    qk_lr: float = 0.0  # … but queries and keys by AdamW at this one, if it is above zero
    epochs: int = 1
    guides: tuple[Guide, ...] = ()
    guide_weight: float = 0.1  # of the guides' loss beside the model's, in the first steps; it …
    guide_ends: float = 0.5  # … falls to nothing by this share of all steps, then heads are free
    compute: str = "float32"  # or "bfloat16": products in bfloat16, weights and sums in float32
    checkpoint_every: int = 200
    validate_every: int = 100


@dataclass(frozen=True)
class Recipe:
    """One training run."""

    name: str
    corpus: CorpusRecipe
    tokenizer: TokenizerRecipe
    model: Mapping[str, Any]  # a Hugging Face config, less what the tokenizer decides
    optimiser: OptimiserRecipe
    dtype: str  # what the exported weights are stored as: "float32" or "bfloat16"
    digest: str  # of the file, so that a run is never resumed with another recipe

    @property
    def run_directory(self) -> Path:
        """Where corpus and checkpoints are kept; never committed."""
        return RUNS / self.name

    @property
    def export_directory(self) -> Path:
        """The model's place in the package."""
        return ROOT / "llama_edu" / "models" / self.name


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}


def load(path: Path) -> Recipe:
    """Read a recipe; an unknown or missing key raises TypeError with its name."""
    data = path.read_bytes()
    tables = tomllib.loads(data.decode("utf-8"))
    return Recipe(
        name=tables["name"],
        corpus=CorpusRecipe(**_frozen(tables["corpus"])),
        tokenizer=TokenizerRecipe(**_frozen(tables["tokenizer"])),
        model=tables["model"],
        optimiser=OptimiserRecipe(
            **_frozen(tables["optimiser"]),
            guides=tuple(Guide(**table) for table in tables.get("guide", [])),
        ),
        dtype=tables["export"]["dtype"],
        digest=hashlib.sha256(data).hexdigest(),
    )
