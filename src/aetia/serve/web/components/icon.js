/** Icons as strokes on a grid of 16; decoration only, so they are hidden from assistive technology. */

import { svg } from "../lib/dom.js";

/** @type {Record<string, string>} */
const PATHS = {
  incidents: "M8 2 14.5 13.5H1.5z M8 6.2v3.4 M8 11.6v.1",
  explore: "M7 12.2A5.2 5.2 0 1 0 7 1.8a5.2 5.2 0 0 0 0 10.4z M10.8 10.8 14.3 14.3",
  compare: "M2 13.5V9 M6 13.5V5 M10 13.5V7.5 M14 13.5V2.5",
  changes: "M8 1.8 14.2 8 8 14.2 1.8 8z",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10z M10.7 10.7 14 14",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6z M8 1v1.4 M8 13.6V15 M1 8h1.4 M13.6 8H15 M3 3l1 1 M12 12l1 1 M13 3l-1 1 M4 12l-1 1",
  moon: "M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z",
  help: "M8 14.2A6.2 6.2 0 1 0 8 1.8a6.2 6.2 0 0 0 0 12.4z M6.2 6.3a1.9 1.9 0 1 1 2.7 1.8c-.6.3-.9.7-.9 1.3 M8 11.5v.1",
  clock: "M8 14.2A6.2 6.2 0 1 0 8 1.8a6.2 6.2 0 0 0 0 12.4z M8 4.5V8l2.3 1.6",
  down: "M4 6.5 8 10.5l4-4",
  right: "M6 4l4 4-4 4",
  left: "M10 4 6 8l4 4",
  close: "M4 4l8 8 M12 4l-8 8",
  copy: "M5.5 5.5h8v8h-8z M10.5 5.5v-3h-8v8h3",
  check: "M3 8.5 6.5 12 13 4.5",
  link: "M6.7 9.3a2.8 2.8 0 0 0 4 0l2.2-2.2a2.8 2.8 0 0 0-4-4L7.8 4.2 M9.3 6.7a2.8 2.8 0 0 0-4 0L3.1 8.9a2.8 2.8 0 0 0 4 4l1.1-1.1",
  play: "M4.5 2.8v10.4L13 8z",
  pause: "M5 3v10 M11 3v10",
  again: "M13.5 8a5.5 5.5 0 1 1-1.7-4 M13.6 1.8v3h-3",
  stop: "M4 4h8v8H4z",
  download: "M8 2v8 M4.8 7 8 10.2 11.2 7 M2.5 13.5h11",
  eye: "M1.2 8S3.8 3.4 8 3.4 14.8 8 14.8 8 12.2 12.6 8 12.6 1.2 8 1.2 8z M8 9.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6z",
  ban: "M8 14.2A6.2 6.2 0 1 0 8 1.8a6.2 6.2 0 0 0 0 12.4z M3.7 3.7l8.6 8.6",
  user: "M8 7.6a2.9 2.9 0 1 0 0-5.8 2.9 2.9 0 0 0 0 5.8z M2.5 14.2c.5-3 2.7-4.6 5.5-4.6s5 1.6 5.5 4.6",
  calm: "M8 14.2A6.2 6.2 0 1 0 8 1.8a6.2 6.2 0 0 0 0 12.4z M5 8.3 7.2 10.5 11.2 5.8",
  fit: "M2 6V2h4 M10 2h4v4 M14 10v4h-4 M6 14H2v-4",
  minus: "M3 8h10",
  plus: "M3 8h10 M8 3v10",
  out: "M6.5 2.5h-4v11h4 M6.5 8h7 M10.8 5 13.8 8l-3 3",
};

/** @param {string} name */
export const icon = (name) =>
  svg("svg.icon", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: PATHS[name] ?? "" }));

/** The mark of Aetia: a cause, and what follows from it. */
export const mark = () =>
  svg(
    "svg",
    { viewBox: "0 0 24 24", "aria-hidden": "true", fill: "none", stroke: "currentColor", "stroke-width": "2", "stroke-linecap": "round" },
    svg("circle", { cx: 5.5, cy: 12, r: 3.2, fill: "currentColor", stroke: "none" }),
    svg("path", { d: "M11 5.2a9.6 9.6 0 0 1 0 13.6", opacity: "0.9" }),
    svg("path", { d: "M16 2.6a15 15 0 0 1 0 18.8", opacity: "0.5" }),
  );
