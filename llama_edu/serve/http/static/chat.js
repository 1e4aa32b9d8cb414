// The Chat tab: a conversation that lives in this browser and is sent whole with every message.
// The server remembers nothing of it but keys and values, which the strip under a reply shows.

import { countTokens, knownModels, stream } from "./api.js";
import { byId, el, fillModels, handOver, icon, keepDials, showValues, speak } from "./dom.js";
import { greeting } from "./greetings.js";
import { Side } from "./side.js";
import * as store from "./store.js";
import { newestLeaf, now } from "./tree.js";
import { counts, cutOf, drawTurn, isGrowing, isShown, times, usageRows } from "./turn.js";

const DIALS = "llama_edu.chat.dials"; // in localStorage
const MODEL = "llama_edu.chat.model";
const DRAFT = "llama_edu.chat.draft."; // in sessionStorage, with the conversation's id
const SAVE_MS = 500; // how often a reply that grows is kept
const MEASURE_MS = 250; // after the last key, before what is written is counted
const NEAR_FULL = 0.85;

export class Chat {
  #form = byId("say");
  #dials = byId("dials");
  #turns = byId("turns");
  #scroll = byId("scroll");
  #trouble;
  #side;
  #chat = store.chats.current() ?? store.newChat();
  #abort = null;
  #growing = null; // { chat, turn } that this tab writes
  #models = null; // those that converse, once the server has said which
  #used = 0; // tokens of the conversation, with what is being written
  #refused = false; // by the server, since it is too long
  #measuring = null;
  #atEnd = true; // whoever has scrolled up to read is left there

