/**
 * The errors a caller may catch, under the names they have in Python. A message names both sides:
 * what was expected, and what came.
 */

export class LlamaEduError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "LlamaEduError";
  }
}

/** A weight file is damaged, malformed, or does not fit its config. */
export class CheckpointError extends LlamaEduError {
  name = "CheckpointError";
}

/** A `config.json` is incomplete, contradicts itself, or asks for what is not supported. */
export class ConfigError extends LlamaEduError {
  name = "ConfigError";
}

/** A tokenizer file is missing or unreadable, or an id is not in the vocabulary. */
export class TokenizerError extends LlamaEduError {
  name = "TokenizerError";
}

/** An argument is out of range: token ids, sampling parameters, a prompt without tokens. */
export class InputError extends LlamaEduError {
  name = "InputError";
}

/** More positions are asked for than the model has room for. */
export class ContextError extends InputError {
  name = "ContextError";
}

/** The numbers broke: NaN, or nothing left to sample from. */
export class NumericsError extends LlamaEduError {
  name = "NumericsError";
}

/**
 * A value for a message, cut short: a hostile file may hold megabytes of it.
 * @param {unknown} value
 * @returns {string}
 */
export function short(value) {
  let text;
  try {
    text = JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${part}` : part));
  } catch {
    text = undefined;
  }
  text ??= String(value);
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
}
