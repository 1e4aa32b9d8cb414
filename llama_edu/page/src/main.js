/** What the bundle offers a page, and the labs it starts there. */

import { attention } from "./labs/attention.js";
import { bits } from "./labs/bits.js";
import { cache } from "./labs/cache.js";
import { clocks } from "./labs/clocks.js";
import { h } from "./labs/dom.js";
import { offerLabs } from "./labs/frame.js";
import style from "./labs/labs.css";
import { machine } from "./labs/machine.js";
import { neighbours } from "./labs/neighbours.js";
import { sampler } from "./labs/sampler.js";
import { tokens } from "./labs/tokens.js";
import { turns } from "./labs/turns.js";

export * from "./engine.js";
export { RemoteModel } from "./client.js";
export { pageModel } from "./labs/frame.js";
export { switchedOff } from "./switches.js";
export { serve } from "./worker.js";

const LABS = { attention, bits, cache, clocks, machine, neighbours, sampler, tokens, turns };

let isStyled = false;

/** Offer every lab of the page that is not offered yet. */
function begin() {
  if (!document.querySelector("[data-page-lab]:not([data-ready])")) return;
  if (!isStyled) document.head.append(h("style", {}, style));
  isStyled = true;
  if (inJupyter()) {
    // The built chapters are not there.
    for (const link of document.querySelectorAll("[data-page-lab] svg a")) link.removeAttribute("xlink:href");
  }
  offerLabs(LABS);
}

function inJupyter() {
  return document.getElementById("jupyter-config-data") !== null;
}

// In the worker there is no document, and nothing to offer.
if (typeof document !== "undefined") {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
  // JupyterLab draws outputs when they are run, or come into view.
  if (inJupyter()) {
    new MutationObserver(begin).observe(document.body, { childList: true, subtree: true });
  }
}