  constructor(section, trouble) {
    this.#trouble = trouble;
    this.#side = new Side({
      shown: () => this.#chat,
      open: (chat) => this.#open(chat),
      changed: (chat, change) => this.#change(change, chat),
      problem: (problem) => this.#trouble.report(problem),
      focus: () => this.#form.elements.message.focus(),
    });
    this.#listen(section);
    this.#listenToSettings();
    store.chats.onChange((id) => this.#changedElsewhere(id));
    this.#open(this.#chat);
  }

  #listen(section) {
    const { message, stop } = this.#form.elements;
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
    message.addEventListener("input", () => this.#drafted());
    section.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.target.closest("dialog")) this.#abort?.abort();
    });
    stop.addEventListener("click", () => this.#abort?.abort());
    this.#scroll.addEventListener("scroll", () => {
      this.#atEnd = this.#scroll.scrollTop + this.#scroll.clientHeight >= this.#scroll.scrollHeight - 40;
    });
    new ResizeObserver(() => this.#follow()).observe(this.#scroll);
    addEventListener("pagehide", () => this.#keepWhatGrew());
    byId("gauge").addEventListener("click", () => this.#showUsage());
    byId("usage").querySelector("button").addEventListener("click", () => byId("usage").close());
  }

  #listenToSettings() {
    const { system, overflow, model, reset } = this.#dials.elements;
    byId("open-settings").append(icon("dials"));
    byId("open-settings").title = "Settings";
    byId("open-settings").addEventListener("click", () => byId("settings").showModal());
    showValues(this.#dials);
    const back = keepDials(this.#dials, DIALS, ["temperature", "top_p", "min_p", "seed"]);
    reset.addEventListener("click", back);
    this.#dials.addEventListener("submit", (event) => {
      event.preventDefault();
      byId("settings").close();
    });
    byId("settings").addEventListener("close", () => this.#measure());
    system.addEventListener("input", () => this.#change((chat) => (chat.system = system.value)));
    overflow.addEventListener("change", () => this.#setOverflow(overflow.checked));
    model.addEventListener("change", () => {
      this.#invite();
      this.#draw();
    });
  }

  offer(models) {
    this.#models = models.filter((model) => model.chat);
    fillModels(this.#dials.elements.model, this.#models, MODEL);
    this.#invite();
    this.#busy(this.#abort !== null);
    this.#draw();
  }

  /** Say to whom one writes, by name where there is a choice. */
  #invite() {
    const several = this.#models.length > 1 ? this.#model : "the model";
    this.#form.elements.message.placeholder = this.#models.length ? `Write to ${several}` : "No model here was taught to converse.";
  }

  get #model() {
    return this.#dials.elements.model.value;
  }

  get #context() {
    return this.#models?.find((model) => model.id === this.#model)?.max_model_len ?? Infinity;
  }

  get #path() {
    return store.turnsOf(this.#chat).filter(isShown);
  }

  // A conversation on the page

  #open(chat) {
    if (chat.id !== this.#chat.id) this.#abort?.abort();
    this.#chat = chat;
    this.#refused = false;
    this.#atEnd = true;
    this.#dials.elements.system.value = chat.system;
    this.#dials.elements.overflow.checked = chat.overflow === "drop_oldest";
    this.#form.elements.message.value = sessionStorage.getItem(DRAFT + chat.id) ?? "";
    this.#fit();
    this.#draw();
    this.#side.draw();
  }

  #draw() {
    store.chats.setCurrent(this.#chat);
    const path = this.#path;
    const omitted = path.findLast((turn) => turn.passes?.length)?.passes.at(-1).omitted ?? 0;
    const items = path.map((turn, i) => this.#item(turn, i === path.length - 1));
    items.slice(0, omitted).forEach((item) => item.classList.add("unread"));
    if (omitted) items.splice(omitted, 0, el("li", { class: "divider" }, "The model no longer reads what is above."));
    this.#turns.replaceChildren(...items);
    this.#greet(path.length === 0);
    this.#follow();
    this.#measure();
    // A tab that was closed while it wrote says no more.
    if (path.some((turn) => isGrowing(turn) && turn !== this.#growing?.turn)) setTimeout(() => this.#redraw(), 7000);
  }

  /** Draw again for news from elsewhere, unless that would take away what somebody is writing. */
  #redraw() {
    if (!this.#turns.querySelector(".edit")) this.#draw();
  }

  #item(turn, last) {
    return drawTurn(this.#chat, turn, last, {
      edit: (one) => this.#edit(one),
      retry: (one) => this.#retry(one),
      continue_: (one) => this.#continue(one),
      choose: (one, label) => this.#choose(one, label),
    });
  }

  #greet(empty) {
    byId("empty").hidden = !empty;
    if (!empty || !this.#model) return;
    const { words, questions } = greeting(this.#model);
    const ask = (text) => el("button", { type: "button", onclick: () => this.#say(text) }, text);
    byId("empty").replaceChildren(
      el("h2", {}, "Hello!"),
      el("p", {}, words),
      el("ul", { "aria-label": "Suggestions" }, ...questions.map((text) => el("li", {}, ask(text)))),
    );
  }

  /** Change the conversation, or another one, and keep it. */
  #change(change, chat = this.#chat) {
    try {
      store.chats.update(chat, change);
    } catch {
      this.#trouble.report(new Error("This browser has no room left for conversations: export some, and delete them."));
    }
    this.#side.draw();
  }

  #changedElsewhere(id) {
    const stored = store.chats.read(id);
    if (id === this.#chat.id && stored) {
      store.chats.takeIn(this.#chat, stored);
      const { system, overflow } = this.#dials.elements;
      if (document.activeElement !== system) system.value = this.#chat.system;
      overflow.checked = this.#chat.overflow === "drop_oldest";
      if (!this.#abort) {
        this.#chat.leaf = newestLeaf(this.#chat.nodes, this.#chat.leaf);
        this.#redraw();
      }
    }
    this.#side.draw();
  }

  /** Show another version of a turn, and what followed it. */
  #choose(turn, label) {
    if (this.#abort) return;
    this.#chat.leaf = newestLeaf(this.#chat.nodes, turn.id);
    this.#change(() => {});
    this.#draw();
    const buttons = [...this.#turns.querySelectorAll(`[data-id="${turn.id}"] .pager button`)];
    (buttons.find((one) => one.title === label && !one.disabled) ?? buttons.find((one) => !one.disabled))?.focus();
    speak(turn.content);
  }

  // What is being written, and how full the conversation is

  #drafted() {
    const { value } = this.#form.elements.message;
    if (value) sessionStorage.setItem(DRAFT + this.#chat.id, value);
    else sessionStorage.removeItem(DRAFT + this.#chat.id);
    this.#fit();
    this.#measure();
  }

  /** Let the message box grow with what is in it; the style sheet says how far. */
  #fit() {
    const { message } = this.#form.elements;
    message.style.height = "auto";
    if (message.value) message.style.height = `${message.scrollHeight + 2}px`;
  }

  /** Count the tokens of the conversation and of what is being written, in a moment. */
  #measure() {
    clearTimeout(this.#measuring?.timer);
    this.#measuring?.abort.abort();
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      if (this.#abort || !this.#model) return;
      const draft = this.#form.elements.message.value;
      const messages = this.#messages(this.#chat, this.#chat.leaf);
      if (draft.trim()) messages.push({ role: "user", content: draft });
      try {
        const isEmpty = messages.every(({ role }) => role === "system");
        this.#used = isEmpty ? 0 : await countTokens(this.#model, messages, abort.signal);
        if (!draft.trim() && this.#path.at(-1)?.role === "assistant") this.#refused = false;
        this.#drawGauge();
      } catch {
        // Without its count the gauge stays as it was; whoever sends hears what is wrong.
      }
    }, MEASURE_MS);
    this.#measuring = { timer, abort };
    this.#drawGauge();
  }

  #drawGauge(extra = 0) {
    const context = this.#context;
    if (context === Infinity) return;
    const used = this.#used + extra;
    const level = el("span", { class: "level" });
    level.style.width = `${Math.min(100, (100 * used) / context)}%`;
    const words = `${used.toLocaleString("en")} of ${context.toLocaleString("en")} tokens`;
    byId("gauge").classList.toggle("near", used > NEAR_FULL * context);
    byId("gauge").title = "How much of what the model can read is used. Press to see what each reply took.";
    byId("gauge").replaceChildren(el("span", { class: "track", "aria-hidden": "true" }, level), words);
    this.#drawFull(this.#refused || (!this.#abort && used >= context));
  }

  /** The way out of a full conversation, where one writes. */
  #drawFull(full) {
    const box = byId("full");
    const draft = this.#form.elements.message.value.trim();
    const alone = this.#path.length + (draft ? 1 : 0) < 2;
    const drops = this.#chat.overflow === "drop_oldest";
    const state = !full || (drops && !this.#refused) ? "" : alone || drops ? "long" : "full";
    if (box.dataset.state === state) return;
    box.dataset.state = state;
    box.hidden = !state;
    const most = this.#context.toLocaleString("en");
    if (state === "long") {
      box.replaceChildren(el("p", {}, `This message is longer than the ${most} tokens the model can read at once. Shorten it.`));
    } else if (state === "full") {
      box.replaceChildren(
        el("p", {}, `This conversation is full: the model reads ${most} tokens at once. It can go on without its oldest turns, which stay here for you.`),
        el("p", { class: "actions" },
          el("button", { type: "button", class: "main", onclick: () => this.#leaveOut() }, "Leave out the oldest turns"),
          el("button", { type: "button", onclick: () => byId("new-chat").click() }, "New chat")),
      );
    }
    if (state) speak(box.querySelector("p").textContent);
    this.#follow();
  }

  #setOverflow(drops) {
    this.#refused = false;
    this.#dials.elements.overflow.checked = drops;
    this.#change((chat) => (chat.overflow = drops ? "drop_oldest" : "refuse"));
    this.#drawGauge();
  }

  #leaveOut() {
    this.#setOverflow(true);
    this.#form.elements.message.focus();
    const last = this.#path.at(-1);
    if (last?.role === "user") this.#reply(last.id);
    else if (cutOf(last)) this.#continue(last);
  }

  #showUsage() {
    const rows = usageRows(this.#path);
    const left = Math.max(0, this.#context - this.#used).toLocaleString("en");
    byId("usage-context").textContent = `${byId("gauge").textContent} are used, ${left} are left. ${
      rows.length ? "" : "No reply yet."
    }`;
    byId("usage").querySelector("tbody").replaceChildren(...rows);
    byId("usage").querySelector(".wide").hidden = !rows.length;
    byId("usage").showModal();
  }

  // A turn

  #say(text) {
    if (!text.trim() || this.#abort || this.#models?.length === 0) return;
    const { message } = this.#form.elements;
    if (text === message.value) message.value = "";
    this.#drafted();
    this.#atEnd = true;
    this.#reply(this.#add(this.#chat.leaf, text));
  }

  /** Add a message of the user's; returns its id. */
  #add(parent, text) {
    const turn = store.newTurn(parent, "user", text);
    this.#change((chat) => {
      chat.nodes[turn.id] = turn;
      chat.leaf = turn.id;
    });
    return turn.id;
  }

  /** Another reply at the same place; the one that is there can be paged back to. */
  #retry(turn) {
    if (this.#abort) return;
    this.#reply(turn.role === "user" ? turn.id : turn.parent, "regenerated");
    this.#form.elements.stop.focus({ preventScroll: true }); // Retry is gone
  }

  #continue(turn) {
    if (this.#abort || isGrowing(turn)) return;
    this.#chat.leaf = turn.id;
    this.#write(turn, this.#body(this.#messages(this.#chat, turn.id), true), null);
    this.#form.elements.stop.focus({ preventScroll: true });
  }

  /** Put a message in a box to write in. What is sent is another version of it. */
  #edit(turn) {
    if (this.#abort) return;
    const box = el("textarea", { rows: 3, "aria-label": "Message" });
    box.value = turn.content;
    const send = () => {
      if (!box.value.trim() || this.#abort) return;
      this.#atEnd = true;
      this.#reply(this.#add(turn.parent, box.value), "edited");
      this.#form.elements.message.focus({ preventScroll: true });
    };
    const leave = () => {
      this.#draw();
      this.#turns.querySelector(`[data-id="${turn.id}"] [aria-label="Edit"]`)?.focus();
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
    const item = this.#turns.querySelector(`[data-id="${turn.id}"]`);
    item.querySelector(".said").replaceWith(form);
    item.querySelector(".tools").remove();
    box.focus();
  }

  /** What the model is given: the turns to `leaf`. Two of one side, one behind the other, are one. */
  #messages(chat, leaf) {
    const messages = chat.system.trim() ? [{ role: "system", content: chat.system }] : [];
    const turns = store.turnsOf({ ...chat, leaf }).filter((turn) => turn.content);
    for (const { role, content } of turns) {
      if (messages.at(-1)?.role === role) messages.at(-1).content += `\n\n${content}`;
      else messages.push({ role, content });
    }
    return messages;
  }

  #body(messages, continues = false) {
    const { temperature, top_p, min_p, seed } = this.#dials.elements;
    return {
      messages,
      temperature: +temperature.value,
      top_p: +top_p.value,
      min_p: +min_p.value,
      context_overflow: this.#chat.overflow,
      ...(continues && { continue_final_message: true }),
      ...(seed.value !== "" && { seed: Math.max(0, Math.trunc(+seed.value)) }),
    };
  }

  /** Ask for a reply; `why` says what broke the prefix, in the words of the table of usage. */
  #reply(parent, why = null) {
    const chat = this.#chat;
    const turn = { ...store.newTurn(parent, "assistant", ""), passes: [] };
    const changed = chat.asked !== undefined && chat.asked !== chat.system;
    const body = this.#body(this.#messages(chat, parent));
    this.#change(() => {
      chat.asked = chat.system;
      chat.nodes[turn.id] = { ...turn, writing: true };
      chat.leaf = turn.id;
    });
    this.#write(chat.nodes[turn.id], body, changed ? "edited" : why);
  }

  /** Let a turn grow with what the server writes. */
  async #write(turn, body, why) {
    const chat = this.#chat; // also if another one is opened meanwhile
    const clock = { sent: performance.now(), pieces: 0 };
    const pass = { why };
    const length = turn.content.length;
    Object.assign(turn, { writing: true, changed: now(), end: null });
    this.#growing = { chat, turn };
    this.#refused = false;
    this.#abort = new AbortController();
    const timer = setInterval(() => this.#keep(chat, turn), SAVE_MS);
    this.#busy(true);
    this.#draw();
    speak("The model writes.");
    let problem = null;
    try {
      await knownModels(this.#abort.signal);
      const whole = { model: this.#model, ...body };
      for await (const chunk of stream("/v1/chat/completions", whole, this.#abort.signal)) {
        this.#take(chat, turn, pass, chunk, clock);
      }
      this.#trouble.clear();
    } catch (caught) {
      problem = caught;
      pass.end = problem.name === "AbortError" ? "stopped" : "broken";
      Object.assign(pass, times(clock, clock.pieces));
    } finally {
      clearInterval(timer);
      this.#abort = null;
      this.#growing = null;
      if (turn.content.length > length || pass.generated !== undefined) turn.passes.push(pass);
      // A reply that was to be gone on with, and was not, is as cut as before.
      turn.end = pass.end ?? null;
      turn.writing = false;
      this.#busy(false);
      this.#finish(chat, turn, problem);
    }
  }

  #take(chat, turn, pass, chunk, clock) {
    const at = performance.now();
    const choice = chunk.choices[0];
    if (choice?.finish_reason) pass.end = choice.finish_reason;
    if (chunk.omitted_messages) pass.omitted = chunk.omitted_messages;
    if (choice?.delta.content) {
      clock.first ??= at;
      clock.last = at;
      clock.pieces += 1;
      turn.content += choice.delta.content;
      turn.changed = now();
      if (chat === this.#chat) this.#drawLast(turn, clock);
    }
    if (chunk.usage) {
      Object.assign(pass, counts(chunk.usage, clock));
      if (pass.end === "length" && chunk.usage.total_tokens >= this.#context) pass.end = "full";
    }
  }

  #drawLast(turn, clock) {
    this.#turns.lastChild?.replaceWith(this.#item(turn, true));
    this.#drawGauge(clock.pieces);
    this.#follow();
  }

  #follow() {
    if (this.#atEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  /** Keep a turn as far as it is; not in a conversation that was deleted meanwhile. */
  #keep(chat, turn) {
    if (!store.chats.read(chat.id)) return;
    turn.changed = now();
    try {
      store.chats.update(chat);
    } catch {
      // The end of the reply will say that there is no room.
    }
  }

  #keepWhatGrew() {
    if (!this.#growing) return;
    const { chat, turn } = this.#growing;
    Object.assign(turn, { writing: false, end: "stopped" });
    this.#keep(chat, turn);
  }

  #finish(chat, turn, problem) {
    turn.changed = now();
    const isKept = store.chats.read(chat.id) !== null;
    if (isKept) this.#change(() => {}, chat);
    if (chat === this.#chat) {
      // What another tab said meanwhile follows.
      chat.leaf = newestLeaf(chat.nodes, chat.leaf);
      this.#refused = problem?.code === "context_length_exceeded";
      this.#draw();
      speak(turn.content ? `Model: ${turn.content}` : "No reply.");
    }
    this.#side.draw();
    if (problem && problem.name !== "AbortError" && !this.#refused) this.#trouble.report(problem);
  }

  #busy(busy) {
    const { send, stop } = this.#form.elements;
    if (busy) handOver(send, stop);
    else handOver(stop, send);
    if (this.#models?.length === 0) send.disabled = true;
    this.#turns.setAttribute("aria-busy", busy);
  }
}
