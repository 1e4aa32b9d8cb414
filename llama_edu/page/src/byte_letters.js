/**
 * The two ways a vocabulary spells bytes. GPT-2's alphabet has one printable letter for each byte
 * (`bytes_to_unicode` in its encoder.py): bytes that print as one Latin-1 character stand for
 * themselves, the 68 others get the characters from U+0100 on. SentencePiece writes "<0x41>".
 */

const printable = (/** @type {number} */ byte) =>
  (byte >= 0x21 && byte < 0x7f) || (byte >= 0xa1 && byte < 0xad) || byte >= 0xae;

let others = 0x100;

export const BYTE_LETTERS = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(printable(byte) ? byte : others++),
);

export const BYTE_NAMES = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
);

const encoder = new TextEncoder();

/** UTF-8 bytes of a text. @param {string} text */
export function utf8(text) {
  return encoder.encode(text);
}
