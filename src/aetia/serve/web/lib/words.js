/** Sentences about diagnoses; the same words as the reports (`aetia.report.wording`). */

import { duration, number, percent, plain, quantity } from "./format.js";

/** @typedef {import("./types.js").Diagnosis} Diagnosis */
/** @typedef {import("./types.js").Evidence} Evidence */
/** @typedef {import("./types.js").Hypothesis} Hypothesis */
/** @typedef {import("./types.js").Entity} Entity */

/** Probability below which an answer is called a suspect and not a cause. */
export const LIKELY = 0.3;

/** @type {Record<string, string>} */
export const CLASSES = {
  A: "death",
  B: "resource pressure",
  C: "logical error",
  D: "latency",
  E: "silence",
  F: "runtime internals",
};
/** @type {Record<string, string>} */
const LEVELS = { external: "external dependency", edge: "link" };
/** @type {Record<string, string>} */
const SLI_UNITS = { latency: "ms", success: "share", throughput: "req/s" };
/** @type {Record<string, string>} */
const DIRECTIONS = { up: "rose by", down: "fell by", new: "appeared:", gone: "vanished:", changed: "changed by" };

/** @param {string | null | undefined} level */
export const levelWord = (level) => LEVELS[level ?? ""] ?? level ?? "";

/** Where it sits: `instance of cart, on node-3`. @param {Entity} entity */
export function place(entity) {
  let words = levelWord(entity.level);
  if (entity.service && ["instance", "operation"].includes(entity.level) && entity.service !== entity.name) words += ` of ${entity.service}`;
  else if (entity.level === "edge" && entity.service) words += `, blamed on ${entity.service}`;
  if (entity.instance && ["service", "operation"].includes(entity.level)) words += `, with ${entity.instance} its only instance`;
  if (entity.node && entity.level !== "node") words += `, on ${entity.node}`;
  return plain(words, 160);
}

/** `exception (logical error)`. @param {{fault?: string | null, fault_class?: string | null}} item */
export function fault({ fault: name, fault_class: code }) {
  const kind = code ? (CLASSES[code] ?? `class ${code}`) : "";
  const named = name ? plain(name.replaceAll("_", " "), 60) : "";
  if (named && kind && named !== kind) return `${named} (${kind})`;
  return named || kind;
}

/** One sentence of a piece of evidence. @param {Evidence} evidence */
export function claim(evidence) {
  const said = evidence.claim;
  if (said.text) return plain(said.text, 400);
  return `${plain(evidence.about.name, 80)}: ${plain(said.what, 80)} ${DIRECTIONS[said.direction] ?? ""} ${quantity(said.magnitude, said.unit)}`;
}

/** `12 ms → 340 ms`, or nothing. @param {Evidence} evidence */
export function comparison(evidence) {
  const { baseline, incident, unit, series } = evidence.result;
  if (typeof baseline !== "number" || typeof incident !== "number") return "";
  const of = typeof unit === "string" ? unit : (series?.unit ?? "");
  return `${quantity(baseline, of)} → ${quantity(incident, of)}`;
}

/** `success fell from 99.8 % to 61 %`. @param {any} breach */
export function breach(breach) {
  const unit = breach.unit ?? SLI_UNITS[breach.sli] ?? "";
  const rose = breach.incident > breach.baseline;
  const sli = breach.sli === "success" && rose ? "failures" : breach.sli;
  const statistic = ["", breach.sli, "share", "rate"].includes(breach.statistic ?? "") ? "" : ` (${breach.statistic})`;
  return `${sli}${statistic} ${rose ? "rose" : "fell"} from ${quantity(breach.baseline, unit)} to ${quantity(breach.incident, unit)}`;
}

/** The joint answer. @param {Diagnosis} diagnosis @returns {Hypothesis[]} */
export function roots(diagnosis) {
  const chosen = diagnosis.roots.map((index) => diagnosis.hypotheses[index]).filter(Boolean);
  return chosen.length ? chosen : diagnosis.hypotheses.slice(0, 1);
}

/** The answer in one sentence. @param {Diagnosis} diagnosis */
export function headline(diagnosis) {
  if (diagnosis.abstained !== null || diagnosis.hypotheses.length === 0) return "No root cause is named";
  const causes = roots(diagnosis);
  const named = causes.map((item) => plain(item.entity.name, 80)).join(" and ");
  const faults = [...new Set(causes.map(fault).filter(Boolean))].join(", ");
  const sure = Math.max(...causes.map((item) => item.probability ?? 1));
  return sure < LIKELY ? `No cause stands out. First suspect: ${named}` : `${named}${faults ? `: ${faults}` : ""}`;
}

/** Who was hurt: `768 of 1 105 requests`. @param {{requests: number, affected: number}} impact */
export function harm(impact) {
  if (!impact.requests) return "";
  return `${number(impact.affected)} of ${number(impact.requests)} requests`;
}

/** Names in a sentence. @param {string[]} items @param {number} [limit] */
export function joined(items, limit = 4) {
  const shown = items.slice(0, limit).join(", ");
  return items.length > limit ? `${shown} and ${items.length - limit} more` : shown;
}

/** When, against the harm: `20 s before users were hurt`. @param {number | null | undefined} onset
 * @param {number | null | undefined} hurt */
export function lead(onset, hurt) {
  if (!onset || !hurt) return "";
  const early = hurt - onset;
  if (Math.abs(early) < 1e9) return "as users were hurt";
  return early > 0 ? `${duration(early)} before users were hurt` : `at the latest, ${duration(-early)} after users were hurt`;
}

/** The evidence that can be drawn, strongest first, of the joint answer. @param {Diagnosis} diagnosis
 * @param {number} [limit] @returns {Evidence[]} */
export function decisive(diagnosis, limit = 6) {
  const ids = new Set(roots(diagnosis).flatMap((item) => item.evidence));
  return diagnosis.evidence
    .filter((item) => ids.has(item.id) && chartOf(item) !== null)
    .sort((a, b) => b.strength - a.strength || a.id.localeCompare(b.id))
    .slice(0, limit);
}

/** The signal in the evidence's result, as far as it can be drawn. @param {Evidence} evidence
 * @returns {{start_ns: number, step_ns: number, unit: string, values: Array<number | null>} | null} */
export function chartOf(evidence) {
  const series = evidence.result?.series;
  if (!series || !Array.isArray(series.values) || !(series.step_ns > 0)) return null;
  const values = series.values.map((/** @type {unknown} */ value) => (typeof value === "number" && Math.abs(value) < 1e200 ? value : null));
  if (values.filter((/** @type {number | null} */ value) => value !== null).length < 2) return null;
  return { start_ns: series.start_ns, step_ns: series.step_ns, unit: String(series.unit ?? ""), values };
}
