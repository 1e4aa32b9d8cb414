/**
 * Text to token ids and back, with text that streams safely. Two families are read, as Llama
 * checkpoints use them: byte-level BPE, and SentencePiece with byte fallback. Decoding works on
 * bytes: a token may end in the middle of a character, whose bytes then wait for the rest.
 */

import { BytePairEncoding } from "./bpe.js";
import { BYTE_LETTERS, BYTE_NAMES, utf8 } from "./byte_letters.js";
import { TokenizerError, short } from "./errors.js";
import { escaped, normalizer, preTokenizer } from "./pretokenize.js";
import { hasLoneSurrogate, isObject } from "./strict_json.js";

/** @typedef {import("./strict_json.js").JsonObject} JsonObject */

/**
 * The parsed files of a model directory; only `tokenizer` is needed.
 * @typedef {object} TokenizerFiles
 * @property {JsonObject} tokenizer tokenizer.json
 * @property {JsonObject} [settings] tokenizer_config.json
 * @property {JsonObject} [generation] generation_config.json
 * @property {JsonObject} [config] config.json
 * @property {string} [template] chat_template.jinja
 */

/**
 * @typedef {object} AddedToken
 * @property {number} id
 * @property {string} content
 * @property {boolean} special
 * @property {boolean} normalized
 * @property {boolean} single_word
 * @property {boolean} lstrip
 * @property {boolean} rstrip
 */

/** A stretch of a text that one added token stands for, or one that is still to be encoded. */
/** @typedef {{ start: number, text: string, token: AddedToken | null }} Segment */

const SPACE = "▁"; // U+2581, how SentencePiece writes a space
const NAMED_TOKENS = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"];

export class Tokenizer {
  /** @param {TokenizerFiles} files */
  constructor(files) {
    const { tokenizer: rules, settings = {} } = files;
    const { model } = rules;
    if (!isObject(model)) throw new TokenizerError(`expected a model, got ${short(model)}`);
    const kind = model.type ?? ("merges" in model ? "BPE" : "unknown");
    if (kind !== "BPE") {
      throw new TokenizerError(`expected a byte-pair encoding (BPE), got ${short(kind)}`);
    }
    this.isByteLevel = isByteLevel(rules, model);
    this.bpe = new BytePairEncoding(model, "tokenizer.json");
    this.normalize = normalizer(rules.normalizer);
    this.split = preTokenizer(rules.pre_tokenizer);
    this.stripsSpace = !this.isByteLevel && stripsSpace(rules.decoder);
    this.unkToken = typeof model.unk_token === "string" ? model.unk_token : null;
    /** Texts of the tokens with a role, such as "eos_token". @type {Record<string, string>} */
    this.names = {};
    for (const role of NAMED_TOKENS) {
      const text = tokenText(settings[role]);
      if (text) this.names[role] = text;
    }
    const template = files.template ?? defaultTemplate(settings.chat_template);
    this.chatTemplate = typeof template === "string" ? template : null;

    /** @type {Map<string, number>} */
    this.vocab = new Map(this.bpe.idOf);
    const added = addedTokens(rules.added_tokens);
    for (const token of added) this.vocab.set(token.content, token.id);
    const roles = [files.generation, files.config];
    this.eosTokenIds = roleIds("eos", roles, settings, this.vocab);
    const bos = roleIds("bos", roles, settings, this.vocab);
    this.bosTokenId = bos[0] ?? null;
    /** @type {Map<number, AddedToken>} */
    this.added = withRoles(added, this.vocab, specialNames(this.names, settings), [
      ...bos,
      ...this.eosTokenIds,
    ]);
    this.around = around(rules.post_processor);

    /** @type {Map<number, string>} */
    this.textOf = new Map(Array.from(this.bpe.idOf, ([text, id]) => [id, text]));
    const ids = [...this.textOf.keys(), ...this.added.keys()];
    this.vocabSize = 1 + ids.reduce((largest, id) => Math.max(largest, id), -1);
    this.spelling = this.isByteLevel ? BYTE_LETTERS : BYTE_NAMES;
    this.byteOf = new Map(this.spelling.map((text, byte) => [text, byte]));
    const missing = this.spelling.flatMap((text, byte) => (this.vocab.has(text) ? [] : [byte]));
    this.missing = new Set(missing);
    if (!this.isByteLevel && missing.length) {
      throw new TokenizerError(
        `expected a byte token for each of the 256 bytes, got ${256 - missing.length}`,
      );
    }
  }

