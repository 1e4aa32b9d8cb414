/** Generate token ids: prefill the prompt, then decode one token at a time. */

import { ContextError, InputError } from "./errors.js";
import { GREEDY, adjusted, checkSampling, sample } from "./sampling.js";
import { Random } from "./random.js";

/** @typedef {import("./cache.js").KVCache} KVCache */
/** @typedef {import("./model.js").Llama} Llama */
/** @typedef {import("./sampling.js").Sampling} Sampling */

const PREFILL_CHUNK = 512; // tokens per step; bounds the score matrices of a long prompt

/**
 * Run ids into the cache, at most `chunk` at a time; logits after the last one.
 * @param {Llama} model @param {number[]} ids @param {KVCache} cache
 */
export function prefill(model, ids, cache, chunk = PREFILL_CHUNK) {
  if (!(chunk >= 1)) throw new InputError(`expected a chunk of at least 1 token, got ${chunk}`);
  model.checkIds(ids);
  cache.checkRoom(ids.length);
  let logits = new Float32Array();
  for (let start = 0; start < ids.length; start += chunk) {
    logits = model.forward(ids.slice(start, start + chunk), cache, { lastOnly: true });
  }
  return logits;
}

/**
 * Yield up to `maxNewTokens` ids, each as soon as it is chosen. Ends after any of `stopIds`; the id
 * that ends it is yielded too. Afterwards the cache holds the prompt and all yielded ids but the
 * last.
 * @param {Llama} model @param {number[]} ids
 * @param {{ maxNewTokens: number, sampling?: Sampling, seed?: number, cache?: KVCache,
 *   stopIds?: number[] }} options
 * @returns {Generator<number, void>}
 */
export function* generate(model, ids, options) {
  const { maxNewTokens, sampling = GREEDY, seed = 0, cache = model.newCache() } = options;
  const { stopIds = model.config.eos_token_ids } = options;
  if (!(maxNewTokens >= 1)) {
    throw new InputError(`expected max_new_tokens of at least 1, got ${maxNewTokens}`);
  }
  checkSampling(sampling);
  if (cache.length + ids.length + maxNewTokens > cache.maxSeq) {
    throw new ContextError(
      `expected at most ${cache.maxSeq} positions in all, got ${cache.length} past ` +
        `+ ${ids.length} prompt + ${maxNewTokens} new`,
    );
  }
  const random = new Random(seed);
  /** @type {number[]} */
  const made = [];
  let logits = prefill(model, ids, cache);
  for (;;) {
    const id = sample(adjusted(logits, sampling, ids, made), sampling, random);
    made.push(id);
    yield id;
    if (stopIds.includes(id) || made.length === maxNewTokens) return;
    logits = model.forward([id], cache, { lastOnly: true });
  }
}
