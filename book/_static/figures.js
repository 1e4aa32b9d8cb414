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