  /**
   * Text to ids. `addSpecial` adds the tokens the tokenizer puts around a text. `parseSpecial`
   * lets special tokens written in the text count as such; it is off for what a user types, where
   * `<|im_end|>` is ten characters and nothing more.
   * @param {string} text
   * @param {{ addSpecial?: boolean, parseSpecial?: boolean }} [options]
   * @returns {number[]}
   */
  encode(text, { addSpecial = true, parseSpecial = false } = {}) {
    this.checkEncodable(text);
    let ids = this.pieces(text, parseSpecial).map((piece) => piece.id);
    if (!parseSpecial) {
      // Merges of a vocabulary can happen to build "<s>" out of ordinary text.
      ids = ids.flatMap((id) => (this.added.get(id)?.special ? this.spellSpecial(id, text) : [id]));
    }
    return addSpecial ? [...this.around.before, ...ids, ...this.around.after] : ids;
  }

  /**
   * Ids and texts of the tokens that steer a conversation: the special ones, and any added token
   * that a chat template writes. None of them can be typed.
   * @param {string} template
   */
  controlTokens(template) {
    const steers = [...this.added.values()].filter(
      (token) => token.content.trim() && (token.special || template.includes(token.content)),
    );
    return new Map(steers.map((token) => [token.id, token.content]));
  }

  /**
   * Encode a rendered chat in which `typed[i]` is 1 if a person typed `text[i]`. Control tokens
   * count where the template wrote all of their text; where any of it was typed, the text is
   * spelled out in the tokens of its bytes.
   * @param {string} text @param {Uint8Array} typed @param {Map<number, string>} controls
   */
  encodeRendered(text, typed, controls) {
    this.checkEncodable(text);
    return this.pieces(text, true).flatMap(({ id, start, end }) => {
      const forged = controls.has(id) && typed.subarray(start, end).includes(1);
      return forged ? this.spell(text.slice(start, end)) : [id];
    });
  }

  /**
   * The ids of a text, each with where its characters begin and end.
   * @param {string} text @param {boolean} parseSpecial
   */
  pieces(text, parseSpecial) {
    return this.segments(text, parseSpecial).flatMap(({ start, text: part, token }) => {
      if (token) return [{ id: token.id, start, end: start + part.length }];
      const words = this.split(part, start === 0).filter((word) => word);
      const ids = words.flatMap((word) => this.bpe.encode(word));
      return this.located(ids, text, start);
    });
  }

  /** Where each id's bytes lie in the text. @param {number[]} ids @param {string} text @param {number} start */
  located(ids, text, start) {
    const lengths = ids.map((id) => this.tokenBytes(id).length);
    // A normalizer may have put a space in front, which is nowhere in the text.
    let extra = !this.isByteLevel && this.tokenBytes(ids[0] ?? 0)[0] === 0x20 && text[start] !== " ";
    let at = start;
    let owed = 0; // bytes of a character that the tokens before have not used up
    return ids.map((id, i) => {
      let bytes = lengths[i] - (extra ? 1 : 0);
      extra = false;
      const from = at;
      bytes -= owed;
      while (bytes > 0 && at < text.length) {
        const char = String.fromCodePoint(/** @type {number} */ (text.codePointAt(at)));
        bytes -= utf8(char).length;
        at += char.length;
      }
      owed = -bytes;
      return { id, start: from, end: at };
    });
  }

  /**
   * The text cut at its added tokens. As the `tokenizers` library does: first those that are
   * looked for in the text as it came, then those looked for in the normalised text.
   * @param {string} text @param {boolean} parseSpecial
   * @returns {Segment[]}
   */
  segments(text, parseSpecial) {
    const all = [...this.added.values()];
    /** @param {Segment} segment @param {AddedToken[]} tokens */
    const cut = (segment, tokens) =>
      segment.token ? [segment] : cutAt(segment, tokens, parseSpecial);
    const raw = all.filter((token) => !token.normalized);
    const late = all.filter((token) => token.normalized);
    return cut({ start: 0, text, token: null }, raw)
      .map((part) => (part.token ? part : { ...part, text: this.normalize(part.text) }))
      .flatMap((part) => cut(part, late))
      .filter((part) => part.text);
  }

  /**
   * Ids to text. Bytes that are no UTF-8 become U+FFFD, one for each malformed sequence.
   * @param {Iterable<number>} ids @param {{ skipSpecial?: boolean }} [options]
   */
  decode(ids, options = {}) {
    const stream = this.stream(options);
    return Array.from(ids, (id) => stream.push(id)).join("") + stream.finish();
  }

  /** A decoder to push ids into one by one. @param {{ skipSpecial?: boolean, continues?: boolean }} [options] */
  stream(options = {}) {
    return new TextStream(this, options);
  }

  /** The bytes one token stands for; not always whole characters. @param {number} id @returns {Uint8Array} */
  tokenBytes(id) {
    const added = this.added.get(id);
    if (added) return utf8(added.content);
    const token = this.textOf.get(id);
    if (token === undefined) {
      throw new TokenizerError(`expected a token id from 0 to ${this.vocabSize - 1}, got ${id}`);
    }
    if (!this.isByteLevel) {
      const byte = this.byteOf.get(token);
      return byte === undefined ? utf8(token.replaceAll(SPACE, " ")) : Uint8Array.of(byte);
    }
    const bytes = Array.from(token, (letter) => this.byteOf.get(letter));
    return bytes.includes(undefined) ? utf8(token) : Uint8Array.from(/** @type {number[]} */ (bytes));
  }

