// Numbers as people read them: three significant digits, SI units, a thin gap between number and unit.

const GAP = "\u202f";

/**
 * English digits, thousands apart. (By hand: `Intl.NumberFormat` took a tenth of a scrolled frame's script.)
 * @param {number} value
 * @param {number} decimals at most
 */
function plain(value, decimals) {
  const fixed = value.toFixed(decimals);
  if (decimals) return fixed.replace(/\.?0+$/, ""); // of numbers under a hundred only
  return fixed.length < 4 ? fixed : fixed.replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * Three significant digits, never an exponent, thousands apart.
 * @param {number} value
 */
export function significant(value) {
  const size = Math.abs(value);
  if (size === 0 || size >= 100) return plain(value, 0);
  return plain(value, Math.min(6, 2 - Math.floor(Math.log10(size))));
}

/**
 * @param {number} value
 * @param {string} unit
 * @param {string[]} [prefixes] of 1, 1e3, 1e6 ...
 */
export function si(value, unit, prefixes = ["", "k", "M", "G", "T", "P"]) {
  let step = 0;
  let rest = value;
  while (Math.abs(rest) >= 999.5 && step < prefixes.length - 1) {
    rest /= 1000;
    step += 1;
  }
  const suffix = prefixes[step] + unit;
  return suffix ? `${significant(rest)}${GAP}${suffix}` : significant(rest);
}

/** @param {number} value */
export const bytes = (value) => si(value, "B");

/** @param {number} value */
export const count = (value) => plain(value, 0);

/** @param {number} value in [0, 1] */
export function percent(value) {
  if (value > 0 && value < 0.0005) return `<${GAP}0.1${GAP}%`;
  return `${significant(100 * value)}${GAP}%`;
}

/** @param {number} value */
export function seconds(value) {
  if (Math.abs(value) < 0.0009995) return `${significant(value * 1e6)}${GAP}µs`;
  if (Math.abs(value) < 0.9995) return `${significant(value * 1e3)}${GAP}ms`;
  return `${significant(value)}${GAP}s`;
}
