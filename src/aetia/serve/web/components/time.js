/** Times: local zone to read, UTC to point at, and "3 min ago" that goes on by itself. */

import { h, signal } from "../lib/dom.js";
import { clock, moment, ms, rough, utc } from "../lib/format.js";

/** Now in milliseconds, moved on every second while the page is seen. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);

/** A moment: `14:03:22`, its UTC on hover. @param {number | null | undefined} ns @param {{day?: boolean}} [how] */
export function when(ns, { day = true } = {}) {
  if (ns === null || ns === undefined) return h("span.faint", {}, "–");
  const at = ms(ns);
  return h("time", { datetime: iso(at), title: utc(at) }, day ? moment(at) : clock(at));
}

/** @param {number} at */
function iso(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** `3 min ago`. @param {number | null | undefined} ns */
export function ago(ns) {
  if (ns === null || ns === undefined) return h("span.faint", {}, "–");
  const at = ms(ns);
  return h("time", { datetime: iso(at), title: utc(at) }, () => since(now.value - at));
}

/** @param {number} passed milliseconds */
function since(passed) {
  return passed < 1500 ? "just now" : `${rough(passed * 1e6)} ago`;
}

/** How long it lasts: until `end`, or until now where it goes on. @param {number} start @param {number | null} end */
export const lasting = (start, end) =>
  h("span", {}, () => rough((end ?? now.value * 1e6) - start));
