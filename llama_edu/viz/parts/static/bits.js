// Bits one can flip: three number formats, a row of buttons each. The number is read from the
// bits alone, in float64, which holds every value of all three exactly. See llama_edu/viz/bytes/flip.py.
(() => {
  "use strict";
  const make = (tag, name, ...content) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...content);
    return element;
  };

  const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const raised = (n) => String(n).replace("-", "⁻").replace(/\d/g, (d) => SUPERSCRIPT[d]);

  // Sign, exponent and mantissa as a value, and as words.
  const worth = (bits, exponentBits) => {
    const sign = bits[0] ? "−" : "+";
    const field = parseInt(bits.slice(1, 1 + exponentBits).join(""), 2);
    const mantissa = bits.slice(1 + exponentBits);
    const fraction = parseInt(mantissa.join(""), 2) / 2 ** mantissa.length;
    const bias = 2 ** (exponentBits - 1) - 1;
    if (field === 2 ** exponentBits - 1) {
      if (fraction) return { value: NaN, words: "not a number: the exponent is all ones, the mantissa is not 0" };
      return { value: bits[0] ? -Infinity : Infinity, words: `${sign}∞: the exponent is all ones, the mantissa is 0` };
    }
    const whole = field ? 1 : 0;
    const power = field ? field - bias : 1 - bias;
    const value = (bits[0] ? -1 : 1) * (whole + fraction) * 2 ** power;
    const leading = field ? "" : ", and no leading 1: a subnormal number";
    return { value, words: `${sign} 2${raised(power)} × ${shown(whole + fraction)}${leading}` };
  };

  const shown = (value) => {
    if (Number.isNaN(value)) return "NaN";
    if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
    if (Object.is(value, -0)) return "−0";
    return String(Number(value.toPrecision(9))).replace(/-/g, "−");
  };

  class Row {
    constructor(form, value) {
      this.form = form;
      this.bits = [...form.bits].map(Number);
      this.buttons = this.bits.map((_, i) => this.button(i));
      const bytes = [];
      for (let i = 0; i < this.buttons.length; i += 8) {
        bytes.push(make("span", "lb-byte", ...this.buttons.slice(i, i + 8)));
      }
      this.number = make("output", "lb-value");
      this.number.setAttribute("aria-live", "polite");
      this.words = make("span", "ll-soft");
      const reset = make("button", "ll-quiet", `Back to ${value}`);
      reset.type = "button";
      reset.setAttribute("aria-label", `${form.name}: back to ${value}`);
      reset.addEventListener("click", () => {
        this.bits = [...form.bits].map(Number);
        this.draw();
      });
      const group = make("div", "lb-bits", ...bytes);
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", `The ${this.bits.length} bits of ${form.name}. Arrow keys move, space flips.`);
      group.addEventListener("keydown", (event) => this.key(event));
      const head = make("div", "lb-head", make("b", "", form.name), reset);
      this.element = make("div", "lb-row", head, group, make("div", "", this.number, " ", this.words));
      this.draw();
    }

    part(i) {
      if (i === 0) return "sign";
      return i <= this.form.exponent ? "exponent" : "mantissa";
    }

    button(i) {
      const button = make("button", `lb-${this.part(i)[0]}`);
      button.type = "button";
      button.tabIndex = i ? -1 : 0;
      button.addEventListener("click", () => {
        this.bits[i] = 1 - this.bits[i];
        this.focus(i);
        this.draw();
      });
      return button;
    }

    key(event) {
      const at = this.buttons.indexOf(document.activeElement);
      const last = this.buttons.length - 1;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.focus(Math.min(Math.max(to, 0), last));
    }

    focus(i) {
      this.buttons.forEach((button, j) => { button.tabIndex = i === j ? 0 : -1; });
      this.buttons[i].focus();
    }

    draw() {
      this.buttons.forEach((button, i) => {
        button.textContent = this.bits[i];
        button.setAttribute("aria-pressed", this.bits[i] === 1);
        button.setAttribute("aria-label", `bit ${this.bits.length - 1 - i}, ${this.part(i)}, ${this.bits[i]}`);
      });
      const { value, words } = worth(this.bits, this.form.exponent);
      this.number.textContent = `= ${shown(value)}`;
      this.words.textContent = `(${words})`;
    }
  }

  for (const root of document.querySelectorAll(".llama-bits:not([data-ready])")) {
    const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    const key = make("p", "lb-key ll-soft", make("span", "lb-s", "sign"), " ", make("span", "lb-e", "exponent"), " ", make("span", "lb-m", "mantissa"));
    const rows = data.formats.map((form) => new Row(form, data.value).element);
    root.append(make("div", "ll-ui", make("p", "ll-title", data.title), key, ...rows));
    root.dataset.ready = "";
  }
})();
