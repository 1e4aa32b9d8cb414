"""The small operators of one token: RMSNorm, RoPE, SwiGLU and attention over the cache.

Each works on float32 vectors at given addresses; keys and values are read in the format the cache
keeps them in. These cost little beside the products, but not nothing: a plain `exp` per score
would take as long as reading the scores' keys.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

import math

import numpy as np

from llama_edu.kernels.vectors import (
    F32,
    add,
    compiled,
    div,
    exp,
    fma,
    itemsize,
    largest,
    load,
    load1,
    maximum,
    mul,
    splat,
    store,
    store1,
    total,
    zero,
)

__all__ = [
    "attend_share",
    "copy",
    "dot",
    "merge_shares",
    "rms_norm",
    "rotate",
    "scaled",
    "silu_times",
    "softmax",
]

NOTHING = np.float32(-3e38)  # the largest of no scores at all


@compiled
def dot(form, p, x, n):
    """Σ p·x over n numbers, `p` stored in any format without scales."""
    size = itemsize(form)
    a, b = zero(), zero()
    for _ in range(n // 32):
        a = fma(load(form, p), load(F32, x), a)
        b = fma(load(form, p + 16 * size), load(F32, x + 64), b)
        p, x = p + 32 * size, x + 128
    for _ in range(n % 32 // 16):
        a = fma(load(form, p), load(F32, x), a)
        p, x = p + 16 * size, x + 64
    y = total(add(a, b))
    for i in range(n % 16):
        y += load1(form, p + i * size) * load1(F32, x + 4 * i)
    return y


@compiled
def rms_norm(x, weight, eps, n, y):
    """y = weight · x / √(mean(x²) + eps). See `llama_edu.norm.rms_norm`."""
    root = dot(F32, x, x, n) / n + eps
    inverse = 1.0 / math.sqrt(root)
    scale = splat(inverse)
    whole = n // 16 * 16
    for i in range(0, 4 * whole, 64):
        store(y + i, mul(load(F32, weight + i), mul(load(F32, x + i), scale)))
    for i in range(4 * whole, 4 * n, 4):
        store1(F32, y + i, load1(F32, weight + i) * (load1(F32, x + i) * inverse))


@compiled
def copy(form, x, n, y):
    """Write n float32 in a format."""
    for j in range(n):
        store1(form, y + j * itemsize(form), load1(F32, x + 4 * j))


@compiled
def scaled(x, n, factor, y):
    """y = factor · x, n numbers; `y` may be `x`."""
    whole, factors = n // 16 * 16, splat(factor)
    for i in range(0, 4 * whole, 64):
        store(y + i, mul(load(F32, x + i), factors))
    for i in range(4 * whole, 4 * n, 4):
        store1(F32, y + i, load1(F32, x + i) * np.float32(factor))


@compiled
def rotate(form, x, cos, sin, head_dim, y):
    """Turn one head's pairs (j, j + head_dim/2), and write them in a format."""
    half, size = head_dim // 2, itemsize(form)
    for j in range(half):
        first, second = load1(F32, x + 4 * j), load1(F32, x + 4 * (j + half))
        c, s = load1(F32, cos + 4 * j), load1(F32, sin + 4 * j)
        store1(form, y + j * size, first * c - second * s)
        store1(form, y + (j + half) * size, second * c + first * s)


@compiled
def softmax(x, n):
    """Put e^(x - max x) in the place of x, n numbers; returns the maximum and their sum."""
    whole = n // 16 * 16
    top = splat(load1(F32, x))
    for i in range(0, 4 * whole, 64):
        top = maximum(top, load(F32, x + i))
    peak = largest(top)
    for i in range(4 * whole, 4 * n, 4):
        peak = max(peak, load1(F32, x + i))
    less, sums = splat(-peak), zero()
    for i in range(0, 4 * whole, 64):
        e = exp(add(load(F32, x + i), less))
        store(x + i, e)
        sums = add(sums, e)
    rest = total(sums)
    for i in range(4 * whole, 4 * n, 4):
        e1 = math.exp(load1(F32, x + i) - peak)
        store1(F32, x + i, e1)
        rest += e1
    return peak, rest


@compiled
def _mix(form, values, weights, n, head_dim, y):
    """y = Σ weights[i] · values[i] over n positions, for one head."""
    size = itemsize(form)
    for j in range(head_dim // 16):
        a, b = zero(), zero()
        p = values + j * 16 * size
        for i in range(n // 2):
            a = fma(splat(load1(F32, weights + 8 * i)), load(form, p), a)
            b = fma(splat(load1(F32, weights + 8 * i + 4)), load(form, p + head_dim * size), b)
            p += 2 * head_dim * size
        if n % 2:
            a = fma(splat(load1(F32, weights + 4 * (n - 1))), load(form, p), a)
        store(y + 64 * j, add(a, b))
    for j in range(head_dim // 16 * 16, head_dim):
        mixed = load1(F32, weights) * load1(form, values + j * size)
        for i in range(1, n):
            mixed += load1(F32, weights + 4 * i) * load1(form, values + (i * head_dim + j) * size)
        store1(F32, y + 4 * j, mixed)


@compiled
def attend_share(form, q, keys, values, n, head_dim, scores, out):
    """One query head over n positions: its mix of values, its largest score, its sum of weights.

    `out` takes head_dim + 2 numbers. Shares of the positions are put together by `merge_shares`.
    """
    if n == 0:
        for j in range(head_dim + 2):
            store1(F32, out + 4 * j, np.float32(0.0))
        store1(F32, out + 4 * head_dim, NOTHING)
        return
    scale, step = np.float32(head_dim**-0.5), head_dim * itemsize(form)
    for i in range(n):
        store1(F32, scores + 4 * i, dot(form, keys + i * step, q, head_dim) * scale)
    peak, weight = softmax(scores, n)
    _mix(form, values, scores, n, head_dim, out)
    store1(F32, out + 4 * head_dim, peak)
    store1(F32, out + 4 * head_dim + 4, weight)


@compiled
def merge_shares(shares, stride, ranks, head_dim, y):
    """One head's attention from every thread's share: each e^… brought to the same maximum.

    A share without positions has a sum of 0. Source: Milakov and Gimelshein 2018, Online
    normalizer calculation for softmax, arXiv:1805.02867.
    """
    peak = load1(F32, shares + 4 * head_dim)
    for r in range(1, ranks):
        peak = max(peak, load1(F32, shares + r * stride + 4 * head_dim))
    weight = np.float32(0.0)
    for j in range(head_dim):
        store1(F32, y + 4 * j, weight)
    for r in range(ranks):
        p = shares + r * stride
        factor = math.exp(load1(F32, p + 4 * head_dim) - peak)
        weight += factor * load1(F32, p + 4 * head_dim + 4)
        for j in range(head_dim):
            store1(F32, y + 4 * j, load1(F32, y + 4 * j) + factor * load1(F32, p + 4 * j))
    for j in range(head_dim):
        store1(F32, y + 4 * j, load1(F32, y + 4 * j) / weight)


@compiled
def silu_times(gate, up, n, y):
    """y = silu(gate) · up, n numbers."""
    one, minus = splat(1.0), splat(-1.0)
    whole = n // 16 * 16
    for i in range(0, 4 * whole, 64):
        g = load(F32, gate + i)
        activated = div(g, add(one, exp(mul(g, minus))))
        store(y + i, mul(activated, load(F32, up + i)))
    for i in range(4 * whole, 4 * n, 4):
        g1 = load1(F32, gate + i)
        store1(F32, y + i, g1 / (1.0 + math.exp(-g1)) * load1(F32, up + i))
