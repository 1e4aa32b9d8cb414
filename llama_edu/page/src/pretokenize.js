/**
 * What happens to a text before its letters are merged: normalising, and cutting into words. Each
 * step of a `tokenizer.json` becomes a function; steps that no Llama uses are refused by name.
 */

import { BYTE_LETTERS, utf8 } from "./byte_letters.js";
import { TokenizerError, short } from "./errors.js";
import { isObject } from "./strict_json.js";

/** @typedef {import("./strict_json.js").JsonObject} JsonObject */
/** @typedef {(text: string) => string} Normalizer */
/** @typedef {(word: string, isFirst: boolean) => string[]} Splitter */

const GPT2 =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** @param {unknown} step @returns {Normalizer} */
export function normalizer(step) {
  if ((step ?? null) === null) return (text) => text;
  if (!isObject(step)) throw new TokenizerError(`expected a normalizer, got ${short(step)}`);
  switch (step.type) {
    case "Sequence": {
      const steps = /** @type {unknown[]} */ (step.normalizers).map(normalizer);
      return (text) => steps.reduce((done, next) => next(done), text);
    }
    case "Prepend":
      return (text) => (text ? `${step.prepend}${text}` : text);
    case "Replace": {
      const pattern = matcher(step.pattern);
      return (text) => text.replace(pattern, () => String(step.content));
    }
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD": {
      const form = step.type;
      return (text) => text.normalize(form);
    }
    default:
      throw new TokenizerError(`expected a known normalizer, got ${short(step.type)}`);
  }
}

/** @param {unknown} step @returns {Splitter} */
export function preTokenizer(step) {
  if ((step ?? null) === null) return (text) => [text];
  if (!isObject(step)) throw new TokenizerError(`expected a pre_tokenizer, got ${short(step)}`);
  switch (step.type) {
    case "Sequence": {
      const steps = /** @type {unknown[]} */ (step.pretokenizers).map(preTokenizer);
      return (text, isFirst) =>
        steps.reduce(
          (words, next) => words.flatMap((word, i) => next(word, isFirst && i === 0)),
          [text],
        );
    }
    case "ByteLevel": {
      const pattern = (step.use_regex ?? true) ? translated(GPT2) : null;
      return (text) => {
        const spaced = step.add_prefix_space && !text.startsWith(" ") ? ` ${text}` : text;
        const words = pattern ? isolated(spaced, pattern) : [spaced];
        return words.map((word) => Array.from(utf8(word), (byte) => BYTE_LETTERS[byte]).join(""));
      };
    }
    case "Digits": {
      const pattern = step.individual_digits ? /\p{N}/gu : /\p{N}+/gu;
      return (text) => isolated(text, pattern);
    }
    case "Split": {
      const pattern = matcher(step.pattern);
      const behavior = String(step.behavior).toLowerCase();
      if (behavior === "isolated") return (text) => isolated(text, pattern);
      // "Removed" and inverted: what lies between the matches goes, the matches stay.
      if (behavior === "removed" && step.invert) return (text) => text.match(pattern) ?? [];
      throw new TokenizerError(`expected Split to isolate its matches, got ${short(step.behavior)}`);
    }
    case "Metaspace":
      return metaspace(step);
    default:
      throw new TokenizerError(`expected a known pre_tokenizer, got ${short(step.type)}`);
  }
}

/** @param {JsonObject} step @returns {Splitter} */
function metaspace(step) {
  const mark = String(step.replacement ?? "▁");
  const scheme = step.prepend_scheme ?? (step.add_prefix_space === false ? "never" : "always");
  return (text, isFirst) => {
    const marked = text.replaceAll(" ", mark);
    const prepends = scheme === "always" || (scheme === "first" && isFirst);
    const whole = prepends && !marked.startsWith(mark) ? mark + marked : marked;
    if (step.split === false) return [whole];
    return whole.split(new RegExp(`(?=${mark})`, "u"));
  };
}

/** @param {unknown} pattern @returns {RegExp} */
function matcher(pattern) {
  if (isObject(pattern) && typeof pattern.Regex === "string") return translated(pattern.Regex);
  if (isObject(pattern) && typeof pattern.String === "string") {
    return new RegExp(escaped(pattern.String), "gu");
  }
  throw new TokenizerError(`expected a pattern of Regex or String, got ${short(pattern)}`);
}

/** A text as itself in a regular expression. @param {string} text */
export function escaped(text) {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

/**
 * A regular expression of the `tokenizers` library as one of JavaScript's. Two things differ: what
 * counts as a blank, and letters of either case in one group, which are written out.
 * @param {string} source
 */
function translated(source) {
  const blanks = source.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}");
  const cased = blanks.replace(/\(\?i:([^()]*)\)/g, (_, inside) => {
    const letters = inside.replace(/[a-z]/gi, (/** @type {string} */ letter) => {
      // ſ and the Kelvin sign are s and k to a reader of Unicode.
      const also = { s: "ſ", k: "\u212a" }[letter.toLowerCase()] ?? "";
      return `[${letter.toLowerCase()}${letter.toUpperCase()}${also}]`;
    });
    return `(?:${letters})`;
  });
  try {
    return new RegExp(cased, "gu");
  } catch (problem) {
    throw new TokenizerError(`expected a regular expression this page can run, got ${problem}`);
  }
}

/** The matches and what lies between them, in order. @param {string} text @param {RegExp} pattern */
function isolated(text, pattern) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (!match[0]) continue;
    if (match.index > end) parts.push(text.slice(end, match.index));
    parts.push(match[0]);
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}
