/**
 * Memory for what a pass through the model computes on its way. A typed array by itself has memory
 * outside of JavaScript's heap, and a thousand of them for every token take about a twentieth of its
 * time. During a pass they are pieces of one block, which the next pass uses again.
 */

const LENGTH = 1 << 20; // numbers: a token of a model with some hundred million weights needs fewer

let block = new Float32Array(0);
let used = 0;
let isPassing = false;

/**
 * A new array, whose numbers may be anything. Within `duringPass` it is lost when the pass ends.
 * @param {number} length @returns {Float32Array<ArrayBuffer>}
 */
export function floats(length) {
  if (!isPassing || length > LENGTH) return new Float32Array(length);
  if (used + length > block.length) {
    block = new Float32Array(LENGTH); // the old one stays for as long as its pieces are in use
    used = 0;
  }
  used += length;
  return block.subarray(used - length, used);
}

/**
 * Run a pass. What it returns is copied out of the block, if it is a piece of it.
 * @param {() => Float32Array<ArrayBuffer>} pass
 */
export function duringPass(pass) {
  if (isPassing) return pass();
  isPassing = true;
  try {
    const result = pass();
    return result.length < result.buffer.byteLength / 4 ? result.slice() : result;
  } finally {
    isPassing = false;
    used = 0;
  }
}
