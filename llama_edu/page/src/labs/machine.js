/** The whole model in one drawing, and the reader's sentence running through it, part by part. */

import { h, newestOnly, percent, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../trace.js").TraceRecord} TraceRecord */

const CELLS = 32; // numbers shown of a row
const BEAT_MS = 900;

/** @typedef {{ shape: number[], width: number, row: ArrayLike<number> }} Seen the last token's row of an array, and its whole width */
/** @typedef {{ arrays: Record<string, Seen>, layers: number, last: string, next: string, share: number }} Run */

/** Part of the drawing → the recorded array it shows, and what to say. @type {[string, string, string][]} */
const LAYER_PARTS = [
  ["input_layernorm", "input_layernorm", "every row is brought to one size"],
  ["q_proj", "self_attn.q_proj", "the query: what this token asks"],
  ["k_proj", "self_attn.k_proj", "the key: what it offers to others who ask"],
  ["v_proj", "self_attn.v_proj", "the value: what it hands over when it is looked at"],
  ["rope", "self_attn.q_rope", "the query, turned by the token's position"],
  ["weights", "self_attn.weights", "how much it looks at each token before it"],
  ["attn_v", "self_attn.attn_v", "the values, mixed by those shares"],
  ["attn_residual", "attn_residual", "what was mixed is added to the token's row"],
  ["post_attention_layernorm", "post_attention_layernorm", "once more brought to one size"],
  ["gate_up", "mlp.gate_proj", "the gate: what to let pass"],
  ["gated", "mlp.gated", "what the gate let pass"],
  ["mlp_residual", "mlp_residual", "and that is added to the row too"],
];

/** @type {LabModule} */
export const machine = {
  title: "The machine: your sentence runs through it",
  keepsStill: true,
  mount({ body, still, model, isLoaded, load, sentence, say, tabulate, fail, settings }) {
    /** @typedef {{ part: string, name: string, text: string, layer: number | null }} Stop */
    /** @type {Stop[]} */
    let stops = [];
    /** What each array's shape is, and the last token's row of it. @type {Map<string, Seen>} */
    let records = new Map();
    /** Whether it plays because the page was opened: then it does not speak. */
    let isShow = false;
    let at = 0;
    let last = "";
    let next = "";
    let share = 0;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    let beat;

    const where = h("p", { class: "pl-head" });
    const strip = h("div", { class: "pl-strip", role: "img" });
    const words = h("p", { class: "pl-soft" });
    const back = h("button", { type: "button", onclick: () => go(at - 1) }, "Back");
    const step = h("button", { type: "button", onclick: () => go(at + 1) }, "Step");
    const play = h("button", { type: "button", onclick: toggle }, "Play");
    const append = h("button", { type: "button" }, "Feed the new token back");
    body.append(h("div", { class: "pl-row" }, back, step, play, append), where, strip, words);
    const text = h("p", { class: "pl-text" });
    body.append(text);
    body.addEventListener("keydown", (event) => {
      const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
      if (!by) return;
      event.preventDefault();
      pause();
      isShow = false;
      go(at + by);
    });
    let grown = "";
    append.addEventListener("click", async () => {
      try {
        await load();
      } catch (error) {
        return fail(/** @type {Error} */ (error));
      }
      grown += next;
      at = 0;
      void refresh();
    });

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
      const logits = /** @type {Float32Array} */ (arrays.logits.row);
      const sampling = { temperature: 1, topK: 0, topP: 1 };
      const { top } = await model().ask("chances", { logits, sampling, top: 1 });
      const layers = model().loaded?.config.num_hidden_layers ?? 0;
      return { arrays, layers, last: pieces[pieces.length - 1]?.text ?? "", next: top[0].text, share: top[0].before };
    }

    const refresh = newestOnly(async () => {
      const run = isLoaded() || !settings.recorded ? await computed() : /** @type {Run} */ (JSON.parse(settings.recorded));
      const { layers } = run;
      records = new Map(Object.entries(run.arrays));
      stops = [{ part: "embed_tokens", name: "embed_tokens", text: "each token takes its row of the table", layer: null }];
      for (let layer = 0; layer < layers; layer++) {
        for (const [part, name, said] of LAYER_PARTS) {
          stops.push({ part, name: `layers.${layer}.${name}`, text: said, layer });
        }
      }
      stops.push({ part: "norm", name: "norm", text: "brought to one size a last time", layer: null });
      stops.push({ part: "logits", name: "logits", text: "a score for every token", layer: null });
      last = visible(run.last);
      next = run.next;
      share = run.share;
      text.replaceChildren(sentence(), h("mark", {}, grown));
      for (const label of still.querySelectorAll("[data-axes]")) {
        const made = stops.find(({ part }) => part === label.getAttribute("data-part"));
        const shape = made && records.get(made.name)?.shape;
        if (shape) label.textContent = shape.join(" × ");
      }
      const times = still.querySelector("[data-layers]");
      if (times) times.textContent = `${layers} layers`;
      tabulate(
        `The parts, in the order in which the sentence runs through them. The best next token is “${visible(next)}”, with ${percent(share)}`,
        ["what is done", "array", "shape"],
        stops.filter(({ layer }) => !layer).map((stop) => [
          stop.text, stop.name.replace("layers.0", "layers.{layer}"), records.get(stop.name)?.shape.join(" × ") ?? "",
        ]),
      ); // prettier-ignore
      go(at);
    }, fail);

    /** @param {number} to */
    function go(to) {
      at = Math.max(0, Math.min(to, stops.length - 1));
      const { part, name, text: said, layer } = stops[at];
      const record = records.get(name);
      if (!record) return;
      for (const shape of still.querySelectorAll("[data-part]")) {
        shape.classList.toggle("pl-here", shape.getAttribute("data-part") === part);
      }
      const place = layer === null ? "" : `Layer ${layer}: `;
      where.textContent = layer === null ? said[0].toUpperCase() + said.slice(1) : place + said;
      const { row, width } = record;
      draw(row);
      const isEnd = at === stops.length - 1;
      words.textContent =
        `The last token, “${last}”: ${width} numbers` +
        (width > CELLS ? `, the first ${CELLS} of them drawn, what is positive upwards. ` : ". ") +
        `They are a row of ${name.split(".").at(-1)}, ${record.shape.join(" × ")}.` +
        (isEnd ? ` The best next token is “${visible(next)}”, with ${percent(share)}.` : "");
      if (!isShow) say(`${where.textContent}. ${words.textContent}`);
      append.hidden = !isEnd;
      back.setAttribute("aria-disabled", String(at === 0));
      step.setAttribute("aria-disabled", String(isEnd));
    }

    /** @param {ArrayLike<number>} row */
    function draw(row) {
      const shown = Array.from(row).slice(0, CELLS);
      const largest = shown.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-9);
      strip.setAttribute("aria-label", `Numbers from ${Math.min(...shown).toFixed(2)} to ${Math.max(...shown).toFixed(2)}`);
      strip.replaceChildren(
        ...shown.map((x) => {
          const size = (Math.abs(x) / largest).toFixed(3);
          return h("i", { class: x < 0 ? "pl-minus" : "pl-plus", style: `--size:${size}`, title: x.toFixed(3) });
        }),
      );
    }

    return async () => {
      grown = "";
      at = 0;
      pause();
      isShow = !isLoaded();
      await refresh();
      if (isShow && !matchMedia("(prefers-reduced-motion: reduce)").matches) begin();
    };
  },
};

/** What is shown of an array: of the first head, where there are heads. @param {TraceRecord} record @returns {Seen} */
function seen({ axes, shape, data }) {
  const width = shape[shape.length - 1];
  const seq = shape[axes.indexOf("seq")];
  return { shape, width, row: data.subarray((seq - 1) * width, seq * width) };
}
