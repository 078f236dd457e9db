/** Evidence that is run again: what came out, by evidence id. */

import { post } from "../lib/api.js";
import { signal } from "../lib/dom.js";
import { attempt, toast } from "../components/overlay.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {{id: string, holds: boolean, why: string, old: any, new: any}} Check */
/** @typedef {{kind: "running"} | {kind: "done", check: Check}} Standing */

/** @type {WeakMap<Data, import("../lib/dom.js").Signal<Map<string, Standing>>>} */
const held = new WeakMap();

/** @param {Data} data */
export function checks(data) {
  let found = held.get(data);
  if (!found) held.set(data, (found = signal(new Map())));
  return found;
}

/** @param {Data} data @param {string[]} ids @param {Standing | null} standing */
function note(data, ids, standing) {
  const all = checks(data);
  const next = new Map(all.peek());
  for (const id of ids) standing ? next.set(id, standing) : next.delete(id);
  all.value = next;
}

/** @param {Data} data @param {string | null} id one piece of evidence, or all of it */
async function run(data, id) {
  const ids = id ? [id] : (data.diagnosis.peek()?.evidence.map((item) => item.id) ?? []);
  note(data, ids, { kind: "running" });
  const answer = await attempt(() => post(`incidents/${encodeURIComponent(data.id)}/recheck`, id ? { evidence_id: id } : {}));
  note(data, ids, null);
  /** @type {Check[]} */
  const found = answer?.evidence ?? [];
  for (const check of found) note(data, [check.id], { kind: "done", check });
  return found;
}

/** @param {Data} data @param {string} id */
export const recheck = (data, id) => run(data, id);

/** @param {Data} data */
export async function recheckAll(data) {
  const found = await run(data, null);
  if (found.length === 0) return;
  const fell = found.filter((check) => !check.holds).length;
  toast(fell ? `${fell} of ${found.length} pieces of evidence no longer hold` : `All ${found.length} pieces of evidence hold`, { bad: fell > 0 });
}
