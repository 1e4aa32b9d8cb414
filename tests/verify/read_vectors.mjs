// An independent reader of the test vectors: Node alone, written after docs/vectors.md.
//
//     node read_vectors.mjs VECTORS ENGINE [ARGUMENT …]
//
// It checks every hash, then drives an engine that speaks protocol 1 through all calls, in order,
// and prints what it compared as JSON.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [folder, command, ...rest] = process.argv.slice(2);
const json = (path) => JSON.parse(readFileSync(join(folder, path), "utf8"));

function tensors(path) {
  const bytes = readFileSync(join(folder, path));
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length));
  const found = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (entry.dtype !== "F32") throw new Error(`${name}: expected F32, got ${entry.dtype}`);
    const [start, end] = entry.data_offsets.map((offset) => offset + 8 + length);
    found[name] = Array.from({ length: (end - start) / 4 }, (_, i) => bytes.readFloatLE(start + 4 * i));
  }
  return found;
}

class Engine {
  constructor(model) {
    this.process = spawn(command, [...rest, join(folder, model)], { stdio: ["pipe", "pipe", "inherit"] });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }
  async ask(request) {
    this.process.stdin.write(JSON.stringify(request) + "\n");
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`no answer to ${request.op}`);
    return JSON.parse(value);
  }
  end() {
    this.process.stdin.end();
  }
}

const manifest = json("manifest.json");
if (manifest.format !== 1) throw new Error(`expected format 1, got ${manifest.format}`);
const told = { hashes: 0, calls: 0, wrong: [], refused: [], texts: 0, sampling: 0, flags: {} };

for (const [path, wanted] of Object.entries(manifest.sha256)) {
  const hash = createHash("sha256").update(readFileSync(join(folder, path))).digest("hex");
  if (hash !== wanted) told.wrong.push(`hash of ${path}`);
  told.hashes += 1;
}

const gap = (a, b) => (a.length !== b.length ? Infinity : Math.max(...a.map((x, i) => Math.abs(x - b[i]))));

for (const { name, vectors } of manifest.models) {
  const { model, calls, logits, may_refuse: mayRefuse } = json(vectors);
  const wanted = tensors(logits);
  const engine = new Engine(model);
  for (const { case: label, ids, past, tolerance, flags } of calls) {
    const answer = await engine.ask({ op: "forward", ids, past });
    if (answer.error && mayRefuse.length) {
      told.refused.push(name);
      break;
    }
    if (!(answer.logits && gap(answer.logits, wanted[label]) <= tolerance)) told.wrong.push(`${name}: ${label}`);
    for (const flag of flags) told.flags[flag] = (told.flags[flag] ?? 0) + 1;
    told.calls += 1;
  }
  engine.end();
}

const equal = (a, b) => JSON.stringify(a) === JSON.stringify(b);
for (const path of manifest.texts) {
  const { model, encode, decode } = json(path);
  const engine = new Engine(model);
  for (const { case: label, text, allowed } of encode) {
    const { ids } = await engine.ask({ op: "encode", text });
    if (!allowed.some((right) => equal(right, ids))) told.wrong.push(`encode ${label}`);
    told.texts += 1;
  }
  for (const { case: label, ids, allowed } of decode) {
    const { text } = await engine.ask({ op: "decode", ids });
    if (!allowed.includes(text)) told.wrong.push(`decode ${label}`);
    told.texts += 1;
  }
  engine.end();
}

const sampling = json(manifest.sampling);
const engine = new Engine(json(manifest.models[0].vectors).model);
for (const { case: label, allowed, ...settings } of sampling.cases) {
  const { probabilities } = await engine.ask({ op: "probabilities", ...settings });
  const nearest = Math.min(...allowed.map((right) => gap(right, probabilities)));
  if (!(nearest <= sampling.tolerance)) told.wrong.push(`sampling ${label}`);
  told.sampling += 1;
}
engine.end();
console.log(JSON.stringify(told));
