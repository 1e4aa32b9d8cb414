/** The next token's chances under two settings, and texts drawn with the same seed. */

import { h, newestOnly, percent, slider, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../sampling.js").Sampling} Sampling */

const BARS = 10;

/** Every slider: what it sets, its words, and its reach. @type {[keyof Sampling, string, number, number, number][]} */
const SLIDERS = [
  ["repetitionPenalty", "1. repetition penalty (1 is none)", 1, 2, 0.05],
  ["presencePenalty", "2. presence penalty (0 is none)", 0, 2, 0.05],
  ["temperature", "3. temperature", 0, 2, 0.05],
  ["topK", "4. top-k (0 keeps all)", 0, 100, 1],
  ["topP", "5. top-p (1 keeps all)", 0.05, 1, 0.01],
  ["minP", "6. min-p (0 keeps all)", 0, 0.5, 0.01],
];
const OFF = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0 };
const NEW_TOKENS = 40;
/** Settings in words: those that do something, and the temperature. @param {Sampling} sampling */
function described(sampling) {
  const used = SLIDERS.filter(([key]) => key === "temperature" || sampling[key] !== /** @type {Sampling} */ (OFF)[key]);
  return used.map(([key, words]) => `${words.replace(/^\d+\. | \(.*\)$/g, "")} ${sampling[key]}`).join(", ");
}

const SURE = "Once upon a";
const UNSURE = "Once upon a time, there was a little girl named";
const REPEATS = "Lily likes the red ball. Tom likes the red ball. They both like the";
const OURS = [SURE, UNSURE, REPEATS];

/** A piece of a bar, for the words that explain it. @param {string} name */
function swatch(name) {
  return h("span", { class: "pl-track pl-swatch" }, h("i", { class: name }));
}

/** @type {LabModule} */
export const sampler = {
  title: "Sampling: from scores to a choice",
  mount({ body, model, sentence, setSentence, say, tabulate, fail }) {
    const sides = [
      side("Settings A", { ...OFF, temperature: 0.8, topK: 40, topP: 0.95 }),
      side("Settings B", { ...OFF, temperature: 1.5 }),
    ];
    let seed = 1;
    const seedBox = h("output", {}, String(seed));
    const again = h("button", { type: "button", onclick: () => draw(seed) }, "Draw both texts");
    const other = h("button", { type: "button", onclick: () => draw(seed + 1) }, "Another seed");
    /** The reader's own sentence, while one of ours is in its place. */
    let own = "";
    /** @param {string} text @param {string} words */
    const place = (text, words) => h("button", { type: "button", onclick: () => go(text) }, words);
    const back = h("button", { type: "button", class: "pl-quiet", hidden: true, onclick: () => goBack() }, "Back to your sentence");
    const places = [place(SURE, "A place where it is sure"), place(UNSURE, "A place where it is not"), place(REPEATS, "A place where it repeats")];
    const key = h(
      "p", { class: "pl-soft" }, "The settings act in the order of their numbers. The bars are the ten tokens the model likes best: ",
      swatch("pl-after"), " filled, the chance to be drawn; ", swatch("pl-before"), " outlined, the chance at this temperature before penalties and cuts. ",
      "All bars have one scale: the largest chance fills the line.",
    ); // prettier-ignore
    const penalties = h(
      "p", { class: "pl-soft" }, "The penalties act on tokens that were there before: the first on those of your sentence and of the new text, the second on those of the new text alone. ",
      "At these bars nothing is new yet, so the second shows only in what you draw, and the first only where the model would repeat a word.",
    ); // prettier-ignore
    body.append(
      h("div", { class: "pl-row" }, ...places, back),
      key,
      penalties,
      h("div", { class: "pl-two" }, ...sides.map((one) => one.element)),
      h("div", { class: "pl-row" }, again, other, h("span", { class: "pl-soft" }, "seed ", seedBox)),
    );
    const refresh = newestOnly(render, fail);

    /** @param {string} text */
    function go(text) {
      if (!OURS.includes(sentence())) own = sentence();
      setSentence(text);
    }
    function goBack() {
      const text = own;
      places[0].focus(); // the button that was pressed goes
      setSentence(text);
    }

    /** @param {string} name @param {Sampling} sampling */
    function side(name, sampling) {
      const bars = h("div", { class: "pl-bars" });
      const kept = h("p", { class: "pl-soft" });
      const text = h("p", { class: "pl-text" });
      const sliders = SLIDERS.map(([key, words, min, max, step]) =>
        slider(words, { min, max, step, value: sampling[key] ?? 0 }, (value) => {
          sampling[key] = value;
          forget(text); // it was drawn under other settings
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
      /** @typedef {{ text: string, before: number, after: number }} Chance */
      /** @type {{ top: Chance[], count: number, entropy: number }[]} */
      const found = [];
      for (const { sampling } of sides) found.push(await model().ask("chances", { ids, logits, sampling, top: BARS }));
      const all = found.flatMap(({ top }) => top);
      const full = Math.max(...all.map(({ before, after }) => Math.max(before, after)));
      for (const [i, { bars, kept }] of sides.entries()) {
        const { top, count, entropy } = found[i];
        bars.replaceChildren(
          ...top.flatMap(({ text, before, after }) => [
            h("span", { class: after ? "pl-mono" : "pl-mono pl-cut" }, visible(text)),
            h(
              "span", { class: "pl-track" },
              h("i", { class: "pl-after", style: `width:${((100 * after) / full).toFixed(2)}%` }),
              h("i", { class: "pl-before", style: `width:${((100 * before) / full).toFixed(2)}%` }),
            ),
            h("span", { class: "pl-share" }, after ? percent(after) : "cut"),
          ]),
        ); // prettier-ignore
        kept.textContent =
          `${count} of ${logits.length} tokens can be drawn` +
          (count === 1 ? ": there is no choice." : `, as open as a choice among ${Math.exp(entropy).toFixed(1)} equally likely ones.`);
      }
      tabulate(
        `The chances of the next token. ${sides.map(({ name, sampling }) => `${name}: ${described(sampling)}`).join(". ")}`,
        ["next token", ...sides.flatMap(({ name }) => [`${name}, before cuts`, `${name}, drawn`])],
        found[0].top.map(({ text }, i) => [
          visible(text),
          ...found.flatMap(({ top }) => [percent(top[i].before), top[i].after ? percent(top[i].after) : "cut"]),
        ]),
      ); // prettier-ignore
    }

    let newest = 0; // of the drawings; what an older one still says is not shown
    /** @param {HTMLElement[]} texts */
    function forget(...texts) {
      newest += 1;
      for (const text of texts) text.textContent = "";
    }

    /** @param {number} newSeed */
    async function draw(newSeed) {
      forget(...sides.map(({ text }) => text));
      const mine = newest;
      seed = newSeed;
      seedBox.textContent = String(seed);
      try {
        const { ids } = await model().encode(sentence());
        for (const { sampling, text } of sides) {
          const request = { ids, count: NEW_TOKENS, sampling: { ...sampling }, seed: newSeed };
          await model().generate(request, (part) => mine === newest && text.append(part.text)).promise;
          if (mine !== newest) return;
        }
        say(`Seed ${seed}. A: ${sides[0].text.textContent} B: ${sides[1].text.textContent}`);
      } catch (error) {
        fail(/** @type {Error} */ (error));
      }
    }

    return () => {
      forget(...sides.map(({ text }) => text));
      back.hidden = !own || !OURS.includes(sentence());
      return refresh();
    };
  },
};
