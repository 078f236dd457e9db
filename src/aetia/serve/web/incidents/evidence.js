/** The evidence: for and against, each with the query behind it, and a button that runs it again. */

import { each, h, onEnd } from "../lib/dom.js";
import { plain, quantity, utc, ms } from "../lib/format.js";
import { chartOf, claim, comparison, levelWord, roots } from "../lib/words.js";
import { badge } from "../components/badge.js";
import { bandOf, chart } from "../components/chart.js";
import { icon } from "../components/icon.js";
import { checks, recheck } from "./checks.js";
import { kept } from "./data.js";
import { nothing, titled } from "./page.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("../lib/types.js").Evidence} Evidence */
const FIRST = 8;

/** @type {Array<[string, string, (item: Evidence, causes: Set<string>) => boolean]>} */
const VIEWS = [
  ["cause", "For the answer", (item, causes) => causes.has(item.id) && item.polarity === "for"],
  ["against", "Against", (item) => item.polarity === "against"],
  ["others", "About others", (item, causes) => !causes.has(item.id) && item.polarity === "for" && item.query.kind !== "detector"],
  ["hurt", "That users were hurt", (item) => item.query.kind === "detector"],
];

/** @param {Data} data */
export function evidence(data) {
  const found = data.diagnosis.peek();
  if (!found) return null;
  const causes = new Set(found.abstained === null ? roots(found).flatMap((item) => item.evidence) : []);
  const sorted = [...found.evidence].sort((a, b) => b.strength - a.strength || a.id.localeCompare(b.id));
  const groups = VIEWS.map(([key, title, fits]) => ({ key, title, items: sorted.filter((item) => fits(item, causes)) })).filter((group) => group.items.length);
  const view = kept(data, "evidence", groups[0]?.key ?? "");
  if (!groups.some((group) => group.key === view.peek())) view.value = groups[0]?.key ?? "";
  const all = kept(data, "evidence.all", false);
  const open = kept(data, "evidence.open", /** @type {Set<string>} */ (new Set()));
  const shown = () => {
    const items = groups.find((group) => group.key === view.value)?.items ?? [];
    return all.value ? items : items.slice(0, FIRST);
  };
  const list = each(shown, (item) => item.id, (item) => one(item.peek(), found, data, open), h("ol.evidencelist"));
  followHash(groups, view, all, open);
  return [
    titled(
      "evidence",
      "Evidence",
      h(
        "div.switch",
        { role: "group", "aria-label": "Which evidence" },
        groups.map(({ key, title, items }) => h("button.button", { "aria-pressed": () => String(view.value === key), onclick: () => (view.value = key) }, title, h("span.faint", {}, items.length))),
      ),
    ),
    groups.length ? list : nothing("No evidence was found"),
    () => {
      const items = groups.find((group) => group.key === view.value)?.items ?? [];
      return items.length > FIRST ? h("div.foot", {}, h("button.button.slim.bare", { onclick: () => (all.value = !all.peek()) }, all.value ? "Show fewer" : `Show ${items.length - FIRST} more`)) : null;
    },
  ];
}

/** A link to a piece of evidence opens it, wherever it is listed. @param {Array<{key: string, items: Evidence[]}>} groups
 * @param {import("../lib/dom.js").Signal<string>} view @param {import("../lib/dom.js").Signal<boolean>} all
 * @param {import("../lib/dom.js").Signal<Set<string>>} open */
function followHash(groups, view, all, open) {
  const go = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const group = groups.find(({ items }) => items.some((item) => item.id === id));
    if (!group) return;
    view.value = group.key;
    if (group.items.findIndex((item) => item.id === id) >= FIRST) all.value = true;
    open.value = new Set([...open.peek(), id]);
    requestAnimationFrame(() => document.getElementById(id)?.scrollIntoView({ block: "center" }));
  };
  addEventListener("hashchange", go);
  onEnd(() => removeEventListener("hashchange", go));
  requestAnimationFrame(go);
}

/** @param {Evidence} item @param {import("../lib/types.js").Diagnosis} found @param {Data} data
 * @param {import("../lib/dom.js").Signal<Set<string>>} open */
