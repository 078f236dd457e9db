/** Compare: draw a box around requests in a map of latency over time, and see which attributes set them apart. */

import { computed, h } from "../lib/dom.js";
import { clock, duration, ms, percent, plain, plural } from "../lib/format.js";
import { setQuery } from "../lib/router.js";
import { heat } from "../components/heat.js";
import { icon } from "../components/icon.js";
import { empty } from "../components/states.js";
import { answer, ask, param, range, shown } from "../explore/common.js";
import { services } from "../explore/logs.js";
import { differences } from "./differences.js";

/** @typedef {import("../components/heat.js").Box} Box */

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const window = range();
  const [service, operation, box, failed, sort] = [param("service"), param("operation"), param("box"), param("failed"), param("sort", "effect")];
  const chosen = computed(() => parsed(box.value));
  const map = answer(place, (aborted) => ask("heatmap", { ...window(), service: service.value, operation: operation.value }, aborted), { live: false });
  const selects = computed(() => chosen.value !== null || failed.value !== "");
  const compared = answer(place, (aborted) => (selects.value ? ask("compare", { ...asked(chosen.value, window()), service: service.value, operation: operation.value, failed: failed.value, sort: sort.value, limit: 100 }, aborted) : null), { live: false });
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
          heat({ map: () => map.value.value.map, box: () => chosen.value, select: (found) => setQuery({ box: found ? textOf(found) : null }), height: 300, label: `Latency of ${service.value ? plain(service.value, 60) : "all services"}${operation.value ? ` ${plain(operation.value, 60)}` : ""}` }),
          h("div.legend", {}, h("span", {}, h("i.few"), "few requests"), h("span", {}, h("i.many"), "many"), h("span", {}, h("i.hot"), "failed"), h("span.faint", {}, "drag to draw a box; arrows move one, Shift and arrows change its size")),
          byHand(chosen),
        ];
      }, 8)),
      () => (selects.value
        ? shown(compared, () => () => [baseline(compared.value.value, chosen.value, service.value, operation.value, failed.value), differences(compared.value.value, { box: chosen.value, service: service.value, operation: operation.value, failed: failed.value, sort: sort.value })], 8)
        : h("section.card", {}, empty("Which requests are of interest?", "Draw a box around them in the map, for example around the slow ones of the last minutes, or choose the failed ones. What they have in common, and the others do not, is listed here.", { icon: "compare" }))),
    ),
  );
}

/** @param {import("../components/heat.js").HeatMap} map */
const requests = (map) => map.counts.reduce((sum, column) => sum + column.reduce((part, one) => part + one, 0), 0);

/** @param {string} text start_end_low_high in ns and ms @returns {Box | null} */
function parsed(text) {
  const parts = text.split("_");
  const [start_ns, end_ns, low_ms] = parts.map(Number);
  if (parts.length !== 4 || ![start_ns, end_ns, low_ms].every(Number.isFinite) || end_ns <= start_ns) return null;
  return { start_ns, end_ns, low_ms, high_ms: parts[3] === "" ? null : Number(parts[3]) };
}

/** @param {Box} box */
const textOf = (box) => [box.start_ns, box.end_ns, Number(box.low_ms.toPrecision(6)), box.high_ms === null ? "" : Number(box.high_ms.toPrecision(6))].join("_");

/** @param {Box | null} box @param {any} window */
const asked = (box, window) => (box === null ? window : {
  start: new Date(box.start_ns / 1e6).toISOString(), end: new Date(box.end_ns / 1e6).toISOString(), low_ms: box.low_ms, high_ms: box.high_ms,
});

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
  const apply = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const { bounds } = await import("../lib/range.js");
    const { start, end } = bounds();
    const base = box ?? { start_ns: start * 1e6, end_ns: end * 1e6 };
    const [from, to] = [Number(low.value) || 0, Number(high.value) || null];
    if (to !== null && to <= from) return high.focus();
    setQuery({ box: textOf({ start_ns: base.start_ns, end_ns: base.end_ns, low_ms: from, high_ms: to }) });
  };
  return h("form.row.small.soft.byhand", { onsubmit: apply },
    box ? h("span", {}, `${clock(ms(box.start_ns))} – ${clock(ms(box.end_ns))}`) : h("span", {}, "the whole range"),
    h("span.row", {}, "from", low, "to", high, "ms"), h("button.button.slim", { type: "submit" }, "Set"),
    box ? h("button.button.slim", { type: "button", onclick: () => setQuery({ box: null }) }, icon("close"), "Take the box away") : null);
}

/** What is compared with what, in words. @param {any} found @param {Box | null} box @param {string} service @param {string} operation
 * @param {string} failed */
function baseline(found, box, service, operation, failed) {
  const whose = operation ? `of ${plain(operation, 80)} of ${plain(service, 60)}` : service ? `of ${plain(service, 60)}` : "of all services";
  const length = box === null || (box.low_ms === 0 && box.high_ms === null) ? "" : box.high_ms === null ? ` that took at least ${duration(box.low_ms * 1e6)}` : box.low_ms === 0 ? ` that took less than ${duration(box.high_ms * 1e6)}` : ` that took ${duration(box.low_ms * 1e6)} to ${duration(box.high_ms * 1e6)}`;
  const state = failed === "true" ? "failed " : failed === "false" ? "successful " : "";
  const time = `${clock(ms(found.window[0]))} and ${clock(ms(found.window[1]))}`;
  const share = found.inside + found.outside ? found.inside / (found.inside + found.outside) : 0;
  return h(
    "section.card.body.cohorts",
    { "aria-label": "What is compared" },
    h("p", {}, h("i.inside"), h("b", {}, "Inside: "), `${plural(found.inside, "request")}: the ${state}requests ${whose}${length}, begun between ${time}.`),
    h("p", {}, h("i.outside"), h("b", {}, "Baseline: "), found.outside
      ? `${plural(found.outside, "request")}: all other requests ${whose} that began in the same time${length ? ", faster or slower ones" : ""}${state ? `${length ? ", and" : ","} those that ${failed === "true" ? "did not fail" : "failed"}` : ""}. Nothing before or after, so that a change of the whole system does not count as a difference.`
      : found.inside === 0 ? "none. No such request began in this time." : "none. The box holds every request of its time, so there is nothing to compare it with: draw a box that leaves some durations out."),
    found.inside + found.outside ? h("span.split", { "aria-hidden": "true", style: { "--share": String(share) } }, h("i")) : null,
    h("p.small.soft", {}, `${plural(found.tested, "value")} of attributes compared by Fisher's exact test; of those called sure, at most ${percent(found.false_discoveries)} are expected to be chance.`, found.incomplete ? " Rare values of attributes with many were left out." : ""),
  );
}
