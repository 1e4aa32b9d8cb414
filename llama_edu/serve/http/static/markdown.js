// The Markdown that models write, as nodes: headings, lists, tables, quotes, code, emphasis, links.
// There are no images and no HTML: their text stays text. A link leads to http, https or mailto and
// nowhere else, and only when it is pressed; so nothing a model writes can load or run anything.

import { copyButton, el } from "./dom.js";

const FENCE = /^\s*(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const QUOTE = /^\s*>\s?(.*)$/;
const RULE = /^\s*(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;
const BORDER = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8; // of what is nested; beyond that, text stays text

/** The nodes of a text. */
export const render = (text) => blocks(text.split("\n"), 0);

function blocks(lines, depth) {
  const nodes = [];
  while (lines.length) {
    const line = lines[0];
    if (!line.trim()) lines.shift();
    else if (FENCE.test(line)) nodes.push(code(lines));
    else if (HEADING.test(line)) nodes.push(heading(lines.shift()));
    else if (RULE.test(line)) nodes.push(rule(lines));
    else if (isTable(lines)) nodes.push(table(lines));
    else if (ITEM.test(line)) nodes.push(list(lines, depth));
    else if (QUOTE.test(line) && depth < DEEPEST) nodes.push(quote(lines, depth));
    else nodes.push(paragraph(lines));
  }
  return nodes;
}

function code(lines) {
  const [, fence] = FENCE.exec(lines.shift());
  const end = lines.findIndex((line) => line.trim().startsWith(fence));
  const inside = lines.splice(0, end < 0 ? lines.length : end).join("\n");
  if (end >= 0) lines.shift();
  const box = el("pre", { tabindex: 0, role: "region", "aria-label": "Code" }, el("code", {}, inside));
  return el("div", { class: "code" }, box, copyButton(() => inside));
}

function heading(line) {
  const [, marks, text] = HEADING.exec(line);
  // The page has an h1, and a turn is no chapter: levels begin at 3.
  return el(`h${Math.min(marks.length + 2, 6)}`, {}, ...inline(text));
}

function rule(lines) {
  lines.shift();
  return el("hr");
}

/** Items of one depth; what is indented further belongs to the item before it. */
function list(lines, depth) {
  const [, indent, number] = ITEM.exec(lines[0]);
  const tag = number === undefined ? "ul" : "ol";
  const items = [];
  while (lines.length) {
    const found = ITEM.exec(lines[0]);
    if (!found || found[1].length < indent.length) break;
    if (found[1].length > indent.length + 1 && items.length && depth < DEEPEST) {
      items.at(-1).append(list(lines, depth + 1));
      continue;
    }
    if ((found[2] === undefined) !== (number === undefined)) break;
    items.push(el("li", {}, ...inline(found[3])));
    lines.shift();
    // Lists of models often have an empty line between their items.
    if (lines.length > 1 && !lines[0].trim() && ITEM.exec(lines[1])?.[1].length >= indent.length) lines.shift();
  }
  return el(tag, { start: number ?? null }, ...items);
}

const cells = (line) => line.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

function isTable(lines) {
  if (lines.length < 2 || !lines[0].includes("|") || !BORDER.test(lines[1])) return false;
  return cells(lines[0]).length === cells(lines[1]).length;
}

function table(lines) {
  const names = cells(lines.shift());
  const sides = cells(lines.shift()).map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "middle" : "end") : null));
  const rows = [];
  while (lines.length && lines[0].trim() && lines[0].includes("|")) {
    const row = cells(lines.shift());
    rows.push(el("tr", {}, ...names.map((_, i) => el("td", { class: sides[i] }, ...inline(row[i] ?? "")))));
  }
  const head = el("tr", {}, ...names.map((name, i) => el("th", { scope: "col", class: sides[i] }, ...inline(name))));
  const whole = el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows));
  return el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Table" }, whole);
}

function quote(lines, depth) {
  const inside = [];
  while (lines.length && QUOTE.test(lines[0])) inside.push(QUOTE.exec(lines.shift())[1]);
  return el("blockquote", {}, ...blocks(inside, depth + 1));
}

function paragraph(lines) {
  const inside = [lines.shift()];
  const other = [FENCE, HEADING, ITEM, QUOTE, RULE];
  while (lines.length && lines[0].trim() && !other.some((pattern) => pattern.test(lines[0])) && !isTable(lines)) {
    inside.push(lines.shift());
  }
  return el("p", {}, ...inline(inside.join("\n")));
}

const MARKS = new RegExp(
  [
    /(`+)(?<verbatim>.+?)\1(?!`)/,
    /\*\*(?=\S)(?<strong>.+?)\*\*/,
    /\*(?=[^\s*])(?<star>.+?)\*/,
    /(?<![\w_])_(?=[^\s_])(?<line>.+?)_(?!\w)/,
    /~~(?=\S)(?<gone>.+?)~~/,
    /\[(?<label>[^\][]+)\]\((?<goal>[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)/,
    /(?<bare>https?:\/\/[^\s<>"'`|]*[^\s<>"'`|.,:;!?)\]}*_])/,
  ]
    .map((pattern) => pattern.source)
    .join("|"),
  "s",
);

function inline(text) {
  const nodes = [];
  let rest = text;
  let found;
  while ((found = MARKS.exec(rest))) {
    nodes.push(rest.slice(0, found.index));
    const { verbatim, strong, star, line, gone, label, goal, bare } = found.groups;
    if (verbatim !== undefined) nodes.push(el("code", {}, verbatim));
    else if (strong !== undefined) nodes.push(el("strong", {}, ...inline(strong)));
    else if (gone !== undefined) nodes.push(el("del", {}, ...inline(gone)));
    else if (bare !== undefined) nodes.push(link(bare, [bare]) ?? bare);
    else if (label !== undefined) nodes.push(link(goal, plain(label)) ?? found[0]);
    else nodes.push(el("em", {}, ...inline(star ?? line)));
    rest = rest.slice(found.index + found[0].length);
  }
  return [...nodes, rest];
}

/** What stands in a link: no link in a link. */
const plain = (label) => inline(label).map((node) => (node.tagName === "A" ? node.textContent : node));

/** A link in a window of its own that learns nothing of this page. Null for what leads elsewhere. */
function link(goal, children) {
  let url;
  try {
    url = new URL(goal); // a relative one throws: it would lead into this server
  } catch {
    return null;
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return null;
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer", title: url.href }, ...children);
}
