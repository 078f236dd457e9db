/** Fetches a waterfall away from the page's thread, and hands over columns of numbers that need no copy. */

const NUMBERS = ["parent", "depth", "size", "service", "name", "kind", "flags"];
const TIMES = ["start", "duration", "self_time", "critical"];

/** @param {any} found the answer of the API */
export function columns(found) {
  /** @type {Record<string, any>} */
  const made = {};
  for (const key of NUMBERS) made[key] = Int32Array.from(found[key]);
  for (const key of TIMES) made[key] = Float64Array.from(found[key]);
  const path = new Float64Array(found.path.length * 3);
  for (let at = 0; at < found.path.length; at += 1) path.set(found.path[at], at * 3);
  const { trace_id, start_ns, duration_ns, total, truncated, errors, services, names, kinds } = found;
  return { ...made, path, ids: found.ids.join("\n"), trace_id, start_ns, duration_ns, total, truncated, errors, services, names, kinds };
}

if (typeof WorkerGlobalScope !== "undefined" && self instanceof WorkerGlobalScope) {
  self.onmessage = async (/** @type {MessageEvent} */ event) => {
    const { id, url } = event.data;
    try {
      const response = await fetch(url, { credentials: "same-origin", headers: { accept: "application/json" } });
      const body = await response.json();
      if (!response.ok) return postMessage({ id, status: response.status, problem: body?.error ?? { kind: "internal", message: `The server answered ${response.status}.` } });
      const made = columns(body);
      const moved = Object.values(made).filter((value) => ArrayBuffer.isView(value)).map((value) => value.buffer);
      postMessage({ id, made }, { transfer: moved });
    } catch (error) {
      postMessage({ id, status: 0, problem: { kind: "unreachable", message: "The server does not answer.", retryable: true, try: "look whether `aetia serve` is still running" } });
    }
  };
}
