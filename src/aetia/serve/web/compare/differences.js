/** The attributes that set the inside apart, key by key, strongest first. */

import { h, signal } from "../lib/dom.js";
import { number, percent, plain, plural } from "../lib/format.js";
import * as boxes from "../lib/box.js";
import { setQuery } from "../lib/router.js";
import { empty } from "../components/states.js";
import { filtered } from "../explore/common.js";
import { written } from "../explore/filters.js";

/** @typedef {{key: string, value: string | null, inside: number, outside: number, share_inside: number, share_outside: number,
 *   effect: number, log_odds: number, p: number, q: number, sure: boolean}} Difference */
/** @typedef {{key: string, rows: Difference[], also: string[]}} Group `also`: keys with the same values in the same requests */
/** @typedef {{box: import("../lib/box.js").Box | null, service: string, operation: string, failed: string, sort: string}} Asked */

const FIRST = 6;

/** @param {{differences: Difference[], inside: number, outside: number, truncated: boolean, false_discoveries: number}} found @param {Asked} asked */
export function differences(found, asked) {
  if (!found.inside || !found.outside) return null;
  const groups = grouped(found.differences);
  const sure = groups.filter((group) => group.rows[0].sure);
  const rest = groups.filter((group) => !group.rows[0].sure);
  return h(
    "section.card",
    { "aria-label": "Differences" },
    h("div.head", {}, h("h2", {}, sure.length ? "What sets them apart" : "Nothing sets them apart"),
      h("div.switch", { role: "group", "aria-label": "Order" }, [["effect", "Largest difference"], ["sureness", "Surest"]].map(([value, word]) => h("button.button", { "aria-pressed": String(asked.sort === value), onclick: () => setQuery({ sort: value === "effect" ? null : value }) }, word)))),
    sure.length ? null : empty("No attribute differs for sure", "What differs below may be chance. A larger box, or one that separates slow requests from fast ones better, may tell more.", { slim: true }),
    h("div.legend.body", {}, h("span", {}, h("i.inside"), "share inside"), h("span", {}, h("i.outside"), "share in the baseline")),
    h("ol.differences", {}, sure.map((group) => attribute(group, asked, found))),
    rest.length ? h("details.chance", { open: sure.length === 0 }, h("summary.soft", {}, `${plural(rest.length, "attribute")} that may differ by chance`), h("ol.differences", {}, rest.slice(0, 30).map((group) => attribute(group, asked, found)))) : null,
    found.truncated ? h("p.small.soft.more", {}, "The strongest differences are shown.") : null,
  );
}

/** Values of one key together, in the order in which their strongest come; keys that say the same are one.
 * @param {Difference[]} rows @returns {Group[]} */
function grouped(rows) {
  /** @type {Map<string, Difference[]>} */
  const groups = new Map();
  for (const row of rows) groups.set(row.key, [...(groups.get(row.key) ?? []), row]);
  /** @type {Map<string, Group>} */
  const told = new Map();
  for (const [key, members] of groups) {
    const says = JSON.stringify(members.map((row) => [row.value, row.inside, row.outside]).sort());
    const held = told.get(says);
    if (held) held.also.push(key);
    else told.set(says, { key, rows: members, also: [] });
  }
  return [...told.values()];
}

/** @param {Group} group @param {Asked} asked @param {{false_discoveries: number}} found */
function attribute({ key, rows, also }, asked, found) {
  const all = signal(false);
  return h(
    "li",
    {},
    h("h3.mono", {}, plain(key, 120), also.length ? h("span.small.faint", {}, ` also ${also.map((one) => plain(one, 60)).join(", ")}`) : null),
    h("ul", {}, () => (all.value ? rows : rows.slice(0, FIRST)).map((row) => value(row, asked, found))),
    () => (rows.length > FIRST && !all.value ? h("button.aslink.small", { onclick: () => (all.value = true) }, `${rows.length - FIRST} more values`) : null),
  );
}

/** @param {Difference} row @param {Asked} asked @param {{false_discoveries: number}} found */
function value(row, asked, found) {
  const words = row.value === null ? "(missing)" : plain(row.value, 160) || "(empty)";
  const size = Math.abs(100 * row.effect);
  const points = `${row.effect > 0 ? "+" : "−"}${size >= 10 && size <= 90 ? Math.round(size) : Number(size.toFixed(1))} points`;
  return h(
    "li",
    { class: row.sure ? "" : "unsure" },
    h("span.name.cut", { title: words }, row.value === null ? h("span.faint", {}, words) : h("a", { href: () => link(row, asked), title: "Traces with this value" }, words)),
    h("span.bars", { role: "img", "aria-label": `${percent(row.share_inside)} inside, ${percent(row.share_outside)} in the baseline` },
      h("i.inside", { style: { "--share": String(row.share_inside) } }), h("i.outside", { style: { "--share": String(row.share_outside) } })),
    h("span.shares.small", {}, h("b", {}, percent(row.share_inside)), h("span.faint", {}, ` (${number(row.inside)})`), h("br"), " ", h("span.soft", {}, percent(row.share_outside)), h("span.faint", {}, ` (${number(row.outside)})`)),
    h("span.effect.num", { class: row.effect > 0 ? "up" : "down" }, points),
    h("span.small.soft.num", { title: `p ${row.p.toPrecision(3)}, corrected for all values tested: ${row.q.toPrecision(3)}; log odds ${row.log_odds.toFixed(2)}` }, row.sure ? chance(row.q) : h("span.faint", {}, `${row.q <= found.false_discoveries ? "too small" : "chance?"} ${chance(row.q)}`)),
  );
}

/** @param {number} q */
const chance = (q) => (q < 1e-4 ? "p < 0.0001" : `p = ${Number(q.toPrecision(2))}`);

/** Traces with the value, in the box. @param {Difference} row @param {Asked} asked */
function link(row, { box, service, operation, failed }) {
  const wanted = [written(row.key, "=", row.value ?? "")];
  if (service && row.key !== "service") wanted.push(written("service", "=", service));
  if (operation && row.key !== "name") wanted.push(written("name", "=", operation));
  if (failed && row.key !== "status") wanted.push(written("status", failed === "true" ? "=" : "!=", "error"));
  if (box) wanted.push(...boxes.lengths(box).map((one) => written(...one)));
  return filtered("/explore/traces", wanted, box ? boxes.time(box) : {});
}
