/** The columns of a waterfall as arrays of numbers. */

const NUMBERS = ["parent", "depth", "size", "service", "name", "kind", "flags"];
const TIMES = ["start", "duration", "self_time", "critical"];

/** @param {any} found the answer of the API @returns {import("./model.js").Columns} */
export function columns(found) {
  /** @type {Record<string, any>} */
  const made = {};
  for (const key of NUMBERS) made[key] = Int32Array.from(found[key]);
  for (const key of TIMES) made[key] = Float64Array.from(found[key]);
  const path = new Float64Array(found.path.length * 3);
  for (let at = 0; at < found.path.length; at += 1) path.set(found.path[at], at * 3);
  const { trace_id, start_ns, duration_ns, total, truncated, errors, services, names, kinds } = found;
  return /** @type {any} */ ({ ...made, path, ids: found.ids.join("\n"), trace_id, start_ns, duration_ns, total, truncated, errors, services, names, kinds });
}
