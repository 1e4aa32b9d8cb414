"""One new token through the whole model: what `Llama.forward` does, for one row and sooner.

The operators are those of `forward`, in the same order, with the same numbers up to rounding. A
row is a plain vector here, which spares NumPy much of the work around the arithmetic: a small
model spends most of its time there. A large one spends it reading weights, each once per token.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from llama_edu.engine.cache import KVCache
from llama_edu.engine.weights import LayerWeights, Projection

if TYPE_CHECKING:
    from llama_edu.engine.llama import Llama

__all__ = ["step"]

STAYS_NBYTES = 8 * 1024 * 1024  # weights that are still in the processor's cache a token later

Product = Callable[..., np.ndarray]  # product(weight, x, out): W x


def step(
    model: "Llama",
    x: Float32[np.ndarray, "1 hidden_size"],
    cos: Float32[np.ndarray, "1 half_dim"],
    sin: Float32[np.ndarray, "1 half_dim"],
    cache: KVCache,
) -> Float32[np.ndarray, "1 vocab_size"]:
    """Logits after one more token, which is added to the cache. Weights and cache in float32.

    `x` is the token's embedding, `cos` and `sin` are the rotation at its position. Raises
    `ContextError` if the cache is full; whatever is raised, the cache holds what it held.
    """
    weights, eps = model.weights, model.config.rms_norm_eps
    product = product_for(weights.nbytes)
    joined = weights.joined if product is np.dot else None
    turn = cos, np.concatenate([-sin, sin])
    keys, values = cache.reserve(1)  # (n_layers, n_kv_heads, capacity, head_dim)
    past, total_seq = cache.length, cache.length + 1
    row = x[0]
    # In SwiGLU: for very negative x, e⁻ˣ is infinite and x / ∞ is the right answer: 0.
    with np.errstate(over="ignore"):
        for i, layer in enumerate(weights.layers):
            attn_in, mlp_in = joined[i] if joined else (None, None)
            normed = rms_norm(row, layer.input_layernorm, eps)
            q, k, v = qkv(normed, layer, attn_in, turn, keys.shape[1], product)
            keys[i, :, past], values[i, :, past] = k, v
            mixed = attend(q, keys[i, :, :total_seq], values[i, :, :total_seq])
            row = row + project(mixed, layer.o_proj, product)
            normed = rms_norm(row, layer.post_attention_layernorm, eps)
            gate_up = project_all(normed, (layer.gate_proj, layer.up_proj), mlp_in, product)
            width = len(gate_up) // 2
            gated = swiglu(gate_up[:width], gate_up[width:])
            row = row + project(gated, layer.down_proj, product)
    cache.advance(1)
    return product(weights.lm_head, rms_norm(row, weights.norm, eps))[None]


def product_for(nbytes: int) -> Product:
    """The faster way to compute W x, for a model of that many bytes of weights.

    `np.dot` takes several rows of W at a time: less to do, but memory is
    read here and there. `np.vecdot` takes one row after another, as they
    lie: twice as fast where W comes from memory.
    """
    return np.dot if nbytes <= STAYS_NBYTES else np.vecdot


def rms_norm(
    x: Float32[np.ndarray, " hidden_size"], gain: Float32[np.ndarray, " hidden_size"], eps: float
) -> Float32[np.ndarray, " hidden_size"]:
    """gain · x / √(mean(x²) + eps)."""
    return gain * (x / math.sqrt(np.dot(x, x) / len(x) + eps))


def project(
    x: Float32[np.ndarray, " in_features"],
    projection: Projection,
    product: Product,
    out: Float32[np.ndarray, " out_features"] | None = None,
) -> Float32[np.ndarray, " out_features"]:
    """W x + b, into `out` if given."""
    y = product(projection.weight, x, out)
    if projection.bias is not None:
        y += projection.bias
    return y


def project_all(
    x: Float32[np.ndarray, " in_features"],
    projections: tuple[Projection, ...],
    joined: Projection | None,
    product: Product,
) -> Float32[np.ndarray, " out_features"]:
    """The same row through several projections, one result behind the other.

    In one product if they are `joined`, else each where it lies: joining a large model would take
    its memory a second time, and gain nothing.
    """
    if joined is not None:
        return project(x, joined, product)
    y = np.empty_like(x, shape=sum(len(p.weight) for p in projections))
    start = 0
    for p in projections:
        end = start + len(p.weight)
        project(x, p, product, y[start:end])
        start = end
    return y


def qkv(
    x: Float32[np.ndarray, " hidden_size"],
    layer: LayerWeights,
    joined: Projection | None,
    turn: tuple[Float32[np.ndarray, "1 half_dim"], Float32[np.ndarray, "2 half_dim"]],
    n_kv_heads: int,
    product: Product,
) -> tuple[
    Float32[np.ndarray, "n_kv_heads n_groups head_dim"],
    Float32[np.ndarray, "n_kv_heads head_dim"],
    Float32[np.ndarray, "n_kv_heads head_dim"],
]:
    """Query, key and value, by heads; the first two rotated, all their heads in one go.

    `turn` is the cosine, and the sine with its sign in front of each half of a head: the first
    half loses second · sin, the second gains first · sin.
    """
    cos, sines = turn
    y = project_all(x, (layer.q_proj, layer.k_proj, layer.v_proj), joined, product)
    q_width, kv_width = len(layer.q_proj.weight), len(layer.k_proj.weight)
    halves = y[: q_width + kv_width].reshape(-1, 2, cos.shape[1])  # (n_heads + n_kv_heads, …)
    rotated = halves * cos
    rotated += halves[:, ::-1] * sines
    rotated = rotated.reshape(-1)
    head_dim = kv_width // n_kv_heads
    return (
        rotated[:q_width].reshape(n_kv_heads, -1, head_dim),
        rotated[q_width:].reshape(n_kv_heads, head_dim),
        y[q_width + kv_width :].reshape(n_kv_heads, head_dim),
    )


def attend(
    q: Float32[np.ndarray, "n_kv_heads n_groups head_dim"],
    k: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
    v: Float32[np.ndarray, "n_kv_heads total_seq head_dim"],
) -> Float32[np.ndarray, " width"]:
    """`qk_scores`, `softmax` and `score_v`, with the heads side by side at the end.

    No mask: a new token may look at everything.
    """
    # Matrix times vector for every query: matrix times matrix slows down with a long past.
    scores = np.matmul(k[:, None], q[..., None])[..., 0]  # (n_kv_heads, n_groups, total_seq)
    scores *= q.shape[-1] ** -0.5
    # The methods of ufuncs, since `np.max` and `np.sum` take longer to get here than to compute.
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    return np.matmul(scores, v).reshape(-1)


def swiglu(
    gate: Float32[np.ndarray, " intermediate_size"], up: Float32[np.ndarray, " intermediate_size"]
) -> Float32[np.ndarray, " intermediate_size"]:
    """gate / (1 + e⁻ᵍᵃᵗᵉ) · up."""
    return gate / (1.0 + np.exp(-gate)) * up
