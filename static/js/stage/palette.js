// The colours of the theme, read from the CSS custom properties once per theme, so that CSS stays their one source.

/** @typedef {import("./types.d.ts").Palette} Palette */
/** @typedef {import("./types.d.ts").ColorName} ColorName */
/** @typedef {import("./types.d.ts").Rgb} Rgb */

/** @type {ColorName[]} */
const NAMES = [
  "ground",
  "panel",
  "line",
  "ink",
  "muted",
  "prefill",
  "decode",
  "draft",
  "accepted",
  "rejected",
  "shared",
  "idle",
];

/**
 * `#rgb`, `#rrggbb` or `rgb(r g b)` as numbers; grey for anything else.
 * @param {string} css
 * @returns {Rgb}
 */
export function parseColor(css) {
  const text = css.trim();
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text)?.[1];
  if (hex) {
    const wide = hex.length === 3 ? [...hex].map((digit) => digit + digit).join("") : hex;
    const value = Number.parseInt(wide, 16);
    return [value >> 16, (value >> 8) & 255, value & 255];
  }
  const parts = /^rgba?\(([^)]+)\)$/i
    .exec(text)?.[1]
    .split(/[\s,/]+/)
    .map(Number);
  if (parts && parts.length >= 3 && parts.slice(0, 3).every(Number.isFinite)) return [parts[0], parts[1], parts[2]];
  return [128, 128, 128];
}

/**
 * A colour between two.
 * @param {Rgb} a
 * @param {Rgb} b
 * @param {number} amount 0: `a`, 1: `b`
 * @returns {Rgb}
 */
export function mix(a, b, amount) {
  return [a[0] + (b[0] - a[0]) * amount, a[1] + (b[1] - a[1]) * amount, a[2] + (b[2] - a[2]) * amount];
}

/**
 * @param {Rgb} rgb
 * @param {number} [alpha]
 */
export function toCss(rgb, alpha = 1) {
  return `rgb(${Math.round(rgb[0])} ${Math.round(rgb[1])} ${Math.round(rgb[2])} / ${alpha})`;
}

/**
 * As one little-endian RGBA word, what `CellGrid` takes.
 * @param {Rgb} rgb
 * @param {number} [alpha] 0 to 255
 */
export function pack(rgb, alpha = 255) {
  return ((alpha << 24) | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0]) >>> 0;
}

/**
 * @param {Element} [element] in whose colours
 * @returns {Palette}
 */
export function readPalette(element = document.documentElement) {
  const style = getComputedStyle(element);
  const css = /** @type {Record<ColorName, string>} */ ({});
  const rgb = /** @type {Record<ColorName, Rgb>} */ ({});
  for (const name of NAMES) {
    css[name] = style.getPropertyValue(`--${name}`).trim() || "#808080";
    rgb[name] = parseColor(css[name]);
  }
  return { css, rgb };
}

/**
 * @param {Rgb} ground
 * @returns {"dark" | "light"}
 */
export function themeOf(ground) {
  return ground[0] * 0.299 + ground[1] * 0.587 + ground[2] * 0.114 < 128 ? "dark" : "light";
}

/**
 * Call `changed` with the new palette whenever the theme changes: by the page's own switch or by the system.
 * @param {(palette: Palette) => void} changed
 */
export function watchPalette(changed) {
  const read = () => changed(readPalette());
  new MutationObserver(read).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", read);
}
