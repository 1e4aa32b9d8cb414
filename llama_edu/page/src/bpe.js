/**
 * Byte-pair encoding: the letters of a word are merged, the pair that was learned first before all
 * others, until no two neighbours are a known pair. Source: Sennrich et al. 2016, arXiv:1508.07909.
 */

import { BYTE_NAMES, utf8 } from "./byte_letters.js";
import { TokenizerError, short } from "./errors.js";
import { isObject } from "./strict_json.js";

/** @typedef {import("./strict_json.js").JsonObject} JsonObject */

const CACHE_WORDS = 10000;

export class BytePairEncoding {
  /** @param {JsonObject} model @param {string} source names the file in messages */
  constructor(model, source) {
    if (!isObject(model.vocab) || !Array.isArray(model.merges)) {
      throw new TokenizerError(`${source}: expected a vocab and merges, got ${short(model)}`);
    }
    for (const name of ["continuing_subword_prefix", "end_of_word_suffix", "dropout"]) {
      if (model[name]) {
        throw new TokenizerError(`${source}: expected no ${name}, got ${short(model[name])}`);
      }
    }
    /** @type {Map<string, number>} */
    this.idOf = new Map(/** @type {[string, number][]} */ (Object.entries(model.vocab)));
    this.byteFallback = Boolean(model.byte_fallback);
    this.ignoreMerges = Boolean(model.ignore_merges);
    this.fusesUnknown = Boolean(model.fuse_unk);
    const unknown = typeof model.unk_token === "string" ? this.idOf.get(model.unk_token) : undefined;
    this.unknownId = unknown ?? null;
    /** The rank of each pair of neighbours, and what they become. @type {Map<string, { rank: number, id: number }>} */
    this.merges = new Map();
    for (const [rank, entry] of model.merges.entries()) {
      const [left, right] = Array.isArray(entry) ? entry : String(entry).split(" ");
      const pair = `${this.idOf.get(left)} ${this.idOf.get(right)}`;
      const id = this.idOf.get(left + right);
      if (id === undefined || pair.includes("undefined")) {
        throw new TokenizerError(`${source}: expected merges of known tokens, got ${short(entry)}`);
      }
      this.merges.set(pair, { rank, id });
    }
    /** @type {Map<string, number[]>} */
    this.cache = new Map();
  }

  /** The ids of one word. @param {string} word */
  encode(word) {
    const known = this.ignoreMerges ? this.idOf.get(word) : undefined;
    if (known !== undefined) return [known];
    let ids = this.cache.get(word);
    if (!ids) {
      ids = this.merged(this.letters(word));
      if (this.cache.size >= CACHE_WORDS) this.cache.clear();
      if (word.length < 64) this.cache.set(word, ids);
    }
    return ids;
  }

  /** The id of every letter, or of the bytes of one the vocabulary lacks. @param {string} word */
  letters(word) {
    /** @type {number[]} */
    const ids = [];
    let lastWasUnknown = false;
    for (const letter of word) {
      const id = this.idOf.get(letter);
      const bytes = id === undefined && this.byteFallback ? this.bytes(letter) : null;
      const isUnknown = id === undefined && bytes === null;
      if (id !== undefined) ids.push(id);
      else if (bytes) ids.push(...bytes);
      else if (this.unknownId !== null && !(lastWasUnknown && this.fusesUnknown)) {
        ids.push(this.unknownId);
      }
      lastWasUnknown = isUnknown;
    }
    return ids;
  }

  /** @param {string} letter */
  bytes(letter) {
    const ids = Array.from(utf8(letter), (byte) => this.idOf.get(BYTE_NAMES[byte]));
    return ids.includes(undefined) ? null : /** @type {number[]} */ (ids);
  }

  /**
   * The ids of a word after each merge, from its letters on; which of them was merged, and the rank
   * of the merge.
   * @param {string} word
   */
  history(word) {
    const ids = this.letters(word);
    /** @type {{ ids: number[], at: number, rank: number }[]} */
    const steps = [{ ids: [...ids], at: -1, rank: -1 }];
    this.merged(ids, (at, rank) => steps.push({ ids: [...ids], at, rank }));
    return steps;
  }

  /** Merge in place. @param {number[]} ids @param {(at: number, rank: number) => void} [onMerge] */
  merged(ids, onMerge = () => {}) {
    /** @param {number} i */
    const mergeAt = (i) => this.merges.get(`${ids[i]} ${ids[i + 1]}`);
    const ranks = ids.map((_, i) => mergeAt(i)?.rank ?? Infinity);
    for (;;) {
      let best = 0;
      for (let i = 1; i < ids.length; i++) if (ranks[i] < ranks[best]) best = i;
      const merge = ranks[best] < Infinity ? mergeAt(best) : undefined;
      if (!merge) return ids;
      ids.splice(best, 2, merge.id);
      ranks.splice(best, 1);
      if (best > 0) ranks[best - 1] = mergeAt(best - 1)?.rank ?? Infinity;
      ranks[best] = mergeAt(best)?.rank ?? Infinity;
      onMerge(best, merge.rank);
    }
  }
}
