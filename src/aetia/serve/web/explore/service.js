/** One service: its requests over time, operations, neighbours, failures, log templates and metrics. */

import { computed, h, untracked } from "../lib/dom.js";
import { duration, inMs, number, percent, plain, plural } from "../lib/format.js";
import { written } from "../lib/box.js";
import { go, linked, setQuery } from "../lib/router.js";
import { chart } from "../components/chart.js";
import { heat } from "../components/heat.js";
import { icon } from "../components/icon.js";
import { empty } from "../components/states.js";
import { table } from "../components/table.js";
import { when } from "../components/time.js";
import { answer, ask, filtered, happenings, param, range, serviceLink, shown, stretch, traceLink, zoomTo } from "./common.js";
import { card, explore } from "./frame.js";
import { conditionOf, course } from "./logs.js";
import { burning } from "./services.js";

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const name = place.params.name;
  const window = range();
  const operation = param("operation");
  const happened = happenings(place, window, () => name);
  const of = () => ({ ...window(), service: name });
  const chosen = () => ({ ...of(), operation: operation.value });
  const row = answer(place, async (signal) => (await ask("services", { ...window(), limit: 5000 }, signal)).services.find((/** @type {any} */ one) => one.service === name) ?? { service: name, requests: 0 });
  const red = answer(place, (signal) => ask("red", chosen(), signal));
  const heatMap = answer(place, (signal) => ask("heatmap", chosen(), signal), { live: false });
  const operations = answer(place, (signal) => ask("operations", of(), signal));
  const calls = answer(place, (signal) => ask("topology", window(), signal), { live: false });
  const failures = answer(place, (signal) => ask("traces", { ...window(), filter: [`service:=:${name}`, "status:=:error"], limit: 8 }, signal));
  const templates = answer(place, (signal) => ask("logs/templates", { ...of(), limit: 8 }, signal), { live: false });
  const metrics = answer(place, (signal) => ask("metrics", { ...of(), limit: 200 }, signal), { live: false });
  const own = `service:=:${name}`;
  return explore(
    "services",
    h("div.row.crumb", {}, h("a", { href: () => linked("/explore/services") }, icon("left"), "Services")),
    h(
      "div.pagehead",
      {},
      h("h1", {}, plain(name, 120), " ", burning(happened, name)),
      h(
        "div.row",
        {},
        h("a.button", { href: () => filtered("/explore/traces", [own]) }, "Traces"),
        h("a.button", { href: () => linked("/explore/logs", { service: name }) }, "Logs"),
        h("a.button", { href: () => linked("/explore/metrics", { service: name }) }, "Metrics"),
        h("a.button.main", { href: () => linked("/compare", { service: name, operation: operation.value }) }, icon("compare"), "Compare"),
      ),
    ),
    h(
      "div.stack",
      {},
      shown(row, () => () => tiles(row.value.value), 1),
      card(() => (operation.value ? ["Requests of ", h("span.mono", {}, plain(operation.value, 80))] : "Requests"), () => (operation.value ? h("button.button.slim", { onclick: () => setQuery({ operation: null }) }, icon("close"), "all operations") : null),
        h("div.body", {}, shown(red, () => () => charts(red.value.value, happened, name), 5)),
        h("div.body", {}, shown(heatMap, () => [
          heat({ map: () => heatMap.value.value.map, label: "Latency of the requests", height: 200, box: () => null, select: (box) => box && jump(name, operation.value, box), changes: happened.changes, shade: () => shaded(happened, name) }),
          h("p.small.faint", {}, "Draw a box around requests to see what sets them apart."),
        ], 4)),
      ),
      h("div.halves", {}, neighbours(calls, name, true), neighbours(calls, name, false)),
      card("Operations", null, shown(operations, () => operationTable(operations, name, operation))),
      h(
        "div.halves",
        {},
        card("Traces that failed", h("a.small", { href: () => filtered("/explore/traces", [own, "status:=:error"], { order: "errors" }) }, "all of them"), shown(failures, () => () => failed(failures.value.value.traces), 4)),
        card("What its logs say", h("a.small", { href: () => linked("/explore/logs", { service: name }) }, "all templates"), shown(templates, () => () => said(templates.value.value, name, happened), 4)),
      ),
      card("Metrics", null, shown(metrics, () => () => names(metrics.value.value.metrics, name), 3)),
    ),
  );
}

/** Go on with a box. @param {string} service @param {string} operation @param {import("../lib/box.js").Box} box */
const jump = (service, operation, box) => go(linked("/compare", { service, operation, box: written(box) }));

