/** RoPE: every pair of a head's numbers is a hand that turns with the position. */

import { OPERATORS } from "../operators.js";
import { choice, counted, h, labelled, newestOnly, slider, tick, visible } from "./dom.js";
import { svg } from "./svg.js";

/** @typedef {import("./frame.js").LabModule} LabModule */

const FARTHEST = 64; // positions
const [WIDTH, HEIGHT, LEFT] = [360, 120, 24]; // of the curve, and where it begins

/** @type {LabModule} */
export const clocks = {
  title: "Clocks: RoPE turns pairs of numbers by their position",
  invitation: "Turn the hands yourself",
  mount({ body, model, sentence, say, tabulate, fail }) {
    /** The tokens of the sentence. @type {string[]} */
    let texts = [];
    const faces = h("div", { class: "pl-clocks" });
    const curve = h("div", { class: "pl-curve" });
    const words = h("p");
    const query = slider("position of the query", { min: 0, max: FARTHEST, step: 1, value: 12 }, draw);
    const key = slider("position of the key", { min: 0, max: FARTHEST, step: 1, value: 5 }, draw);
    const theta = slider("θ as a power of 10", { min: 1, max: 6, step: 0.1, value: 4 }, draw);
    const base = h("p", { class: "pl-soft" });
    const handKey = h(
      "p", { class: "pl-soft" }, "Each clock is one pair of a head's numbers. It has a hand for the ",
      h("span", { class: "pl-bit-key pl-bit-exponent" }, "query"), " and one for the ",
      h("span", { class: "pl-bit-key pl-bit-mantissa" }, "key"), ".",
    ); // prettier-ignore
    const pair = { chosen: 1, place: h("div", { class: "pl-row" }), shown: h("div", { class: "pl-pair" }) };
    const layout = tick("the other layout: neighbours are a pair", draw);
    const cells = h("div", { class: "pl-cells", "aria-hidden": "true" });
    const meaning = h("p", { class: "pl-soft" });
    body.append(
      h("div", { class: "pl-two" }, h("div", {}, query.label, key.label, theta.label), curve),
      words, base, pair.place, pair.shown, cells, layout.label, meaning, handKey, faces,
    ); // prettier-ignore

    const config = () => /** @type {NonNullable<ReturnType<typeof model>["loaded"]>} */ (model().loaded).config;

    /** The two numbers of a head that turn together. @param {number} j @param {number} count */
    function numbers(j, count) {
      return layout.input.checked ? [2 * j, 2 * j + 1] : [j, j + count];
    }

    function draw() {
      const power = Number(theta.input.value);
      // The slider's own places are round; the model's θ need not be one of them.
      const isOwn = Math.abs(power - Math.log10(config().rope_theta)) < 0.05;
      const used = isOwn ? config().rope_theta : 10 ** power;
      const turns = OPERATORS.inverseFrequencies({ ...config(), rope_theta: used });
      const [q, k] = [Number(query.input.value), Number(key.input.value)];
      base.textContent =
        `θ = ${Math.round(used).toLocaleString("en")}${isOwn ? ", as the model was trained" : ", not the model's"}. ` +
        `It is the base of all speeds: from one position to the next, pair j turns by θ to the power of −j/${turns.length} radians` +
        `${config().rope_scaling ? ", before the model's scaling of them" : ""}, and the slowest pair needs ${Math.round((2 * Math.PI) / turns[turns.length - 1]).toLocaleString("en")} positions for a turn.`;
      faces.replaceChildren(
        ...Array.from(turns, (turn, j) => {
          const period = (2 * Math.PI) / turn;
          return h(
            "figure",
            {},
            svg("svg", { viewBox: "-30 -30 60 60", "aria-hidden": "true" },
              svg("circle", { r: 28 }), hand(q * turn, "pl-hand"), hand(k * turn, "pl-other")),
            h("figcaption", {}, `${numbers(j, turns.length).join(" and ")}: a turn in ${period < 100 ? period.toFixed(1) : Math.round(period).toLocaleString("en")} positions`),
          );
        }),
      ); // prettier-ignore
      const shared = agreement(turns, q - k);
      words.textContent =
        `Query at ${q}${token(q)}, key at ${k}${token(k)}: ${Math.abs(q - k)} apart. Were both the same vector, with pairs of equal ` +
        `length, their product would now be ${signed(shared, 2)} of what it was. It depends on the distance only.`;
      drawPair(turns, q, k);
      curve.replaceChildren(
        h("p", { class: "pl-soft" }, "What is left of the product when query and key are 0, 1, 2, … 64 positions apart, as a mean over all pairs. The dot is where yours are."),
        plot(turns, Math.abs(q - k)),
      );
      tabulate(
        `RoPE’s clocks with θ = ${Math.round(used).toLocaleString("en")}: the query at ${q}, the key at ${k}`,
        ["pair", "turns in, positions", "query, degrees", "key, degrees", "product left"],
        Array.from(turns, (turn, j) => [
          numbers(j, turns.length).join(", "), Math.round((2 * Math.PI) / turn).toLocaleString("en"),
          ...[q, k].map((position) => (((position * turn * 180) / Math.PI) % 360).toFixed(0)),
          Math.cos((q - k) * turn).toFixed(2).replace("-", "−"),
        ]),
      ); // prettier-ignore
      say(`${words.textContent} ${pair.shown.textContent}`);
    }

    /** Which token of the sentence stands at a position. @param {number} position */
    function token(position) {
      if (position < texts.length) return ` (“${visible(texts[position])}”)`;
      return ` (past your sentence's ${counted(texts.length, "token")})`;
    }

    /** One pair, large: where it points at both positions, and the angle between. @param {Float32Array} turns @param {number} q @param {number} k */
    function drawPair(turns, q, k) {
      pair.chosen = Math.min(pair.chosen, turns.length - 1);
      const names = Array.from(turns, (_, j) => `numbers ${numbers(j, turns.length).join(" and ")}`);
      const list = choice(names, (index) => {
        pair.chosen = index;
        draw();
      });
      list.selectedIndex = pair.chosen;
      const isHere = pair.place.contains(document.activeElement);
      pair.place.replaceChildren(labelled("One pair", list));
      if (isHere) list.focus();
      const together = numbers(pair.chosen, turns.length);
      const size = 2 * turns.length;
      cells.replaceChildren(
        ...Array.from({ length: size }, (_, i) => h("span", { class: together.includes(i) ? "pl-cell pl-fresh" : "pl-cell" }, String(i))),
      );
      meaning.textContent =
        `Numbers ${together.join(" and ")} of the head's ${size} turn together. The other layout has the same angles, but other numbers ` +
        "are a pair: weights made for one layout are wrong in the other.";
      const turn = turns[pair.chosen];
      const [atQ, atK, between] = [q * turn, k * turn, (q - k) * turn];
      pair.shown.replaceChildren(
        svg("svg", { viewBox: "-30 -30 60 60", "aria-hidden": "true" },
          svg("circle", { r: 28 }), hand(atQ, "pl-hand"), hand(atK, "pl-other"), arc(atK, atQ)),
        h("p", { class: "pl-words" },
          `It turns by ${degrees(turn)} from one position to the next. At ${q} the query's pair has turned by ${degrees(atQ)}, ` +
          `at ${k} the key's by ${degrees(atK)}: between them are ${degrees(between)}, ${signed(q - k, 0)} steps of ${degrees(turn)}, ` +
          `and ${signed(Math.cos(between), 2)} of the pair's product is left.`),
      ); // prettier-ignore
    }

    /** @type {ReturnType<typeof model> | null} */
    let modelOfTheta = null;
    return newestOnly(async () => {
      texts = (await model().encode(sentence())).pieces.map(({ text }) => text);
      // A new sentence leaves the reader's θ alone; a new model brings its own.
      if (modelOfTheta !== model()) theta.set(Number(Math.log10(config().rope_theta).toFixed(1)));
      modelOfTheta = model();
      draw();
    }, fail);
  },
};

