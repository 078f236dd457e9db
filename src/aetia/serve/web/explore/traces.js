/** Search for traces: conditions, a map of latency with the traces found as dots on it, and the list. */

import { batch, computed, effect, h, signal, untracked } from "../lib/dom.js";
import * as boxes from "../lib/box.js";
import { dark, themed } from "../lib/theme.js";
import { duration, number, plain, plural } from "../lib/format.js";
import { go, setQuery } from "../lib/router.js";
import { attempt } from "../components/overlay.js";
import { heat } from "../components/heat.js";
import { empty } from "../components/states.js";
import { table } from "../components/table.js";
import { when } from "../components/time.js";
import { answer, ask, filters, happenings, param, range, setFilters, shown, tone, traceLink } from "./common.js";
import { filterBuilder, parsed, written } from "./filters.js";
import { explore } from "./frame.js";

const MOST = 100;
const ORDERS = [["newest", "Newest"], ["slowest", "Slowest"], ["errors", "Errors"]];

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const window = range();
  const order = param("order", "newest");
  const held = computed(() => JSON.stringify(filters()));
  /** @type {import("../lib/dom.js").Signal<any[]>} */
  const more = signal([]);
  const cursor = signal("");
  const found = answer(place, (aborted) => ask("traces", { ...window(), filter: JSON.parse(held.value), order: order.value, limit: MOST }, aborted), { paused: () => more.peek().length > 0 });
  const whose = computed(() => {
    const is = (/** @type {string} */ name) => JSON.parse(held.value).map(parsed).find((/** @type {any} */ one) => one.field === name && one.op === "=")?.value ?? "";
    return JSON.stringify({ service: is("service"), operation: is("service") ? is("name") : "" });
  });
  const heatMap = answer(place, (aborted) => ask("heatmap", { ...window(), ...JSON.parse(whose.value) }, aborted), { live: false });
  const happened = happenings(place, window, () => JSON.parse(whose.value).service);
  effect(() => {
    const first = found.value.value;
    untracked(() => batch(() => { more.value = []; cursor.value = first?.cursor ?? ""; }));
  });
  const rows = computed(() => [...(found.value.value?.traces ?? []), ...more.value]);
  const next = () => attempt(async () => {
    const page = await ask("traces", { ...window(), filter: filters(), order: order.peek(), limit: MOST, cursor: cursor.peek() }, place.signal);
    const seen = new Set(rows.peek().map((row) => row.trace_id));
    batch(() => { more.value = [...more.peek(), ...page.traces.filter((/** @type {any} */ row) => !seen.has(row.trace_id))]; cursor.value = page.cursor; });
  });
  const dots = computed(() => rows.value.map((row) => ({ time_ns: row.start_ns, ms: row.duration_ms, error: row.errors > 0, id: row.trace_id })));
  return explore(
    "traces",
    h(
      "div.pagehead",
      {},
      h("h1", {}, "Traces"),
      h("div.switch", { role: "group", "aria-label": "Order" }, ORDERS.map(([value, word]) => h("button.button", { "aria-pressed": () => String(order.value === value), onclick: () => setQuery({ order: value === "newest" ? null : value }) }, word))),
    ),
    h(
      "div.stack",
      {},
      filterBuilder(place, "spans", window),
      h("section.card.body", {}, shown(heatMap, () => [
        heat({
          map: () => heatMap.value.value.map, height: 190, dots: () => dots.value, pick: (id) => go(traceLink(id)),
          label: "Requests by time and latency, traces of the list as dots",
          select: (box) => box && choose(box), changes: happened.changes,
        }),
        h("p.small.faint", {}, "A dot opens its trace; a box becomes a condition on time and duration."),
      ], 4)),
      shown(found, () => [
        () => (rows.value.length ? h("div.card", {}, list(rows)) : h("div.card", {}, nothing())),
        () => (rows.value.length ? h("p.row.small.soft.more", {}, plural(rows.value.length, "trace"), cursor.value ? h("button.button.slim", { onclick: next }, "Show more") : " in all") : null),
      ], 8),
    ),
  );
}

function nothing() {
  return empty("No trace fits", [h("p", {}, filters().length ? "No trace of this time has a span that meets all conditions." : "There are no spans in this time."),
    filters().length ? h("button.button", { onclick: () => setFilters([]) }, "Take the conditions out") : null]);
}

/** @param {import("../lib/box.js").Box} box */
function choose(box) {
  const rest = filters().filter((/** @type {string} */ one) => !one.startsWith("duration_ms:"));
  setFilters([...rest, ...boxes.lengths(box).map((one) => written(...one))], boxes.time(box));
}

/** @param {import("../lib/dom.js").Signal<any[]>} rows */
function list(rows) {
  const longest = computed(() => Math.max(1e-6, ...rows.value.map((row) => row.duration_ms)));
  return table({
    label: "Traces", keyboard: true,
    rows: () => rows.value,
    key: (row) => row.trace_id,
    open: (row) => go(traceLink(row.trace_id)),
    columns: [
      { key: "what", title: "Trace", narrow: "whole", by: (row) => `${row.service} ${row.name}`, cell: (row) => h("a.tracename", { href: () => traceLink(row.trace_id) }, h("i.tone", { style: { background: tone(row.service, (themed.value, dark())) } }), h("span", {}, h("b", {}, plain(row.service, 60)), " ", plain(row.name, 100))) },
      { key: "duration", title: "Duration", narrow: "whole", by: (row) => row.duration_ms, cell: (row) => h("span.lengthbar", { class: row.errors ? "hot" : "", style: { "--share": String(row.duration_ms / longest.value) } }, h("i"), h("span", {}, duration(row.duration_ms * 1e6))) },
      { key: "errors", title: "Errors", num: true, narrow: "right", by: (row) => row.errors, cell: (row) => h("span", { class: row.errors ? "hotword" : "faint" }, number(row.errors)) },
      { key: "spans", title: "Spans", num: true, narrow: "right", by: (row) => row.spans, cell: (row) => number(row.spans) },
      { key: "services", title: "Services", num: true, narrow: "right", by: (row) => row.services, cell: (row) => number(row.services) },
      { key: "start", title: "Began", num: true, narrow: "right", by: (row) => row.start_ns, cell: (row) => when(row.start_ns) },
    ],
  });
}
