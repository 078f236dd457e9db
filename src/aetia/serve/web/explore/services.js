/** All services: how many requests they serve, how many fail, how long they take, who calls whom. */

import { computed, h, signal } from "../lib/dom.js";
import { count, inMs, number, percent, plain, plural } from "../lib/format.js";
import { go, setQuery } from "../lib/router.js";
import { icon } from "../components/icon.js";
import { map } from "../components/map.js";
import { spark } from "../components/spark.js";
import { empty } from "../components/states.js";
import { table } from "../components/table.js";
import { answer, ask, happenings, param, range, serviceLink, shown } from "./common.js";
import { explore } from "./frame.js";

const SPARKS = 40;
const WARM = 0.01;
const HOT = 0.05;

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const window = range();
  const [view, words] = [param("view", "table"), param("q")];
  const services = answer(place, (signal) => ask("services", window(), signal));
  const happened = happenings(place, window, () => "");
  const fits = computed(() => (services.value.value?.services ?? []).filter((/** @type {any} */ row) => plain(row.service).toLowerCase().includes(words.value.toLowerCase())));
  const field = h("input.field", { type: "search", placeholder: "Name of a service", "aria-label": "Filter services", "data-search": true, value: words.peek(), oninput: () => setQuery({ q: field.value }) });
  return explore(
    "services",
    h(
      "div.pagehead",
      {},
      h("h1", {}, "Services"),
      h("div.row.filters", { role: "search" }, views(view), h("span.search", {}, icon("search"), field, h("kbd", {}, "/"))),
    ),
    shown(services, () => () => {
      if (services.value.value.services.length === 0) return h("div.card", {}, nothing());
      return view.value === "map" ? topology(place, window, services, happened, words) : [
        h("div.card", {}, list(place, window, fits, happened)),
        () => (fits.value.length === 0 ? h("div.card", {}, empty("No service has such a name", [h("button.button", { onclick: () => { field.value = ""; setQuery({ q: null }); } }, "Show all of them")], { slim: true })) : null),
      ];
    }, 8),
  );
}

const nothing = () => empty("No requests in this time", [h("p", {}, "Choose a longer range above, or send telemetry to this server."), h("a.button", { href: "/incidents" }, "How to send telemetry")]);

/** @param {import("../lib/dom.js").Signal<string>} view */
const views = (view) =>
  h("div.switch", { role: "group", "aria-label": "View" }, [["table", "Table"], ["map", "Map"]].map(([value, word]) =>
    h("button.button", { "aria-pressed": () => String(view.value === value), onclick: () => setQuery({ view: value === "table" ? null : value }) }, word)));

/** @param {any} row */
const bad = (row) => (row.error_share >= HOT ? "hot" : row.error_share >= WARM ? "warm" : "");

/** @param {import("../lib/router.js").Place} place @param {() => any} window @param {import("../lib/dom.js").Signal<any[]>} rows
 * @param {ReturnType<typeof happenings>} happened */
function list(place, window, rows, happened) {
  const lines = sparks(place, window, () => [...rows.value].sort((a, b) => b.requests - a.requests).slice(0, SPARKS).map((row) => row.service));
  const errors = (/** @type {any} */ row) => h("span.level", { class: bad(row), style: { "--share": String(Math.min(1, row.error_share)) } }, h("i"), h("span", {}, row.errors ? percent(row.error_share) : "0 %"));
  return table({
    label: "Services", keyboard: true,
    key: (row) => row.service,
    rows: () => rows.value,
    sort: { key: "requests", down: true },
    open: (row) => row.service && go(serviceLink(row.service)),
    columns: [
      { key: "service", title: "Service", narrow: "whole", by: (row) => row.service, cell: (row) => h("span.row.nowraprow", {}, row.service ? h("a.strong", { href: () => serviceLink(row.service) }, plain(row.service, 80)) : h("span.faint", { title: "Spans without the name of a service" }, "(no name)"), burning(happened, row.service)) },
      { key: "requests", title: "Requests/s", num: true, narrow: "right", by: (row) => row.per_second, cell: (row) => number(row.per_second), help: "Spans of kind server or consumer per second" },
      { key: "course", title: "over time", narrow: "gone", cell: (row) => spark(lines.value.get(row.service)?.requests ?? [], { width: 120, label: "" }) },
      { key: "errors", title: "Errors", num: true, narrow: "right", by: (row) => row.error_share, cell: errors, help: "Share of requests whose status is error" },
      { key: "bad", title: "over time", narrow: "gone", cell: (row) => spark(shares(lines.value.get(row.service)), { width: 72, hot: row.errors > 0, atLeast: 0.1 }) },
      { key: "p50", title: "p50", num: true, narrow: "right", by: (row) => row.p50_ms, cell: (row) => inMs(row.p50_ms), help: "Half of the requests are faster" },
      { key: "p95", title: "p95", num: true, narrow: "right", by: (row) => row.p95_ms, cell: (row) => inMs(row.p95_ms), help: "95 % of the requests are faster" },
      { key: "p99", title: "p99", num: true, narrow: "right", by: (row) => row.p99_ms, cell: (row) => inMs(row.p99_ms), help: "99 % of the requests are faster" },
      { key: "slow", title: "p95 over time", narrow: "gone", cell: (row) => spark(lines.value.get(row.service)?.p95_ms ?? [], { width: 96 }) },
    ],
  });
}


