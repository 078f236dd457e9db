/** Compare: draw a box around requests in a map of latency over time, and see which attributes set them apart. */

import { computed, h } from "../lib/dom.js";
import * as boxes from "../lib/box.js";
import { iso } from "../lib/exact.js";
import { clock, inMs, ms, percent, plain, plural } from "../lib/format.js";
import { bounds } from "../lib/range.js";
import { setQuery } from "../lib/router.js";
import { heat } from "../components/heat.js";
import { icon } from "../components/icon.js";
import { empty } from "../components/states.js";
import { answer, ask, happenings, param, range, shown } from "../explore/common.js";
import { services } from "../explore/logs.js";
import { shaded } from "../explore/service.js";
import { differences } from "./differences.js";

/** @typedef {import("../lib/box.js").Box} Box */

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const window = range();
  const [service, operation, box, failed, sort, baseline] = [param("service"), param("operation"), param("box"), param("failed"), param("sort", "effect"), param("baseline")];
  const chosen = computed(() => boxes.read(box.value));
  const happened = happenings(place, window, () => service.value);
  const map = answer(place, (aborted) => ask("heatmap", { ...window(), service: service.value, operation: operation.value }, aborted), { live: false });
  const selects = computed(() => chosen.value !== null || failed.value !== "");
  const compared = answer(place, (aborted) => (selects.value ? ask("compare", { ...asked(chosen.value, window()), ...against(timeOf(baseline.value, chosen.value)), service: service.value, operation: operation.value, failed: failed.value, sort: sort.value, limit: 100 }, aborted) : null), { live: false });
  return h(
    "div.compare",
    {},
    h(
      "div.pagehead",
      {},
      h("h1", {}, "Compare"),
      h("div.row.filters", {},
        services(place, window, service, ["operation", "box"]),
        operations(place, window, service, operation),
        h("div.switch", { role: "group", "aria-label": "Which of them" }, [["", "All"], ["true", "Failed"], ["false", "Not failed"]].map(([value, word]) => h("button.button", { "aria-pressed": () => String(failed.value === value), onclick: () => setQuery({ failed: value || null }) }, word)))),
    ),
    h(
      "div.stack",
      {},
      h("section.card.body", {}, shown(map, () => () => {
        const total = requests(map.value.value.map);
        if (total === 0) return empty("No requests in this time", "Choose a longer range or another service.", { slim: true });
        return [
          heat({ map: () => map.value.value.map, box: () => chosen.value, select: (found) => setQuery({ box: found ? boxes.written(found) : null }), height: 300, changes: happened.changes, against: () => (selects.value ? timeOf(baseline.value, chosen.value) : null),
            shade: () => shaded(happened, service.value), label: `Latency of ${service.value ? plain(service.value, 60) : "all services"}${operation.value ? ` ${plain(operation.value, 60)}` : ""}` }),
          h("div.legend", {}, h("span", {}, h("i.few"), "few requests"), h("span", {}, h("i.many"), "many"), h("span", {}, h("i.hot"), "failed"), () => (happened.changes().length ? h("span", {}, h("i.change"), "change") : null), h("span.faint", {}, "drag to draw a box; arrows move one, Shift and arrows change its size")),
          byHand(chosen),
        ];
      }, 8)),
      () => (selects.value
        ? shown(compared, () => () => [told(compared.value.value, chosen.value, service.value, operation.value, failed.value, baseline), differences(compared.value.value, { box: chosen.value, service: service.value, operation: operation.value, failed: failed.value, sort: sort.value })], 8)
        : h("section.card", {}, empty("Which requests are of interest?", "Draw a box around them in the map, for example around the slow ones of the last minutes, or choose the failed ones. What they have in common, and the others do not, is listed here.", { icon: "compare" }))),
    ),
  );
}

/** @param {import("../components/heat.js").HeatMap} map */
const requests = (map) => map.counts.reduce((sum, column) => sum + column.reduce((part, one) => part + one, 0), 0);

/** The time of the box, or all of the range. @param {Box | null} box @param {any} window */
const asked = (box, window) => (box === null ? window : { ...boxes.time(box), low_ms: box.low_ms, high_ms: box.high_ms });

/** What can be compared with. */
const BASELINES = [["", "The same time"], ["range", "The whole range"], ["before", "The time before"]];

/** The time of the baseline, ns; null for that of the box. @param {string} baseline @param {Box | null} box
 * @returns {[number, number] | null} */
function timeOf(baseline, box) {
  const { start, end } = bounds();
  const [from, to] = box ? [box.start_ns, box.end_ns] : [start * 1e6, end * 1e6];
  if (baseline === "before") return [from - (to - from), from];
  return baseline === "range" && box ? [Math.min(from, start * 1e6), Math.max(to, end * 1e6)] : null;
}

/** @param {[number, number] | null} time */
const against = (time) => (time ? { baseline_start: iso(time[0]), baseline_end: iso(time[1]) } : {});

/** @param {import("../lib/router.js").Place} place @param {() => any} window @param {import("../lib/dom.js").Signal<string>} service
 * @param {import("../lib/dom.js").Signal<string>} operation */
