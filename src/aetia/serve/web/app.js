/** Start: who asks, the frame, the pages. */

import { get, loginNeeded, reachable, unreachable } from "./lib/api.js";
import { append, h } from "./lib/dom.js";
import { hear, listen } from "./lib/live.js";
import { go, route } from "./lib/router.js";
import { bones, empty, failed } from "./components/states.js";
import { countStore, session, shell } from "./shell.js";
import { login } from "./login.js";

const ROUTES = [
  { pattern: "/incidents", load: () => import("./incidents/list.js") },
  { pattern: "/incidents/:id", load: () => import("./incidents/page.js") },
  { pattern: "/explore", load: () => import("./explore/home.js") },
  { pattern: "/explore/services", load: () => import("./explore/services.js") },
  { pattern: "/explore/services/:name", load: () => import("./explore/service.js") },
  { pattern: "/explore/traces", load: () => import("./explore/traces.js") },
  { pattern: "/explore/traces/:id", load: () => import("./explore/trace/page.js") },
  { pattern: "/explore/logs", load: () => import("./explore/logs.js") },
  { pattern: "/explore/metrics", load: () => import("./explore/metrics.js") },
  { pattern: "/compare", load: () => import("./compare/index.js") },
];

function start() {
  if (location.pathname === "/") go(`/incidents${location.search}`, { replace: true });
  const view = h("div", { hidden: loginNeeded });
  // A page that was asked for before the login was known to be needed is fetched again by the reload.
  const main = h("main", { id: "main", tabindex: "-1" }, () => (loginNeeded.value ? login(() => location.reload()) : null), view);
  append(document.body, shell(main));
  // Not awaited: a page that needs a login gets 401 for its own questions, which asks for one.
  get("session").then(
    (found) => {
      session.value = found;
      if (found.login) loginNeeded.value = true;
    },
    () => {}, // unreachable: the page itself says what is wrong
  );
  listen();
  void countStore();
  route(view, ROUTES, { missing, failed: broken, waiting: () => bones(8) });
}

/** A page whose code did not come is asked for again when the server is back. @param {unknown} error */
function broken(error) {
  const node = failed(error instanceof TypeError && !reachable.peek() ? unreachable() : error, () => location.reload());
  hear("back", () => node.isConnected && location.reload());
  return node;
}

/** @param {string} at */
function missing(at) {
  return empty("There is no such page", [h("p", {}, h("code", {}, at)), h("a.button", { href: "/incidents" }, "Go to the incidents")]);
}

start();
