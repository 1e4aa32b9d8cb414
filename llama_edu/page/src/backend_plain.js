/**
 * Matrices and the two products of a Llama in plain JavaScript: what every browser can do, and
 * what the SIMD backend is compared with. Weights are widened to float32 as they are loaded.
 */

import { toFloat32 } from "./number_formats.js";

/**
 * A matrix held by a backend. What it is made of is the backend's own business.
 * @typedef {object} Matrix
 * @property {number} rows
 * @property {number} width numbers in a row
 */

/**
 * What a model needs of a backend.
 * @typedef {object} Backend
 * @property {string} name
 * @property {(rows: number, width: number) => Matrix} zeros a float32 matrix to write into
 * @property {(rows: number, width: number, format: string, bytes: Uint8Array) => Matrix} load
 * @property {(matrix: Matrix, from: number, values: Float32Array) => void} write whole rows
 * @property {(matrix: Matrix, from: number, count: number) => Float32Array<ArrayBuffer>} read
 *   a copy of whole rows, widened
 * @property {(matrix: Matrix) => void} release
 * @property {(x: Float32Array, w: Matrix, rows?: number) => Float32Array<ArrayBuffer>} linear
 *   x Wᵀ with the first `rows` rows of W, by default all
 * @property {(weights: Float32Array, v: Matrix, count: number) => Float32Array<ArrayBuffer>} mix
 *   weights · V with the first `count` rows of V
 */

/** @typedef {Matrix & { data: Float32Array<ArrayBuffer> }} PlainMatrix */

/** @implements {Backend} */
export class PlainBackend {
  name = "plain JavaScript";

  /** @param {number} rows @param {number} width @returns {PlainMatrix} */
  zeros(rows, width) {
    return { rows, width, data: new Float32Array(rows * width) };
  }

  /**
   * @param {number} rows @param {number} width @param {string} format @param {Uint8Array} bytes
   * @returns {PlainMatrix}
   */
  load(rows, width, format, bytes) {
    return { rows, width, data: toFloat32(bytes, format) };
  }

  /** @param {Matrix} matrix @param {number} from @param {Float32Array} values */
  write(matrix, from, values) {
    data(matrix).set(values, from * matrix.width);
  }

  /** @param {Matrix} matrix @param {number} from @param {number} count */
  read(matrix, from, count) {
    return data(matrix).slice(from * matrix.width, (from + count) * matrix.width);
  }

  /** @param {Matrix} _matrix */
  release(_matrix) {}

  /** @param {Float32Array} x @param {Matrix} w */
  linear(x, w, rows = w.rows) {
    const { width } = w;
    const weights = data(w);
    const count = x.length / width;
    const y = new Float32Array(count * rows);
    for (let i = 0; i < count; i++) {
      for (let o = 0; o < rows; o++) {
        let sum = 0;
        for (let j = 0; j < width; j++) sum += x[i * width + j] * weights[o * width + j];
        y[i * rows + o] = sum;
      }
    }
    return y;
  }

  /** @param {Float32Array} weights @param {Matrix} v @param {number} count */
  mix(weights, v, count) {
    const { width } = v;
    const values = data(v);
    const rows = weights.length / count;
    const y = new Float32Array(rows * width);
    for (let i = 0; i < rows; i++) {
      for (let t = 0; t < count; t++) {
        const weight = weights[i * count + t];
        for (let j = 0; j < width; j++) y[i * width + j] += weight * values[t * width + j];
      }
    }
    return y;
  }
}

/** @param {Matrix} matrix */
function data(matrix) {
  return /** @type {PlainMatrix} */ (matrix).data;
}
