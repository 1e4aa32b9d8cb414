// The Story tab: a text goes on, and every token shows how likely the model held it. Another token
// may be taken at any place: the text then has a branch there, and the one that was is kept.
//
// A story's nodes (tree.js) are stretches of text: { prompt } at a root, what the reader began
// with; else `at`, the number of the parent's tokens it keeps, and the tokens that one request
// brought, each { text, token, p, top: [[text, p], …] }.

import { knownModels, stream } from "./api.js";
import { byId, copy, el, fillModels, handOver, keepDials, showValues, speak } from "./dom.js";
import { keepStory, newStory, stories } from "./store.js";
import { childrenOf, newestLeaf, newId, now, pathTo } from "./tree.js";

// Where one colour ends and the next begins. Probabilities are the model's own, before temperature.
const STEPS = [0.02, 0.1, 0.3, 0.6, 0.9];
const N_LIKELIEST = 6;
const SAVE_MS = 500; // how often a text that grows is kept
const DIALS = "llama_edu.story.dials"; // in localStorage
const MODEL = "llama_edu.story.model";
const BEGINNING = "llama_edu.story.beginning"; // in sessionStorage: not yet part of a story
const SHOWN_CHARS = 48; // of a branch, in the list of them

const percent = (p) => (p >= 0.0995 ? `${Math.round(100 * p)}%` : p < 0.001 ? "<0.1%" : `${(100 * p).toFixed(1)}%`);
/** A token so that its blanks can be seen. */
const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "↵") || "(part of a character)";
/** A probability with as many digits as anybody sees. */
const rounded = (p) => +p.toPrecision(4);

const CUTS = {
  length: "… cut after the new tokens that were asked for. Continue goes on from here.",
  stopped: "… stopped. Continue goes on from here.",
  broken: "… cut off: the connection to the server broke. Continue goes on from here.",
  full: "… cut: the text fills what the model can read. Take another token earlier on, or start over.",
  nothing: "The model ends the text here. Take another token earlier on, or start over.",
};

export class Story {
  #form;
  #trouble;
  #text = byId("text");
  #card = byId("card");
  #abort = null;
  #story = stories.current() ?? newStory();
  #models = [];

