/** The whole Llama: token ids in, logits out. Sampling, text and conversation live elsewhere. */

import { KVCache } from "./cache.js";
import { isAmong } from "./config.js";
import { ContextError, InputError } from "./errors.js";
import { OPERATORS } from "./operators.js";
import { duringPass, floats } from "./scratch.js";
import { IGNORE } from "./trace.js";
import { loadWeights } from "./weights.js";

/** @typedef {import("./backend_plain.js").Backend} Backend */
/** @typedef {import("./config.js").LlamaConfig} LlamaConfig */
/** @typedef {import("./operators.js").Operators} Operators */
/** @typedef {import("./trace.js").Recorder} Recorder */
/** @typedef {import("./trace.js").Trace} Trace */
/** @typedef {import("./weights.js").Checkpoint} Checkpoint */
/** @typedef {import("./weights.js").LayerWeights} LayerWeights */
/** @typedef {import("./weights.js").Weights} Weights */

/** A decoder-only transformer with its weights. Holds no state between calls. */
export class Llama {
  /**
   * @param {LlamaConfig} config @param {Weights} weights @param {Backend} backend
   * @param {Operators} [operators]
   */
  constructor(config, weights, backend, operators = OPERATORS) {
    this.config = config;
    this.weights = weights;
    this.backend = backend;
    this.operators = operators;
    this.invFreq = operators.inverseFrequencies(config);
  }

  /**
   * @param {LlamaConfig} config @param {Checkpoint} checkpoint @param {Backend} backend
   * @param {(done: number) => void} [report]
   */
  static async load(config, checkpoint, backend, report) {
    return new Llama(config, await loadWeights(config, checkpoint, backend, report), backend);
  }

  /** The same weights with some functions exchanged. @param {Partial<Operators>} functions */
  with(functions) {
    const operators = { ...this.operators, ...functions };
    return new Llama(this.config, this.weights, this.backend, operators);
  }

  /** An empty cache, by default with room for the model's whole context. */
  newCache(maxSeq = this.config.max_position_embeddings) {
    const limit = this.config.max_position_embeddings;
    if (!(maxSeq >= 1 && maxSeq <= limit)) {
      throw new ContextError(`expected max_seq from 1 to the context of ${limit}, got ${maxSeq}`);
    }
    return new KVCache(this.config, this.backend, maxSeq);
  }