/** What the service has to do with an open incident. @param {ReturnType<typeof happenings>} happened @param {string} service */
export const burning = (happened, service) => () => {
  const found = open(happened, service);
  if (!found) return null;
  const words = found.part === "cause" ? "root cause" : "users hurt";
  return h("a.badge", { class: found.part === "cause" ? "hot" : "critical", href: `/incidents/${encodeURIComponent(found.incident.id)}`, title: plain(found.incident.title, 200) }, h("i"), words);
};

/** The open incident that it causes, else one that hurts it. @param {ReturnType<typeof happenings>} happened @param {string} service */
function open(happened, service) {
  const found = happened.of(service).filter(({ incident }) => incident.state === "open");
  return found.find(({ part }) => part === "cause") ?? found[0];
}

/** Series of the services, one question after the other, so that the table need not wait for them.
 * @param {import("../lib/router.js").Place} place @param {() => any} window @param {() => string[]} names */
function sparks(place, window, names) {
  /** @type {import("../lib/dom.js").Signal<Map<string, any>>} */
  const held = signal(new Map());
  const wanted = computed(() => JSON.stringify([window(), names()]));
  answer(place, async (aborted) => {
    const [asked, all] = JSON.parse(wanted.value);
    const found = new Map();
    const queue = [...all];
    const work = async () => {
      for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
        const { red } = await ask("red", { ...asked, service: name, step: await stepOf(asked) }, aborted);
        found.set(name, red);
        held.value = new Map(found);
      }
    };
    await Promise.all([work(), work()]);
    return found;
  }, { live: false });
  return held;
}

/** Which share of the requests of each bin failed. @param {{requests: number[], errors: number[]} | undefined} red */
function shares(red) {
  return red ? red.requests.map((of, at) => (of ? red.errors[at] / of : 0)) : [];
}

/** Seconds of a bin for a line of 30 points. @param {{start: string, end: string}} asked */
async function stepOf(asked) {
  const { instant } = await import("../lib/range.js");
  const to = instant(asked.end);
  const s = (to - instant(asked.start, to)) / 1000;
  return Math.max(10, Math.ceil(s / 30 / 10) * 10) || 60;
}

/** @param {import("../lib/router.js").Place} place @param {() => any} window @param {import("./common.js").Answer} services
 * @param {ReturnType<typeof happenings>} happened @param {import("../lib/dom.js").Signal<string>} words */
function topology(place, window, services, happened, words) {
  const edges = answer(place, (signal) => ask("topology", window(), signal), { live: false });
  return h("section.card.body", {}, shown(edges, () => () => {
    const fits = (/** @type {string} */ name) => name.toLowerCase().includes(words.value.toLowerCase());
    const calls = edges.value.value.edges.filter((/** @type {any} */ edge) => fits(edge.caller) || fits(edge.callee));
    const rows = new Map((services.value.peek()?.services ?? []).map((/** @type {any} */ row) => [row.service, row]));
    const names = new Set([...[...rows.keys()].filter(fits), ...calls.flatMap((/** @type {any} */ edge) => [edge.caller, edge.callee])]);
    const most = Math.max(1, ...calls.map((/** @type {any} */ edge) => edge.calls));
    const drawn = map({
      label: `Calls between ${plural(names.size, "service")}; the table shows the same in words`,
      nodes: [...names].map((name) => {
        const row = rows.get(name);
        const fires = open(happened, name);
        const said = fires ? (fires.part === "cause" ? "root cause · " : "users hurt · ") : "";
        return {
          id: `s ${name}`, label: `${fires ? "● " : ""}${name || "(no name)"}`, heat: row ? Math.min(1, row.error_share * 4) : 0,
          note: row ? `${said}${number(row.per_second)}/s${row.errors ? ` · ${percent(row.error_share)}${said ? "" : " failed"}` : ""}` : "no spans of its own",
          marks: [row ? "" : "external", row && row.error_share >= HOT ? "lit" : row && row.error_share >= WARM ? "way" : ""].filter(Boolean),
        };
      }),
      edges: calls.map((/** @type {any} */ edge, /** @type {number} */ at) => ({
        id: `e${at}`, source: `s ${edge.caller}`, target: `s ${edge.callee}`, weight: edge.calls / most,
        label: edge.errors ? percent(edge.errors / edge.calls) : "",
        marks: edge.errors / edge.calls >= HOT ? ["lit"] : edge.errors / edge.calls >= WARM ? ["bad"] : [],
      })),
      pick: (id) => id !== null && rows.has(id.slice(2)) && go(serviceLink(id.slice(2))),
    });
    return [
      h("div.row.below", {}, h("p.small.soft", {}, `${plural(names.size, "service")}, ${plural(calls.length, "link")}, ${count(calls.reduce((/** @type {number} */ sum, /** @type {any} */ edge) => sum + edge.calls, 0))} calls. A service opens by a click; hot ones fail in at least ${percent(HOT)} of their requests; ● part of an open incident.`), h("span.room"), drawn.controls),
      drawn.node,
      h("details.small", { open: innerWidth < 640 }, h("summary.soft", {}, "The same in words"), h("ul.dots", {}, calls.map((/** @type {any} */ edge) => h("li", {}, h("a", { href: serviceLink(edge.caller) }, plain(edge.caller, 80)), " calls ", h("a", { href: serviceLink(edge.callee) }, plain(edge.callee, 80)), `: ${plural(edge.calls, "call")}, ${percent(edge.errors / edge.calls)} failed, p95 ${inMs(edge.p95_ms)}`)))),
    ];
  }, 10));
}
