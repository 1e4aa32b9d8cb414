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
 * @property {"linear" | "llama3" | "yarn"} rope_type
 * @property {number} factor
 * @property {number} low_freq_factor
 * @property {number} high_freq_factor
 * @property {number} original_max_position_embeddings
 * @property {number} beta_fast
 * @property {number} beta_slow
 * @property {boolean} truncate
 * @property {number} attention_factor
 */

/**
 * Some layers: a list, or every so many from one on. A config may claim more than could be listed.
 * @typedef {number[] | { from: number, every: number }} Layers
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
 * @property {boolean} qkv_bias a bias on q, k and v, and none on o
 * @property {boolean} qk_norm an RMSNorm on every head's query and key
 * @property {number | null} sliding_window
 * @property {Layers} sliding_layers which look at the last `sliding_window` positions only
 * @property {Layers} no_rope_layers
 * @property {number | null} bos_token_id
 * @property {number[]} eos_token_ids
 * @property {string} dtype
 */

/**
 * In what a model_type differs from Llama, and what transformers fills in where a config is silent.
 * `windows` says which layers have a sliding window: none, all, those from `max_window_layers` on,
 * or those without RoPE; all but "all" need `use_sliding_window`.
 * @typedef {object} Family
 * @property {boolean} [qkv_bias]
 * @property {boolean} [qk_norm]
 * @property {boolean} [no_rope]
 * @property {"none" | "all" | "upper" | "without RoPE"} windows
 * @property {number} [sliding_window]
 * @property {number} [head_dim]
 * @property {number} [num_key_value_heads]
 * @property {number} [rope_theta]
 * @property {boolean} [tie_word_embeddings]
 */

/** @type {Record<string, Family>} */
const FAMILIES = {
  llama: { windows: "none" },
  mistral: { windows: "all", sliding_window: 4096, num_key_value_heads: 8 },
  qwen2: { windows: "upper", sliding_window: 4096, qkv_bias: true, num_key_value_heads: 32 },
  qwen3: {
    windows: "upper", sliding_window: 4096, qk_norm: true, head_dim: 128, num_key_value_heads: 32,
  },
  smollm3: {
    windows: "without RoPE", no_rope: true, num_key_value_heads: 4, rope_theta: 2000000,
    tie_word_embeddings: true,
  },
}; // prettier-ignore
const RMS_NORM_EPS = 1e-6; // of all of them
const NO_TOKEN = -1; // some files' way to say that a role has none
const MAX_WINDOW_LAYERS = 28; // of Qwen2 and Qwen3
const NO_ROPE_INTERVAL = 4; // of SmolLM3

/** Fields of a mixture of experts, and how many make none. @type {Record<string, number>} */
const EXPERTS = { num_local_experts: 1, num_experts: 1, n_routed_experts: 0, moe_intermediate_size: 0 };

/**
 * Field → the only values under which a Llama's arithmetic is what this engine computes. A missing
 * field counts as the first of them.
 * @type {Record<string, unknown[]>}
 */
