"""The functions a model calls when its backend is "numba": arrays in, kernels run, arrays out.

They take and return what the NumPy operators do, with weights and cache in any storage.
"""
# mypy: disable-error-code="no-untyped-call"

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from llama_edu import linear as blas
from llama_edu.cache import KVCache
from llama_edu.kernels import prefill
from llama_edu.kernels.decode import decode
from llama_edu.kernels.plan import Desk, Plan, describe, format_of
from llama_edu.kernels.team import Team
from llama_edu.mixed import MIXED
from llama_edu.operators import Operators
from llama_edu.precision import to_float32
from llama_edu.quantize import Quantized

if TYPE_CHECKING:
    from llama_edu.model import Llama

__all__ = ["Engine"]

WIDENED_NBYTES = 2 * 1024 * 1024  # of rows widened for BLAS at a time
SMALL_NBYTES = 8 * 1024 * 1024  # weights that one thread reads sooner than two agree to share
PATIENCE_S = 1.5  # compiling takes longer than this, loading what was compiled does not


class Engine:
    """Threads, and what is known of the model they work for."""

    def __init__(self, threads: int | None = None) -> None:
        self.team = Team(threads)
        self._plan: Plan | None = None
        self._ready: set[str] = set()

    def operators(self) -> Operators:
        """The numba backend's operators; those that stay with NumPy read narrow storage too."""
        return replace(
            MIXED,
            linear=self.linear,
            rms_norm=self.rms_norm,
            swiglu=self.swiglu,
            attend=self.attend,
            step=self.step,
            few=self.few,
        )

    def step(
        self,
        model: "Llama",
        x: Float32[np.ndarray, "1 hidden_size"],
        cos: Float32[np.ndarray, "1 half_dim"],
        sin: Float32[np.ndarray, "1 half_dim"],
        cache: KVCache,
    ) -> Float32[np.ndarray, "1 vocab_size"]:
        """Logits after one more token, which is added to the cache."""
        if self._plan is None or self._plan.weights is not model.weights:
            self._plan = Plan(model.weights)
        plan, config = self._plan, model.config
        keys, values = cache.reserve(1)
        threads = 1 if model.weights.nbytes < SMALL_NBYTES else self.team.threads
        desk = Desk(config, threads, cache.length + 1)
        logits = np.empty((1, config.vocab_size), dtype=np.float32)
        numbers = desk.numbers(
            past=cache.length,
            cos=cos.ctypes.data,
            sin=sin.ctypes.data,
            logits=logits.ctypes.data,
            keys=keys.ctypes.data,
            values=values.ctypes.data,
            layer_stride=keys.strides[0],
            head_stride=keys.strides[1],
            x=x.ctypes.data,
        )
        arguments = (
            plan.form,
            format_of(keys),
            plan.layers,
            plan.norms,
            config.rms_norm_eps,
            numbers,
        )
        with self._announced("decode"):
            self.team.run(decode, *arguments, threads=threads)
        cache.advance(1)
        return logits

    def linear(
        self,
        x: Float32[np.ndarray, "seq in_features"],
        weight: Float[np.ndarray, "out_features in_features"] | Quantized,
        bias: Float32[np.ndarray, " out_features"] | None = None,
    ) -> Float32[np.ndarray, "seq out_features"]:
        """y = x Wᵀ + b: a kernel for one row, BLAS for more."""
        if len(x) > 1 and isinstance(weight, np.ndarray) and weight.dtype == np.float32:
            return blas.linear(x, weight, bias)
        keep: list[np.ndarray] = []
        matrix = np.array(describe(weight, bias, keep), dtype=np.int64)
        y = np.empty((len(x), len(weight)), dtype=np.float32)
        x = np.ascontiguousarray(x)
        form = format_of(weight)
        with self._announced("linear"):
            if len(x) == 1:
                addresses = x.ctypes.data, y.ctypes.data
                self.team.run(prefill.product_of_row, form, matrix, *addresses)
                return y
            step = max(1, WIDENED_NBYTES // (4 * weight.shape[1]))
            wide = np.empty((step, weight.shape[1]), dtype=np.float32)
            for start in range(0, len(weight), step):
                count = min(step, len(weight) - start)
                self.team.run(prefill.widen, form, matrix, start, count, wide.ctypes.data)
                np.matmul(x, wide[:count].T, out=y[:, start : start + count])
        if bias is not None:
            y += bias
        return y

    def few(
        self,
        x: Float32[np.ndarray, "seq in_features"],
        weight: Float[np.ndarray, "out_features in_features"] | Quantized,
        bias: Float32[np.ndarray, " out_features"] | None = None,
    ) -> Float32[np.ndarray, "seq out_features"]:
        """`linear` for a few rows: float32 weights go to BLAS in small pieces."""
        if isinstance(weight, np.ndarray) and weight.dtype == np.float32:
            return blas.linear_few(x, weight, bias)
        return self.linear(x, weight, bias)

    def rms_norm(
        self,
        x: Float32[np.ndarray, "seq hidden_size"],
        weight: Float32[np.ndarray, " hidden_size"],
        eps: float,
    ) -> Float32[np.ndarray, "seq hidden_size"]:
        """`llama_edu.norm.rms_norm`, every row in one pass."""
        x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
        y = np.empty_like(x)
        with self._announced("rms_norm"):
            self.team.run(
                prefill.norm_rows, x.ctypes.data, weight.ctypes.data, eps, *x.shape, y.ctypes.data
            )
        return y

    def swiglu(
        self,
        gate: Float32[np.ndarray, "seq intermediate_size"],
        up: Float32[np.ndarray, "seq intermediate_size"],
    ) -> Float32[np.ndarray, "seq intermediate_size"]:
        """`llama_edu.mlp.swiglu`, in one pass."""
        gate, up = np.ascontiguousarray(gate), np.ascontiguousarray(up)
        y = np.empty_like(gate)
        with self._announced("swiglu"):
            self.team.run(
                prefill.swiglu, gate.ctypes.data, up.ctypes.data, gate.size, y.ctypes.data
            )
        return y

    def attend(
        self,
        q: Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"],
        k: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
        v: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
    ) -> Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
        """Causal attention: two BLAS products per KV group, and one pass of softmax between."""
        n_kv_heads, n_groups, seq, head_dim = q.shape
        total_seq = k.shape[1]
        stacked = q.reshape(n_kv_heads, n_groups * seq, head_dim)
        scores = np.matmul(stacked, to_float32(k).transpose(0, 2, 1))
        rows = n_kv_heads * n_groups * seq
        with self._announced("softmax"):
            self.team.run(
                prefill.causal_softmax,
                scores.ctypes.data,
                rows,
                seq,
                total_seq - seq,
                head_dim**-0.5,
            )
        return np.matmul(scores, to_float32(v)).reshape(q.shape)

    @contextlib.contextmanager
    def _announced(self, name: str) -> Iterator[None]:
        """Say so if a kernel's first use is slow: then it is being compiled."""
        if name in self._ready:
            yield
            return
        timer = threading.Timer(PATIENCE_S, _announce)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        self._ready.add(name)


def _announce() -> None:
    print(
        "llama_edu: compiling kernels, once on this machine; they are kept for next time",
        file=sys.stderr,
    )
