// Conversations, kept in this browser: one entry of localStorage each, so that two tabs that
// talk at the same time never write over one another.

const PREFIX = "llama_edu.chat.session.";
const CURRENT = "llama_edu.current"; // in sessionStorage: each tab has its own

export function newChat() {
  const id = `${Date.now().toString(36)}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  return { id, changed: Date.now(), system: "", turns: [] };
}

/** All conversations, the newest first. One that cannot be read is left alone. */
export function all() {
  const found = [];
  for (let i = 0; i < localStorage.length; i++) {
    const key = localStorage.key(i);
    if (!key.startsWith(PREFIX)) continue;
    const chat = read(key.slice(PREFIX.length));
    if (chat) found.push(chat);
  }
  return found.sort((a, b) => b.changed - a.changed);
}

export function read(id) {
  try {
    const chat = JSON.parse(localStorage.getItem(PREFIX + id));
    return chat && typeof chat.system === "string" && Array.isArray(chat.turns) ? chat : null;
  } catch {
    return null;
  }
}

/** Keep a conversation. Throws if the browser has no room for it. */
export function write(chat) {
  chat.changed = Date.now();
  localStorage.setItem(PREFIX + chat.id, JSON.stringify(chat));
}

export const remove = (id) => localStorage.removeItem(PREFIX + id);

/** The conversation this tab was in, also after a reload. */
export const current = () => read(sessionStorage.getItem(CURRENT));
export const setCurrent = (id) => sessionStorage.setItem(CURRENT, id);

/** Call `changed` with the id when another tab has changed a conversation. */
export function onChange(changed) {
  addEventListener("storage", ({ key }) => {
    if (key?.startsWith(PREFIX)) changed(key.slice(PREFIX.length));
  });
}

export function title(chat) {
  const first = chat.turns[0]?.content.trim() ?? "";
  return first.length > 40 ? `${first.slice(0, 40)} …` : first || "Empty chat";
}
