// Runs before the first paint, so that a reader who chose night or day is not shown the other first. Everything else is
// `theme.js`. No module: modules wait for the whole page.

{
  const day = /** @type {HTMLLinkElement | null} */ (document.querySelector("link#day"));
  let chosen = null;
  try {
    chosen = localStorage.getItem("openkitchen:theme");
  } catch {
    // A page without storage (a sandboxed frame) follows the system.
  }
  if (day && chosen === "light") day.media = "all";
  if (day && chosen === "dark") day.media = "not all";
}
