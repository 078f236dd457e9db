/** All incidents, those that are open first, live. */

import { get } from "../lib/api.js";
import { batch, computed, each, effect, h, signal } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { bind } from "../lib/keys.js";
import { hear } from "../lib/live.js";
import { go, linked, query, setQuery } from "../lib/router.js";
import { openIncidents, store } from "../shell.js";
import { when } from "../components/time.js";
import { bones, empty, failed } from "../components/states.js";
import { icon } from "../components/icon.js";
import { sending } from "./sending.js";
import { item } from "./item.js";
import { isOpen, ranked, search } from "./record.js";

/** @typedef {import("./record.js").Record} Record */
const MOST = 500;
const SEVERITIES = ["critical", "major", "minor"];

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const records = signal(/** @type {Record[] | null} */ (null));
  const error = signal(/** @type {unknown} */ (null));
  const cut = signal(false);
  const at = signal(0);

  async function load() {
    try {
      const found = await get("incidents", { limit: MOST }, place.signal);
      batch(() => {
        records.value = found.incidents;
        cut.value = found.truncated;
        error.value = null;
      });
    } catch (problem) {
      if (!place.signal.aborted) error.value = problem;
    }
  }
  let later = 0;
  const soon = () => {
    clearTimeout(later);
    later = setTimeout(load, 150);
  };
  hear("incident", soon);
  hear("back", soon);
  void load();

  const state = () => query.value.get("state") ?? "";
  const wanted = () => query.value.get("severity")?.split(",").filter(Boolean) ?? [];
  const words = () => query.value.get("q") ?? "";
  const shown = computed(() =>
    ranked(records.value ?? []).filter(
      (record) =>
        (!state() || (state() === "open") === isOpen(record)) &&
        (wanted().length === 0 || wanted().includes(record.severity)) &&
        search(record, words()),
    ),
  );
  effect(() => {
    if (records.value) openIncidents.value = records.value.filter(isOpen).length;
  });
  effect(() => {
    at.value = Math.min(at.peek(), Math.max(shown.value.length - 1, 0));
  });
  const list = each(() => shown.value, (record) => record.id, (record, index) => item(record, () => at.value === index.value, () => (at.value = index.peek())), h("ol.incidents", { "aria-label": "Incidents" }));
  keys(list, () => shown.value, at);

  return h(
    "div",
    {},
    h(
      "div.pagehead",
      {},
      h("h1", {}, "Incidents"),
      filters(state, wanted, words, records),
    ),
    () => {
      if (error.value && records.value === null) return h("div.card", {}, failed(error.value, load));
      if (records.value === null) return h("div.card", {}, bones(6));
      if (records.value.length === 0) return well([]);
      const open = records.value.filter(isOpen).length;
      return [
        open === 0 && !state() && wanted().length === 0 && !words() ? well(records.value) : null,
        shown.value.length === 0
          ? h("div.card", {}, empty("No incident fits these filters", [h("button.button", { onclick: clear }, "Show all of them")], { slim: true }))
          : h("div.card", {}, list),
        cut.value ? h("p.small.soft.more", {}, `The newest ${MOST} are shown.`) : null,
      ];
    },
  );
}

const clear = () => setQuery({ state: null, severity: null, q: null });

/** @param {() => string} state @param {() => string[]} wanted @param {() => string} words
 * @param {import("../lib/dom.js").Signal<Record[] | null>} records */
function filters(state, wanted, words, records) {
  const number = (/** @type {(record: Record) => boolean} */ fits) => (records.value ?? []).filter(fits).length;
  /** @param {string} name */
  const turn = (name) => {
    const now = wanted();
    setQuery({ severity: (now.includes(name) ? now.filter((one) => one !== name) : [...now, name]).join(",") });
  };
  const field = h("input.field", {
    type: "search", placeholder: "Service, cause, words", "aria-label": "Filter incidents", "data-search": true, value: words(),
    oninput: () => setQuery({ q: field.value }),
  });
  return h(
    "div.row.filters",
    { role: "search" },
    h(
      "div.switch",
      { role: "group", "aria-label": "State" },
      [["", "All"], ["open", "Open"], ["closed", "Closed"]].map(([value, word]) =>
        h(
          "button.button",
          { "aria-pressed": () => String(state() === value), onclick: () => setQuery({ state: value }) },
          word,
          value === "open" ? () => (number(isOpen) ? h("span.faint", {}, number(isOpen)) : null) : null,
        ),
      ),
    ),
    h(
      "div.switch",
      { role: "group", "aria-label": "Severity" },
      SEVERITIES.map((name) =>
        h("button.button", { class: name, "aria-pressed": () => String(wanted().includes(name)), onclick: () => turn(name) }, h("i.dot", { class: name }), name),
      ),
    ),
    h("span.search", {}, icon("search"), field, h("kbd", {}, "/")),
  );
}

/** Nothing is open. @param {Record[]} before */
function well(before) {
  return () => {
    const held = store.value;
    if (held === null) return before.length ? null : h("div.card", {}, bones(4));
    if (held.spans + held.logs + held.metrics === 0) return h("section.card", { "aria-label": "Send telemetry" }, sending());
    const oldest = Math.min(...held.extents.map((/** @type {any} */ item) => item.window?.[0] ?? Infinity));
    const words = [
      h("p", {}, "No entry point is slower, failing more or quieter than usual."),
      h(
        "p",
        {},
        `${plural(held.spans, "span")}, ${plural(held.logs, "log line")} and ${plural(held.metrics, "metric point")} are stored`,
        Number.isFinite(oldest) ? [", since ", when(oldest)] : null,
        before.length ? "." : ". No incident was ever opened here.",
      ),
      before.length ? null : h("details.how", {}, h("summary", {}, "How to send more telemetry"), sending()),
    ];
    return h("section.card.well", {}, empty("All is well", words, { icon: "calm", good: true, slim: before.length > 0 }));
  };
}

/** @param {Element} list @param {() => Record[]} shown @param {import("../lib/dom.js").Signal<number>} at */
function keys(list, shown, at) {
  /** @param {number} by */
  const move = (by) => {
    at.value = Math.max(0, Math.min(shown().length - 1, at.peek() + by));
    const link = list.children[at.peek()]?.querySelector("a");
    if (link instanceof HTMLElement) link.focus();
  };
  bind("j", "Next incident", () => move(document.activeElement?.closest("ol.incidents") ? 1 : 0));
  bind("k", "Incident before", () => move(-1));
  bind("Enter", "Open the incident", () => {
    const record = shown()[at.peek()];
    if (record) go(linked(`/incidents/${encodeURIComponent(record.id)}`));
  });
}
