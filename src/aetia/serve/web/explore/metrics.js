/** Metrics: pick one by name; its series as small charts on one axis of time. */

import { computed, h } from "../lib/dom.js";
import { count, number, plain, plural, quantity } from "../lib/format.js";
import { query, setQuery } from "../lib/router.js";
import { chart } from "../components/chart.js";
import { icon } from "../components/icon.js";
import { empty } from "../components/states.js";
import { answer, ask, happenings, param, range, shown, stretch, zoomTo } from "./common.js";
import { explore } from "./frame.js";
import { services } from "./logs.js";

const AGGREGATES = ["avg", "min", "max", "sum", "last", "count", "rate"];
const MOST = 60;
const SPLITS = [["series", "each series"], ["service", "service"], ["instance", "instance"], ["all", "one chart"]];
const TONES = ["--cool", "--hot-solid", "--change", "--good-solid", "--minor-solid", "--critical-solid", "--ink-soft", "--act"];
const LINES = 8;

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const window = range();
  const [name, service, aggregate, words, split] = [param("name"), param("service"), param("aggregate"), param("q"), param("split", "series")];
  const all = answer(place, (aborted) => ask("metrics", { ...window(), service: service.value, limit: 2000 }, aborted), { live: false });
  const chosen = computed(() => (all.value.value?.metrics ?? []).find((/** @type {any} */ row) => row.name === name.value) ?? null);
  const how = computed(() => aggregate.value || (chosen.value?.type === "counter" ? "rate" : "avg"));
  const fits = computed(() => (all.value.value?.metrics ?? []).filter((/** @type {any} */ row) => words.value.toLowerCase().split(/\s+/).every((word) => row.name.toLowerCase().includes(word))));
  const series = answer(place, (aborted) => (name.value && all.value.value !== null ? ask("metrics/series", { ...window(), name: name.value, service: service.value, aggregate: how.value, limit: MOST }, aborted) : null));
  const happened = happenings(place, window, () => service.value);
  const field = h("input.field.wide", { type: "search", placeholder: "Search metrics", "aria-label": "Search metrics", "data-search": true, value: words.peek(), oninput: () => setQuery({ q: field.value }) });
  return explore(
    "metrics",
    h("div.pagehead", {}, h("h1", {}, "Metrics"), services(place, window, service)),
    h(
      "div.picker",
      {},
      h(
        "section.card.metriclist",
        { "aria-label": "Metrics by name", class: () => (name.value ? "some" : "") },
        h("div.body", {}, h("span.search.wide", {}, icon("search"), field)),
        shown(all, () => () => (fits.value.length === 0
          ? empty("No metric fits", words.value ? "No name has these words." : "No metric was stored in this time.", { slim: true })
          : h("ul", {}, fits.value.slice(0, 400).map((/** @type {any} */ row) => h("li", {},
            h("a.plain", { href: () => here({ name: row.name }), "aria-current": () => (name.value === row.name ? "true" : null) },
              h("span.name", {}, plain(row.name, 120)), h("span.faint.small", {}, `${row.type ?? "no type"}${row.unit ? ` · ${plain(row.unit, 20)}` : ""} · ${count(row.series)} series`)))))), 8),
      ),
      h("div.stack", {}, () => {
        if (!name.value) return h("div.card", {}, empty("Choose a metric", "All that was stored in this time is in the list; / searches it."));
        return [
          h("div.row.filters", {},
            h("a.button.slim.onlynarrow", { href: () => here({ name: "" }) }, icon("left"), "All metrics"),
            h("h2.metricname", {}, plain(name.value, 160)),
            h("label.row.small.soft", {}, "points of a bin:", h("select.field", { "aria-label": "Aggregate", onchange: (/** @type {any} */ event) => setQuery({ aggregate: event.target.value }) }, () => AGGREGATES.map((one) => h("option", { value: one, selected: one === how.value }, one === "rate" ? "rate per second" : one)))),
            h("label.row.small.soft", {}, "a chart for", h("select.field", { "aria-label": "A chart for", onchange: (/** @type {any} */ event) => setQuery({ split: event.target.value === "series" ? null : event.target.value }) }, SPLITS.map(([value, word]) => h("option", { value, selected: value === split.peek() }, word))))),
          shown(series, () => () => multiples(series.value.value, chosen.value, how.value, split.value, happened, service.value), 8),
        ];
      }),
    ),
  );
}

/** This page with other choices. @param {Record<string, string>} more */
function here(more) {
  const next = new URLSearchParams(query.value);
  for (const [key, value] of Object.entries(more)) value ? next.set(key, value) : next.delete(key);
  next.delete("aggregate");
  return `/explore/metrics?${next}`;
}

/** @param {any} found @param {any} metric @param {string} how @param {string} split @param {ReturnType<typeof happenings>} happened
 * @param {string} service */
function multiples(found, metric, how, split, happened, service) {
  if (found.series.length === 0) return h("div.card", {}, empty("It has no points in this time", "Choose a longer range, or another service.", { slim: true }));
  const unit = unitOf(metric?.unit ?? "", how);
  /** @type {Map<string, any[]>} */
  const groups = new Map();
  for (const one of found.series) {
    const key = split === "all" ? "all series" : split === "service" ? one.service ?? "no service" : split === "instance" ? one.instance ?? one.service ?? "no instance" : titleOf(one);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const incident = service ? happened.during(service) : null;
  return [
    h("p.small.soft", {}, plural(found.series.length, "series", "series"), found.truncated ? `; the first ${number(MOST)} are shown` : "", incident ? ". Shaded: the incident." : "."),
    h("div.card.body.multiples", {}, [...groups].slice(0, MOST).map(([title, members]) => h("div", {},
      chart({
        title, unit, start_ns: members[0].start_ns, step_ns: members[0].step_ns, height: 120, sync: "metrics", select: zoomTo,
        extent: /** @type {[number, number]} */ (found.window), changes: happened.changes(), shade: incident ? stretch(incident) : null,
        aside: members.length === 1 ? quantity(members[0].values.filter((/** @type {any} */ value) => value !== null).at(-1), unit) : "",
        lines: members.slice(0, LINES).map((one, at) => ({ label: members.length > 1 ? labelOf(one) : plain(one.name, 40), values: one.values, colour: TONES[at % TONES.length] })),
      }),
      members.length > 1 ? h("div.legend", {}, members.slice(0, LINES).map((one, at) => h("span", {}, h("i.line", { style: { background: `var(${TONES[at % TONES.length]})` } }), labelOf(one))), members.length > LINES ? h("span.faint", {}, `and ${members.length - LINES} more`) : null) : null))),
  ];
}

/** @param {any} one */
const titleOf = (one) => [one.service, one.instance && one.instance !== one.service ? one.instance : null, one.node, labels(one.labels)].filter(Boolean).join(" · ") || "all";

/** @param {any} one */
const labelOf = (one) => plain([one.instance ?? one.service, labels(one.labels)].filter(Boolean).join(" ") || one.name, 60);

/** `state=used, device=sda` of a JSON text. @param {string | null} text */
function labels(text) {
  if (!text) return "";
  try {
    return Object.entries(JSON.parse(text)).map(([key, value]) => `${key}=${value}`).join(", ");
  } catch {
    return plain(text, 80);
  }
}

/** What the axis counts. UCUM's annotations in braces are words. @param {string} unit @param {string} how */
function unitOf(unit, how) {
  if (how === "count") return "";
  const base = unit === "By" ? "bytes" : unit === "1" ? "" : unit.replace(/^\{(.*)\}$/, "$1");
  if (how !== "rate") return base;
  return base === "" ? "1/s" : `${base}/s`;
}
