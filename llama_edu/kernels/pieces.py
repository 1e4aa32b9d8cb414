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
    store_totals,
    total,
    zero,
)

__all__ = [
    "TILE",
    "attend_share",
    "copy",
    "dot",
    "merge_shares",
    "rms_norm",
    "rotate",
    "scaled",
    "silu_times",
    "softmax",
    "turned_queries",
]

TILE = 32  # positions whose keys or values are widened at a time; they stay in the first cache
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
def turned_queries(q, cos, sin, head_dim, heads, y):
    """Turn the query heads of a group, and scale them by 1/√head_dim, as scores want them."""
    for at in range(0, 4 * heads * head_dim, 4 * head_dim):
        rotate(F32, q + at, cos, sin, head_dim, y + at)
    scaled(y, heads * head_dim, head_dim**-0.5, y)


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
def _widened(form, p, n, tile):
    """n numbers as float32: where they lie, if they are, else copied to `tile`; returns where."""
    size = itemsize(form)
    if size == 4:
        return p
    for i in range(n // 16):
        store(tile + 64 * i, load(form, p + 16 * i * size))
    for i in range(n // 16 * 16, n):
        store1(F32, tile + 4 * i, load1(form, p + i * size))
    return tile


@compiled
def _dots(keys, q, n, head_dim, y):
    """y[i] = keys[i] · q for n rows of float32, four at a time."""
    step, whole = 4 * head_dim, head_dim // 16 * 64
    for i in range(0, n - 3, 4):
        p = keys + i * step
        a, b, c, d = zero(), zero(), zero(), zero()
        for j in range(0, whole, 64):
            x = load(F32, q + j)
            a, b = fma(load(F32, p + j), x, a), fma(load(F32, p + step + j), x, b)
            c = fma(load(F32, p + 2 * step + j), x, c)
            d = fma(load(F32, p + 3 * step + j), x, d)
        store_totals(y + 4 * i, a, b, c, d)
        for k in range(4):
            for j in range(whole, step, 4):
                more = load1(F32, p + k * step + j) * load1(F32, q + j)
                store1(F32, y + 4 * (i + k), load1(F32, y + 4 * (i + k)) + more)
    for i in range(n // 4 * 4, n):
        store1(F32, y + 4 * i, dot(F32, keys + i * step, q, head_dim))


@compiled
def _add_mixed(values, weights, n, head_dim, y):
    """y += Σ weights[i] · values[i] over n positions, for one head."""
    step, wide = 4 * head_dim, head_dim // 64 * 64
    for j in range(0, 4 * wide, 256):  # four sums at once: a row of values is read in one go
        a, b = load(F32, y + j), load(F32, y + j + 64)
        c, d = load(F32, y + j + 128), load(F32, y + j + 192)
        p = values + j
        for i in range(n):
            weight = splat(load1(F32, weights + 4 * i))
            a = fma(weight, load(F32, p), a)
            b = fma(weight, load(F32, p + 64), b)
            c = fma(weight, load(F32, p + 128), c)
            d = fma(weight, load(F32, p + 192), d)
            p += step
        store(y + j, a)
        store(y + j + 64, b)
        store(y + j + 128, c)
        store(y + j + 192, d)
    for j in range(4 * wide, head_dim // 16 * 64, 64):
        a = load(F32, y + j)
        for i in range(n):
            a = fma(splat(load1(F32, weights + 4 * i)), load(F32, values + i * step + j), a)
        store(y + j, a)
    for j in range(head_dim // 16 * 64, step, 4):
        mixed = load1(F32, y + j)
        for i in range(n):
            mixed += load1(F32, weights + 4 * i) * load1(F32, values + i * step + j)
        store1(F32, y + j, mixed)


@compiled
def attend_share(form, q, keys, values, n, head_dim, heads, scores, tile, out, stride):
    """The query heads of one KV group over n positions.

    Each gets its mix of values, its largest score and its sum of weights. Keys and values are
    widened once for all of them, `TILE` positions at a time. `q` is (heads, head_dim), turned and
    scaled by 1/√head_dim. `scores` has room for heads · n numbers, `tile` for TILE · head_dim. The
    rows of `out`, `stride` bytes apart, take head_dim + 2 numbers. `merge_shares` puts the shares
    of the positions together.
    """
    width, size = 4 * head_dim, itemsize(form)
    for first in range(0, n, TILE):
        count = min(TILE, n - first)
        p = _widened(form, keys + first * head_dim * size, count * head_dim, tile)
        for head in range(heads):
            _dots(p, q + head * width, count, head_dim, scores + 4 * (head * n + first))
    for head in range(heads):
        y, peak, weight = out + head * stride, NOTHING, np.float32(0.0)
        if n > 0:
            peak, weight = softmax(scores + 4 * head * n, n)
        for j in range(head_dim):
            store1(F32, y + 4 * j, np.float32(0.0))
        store1(F32, y + width, peak)
        store1(F32, y + width + 4, weight)
    for first in range(0, n, TILE):
        count = min(TILE, n - first)
        p = _widened(form, values + first * head_dim * size, count * head_dim, tile)
        for head in range(heads):
            weights = scores + 4 * (head * n + first)
            _add_mixed(p, weights, count, head_dim, out + head * stride)


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
