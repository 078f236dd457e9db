/** What the server tells all pages while it happens: one stream per tab, shared. */

import { follow } from "./api.js";
import { onEnd, signal } from "./dom.js";

/** @type {Map<string, Set<(data: any) => void>>} */
const listeners = new Map();
/** Whether the stream is open. */
export const live = signal(false);

/** Hear events of a name until the surrounding scope ends. @param {string} name @param {(data: any) => void} run */
export function hear(name, run) {
  const held = listeners.get(name) ?? new Set();
  listeners.set(name, held.add(run));
  onEnd(() => held.delete(run));
}

/** Open the stream. */
export function listen() {
  void follow("stream", {
    signal: new AbortController().signal, // as long as the page lives
    state: (now) => {
      const back = now && !live.peek() && seen;
      seen ||= now;
      live.value = now;
      if (back) tell("back", null);
    },
    on: ({ event, data }) => tell(event, data),
  });
}

let seen = false;

/** @param {string} name @param {any} data */
function tell(name, data) {
  for (const run of listeners.get(name) ?? []) run(data);
}
