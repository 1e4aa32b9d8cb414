// The Markdown that models write, as nodes: headings, lists, quotes, code, emphasis.
// There are no links, no images and no HTML: their text stays text, so nothing a model or a user
// writes can load, run or lead anywhere.

import { el } from "./dom.js";

const FENCE = /^\s*```/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const BULLET = /^\s*[-*+]\s+(.*)$/;
const NUMBER = /^\s*(\d{1,9})[.)]\s+(.*)$/;
const QUOTE = /^\s*>\s?(.*)$/;

/** The nodes of a text. */
export function render(text) {
  const lines = text.split("\n");
  const nodes = [];
  while (lines.length) {
    const line = lines[0];
    if (!line.trim()) lines.shift();
    else if (FENCE.test(line)) nodes.push(code(lines));
    else if (HEADING.test(line)) nodes.push(heading(lines.shift()));
    else if (BULLET.test(line)) nodes.push(list(lines, "ul", BULLET, 1));
    else if (NUMBER.test(line)) nodes.push(list(lines, "ol", NUMBER, 2));
    else if (QUOTE.test(line)) nodes.push(quote(lines));
    else nodes.push(paragraph(lines));
  }
  return nodes;
}

function code(lines) {
  lines.shift();
  const end = lines.findIndex((line) => FENCE.test(line));
  const inside = lines.splice(0, end < 0 ? lines.length : end);
  if (end >= 0) lines.shift();
  return el("pre", { tabindex: 0 }, el("code", {}, inside.join("\n")));
}

function heading(line) {
  const [, marks, text] = HEADING.exec(line);
  // The page has an h1, and a turn is no chapter: levels begin at 3.
  return el(`h${Math.min(marks.length + 2, 6)}`, {}, ...inline(text));
}

function list(lines, tag, pattern, group) {
  const start = tag === "ol" ? NUMBER.exec(lines[0])[1] : null;
  const items = [];
  while (lines.length && pattern.test(lines[0])) {
    items.push(el("li", {}, ...inline(pattern.exec(lines.shift())[group])));
  }
  return el(tag, { start }, ...items);
}

function quote(lines) {
  const inside = [];
  while (lines.length && QUOTE.test(lines[0])) inside.push(QUOTE.exec(lines.shift())[1]);
  return el("blockquote", {}, el("p", {}, ...inline(inside.join("\n"))));
}

function paragraph(lines) {
  const inside = [lines.shift()];
  const other = [FENCE, HEADING, BULLET, NUMBER, QUOTE];
  while (lines.length && lines[0].trim() && !other.some((pattern) => pattern.test(lines[0]))) {
    inside.push(lines.shift());
  }
  return el("p", {}, ...inline(inside.join("\n")));
}

const MARKS = /(`+)(.+?)\1(?!`)|\*\*(?=\S)(.+?)\*\*|\*(?=[^\s*])(.+?)\*|(?<![\w_])_(?=[^\s_])(.+?)_(?!\w)/s;

function inline(text) {
  const nodes = [];
  let rest = text;
  let found;
  while ((found = MARKS.exec(rest))) {
    nodes.push(rest.slice(0, found.index));
    const [whole, , verbatim, strong, star, line] = found;
    if (verbatim !== undefined) nodes.push(el("code", {}, verbatim));
    else if (strong !== undefined) nodes.push(el("strong", {}, ...inline(strong)));
    else nodes.push(el("em", {}, ...inline(star ?? line)));
    rest = rest.slice(found.index + whole.length);
  }
  return [...nodes, rest];
}
