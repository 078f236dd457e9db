/** Fetches a waterfall away from the page's thread, and hands over columns of numbers that need no copy. */

import { columns } from "./columns.js";

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
