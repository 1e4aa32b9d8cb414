"""What is said where no mistake has a name: which calls and which models are off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from llama_edu.verify.advice import PLACES, verdict_of
from llama_edu.verify.cases import Call, calls_for
from llama_edu.verify.checkpoints import TINY, write_tiny
from llama_edu.verify.evidence import Answer, Logits, Nothing, Observed, Session
from llama_edu.verify.mistakes import CATALOGUE
from llama_edu.verify.naming import Finding, Nearest
from llama_edu.verify.parts import read_model

WANT = np.linspace(-1, 1, 288, dtype=np.float32)
OFF = Logits(WANT[::-1].copy())
BY_NAME = {tiny.name: tiny for tiny in TINY}


def session(
    folder: Path, name: str, is_off: Callable[[Call], bool], answer: Answer = OFF
) -> Session:
    """A checkpoint for which the calls that are off have this answer."""
    directory = folder / name
    directory.mkdir()
    write_tiny(BY_NAME[name], directory)
    model = read_model(directory)
    observed = [
        Observed(call, answer if is_off(call) else Logits(WANT), WANT, 1e-4)
        for call in calls_for(model.config, long=True)
    ]
    return Session(name, model, observed)


def advice(sessions: Sequence[Session], finding: Finding | None = None) -> str:
    return " ".join(verdict_of(finding or Finding(tried=9), sessions).advice)


WHERE: dict[str, Callable[[Call], bool]] = {
    "ends": lambda call: True,
    "attention": lambda call: len(call.ids) > 1,
    "long": lambda call: "long" in call.flags,
    "cut": lambda call: "cut" in call.flags,
    "reset": lambda call: "reset" in call.flags,
    "past": lambda call: call.past > 0,
    "decode": lambda call: call.past > 0 and len(call.ids) == 1,
}


@pytest.mark.parametrize("place", PLACES)
def test_the_first_call_that_is_off_says_where_to_look(place: str, tmp_path: Path) -> None:
    told = advice([session(tmp_path, "mha-tied-f32", WHERE[place])])
    assert PLACES[place] in told
    assert sum(text in told for text in PLACES.values()) == 1
    assert "Nothing in the catalogue gives these numbers (9 mistakes tried)." in told


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Nothing("12 of 288 logits are NaN"), "look for a division by 0 or a row of -inf"),
        (Logits(np.full_like(WANT, 3)), "All the numbers of an answer are the same"),
    ],
)
def test_answers_without_numbers_say_nothing_of_places(
    answer: Answer, told: str, tmp_path: Path
) -> None:
    said = advice([session(tmp_path, "mha-tied-f32", lambda call: True, answer)])
    assert told in said
    assert not any(text in said for text in PLACES.values())


ONLY = {
    "mha-tied-f32": "tied ends",
    "gqa-untied-bf16": "weights in bfloat16",
    "mqa-untied-f32": "one key/value head",
    "layers-12": "more than ten layers",
    "defaults": "fields left out of the config",
    "mha-untied-f16": "a key/value head for every query head",
    "gqa-tied-bf16-linear": "rope_scaling linear",
    "gqa-untied-f32-llama3": "a head_dim other than hidden_size / n_heads",
    "mha-tied-bf16-llama3-new-spelling": "rope_scaling llama3",
    "both-biases-bf16": "biases",
}


@pytest.mark.parametrize("name", ONLY)
def test_what_only_the_models_have_that_are_off(name: str, tmp_path: Path) -> None:
    right = session(tmp_path, "square-untied-f32", lambda call: False)
    told = advice([right, session(tmp_path, name, lambda call: True)])
    (only,) = [line for line in told.split(". ") if line.startswith("Only models with ")]
    assert ONLY[name] in only
    assert "grouped key/value heads" not in only  # the right one has them, too


def test_where_all_models_are_off_none_of_them_is_special(tmp_path: Path) -> None:
    both = [session(tmp_path, name, lambda call: True) for name in ("layers-12", "mha-tied-f32")]
    assert "Only models with" not in advice(both)


RELU, SILU = CATALOGUE["gate.relu"], CATALOGUE["gate.gelu"]


@pytest.mark.parametrize(
    ("finding", "told"),
    [
        (Finding(tried=150, pairs=42), "(150 mistakes and 42 combinations tried)"),
        (
            Finding(tried=150, out_of_time=True),
            "(150 mistakes tried before time ran out (--naming-seconds))",
        ),
        (
            Finding(nearest=(Nearest(RELU, 0.25), Nearest(SILU, 1e-7, True))),
            f"{RELU.says} (0.25 away); {SILU.says} (right for the first case that is off, not for",
        ),
        (
            Finding(nearest=(Nearest(RELU, 0.0), Nearest(SILU, 0.0))),
            f"They also come when {RELU.says}; or {SILU.says}.",
        ),
    ],
)
def test_what_is_near_is_told_as_near(finding: Finding, told: str, tmp_path: Path) -> None:
    sessions = [session(tmp_path, "mha-tied-f32", lambda call: True)]
    assert told in advice(sessions, finding)


@pytest.mark.parametrize(
    ("finding", "told"),
    [
        (Finding(((RELU,),), gap=0.0, calls=7), "It explains all 7 calls, * exactly, to within"),
        (
            Finding(((RELU, SILU),), gap=1e-6, calls=7),
            "They explain all 7 calls, * to within 1.0e-06.",
        ),
        (
            Finding(((RELU,), (SILU,)), gap=1e-6, next_gap=0.5, calls=7),
            "Each of them explains all 7 calls, * the nearest other entry is 0.5 away.",
        ),
    ],
)
def test_how_well_a_name_fits(finding: Finding, told: str, tmp_path: Path) -> None:
    verdict = verdict_of(finding, [session(tmp_path, "mha-tied-f32", lambda call: True)])
    begin, end = told.split("*")
    assert verdict.certainty.startswith(begin.strip())
    assert end.strip() in verdict.certainty
    assert verdict.advice == []
