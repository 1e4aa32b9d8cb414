"""What several test modules share: goldens, tiny random models, one way to compare arrays."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import config as shape_checks

from llama_edu import Llama, LlamaConfig
from llama_edu.formats.tensor_shapes import expected_shapes

DATA = Path(__file__).parents[1] / "data"

# Every axis has a size of its own, so an axis swapped for another cannot go unseen.
TINY: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 20,
    "intermediate_size": 27,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100.0,
}


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """No look at the shapes of what is called in here, where `tools.check shapes` looks at them.

    For calls like those before them, by the thousand: looking takes ten times as long as calling.
    """
    before = shape_checks.jaxtyping_disable
    shape_checks.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        shape_checks.update("jaxtyping_disable", before)


@cache
def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        arrays = dict(file)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def operator_goldens(operator: str) -> dict[str, np.ndarray]:
    """What PyTorch computed for one operator, by short name (``tools/goldens/operators.py``)."""
    prefix = f"{operator}/"
    arrays = _npz(DATA / "operators.npz")
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def tiny_config(**changes: Any) -> LlamaConfig:
    return LlamaConfig(**(TINY | changes))


def tiny_tensors(config: LlamaConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 tensors: gains near 1, biases and attention strong enough to matter."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        noise = rng.standard_normal(shape, dtype=np.float32)
        if "norm" in name:
            tensors[name] = 1 + noise * 0.3
        elif name.endswith("bias"):
            tensors[name] = noise * 0.3
        elif "embed_tokens" in name:
            tensors[name] = noise
        else:
            tensors[name] = noise * (1.5 * shape[1] ** -0.5)
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return tensors


def tiny_model(seed: int = 0, **changes: Any) -> Llama:
    config = tiny_config(**changes)
    return Llama(config, tiny_tensors(config, seed))


def random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def assert_close(got: np.ndarray, want: Any, tolerance: float, name: str = "") -> float:
    """Same shape, float32, same infinities, and |got - want| ≤ tolerance · max |want|.

    Returns the largest difference, in units of max |want|.
    """
    want = np.asarray(want)
    assert got.dtype == np.float32, f"{name}: expected float32, got {got.dtype}"
    assert got.shape == want.shape, f"{name}: expected {want.shape}, got {got.shape}"
    finite = np.isfinite(want)
    assert np.array_equal(np.isfinite(got), finite), f"{name}: other entries are finite"
    assert np.array_equal(got[~finite], want[~finite]), f"{name}: other infinities"
    if not finite.any():
        return 0.0
    scale = float(np.max(np.abs(want[finite]))) or 1.0
    error = float(np.max(np.abs(got[finite].astype(np.float64) - want[finite]))) / scale
    assert error <= tolerance, f"{name}: off by {error:.2e} of the largest value, > {tolerance:.0e}"
    return error


def unchanged(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """A fingerprint to compare before and after, for tests that nothing is mutated."""
    return {name: array.tobytes() for name, array in arrays.items()}


def changeable(package: str) -> set[str]:
    """Names of the dataclasses in a package whose fields can be assigned: what has a state."""
    found = set()
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if ".numba" in info.name or info.name.endswith(".http.router"):  # of an extra
            continue
        module = importlib.import_module(info.name)
        found |= {
            name
            for name, value in vars(module).items()
            if isinstance(value, type)
            and value.__module__ == info.name
            and dataclasses.is_dataclass(value)
            and not value.__dataclass_params__.frozen  # type: ignore[attr-defined]
        }
    return found


def sorted_logits(packed: str) -> np.ndarray:
    """The logits that a sampling lab carries, largest first: written as its docstring says."""
    keys: list[int] = []
    step = place = 0
    for byte in base64.b64decode(packed):
        step |= (byte & 127) << place
        place += 7
        if byte < 128:
            keys.append(keys[-1] - step if keys else step)
            step = place = 0
    bits = [(key - (1 << 23)) << 8 if key >> 23 else ~(key << 8 | 255) & 0xFFFFFFFF for key in keys]
    return np.array(bits, dtype=np.uint32).view(np.float32)
