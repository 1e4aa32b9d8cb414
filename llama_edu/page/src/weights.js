/**
 * Which tensors a config calls for, and how a checkpoint's tensors become the matrices of a
 * backend. The refusals are those of llama_edu's weights in Python.
 */

import { CheckpointError, short } from "./errors.js";
import { toFloat32 } from "./number_formats.js";

/** @typedef {import("./backend_plain.js").Backend} Backend */
/** @typedef {import("./backend_plain.js").Matrix} Matrix */
/** @typedef {import("./config.js").LlamaConfig} LlamaConfig */
/** @typedef {import("./operators.js").Projection} Projection */

/**
 * Named tensors, wherever they come from.
 * @typedef {object} Checkpoint
 * @property {Map<string, { format: string, shape: number[] }>} tensors
 * @property {(name: string) => Promise<Uint8Array>} read the bytes of one
 */

/**
 * One decoder layer. Fields carry the checkpoint's names.
 * @typedef {object} LayerWeights
 * @property {Float32Array} input_layernorm
 * @property {Projection} q_proj
 * @property {Projection} k_proj
 * @property {Projection} v_proj
 * @property {Projection} o_proj
 * @property {Float32Array} post_attention_layernorm
 * @property {Projection} gate_proj
 * @property {Projection} up_proj
 * @property {Projection} down_proj
 * @property {Float32Array | null} q_norm of every head's query by itself, where the config says so
 * @property {Float32Array | null} k_norm
 */

/**
 * A whole model. With tied embeddings `lm_head` and `embed_tokens` are the same matrix.
 * @typedef {object} Weights
 * @property {Matrix} embed_tokens
 * @property {LayerWeights[]} layers
 * @property {Float32Array} norm
 * @property {Matrix} lm_head
 */

const EMBED_TOKENS = "model.embed_tokens.weight";
const LM_HEAD = "lm_head.weight";
const OF_ROPE = /rotary_emb\.((.*\.)?)(inv_freq|original_inv_freq|cos_cached|sin_cached)$/;
const QKV = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
const FLOATS = ["F32", "BF16", "F16", "F64", "Q8_0", "Q4_1"];

/**
 * Every tensor a model of this config is made of, with its shape; both ends of the model, even
 * when they are tied. Linear weights are (out_features, in_features).
 * @param {LlamaConfig} config
 * @returns {Map<string, number[]>}
 */
export function expectedShapes(config) {
  const { hidden_size: hidden, intermediate_size: inter, head_dim: headDim } = config;
  const qWidth = config.num_attention_heads * headDim;
  const kvWidth = config.num_key_value_heads * headDim;
  const projections = Object.entries({
    "self_attn.q_proj": [qWidth, hidden],
    "self_attn.k_proj": [kvWidth, hidden],
    "self_attn.v_proj": [kvWidth, hidden],
    "self_attn.o_proj": [hidden, qWidth],
    "mlp.gate_proj": [inter, hidden],
    "mlp.up_proj": [inter, hidden],
    "mlp.down_proj": [hidden, inter],
  });
  const shapes = new Map([[EMBED_TOKENS, [config.vocab_size, hidden]]]);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const prefix = `model.layers.${i}.`;
    if (config.qk_norm) {
      shapes.set(`${prefix}self_attn.q_norm.weight`, [headDim]);
      shapes.set(`${prefix}self_attn.k_norm.weight`, [headDim]);
    }
    shapes.set(`${prefix}input_layernorm.weight`, [hidden]);
    shapes.set(`${prefix}post_attention_layernorm.weight`, [hidden]);
    for (const [name, shape] of projections) {
      shapes.set(`${prefix}${name}.weight`, shape);
      const hasBias = name.startsWith("self_attn") ? config.attention_bias : config.mlp_bias;
      if (hasBias || (config.qkv_bias && QKV.includes(name))) shapes.set(`${prefix}${name}.bias`, shape.slice(0, 1));
    }
  }
  shapes.set("model.norm.weight", [hidden]);
  shapes.set(LM_HEAD, [config.vocab_size, hidden]);
  return shapes;
}

/**
 * Check the stored tensors against the config and hand them to the backend.
 * @param {LlamaConfig} config @param {Checkpoint} checkpoint @param {Backend} backend
 * @param {(done: number) => void} [report] called with the fraction that is loaded
 * @returns {Promise<Weights>}
 */
