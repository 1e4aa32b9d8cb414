// What is kept in this browser: conversations and stories, one entry of localStorage each.
//
// A record is { id, changed, nodes, … }, its nodes a tree (tree.js). Two tabs may have the same one
// open: whoever writes first takes in what the other wrote, so that neither writes over the other.

import { absorb, childrenOf, newId, newestLeaf, now, pathTo } from "./tree.js";

const FORMAT = "llama_edu conversations";
const FIELDS = ["title", "system", "overflow"]; // what can be set, beside the nodes
const ROLES = ["user", "assistant"];

/** Records of one kind. */
export class Shelf {
  #prefix;
  #current; // in sessionStorage: each tab has its own
  #check;

  constructor(kind, check) {
    this.#prefix = `llama_edu.${kind}.session.`;
    this.#current = `llama_edu.${kind}.current`;
    this.#check = check;
  }

  /** All records, the newest first. One that cannot be read is left alone. */
  all() {
    const found = [];
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      if (key.startsWith(this.#prefix)) found.push(this.read(key.slice(this.#prefix.length)));
    }
    return found.filter(Boolean).sort((a, b) => b.changed - a.changed);
  }

  read(id) {
    try {
      return this.#check(JSON.parse(localStorage.getItem(this.#prefix + id)));
    } catch {
      return null;
    }
  }

  /** Change a record and keep it, with what other tabs did to it. Throws if there is no room. */
  update(record, change = () => {}) {
    const stored = this.read(record.id);
    if (stored) merge(record, stored);
    change(record);
    record.changed = now();
    this.#write(record);
  }

  /** Bring a record up to date with what another tab wrote; write it if that lacks something. */
  takeIn(record, stored) {
    merge(record, stored);
    // Two tabs that wrote in the same moment: each puts back what of its own is missing or older
    // there. What still grows is kept again in a moment anyway.
    const isLost = (node, kept) => !kept || (!node.writing && node.changed > kept.changed);
    if (Object.entries(record.nodes).some(([id, node]) => isLost(node, stored.nodes[id]))) this.#write(record);
  }

  #write(record) {
    localStorage.setItem(this.#prefix + record.id, JSON.stringify(record));
  }

  remove(id) {
    localStorage.removeItem(this.#prefix + id);
  }

  /** The record this tab was in, also after a reload, at the branch it was shown at. */
  current() {
    const [id, leaf] = JSON.parse(sessionStorage.getItem(this.#current) ?? "[]");
    const record = id ? this.read(id) : null;
    if (record?.nodes[leaf]) record.leaf = leaf;
    return record;
  }

  setCurrent(record) {
    sessionStorage.setItem(this.#current, JSON.stringify([record.id, record.leaf]));
  }

  /** Call `changed` with the id when another tab has changed a record. */
  onChange(changed) {
    addEventListener("storage", ({ key }) => {
      if (key?.startsWith(this.#prefix)) changed(key.slice(this.#prefix.length));
    });
  }
}

function merge(record, stored) {
  for (const field of FIELDS) if (field in stored) record[field] = stored[field];
  absorb(record.nodes, stored.nodes);
}

const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isText = (value) => typeof value === "string";

// Conversations

export const chats = new Shelf("chat", (chat) => (isChat(chat) ? chat : fromList(chat)));

export const newChat = () => ({
  id: newId(),
  changed: now(),
  title: null,
  system: "",
  overflow: "refuse",
  nodes: {},
  leaf: null,
});

/** A turn to add; `parent` is the id of the one before it. */
export function newTurn(parent, role, content) {
  const made = now();
  return { id: newId(), parent, made, changed: made, role, content };
}

export const turnsOf = (chat) => pathTo(chat.nodes, chat.leaf);

function isChat(chat) {
  return (
    isRecord(chat) &&
    isText(chat.id) &&
    isText(chat.system) &&
    isRecord(chat.nodes) &&
    Object.entries(chat.nodes).every(
      ([id, turn]) => isRecord(turn) && turn.id === id && isText(turn.content) && ROLES.includes(turn.role),
    )
  );
}

/** A conversation as this page once kept it, a list of turns. Null if it is none. */
function fromList(old) {
  if (!isRecord(old) || !isText(old.system) || !Array.isArray(old.turns)) return null;
  const chat = { ...newChat(), id: old.id, changed: old.changed, system: old.system };
  old.turns.forEach(({ role, content }, i) => {
    const turn = { ...newTurn(chat.leaf, role, content), id: `${old.id}-${i}` };
    chat.nodes[turn.id] = turn;
    chat.leaf = turn.id;
  });
  return isChat(chat) ? chat : null;
}

export function title(chat) {
  if (chat.title) return chat.title;
  const first = childrenOf(chat.nodes, null)[0]?.content.trim() ?? "";
  return first.length > 40 ? `${first.slice(0, 40)} …` : first || "Empty chat";
}

/** Whether a conversation has all these words, in its title or anywhere in it. */
export function matches(chat, words) {
  const whole = [title(chat), ...Object.values(chat.nodes).map((turn) => turn.content)].join("\n").toLowerCase();
  return words.every((word) => whole.includes(word));
}

/** Conversations as the text of a file. */
export const asFile = (some) => JSON.stringify({ format: FORMAT, version: 1, conversations: some }, null, 1);

/**
 * Keep the conversations of a file; returns them. What is there already is only added to. Throws,
 * in words for people, if it is no such file, and keeps nothing then.
 */
export function fromFile(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    file = null;
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error("This file holds no conversations that this page has exported.");
  }
  if (!file.conversations.every(isChat)) throw new Error("This file is damaged: nothing was imported.");
  for (const given of file.conversations) {
    const chat = { ...newChat(), ...given };
    if (!chat.nodes[chat.leaf]) chat.leaf = newestLeaf(chat.nodes, null);
    chats.update(chat);
  }
  return file.conversations;
}

// Stories

const KEPT_STORIES = 12; // each may be a hundred kilobytes, and a browser has five megabytes

export const stories = new Shelf("story", (story) =>
  isRecord(story) && isText(story.id) && isRecord(story.nodes) ? story : null,
);

export const newStory = () => ({ id: newId(), changed: now(), nodes: {}, leaf: null });

/** Keep a story, and let the oldest go. Throws if there is no room. */
export function keepStory(story) {
  stories.update(story);
  for (const old of stories.all().slice(KEPT_STORIES)) if (old.id !== story.id) stories.remove(old.id);
}
