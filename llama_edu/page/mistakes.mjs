/**
 * Mistakes one makes when writing a Llama, each planted by exchanging one function of the engine.
 * `verify` should find and name them. Nothing in the page imports this file.
 */

import { InputError, OPERATORS, probabilities } from "./src/engine.js";

/** @typedef {import("./src/config.js").LlamaConfig} LlamaConfig */
/** @typedef {import("./src/engine.js").KVCache} KVCache */
/** @typedef {import("./src/engine.js").Llama} Llama */
/** @typedef {import("./src/engine.js").Tokenizer} Tokenizer */
/** @typedef {import("./src/operators.js").Operators} Operators */
/** @typedef {import("./src/sampling.js").Sampling} Sampling */
/** @typedef {import("./src/weights.js").Checkpoint} Checkpoint */

/** What a mistake may change; this is the engine without one. */
const RIGHT = {
  /** @type {Partial<Operators>} */
  operators: {},
  config: (/** @type {LlamaConfig} */ config) => config,
  checkpoint: (/** @type {Checkpoint} */ checkpoint, /** @type {LlamaConfig} */ _config) => checkpoint,
  model: (/** @type {Llama} */ model) => model,
  tokenizer: (/** @type {Tokenizer} */ tokenizer) => tokenizer,
  keep(/** @type {Llama} */ _model, /** @type {KVCache} */ cache, /** @type {number} */ past) {
    cache.truncate(past);
    return cache;
  },
  forward: (/** @type {Llama} */ model, /** @type {number[]} */ ids, /** @type {KVCache} */ cache) =>
    model.forward(ids, cache, { lastOnly: true }),
  probabilities: (/** @type {Float32Array} */ logits, /** @type {Sampling} */ sampling) =>
    probabilities(logits, sampling),
};

/** @typedef {typeof RIGHT} Mistake */

const { rmsNorm, applyRope, softmax, qkScores, swiglu, linear } = OPERATORS;
const silu = (/** @type {number} */ x) => x / (1 + Math.exp(-x));

/** @type {Record<string, Partial<Mistake>>} */
export const MISTAKES = {
  // TO BE FILLED
};

/** @param {string} name @returns {Mistake} */
export function mistakeNamed(name) {
  if (name && !Object.hasOwn(MISTAKES, name)) {
    throw new InputError(`expected a mistake of ${Object.keys(MISTAKES).join(", ")}, got ${name}`);
  }
  return { ...RIGHT, ...MISTAKES[name] };
}
