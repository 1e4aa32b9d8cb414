/** The next token's chances under two settings, and texts drawn with the same seed. */

import { h, newestOnly, percent, slider, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../sampling.js").Sampling} Sampling */

const BARS = 10;

/** Every slider: what it sets, its words, and its reach. @type {[keyof Sampling, string, number, number, number][]} */
const SLIDERS = [
  ["repetitionPenalty", "1. repetition penalty (1 is none)", 1, 2, 0.05],
  ["presencePenalty", "2. presence penalty, on new text", 0, 2, 0.05],
  ["temperature", "3. temperature", 0, 2, 0.05],
  ["topK", "4. top-k (0 keeps all)", 0, 100, 1],
  ["topP", "5. top-p", 0.05, 1, 0.01],
  ["minP", "6. min-p (0 keeps all)", 0, 0.5, 0.01],
];
const OFF = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0 };
const NEW_TOKENS = 40;
const SURE = "Once upon a";
const UNSURE = "Once upon a time, there was a little girl named";

/** @type {LabModule} */
export const sampler = {
  title: "Sampling: from scores to a choice",
  mount({ body, model, sentence, setSentence, say, fail }) {
    const sides = [
      side("Settings A", { ...OFF, temperature: 0.8, topK: 40, topP: 0.95 }),
      side("Settings B", { ...OFF, temperature: 1.5 }),
    ];
    let seed = 1;
    const seedBox = h("output", {}, String(seed));
    const again = h("button", { type: "button", onclick: () => draw(seed) }, "Draw both texts");
    const other = h("button", { type: "button", onclick: () => draw(seed + 1) }, "Another seed");
    const sure = h("button", { type: "button", onclick: () => setSentence(SURE) }, "A place where it is sure");
    const unsure = h("button", { type: "button", onclick: () => setSentence(UNSURE) }, "A place where it is not");
    body.append(
      h("div", { class: "pl-row" }, sure, unsure),
      h("div", { class: "pl-two" }, ...sides.map((one) => one.element)),
      h("div", { class: "pl-row" }, again, other, h("span", { class: "pl-soft" }, "seed ", seedBox)),
    );
    const refresh = newestOnly(render, fail);

    /** @param {string} name @param {Sampling} sampling */
    function side(name, sampling) {
      const bars = h("div", { class: "pl-bars" });
      const kept = h("p", { class: "pl-soft" });
      const text = h("p", { class: "pl-text" });
      const sliders = SLIDERS.map(([key, words, min, max, step]) =>
        slider(words, { min, max, step, value: sampling[key] ?? 0 }, (value) => {
          sampling[key] = value;
          void refresh();
        }),
      );
      const element = h(
        "section", { "aria-label": name }, h("p", { class: "pl-head" }, name),
        ...sliders.map((one) => one.label), bars, kept, text,
      ); // prettier-ignore
      return { name, sampling, bars, kept, text, element };
    }

    async function render() {
      const { ids } = await model().encode(sentence());
      const { logits } = await model().ask("logits", { ids });
      for (const { sampling, bars, kept } of sides) {
        const { top, count, entropy } = await model().ask("chances", { ids, logits, sampling, top: BARS });
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
        kept.textContent =
          `${count} of ${logits.length} tokens can be drawn, ` +
          `as open as a choice among ${Math.exp(entropy).toFixed(1)} equally likely ones.`;
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