  /** @param {number} id */
  isSpecial(id) {
    return this.added.get(id)?.special ?? false;
  }

  /** @param {string} text */
  checkEncodable(text) {
    if (hasLoneSurrogate(text)) {
      throw new TokenizerError("expected whole characters, got half of a surrogate pair");
    }
    if (!this.isByteLevel || !this.missing.size) return;
    for (const char of text) {
      const byte = utf8(char).find((one) => this.missing.has(one));
      if (byte !== undefined) {
        throw new TokenizerError(
          `expected text the vocabulary has tokens for, got ${short(char)}: ` +
            `no token for its byte 0x${byte.toString(16).padStart(2, "0")}`,
        );
      }
    }
  }

  /** The ids of a special token's own text, byte by byte. @param {number} id @param {string} text */
  spellSpecial(id, text) {
    const { content } = /** @type {AddedToken} */ (this.added.get(id));
    if (content === this.unkToken && !text.includes(content)) {
      throw new TokenizerError(
        `expected text the vocabulary has tokens for, got ${content} in ${short(text)}`,
      );
    }
    return this.spell(content);
  }

  /** @param {string} text */
  spell(text) {
    return Array.from(utf8(text), (byte) => this.vocab.get(this.spelling[byte]) ?? -1);
  }
}

/** Turns ids into text as they come, showing whole characters only. */
export class TextStream {
  /** @param {Tokenizer} tokenizer @param {{ skipSpecial?: boolean, continues?: boolean }} options */
  constructor(tokenizer, { skipSpecial = true, continues = false }) {
    this.tokenizer = tokenizer;
    this.skipSpecial = skipSpecial;
    this.stripsNext = tokenizer.stripsSpace && !continues;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  }

  /** The text this id completes; "" while a character still lacks bytes. @param {number} id */
  push(id) {
    let bytes = this.tokenizer.tokenBytes(id);
    if (this.skipSpecial && this.tokenizer.isSpecial(id)) return "";
    if (this.stripsNext && bytes.length) {
      if (bytes[0] === 0x20) bytes = bytes.subarray(1);
      this.stripsNext = false;
    }
    return this.decoder.decode(bytes, { stream: true });
  }

  /** What is left at the end: U+FFFD if a character never became whole, else "". */
  finish() {
    return this.decoder.decode();
  }
}

/**
 * @param {Segment} segment @param {AddedToken[]} tokens @param {boolean} parseSpecial
 * @returns {Segment[]}
 */
function cutAt({ start, text }, tokens, parseSpecial) {
  const byContent = new Map(tokens.map((token) => [token.content, token]));
  const contents = [...byContent.keys()].filter((content) => content);
  if (!contents.length) return [{ start, text, token: null }];
  contents.sort((a, b) => b.length - a.length); // of two that begin here, the longer one
  /** @type {Segment[]} */
  const found = [];
  let done = 0;
  /** @param {number} from @param {number} to @param {AddedToken | null} token */
  const keep = (from, to, token) => {
    if (from < to) found.push({ start: start + from, text: text.slice(from, to), token });
  };
  for (const match of text.matchAll(new RegExp(contents.map(escaped).join("|"), "gu"))) {
    const token = /** @type {AddedToken} */ (byContent.get(match[0]));
    let [from, to] = [match.index, match.index + match[0].length];
    if (token.special && !parseSpecial) continue;
    const inWord = /[\p{L}\p{M}\p{N}_]$/u.test(text.slice(0, from)) || /^[\p{L}\p{M}\p{N}_]/u.test(text.slice(to));
    if (token.single_word && inWord) continue;
    const blanksBefore = /\p{White_Space}*$/u.exec(text.slice(0, from));
    const blanksAfter = /^\p{White_Space}*/u.exec(text.slice(to));
    if (token.lstrip) from = Math.max(done, from - (blanksBefore?.[0].length ?? 0));
    if (token.rstrip) to += blanksAfter?.[0].length ?? 0;
    keep(done, from, null);
    keep(from, to, token);
    done = to;
  }
  keep(done, text.length, null);
  return found;
}

/** A part of tokenizer.json as a flat row of steps, sequences opened up. @param {unknown} part @returns {JsonObject[]} */
function steps(part) {
  if (!isObject(part)) return [];
  const inner = part.pretokenizers ?? part.decoders ?? part.processors;
  return part.type === "Sequence" && Array.isArray(inner) ? inner.flatMap(steps) : [part];
}

