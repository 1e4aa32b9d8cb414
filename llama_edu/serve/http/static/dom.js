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

// Strokes on a field of 24 by 24.
const ICONS = {
  auto: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  dark: "M20 14a8.5 8.5 0 1 1-10-10 7 7 0 0 0 10 10z",
  delete: "M4 7h16M10 11v6M14 11v6M6 7l1 13h10l1-13M9 7V4h6v3",
  dials: "M4 7h9M19 7h1M16 4.5v5M4 17h1M11 17h9M8 14.5v5",
  done: "M5 13l4 4L19 7",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  export: "M12 4v11M8 11l4 4 4-4M5 20h14",
  left: "M15 6l-6 6 6 6",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
  list: "M4 6h16M4 12h16M4 18h16",
  retry: "M20 11A8 8 0 1 0 18 17M20 4v7h-7",
  right: "M9 6l6 6-6 6",
};

export function icon(name) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  made.setAttribute("viewBox", "0 0 24 24");
  made.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  made.append(path);
  return made;
}

/** A quiet button with a picture; its name is heard, and seen by whoever points at it. */
export function iconButton(name, label, onclick, properties = {}) {
  const button = el("button", { type: "button", class: "icon", onclick, ...properties });
  setIcon(button, name, label);
  return button;
}

export function setIcon(button, name, label) {
  button.setAttribute("aria-label", label);
  button.title = label;
  button.replaceChildren(icon(name));
}

/** A button that puts a text into the clipboard, and says that it did. */
export function copyButton(text) {
  const button = iconButton("copy", "Copy", async () => {
    await copy(text());
    setIcon(button, "done", "Copied");
    speak("Copied.");
    setTimeout(() => setIcon(button, "copy", "Copy"), 1500);
  });
  return button;
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // A page that did not come by https, nor from this machine, has no clipboard but this one.
  const held = document.activeElement;
  const box = el("textarea", { class: "unseen" });
  box.value = text;
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
  held?.focus();
}

/** Hand the reader a file. */
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

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
  from.disabled = true; // before the focus moves: where one may hide the other, it is to be seen
  if (held) to.focus();
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

/** Keep the named fields of a form in this browser, under `key`; returns what sets them back. */
export function keepDials(form, key, names) {
  const first = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
  const fill = (values) => {
    for (const name of names) {
      const input = form.elements[name];
      if (typeof values[name] !== "string") continue;
      input.value = values[name];
      if (input.value !== "" || values[name] === "") input.dispatchEvent(new Event("input"));
    }
  };
  try {
    fill(JSON.parse(localStorage.getItem(key)) ?? {});
  } catch {
    // What is no JSON is not ours.
  }
  const save = () => {
    const values = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
    try {
      localStorage.setItem(key, JSON.stringify(values));
    } catch {
      // Without room the dials still turn; they are only not remembered.
    }
  };
  for (const name of names) form.elements[name].addEventListener("change", save);
  return () => {
    fill(first);
    save();
  };
}

/** Offer models by name, and keep the one that was chosen, now or on an earlier day. */
export function fillModels(select, models, key) {
  const chosen = select.value || localStorage.getItem(key);
  select.replaceChildren(...models.map((model) => el("option", { value: model.id }, model.id)));
  if (models.some((model) => model.id === chosen)) select.value = chosen;
  select.onchange = () => localStorage.setItem(key, select.value);
}
