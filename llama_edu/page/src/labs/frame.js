/**
 * What all labs share: one model, loaded on the reader's first click and never before; one
 * sentence, kept by the browser where it allows, and carried by a link; a line that is announced.
 */

import { RemoteModel } from "../client.js";
import { h, labelled, tableOf } from "./dom.js";
import { recalledFiles, rememberFiles } from "./remember.js";

/**
 * What a lab gets to work with.
 * @typedef {object} Lab
 * @property {HTMLElement} body where it draws
 * @property {HTMLElement} still what was there before
 * @property {() => RemoteModel} model
 * @property {() => boolean} isLoaded whether there is a model yet: a lab that opens with its page has none
 * @property {() => Promise<RemoteModel>} load
 * @property {() => Promise<RemoteModel>} chatModel one that was taught to converse
 * @property {() => string} sentence
 * @property {(text: string) => void} setSentence
 * @property {(text: string) => void} say announces
 * @property {(caption: string, head: string[], rows: string[][]) => void} tabulate says what is drawn as a table, for paper and for who does not see it
 * @property {(error: Error) => void} fail
 * @property {DOMStringMap} settings the `data-…` of the place in the page
 */

/**
 * A lab: `mount` draws its controls once, and returns what to do when the sentence or the model
 * changes. The `invitation` is what its button says. One that `converses` runs on the chat model.
 * @typedef {{ title: string, keepsStill?: boolean, invitation?: string, converses?: boolean, mount: (lab: Lab) => () => void | Promise<void> }} LabModule
 */

const KEY = "llama_edu.sentence";
const LINK = "say";
const DEFAULT = "Once upon a time, there was a little cat who wanted to";
const LONGEST = 400; // characters; enough for a paragraph, and drawn in a moment

/** Sentences as the stories have them that `story` was trained on. */
const TRY = [
  "There once lived a shy lion called Sam who loved to",
  "Far away, near the park, a busy tiger called",
  "Down by the river lived a little dog called Nora, who liked to",
];

/** The reader's sentence, and who wants to hear when it changes. */
const sentence = {
  value: "",
  /** @type {Set<() => void>} */
  listeners: new Set(),
  /** @param {string} text */
  set(text) {
    sentence.value = text.slice(0, LONGEST);
    try {
      localStorage.setItem(KEY, sentence.value);
    } catch {
      // Storage may be refused; the sentence then lives as long as the page.
    }
    for (const listener of sentence.listeners) listener();
  },
};

function firstSentence() {
  const linked = new URLSearchParams(location.search).get(LINK);
  if (linked) return linked.slice(0, LONGEST);
  try {
    return localStorage.getItem(KEY) || DEFAULT;
  } catch {
    return DEFAULT;
  }
}

/** The one model of the page. */
const shared = {
  /** @type {RemoteModel | null} */
  model: null,
  /** @type {Promise<RemoteModel> | null} */
  loading: null,
  /** The embedded model that converses. @type {Promise<RemoteModel> | null} */
  chat: null,
  /** Who draws anew when another model takes over. @type {Set<() => void>} */
  listeners: new Set(),
  /** Who says which model it is. @type {Set<() => void>} */
  namers: new Set(),
};

/** Where the bundle came from: the weights lie beside it. */
const here = /** @type {HTMLScriptElement | null} */ (globalThis.document?.currentScript)?.src ?? "";

/** An embedded model, its weights brought by a script. @param {string} name @returns {Promise<RemoteModel>} */
async function embeddedModel(name) {
  const models = () => /** @type {any} */ (globalThis).llamaEduModels ?? {};
  if (!models()[name]) {
    const script = h("script", { src: new URL(`llama-${name}.js`, here || location.href).href });
    await new Promise((done, fail) => {
      script.onload = done;
      script.onerror = () => fail(new Error(`expected llama-${name}.js beside the page, got none`));
      document.head.append(script);
    });
  }
  const model = await new RemoteModel().load(models()[name]);
  delete models()[name]; // the worker has its own copy
  return model;
}

/** The page's model; the first call loads it. @returns {Promise<RemoteModel>} */
export function pageModel() {
  shared.loading ??= firstModel().then(
    (model) => {
      shared.model = model;
      for (const name of shared.namers) name();
      return model;
    },
    (error) => {
      shared.loading = null; // so that another click tries again
      throw error;
    },
  );
  return shared.loading;
}

/** The page's model if it has a chat template, else the embedded one that has. @returns {Promise<RemoteModel>} */
async function chatModel() {
  if ((await recalledFiles()).length) await pageModel().catch(() => null);
  if (shared.model?.loaded?.hasTemplate) return shared.model;
  shared.chat ??= embeddedModel("chat").catch((error) => {
    shared.chat = null;
    throw error;
  });
  return shared.chat;
}

