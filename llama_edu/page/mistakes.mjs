/**
 * Mistakes one makes when writing a Llama, each planted by exchanging one function of the engine.
 * `verify` should find and name them. Nothing in the page imports this file.
 */

import { InputError, Llama, OPERATORS, probabilities } from "./src/engine.js";

/** @typedef {import("./src/config.js").LlamaConfig} LlamaConfig */
/** @typedef {import("./src/engine.js").KVCache} KVCache */
/** @typedef {import("./src/engine.js").Tokenizer} Tokenizer */
/** @typedef {import("./src/operators.js").Operators} Operators */
/** @typedef {import("./src/sampling.js").Sampling} Sampling */
/** @typedef {import("./src/weights.js").Weights} Weights */

/** What a mistake may change; this is the engine without one. */
const RIGHT = {
  /** @type {Partial<Operators>} */
  operators: {},
  config: (/** @type {LlamaConfig} */ config) => config,
  model: (/** @type {Llama} */ model) => model,
  tokenizer: (/** @type {Tokenizer} */ tokenizer) => tokenizer,
  keep(/** @type {Llama} */ _model, /** @type {KVCache} */ cache, /** @type {number} */ past) {
    cache.truncate(past);
    return cache;
  },
  forward(/** @type {Llama} */ model, /** @type {number[]} */ ids, /** @type {KVCache} */ cache) {
    return model.forward(ids, cache, { lastOnly: true });
  },
  probabilities: (/** @type {Float32Array} */ logits, /** @type {Sampling} */ sampling) =>
    probabilities(logits, sampling),
};

/** @typedef {typeof RIGHT} Mistake */

const addsUp = (/** @type {Float32Array} */ row) => row.reduce((sum, value) => sum + value, 0);
const silu = (/** @type {number} */ x) => x / (1 + Math.exp(-x));

/**
 * An RMSNorm that does something else with every row.
 * @param {(row: Float32Array, weight: Float32Array, eps: number) => Float32Array} change
 * @returns {Partial<Operators>}
 */
const norm = (change) => ({
  rmsNorm(x, weight, eps) {
    const y = new Float32Array(x.length);
    for (let at = 0; at < x.length; at += weight.length) {
      y.set(change(x.subarray(at, at + weight.length), weight, eps), at);
    }
    return y;
  },
});

/** Scores under another factor than 1 / √head_dim. @param {(headDim: number) => number} factor @returns {Partial<Operators>} */
const scaled = (factor) => ({
  qkScores(backend, q, keys, total) {
    return backend.linear(q, keys, total).map((score) => score * factor(keys.width));
  },
});

/** A mask under which row i sees `sees(i, past)` positions. @param {(i: number, past: number) => number} sees @returns {Partial<Operators>} */
const mask = (sees) => ({
  applyMask(scores, seq) {
    const total = scores.length / seq;
    const masked = Float32Array.from(scores);
    for (let i = 0; i < seq; i++) {
      masked.fill(-Infinity, i * total + Math.max(1, sees(i, total - seq)), (i + 1) * total);
    }
    return masked;
  },
});

/** RoPE only for the queries, or only for the keys. @param {"queries" | "keys"} side @returns {(model: Llama) => Llama} */
const ropeOnly = (side) => (model) => {
  const { config } = model;
  let calls = 0; // queries come first, then keys, in every layer
  return model.with({
    applyRope(x, cos, sin, headDim) {
      const isQuery = calls++ % 2 === 0;
      return isQuery === (side === "queries") ? applyRope(x, cos, sin, config.head_dim) : Float32Array.from(x);
    },
  });
};

/** Weights exchanged after loading. @param {(weights: Weights) => Weights} change @returns {(model: Llama) => Llama} */
const weights = (change) => (model) =>
  new Llama(model.config, change(model.weights), model.backend, model.operators);

const { applyRope, rotation, embed, linear, qkScores } = OPERATORS;

