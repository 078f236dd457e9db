/** A box in a map of latency: as it stands in addresses, and as the API takes it. Its times are edges of bins, whole tenths
 * of seconds, which numbers of the browser hold exactly. */

import { iso } from "./exact.js";

/** @typedef {{start_ns: number, end_ns: number, low_ms: number, high_ms: number | null}} Box */

const short = (/** @type {number} */ value) => Number(value.toPrecision(6));

/** start_end_low_high in ns and ms. @param {Box} box */
export const written = (box) => [box.start_ns, box.end_ns, short(box.low_ms), box.high_ms === null ? "" : short(box.high_ms)].join("_");

/** @param {string} text @returns {Box | null} */
export function read(text) {
  const parts = text.split("_");
  const [start_ns, end_ns, low_ms] = parts.map(Number);
  if (parts.length !== 4 || ![start_ns, end_ns, low_ms].every(Number.isFinite) || end_ns <= start_ns) return null;
  return { start_ns, end_ns, low_ms, high_ms: parts[3] === "" ? null : Number(parts[3]) };
}

/** @param {Box} box */
export const time = (box) => ({ start: iso(box.start_ns), end: iso(box.end_ns) });

/** Conditions on spans that say how long those in the box took. @param {Box} box @returns {Array<[string, string, string]>} */
export function lengths({ low_ms, high_ms }) {
  /** @type {Array<[string, string, string]>} */
  const found = [];
  if (low_ms > 0) found.push(["duration_ms", ">", String(short(low_ms))]);
  if (high_ms !== null) found.push(["duration_ms", "<", String(short(high_ms))]);
  return found;
}
