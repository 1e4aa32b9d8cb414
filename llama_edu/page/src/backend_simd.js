/**
 * The same products in WebAssembly SIMD (kernels.wat). Weights, keys and values lie in the memory
 * of the WebAssembly module; everything else is an ordinary array, copied in and out.
 */

import { KERNELS } from "./kernels_wasm.js";
import { BLOCK, BLOCK_BYTES, byteCount, float16, toFloat32 } from "./number_formats.js";
import { floats } from "./scratch.js";

/** @typedef {import("./backend_plain.js").Matrix} Matrix */
/** @typedef {import("./backend_plain.js").Backend} Backend */

/**
 * `width` is padded to `stride` numbers per row, with zeros.
 * @typedef {Matrix & { at: number, stride: number, format: string }} SimdMatrix
 */

const LANES = 16; // every row is padded to a multiple of this many numbers
const PAGE = 65536; // bytes; what WebAssembly memory is counted in
const PAGES = 512; // it grows by: every growth detaches all arrays, and has garbage collected

/** @typedef {(x: number, w: number, y: number, rows: number, n: number, width: number) => void} Kernel */

/** Whether this browser runs 128-bit SIMD: the module is not valid where it does not. */
export function hasSimd() {
  return typeof WebAssembly === "object" && WebAssembly.validate(decodeBase64(KERNELS));
}

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
export function decodeBase64(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** @implements {Backend} */
export class SimdBackend {
  name = "WebAssembly SIMD";

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 1 });
    const module = new WebAssembly.Module(decodeBase64(KERNELS));
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.memory } });
    this.kernels = /** @type {Record<string, Kernel>} */ (/** @type {unknown} */ (exports));
    this.halves = /** @type {WebAssembly.Global<"i32">} */ (exports.halves);
    this.end = LANES * 4; // no matrix at address 0
    this.bytes = new Uint8Array(this.memory.buffer);
    this.floats = new Float32Array(this.memory.buffer);
    /** Released pieces of memory, by size. @type {Map<number, number[]>} */
    this.free = new Map();
    /** Where x and y are copied, and how many bytes fit there. */
    this.input = { at: 0, size: 0 };
    this.output = { at: 0, size: 0 };
  }

  /** @param {number} rows @param {number} width @returns {SimdMatrix} */
  zeros(rows, width) {
    const stride = padded(width);
    const at = this.allocate(rows * stride * 4);
    this.floats.fill(0, at >>> 2, (at >>> 2) + rows * stride);
    return { rows, width, stride, at, format: "F32" };
  }

  /**
   * @param {number} rows @param {number} width @param {string} format @param {Uint8Array} bytes
   * @returns {SimdMatrix}
   */
  load(rows, width, format, bytes) {
    const isBlocks = format in BLOCK_BYTES && width % BLOCK === 0;
    if (!isBlocks && format !== "F32" && format !== "BF16") {
      return this.load(rows, width, "F32", bytesOf(toFloat32(bytes, format)));
    }
    if (isBlocks) this.useHalves();
    const stride = padded(width);
    const [stored, kept] = [byteCount(format, width), byteCount(format, stride)];
    const at = this.allocate(rows * kept);
    if (stride === width) {
      this.bytes.set(bytes, at);
    } else {
      this.bytes.fill(0, at, at + rows * kept);
      for (let row = 0; row < rows; row++) {
        this.bytes.set(bytes.subarray(row * stored, (row + 1) * stored), at + row * kept);
      }
    }
    return { rows, width, stride, at, format };
  }

  /** @param {Matrix} matrix @param {number} from @param {Float32Array} values */
  write(matrix, from, values) {
    const { width, stride, at } = simd(matrix);
    for (let done = 0, row = from; done < values.length; done += width, row++) {
      this.floats.set(values.subarray(done, done + width), (at >>> 2) + row * stride);
    }
  }

  /** @param {Matrix} matrix @param {number} from @param {number} count */
  read(matrix, from, count) {
    const { width, stride, at, format } = simd(matrix);
    const rows = new Float32Array(count * width);
    for (let row = 0; row < count; row++) {
      const start = at + (from + row) * byteCount(format, stride);
      const stored = this.bytes.subarray(start, start + byteCount(format, width));
      rows.set(toFloat32(stored, format), row * width);
    }
    return rows;
  }

  /** @param {Matrix} matrix */
  release(matrix) {
    const { rows, stride, at, format } = simd(matrix);
    const size = rounded(rows * byteCount(format, stride));
    this.free.set(size, [...(this.free.get(size) ?? []), at]);
  }

  /** @param {Float32Array} x @param {Matrix} w */
  linear(x, w, rows = w.rows) {
    const { width, stride, at, format } = simd(w);
    const count = x.length / width;
    const [from, to] = this.reserve(count * stride, count * rows);
    this.copyIn(x, from, width, stride);
    this.kernels[`linear_${format}`](from, at, to, count, rows, stride);
    return copied(this.floats, to, count * rows);
  }

  /** @param {Float32Array} weights @param {Matrix} v @param {number} count */
  mix(weights, v, count) {
    const { width, stride, at } = simd(v);
    const rows = weights.length / count;
    const [from, to] = this.reserve(weights.length, rows * stride);
    this.floats.set(weights, from >>> 2);
    this.kernels.mix(from, at, to, rows, count, stride);
    if (stride === width) return copied(this.floats, to, rows * width);
    const y = floats(rows * width);
    for (let i = 0; i < rows; i++) {
      const start = (to >>> 2) + i * stride;
      y.set(this.floats.subarray(start, start + width), i * width);
    }
    return y;
  }

  /** Write the table of float16 values that the kernels for blocks look their scales up in. */
  useHalves() {
    if (this.halves.value) return;
    const at = this.allocate(4 * 65536);
    for (let bits = 0; bits < 65536; bits++) this.floats[(at >>> 2) + bits] = float16(bits);
    this.halves.value = at;
  }

  /**
   * Rows of x, each padded with zeros.
   * @param {Float32Array} x @param {number} to @param {number} width @param {number} stride
   */
  copyIn(x, to, width, stride) {
    const start = to >>> 2;
    if (stride === width) {
      this.floats.set(x, start);
      return;
    }
    const rows = x.length / width;
    this.floats.fill(0, start, start + rows * stride);
    for (let i = 0; i < rows; i++) {
      this.floats.set(x.subarray(i * width, (i + 1) * width), start + i * stride);
    }
  }

  /**
   * Room for so many float32 numbers of input and of output; returns their addresses.
   * @param {number} inputs @param {number} outputs
   */
  reserve(inputs, outputs) {
    if (inputs * 4 > this.input.size) this.input = this.room(inputs * 4);
    if (outputs * 4 > this.output.size) this.output = this.room(outputs * 4);
    return [this.input.at, this.output.at];
  }

  /** @param {number} bytes */
  room(bytes) {
    const size = 2 ** Math.ceil(Math.log2(bytes)); // doubled, so that it is rarely asked for again
    return { at: this.allocate(size), size };
  }

  /** @param {number} bytes @returns {number} the address of a piece of that size */
  allocate(bytes) {
    const size = rounded(bytes);
    const reused = this.free.get(size)?.pop();
    if (reused !== undefined) return reused;
    const at = this.end;
    this.end += size;
    const missing = this.end - this.memory.buffer.byteLength;
    if (missing > 0) {
      this.memory.grow(Math.max(PAGES, Math.ceil(missing / PAGE)));
      // Growing moves the memory: arrays over the old place are empty now.
      this.bytes = new Uint8Array(this.memory.buffer);
      this.floats = new Float32Array(this.memory.buffer);
    }
    return at;
  }
}

/** A copy of numbers in memory. @param {Float32Array} memory @param {number} at @param {number} count */
function copied(memory, at, count) {
  const y = floats(count);
  y.set(memory.subarray(at >>> 2, (at >>> 2) + count));
  return y;
}

/** @param {number} width */
function padded(width) {
  return Math.ceil(width / LANES) * LANES;
}

/** @param {number} bytes */
function rounded(bytes) {
  return Math.ceil(bytes / 64) * 64;
}

/** @param {Float32Array} array */
function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** @param {Matrix} matrix */
function simd(matrix) {
  return /** @type {SimdMatrix} */ (matrix);
}
