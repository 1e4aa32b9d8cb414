/** Small helpers to make elements. Text is always set as text, never as HTML. */

/**
 * An element with attributes and children. `on…` attributes are listeners; true and false are
 * attributes without a value.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * A labelled control in one line.
 * @param {string} text @param {HTMLElement} control
 */
export function labelled(text, control) {
  return h("label", { class: "pl-field" }, h("span", {}, text), control);
}

/** A choice among numbers or names. @param {string[]} options @param {(index: number) => void} onchange */
export function choice(options, onchange) {
  const select = h("select", { onchange: () => onchange(select.selectedIndex) });
  select.append(...options.map((text) => h("option", {}, text)));
  return select;
}

/** A box to tick. @param {string} text @param {(on: boolean) => void} onchange */
export function tick(text, onchange) {
  const input = h("input", { type: "checkbox", onchange: () => onchange(input.checked) });
  return { input, label: h("label", { class: "pl-tick" }, input, h("span", {}, text)) };
}

/**
 * A slider that shows its value.
 * @param {string} text @param {{ min: number, max: number, step: number, value: number }} range
 * @param {(value: number) => void} oninput
 */
export function slider(text, { min, max, step, value }, oninput) {
  // No `output`: a label would be that one's, and not the slider's.
  const output = h("span", { class: "pl-value" }, String(value));
  const input = h("input", { type: "range", min, max, step, value });
  input.addEventListener("input", () => {
    output.textContent = input.value;
    oninput(Number(input.value));
  });
  return {
    input,
    label: h("label", { class: "pl-slider" }, h("span", {}, text), output, input),
    /** @param {number} value */
    set(value) {
      input.value = String(value);
      output.textContent = input.value;
    },
  };
}

/**
 * A table of texts whose rows have names, in a box that scrolls where the page is narrow.
 * @param {string} caption @param {string[]} head @param {string[][]} rows
 */
export function tableOf(caption, head, rows) {
  return h(
    "div", { class: "pl-scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table", { class: "pl-same" }, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, ...rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), ...cells.map((text) => h("td", {}, text))))),
    ),
  ); // prettier-ignore
}

/** A share as a reader says it. @param {number} share */
export function percent(share) {
  if (share === 0) return "0%";
  return share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`;
}

/** `1 token`, `2 tokens`. @param {number} count @param {string} noun */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Bytes that are no character yet, as the worker writes them: `<f0 9f>`. */
const LOOSE_BYTES = /^<[0-9a-f]{2}( [0-9a-f]{2})*>$/;

/** A token to look at: blanks are made visible. @param {string} text */
export function visible(text) {
  if (LOOSE_BYTES.test(text)) return text;
  return text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";
}

/** The bytes of a piece in hexadecimal digits. @param {string} text */
export function bytesOf(text) {
  if (LOOSE_BYTES.test(text)) return text.slice(1, -1);
  return Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/**
 * Run the newest request only: what was asked before an answer came is forgotten.
 * @param {() => Promise<void>} work @param {(error: Error) => void} onerror
 */
export function newestOnly(work, onerror) {
  let isRunning = false;
  let isStale = false;
  return async function again() {
    isStale = true;
    if (isRunning) return;
    isRunning = true;
    try {
      while (isStale) {
        isStale = false;
        await work();
      }
    } catch (error) {
      onerror(/** @type {Error} */ (error));
    } finally {
      isRunning = false;
    }
  };
}

/**
 * One stop of the Tab key for all buttons of a group; the arrow keys, Home and End go among them.
 * @param {HTMLElement} group
 */
export function byArrows(group) {
  const buttons = () => [...group.querySelectorAll("button")];
  /** @param {number} at */
  const settle = (at) => buttons().forEach((button, i) => (button.tabIndex = i === at ? 0 : -1));
  group.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
    if (at < 0 || !(event.key in to)) return;
    event.preventDefault();
    all[Math.max(0, Math.min(to[event.key], all.length - 1))].focus();
  });
  group.addEventListener("focusin", (event) => {
    const at = buttons().indexOf(/** @type {HTMLButtonElement} */ (event.target));
    if (at >= 0) settle(at);
  });
  return { settle };
}
