/** The bits of a number in four formats, to be flipped, and the numbers that lie next to it. */

import { FLOAT_FORMATS, around, bitCount, decoded, encoded } from "../float_formats.js";
import { choice, h, labelled, newestOnly, visible } from "./dom.js";
import { svg } from "./svg.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../float_formats.js").FloatFormat} FloatFormat */

const FIRST = 0.1;
const OFFERED = 8; // numbers of the model to choose from
const LINE = 40; // digits of a number that are written out
const [WIDTH, HEIGHT, EDGE] = [340, 62, 52]; // of a number line

/** @type {LabModule} */
export const bits = {
  title: "Bits: one number in four formats",
  invitation: "Flip the bits yourself",
  mount({ body, model, sentence, say, tabulate, fail, settings }) {
    let value = Number(settings.value ?? FIRST);
    const box = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", size: 21 });
    const note = h("p", { class: "pl-note" });
    const offered = h("span");
    /** The model's numbers to choose from, once they are there. @type {HTMLSelectElement | null} */
    let list = null;
    const rows = FLOAT_FORMATS.map((format) => row(format));
    const shown = h("div", {}, ...rows.map((one) => one.element));
    const key = h(
      "p", { class: "pl-soft" }, h("span", { class: "pl-ask" }, "Press a bit to flip it: "), h("span", { class: "pl-bit-key pl-bit-sign" }, "sign"), " ",
      h("span", { class: "pl-bit-key pl-bit-exponent" }, "exponent"), " ", h("span", { class: "pl-bit-key pl-bit-mantissa" }, "mantissa"),
      ". All four formats then show the new number, as near as they come to it: ▼ is the number, and the long mark is what is stored.",
    ); // prettier-ignore
    body.append(h("div", { class: "pl-row" }, labelled("A number", box), offered), note, key, shown);
    box.addEventListener("input", () => {
      const typed = numberOf(box.value);
      if (list) list.selectedIndex = 0;
      // Bits of the number before would look like the answer to what was typed.
      shown.style.visibility = typed === null ? "hidden" : "";
      note.textContent = typed === null ? "That is no number yet. Decimals are read, such as 0.1 or 1e-5, and inf and nan." : "";
      if (typed !== null) show(typed);
    });

    /** @param {number} newValue @param {FloatFormat} [flipped] the format whose bits made it */
    function show(newValue, flipped) {
      value = newValue;
      shown.style.visibility = "";
      for (const one of rows) if (one.format !== flipped) one.set(encoded(one.format, value));
      for (const one of rows) one.draw();
      if (document.activeElement !== box) box.value = typable(value);
      tabulate(
        `${named(value) ?? allDigits(value) ?? written(value)} in four formats: its bits, and what is stored`,
        ["format", "sign, exponent, mantissa", "is"], rows.map((one) => one.cells()),
      ); // prettier-ignore
    }

    /** One format: its bits as buttons, what they are worth, and its place among the numbers. @param {FloatFormat} format */
    function row(format) {
      const count = bitCount(format);
      let code = 0;
      const buttons = Array.from({ length: count }, (_, i) => {
        const part = i === 0 ? "sign" : i <= format.exponent ? "exponent" : "mantissa";
        return h("button", {
          type: "button", class: `pl-bit pl-bit-${part}`, tabindex: i ? -1 : 0, "data-part": part, onclick: () => flip(i),
        }); // prettier-ignore
      });
      const bytes = [];
      for (let i = 0; i < count; i += 8) bytes.push(h("span", { class: "pl-byte" }, ...buttons.slice(i, i + 8)));
      const hint = `The ${count} bits of ${format.name}. Arrow keys move, space flips.`;
      const group = h("div", { class: "pl-bits", role: "group", "aria-label": hint }, ...bytes);
      group.addEventListener("keydown", (event) => {
        const at = buttons.findIndex((button) => button === document.activeElement);
        const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: count - 1 };
        const to = moves[/** @type {keyof typeof moves} */ (event.key)];
        if (at < 0 || to === undefined) return;
        event.preventDefault();
        focus(Math.min(Math.max(to, 0), count - 1));
      });
      const worth = h("p", { class: "pl-worth" });
      const line = h("div");
      const words = h("p", { class: "pl-soft" });
      const element = h("section", { "aria-label": format.name }, h("p", { class: "pl-head" }, format.name), group, worth, line, words);

      /** @param {number} i */
      function focus(i) {
        buttons.forEach((button, j) => button.setAttribute("tabindex", j === i ? "0" : "-1"));
        buttons[i].focus();
      }
      /** @param {number} i */
      function flip(i) {
        const weight = 2 ** (count - 1 - i);
        code += Math.floor(code / weight) % 2 ? -weight : weight;
        focus(i);
        if (list) list.selectedIndex = 0;
        const before = rows.map((one) => one.code());
        show(decoded(format, code).value, format);
        const noticed = rows.filter((one, j) => one.format !== format && one.code() !== before[j]).map((one) => one.format.name);
        note.textContent = noticed.length
          ? `One bit of ${format.name} was flipped, and ${noticed.join(", ")} changed with it.`
          : `One bit of ${format.name} was flipped, and no other format noticed: their nearest numbers are the same as before.`;
        say(`${format.name}: ${worth.textContent} ${words.textContent} ${note.textContent}`);
      }
      function draw() {
        const text = code.toString(2).padStart(count, "0");
        buttons.forEach((button, i) => {
          button.textContent = text[i];
          button.setAttribute("aria-pressed", String(text[i] === "1"));
          button.setAttribute("aria-label", `bit ${count - 1 - i}, ${button.dataset.part}, ${text[i]}`);
        });
        worth.textContent = explained(format, code);
        const stored = decoded(format, code).value;
        const near = Number.isFinite(stored) ? around(format, code) : [];
        line.replaceChildren(...(near.length ? [numberLine(near, stored, value)] : []));
        words.textContent = near.length ? distances(near, stored, value) : "It has no place on the line of numbers.";
      }
      function cells() {
        const text = code.toString(2).padStart(count, "0");
        const fields = [text[0], text.slice(1, 1 + format.exponent), text.slice(1 + format.exponent)];
        return [format.name, fields.join(" "), written(decoded(format, code).value)];
      }
      return { format, element, draw, cells, code: () => code, set: (/** @type {number} */ given) => (code = given) };
    }

    const offer = newestOnly(async () => {
      const { ids, pieces } = await model().encode(sentence());
      if (!ids.length) return offered.replaceChildren();
      const [{ shape, data }] = await model().trace(ids, { names: ["embed_tokens"] });
      const numbers = Array.from(data.subarray((ids.length - 1) * shape[1])).slice(0, OFFERED);
      const word = visible(pieces[pieces.length - 1].text);
      const texts = ["choose one", ...numbers.map((x, i) => `number ${i}: ${written(x)}`)];
      list = choice(texts, (index) => {
        if (!index) return;
        note.textContent = "";
        show(numbers[index - 1]);
      });
      offered.replaceChildren(labelled(`or one of the model's: from the embedding of “${word}”, your last token`, list));
    }, fail);

    show(value);
    return offer;
  },
};

