/**
 * From one row of logits to the next token id: penalties, temperature, then top-k, top-p and min-p,
 * then a draw. `probabilities` gives the exact distribution a draw is made from; what depends on the
 * tokens before, `adjusted` does to the logits first. The numbers are rounded to float32 where
 * Python's are, so that both cut at the same token.
 */

import { InputError, NumericsError } from "./errors.js";

/** @typedef {import("./random.js").Random} Random */

/**
 * `temperature` divides the logits, 0 takes the largest. `topK` keeps that many of the largest
 * logits, 0 all. `topP` keeps the fewest tokens whose probabilities, largest first, reach it; the
 * token that crosses the line is kept whole. `minP` keeps the tokens at least that many times as
 * likely as the likeliest. Among equal logits the lower id comes first. `repetitionPenalty` makes
 * tokens of the prompt and the new text less likely, `presencePenalty` and `frequencyPenalty` those
 * of the new text.
 * @typedef {object} Sampling
 * @property {number} temperature
 * @property {number} topK
 * @property {number} topP
 * @property {number} [minP]
 * @property {number} [repetitionPenalty]
 * @property {number} [presencePenalty]
 * @property {number} [frequencyPenalty]
 */

/** @type {Sampling} */
export const GREEDY = { temperature: 0, topK: 0, topP: 1 };

const SMALLEST = 2 ** -126; // the least normal float32
const LARGEST = (2 - 2 ** -23) * 2 ** 127;
const { fround } = Math;

/** @param {Sampling} sampling */
export function checkSampling({ temperature, topK, topP, ...others }) {
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw new InputError(`expected a temperature of at least 0, got ${temperature}`);
  }
  if (!(Number.isInteger(topK) && topK >= 0)) {
    throw new InputError(`expected top_k as a whole number of at least 0, got ${topK}`);
  }
  if (!(topP > 0 && topP <= 1)) {
    throw new InputError(`expected top_p above 0 and at most 1, got ${topP}`);
  }
  const { minP = 0, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = others;
  if (!(minP >= 0 && minP <= 1)) throw new InputError(`expected min_p from 0 to 1, got ${minP}`);
  if (!(repetitionPenalty > 0 && repetitionPenalty < Infinity)) {
    throw new InputError(`expected a repetition_penalty above 0, got ${repetitionPenalty}`);
  }
  for (const [name, penalty] of Object.entries({ presence_penalty: presencePenalty, frequency_penalty: frequencyPenalty })) {
    if (!Number.isFinite(penalty)) throw new InputError(`expected a finite ${name}, got ${penalty}`);
  }
}

/** The id of the largest logit; the lowest id among equals. @param {Float32Array} logits */
export function greedy(logits) {
  let best = 0;
  for (let id = 1; id < logits.length; id++) {
    // Nothing is larger than NaN, so that one NaN stays the best until the end.
    if (logits[id] > logits[best] || Number.isNaN(logits[id])) best = id;
  }
  if (!Number.isFinite(logits[best])) {
    throw new NumericsError(`expected finite logits, got a largest value of ${logits[best]}`);
  }
  return best;
}

/**
 * The logits with penalties, a new array if there are any: first the repetition penalty divides those of all tokens
 * before, or multiplies them below 0; then the tokens of the new text lose the others.
 * @param {Float32Array} logits @param {Sampling} sampling
 * @param {number[]} promptIds @param {number[]} newIds
 */
export function adjusted(logits, sampling, promptIds, newIds) {
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = sampling;
  if (repetitionPenalty === 1 && !presencePenalty && !frequencyPenalty) return logits;
  const result = Float32Array.from(logits);
  const penalty = fround(repetitionPenalty);
  for (const id of new Set([...promptIds, ...newIds])) {
    result[id] = result[id] < 0 ? result[id] * penalty : result[id] / penalty;
  }
  for (const id of new Set(newIds)) {
    const times = newIds.filter((other) => other === id).length;
    result[id] -= fround(presencePenalty);
    result[id] -= fround(fround(frequencyPenalty) * times);
  }
  return result;
}

/**
 * The exact distribution that `sample` draws from: 0 for every token that was cut.
 * @param {Float32Array} logits @param {Sampling} sampling
 */
export function probabilities(logits, sampling) {
  checkSampling(sampling);
  const best = greedy(logits);
  const kept = new Float32Array(logits.length);
  if (sampling.temperature === 0) {
    kept[best] = 1;
    return kept;
  }
  const temperature = fround(Math.min(Math.max(sampling.temperature, SMALLEST), LARGEST));
  // Subtracting first keeps a tiny temperature from overflowing to ∞ - ∞.
  const scaled = logits.map((logit) => fround(logit - logits[best]) / temperature);
  const ids = candidates(scaled, sampling);
  let p = normalised(ids.map((id) => fround(Math.exp(scaled[id]))));
  if (sampling.topP < 1) {
    let reached = 0;
    const count = p.findIndex((probability) => {
      reached = fround(reached + probability);
      return fround(reached - probability) >= fround(Math.max(sampling.topP, SMALLEST));
    });
    p = count < 0 ? p : p.slice(0, count);
  }
  if (sampling.minP) {
    const line = fround(fround(sampling.minP) * p[0]);
    p = p.filter((probability) => probability >= line); // sorted: the unlikely are last
  }
  if (sampling.topP < 1 || sampling.minP) p = normalised(p);
  p.forEach((probability, i) => (kept[ids[i]] = probability));
  return kept;
}

/** Draw one token id. At temperature 0 the generator is not touched. @param {Float32Array} logits @param {Sampling} sampling @param {Random} random */
export function sample(logits, sampling, random) {
  if (sampling.temperature === 0) return greedy(logits);
  let end = 0;
  const cumulative = probabilities(logits, sampling).map((p) => (end = fround(end + p)));
  // Float32 sums end near 1, not at 1, so the draw is scaled to the end.
  const point = fround(random.float32() * end);
  const drawn = cumulative.findIndex((sum) => sum > point);
  // A draw rounded up to the very end means the last token that has a probability.
  return drawn >= 0 ? drawn : cumulative.indexOf(end);
}

/**
 * Ids of the `topK` largest values (all, if 0), largest first as far as top-p can reach: sorting
 * 50,000 values to keep a few would take longer than all the rest. The largest value is 0.
 * @param {Float32Array} scaled @param {Sampling} sampling
 */
function candidates(scaled, { topK, topP, minP = 0 }) {
  const all = Array.from(scaled, (_, id) => id);
  /** @param {number} a @param {number} b */
  const larger = (a, b) => scaled[b] - scaled[a] || a - b;
  if (topK > 0 && topK < all.length) {
    const line = scaled.slice().sort()[all.length - topK];
    return all.filter((id) => scaled[id] >= line).sort(larger).slice(0, topK);
  }
  if (topP === 1) return minP ? all.sort(larger) : all;
  // A probability is at most e^scaled. Tokens that stay below (1 - top_p) / count are so unlikely
  // that not even all of them together fill what top-p leaves out.
  const line = Math.log((1 - topP) / all.length);
  const likely = all.filter((id) => scaled[id] >= line).sort(larger);
  return likely.concat(all.filter((id) => !(scaled[id] >= line)));
}

/** @param {number[]} values */
function normalised(values) {
  const sum = fround(values.reduce((total, value) => total + value, 0));
  return values.map((value) => fround(value / sum));
}
