/** What the model would say after each layer (the logit lens), and a token's nearest embeddings. */

import { h, newestOnly, percent, visible } from "./dom.js";

/** @typedef {import("./frame.js").LabModule} LabModule */
/** @typedef {{ place: string, best: { text: string, share: number }[], rank: number }} View */

/** @param {string} place */
function layerName(place) {
  return place === "embed_tokens" ? "embedding" : `layer ${place.split(".")[1]}`;
}

/**
 * Why so many rows point the same way.
 * @param {number} alike @param {number} all @param {boolean} isStory
 */
function untrained(alike, all, isStory) {
  const [some, total] = [alike, all].map((count) => count.toLocaleString("en"));
  const who = isStory
    ? "no story in this model's training has any of these tokens"
    : "such are the rows of tokens that training hardly ever met";
  return (
    `These are not neighbours in meaning. ${some} of the table's ${total} rows point the same way as this one, ` +
    `with a cosine above 0.999: ${who}, so nothing ever told one from another.`
  );
}

/** @type {LabModule} */
export const neighbours = {
  title: "Neighbours: the answer, layer by layer",
  mount({ body, model, sentence, say, tabulate, fail }) {
    const lens = h("div", { class: "pl-scroll", tabindex: "0", role: "region", "aria-label": "Layer by layer" });
    const near = h("div");
    body.append(lens, near);

    return newestOnly(async () => {
      const { ids, pieces } = await model().encode(sentence());
      const { answer, views } = await model().ask("lens", { ids });
      const head = ["after", "rank", "what it would say"];
      const rows = views.map((/** @type {View} */ { place, best, rank }) =>
        h(
          "tr", {}, h("th", { scope: "row" }, layerName(place)), h("td", {}, `${rank}`),
          h("td", {}, ...best.map(({ text, share }) => h("span", { class: "pl-part" }, h("span", { class: "pl-mono" }, visible(text)), ` ${percent(share)}`))),
        ),
      ); // prettier-ignore
      lens.replaceChildren(
        h(
          "table", { class: "pl-steps pl-lens" },
          h("caption", {}, `In the end the model says “${visible(answer)}”. Its rank after each layer (1 is the favourite), and the three tokens that the final norm and the head would like best there.`),
          h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...rows),
        ),
      ); // prettier-ignore
      const last = ids[ids.length - 1];
      const { found, alike, rows: all } = await model().ask("nearest", { id: last, count: 8 });
      near.replaceChildren(
        h("p", {}, `Nearest to “${visible(pieces[pieces.length - 1].text)}” in the embedding table, by cosine: `,
          ...found.map((/** @type {{ text: string, cosine: number }} */ { text, cosine }) =>
            h("span", { class: "pl-part" }, h("span", { class: "pl-mono" }, visible(text)), ` ${cosine.toFixed(2)}`)),
        ),
        // None of the tokens shown is nearer than another.
        ...(alike > found.length ? [h("p", {}, untrained(alike, all, model().name === "story"))] : []),
      ); // prettier-ignore
      tabulate(
        `What the model would say after each layer; its answer is “${visible(answer)}”`,
        ["after", "rank of the answer", "what it would say"],
        views.map((/** @type {View} */ { place, best, rank }) => [
          layerName(place), String(rank), best.map(({ text, share }) => `${visible(text)} ${percent(share)}`).join(", "),
        ]),
      ); // prettier-ignore
      say(`The answer is ${visible(answer)}; its ranks are ${views.map((/** @type {View} */ v) => v.rank).join(", ")}.`);
    }, fail);
  },
};
