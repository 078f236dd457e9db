/** Logs: what they say in general, compared with the time before, and the lines themselves. */

import { batch, computed, effect, h, signal, untracked } from "../lib/dom.js";
import { clock, ms, moment, number, plain, plural, printable, rough } from "../lib/format.js";
import { setQuery } from "../lib/router.js";
import { attempt } from "../components/overlay.js";
import { strip } from "../components/spark.js";
import { empty } from "../components/states.js";
import { table } from "../components/table.js";
import { when } from "../components/time.js";
import { icon } from "../components/icon.js";
import { answer, ask, filtered, filters, happenings, param, range, serviceLink, setFilters, shown, traceLink } from "./common.js";
import { filterBuilder } from "./filters.js";
import { explore } from "./frame.js";

const MOST = 200;
const FIRST = 40;
const CHANGES = [["all", "All"], ["new", "New"], ["more", "More"], ["less", "Less"], ["gone", "Gone"]];
/** @type {Record<string, string>} */
const ROLES = { fatal: "critical", error: "critical", warn: "minor", warning: "minor" };

/** A condition that lines of a template meet: its longest text without values. @param {string} template */
export function conditionOf(template) {
  const parts = template.split(/<[^<>]*>/).map((part) => part.trim()).sort((a, b) => b.length - a.length);
  return parts[0] ? `body:contains:${parts[0]}` : "body:exists";
}

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const window = range();
  const [view, service] = [param("view", "templates"), param("service")];
  const held = computed(() => JSON.stringify(filters()));
  const lines = () => view.value === "lines" || JSON.parse(held.value).length > 0;
  return explore(
    "logs",
    h(
      "div.pagehead",
      {},
      h("h1", {}, "Logs"),
      h("div.row.filters", {},
        services(place, window, service),
        h("div.switch", { role: "group", "aria-label": "View" }, [["templates", "Templates"], ["lines", "Lines"]].map(([value, word]) =>
          h("button.button", { "aria-pressed": () => String((lines() ? "lines" : "templates") === value), onclick: () => (value === "templates" ? setFilters([], { view: null }) : setQuery({ view: "lines" })) }, word)))),
    ),
    h("div.stack", {}, () => (lines() ? found(place, window, service, held) : templates(place, window, service))),
  );
}

/** Which service. @param {import("../lib/router.js").Place} place @param {() => any} window
 * @param {import("../lib/dom.js").Signal<string>} service @param {string[]} [resets] keys of the query that go with the choice */
export function services(place, window, service, resets = []) {
  const held = answer(place, (signal) => ask("services", { ...window(), limit: 1000 }, signal).catch(() => ({ services: [] })), { live: false });
  const change = (/** @type {Event} */ event) => setQuery({ ...Object.fromEntries(resets.map((key) => [key, null])), service: /** @type {HTMLSelectElement} */ (event.target).value || null }, { push: true });
  return () => {
    const names = (held.value.value?.services ?? []).map((/** @type {any} */ row) => row.service).filter(Boolean);
    const all = service.value && !names.includes(service.value) ? [service.value, ...names] : names;
    return h("select.field.pick", { "aria-label": "Service", onchange: change }, h("option", { value: "" }, "All services"), all.map((/** @type {string} */ name) => h("option", { value: name, selected: name === service.value }, plain(name, 60))));
  };
}

/** @param {import("../lib/router.js").Place} place @param {() => any} window @param {import("../lib/dom.js").Signal<string>} service */
function templates(place, window, service) {
  const [change, words] = [param("change", "all"), param("q")];
  const from = answer(place, (aborted) => ask("logs/templates", { ...window(), service: service.value, change: change.value, limit: 1000 }, aborted), { live: false });
  const rows = computed(() => (from.value.value?.templates ?? []).filter((/** @type {any} */ row) => `${row.template} ${row.exception ?? ""}`.toLowerCase().includes(words.value.toLowerCase())));
  const field = h("input.field", { type: "search", placeholder: "Words of a template", "aria-label": "Filter templates", "data-search": true, value: words.peek(), oninput: () => setQuery({ q: field.value }) });
  return [
    h(
      "div.row.filters",
      {},
      h("div.switch", { role: "group", "aria-label": "Change" }, CHANGES.map(([value, word]) => h("button.button", { "aria-pressed": () => String(change.value === value), onclick: () => setQuery({ change: value === "all" ? null : value }) }, word))),
      h("span.search", {}, icon("search"), field, h("kbd", {}, "/")),
    ),
    shown(from, () => [
      () => {
        const { before, compared, complete, one_in: [most, few] } = from.value.value;
        const sampled = most > 1 || few > 1 ? ` One in ${number(most)} lines was read${few > 1 ? `, of warnings and errors one in ${number(few)}` : ", and every warning and error"}; counts are estimates.` : "";
        return h("p.small.soft", {}, compared ? `Compared with the ${rough(before[1] - before[0])} before (since ${moment(ms(before[0]))}); the most surprising first.` : "Nothing is stored of the time before, so nothing can be called new; the most severe first.", sampled, complete ? "" : " Rare lines may be missing.");
      },
      () => (rows.value.length
        ? h("div.card", {}, templateTable(rows, from, happenings(place, window, () => "")))
        : h("div.card", {}, empty("No template fits", change.value === "all" && !words.value ? "No log line was stored in this time." : "None of this time has changed in that way.", { slim: true }))),
    ], 8),
  ];
}

