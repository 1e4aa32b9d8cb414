/**
 * The functions a forward pass is made of, by name, so that each can be exchanged: a lab switches
 * the mask off, a test plants a mistake. Arrays are flat Float32Arrays, rows one after another.
 */

import { floats } from "./scratch.js";

/** @typedef {import("./backend_plain.js").Backend} Backend */
/** @typedef {import("./backend_plain.js").Matrix} Matrix */
/** @typedef {import("./cache.js").KVCache} KVCache */
/** @typedef {import("./config.js").LlamaConfig} LlamaConfig */
/** @typedef {import("./config.js").RopeScaling} RopeScaling */
/** @typedef {Float32Array<ArrayBuffer>} Floats */
/** @typedef {{ weight: Matrix, bias: Float32Array | null }} Projection */

/** The angle each pair of numbers turns per position, radians. @param {LlamaConfig} config */
function inverseFrequencies(config) {
  const { head_dim: headDim, rope_theta: theta, rope_scaling: scaling } = config;
  const ramp = scaling?.rope_type === "yarn" ? yarnRamp(headDim, theta, scaling) : null;
  return Float32Array.from({ length: headDim / 2 }, (_, j) => {
    const turn = theta ** ((-2 * j) / headDim);
    if (!scaling) return turn;
    if (scaling.rope_type === "linear") return turn / scaling.factor;
    if (ramp) return (1 - ramp(j)) * turn + (ramp(j) * turn) / scaling.factor;
    // "llama3" slows only the pairs that hardly turn within the trained context.
    const turnsInContext = (scaling.original_max_position_embeddings * turn) / (2 * Math.PI);
    const { low_freq_factor: low, high_freq_factor: high } = scaling;
    const keep = Math.min(1, Math.max(0, (turnsInContext - low) / (high - low)));
    return keep * turn + ((1 - keep) * turn) / scaling.factor;
  });
}

/**
 * YaRN: how much of the slowing each pair gets, 0 for the fast ones, 1 for the slow.
 * @param {number} headDim @param {number} theta @param {RopeScaling} scaling
 */
