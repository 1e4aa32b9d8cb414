/**
 * The model's own thread. The page asks with `{ id, op, request }`; answers are `{ id, value }` or
 * `{ id, error }`, and what comes on the way is `{ id, part }`. The page never waits for a product.
 */

import { PlainBackend } from "./backend_plain.js";
import { SimdBackend, decodeBase64, hasSimd } from "./backend_simd.js";
import { encodeChat } from "./chat.js";
import { readConfig } from "./config.js";
import { ConfigError, InputError } from "./errors.js";
import { generate, prefill } from "./generate.js";
import { openGguf } from "./gguf.js";
import { Llama } from "./model.js";
import { bytesSource, fileSource, openSafetensors } from "./safetensors.js";
import { GREEDY, adjusted, probabilities } from "./sampling.js";
import { parseObject } from "./strict_json.js";
import { switchedOff } from "./switches.js";
import { Tokenizer } from "./tokenizer.js";
import { Trace } from "./trace.js";

/** @typedef {import("./switches.js").Switches} Switches */
/** @typedef {import("./sampling.js").Sampling} Sampling */
/** @typedef {(part: any) => void} Emit */

/**
 * The files of a model: JSON as text, weights as base64 or as a file the reader picked.
 * @typedef {object} ModelFiles
 * @property {string} name
 * @property {Record<string, string>} texts
 * @property {string | File} weights
 * @property {"simd" | "plain"} [backend]
 */

const SAME_WAY = 0.999; // a cosine above it: two rows that training never told apart
const BREATH_MS = 12; // how long it computes before it looks whether it should stop

/** A model, its tokenizer, and the operations a page may ask for. */
export class Served {
  /** @type {Llama | null} */
  model = null;
  /** @type {Tokenizer | null} */
  tokenizer = null;
  /** Requests that the page no longer waits for. @type {Set<number>} */
  stopped = new Set();
  /** The conversation that is cached. @type {{ cache: import("./cache.js").KVCache, ids: number[] } | null} */
  talk = null;

  /** @param {ModelFiles} files @param {Emit} emit */
  async load({ texts, weights, backend }, emit) {
    const source =
      typeof weights === "string" ? bytesSource(decodeBase64(weights)) : fileSource(weights);
    const files = source.name.endsWith(".gguf")
      ? await openGguf(source)
      : { ...this.settings(texts), checkpoint: await openSafetensors(source) };
    const { config, generation, checkpoint } = files;
    const chosen = backend !== "plain" && hasSimd() ? new SimdBackend() : new PlainBackend();
    const read = readConfig(config, generation);
    this.talk = null;
    this.model = null; // what was there gives its memory back before the new one takes some
    this.model = await Llama.load(read, checkpoint, chosen, (done) => emit({ done }));
    this.tokenizer = new Tokenizer(files);
    return { config: read, backend: chosen.name, hasTemplate: this.tokenizer.chatTemplate !== null };
  }

  /** The JSON files of a model directory. @param {Record<string, string>} texts */
  settings(texts) {
    /** @param {string} name */
    const parsed = (name) =>
      name in texts ? parseObject(texts[name], name, ConfigError) : undefined;
    const [config, tokenizer] = [parsed("config.json"), parsed("tokenizer.json")];
    if (!config || !tokenizer) {
      throw new ConfigError(
        "expected config.json, tokenizer.json and model.safetensors, " +
          `got ${Object.keys(texts).join(", ") || "no JSON"}`,
      );
    }
    const generation = parsed("generation_config.json");
    return { config, generation, tokenizer, settings: parsed("tokenizer_config.json") };
  }

  /** @param {{ text: string }} request */
  encode({ text }) {
    const { tokenizer } = this.ready();
    const ids = tokenizer.encode(text);
    return { ids, pieces: ids.map((id) => pieceOf(tokenizer, id)) };
  }

  /** @param {{ ids: number[] }} request */
  decode({ ids }) {
    return { text: this.ready().tokenizer.decode(ids) };
  }

  /** @param {{ messages: import("./chat.js").Message[] }} request */
  chat({ messages }) {
    return { ids: encodeChat(this.ready().tokenizer, messages) };
  }

  /**
   * What a reply to these messages would reuse of the conversation that is cached, and what it
   * would compute and drop. The last token always runs, for its logits.
   * @param {{ messages: import("./chat.js").Message[] }} request
   */
  planTurn({ messages }) {
    const { tokenizer } = this.ready();
    const ids = encodeChat(tokenizer, messages);
    const cached = this.talk?.ids ?? [];
    let same = 0;
    while (same < Math.min(ids.length, cached.length) && ids[same] === cached[same]) same++;
    const reused = Math.min(same, ids.length - 1);
    /** @param {number[]} all */
    const texts = (all) => all.map((one) => pieceOf(tokenizer, one).text);
    const counts = { same, reused, computed: ids.length - reused, dropped: cached.length - reused };
    return { prompt: ids, pieces: texts(ids), cached: texts(cached), ...counts };
  }