/** A number as people type it, or null. @param {string} text */
function numberOf(text) {
  const plain = text.trim().toLowerCase().replaceAll("−", "-").replace(",", ".");
  const named = /^([+-]?)(?:(nan)|inf(?:inity)?|∞)$/.exec(plain);
  if (named) return named[2] ? NaN : named[1] === "-" ? -Infinity : Infinity;
  return plain && !Number.isNaN(Number(plain)) ? Number(plain) : null;
}

/** What is no finite number, and zero. @param {number} value */
function named(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
  return Object.is(value, -0) ? "−0" : value === 0 ? "0" : null;
}

/** @param {string | number} text */
const withMinus = (text) => String(text).replaceAll("-", "−");

/** So that it can be typed again and is then the same number. @param {number} value */
const typable = (value) => named(value) ?? withMinus(value);

/**
 * All digits of a number, or null where there are more than a line holds. JavaScript writes up to
 * a hundred digits of a number, and they are right; any that are left out are zeros.
 * @param {number} value @param {number} [most]
 */
function allDigits(value, most = LINE) {
  const [digits, power] = value.toExponential(100).split("e");
  const significand = digits.replace(/\.?0+$/, "");
  const count = significand.replace(/\D/g, "").length;
  if (Number.isInteger(value)) return Math.abs(value) < 10 ** most ? withMinus(BigInt(value).toString()) : null;
  if (count > most) return null;
  const places = count - 1 - Number(power);
  return withMinus(Number(power) < -6 ? `${significand}e${power}` : value.toFixed(places));
}