/** @param {JsonObject} rules @param {JsonObject} model */
function isByteLevel(rules, model) {
  const kinds = [...steps(rules.pre_tokenizer), ...steps(rules.decoder)].map((step) => step.type);
  if (kinds.includes("ByteLevel")) return true;
  const isSentencePiece = kinds.includes("ByteFallback") || kinds.includes("Metaspace");
  if (model.byte_fallback && isSentencePiece) return false;
  throw new TokenizerError(
    "expected a ByteLevel step, or SentencePiece with byte_fallback, " +
      `got ${short(kinds)}: not supported`,
  );
}

/** @param {unknown} decoder */
function stripsSpace(decoder) {
  for (const step of steps(decoder)) {
    if (step.type === "Strip" && step.content === " ") return Boolean(step.start);
    if (step.type === "Metaspace") {
      return step.prepend_scheme !== "never" && step.add_prefix_space !== false;
    }
  }
  return false;
}

/** @param {unknown} added @returns {AddedToken[]} */
function addedTokens(added) {
  const list = added ?? [];
  if (!Array.isArray(list)) throw new TokenizerError(`expected a list, got ${short(list)}`);
  return list.map((entry) => {
    if (!isObject(entry) || typeof entry.content !== "string" || !Number.isInteger(entry.id)) {
      throw new TokenizerError(`expected added_tokens with content, got ${short(entry)}`);
    }
    return {
      id: /** @type {number} */ (entry.id),
      content: entry.content,
      special: Boolean(entry.special),
      normalized: Boolean(entry.normalized),
      single_word: Boolean(entry.single_word),
      lstrip: Boolean(entry.lstrip),
      rstrip: Boolean(entry.rstrip),
    };
  });
}

/**
 * The added tokens by id, and among them every token with a role, marked as special. Checkpoints
 * exist whose `<|im_end|>` is an ordinary token; a user who typed it would end the turn.
 * @param {AddedToken[]} added @param {Map<string, number>} vocab @param {Set<string>} names
 * @param {number[]} ids
 */
function withRoles(added, vocab, names, ids) {
  const byContent = new Map(added.map((token) => [token.content, { ...token }]));
  for (const [content, id] of vocab) {
    if (!names.has(content) && !ids.includes(id)) continue;
    const plain = { normalized: false, single_word: false, lstrip: false, rstrip: false };
    byContent.set(content, { id, content, ...plain, ...byContent.get(content), special: true });
  }
  return new Map([...byContent.values()].map((token) => [token.id, token]));
}

/** @param {Record<string, string>} names @param {JsonObject} settings */
function specialNames(names, settings) {
  const extra = settings.additional_special_tokens;
  const texts = Array.isArray(extra) ? extra.map(tokenText) : [];
  return new Set([...Object.values(names), ...texts.filter((text) => text !== null)]);
}

/** A token is written as text, or as an object with a `content`. @param {unknown} value */
function tokenText(value) {
  const text = isObject(value) ? value.content : value;
  return typeof text === "string" && text ? text : null;
}

/**
 * The ids with a role: of the first config that names some, else of the token named.
 * @param {string} role @param {(JsonObject | undefined)[]} configs @param {JsonObject} settings
 * @param {Map<string, number>} vocab
 * @returns {number[]}
 */
function roleIds(role, configs, settings, vocab) {
  for (const config of configs) {
    const value = config?.[`${role}_token_id`] ?? null;
    const ids = Array.isArray(value) ? value : value === null ? [] : [value];
    const known = ids.length ? new Set(vocab.values()) : new Set();
    for (const id of ids) {
      if (!known.has(id)) {
        throw new TokenizerError(
          `expected ${role}_token_id to be among the ${vocab.size} tokens, got ${short(id)}`,
        );
      }
    }
    if (ids.length) return ids;
  }
  const id = vocab.get(tokenText(settings[`${role}_token`]) ?? "");
  return id === undefined ? [] : [id];
}

/** @param {unknown} template */
function defaultTemplate(template) {
  if (!Array.isArray(template)) return template;
  return template.find((entry) => isObject(entry) && entry.name === "default")?.template;
}

/** The ids that are put around every text. @param {unknown} processor */
function around(processor) {
  /** @type {{ before: number[], after: number[] }} */
  const ids = { before: [], after: [] };
  for (const step of steps(processor)) {
    if (step.type === "ByteLevel") continue; // moves offsets only
    if (step.type !== "TemplateProcessing") {
      throw new TokenizerError(`expected a known post_processor, got ${short(step.type)}`);
    }
    const special = /** @type {Record<string, { ids: number[] }>} */ (step.special_tokens);
    let place = ids.before;
    for (const part of /** @type {any[]} */ (step.single)) {
      if (part.Sequence) place = ids.after;
      else place.push(...special[part.SpecialToken.id].ids);
    }
  }
  return ids;
}
