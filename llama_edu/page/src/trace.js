/**
 * Record the named arrays of a forward pass, under the names, axes and shapes of llama_edu's trace
 * in Python: `layers.0.self_attn.scores` and so on. A model without a trace records nothing.
 */

/**
 * One array, as it was when it was recorded: a copy.
 * @typedef {object} TraceRecord
 * @property {string} name
 * @property {string[]} axes
 * @property {number[]} shape
 * @property {Float32Array} data
 */

/** The records of one or more forward passes, in the order they were made. */
export class Trace {
  /** @type {Map<string, TraceRecord>[]} */
  steps = [];

  /**
   * Begin a forward pass whose axes have these sizes; returns its recorder.
   * @param {Record<string, number>} sizes
   * @returns {Recorder}
   */
  newStep(sizes) {
    const records = new Map();
    this.steps.push(records);
    return (name, axes, data) => {
      const names = axes.split(" ");
      const shape = names.map((axis) =>
        axis.split("*").reduce((product, part) => product * (sizes[part] ?? Number(part)), 1),
      );
      const expected = shape.reduce((product, size) => product * size, 1);
      if (data.length !== expected) {
        throw new Error(`${name}: expected ${axes} = ${shape}, got ${data.length} numbers`);
      }
      records.set(name, { name, axes: names, shape, data: data.slice() });
    };
  }

  /** The newest record of that name. @param {string} name */
  get(name) {
    for (const step of [...this.steps].reverse()) {
      const record = step.get(name);
      if (record) return record;
    }
    throw new Error(`expected a recorded name, got ${name}`);
  }
}

/** @typedef {(name: string, axes: string, data: Float32Array) => void} Recorder */

/** The recorder of a forward pass nobody watches. @type {Recorder} */
export const IGNORE = () => {};
