/**
 * The KV cache: keys and values of past positions, so that no token is computed twice. Keys are
 * kept after RoPE, and one per KV group, not one per query head.
 */

import { ContextError, InputError } from "./errors.js";

/** @typedef {import("./backend_plain.js").Backend} Backend */
/** @typedef {import("./backend_plain.js").Matrix} Matrix */
/** @typedef {import("./config.js").LlamaConfig} LlamaConfig */

const MIN_CAPACITY = 32; // positions; below that, growing costs more than it saves

export class KVCache {
  /** @param {LlamaConfig} config @param {Backend} backend @param {number} maxSeq */
  constructor(config, backend, maxSeq) {
    this.backend = backend;
    this.maxSeq = maxSeq;
    this.headDim = config.head_dim;
    this.length = 0;
    this.capacity = 0;
    const empty = () => Array.from({ length: config.num_key_value_heads }, () => null);
    const layers = { length: config.num_hidden_layers };
    /** keys[layer][kvHead] is a (capacity, head_dim) matrix. @type {(Matrix | null)[][]} */
    this.keys = Array.from(layers, empty);
    /** @type {(Matrix | null)[][]} */
    this.values = Array.from(layers, empty);
  }

  /** Raise unless `seq` more positions fit. @param {number} seq */
  checkRoom(seq) {
    if (this.length + seq > this.maxSeq) {
      throw new ContextError(
        `expected at most ${this.maxSeq} positions in this cache, ` +
          `got ${this.length} past + ${seq} new`,
      );
    }
  }

  /**
   * Write one layer's new rows, (n_kv_heads, seq, head_dim), behind the positions that count.
   * Only `advance`, called once after the last layer, makes them count.
   * @param {number} layer @param {Float32Array} k @param {Float32Array} v
   */
  append(layer, k, v) {
    const [keys, values] = [this.keys[layer], this.values[layer]];
    const size = k.length / keys.length;
    this.reserve(size / this.headDim);
    for (let head = 0; head < keys.length; head++) {
      const part = [head * size, (head + 1) * size];
      this.backend.write(held(keys[head]), this.length, k.subarray(...part));
      this.backend.write(held(values[head]), this.length, v.subarray(...part));
    }
  }

  /** One layer's keys and values, one matrix per KV head. @param {number} layer */
  layer(layer) {
    return { keys: this.keys[layer].map(held), values: this.values[layer].map(held) };
  }

  /** Make the `seq` positions that every layer has appended count. @param {number} seq */
  advance(seq) {
    this.checkRoom(seq);
    this.length += seq;
  }

  /** Forget every position from `length` on. @param {number} length */
  truncate(length) {
    if (!(Number.isInteger(length) && length >= 0 && length <= this.length)) {
      throw new InputError(`expected a length from 0 to ${this.length}, got ${length}`);
    }
    this.length = length;
  }

  /** Give the memory back. The cache is empty afterwards and can be filled again. */
  release() {
    for (const matrices of [...this.keys, ...this.values]) {
      for (const [head, matrix] of matrices.entries()) {
        if (matrix) this.backend.release(matrix);
        matrices[head] = null;
      }
    }
    this.length = this.capacity = 0;
  }

  /** Make room for `seq` more positions, at least doubling what there is. @param {number} seq */
  reserve(seq) {
    this.checkRoom(seq);
    const total = this.length + seq;
    if (total <= this.capacity) return;
    this.capacity = Math.min(this.maxSeq, Math.max(total, 2 * this.capacity, MIN_CAPACITY));
    for (const matrices of [...this.keys, ...this.values]) {
      for (const [head, old] of matrices.entries()) {
        const grown = this.backend.zeros(this.capacity, this.headDim);
        if (old) {
          this.backend.write(grown, 0, this.backend.read(old, 0, this.length));
          this.backend.release(old);
        }
        matrices[head] = grown;
      }
    }
  }
}

/** @param {Matrix | null} matrix @returns {Matrix} */
function held(matrix) {
  if (!matrix) throw new Error("expected a cache with rows, got an empty one");
  return matrix;
}
