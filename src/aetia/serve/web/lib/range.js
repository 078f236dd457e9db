/** The time range that all pages share, in the URL as `start` and `end`: what the API takes, `-30m` or ISO 8601. */

import { query, setQuery } from "./router.js";
import { iso } from "./exact.js";
import { moment, clock } from "./format.js";

export const RANGES = [
  ["-5m", "Last 5 minutes"],
  ["-15m", "Last 15 minutes"],
  ["-30m", "Last 30 minutes"],
  ["-1h", "Last hour"],
  ["-3h", "Last 3 hours"],
  ["-12h", "Last 12 hours"],
  ["-1d", "Last day"],
  ["-7d", "Last 7 days"],
];
const DEFAULT = "-30m";
const UNITS = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };

/** As it stands in the URL. @returns {{start: string, end: string}} */
export function asked() {
  return { start: query.value.get("start") || DEFAULT, end: query.value.get("end") || "now" };
}

/** Milliseconds since the epoch, or NaN for what is no time. @param {string} text @param {number} [now] */
export function instant(text, now = Date.now()) {
  if (text === "now") return now;
  const relative = /^-(\d+(?:\.\d+)?)([smhd])$/.exec(text);
  if (relative) return now - Number(relative[1]) * UNITS[/** @type {keyof typeof UNITS} */ (relative[2])];
  return Date.parse(text);
}

/** The range in milliseconds, as it is now. @returns {{start: number, end: number}} */
export function bounds() {
  const { start, end } = asked();
  const to = instant(end);
  const last = Number.isFinite(to) ? to : Date.now();
  const from = instant(start, last);
  return { start: Number.isFinite(from) && from < last ? from : last - 30 * 60e3, end: last };
}

/** Whether the range ends now, so that what is shown goes on. */
export const live = () => asked().end === "now";

/** What the picker says. */
export function label() {
  const { start, end } = asked();
  if (end === "now") {
    const known = RANGES.find(([value]) => value === start);
    return known ? known[1] : `Since ${start.startsWith("-") ? start.slice(1) : moment(instant(start))}`;
  }
  const { start: from, end: to } = bounds();
  const same = new Date(from).toDateString() === new Date(to).toDateString();
  return `${moment(from)} – ${same ? clock(to) : moment(to)}`;
}

/** @param {string} start @param {string} [end] */
export function setRange(start, end = "now") {
  setQuery({ start: start === DEFAULT && end === "now" ? null : start, end: end === "now" ? null : end }, { push: true });
}

/** A window in milliseconds as a range. @param {number} start @param {number} end */
export const absolute = (start, end) => ({ start: iso(start * 1e6), end: iso(end * 1e6) });
