"""Compare a full-size model with its goldens (`tools/goldens/models.py` says what they hold)."""

from __future__ import annotations

import numpy as np
from helpers import DATA, assert_close

from llama_edu import Llama, Trace, generate

N_PROBES = 16


def load_golden(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / "models" / f"{name}.npz") as file:
        return dict(file)


def probe(array: np.ndarray) -> np.ndarray:
    """Evenly spaced entries of an array, its mean and its mean absolute value."""
    flat = np.where(np.isfinite(array), array, 0).reshape(-1)
    entries = flat[np.linspace(0, flat.size - 1, N_PROBES).astype(np.int64)]
    wide = flat.astype(np.float64)
    return np.concatenate([entries, [wide.mean(), np.abs(wide).mean()]]).astype(np.float32)


def check_intermediates(model: Llama, golden: dict[str, np.ndarray], tolerance: float) -> str:
    """Every recorded array, in units of its own largest value; returns the worst of them."""
    with Trace() as t:
        model.forward(golden["token_ids"], trace=t)
    wanted = dict(zip(golden["names"].tolist(), golden["probes"], strict=True))
    assert {record.name for record in t} == wanted.keys()
    worst = (0.0, "")
    for record in t:
        finite = record.array[np.isfinite(record.array)]
        scale = np.float32(np.max(np.abs(finite)))
        off = float(np.max(np.abs(probe(record.array) - wanted[record.name])) / scale)
        assert off <= tolerance, f"{record.name}: off by {off:.1e} of its largest value"
        worst = max(worst, (off, record.name))
    return f"{worst[0]:.1e} at most, in {worst[1]}"


def check_best_logits(model: Llama, golden: dict[str, np.ndarray], tolerance: float) -> str:
    """The 20 best next tokens, in order, and their logits."""
    logits = model.forward(golden["token_ids"], last_only=True)[0]
    best = np.argsort(-logits, kind="stable")[: len(golden["best_ids"])]
    assert best.tolist() == golden["best_ids"].tolist()
    error = assert_close(logits[best], golden["best_logits"], tolerance)
    return f"{error:.1e} of the largest"


def check_greedy(model: Llama, golden: dict[str, np.ndarray]) -> str:
    """Identical tokens where rounding could not decide one.

    The first prompt is continued token by token over a cache. The others run in one pass, prompt
    and continuation together: each token must be the best one after those before it, which is
    what greedy decoding without a cache means, at a fraction of the time.
    """
    smallest = np.inf
    for prompt in range(3):
        key = f"greedy/{prompt}"
        ids, want = golden[f"{key}/prompt_ids"], golden[f"{key}/token_ids"]
        margins = golden[f"{key}/margins"]
        assert len(want) == len(margins) == 64
        assert margins.min() > 5e-3
        if prompt == 0:
            got = list(generate(model, ids, max_new_tokens=len(want), stop_ids=(), chunk=5))
        else:
            logits = model.forward(np.concatenate([ids, want[:-1]]))
            got = np.argmax(logits[len(ids) - 1 :], axis=-1).tolist()
        assert got == want.tolist(), prompt
        smallest = min(smallest, float(margins.min()))
    return f"3 x 64 tokens identical; the closest call was {smallest:.3f} between two logits"
