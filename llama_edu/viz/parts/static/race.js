// Texts that write themselves at the pace at which they were written, side by side. The seconds
// were measured when the page was made; nothing is computed here. See llama_edu/viz/generate/stopwatch.py.
(() => {
  "use strict";
  const make = (tag, name, ...content) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...content);
    return element;
  };

  class Race {
    constructor(root) {
      this.data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
      this.end = Math.max(...this.data.runs.map((run) => run.at.at(-1)));
      this.runs = this.data.runs.map((run) => this.pane(run));
      this.start = this.button("Start", () => this.go());
      const skip = this.button("Show the end", () => this.stop());
      this.say = make("p", "ll-say");
      this.say.setAttribute("aria-live", "polite");
      const panes = make("div", "lr-runs", ...this.runs.map((run) => run.box));
      const buttons = make("div", "lr-buttons", this.start, skip);
      root.prepend(make("div", "ll-ui", make("p", "ll-title", this.data.title), buttons, panes, this.say));
      this.draw(this.end); // at rest it shows what came of it
      root.dataset.ready = "";
    }

    button(words, act) {
      const button = make("button", "", words);
      button.type = "button";
      button.addEventListener("click", act);
      return button;
    }

    pane(run) {
      const clock = make("output", "", "");
      const text = make("p", "lr-text");
      const box = make("div", "", make("div", "lr-head", make("b", "", run.name), clock), text);
      return { ...run, clock, text, box };
    }

    // Everything as it was that many seconds after the start.
    draw(seconds) {
      for (const run of this.runs) {
        const done = run.at.filter((second) => second <= seconds).length;
        const now = Math.min(seconds, run.at.at(-1));
        run.text.textContent = this.data.pieces.slice(0, done).join("");
        run.clock.textContent = `${done} tokens, ${now.toFixed(1)} s`;
      }
    }

    go() {
      cancelAnimationFrame(this.frame);
      this.say.textContent = "";
      const began = performance.now();
      const tick = () => {
        const seconds = (performance.now() - began) / 1000;
        if (seconds >= this.end) return this.stop();
        this.draw(seconds);
        this.frame = requestAnimationFrame(tick);
      };
      tick();
    }

    stop() {
      cancelAnimationFrame(this.frame);
      this.draw(this.end);
      const words = this.runs.map((run) => `${run.name} ${run.at.at(-1).toFixed(1)} s`);
      this.say.textContent = `${this.data.pieces.length} tokens: ${words.join(", ")}.`;
      this.start.textContent = "Start again";
    }
  }

  document.querySelectorAll(".llama-race:not([data-ready])").forEach((root) => new Race(root));
})();
