/** The whole model in one drawing, and the reader's sentence running through it, part by part. */

import { h, newestOnly, percent, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../trace.js").TraceRecord} TraceRecord */

const CELLS = 32; // numbers shown of a row
const BEAT_MS = 900;

/** Part of the drawing → the recorded array it shows, and what to say. @type {[string, string, string][]} */
const LAYER_PARTS = [
  ["input_layernorm", "input_layernorm", "normalised"],
  ["q_proj", "self_attn.q_proj", "asked: the query"],
  ["k_proj", "self_attn.k_proj", "offered: the key"],
  ["v_proj", "self_attn.v_proj", "carried: the value"],
  ["rope", "self_attn.q_rope", "the query, turned by its position"],
  ["weights", "self_attn.weights", "shares of attention"],
  ["attn_v", "self_attn.attn_v", "values, mixed"],
  ["attn_residual", "attn_residual", "added to the stream"],
  ["post_attention_layernorm", "post_attention_layernorm", "normalised again"],
  ["gate_up", "mlp.gate_proj", "the gate"],
  ["gated", "mlp.gated", "what the gate lets pass"],
  ["mlp_residual", "mlp_residual", "added to the stream"],
];

/** @type {LabModule} */
export const machine = {
  title: "The machine: your sentence runs through it",
  keepsStill: true,
  mount({ body, still, model, sentence, say, fail }) {
    /** @typedef {{ part: string, name: string, text: string, layer: number | null }} Stop */
    /** @type {Stop[]} */
    let stops = [];
    /** @type {Map<string, TraceRecord>} */
    let records = new Map();
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
    let grown = "";
    append.addEventListener("click", () => {
      grown += next;
      at = 0;
      void refresh();
    });

    function toggle() {
      if (beat) return pause();
      play.textContent = "Pause";
      if (at >= stops.length - 1) go(0);
      beat = setInterval(() => (at < stops.length - 1 ? go(at + 1) : pause()), BEAT_MS);
    }
    function pause() {
      clearInterval(beat);
      beat = undefined;
      play.textContent = "Play";
    }

    const refresh = newestOnly(async () => {
      const { ids, pieces } = await model().encode(sentence() + grown);
      const traced = await model().trace(ids);
      records = new Map(traced.map((record) => [record.name, record]));
      const layers = model().loaded?.config.num_hidden_layers ?? 0;
      stops = [{ part: "embed_tokens", name: "embed_tokens", text: "one row of the table per token", layer: null }];
      for (let layer = 0; layer < layers; layer++) {
        for (const [part, name, said] of LAYER_PARTS) {
          stops.push({ part, name: `layers.${layer}.${name}`, text: said, layer });
        }
      }
      stops.push({ part: "norm", name: "norm", text: "normalised a last time", layer: null });
      stops.push({ part: "logits", name: "logits", text: "a score for every token", layer: null });
      const record = /** @type {TraceRecord} */ (records.get("logits"));
      const logits = record.data.slice(-record.shape[1]);
      const sampling = { temperature: 1, topK: 0, topP: 1 };
      const { top } = await model().ask("chances", { logits, sampling, top: 1 });
      last = visible(pieces[pieces.length - 1]?.text ?? "");
      next = top[0].text;
      share = top[0].before;
      text.replaceChildren(sentence(), h("mark", {}, grown));
      for (const label of still.querySelectorAll("[data-axes]")) {
        const made = stops.find(({ part }) => part === label.getAttribute("data-part"));
        const shape = made && records.get(made.name)?.shape;
        if (shape) label.textContent = shape.join(" × ");
      }
      const times = still.querySelector("[data-layers]");
      if (times) times.textContent = `${layers} layers`;
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
      where.textContent = `${place}${name.split(".").at(-1)}, shape ${record.shape.join(" × ")}`;
      const row = lastRow(record);
      draw(row);
      const isEnd = at === stops.length - 1;
      words.textContent =
        `${said}, for the last token, “${last}”. ${row.length} numbers` +
        (row.length > CELLS ? `, the first ${CELLS} drawn.` : ".") +
        (isEnd ? ` The best next token is “${visible(next)}”, with ${percent(share)}.` : "");
      say(`${where.textContent}. ${isEnd ? words.textContent : said}`);
      append.hidden = !isEnd;
      back.setAttribute("aria-disabled", String(at === 0));
      step.setAttribute("aria-disabled", String(isEnd));
    }

    /** @param {Float32Array} row */
    function draw(row) {
      const shown = Array.from(row.subarray(0, CELLS));
      const largest = shown.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-9);
      strip.setAttribute("aria-label", `Numbers from ${Math.min(...shown).toFixed(2)} to ${Math.max(...shown).toFixed(2)}`);
      strip.replaceChildren(
        ...shown.map((x) => {
          const size = (Math.abs(x) / largest).toFixed(3);
          return h("i", { class: x < 0 ? "pl-minus" : "pl-plus", style: `--size:${size}`, title: x.toFixed(3) });
        }),
      );
    }

    return () => {
      grown = "";
      at = 0;
      pause();
      return refresh();
    };
  },
};

/** The numbers that belong to the last token: of the first head, where there are heads. @param {TraceRecord} record */
function lastRow({ axes, shape, data }) {
  const width = shape[shape.length - 1];
  const seq = shape[axes.indexOf("seq")];
  return data.subarray((seq - 1) * width, seq * width);
}
