"""The functions a model calls when its backend is "numba": arrays in, kernels run, arrays out.

They take and return what the NumPy operators do, with weights and cache in any storage.
"""
# mypy: disable-error-code="no-untyped-call"

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from llama_edu.engine.backends.mixed import MIXED
from llama_edu.engine.backends.numba import prefill
from llama_edu.engine.backends.numba.decode import RUN, decode
from llama_edu.engine.backends.numba.gemv import small_batch_nbytes
from llama_edu.engine.backends.numba.layout import Plan, Workspace, describe, format_of
from llama_edu.engine.backends.numba.simd import has_long_registers
from llama_edu.engine.backends.numba.threads import Team
from llama_edu.engine.cache import KVCache
from llama_edu.engine.operators import Operators
from llama_edu.engine.step import Span, Step
from llama_edu.engine.weights import Weights
from llama_edu.errors import NumericsError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import LARGEST, to_float32
from llama_edu.formats.quantize import Stored, rows_as_float32
from llama_edu.ops import linear as blas
from llama_edu.ops import rope

__all__ = ["Engine"]

WIDENED_NBYTES = 8 * 1024 * 1024  # of rows widened for BLAS at a time
FEW = 64  # rows that NumPy rotates as soon
FEW_NEW = 16  # new tokens that go through one kernel, whichever sequences they belong to
FEW_MULTIPLIED = 24  # rows for which long registers multiply narrow weights sooner than BLAS
SPARE = 256  # a workspace has room for so many positions, or twice, three times, … as many
QUERIES = 128  # of a prompt that attend at a time; later ones see more
SMALL_NBYTES = 8 * 1024 * 1024  # weights that one thread reads sooner than two agree to share
PATIENCE_S = 1.5  # compiling takes longer than this, loading what was compiled does not


