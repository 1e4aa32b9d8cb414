/** The whole model in one drawing, and the reader's sentence running through it, part by part. */

import { choice, counted, h, labelled, newestOnly, percent, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../trace.js").TraceRecord} TraceRecord */

const CELLS = 32; // numbers shown of a row
const COLUMNS = 20; // tokens shown under the attention weights: more would not fit a phone
const ANSWERS = 10; // likeliest tokens shown at the end
const BEAT_MS = 900;

/** An array: the names and sizes of its axes, and the last token's row, or one of every head. @typedef {{ axes: string[], shape: number[], rows: ArrayLike<number>[] }} Seen */
/** @typedef {{ arrays: Record<string, Seen>, layers: number, groups: number, tokens: string[], hasStart: boolean, top: [string, number][] }} Run */

/** Part of the drawing → the recorded array it shows, what to say, and what the array's rows are. @type {[string, string, string, string][]} */
const LAYER_PARTS = [
  ["input_layernorm", "input_layernorm", "every row is brought to one size", "the normed rows"],
  ["q_proj", "self_attn.q_proj", "the query: what this token asks", "the queries"],
  ["k_proj", "self_attn.k_proj", "the key: what it offers to others who ask", "the keys"],
  ["v_proj", "self_attn.v_proj", "the value: what it hands over when it is looked at", "the values"],
  ["rope", "self_attn.q_rope", "the query, turned by the token's position", "the turned queries"],
  ["weights", "self_attn.weights", "how much it looks at each token up to itself", "the attention weights"],
  ["attn_v", "self_attn.attn_v", "the values, mixed by those shares", "the mixed values"],
  ["attn_residual", "attn_residual", "what was mixed is added to the token's row", "the residual stream"],
  ["post_attention_layernorm", "post_attention_layernorm", "once more brought to one size", "the normed rows"],
  ["gate_up", "mlp.gate_proj", "the gate: what to let pass", "the gates"],
  ["gated", "mlp.gated", "what the gate let pass", "the gated rows"],
  ["mlp_residual", "mlp_residual", "and that is added to the row too", "the residual stream"],
];

/** What an axis counts; features, where none of these. The still's drawing has the same words. @type {Record<string, string>} */
const AXES = { seq: "token", total_seq: "key", n_kv_heads: "KV group", n_groups: "head", vocab_size: "score" };

/** @type {LabModule} */
export const machine = {
  title: "The machine: your sentence runs through it",
  keepsStill: true,
  mount({ body, still, model, isLoaded, load, sentence, say, tabulate, fail, settings }) {
    /** @typedef {{ part: string, name: string, text: string, what: string, layer: number | null }} Stop */
    /** @type {Stop[]} */
    let stops = [];
    /** @type {Run} */
    let run = { arrays: {}, layers: 0, groups: 1, tokens: [], hasStart: false, top: [] };
    /** Whether it plays because the page was opened: then it does not speak. */
    let isShow = false;
    let [at, head] = [0, 0];
    let grown = "";
    /** @type {ReturnType<typeof setInterval> | undefined} */
    let beat;

    // The drawing stays in sight, and the part that is lit stays in sight in it.
    const view = h("div", { class: "pl-view", tabindex: "0", role: "region", "aria-label": "The drawing" });
    const svg = still.querySelector("svg");
    svg?.before(view);
    if (svg) view.append(svg);

    const where = h("p", { class: "pl-head" });
    const heads = h("div");
    const picture = h("div", { class: "pl-picture" });
    const words = h("p", { class: "pl-soft pl-told" });
    const back = h("button", { type: "button", onclick: () => go(at - 1) }, "Back");
    const step = h("button", { type: "button", onclick: () => go(at + 1) }, "Step");
    const play = h("button", { type: "button", onclick: toggle }, "Play");
    const skip = h("button", { type: "button", onclick: toNextWord }, "Next word");
    const append = h("button", { type: "button", onclick: () => feedBack(false) }, "Feed the new token back");
    const text = h("p", { class: "pl-text" });
    body.append(
      h("div", { class: "pl-row" }, back, step, play, skip),
      // The two are never seen together, so one place is enough.
      h("div", { class: "pl-row pl-place" }, where, h("div", { class: "pl-slot" }, heads, append)),
      picture,
      words,
      text,
    );
    body.addEventListener("keydown", (event) => {
      if (event.target instanceof HTMLSelectElement) return; // there the keys choose
      const last = stops.length - 1;
      /** @type {Record<string, number>} */
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last };
      if (!(event.key in to)) return;
      event.preventDefault();
      pause();
      isShow = false;
      go(to[event.key]);
    });

    /** Straight to what comes next; from there, it is fed back, and straight to what comes then. */
    function toNextWord() {
      pause();
      isShow = false;
      if (at === stops.length - 1) void feedBack(true);
      else go(stops.length - 1);
    }
    /** @param {boolean} toEnd whether to go on at the end, or to walk again */
    async function feedBack(toEnd) {
      try {
        await load();
      } catch (error) {
        return fail(/** @type {Error} */ (error));
      }
      grown += run.top[0][0];
      if (!toEnd) at = 0;
      await refresh();
    }
    function toggle() {
      isShow = false;
      if (beat) return pause();
      begin();
    }
    function begin() {
      play.textContent = "Pause";
      if (at >= stops.length - 1) go(0);
      beat = setInterval(() => (at < stops.length - 1 ? go(at + 1) : pause()), BEAT_MS);
    }
    function pause() {
      clearInterval(beat);
      beat = undefined;
      play.textContent = "Play";
    }

    /** @returns {Promise<Run>} */
    async function computed() {
      const { ids, pieces } = await model().encode(sentence() + grown);
      const traced = await model().trace(ids);
      const arrays = Object.fromEntries(traced.map((record) => [record.name, seen(record)]));
      const sampling = { temperature: 1, topK: 0, topP: 1 };
      const { top } = await model().ask("chances", { logits: arrays.logits.rows[0], sampling, top: ANSWERS });
      const { config } = /** @type {NonNullable<ReturnType<typeof model>["loaded"]>} */ (model().loaded);
      return {
        arrays,
        layers: config.num_hidden_layers,
        groups: config.num_attention_heads / config.num_key_value_heads,
        tokens: pieces.map((piece) => piece.text),
        hasStart: pieces[0]?.isSpecial ?? false,
        top: top.map((/** @type {{ text: string, before: number }} */ one) => [one.text, one.before]),
      };
    }

    const refresh = newestOnly(async () => {
      run = isLoaded() || !settings.recorded ? await computed() : /** @type {Run} */ (JSON.parse(settings.recorded));
      const { arrays, layers, groups } = run;
      /** @type {Stop[]} */
      const all = [{ part: "embed_tokens", name: "embed_tokens", text: "each token takes its row of the table", what: "the embeddings", layer: null }];
      for (let layer = 0; layer < layers; layer++) {
        for (const [part, name, said, what] of LAYER_PARTS) {
          all.push({ part, name: `layers.${layer}.${name}`, text: said, what, layer });
        }
      }
      all.push({ part: "norm", name: "norm", text: "brought to one size a last time", what: "the normed rows", layer: null });
      all.push({ part: "logits", name: "logits", text: "a score for every token", what: "the scores", layer: null });
      stops = all.filter(({ name }) => name in arrays); // some families leave RoPE out of some layers
      text.replaceChildren(sentence(), h("mark", {}, grown));
      const weights = stops.find(({ part }) => part === "weights");
      const count = weights ? arrays[weights.name].rows.length : 1;
      head = Math.min(head, count - 1);
      const options = Array.from({ length: count }, (_, one) => `${one} (KV group ${Math.floor(one / groups)})`);
      const select = choice(options, (index) => {
        head = index;
        go(at);
      });
      select.selectedIndex = head;
      heads.replaceChildren(labelled("Query head", select));
      tell();
      go(at);
    }, fail);

    /** The shapes of this sentence's arrays, in the drawing and in the table that says the same. */
    function tell() {
      for (const box of still.querySelectorAll("a[data-part]")) {
        const made = stops.find(({ part }) => part === box.getAttribute("data-part"));
        const lines = [...box.querySelectorAll("[data-shape]")];
        const sizes = made ? named(run.arrays[made.name]) : [];
        // On one line, or on two that are broken in the middle.
        const half = Math.ceil(sizes.length / lines.length);
        lines.forEach((line, i) => {
          const isBroken = i + 1 < lines.length && sizes.length > 0;
          line.textContent = sizes.slice(i * half, (i + 1) * half).join(" × ") + (isBroken ? " ×" : "");
        });
      }
      const times = still.querySelector("[data-layers]");
      if (times) times.textContent = counted(run.layers, "layer");
      const [answer, share] = run.top[0];
      tabulate(
        `The parts of a Llama, in the order in which “${sentence() + grown}” runs through them. The best next token is “${visible(answer)}”, with ${percent(share)}`,
        ["part", "array", "axes", "shape"],
        stops.filter(({ layer }) => !layer).map(({ part, name, what }) => {
          const { axes, shape } = run.arrays[name];
          const label = still.querySelector(`a[data-part="${part}"] text`)?.textContent ?? what;
          return [label, name.replace("layers.0", "layers.{layer}"), axes.join(" × "), shape.join(" × ")];
        }),
      ); // prettier-ignore
    }

    /** @param {number} to */
    function go(to) {
      at = Math.max(0, Math.min(to, stops.length - 1));
      const { part, name, text: said, what, layer } = stops[at];
      const { rows } = run.arrays[name];
      for (const shape of still.querySelectorAll("[data-part]")) {
        shape.classList.toggle("pl-here", shape.getAttribute("data-part") === part);
      }
      follow();
      const isEnd = at === stops.length - 1;
      where.textContent = layer === null ? said[0].toUpperCase() + said.slice(1) : `Layer ${layer}: ${said}`;
      const sizes = named(run.arrays[name]).join(" × ");
      const last = visible(run.tokens[run.tokens.length - 1] ?? "");
      const hasHeads = rows.length > 1;
      const row = rows[hasHeads ? head : 0];
      const ofHead = hasHeads ? `, query head ${head} of KV group ${Math.floor(head / run.groups)}` : "";
      const recorded = `(${name.split(".").at(-1)}, ${sizes})`;
      if (isEnd) {
        drawChances();
        words.textContent =
          `After the last token, “${last}”, every token of the vocabulary has a score ${recorded}. ` +
          `Softmax makes chances of the scores; the ${run.top.length} likeliest are drawn. ` +
          `The best next token is “${visible(run.top[0][0])}”, with ${percent(run.top[0][1])}.`;
      } else if (part === "weights") {
        words.textContent =
          `The last token, “${last}”${ofHead}, ${drawWeights(row)} ` +
          `They are its row of ${what} ${recorded}.`;
      } else {
        draw(row);
        const width = run.arrays[name].shape[run.arrays[name].shape.length - 1];
        words.textContent =
          `The last token, “${last}”${ofHead}: ${counted(width, "number")}` +
          (width > CELLS ? `, the first ${CELLS} of them drawn, what is positive upwards. ` : ", what is positive upwards. ") +
          `They are its row of ${what} ${recorded}.`;
      }
      if (!isShow) say(`${where.textContent}. ${words.textContent}`);
      if (!isEnd && document.activeElement === append) step.focus(); // it goes away
      append.classList.toggle("pl-away", !isEnd);
      heads.classList.toggle("pl-away", !hasHeads);
      back.setAttribute("aria-disabled", String(at === 0));
      step.setAttribute("aria-disabled", String(isEnd));
    }

    /** The lit box goes to the middle of what is seen of the drawing; the page does not move. */
    function follow() {
      const lit = view.querySelector("a.pl-here")?.getBoundingClientRect();
      if (!lit) return;
      const { top, height } = view.getBoundingClientRect();
      view.scrollTop += lit.top + lit.height / 2 - (top + height / 2);
    }

    /** @param {ArrayLike<number>} row */
    function draw(row) {
      const shown = Array.from(row).slice(0, CELLS);
      const largest = shown.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-9);
      const label = `Numbers from ${Math.min(...shown).toFixed(2)} to ${Math.max(...shown).toFixed(2)}`;
      const cells = shown.map((x) => {
        const size = (Math.abs(x) / largest).toFixed(3);
        return h("i", { class: x < 0 ? "pl-minus" : "pl-plus", style: `--size:${size}`, title: x.toFixed(3) });
      });
      picture.replaceChildren(h("div", { class: "pl-strip", role: "img", "aria-label": label }, ...cells));
    }

    /** A bar for each token that is looked at, with the token under it; returns what to say of them. @param {ArrayLike<number>} row */
    function drawWeights(row) {
      const { tokens, hasStart } = run;
      const shares = Array.from(row);
      const largest = Math.max(...shares);
      const best = shares.indexOf(largest);
      /** @param {number} i */
      const nameOf = (i) => (hasStart && i === 0 ? "start token" : visible(tokens[i]));
      const isAll = shares.length <= COLUMNS;
      // The start token is often the one most looked at, so it stays.
      const shown = shares.map((_, i) => i).filter((i) => isAll || i === 0 || i > shares.length - COLUMNS);
      const label = shown.map((i) => `${nameOf(i)} ${percent(shares[i])}`).join(", ");
      picture.replaceChildren(
        h(
          "div", { class: "pl-looks", role: "img", "aria-label": `Attention weights: ${label}` },
          ...shown.map((i) =>
            h(
              "span", { class: i === best ? "pl-best" : "", title: `${nameOf(i)}, ${percent(shares[i])}` },
              h("i", { style: `--size:${(shares[i] / largest).toFixed(3)}` }),
              h("b", { class: hasStart && i === 0 ? "" : "pl-mono" }, nameOf(i)),
            ),
          ),
        ),
      ); // prettier-ignore
      const tallest = hasStart && best === 0 ? "the start token" : `“${visible(tokens[best])}”`;
      return (
        `looks most at ${tallest}, with ${percent(largest)}: the tallest bar. ` +
        (isAll ? "" : `Of ${shares.length} bars the first and the last ${COLUMNS - 1} are drawn. `) +
        (hasStart ? `The first is the start token, “${visible(tokens[0])}”, which stands before every text. ` : "") +
        "All bars together are 100%."
      );
    }

    function drawChances() {
      const [[, full]] = run.top;
      picture.replaceChildren(
        h(
          "div", { class: "pl-bars" },
          ...run.top.flatMap(([token, share]) => [
            h("span", { class: "pl-mono" }, visible(token)),
            h("span", { class: "pl-track" }, h("i", { class: "pl-after", style: `width:${((100 * share) / full).toFixed(2)}%` })),
            h("span", { class: "pl-share" }, percent(share)),
          ]),
        ),
      ); // prettier-ignore
    }

    return async () => {
      const isPlaying = beat !== undefined;
      grown = "";
      at = 0;
      pause();
      isShow = !isLoaded() || (isShow && isPlaying);
      await refresh();
      if (isPlaying || (isShow && !matchMedia("(prefers-reduced-motion: reduce)").matches)) begin();
    };
  },
};

/** The sizes of an array's axes, with what they count. @param {Seen} array */
function named({ axes, shape }) {
  return shape.map((size, i) => counted(size, AXES[axes[i]] ?? "feature"));
}

/** What is shown of an array: of every head, where there are query heads. @param {TraceRecord} record @returns {Seen} */
function seen({ axes, shape, data }) {
  const width = shape[shape.length - 1];
  const seq = shape[axes.indexOf("seq")];
  const rows = Array.from({ length: data.length / (seq * width) }, (_, i) => data.subarray(((i + 1) * seq - 1) * width, (i + 1) * seq * width));
  return { axes, shape, rows };
}
