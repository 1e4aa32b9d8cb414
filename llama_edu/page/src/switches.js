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
  if (off.silenced?.length) {
    const silent = new Set(off.silenced.map((place) => place.join()));
    functions.scoreV = (backend, weights, values, total, layer, head) => {
      const mixed = OPERATORS.scoreV(backend, weights, values, total, layer, head);
      return silent.has(`${layer},${head}`) ? mixed.fill(0) : mixed;
    };
  }
  return model.with(functions);
}