  /** @param {number[]} ids */
  checkIds(ids) {
    const { vocab_size: size } = this.config;
    if (!ids.length) throw new InputError("expected at least one token id, got none");
    const outside = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < size));
    if (outside !== undefined) {
      throw new InputError(`expected token ids from 0 to ${size - 1}, got ${outside}`);
    }
  }

  /**
   * Logits for the token after each given one, (seq, vocab_size), or only the last row. The tokens
   * continue the positions the cache holds, and are added to it. Raises `InputError` and
   * `ContextError` before any work, with the cache as it was.
   * @param {number[]} ids
   * @param {KVCache | null} [cache] without one, the tokens start at position 0
   * @param {{ lastOnly?: boolean, trace?: Trace }} [options]
   */
  forward(ids, cache = null, options = {}) {
    this.checkIds(ids);
    const used = cache ?? this.newCache();
    used.checkRoom(ids.length);
    const logits = duringPass(() => this.pass(ids, used, options));
    if (!cache) used.release();
    return logits;
  }

  /** @param {number[]} ids @param {KVCache} cache @param {{ lastOnly?: boolean, trace?: Trace }} options */
  pass(ids, cache, { lastOnly = false, trace }) {
    const { config, weights, backend, operators: ops } = this;
    const [seq, past] = [ids.length, cache.length];
    const record = trace?.newStep(axisSizes(config, seq, past)) ?? IGNORE;

    let x = ops.embed(backend, weights.embed_tokens, ids); // (seq, hidden_size)
    record("embed_tokens", "seq hidden_size", x);
    const turn = ops.rotation(this.invFreq, past, seq, config.rope_scaling?.attention_factor);
    weights.layers.forEach((layer, i) => {
      const here = under(record, `layers.${i}`);
      x = ops.add(x, this.attention(x, i, layer, turn, cache, here));
      here("attn_residual", "seq hidden_size", x);
      x = ops.add(x, this.mlp(x, layer, here));
      here("mlp_residual", "seq hidden_size", x);
    });
    cache.advance(seq);

    x = ops.rmsNorm(x, weights.norm, config.rms_norm_eps);
    record("norm", "seq hidden_size", x);
    // The head is the widest product of all; only the last row is needed to go on.
    const rows = lastOnly ? x.subarray(-config.hidden_size) : x;
    const logits = ops.linear(backend, rows, { weight: weights.lm_head, bias: null });
    record("logits", lastOnly ? "1 vocab_size" : "seq vocab_size", logits);
    return logits;
  }

  /**
   * @param {Float32Array} input (seq, hidden_size) @param {number} index @param {LayerWeights} layer
   * @param {{ cos: Float32Array, sin: Float32Array }} turn @param {KVCache} cache
   * @param {Recorder} record
   */
  attention(input, index, layer, { cos, sin }, cache, record) {
    const { config, backend, operators: ops } = this;
    const { head_dim: headDim, num_attention_heads: nHeads } = config;
    const nGroups = nHeads / config.num_key_value_heads;
    const seq = input.length / config.hidden_size;
    const total = cache.length + seq;
    const here = under(record, "self_attn");

    const x = ops.rmsNorm(input, layer.input_layernorm, config.rms_norm_eps);
    record("input_layernorm", "seq hidden_size", x);
    let qProj = ops.linear(backend, x, layer.q_proj);
    let kProj = ops.linear(backend, x, layer.k_proj);
    const vProj = ops.linear(backend, x, layer.v_proj);
    here("q_proj", "seq n_heads*head_dim", qProj);
    here("k_proj", "seq n_kv_heads*head_dim", kProj);
    here("v_proj", "seq n_kv_heads*head_dim", vProj);
    if (layer.q_norm && layer.k_norm) {
      // The norm goes along rows of the weight's length, so each head is normed by itself.
      qProj = ops.rmsNorm(qProj, layer.q_norm, config.rms_norm_eps);
      kProj = ops.rmsNorm(kProj, layer.k_norm, config.rms_norm_eps);
      here("q_norm", "seq n_heads*head_dim", qProj);
      here("k_norm", "seq n_kv_heads*head_dim", kProj);
    }
    let q = ops.splitHeads(qProj, headDim, seq);
    let k = ops.splitHeads(kProj, headDim, seq);
    if (!isAmong(config.no_rope_layers, index)) {
      q = ops.applyRope(q, cos, sin, headDim);
      k = ops.applyRope(k, cos, sin, headDim);
      here("q_rope", "n_kv_heads n_groups seq head_dim", q);
      here("k_rope", "n_kv_heads seq head_dim", k);
    }
    ops.remember(cache, index, k, ops.splitHeads(vProj, headDim, seq));

    const { keys, values } = cache.layer(index);
    const window = isAmong(config.sliding_layers, index) ? (config.sliding_window ?? Infinity) : Infinity;
    /** @type {Record<string, Float32Array[]>} */
    const made = { scores: [], masked_scores: [], weights: [], attn_v: [] };
    for (let head = 0; head < nHeads; head++) {
      const shared = ops.kvHeadOf(head, nGroups);
      const rows = q.subarray(head * seq * headDim, (head + 1) * seq * headDim);
      const scores = ops.qkScores(backend, rows, keys[shared], total);
      // A single new token may look at everything, but for a window.
      const masked = seq > 1 || total > window ? ops.applyMask(scores, seq, window) : scores;
      const weights = ops.softmax(masked, total);
      made.scores.push(scores);
      made.masked_scores.push(masked);
      made.weights.push(weights);
      made.attn_v.push(ops.scoreV(backend, weights, values[shared], total, index, head));
    }
    if (record !== IGNORE) {
      /** @param {typeof keys} heads */
      const read = (heads) => joined(heads.map((matrix) => backend.read(matrix, 0, total)));
      here("keys", "n_kv_heads total_seq head_dim", read(keys));
      here("values", "n_kv_heads total_seq head_dim", read(values));
      for (const name of ["scores", "masked_scores", "weights"]) {
        here(name, "n_kv_heads n_groups seq total_seq", joined(made[name]));
      }
    }
    const mixed = joined(made.attn_v);
    here("attn_v", "n_kv_heads n_groups seq head_dim", mixed);
    const merged = ops.mergeHeads(mixed, headDim, seq);
    here("merged", "seq n_heads*head_dim", merged);
    const out = ops.linear(backend, merged, layer.o_proj);
    here("o_proj", "seq hidden_size", out);
    return out;
  }

  /** @param {Float32Array} input @param {LayerWeights} layer @param {Recorder} record */
  mlp(input, layer, record) {
    const { config, backend, operators: ops } = this;
    const x = ops.rmsNorm(input, layer.post_attention_layernorm, config.rms_norm_eps);
    record("post_attention_layernorm", "seq hidden_size", x);
    const here = under(record, "mlp");
    const gate = ops.linear(backend, x, layer.gate_proj);
    const up = ops.linear(backend, x, layer.up_proj);
    here("gate_proj", "seq intermediate_size", gate);
    here("up_proj", "seq intermediate_size", up);
    const gated = ops.swiglu(gate, up);
    here("gated", "seq intermediate_size", gated);
    const out = ops.linear(backend, gated, layer.down_proj);
    here("down_proj", "seq hidden_size", out);
    return out;
  }
}

/** The size of each named axis. @param {LlamaConfig} config @param {number} seq @param {number} past */
function axisSizes(config, seq, past) {
  return {
    seq,
    past,
    total_seq: past + seq,
    vocab_size: config.vocab_size,
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    n_heads: config.num_attention_heads,
    n_kv_heads: config.num_key_value_heads,
    n_groups: config.num_attention_heads / config.num_key_value_heads,
    head_dim: config.head_dim,
  };
}

/** The same recorder with a prefix before every name. @param {Recorder} record @param {string} prefix @returns {Recorder} */
function under(record, prefix) {
  if (record === IGNORE) return IGNORE;
  return (name, axes, data) => record(`${prefix}.${name}`, axes, data);
}

/** @param {Float32Array[]} parts */
function joined(parts) {
  const whole = floats(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
