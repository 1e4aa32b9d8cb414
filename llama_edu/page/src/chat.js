/**
 * From messages to the ids of a prompt, for the chat template of the embedded model and of
 * SmolLM2. Both are ChatML and differ in whether a system message is put first where none is.
 * Another template is a program in Jinja, which this page does not run: it is refused by name.
 */

import { InputError, TokenizerError, short } from "./errors.js";

/** @typedef {import("./tokenizer.js").Tokenizer} Tokenizer */

/**
 * What one side said. A reply that the model wrote comes with its ids, without the one that ended
 * it: text made of tokens need not become the same tokens again.
 * @typedef {{ role: "system" | "user" | "assistant", content: string, tokenIds?: number[] }} Message
 */

const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + " +
  "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const DEFAULT_SYSTEM =
  /\{% if loop\.first and messages\[0\]\['role'\] != 'system' %\}\{\{ '<\|im_start\|>system\\n([^']*)<\|im_end\|>\\n' \}\}\{% endif %\}/;

/**
 * What a template puts first where no system message is: null if nothing.
 * @param {string | null} template
 */
function defaultSystem(template) {
  if (template === null) {
    throw new TokenizerError(
      "expected a chat template, got none: a model without one continues texts and was not " +
        "taught to converse",
    );
  }
  // Templates are compared without their blanks, in which copies differ.
  /** @param {string} text */
  const bare = (text) => text.replaceAll("\n", "\\n").replace(/\s+/g, "");
  const spelled = template.replaceAll("\n", "\\n");
  const found = DEFAULT_SYSTEM.exec(spelled);
  const rest = found ? spelled.replace(found[0], "") : spelled;
  if (bare(rest) !== bare(CHATML)) {
    throw new TokenizerError(`expected the ChatML template, got ${short(template)}`);
  }
  return found ? found[1].replaceAll("\\n", "\n") : null;
}

/**
 * The ids of a prompt that ends where the assistant's next reply begins. Only the template writes
 * control tokens: a message that reads `<|im_end|>` is ten characters and does not end the turn.
 * @param {Tokenizer} tokenizer @param {Message[]} messages
 * @returns {number[]}
 */
export function encodeChat(tokenizer, messages) {
  checkMessages(messages);
  const template = tokenizer.chatTemplate;
  const system = defaultSystem(template);
  const controls = tokenizer.controlTokens(template ?? "");
  const ids = [];
  let part = new Part();
  if (system !== null && messages[0].role !== "system") {
    part.written(`<|im_start|>system\n${system}<|im_end|>\n`);
  }
  for (const { role, content, tokenIds } of messages) {
    part.written(`<|im_start|>${role}\n`);
    if (tokenIds) {
      ids.push(...part.encoded(tokenizer, controls), ...tokenIds);
      part = new Part();
    } else {
      part.typed(content);
    }
    part.written("<|im_end|>\n");
  }
  part.written("<|im_start|>assistant\n");
  return [...ids, ...part.encoded(tokenizer, controls)];
}

/** A stretch of a rendered chat that remembers who wrote each of its characters. */
class Part {
  text = "";
  /** @type {number[]} */
  isTyped = [];

  /** @param {string} text */
  written(text) {
    this.text += text;
    for (let i = 0; i < text.length; i++) this.isTyped.push(0);
  }

  /** Blanks count as nobody's: a control token may swallow those around it. @param {string} text */
  typed(text) {
    this.text += text;
    for (let i = 0; i < text.length; i++) this.isTyped.push(/\s/.test(text[i]) ? 0 : 1);
  }

  /** @param {Tokenizer} tokenizer @param {Map<number, string>} controls */
  encoded(tokenizer, controls) {
    return tokenizer.encodeRendered(this.text, Uint8Array.from(this.isTyped), controls);
  }
}

/** @param {Message[]} messages */
function checkMessages(messages) {
  if (!messages.length) throw new InputError("expected at least one message, got none");
  let previous = "none";
  messages.forEach(({ role }, i) => {
    if (!["system", "user", "assistant"].includes(role)) {
      throw new InputError(`message ${i + 1}: expected a known role, got ${short(role)}`);
    }
    if (role === "system" && i > 0) {
      throw new InputError(`message ${i + 1}: expected the system message first, got it here`);
    }
    if (role === "assistant" && previous !== "user") {
      throw new InputError(
        `message ${i + 1}: expected a user message before the assistant's, got ${previous}`,
      );
    }
    previous = role;
  });
  if (previous !== "user") {
    throw new InputError(`expected a user message to reply to at the end, got ${previous}`);
  }
}