function operations(place, window, service, operation) {
  const held = answer(place, (aborted) => (service.value ? ask("operations", { ...window(), service: service.value, limit: 300 }, aborted).catch(() => ({ operations: [] })) : null), { live: false });
  return () => {
    if (!service.value) return null;
    const served = (held.value.value?.operations ?? []).filter((/** @type {any} */ row) => row.kind !== "client" && row.kind !== "producer").map((/** @type {any} */ row) => row.name);
    const names = [...new Set([...(operation.value ? [operation.value] : []), ...served])];
    return h("select.field.pick", { "aria-label": "Operation", onchange: (/** @type {any} */ event) => setQuery({ operation: event.target.value || null, box: null }, { push: true }) }, h("option", { value: "" }, "All operations"), names.map((name) => h("option", { value: name, selected: name === operation.value }, plain(name, 60))));
  };
}

/** The same box in fields. @param {import("../lib/dom.js").Signal<Box | null>} chosen */
function byHand(chosen) {
  const box = chosen.value;
  const low = h("input.field.tight", { type: "number", min: "0", step: "any", "aria-label": "At least, ms", placeholder: "0", value: box ? String(Number(box.low_ms.toPrecision(4))) : "" });
  const high = h("input.field.tight", { type: "number", min: "0", step: "any", "aria-label": "Less than, ms", placeholder: "any", value: box?.high_ms ? String(Number(box.high_ms.toPrecision(4))) : "" });
  const apply = (/** @type {Event} */ event) => {
    event.preventDefault();
    const { start, end } = bounds();
    const base = box ?? { start_ns: start * 1e6, end_ns: end * 1e6 };
    const [from, to] = [Number(low.value) || 0, Number(high.value) || null];
    if (to !== null && to <= from) return high.focus();
    setQuery({ box: boxes.written({ start_ns: base.start_ns, end_ns: base.end_ns, low_ms: from, high_ms: to }) });
  };
  return h("form.row.small.soft.byhand", { onsubmit: apply },
    box ? h("span", {}, `${clock(ms(box.start_ns))} – ${clock(ms(box.end_ns))}`) : h("span", {}, "the whole range"),
    h("span.row", {}, "from", low, "to", high, "ms"), h("button.button.slim", { type: "submit" }, "Set"),
    box ? h("button.button.slim", { type: "button", onclick: () => setQuery({ box: null }) }, icon("close"), "Take the box away") : null);
}

/** What is compared with what, in words. @param {any} found @param {Box | null} box @param {string} service @param {string} operation
 * @param {string} failed @param {import("../lib/dom.js").Signal<string>} baseline */
function told(found, box, service, operation, failed, baseline) {
  const whose = operation ? `of ${plain(operation, 80)} of ${plain(service, 60)}` : service ? `of ${plain(service, 60)}` : "of all services";
  const length = box === null || (box.low_ms === 0 && box.high_ms === null) ? "" : box.high_ms === null ? ` that took at least ${inMs(box.low_ms)}` : box.low_ms === 0 ? ` that took less than ${inMs(box.high_ms)}` : ` that took ${inMs(box.low_ms)} to ${inMs(box.high_ms)}`;
  const state = failed === "true" ? "failed " : failed === "false" ? "successful " : "";
  const between = (/** @type {[number, number]} */ [start, end]) => `${clock(ms(start))} and ${clock(ms(end))}`;
  const share = found.inside + found.outside ? found.inside / (found.inside + found.outside) : 0;
  const same = found.baseline[0] === found.window[0] && found.baseline[1] === found.window[1];
  const rest = same
    ? `all other requests ${whose} that began in the same time${length ? ", faster or slower ones" : ""}${state ? `${length ? ", and" : ","} those that ${failed === "true" ? "did not fail" : "failed"}` : ""}. Nothing before or after, so that a change of the whole system does not count as a difference.`
    : `${found.baseline[1] <= found.window[0] ? "all requests" : "all other requests"} ${whose} begun between ${between(found.baseline)}. What changed for all of them since then counts as a difference too.`;
  const none = same
    ? found.inside === 0 ? "none. No such request began in this time." : "none. The box holds every request of its time: compare it with another time, or draw a box that leaves some durations out."
    : "none. No request began in that time.";
  return h(
    "section.card.body.cohorts",
    { "aria-label": "What is compared" },
    h("div.row.against", {}, h("span.soft.small", {}, "Compare with"), h("div.switch", { role: "group", "aria-label": "Compare with" }, BASELINES.filter(([value]) => value !== "range" || box).map(([value, word]) =>
      h("button.button", { "aria-pressed": () => String(baseline.value === value), onclick: () => setQuery({ baseline: value || null }) }, word)))),
    h("p", {}, h("i.inside"), h("b", {}, "Inside: "), `${plural(found.inside, "request")}: the ${state}requests ${whose}${length}, begun between ${between(found.window)}.`),
    h("p", {}, h("i.outside"), h("b", {}, "Baseline: "), found.outside ? `${plural(found.outside, "request")}: ${rest}` : none),
    found.inside + found.outside ? h("span.split", { "aria-hidden": "true", style: { "--share": String(share) } }, h("i")) : null,
    h("p.small.soft", {}, `${plural(found.tested, "value")} of attributes compared by Fisher's exact test; of those called sure, at most ${percent(found.false_discoveries)} are expected to be chance.`, found.incomplete ? " Rare values of attributes with many were left out." : "", found.looked_at < 1 ? ` Of so many spans, those of ${percent(found.looked_at)} of the time were read, where most of the selection is.` : ""),
  );
}