/** Counts of a template over time, with the time before paler and the onset of the incident that its service is part of.
 * @param {any} row @param {{window: [number, number], start_ns: number, step_ns: number}} found @param {ReturnType<typeof happenings>} happened */
export function course(row, found, happened) {
  const begin = row.change === "unknown" ? Math.floor((found.window[0] - found.start_ns) / found.step_ns) : 0;
  const counts = row.counts.slice(begin);
  const bin = (/** @type {number} */ ns) => (ns - found.start_ns) / found.step_ns - begin;
  const held = row.service ? happened.of(row.service).map(({ incident }) => incident.onset_ns).find((onset) => bin(onset) > 0 && bin(onset) < counts.length) : undefined;
  const said = row.change === "unknown" ? `${number(row.count)} lines` : `${number(row.before)} lines before, ${number(row.count)} now`;
  return strip(counts, {
    split: bin(found.window[0]), onset: held === undefined ? null : bin(held), hot: row.change === "new" || (["more", "unknown"].includes(row.change) && ROLES[row.severity ?? ""] === "critical"),
    label: `${said}; the first ${clock(ms(row.first_ns))}, the last ${clock(ms(row.last_ns))}${held === undefined ? "" : `; incident since ${clock(ms(held))}`}`,
  });
}

/** How it changed, in a word. @param {{change: string}} row */
const changed = ({ change }) => (change === "unknown" ? h("span.faint", {}, "–") : change === "same" ? h("span.faint", {}, "same") : h("span.badge", { class: change === "new" ? "hot" : change === "more" ? "minor" : "cool" }, change));

/** @param {import("../lib/dom.js").Signal<any[]>} rows @param {import("./common.js").Answer} from @param {ReturnType<typeof happenings>} happened */
function templateTable(rows, from, happened) {
  const link = (/** @type {any} */ row) => filtered("/explore/logs", [conditionOf(row.template)], { service: row.service ?? "", view: "lines" });
  const all = signal(false);
  const list = table({
    label: "Log templates",
    rows: () => rows.value.slice(0, all.value ? 1000 : FIRST),
    key: (row) => `${row.service}\n${row.template}\n${row.severity}`,
    columns: [
      { key: "template", title: "Template", narrow: "whole", by: (row) => row.template, cell: (row) => h("div.said", {}, h("a.template.mono.plain", { href: () => link(row), title: plain(row.example, 400) }, pattern(row.template)), row.exception ? h("div.small.hotword", {}, plain(row.exception, 120), row.call_site ? h("span.faint", {}, ` at ${plain(row.call_site, 120)}`) : null) : null) },
      { key: "severity", title: "Severity", narrow: "right", by: (row) => row.severity ?? "", cell: (row) => level(row.severity) },
      { key: "service", title: "Service", narrow: "right", by: (row) => row.service ?? "", cell: (row) => (row.service ? h("a.nowrap", { href: () => serviceLink(row.service) }, plain(row.service, 60)) : "–") },
      { key: "change", title: "Change", narrow: "right", by: (row) => row.change, cell: changed },
      { key: "before", title: "Before", num: true, narrow: "right", by: (row) => row.before, cell: (row) => number(row.before) },
      { key: "count", title: "Now", num: true, narrow: "right", by: (row) => row.count, cell: (row) => number(row.count) },
      { key: "course", title: "Over time", narrow: "whole", cell: (row) => course(row, from.value.value, happened), help: "Grey: the time before. Dashed: an incident that its service is part of" },
      { key: "last", title: "Last", num: true, narrow: "gone", by: (row) => row.last_ns, cell: (row) => when(row.last_ns, { day: false }) },
    ],
  });
  return [list, () => (rows.value.length > FIRST ? h("p.more", {}, h("button.button.slim", { onclick: () => (all.value = !all.peek()) }, all.value ? "Show fewer" : `Show ${number(rows.value.length - FIRST)} more`)) : null)];
}

