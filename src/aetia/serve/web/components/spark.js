/** A line the size of a word. */

import { svg } from "../lib/dom.js";

/** @param {Array<number | null>} values @param {{width?: number, height?: number, label?: string, hot?: boolean, atLeast?: number}} [how]
 *   `atLeast`: the scale ends there or higher, so that a little does not look like a lot */
export function spark(values, { width = 96, height = 24, label = "", hot = false, atLeast = 0 } = {}) {
  const known = values.filter((value) => value !== null && Number.isFinite(value)).map(Number);
  const high = Math.max(...known, atLeast);
  const low = Math.min(...known, 0);
  const room = high - low || 1;
  const step = values.length > 1 ? width / (values.length - 1) : width;
  const y = (/** @type {number} */ value) => (height - 2 - ((value - low) / room) * (height - 4)).toFixed(1);
  let line = "";
  let pen = false;
  for (const [index, value] of values.entries()) {
    if (value === null || !Number.isFinite(value)) {
      pen = false;
      continue;
    }
    line += `${pen ? "L" : "M"}${(index * step).toFixed(1)} ${y(value)}`;
    pen = true;
  }
  const whole = known.length === values.length && known.length > 1;
  return svg(
    "svg.spark",
    { width, height, viewBox: `0 0 ${width} ${height}`, class: hot ? "hot" : "", role: label ? "img" : null, "aria-label": label || null, "aria-hidden": label ? null : "true" },
    whole ? svg("path.area", { d: `${line}L${width} ${height}L0 ${height}z` }) : null,
    svg("path", { d: line }),
  );
}

/** Counts over time as bars; what lies before `split` is paler, `onset` marks when something began.
 * @param {number[]} counts @param {{split?: number, onset?: number | null, width?: number, height?: number, label: string, hot?: boolean}} how
 *   `split` and `onset` in bins from the first one */
export function strip(counts, { split = 0, onset = null, width = 132, height = 24, label, hot = false }) {
  const most = Math.max(1, ...counts);
  const step = width / Math.max(counts.length, 1);
  const bar = (/** @type {number} */ count, /** @type {number} */ at) => {
    const tall = count ? Math.max(1.5, (count / most) * (height - 2)) : 0;
    return `M${(at * step).toFixed(1)} ${height}v${(-tall).toFixed(1)}h${Math.max(step - 0.6, 0.6).toFixed(1)}v${tall.toFixed(1)}z`;
  };
  const path = (/** @type {(at: number) => boolean} */ which) => counts.map((count, at) => (count && which(at) ? bar(count, at) : "")).join("");
  return svg(
    "svg.strip",
    { width, height, viewBox: `0 0 ${width} ${height}`, class: hot ? "hot" : "", role: "img", "aria-label": label },
    svg("title", {}, label),
    svg("path.axis", { d: `M0 ${height - 0.5}H${width}` }),
    svg("path.then", { d: path((at) => at + 1 <= split) }),
    svg("path", { d: path((at) => at + 1 > split) }),
    onset === null || onset < 0 || onset > counts.length ? null : svg("path.onset", { d: `M${(onset * step).toFixed(1)} 0V${height}` }),
  );
}
