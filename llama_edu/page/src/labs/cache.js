/** What each step computes with a KV cache, and without one, on a running clock. */

import { h, newestOnly, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {{ step: number, fed: number, read: number, ms: number, text: string }} Step */

const STEPS = 16;
const SOON = 80; // tokens; of a longer text the slow way keeps all labs waiting, so it is asked for

/** @type {LabModule} */
export const cache = {
  title: "The KV cache: what a step need not compute again",
  mount({ body, model, sentence, say, tabulate, fail }) {
    const run = h("button", { type: "button" }, "Generate both ways");
    const key = h(
      "p", { class: "pl-soft" }, "Each step writes one token. Without a cache it computes a row for every token of the text so far (",
      h("span", { class: "pl-bit-key pl-bit-mantissa" }, "computed"), "); with one, only for the newest, and reads the keys and values of the others (",
      h("span", { class: "pl-bit-key pl-read" }, "read"), ").",
    ); // prettier-ignore
    const verdict = h("p", { class: "pl-words" });
    const sides = ["With the cache", "Without it"].map((name) => {
      const rows = h("tbody");
      const sum = h("p", { class: "pl-clock" });
      const head = ["step", "computed", "read", "ms", "token"];
      const table = h(
        "table", { class: "pl-steps" }, h("caption", {}, name),
        h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), rows,
      ); // prettier-ignore
      return { name, rows, sum, element: h("div", {}, h("div", { class: "pl-scroll", tabindex: "0", role: "region", "aria-label": name }, table), sum) };
    });
    body.append(key, h("div", { class: "pl-row" }, run), h("div", { class: "pl-two" }, ...sides.map((s) => s.element)), verdict);

    const go = newestOnly(async () => {
      const { ids } = await model().encode(sentence());
      for (const { rows, sum } of sides) {
        rows.replaceChildren();
        sum.textContent = "";
      }
      verdict.textContent = "";
      const totals = [];
      /** @type {Step[][]} */
      const steps = [[], []];
      /** @type {number[]} */
      const computedRows = [];
      for (const [i, { rows, sum }] of sides.entries()) {
        let [ms, computed] = [0, 0];
        const widest = ids.length + STEPS;
        const onPart = (/** @type {Step} */ part) => {
          const { step, fed, read, ms: took, text } = part;
          steps[i].push(part);
          ms += took;
          computed += fed;
          const bar = h("span", {
            class: "pl-rows",
            style: `--fed:${((100 * fed) / widest).toFixed(1)}%;--read:${((100 * read) / widest).toFixed(1)}%`,
          });
          rows.append(
            h(
              "tr", {}, h("td", {}, String(step)), h("td", {}, String(fed), bar), h("td", {}, String(read)),
              h("td", {}, took.toFixed(2)), h("td", { class: "pl-mono" }, visible(text)),
            ),
          ); // prettier-ignore
          sum.textContent = `${computed} rows computed in ${ms.toFixed(1)} ms`;
        };
        await model().run("steps", { ids, count: STEPS, cached: i === 0 }, onPart).promise;
        totals.push(sum.textContent);
        computedRows.push(computed);
      }
      verdict.textContent = `Both wrote the same text; without the cache it took ${(computedRows[1] / computedRows[0]).toFixed(1)} times the rows.`;
      tabulate(
        `Rows computed for each new token, with a KV cache and without. ${verdict.textContent}`,
        ["step", "computed with the cache", "read from it", "computed without it", "token"],
        steps[0].map(({ step, fed, read, text }, i) => [String(step), String(fed), String(read), String(steps[1][i].fed), visible(text)]),
      ); // prettier-ignore
      say(`With the cache ${totals[0]}, without it ${totals[1]}; the text is the same.`);
    }, fail);
    run.addEventListener("click", () => void go());
    return async () => {
      const { ids } = await model().encode(sentence());
      if (ids.length <= SOON) return go();
      for (const { rows, sum } of sides) {
        rows.replaceChildren();
        sum.textContent = "";
      }
      verdict.textContent = `Your text has ${ids.length} tokens, and without the cache that takes a while: press the button.`;
    };
  },
};
