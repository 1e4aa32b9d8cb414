"""The small operators of one token: RMSNorm, RoPE, SwiGLU and attention over the cache.

Each works on float32 vectors at given addresses; keys and values are read in the format the cache
keeps them in. These cost little beside the products, but not nothing: a plain `exp` per score
would take as long as reading the scores' keys.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, operator"

import math

import numpy as np

from llama_edu.engine.backends.numba.simd import (
    F32,
    add,
    compiled,
    div,
    exp,
    fma,
    itemsize,
    load,
    load1,
    maximum,
    mul,
    reduce_max,
    reduce_sum,
    splat,
    store,
    store1,
    store_sums,
    zero,
)

__all__ = [
    "attend_part",
    "copy",
    "dot",
    "merge_parts",
    "rms_norm",
    "rope",
    "rope_queries",
    "scaled",
    "silu_times",
    "softmax",
]

NOTHING = np.float32(-3e38)  # the largest of no scores at all


@compiled
def dot(number_format, p, x, n):
    """Σ p·x over n numbers, `p` stored in any format without scales."""
    size = itemsize(number_format)
    a, b = zero(), zero()
    for _ in range(n // 32):
        a = fma(load(number_format, p), load(F32, x), a)
        b = fma(load(number_format, p + 16 * size), load(F32, x + 64), b)
        p, x = p + 32 * size, x + 128
    for _ in range(n % 32 // 16):
        a = fma(load(number_format, p), load(F32, x), a)
        p, x = p + 16 * size, x + 64
    y = reduce_sum(add(a, b))
    for i in range(n % 16):
        y += load1(number_format, p + i * size) * load1(F32, x + 4 * i)
    return y


@compiled
def rms_norm(x, weight, eps, n, y):
    """y = weight · x / √(mean(x²) + eps). See `llama_edu.ops.norm.rms_norm`."""
    root = dot(F32, x, x, n) / n + eps
    inverse = 1.0 / math.sqrt(root)
    scale = splat(inverse)
    whole = n // 16 * 16
    for i in range(0, 4 * whole, 64):
        store(y + i, mul(load(F32, weight + i), mul(load(F32, x + i), scale)))
    for i in range(4 * whole, 4 * n, 4):
        store1(F32, y + i, load1(F32, weight + i) * (load1(F32, x + i) * inverse))


@compiled
def copy(number_format, x, n, y):
    """Write n float32 in a format."""
    for j in range(n):
        store1(number_format, y + j * itemsize(number_format), load1(F32, x + 4 * j))


@compiled
def scaled(x, n, factor, y):
    """y = factor · x, n numbers; `y` may be `x`."""
    whole, factors = n // 16 * 16, splat(factor)
    for i in range(0, 4 * whole, 64):
        store(y + i, mul(load(F32, x + i), factors))
    for i in range(4 * whole, 4 * n, 4):
        store1(F32, y + i, load1(F32, x + i) * np.float32(factor))


@compiled
def rope(number_format, x, cos, sin, head_dim, y):
    """Rotate one head's pairs (j, j + head_dim/2), and write them in a format."""
    half, size, minus = head_dim // 2, itemsize(number_format), splat(-1.0)
    wide = half // 16 * 16 if size == 4 else 0
    for j in range(0, wide, 16):
        first, second = load(F32, x + 4 * j), load(F32, x + 4 * (j + half))
        c, s = load(F32, cos + 4 * j), load(F32, sin + 4 * j)
        store(y + 4 * j, fma(mul(second, minus), s, mul(first, c)))
        store(y + 4 * (j + half), fma(first, s, mul(second, c)))
    for j in range(wide, half):
        first, second = load1(F32, x + 4 * j), load1(F32, x + 4 * (j + half))
        c, s = load1(F32, cos + 4 * j), load1(F32, sin + 4 * j)
        store1(number_format, y + j * size, first * c - second * s)
        store1(number_format, y + (j + half) * size, second * c + first * s)


