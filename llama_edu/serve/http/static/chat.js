// The Chat tab: a conversation that lives in this browser and is sent whole with every message.
// The server remembers nothing of it but keys and values, which the strip under a reply shows.

import { stream } from "./api.js";
import { byId, el, fillModels, handOver, showValues, speak } from "./dom.js";
import { render } from "./markdown.js";
import * as store from "./store.js";

const WIDE = matchMedia("(min-width: 52rem)"); // as in style.css
const LEAST_SECONDS = 0.03; // shorter replies show no speed

export class Chat {
  #form = byId("say");
  #turns = byId("turns");
  #trouble;
  #chat = store.current() ?? store.newChat();
  #abort = null;
  #canChat = false;
  #deleted = null; // the conversation that can still be had back
  #chats;

  constructor(section, trouble) {
    this.#trouble = trouble;
    this.#chats = section.querySelector(".chats");
    showValues(this.#form);
    const { message, system, stop } = this.#form.elements;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say(message.value);
    });
    message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      if (matchMedia("(pointer: coarse)").matches) return; // no Shift there: Enter begins a line
      event.preventDefault();
      this.#say(message.value);
    });
    section.addEventListener("keydown", (event) => event.key === "Escape" && this.#abort?.abort());
    stop.addEventListener("click", () => this.#abort?.abort());
    system.addEventListener("input", () => this.#changed(() => (this.#chat.system = system.value)));
    byId("new-chat").addEventListener("click", () => {
      this.#choose(store.newChat());
      message.focus();
    });
    byId("undelete").addEventListener("click", () => this.#undelete());
    this.#chats.open = WIDE.matches;
    store.onChange((id) => this.#changedElsewhere(id));
    this.#open(this.#chat);
  }

  offer(models) {
    const able = models.filter((model) => model.chat);
    fillModels(this.#form.elements.model, able);
    this.#canChat = able.length > 0;
    this.#form.elements.message.placeholder = this.#canChat ? "" : "No model here was taught to converse.";
    this.#busy(this.#abort !== null);
  }

  // A conversation on the page

  #open(chat) {
    this.#abort?.abort();
    this.#chat = chat;
    store.setCurrent(chat.id);
    this.#form.elements.system.value = chat.system;
    this.#draw();
    this.#list();
  }

  /** Open a conversation from the list, which makes room for it on a phone. */
  #choose(chat) {
    this.#open(chat);
    if (WIDE.matches) return;
    this.#chats.open = false;
    this.#chats.querySelector("summary").focus();
  }

  #draw() {
    this.#turns.replaceChildren(...this.#chat.turns.map((turn, i) => this.#turn(turn, i)));
  }

  #turn(turn, i) {
    const mine = turn.role === "user";
    const last = i === this.#chat.turns.length - 1;
    const text = el("div", { class: "said" }, ...(mine ? [el("p", {}, turn.content)] : render(turn.content)));
    return el(
      "li",
      { class: turn.role },
      el("h2", {}, mine ? "You" : "Model"),
      text,
      el(
        "p",
        { class: "tools" },
        mine ? el("button", { onclick: () => this.#edit(i) }, "Edit") : null,
        last ? el("button", { onclick: () => this.#retry() }, "Retry") : null,
      ),
      mine ? null : strip(turn),
    );
  }

  #list() {
    const item = (chat) =>
      el(
        "li",
        {},
        el(
          "button",
          { "aria-current": chat.id === this.#chat.id ? "true" : null, onclick: () => this.#choose(chat) },
          store.title(chat),
        ),
        el("button", { "aria-label": `Delete: ${store.title(chat)}`, onclick: () => this.#delete(chat) }, "×"),
      );
    const list = byId("chats");
    const held = list.contains(document.activeElement);
    list.replaceChildren(...store.all().map(item));
    if (held) (list.querySelector("[aria-current]") ?? byId("new-chat")).focus();
    byId("undelete").hidden = !this.#deleted;
  }

  #delete(chat) {
    store.remove(chat.id);
    this.#deleted = chat;
    speak(`Deleted: ${store.title(chat)}`);
    if (chat.id === this.#chat.id) this.#open(store.newChat());
    else this.#list();
  }

  #undelete() {
    const chat = this.#deleted;
    this.#deleted = null;
    byId("new-chat").focus(); // the button that was pressed goes away
    this.#open(chat);
    this.#changed(() => {});
  }

  #changed(change) {
    change();
    try {
      store.write(this.#chat);
    } catch {
      this.#trouble.report(new Error("This browser has no room left for conversations: delete one."));
    }
    this.#list();
  }

  #changedElsewhere(id) {
    const chat = store.read(id);
    if (id === this.#chat.id && chat && !this.#abort) this.#open(chat);
    else this.#list();
  }

  // A turn

  #say(text) {
    if (!text.trim() || this.#abort || !this.#canChat) return;
    this.#form.elements.message.value = "";
    this.#changed(() => this.#chat.turns.push({ role: "user", content: text }));
    this.#reply();
  }

  #retry() {
    if (this.#abort) return;
    this.#changed(() => {
      if (this.#chat.turns.at(-1).role === "assistant") this.#chat.turns.pop();
    });
    this.#reply("regenerated");
    this.#form.elements.stop.focus({ preventScroll: true }); // Retry is gone
  }

  /** Put a message in a box to write in; what came after it goes when it is sent. */
  #edit(i) {
    if (this.#abort) return;
    const box = el("textarea", { rows: 3, "aria-label": "Message" });
    box.value = this.#chat.turns[i].content;
    const send = () => {
      if (!box.value.trim() || this.#abort) return;
      this.#changed(() => this.#chat.turns.splice(i, Infinity, { role: "user", content: box.value }));
      this.#reply("edited");
      this.#form.elements.message.focus({ preventScroll: true });
    };
    const leave = () => {
      this.#draw();
      this.#turns.children[i].querySelector(".tools button").focus();
    };
    const form = el(
      "form",
      {
        class: "edit",
        onsubmit: (event) => {
          event.preventDefault();
          send();
        },
        onkeydown: (event) => event.key === "Escape" && leave(),
      },
      box,
      el("p", { class: "actions" }, el("button", { class: "main" }, "Send again"),
        el("button", { type: "button", onclick: leave }, "Cancel")),
    );
    const turn = this.#turns.children[i];
    turn.querySelector(".said").replaceWith(form);
    turn.querySelector(".tools").remove();
    box.focus();
  }

  /** Ask for a reply; `why` says what broke the prefix, in the words of the ledger. */
  async #reply(why = null) {
    const chat = this.#chat; // also if another one is opened meanwhile
    const turn = { role: "assistant", content: "", why };
    if (chat.asked !== undefined && chat.asked !== chat.system) turn.why = "edited";
    chat.asked = chat.system;
    const body = this.#body(chat);
    this.#draw();
    const clock = { sent: performance.now(), pieces: 0 };
    this.#abort = new AbortController();
    this.#busy(true);
    this.#follow();
    speak("The model writes.");
    try {
      for await (const chunk of stream("/v1/chat/completions", body, this.#abort.signal)) {
        this.#take(chat, turn, chunk, clock);
      }
      this.#trouble.clear();
    } catch (problem) {
      turn.cut = problem.name === "AbortError" ? "stopped" : "cut off";
      turn.times = times(clock, clock.pieces);
      if (turn.cut === "cut off") this.#trouble.report(problem);
    } finally {
      this.#abort = null;
      this.#busy(false);
      this.#finish(chat, turn);
    }
  }

  #body(chat) {
    const system = chat.system.trim() ? [{ role: "system", content: chat.system }] : [];
    return {
      model: this.#form.elements.model.value,
      messages: [...system, ...chat.turns.map(({ role, content }) => ({ role, content }))],
      temperature: +this.#form.elements.temperature.value,
    };
  }

  #take(chat, turn, chunk, clock) {
    const now = performance.now();
    const piece = chunk.choices[0]?.delta.content;
    if (chunk.choices[0]?.finish_reason) turn.end = chunk.choices[0].finish_reason;
    if (piece) {
      clock.first ??= now;
      clock.last = now;
      clock.pieces += 1;
      if (!turn.content) chat.turns.push(turn);
      turn.content += piece;
      if (chat === this.#chat) this.#drawLast(turn);
    }
    if (chunk.usage) turn.counts = counts(chunk.usage, clock);
  }

  #drawLast(turn) {
    const index = this.#chat.turns.length - 1;
    const node = this.#turn(turn, index);
    const follows = this.#follows();
    if (this.#turns.children.length > index) this.#turns.lastChild.replaceWith(node);
    else this.#turns.append(node);
    if (follows) this.#follow();
  }

  /** Whether the reader is at the end; whoever has scrolled up to read is left there. */
  #follows() {
    return this.#form.querySelector(".actions").getBoundingClientRect().top <= innerHeight;
  }

  #follow() {
    this.#form.querySelector(".actions").scrollIntoView({ block: "nearest" });
  }

  #finish(chat, turn) {
    if (chat !== this.#chat) {
      if (turn.content && store.read(chat.id)) store.write(chat); // unless it was deleted meanwhile
      this.#list();
      return;
    }
    const follows = this.#follows();
    this.#changed(() => {});
    this.#draw();
    if (follows) this.#follow();
    speak(turn.content ? `Model: ${turn.content}` : "No reply.");
  }

  #busy(busy) {
    const { send, stop } = this.#form.elements;
    if (busy) handOver(send, stop);
    else handOver(stop, send);
    if (!this.#canChat) send.disabled = true;
    this.#turns.setAttribute("aria-busy", busy);
  }
}

function counts(usage, clock) {
  const reused = usage.prompt_tokens_details.cached_tokens;
  const generated = usage.completion_tokens;
  return { reused, computed: usage.prompt_tokens - reused, generated, ...times(clock, generated) };
}

/** Seconds to the first token, and tokens a second after it; null where nothing can be said. */
function times(clock, generated) {
  const seconds = (clock.last - clock.first) / 1000;
  return {
    first: clock.first === undefined ? null : (clock.first - clock.sent) / 1000,
    // The first new token comes out of the prompt's pass; each later one took a step. Within a few
    // milliseconds pieces arrive in one go, which says nothing about the model.
    rate: generated > 1 && seconds >= LEAST_SECONDS ? (generated - 1) / seconds : null,
  };
}

/** What a reply cost: tokens known from before, computed, and new; how long it took. */
function strip(turn) {
  // Without its end no counts came, and pieces stand for tokens: some may hold two.
  const { first = null, rate = null } = turn.counts ?? turn.times ?? {};
  const about = turn.counts ? "" : "about ";
  const words = [
    turn.cut,
    turn.why ? `from there on: ${turn.why}` : null,
    first === null ? null : `first token ${first.toFixed(2)} s`,
    rate === null ? null : `${about}${rate.toFixed(0)} tokens/s`,
    turn.end === "length" ? "cut at its limit" : null,
  ];
  const spans = words.filter(Boolean).map((text) => el("span", {}, text));
  if (!turn.counts) return el("div", { class: "strip" }, el("p", {}, ...spans));
  const { reused, computed, generated } = turn.counts;
  const parts = { reused, computed, generated };
  const bars = Object.entries(parts).map(([name, count]) => {
    const bar = el("span", { class: name });
    bar.style.flexGrow = count;
    return bar;
  });
  const numbers = Object.entries(parts).map(([name, count]) => el("span", { class: name }, `${count} ${name}`));
  return el(
    "div",
    { class: "strip" },
    el("span", { class: "bars", "aria-hidden": "true" }, ...bars),
    el("p", {}, ...numbers, ...spans),
  );
}
