/** All that is known of one span: times, attributes, resource, events, links and its log lines. */

import { h } from "../../lib/dom.js";
import { iso } from "../../lib/exact.js";
import { clock, duration, ms, plain, printable, utc } from "../../lib/format.js";
import { icon } from "../../components/icon.js";
import { copyText } from "../../components/copy.js";
import { empty, loaded } from "../../components/states.js";
import { ask, filtered, serviceLink, traceLink } from "../common.js";
import { CRITICAL, FAILED } from "./model.js";

/** @param {import("./model.js").Model} model @param {number} row @param {{signal: AbortSignal, close: () => void,
 *   go: (row: number) => void}} how */
export function drawer(model, row, { signal, close, go }) {
  const { columns } = model;
  const id = model.id(row);
  const at = columns.start_ns + columns.start[row];
  const service = columns.services[columns.service[row]];
  const name = columns.names[columns.name[row]];
  const failed = (columns.flags[row] & FAILED) !== 0;
  const parent = columns.parent[row];
  /** @type {Array<[string, any]>} */
  const facts = [
    ["began", h("span", { title: utc(ms(at)) }, `${duration(columns.start[row])} into the trace`)],
    ["at", h("time", { title: utc(ms(at)) }, clock(ms(at)))],
    ["took", duration(columns.duration[row])],
    ["of its own", duration(columns.self_time[row])],
    ["on the critical path", columns.flags[row] & CRITICAL ? duration(columns.critical[row]) : "not on it"],
    ["kind", columns.kinds[columns.kind[row]]],
    ["below it", `${columns.size[row]} spans`],
  ];
  const detail = loaded(() => ask(`traces/${encodeURIComponent(columns.trace_id)}`, { span_id: id, limit: 10 }, signal), (found) => {
    const span = found.spans[0];
    return span ? attributes(span) : empty("Its attributes are not stored", undefined, { slim: true });
  }, { lines: 5 });
  const lines = loaded(() => {
    const [start, end] = [at - 60e9, at + columns.duration[row] + 60e9];
    return ask("logs", { start: iso(start), end: iso(end), filter: [`trace_id:=:${columns.trace_id}`, `span_id:=:${id}`], limit: 50 }, signal);
  }, (found) => logs(found.logs), { lines: 2 });
  return h(
    "aside.drawer",
    { "aria-label": "Span" },
    h("div.head", {}, h("h2", {}, failed ? h("span.hotword", {}, "✕ ") : null, plain(name, 160) || "(no name)"), h("button.button.bare.square", { "aria-label": "Close the span", onclick: close }, icon("close"))),
    h("div.body", {},
      h("p.row.small", {}, h("a", { href: serviceLink(service) }, plain(service, 80)), failed ? h("span.badge.critical", {}, "error") : null,
        parent >= 0 ? h("button.aslink", { onclick: () => go(parent) }, "its parent") : null,
        h("a", { href: filtered("/explore/traces", [`service:=:${service}`, `name:=:${name}`]) }, "traces like it")),
      h("dl.facts", {}, facts.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value)))),
      detail.node,
      h("h3", {}, "Log lines"),
      lines.node,
      h("p.small.faint.row", {}, h("span.mono", {}, id), h("button.aslink", { onclick: () => copyText(id) }, "copy id")),
    ),
  );
}

/** @param {any} span */
function attributes(span) {
  /** @type {Array<[string, any]>} */
  const columns = [["status", span.status_message || span.status], ["status code", span.status_code], ["instance", span.instance], ["peer", span.peer], ["version", span.version]];
  return [
    pairs("", columns.filter(([, value]) => value), ""),
    pairs("Attributes", Object.entries(span.attributes ?? {}), "It has no attributes."),
    events(span.events),
    links(span.links),
    Object.keys(span.resource ?? {}).length ? h("details", {}, h("summary.soft", {}, `Resource (${Object.keys(span.resource).length})`), pairs("", Object.entries(span.resource), "")) : null,
  ];
}

/** @param {string} title @param {Array<[string, any]>} entries @param {string} none */
function pairs(title, entries, none) {
  if (entries.length === 0 && !none) return null;
  return [
    title ? h("h3", {}, title) : null,
    entries.length === 0 ? h("p.small.faint", {}, none) : h("dl.pairs", {}, [...entries].sort(([a], [b]) => a.localeCompare(b)).map(([key, value]) => [h("dt", {}, plain(key, 120)), h("dd.mono", {}, printable(value))])),
  ];
}

/** @param {string | null} text JSON */
function listOf(text) {
  try {
    const found = text ? JSON.parse(text) : [];
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/** @param {string | null} text */
function events(text) {
  const all = listOf(text);
  if (all.length === 0) return null;
  return [h("h3", {}, "Events"), h("ul.events", {}, all.slice(0, 50).map((event) => h("li", {},
    h("b", {}, plain(event.name ?? "event", 120)), h("span.faint.small", {}, ` ${event.time_ns || event.time ? clock(ms(Number(event.time_ns ?? event.time))) : ""}`),
    pairs("", Object.entries(event.attributes ?? {}), ""))))];
}

/** @param {string | null} text */
function links(text) {
  const all = listOf(text);
  if (all.length === 0) return null;
  return [h("h3", {}, "Links"), h("ul.dots", {}, all.slice(0, 50).map((link) => h("li", {}, link.trace_id ? h("a.mono", { href: traceLink(link.trace_id, { span: link.span_id ?? "" }) }, plain(link.trace_id, 40)) : h("span.mono", {}, printable(JSON.stringify(link))))))];
}

/** @param {any[]} rows */
function logs(rows) {
  if (rows.length === 0) return h("p.small.faint", {}, "It wrote none.");
  return h("ul.events", {}, rows.map((row) => h("li", {}, h("span.faint.small", {}, `${clock(ms(row.time_ns))} ${row.severity ?? ""} `), h("span.mono.small", {}, printable(row.body)))));
}
