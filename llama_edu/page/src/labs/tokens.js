/** How the reader's sentence becomes ids: the pieces, and the merges that made one of them. */

import { byArrows, bytesOf, counted, h, newestOnly, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {{ parts: string[], at: number, rank: number }} Step after a merge: which part is new, and the merge's rank */

/** @type {LabModule} */
export const tokens = {
  title: "Tokens: the pieces a sentence is cut into",
  mount({ body, model, sentence, say, tabulate, fail }) {
    let chosen = 0;
    /** The sentence whose token was chosen. @type {string | null} */
    let chosenIn = null;
    const row = h("div", { class: "pl-tokens", role: "group", "aria-label": "Tokens" });
    const keys = byArrows(row);
    const counts = h("p", { class: "pl-soft" });
    const merges = h("div", { class: "pl-merges" });
    const hint = h("p", { class: "pl-soft pl-ask" }, "Press a token to see from which letters it was merged.");
    body.append(row, counts, hint, merges);

    return newestOnly(async () => {
      const text = sentence();
      const { ids, pieces } = await model().encode(text);
      if (text !== chosenIn) chosen = longest(pieces);
      chosenIn = text;
      const places = bytesOfCharacters(pieces);
      const buttons = pieces.map((piece, i) => {
        const notes = [
          ...(piece.isWhole || places[i] ? [] : ["part of a character"]),
          ...(piece.isSpecial ? ["added by the tokenizer"] : []),
        ];
        return h(
          "button",
          { type: "button", class: "pl-token", onclick: () => show(i), onfocus: () => show(i) },
          h("span", { class: "pl-mono" }, visible(piece.text)),
          h("span", { class: "pl-id" }, String(piece.id)),
          ...(places[i] ? [h("span", { class: "pl-of" }, places[i])] : []),
          h("span", { class: "pl-heard" }, notes.join(", ")),
        );
      });
      row.replaceChildren(...buttons);
      keys.settle(chosen);
      const bytes = new TextEncoder().encode(text).length;
      counts.textContent = `${counted([...text].length, "character")}, ${counted(bytes, "byte")}, ${counted(ids.length, "token")}.`;
      say(counts.textContent);
      tabulate(
        `The tokens of the sentence: ${counts.textContent}`, ["token", "id", "bytes"],
        pieces.map((piece) => [visible(piece.text), String(piece.id), bytesOf(piece.text)]),
      ); // prettier-ignore

      /** @param {number} i */
      async function show(i) {
        chosen = i;
        buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === i)));
        const { steps, known } = await model().ask("merges", { id: ids[i] });
        const lines = steps.map((/** @type {Step} */ { parts, at, rank }) =>
          h("li", {},
            ...parts.map((part, j) => h("span", { class: `pl-mono pl-part${j === at ? " pl-fresh" : ""}` }, visible(part))),
            ...(rank < 0 ? [] : [h("span", { class: "pl-soft" }, `merge ${(rank + 1).toLocaleString("en")}`)])),
        ); // prettier-ignore
        const name = `Token ${ids[i]}, “${visible(pieces[i].text)}”`;
        const count = lines.length - 1;
        if (count) {
          merges.replaceChildren(
            h("p", {}, `${name}, from its letters by ${counted(count, "merge")}:`),
            h("ol", { start: "0" }, ...lines),
            h("p", { class: "pl-soft" },
              `The number is the merge's rank: its place among the ${known.toLocaleString("en")} merges of the tokenizer, in the order they were learned. ` +
              "Of all neighbours that can be merged, those of the lowest rank go first."),
          ); // prettier-ignore
        } else {
          const why = pieces[i].isSpecial
            ? "is a special token: the tokenizer adds it, and nothing was merged for it."
            : "is one of the single bytes that merging begins with.";
          merges.replaceChildren(h("p", {}, `${name}, ${why}`));
        }
      }
      if (pieces.length) await show(chosen);
      else merges.replaceChildren();
    }, fail);
  },
};

/** Where the piece with most letters stands: it shows best what merging does. @param {{ text: string, isSpecial: boolean, isWhole: boolean }[]} pieces */
function longest(pieces) {
  const sizes = pieces.map(({ text, isSpecial, isWhole }) => (isSpecial || !isWhole ? 0 : text.length));
  return sizes.indexOf(Math.max(...sizes));
}

/**
 * For each piece that ends inside a character: which bytes of which character it holds, such as
 * "byte 1 of 3 of 日". The others have an empty text.
 * @param {{ text: string, isWhole: boolean }[]} pieces
 */
export function bytesOfCharacters(pieces) {
  const encoder = new TextEncoder();
  const parts = pieces.map(({ text, isWhole }) =>
    isWhole ? encoder.encode(text) : Uint8Array.from(text.slice(1, -1).split(" "), (hex) => parseInt(hex, 16)),
  );
  const bytes = Uint8Array.from(parts.flatMap((part) => [...part]));
  const notes = pieces.map(() => "");
  // Where each character begins, by the upper bits of its first byte (RFC 3629, section 3).
  for (let start = 0, end; start < bytes.length; start = end) {
    const first = bytes[start];
    end = start + (first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);
    const character = new TextDecoder().decode(bytes.subarray(start, end));
    let from = 0;
    for (const [i, part] of parts.entries()) {
      const [low, high] = [Math.max(from, start), Math.min(from + part.length, end)];
      from += part.length;
      if (low >= high || high - low === end - start || character === "\ufffd") continue;
      const which = high - low === 1 ? `byte ${low - start + 1}` : `bytes ${low - start + 1} to ${high - start}`;
      notes[i] += `${notes[i] && ", "}${which} of ${end - start} of ${character}`;
    }
  }
  return notes;
}
