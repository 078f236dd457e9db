/** Log templates that appeared in the incident, or vanished from it. */

import { h } from "../lib/dom.js";
import { number, plain } from "../lib/format.js";
import { linked } from "../lib/router.js";
import { joined } from "../lib/words.js";
import { badge } from "../components/badge.js";
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
        { key: "count", title: "Lines", num: true, narrow: "right", by: (row) => row.count, cell: (row) => number(row.count) },
        { key: "expected", title: "Expected", num: true, narrow: "gone", by: (row) => row.expected, cell: (row) => number(row.expected) },
        { key: "look", title: "", narrow: "gone", cell: (row) => h("a.small.nowrap", { href: linked("/explore/logs", { ...window(data), service: row.services[0] ?? "" }) }, "look") },
      ],
    }),
  ];
}

/** @param {Data} data @returns {{[key: string]: string}} */
function window(data) {
  const seen = data.diagnosis.peek()?.incident?.window;
  if (!seen) return {};
  return { start: new Date(seen[0] / 1e6).toISOString(), end: new Date(seen[1] / 1e6).toISOString() };
}

/** A template with its variables pale. @param {string} text */
export function template(text) {
  const parts = plain(text, 400).split("<*>");
  return h("code.template", {}, parts.map((part, index) => [index ? h("span.var", {}, "‹*›") : null, part]));
}
