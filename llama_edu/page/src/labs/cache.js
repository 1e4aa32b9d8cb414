/** What each step computes with a KV cache, and without one, on a running clock. */

import { choice, h, labelled, newestOnly, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {{ step: number, fed: number, read: number, ms: number, token: number, text: string }} Step */

const STEPS = [4, 16, 64]; // to choose from
const FIRST = 1; // of them
const SOON = 80; // tokens; of a longer text the slow way keeps all labs waiting, so it is asked for
const RUNS = 3; // of which a step's time is the median
const PATIENCE_MS = 2000; // after which no further run begins

/** @type {LabModule} */
export const cache = {
  title: "The KV cache: what a step need not compute again",
  mount({ body, model, sentence, say, tabulate, fail }) {
    let count = STEPS[FIRST];
    let isChosen = false; // who chooses can guess before it runs
    const run = h("button", { type: "button" }, "Generate both ways");
    const steps = choice(STEPS.map(String), (index) => {
      count = STEPS[index];
      isChosen = true;
      void refresh();
    });
    steps.selectedIndex = FIRST;
    const key = h(
      "p", { class: "pl-soft" }, "Each step writes one token. Without a cache it computes a row for every token of the text so far (",
      h("span", { class: "pl-bit-key pl-bit-mantissa" }, "computed"), "); with one, only for the newest, and reads the keys and values of the others (",
      h("span", { class: "pl-bit-key pl-read" }, "read"), `). A time is the median of ${RUNS} runs, after a first step that is not counted. Times jump with whatever else your computer does; the rows do not.`,
    ); // prettier-ignore
    const verdict = h("p", { class: "pl-words" });
    const names = ["With the cache", "Without it"];
    const sums = names.map(() => h("p", { class: "pl-clock" }));
    const rows = h("tbody");
    const ways = names.map((name) => h("th", { scope: "colgroup", colspan: 2 }, name));
    const heads = names.flatMap(() => ["computed + read", "ms"]).map((text) => h("th", { scope: "col" }, text));
    const head = (/** @type {string} */ text) => h("th", { scope: "col", rowspan: 2 }, text);
    const table = h(
      "table", { class: "pl-steps pl-both" }, h("thead", {}, h("tr", {}, head("step"), ...ways, head("token")), h("tr", {}, ...heads)), rows,
    ); // prettier-ignore
    const region = { class: "pl-scroll pl-long", tabindex: "0", role: "region", "aria-label": "Step by step" };
    body.append(key, h("div", { class: "pl-row" }, labelled("Steps", steps), run), verdict, ...sums, h("div", region, table));

    let isAsked = false; // to run, and not to wait for a guess
    const refresh = newestOnly(async () => {
      const { ids } = await model().encode(sentence());
      const planned = count;
      const soon = ids.length <= SOON && planned <= STEPS[FIRST] && !isChosen;
      if (!isAsked && !soon) {
        const text = `Your text has ${ids.length} tokens. How many rows will ${planned} steps compute with the cache, and how many without?`;
        return clear(`${text} Guess, then press the button.`);
      }
      isAsked = false;
      clear("");
      // The first pass of all also waits for memory and for the compiler of the kernels.
      for (const cached of [true, false]) await model().run("steps", { ids, count: 1, cached }, () => {}).promise;
      /** @type {Step[][]} */
      const made = [[], []];
      for (const i of [0, 1]) {
        /** @type {number[][]} */
        const times = [];
        let spent = 0;
        const onPart = (/** @type {Step} */ part) => {
          spent += part.ms;
          (times[part.step] ??= []).push(part.ms);
          if (times[part.step].length > 1) return; // the other runs only time what is drawn
          made[i].push(part);
          draw(part, i, ids.length + planned);
        };
        for (let runs = 0; runs < RUNS && spent < PATIENCE_MS; runs++) {
          await model().run("steps", { ids, count: planned, cached: i === 0 }, onPart).promise;
        }
        const medians = times.map((some) => some.sort((a, b) => a - b)[Math.floor(some.length / 2)]);
        medians.forEach((ms, step) => (rows.rows[step].cells[2 * i + 2].textContent = ms.toFixed(1)));
        const ms = medians.reduce((sum, one) => sum + one, 0);
        sums[i].textContent = `${names[i]}: ${computed(made[i])} rows computed in ${ms.toFixed(1)} ms`;
      }
      const [fed, all] = made.map(computed);
      const isSame = made[0].every(({ token }, step) => token === made[1][step].token);
      const last = ids.length + made[1].length - 1;
      verdict.textContent =
        `${isSame ? "Both wrote the same text" : "The texts part where two tokens were nearly as likely"}. ` +
        `With the cache it took ${ids.length} rows and then one a step, ${fed} in all. ` +
        `Without it, ${ids.length} + ${ids.length + 1} + … + ${last} = ${all}: ${(all / fed).toFixed(1)} times the rows.`;
      tabulate(
        `Rows computed for each new token, with a KV cache and without. ${verdict.textContent}`,
        ["step", "computed with the cache", "read from it", "computed without it", "token"],
        made[0].map(({ step, fed, read, text }, i) => [String(step), String(fed), String(read), String(made[1][i].fed), visible(text)]),
      ); // prettier-ignore
      say(`${sums.map((sum) => sum.textContent).join(". ")}. ${verdict.textContent}`);
    }, fail);

    /** @param {Step} part @param {number} i which of the two ways @param {number} widest */
    function draw({ step, fed, read, text }, i, widest) {
      const share = (/** @type {number} */ some) => `${((100 * some) / widest).toFixed(1)}%`;
      if (!rows.rows[step]) {
        const empty = names.flatMap(() => [h("td"), h("td")]);
        rows.append(h("tr", {}, h("th", { scope: "row" }, String(step)), ...empty, h("td", { class: "pl-mono" }, visible(text))));
      }
      const bar = h("span", { class: "pl-rows", style: `--fed:${share(fed)};--read:${share(read)}` });
      rows.rows[step].cells[2 * i + 1].replaceChildren(`${fed} + ${read}`, bar);
    }

    /** @param {string} words */
    function clear(words) {
      rows.replaceChildren();
      for (const sum of sums) sum.textContent = "";
      verdict.textContent = words;
    }

    run.addEventListener("click", () => {
      isAsked = true;
      void refresh();
    });
    return refresh;
  },
};

/** @param {Step[]} steps */
function computed(steps) {
  return steps.reduce((sum, { fed }) => sum + fed, 0);
}
