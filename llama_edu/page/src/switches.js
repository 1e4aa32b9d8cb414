/** Switches that break a model, to see what each part of it is for. */

import { OPERATORS } from "./operators.js";

/** @typedef {import("./model.js").Llama} Llama */

/**
 * What is switched off. `silenced` lists heads, as [layer, head], whose values never arrive.
 * @typedef {object} Switches
 * @property {boolean} [mask]
 * @property {boolean} [scale]
 * @property {boolean} [sharing] each query head reads another key/value head than it was trained on
 * @property {boolean} [rope]
 * @property {boolean} [stale] after the prompt, the cache is not brought up to date
 * @property {[number, number][]} [silenced]
 */

/** The same model with some parts off. @param {Llama} model @param {Switches} off */
export function switchedOff(model, off) {
  const { num_key_value_heads: kvHeads } = model.config;
  /** @type {Partial<import("./operators.js").Operators>} */
  const functions = {};
  if (off.mask) functions.applyMask = (scores) => Float32Array.from(scores);
  if (off.scale) {
    functions.qkScores = (backend, q, keys, total) => backend.linear(q, keys, total);
  }
  if (off.sharing) functions.kvHeadOf = (head, nGroups) => (Math.floor(head / nGroups) + 1) % kvHeads;
  if (off.rope) functions.applyRope = (x) => Float32Array.from(x);
  if (off.stale) {
    functions.remember = (cache, layer, k, v) => {
      const { length } = cache;
      if (!length) return OPERATORS.remember(cache, layer, k, v);
      // What the token before has left there, once more for every new one.
      const [width, { keys, values }] = [cache.headDim, cache.layer(layer)];
      const seq = k.length / keys.length / width;
      /** @param {typeof keys} heads */
      const old = (heads) => {
        const rows = new Float32Array(k.length);
        heads.forEach((head, i) => {
          const row = model.backend.read(head, length - 1, 1);
          for (let j = 0; j < seq; j++) rows.set(row, (i * seq + j) * width);
        });
        return rows;
      };
      OPERATORS.remember(cache, layer, old(keys), old(values));
    };
  }
  if (off.silenced?.length) {
    const silent = new Set(off.silenced.map((place) => place.join()));
    functions.scoreV = (backend, weights, values, total, layer, head) => {
      const mixed = OPERATORS.scoreV(backend, weights, values, total, layer, head);
      return silent.has(`${layer},${head}`) ? mixed.fill(0) : mixed;
    };
  }
  return model.with(functions);
}
