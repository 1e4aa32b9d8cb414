// The list of conversations: search, rename, delete, and files out and in.

import { byId, download, el, iconButton, speak } from "./dom.js";
import * as store from "./store.js";

const WIDE = matchMedia("(min-width: 52rem)"); // as in style.css

export class Side {
  #nav = byId("side");
  #list = byId("chats");
  #find = byId("find");
  #opener = byId("open-side");
  #host; // { shown() → the conversation shown, open(chat), changed(chat), problem(problem) }
  #deleted = null; // the conversation that can still be had back
  #renaming = null; // the id of the one whose name is being written

  constructor(host) {
    this.#host = host;
    byId("new-chat").addEventListener("click", () => {
      this.#choose(store.newChat());
      this.#host.focus();
    });
    byId("undelete").addEventListener("click", () => this.#undelete());
    byId("import").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", () => this.#import());
    byId("export").addEventListener("click", () => this.#export(store.chats.all(), "conversations"));
    this.#find.addEventListener("input", () => this.draw());
    this.#opener.addEventListener("click", () => this.#show(!this.#isOpen));
    this.#nav.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#isOpen || WIDE.matches) return;
      event.stopPropagation();
      this.#show(false);
      this.#opener.focus();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!this.#nav.contains(target) && !this.#opener.contains(target)) this.#show(false);
    });
  }

  get #isOpen() {
    return this.#nav.classList.contains("open");
  }

  /** On a narrow screen the list lies over the conversation, or is not there. */
  #show(open) {
    this.#nav.classList.toggle("open", open);
    this.#opener.setAttribute("aria-expanded", open);
    if (open) this.#find.focus();
  }

  draw() {
    if (this.#renaming) return; // what is being written stays
    const words = this.#find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = store.chats.all();
    const found = all.filter((chat) => store.matches(chat, words));
    const held = this.#list.contains(document.activeElement);
    this.#list.replaceChildren(...found.map((chat) => this.#item(chat)));
    if (held) (this.#list.querySelector("[aria-current]") ?? byId("new-chat")).focus();
    byId("none-found").hidden = !all.length || found.length > 0;
    byId("undelete").hidden = !this.#deleted;
    byId("export").disabled = !all.length;
  }

  #item(chat) {
    const name = store.title(chat);
    const current = chat.id === this.#host.shown().id ? "true" : null;
    return el(
      "li",
      { "data-id": chat.id },
      el("button", { class: "name", title: name, "aria-current": current, onclick: () => this.#choose(chat) }, name),
      el(
        "span",
        { class: "more" },
        iconButton("edit", `Rename: ${name}`, () => this.#rename(chat)),
        iconButton("export", `Export: ${name}`, () => this.#export([chat], name)),
        iconButton("delete", `Delete: ${name}`, () => this.#delete(chat)),
      ),
    );
  }

  #choose(chat) {
    this.#host.open(store.chats.read(chat.id) ?? chat);
    if (WIDE.matches) return;
    this.#show(false);
    this.#opener.focus();
  }

  #rename(chat) {
    const item = this.#list.querySelector(`[data-id="${chat.id}"]`);
    const box = el("input", { "aria-label": "New name", maxlength: 120 });
    box.value = store.title(chat);
    this.#renaming = chat.id;
    const leave = (keep) => {
      if (!this.#renaming) return;
      this.#renaming = null;
      if (keep) this.#host.changed(chat, (one) => (one.title = box.value.trim() || null));
      this.draw();
      this.#list.querySelector(`[data-id="${chat.id}"] .name`)?.focus();
    };
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      leave(event.key === "Enter");
    });
    box.addEventListener("blur", () => leave(true));
    item.replaceChildren(box);
    box.select();
  }

  #delete(chat) {
    this.#deleted = store.chats.read(chat.id) ?? chat;
    store.chats.remove(chat.id);
    speak(`Deleted: ${store.title(chat)}`);
    if (chat.id === this.#host.shown().id) this.#host.open(store.newChat());
    else this.draw();
  }

  #undelete() {
    const chat = this.#deleted;
    this.#deleted = null;
    byId("new-chat").focus(); // the button that was pressed goes away
    this.#host.changed(chat, () => {});
    this.#host.open(chat);
  }

  #export(chats, name) {
    const plain = name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40);
    download(`${plain || "conversation"}.json`, store.asFile(chats));
  }

  async #import() {
    const [file] = byId("file").files;
    byId("file").value = ""; // so that the same file can be chosen again
    if (!file) return;
    try {
      const taken = store.fromFile(await file.text());
      speak(`Imported: ${taken.length}`);
      if (taken.length) this.#host.open(store.chats.read(taken[0].id));
    } catch (problem) {
      this.#host.problem(problem);
    }
  }
}
