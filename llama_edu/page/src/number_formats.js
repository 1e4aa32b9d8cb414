/** The number formats weights are stored in, by safetensors' names, and how each becomes float32. */

/** Bytes of one number of every whole-byte format that safetensors defines. */
/** @type {Readonly<Record<string, number>>} */
export const ITEM_BYTES = {
  F64: 8, F32: 4, F16: 2, BF16: 2,
  F8_E5M2: 1, F8_E5M2FNUZ: 1, F8_E4M3: 1, F8_E4M3FNUZ: 1, F8_E8M0: 1,
  I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1, C64: 8,
}; // prettier-ignore

/** Weights in one block of GGUF's quantised formats, and the bytes such a block takes. */
export const BLOCK = 32;
/** @type {Readonly<Record<string, number>>} */
export const BLOCK_BYTES = { Q8_0: 34, Q4_1: 20 };

/** Bytes of so many numbers in a row. @param {string} format @param {number} count */
export function byteCount(format, count) {
  const block = BLOCK_BYTES[format];
  return block ? (count / BLOCK) * block : count * ITEM_BYTES[format];
}

/**
 * Widen stored bytes to float32: exact, but for F64, which is rounded.
 * @param {Uint8Array} bytes little-endian
 * @param {string} format F32, BF16, F16, F64, Q8_0 or Q4_1
 * @returns {Float32Array<ArrayBuffer>}
 */
export function toFloat32(bytes, format) {
  if (format in BLOCK_BYTES) return dequantised(bytes, format);
  const own = bytes.slice().buffer; // a copy begins at a whole word, wherever the file put it
  if (format === "F32") return new Float32Array(own);
  if (format === "F64") return Float32Array.from(new Float64Array(own));
  const halves = new Uint16Array(own);
  if (format === "BF16") {
    // A bfloat16 is the upper half of a float32.
    const words = Uint32Array.from(halves, (half) => half << 16);
    return new Float32Array(words.buffer);
  }
  return Float32Array.from(halves, float16);
}

/**
 * Blocks of 32 weights. Q8_0: a scale d, then 32 signed bytes q: d · q. Q4_1: d and a least value
 * m, then 16 bytes, lower halves first: d · q + m. (ggml, `block_q8_0` and `block_q4_1`)
 * @param {Uint8Array} bytes @param {string} format
 */
function dequantised(bytes, format) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = BLOCK_BYTES[format];
  const values = new Float32Array((bytes.length / size) * BLOCK);
  for (let at = 0, out = 0; at < bytes.length; at += size, out += BLOCK) {
    const d = float16(view.getUint16(at, true));
    if (format === "Q8_0") {
      for (let j = 0; j < BLOCK; j++) values[out + j] = d * view.getInt8(at + 2 + j);
      continue;
    }
    const m = float16(view.getUint16(at + 2, true));
    for (let j = 0; j < BLOCK / 2; j++) {
      const pair = bytes[at + 4 + j];
      values[out + j] = Math.fround(d * (pair & 15)) + m;
      values[out + j + BLOCK / 2] = Math.fround(d * (pair >> 4)) + m;
    }
  }
  return values;
}

/**
 * The value of a float16: sign, 5 bits of exponent, 10 bits of fraction.
 * @param {number} bits
 */
export function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
