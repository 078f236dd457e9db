/** Log templates that appeared in the incident, or vanished from it. */

import { h } from "../lib/dom.js";
import { stamp } from "../lib/exact.js";
import { clock, ms, number, plain } from "../lib/format.js";
import { linked } from "../lib/router.js";
import { joined } from "../lib/words.js";
import { badge } from "../components/badge.js";
import { strip } from "../components/spark.js";
import { table } from "../components/table.js";
import { titled } from "./page.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("../lib/types.js").ChangedTemplate} Template */
const SEVERITIES = ["", "trace", "debug", "info", "warn", "error", "fatal"];

/** @param {Data} data */
export function templates(data) {
  const rows = (data.exhibits.peek().templates ?? []).map((row, index) => ({ ...row, index }));
  return [
    titled("logs", "Log lines that appeared or vanished", h("span.small.faint", {}, "against what the baseline leads one to expect")),
    table({
      label: "Changed log templates",
      rows: () => rows,
      key: (row) => row.index,
      columns: [
        { key: "how", title: "", narrow: "first", cell: (row) => (row.appeared ? badge("appeared", "hot") : badge("vanished", "line")) },
        { key: "text", title: "Template", narrow: "whole", cell: (row) => template(row.text) },
        { key: "service", title: "Service", narrow: "whole", by: (row) => row.services[0], cell: (row) => h("span.soft", {}, joined(row.services.map((name) => plain(name, 40)), 3)) },
        { key: "severity", title: "Severity", narrow: "gone", by: (row) => row.severity, cell: (row) => h("span", { class: row.severity >= 5 ? "bad" : "soft" }, SEVERITIES[row.severity] ?? "") },
        { key: "course", title: "Over time", narrow: "whole", cell: (row) => course(row, data.diagnosis.peek()?.incident?.onset_ns ?? null), help: "Dashed: since when users are hurt" },
        { key: "count", title: "Lines", num: true, narrow: "right", by: (row) => row.count, cell: (row) => number(row.count) },
        { key: "expected", title: "Expected", num: true, narrow: "gone", by: (row) => row.expected, cell: (row) => number(row.expected) },
        { key: "look", title: "", narrow: "gone", cell: (row) => h("a.small.nowrap", { href: linked("/explore/logs", { ...window(data), service: row.services[0] ?? "" }) }, "look") },
      ],
    }),
  ];
}

/** Its lines over time, and the onset of the incident. @param {Template} row @param {number | null} onset */
function course(row, onset) {
  if (!row.counts?.length) return null;
  const at = onset === null ? null : (onset - row.start_ns) / row.step_ns;
  const first = row.counts.findIndex((count) => count > 0);
  const since = first < 0 ? "" : `, the first since ${clock(ms(row.start_ns + first * row.step_ns))}`;
  return strip(row.counts, { onset: at, hot: row.appeared, label: `${number(row.count)} lines in the incident${since}` });
}

/** @param {Data} data @returns {{[key: string]: string}} */
function window(data) {
  const seen = data.diagnosis.peek()?.incident?.window;
  if (!seen) return {};
  return { start: stamp(seen, 0), end: stamp(seen, 1) };
}

/** A template with its variables pale. @param {string} text */
export function template(text) {
  const parts = plain(text, 400).split("<*>");
  return h("code.template", {}, parts.map((part, index) => [index ? h("span.var", {}, "‹*›") : null, part]));
}
