"""Norm, gate and the stream."""

import numpy as np
from fresh_answers import right, wrong

from llama_edu.ops.mlp import silu
from llama_edu.ops.norm import rms_norm

NR, RS, GA, AM = "norm_rows", "row_size", "gated", "add_mlp"


def norm(
    x,
    weight,
    eps,
    *,
    axis=-1,
    outside=False,
    mean=True,
    center=False,
    root=True,
    weighted=True,
    add=False,
):
    x = x - x.mean(-1, keepdims=True) if center else x
    square = (x * x).mean(axis, keepdims=True) if mean else (x * x).sum(axis, keepdims=True)
    size = (np.sqrt(square) + eps if outside else np.sqrt(square + eps)) if root else square + eps
    y = x / size
    if add:
        return (y + weight).astype(np.float32)
    return (y * weight if weighted else y).astype(np.float32)


def norm_loop(x, weight, eps):
    out = np.empty(x.shape, np.float32)
    for i, row in enumerate(x):
        out[i] = row / float(np.sqrt(np.dot(row, row) / len(row) + eps)) * weight
    return out


def norm_einsum(x, weight, eps):
    square = np.einsum("sd,sd->s", x, x) / x.shape[1]
    return (x * (1 / np.sqrt(square + np.float32(eps)))[:, None] * weight).astype(np.float32)


def norm_in_place(x, weight, eps):
    x /= np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps))
    return x * weight


def size(x, eps, *, outside=False, wide=np.float32, axis=-1, mean=True, use_eps=True, root=True):
    y = x.astype(wide)
    square = (y * y).mean(axis, keepdims=True) if mean else (y * y).sum(axis, keepdims=True)
    if outside:
        return (np.sqrt(square) + eps).astype(np.float32)
    square = square + (eps if use_eps else 0)
    return (np.sqrt(square) if root else square).astype(np.float32)


def size_narrow(x, eps):
    with np.errstate(over="ignore"):
        return np.sqrt((x * x).mean(-1, keepdims=True).astype(np.float32) + np.float32(eps))


def size_norm(x, eps):
    y = x.astype(np.float32)
    length = np.linalg.norm(y, axis=-1, keepdims=True)
    return np.sqrt(length**2 / x.shape[-1] + np.float32(eps)).astype(np.float32)


def gate_stable(gate, up):
    small = np.exp(-np.abs(gate))
    return gate * np.where(gate >= 0, 1 / (1 + small), small / (1 + small)) * up


def gate_plain(gate, up):
    with np.errstate(over="ignore"):
        return gate / (1 + np.exp(-gate)) * up


def gate_tanh(gate, up):
    return (gate * (0.5 + 0.5 * np.tanh(gate * 0.5)) * up).astype(np.float32)


def gate_gelu(gate, up):
    inner = np.sqrt(np.float32(2 / np.pi)) * (gate + np.float32(0.044715) * gate**3)
    return np.float32(0.5) * gate * (1 + np.tanh(inner)) * up


def gate_exp(gate, up):
    with np.errstate(over="ignore", invalid="ignore"):
        return gate * np.exp(gate) / (1 + np.exp(gate)) * up


def mlp(x, norm_, gate, up, down, eps):
    normed = rms_norm(x, norm_, eps)
    return (silu(normed @ gate.T) * (normed @ up.T)) @ down.T


def add_buffers(x, norm_, gate, up, down, eps, work):
    a, b, c, d = work
    np.multiply(x, x, out=a)
    size_ = np.sqrt(a.mean(-1, keepdims=True) + np.float32(eps))
    np.divide(x, size_, out=a)
    a *= norm_
    np.matmul(a, gate.T, out=b)
    np.matmul(a, up.T, out=c)
    b *= np.float32(0.5) + np.float32(0.5) * np.tanh(b * np.float32(0.5))
    b *= c
    np.matmul(b, down.T, out=d)
    x += d


def add_in_place(x, norm_, gate, up, down, eps, work):
    a, b, c, d = work
    np.multiply(x, x, out=a)
    size_ = np.sqrt(np.mean(a, axis=1, keepdims=True) + np.float32(eps))
    np.divide(x, size_, out=a)
    np.multiply(a, norm_, out=a)
    np.matmul(a, gate.T, out=b)
    np.multiply(b, np.float32(-1), out=c)
    np.exp(c, out=c)
    np.add(c, np.float32(1), out=c)
    np.divide(b, c, out=b)
    np.matmul(a, up.T, out=c)
    np.multiply(b, c, out=b)
    np.matmul(b, down.T, out=d)
    np.add(x, d, out=x)


