"""The catalogue: every entry is a variation that shows, and sends its reader to a real section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_edu.chapters import CHAPTER_FILES
from llama_edu.engine.llama import Llama
from llama_edu.exercises.museum.exhibits import EXHIBITS
from llama_edu.verify.cases import calls_for
from llama_edu.verify.chats import CHAT_MISTAKES
from llama_edu.verify.checkpoints import TINY, write_tiny
from llama_edu.verify.mistakes import CATALOGUE, TOPICS
from llama_edu.verify.parts import RIGHT, PartsEngine, combined, read_model
from llama_edu.verify.sampling import SAMPLING_MISTAKES
from llama_edu.verify.tokens import DECODE_MISTAKES, ENCODE_MISTAKES

BOOK = Path(__file__).resolve().parents[2] / "book"
OTHERS: tuple[Any, ...] = (*SAMPLING_MISTAKES, *ENCODE_MISTAKES, *DECODE_MISTAKES, *CHAT_MISTAKES)


def test_there_are_as_many_entries_as_promised() -> None:
    assert len(CATALOGUE) >= 300
    assert len(SAMPLING_MISTAKES) >= 20
    assert len(ENCODE_MISTAKES) + len(DECODE_MISTAKES) >= 20


def test_keys_are_told_apart() -> None:
    keys = [*CATALOGUE, *(mistake.key for mistake in OTHERS)]
    assert len(set(keys)) == len(keys)
    said = [mistake.says for mistake in (*CATALOGUE.values(), *OTHERS)]
    assert len(set(said)) == len(said)


def headings(path: Path) -> set[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [
        line
        for cell in cells
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
    ]
    return {line.lstrip("#").strip() for line in lines if line.startswith("##")}


@pytest.mark.parametrize("topic", sorted(CHAPTER_FILES))
def test_sections_are_headings_of_the_book(topic: str) -> None:
    there = headings(BOOK / f"{CHAPTER_FILES[topic]}.ipynb")
    topics = [*TOPICS.values(), *(mistake.topic for mistake in OTHERS)]
    missing = {t.section for t in topics if t.topic == topic} - there
    assert not missing


def test_exhibits_are_cards_of_the_museum() -> None:
    named = {mistake.exhibit for mistake in CATALOGUE.values()} - {""}
    assert named <= EXHIBITS.keys()
    assert len(named) >= 20


@pytest.mark.parametrize("name", ["mha-tied-f32", "gqa-untied-bf16", "both-biases-bf16"])
def test_with_no_part_exchanged_it_is_the_book_s_engine(name: str, tmp_path: Path) -> None:
    write_tiny(next(tiny for tiny in TINY if tiny.name == name), tmp_path)
    model = Llama.from_pretrained(tmp_path)
    engine, cache = PartsEngine(read_model(tmp_path), RIGHT), model.new_cache()
    largest = 0.0
    for call in calls_for(model.config, long=False):
        cache.truncate(call.past)
        want = model.forward(list(call.ids), cache, last_only=True)[0]
        largest = max(largest, float(np.abs(engine.forward(call.ids, call.past) - want).max()))
    assert largest < 2e-5


@pytest.mark.parametrize("block", [2, 4, 8])
def test_cuts_tell_blocks_from_single_rows(block: int, tmp_path: Path) -> None:
    """A cut to a whole block is one row too few after some lengths; it must not be after all."""
    write_tiny(TINY[0], tmp_path)
    calls = calls_for(read_model(tmp_path).config, long=False)
    cuts = [call.past for call in calls if call.label.startswith("cut ")]
    assert len({past % block for past in cuts}) > 1
    assert len(cuts) >= 3


def test_two_changes_of_one_part_exclude_each_other() -> None:
    one, other = CATALOGUE["gate.relu"].change, CATALOGUE["gate.gelu"].change
    assert combined([one, other]) is None
    assert combined([one, CATALOGUE["scores.unscaled"].change]) is not None


def test_changes_of_what_is_read_are_made_one_after_the_other(tmp_path: Path) -> None:
    write_tiny(TINY[0], tmp_path)
    both = [CATALOGUE[key].change for key in ("config.eps_1e-06", "config.theta_500000")]
    parts = combined(both)
    assert parts is not None
    config = parts.read(read_model(tmp_path)).config
    assert (config.rms_norm_eps, config.rope_theta) == (1e-6, 500000.0)
