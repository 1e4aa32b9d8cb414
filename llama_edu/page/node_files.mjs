/** A model directory, read in Node: the files the engine asks for. */

import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  CheckpointError, TokenizerError, openGguf, openSafetensors, parseObject,
} from "./src/engine.js"; // prettier-ignore

/** @param {string} path @returns {Promise<Uint8Array | null>} */
async function bytesOrNull(path) {
  try {
    return await readFile(path);
  } catch (problem) {
    if (/** @type {NodeJS.ErrnoException} */ (problem).code === "ENOENT") return null;
    throw problem;
  }
}

/**
 * The parsed JSON files of a directory, by what they are for; those that are absent are undefined.
 * @param {string} directory
 */
async function readSettings(directory) {
  /** @param {string} name */
  const parsed = async (name) => {
    const bytes = await bytesOrNull(join(directory, name));
    return bytes ? parseObject(bytes, name, TokenizerError) : undefined;
  };
  const template = await bytesOrNull(join(directory, "chat_template.jinja"));
  return {
    config: await parsed("config.json"),
    generation: await parsed("generation_config.json"),
    settings: await parsed("tokenizer_config.json"),
    tokenizer: await parsed("tokenizer.json"),
    template: template ? new TextDecoder().decode(template) : undefined,
  };
}

/** @param {string} path @returns {Promise<import("./src/safetensors.js").Source>} */
async function diskSource(path) {
  const { size } = await stat(path);
  return {
    name: path,
    size,
    async read(start, end) {
      const buffer = new Uint8Array(end - start);
      const file = await open(path);
      try {
        await file.read(buffer, 0, end - start, start);
      } finally {
        await file.close();
      }
      return buffer;
    },
  };
}

/**
 * A model directory, or a GGUF file: its documents and its checkpoint.
 * @param {string} path
 */
export async function openModel(path) {
  if (path.endsWith(".gguf")) return openGguf(await diskSource(path));
  return { ...(await readSettings(path)), checkpoint: await openCheckpoint(path) };
}

/**
 * One `model.safetensors`, or the shards an index lists.
 * @param {string} directory
 * @returns {Promise<import("./src/weights.js").Checkpoint>}
 */
async function openCheckpoint(directory) {
  const index = await bytesOrNull(join(directory, "model.safetensors.index.json"));
  if (!index) return openSafetensors(await diskSource(join(directory, "model.safetensors")));
  const { weight_map: map } = parseObject(index, "index", CheckpointError);
  const names = new Set(/** @type {string[]} */ (Object.values(/** @type {object} */ (map))));
  /** @type {import("./src/weights.js").Checkpoint["tensors"]} */
  const tensors = new Map();
  const readers = new Map();
  for (const name of names) {
    const shard = await openSafetensors(await diskSource(join(directory, name)));
    for (const [tensor, entry] of shard.tensors) {
      tensors.set(tensor, entry);
      readers.set(tensor, shard);
    }
  }
  return { tensors, read: (name) => readers.get(name).read(name) };
}
