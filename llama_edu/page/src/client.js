/** The page's side of the worker: a model that answers with promises. */

/** @typedef {import("./worker.js").ModelFiles} ModelFiles */
/** @typedef {import("./config.js").LlamaConfig} LlamaConfig */
/** @typedef {import("./trace.js").TraceRecord} TraceRecord */
/** @typedef {import("./switches.js").Switches} Switches */
/** @typedef {import("./sampling.js").Sampling} Sampling */

/** @typedef {{ id: number, text: string, isWhole: boolean, isSpecial: boolean }} Piece */
/** @typedef {{ resolve: (value: any) => void, reject: (error: Error) => void, onPart?: (part: any) => void }} Waiting */
/** @typedef {{ promise: Promise<any>, stop: () => void }} Running */

export class RemoteModel {
  /** @type {Map<number, Waiting>} */
  waiting = new Map();
  nextId = 1;
  /** @type {{ config: LlamaConfig, backend: string, hasTemplate: boolean } | null} */
  loaded = null;
  name = "";

  constructor() {
    // A page opened from a file may not start a worker from a file, but from text it may. The
    // bundle is one function, so its own text is the worker's script.
    const bundle = /** @type {any} */ (globalThis).llamaEduBundle;
    const script = `(${bundle})().serve(self)`;
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    this.worker = new Worker(address);
    URL.revokeObjectURL(address);
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message));
      this.waiting.clear();
    };
  }

  /** @param {{ id: number, part?: any, value?: any, error?: { name: string, message: string } }} answer */
  receive({ id, part, value, error }) {
    const waiting = this.waiting.get(id);
    if (!waiting) return;
    if (part !== undefined) {
      waiting.onPart?.(part);
      return;
    }
    this.waiting.delete(id);
    if (error) waiting.reject(Object.assign(new Error(error.message), { name: error.name }));
    else waiting.resolve(value);
  }

  /**
   * Ask, and hear what comes on the way; `stop` ends what runs at its next breath.
   * @param {string} op @param {object} request @param {(part: any) => void} [onPart]
   * @returns {Running}
   */
  run(op, request, onPart) {
    const id = this.nextId++;
    const promise = new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, onPart });
      this.worker.postMessage({ id, op, request });
    });
    return { promise, stop: () => this.worker.postMessage({ op: "stop", request: { which: id } }) };
  }

  /** @param {string} op @param {object} request @returns {Promise<any>} */
  ask(op, request) {
    return this.run(op, request).promise;
  }

  /** @param {ModelFiles} files @param {(done: number) => void} [report] */
  async load(files, report) {
    const onPart = (/** @type {{ done: number }} */ { done }) => report?.(done);
    this.loaded = await this.run("load", files, onPart).promise;
    this.name = files.name;
    return this;
  }

  /** @param {string} text @returns {Promise<{ ids: number[], pieces: Piece[] }>} */
  encode(text) {
    return this.ask("encode", { text });
  }

  /** @param {number[]} ids @param {{ names?: string[], off?: Switches }} [options] @returns {Promise<TraceRecord[]>} */
  trace(ids, options = {}) {
    return this.ask("trace", { ids, ...options });
  }

  /** @param {object} request @param {(part: { token: number | null, text: string }) => void} onPart */
  generate(request, onPart) {
    return this.run("generate", request, onPart);
  }

  end() {
    this.worker.terminate();
  }
}
