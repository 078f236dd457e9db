/** This trace beside another one: which paths of calls took longer, appeared or are gone. */

import { computed, h } from "../../lib/dom.js";
import { iso } from "../../lib/exact.js";
import { duration, number, plain, plural } from "../../lib/format.js";
import { setQuery } from "../../lib/router.js";
import { icon } from "../../components/icon.js";
import { bones, empty } from "../../components/states.js";
import { table } from "../../components/table.js";
import { when } from "../../components/time.js";
import { answer, ask, param, shown, traceLink } from "../common.js";

/** @param {import("../../lib/router.js").Place} place @param {string} id @param {import("./model.js").Model} model */
export function versus(place, id, model) {
  const other = param("vs");
  return h("div", {}, () => (other.value === "" ? null : other.value === "?" ? choose(place, id, model) : compared(place, id, other.value)));
}

/** Traces of the same entry to compare with. @param {import("../../lib/router.js").Place} place @param {string} id
 * @param {import("./model.js").Model} model */
function choose(place, id, model) {
  const { columns } = model;
  const [service, name] = [columns.services[columns.service[0]], columns.names[columns.name[0]]];
  const at = columns.start_ns;
  const window = { start: iso(at - 30 * 60e9), end: iso(at + columns.duration_ns + 30 * 60e9) };
  const filter = [`service:=:${service}`, `name:=:${name}`];
  const found = answer(place, async (aborted) => {
    const asks = /** @type {const} */ (["newest", "slowest"]).map((order) => ask("traces", { ...window, filter, order, limit: 40 }, aborted));
    const all = (await Promise.all(asks)).flatMap((one) => one.traces);
    const rows = [...new Map(all.map((row) => [row.trace_id, row])).values()].filter((row) => row.trace_id !== id);
    const good = rows.filter((row) => row.errors === 0).sort((a, b) => a.duration_ms - b.duration_ms);
    return { middle: good[Math.floor(good.length / 2)] ?? null, rows };
  }, { live: false });
  const field = h("input.field.value", { "aria-label": "Id of another trace", placeholder: "or the id of a trace", spellcheck: "false" });
  return h("section.card", { "aria-label": "Compare with" },
    h("div.head", {}, h("h2", {}, "Compare with"), h("button.button.bare.square", { "aria-label": "Close", onclick: () => setQuery({ vs: null }) }, icon("close"))),
    h("div.body.stack", {},
      h("form.row", { onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); if (field.value.trim()) setQuery({ vs: field.value.trim() }, { push: true }); } }, field, h("button.button", { type: "submit" }, "Compare")),
      shown(found, () => () => {
        const { middle, rows } = found.value.value;
        if (rows.length === 0) return empty("No other trace of the same entry is near", `None of ${plain(service, 60)} ${plain(name, 80)} within half an hour.`, { slim: true });
        const item = (/** @type {any} */ row, /** @type {string} */ note) => h("li", {}, h("button.aslink", { onclick: () => setQuery({ vs: row.trace_id }, { push: true }) }, `${duration(row.duration_ms * 1e6)}, ${plural(row.spans, "span")}`), h("span.small", { class: row.errors ? "hotword" : "soft" }, row.errors ? plural(row.errors, "error") : "no errors"), h("span.small.soft", {}, note), h("span.small.faint", {}, when(row.start_ns, { day: false })));
        const others = rows.filter((/** @type {any} */ row) => row !== middle);
        const some = [...others.filter((/** @type {any} */ row) => row.errors === 0).slice(0, 6), ...others.filter((/** @type {any} */ row) => row.errors).slice(0, 4)];
        return h("ul.lines.four", {}, middle ? item(middle, "the middle of the good ones") : null, some.map((/** @type {any} */ row) => item(row, "")));
      }, 4)));
}

/** @param {import("../../lib/router.js").Place} place @param {string} id @param {string} other */
function compared(place, id, other) {
  const found = answer(place, (aborted) => ask(`traces/${encodeURIComponent(id)}/compare`, { other, limit: 200 }, aborted), { live: false });
  return h("section.card", { "aria-label": "Comparison with another trace" },
    h("div.head", {}, h("h2", {}, "Compared with ", h("a.mono", { href: () => traceLink(other) }, plain(other, 40))),
      h("button.button.slim", { onclick: () => setQuery({ vs: "?" }) }, "Another one"), h("button.button.bare.square", { "aria-label": "Close the comparison", onclick: () => setQuery({ vs: null }) }, icon("close"))),
    shown(found, () => () => differences(found.value.value), 5) ?? bones(3));
}

/** @param {any} found */
function differences(found) {
  const rows = computed(() => found.paths.filter((/** @type {any} */ row) => row.critical_ms || row.self_ms || row.only));
  const most = Math.max(1e-9, ...found.paths.map((/** @type {any} */ row) => Math.abs(row.critical_ms)));
  const signed = (/** @type {number} */ ms) => (ms === 0 ? "0" : `${ms > 0 ? "+" : "−"}${duration(Math.abs(ms) * 1e6)}`);
  const side = (/** @type {any} */ one) => `${duration(one.duration_ms * 1e6)}, ${plural(one.spans, "span")}, ${plural(one.errors, "error")}`;
  return [
    h("p.body.lead", {}, `This trace took ${side(found.this)}; the other ${side(found.other)}: `, h("b", {}, found.duration_ms === 0 ? "just as long" : `${duration(Math.abs(found.duration_ms) * 1e6)} ${found.duration_ms > 0 ? "longer" : "shorter"}`), ". The waits below add up to that difference, up to gaps and parallel work."),
    table({
      label: "Paths that differ",
      rows: () => rows.value.slice(0, 60),
      key: (row) => JSON.stringify(row.path),
      columns: [
        { key: "path", title: "Path", narrow: "whole", cell: (row) => h("div", {}, h("span.strong", {}, plain(row.service, 60)), " ", plain(row.operation, 100), " ", row.only ? h("span.badge", { class: row.only === "this" ? "hot" : "cool" }, row.only === "this" ? "only here" : "only there") : null, h("div.small.faint.cut.chain", { title: row.path.map((/** @type {string[]} */ step) => step.join(" ")).join(" › ") }, row.path.slice(0, -1).map((/** @type {string[]} */ step) => plain(step[0], 40)).join(" › "))) },
        { key: "critical", title: "Wait", num: true, narrow: "right", by: (row) => row.critical_ms, cell: (row) => h("span.delta", { class: row.critical_ms > 0 ? "longer" : "" }, h("i", { style: { "--share": String(Math.abs(row.critical_ms) / most) } }), signed(row.critical_ms)), help: "Difference of the time on the critical path" },
        { key: "self", title: "Of its own", num: true, narrow: "right", by: (row) => row.self_ms, cell: (row) => signed(row.self_ms), help: "Difference of the time that no child covers" },
        { key: "spans", title: "Spans", num: true, narrow: "right", by: (row) => row.this.spans - row.other.spans, cell: (row) => `${number(row.other.spans)} → ${number(row.this.spans)}` },
        { key: "errors", title: "Errors", num: true, narrow: "right", by: (row) => row.this.errors, cell: (row) => h("span", { class: row.this.errors > row.other.errors ? "hotword" : "" }, `${number(row.other.errors)} → ${number(row.this.errors)}`) },
      ],
    }),
    rows.value.length === 0 ? empty("They do not differ", undefined, { slim: true }) : null,
  ];
}