function yarnRamp(headDim, theta, scaling) {
  const { original_max_position_embeddings: context, beta_fast: fast, beta_slow: slow } = scaling;
  const pairThatTurns = (/** @type {number} */ times) =>
    (headDim * Math.log(context / times / (2 * Math.PI))) / (2 * Math.log(theta));
  let [low, high] = [pairThatTurns(fast), pairThatTurns(slow)];
  if (scaling.truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  const width = Math.min(high, headDim - 1) - low || 0.001;
  return (/** @type {number} */ j) => Math.min(1, Math.max(0, (j - low) / width));
}

/** Cosine and sine of every pair's angle at positions past … past + seq - 1, (seq, head_dim / 2).
 * YaRN multiplies both by a factor, and with them the scores by its square.
 * @param {Float32Array} invFreq @param {number} past @param {number} seq @param {number} [factor]
 */
function rotation(invFreq, past, seq, factor = 1) {
  const half = invFreq.length;
  // Rounded before the cosine is taken, as every float32 engine does.
  const angles = floats(seq * half);
  for (let i = 0; i < angles.length; i++) {
    angles[i] = (past + Math.floor(i / half)) * invFreq[i % half];
  }
  const [cos, sin] = [angles.map(Math.cos), angles.map(Math.sin)];
  if (factor === 1) return { cos, sin };
  return { cos: cos.map((x) => x * factor), sin: sin.map((x) => x * factor) };
}

/** Rows of the embedding table. @param {Backend} backend @param {Matrix} table @param {number[]} ids */
function embed(backend, table, ids) {
  const x = floats(ids.length * table.width);
  ids.forEach((id, i) => x.set(backend.read(table, id, 1), i * table.width));
  return x;
}

/** x Wᵀ + b. @param {Backend} backend @param {Float32Array} x @param {Projection} projection */
function linear(backend, x, { weight, bias }) {
  const y = backend.linear(x, weight);
  if (bias) for (let i = 0; i < y.length; i++) y[i] += bias[i % bias.length];
  return y;
}

/**
 * weight · x / √(mean(x²) + eps), each row by itself.
 * @param {Float32Array} x @param {Float32Array} weight @param {number} eps
 */
function rmsNorm(x, weight, eps) {
  const width = weight.length;
  const y = floats(x.length);
  for (let start = 0; start < x.length; start += width) {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += x[start + j] ** 2;
    const scale = 1 / Math.sqrt(sum / width + eps);
    for (let j = 0; j < width; j++) y[start + j] = weight[j] * (x[start + j] * scale);
  }
  return y;
}

/**
 * A (seq, heads · head_dim) projection as one (seq, head_dim) matrix per head.
 * @param {Float32Array} x @param {number} headDim @param {number} seq
 */
function splitHeads(x, headDim, seq) {
  const width = x.length / seq;
  const y = floats(x.length);
  for (let i = 0; i < seq; i++) {
    for (let head = 0; head * headDim < width; head++) {
      const from = i * width + head * headDim;
      y.set(x.subarray(from, from + headDim), (head * seq + i) * headDim);
    }
  }
  return y;
}

/** The way back: heads side by side. @param {Float32Array} x @param {number} headDim @param {number} seq */
function mergeHeads(x, headDim, seq) {
  const width = x.length / seq;
  const y = floats(x.length);
  for (let i = 0; i < seq; i++) {
    for (let head = 0; head * headDim < width; head++) {
      const from = (head * seq + i) * headDim;
      y.set(x.subarray(from, from + headDim), i * width + head * headDim);
    }
  }
  return y;
}

/**
 * Turn the pairs (j, j + head_dim/2) of every row by its position. x is (heads, seq, head_dim).
 * @param {Float32Array} x @param {Float32Array} cos @param {Float32Array} sin @param {number} headDim
 */
function applyRope(x, cos, sin, headDim) {
  const half = headDim / 2;
  const y = floats(x.length);
  for (let start = 0; start < x.length; start += headDim) {
    const angle = ((start / headDim) * half) % cos.length;
    for (let j = 0; j < half; j++) {
      const [first, second] = [x[start + j], x[start + j + half]];
      const [c, s] = [cos[angle + j], sin[angle + j]];
      y[start + j] = first * c - second * s;
      y[start + j + half] = second * c + first * s;
    }
  }
  return y;
}

/** Remember new keys and values. @param {KVCache} cache @param {number} layer @param {Float32Array} k @param {Float32Array} v */
function remember(cache, layer, k, v) {
  cache.append(layer, k, v);
}

/** Which key/value head a query head reads. @param {number} head @param {number} nGroups */
function kvHeadOf(head, nGroups) {
  return Math.floor(head / nGroups);
}

/**
 * q · k / √head_dim of one head: (seq, total).
 * @param {Backend} backend @param {Float32Array} q @param {Matrix} keys @param {number} total
 */
function qkScores(backend, q, keys, total) {
  const scores = backend.linear(q, keys, total);
  const scale = keys.width ** -0.5;
  for (let i = 0; i < scores.length; i++) scores[i] *= scale;
  return scores;
}

/**
 * -∞ where a query may not look. Row i is the token at position past + i, which sees itself and
 * what came before it: everything, or no more than a window's width with itself.
 * @param {Float32Array} scores (seq, total) @param {number} seq @param {number} [window]
 */
function applyMask(scores, seq, window = Infinity) {
  const total = scores.length / seq;
  const past = total - seq;
  const masked = floats(scores.length);
  masked.set(scores);
  for (let i = 0; i < seq; i++) {
    const row = masked.subarray(i * total, (i + 1) * total);
    row.fill(-Infinity, past + i + 1);
    row.fill(-Infinity, 0, Math.max(0, past + i + 1 - window));
  }
  return masked;
}

/** e^x / Σ e^x of every row of n numbers. @param {Float32Array} x @param {number} n */
function softmax(x, n) {
  const y = floats(x.length);
  for (let start = 0; start < x.length; start += n) {
    let largest = -Infinity;
    for (let j = 0; j < n; j++) largest = Math.max(largest, x[start + j]);
    let sum = 0;
    for (let j = 0; j < n; j++) sum += y[start + j] = Math.exp(x[start + j] - largest);
    for (let j = 0; j < n; j++) y[start + j] /= sum;
  }
  return y;
}

/**
 * Mix the value rows of one head by every query's weights: (seq, head_dim). The last two say where
 * this is, for a lab that silences one head.
 * @param {Backend} backend @param {Float32Array} weights @param {Matrix} values @param {number} total
 * @param {number} _layer @param {number} _head
 */
function scoreV(backend, weights, values, total, _layer, _head) {
  return backend.mix(weights, values, total);
}

/** silu(gate) · up. @param {Float32Array} gate @param {Float32Array} up */
function swiglu(gate, up) {
  const y = floats(gate.length);
  for (let i = 0; i < y.length; i++) y[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
  return y;
}

/** The residual connection. @param {Float32Array} x @param {Float32Array} update */
function add(x, update) {
  const y = floats(x.length);
  for (let i = 0; i < y.length; i++) y[i] = x[i] + update[i];
  return y;
}

export const OPERATORS = {
  inverseFrequencies, rotation, embed, linear, rmsNorm, splitHeads, mergeHeads, applyRope, remember,
  kvHeadOf, qkScores, applyMask, softmax, scoreV, swiglu, add,
}; // prettier-ignore

/** @typedef {typeof OPERATORS} Operators */
