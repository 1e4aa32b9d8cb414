// Building the page out of nodes. Text goes in as text, always: nothing here reads HTML.

/** An element with properties (`class`, `on…` handlers, anything else an attribute) and children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Say something to those who listen instead of looking. */
export function speak(text) {
  const spoken = byId("spoken");
  // The same words again are no change, and would not be heard.
  spoken.textContent = spoken.textContent === text ? `${text}\u00a0` : text;
}

/** Let one button be pressed in place of another; the focus goes along, or it would be lost. */
export function handOver(from, to) {
  const held = document.activeElement === from;
  to.disabled = false;
  if (held) to.focus();
  from.disabled = true;
}

/** Keep what a slider shows beside it up to date. */
export function showValues(form) {
  for (const output of form.querySelectorAll("output")) {
    const input = form.elements[output.name.replace("_shown", "")];
    const show = () => {
      output.value = input.name === "top_k" && +input.value === 0 ? "all" : input.value;
      input.setAttribute("aria-valuetext", output.value);
    };
    input.addEventListener("input", show);
    show();
  }
}

/** Offer models by name, and keep the one that was chosen if it is still there. */
export function fillModels(select, models) {
  const chosen = select.value;
  select.replaceChildren(...models.map((model) => el("option", { value: model.id }, model.id)));
  if (models.some((model) => model.id === chosen)) select.value = chosen;
}