def add_with_einsum(x, norm_, gate, up, down, eps, work):
    a, b, c, d = work
    scale = (np.einsum("ij,ij->i", x, x) / x.shape[1] + np.float32(eps)) ** np.float32(-0.5)
    np.einsum("ij,i,j->ij", x, scale, norm_, out=a)
    np.einsum("ij,kj->ik", a, gate, out=b)
    np.multiply(b, np.float32(0.5), out=c)
    np.tanh(c, out=c)
    c += 1
    c *= b
    c *= np.float32(0.5)
    np.einsum("ij,kj->ik", a, up, out=b)
    b *= c
    np.einsum("ij,kj->ik", b, down, out=d)
    x += d


def add_simple(x, norm_, gate, up, down, eps, work):
    work[0][...] = rms_norm(x, norm_, eps)
    work[1][...] = silu(work[0] @ gate.T)
    work[2][...] = work[0] @ up.T
    work[1][...] *= work[2]
    work[3][...] = work[1] @ down.T
    x[...] += work[3]


def add_new(x, norm_, gate, up, down, eps, work):
    x = x + mlp(x, norm_, gate, up, down, eps)


def add_returned(x, norm_, gate, up, down, eps, work):
    return x + mlp(x, norm_, gate, up, down, eps)


def add_replaced(x, norm_, gate, up, down, eps, work):
    x[...] = mlp(x, norm_, gate, up, down, eps)


def add_over_stream(x, norm_, gate, up, down, eps, work):
    x[...] = rms_norm(x, norm_, eps)
    x += (silu(x @ gate.T) * (x @ up.T)) @ down.T


def add_not_normed(x, norm_, gate, up, down, eps, work):
    x += (silu(x @ gate.T) * (x @ up.T)) @ down.T


def add_swapped(x, norm_, gate, up, down, eps, work):
    x += mlp(x, norm_, up, gate, down, eps)


def add_no_silu(x, norm_, gate, up, down, eps, work):
    n = rms_norm(x, norm_, eps)
    x += ((n @ gate.T) * (n @ up.T)) @ down.T


def add_no_gate(x, norm_, gate, up, down, eps, work):
    n = rms_norm(x, norm_, eps)
    x += silu(n @ up.T) @ down.T


def add_to_old(x, norm_, gate, up, down, eps, work):
    work[3][...] += mlp(x, norm_, gate, up, down, eps)
    x += work[3]


def add_normed_stream(x, norm_, gate, up, down, eps, work):
    x[...] = rms_norm(x, norm_, eps) + mlp(x, norm_, gate, up, down, eps)


def add_eps_fixed(x, norm_, gate, up, down, eps, work):
    x += mlp(x, norm_, gate, up, down, 1e-6)


def add_silu_on_both(x, norm_, gate, up, down, eps, work):
    n = rms_norm(x, norm_, eps)
    x += silu((n @ gate.T) * (n @ up.T)) @ down.T


def add_twice(x, norm_, gate, up, down, eps, work):
    y = mlp(x, norm_, gate, up, down, eps)
    x += y
    x += y


