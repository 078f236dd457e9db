/** The signals that decide: broken SLIs and the evidence of the answer, against what is usual. */

import { h } from "../lib/dom.js";
import { plain } from "../lib/format.js";
import { chartOf, claim, decisive } from "../lib/words.js";
import { bandOf, chart } from "../components/chart.js";
import { kept } from "./data.js";
import { nothing, titled } from "./page.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {{title: string, series: {start_ns: number, step_ns: number, unit: string, values: Array<number | null>}, evidence: string | null, group: "hurt" | "cause"}} Drawable */

const FIRST = 6;

/** @param {Data} data */
export function signals(data) {
  const found = data.diagnosis.peek();
  const incident = found?.incident;
  if (!found || !incident) return null;
  const drawable = pick(found, data.exhibits.peek().timelines ?? []);
  const all = kept(data, "signals.all", drawable.length <= FIRST);
  return [
    titled(
      "signals",
      "Decisive signals",
      h(
        "p.legend",
        {},
        h("span", {}, h("i.line"), "signal"),
        h("span", {}, h("i.band"), "usual: 5th to 95th percentile"),
        h("span", {}, h("i.shade"), "incident"),
        () => (data.changes.value.length ? h("span", {}, h("i.change"), "change") : null),
      ),
    ),
    drawable.length === 0
      ? nothing("Nothing that decides can be drawn over time")
      : h("div.body", {}, h("div.charts", {}, () => (all.value ? drawable : drawable.slice(0, FIRST)).map((item) => one(item, incident, data.changes.value))), () =>
          all.value ? null : h("button.button", { onclick: () => (all.value = true) }, `Show ${drawable.length - FIRST} more`)),
  ];
}

/** Broken SLIs first, then the strongest evidence; a signal is drawn once. @param {import("../lib/types.js").Diagnosis} found
 * @param {import("../lib/types.js").Timeline[]} timelines @returns {Drawable[]} */
function pick(found, timelines) {
  /** @type {Drawable[]} */
  const hurt = timelines.filter(({ chart: [, , , values] }) => moves(values)).map(({ title, chart: [start_ns, step_ns, unit, values] }) => ({ title, series: { start_ns, step_ns, unit, values }, evidence: null, group: "hurt" }));
  /** @type {Drawable[]} */
  const cause = decisive(found, 8).map((item) => ({ title: claim(item), series: /** @type {any} */ (chartOf(item)), evidence: item.id, group: "cause" }));
  const mixed = [];
  for (let index = 0; index < Math.max(hurt.length, cause.length); index++) mixed.push(...[hurt[index], cause[index]].filter(Boolean));
  return mixed;
}

/** A flat line decides nothing. @param {Array<number | null>} values */
function moves(values) {
  const known = values.filter((value) => value !== null).map(Number);
  return Math.max(...known) > Math.min(...known);
}

/** @param {Drawable} item @param {import("../lib/types.js").Incident} incident @param {import("../lib/types.js").Change[]} changes */
function one(item, incident, changes) {
  return chart({
    title: plain(item.title, 260),
    start_ns: item.series.start_ns,
    step_ns: item.series.step_ns,
    unit: item.series.unit,
    lines: [{ label: "signal", values: item.series.values }],
    band: bandOf(item.series, incident.baseline),
    shade: incident.window,
    extent: [incident.baseline[0], incident.window[1]],
    changes,
    sync: "incident",
    height: 132,
  });
}