export async function loadWeights(config, checkpoint, backend, report = () => {}) {
  const { tensors } = checkpoint;
  await checkTensors(config, checkpoint);
  let loaded = 0;

  /** @param {string} name */
  const stored = async (name) => {
    const info = tensors.get(name);
    if (!info) throw new CheckpointError(`expected a tensor named ${short(name)}, got none`);
    report(++loaded / tensors.size);
    return { ...info, bytes: await checkpoint.read(name) };
  };
  /** @param {string} name */
  const vector = async (name) => {
    const { bytes, format } = await stored(name);
    return toFloat32(bytes, format);
  };
  /** @param {string} name */
  const matrix = async (name) => {
    const { bytes, format, shape } = await stored(name);
    return backend.load(shape[0], shape[1], format, bytes);
  };
  /** @param {string} name @returns {Promise<Projection>} */
  const projection = async (name) => ({
    weight: await matrix(`${name}.weight`),
    bias: tensors.has(`${name}.bias`) ? await vector(`${name}.bias`) : null,
  });

  const layers = [];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const prefix = `model.layers.${i}`;
    layers.push({
      input_layernorm: await vector(`${prefix}.input_layernorm.weight`),
      q_proj: await projection(`${prefix}.self_attn.q_proj`),
      k_proj: await projection(`${prefix}.self_attn.k_proj`),
      v_proj: await projection(`${prefix}.self_attn.v_proj`),
      o_proj: await projection(`${prefix}.self_attn.o_proj`),
      post_attention_layernorm: await vector(`${prefix}.post_attention_layernorm.weight`),
      gate_proj: await projection(`${prefix}.mlp.gate_proj`),
      up_proj: await projection(`${prefix}.mlp.up_proj`),
      down_proj: await projection(`${prefix}.mlp.down_proj`),
      q_norm: config.qk_norm ? await vector(`${prefix}.self_attn.q_norm.weight`) : null,
      k_norm: config.qk_norm ? await vector(`${prefix}.self_attn.k_norm.weight`) : null,
    });
  }
  const norm = await vector("model.norm.weight");
  if (!config.tie_word_embeddings) {
    return { embed_tokens: await matrix(EMBED_TOKENS), layers, norm, lm_head: await matrix(LM_HEAD) };
  }
  const table = await matrix(tensors.has(EMBED_TOKENS) ? EMBED_TOKENS : LM_HEAD);
  return { embed_tokens: table, layers, norm, lm_head: table };
}

/** @param {LlamaConfig} config @param {Checkpoint} checkpoint */
async function checkTensors(config, checkpoint) {
  const { tensors } = checkpoint;
  // First of all, since a config may ask for more layers than there is time to name.
  if (config.num_hidden_layers > tensors.size) {
    throw new CheckpointError(
      `expected tensors for ${config.num_hidden_layers} layers, got ${tensors.size} in all`,
    );
  }
  const expected = expectedShapes(config);
  const tied = config.tie_word_embeddings;
  // Old checkpoints store RoPE's angles; they follow from the config.
  const given = [...tensors.keys()].filter((name) => !OF_ROPE.test(name));
  let missing = [...expected.keys()].filter((name) => !tensors.has(name));
  const ends = missing.filter((name) => name === EMBED_TOKENS || name === LM_HEAD);
  if (tied && ends.length === 1) missing = missing.filter((name) => name !== ends[0]);
  if (missing.length) {
    const untied = missing.length === 1 && missing[0] === LM_HEAD;
    throw new CheckpointError(
      `expected ${expected.size} tensors, got none named ${listed(missing)}` +
        (untied ? "; the config says the embeddings are not tied" : ""),
    );
  }
  const surplus = [];
  for (const name of given.filter((one) => !expected.has(one))) {
    // Some programs write a bias for every projection; one of zeros changes nothing.
    if (!(await isBiasOfZeros(name, expected, checkpoint))) surplus.push(name);
  }
  if (surplus.length) {
    throw new CheckpointError(`expected no tensor named ${listed(surplus)}, got one`);
  }
  for (const [name, shape] of expected) {
    const info = tensors.get(name);
    if (!info) continue;
    if (info.shape.join() !== shape.join()) {
      throw new CheckpointError(
        `${short(name)}: expected shape [${shape}] from the config, got [${info.shape}]`,
      );
    }
    if (!FLOATS.includes(info.format)) {
      throw new CheckpointError(
        `${short(name)}: expected weights as ${FLOATS.join(", ")}, got ${info.format}`,
      );
    }
  }
  if (tied && !ends.length && !sameNumbers(...(await bothEnds(checkpoint)))) {
    throw new CheckpointError(
      `expected ${EMBED_TOKENS} and ${LM_HEAD} to be equal, since the config ties them, ` +
        "got two different tables",
    );
  }
}

/** @param {string} name @param {Map<string, number[]>} expected @param {Checkpoint} checkpoint */
async function isBiasOfZeros(name, expected, { tensors, read }) {
  const weight = expected.get(`${name.replace(/\.bias$/, "")}.weight`);
  const info = tensors.get(name);
  const isOne = name.endsWith(".bias") && weight?.length === 2 && info && FLOATS.includes(info.format);
  if (!isOne || info.shape.join() !== `${weight[0]}`) return false;
  return toFloat32(await read(name), info.format).every((value) => value === 0);
}

/** @param {Checkpoint} checkpoint @returns {Promise<[Float32Array, Float32Array]>} */
async function bothEnds({ tensors, read }) {
  /** @param {string} name */
  const numbers = async (name) =>
    toFloat32(await read(name), /** @type {{ format: string }} */ (tensors.get(name)).format);
  return [await numbers(EMBED_TOKENS), await numbers(LM_HEAD)];
}

/** @param {Float32Array} a @param {Float32Array} b */
function sameNumbers(a, b) {
  return a.every((value, i) => value === b[i]);
}

/** @param {string[]} names */
function listed(names) {
  const [first, ...rest] = [...names].sort();
  return short(first) + (rest.length ? ` (and ${rest.length} more)` : "");
}