ANSWERS = (
    right(NR, "at once", norm),
    right(NR, "einsum", norm_einsum),
    wrong(NR, "rows", norm_loop),
    wrong(NR, "columns", lambda x, w, e: norm(x, w, e, axis=0), "over_tokens"),
    wrong(NR, "all numbers", lambda x, w, e: norm(x, w, e, axis=None), "over_all"),
    wrong(NR, "eps outside", lambda x, w, e: norm(x, w, e, outside=True), "eps_outside"),
    wrong(NR, "sum, not mean", lambda x, w, e: norm(x, w, e, mean=False), "length"),
    wrong(NR, "LayerNorm", lambda x, w, e: norm(x, w, e, center=True), "layer_norm"),
    wrong(NR, "no root", lambda x, w, e: norm(x, w, e, root=False), "no_root"),
    wrong(NR, "no weight", lambda x, w, e: norm(x, w, e, weighted=False), "no_weight"),
    wrong(NR, "one plus weight", lambda x, w, e: norm(x, 1 + w, e), "one_plus_weight"),
    wrong(NR, "weight added", lambda x, w, e: norm(x, w, e, add=True), "weight_added"),
    wrong(NR, "no eps", lambda x, w, e: norm(x, w, 0.0), "no_eps"),
    wrong(NR, "eps fixed", lambda x, w, e: norm(x, w, 1e-6), "fixed_eps"),
    wrong(NR, "float64", lambda x, w, e: norm(x, w, e).astype(np.float64), "float64"),
    wrong(NR, "in place", norm_in_place, "in_place"),
    wrong(
        NR,
        "standard deviation",
        lambda x, w, e: (x / (x.std(-1, keepdims=True) + e) * w).astype(np.float32),
        "deviation",
    ),
    right(RS, "wide", size),
    right(RS, "norm of NumPy", size_norm),
    wrong(RS, "eps outside", lambda x, e: size(x, e, outside=True), "eps_outside"),
    wrong(RS, "narrow squares", size_narrow, "narrow_squares"),
    wrong(RS, "no eps", lambda x, e: size(x, e, use_eps=False), "no_eps"),
    wrong(RS, "sum", lambda x, e: size(x, e, mean=False), "sum"),
    wrong(RS, "no root", lambda x, e: size(x, e, root=False), "no_root"),
    wrong(RS, "flat", lambda x, e: size(x, e)[:, 0], "flat"),
    wrong(RS, "columns", lambda x, e: size(x, e, axis=0), "columns"),
    wrong(RS, "dtype of x", lambda x, e: size(x, e).astype(x.dtype)),
    wrong(RS, "float64", lambda x, e: size(x, e).astype(np.float64)),
    wrong(RS, "one over", lambda x, e: 1 / size(x, e), "one_over"),
    wrong(
        RS,
        "at least eps",
        lambda x, e: np.maximum(size(x, e, use_eps=False), np.float32(e)),
        "at_least_eps",
    ),
    wrong(
        RS,
        "mean of sizes",
        lambda x, e: np.abs(x.astype(np.float32)).mean(-1, keepdims=True) + np.float32(e),
        "mean_of_sizes",
    ),
    right(GA, "stable", gate_stable),
    right(GA, "plain", gate_plain),
    right(GA, "tanh", gate_tanh),
    wrong(GA, "exchanged", lambda g, u: gate_stable(u, g), "swapped"),
    wrong(
        GA, "sigmoid only", lambda g, u: gate_stable(g, u) / np.where(g == 0, 1, g), "sigmoid_safe"
    ),
    wrong(GA, "GELU", gate_gelu, "gelu"),
    wrong(GA, "ReLU", lambda g, u: np.maximum(g, 0) * u, "relu"),
    wrong(GA, "overflow", gate_exp, "overflow"),
    wrong(GA, "up left out", lambda g, u: gate_plain(g, np.ones_like(u)), "no_up"),
    wrong(GA, "added", lambda g, u: gate_plain(g, np.ones_like(u)) + u, "sum"),
    wrong(
        GA, "SiLU of the product", lambda g, u: gate_plain(g * u, np.ones_like(u)), "of_the_product"
    ),
    wrong(GA, "product", lambda g, u: g * u, "plain_product"),
    wrong(
        GA,
        "both",
        lambda g, u: gate_plain(g, np.ones_like(u)) * gate_plain(u, np.ones_like(u)),
        "both",
    ),
    wrong(GA, "sign", lambda g, u: gate_plain(-g, u), "minus"),
    wrong(GA, "float64", lambda g, u: gate_plain(g, u).astype(np.float64)),
    right(AM, "in place", add_in_place),
    right(AM, "einsum", add_with_einsum),
    wrong(AM, "buffers, and one array for tanh", add_buffers),
    wrong(AM, "written into the buffers afterwards", add_simple),
    wrong(AM, "a new array", add_new, "new_array"),
    wrong(AM, "returned", add_returned, "new_array"),
    wrong(AM, "stream replaced", add_replaced, "replaces"),
    wrong(AM, "norm over the stream", add_over_stream, "norm_on_stream"),
    wrong(AM, "not normed", add_not_normed, "no_norm"),
    wrong(AM, "gate and up exchanged", add_swapped, "swapped"),
    wrong(AM, "no SiLU", add_no_silu, "no_silu"),
    wrong(AM, "no gate", add_no_gate, "no_gate"),
    wrong(AM, "added to old numbers", add_to_old, "dirty_buffer"),
    wrong(AM, "normed stream", add_normed_stream, "norm_on_stream"),
    wrong(AM, "eps fixed", add_eps_fixed, "fixed_eps"),
    wrong(AM, "SiLU of the product", add_silu_on_both, "of_the_product"),
    wrong(AM, "added twice", add_twice, "added_twice"),
)
