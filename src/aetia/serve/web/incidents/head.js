/** What a person on call asks first: what broke, since when, who is hurt, why, how sure, and what can be done now. */

import { h } from "../lib/dom.js";
import { percent, plain } from "../lib/format.js";
import { linked } from "../lib/router.js";
import { breach, claim, fault, harm, headline, joined, lead, LIKELY, place, roots } from "../lib/words.js";
import { badge, severity, state } from "../components/badge.js";
import { icon } from "../components/icon.js";
import { lasting, when } from "../components/time.js";
import { actions } from "./actions.js";
import { facts, probability } from "./item.js";
import { broken, isOpen } from "./record.js";

/** @typedef {import("./data.js").Data} Data */

/** @param {Data} data */
export function head(data) {
  return h(
    "header.incidenthead",
    {},
    h(
      "div.row.crumb",
      {},
      h("a", { href: linked("/incidents") }, icon("left"), "Incidents"),
      h("span.faint.mono", {}, data.id),
      h("span.room"),
      actions(data),
    ),
    h("h1", {}, () => plain(data.record.value?.title || broken(/** @type {any} */ (data.record.value ?? {}))[0] || data.id, 240)),
    h("div.row.standing", {}, () => standing(data)),
    h("div.three", {}, () => [rootCause(data), criticalFailure(data), impact(data)]),
  );
}

/** @param {Data} data */
function standing(data) {
  const record = data.record.value;
  if (!record) return null;
  return [
    state(isOpen(record) ? "open" : "closed", record.state),
    severity(record.severity),
    h("span", {}, h("span.soft", {}, "since "), when(record.onset_ns)),
    h("span", {}, h("span.soft", {}, record.ended_ns ? "for " : "now for "), lasting(record.onset_ns, record.ended_ns)),
    record.ended_ns ? h("span", {}, h("span.soft", {}, "until "), when(record.ended_ns)) : null,
    facts(record).slice(0, 3),
    record.merged_into ? h("a", { href: linked(`/incidents/${encodeURIComponent(record.merged_into)}`) }, `merged into ${record.merged_into}`) : null,
    data.busy.value ? h("span.badge.cool", {}, h("span.spin.tiny"), "investigating") : null,
  ];
}

/** @param {string} name @param {string} role @param {...any} body */
const bucket = (name, role, ...body) => h("div.bucket", { class: role }, h("h2", {}, name), ...body);

/** @param {Data} data */
function rootCause(data) {
  const found = data.diagnosis.value;
  if (!found) {
    const last = data.revisions.value.at(-1);
    if (last?.failed) return bucket("Root cause", "", h("p.answer.faint", {}, "The diagnosis failed"), h("p.soft", {}, plain(last.failed, 300)));
    const open = data.record.value && isOpen(data.record.value);
    return bucket("Root cause", "", h("p.answer.faint", {}, open || data.busy.value ? "Being diagnosed …" : "Not diagnosed"), h("p.soft", {}, open ? "The first answer comes some seconds after an incident opens." : "“Diagnose” asks for an answer."));
  }
  if (found.abstained !== null || found.hypotheses.length === 0) {
    return bucket(
      "Root cause",
      "",
      h("p.answer", {}, headline(found)),
      h("p.soft", {}, plain(found.abstained ?? "no hypothesis was left", 400)),
      found.missing.length ? [h("p.small.strong", {}, "What would help"), h("ul.dots", {}, found.missing.map((item) => h("li", {}, plain(item, 240))))] : null,
    );
  }
  const causes = roots(found);
  return bucket("Root cause", "hot", causes.map((item) => {
    const strongest = found.evidence.filter((one) => item.evidence.includes(one.id)).sort((a, b) => b.strength - a.strength)[0];
    const unsure = item.probability !== null && item.probability < LIKELY;
    return [
      unsure ? h("p.small.soft", {}, "No cause stands out. First suspect:") : null,
      h("p.answer", {}, plain(item.entity.name, 120)),
      h(
        "p.row.facts",
        {},
        fault(item) ? badge(fault(item), "hot") : null,
        item.probability === null ? null : probability(item.probability),
        item.verdict === "verified" ? h("span.badge.good", { title: "Its own evidence, every observed hop agrees, no alternative takes it" }, icon("check"), "verified") : item.verdict === "open" ? null : badge(item.verdict, "line"),
      ),
      strongest ? h("p", {}, h("a.plain", { href: `#${strongest.id}` }, claim(strongest))) : null,
      h("p.small.soft", {}, place(item.entity), item.onset_ns ? [", since ", when(item.onset_ns), `, ${lead(item.onset_ns, found.incident?.onset_ns)}`] : null),
    ];
  }));
}

/** @param {Data} data */
function criticalFailure(data) {
  const breaches = data.diagnosis.value?.incident?.breaches.length ? data.diagnosis.value.incident.breaches : (data.record.value?.breaches ?? []);
  if (breaches.length === 0) return bucket("Critical failure", "", h("p.answer.faint", {}, "No entry point broke"), h("p.soft", {}, "No latency, success or throughput of an entry point left its baseline in this window."));
  const worst = [...breaches].sort((a, b) => b.affected - a.affected || a.entry.name.localeCompare(b.entry.name));
  return bucket(
    "Critical failure",
    "",
    h("p.answer", {}, plain(worst[0].entry.name, 120)),
    h("p", {}, breach(worst[0]), worst[0].requests ? h("span.soft", {}, ` (${harm(worst[0])})`) : null),
    worst.length > 1 ? h("ul.dots", {}, worst.slice(1, 4).map((item) => h("li", {}, h("span", {}, plain(item.entry.name, 80)), " ", h("span.soft", {}, breach(item))))) : null,
    worst.length > 4 ? h("p.small.soft", {}, `and ${worst.length - 4} more`) : null,
  );
}

/** @param {Data} data */
function impact(data) {
  const found = data.diagnosis.value;
  const share = data.record.value?.share ?? found?.severity?.share ?? null;
  if (!found) return bucket("Impact", "", share === null ? h("p.answer.faint", {}, "Not counted yet") : h("p.answer", {}, percent(share), h("span.soft", {}, " of all requests")));
  const facts = found.severity?.facts ?? [];
  // The last fact says that it goes on, as far as the diagnosis could see; the incident itself may know better.
  const told = found.severity?.lasts && data.record.value?.ended_ns ? facts.slice(0, -1) : facts;
  const hurt = found.impact;
  return bucket(
    "Impact",
    "",
    hurt.requests
      ? [h("p.answer", {}, percent(hurt.affected / hurt.requests), h("span.unit", {}, " of requests")), h("p", {}, harm(hurt), h("span.soft", {}, ` at ${joined(hurt.entries.map((name) => plain(name, 60)), 3)}`))]
      : h("p.answer.faint", {}, hurt.entries.length ? "Nobody can say how many" : "No harm was measured"),
    told.length ? h("ul.dots.soft", {}, told.slice(hurt.requests ? 1 : 0, 4).map((fact) => h("li", {}, plain(fact.text, 200)))) : null,
  );
}