class Engine:
    """Threads, and what is known of the model they work for."""

    def __init__(self, threads: int | None = None) -> None:
        self.team = Team(threads)
        self._plan: Plan | None = None
        self._ready: set[str] = set()
        self._kept = threading.local()
        self.few = FEW_MULTIPLIED if has_long_registers() else 1

    def operators(self) -> Operators:
        """The numba backend's operators; those that stay with NumPy read narrow storage too."""
        return replace(
            MIXED,
            linear=self.linear,
            rms_norm=self.rms_norm,
            apply_rope=self.apply_rope,
            swiglu=self.swiglu,
            fused_attention=self.fused_attention,
            decode_step=self,
        )

    def takes(self, weights: Weights, step: Step) -> bool:
        """A few new tokens of sequences whose caches have the same format, every row wanted."""
        caches = [span.cache for span in step.spans if span.cache is not None]
        return (
            (step.is_decode or len(step.token_ids) <= FEW_NEW)
            and (not step.last_only or len(step.spans) == len(step.token_ids))
            and len(caches) == len(step.spans)
            and len({cache.dtype for cache in caches}) == 1
            and self._known(weights)[0].is_uniform
        )

    def __call__(
        self, weights: Weights, config: LlamaConfig, step: Step
    ) -> Float32[np.ndarray, "rows vocab_size"]:
        """Logits after the new tokens of each sequence, which are added to their caches."""
        plan, threads = self._known(weights)
        x = rows_as_float32(weights.embed_tokens, step.token_ids)
        cos, sin = np.ascontiguousarray(step.cos), np.ascontiguousarray(step.sin)
        runs: list[list[int]] = []
        rows = [row for span in step.spans for row in _rows(span, cos, sin, runs)]
        sequences = np.array(rows, dtype=np.int64)
        longest = max(span.total_seq for span in step.spans)
        workspace = self._workspace(config, threads, len(rows), longest)
        logits = np.empty((len(rows), config.vocab_size), dtype=np.float32)
        caches = [span.cache for span in step.spans if span.cache is not None]
        arguments = (
            plan.weight_format,
            plan.head_format,
            format_of(caches[0].keys(0)),
            plan.layers,
            plan.norms,
            config.rms_norm_eps,
            workspace.numbers(x.ctypes.data, logits.ctypes.data),
            sequences,
            np.array(runs, dtype=np.int64).reshape(-1, len(RUN)),
        )
        with self._announced("decode"):
            self.team.run(decode, *arguments, threads=threads)
        for span, cache in zip(step.spans, caches, strict=True):
            _check_new(cache, span.seq)
        step.advance()
        return logits

    def _known(self, weights: Weights) -> tuple[Plan, int]:
        """Where the weights are, and how many threads are best for so many of them."""
        if self._plan is None or self._plan.weights is not weights:
            self._plan = Plan(weights)
        return self._plan, 1 if weights.nbytes < SMALL_NBYTES else self.team.threads

    def linear(
        self,
        x: Float32[np.ndarray, "seq in_features"],
        weight: Float[np.ndarray, "out_features in_features"] | Stored,
        bias: Float32[np.ndarray, " out_features"] | None = None,
    ) -> Float32[np.ndarray, "seq out_features"]:
        """y = x Wᵀ + b: a kernel for few rows, BLAS for many."""
        if len(x) > 1 and isinstance(weight, np.ndarray) and weight.dtype == np.float32:
            return blas.linear(x, weight, bias)
        if len(x) > self.few:
            return self._widened(x, weight, bias)
        keep: list[np.ndarray] = []
        matrix = np.array(describe(weight, bias, keep), dtype=np.int64)
        y = np.empty((len(x), len(weight)), dtype=np.float32)
        x = np.ascontiguousarray(x)
        scratch = self._scratch(small_batch_nbytes.py_func(weight.shape[1], len(x)))
        addresses = x.ctypes.data, y.ctypes.data, len(x), scratch.ctypes.data
        with self._announced("product_small_batch"):
            self.team.run(prefill.product_small_batch, format_of(weight), matrix, *addresses)
        return y

    def _workspace(
        self, config: LlamaConfig, threads: int, count: int, total_seq: int
    ) -> Workspace:
        """What a step needs, kept for this caller's next one."""
        kept: Workspace | None = getattr(self._kept, "workspace", None)
        if kept is None or not kept.serves(config, threads, count, total_seq):
            kept = Workspace(config, threads, count, -(-total_seq // SPARE) * SPARE)
            self._kept.workspace = kept
        return kept

    def _scratch(self, nbytes: int) -> np.ndarray:
        """Memory for every thread of the team, kept for this caller's next product."""
        kept: np.ndarray | None = getattr(self._kept, "scratch", None)
        if kept is None or kept.nbytes < nbytes * self.team.threads:
            kept = np.empty(nbytes * self.team.threads, dtype=np.uint8)
            self._kept.scratch = kept
        return kept

    def _widened(
        self,
        x: Float32[np.ndarray, "seq in_features"],
        weight: Float[np.ndarray, "out_features in_features"] | Stored,
        bias: Float32[np.ndarray, " out_features"] | None,
    ) -> Float32[np.ndarray, "seq out_features"]:
        """`linear` by BLAS, for which narrow weights are widened, some rows at a time.

        On one thread: for milliseconds after a product BLAS's own threads still look for the next
        one, on the processors that ours would need, and a team waits for its slowest.
        """
        keep: list[np.ndarray] = []
        matrix = np.array(describe(weight, bias, keep), dtype=np.int64)
        y = np.empty((len(x), len(weight)), dtype=np.float32)
        weight_format = format_of(weight)
        step = max(1, WIDENED_NBYTES // (4 * weight.shape[1]))
        wide = np.empty((step, weight.shape[1]), dtype=np.float32)
        with self._announced("widen"):
            for start in range(0, len(weight), step):
                count = min(step, len(weight) - start)
                arguments = weight_format, matrix, start, count, wide.ctypes.data
                self.team.run(prefill.widen, *arguments, threads=1)
                np.matmul(x, wide[:count].T, out=y[:, start : start + count])
        if bias is not None:
            y += bias
        return y

    def rms_norm(
        self,
        x: Float32[np.ndarray, "seq hidden_size"],
        weight: Float32[np.ndarray, " hidden_size"],
        eps: float,
    ) -> Float32[np.ndarray, "seq hidden_size"]:
        """`llama_edu.ops.norm.rms_norm`, every row in one pass."""
        x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
        y = np.empty_like(x)
        with self._announced("rms_norm"):
            self.team.run(
                prefill.norm_rows, x.ctypes.data, weight.ctypes.data, eps, *x.shape, y.ctypes.data
            )
        return y

    def apply_rope(
        self,
        x: Float32[np.ndarray, "*heads seq head_dim"],
        cos: Float32[np.ndarray, "seq half_dim"],
        sin: Float32[np.ndarray, "seq half_dim"],
    ) -> Float32[np.ndarray, "*heads seq head_dim"]:
        """`llama_edu.ops.rope.apply_rope`, from wherever the heads lie."""
        if x.shape[-2] < FEW:  # done before a kernel is loaded
            return rope.apply_rope(x, cos, sin)
        y = np.empty(x.shape, dtype=np.float32)
        heads = x.reshape(-1, *x.shape[-2:])  # a view, as heads lie beside each other in a row
        if heads.strides[-1] != heads.itemsize:
            heads = np.ascontiguousarray(heads)
        cos, sin = np.ascontiguousarray(cos), np.ascontiguousarray(sin)
        arguments = (heads.ctypes.data, *heads.shape, heads.strides[:2], cos.ctypes.data)
        with self._announced("apply_rope"):
            self.team.run(prefill.rope_rows, *arguments, sin.ctypes.data, y.ctypes.data)
        return y

    def swiglu(
        self,
        gate: Float32[np.ndarray, "seq intermediate_size"],
        up: Float32[np.ndarray, "seq intermediate_size"],
    ) -> Float32[np.ndarray, "seq intermediate_size"]:
        """`llama_edu.ops.mlp.swiglu`, in one pass."""
        gate, up = np.ascontiguousarray(gate), np.ascontiguousarray(up)
        y = np.empty_like(gate)
        with self._announced("swiglu"):
            self.team.run(
                prefill.swiglu, gate.ctypes.data, up.ctypes.data, gate.size, y.ctypes.data
            )
        return y

    def fused_attention(
        self,
        q: Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"],
        k: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
        v: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
    ) -> Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"]:
        """Causal attention, some queries at a time, so that few meet keys they must not see."""
        n_kv_heads, n_groups, seq, head_dim = q.shape
        past = k.shape[1] - seq
        k, v = to_float32(k), to_float32(v)
        merged = np.empty((seq, n_kv_heads * n_groups, head_dim), dtype=np.float32)
        for start in range(0, seq, QUERIES):
            end = min(start + QUERIES, seq)
            seen = past + end
            self._attend(q[:, :, start:end], k[:, :seen], v[:, :seen], merged[start:end])
        return merged.reshape(seq, n_kv_heads, n_groups, head_dim).transpose(1, 2, 0, 3)

    def _attend(
        self,
        q: Float32[np.ndarray, "n_kv_heads n_groups seq head_dim"],
        k: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
        v: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
        merged: Float32[np.ndarray, "seq n_heads head_dim"],
    ) -> None:
        """Two BLAS products per KV group, with the weights made between, written to `merged`."""
        n_kv_heads, n_groups, seq, head_dim = q.shape
        stacked = (q * np.float32(head_dim**-0.5)).reshape(n_kv_heads, n_groups * seq, head_dim)
        scores = np.matmul(stacked, k.transpose(0, 2, 1))
        heads, past = n_kv_heads * n_groups, k.shape[1] - seq
        shares = np.empty(heads * seq, dtype=np.float32)
        with self._announced("attend"):
            run, at = self.team.run, shares.ctypes.data
            run(prefill.causal_weights, scores.ctypes.data, heads * seq, seq, past, at)
            mixed = np.matmul(scores, v)
            sizes = heads, seq, head_dim
            run(prefill.merge_rows, mixed.ctypes.data, at, *sizes, merged.ctypes.data)

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


def _rows(span: Span, cos: np.ndarray, sin: np.ndarray, runs: list[list[int]]) -> list[list[int]]:
    """The rows of a span as the kernel sees them, with room in its cache for all of them.

    In the order of `SEQUENCE`. What the cache borrows is added to `runs`.
    """
    assert span.cache is not None  # `takes` has seen it
    own = _place(span.cache.borrowed, *span.cache.reserve(span.seq))
    first, start = len(runs), 0
    for run in span.cache.runs:
        runs.append(_place(start, run.keys, run.values))
        start += len(run)
    cos_sin, stride = (cos.ctypes.data, sin.ctypes.data), cos.strides[0]
    return [
        [*own, first, len(runs), span.past + i, *(at + row * stride for at in cos_sin)]
        for i, row in enumerate(range(span.rows.start, span.rows.stop))
    ]


def _place(start: int, keys: np.ndarray, values: np.ndarray) -> list[int]:
    """Where keys and values lie whose first position is `start`, in the order of `RUN`."""
    return [start, keys.ctypes.data, values.ctypes.data, *keys.strides[:2]]


def _check_new(cache: KVCache, seq: int) -> None:
    """Refuse new rows that did not fit into the cache's format, as `cast` does."""
    if cache.dtype == np.float16:  # the only one that ends before what a model computes
        own = cache.length - cache.borrowed
        for part in cache.reserve(seq):
            if np.isinf(part[:, :, own : own + seq]).any():
                raise NumericsError(
                    f"expected keys and values up to {LARGEST['F16']} for a float16 cache, "
                    f"got larger ones at position {cache.length}"
                )


def _announce() -> None:
    print(
        "llama_edu: compiling kernels, once on this machine; they are kept for next time",
        file=sys.stderr,
    )
