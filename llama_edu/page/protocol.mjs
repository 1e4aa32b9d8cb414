/**
 * The page's engine behind protocol 1, so that `llama-edu verify --program` can test it.
 *
 *     node llama_edu/page/protocol.mjs DIRECTORY        (or a GGUF file)
 *
 * JSON lines on standard input and output, one answer to each request. LLAMA_EDU_BACKEND chooses
 * "simd" (the default) or "plain"; LLAMA_PLANTED plants one of the mistakes in mistakes.mjs.
 */

import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { mistakeNamed } from "./mistakes.mjs";
import { openModel } from "./node_files.mjs";
import {
  ConfigError, InputError, Llama, NumericsError, PlainBackend, SimdBackend, Tokenizer, Trace,
  encodeChat, readConfig, writeSafetensors,
} from "./src/engine.js"; // prettier-ignore

/** @typedef {Record<string, any>} Request */

/**
 * An engine on a model directory, or a GGUF file: what it answers to each request, errors included.
 * @param {string} directory @param {{ backend?: string, mistake?: string }} [settings]
 */
export async function openEngine(directory, { backend: backendName, mistake: planted = "" } = {}) {
  const mistake = mistakeNamed(planted);
  const files = await openModel(directory);
  if (!files.config) throw new ConfigError(`${directory}: expected a config.json, got none`);
  const config = mistake.config(readConfig(files.config, files.generation));
  const backend = backendName === "plain" ? new PlainBackend() : new SimdBackend();
  const loaded = await Llama.load(config, files.checkpoint, backend);
  const model = mistake.model(loaded.with(mistake.operators));
  const tokenizer =
    files.tokenizer && mistake.tokenizer(new Tokenizer({ ...files, tokenizer: files.tokenizer }));
  let cache = model.newCache();

  /** Keep the first `past` cached positions. @param {number} past */
  function keep(past = 0) {
    if (!(Number.isInteger(past) && past >= 0 && past <= cache.length)) {
      throw new InputError(`expected past from 0 to the ${cache.length} cached, got ${past}`);
    }
    cache = mistake.keep(model, cache, past);
  }

  function known() {
    if (!tokenizer) throw new InputError("expected a tokenizer.json in the directory, got none");
    return tokenizer;
  }

  /** @type {Record<string, (request: Request) => object | Promise<object>>} */
  const answers = {
    hello: () => ({
      name: `llama_edu page engine, ${backend.name}`,
      protocol: 1,
      ops: Object.keys(answers).filter((name) => name !== "hello"),
    }),
    forward({ ids, past }) {
      model.checkIds(ids);
      keep(past);
      const logits = mistake.forward(model, ids, cache);
      if (!logits.every(Number.isFinite)) throw new NumericsError("expected finite logits");
      return { logits: Array.from(logits) };
    },
    encode: ({ text, special = true }) => ({ ids: known().encode(text, { addSpecial: special }) }),
    decode: ({ ids }) => ({ text: known().decode(ids) }),
    probabilities({ logits, temperature = 1, top_k: topK = 0, top_p: topP = 1, min_p: minP = 0 }) {
      const numbers = Float32Array.from(logits, (/** @type {number | null} */ x) => x ?? NaN);
      const p = mistake.probabilities(numbers, { temperature, topK, topP, minP });
      return { probabilities: Array.from(p) };
    },
    trace({ ids, past }) {
      model.checkIds(ids);
      keep(past);
      const trace = new Trace();
      model.forward(ids, cache, { trace });
      const path = pathForTrace();
      writeFileSync(path, writeSafetensors(trace.steps[0].values()));
      return { path };
    },
    // Beyond the protocol's first version; `verify` asks for them where they are there.
    stream({ ids }) {
      const stream = known().stream();
      return { pieces: [...ids.map((/** @type {number} */ id) => stream.push(id)), stream.finish()] };
    },
    chat: ({ messages }) => ({ ids: encodeChat(known(), messages) }),
  };

  /** @param {Request} request @returns {Promise<object>} */
  return async function answer(request) {
    try {
      if (!Object.hasOwn(answers, request.op)) {
        throw new InputError(`expected an op of ${Object.keys(answers).join(", ")}, got ${request.op}`);
      }
      return await answers[request.op](request);
    } catch (problem) {
      const { name, message } = /** @type {Error} */ (problem);
      return { error: `${name}: ${message}` };
    }
  };
}

let traceFolder = "";
let tracesWritten = 0;

/** Where the next trace is written: in a folder that is gone when this process ends. */
function pathForTrace() {
  if (!traceFolder) {
    traceFolder = mkdtempSync(join(tmpdir(), "llama_edu-trace-"));
    process.on("exit", () => rmSync(traceFolder, { recursive: true, force: true }));
  }
  return join(traceFolder, `${++tracesWritten}.safetensors`);
}

async function main() {
  const [, , directory] = process.argv;
  if (!directory) {
    console.error("usage: node protocol.mjs DIRECTORY");
    process.exit(2);
  }
  const { LLAMA_EDU_BACKEND: backend, LLAMA_PLANTED: mistake } = process.env;
  const answer = await openEngine(directory, { backend, mistake });
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line.trim()) continue;
    /** @type {object} */
    let reply;
    try {
      reply = await answer(JSON.parse(line));
    } catch (problem) {
      reply = { error: String(problem) };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}

// The tests import this file and open many engines in one process.
if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await main();
