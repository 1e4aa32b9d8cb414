/**
 * JSON from files we did not write, read strictly. `JSON.parse` keeps the last of two equal names,
 * rounds long whole numbers, turns 1e999 into infinity, and no longer knows whether a number was
 * written `2` or `2.0`. Each of those can hide a damaged file, so this reader tells them apart.
 */

import { LlamaEduError, short } from "./errors.js";

/** @typedef {{ [name: string]: unknown }} JsonObject */

const MAX_DEPTH = 900;
const TOKEN =
  /[ \t\n\r]*(?:([{}[\]:,])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?|(true|false|null))/y;

/** A number written with a fraction or an exponent, whose value happens to be whole: `2.0`. */
export class WholeFloat {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
  toJSON() {
    return `${this.value}.0`;
  }
}

/**
 * The number a parsed value stands for, or undefined if it is none.
 * @param {unknown} value
 * @returns {number | undefined}
 */
export function asNumber(value) {
  if (value instanceof WholeFloat) return value.value;
  if (typeof value === "bigint") return Number(value);
  return typeof value === "number" ? value : undefined;
}

/**
 * Parse UTF-8 JSON whose top level is an object. Whole numbers beyond 2**53 come as bigint, and
 * `2.0` as a `WholeFloat`.
 * @param {Uint8Array | string} data
 * @param {string} source names the file in messages
 * @param {new (message: string) => LlamaEduError} Refusal
 * @returns {JsonObject}
 */
export function parseObject(data, source, Refusal) {
  /** @param {string} problem @returns {never} */
  const refuse = (problem) => {
    throw new Refusal(`${source}: ${problem}`);
  };
  let text = "";
  try {
    text =
      typeof data === "string"
        ? data
        : new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    refuse("expected UTF-8 text");
  }
  TOKEN.lastIndex = 0;

  const next = () => {
    const start = TOKEN.lastIndex;
    return TOKEN.exec(text) ?? refuse(`expected JSON, got ${short(text.slice(start, start + 20))}`);
  };

  /** @param {RegExpExecArray} token @param {number} depth @returns {unknown} */
  const value = (token, depth) => {
    const [, sign, string, whole, fraction, exponent, word] = token;
    if (depth > MAX_DEPTH) refuse("expected JSON of sane depth, got it nested too deep");
    if (string !== undefined) return checkedString(string);
    if (word !== undefined) return word === "null" ? null : word === "true";
    if (whole !== undefined) return number(whole, fraction ?? "", exponent ?? "");
    if (sign === "{") return object(depth);
    if (sign === "[") return array(depth);
    return refuse(`expected JSON, got ${sign}`);
  };

  /** @param {string} quoted */
  const checkedString = (quoted) => {
    const parsed = /** @type {string} */ (JSON.parse(quoted));
    if (hasLoneSurrogate(parsed)) refuse("expected UTF-8 text, got half of a surrogate pair");
    return parsed;
  };

  /** @param {string} whole @param {string} fraction @param {string} exponent */
  const number = (whole, fraction, exponent) => {
    const parsed = Number(whole + fraction + exponent);
    const isFloat = fraction + exponent !== "";
    if (isFloat && !Number.isFinite(parsed)) {
      refuse(`expected plain JSON numbers, got ${(whole + fraction + exponent).slice(0, 80)}`);
    }
    if (isFloat) return Number.isInteger(parsed) ? new WholeFloat(parsed) : parsed;
    return Number.isSafeInteger(parsed) ? parsed : BigInt(whole);
  };

  /** @param {number} depth */
  const object = (depth) => {
    /** @type {JsonObject} */
    const found = Object.create(null);
    let token = next();
    if (token[1] === "}") return found;
    for (;;) {
      if (token[2] === undefined) refuse("expected a name in quotes");
      const name = checkedString(token[2]);
      if (name in found) refuse(`expected each name once, got ${short(name)} again`);
      if (next()[1] !== ":") refuse(`expected a colon after ${short(name)}`);
      found[name] = value(next(), depth + 1);
      token = next();
      if (token[1] === "}") return found;
      if (token[1] !== ",") refuse("expected a comma or a closing brace");
      token = next();
    }
  };

  /** @param {number} depth */
  const array = (depth) => {
    /** @type {unknown[]} */
    const found = [];
    let token = next();
    if (token[1] === "]") return found;
    for (;;) {
      found.push(value(token, depth + 1));
      token = next();
      if (token[1] === "]") return found;
      if (token[1] !== ",") refuse("expected a comma or a closing bracket");
      token = next();
    }
  };

  const parsed = value(next(), 0);
  if (/[^ \t\n\r]/.test(text.slice(TOKEN.lastIndex))) refuse("expected JSON to end after its value");
  if (!isObject(parsed)) return refuse(`expected a JSON object, got ${short(parsed)}`);
  return parsed;
}

/** @param {unknown} value @returns {value is JsonObject} */
export function isObject(value) {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof WholeFloat)
  );
}

/** @param {string} text */
export function hasLoneSurrogate(text) {
  return /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}