/** A template with its values made faint. @param {string} template */
export const pattern = (template) => plain(template, 600).split(/(<[^<>]{1,12}>)/).map((part, at) => (at % 2 ? h("span.var", {}, part) : part));

/** @param {string | null} severity */
const level = (severity) => (severity ? h("span.badge", { class: ROLES[severity.toLowerCase()] ?? "" }, severity.toLowerCase()) : h("span.faint", {}, "–"));

/** Lines with conditions. @param {import("../lib/router.js").Place} place @param {() => any} window
 * @param {import("../lib/dom.js").Signal<string>} service @param {import("../lib/dom.js").Signal<string>} held */
function found(place, window, service, held) {
  const all = () => [...(service.value ? [`service:=:${service.value}`] : []), ...JSON.parse(held.value)];
  /** @type {import("../lib/dom.js").Signal<any[]>} */
  const more = signal([]);
  const reads = () => more.peek().length > 0 || document.querySelector(".loglines details[open]") !== null;
  const from = answer(place, (aborted) => ask("logs", { ...window(), filter: all(), limit: MOST }, aborted), { paused: reads });
  const cursor = signal("");
  effect(() => {
    const first = from.value.value;
    untracked(() => batch(() => { more.value = []; cursor.value = first?.cursor ?? ""; }));
  });
  const rows = computed(() => [...(from.value.value?.logs ?? []), ...more.value]);
  const next = () => attempt(async () => {
    const page = await ask("logs", { ...window(), filter: untracked(all), limit: MOST, cursor: cursor.peek() }, place.signal);
    batch(() => { more.value = [...more.peek(), ...page.logs]; cursor.value = page.cursor; });
  });
  return [
    filterBuilder(place, "logs", window),
    shown(from, () => [
      () => (rows.value.length
        ? h("div.card", {}, h("ol.loglines", { "aria-label": "Log lines, newest first" }, rows.value.map(line)))
        : h("div.card", {}, empty("No log line fits", [h("p", {}, all().length ? "None of this time meets all conditions." : "No log line was stored in this time."), filters().length ? h("button.button", { onclick: () => setFilters([], { service: null, view: "lines" }) }, "Take the conditions out") : null]))),
      () => (rows.value.length ? h("p.row.small.soft.more", {}, plural(rows.value.length, "line"), cursor.value ? h("button.button.slim", { onclick: next }, "Show more") : " in all") : null),
    ], 10),
  ];
}

/** @param {any} row */
function line(row) {
  const facts = [["instance", row.instance], ["trace", row.trace_id], ["span", row.span_id], ...Object.entries(row.attributes ?? {})].filter(([, value]) => value);
  const role = ROLES[(row.severity ?? "").toLowerCase()] ?? "";
  return h(
    "li",
    { class: role },
    h(
      "details",
      {},
      h("summary", {}, h("time.faint", { title: moment(ms(row.time_ns)) }, clock(ms(row.time_ns))), h("span.sev", { class: role }, (row.severity ?? "").slice(0, 5).toLowerCase()), h("span.service.soft.cut", {}, plain(row.service ?? "", 40)), h("span.body.mono", {}, plain(row.body ?? "", 300))),
      h("div.details", {}, h("pre.template", {}, printable(row.body)),
        h("dl.pairs", {}, facts.map(([key, value]) => [h("dt", {}, plain(key, 80)), h("dd.mono", {}, plain(value, 400))])),
        h("div.row", {}, row.trace_id ? h("a.button.slim", { href: () => traceLink(row.trace_id, row.span_id ? { span: row.span_id } : {}) }, "Open its trace") : null,
          h("button.button.slim", { onclick: () => setFilters([...new Set([...filters(), conditionOf(masked(row.body ?? ""))])]) }, "Lines like this"))),
    ),
  );
}

/** Numbers and long hexadecimal words as values. @param {string} body */
const masked = (body) => body.replace(/\b[0-9a-f]{8,}\b|\d+/gi, "<*>");