/** The files of an earlier visit, or the embedded model. @returns {Promise<RemoteModel>} */
async function firstModel() {
  const files = await recalledFiles();
  if (files.length) {
    try {
      return await modelOf(files);
    } catch {
      await rememberFiles([]); // they were moved or changed since
    }
  }
  return embeddedModel("story");
}

/** @param {File[]} files */
async function modelOf(files) {
  /** @type {Record<string, string>} */
  const texts = {};
  for (const file of files) if (file.name.endsWith(".json")) texts[file.name] = await file.text();
  const weights = files.find((file) => /\.(safetensors|gguf)$/.test(file.name));
  if (!weights) throw new Error("expected a .safetensors or .gguf file, got none");
  const model = await new RemoteModel().load({ name: weights.name, texts, weights });
  model.name = `${weights.name}, ${Math.round(weights.size / 1e6)} MB`;
  return model;
}

/** One model in place of another, in every lab of the page. @param {RemoteModel} model */
function exchange(model) {
  shared.model?.end();
  shared.model = model;
  shared.loading = Promise.resolve(model);
  for (const listener of [...shared.namers, ...shared.listeners]) listener();
}

/**
 * Put a button under the still figure of one place in the page; pressed, the lab takes its place.
 * @param {HTMLElement} place @param {LabModule} module
 */
export function offer(place, module) {
  const still = h("div", { class: "pl-still" });
  still.append(...place.childNodes);
  for (const box of still.querySelectorAll(".llama-table")) {
    // What scrolls sideways has to be reachable without a mouse.
    box.setAttribute("tabindex", "0");
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", still.querySelector("figcaption")?.textContent ?? "Table");
  }
  // Open for who has no script; with one, the drawing says the same.
  for (const fold of still.querySelectorAll("details")) fold.open = false;
  openOnPaper(place);
  place.dataset.ready = "";
  if ("recorded" in place.dataset) {
    // It begins with the page, on numbers that came with it; what is typed loads the model.
    place.append(still);
    open(place, still, module);
    return;
  }
  const status = h("p", { class: "pl-status", role: "status" });
  const start = h("button", { type: "button", class: "pl-start" }, module.invitation ?? "Run it on your own sentence");
  place.append(still, h("div", { class: "pl-offer" }, start, status));

  start.addEventListener("click", async () => {
    if (start.getAttribute("aria-disabled")) return;
    start.setAttribute("aria-disabled", "true");
    status.textContent = "Loading the model…";
    try {
      await (module.converses ? chatModel() : pageModel());
    } catch (error) {
      status.textContent = /** @type {Error} */ (error).message;
      start.removeAttribute("aria-disabled");
      return;
    }
    start.parentElement?.remove();
    open(place, still, module).focus({ preventScroll: true });
    // The still is gone, and what comes is taller: show it from its top.
    place.scrollIntoView({ block: "start", behavior: "instant" });
  });
}

/** On paper nobody can unfold a table. @param {HTMLElement} place */
function openOnPaper(place) {
  /** @type {HTMLDetailsElement[]} */
  let opened = [];
  matchMedia("print").addEventListener("change", ({ matches }) => {
    const turned = matches ? [...place.querySelectorAll("details")].filter((fold) => !fold.open) : opened;
    for (const fold of turned) fold.open = matches;
    opened = matches ? turned : [];
  });
}

/**
 * Start a lab; returns the box for the sentence.
 * @param {HTMLElement} place @param {HTMLElement} still @param {LabModule} module
 */
function open(place, still, module) {
  // What a lab says it also shows; this line says it to who does not see it.
  const status = h("p", { class: "pl-heard", role: "status" });
  const notice = h("p", { class: "pl-status", role: "alert", hidden: true });
  const body = h("div", { class: "pl-body" });
  const title = h("p", { class: "pl-title" }, module.title);
  const say = (/** @type {string} */ text) => {
    status.textContent = text;
  };
  const note = (/** @type {string} */ text) => {
    notice.hidden = !text;
    notice.textContent = text;
  };
  const fail = (/** @type {Error} */ error) => note(`${error.name}: ${error.message}`);
  const box = sentenceBox(note, fail, module.converses ? chatModel : () => shared.loading);
  const said = h("p", { class: "pl-said" });
  const same = h("div");
  const fold = h("details", { class: "pl-fold", hidden: true }, h("summary", {}, "The same as a table"), same);
  const live = h("div", { class: "pl-live" }, title, said, box.element, notice, body, fold, status);
  place.append(live);
  place.dataset.started = "";
  if (module.keepsStill) {
    place.dataset.keeps = "";
    live.after(fold); // under both columns, as wide as they are together
  }

  const update = module.mount({
    body,
    still,
    model: () => /** @type {RemoteModel} */ (shared.model),
    isLoaded: () => shared.model !== null,
    load: pageModel,
    chatModel,
    sentence: () => sentence.value,
    setSentence: sentence.set,
    say,
    tabulate: (caption, head, rows) => {
      same.replaceChildren(tableOf(caption, head, rows));
      fold.hidden = false;
      place.dataset.told = ""; // from now on paper has the reader's state in place of the still
    },
    fail,
    settings: place.dataset,
  });
  const run = async () => {
    note("");
    said.textContent = `Your sentence: “${sentence.value}”`;
    try {
      if (!module.converses && !shared.model && sentence.value !== DEFAULT) {
        note("Loading the model…");
        await pageModel();
        note("");
      }
      await update();
    } catch (error) {
      fail(/** @type {Error} */ (error));
    }
  };
  sentence.listeners.add(run);
  shared.listeners.add(run);
  run();
  return box.input;
}

