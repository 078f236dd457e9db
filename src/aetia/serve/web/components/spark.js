/** A line the size of a word. */

import { svg } from "../lib/dom.js";

/** @param {Array<number | null>} values @param {{width?: number, height?: number, label?: string, hot?: boolean}} [how] */
export function spark(values, { width = 96, height = 24, label = "", hot = false } = {}) {
  const known = values.filter((value) => value !== null && Number.isFinite(value)).map(Number);
  const high = Math.max(...known, 0);
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