/** @param {any} row */
function tiles(row) {
  if (!row.requests) return h("div.card", {}, empty("It served no request in this time", "It may have sent some, or logs and metrics: see below.", { slim: true }));
  /** @type {Array<[string, string, string]>} */
  const facts = [
    ["Requests", `${number(row.per_second)}/s`, ""], ["Errors", row.errors ? percent(row.error_share) : "0 %", row.error_share >= 0.01 ? "hot" : ""],
    ["p50", inMs(row.p50_ms), ""], ["p95", inMs(row.p95_ms), ""], ["p99", inMs(row.p99_ms), ""],
  ];
  return h("dl.tiles", {}, facts.map(([name, value, role]) => h("div", { class: role }, h("dt", {}, name), h("dd", {}, value))));
}

/** @param {ReturnType<typeof happenings>} happened @param {string} service @returns {[number, number] | null} */
export function shaded(happened, service) {
  const incident = service ? happened.during(service) : null;
  return incident ? stretch(incident) : null;
}

/** @param {any} answer @param {ReturnType<typeof happenings>} happened @param {string} service */
function charts({ red, window }, happened, service) {
  const incident = happened.during(service);
  const base = {
    start_ns: red.start_ns, step_ns: red.step_ns, shade: incident ? stretch(incident) : null, sync: "service", height: 140, select: zoomTo,
    extent: /** @type {[number, number]} */ (window), changes: happened.changes(),
  };
  const s = red.step_ns / 1e9;
  const share = red.requests.map((/** @type {number} */ n, /** @type {number} */ at) => (n ? red.errors[at] / n : null));
  const latest = (/** @type {Array<number | null>} */ values) => values.filter((value) => value !== null).at(-1) ?? null;
  return [
    h(
      "div.charts.reds",
      {},
      chart({ ...base, title: "Requests", unit: "1/s", aside: `${number(red.requests.reduce((/** @type {number} */ sum, /** @type {number} */ n) => sum + n, 0))} in all`, lines: [{ label: "requests", values: red.requests.map((/** @type {number} */ n) => n / s) }] }),
      chart({ ...base, title: "Errors", unit: "share", aside: `${number(red.errors.reduce((/** @type {number} */ sum, /** @type {number} */ n) => sum + n, 0))} in all`, lines: [{ label: "failed", values: share, colour: "--hot-solid", fill: "--hot-faint" }] }),
      chart({
        ...base, title: "Duration", unit: "ms", aside: latest(red.p95_ms) === null ? "–" : `p95 ${duration(Number(latest(red.p95_ms)) * 1e6)}`,
        lines: [{ label: "p50", values: red.p50_ms, colour: "--good-solid" }, { label: "p95", values: red.p95_ms }, { label: "p99", values: red.p99_ms, colour: "--change" }],
      }),
    ),
    h("div.legend", {}, h("span", {}, h("i.line.p50"), "p50"), h("span", {}, h("i.line"), "p95"), h("span", {}, h("i.line.p99"), "p99"),
      incident ? h("span", {}, h("i.shade"), h("a", { href: `/incidents/${encodeURIComponent(incident.id)}` }, "incident")) : null,
      happened.changes().length ? h("span", {}, h("i.change"), "change") : null,
      h("span.faint", {}, "draw over a chart to choose a time")),
  ];
}

/** @param {import("./common.js").Answer} from @param {string} service @param {import("../lib/dom.js").Signal<string>} operation */
function operationTable(from, service, operation) {
  const rows = computed(() => from.value.value?.operations ?? []);
  return [
    table({
      label: "Operations", keyboard: true,
      rows: () => rows.value,
      key: (row) => `${row.kind} ${row.name}`,
      sort: { key: "requests", down: true },
      chosen: (row) => row.name === operation.value,
      open: (row) => setQuery({ operation: row.name === operation.peek() ? null : row.name }, { push: true }),
      columns: [
        { key: "name", title: "Operation", narrow: "whole", by: (row) => row.name, cell: (row) => h("button.aslink", { title: "Show its requests above", onclick: () => setQuery({ operation: row.name === operation.peek() ? null : row.name }, { push: true }) }, plain(row.name, 120) || "(no name)") },
        { key: "kind", title: "Kind", narrow: "right", by: (row) => row.kind ?? "", cell: (row) => h("span.soft", {}, row.kind ?? "–") },
        { key: "requests", title: "Per second", num: true, narrow: "right", by: (row) => row.per_second, cell: (row) => number(row.per_second) },
        { key: "errors", title: "Errors", num: true, narrow: "right", by: (row) => row.error_share, cell: (row) => h("span", { class: row.error_share >= 0.01 ? "hotword" : "" }, row.errors ? percent(row.error_share) : "0 %") },
        { key: "p50", title: "p50", num: true, narrow: "right", by: (row) => row.p50_ms, cell: (row) => inMs(row.p50_ms) },
        { key: "p95", title: "p95", num: true, narrow: "right", by: (row) => row.p95_ms, cell: (row) => inMs(row.p95_ms) },
        { key: "p99", title: "p99", num: true, narrow: "right", by: (row) => row.p99_ms, cell: (row) => inMs(row.p99_ms) },
        { key: "go", title: "", narrow: "whole", cell: (row) => h("a.small.nowrap", { href: () => filtered("/explore/traces", [`service:=:${service}`, `name:=:${row.name}`]) }, "traces") },
      ],
    }),
    () => (rows.value.length === 0 ? empty("No operation in this time", undefined, { slim: true }) : null),
  ];
}