  /**
   * A reply, with the cache kept from turn to turn.
   * @param {{ messages: import("./chat.js").Message[], count: number }} request
   * @param {Emit} emit
   */
  async turn({ messages, count }, emit) {
    const { model, tokenizer } = this.ready();
    const plan = this.planTurn({ messages });
    this.talk ??= { cache: model.newCache(), ids: [] };
    const { cache } = this.talk;
    cache.truncate(plan.reused);
    const { prompt } = plan;
    this.talk.ids = prompt.slice(0, plan.reused);
    const stream = tokenizer.stream();
    const maxNewTokens = Math.min(count, cache.maxSeq - prompt.length);
    const made = [];
    let text = "";
    const start = performance.now();
    let first = 0;
    for (const token of generate(model, prompt.slice(plan.reused), { maxNewTokens, cache })) {
      first ||= performance.now();
      made.push(token);
      if (model.config.eos_token_ids.includes(token)) break;
      const piece = stream.push(token);
      text += piece;
      emit({ text: piece });
    }
    this.talk.ids = [...prompt, ...made].slice(0, cache.length);
    const ids = made.filter((token) => !model.config.eos_token_ids.includes(token));
    text += stream.finish();
    return { ...plan, ids, text, promptMs: first - start };
  }

  /** @param {{ ids: number[], chunk?: number }} request */
  logits({ ids, chunk }) {
    const { model } = this.ready();
    const cache = model.newCache();
    const logits = prefill(model, ids, cache, chunk);
    cache.release();
    return { logits };
  }

  /** @param {{ logits: Float32Array, sampling: Sampling }} request */
  probabilities({ logits, sampling }) {
    return { probabilities: probabilities(logits, sampling) };
  }

  /**
   * The likeliest tokens without cuts and penalties, and what is left of each; how many can be
   * drawn. `ids` came before, and count as the prompt.
   * @param {{ ids: number[], logits: Float32Array, sampling: Sampling, top: number }} request
   */
  chances({ ids, logits, sampling, top }) {
    const { tokenizer } = this.ready();
    const after = probabilities(adjusted(logits, sampling, ids, []), sampling);
    const temperature = sampling.temperature || 1;
    const before = probabilities(logits, { temperature, topK: 0, topP: 1 });
    const best = largest(before, top).map((id) => ({
      text: pieceOf(tokenizer, id).text,
      before: before[id],
      after: after[id],
    }));
    const entropy = after.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
    return { top: best, count: after.filter((p) => p > 0).length, entropy };
  }

  /** How the letters of one token were merged, from the first to the last. @param {{ id: number }} request */
  merges({ id }) {
    const { tokenizer } = this.ready();
    const text = tokenizer.textOf.get(id);
    if (text === undefined || tokenizer.isSpecial(id)) {
      return { steps: [{ parts: [pieceOf(tokenizer, id).text], at: -1, rank: -1 }], known: 0 };
    }
    const steps = tokenizer.bpe.history(text).map(({ ids, at, rank }) => {
      return { parts: ids.map((part) => pieceOf(tokenizer, part).text), at, rank };
    });
    return { steps, known: tokenizer.bpe.merges.size };
  }

  /**
   * What the model would say if it ended after each layer: the residual stream through the final
   * norm and the head (nostalgebraist 2020, "interpreting GPT: the logit lens").
   * @param {{ ids: number[] }} request
   */
  lens({ ids }) {
    const { model, tokenizer } = this.ready();
    const { operators: ops, weights, config } = model;
    const trace = new Trace();
    const final = model.forward(ids, null, { lastOnly: true, trace });
    const [answer] = largest(final, 1);
    const places = ["embed_tokens", ...weights.layers.map((_, i) => `layers.${i}.mlp_residual`)];
    const views = places.map((place) => {
      const row = trace.get(place).data.slice(-config.hidden_size);
      const seen = ops.rmsNorm(row, weights.norm, config.rms_norm_eps);
      const logits = ops.linear(model.backend, seen, { weight: weights.lm_head, bias: null });
      const shares = ops.softmax(logits, logits.length);
      const best = largest(logits, 3).map((id) => ({ text: pieceOf(tokenizer, id).text, share: shares[id] }));
      const rank = 1 + logits.filter((logit) => logit > logits[answer]).length;
      return { place, best, rank };
    });
    return { answer: pieceOf(tokenizer, answer).text, views };
  }

