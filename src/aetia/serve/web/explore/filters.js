/** Conditions on spans or log lines: chips of field, operator and value, with suggestions. */

import { computed, h, signal } from "../lib/dom.js";
import { plain } from "../lib/format.js";
import { icon } from "../components/icon.js";
import { ask, filters, setFilters } from "./common.js";

const OPS = ["=", "!=", "contains", ">", "<", "exists"];
/** @type {Record<string, string>} */
const WORDS = { "=": "is", "!=": "is not", contains: "contains", ">": "more than", "<": "less than", exists: "exists" };
const COLUMNS = {
  spans: ["service", "name", "kind", "status", "duration_ms", "instance", "status_code", "status_message", "peer", "scope", "version", "environment"],
  logs: ["service", "severity", "body", "instance", "scope", "version", "environment", "trace_id"],
};
/** @type {Record<string, string[]>} */
const VALUES = { status: ["error", "ok", "unset"], kind: ["server", "client", "internal", "producer", "consumer"], severity: ["trace", "debug", "info", "warn", "error", "fatal"] };
const SHAPE = /^(.+?):(=|!=|>|<|contains|exists)(?::([\s\S]*))?$/;

/** @param {string} text @returns {{field: string, op: string, value: string}} */
export function parsed(text) {
  const [, field = text, op = "exists", value = ""] = SHAPE.exec(text) ?? [];
  return { field, op, value };
}

/** @param {string} field @param {string} op @param {string} value */
export const written = (field, op, value) => (op === "exists" ? `${field}:exists` : `${field}:${op}:${value}`);

/** The filters of the URL as chips, and a form that adds one.
 * @param {import("../lib/router.js").Place} place @param {"spans" | "logs"} of @param {() => {start: string, end: string}} window */
export function filterBuilder(place, of, window) {
  /** @type {import("../lib/dom.js").Signal<string[]>} */
  const keys = signal([]);
  /** @type {import("../lib/dom.js").Signal<string[]>} */
  const values = signal([]);
  const held = computed(() => JSON.stringify(filters()));
  let known = "";
  const suggest = async () => {
    const now = JSON.stringify(window());
    if (known === now) return;
    known = now;
    try {
      keys.value = (await ask("attributes", { ...window(), signal: of }, place.signal)).keys;
    } catch {
      known = ""; // one can still write any key
    }
  };
  const suggestValues = async () => {
    const name = field.value.trim();
    if (VALUES[name]) values.value = VALUES[name];
    else if (name === "service") values.value = await names("services", (/** @type {any} */ row) => row.service);
    else if (name === "name") {
      const service = filters().map(parsed).find((one) => one.field === "service" && one.op === "=")?.value;
      values.value = await names("operations", (/** @type {any} */ row) => row.name, service);
    } else values.value = name ? await offered(name) : [];
  };
  /** @param {string} key */
  const offered = async (key) => {
    try {
      return (await ask("attributes/values", { ...window(), key, signal: of }, place.signal)).values;
    } catch {
      return []; // a column of numbers, or a store that is busy: one can still write any value
    }
  };
  /** @param {string} path @param {(row: any) => string} take @param {string} [service] */
  const names = async (path, take, service) => {
    try {
      const found = await ask(path, { ...window(), service, limit: 300 }, place.signal);
      return [...new Set((found.services ?? found.operations).map(take))].filter(Boolean);
    } catch {
      return [];
    }
  };
  const id = `of-${of}`;
  const field = h("input.field", { list: `${id}-keys`, placeholder: "field or attribute", "aria-label": "Field", autocomplete: "off", "data-search": true, spellcheck: "false", onfocus: suggest, onchange: suggestValues });
  const op = h("select.field", { "aria-label": "Operator", onchange: () => (value.hidden = op.value === "exists") }, OPS.map((one) => h("option", { value: one }, WORDS[one])));
  const value = h("input.field.value", { list: `${id}-values`, placeholder: "value", "aria-label": "Value", autocomplete: "off", spellcheck: "false", onfocus: suggestValues });
  const add = (/** @type {Event} */ event) => {
    event.preventDefault();
    const whole = SHAPE.exec(field.value.trim());
    const text = whole && !value.value ? field.value.trim() : written(field.value.trim(), op.value, value.value);
    if (!field.value.trim() || (!whole && op.value !== "exists" && !value.value)) return (field.value.trim() ? value : field).focus();
    setFilters([...new Set([...filters(), text])]);
    field.value = value.value = "";
    field.focus();
  };
  /** @param {string} text */
  const take = (text) => {
    const { field: name, op: how, value: what } = parsed(text);
    setFilters(filters().filter((one) => one !== text));
    field.value = name;
    op.value = how;
    value.value = what;
    value.hidden = how === "exists";
    value.focus();
  };
  return h(
    "div.filterbar",
    {},
    h("form.row", { onsubmit: add, role: "search", "aria-label": "Add a filter" }, field, op, value, h("button.button", { type: "submit" }, icon("plus"), "Filter")),
    h("datalist", { id: `${id}-keys` }, () => [...COLUMNS[of], ...keys.value].map((key) => h("option", { value: key }))),
    h("datalist", { id: `${id}-values` }, () => values.value.map((one) => h("option", { value: one }))),
    () => {
      const all = JSON.parse(held.value);
      return all.length === 0 ? null : h(
        "ul.chips",
        { "aria-label": "Filters" },
        all.map((/** @type {string} */ text) => {
          const one = parsed(text);
          return h("li.chip", {},
            h("button.words", { title: "Change this filter", onclick: () => take(text) }, h("b", {}, plain(one.field, 60)), ` ${WORDS[one.op]} `, one.op === "exists" ? null : h("span.mono", {}, plain(one.value, 80) || "(empty)")),
            h("button.off", { "aria-label": `Take out ${plain(text, 80)}`, onclick: () => setFilters(filters().filter((/** @type {string} */ other) => other !== text)) }, icon("close")));
        }),
        all.length > 1 ? h("li", {}, h("button.aslink.small", { onclick: () => setFilters([]) }, "take all out")) : null,
      );
    },
  );
}
