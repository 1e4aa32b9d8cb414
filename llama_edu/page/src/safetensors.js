/**
 * Read and write safetensors files: named tensors over raw bytes.
 *
 *     8 bytes     N, the length of the header, an unsigned little-endian integer
 *     N bytes     the header, JSON: {"name": {"dtype", "shape", "data_offsets": [start, end]}, …}
 *     the rest    the tensors' bytes, little-endian, row after row; offsets count from here
 *
 * Source: https://github.com/huggingface/safetensors#format
 */

import { CheckpointError, short } from "./errors.js";
import { ITEM_BYTES } from "./number_formats.js";
import { isObject, parseObject } from "./strict_json.js";

/** @typedef {import("./weights.js").Checkpoint} Checkpoint */

/**
 * Bytes that are read piece by piece: a file the reader picked, a file on disk, or an array.
 * @typedef {object} Source
 * @property {string} name
 * @property {number} size
 * @property {(start: number, end: number) => Promise<Uint8Array>} read
 */

/** @typedef {{ format: string, shape: number[], start: number, end: number }} Entry */

const LENGTH_BYTES = 8;
const MAX_HEADER_BYTES = 100_000_000; // the reference implementation's bound
const MAX_RANK = 64;

/** @param {Uint8Array} bytes @param {string} [name] @returns {Source} */
export function bytesSource(bytes, name = "these bytes") {
  return { name, size: bytes.length, read: async (start, end) => bytes.subarray(start, end) };
}

/** A file the reader picked. @param {File} file @returns {Source} */
export function fileSource(file) {
  return {
    name: file.name,
    size: file.size,
    read: async (start, end) => new Uint8Array(await file.slice(start, end).arrayBuffer()),
  };
}

/**
 * Read and check the header; the tensors' bytes are read when they are asked for.
 * @param {Source} source
 * @returns {Promise<Checkpoint>}
 */
export async function openSafetensors(source) {
  if (source.size < LENGTH_BYTES) {
    throw new CheckpointError(
      `${source.name}: expected at least 8 bytes (the header's length), got ${source.size}`,
    );
  }
  const first = await source.read(0, LENGTH_BYTES);
  const length = Number(new DataView(first.buffer, first.byteOffset).getBigUint64(0, true));
  const limit = Math.min(source.size - LENGTH_BYTES, MAX_HEADER_BYTES);
  if (!(length >= 2 && length <= limit)) {
    throw new CheckpointError(
      `${source.name}: expected a header of 2 to ${limit} bytes ` +
        `(the file has ${source.size}), got a length of ${length}`,
    );
  }
  const dataStart = LENGTH_BYTES + length;
  const header = await source.read(LENGTH_BYTES, dataStart);
  if (header[0] !== 0x7b) {
    throw new CheckpointError(`${source.name}: expected the header to start with {`);
  }
  const parsed = parseObject(header, `${source.name}: header`, CheckpointError);
  const tensors = checkedEntries(parsed, source.size - dataStart, source.name);
  return {
    tensors,
    read(name) {
      const { start, end } = /** @type {Entry} */ (tensors.get(name));
      return source.read(dataStart + start, dataStart + end);
    },
  };
}

/**
 * @param {import("./strict_json.js").JsonObject} header @param {number} dataBytes
 * @param {string} source
 * @returns {Map<string, Entry>}
 */
function checkedEntries(header, dataBytes, source) {
  const { __metadata__: metadata = {}, ...entries } = header;
  if (!isObject(metadata) || !Object.values(metadata).every((x) => typeof x === "string")) {
    throw refusal(source, "__metadata__ to map text to text", metadata);
  }
  /** @type {[string, Entry][]} */
  const found = Object.entries(entries).map(([name, entry]) => [
    name,
    checkedEntry(name, entry, source),
  ]);
  found.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  let end = 0;
  for (const [name, entry] of found) {
    if (entry.start !== end) {
      const fault = entry.start < end ? "overlapping the tensor before" : "leaving a hole";
      throw new CheckpointError(
        `${source}: ${short(name)}: expected data to start at byte ${end}, ` +
          `got ${entry.start}, ${fault}`,
      );
    }
    end = entry.end;
  }
  if (end !== dataBytes) {
    throw new CheckpointError(
      `${source}: expected ${end} bytes of tensors as the header says, got ${dataBytes}`,
    );
  }
  return new Map(found);
}

/** @param {string} name @param {unknown} entry @param {string} source @returns {Entry} */
function checkedEntry(name, entry, source) {
  const where = `${source}: ${short(name)}`;
  if (/[\p{C}\p{Z}]/u.test(name.replaceAll(" ", ""))) {
    throw refusal(where, "a printable tensor name", name);
  }
  // Other fields are other software's.
  if (!isObject(entry) || !["data_offsets", "dtype", "shape"].every((field) => field in entry)) {
    throw refusal(where, "dtype, shape and data_offsets", entry);
  }
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(ITEM_BYTES, dtype)) {
    throw refusal(where, `a dtype of ${Object.keys(ITEM_BYTES).join(", ")}`, dtype);
  }
  if (!areSizes(shape) || shape.length > MAX_RANK) {
    throw refusal(where, `a shape of at most ${MAX_RANK} sizes`, shape);
  }
  if (!areSizes(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    throw refusal(where, "data_offsets [start, end]", offsets);
  }
  const [start, end] = offsets;
  const bytes = shape.reduce((product, size) => product * size, ITEM_BYTES[dtype]);
  if (bytes !== end - start) {
    throw refusal(where, `${bytes} bytes for ${dtype} [${shape}]`, end - start);
  }
  return { format: dtype, shape, start, end };
}

/** @param {unknown} value @returns {value is number[]} */
function areSizes(value) {
  return Array.isArray(value) && value.every((x) => Number.isSafeInteger(x) && x >= 0);
}

/** @param {string} where @param {string} expected @param {unknown} got */
function refusal(where, expected, got) {
  return new CheckpointError(`${where}: expected ${expected}, got ${short(got)}`);
}

/**
 * Named float32 arrays as the bytes of one safetensors file.
 * @param {Iterable<{ name: string, shape: number[], data: Float32Array }>} tensors
 */
export function writeSafetensors(tensors) {
  /** @type {Record<string, object>} */
  const header = {};
  const arrays = [];
  let start = 0;
  for (const { name, shape, data } of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [start, start + data.byteLength] };
    arrays.push(data);
    start += data.byteLength;
  }
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (new TextEncoder().encode(text).length % 8)) % 8);
  const encoded = new TextEncoder().encode(text);
  const file = new Uint8Array(LENGTH_BYTES + encoded.length + start);
  new DataView(file.buffer).setBigUint64(0, BigInt(encoded.length), true);
  file.set(encoded, LENGTH_BYTES);
  let at = LENGTH_BYTES + encoded.length;
  for (const data of arrays) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}
