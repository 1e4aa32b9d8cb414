/**
 * Who looks at whom: one head's weights over the reader's sentence, those of its whole group side by
 * side, and what breaks without a part.
 */

import { byArrows, choice, h, labelled, newestOnly, percent, tick, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {import("../switches.js").Switches} Switches */

const TOKENS_SHOWN = 24; // the last ones; more would not fit a phone
const NEW_TOKENS = 24;

/** A switch, its words, and what it does. @type {[keyof Omit<Switches, "silenced">, string, string][]} */
const PARTS = [
  ["mask", "no mask", "The tokens of your sentence look ahead as well; a new token has nothing ahead of it yet."],
  ["scale", "no scale", "The scores are not divided by √head_dim, so softmax is sharper: often nearly all goes to one token."],
  ["sharing", "wrong sharing", "Every query head reads the keys and values of the next KV group."],
  ["rope", "no RoPE", "Queries and keys are not turned, so no head sees in which order the tokens stand."],
  [
    "stale",
    "a cache that is not kept up to date",
    "The key and value of a new token are never stored; those of your last token stand in for them.",
  ],
];
const SILENCED = "What this head has mixed is replaced by zeros.";

/** @type {LabModule} */
export const attention = {
  title: "Attention: which tokens a token looks at",
  mount({ body, model, sentence, say, tabulate, fail, settings }) {
    /** @type {Switches} */
    const off = {};
    let [layer, head, row] = [Number(settings.layer ?? 0), Number(settings.head ?? 0), -1];
    let isSilenced = false;
    let nameHeads = () => {};
    let chooseHead = (/** @type {number} */ _index) => {};

    const layers = h("span");
    const heads = h("span");
    const draw = newestOnly(render, fail);
    const write = newestOnly(compare, fail);
    const again = () => void Promise.all([draw(), write()]);
    const ticks = PARTS.map(([part, text]) =>
      tick(text, (on) => {
        off[part] = on;
        if (part === "sharing") nameHeads();
        again();
      }),
    );
    const silence = tick("silence this head", (on) => {
      isSilenced = on;
      again();
    });
    const how = h(
      "p", { class: "pl-soft" },
      "Each row is a token that looks, each column a token it looks at: the stronger the colour, the larger the attention weight. ",
      h("span", { class: "pl-ask" }, "Point at a row, tap its token, or reach it with Tab and the arrow keys."),
    ); // prettier-ignore
    const maskKey = h("span", {}, h("i", { class: "pl-shade pl-masked" }), "masked: a token that comes later");
    const legend = h(
      "p", { class: "pl-legend" }, "An attention weight of ",
      ...[0.01, 0.1, 0.5, 1].map((share) => h("span", {}, h("i", { class: "pl-shade", style: ink(share) }), `${100 * share}%`)),
      maskKey,
    ); // prettier-ignore
    const silent = h("p", { hidden: true }, "This head is silenced: the weights are as they were, but what it mixes with them is replaced by zeros.");
    const table = h("div", { class: "pl-scroll", tabindex: "0", role: "region", "aria-label": "Attention weights" });
    const keys = byArrows(table);
    // Its edge fades while there are columns beyond it.
    const seeEdge = () => table.classList.toggle("pl-more", table.scrollLeft + table.clientWidth < table.scrollWidth - 1);
    table.addEventListener("scroll", seeEdge);
    new ResizeObserver(seeEdge).observe(table);
    const words = h("p", { class: "pl-words" });
    const maps = h("div", { class: "pl-maps", role: "group", "aria-label": "The query heads of one group" });
    const mapKeys = byArrows(maps);
    const together = h("p", { class: "pl-soft" });
    const trained = h("p", { class: "pl-text" });
    const broken = h("p", { class: "pl-text" });
    const without = h("p", { class: "pl-head" });
    const verdict = h("p", { class: "pl-soft" });
    body.append(
      h("div", { class: "pl-row" }, layers, heads),
      how,
      legend,
      silent,
      table,
      words,
      together,
      maps,
      h("fieldset", { class: "pl-ticks" }, h("legend", {}, "Break the model"), ...ticks.map((t) => t.label), silence.label),
      h("div", { class: "pl-two" },
        h("div", {}, h("p", { class: "pl-head" }, "As trained"), trained),
        h("div", {}, without, broken),
      ),
      verdict,
    ); // prettier-ignore

    /** The switches as they are now. @returns {Switches} */
    const switches = () => ({ ...off, ...(isSilenced ? { silenced: [[layer, head]] } : {}) });

    function rebuildChoices() {
      const { config } = /** @type {NonNullable<ReturnType<typeof model>["loaded"]>} */ (model().loaded);
      const { num_hidden_layers: nLayers, num_attention_heads: nHeads, num_key_value_heads: nKv } = config;
      layer = Math.min(layer, nLayers - 1);
      head = Math.min(head, nHeads - 1);
      const groups = nHeads / nKv;
      const layerChoice = choice(
        Array.from({ length: nLayers }, (_, i) => String(i)),
        (index) => {
          layer = index;
          again();
        },
      );
      const headChoice = choice(
        Array.from({ length: nHeads }, (_, i) => String(i)),
        (index) => {
          head = index;
          again();
        },
      );
      nameHeads = () => {
        for (const [i, option] of [...headChoice.options].entries()) {
          const [own, read] = [Math.floor(i / groups), groupRead(i)];
          option.textContent = `${i} (KV group ${own}${read === own ? "" : `, reads group ${read}`})`;
        }
      };
      nameHeads();
      layerChoice.selectedIndex = layer;
      headChoice.selectedIndex = head;
      chooseHead = (index) => {
        head = headChoice.selectedIndex = index;
        again();
      };
      layers.replaceChildren(labelled("Layer", layerChoice));
      heads.replaceChildren(labelled("Query head", headChoice));
    }

    /** The KV group whose keys and values a query head reads. @param {number} one */
    function groupRead(one) {
      const { config } = /** @type {NonNullable<ReturnType<typeof model>["loaded"]>} */ (model().loaded);
      const { num_attention_heads: nHeads, num_key_value_heads: nKv } = config;
      const own = Math.floor(one / (nHeads / nKv));
      return off.sharing ? (own + 1) % nKv : own;
    }

    async function render() {
      const { ids, pieces } = await model().encode(sentence());
      const name = `layers.${layer}.self_attn.weights`;
      const [record] = await model().trace(ids, { names: [name], off: switches() });
      const total = ids.length;
      /** @param {number} one */
      const weightsOf = (one) => record.data.subarray(one * total * total, (one + 1) * total * total);
      const weights = weightsOf(head);
      const first = Math.max(0, total - TOKENS_SHOWN);
      const shown = pieces.slice(first);
      const texts = shown.map((piece) => visible(piece.text));
      if (row < first || row >= total) row = total - 1;

      const header = h("tr", {}, h("td"), ...texts.map((text) => h("th", { scope: "col" }, h("span", {}, text))));
      const rows = texts.map((text, i) => {
        const cells = texts.map((_, j) => {
          const share = weights[(first + i) * total + first + j];
          if (j > i && !off.mask) return h("td", { class: "pl-masked", style: `--share:${share.toFixed(4)}`, title: "masked" });
          return h("td", { style: `--share:${share.toFixed(4)};${ink(share)}`, title: percent(share) });
        });
        const button = h("button", { type: "button", onclick: () => point(i), onfocus: () => say(point(i)) }, text);
        return h("tr", { onpointerenter: () => point(i) }, h("th", { scope: "row" }, button), ...cells);
      });
      table.replaceChildren(h("table", { class: "pl-heat" }, header, ...rows));
      if (first) table.append(h("p", { class: "pl-soft" }, `The last ${TOKENS_SHOWN} of ${total} tokens.`));
      table.classList.toggle("pl-silenced", isSilenced);
      silent.hidden = !isSilenced;
      maskKey.hidden = Boolean(off.mask);
      seeEdge();

      const { config } = /** @type {NonNullable<ReturnType<typeof model>["loaded"]>} */ (model().loaded);
      const groups = config.num_attention_heads / config.num_key_value_heads;
      const start = Math.floor(head / groups) * groups;
      const group = Array.from({ length: groups }, (_, i) => start + i);
      const own = Math.floor(head / groups);
      const read = groupRead(head);
      const named = groups === 1 ? `Query head ${start}` : `Query heads ${start} ${groups === 2 ? "and" : "to"} ${start + groups - 1}`;
      together.textContent =
        read !== own
          ? `${named} should read the keys and values of KV group ${own}, and ${groups === 1 ? "reads" : "now read"} those of KV group ${read}.`
          : groups === 1
            ? "In this model every query head has keys and values of its own."
            : `${named} share one head of keys and values, and each looks in its own way.`;
      const isHere = maps.contains(document.activeElement);
      const seen = group.map(() => h("span", { class: "pl-soft" }));
      maps.replaceChildren(
        ...group.map((one, at) => {
          const all = weightsOf(one);
          const cells = shown.flatMap((_, i) => shown.map((_, j) => all[(first + i) * total + first + j]));
          const isSilent = isSilenced && one === head;
          const map = h("span", { class: isSilent ? "pl-map pl-silenced" : "pl-map", style: `--side:${shown.length}`, "aria-hidden": "true" });
          map.append(...cells.map((share) => h("i", { style: ink(share) })));
          const pressed = String(one === head);
          const act = () => one !== head && chooseHead(one);
          return h("button", { type: "button", "aria-pressed": pressed, onclick: act }, h("b", {}, `Query head ${one}${isSilent ? ", silenced" : ""}`), map, seen[at]);
        }),
      );
      mapKeys.settle(head - start);
      if (isHere) maps.querySelectorAll("button")[head - start].focus();

      const broken = PARTS.filter(([part]) => off[part]).map(([, text]) => text);
      if (isSilenced) broken.push(`head ${head} silenced`);
      tabulate(
        `Layer ${layer}, query head${groups === 1 ? "" : "s"} ${group.join(", ")}${broken.map((text) => `, ${text}`).join("")}: ` +
          "which tokens each token looks at most",
        ["token", ...group.map((one) => `query head ${one}`)],
        texts.map((text, i) => [
          text,
          ...group.map((one) => {
            const shares = weightsOf(one).subarray((first + i) * total, (first + i + 1) * total);
            return largest(shares, 3).map((t) => `${percent(shares[t])} ${visible(pieces[t].text)}`).join(", ");
          }),
        ]),
      ); // prettier-ignore

      /** @param {number} i */
      function point(i) {
        row = first + i;
        keys.settle(i);
        group.forEach((one, at) => {
          const shares = Array.from(weightsOf(one).subarray(row * total, (row + 1) * total));
          const best = shares.indexOf(Math.max(...shares));
          seen[at].textContent = `“${texts[i]}” looks most at “${visible(pieces[best].text)}”${best < first ? " before the map" : ""}, ${percent(shares[best])}`;
        });
        rows.forEach((element, at) => element.classList.toggle("pl-chosen", at === i));
        const shares = Array.from(weights.subarray(row * total, (row + 1) * total), (share, t) => ({ share, t }));
        shares.sort((a, b) => b.share - a.share);
        const mixed = shares.slice(0, 3).filter(({ share }) => share >= 0.01);
        const said = mixed.map(({ share, t }) => `${percent(share)} “${visible(pieces[t].text)}”`);
        const isMore = shares.some(({ share }, at) => at >= mixed.length && share > 0);
        const text = `“${texts[i]}” mixes the values it looks at: ${said.join(", ")}${isMore ? " and less of the others." : "."}`;
        words.textContent = text;
        return text;
      }
      say(point(row - first));
    }

    async function compare() {
      const { ids } = await model().encode(sentence());
      const given = switches();
      const isBroken = Object.values(given).some((part) => (Array.isArray(part) ? part.length : part));
      /** @param {HTMLElement} place @param {Switches} used */
      const fill = async (place, used) => {
        place.textContent = "";
        place.classList.remove("pl-goes-on");
        const request = { ids, count: NEW_TOKENS, off: used };
        const made = await model().generate(request, ({ text }) => place.append(text)).promise;
        const { config } = /** @type {NonNullable<ReturnType<typeof model>["loaded"]>} */ (model().loaded);
        // The count ended it, and not the model.
        const isCut = !config.eos_token_ids.includes(made.ids[made.ids.length - 1]);
        place.classList.toggle("pl-goes-on", isCut);
      };
      const names = PARTS.filter(([part]) => given[part]).map(([, text]) => text);
      const doing = PARTS.filter(([part]) => given[part]).map(([, , what]) => what);
      if (given.silenced) {
        names.push(`layer ${layer}, query head ${head} silenced`);
        doing.push(SILENCED);
      }
      without.textContent = names.length ? `Broken: ${names.join(", ")}` : "Broken";
      for (const part of [without, broken]) part.classList.toggle("pl-ask", !isBroken);
      verdict.textContent = "";
      await fill(trained, {});
      if (!isBroken) {
        broken.classList.remove("pl-goes-on");
        broken.textContent = "Tick a part to take it out.";
        say(`The model goes on: ${trained.textContent}`);
        return;
      }
      await fill(broken, given);
      verdict.textContent = [...doing, compared(trained.textContent ?? "", broken.textContent ?? "")].join(" ");
      say(`${without.textContent}: ${broken.textContent} ${verdict.textContent}`);
    }

    return () => {
      rebuildChoices();
      again();
    };
  },
};

/** How strongly a weight is coloured: a root, so that small ones are seen, as in the book's figures. @param {number} share */
function ink(share) {
  return `--ink:${Math.sqrt(share).toFixed(3)}`;
}

/** Where the largest weights are, without those that round to nothing. @param {Float32Array} shares @param {number} count */
function largest(shares, count) {
  return Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a]).slice(0, count).filter((t) => shares[t] > 0.02);
}

/** Where two texts part. @param {string} right @param {string} other */
function compared(right, other) {
  if (right === other) return "The text is the same: so far nothing depended on it.";
  const [words, others] = [right, other].map((text) => text.trim().split(/\s+/));
  const at = words.findIndex((word, i) => word !== others[i]);
  if (at === 0) return "The two part with the first word.";
  return `The two agree as far as “${words.slice(0, at < 0 ? words.length : at).join(" ")}”, then they part.`;
}