@compiled
def rope_queries(q, cos, sin, head_dim, heads, y):
    """Rotate the query heads of a group, and scale them by 1/√head_dim, as scores want them."""
    for at in range(0, 4 * heads * head_dim, 4 * head_dim):
        rope(F32, q + at, cos, sin, head_dim, y + at)
    scaled(y, heads * head_dim, head_dim**-0.5, y)


@compiled
def softmax(x, n):
    """Put e^(x - max x) in the place of x, n numbers; returns the maximum and their sum."""
    whole = n // 16 * 16
    top = splat(load1(F32, x))
    for i in range(0, 4 * whole, 64):
        top = maximum(top, load(F32, x + i))
    peak = reduce_max(top)
    for i in range(4 * whole, 4 * n, 4):
        peak = max(peak, load1(F32, x + i))
    less, sums = splat(-peak), zero()
    for i in range(0, 4 * whole, 64):
        e = exp(add(load(F32, x + i), less))
        store(x + i, e)
        sums = add(sums, e)
    rest = reduce_sum(sums)
    for i in range(4 * whole, 4 * n, 4):
        e1 = math.exp(load1(F32, x + i) - peak)
        store1(F32, x + i, e1)
        rest += e1
    return peak, rest


@compiled
def _scores(number_format, keys, q, other, n, head_dim, y, z):
    """y[i] = keys[i] · q and z[i] = keys[i] · other for n rows, four at a time.

    Each key is read and widened once for both heads. Without an `other` there is one.
    """
    size = itemsize(number_format)
    step, whole = head_dim * size, head_dim // 16
    for i in range(0, n - 3, 4):
        p = keys + i * step
        a, b, c, d = zero(), zero(), zero(), zero()
        e, f, g, h = zero(), zero(), zero(), zero()
        for j in range(whole):
            at = p + 16 * j * size
            k0, k1 = load(number_format, at), load(number_format, at + step)
            k2, k3 = load(number_format, at + 2 * step), load(number_format, at + 3 * step)
            x = load(F32, q + 64 * j)
            a, b, c, d = fma(k0, x, a), fma(k1, x, b), fma(k2, x, c), fma(k3, x, d)
            if other is not None:
                x = load(F32, other + 64 * j)
                e, f, g, h = fma(k0, x, e), fma(k1, x, f), fma(k2, x, g), fma(k3, x, h)
        store_sums(y + 4 * i, a, b, c, d)
        if other is not None:
            store_sums(z + 4 * i, e, f, g, h)
        for k in range(i, i + 4):
            for j in range(16 * whole, head_dim):
                key = load1(number_format, keys + k * step + j * size)
                store1(F32, y + 4 * k, load1(F32, y + 4 * k) + key * load1(F32, q + 4 * j))
                if other is not None:
                    more = key * load1(F32, other + 4 * j)
                    store1(F32, z + 4 * k, load1(F32, z + 4 * k) + more)
    for i in range(n // 4 * 4, n):
        store1(F32, y + 4 * i, dot(number_format, keys + i * step, q, head_dim))
        if other is not None:
            store1(F32, z + 4 * i, dot(number_format, keys + i * step, other, head_dim))


@compiled
def _mix(number_format, values, weights, others, n, head_dim, y, z):
    """y = Σ weights[i] · values[i] over n positions, and z with `others`, if there are any."""
    size = itemsize(number_format)
    step, wide, whole = head_dim * size, head_dim // 64 * 64, head_dim // 16 * 16
    for j in range(0, wide, 64):  # four sums a head: a row of values is read in one go
        a, b, c, d = zero(), zero(), zero(), zero()
        e, f, g, h = zero(), zero(), zero(), zero()
        p = values + j * size
        for i in range(n):
            v0, v1 = load(number_format, p), load(number_format, p + 16 * size)
            v2, v3 = load(number_format, p + 32 * size), load(number_format, p + 48 * size)
            w = splat(load1(F32, weights + 4 * i))
            a, b, c, d = fma(w, v0, a), fma(w, v1, b), fma(w, v2, c), fma(w, v3, d)
            if others is not None:
                w = splat(load1(F32, others + 4 * i))
                e, f, g, h = fma(w, v0, e), fma(w, v1, f), fma(w, v2, g), fma(w, v3, h)
            p += step
        _store4(y + 4 * j, a, b, c, d)
        if others is not None:
            _store4(z + 4 * j, e, f, g, h)
    for j in range(wide, whole, 16):
        a, e = zero(), zero()
        for i in range(n):
            v0 = load(number_format, values + i * step + j * size)
            a = fma(splat(load1(F32, weights + 4 * i)), v0, a)
            if others is not None:
                e = fma(splat(load1(F32, others + 4 * i)), v0, e)
        store(y + 4 * j, a)
        if others is not None:
            store(z + 4 * j, e)
    for j in range(whole, head_dim):
        first, second = np.float32(0.0), np.float32(0.0)
        for i in range(n):
            value = load1(number_format, values + i * step + j * size)
            first += load1(F32, weights + 4 * i) * value
            if others is not None:
                second += load1(F32, others + 4 * i) * value
        store1(F32, y + 4 * j, first)
        if others is not None:
            store1(F32, z + 4 * j, second)


@compiled
def _store4(y, a, b, c, d):
    store(y, a)
    store(y + 64, b)
    store(y + 128, c)
    store(y + 192, d)


@compiled
def attend_part(number_format, q, keys, values, n, head_dim, heads, scores, out, stride):
    """The query heads of one KV group over n positions.

    Each gets its mix of values, its largest score and its sum of weights. Two heads go together,
    so that keys and values are widened once for both. `q` is (heads, head_dim), rotated and scaled
    by 1/√head_dim. `scores` has room for heads · n numbers. The rows of `out`, `stride` bytes
    apart, take head_dim + 2 numbers. `merge_parts` puts the parts of the positions together.
    """
    width, pairs = 4 * head_dim, heads // 2 * 2
    for head in range(0, pairs, 2):
        x, y = q + head * width, scores + 4 * head * n
        _scores(number_format, keys, x, x + width, n, head_dim, y, y + 4 * n)
    for head in range(pairs, heads):
        x, y = q + head * width, scores + 4 * head * n
        _scores(number_format, keys, x, None, n, head_dim, y, None)
    for head in range(heads):
        y, peak, weight = out + head * stride, NOTHING, np.float32(0.0)
        if n > 0:
            peak, weight = softmax(scores + 4 * head * n, n)
        store1(F32, y + width, peak)
        store1(F32, y + width + 4, weight)
    for head in range(0, pairs, 2):
        x, y = scores + 4 * head * n, out + head * stride
        _mix(number_format, values, x, x + 4 * n, n, head_dim, y, y + stride)
    for head in range(pairs, heads):
        x, y = scores + 4 * head * n, out + head * stride
        _mix(number_format, values, x, None, n, head_dim, y, None)


@compiled
def add_part(part, another, head_dim):
    """Take what came of other positions into one head's part: both at the same maximum."""
    at = 4 * head_dim
    peak, other = load1(F32, part + at), load1(F32, another + at)
    largest = max(peak, other)
    a, b = math.exp(peak - largest), math.exp(other - largest)
    for j in range(0, at, 4):
        store1(F32, part + j, a * load1(F32, part + j) + b * load1(F32, another + j))
    weight = a * load1(F32, part + at + 4) + b * load1(F32, another + at + 4)
    store1(F32, part + at, largest)
    store1(F32, part + at + 4, weight)


@compiled
def merge_parts(parts, stride, ranks, head_dim, y):
    """One head's attention from every thread's part: each e^… brought to the same maximum.

    A part without positions has a sum of 0. Source: Milakov and Gimelshein 2018, Online
    normalizer calculation for softmax, arXiv:1805.02867.
    """
    peak = load1(F32, parts + 4 * head_dim)
    for r in range(1, ranks):
        peak = max(peak, load1(F32, parts + r * stride + 4 * head_dim))
    weight = np.float32(0.0)
    for j in range(head_dim):
        store1(F32, y + 4 * j, weight)
    for r in range(ranks):
        p = parts + r * stride
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
