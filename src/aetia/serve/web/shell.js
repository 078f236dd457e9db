/** The frame: where one can go, whether telemetry flows, the time range, the theme and the help. */

import { get, post, reachable } from "./lib/api.js";
import { computed, effect, h, signal } from "./lib/dom.js";
import { bytes, count } from "./lib/format.js";
import { bind, changed, listed } from "./lib/keys.js";
import { hear, live } from "./lib/live.js";
import { go, linked, path } from "./lib/router.js";
import { choice, choose, themed, dark, toggle } from "./lib/theme.js";
import { icon, mark } from "./components/icon.js";
import { dialog, popover } from "./components/overlay.js";
import { ago } from "./components/time.js";
import { timepicker } from "./components/timepicker.js";

const TABS = [
  { at: "/incidents", word: "Incidents", name: "incidents" },
  { at: "/explore/services", word: "Explore", name: "explore" },
  { at: "/compare", word: "Compare", name: "compare" },
];

/** Keys whose names are signs. @type {Record<string, string>} */
const SIGNS = { Escape: "esc", Enter: "⏎", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };

/** @typedef {{at: number, spans: number, logs: number, metrics: number}} Count */

/** Rows per second of each signal, from two counts. */
export const flow = signal(/** @type {{spans: number, logs: number, metrics: number} | null} */ (null));
/** What the store holds; null before the first answer. */
export const store = signal(/** @type {any} */ (null));
/** How many incidents are open; pages that know tell it. */
export const openIncidents = signal(0);
/** Who asks. */
export const session = signal(/** @type {{name: string, scopes: string[], how: string, login: boolean} | null} */ (null));
export const mayWrite = computed(() => session.value?.scopes.includes("write") ?? false);

/** @type {Count | null} */
let counted = null;

/** @param {any} found */
function take(found) {
  const now = { at: performance.now(), spans: found.spans, logs: found.logs, metrics: found.metrics };
  const before = counted;
  if (before && now.at - before.at < 1000) return;
  counted = now;
  store.value = found;
  if (!before) return;
  const s = (now.at - before.at) / 1000;
  const rate = (/** @type {"spans" | "logs" | "metrics"} */ key) => Math.max(0, now[key] - before[key]) / s;
  flow.value = { spans: rate("spans"), logs: rate("logs"), metrics: rate("metrics") };
}

/** Ask once how much there is; the stream goes on from there. */
export async function countStore() {
  try {
    take(await get("store"));
  } catch {
    // The indicator says what it knows; pages that need the answer say what is wrong.
  }
}

/** @param {HTMLElement} main */
export function shell(main) {
  hear("stats", take);
  const tabs = h("nav.tabs", { "aria-label": "Pages" }, TABS.map(tab));
  const bar = h(
    "header.topbar",
    {},
    h("a.brand", { href: () => linked("/incidents"), "aria-label": "Aetia, incidents" }, mark(), h("span", {}, "Aetia")),
    tabs,
    h("span.room"),
    indicator(),
    () => (path.value.startsWith("/incidents") ? null : timepicker()), // an incident has its own time
    () => (themed.value, h("button.button.bare.square", { "aria-label": dark() ? "Light theme" : "Dark theme", onclick: toggle }, icon(dark() ? "sun" : "moon"))),
    h("button.button.bare.square", { "aria-label": "Keys and help", onclick: help }, icon("help")),
  );
  bindKeys();
  effect(() => {
    const name = TABS.find(({ at }) => path.value.startsWith(`/${at.split("/")[1]}`))?.word;
    document.title = name ? `${name} · Aetia` : "Aetia";
  });
  return [
    h("a.skip", { href: "#main" }, "Skip to the content"),
    bar,
    () => (reachable.value ? null : h("div.banner", { role: "status" }, icon("incidents"), "The server does not answer; what is shown may be old.")),
    main,
  ];
}

/** @param {{at: string, word: string, name: string}} tab */
function tab({ at, word, name }) {
  const here = () => path.value === "/" ? name === "incidents" : path.value.startsWith(`/${at.split("/")[1]}`);
  return h(
    "a",
    { href: () => linked(at), "aria-current": () => (here() ? "page" : null) },
    icon(name),
    word,
    name === "incidents" ? () => (openIncidents.value ? h("span.count", { "aria-label": `${openIncidents.value} open` }, openIncidents.value) : null) : null,
  );
}