/** @param {number} angle radians */
function degrees(angle) {
  const all = (angle * 180) / Math.PI;
  return `${signed(all, Math.abs(all) < 1 ? 2 : 1)}°`;
}

/** A number with a minus sign, which is no hyphen. @param {number} value @param {number} digits */
function signed(value, digits) {
  return value.toFixed(digits).replace("-", "−");
}

/** The way from one angle to the other, the shorter one. @param {number} from @param {number} to */
function arc(from, to) {
  const end = from + Math.atan2(Math.sin(to - from), Math.cos(to - from));
  const point = (/** @type {number} */ angle) => `${(16 * Math.cos(angle)).toFixed(2)} ${(-16 * Math.sin(angle)).toFixed(2)}`;
  return svg("path", { d: `M ${point(from)} A 16 16 0 0 ${end > from ? 0 : 1} ${point(end)}` });
}

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
  const x = (/** @type {number} */ d) => LEFT + (d * (WIDTH - LEFT - 10)) / FARTHEST;
  const y = (/** @type {number} */ value) => HEIGHT / 2 - value * (HEIGHT / 2 - 10);
  const points = Array.from({ length: FARTHEST + 1 }, (_, d) => `${x(d)},${y(agreement(turns, d))}`);
  return svg(
    "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "The product against the distance, 0 to 64" },
    svg("line", { x1: LEFT, x2: WIDTH, y1: y(0), y2: y(0) }),
    ...[1, 0, -1].map((value) => svg("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end", "font-size": 12 }, signed(value, 0))),
    ...[16, 32, 48, 64].map((d) => svg("text", { x: x(d), y: y(0) + 15, "text-anchor": "middle", "font-size": 12 }, String(d))),
    svg("polyline", { points: points.join(" ") }),
    svg("circle", { cx: x(chosen), cy: y(agreement(turns, chosen)), r: 5 }),
  ); // prettier-ignore
}
