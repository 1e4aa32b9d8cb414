// A question for understanding, judged in the page: a choice, a number, or steps to put in order.
// The questions are written in llama_edu/exercises/questions, and judged there by the same rules.
(() => {
  "use strict";
  const make = (tag, name, html = "") => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.innerHTML = html;
    return element;
  };
  const button = (html, press) => {
    const element = make("button", "", html);
    element.type = "button";
    element.addEventListener("click", press);
    return element;
  };

  // Each kind builds its controls into a fieldset, and gives `judge`, which returns
  // [right or not, what is said] or [null, what is missing], and `solution`, as HTML.
  const choice = (data, field, id) => {
    data.choices.forEach(([text], i) => {
      const label = make("label", "lq-row");
      const radio = make("input");
      Object.assign(radio, { type: "radio", name: id, value: i });
      label.append(radio, make("span", "", text));
      field.append(label);
    });
    return {
      judge() {
        const chosen = field.querySelector("input:checked");
        if (!chosen) return [null, "Choose one of them first."];
        const i = Number(chosen.value);
        return [i === data.right, data.choices[i][1]];
      },
      solution: `${data.choices[data.right][0]}. ${data.choices[data.right][1]}`,
    };
  };

  const number = (text) => {
    const plain = text.trim().replace(/[−–]/g, "-").replace(/[\s\u202f]|,(?=\d{3}(?:\D|$))/g, "").replace(",", ".").replace(/%$/, "");
    return plain === "" ? NaN : Number(plain);
  };

  const amount = (data, field, id) => {
    const label = make("label", "lq-row");
    const input = make("input");
    Object.assign(input, { type: "text", inputMode: "decimal", size: 9, autocomplete: "off", name: id });
    const unit = make("span", "", data.unit);
    label.append(make("span", "", "Your number:"), input, unit);
    field.append(label);
    return {
      judge() {
        const typed = input.value.trim(); // some write the unit as well
        const given = number(typed.endsWith(unit.textContent) ? typed.slice(0, -unit.textContent.length) : typed);
        if (Number.isNaN(given)) return [null, "Type a number first, such as 12 or 0.5."];
        const is = (value) => Math.abs(given - value) <= data.within;
        if (is(data.answer)) return [true, data.why];
        const near = data.near.find(([value]) => is(value));
        return [false, near ? near[1] : data.other];
      },
      solution: `${data.answer.toLocaleString("en")} ${data.unit}. ${data.why}`,
    };
  };

  const order = (data, field, id, say) => {
    const list = make("ol", "lq-steps");
    const move = (item, by, pressed) => {
      const items = [...list.children];
      const to = items.indexOf(item) + by;
      if (to < 0 || to >= items.length) return say(null, `It is already ${by < 0 ? "first" : "last"}.`);
      list.insertBefore(item, by < 0 ? items[to] : items[to].nextSibling);
      pressed.focus();
      say(null, `Now step ${to + 1} of ${items.length}.`);
    };
    for (const step of data.shown) {
      const item = make("li", "lq-row");
      item.dataset.step = step;
      const buttons = [["↑", -1, "up"], ["↓", 1, "down"]].map(([arrow, by, way]) => {
        const press = button(arrow, () => move(item, by, press));
        press.setAttribute("aria-label", `Move ${way}: ${data.names[step]}`);
        return press;
      });
      item.append(make("span", "", data.steps[step]), ...buttons);
      list.append(item);
    }
    field.append(list);
    return {
      judge() {
        const now = [...list.children].map((item) => Number(item.dataset.step));
        const at = data.why.findIndex((_, i) => now.indexOf(i) > now.indexOf(i + 1));
        return at < 0 ? [true, data.done] : [false, data.why[at]];
      },
      solution: `<ol>${data.steps.map((step) => `<li>${step}</li>`).join("")}</ol>${data.done}`,
    };
  };

  const kinds = { choice, amount, order };

  for (const root of document.querySelectorAll(".llama-question:not([data-ready])")) {
    const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    const said = make("div", "lq-said");
    said.setAttribute("role", "status"); // read out when it changes
    const say = (right, html) => {
      said.className = right === null ? "lq-said" : `lq-said lq-${right ? "right" : "wrong"}`;
      const mark = right === null ? "" : right ? `<b>✓${data.kind === "choice" ? "" : " Right."}</b> ` : "<b>✗ Not yet.</b> ";
      said.innerHTML = mark + html;
    };
    const form = make("form", "ll-ui");
    const field = make("fieldset", "", `<legend>${data.ask}</legend>`);
    const asked = kinds[data.kind](data, field, root.id, say);
    const check = make("button", "", "Check");
    const show = button("Show the answer", () => say(null, asked.solution));
    show.hidden = true; // until one has tried
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [right, html] = asked.judge();
      say(right, html);
      show.hidden = right !== false && show.hidden;
    });
    const buttons = make("p", "lq-buttons");
    buttons.append(check, show);
    form.append(field, buttons, said);
    root.append(form);
    root.dataset.ready = "";
  }
})();