/** @type {Record<string, Partial<Mistake>>} */
export const MISTAKES = {
  eps_outside_root: {
    operators: norm((row, weight, eps) => {
      const root = Math.sqrt(addsUp(row.map((v) => v * v)) / row.length) + eps;
      return weight.map((w, j) => (w * row[j]) / root);
    }),
  },
  eps_missing: {
    operators: norm((row, weight) => {
      const root = Math.sqrt(addsUp(row.map((v) => v * v)) / row.length);
      return weight.map((w, j) => (w * row[j]) / root);
    }),
  },
  norm_subtracts_mean: {
    operators: norm((row, weight, eps) => {
      const mean = addsUp(row) / row.length;
      const centred = row.map((v) => v - mean);
      const root = Math.sqrt(addsUp(centred.map((v) => v * v)) / row.length + eps);
      return weight.map((w, j) => (w * centred[j]) / root);
    }),
  },
  norm_of_sum: {
    operators: norm((row, weight, eps) => {
      const root = Math.sqrt(addsUp(row.map((v) => v * v)) + eps);
      return weight.map((w, j) => (w * row[j]) / root);
    }),
  },
  norm_one_plus_weight: {
    operators: norm((row, weight, eps) => {
      const root = Math.sqrt(addsUp(row.map((v) => v * v)) / row.length + eps);
      return weight.map((w, j) => ((1 + w) * row[j]) / root);
    }),
  },
  final_norm_missing: {
    model: (model) =>
      model.with({
        rmsNorm: (x, weight, eps) =>
          weight === model.weights.norm ? Float32Array.from(x) : OPERATORS.rmsNorm(x, weight, eps),
      }),
  },
  norms_swapped: {
    model: weights((w) => ({
      ...w,
      layers: w.layers.map((layer) => ({
        ...layer,
        input_layernorm: layer.post_attention_layernorm,
        post_attention_layernorm: layer.input_layernorm,
      })),
    })),
  },
  rope_interleaved: {
    operators: {
      applyRope(x, cos, sin, headDim) {
        const half = headDim / 2;
        const y = new Float32Array(x.length);
        for (let i = 0; i < x.length; i += 2) {
          const angle = (Math.floor(i / headDim) * half + (i % headDim) / 2) % cos.length;
          y[i] = x[i] * cos[angle] - x[i + 1] * sin[angle];
          y[i + 1] = x[i + 1] * cos[angle] + x[i] * sin[angle];
        }
        return y;
      },
    },
  },
  rope_missing: { operators: { applyRope: (x) => Float32Array.from(x) } },
  rope_queries_only: { model: ropeOnly("queries") },
  rope_keys_only: { model: ropeOnly("keys") },
  rope_turns_twice: {
    operators: {
      applyRope: (x, cos, sin, headDim) =>
        applyRope(applyRope(x, cos, sin, headDim), cos, sin, headDim),
    },
  },
  rope_forgets_past: { operators: { rotation: (invFreq, _past, seq) => rotation(invFreq, 0, seq) } },
  rope_on_values: {
    operators: {
      remember(cache, layer, k, v) {
        const seq = v.length / cache.keys[layer].length / cache.headDim;
        const turns = Float32Array.from({ length: cache.headDim / 2 }, (_, j) => 10000 ** ((-2 * j) / cache.headDim));
        const { cos, sin } = rotation(turns, cache.length, seq);
        cache.append(layer, k, applyRope(v, cos, sin, cache.headDim));
      },
    },
  },
  rope_theta_halved: { config: (config) => ({ ...config, rope_theta: config.rope_theta / 2 }) },
  scale_missing: { operators: scaled(() => 1) },
  scale_without_root: { operators: scaled((headDim) => 1 / headDim) },
  mask_missing: { operators: mask((i, past) => past + i + 10000) },
  mask_sees_next: { operators: mask((i, past) => past + i + 2) },
  mask_hides_itself: { operators: mask((i, past) => past + i) },
  mask_forgets_past: { operators: mask((i) => i + 1) },
  softmax_one_more: {
    operators: {
      softmax(x, n) {
        const y = OPERATORS.softmax(x, n);
        for (let at = 0; at < x.length; at += n) {
          const sum = x.subarray(at, at + n).reduce((total, score) => total + Math.exp(score), 0);
          for (let j = 0; j < n; j++) y[at + j] *= sum / (1 + sum);
        }
        return y;
      },
    },
  },
  sharing_interleaved: {
    model: (model) => {
      const { num_key_value_heads: kvHeads } = model.config;
      return model.with({ kvHeadOf: (head) => head % kvHeads });
    },
  },
  sharing_first_head: { operators: { kvHeadOf: () => 0 } },
  heads_not_merged: { operators: { mergeHeads: (x) => Float32Array.from(x) } },
  gelu_for_silu: {
    operators: {
      swiglu: (gate, up) =>
        gate.map((g, i) => {
          const inner = Math.sqrt(2 / Math.PI) * (g + 0.044715 * g ** 3);
          return 0.5 * g * (1 + Math.tanh(inner)) * up[i];
        }),
    },
  },
  gate_and_up_swapped: { operators: { swiglu: (gate, up) => gate.map((g, i) => g * silu(up[i])) } },
  sigmoid_for_silu: { operators: { swiglu: (gate, up) => gate.map((g, i) => up[i] / (1 + Math.exp(-g))) } },
  mlp_residual_missing: {
    model: (model) => {
      let calls = 0; // attention first, then the feed-forward block, in every layer
      return model.with({
        add: (x, update) => (calls++ % 2 ? Float32Array.from(update) : OPERATORS.add(x, update)),
      });
    },
  },
  embedding_scaled: {
    operators: {
      embed: (backend, table, ids) =>
        embed(backend, table, ids).map((value) => value * Math.sqrt(table.width)),
    },
  },
  head_always_tied: { model: weights((w) => ({ ...w, lm_head: w.embed_tokens })) },
  last_layer_missing: { model: weights((w) => ({ ...w, layers: w.layers.slice(0, -1) })) },
  layers_reversed: { model: weights((w) => ({ ...w, layers: [...w.layers].reverse() })) },
  biases_ignored: {
    operators: { linear: (backend, x, { weight }) => linear(backend, x, { weight, bias: null }) },
  },
  rope_scaling_ignored: { config: (config) => ({ ...config, rope_scaling: null }) },
  keys_and_values_swapped: {
    operators: { remember: (cache, layer, k, v) => cache.append(layer, v, k) },
  },
  cache_never_truncated: {
    keep(_model, cache, past) {
      if (past === 0) cache.truncate(0); // a new text is noticed; going back is not
      return cache;
    },
  },
  cache_never_reset: {
    keep(_model, cache, past) {
      if (past > 0) cache.truncate(past);
      return cache;
    },
  },
  cache_forgets_past: {
    keep(model, _cache, _past) {
      return model.newCache();
    },
  },
  scores_see_stale_key: {
    model: (model) => {
      // The newest key is written only after the scores are made: one row late.
      return model.with({
        qkScores(backend, q, keys, total) {
          const scores = qkScores(backend, q, keys, total);
          const seq = scores.length / total;
          if (seq === 1 && total > 1) scores[total - 1] = scores[total - 2];
          return scores;
        },
      });
    },
  },
  first_row_for_last: {
    forward(model, ids, cache) {
      return model.forward(ids, cache).slice(0, model.config.vocab_size);
    },
  },
  top_p_drops_the_crossing: {
    probabilities(logits, sampling) {
      const p = probabilities(logits, sampling);
      const kept = Array.from(p, (value, id) => ({ value, id })).filter(({ value }) => value > 0);
      if (sampling.topP === 1 || kept.length < 2) return p;
      p[kept.reduce((least, one) => (one.value < least.value ? one : least)).id] = 0;
      const sum = addsUp(p);
      return p.map((value) => value / sum);
    },
  },
  temperature_after_top_p: {
    probabilities(logits, sampling) {
      const cut = probabilities(logits, { ...sampling, temperature: 1 });
      const kept = logits.map((logit, id) => (cut[id] > 0 ? logit : -Infinity));
      return probabilities(kept, { ...sampling, topK: 0, topP: 1 });
    },
  },
  special_text_parsed: {
    tokenizer(tokenizer) {
      const encode = tokenizer.encode.bind(tokenizer);
      tokenizer.encode = (text, options) => encode(text, { ...options, parseSpecial: true });
      return tokenizer;
    },
  },
  half_characters_shown: {
    tokenizer(tokenizer) {
      const decode = tokenizer.decode.bind(tokenizer);
      tokenizer.decode = (ids, options) => Array.from(ids, (id) => decode([id], options)).join("");
      return tokenizer;
    },
  },
};

/** @param {string} name @returns {Mistake} */
export function mistakeNamed(name) {
  if (name && !Object.hasOwn(MISTAKES, name)) {
    throw new InputError(`expected a mistake of ${Object.keys(MISTAKES).join(", ")}, got ${name}`);
  }
  return { ...RIGHT, ...MISTAKES[name] };
}