/**
 * The box for the sentence, the choice of a model, the link.
 * @param {(text: string) => void} note @param {(error: Error) => void} fail
 * @param {() => Promise<RemoteModel> | null} modelOfLab the one it runs on, if it runs already
 */
function sentenceBox(note, fail, modelOfLab) {
  const input = h("input", { type: "text", maxlength: LONGEST, autocomplete: "off", spellcheck: "false" });
  input.value = sentence.value;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => sentence.set(input.value), 250);
    showLimit();
  });
  sentence.listeners.add(() => {
    if (document.activeElement !== input) input.value = sentence.value;
    showLimit();
  });
  const limit = h("div", { class: "pl-full", role: "status" });
  function showLimit() {
    const isFull = input.value.length >= LONGEST;
    limit.textContent = isFull ? `The first ${LONGEST} characters: the field holds no more.` : "";
  }
  showLimit();

  const tries = h(
    "div",
    { class: "pl-try", hidden: true },
    h("span", {}, "This model is small, and has read nothing but little stories about animals. Three sentences that it can go on from:"),
    ...TRY.map((text) =>
      h("button", { type: "button", class: "pl-quiet", onclick: () => sentence.set((input.value = text)) }, `${text} …`),
    ),
  );

  const share = h("button", { type: "button", class: "pl-quiet" }, "Link to this sentence");
  const link = h("input", { type: "text", readonly: true, "aria-label": "Link", class: "pl-link", hidden: true });
  share.addEventListener("click", async () => {
    const address = new URL(location.href);
    address.searchParams.set(LINK, sentence.value);
    link.hidden = false;
    link.value = address.href;
    link.select();
    try {
      await navigator.clipboard.writeText(address.href);
      note("The link is on your clipboard.");
    } catch {
      note("Here is the link, to copy.");
    }
  });

  const used = h("span", { class: "pl-soft" });
  const showModel = async () => {
    const model = await modelOfLab();
    used.textContent = model
      ? `Model: ${model.name}, ${model.loaded?.backend ?? ""}.`
      : "Type a sentence of your own, and the model loads: 4 MB, once.";
    tries.hidden = model ? model.name !== "story" : false;
  };
  void showModel();
  shared.namers.add(showModel);
  const files = h("input", { type: "file", multiple: true, accept: ".json,.safetensors,.gguf" });
  files.addEventListener("change", async () => {
    note("Reading the model's files…");
    try {
      const picked = [...(files.files ?? [])];
      exchange(await modelOf(picked));
      const isKept = await rememberFiles(picked);
      note(`The labs now run on ${shared.model?.name}${isKept ? ", on your next visit too" : ""}.`);
    } catch (error) {
      fail(/** @type {Error} */ (error));
    }
  });
  const own = h("button", { type: "button", class: "pl-quiet" }, "Back to the book's own model");
  own.addEventListener("click", async () => {
    await rememberFiles([]);
    exchange(await embeddedModel("story"));
  });
  const pick = h(
    "details",
    { class: "pl-pick" },
    h("summary", {}, "Use another model from your computer"),
    h(
      "p",
      {},
      "Pick config.json, tokenizer.json, tokenizer_config.json and model.safetensors of a Llama " +
        "together, such as the SmolLM2 that the package fetched, or one GGUF file (Q8_0, Q4_1, " +
        "F16 or F32). Nothing leaves your computer.",
    ),
    labelled("Files", files),
    own,
  );
  const element = h(
    "div",
    { class: "pl-frame" },
    h("label", { class: "pl-sentence" }, h("span", {}, "Your sentence"), input),
    limit,
    h("div", { class: "pl-row" }, share, used),
    tries,
    link,
    pick,
  );
  return { element, input };
}

/** Offer every lab the page has a place for. @param {Record<string, LabModule>} modules */
export function offerLabs(modules) {
  sentence.value = firstSentence();
  for (const place of document.querySelectorAll("[data-page-lab]")) {
    if (!(place instanceof HTMLElement) || "ready" in place.dataset) continue;
    const module = modules[place.dataset.pageLab ?? ""];
    if (module) offer(place, module);
  }
}
