// An engine to be written: the protocol is here, the stages are yours (Node, nothing to install).
//
//     llama-edu verify --program "node engine.mjs"
//
// Name an op in OPS once it is written; until then the kit does not ask for it. The stages are the
// book's chapters: bytes (op `tensor`), forward, cache, tokens (`encode`, `decode`), sampling
// (`probabilities`).

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const OPS = []; // of "tensor", "forward", "encode", "decode", "probabilities"

class Engine {
  // Read the model. An exception ends the program, and its text is what the report shows.
  constructor(directory) {
    this.config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  }

  // Chapter 1: the shape of a tensor, and its numbers as float32, row after row.
  tensor(name) {
    throw new Error(`not written yet: ${name}`);
  }

  // Chapters 3 to 10: keep the first `past` cached positions, feed the ids, and give the logits
  // after the last one, as an array.
  forward(ids, past) {
    throw new Error("not written yet");
  }

  // Chapter 2: text to ids.
  encode(text) {
    throw new Error("not written yet");
  }

  // Chapter 2: ids to text; bytes that are no UTF-8 become U+FFFD.
  decode(ids) {
    throw new Error("not written yet");
  }

  // Chapter 11: temperature (0 is greedy), then top-k (0 is all), then top-p (1 is all).
  probabilities(logits, temperature, topK, topP) {
    throw new Error("not written yet");
  }

  answer(request) {
    switch (request.op) {
      case "hello":
        return { name: "my engine", protocol: 1, ops: OPS };
      case "tensor":
        return this.tensor(request.name); // { shape, values }
      case "forward": {
        const logits = Array.from(this.forward(request.ids, request.past ?? 0));
        if (!logits.every(Number.isFinite)) throw new Error("logits are not finite");
        return { logits };
      }
      case "encode":
        return { ids: this.encode(request.text) };
      case "decode":
        return { text: this.decode(request.ids) };
      case "probabilities": {
        const { logits, temperature, top_k: topK, top_p: topP } = request;
        return { probabilities: this.probabilities(logits, temperature, topK, topP) };
      }
      default:
        return { error: `no op called ${request.op}` };
    }
  }
}

const engine = new Engine(process.argv[2]);
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = engine.answer(JSON.parse(line));
  } catch (problem) {
    answer = { error: String(problem) }; // an answer to every request, whatever happens
  }
  process.stdout.write(JSON.stringify(answer) + "\n"); // standard output is for answers alone
}