/** Callers, or those it calls. @param {import("./common.js").Answer} from @param {string} service @param {boolean} callers */
function neighbours(from, service, callers) {
  const [mine, other] = callers ? ["callee", "caller"] : ["caller", "callee"];
  return card(callers ? "Called by" : "Calls", null, shown(from, () => {
    const rows = computed(() => (from.value.value?.edges ?? []).filter((/** @type {any} */ edge) => edge[mine] === service));
    return [
      () => (rows.value.length ? null : empty(callers ? "Nobody calls it: it is an entry point" : "It calls nobody", undefined, { slim: true })),
      () => (rows.value.length === 0 ? null : untracked(() => table({
        label: callers ? "Callers" : "Callees",
        rows: () => rows.value,
        key: (edge) => edge[other],
        sort: { key: "calls", down: true },
        columns: [
          { key: "name", title: callers ? "Caller" : "Callee", narrow: "whole", by: (edge) => edge[other], cell: (edge) => h("span", {}, h("a", { href: () => serviceLink(edge[other]) }, plain(edge[other], 80)), edge.external ? h("span.small.faint", {}, " outside") : null) },
          { key: "calls", title: "Calls", num: true, narrow: "right", by: (edge) => edge.calls, cell: (edge) => number(edge.calls) },
          { key: "errors", title: "Errors", num: true, narrow: "right", by: (edge) => edge.errors / edge.calls, cell: (edge) => h("span", { class: edge.errors / edge.calls >= 0.01 ? "hotword" : "" }, edge.errors ? percent(edge.errors / edge.calls) : "0 %") },
          { key: "p95", title: "p95", num: true, narrow: "right", by: (edge) => edge.p95_ms, cell: (edge) => inMs(edge.p95_ms) },
        ],
      }))),
    ];
  }, 3));
}

/** @param {any[]} rows */
function failed(rows) {
  if (rows.length === 0) return empty("No trace failed here in this time", undefined, { icon: "calm", good: true, slim: true });
  return h("ul.lines", {}, rows.map((row) =>
    h("li", {}, h("a.cut", { href: () => traceLink(row.trace_id) }, plain(`${row.service} ${row.name}`, 120)), h("span.soft.small.nowrap", {}, plural(row.errors, "error"), " · ", duration(row.duration_ms * 1e6)), h("span.faint.small", {}, when(row.start_ns, { day: false })))));
}

/** @param {any} found @param {string} service @param {ReturnType<typeof happenings>} happened */
function said(found, service, happened) {
  const rows = found.templates;
  if (rows.length === 0) return empty("It wrote no log line in this time", undefined, { slim: true });
  return h("ul.lines.said", {}, rows.map((/** @type {any} */ row) =>
    h("li", {},
      h("a.cut.mono", { href: () => filtered("/explore/logs", [conditionOf(row.template)], { service, view: "lines" }), title: plain(row.template, 400) }, plain(row.template, 160)),
      course(row, found, happened),
      h("span.soft.small.nowrap.num", {}, found.compared ? `${number(row.before)} → ${number(row.count)}` : number(row.count)))));
}

/** @param {any[]} rows @param {string} service */
function names(rows, service) {
  if (rows.length === 0) return empty("It sent no metrics in this time", undefined, { slim: true });
  return h("div.body.tags", {}, rows.map((row) => h("a.tag", { href: () => linked("/explore/metrics", { service, name: row.name }) }, plain(row.name, 100), h("span.faint", {}, ` ${number(row.series)}`))));
}
