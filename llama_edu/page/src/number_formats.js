/** The number formats weights are stored in, by safetensors' names, and how each becomes float32. */

/** Bytes of one number of every whole-byte format that safetensors defines. */
/** @type {Readonly<Record<string, number>>} */
export const ITEM_BYTES = {
  F64: 8, F32: 4, F16: 2, BF16: 2,
  F8_E5M2: 1, F8_E5M2FNUZ: 1, F8_E4M3: 1, F8_E4M3FNUZ: 1, F8_E8M0: 1,
  I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1, C64: 8,
}; // prettier-ignore

/**
 * Widen stored bytes to float32: exact, but for F64, which is rounded.
 * @param {Uint8Array} bytes little-endian
 * @param {string} format F32, BF16, F16 or F64
 * @returns {Float32Array<ArrayBuffer>}
 */
export function toFloat32(bytes, format) {
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
