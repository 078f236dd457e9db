/** When the fault reached whom, read off the diagnosis: the course that the map plays. */

import { percent, plain } from "../lib/format.js";
import { breach, LIKELY, roots } from "../lib/words.js";

/** @typedef {import("../lib/types.js").Diagnosis} Diagnosis */
/** @typedef {{at: number, kind: "root" | "hop" | "hurt", node: string, from: string | null, text: string,
 *   evidence: string | null, within: number}} Step `within` ns: how exactly the time is known, 0 for as exact as a span */

/** The service that stands for an entity on the map. @param {import("../lib/types.js").Entity} entity */
export const onMap = (entity) => entity.service ?? entity.name;

/** The steps of the fault in order of time: it began, it went on, users were hurt. @param {Diagnosis} diagnosis
 * @returns {Step[]} */
export function course(diagnosis) {
  const incident = diagnosis.incident;
  if (!incident || diagnosis.abstained !== null) return [];
  const evidence = new Map(diagnosis.evidence.map((item) => [item.id, item]));
  /** @type {Map<string, number>} */
  const reached = new Map();
  /** @type {Step[]} */
  const steps = [];
  for (const item of roots(diagnosis)) {
    const at = Math.min(item.onset_ns ?? incident.onset_ns, incident.onset_ns);
    reached.set(onMap(item.entity), at);
    steps.push({ at, kind: "root", node: onMap(item.entity), from: null, text: (item.probability ?? 1) < LIKELY ? "the first suspect" : "it began here", evidence: item.evidence[0] ?? null, within: 0 });
  }
  for (const hop of inOrder(diagnosis.propagation, new Set(reached.keys()))) {
    const rows = evidence.get(hop.evidence ?? "")?.result?.rows;
    const row = Array.isArray(rows) ? rows.find((one) => one.source === hop.source && one.target === hop.target) : null;
    const seen = hop.onset_ns ?? (typeof row?.target_began_s === "number" ? incident.window[0] + row.target_began_s * 1e9 : null);
    const source = reached.get(hop.source) ?? incident.onset_ns;
    const at = Math.max(seen ?? source, source);
    reached.set(hop.target, Math.min(at, reached.get(hop.target) ?? Infinity));
    const said = evidence.get(hop.evidence ?? "");
    const share = typeof row?.accounts === "number" ? `${percent(row.accounts)} of its trouble comes from ${plain(hop.source, 60)}` : said ? plain(said.claim.text, 240) : `it depends on ${plain(hop.source, 60)}`;
    steps.push({ at, kind: "hop", node: hop.target, from: hop.source, text: share, evidence: hop.evidence, within: hop.onset_ns ? 0 : (row?.step_s ?? 0) * 1e9 });
  }
  settle(steps, incident.breaches);
  for (const found of incident.breaches) {
    const node = onMap(found.entry);
    const held = steps.find((step) => step.kind === "hurt" && step.node === node);
    const text = `users hurt: ${breach(found)}`;
    if (held) held.at = Math.min(held.at, found.onset_ns);
    else steps.push({ at: found.onset_ns, kind: "hurt", node, from: null, text, evidence: found.evidence, within: 0 });
  }
  const rank = { root: 0, hop: 1, hurt: 2 };
  return steps.map((step, index) => ({ step, index })).sort((a, b) => a.step.at - b.step.at || rank[a.step.kind] - rank[b.step.kind] || a.index - b.index).map(({ step }) => step);
}

/** Bins of time may put a hop after what follows from it: it came no later than the harm at its end, or the hops from there.
 * @param {Step[]} steps in the order of the path @param {import("../lib/types.js").Breach[]} breaches */
function settle(steps, breaches) {
  /** @type {Map<string, number>} */
  const latest = new Map();
  for (const { entry, onset_ns } of breaches) latest.set(onMap(entry), Math.min(onset_ns, latest.get(onMap(entry)) ?? Infinity));
  for (const step of steps.toReversed()) {
    step.at = Math.min(step.at, latest.get(step.node) ?? Infinity);
    if (step.from !== null) latest.set(step.from, Math.min(step.at, latest.get(step.from) ?? Infinity));
  }
}

/** Hops as the fault went, from the roots on. @param {import("../lib/types.js").Hop[]} hops @param {Set<string>} from */
function inOrder(hops, from) {
  const left = [...hops];
  const reached = new Set(from);
  const found = [];
  while (left.length) {
    const next = left.findIndex((hop) => reached.has(hop.source));
    const [hop] = left.splice(Math.max(next, 0), 1);
    reached.add(hop.target);
    found.push(hop);
  }
  return found;
}

/** Moments at which the steps are shown: steps that one bin of time cannot tell apart follow one another within it, in the
 * order of the path. @param {Step[]} steps @param {number} span ns that the whole scale covers @returns {number[]} */
export function moments(steps, span) {
  const apart = span / 60;
  let last = -Infinity;
  return steps.map((step) => {
    last = step.kind === "hurt" ? Math.max(step.at, last) : Math.max(step.at, last + apart);
    return last;
  });
}
