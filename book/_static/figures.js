// A figure can be looked at larger: click it, or press Enter on it. Escape or a click closes it.
document.addEventListener("DOMContentLoaded", () => {
  const show = (box) => {
    const dialog = document.createElement("dialog");
    dialog.className = "llama-large";
    dialog.setAttribute("aria-label", box.getAttribute("aria-label"));
    const drawing = box.querySelector("svg").cloneNode(true);
    drawing.style.maxWidth = "none";
    drawing.style.minWidth = `${Math.max(900, window.innerWidth * 0.92)}px`;
    const close = document.createElement("button");
    close.textContent = "Close";
    dialog.append(close, drawing);
    document.body.append(dialog);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); box.focus(); });
    dialog.showModal();
  };
  for (const box of document.querySelectorAll(".llama-zoom")) {
    box.addEventListener("click", () => show(box));
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // else the same key presses the button that closes it again
      show(box);
    });
  }
});

// A button that unfolds something is named by what it unfolds.
for (const button of document.querySelectorAll(".admonition-title > .toggle-button"))
  button.setAttribute("aria-label", button.parentElement.textContent.trim());

// What scrolls by itself has to be reached without a mouse: again whenever the page has another
// width or something was unfolded.
const BOXES = "table, .llama-table, .cell_output .output, div.highlight, .pst-scrollable-table-container";
const reach = () => {
  for (const box of document.querySelectorAll(BOXES)) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
    if (!scrolls || box.hasAttribute("tabindex")) continue;
    box.tabIndex = 0;
    if (box.matches("table")) continue;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", box.querySelector("caption")?.textContent.trim() || "More to the right");
  }
};
new ResizeObserver(reach).observe(document.querySelector("article") ?? document.body);
document.addEventListener("toggle", reach, true);

// The note of a word or of a paper: beside it while the pointer is there or the focus. Without
// this script the browser shows it as a title.
document.addEventListener("DOMContentLoaded", () => {
  let card = null;
  const hide = () => { card?.remove(); card = null; };
  const show = (link) => {
    hide();
    card = document.createElement("div");
    card.className = "note-card";
    card.id = "note-card";
    card.setAttribute("role", "tooltip");
    card.textContent = link.dataset.note;
    document.body.append(card);
    const at = link.getClientRects()[0], room = document.documentElement.clientWidth - 16;
    const left = Math.max(16, Math.min(at.left, room - card.offsetWidth));
    const below = at.bottom + card.offsetHeight + 8 < window.innerHeight;
    const top = below ? at.bottom + 4 : at.top - card.offsetHeight - 4;
    card.style.left = `${left + window.scrollX}px`;
    card.style.top = `${top + window.scrollY}px`;
  };
  for (const link of document.querySelectorAll("a.word[title], a.paper[title]")) {
    link.dataset.note = link.title;
    link.setAttribute("aria-description", link.title);
    link.removeAttribute("title");
    link.addEventListener("mouseenter", () => show(link));
    link.addEventListener("focus", () => show(link));
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
});

// Paper has no folds and no night: a chapter is printed open and by daylight, and afterwards is as it
// was.
let afterwards = [];
window.addEventListener("beforeprint", () => {
  const root = document.documentElement, theme = root.dataset.theme;
  const folds = [...document.querySelectorAll("article details:not([open])")];
  afterwards = [() => { root.dataset.theme = theme; }, ...folds.map((fold) => () => { fold.open = false; })];
  root.dataset.theme = "light";
  for (const fold of folds) fold.open = true;
});
window.addEventListener("afterprint", () => {
  for (const again of afterwards.splice(0)) again();
});
