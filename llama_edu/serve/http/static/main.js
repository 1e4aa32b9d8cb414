// The page: two tabs, light or dark, and a watch over the server.

import { isReady, models, modelsAreKnown, setKey } from "./api.js";
import { Chat } from "./chat.js";
import { byId, icon, setIcon } from "./dom.js";
import { Story } from "./story.js";
import { inWords } from "./words.js";

const TABS = ["story", "chat"];
const ASK_AGAIN_MS = 1500;

function show(name) {
  for (const tab of TABS) {
    const chosen = tab === name;
    byId(tab).hidden = !chosen;
    byId(`tab-${tab}`).setAttribute("aria-selected", chosen);
    byId(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
  }
  byId("open-side").hidden = name !== "chat";
  history.replaceState(null, "", `#${name}`);
}

byId("open-side").append(icon("list"));
byId("open-side").title = "Conversations";

for (const tab of TABS) {
  byId(`tab-${tab}`).addEventListener("click", () => show(tab));
  byId(`tab-${tab}`).addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = TABS[1 - TABS.indexOf(tab)];
    show(other);
    byId(`tab-${other}`).focus();
  });
}
show(TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "story");

const THEMES = { auto: "as the system says", light: "light", dark: "dark" };

function showTheme() {
  const theme = document.documentElement.dataset.theme ?? "auto";
  setIcon(byId("theme"), theme, `Colours: ${THEMES[theme]}`);
}

byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  localStorage.setItem("llama_edu.theme", next);
  showTheme();
});
showTheme();

/** What went wrong, where everybody sees it, and what is done about it. */
class Trouble {
  #watching = false;

  report(problem) {
    if (problem.status === 401) byId("key").hidden = false;
    if (problem.isLost) this.#watch();
    else this.#say(inWords(problem));
  }

  clear() {
    if (!this.#watching) this.#say("");
  }

  #say(text, isGood = false) {
    byId("trouble").classList.toggle("good", isGood);
    byId("trouble").hidden = !text;
    byId("trouble").textContent = text;
  }

  async #watch() {
    if (this.#watching) return;
    this.#watching = true;
    this.#say("The server cannot be reached. Your conversations are safe in this browser; asking again …");
    while (!(await isReady())) await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
    this.#watching = false;
    this.#say("The server is back.", true);
    await start();
  }
}

const trouble = new Trouble();
const story = new Story(byId("story"), trouble);
const chat = new Chat(byId("chat"), trouble);

async function start() {
  try {
    const known = await models();
    story.offer(known);
    chat.offer(known);
    modelsAreKnown();
  } catch (problem) {
    trouble.report(problem);
  }
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(event.target.querySelector("input").value);
  byId("key").hidden = true;
  trouble.clear();
  start();
});

await start();
