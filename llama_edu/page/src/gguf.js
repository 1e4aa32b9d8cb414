/**
 * Read a GGUF file of a Llama in place: its metadata become the same documents a model directory
 * has, its tensors a checkpoint whose blocks of Q4_1 and Q8_0 are multiplied as they are. Format:
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * What is refused is what llama_edu's converter refuses; two things that it reads are left to it:
 * SentencePiece tokenizers, and RoPE scaling.
 */

import { CheckpointError, ConfigError, TokenizerError, short } from "./errors.js";
import { byteCount } from "./number_formats.js";

/** @typedef {import("./safetensors.js").Source} Source */
/** @typedef {import("./strict_json.js").JsonObject} JsonObject */
/** @typedef {import("./weights.js").Checkpoint} Checkpoint */

const MAGIC = 0x46554747; // "GGUF"
const FIRST_BYTES = 1 << 22; // where the metadata of most files ends
const MAX_COUNT = 1e7; // of entries in a list; a damaged count keeps nobody busy
const CONTROL_TYPES = [2, 3]; // unknown and control tokens
const USER_DEFINED = 4;
const UNUSED = 5;

/** ggml's types by number; others are not read. @type {Record<number, string>} */
const FORMATS = { 0: "F32", 1: "F16", 3: "Q4_1", 8: "Q8_0", 30: "BF16" };

/** @type {Record<string, string>} */
const MODEL_NAMES = { token_embd: "model.embed_tokens", output_norm: "model.norm", output: "lm_head" };
/** @type {Record<string, string>} */
const LAYER_NAMES = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** How a text is cut into words, by the name GGUF keeps of it. @type {Record<string, JsonObject[]>} */
const PRE_TOKENIZERS = {
  "gpt-2": [{ type: "ByteLevel", use_regex: true }],
  smollm: [{ type: "Digits", individual_digits: true }, { type: "ByteLevel", use_regex: true }],
};

/** @typedef {Record<string, any>} Metadata */
/** @typedef {{ format: string, shape: number[], start: number }} Stored */

/**
 * The documents of a model directory, as parsed JSON, and its checkpoint.
 * @param {Source} source
 */
export async function openGguf(source) {
  const { metadata, tensors, dataStart } = await readHeader(source);
  const names = huggingFaceNames(tensors);
  const config = configOf(metadata, tensors, names);
  const heads = { q_proj: config.num_attention_heads, k_proj: config.num_key_value_heads };
  /** @type {Checkpoint} */
  const checkpoint = {
    tensors: new Map(Array.from(names, ([name, own]) => [name, stored(tensors, own)])),
    async read(name) {
      const { format, shape, start } = stored(tensors, /** @type {string} */ (names.get(name)));
      const size = byteCount(format, shape.reduce((product, n) => product * n, 1));
      const bytes = await source.read(dataStart + start, dataStart + start + size);
      const turned = name.includes(".q_proj.") ? heads.q_proj : heads.k_proj;
      const isTurned = name.includes(".q_proj.") || name.includes(".k_proj.");
      return isTurned ? halfSplit(bytes, shape[0], turned) : bytes;
    },
  };
  const ids = specialIds(metadata);
  const documents = tokenizerOf(metadata, config.max_position_embeddings);
  return { config, generation: ids, ...documents, checkpoint };
}

/** @param {Map<string, Stored>} tensors @param {string} name */
function stored(tensors, name) {
  return /** @type {Stored} */ (tensors.get(name));
}

/**
 * Metadata and where each tensor lies. Reads more of the file until the header is whole.
 * @param {Source} source
 * @returns {Promise<{ metadata: Metadata, tensors: Map<string, Stored>, dataStart: number }>}
 */
async function readHeader(source) {
  for (let size = FIRST_BYTES; ; size *= 4) {
    const bytes = await source.read(0, Math.min(size, source.size));
    try {
      return parseHeader(bytes, source);
    } catch (problem) {
      if (!(problem instanceof RangeError) || size >= source.size) {
        if (!(problem instanceof RangeError)) throw problem;
        throw new CheckpointError(`${source.name}: expected a whole GGUF file, got it cut short`);
      }
    }
  }
}

