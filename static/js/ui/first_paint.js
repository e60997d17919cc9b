// Runs before the first paint, so that a reader who chose night or day is not shown the other first. Everything else is
// `theme.js`. No module: modules wait for the whole page.

{
  const day = document.querySelector("link#day");
  let chosen = null;
  try {
    chosen = localStorage.getItem("openkitchen:theme");
  } catch {
    // A page without storage (a sandboxed frame) follows the system.
  }
  if (day && (chosen === "light" || chosen === "dark")) {
    // Another link, since a sheet that begins to match does not hold the paint back.
    const link = /** @type {HTMLLinkElement} */ (day.cloneNode());
    link.media = chosen === "light" ? "all" : "not all";
    link.setAttribute("blocking", "render");
    day.replaceWith(link);
  }
}
