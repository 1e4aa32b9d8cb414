// The sampling lab: the exact distribution of the next token under four sliders, computed from
// all logits in float32 and in the order of llama_edu/engine/sampling.py. A test compares the two.
(() => {
  "use strict";
  const round = Math.fround;

  const make = (tag, name, ...content) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...content);
    return element;
  };

  // The logits, largest first: the largest as a whole number that grows with the float (its upper
  // 24 bits, below 0 turned around), then how far each of the others lies below the one before
  // (llama_edu/viz/sampling/sampling_lab.py).
  const unpacked = (text) => {
    const [logits, view] = [[], new DataView(new ArrayBuffer(4))];
    let [key, step, scale] = [0, 0, 1];
    for (const char of atob(text)) {
      const byte = char.charCodeAt(0);
      step += (byte & 127) * scale;
      scale *= 128;
      if (byte & 128) continue;
      key = logits.length ? key - step : step;
      view.setUint32(0, key >= 2 ** 23 ? (key - 2 ** 23) * 256 : ~(key * 256 + 255));
      logits.push(view.getFloat32(0));
      [step, scale] = [0, 1];
    }
    return Float32Array.from(logits);
  };

  const softmax = (values) => {
    const powers = values.map(Math.exp); // none above 1: the largest was taken off
    const sum = round(powers.reduce((total, x) => total + x, 0));
    return powers.map((x) => x / sum);
  };

  // What is left of each token: { before, after, stage }, all by rank. `before` is the softmax at
  // this temperature without filters; `stage` says which filter cut the token, if one did.
  const distribution = (logits, { temperature, topK, topP, minP = 0 }) => {
    const count = logits.length;
    const after = new Float32Array(count);
    const stage = new Array(count).fill("");
    if (temperature === 0) {
      after[0] = 1;
      return { before: after, after, stage: stage.fill("temperature 0", 1) };
    }
    const scaled = logits.map((logit) => round(logit - logits[0]) / round(temperature));
    const before = softmax(scaled);
    const kept = topK > 0 ? Math.min(topK, count) : count;
    stage.fill("top_k", kept);
    let p = kept < count ? softmax(scaled.slice(0, kept)) : before;
    let left = kept;
    if (topP < 1) {
      let sum = 0;
      const isIn = p.map((x) => {
        sum = round(sum + x);
        return round(sum - x) < round(topP);
      });
      if (isIn.indexOf(0) >= 0) left = isIn.indexOf(0);
      stage.fill("top_p", left, kept);
    }
    if (minP > 0) {
      const [line, before] = [round(round(minP) * p[0]), left];
      while (left > 1 && p[left - 1] < line) left -= 1; // sorted: the unlikely are last
      stage.fill("min_p", left, before);
    }
    if (topP < 1 || minP > 0) {
      const total = round(p.slice(0, left).reduce((all, x) => all + x, 0));
      p = p.slice(0, left).map((x) => x / total);
    }
    after.set(p);
    return { before, after, stage };
  };

  const percent = (share) => (share > 0 && share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`);

  class Lab {
    constructor(root) {
      this.root = root;
      this.data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
      this.logits = unpacked(this.data.logits);
      const count = this.logits.length;
      // Counts worth trying; the last place, 0, is "off".
      this.counts = [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60, 100, 200, 500, 1000, 5000, 20000]
        .filter((k) => k < count)
        .concat(0);
      if (!this.counts.includes(this.data.start.topK))
        this.counts = [...new Set([...this.counts.slice(0, -1), this.data.start.topK])].sort((a, b) => a - b).concat(0);
      this.build();
      this.set(this.data.start);
      // For tests, and for whoever opens the console.
      root.distribution = (settings) => distribution(this.logits, settings).after;
      root.dataset.ready = "";
    }

    build() {
      this.heat = this.slider("temperature", { min: 0, max: 2, step: 0.05 });
      this.topK = this.slider("top_k", { min: 0, max: this.counts.length - 1, step: 1 });
      this.topP = this.slider("top_p", { min: 0.05, max: 1, step: 0.01 });
      this.minP = this.slider("min_p", { min: 0, max: 0.5, step: 0.01 });
      const all = [this.heat, this.topK, this.topP, this.minP].map((slider) => slider.label);
      const sliders = make("div", "ll-sliders", ...all);
      const presets = make(
        "div",
        "ll-presets",
        ...this.data.presets.map(([words, settings]) => {
          const button = make("button", "", words);
          button.type = "button";
          button.addEventListener("click", () => this.set(settings));
          return button;
        }),
      );
      this.call = make("code", "");
      this.bars = make("div", "ll-bars");
      this.bars.setAttribute("role", "list");
      this.rows = this.data.labels.map((label) => this.bar(label));
      this.bars.append(...this.rows.map((row) => row.box));
      this.say = make("p", "ll-say");
      this.say.setAttribute("aria-live", "polite");
      const legend = make(
        "p",
        "ll-soft",
        "Filled: the chance of being drawn. Outline: what the temperature alone would give. The whole width is 100%.",
      );
      const parts = [sliders, presets, make("p", "ll-call", this.call), this.say, this.bars, legend];
      this.root.prepend(make("div", "ll-ui", make("p", "ll-title", this.data.title), ...parts));
    }

    slider(name, range) {
      const input = Object.assign(make("input"), { type: "range", ...range });
      const output = make("output");
      input.addEventListener("input", () => this.draw());
      const label = make("label", "", make("code", "", name), output, input);
      return { label, input, output };
    }

    bar(label) {
      const [before, after] = [make("i", "ll-before"), make("i", "ll-after")];
      const track = make("span", "ll-track", before, after);
      track.setAttribute("aria-hidden", "true");
      const share = make("span", "ll-share");
      const box = make("div", "", make("span", "ll-mono", label), track, share);
      box.setAttribute("role", "listitem");
      return { box, before, after, share };
    }

    set({ temperature, topK, topP, minP }) {
      this.heat.input.value = temperature;
      this.topK.input.value = this.counts.indexOf(topK);
      this.topP.input.value = topP;
      this.minP.input.value = minP;
      this.draw();
    }

    settings() {
      return {
        temperature: Number(this.heat.input.value),
        topK: this.counts[Number(this.topK.input.value)],
        topP: Number(this.topP.input.value),
        minP: Number(this.minP.input.value),
      };
    }

    draw() {
      const settings = this.settings();
      const { before, after, stage } = distribution(this.logits, settings);
      const { temperature, topK, topP, minP } = settings;
      const shown = {
        heat: temperature.toFixed(2),
        topK: topK || "off",
        topP: topP < 1 ? topP.toFixed(2) : "off",
        minP: minP > 0 ? minP.toFixed(2) : "off",
      };
      for (const [name, text] of Object.entries(shown)) {
        this[name].output.textContent = text;
        this[name].input.setAttribute("aria-valuetext", text);
      }
      const last = minP > 0 ? `, min_p=${minP}` : "";
      this.call.textContent = `Sampling(temperature=${temperature}, top_k=${topK}, top_p=${topP}${last})`;
      this.rows.forEach((row, rank) => {
        row.before.hidden = before[rank] === 0;
        row.before.style.width = `${100 * before[rank]}%`;
        row.after.style.width = `${100 * after[rank]}%`;
        row.share.textContent = stage[rank] ? `cut by ${stage[rank]}` : percent(after[rank]);
        row.box.classList.toggle("ll-out", stage[rank] !== "");
      });
      this.say.replaceChildren(...this.summary(after, stage.filter((cut) => !cut).length));
    }

    summary(after, left) {
      const surprise = (sum, p) => (p > 0 ? sum - p * Math.log(p) : sum);
      const entropy = after.reduce(surprise, 0);
      const others = Math.max(0, 1 - after.slice(0, this.rows.length).reduce((sum, p) => sum + p, 0));
      const count = (n) => n.toLocaleString("en");
      const kept = make("b", "", `${count(left)} of ${count(after.length)} tokens kept. `);
      const choices = Math.exp(entropy);
      return [
        kept,
        `Entropy ${entropy.toFixed(2)} nats: as open as ${choices.toFixed(choices < 100 ? 1 : 0)} equally likely tokens. `,
        left > this.rows.length ? `Tokens not in view hold ${percent(others)}.` : "",
      ];
    }
  }

  document.querySelectorAll(".llama-lab:not([data-ready])").forEach((root) => new Lab(root));
})();
