/**
 * Hugging Face's `config.json`, field names kept verbatim. The fields, defaults and refusals are
 * those of llama_edu's config in Python: what would change the arithmetic in a way this engine
 * does not implement is refused by name, never ignored.
 */

import { ConfigError, short } from "./errors.js";
import { WholeFloat, asNumber, isObject } from "./strict_json.js";

/** @typedef {import("./strict_json.js").JsonObject} JsonObject */

/**
 * @typedef {object} RopeScaling
 * @property {"linear" | "llama3"} rope_type
 * @property {number} factor
 * @property {number} low_freq_factor
 * @property {number} high_freq_factor
 * @property {number} original_max_position_embeddings
 */

/**
 * The sizes and switches of one model.
 * @typedef {object} LlamaConfig
 * @property {number} vocab_size
 * @property {number} hidden_size
 * @property {number} intermediate_size
 * @property {number} num_hidden_layers
 * @property {number} num_attention_heads
 * @property {number} num_key_value_heads
 * @property {number} head_dim
 * @property {number} max_position_embeddings
 * @property {number} rms_norm_eps
 * @property {number} rope_theta
 * @property {RopeScaling | null} rope_scaling
 * @property {boolean} tie_word_embeddings
 * @property {boolean} attention_bias
 * @property {boolean} mlp_bias
 * @property {number | null} bos_token_id
 * @property {number[]} eos_token_ids
 * @property {string} dtype
 */

const MODEL_TYPES = ["llama", "mistral"];

/**
 * Field → the only values under which a Llama's arithmetic is what this engine computes. A missing
 * field counts as the first of them.
 * @type {Record<string, unknown[]>}
 */
const REQUIRED_VALUES = {
  hidden_act: ["silu"],
  sliding_window: [null],
  pretraining_tp: [1, null],
  quantization_config: [null],
  partial_rotary_factor: [1, null],
  is_encoder_decoder: [false, null],
  add_cross_attention: [false, null],
};

/**
 * Build a config from the parsed JSON. `generation_config.json`'s eos ids win.
 * @param {JsonObject} config
 * @param {JsonObject} [generation]
 * @returns {LlamaConfig}
 */
export function readConfig(config, generation = {}) {
  refuseUnsupported(config);
  const { theta, scaling } = rope(config);
  const heads = size(config, "num_attention_heads");
  const hidden = size(config, "hidden_size");
  const headDim = size(config, "head_dim", Math.floor(hidden / heads));
  if ((config.head_dim ?? null) === null && hidden % heads) {
    throw new ConfigError(
      "expected head_dim, or a hidden_size that num_attention_heads divides, " +
        `got hidden_size ${hidden} and ${heads} heads`,
    );
  }
  const read = {
    vocab_size: size(config, "vocab_size"),
    hidden_size: hidden,
    intermediate_size: size(config, "intermediate_size"),
    num_hidden_layers: size(config, "num_hidden_layers"),
    num_attention_heads: heads,
    num_key_value_heads: size(config, "num_key_value_heads", heads),
    head_dim: headDim,
    max_position_embeddings: size(config, "max_position_embeddings"),
    rms_norm_eps: positive(config, "rms_norm_eps"),
    rope_theta: theta,
    rope_scaling: scaling,
    tie_word_embeddings: flag(config, "tie_word_embeddings"),
    attention_bias: flag(config, "attention_bias"),
    mlp_bias: flag(config, "mlp_bias"),
    bos_token_id: tokenIds(config.bos_token_id, "bos_token_id")[0] ?? null,
    eos_token_ids: tokenIds(generation.eos_token_id ?? config.eos_token_id, "eos_token_id"),
    dtype: text(either(config, "dtype", "torch_dtype"), "float32"),
  };
  if (read.num_attention_heads % read.num_key_value_heads) {
    throw new ConfigError(
      "expected num_attention_heads to be a multiple of num_key_value_heads, " +
        `got ${read.num_attention_heads} and ${read.num_key_value_heads}`,
    );
  }
  if (read.head_dim % 2) {
    throw new ConfigError(
      `expected an even head_dim, since RoPE turns pairs, got ${read.head_dim}`,
    );
  }
  return read;
}

/** @param {JsonObject} config */
function refuseUnsupported(config) {
  const modelType = config.model_type;
  if (typeof modelType !== "string" || !MODEL_TYPES.includes(modelType)) {
    throw new ConfigError(
      `expected model_type ${MODEL_TYPES.join(" or ")}, got ${short(modelType)}`,
    );
  }
  for (const [name, allowed] of Object.entries(REQUIRED_VALUES)) {
    const value = name in config ? config[name] : allowed[0];
    if (!allowed.some((one) => sameValue(value, one))) {
      throw new ConfigError(
        `expected ${name} ${short(allowed[0])}, got ${short(value)}: not supported`,
      );
    }
  }
  const kinds = isEmpty(config.layer_types) ? [] : config.layer_types;
  if (!Array.isArray(kinds)) {
    throw new ConfigError(`expected layer_types to be a list, got ${short(kinds)}`);
  }
  if (kinds.some((kind) => kind !== "full_attention")) {
    throw new ConfigError(`expected only full_attention layers, got ${short(kinds)}`);
  }
}

/**
 * `rope_theta` and the scaling, from whichever spelling the file uses.
 * @param {JsonObject} config
 * @returns {{ theta: number, scaling: RopeScaling | null }}
 */
