/** How the reader's sentence becomes ids: the pieces, and the merges that made one of them. */

import { byArrows, bytesOf, counted, h, newestOnly, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */

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
      const buttons = pieces.map((piece, i) => {
        const notes = [
          ...(piece.isWhole ? [] : ["part of a character"]),
          ...(piece.isSpecial ? ["added by the tokenizer"] : []),
        ];
        return h(
          "button",
          { type: "button", class: "pl-token", onclick: () => show(i), onfocus: () => show(i) },
          h("span", { class: "pl-mono" }, visible(piece.text)),
          h("span", { class: "pl-id" }, String(piece.id)),
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
        const { steps } = await model().ask("merges", { id: ids[i] });
        const lines = steps.map((/** @type {string[]} */ parts) =>
          h("li", {}, ...parts.map((part) => h("span", { class: "pl-mono pl-part" }, visible(part)))),
        );
        const name = `Token ${ids[i]}, “${visible(pieces[i].text)}”`;
        const count = lines.length - 1;
        if (count) {
          merges.replaceChildren(h("p", {}, `${name}, from its letters by ${counted(count, "merge")}:`), h("ol", { start: "0" }, ...lines));
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
