/** The next token's chances under two settings, and texts drawn with the same seed. */

import { h, newestOnly, percent, slider, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../sampling.js").Sampling} Sampling */

const BARS = 10;
const NEW_TOKENS = 40;

/** @type {LabModule} */
export const sampler = {
  title: "Sampling: from scores to a choice",
  mount({ body, model, sentence, say, fail }) {
    const sides = [
      side("Settings A", { temperature: 0.8, topK: 40, topP: 0.95 }),
      side("Settings B", { temperature: 1.5, topK: 0, topP: 1 }),
    ];
    let seed = 1;
    const seedBox = h("output", {}, String(seed));
    const again = h("button", { type: "button", onclick: () => draw(seed) }, "Draw both texts");
    const other = h("button", { type: "button", onclick: () => draw(seed + 1) }, "Another seed");
    body.append(
      h("div", { class: "pl-two" }, ...sides.map((one) => one.element)),
      h("div", { class: "pl-row" }, again, other, h("span", { class: "pl-soft" }, "seed ", seedBox)),
    );
    const refresh = newestOnly(render, fail);

    /** @param {string} name @param {Sampling} sampling */
    function side(name, sampling) {
      const bars = h("div", { class: "pl-bars" });
      const kept = h("p", { class: "pl-soft" });
      const text = h("p", { class: "pl-text" });
      const changed = () => void refresh();
      const heat = slider("temperature", { min: 0, max: 2, step: 0.05, value: sampling.temperature }, (value) => {
        sampling.temperature = value;
        changed();
      });
      const topK = slider("top-k (0 keeps all)", { min: 0, max: 100, step: 1, value: sampling.topK }, (value) => {
        sampling.topK = value;
        changed();
      });
      const topP = slider("top-p", { min: 0.05, max: 1, step: 0.01, value: sampling.topP }, (value) => {
        sampling.topP = value;
        changed();
      });
      const element = h(
        "section", { "aria-label": name }, h("p", { class: "pl-head" }, name),
        heat.label, topK.label, topP.label, bars, kept, text,
      ); // prettier-ignore
      return { name, sampling, bars, kept, text, element };
    }

    async function render() {
      const { ids } = await model().encode(sentence());
      const { logits } = await model().ask("logits", { ids });
      for (const { sampling, bars, kept } of sides) {
        const { top, count } = await model().ask("chances", { logits, sampling, top: BARS });
        bars.replaceChildren(
          ...top.flatMap((/** @type {{ text: string, before: number, after: number }} */ { text, before, after }) => [
            h("span", { class: after ? "pl-mono" : "pl-mono pl-cut" }, visible(text)),
            h(
              "span", { class: "pl-track" },
              h("i", { class: "pl-before", style: `width:${(100 * before).toFixed(2)}%` }),
              h("i", { class: "pl-after", style: `width:${(100 * after).toFixed(2)}%` }),
            ),
            h("span", { class: "pl-share" }, after ? percent(after) : "cut"),
          ]),
        ); // prettier-ignore
        kept.textContent = `${count} of ${logits.length} tokens can be drawn.`;
      }
    }

    /** @param {number} newSeed */
    async function draw(newSeed) {
      seed = newSeed;
      seedBox.textContent = String(seed);
      try {
        const { ids } = await model().encode(sentence());
        for (const { sampling, text } of sides) {
          text.textContent = "";
          const request = { ids, count: NEW_TOKENS, sampling, seed };
          await model().generate(request, (part) => text.append(part.text)).promise;
        }
        say(`Seed ${seed}. A: ${sides[0].text.textContent} B: ${sides[1].text.textContent}`);
      } catch (error) {
        fail(/** @type {Error} */ (error));
      }
    }

    return () => refresh();
  },
};
