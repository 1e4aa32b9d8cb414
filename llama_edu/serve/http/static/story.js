// The Story tab: a text goes on, and every token shows how likely the model held it.

import { stream } from "./api.js";
import { byId, el, fillModels, handOver, showValues, speak } from "./dom.js";

// Where one colour ends and the next begins. Probabilities are the model's own, before temperature.
const STEPS = [0.02, 0.1, 0.3, 0.6, 0.9];
const N_LIKELIEST = 6;

const percent = (p) => (p >= 0.0995 ? `${Math.round(100 * p)} %` : p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);
/** A token so that its blanks can be seen. */
const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "↵") || "(part of a character)";

export class Story {
  #form;
  #trouble;
  #text = byId("text");
  #card = byId("card");
  #abort = null;
  #prompt = "";
  #tokens = []; // { start, token, p, top: [[text, p], …] }, start in code points
  #letters = []; // the new text, as code points

  constructor(section, trouble) {
    this.#form = section.querySelector("form");
    this.#trouble = trouble;
    showValues(this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write(this.#form.elements.prompt.value);
    });
    this.#form.elements.stop.addEventListener("click", () => this.#abort?.abort());
    this.#text.addEventListener("mouseover", (event) => this.#showCard(event.target));
    this.#text.addEventListener("focusin", (event) => this.#showCard(event.target));
    this.#text.addEventListener("keydown", (event) => this.#walk(event));
    this.#card.addEventListener("keydown", (event) => this.#leaveCard(event));
    // A mouse closes the card by going elsewhere; a finger, and the keyboard, by what comes next.
    for (const area of [section.querySelector("figure"), this.#card]) {
      area.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse") this.#closeUnlessAt(event.relatedTarget);
      });
    }
    section.addEventListener("focusout", (event) => event.relatedTarget && this.#closeUnlessAt(event.relatedTarget));
    document.addEventListener("pointerdown", (event) => this.#closeUnlessAt(event.target));
    byId("legend").append(...legend());
  }

  offer(models) {
    // Models that were not taught to converse come first: they are the ones made for this.
    fillModels(this.#form.elements.model, [...models].sort((a, b) => a.chat - b.chat));
  }

  async #write(prompt) {
    if (this.#abort) return;
    this.#prompt = prompt;
    this.#tokens = [];
    this.#letters = [];
    this.#abort = new AbortController();
    this.#busy(true);
    this.#draw();
    let usage = null;
    try {
      for await (const chunk of stream("/v1/completions", this.#body(), this.#abort.signal)) {
        if (chunk.usage) usage = chunk.usage;
        if (chunk.choices.length) this.#take(chunk.choices[0]);
      }
      this.#trouble.clear();
      speak(`${usage.completion_tokens} new tokens.`);
    } catch (problem) {
      if (problem.name === "AbortError") speak("Stopped.");
      else this.#trouble.report(problem);
    } finally {
      this.#abort = null;
      this.#busy(false);
      this.#note(usage);
    }
  }

  #body() {
    const { model, temperature, top_k, top_p, max_tokens, seed } = this.#form.elements;
    return {
      model: model.value,
      prompt: this.#prompt,
      temperature: +temperature.value,
      top_k: +top_k.value,
      top_p: +top_p.value,
      max_tokens: +max_tokens.value || 1,
      logprobs: N_LIKELIEST,
      ...(seed.value !== "" && { seed: Math.trunc(+seed.value) }),
    };
  }

  #take(choice) {
    this.#letters.push(...choice.text);
    const scores = choice.logprobs;
    for (let i = 0; i < (scores?.tokens.length ?? 0); i++) {
      const top = Object.entries(scores.top_logprobs[i]).map(([text, logprob]) => [text, Math.exp(logprob)]);
      this.#tokens.push({
        start: scores.text_offset[i],
        token: scores.tokens[i],
        p: Math.exp(scores.token_logprobs[i]),
        top,
      });
    }
    this.#draw();
  }

  /** Bring the spans up to date; those that are there stay, so that focus stays too. */
  #draw() {
    const spans = this.#text.querySelectorAll(".token");
    if (!this.#tokens.length) {
      this.#text.replaceChildren(el("span", { class: "given" }, this.#prompt));
      this.#card.hidden = true;
    }
    this.#tokens.forEach((token, i) => {
      const text = this.#letters.slice(token.start, this.#tokens[i + 1]?.start).join("");
      if (spans[i]?.textContent === text) return;
      const span = this.#span(token, text, i);
      if (spans[i]) spans[i].replaceWith(span);
      else this.#text.append(span);
    });
  }

  #span(token, text, i) {
    const step = STEPS.filter((end) => token.p >= end).length;
    const likelier = token.top.filter(([other]) => other !== token.token).slice(0, 3);
    const others = likelier.map(([other, p]) => `${visible(other)} ${percent(p)}`).join(", ");
    return el(
      "span",
      {
        class: `token p${step}`,
        tabindex: i === 0 ? 0 : -1,
        role: "button",
        "aria-label": `${visible(text)}, ${percent(token.p)}; others: ${others}`,
        "aria-haspopup": "dialog",
        "data-index": i,
      },
      text,
    );
  }

  #showCard(target) {
    const span = target.closest?.(".token");
    if (!span) return;
    const index = +span.dataset.index;
    const { token, p, top } = this.#tokens[index];
    const rows = top.map(([text, q]) => this.#row(index, text, q, text === token));
    if (!top.some(([text]) => text === token)) rows.push(this.#row(index, token, p, true));
    this.#card.replaceChildren(
      el("p", {}, "The model's choice here. Pick another to go on from it."),
      el("ol", {}, ...rows),
    );
    this.#card.dataset.index = index;
    this.#card.hidden = false;
    const at = span.getBoundingClientRect();
    const room = document.documentElement.clientWidth - this.#card.offsetWidth - 8;
    this.#card.style.left = `${Math.max(8, Math.min(at.left, room)) + scrollX}px`;
    // Below the token, or above it where there is room only there.
    const height = this.#card.offsetHeight + 2;
    const above = at.bottom + height > innerHeight && at.top > height;
    this.#card.style.top = `${(above ? at.top - height : at.bottom + 2) + scrollY}px`;
  }

  #closeUnlessAt(target) {
    if (!this.#card.contains(target) && !this.#text.contains(target)) this.#card.hidden = true;
  }

  #row(index, text, p, chosen) {
    const bar = el("span", { class: "bar" });
    bar.style.width = `${Math.max(1, 100 * p)}%`;
    const whole = !text.includes("\ufffd");
    return el(
      "li",
      { class: chosen ? "chosen" : null },
      el("button", { disabled: chosen || !whole, onclick: () => this.#branch(index, text) }, visible(text)),
      el("span", { class: "track" }, bar),
      el("span", { class: "p" }, percent(p)),
    );
  }

  /** Take another token at this place, and let the text go on from there. */
  #branch(index, text) {
    const before = this.#letters.slice(0, this.#tokens[index].start).join("");
    this.#abort?.abort();
    const prompt = this.#prompt + before + text;
    const again = () => (this.#abort ? setTimeout(again, 20) : this.#write(prompt));
    this.#form.elements.prompt.value = prompt;
    again();
    this.#form.elements.go.focus();
  }

  #walk(event) {
    const span = event.target.closest?.(".token");
    if (!span) return;
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    const all = [...this.#text.querySelectorAll(".token")];
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
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

  #leaveCard(event) {
    if (event.key !== "Escape") return;
    this.#text.querySelectorAll(".token")[+this.#card.dataset.index]?.focus();
    this.#card.hidden = true;
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
  return ends.slice(1).map((end, i) => el("li", { class: `p${i}` }, `${ends[i]}–${end} %`));
}
