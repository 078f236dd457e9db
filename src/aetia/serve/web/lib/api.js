/** The API of this server: answers, errors that say how to mend the call, and live events. */

import { signal } from "./dom.js";
import { exact } from "./exact.js";

export const BASE = "/api/v1";

/** @typedef {{kind: string, message: string, retryable?: boolean, asked?: Record<string, unknown>, searched?: string,
 * try?: string, retry_after_s?: number}} Problem */
/** @typedef {Record<string, string | number | boolean | null | undefined | Array<string>>} Params */

/** A request that was not answered with success; `problem` is the server's own account of it. */
export class ApiError extends Error {
  /** @param {number} status @param {Problem} problem */
  constructor(status, problem) {
    super(problem.message);
    this.name = "ApiError";
    this.status = status;
    this.problem = problem;
  }
}

/** Nobody answered. */
export const unreachable = () => new ApiError(0, { kind: "unreachable", message: "Nobody answers at this address.", retryable: true, try: "look whether `aetia serve` is still running; this page goes on by itself once it is" });

/** True while the server asks for a token. */
export const loginNeeded = signal(false);
/** What became of the last request: false while the server cannot be reached. */
export const reachable = signal(true);

/** The address of a question. @param {string} path @param {Params} [params] */
export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (Array.isArray(value)) for (const one of value) query.append(name, one);
    else if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return `${path.startsWith("/") ? "" : `${BASE}/`}${path}${text ? `?${text}` : ""}`;
}

/** @param {string} url @param {RequestInit} init @returns {Promise<Response>} */
async function send(url, init) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    reachable.value = false;
    throw unreachable();
  }
  reachable.value = true;
  if (response.ok) return response;
  const failed = new ApiError(response.status, await problemOf(response));
  if (response.status === 401) loginNeeded.value = true;
  throw failed;
}

/** @param {Response} response @returns {Promise<Problem>} */
async function problemOf(response) {
  try {
    const body = await response.json();
    if (body?.error?.message) return body.error;
  } catch {
    // No JSON: a proxy in between, or a server that is going down.
  }
  return { kind: "internal", message: `The server answered ${response.status} ${response.statusText}.`.trim() };
}

/** The JSON answer of a question; `stamp` gives its times to the nanosecond. @param {string} path below /api/v1 @param {Params} [params]
 * @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, params, signal) {
  const response = await send(address(path, params), { signal, headers: { accept: "application/json" } });
  return exact(await response.text());
}

/** The same as text, for JSON lines and Markdown. @param {string} path @param {Params} [params]
 * @param {AbortSignal} [signal] */
export async function text(path, params, signal) {
  return (await send(address(path, params), { signal })).text();
}

/** Ask the server to do something. @param {string} path @param {unknown} [body] @param {AbortSignal} [signal]
 * @param {string} [method] @returns {Promise<any>} */
export async function post(path, body = {}, signal, method = "POST") {
  const response = await send(address(path), {
    method,
    signal,
    body: method === "DELETE" ? undefined : JSON.stringify(body),
    headers: { accept: "application/json", "content-type": "application/json" },
  });
  const content = await response.text();
  return content ? JSON.parse(content) : null;
}

/** @typedef {{id: string, event: string, data: any}} LiveEvent */

/** Follow a stream of server-sent events until `signal` aborts. It comes back by itself after an interruption, says which
 * event it saw last, and pauses while the page is hidden: a browser has six connections to a server for all its tabs.
 * @param {string} path @param {{params?: Params, on: (event: LiveEvent) => void, state?: (live: boolean) => void,
 * signal: AbortSignal, lastId?: string}} options */
export async function follow(path, { params, on, state = () => {}, signal: ended, lastId = "" }) {
  let wait = 500;
  let seen = lastId;
  while (!ended.aborted) {
    await shown(ended);
    if (ended.aborted) return;
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    ended.addEventListener("abort", stop);
    const unhide = afterHidden(20_000, stop);
    try {
      const headers = { accept: "text/event-stream", ...(seen ? { "last-event-id": seen } : {}) };
      const response = await send(address(path, params), { signal: attempt.signal, headers });
      if (!response.body) return;
      state(true);
      for await (const event of events(response.body)) {
        wait = 500;
        if (event.id) seen = event.id;
        on(event);
      }
    } catch (error) {
      if (ended.aborted) return;
      if (error instanceof ApiError) {
        if (error.status === 401 || error.status === 403 || error.status === 404) return state(false);
        wait = Math.max(wait, (error.problem.retry_after_s ?? 0) * 1000);
      }
    } finally {
      ended.removeEventListener("abort", stop);
      unhide();
    }
    state(false);
    await pause(wait * (0.75 + Math.random() / 2), ended);
    wait = Math.min(wait * 2, 15_000);
  }
}

/** The events of a stream. @param {ReadableStream<Uint8Array>} body @returns {AsyncGenerator<LiveEvent>} */
async function* events(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).replace(/\r\n?/g, "\n").split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parsed(block);
        if (event !== null) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** @param {string} block @returns {LiveEvent | null} */
function parsed(block) {
  const event = { id: "", event: "message", data: "" };
  /** @type {string[]} */
  const data = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "data") data.push(value);
    else if (name === "id") event.id = value;
    else if (name === "event") event.event = value;
  }
  if (data.length === 0) return null;
  try {
    return { ...event, data: JSON.parse(data.join("\n")) };
  } catch {
    return null;
  }
}

/** @param {AbortSignal} ended @returns {Promise<void>} */
function shown(ended) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !ended.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    ended.addEventListener("abort", look, { once: true });
  });
}

/** @param {number} ms @param {() => void} stop @returns {() => void} */
function afterHidden(ms, stop) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(stop, ms);
  };
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

/** @param {number} ms @param {AbortSignal} ended @returns {Promise<void>} */
function pause(ms, ended) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      ended.removeEventListener("abort", done);
      resolve();
    }
    ended.addEventListener("abort", done);
  });
}