/** With up to `digits` digits, ≈ before those that were rounded; whole numbers whole. @param {number} value @param {number} [digits] */
function written(value, digits = 9) {
  const whole = Number.isSafeInteger(value) ? allDigits(value) : null;
  return named(value) ?? whole ?? allDigits(value, digits) ?? `≈ ${withMinus(Number(value.toPrecision(digits)))}`;
}

/** @param {number} power */
function raised(power) {
  return String(power).replace("-", "⁻").replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]);
}

/** What the bits say, as a product. @param {FloatFormat} format @param {number} code */
function explained(format, code) {
  const { value, isNegative, power, significand, isSubnormal } = decoded(format, code);
  const sign = isNegative ? "−" : "+";
  if (Number.isNaN(value)) {
    return format.hasInfinity
      ? "= NaN, not a number: the exponent is all ones, and the mantissa is not 0."
      : "= NaN, not a number: the exponent is all ones, and so is the mantissa. This format has no ∞, and what lies too far beyond its largest number, 448, becomes NaN.";
  }
  if (!Number.isFinite(value)) return `= ${written(value)}: the exponent is all ones, the mantissa is 0.`;
  const leading = isSubnormal ? ", with no leading 1: the exponent is all zeros" : "";
  const result = named(value) ?? allDigits(value);
  return `= ${sign} 2${raised(power)} × ${allDigits(significand)} ${result ? `= ${result}` : written(value)}${leading}`;
}

/** @param {number[]} near @param {number} stored @param {number} asked */
function distances(near, stored, asked) {
  const at = near.indexOf(stored === 0 ? 0 : stored);
  const above = near[at + 1];
  const step = above === undefined ? stored - near[at - 1] : above - stored;
  const off = Math.abs(asked - stored);
  const place = above === undefined ? "Nothing larger is a number here; the next one down is" : `The next one up is ${written(above)},`;
  // Neighbours are a power of two apart.
  const size = written(step, 3);
  const apart = `a step of 2${raised(Math.log2(step))} ${size.startsWith("≈") ? size : `= ${size}`}`;
  const exact = named(asked) ?? allDigits(asked) ?? `The number that is ${written(asked)}`;
  const kept = off ? `${typable(asked)} is off by ${written(off, 3)}.` : `${exact} is kept exactly.`;
  return `${place} ${apart}${above === undefined ? " away" : ""}. ${kept}`;
}

/**
 * The numbers of one format around one of them, at their true distances, and where the one that
 * was asked for lies.
 * @param {number[]} near @param {number} stored @param {number} asked
 */
function numberLine(near, stored, asked) {
  const [low, high] = [near[0], near[near.length - 1]];
  const x = (/** @type {number} */ v) => EDGE + ((v - low) / (high - low)) * (WIDTH - 2 * EDGE);
  const at = near.indexOf(stored === 0 ? 0 : stored);
  const parts = near.flatMap((number, i) => {
    const isHere = i === at;
    const tick = svg("line", { x1: x(number), x2: x(number), y1: 24, y2: isHere ? 40 : 36, class: isHere ? "pl-hand" : "" });
    // Only three fit without touching; the one in the middle is the one that is stored.
    const text = svg("text", { x: x(number), y: isHere ? 56 : 18, "text-anchor": "middle", "font-size": 11.5 }, written(number).replace("≈ ", "≈"));
    return isHere || Math.abs(i - at) === 1 ? [tick, text] : [tick];
  });
  const mark = Math.min(Math.max(x(asked), 4), WIDTH - 4);
  const arrow = svg("path", { d: `M ${mark} 30 l -4 -9 h 8 z`, class: "pl-asked" });
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, class: "pl-numbers", role: "img",
      "aria-label": `The numbers around ${written(stored)}: ${near.map((number) => written(number)).join(", ")}`,
    },
    svg("line", { x1: 0, x2: WIDTH, y1: 30, y2: 30 }), ...parts, arrow,
  ); // prettier-ignore
}
