// Numbers as a reader takes them in: three significant digits and a unit.

const BYTES = ["B", "kB", "MB", "GB", "TB"];

/** @param {number} value */
const three = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

/** Decimal units, as memory bandwidth is quoted. @param {number} value */
export function bytes(value) {
  let scaled = value;
  let unit = 0;
  for (; scaled >= 999.5 && unit < BYTES.length - 1; unit++) scaled /= 1000;
  return `${unit ? three(scaled) : Math.round(scaled)} ${BYTES[unit]}`;
}

/** @param {number} value */
export function seconds(value) {
  if (value >= 1) return `${three(value)} s`;
  if (value >= 0.001) return `${three(value * 1e3)} ms`;
  return `${three(value * 1e6)} µs`;
}

/** FLOP/s or FLOPs. @param {number} value @param {string} unit */
export function flops(value, unit) {
  if (value >= 1e12) return `${three(value / 1e12)} T${unit}`;
  if (value >= 1e9) return `${three(value / 1e9)} G${unit}`;
  return `${three(value / 1e6)} M${unit}`;
}
