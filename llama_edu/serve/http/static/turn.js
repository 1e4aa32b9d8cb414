// One turn on the page, and what a reply cost: the strip under it, and its rows in the table of usage.

import { copyButton, el, iconButton } from "./dom.js";
import { render } from "./markdown.js";
import { childrenOf } from "./tree.js";

const LEAST_SECONDS = 0.03; // shorter replies show no speed
const STALE_MS = 6000; // a tab that writes says so more often

/** Whether a reply is being written now, in this tab or another. */
export const isGrowing = (turn) => Boolean(turn.writing) && Date.now() - turn.changed < STALE_MS;

/** A reply that never began is none. */
export const isShown = (turn) => turn.content !== "" || isGrowing(turn);

const CUTS = {
  length: "Cut at the limit of new tokens.",
  full: "Cut where the model's context ends.",
  stopped: "Stopped here.",
  broken: "Cut off: the connection to the server broke.",
};

/** How a reply ended before its end, as a key of the marks above; null if it is whole. */
export function cutOf(turn) {
  if (turn.role !== "assistant" || isGrowing(turn)) return null;
  if (turn.writing) return "stopped"; // its tab was closed
  return turn.end in CUTS ? turn.end : null;
}

/**
 * A turn of `chat` as a list item. `can` has what its buttons do: edit, retry, continue_, choose;
 * `last` says whether nothing follows.
 */
export function drawTurn(chat, turn, last, can) {
  const mine = turn.role === "user";
  const cut = cutOf(turn);
  const siblings = childrenOf(chat.nodes, chat.nodes[turn.parent] ? turn.parent : null).filter(isShown);
  const tools = [
    siblings.length > 1 ? pager(siblings, siblings.indexOf(turn), can.choose) : null,
    turn.content ? copyButton(() => turn.content) : null,
    mine ? iconButton("edit", "Edit", () => can.edit(turn)) : null,
    mine && !last ? null : iconButton("retry", "Retry", () => can.retry(turn)),
    cut && last ? el("button", { type: "button", onclick: () => can.continue_(turn) }, "Continue") : null,
  ];
  const text = mine ? [el("p", {}, turn.content)] : render(turn.content);
  const state = isGrowing(turn) ? "growing" : "";
  return el(
    "li",
    { class: `${turn.role} ${state}`.trim(), "data-id": turn.id },
    el("h2", { class: "unseen" }, mine ? "You" : "Model"),
    el("div", { class: "said" }, ...text),
    cut ? el("p", { class: "cut" }, CUTS[cut]) : null,
    el("div", { class: "tools" }, ...tools),
    mine ? null : strip(turn),
  );
}

/** One of several turns at the same place, and the way to the others. */
function pager(siblings, at, choose) {
  const step = (name, label, to) =>
    iconButton(name, label, () => choose(siblings[to], label), { disabled: !siblings[to] });
  return el(
    "span",
    { class: "pager", role: "group", "aria-label": "Versions" },
    step("left", "Earlier version", at - 1),
    el("span", {}, `${at + 1}/${siblings.length}`),
    step("right", "Later version", at + 1),
  );
}

/** What a pass took, from the server's counts and this page's clock. */
export function counts(usage, clock) {
  const reused = usage.prompt_tokens_details.cached_tokens;
  const generated = usage.completion_tokens;
  return { reused, computed: usage.prompt_tokens - reused, generated, ...times(clock, generated) };
}

/** Seconds to the first token, and tokens a second after it; null where nothing can be said. */
export function times(clock, generated) {
  const seconds = (clock.last - clock.first) / 1000;
  return {
    first: clock.first === undefined ? null : (clock.first - clock.sent) / 1000,
    // The first new token comes out of the prompt's pass; each later one took a step. Within a few
    // milliseconds pieces arrive in one go, which says nothing about the model.
    rate: generated > 1 && seconds >= LEAST_SECONDS ? (generated - 1) / seconds : null,
  };
}

const ENDS = { length: "cut at its limit", full: "cut at its limit", stopped: "stopped", broken: "cut off" };

function notes(pass) {
  return [
    ENDS[pass.end],
    pass.why ? `from there on: ${pass.why}` : null,
    pass.omitted ? `${pass.omitted} oldest messages left out` : null,
  ].filter(Boolean);
}

// Without its end no counts came, and pieces stand for tokens: some may hold two.
const speed = (pass) => (pass.rate == null ? null : `${pass.generated === undefined ? "about " : ""}${pass.rate.toFixed(0)}`);

/** The last pass of a reply: tokens known from before, computed, and new; how long it took. */
function strip(turn) {
  const pass = turn.passes?.at(-1);
  if (!pass) return null;
  const words = [
    ...notes(pass),
    pass.first == null ? null : `first token ${pass.first.toFixed(2)} s`,
    speed(pass) === null ? null : `${speed(pass)} tokens/s`,
  ];
  const spans = words.filter(Boolean).map((text) => el("span", {}, text));
  if (pass.generated === undefined) return el("div", { class: "strip" }, el("p", {}, ...spans));
  const parts = ["reused", "computed", "generated"];
  const bars = parts.map((name) => {
    const bar = el("span", { class: name });
    bar.style.flexGrow = pass[name];
    return bar;
  });
  const numbers = parts.map((name) => el("span", { class: name }, `${pass[name]} ${name}`));
  return el(
    "div",
    { class: "strip" },
    el("span", { class: "bars", "aria-hidden": "true" }, ...bars),
    el("p", {}, ...numbers, ...spans),
  );
}

/** The rows of the table of usage: every pass of every reply, a reply that was gone on with in several. */
export function usageRows(turns) {
  const replies = turns.filter((turn) => turn.role === "assistant" && turn.passes?.length);
  return replies.flatMap((turn, i) =>
    turn.passes.map((pass) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, String(i + 1)),
        ...["reused", "computed", "generated"].map((name) => el("td", {}, pass[name]?.toLocaleString("en") ?? "?")),
        el("td", {}, pass.first == null ? "" : `${pass.first.toFixed(2)} s`),
        el("td", {}, speed(pass) ?? ""),
        el("td", { class: "notes" }, notes(pass).join("; ")),
      ),
    ),
  );
}
