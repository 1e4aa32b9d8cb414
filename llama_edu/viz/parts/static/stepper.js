// A stepper: shows one step at a time of what the data beside this script tells, and lights up
// where a number came from. Nothing here knows what is computed; see llama_edu/viz/parts/stepper.py.
(() => {
  "use strict";
  const NARROW = 520; // CSS pixels; below, matrices show fewer columns and one decimal less

  const make = (tag, name, ...content) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.append(...content);
    return element;
  };

  // A sentence whose `backticks` mean code.
  const prose = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", "", part) : part));

  const written = (value, digits, places, absent = "−∞") => {
    if (value === null) return absent;
    const text = (value / 10 ** digits).toFixed(places);
    return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
  };

  const percent = (share) => (share > 0 && share < 0.005 ? "<1%" : `${(100 * share).toFixed(0)}%`);

  const paint = (element, axis) => {
    element.style.setProperty("--c", `var(--ll-${axis})`);
    element.style.setProperty("--h", `var(--ll-${axis}-hatch)`);
    return element;
  };

  class Stepper {
    constructor(root) {
      this.root = root;
      this.data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
      this.at = 0;
      this.cut();
      this.build();
      this.isNarrow = root.clientWidth < NARROW;
      new ResizeObserver(() => {
        if (this.isNarrow === root.clientWidth < NARROW) return;
        this.isNarrow = !this.isNarrow;
        this.draw();
      }).observe(root);
      this.draw();
      root.dataset.ready = "";
    }

    build() {
      const { title, steps } = this.data;
      const options = steps.map((step, i) => {
        const option = make("option", "", `${i + 1} of ${steps.length}: ${step.title}`);
        option.value = i;
        return option;
      });
      this.choice = make("select", "", ...options);
      this.choice.setAttribute("aria-label", `Step of: ${title}`);
      this.choice.addEventListener("change", () => this.go(Number(this.choice.value)));
      this.back = this.button("‹ Back", () => this.go(this.at - 1));
      this.next = this.button("Next ›", () => this.go(this.at + 1));
      this.progress = make("i");
      const bar = make("div", "ll-bar", this.progress);
      bar.setAttribute("aria-hidden", "true");
      this.say = this.live("ll-say");
      this.flow = make("div", "ll-flow");
      this.where = make("p", "ll-where ll-soft");
      this.code = make("div", "ll-code");
      this.code.setAttribute("role", "group");
      this.code.tabIndex = 0; // it scrolls
      this.stage = make("div", "ll-show");
      this.read = this.live("ll-read");
      const table = this.button("All steps as a table", () => {
        const isOpen = this.root.classList.toggle("ll-tabled");
        table.setAttribute("aria-expanded", isOpen);
      });
      table.className = "ll-quiet";
      table.setAttribute("aria-expanded", "false");
      const nav = make("div", "ll-nav", this.back, this.choice, this.next);
      const parts = [nav, bar, this.say, this.where, this.code, this.flow, this.stage, this.read];
      this.ui = make("div", "ll-ui", make("p", "ll-title", title), ...parts, table);
      this.ui.addEventListener("keydown", (event) => this.key(event));
      this.root.prepend(this.ui);
    }

    // Every group of rows as a matrix of its own: "s0#1" is group 1 of "s0".
    cut() {
      for (const [name, known] of Object.entries(this.data.matrices)) {
        known.rows = this.data.sides[known.rows];
        known.cols = this.data.sides[known.cols];
        let from = 0;
        known.rows.groups.forEach(([label, count], g) => {
          const [labels, values] = [known.rows.labels, known.values].map((all) => all.slice(from, from + count));
          const rows = { ...known.rows, labels, groups: [] };
          const tell = `${label}, query {row}, key {col}: {value}`;
          this.data.matrices[`${name}#${g}`] = { ...known, name: label, rows, values, links: [], tell };
          from += count;
        });
      }
    }

    button(words, press) {
      const button = make("button", "", words);
      button.type = "button";
      button.addEventListener("click", press);
      return button;
    }

    live(name) {
      const region = make("p", name);
      region.setAttribute("aria-live", "polite");
      return region;
    }

    go(to) {
      const last = this.data.steps.length - 1;
      this.at = Math.max(0, Math.min(last, to));
      this.draw();
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.target.closest(".ll-cell")) return this.move(event);
      const to = {
        ArrowLeft: this.at - 1,
        ArrowRight: this.at + 1,
        Home: 0,
        End: this.data.steps.length - 1,
      }[event.key];
      if (to === undefined || event.target === this.code) return;
      event.preventDefault();
      this.go(to);
    }

    // Arrow keys inside a matrix go from number to number.
    move(event) {
      const cell = event.target.closest(".ll-cell");
      const { grid, i, j } = cell.place;
      const [rows, cols] = [grid.cells.length, grid.cells[0].length];
      const to = {
        ArrowLeft: [i, j - 1],
        ArrowRight: [i, j + 1],
        ArrowUp: [i - 1, j],
        ArrowDown: [i + 1, j],
        Home: [i, 0],
        End: [i, cols - 1],
      }[event.key];
      if (!to) return;
      event.preventDefault();
      const clip = (index, count) => Math.max(0, Math.min(count - 1, index));
      grid.cells[clip(to[0], rows)][clip(to[1], cols)].focus();
    }

    draw() {
      this.root.classList.toggle("ll-narrow", this.isNarrow);
      const { steps, listings } = this.data;
      const step = steps[this.at];
      this.choice.value = this.at;
      this.back.setAttribute("aria-disabled", this.at === 0);
      this.next.setAttribute("aria-disabled", this.at === steps.length - 1);
      this.progress.style.width = `${(100 * (this.at + 1)) / steps.length}%`;
      this.say.replaceChildren(make("b", "", `${this.at + 1}. ${step.title}. `), ...prose(step.say));
      const operands = (list) => list.map(([name, axes]) => this.operand(name, axes));
      const arrow = make("span", "", "→");
      this.flow.replaceChildren(...operands(step.in), arrow, ...operands(step.out));
      this.list(listings[step.listing], step.line);
      this.grids = new Map();
      const box = this.layout(step);
      // A product leaves a corner free.
      if (step.layout === "cross" && !this.isNarrow) box.append(this.read);
      else this.stage.after(this.read);
      this.stage.replaceChildren(box);
      if (step.layout === "columns") this.stage.scrollLeft = this.stage.scrollWidth; // the newest
      this.read.replaceChildren(
        "Point at a number, or press Tab and then the arrow keys: it tells where it came from.",
      );
      if (step.at) this.point(this.grids.get(step.at[0]).cells[step.at[1]][step.at[2]]);
    }

    operand(name, axes) {
      const chips = axes.map(([axis, size]) => {
        const badges = axis.split("*").filter((part) => this.hasAxis(part)).map((part) => this.badge(part));
        return make("span", "ll-chip", ...badges, `${size} `, make("small", "", axis.replaceAll("*", " × ")));
      });
      return make("span", "ll-operand", make("code", "", name), ...chips);
    }

    badge(axis) {
      const badge = paint(make("i", "ll-badge", this.letter(axis)), axis);
      badge.title = axis;
      return badge;
    }

    hasAxis(name) {
      return this.letter(name) !== "";
    }

    letter(name) {
      return this.root.style.getPropertyValue(`--ll-${name}-letter`).trim().replace(/['"]/g, "");
    }

    list({ title, lines }, now) {
      this.where.replaceChildren(make("code", "", title), `, line ${now} has just run`);
      this.code.setAttribute("aria-label", `Source of ${title}`);
      const rows = lines.map(([number, text]) => {
        const row = make("div", number === now ? "ll-now" : "", make("span", "", `${number}`), text);
        if (number === now) row.setAttribute("aria-current", "step");
        return row;
      });
      this.code.replaceChildren(...rows);
      const line = rows.find((row) => row.className);
      this.code.scrollTop = line.offsetTop - this.code.clientHeight / 2;
    }

    layout({ layout, show }) {
      const isStack = layout === "cross" && this.isNarrow; // no room for the corner
      const box = make("div", isStack ? "ll-row" : `ll-${layout}`);
      if (layout === "grid") {
        box.style.gridTemplateColumns = `repeat(${show[0].length + 1}, max-content)`;
        show.forEach((names, i) => {
          const head = make("span", "", this.badge("n_kv_heads"), this.isNarrow ? `${i}` : `KV group ${i}`);
          box.append(head, ...names.map((name) => this.matrix(name, { isThumb: true })));
        });
      } else if (isStack) {
        box.append(...show.map((name) => this.matrix(name, {})));
      } else if (layout === "cross") {
        const how = [{}, { isBack: true }, { noHeads: true, noTop: true }];
        box.append(...show.map((name, i) => this.matrix(name, how[i])));
      } else {
        const one = this.data.matrices[show[0]];
        const shares = (name) => `${this.data.matrices[name].rows.labels}` === `${one.rows.labels}`;
        box.append(
          ...show.map((name, i) =>
            this.matrix(name, { noHeads: i > 0 && shares(name) && (!this.isNarrow || layout === "columns") }),
          ),
        );
      }
      return box;
    }

    matrix(name, how) {
      const known = this.data.matrices[name];
      const few = (side) => (this.isNarrow && side.narrow) || side.labels.length;
      const [rows, cols] = [few(known.rows), few(known.cols)];
      const values = known.values.slice(0, rows).map((row) => row.slice(0, cols));
      const top = Math.max(1e-9, ...values.flat().map((v) => Math.abs(v ?? 0))) / 10 ** known.digits;
      const isColumn = known.cols.total === 1;
      const usual = (top < 10 ? 2 : top < 100 ? 1 : 0) + (isColumn ? 1 : 0);
      const isTight = this.isNarrow && !isColumn && known.kind !== "share";
      const places = Math.min(known.digits, usual, isTight ? 1 : usual);
      const grid = { name, known, top, places, cells: [], heads: [] };
      this.grids.set(name, grid);
      const box = make("div", `ll-matrix${how.isThumb ? " ll-thumb" : ""}${how.isBack ? " ll-back" : ""}`);
      const widest = Math.max(...known.rows.labels.map((label) => label.length));
      box.style.setProperty("--heads", how.noHeads ? "0" : `${widest * 0.58 + 0.8}em`);
      const width = how.isThumb ? ["0.8rem", "1.1rem"] : ["1.7rem", "2rem"];
      box.style.setProperty("--cell", isColumn ? "3.2rem" : width[this.isNarrow ? 0 : 1]);
      const size = [[known.rows, rows], [known.cols, cols]].map(([{ total }, shown]) => (shown < total ? `${shown} of ${total}` : total)).join(" × ");
      const axes = `${known.rows.axis} × ${known.cols.axis}`.replaceAll("*", " × ");
      const body = make("div");
      body.setAttribute("role", "grid");
      body.setAttribute("aria-label", `${known.name}, ${size}, ${axes}`);
      const title = make("div", "ll-name", make("b", "", known.name));
      if (!how.isThumb) title.append(make("span", "ll-soft", ` ${size}`));
      if (!isColumn) box.append(title);
      if (!how.isThumb && !how.noTop) body.append(this.top(known, cols, how));
      body.append(...this.lines(grid, values, how));
      box.append(body);
      return box;
    }

    top({ rows, cols }, count, how) {
      const labels = cols.labels.slice(0, count).map((label) => {
        const head = make("span", label.length > 3 && count > 1 ? "ll-label" : "ll-short", label);
        head.setAttribute("role", "columnheader");
        return head;
      });
      const edge = this.edge(cols.axis, "ll-edge ll-flat");
      edge.style.setProperty("--n", count);
      const lead = make("span", rows.groups.length && !how.noHeads ? "ll-lead" : "");
      const corner = how.noHeads ? [] : [make("span", "ll-head"), make("span", "ll-edge")];
      const line = make("div", "ll-line ll-top", lead, ...corner, make("div", "", make("div", "ll-cells", ...labels), edge));
      line.setAttribute("role", "row");
      return line;
    }

    edge(axis, name) {
      const edge = make("span", name);
      edge.setAttribute("aria-hidden", "true");
      const part = axis.split("*").findLast((one) => this.hasAxis(one));
      return part ? paint(edge, part) : edge;
    }

    lines(grid, values, how) {
      const { rows, cols } = grid.known;
      const lines = values.map((row, i) => {
        const cells = row.map((value, j) => this.cell(grid, value, i, j, how));
        grid.cells.push(cells);
        const head = make("span", "ll-head", rows.labels[i]);
        head.hidden = how.noHeads || how.isThumb || false;
        head.setAttribute("role", "rowheader");
        grid.heads.push(head);
        const edge = how.noHeads ? "" : this.edge(rows.axis, "ll-edge");
        const line = make("div", "ll-line", head, edge, make("div", "ll-cells", ...cells));
        line.setAttribute("role", "row");
        return line;
      });
      grid.cells[0][0].tabIndex = 0;
      if (!rows.groups.length || how.isThumb) return lines;
      let from = 0;
      return rows.groups.map(([label, count]) => {
        const words = make("span", "", how.noHeads ? "" : label);
        const block = make("div", "", ...lines.slice(from, (from += count)));
        const outer = this.edge(rows.axis.split("*")[0], "ll-edge");
        const group = make("div", "ll-group", ...(how.noHeads ? [block] : [words, outer, block]));
        group.setAttribute("role", "rowgroup");
        group.setAttribute("aria-label", label);
        return group;
      });
    }

    cell(grid, value, i, j, how) {
      const { kind, digits, absent } = grid.known;
      const number = value === null ? 0 : value / 10 ** digits;
      const signed = number < 0 ? "minus" : "plus";
      const shade = value === null ? "none" : { signed, bool: "share" }[kind] ?? kind;
      const text = kind === "bool" ? (value ? "✓" : "✗") : written(value, digits, grid.places, absent);
      const cell = make("div", `ll-cell ll-${kind === "bool" && !value ? "none" : shade}`, how.isThumb ? "" : text);
      cell.style.setProperty("--v", kind === "signed" ? Math.abs(number) / grid.top : number);
      cell.setAttribute("role", "gridcell");
      if (how.isThumb) cell.setAttribute("aria-label", text);
      cell.tabIndex = -1;
      cell.place = { grid, i, j };
      for (const kindOfEvent of ["pointerenter", "focus"])
        cell.addEventListener(kindOfEvent, () => this.point(cell));
      return cell;
    }

    point(cell) {
      const { grid, i, j } = cell.place;
      this.dark();
      grid.cells.flat().forEach((one) => (one.tabIndex = -1));
      cell.tabIndex = 0;
      cell.classList.add("ll-here");
      for (const [name, part, by] of grid.known.links) {
        const target = this.grids.get(name);
        if (!target) continue;
        if (by === "shares") this.mix(target, grid.known, i);
        else this.light(target, part, by === "col" ? j : i, j);
      }
      this.read.replaceChildren(...prose(this.told(grid, i, j)));
    }

    light(target, part, index, j) {
      const cells = {
        row: () => target.cells[index],
        col: () => target.cells.map((row) => row[index]),
        cell: () => [target.cells[index]?.[j]],
      }[part]();
      cells?.forEach((cell) => cell?.classList.add("ll-lit"));
    }

    mix(target, known, i) {
      target.cells.forEach((row, j) => {
        const share = (known.values[i][j] ?? 0) / 10 ** known.digits;
        target.heads[j].dataset.share = percent(share);
        row.forEach((cell) => {
          cell.style.setProperty("--share", share);
          cell.classList.add("ll-mixed");
        });
      });
    }

    dark() {
      for (const name of ["ll-lit", "ll-here", "ll-mixed"])
        this.stage.querySelectorAll(`.${name}`).forEach((one) => one.classList.remove(name));
      this.stage.querySelectorAll("[data-share]").forEach((one) => delete one.dataset.share);
    }

    told({ known }, i, j) {
      const { rows, cols, digits, values, absent } = known;
      const tell = values[i][j] === null && known.missing ? known.missing : known.tell;
      let before = 0;
      const group = rows.groups.find(([, count]) => i < (before += count));
      const fill = {
        row: rows.labels[i],
        col: cols.labels[j],
        group: group ? group[0] : "",
        value: written(values[i][j], digits, digits, absent),
        shares: this.largest(known, i),
        terms: values[i][j] === null ? "" : this.terms(known, i, j),
      };
      return tell.replace(/\{(=?)([^}]+)\}/g, (_, other, name) => {
        if (!other) return fill[name];
        const there = this.data.matrices[name];
        return written(there.values[i][j], there.digits, there.digits);
      });
    }

    // The products whose sum an entry is: those in view one by one, all others as one number.
    terms({ links, values, digits }, i, j) {
      const [left, upper] = links.map(([name]) => this.data.matrices[name]);
      if (!left || !upper) return "";
      const number = (one, r, c) => written(one.values[r][c], one.digits, one.digits);
      const all = upper.values.map((_, d) => `${number(left, i, d)}·${number(upper, d, j)}`);
      const others = upper.rows.total - all.length;
      if (!others) return all.join(" + ");
      const exact = (one, r, c) => one.values[r][c] / 10 ** one.digits;
      const inView = upper.values.reduce((sum, _, d) => sum + exact(left, i, d) * exact(upper, d, j), 0);
      const rest = written(values[i][j] - inView * 10 ** digits, digits, digits);
      return `${all.join(" + ")} + ${rest} from the other ${others}`;
    }

    largest({ values, digits, cols }, i) {
      const ranked = values[i].map((value, j) => [(value ?? 0) / 10 ** digits, cols.labels[j]]);
      const rest = 1 - ranked.reduce((sum, [share]) => sum + share, 0);
      ranked.sort((a, b) => b[0] - a[0]);
      const most = ranked.slice(0, 3).map(([share, label]) => `${label} ${percent(share)}`);
      if (cols.labels.length < cols.total) most.push(`what is not in view ${percent(Math.max(0, rest))}`);
      return most.join(", ");
    }
  }

  document.querySelectorAll(".llama-stepper:not([data-ready])").forEach((root) => new Stepper(root));
})();