/** @param {Uint8Array} bytes @param {Source} source */
function parseHeader(bytes, source) {
  const reader = new Reader(bytes, source.name);
  const magic = reader.u32();
  const version = reader.u32();
  if (magic !== MAGIC || version < 2 || version > 3) {
    throw new CheckpointError(`${source.name}: expected GGUF version 2 or 3, got another file`);
  }
  const tensorCount = reader.count();
  const pairs = reader.count();
  /** @type {Metadata} */
  const metadata = Object.create(null);
  for (let i = 0; i < pairs; i++) {
    const key = reader.text();
    metadata[key] = reader.value(reader.u32());
  }
  if ((metadata["split.count"] ?? 0) > 1) {
    throw new CheckpointError(`${source.name}: expected one whole GGUF file, got a part of several`);
  }
  /** @type {Map<string, Stored>} */
  const tensors = new Map();
  for (let i = 0; i < tensorCount; i++) {
    const name = reader.text();
    const shape = Array.from({ length: reader.u32() }, () => reader.count()).reverse();
    const type = reader.u32();
    const format = FORMATS[type];
    if (!format) {
      throw new CheckpointError(
        `${short(name)}: expected weights as ${Object.values(FORMATS).join(", ")}, got ggml's type ${type}`,
      );
    }
    tensors.set(name, { format, shape, start: reader.count(Infinity) });
  }
  const alignment = metadata["general.alignment"] ?? 32;
  const dataStart = Math.ceil(reader.at / alignment) * alignment;
  for (const [name, { format, shape, start }] of tensors) {
    const end = dataStart + start + byteCount(format, shape.reduce((product, n) => product * n, 1));
    if (!(end <= source.size)) {
      throw new CheckpointError(`${short(name)}: expected ${end} bytes of file, got ${source.size}`);
    }
  }
  return { metadata, tensors, dataStart };
}

/** Values one after another; a RangeError at the end of what was read. */
class Reader {
  at = 0;