/** Whether telemetry flows. */
function indicator() {
  const flowing = () => flow.value !== null && flow.value.spans + flow.value.logs + flow.value.metrics > 0;
  const words = () => {
    if (!reachable.value) return "no connection";
    if (flow.value === null) return store.value ? "listening" : "…";
    return flowing() ? `${count(Math.round(flow.value.spans))} spans/s` : "no telemetry now";
  };
  const button = h(
    "button.flow",
    {
      class: () => (!reachable.value ? "lost" : flowing() ? "on" : ""),
      "aria-haspopup": "dialog", "aria-expanded": "false", "aria-label": () => `Telemetry: ${words()}`,
      onclick: () => popover(button, flowDetails, "Telemetry"),
    },
    h("i"),
    h("span.words", {}, words),
  );
  return button;
}

function flowDetails() {
  const rows = /** @type {const} */ (["spans", "logs", "metrics"]);
  return h(
    "div.flowbox",
    {},
    h("h3", {}, "Telemetry"),
    h(
      "table.facts",
      {},
      h("thead", {}, h("tr", {}, h("th", {}), h("th.num", {}, "stored"), h("th.num", {}, "per second"), h("th", {}, "newest"))),
      h(
        "tbody",
        {},
        rows.map((name) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, name),
            h("td.num", {}, () => count(store.value?.[name])),
            h("td.num", {}, () => count(flow.value ? Math.round(flow.value[name]) : null)),
            h("td", {}, () => ago(newest(name))),
          ),
        ),
      ),
    ),
    () => (onDisk() ? h("p.small.soft", {}, `${bytes(onDisk())} on disk`) : null),
    h("p.small.soft", {}, () => (live.value ? "Live: pages follow what happens." : "Not live: pages show what was true when they were loaded.")),
    () => (session.value?.how === "session" ? h("button.button", { onclick: logout }, icon("out"), `Log out ${session.value.name}`) : null),
  );
}

/** Bytes of all signals. @returns {number} */
function onDisk() {
  const signals = Object.values(store.value?.stats?.signals ?? {});
  return signals.reduce((sum, one) => sum + (one.bytes ?? 0), store.value?.stats?.journal_bytes ?? 0);
}

/** @param {string} name */
function newest(name) {
  const found = store.value?.extents?.find((/** @type {any} */ item) => item.signal === name);
  return found?.window ? found.window[1] : null;
}

async function logout() {
  await post("logout").catch(() => {});
  location.assign("/");
}

function bindKeys() {
  bind("?", "Keys and help", help, "Everywhere");
  bind("g i", "Go to incidents", () => go(linked("/incidents")), "Everywhere");
  bind("g e", "Go to explore", () => go(linked("/explore/services")), "Everywhere");
  bind("g c", "Go to compare", () => go(linked("/compare")), "Everywhere");
  bind("t", "Light or dark", toggle, "Everywhere");
  bind("/", "Search or filter on this page", () => {
    const field = document.querySelector("main [data-search]");
    if (field instanceof HTMLElement) field.focus();
  }, "Everywhere");
  bind("Escape", "Leave the field, go up", up, "Everywhere");
}

function up() {
  const focused = document.activeElement;
  if (focused instanceof HTMLElement && focused.matches("input, textarea, select")) focused.blur();
  else if (/^\/incidents\/./.test(location.pathname)) go(linked("/incidents"));
}

function help() {
  dialog("Keys", () => [
    h("dl.keys", {}, () => {
      void changed.value;
      return [...listed()].map(([group, bindings]) => [
        h("h3", {}, group),
        bindings.map(({ keys, what }) => [h("dt", {}, keys.split(" ").map((key) => h("kbd", {}, SIGNS[key] ?? key))), h("dd", {}, what)]),
      ]);
    }),
    h("div.row.themes", {}, h("span.soft", {}, "Theme"), h("div.switch", {}, /** @type {const} */ (["system", "light", "dark"]).map((name) =>
      h("button.button", { "aria-pressed": () => String(choice.value === name), onclick: () => choose(name) }, name)))),
    h("p.small.faint", {}, "Times are in the zone of this browser; point at one for UTC. The API behind these pages: ", h("a", { href: "/api/v1/openapi.json", target: "_blank" }, "/api/v1/openapi.json"), "."),
  ]);
}