const REQUIRED_VALUES = {
  hidden_act: ["silu", "swish"], // two names of one function
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
  const family = familyOf(config);
  refuseUnsupported(config);
  const { theta, scaling } = rope(config, family);
  const heads = size(config, "num_attention_heads");
  const hidden = size(config, "hidden_size");
  const headDim = size(config, "head_dim", family.head_dim ?? Math.floor(hidden / heads));
  if ((config.head_dim ?? null) === null && !family.head_dim && hidden % heads) {
    throw new ConfigError(
      "expected head_dim, or a hidden_size that num_attention_heads divides, " +
        `got hidden_size ${hidden} and ${heads} heads`,
    );
  }
  const nLayers = size(config, "num_hidden_layers");
  // Nothing said and null are two things here, as in transformers.
  const kvHeads = ("num_key_value_heads" in config ? null : family.num_key_value_heads) ?? heads;
  const noRope = noRopeLayers(config, family, nLayers);
  const { window, layers: sliding } = windows(config, family, nLayers, noRope);
  const qkvBias = family.qkv_bias ?? false;
  const read = {
    vocab_size: size(config, "vocab_size"),
    hidden_size: hidden,
    intermediate_size: size(config, "intermediate_size"),
    num_hidden_layers: nLayers,
    num_attention_heads: heads,
    num_key_value_heads: size(config, "num_key_value_heads", kvHeads),
    head_dim: headDim,
    max_position_embeddings: size(config, "max_position_embeddings"),
    rms_norm_eps: positive(config, "rms_norm_eps", RMS_NORM_EPS),
    rope_theta: theta,
    rope_scaling: scaling,
    tie_word_embeddings: flag(config, "tie_word_embeddings", family.tie_word_embeddings),
    attention_bias: flag(config, "attention_bias") && !qkvBias,
    mlp_bias: flag(config, "mlp_bias"),
    qkv_bias: qkvBias,
    qk_norm: family.qk_norm ?? false,
    sliding_window: window,
    sliding_layers: sliding,
    no_rope_layers: noRope,
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

/** Whether a layer is among some. @param {Layers} layers @param {number} layer */
export function isAmong(layers, layer) {
  if (Array.isArray(layers)) return layers.includes(layer);
  return layer >= layers.from && (layer - layers.from) % layers.every === 0;
}

/** Every so many of n layers, beginning with one. @param {number} from @param {number} n @param {number} every @returns {Layers} */
function everyOf(from, n, every) {
  return from < n ? { from, every } : [];
}

/** @param {JsonObject} config */
function familyOf(config) {
  const modelType = config.model_type;
  if (typeof modelType !== "string" || !Object.hasOwn(FAMILIES, modelType)) {
    throw new ConfigError(
      `expected model_type ${Object.keys(FAMILIES).join(", ")}, got ${short(modelType)}: not supported`,
    );
  }
  return FAMILIES[modelType];
}

/** @param {JsonObject} config */
function refuseUnsupported(config) {
  for (const [name, count] of Object.entries(EXPERTS)) {
    const value = config[name] ?? null;
    if (value !== null && !(isWhole(value) && value <= count)) {
      throw new ConfigError(`expected no mixture of experts, got ${name} ${short(value)}: not supported`);
    }
  }
  for (const [name, allowed] of Object.entries(REQUIRED_VALUES)) {
    const value = name in config ? config[name] : allowed[0];
    if (!allowed.some((one) => sameValue(value, one))) {
      throw new ConfigError(
        `expected ${name} ${short(allowed[0])}, got ${short(value)}: not supported`,
      );
    }
  }
}

/**
 * The layers without RoPE: `no_rope_layers` has a 0 for each, and a 1 for the others.
 * @param {JsonObject} config @param {Family} family @param {number} nLayers @returns {Layers}
 */
function noRopeLayers(config, family, nLayers) {
  if (!family.no_rope) return [];
  const given = config.no_rope_layers ?? null;
  if (given === null) {
    const every = size(config, "no_rope_layer_interval", NO_ROPE_INTERVAL);
    return everyOf(every - 1, nLayers, every);
  }
  const isList = Array.isArray(given) && given.length >= nLayers;
  if (!isList || !given.every((one) => sameValue(one, 0) || sameValue(one, 1))) {
    throw new ConfigError(
      `expected no_rope_layers to have a 1 or a 0 for each of ${nLayers} layers, got ${short(given)}`,
    );
  }
  return given.slice(0, nLayers).flatMap((turns, i) => (sameValue(turns, 0) ? [i] : []));
}

/**
 * The sliding window, and the layers that have it; none where it is as wide as the context.
 * @param {JsonObject} config @param {Family} family @param {number} nLayers @param {Layers} noRope
 * @returns {{ window: number | null, layers: Layers }}
 */
function windows(config, family, nLayers, noRope) {
  const given = "sliding_window" in config ? config.sliding_window : (family.sliding_window ?? null);
  const kind = family.windows;
  const isAsked = kind === "all" || kind === "none" || flag(config, "use_sliding_window");
  /** @type {number | null} */
  let window = null;
  if (given !== null && isAsked) {
    const width = size({ sliding_window: given }, "sliding_window");
    if (width < size(config, "max_position_embeddings")) window = width;
  }
  if (window !== null && kind === "none") {
    throw new ConfigError(
      `expected a sliding_window of the whole context or none, got ${window}: ` +
        `not supported in a ${config.model_type}`,
    );
  }
  const kinds = config.layer_types ?? null;
  let layers = noRope; // of a family without any: none
  if (kind === "all") layers = everyOf(0, nLayers, 1);
  else if (kinds !== null) layers = slidingOf(kinds, nLayers);
  else if (kind === "upper") layers = everyOf(upper(config), nLayers, 1);
  const isNone = Array.isArray(layers) && !layers.length;
  return window === null || isNone ? { window: null, layers: [] } : { window, layers };
}

/** The first layer with a window, which may be 0. @param {JsonObject} config */
function upper(config) {
  const first = "max_window_layers" in config ? config.max_window_layers : MAX_WINDOW_LAYERS;
  if (!isWhole(first) || first < 0) {
    throw new ConfigError(`expected max_window_layers of at least 0, got ${short(first)}`);
  }
  return Number(first);
}

/** @param {unknown} kinds @param {number} nLayers */
function slidingOf(kinds, nLayers) {
  const known = ["full_attention", "sliding_attention"];
  if (!Array.isArray(kinds)) {
    throw new ConfigError(`expected layer_types to be a list, got ${short(kinds)}`);
  }
  if (!kinds.every((kind) => known.includes(kind)) || kinds.length < nLayers) {
    throw new ConfigError(
      `expected layer_types of ${known.join(" or ")} for each of ${nLayers} layers, got ${short(kinds)}`,
    );
  }
  return kinds.slice(0, nLayers).flatMap((kind, i) => (kind === known[1] ? [i] : []));
}

/**
 * `rope_theta` and the scaling, from whichever spelling the file uses.
 * @param {JsonObject} config @param {Family} family
 * @returns {{ theta: number, scaling: RopeScaling | null }}
 */
function rope(config, family) {
  const parameters = ropeParameters(config);
  const given = [config.rope_theta, parameters.rope_theta].filter((x) => (x ?? null) !== null);
  const thetas = new Set(given.map((x) => positive({ rope_theta: x }, "rope_theta")));
  if (thetas.size > 1) {
    throw new ConfigError(`expected one rope_theta, got ${short([...thetas])}`);
  }
  const [theta = family.rope_theta ?? 10000] = thetas;
  const part = "partial_rotary_factor" in parameters ? parameters.partial_rotary_factor : 1;
  if (!sameValue(part, 1)) {
    throw new ConfigError(
      `expected partial_rotary_factor 1.0, got ${short(part)}: not supported`,
    );
  }
  const kind = either(parameters, "rope_type", "type");
  const type = isEmpty(kind) ? "default" : kind;
  // "dynamic" changes frequencies beyond `max_position_embeddings`, which is where we end.
  if (type === "default" || type === "dynamic") return { theta, scaling: null };
  if (type === "yarn") return { theta, scaling: yarn(config, parameters) };
  if (type !== "linear" && type !== "llama3") {
    throw new ConfigError(
      `expected rope_type default, dynamic, linear, llama3 or yarn, got ${short(type)}: not supported`,
    );
  }
  /** @type {RopeScaling} */
  const scaling = { ...UNSCALED, rope_type: type, factor: positive(parameters, "factor") };
  if (type === "linear") return { theta, scaling };
  scaling.low_freq_factor = positive(parameters, "low_freq_factor");
  scaling.high_freq_factor = positive(parameters, "high_freq_factor");
  scaling.original_max_position_embeddings = originalContext(config, parameters);
  if (scaling.low_freq_factor >= scaling.high_freq_factor) {
    throw new ConfigError(
      "expected low_freq_factor below high_freq_factor, " +
        `got ${scaling.low_freq_factor} and ${scaling.high_freq_factor}`,
    );
  }
  return { theta, scaling };
}

/** What a way to scale does not name. */
const UNSCALED = {
  low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192,
  beta_fast: 32, beta_slow: 1, truncate: true, attention_factor: 1,
}; // prettier-ignore

/**
 * The context before scaling; beside the RoPE parameters it counts for more than in them.
 * @param {JsonObject} config @param {JsonObject} parameters
 */
function originalContext(config, parameters) {
  const name = "original_max_position_embeddings";
  const given = (config[name] ?? null) === null ? parameters : config;
  return size(given, name, size(config, "max_position_embeddings"));
}

/** @param {JsonObject} config @param {JsonObject} parameters @returns {RopeScaling} */
function yarn(config, parameters) {
  const context = size(config, "max_position_embeddings");
  const original = originalContext(config, parameters);
  const factor = positive(parameters, "factor", context / original);
  const [above, below] = ["mscale", "mscale_all_dim"].map((name) => parameters[name]);
  const derived =
    isEmpty(above) || isEmpty(below)
      ? yarnAttention(factor, 1)
      : yarnAttention(factor, positive({ mscale: above }, "mscale")) /
        yarnAttention(factor, positive({ mscale: below }, "mscale"));
  const scaling = {
    ...UNSCALED,
    rope_type: /** @type {const} */ ("yarn"),
    factor,
    original_max_position_embeddings: original,
    beta_fast: positive(parameters, "beta_fast", 32),
    beta_slow: positive(parameters, "beta_slow", 1),
    truncate: flag(parameters, "truncate", true),
    attention_factor: positive(parameters, "attention_factor", derived),
  };
  if (scaling.beta_slow >= scaling.beta_fast) {
    throw new ConfigError(
      `expected beta_slow below beta_fast, got ${scaling.beta_slow} and ${scaling.beta_fast}`,
    );
  }
  return scaling;
}

/** @param {number} factor @param {number} scale */
function yarnAttention(factor, scale) {
  return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
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

/** Written without a point. @param {unknown} value @returns {value is number | bigint} */
function isWhole(value) {
  return typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
}

/** @param {JsonObject} config @param {string} name @param {number} [fallback] */
function size(config, name, fallback) {
  const value = config[name] ?? fallback;
  if (!isWhole(value) || value < 1) {
    throw new ConfigError(
      `expected ${name} to be a whole number of at least 1, got ${short(value)}`,
    );
  }
  if (value >= 2 ** 63) throw new ConfigError(`expected ${name} below 2**63, got ${short(value)}`);
  return Number(value);
}

/** @param {JsonObject} config @param {string} name @param {number} [fallback] */
function positive(config, name, fallback) {
  const given = config[name] ?? fallback;
  const value = asNumber(given);
  if (value === undefined || !(value > 0 && value <= Number.MAX_VALUE)) {
    throw new ConfigError(`expected ${name} to be a positive number, got ${short(given)}`);
  }
  return value;
}

/** @param {JsonObject} config @param {string} name @param {boolean} [fallback] */
function flag(config, name, fallback = false) {
  const value = config[name] ?? fallback;
  if (![null, true, false].some((one) => sameValue(value, one))) {
    throw new ConfigError(`expected ${name} to be true or false, got ${short(value)}`);
  }
  return value === true || asNumber(value) === 1;
}

/** @param {unknown} value @param {string} name @returns {number[]} */
function tokenIds(value, name) {
  const given = Array.isArray(value) ? value : (value ?? null) === null ? [] : [value];
  const ids = given.filter((id) => id !== NO_TOKEN && id !== BigInt(NO_TOKEN));
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
  if (isObject(a) && isObject(b)) {
    const names = Object.keys(a);
    return names.length === Object.keys(b).length && names.every((name) => name in b && sameValue(a[name], b[name]));
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