function one(item, found, data, open) {
  const against = item.polarity === "against";
  const isOpen = () => open.value.has(item.id);
  const turn = () => {
    const next = new Set(open.peek());
    next.has(item.id) ? next.delete(item.id) : next.add(item.id);
    open.value = next;
  };
  return h(
    "li",
    { id: item.id, class: () => [against ? "against" : "for", isOpen() ? "opened" : ""] },
    h("span.sign", { "aria-label": against ? "against" : "for", title: against ? "speaks against it" : "speaks for it" }, against ? "−" : "+"),
    h(
      "div.said",
      {},
      h("button.claim", { "aria-expanded": () => String(isOpen()), onclick: turn }, claim(item)),
      h(
        "p.meta",
        {},
        h("span", {}, `${levelWord(item.about.level)} ${plain(item.about.name, 80)}`),
        comparison(item) ? h("span.strong", {}, comparison(item)) : null,
        badge(item.query.channel.replaceAll("_", " "), "line"),
        item.own ? badge("began here", "hot") : null,
        item.strength > 0 ? h("span.strength", { title: "strength: how much it says about who is to blame" }, h("i", { style: { "--share": String(item.strength) } }), item.strength.toFixed(2)) : null,
      ),
      () => (isOpen() ? details(item, found, data) : null),
    ),
    h("div.again", {}, () => outcome(data, item.id), h("button.button.slim", { onclick: () => recheck(data, item.id), disabled: () => checks(data).value.get(item.id)?.kind === "running", "aria-label": `Run again: ${claim(item).slice(0, 80)}` }, icon("again"), h("span.words", {}, "Run again"))),
  );
}

/** @param {Data} data @param {string} id */
function outcome(data, id) {
  const standing = checks(data).value.get(id);
  if (!standing) return null;
  if (standing.kind === "running") return h("span.spin", { role: "status", "aria-label": "running" });
  return standing.check.holds
    ? h("span.badge.good", { role: "status" }, icon("check"), "holds")
    : h("span.badge.critical", { role: "status", title: plain(standing.check.why, 300) }, "differs");
}

/** @param {Evidence} item @param {import("../lib/types.js").Diagnosis} found @param {Data} data */
function details(item, found, data) {
  const series = chartOf(item);
  const baseline = found.incident?.baseline;
  const standing = () => checks(data).value.get(item.id);
  return h(
    "div.details",
    {},
    () => {
      const now = standing();
      return now?.kind === "done" && !now.check.holds ? h("div.note.bad", {}, h("div", {}, h("p", {}, plain(now.check.why, 300)), h("p.mono", {}, `before ${brief(now.check.old)}`), h("p.mono", {}, `now ${brief(now.check.new)}`))) : null;
    },
    series ? chart({ title: item.claim.what, ...series, lines: [{ label: "signal", values: series.values }], band: baseline ? bandOf(series, baseline) : null, shade: found.incident?.window ?? null, changes: data.changes.peek(), sync: "incident", height: 120 }) : null,
    h(
      "dl.facts",
      {},
      Object.entries(item.result).filter(([key, value]) => key !== "series" && key !== "rows" && value !== null && typeof value !== "object").map(([key, value]) => h("div", {}, h("dt", {}, key.replaceAll("_", " ")), h("dd", {}, typeof value === "number" ? shownNumber(key, value, item) : plain(value, 200)))),
    ),
    Array.isArray(item.result.rows) && item.result.rows.length ? rowsOf(item.result.rows) : null,
    h("p.small.faint", {}, "Query"),
    h("pre.query.mono", { tabindex: "0" }, `${item.query.channel}(${Object.entries(item.query.args).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(", ")})`),
    h("p.small.faint", {}, `digest ${item.digest}`, item.query.incident ? ` · measured ${utc(ms(item.query.incident[0]))} to ${utc(ms(item.query.incident[1]))}` : ""),
  );
}

/** @param {string} key @param {number} value @param {Evidence} item */
function shownNumber(key, value, item) {
  if (key.endsWith("_ns") && value > 1e17) return utc(ms(value));
  if (key === "baseline" || key === "incident") return quantity(value, item.result.unit ?? item.claim.unit);
  return quantity(value, "");
}

/** @param {Array<{[key: string]: any}>} rows */
function rowsOf(rows) {
  const columns = [...new Set(rows.slice(0, 12).flatMap((row) => Object.keys(row)))].slice(0, 8);
  const cell = (/** @type {any} */ value) => (value === null || value === undefined ? "–" : typeof value === "number" ? quantity(value, "") : plain(typeof value === "object" ? JSON.stringify(value) : value, 80));
  return h(
    "div.tablebox",
    {},
    h("table.grid.small", {}, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name.replaceAll("_", " "))))), h("tbody", {}, rows.slice(0, 12).map((row) => h("tr", {}, columns.map((name) => h("td", {}, cell(row[name]))))))),
    rows.length > 12 ? h("p.small.faint", {}, `and ${rows.length - 12} more rows`) : null,
  );
}

/** @param {any} value */
const brief = (value) => plain(JSON.stringify(value, (key, one) => (key === "series" ? undefined : one)), 240);
