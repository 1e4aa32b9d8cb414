// One Node process for all tests of the page's engine: engines by key, and functions by name.
//
// JSON lines on standard input, one answer to each:
//   {open: KEY, directory, backend, mistake}   {close: KEY}   {key: KEY, request: {op, …}}
//   {call: NAME, with: …}                      one of the functions below

import { createInterface } from "node:readline";
import { openEngine } from "../../llama_edu/page/protocol.mjs";
import {
  CheckpointError, ConfigError, Random, adjusted, bytesSource, openSafetensors, parseObject, readConfig,
  sample,
} from "../../llama_edu/page/src/engine.js";
import { FLOAT_FORMATS, around, decoded, encoded } from "../../llama_edu/page/src/float_formats.js";

const shown = (x) => (Object.is(x, -0) ? "-0" : String(x));

const functions = {
  config: (text) => readConfig(parseObject(text, "config.json", ConfigError)),
  header: async (bytes) =>
    Object.fromEntries((await openSafetensors(bytesSource(Uint8Array.from(bytes)))).tensors),
  draws({ seed, logits, sampling }) {
    const plain = new Random(BigInt(seed));
    const numbers = Array.from({ length: 9 }, () => plain.float32());
    const random = new Random(BigInt(seed));
    const row = Float32Array.from(logits);
    return { numbers, ids: Array.from({ length: 50 }, () => sample(row, sampling, random)) };
  },
  adjusted: ({ logits, sampling, promptIds, newIds }) =>
    Array.from(adjusted(Float32Array.from(logits), sampling, promptIds, newIds)),
  floats: ({ codes, values }) =>
    FLOAT_FORMATS.map((format, i) => ({
      decoded: codes[i].map((code) => shown(decoded(format, code).value)),
      encoded: values.map((value) => encoded(format, Number(value))),
      around: around(format, encoded(format, 1)),
    })),
};

const engines = new Map();

async function reply({ open, close, call, key, request, requests, ...rest }) {
  if (open !== undefined) {
    engines.set(open, await openEngine(rest.directory, rest));
    return {};
  }
  if (close !== undefined) return { closed: engines.delete(close) };
  if (call !== undefined) return functions[call](rest.with);
  const answer = engines.get(key);
  if (!requests) return answer(request);
  const all = [];
  for (const one of requests) all.push(await answer(one)); // in their order: they share a cache
  return all;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await reply(JSON.parse(line));
  } catch ({ name, message }) {
    answer = { error: name, message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
