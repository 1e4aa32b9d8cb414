/**
 * NumPy's `default_rng(seed)`, number for number, so that a seed draws the same text here and in
 * Python: a PCG64 generator (O'Neill 2014, PCG, XSL-RR 128/64) whose state NumPy's SeedSequence
 * spreads from the seed (O'Neill 2015, "Developing a seed_seq alternative").
 */

import { InputError } from "./errors.js";

const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const MASK_128 = (1n << 128n) - 1n;
const MASK_64 = (1n << 64n) - 1n;
const POOL_SIZE = 4;

export class Random {
  /** @param {number | bigint} seed a whole number of at least 0 */
  constructor(seed) {
    if (!(typeof seed === "bigint" || Number.isSafeInteger(seed)) || seed < 0) {
      throw new InputError(`expected a seed as a whole number of at least 0, got ${seed}`);
    }
    const words = seedWords(BigInt(seed));
    const [high, low, incrementHigh, incrementLow] = words;
    this.increment = ((((incrementHigh << 64n) | incrementLow) << 1n) | 1n) & MASK_128;
    this.state = 0n;
    this.step();
    this.state = (this.state + ((high << 64n) | low)) & MASK_128;
    this.step();
    /** The upper half of the last 64 bits, which the next call takes. @type {number | null} */
    this.spare = null;
  }

  /** A float32 from 0 to just below 1, as `rng.random(dtype=np.float32)` draws it. */
  float32() {
    return (this.uint32() >>> 8) / 16777216;
  }

  uint32() {
    if (this.spare !== null) {
      const spare = this.spare;
      this.spare = null;
      return spare;
    }
    const bits = this.uint64();
    this.spare = Number(bits >> 32n);
    return Number(bits & 0xffffffffn);
  }

  uint64() {
    this.step();
    const turn = this.state >> 122n;
    const folded = ((this.state >> 64n) ^ this.state) & MASK_64;
    return ((folded >> turn) | (folded << (64n - turn))) & MASK_64;
  }

  step() {
    this.state = (this.state * MULTIPLIER + this.increment) & MASK_128;
  }
}

/** Four 64-bit words spread from a seed. @param {bigint} seed */
function seedWords(seed) {
  /** @type {number[]} */
  const entropy = [];
  for (let rest = seed; rest > 0n || !entropy.length; rest >>= 32n) {
    entropy.push(Number(rest & 0xffffffffn));
  }
  let constant = 0x43b0d7e5;
  /** @param {number} value */
  const hash = (value) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, 0x931e8875) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  /** @param {number} x @param {number} y */
  const mix = (x, y) => {
    const mixed = (Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)) >>> 0;
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const pool = Array.from({ length: POOL_SIZE }, (_, i) => hash(entropy[i] ?? 0));
  for (let from = 0; from < POOL_SIZE; from++) {
    for (let to = 0; to < POOL_SIZE; to++) {
      if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
    }
  }
  for (const word of entropy.slice(POOL_SIZE)) {
    for (let to = 0; to < POOL_SIZE; to++) pool[to] = mix(pool[to], hash(word));
  }
  let output = 0x8b51f9dd;
  const words = Array.from({ length: 8 }, (_, i) => {
    let value = (pool[i % POOL_SIZE] ^ output) >>> 0;
    output = Math.imul(output, 0x58f38ded) >>> 0;
    value = Math.imul(value, output) >>> 0;
    return BigInt((value ^ (value >>> 16)) >>> 0);
  });
  return [0, 2, 4, 6].map((i) => words[i] | (words[i + 1] << 32n));
}