function rope(config) {
  const parameters = ropeParameters(config);
  const given = [config.rope_theta, parameters.rope_theta].filter((x) => (x ?? null) !== null);
  const thetas = new Set(given.map((x) => positive({ rope_theta: x }, "rope_theta")));
  if (thetas.size > 1) {
    throw new ConfigError(`expected one rope_theta, got ${short([...thetas])}`);
  }
  const [theta = 10000] = thetas;
  const part = "partial_rotary_factor" in parameters ? parameters.partial_rotary_factor : 1;
  if (!sameValue(part, 1)) {
    throw new ConfigError(
      `expected partial_rotary_factor 1.0, got ${short(part)}: not supported`,
    );
  }
  const kind = either(parameters, "rope_type", "type");
  const type = isEmpty(kind) ? "default" : kind;
  if (type === "default") return { theta, scaling: null };
  if (type !== "linear" && type !== "llama3") {
    throw new ConfigError(`expected rope_type default, linear or llama3, got ${short(type)}`);
  }
  /** @type {RopeScaling} */
  const scaling = {
    rope_type: type,
    factor: positive(parameters, "factor"),
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  if (type === "linear") return { theta, scaling };
  scaling.low_freq_factor = positive(parameters, "low_freq_factor");
  scaling.high_freq_factor = positive(parameters, "high_freq_factor");
  scaling.original_max_position_embeddings = size(parameters, "original_max_position_embeddings");
  if (scaling.low_freq_factor >= scaling.high_freq_factor) {
    throw new ConfigError(
      "expected low_freq_factor below high_freq_factor, " +
        `got ${scaling.low_freq_factor} and ${scaling.high_freq_factor}`,
    );
  }
  return { theta, scaling };
}

/**
 * The fields of `rope_parameters` and `rope_scaling` together; they must not disagree.
 * @param {JsonObject} config
 */
function ropeParameters(config) {
  /** @type {JsonObject} */
  const merged = {};
  for (const name of ["rope_parameters", "rope_scaling"]) {
    const given = config[name] ?? null;
    if (given !== null && !isObject(given)) {
      throw new ConfigError(`expected ${name} to be an object, got ${short(given)}`);
    }
    for (const [field, value] of Object.entries(given ?? {})) {
      if (isObject(value)) {
        // Other architectures have a set per kind of layer.
        throw new ConfigError(`expected one set of RoPE parameters, got one for ${short(field)}`);
      }
      if (value === null) continue;
      if (field in merged && !sameValue(merged[field], value)) {
        throw new ConfigError(
          `expected ${field} in rope_parameters and rope_scaling to agree, ` +
            `got ${short(merged[field])} and ${short(value)}`,
        );
      }
      merged[field] ??= value;
    }
  }
  return merged;
}

/**
 * The value under either spelling; they must not disagree.
 * @param {JsonObject} config @param {string} name @param {string} other
 */
function either(config, name, other) {
  const first = config[name] ?? null;
  const second = config[other] ?? null;
  if (first !== null && second !== null && !sameValue(first, second)) {
    throw new ConfigError(
      `expected ${name} and ${other} to agree, got ${short(first)} and ${short(second)}`,
    );
  }
  return first ?? second;
}

/** @param {JsonObject} config @param {string} name @param {number} [fallback] */
function size(config, name, fallback) {
  const value = config[name] ?? fallback;
  const isWhole = typeof value === "number" || typeof value === "bigint";
  if (!isWhole || !(value >= 1) || (typeof value === "number" && !Number.isInteger(value))) {
    throw new ConfigError(
      `expected ${name} to be a whole number of at least 1, got ${short(value)}`,
    );
  }
  if (value >= 2 ** 63) throw new ConfigError(`expected ${name} below 2**63, got ${short(value)}`);
  return Number(value);
}

/** @param {JsonObject} config @param {string} name */
function positive(config, name) {
  const value = asNumber(config[name]);
  if (value === undefined || !(value > 0 && value <= Number.MAX_VALUE)) {
    throw new ConfigError(`expected ${name} to be a positive number, got ${short(config[name])}`);
  }
  return value;
}

/** @param {JsonObject} config @param {string} name */
function flag(config, name) {
  const value = config[name] ?? null;
  if (![null, true, false].some((one) => sameValue(value, one))) {
    throw new ConfigError(`expected ${name} to be true or false, got ${short(value)}`);
  }
  return value === true || asNumber(value) === 1;
}

/** @param {unknown} value @param {string} name @returns {number[]} */
function tokenIds(value, name) {
  const ids = Array.isArray(value) ? value : (value ?? null) === null ? [] : [value];
  const areIds = ids.every(
    (id) => (typeof id === "bigint" && id >= 0) || (Number.isInteger(id) && id >= 0),
  );
  if (!areIds) {
    throw new ConfigError(`expected ${name} to be an id or a list of ids, got ${short(value)}`);
  }
  return ids.map(Number);
}

/** @param {unknown} value @param {string} fallback */
function text(value, fallback) {
  if (isEmpty(value)) return fallback;
  return typeof value === "string" ? value : short(value);
}

/**
 * Equal as Python compares: numbers by value, 1 and 1.0 and true alike; lists member by member.
 * @param {unknown} a @param {unknown} b @returns {boolean}
 */
function sameValue(a, b) {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((one, i) => sameValue(one, b[i]));
  }
  const [left, right] = [a, b].map((x) => (typeof x === "boolean" ? Number(x) : asNumber(x) ?? x));
  return left === right;
}

/** What Python's `or` passes over. @param {unknown} value */
function isEmpty(value) {
  if (value instanceof WholeFloat) return value.value === 0;
  if (Array.isArray(value)) return value.length === 0;
  if (isObject(value)) return Object.keys(value).length === 0;
  return !value;
}
