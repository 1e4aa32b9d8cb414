/** RoPE: every pair of a head's numbers is a hand that turns with the position. */

import { OPERATORS } from "../operators.js";
import { h, slider } from "./dom.js";
import { svg } from "./svg.js";

/** @typedef {import("./frame.js").LabModule} LabModule */

const FARTHEST = 64; // positions
const [WIDTH, HEIGHT] = [360, 120];

/** @type {LabModule} */
export const clocks = {
  title: "Clocks: RoPE turns pairs of numbers by their position",
  mount({ body, model, say }) {
    const faces = h("div", { class: "pl-clocks" });
    const curve = h("div", { class: "pl-curve" });
    const words = h("p");
    const query = slider("position of the query", { min: 0, max: FARTHEST, step: 1, value: 12 }, draw);
    const key = slider("position of the key", { min: 0, max: FARTHEST, step: 1, value: 5 }, draw);
    body.append(query.label, key.label, words, faces, curve);

    function draw() {
      const { config } = /** @type {NonNullable<ReturnType<typeof model>["loaded"]>} */ (model().loaded);
      const turns = OPERATORS.inverseFrequencies(config);
      const [q, k] = [Number(query.input.value), Number(key.input.value)];
      faces.replaceChildren(
        ...Array.from(turns, (turn, j) => {
          const period = (2 * Math.PI) / turn;
          return h(
            "figure",
            {},
            svg("svg", { viewBox: "-30 -30 60 60", "aria-hidden": "true" },
              svg("circle", { r: 28 }), hand(q * turn, "pl-hand"), hand(k * turn, "pl-other")),
            h("figcaption", {}, `pair ${j}, ${j + turns.length}: a turn in ${period < 100 ? period.toFixed(1) : Math.round(period)}`),
          );
        }),
      ); // prettier-ignore
      const shared = agreement(turns, q - k);
      words.textContent =
        `Query at ${q}, key at ${k}: ${q - k} apart. Were both the same vector, with pairs of equal ` +
        `length, their product would now be ${shared.toFixed(2)} of what it was. It depends on the distance only.`;
      curve.replaceChildren(plot(turns, Math.abs(q - k)));
      say(words.textContent);
    }
    return draw;
  },
};

/** @param {number} angle @param {string} name */
function hand(angle, name) {
  return svg("line", { x2: 26 * Math.cos(angle), y2: -26 * Math.sin(angle), class: name });
}

/** The mean cosine over all pairs: what RoPE leaves of a product at a distance. @param {Float32Array} turns @param {number} distance */
function agreement(turns, distance) {
  return turns.reduce((sum, turn) => sum + Math.cos(distance * turn), 0) / turns.length;
}

/** @param {Float32Array} turns @param {number} chosen */
function plot(turns, chosen) {
  const x = (/** @type {number} */ d) => 10 + (d * (WIDTH - 20)) / FARTHEST;
  const y = (/** @type {number} */ value) => HEIGHT / 2 - value * (HEIGHT / 2 - 10);
  const points = Array.from({ length: FARTHEST + 1 }, (_, d) => `${x(d)},${y(agreement(turns, d))}`);
  return svg(
    "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "The product against the distance, 0 to 64" },
    svg("line", { x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }),
    svg("polyline", { points: points.join(" ") }),
    svg("circle", { cx: x(chosen), cy: y(agreement(turns, chosen)), r: 5 }),
  ); // prettier-ignore
}
