// Both themes at once, where a page shows them side by side: the colours that the sheets give the root, by theme.

/** @typedef {Map<string, string>} Variables custom properties by their names */

/**
 * What a sheet sets on `:root`, whether or not its time has come.
 * @param {string} name of the file
 * @returns {Variables}
 */
function rootOf(name) {
  /** @type {Variables} */
  const found = new Map();
  const sheet = [...document.styleSheets].find(({ href }) => href?.endsWith(`/${name}`));
  for (const rule of sheet?.cssRules ?? []) {
    if (!(rule instanceof CSSStyleRule) || rule.selectorText !== ":root") continue;
    for (const property of rule.style) {
      if (property.startsWith("--") || property === "color-scheme")
        found.set(property, rule.style.getPropertyValue(property));
    }
  }
  return found;
}

/** @returns {Record<"night" | "day", Variables>} */
export function readThemes() {
  const night = rootOf("first_screen.css");
  return { night, day: new Map([...night, ...rootOf("day.css")]) };
}

/**
 * Give one element, and what is in it, the colours of a theme.
 * @param {HTMLElement} element
 * @param {Variables} variables
 */
export function wear(element, variables) {
  for (const [property, value] of variables) element.style.setProperty(property, value);
}

/** @param {import("./types.d.ts").Rgb} rgb relative luminance, as WCAG has it */
function luminance(rgb) {
  const [r, g, b] = rgb.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/**
 * @param {import("./types.d.ts").Rgb} a
 * @param {import("./types.d.ts").Rgb} b
 * @returns {number} 1 to 21
 */
export function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}
