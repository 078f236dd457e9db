/** An incident as the list knows it (`aetia.serve.incidents`), and what is read off it. */

import { breach } from "../lib/words.js";

/** @typedef {{fingerprint: string, name: string, service: string | null, status: string, starts_ns: number,
 *   ends_ns: number | null, labels: {[key: string]: string}}} Alert */
/** @typedef {{at_ns: number, text: string, by: string}} Note */
/** @typedef {{revision: number, at_ns: number, root?: string | null, roots?: string[], fault?: string | null,
 *   fault_class: string | null, probability: number | null, abstained: string | null, failed?: string}} Told */
/** @typedef {object} Record
 * @property {string} id
 * @property {string} state open, closed or merged
 * @property {string} severity the worst it has reached
 * @property {string} title
 * @property {number} onset_ns
 * @property {number} [updated_ns]
 * @property {number | null} ended_ns the harm is over since, though it may still be open
 * @property {number | null} [closed_ns]
 * @property {[number, number]} window
 * @property {[number, number]} baseline
 * @property {number | null} [share] of all requests that is hurt now
 * @property {import("../lib/types.js").Breach[]} breaches
 * @property {Alert[]} [alerts]
 * @property {Note[]} [notes]
 * @property {Told | null} [diagnosis]
 * @property {string | null} [merged_into]
 * @property {number} [reopened]
 * @property {boolean} [within_objective]
 * @property {string[]} [sources]
 */

/** @param {Record} record */
export const isOpen = (record) => record.state === "open";

const WEIGHT = { critical: 3, major: 2, minor: 1 };

/** Open ones first, then worst, then newest. @param {Record[]} records */
export function ranked(records) {
  const weight = (/** @type {Record} */ record) => (isOpen(record) ? (WEIGHT[/** @type {keyof typeof WEIGHT} */ (record.severity)] ?? 0) : 0);
  return [...records].sort(
    (a, b) => Number(isOpen(b)) - Number(isOpen(a)) || weight(b) - weight(a) || b.onset_ns - a.onset_ns || a.id.localeCompare(b.id),
  );
}

/** What broke, in words. @param {Record} record @returns {string[]} */
export const broken = (record) => (record.breaches ?? []).map((item) => `${item.entry?.name ?? ""}: ${breach(item)}`);

/** What the latest diagnosis names. @param {Record} record @returns {string[]} */
export function named(record) {
  const told = record.diagnosis;
  if (!told || told.abstained !== null) return [];
  return told.roots ?? (told.root ? [told.root] : []);
}

/** @param {Record} record @param {string} words */
export function search(record, words) {
  if (!words.trim()) return true;
  const held = [record.id, record.title, record.severity, ...named(record), record.diagnosis?.fault, ...broken(record), ...(record.alerts ?? []).map((alert) => alert.name)];
  const text = held.join(" ").toLowerCase();
  return words.toLowerCase().trim().split(/\s+/).every((word) => text.includes(word));
}
