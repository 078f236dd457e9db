/** A bad trace beside a good one of the same kind: where the request waited, and how much longer. */

import { h } from "../lib/dom.js";
import { duration, plain, plural } from "../lib/format.js";
import { linked } from "../lib/router.js";
import { spanBars } from "../components/spans.js";
import { table } from "../components/table.js";
import { when } from "../components/time.js";
import { titled } from "./page.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("../lib/types.js").ExampleTrace} Trace */
/** @typedef {{name: string, service: string, operation: string, bad: number | null, good: number | null, errors: number,
 *   blamed: boolean, difference: number}} Row */

/** @param {Data} data */
export function traces(data) {
  const found = data.exhibits.peek().traces ?? [];
  const longest = Math.max(...found.map((trace) => trace.duration_ns), 1);
  const good = found.find((trace) => trace.kind === "good");
  const bad = found.find((trace) => trace.kind === "bad");
  return [
    titled(
      "traces",
      good ? "A bad and a good trace" : "A bad trace",
      bad?.trace_id && good?.trace_id ? h("a.small.nowrap", { href: linked(`/explore/traces/${encodeURIComponent(bad.trace_id)}`, { vs: good.trace_id }) }, "compare span by span") : null,
      h("p.legend", {}, h("span", {}, h("i.wait"), "critical path: what the request waited for"), h("span", {}, h("i.rest"), "in its shadow"), h("span", {}, h("i.hot"), "root cause"), h("span", {}, "✕ error")),
    ),
    h(
      "div.body.pair",
      {},
      [bad, good].filter((trace) => trace !== undefined).map((trace) =>
        h(
          "div.trace",
          {},
          h("h3", {}, h("span.badge", { class: trace.kind === "bad" ? "critical" : "good" }, trace.kind), " ", duration(trace.duration_ns), h("span.soft.small", {}, " ", when(trace.start_ns), trace.errors ? `, ${plural(trace.errors, "span")} with an error` : "", trace.hidden ? `, ${plural(trace.hidden, "short span")} not drawn` : ""), trace.trace_id ? [" ", h("a.small", { href: linked(`/explore/traces/${encodeURIComponent(trace.trace_id)}`) }, "open")] : null),
          h("div.scroll", { tabindex: "0", role: "region", "aria-label": `${trace.kind} trace` }, spanBars(trace.rows, longest, `Spans of the ${trace.kind} trace`)),
        ),
      ),
    ),
    bad && good ? difference(bad, good) : null,
  ];
}

/** Time on the critical path per operation, bad against good. @param {Trace} bad @param {Trace} good */
function difference(bad, good) {
  const rows = compared(bad, good);
  const most = Math.max(...rows.map((row) => Math.abs(row.difference)), 1);
  return h(
    "div.difference",
    {},
    h("h3", {}, "Difference on the critical path, by operation"),
    table({
      label: "Time on the critical path by operation",
      rows: () => rows.slice(0, 12),
      key: (row) => row.name,
      columns: [
        { key: "name", title: "Operation", narrow: "whole", by: (row) => row.name, cell: (row) => h("span", { class: row.blamed ? "blamed" : "" }, h("span.strong", {}, plain(row.service, 60)), " ", h("span.soft", {}, plain(row.operation, 80)), row.errors ? h("span.bad", {}, ` ✕ ${row.errors}`) : null) },
        { key: "bad", title: "Bad", num: true, narrow: "right", by: (row) => row.bad, cell: (row) => (row.bad === null ? h("span.faint", {}, "did not run") : duration(row.bad)) },
        { key: "good", title: "Good", num: true, narrow: "right", by: (row) => row.good, cell: (row) => (row.good === null ? h("span.faint", {}, "did not run") : duration(row.good)) },
        { key: "difference", title: "Difference", num: true, narrow: "right", by: (row) => row.difference, cell: (row) => h("span.delta", { class: row.difference > 0 ? "longer" : "shorter" }, h("i", { style: { "--share": String(Math.abs(row.difference) / most) } }), `${row.difference > 0 ? "+" : row.difference < 0 ? "−" : ""}${duration(Math.abs(row.difference))}`) },
      ],
    }),
  );
}

/** @param {Trace} bad @param {Trace} good @returns {Row[]} largest difference first */
export function compared(bad, good) {
  /** @type {Map<string, Row>} */
  const rows = new Map();
  for (const trace of [bad, good]) {
    for (const row of trace.rows) {
      const name = `${row.service}\n${row.operation}`;
      const held = rows.get(name) ?? { name, service: row.service, operation: row.operation, bad: null, good: null, errors: 0, blamed: row.blamed, difference: 0 };
      held[trace.kind] = (held[trace.kind] ?? 0) + row.critical.reduce((sum, [begin, end]) => sum + end - begin, 0);
      if (trace.kind === "bad") held.errors += Number(row.error);
      rows.set(name, held);
    }
  }
  for (const row of rows.values()) row.difference = (row.bad ?? 0) - (row.good ?? 0);
  return [...rows.values()].sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference) || a.name.localeCompare(b.name));
}
