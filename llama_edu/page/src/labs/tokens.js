/** How the reader's sentence becomes ids: the pieces, and the merges that made one of them. */

import { byArrows, h, newestOnly, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */

/** @type {LabModule} */
export const tokens = {
  title: "Tokens: the pieces a sentence is cut into",
  mount({ body, model, sentence, say, fail }) {
    let chosen = 0;
    const row = h("div", { class: "pl-tokens", role: "group", "aria-label": "Tokens" });
    const keys = byArrows(row);
    const counts = h("p", { class: "pl-soft" });
    const merges = h("div", { class: "pl-merges" });
    body.append(row, counts, merges);

    return newestOnly(async () => {
      const text = sentence();
      const { ids, pieces } = await model().encode(text);
      chosen = Math.min(chosen, pieces.length - 1);
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
      counts.textContent = `${[...text].length} characters, ${bytes} bytes, ${ids.length} tokens.`;
      say(counts.textContent);

      /** @param {number} i */
      async function show(i) {
        chosen = i;
        buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === i)));
        const { steps } = await model().ask("merges", { id: ids[i] });
        const lines = steps.map((/** @type {string[]} */ parts) =>
          h("li", {}, ...parts.map((part) => h("span", { class: "pl-mono pl-part" }, visible(part)))),
        );
        merges.replaceChildren(
          h("p", {}, `Token ${ids[i]}, “${visible(pieces[i].text)}”, from its letters by ${lines.length - 1} merges:`),
          h("ol", { start: "0" }, ...lines),
        );
      }
      if (pieces.length) await show(chosen);
      else merges.replaceChildren();
    }, fail);
  },
};
