// Numeric arrays of events: base64, little-endian, `value = decode(data) * scale`.

/** @typedef {import("../types/events.d.ts").Array} PackedArray */

/** Powers of two for each float16 exponent, so that a value is one multiplication. */
const EXPONENT = Float64Array.from({ length: 32 }, (_, exponent) => 2 ** ((exponent || 1) - 25));

/** @type {WeakMap<PackedArray, Float32Array>} a replay decodes nothing twice */
const decoded = new WeakMap();

/**
 * One IEEE 754 half, given as its 16 bits.
 * @param {number} bits
 */
export function float16(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? 1024 + fraction : fraction) * EXPONENT[exponent];
}

/** @param {string} data */
function bytesOf(data) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/**
 * The numbers of a packed array, row-major. Decoded once per array object.
 * @param {PackedArray} array
 * @returns {Float32Array}
 */
export function decodeArray(array) {
  const known = decoded.get(array);
  if (known) return known;
  const bytes = bytesOf(array.data);
  const view = new DataView(bytes.buffer);
  const width = array.dtype === "uint8" ? 1 : array.dtype === "float16" ? 2 : 4;
  const numbers = new Float32Array(Math.floor(bytes.length / width));
  const { scale } = array;
  for (let i = 0; i < numbers.length; i++) {
    const value =
      width === 1 ? bytes[i] : width === 2 ? float16(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true);
    numbers[i] = value * scale;
  }
  decoded.set(array, numbers);
  return numbers;
}
