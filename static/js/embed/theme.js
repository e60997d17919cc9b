// Runs before the first paint, so that nothing is laid out twice: night or day as the frame's address says (`?theme=dark` or `light`), as the system wishes
// where it says nothing. No module: modules wait for the whole page. Nothing is remembered.

{
  document.documentElement.classList.add("framed"); // laid out for a frame: there are scripts
  const theme = new URLSearchParams(location.search).get("theme");
  const day = /** @type {HTMLLinkElement | null} */ (document.querySelector("link#day"));
  if (day && (theme === "light" || theme === "dark")) day.media = theme === "light" ? "all" : "not all";
}
