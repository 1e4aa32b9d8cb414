/** A conversation: what each turn reuses of the cache, what it computes, and where a prefix breaks. */

import { h, newestOnly, tick, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../chat.js").Message} Message */
/** @typedef {{ pieces: string[], cached: string[], same: number, reused: number, computed: number, dropped: number }} Plan */
/** @typedef {Plan & { text: string, ids: number[], promptMs: number }} Sent */

const FIRST = "My name is Mia.";
const LAST = "What is my name?";
const NEW_TOKENS = 60;
const ROWS = 8; // of the account that are kept
const BEFORE_BREAK = 12; // tokens shown before the place where two prefixes part
const SHOWN = 40; // tokens shown in all

/** @type {LabModule} */
export const turns = {
  title: "Turns: what a conversation has to read again",
  invitation: "Hold the conversation yourself",
  converses: true,
  mount({ body, chatModel, sentence, setSentence, say, tabulate, fail }) {
    let hasClock = false;
    let looked = 0; // the turn whose prompt is compared with the cache
    let isFirst = true;
    const boxes = [FIRST, "", LAST].map(messageBox);
    const clock = tick("put the time into the system prompt", (on) => {
      hasClock = on;
      void compare();
    });
    const verdict = h("p");
    const strips = h("div");
    const account = h("tbody");
    /** The same account with the words that were said. @type {string[][]} */
    const told = [];
    const head = ["sent", "prompt", "reused", "computed", "dropped", "ms"];
    const table = h(
      "table", { class: "pl-steps" }, h("caption", {}, "Every message sent so far: its prompt in tokens, and the milliseconds until the reply began"),
      h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), account,
    ); // prettier-ignore
    body.append(
      h("p", { class: "pl-soft" }, "The model is tiny and was taught small talk, names and small sums; to anything else it replies beside the point. Look at the counts."),
      h("p", { class: "pl-soft pl-ask" }, "Three messages; yours is the second. Every prompt is the whole conversation so far. Change a message and look at what can still be reused; then send it."),
      ...boxes.map((box) => box.element),
      clock.label, verdict, strips,
      h("div", { class: "pl-scroll", tabindex: "0", role: "region", "aria-label": "The account" }, table),
    ); // prettier-ignore
    const compare = newestOnly(showPlan, fail);

    /** @param {string} text @param {number} i */
    function messageBox(text, i) {
      const input = h("input", { type: "text", maxlength: 200, autocomplete: "off" });
      input.value = text;
      const label = i === 1 ? "Message 2, your sentence" : `Message ${i + 1}`;
      const send = h("button", { type: "button", "aria-label": `Send message ${i + 1}`, onclick: () => void sendUpTo(i) }, "Send");
      const reply = h("p", { class: "pl-reply pl-mono" });
      input.addEventListener("input", () => {
        looked = i;
        // The second message is the reader's sentence, wherever it is typed.
        if (i === 1) setSentence(input.value);
        else void compare();
      });
      input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") void sendUpTo(i);
      });
      const element = h(
        "div", { class: "pl-turn" },
        h("label", { class: "pl-sentence" }, h("span", {}, label), input), send, reply,
      ); // prettier-ignore
      return { input, reply, element, ids: /** @type {number[] | null} */ (null) };
    }

    /** What is sent for a reply to message i. @param {number} i @returns {Message[]} */
    function conversation(i) {
      /** @type {Message[]} */
      const messages = hasClock ? [{ role: "system", content: `It is ${new Date().toLocaleTimeString("en-GB")}.` }] : [];
      for (const [j, { input, ids }] of boxes.slice(0, i + 1).entries()) {
        messages.push({ role: "user", content: input.value });
        if (j < i) messages.push({ role: "assistant", content: "", tokenIds: ids ?? [] });
      }
      return messages;
    }

    let isSending = false;
    /** @param {number} i */
    async function sendUpTo(i) {
      if (isSending) return;
      isSending = true;
      try {
        for (let j = 0; j <= i; j++) if (j === i || !boxes[j].ids) await sendOne(j);
      } catch (error) {
        fail(/** @type {Error} */ (error));
      } finally {
        isSending = false;
      }
    }

    /** @param {number} i */
    async function sendOne(i) {
      const isAgain = boxes[i].ids !== null;
      // What came after belonged to another conversation.
      for (const later of boxes.slice(i)) {
        later.ids = null;
        later.reply.textContent = "";
      }
      const model = await chatModel();
      const { input, reply } = boxes[i];
      const request = { messages: conversation(i), count: NEW_TOKENS };
      /** @type {Sent} */
      const sent = await model.run("turn", request, (part) => reply.append(part.text)).promise;
      boxes[i].ids = sent.ids;
      reply.textContent = sent.text;
      const cells = [sent.pieces.length, sent.reused, sent.computed, sent.dropped, sent.promptMs.toFixed(1)];
      account.append(
        h("tr", {}, h("th", { scope: "row" }, `${i + 1}${isAgain ? " again" : ""}`), ...cells.map((cell) => h("td", {}, String(cell)))),
      );
      while (account.rows.length > ROWS) account.deleteRow(0);
      told.push([input.value, ...cells.slice(0, 4).map(String), sent.text]);
      tabulate("The conversation, in tokens", ["message", "prompt", "reused", "computed", "dropped", "reply"], told.slice(-ROWS));
      looked = i;
      showStrips(sent, `Message ${i + 1} was sent`, "In the cache before it was sent");
      say(`Message ${i + 1}: ${verdict.textContent} The reply: ${sent.text}`);
    }

    async function showPlan() {
      const missing = boxes.slice(0, looked).findIndex(({ ids }) => !ids);
      if (missing >= 0) looked = missing;
      /** @type {Plan} */
      const plan = await (await chatModel()).ask("planTurn", { messages: conversation(looked) });
      showStrips(plan, `Were message ${looked + 1} sent now`, "In the cache now");
      say(verdict.textContent ?? "");
    }

    /** @param {Plan} plan @param {string} when @param {string} cachedWhen */
    function showStrips(plan, when, cachedWhen) {
      const { pieces, cached, same, reused, computed, dropped } = plan;
      const [had, met] = [cached[same], pieces[same]];
      const why = !cached.length
        ? " The cache was empty."
        : had !== undefined && met !== undefined
          ? ` The two part at token ${same}: the cache has “${visible(had)}” there, the prompt “${visible(met)}”.`
          : dropped
            ? " The prompt ends where the cache goes on."
            : " The prompt begins with all that was cached.";
      // The plan holds the last token back even where it is cached.
      const last = same === pieces.length ? " The last token is computed even so, since its row gives the scores for the first token of the reply." : "";
      verdict.textContent = `${when}: of ${pieces.length} prompt tokens, ${reused} ${reused === 1 ? "comes" : "come"} from the cache and ${computed} ${computed === 1 ? "is" : "are"} computed; ` +
        `${dropped || "none"} of the cached ones ${dropped === 1 ? "is" : "are"} dropped.${why}${last}`;
      strips.replaceChildren(
        strip(cachedWhen, cached, reused, "pl-lost"),
        strip("The prompt", pieces, reused, "pl-fresh"),
      );
    }

    return async () => {
      const { input } = boxes[1];
      if (document.activeElement !== input) input.value = sentence();
      if (isFirst) {
        isFirst = false;
        await sendUpTo(2);
      } else {
        looked = 1;
        await compare();
      }
    };
  },
};

/**
 * Tokens side by side: those that are reused, then the others.
 * @param {string} name @param {string[]} pieces @param {number} reused @param {string} otherwise
 */
function strip(name, pieces, reused, otherwise) {
  const first = Math.max(0, reused - BEFORE_BREAK);
  const last = Math.min(pieces.length, first + SHOWN);
  const boxes = pieces.slice(first, last).map((text, i) =>
    h("span", { class: `pl-mono pl-part ${first + i < reused ? "pl-kept" : otherwise}` }, visible(text)),
  );
  return h(
    "div", { role: "group", "aria-label": `${name}: ${pieces.length} tokens` }, h("p", { class: "pl-head" }, `${name}, ${pieces.length} tokens`),
    h("p", { class: "pl-strip-of-tokens" },
      ...(first ? [h("span", { class: "pl-soft" }, `${first} before, reused … `)] : []), ...boxes,
      ...(last < pieces.length ? [h("span", { class: "pl-soft" }, `… ${pieces.length - last} more`)] : []),
      ...(pieces.length ? [] : [h("span", { class: "pl-soft" }, "nothing")]),
    ),
  ); // prettier-ignore
}