  /**
   * The tokens whose embeddings point most nearly the same way; how many rows of the table point
   * the same way as this one, itself among them.
   * @param {{ id: number, count: number }} request
   */
  nearest({ id, count }) {
    const { model, tokenizer } = this.ready();
    const { embed_tokens: table } = model.weights;
    const { backend } = model;
    /** @param {Float32Array} row */
    const length = (row) => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)) || 1;
    const row = backend.read(table, id, 1);
    const products = backend.linear(row, table);
    const cosines = products.map((product, other) => {
      return other === id ? -1 : product / length(row) / length(backend.read(table, other, 1));
    });
    const found = largest(cosines, count);
    return {
      found: found.map((other) => ({ text: pieceOf(tokenizer, other).text, cosine: cosines[other] })),
      alike: 1 + cosines.filter((cosine) => cosine > SAME_WAY).length,
      rows: cosines.length,
    };
  }

  /**
   * The arrays of one pass over `ids`, by name; all, or only those asked for.
   * @param {{ ids: number[], names?: string[], off?: Switches }} request
   */
  trace({ ids, names, off = {} }) {
    const { model } = this.ready();
    const trace = new Trace();
    switchedOff(model, off).forward(ids, null, { trace });
    const records = [...trace.steps[0].values()];
    return records.filter(({ name }) => !names || names.includes(name));
  }

  /**
   * Text that goes on from `ids`, token by token.
   * @param {{ ids: number[], count: number, sampling?: Sampling, seed?: number, off?: Switches,
   *   stopIds?: number[] }} request
   * @param {Emit} emit
   * @param {number} id
   */
  async generate({ ids, count, sampling = GREEDY, seed = 0, off = {}, stopIds }, emit, id) {
    const { model, tokenizer } = this.ready();
    const used = switchedOff(model, off);
    const cache = used.newCache();
    const stream = tokenizer.stream();
    const maxNewTokens = Math.min(count, cache.maxSeq - ids.length);
    const made = [];
    const start = performance.now();
    let [breathed, first] = [start, 0];
    try {
      for (const token of generate(used, ids, { maxNewTokens, sampling, seed, cache, stopIds })) {
        first ||= performance.now();
        made.push(token);
        emit({ token, text: stream.push(token) });
        if (performance.now() - breathed > BREATH_MS) {
          await breath();
          breathed = performance.now();
        }
        if (this.stopped.has(id)) break;
      }
    } finally {
      cache.release();
    }
    emit({ token: null, text: stream.finish() });
    const now = performance.now();
    return { ids: made, promptMs: first - start, decodeMs: now - first };
  }

  /**
   * How long each of `count` greedy steps takes, with a cache and without.
   * @param {{ ids: number[], count: number, cached: boolean }} request @param {Emit} emit
   * @param {number} id
   */
  async steps({ ids, count, cached }, emit, id) {
    const { model, tokenizer } = this.ready();
    const cache = model.newCache();
    const all = [...ids];
    const { length } = ids;
    try {
      for (let step = 0; step < count && all.length < cache.maxSeq; step++) {
        if (!cached) cache.truncate(0);
        const fed = all.slice(cache.length);
        const start = performance.now();
        const logits = prefill(model, fed, cache);
        const ms = performance.now() - start;
        const token = logits.indexOf(logits.reduce((a, b) => Math.max(a, b), -Infinity));
        all.push(token);
        emit({ step, fed: fed.length, read: cache.length - fed.length, ms, token, text: tokenizer.decode([token]) });
        await breath();
        if (this.stopped.has(id)) break;
      }
    } finally {
      cache.release();
    }
    return { ids: all.slice(length) };
  }

  ready() {
    if (!this.model || !this.tokenizer) throw new InputError("expected a model, got none yet");
    return { model: this.model, tokenizer: this.tokenizer };
  }
}

/**
 * Let messages in. A timer would do it too, but browsers make timers that start each other wait
 * four milliseconds, which is an eighth of a token.
 * @returns {Promise<void>}
 */
function breath() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resume) => {
    port1.onmessage = () => {
      port1.close();
      resume();
    };
    port2.postMessage(null);
  });
}

/** The indices of the largest numbers, the lower one first among equals. @param {Float32Array} row @param {number} count */
function largest(row, count) {
  const ids = Array.from(row, (_, id) => id);
  return ids.sort((a, b) => row[b] - row[a] || a - b).slice(0, count);
}

/** One token to look at: its text, with half characters as bytes. @param {Tokenizer} tokenizer @param {number} id */
function pieceOf(tokenizer, id) {
  const bytes = tokenizer.tokenBytes(id);
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const isWhole = !text.includes("\ufffd");
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { id, text: isWhole ? text : `<${hex}>`, isWhole, isSpecial: tokenizer.isSpecial(id) };
}

/**
 * Answer a page's requests in a worker.
 * @param {{ postMessage: (message: any) => void, onmessage: any }} scope the worker's `self`
 */
export function serve(scope) {
  const served = new Served();
  /** @type {Promise<void>} */
  let last = Promise.resolve();
  scope.onmessage = (/** @type {{ data: any }} */ { data: { id, op, request } }) => {
    if (op === "stop") {
      served.stopped.add(request.which);
      return;
    }
    // One after another: two at a time would only take turns, and memory for both.
    last = last.then(async () => {
      try {
        const operation = /** @type {any} */ (served)[op];
        const emit = (/** @type {any} */ part) => scope.postMessage({ id, part });
        scope.postMessage({ id, value: await operation.call(served, request, emit, id) });
      } catch (problem) {
        const { name, message } = /** @type {Error} */ (problem);
        scope.postMessage({ id, error: { name, message } });
      }
      served.stopped.delete(id);
    });
  };
}
