/** Spans of one trace as bars on a scale of time: solid where the request waited for it, pale in its shadow. */

import { h } from "../lib/dom.js";
import { duration, plain } from "../lib/format.js";

/** @typedef {import("../lib/types.js").TraceRow} TraceRow */

const SHARES = [0, 0.25, 0.5, 0.75, 1];

/** @param {TraceRow[]} rows @param {number} longest ns that the scale covers @param {string} label */
export function spanBars(rows, longest, label) {
  const share = (/** @type {number} */ ns) => `${Math.min(100, Math.max(0, (ns / Math.max(longest, 1)) * 100)).toFixed(3)}%`;
  return h(
    "div.spans",
    { role: "group", "aria-label": label },
    h("div.scale", { "aria-hidden": "true" }, h("span"), h("span.marks", {}, SHARES.slice(1).map((at) => h("i", { style: { left: `${at * 100}%` } }, duration(longest * at))))),
    h(
      "ol",
      {},
      rows.map((row) => {
        const waited = row.critical.reduce((sum, [begin, end]) => sum + end - begin, 0);
        const name = `${plain(row.service, 60)} ${plain(row.operation, 80)}`;
        return h(
          "li",
          { class: [row.error && "error", row.blamed && "blamed"], title: `${name}, ${duration(row.duration_ns)}, ${duration(waited)} on the critical path${row.error ? ", error" : ""}` },
          h("span.name", { style: { "--depth": String(Math.min(row.depth, 12)) } }, row.error ? h("b", { "aria-label": "error" }, "✕ ") : null, h("span.service", {}, plain(row.service, 60)), " ", h("span.soft", {}, plain(row.operation, 80))),
          h(
            "span.lane",
            {},
            h("i.bar", { style: { left: share(row.start_ns), width: share(row.duration_ns) } }),
            row.critical.map(([begin, end]) => h("i.wait", { style: { left: share(begin), width: share(end - begin) } })),
          ),
          h("span.num", {}, duration(row.duration_ns)),
        );
      }),
    ),
  );
}
