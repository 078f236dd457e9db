/** `/explore` alone: the services. */

import { h } from "../lib/dom.js";
import { go, linked } from "../lib/router.js";

export function page() {
  queueMicrotask(() => go(linked("/explore/services"), { replace: true }));
  return h("div");
}
