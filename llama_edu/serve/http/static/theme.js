// Light, dark, or what the system says. Read before the page is drawn, so that nothing flashes;
// the button that changes it is main.js's.

{
  const chosen = localStorage.getItem("llama_edu.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