  constructor(section, trouble) {
    this.#form = section.querySelector("form");
    this.#trouble = trouble;
    const { stop, again, copy: copyIt, prompt } = this.#form.elements;
    showValues(this.#form);
    keepDials(this.#form, DIALS, ["temperature", "top_k", "top_p", "max_tokens", "seed"]);
    prompt.value = sessionStorage.getItem(BEGINNING) ?? this.#prompt ?? prompt.value;
    prompt.addEventListener("input", () => sessionStorage.setItem(BEGINNING, prompt.value));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#continue();
    });
    stop.addEventListener("click", () => this.#abort?.abort());
    again.addEventListener("click", () => this.#startOver());
    copyIt.addEventListener("click", () => copy(this.#whole()).then(() => speak("Copied.")));
    this.#listenToTokens(section);
    addEventListener("pagehide", () => this.#keep());
    stories.onChange((id) => this.#changedElsewhere(id));
    byId("legend").append(...legend());
    this.#show();
  }

  #listenToTokens(section) {
    this.#text.addEventListener("mouseover", (event) => this.#showCard(event.target));
    this.#text.addEventListener("focusin", (event) => this.#showCard(event.target));
    this.#text.addEventListener("keydown", (event) => this.#walk(event));
    this.#card.addEventListener("keydown", (event) => this.#walkCard(event));
    // A mouse closes the card by going elsewhere; a finger, and the keyboard, by what comes next.
    for (const area of [section.querySelector("figure"), this.#card]) {
      area.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse") this.#closeUnlessAt(event.relatedTarget);
      });
    }
    section.addEventListener("focusout", (event) => event.relatedTarget && this.#closeUnlessAt(event.relatedTarget));
    document.addEventListener("pointerdown", (event) => this.#closeUnlessAt(event.target));
  }

  offer(models) {
    // Models that were not taught to converse come first: they are the ones made for this.
    this.#models = [...models].sort((a, b) => a.chat - b.chat);
    fillModels(this.#form.elements.model, this.#models, MODEL);
  }

  // The text: stretches from the root to the leaf

  get #path() {
    return pathTo(this.#story.nodes, this.#story.leaf);
  }

  /** What the reader began with; undefined before the first text. */
  get #prompt() {
    return this.#path[0]?.prompt;
  }

  /** Every token of the text that is shown, with the stretch it is in and its number there. */
  get #tokens() {
    const path = this.#path.slice(1);
    return path.flatMap((node, i) =>
      node.tokens.slice(0, path[i + 1]?.at).map((token, index) => ({ ...token, node, index })),
    );
  }

  #whole(tokens = this.#tokens) {
    return (this.#prompt ?? "") + tokens.map((token) => token.text).join("");
  }

  #add(fields) {
    const made = now();
    const node = { id: newId(), parent: this.#story.leaf, made, changed: made, tokens: [], ...fields };
    this.#story.nodes[node.id] = node;
    this.#story.leaf = node.id;
    return node;
  }

  #keep() {
    if (!this.#story.leaf) return;
    try {
      keepStory(this.#story);
    } catch {
      this.#trouble.report(new Error("This browser has no room left for texts: delete a conversation."));
    }
    stories.setCurrent(this.#story);
  }

  #changedElsewhere(id) {
    const stored = stories.read(id);
    if (id === this.#story.id && stored) stories.takeIn(this.#story, stored);
    this.#drawBranches();
  }

  // Going on

  #continue() {
    if (this.#abort) return;
    const { prompt } = this.#form.elements;
    if (prompt.value !== this.#prompt) {
      if (this.#prompt !== undefined) this.#story = newStory(); // the old one is among the earlier texts
      this.#add({ parent: null, prompt: prompt.value });
      sessionStorage.removeItem(BEGINNING);
    }
    this.#write(this.#add({ at: this.#path.at(-1).tokens.length }));
  }

  #startOver() {
    this.#abort?.abort();
    this.#keep();
    this.#story = newStory();
    stories.setCurrent(this.#story);
    this.#show();
    this.#form.elements.prompt.focus();
    speak("Start over. The text is kept under earlier texts.");
  }

  /** Take another token at this place, and let the text go on from there. */
  #branch({ node, index, top }, text) {
    this.#abort?.abort();
    const again = () => {
      if (this.#abort) return setTimeout(again, 20);
      const p = top.find(([other]) => other === text)[1];
      this.#story.leaf = node.id;
      this.#write(this.#add({ at: index, tokens: [{ text, token: text, p, top, taken: true }] }));
    };
    again();
    this.#form.elements.go.focus();
  }

  async #write(node) {
    const story = this.#story;
    const known = node.tokens.length;
    const before = [...this.#whole()];
    this.#abort = new AbortController();
    this.#busy(true);
    this.#show();
    const timer = setInterval(() => this.#keep(), SAVE_MS);
    let usage = null;
    let problem = null;
    const letters = []; // the new text, as code points, which offsets count
    try {
      await knownModels(this.#abort.signal);
      for await (const chunk of stream("/v1/completions", this.#body(before.join("")), this.#abort.signal)) {
        if (chunk.usage) usage = chunk.usage;
        if (chunk.choices.length) this.#take(node, known, letters, chunk.choices[0]);
      }
      this.#trouble.clear();
      if (node.end === "stop" && !node.tokens.length) node.end = "nothing";
      if (node.end === "length" && usage.total_tokens >= this.#context) node.end = "full";
      speak(`${usage.completion_tokens} new tokens.`);
    } catch (caught) {
      problem = caught;
      node.end = problem.name === "AbortError" ? "stopped" : "broken";
      if (problem.name === "AbortError") speak("Stopped.");
    } finally {
      clearInterval(timer);
      this.#abort = null;
      node.changed = now();
      // Nothing came: the text ends, and is cut, where it did before.
      if (!node.tokens.length && problem) this.#drop(story, node, problem);
      else if (problem && problem.name !== "AbortError") this.#trouble.report(problem);
      this.#busy(false);
      if (story === this.#story) this.#keep();
      this.#show();
      this.#note(usage);
    }
  }

  #drop(story, node, problem) {
    delete story.nodes[node.id];
    if (story.leaf === node.id) story.leaf = node.parent;
    if (problem.code === "context_length_exceeded") {
      const last = story.nodes[node.parent];
      if (last?.tokens.length) last.end = "full";
      else this.#trouble.report(problem);
    } else if (problem.name !== "AbortError") {
      this.#trouble.report(problem);
    }
  }

  get #context() {
    return this.#models.find((model) => model.id === this.#form.elements.model.value)?.max_model_len ?? Infinity;
  }

  #body(prompt) {
    const { model, temperature, top_k, top_p, max_tokens, seed } = this.#form.elements;
    return {
      model: model.value,
      prompt,
      temperature: +temperature.value,
      top_k: +top_k.value,
      top_p: +top_p.value,
      max_tokens: Math.max(1, Math.trunc(+max_tokens.value)),
      logprobs: N_LIKELIEST,
      ...(seed.value !== "" && { seed: Math.max(0, Math.trunc(+seed.value)) }),
    };
  }

  #take(node, known, letters, choice) {
    letters.push(...choice.text);
    if (choice.finish_reason) node.end = choice.finish_reason;
    const scores = choice.logprobs;
    for (let i = 0; i < (scores?.tokens.length ?? 0); i++) {
      const top = Object.entries(scores.top_logprobs[i]).map(([text, logprob]) => [text, rounded(Math.exp(logprob))]);
      const p = rounded(Math.exp(scores.token_logprobs[i]));
      node.tokens.push({ start: scores.text_offset[i], text: "", token: scores.tokens[i], p, top });
    }
    // A character may come out of several tokens, so a token's text is known with the next one.
    const fresh = node.tokens.slice(known);
    fresh.forEach((token, i) => (token.text = letters.slice(token.start, fresh[i + 1]?.start).join("")));
    node.changed = now();
    this.#draw();
  }

  // On the page

  /** Draw everything anew. */
  #show() {
    this.#text.replaceChildren();
    this.#draw();
    this.#drawBranches();
    this.#drawEarlier();
    const { prompt, again, copy: copyIt } = this.#form.elements;
    if (this.#prompt !== undefined && sessionStorage.getItem(BEGINNING) === null) prompt.value = this.#prompt;
    again.hidden = copyIt.hidden = this.#prompt === undefined;
    const cut = this.#abort ? null : CUTS[this.#path.at(-1)?.end];
    byId("cut").hidden = !cut;
    byId("cut").textContent = cut ?? "";
  }

  /** Bring the spans up to date; those that are there stay, so that focus stays too. */
  #draw() {
    const spans = this.#text.querySelectorAll(".token");
    const tokens = this.#tokens;
    if (!this.#text.firstChild && this.#prompt !== undefined) {
      this.#text.append(el("span", { class: "given" }, this.#prompt));
      this.#card.hidden = true;
    }
    tokens.forEach((token, i) => {
      if (spans[i]?.textContent === token.text) return;
      const span = this.#span(token, i);
      if (spans[i]) spans[i].replaceWith(span);
      else this.#text.append(span);
    });
  }

  #span(token, i) {
    const step = STEPS.filter((end) => token.p >= end).length;
    const likelier = token.top.filter(([other]) => other !== token.token).slice(0, 3);
    const others = likelier.map(([other, p]) => `${visible(other)} ${percent(p)}`).join(", ");
    return el(
      "span",
      {
        class: `token p${step}${token.taken ? " taken" : ""}`,
        tabindex: i === 0 ? 0 : -1,
        role: "button",
        "aria-label": `${visible(token.text)}, ${percent(token.p)}${token.taken ? ", taken by you" : ""}; others: ${others}`,
        "aria-haspopup": "dialog",
        "data-index": i,
      },
      token.text,
    );
  }

  #showCard(target) {
    const span = target.closest?.(".token");
    if (!span) return;
    const index = +span.dataset.index;
    const shown = this.#tokens[index];
    const { token, p, top } = shown;
    const rows = top.map(([text, q]) => this.#row(shown, text, q, text === token));
    if (!top.some(([text]) => text === token)) rows.push(this.#row(shown, token, p, true));
    this.#card.replaceChildren(
      el("p", {}, "The model's choice here. Pick another to go on from it: the text gets a branch."),
      el("ol", {}, ...rows),
    );
    this.#card.dataset.index = index;
    this.#card.hidden = false;
    const section = this.#card.offsetParent;
    const at = span.getBoundingClientRect();
    const frame = section.getBoundingClientRect();
    const room = frame.width - this.#card.offsetWidth - 8;
    this.#card.style.left = `${Math.max(8, Math.min(at.left - frame.left, room))}px`;
    // Below the token, or above it where there is room only there.
    const height = this.#card.offsetHeight + 2;
    const above = at.bottom + height > innerHeight && at.top - frame.top > height;
    const top_ = above ? at.top - height : at.bottom + 2;
    this.#card.style.top = `${top_ - frame.top + section.scrollTop}px`;
  }

  #closeUnlessAt(target) {
    if (!this.#card.contains(target) && !this.#text.contains(target)) this.#card.hidden = true;
  }

  #row(shown, text, p, chosen) {
    const bar = el("span", { class: "bar" });
    bar.style.width = `${Math.max(1, 100 * p)}%`;
    const whole = !text.includes("\ufffd");
    return el(
      "li",
      { class: chosen ? "chosen" : null },
      el("button", { disabled: chosen || !whole, onclick: () => this.#branch(shown, text) }, visible(text)),
      el("span", { class: "track" }, bar),
      el("span", { class: "p" }, percent(p)),
    );
  }

  #walk(event) {
    const span = event.target.closest?.(".token");
    if (!span) return;
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    const all = [...this.#text.querySelectorAll(".token")];
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#showCard(span);
      this.#card.querySelector("button:not([disabled])")?.focus();
    } else if (event.key === "Escape") {
      this.#card.hidden = true;
    } else if (event.key in steps) {
      event.preventDefault();
      const next = all[all.indexOf(span) + steps[event.key]];
      if (!next) return;
      span.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  }

  #walkCard(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps) {
      event.preventDefault();
      const buttons = [...this.#card.querySelectorAll("button:not([disabled])")];
      buttons[buttons.indexOf(document.activeElement) + steps[event.key]]?.focus();
    } else if (event.key === "Escape") {
      this.#text.querySelectorAll(".token")[+this.#card.dataset.index]?.focus();
      this.#card.hidden = true;
    }
  }

  // Branches and earlier texts

  #drawBranches() {
    const { nodes } = this.#story;
    const shown = new Set(this.#path.map((node) => node.id));
    const starts = childrenOf(nodes, this.#path[0]?.id ?? null);
    const list = byId("branches").querySelector("ul");
    const held = list.contains(document.activeElement);
    const items = this.#prompt === undefined ? [] : starts.map((node) => this.#branchItem(node, shown));
    list.replaceChildren(...items);
    byId("branches").hidden = list.querySelectorAll("li").length < 2;
    if (held) list.querySelector('[aria-current="true"]')?.focus();
  }

  /** A branch, with what goes off from it below; what only goes on is the same branch. */
  #branchItem(node, shown) {
    const { nodes, leaf } = this.#story;
    let end = node;
    const stretch = [...node.tokens];
    const off = [];
    for (;;) {
      const children = childrenOf(nodes, end.id).filter((child) => child.tokens.length || child.id === leaf);
      const next = children.find((child) => child.at === end.tokens.length && !child.tokens[0]?.taken);
      off.push(...children.filter((child) => child !== next));
      if (!next) break;
      stretch.push(...next.tokens);
      end = next;
    }
    const words = stretch.map((token) => token.text).join("").trim();
    const label = words.length > SHOWN_CHARS ? `${words.slice(0, SHOWN_CHARS)} …` : words || "(nothing yet)";
    const isShown = this.#story.leaf === end.id || (shown.has(end.id) && !off.some((child) => shown.has(child.id)));
    return el(
      "li",
      {},
      el("button", { type: "button", "aria-current": isShown ? "true" : null, onclick: () => this.#goTo(end) }, label),
      off.length ? el("ul", {}, ...off.map((child) => this.#branchItem(child, shown))) : null,
    );
  }

  #goTo(node) {
    if (this.#abort) return;
    this.#story.leaf = node.id;
    this.#keep();
    this.#show();
  }

  #drawEarlier() {
    const earlier = stories.all().filter((story) => story.id !== this.#story.id && story.leaf);
    const item = (story) => {
      const path = pathTo(story.nodes, story.leaf);
      const words = path.map((node, i) => node.prompt ?? node.tokens.slice(0, path[i + 1]?.at).map((t) => t.text).join("")).join("");
      return el("li", {}, el("button", { type: "button", onclick: () => this.#open(story) }, words.slice(0, 80)));
    };
    byId("earlier").hidden = !earlier.length;
    byId("earlier").querySelector("ul").replaceChildren(...earlier.map(item));
  }

  #open(story) {
    this.#abort?.abort();
    this.#story = stories.read(story.id) ?? story;
    if (!this.#story.nodes[this.#story.leaf]) this.#story.leaf = newestLeaf(this.#story.nodes, null);
    sessionStorage.removeItem(BEGINNING);
    stories.setCurrent(this.#story);
    this.#show();
    byId("earlier").querySelector("summary").focus();
  }

  #busy(busy) {
    const { go, stop } = this.#form.elements;
    if (busy) handOver(go, stop);
    else handOver(stop, go);
    this.#text.setAttribute("aria-busy", busy);
    if (busy) byId("story-note").textContent = "";
  }

  #note(usage) {
    if (!usage) return;
    const { prompt_tokens, completion_tokens, prompt_tokens_details: details } = usage;
    byId("story-note").textContent =
      `${prompt_tokens} prompt tokens (${details.cached_tokens} known from before), ${completion_tokens} new ones.`;
  }
}

function legend() {
  const ends = [0, ...STEPS, 1].map((p) => Math.round(100 * p));
  return ends.slice(1).map((end, i) => el("li", { class: `p${i}` }, `${ends[i]}–${end}%`));
}