  /** @param {Uint8Array} bytes @param {string} source */
  constructor(bytes, source) {
    this.bytes = bytes;
    this.source = source;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u32() {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }

  count(most = MAX_COUNT) {
    this.at += 8;
    const value = Number(this.view.getBigUint64(this.at - 8, true));
    if (!(value <= most)) {
      throw new CheckpointError(`${this.source}: expected a count of at most ${most}, got ${value}`);
    }
    return value;
  }

  text() {
    const length = this.count();
    if (this.at + length > this.bytes.length) throw new RangeError("cut short");
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }

  /** @param {number} type GGUF's number of a kind of value @returns {any} */
  value(type) {
    const { view } = this;
    /** @param {number} size */
    const skip = (size) => (this.at += size) - size;
    switch (type) {
      case 0: return view.getUint8(skip(1));
      case 1: return view.getInt8(skip(1));
      case 2: return view.getUint16(skip(2), true);
      case 3: return view.getInt16(skip(2), true);
      case 4: return view.getUint32(skip(4), true);
      case 5: return view.getInt32(skip(4), true);
      case 6: return shortest(view.getFloat32(skip(4), true));
      case 7: return view.getUint8(skip(1)) !== 0;
      case 8: return this.text();
      case 9: {
        const kind = this.u32();
        return Array.from({ length: this.count() }, () => this.value(kind));
      }
      case 10: return Number(view.getBigUint64(skip(8), true));
      case 11: return Number(view.getBigInt64(skip(8), true));
      case 12: return view.getFloat64(skip(8), true);
      default:
        throw new CheckpointError(`${this.source}: expected a known kind of value, got ${type}`);
    }
  } // prettier-ignore
}

/** The shortest decimal that means this float32: 1e-05, not 9.99999974e-06. @param {number} value */
function shortest(value) {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}

/** Hugging Face name → GGUF name, of every tensor that is a weight. @param {Map<string, Stored>} tensors */
function huggingFaceNames(tensors) {
  /** @type {Map<string, string>} */
  const names = new Map();
  for (const own of tensors.keys()) {
    const match = /^(?:blk\.(0|[1-9]\d{0,5})\.)?(\w+)\.(weight|bias)$/.exec(own);
    const stem = match && (match[1] ? LAYER_NAMES : MODEL_NAMES)[match[2]];
    if (!match || !stem) {
      throw new CheckpointError(
        `expected the tensors of a Llama without scaled RoPE, got ${short(own)}: not supported`,
      );
    }
    const place = match[1] ? `model.layers.${match[1]}.` : "";
    names.set(`${place}${stem}.${match[3]}`, own);
  }
  return names;
}

/** @param {Metadata} metadata @param {Map<string, Stored>} tensors @param {Map<string, string>} names */
function configOf(metadata, tensors, names) {
  if (metadata["general.architecture"] !== "llama") {
    throw new ConfigError(
      `expected a GGUF file of architecture llama, got ${short(metadata["general.architecture"])}: ` +
        "other families are read from their config.json and model.safetensors",
    );
  }
  /** @param {string} name @param {number} [fallback] */
  const number = (name, fallback) => {
    const value = metadata[`llama.${name}`] ?? fallback;
    if (typeof value !== "number") throw new ConfigError(`expected llama.${name}, got ${short(value)}`);
    return value;
  };
  const heads = number("attention.head_count");
  const headDim = number("attention.key_length", number("embedding_length") / heads);
  for (const name of ["attention.value_length", "rope.dimension_count"]) {
    if (number(name, headDim) !== headDim) {
      throw new ConfigError(`expected llama.${name} of ${headDim}, got ${number(name)}: not supported`);
    }
  }
  const kind = metadata["llama.rope.scaling.type"] ?? "none";
  if (kind !== "none" || number("rope.scale_linear", 1) !== 1) {
    throw new ConfigError(`expected RoPE scaling none, got ${short(kind)}: not supported`);
  }
  const biased = [...names.keys()].filter((name) => name.endsWith("proj.bias"));
  return {
    model_type: "llama",
    vocab_size: tensors.get("token_embd.weight")?.shape[0] ?? number("vocab_size"),
    hidden_size: number("embedding_length"),
    intermediate_size: number("feed_forward_length"),
    num_hidden_layers: number("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: number("attention.head_count_kv", heads),
    head_dim: headDim,
    max_position_embeddings: number("context_length"),
    rms_norm_eps: number("attention.layer_norm_rms_epsilon"),
    rope_theta: number("rope.freq_base", 10000),
    tie_word_embeddings: !names.has("lm_head.weight"),
    attention_bias: biased.some((name) => name.includes(".self_attn.")),
    mlp_bias: biased.some((name) => name.includes(".mlp.")),
    ...specialIds(metadata),
  };
}

/** @param {Metadata} metadata @returns {JsonObject} */
function specialIds(metadata) {
  const id = (/** @type {string} */ name) => metadata[`tokenizer.ggml.${name}_token_id`];
  const ends = ["eos", "eot", "eom"].map(id).filter((one) => one !== undefined);
  return { bos_token_id: id("bos") ?? null, eos_token_id: ends.length ? [...new Set(ends)] : null };
}

/**
 * The content of tokenizer.json and tokenizer_config.json.
 * @param {Metadata} metadata @param {number} context
 * @returns {{ tokenizer: JsonObject, settings: JsonObject }}
 */
function tokenizerOf(metadata, context) {
  /** @type {string[]} */
  const tokens = metadata["tokenizer.ggml.tokens"] ?? [];
  /** @type {number[]} */
  const types = metadata["tokenizer.ggml.token_type"] ?? [];
  const [kind, pre] = [metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]];
  const steps = PRE_TOKENIZERS[pre];
  if (kind !== "gpt2" || !steps || types.length !== tokens.length) {
    throw new TokenizerError(
      `expected a byte-level tokenizer of ${Object.keys(PRE_TOKENIZERS).join(" or ")}, ` +
        `got ${short(kind)} ${short(pre)}: convert the file with the package`,
    );
  }
  const added = tokens.flatMap((content, id) => {
    const isSpecial = CONTROL_TYPES.includes(types[id]);
    return isSpecial || types[id] === USER_DEFINED ? [{ id, content, special: isSpecial }] : [];
  });
  /** @type {JsonObject} */
  const settings = { model_max_length: context, chat_template: metadata["tokenizer.chat_template"] };
  for (const [role, name] of [["bos", "bos"], ["eos", "eos"], ["unk", "unknown"], ["pad", "padding"]]) {
    const id = metadata[`tokenizer.ggml.${name}_token_id`];
    if (id !== undefined) settings[`${role}_token`] = tokens[id];
  }
  const opens = metadata["tokenizer.ggml.add_bos_token"] && settings.bos_token;
  const vocab = Object.fromEntries(
    tokens.flatMap((token, id) => (types[id] === UNUSED ? [] : [[token, id]])),
  );
  const processor = opens && {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "bos" } }, { Sequence: { id: "A" } }],
    special_tokens: { bos: { ids: [metadata["tokenizer.ggml.bos_token_id"]] } },
  };
  const tokenizer = {
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: { type: "Sequence", pretokenizers: steps },
    post_processor: processor || null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges: metadata["tokenizer.ggml.merges"] ?? [] },
  };
  return { tokenizer, settings };
}

/**
 * Rows of a q or k weight from GGUF's order of RoPE's pairs to Hugging Face's: per head, row 2j
 * goes to j and row 2j + 1 to j + head_dim/2. Whole rows move, so that blocks stay blocks.
 * @param {Uint8Array} bytes @param {number} rows @param {number} heads
 */
function halfSplit(bytes, rows, heads) {
  const size = bytes.length / rows;
  const headRows = rows / heads;
  const moved = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    const [head, within] = [Math.floor(row / headRows), row % headRows];
    const to = head * headRows + Math.floor(within / 2) + (within % 2) * (headRows / 2);
    moved.set(bytes.subarray(row * size, (row + 1) * size), to * size);
  }
  return moved;
}
