/** Times to the nanosecond. A number of the browser has 53 bits, an epoch in ns needs 61: what becomes an address or a
 * question is made from the digits that the server wrote. */

/** Digits of whole numbers that a browser rounds, by what holds them. @type {WeakMap<object, Map<string, string>>} */
const digits = new WeakMap();

/** JSON whose rounded numbers can be had to the last digit, see `stamp`. @param {string} text @returns {any} */
export function exact(text) {
  return JSON.parse(text, /** @this {object} @param {string} key @param {any} value @param {{source?: string}} [context] */ function (key, value, context) {
    if (typeof value === "number" && context?.source && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source)) {
      const held = digits.get(this) ?? new Map();
      digits.set(this, held.set(key, context.source));
    }
    return value;
  });
}

/** A moment as the API takes it, exact where it comes from an answer: `2026-11-21T20:38:05.123456789Z`.
 * @param {any} holder an object or a window of an answer @param {string | number} key */
export function stamp(holder, key) {
  const text = digits.get(holder)?.get(String(key));
  const ns = text === undefined ? BigInt(Math.round(holder[key])) : BigInt(text);
  const part = ns % 1_000_000_000n;
  const rest = part ? String(part).padStart(9, "0").replace(/(000)+$/, "") : "";
  return `${new Date(Number((ns - part) / 1_000_000n)).toISOString().slice(0, 19)}${rest ? `.${rest}` : ""}Z`;
}

/** A moment that was reckoned here, to the millisecond. @param {number} ns */
export const iso = (ns) => new Date(Math.round(ns / 1e6)).toISOString();
