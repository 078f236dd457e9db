/** Start: who asks, the frame, the pages. */

import { get, loginNeeded } from "./lib/api.js";
import { append, effect, h, untracked } from "./lib/dom.js";
import { listen } from "./lib/live.js";
import { go, route } from "./lib/router.js";
import { bones, empty, failed } from "./components/states.js";
import { countStore, session, shell } from "./shell.js";
import { login } from "./login.js";

const ROUTES = [
  { pattern: "/incidents", load: () => import("./incidents/list.js") },
  { pattern: "/incidents/:id", load: () => import("./incidents/page.js") },
  { pattern: "/explore/*", load: () => import("./explore/index.js") },
  { pattern: "/compare/*", load: () => import("./compare/index.js") },
];

async function start() {
  if (location.pathname === "/") go(`/incidents${location.search}`, { replace: true });
  const main = h("main", { id: "main", tabindex: "-1" });
  append(document.body, shell(main));
  try {
    session.value = await get("session");
    loginNeeded.value = session.peek()?.login ?? false;
  } catch {
    // Unreachable or older: the page itself says what is wrong.
  }
  let routed = false;
  effect(() => {
    if (loginNeeded.value) {
      main.replaceChildren(untracked(() => login((found) => (session.value = found))));
      return;
    }
    untracked(() => {
      listen();
      void countStore();
      if (routed) location.reload();
      else route(main, ROUTES, { missing, failed: (error) => failed(error, () => location.reload()), waiting: () => bones(8) });
      routed = true;
    });
  });
}

/** @param {string} at */
function missing(at) {
  return empty("There is no such page", [h("p", {}, h("code", {}, at)), h("a.button", { href: "/incidents" }, "Go to the incidents")]);
}

void start();
