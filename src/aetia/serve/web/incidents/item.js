/** One incident in the list: how bad, what broke, why, since when. */

import { h } from "../lib/dom.js";
import { percent, plain, plural } from "../lib/format.js";
import { linked } from "../lib/router.js";
import { fault, LIKELY } from "../lib/words.js";
import { badge, severity, state } from "../components/badge.js";
import { lasting, when } from "../components/time.js";
import { broken, isOpen, named } from "./record.js";

/** @typedef {import("./record.js").Record} Record */

/** @param {import("../lib/dom.js").Signal<Record>} record @param {() => boolean} chosen
 * @param {() => void} choose */
export function item(record, chosen, choose) {
  const id = record.peek().id;
  return h(
    "li",
    { class: () => [record.value.severity, isOpen(record.value) ? "open" : "closed"] },
    h(
      "a.plain",
      { href: () => linked(`/incidents/${encodeURIComponent(id)}`), class: () => (chosen() ? "chosen" : ""), onfocus: choose },
      h("span.first", {}, () => severity(record.value.severity)),
      h(
        "span.what",
        {},
        h("span.title", {}, () => plain(record.value.title || broken(record.value)[0] || id, 200)),
        h("span.cause", {}, () => cause(record.value)),
      ),
      h("span.facts", {}, () => facts(record.value)),
      h(
        "span.times",
        {},
        () => h("span.since", {}, when(record.value.onset_ns)),
        () => h("span.long", {}, lasting(record.value.onset_ns, record.value.ended_ns)),
      ),
    ),
  );
}

/** @param {Record} record */
export function facts(record) {
  return [
    record.alerts?.length ? badge(plural(record.alerts.length, "alert"), "line") : null,
    record.reopened ? badge(`reopened ${record.reopened} ×`, "line") : null,
    record.within_objective ? badge("within objective", "line") : null,
    record.state === "merged" ? badge("merged", "line") : null,
    record.state === "closed" ? state("closed") : null,
    isOpen(record) && record.ended_ns ? badge("harm is over", "good") : null,
  ];
}

/** @param {Record} record */
export function cause(record) {
  const found = record.diagnosis;
  if (!found) return h("span.faint", {}, isOpen(record) ? "Being diagnosed" : "Was not diagnosed");
  if (found.failed) return h("span.faint", {}, `The diagnosis failed: ${plain(found.failed, 160)}`);
  const names = named(record);
  if (names.length === 0) return h("span.soft", {}, `No root cause named: ${plain(found.abstained ?? "no hypothesis was left", 160)}`);
  const sure = found.probability;
  return [
    h("span.faint", {}, sure !== null && sure < LIKELY ? "first suspect " : "root cause "),
    h("span.strong", {}, plain(names.join(" and "), 120)),
    fault(found) ? h("span.soft", {}, `, ${fault(found)}`) : null,
    sure === null ? null : [" ", probability(sure)],
  ];
}

/** A probability as a number and a bar. @param {number} share */
export function probability(share) {
  return h("span.meter", {}, h("i", { style: { "--share": String(share) } }), percent(share));
}
