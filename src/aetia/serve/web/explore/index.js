/** Explore: services, traces, logs and metrics of a stretch of time. */

import { h } from "../lib/dom.js";
import { bind } from "../lib/keys.js";
import { go, linked } from "../lib/router.js";
import { empty } from "../components/states.js";

const ROOMS = [
  { name: "services", word: "Services", key: "s", load: () => import("./services.js"), one: () => import("./service.js") },
  { name: "traces", word: "Traces", key: "t", load: () => import("./traces.js"), one: () => import("./trace/page.js") },
  { name: "logs", word: "Logs", key: "l", load: () => import("./logs.js"), one: null },
  { name: "metrics", word: "Metrics", key: "m", load: () => import("./metrics.js"), one: null },
];

/** @param {import("../lib/router.js").Place} place */
export async function page(place) {
  const [name = "services", inner, ...rest] = place.path.replace(/\/+$/, "").split("/").slice(2);
  const room = ROOMS.find((one) => one.name === name);
  for (const one of ROOMS) bind(`g ${one.key}`, `Go to ${one.name}`, () => go(linked(`/explore/${one.name}`)), "Explore");
  const load = inner === undefined ? room?.load : room?.one;
  if (!room || !load || rest.length) return h("div", {}, rooms(""), empty("There is no such page", [h("a.button", { href: "/explore/services" }, "Go to the services")]));
  const content = h("div.roombox");
  // The page is made in the scope of this one, before its module is awaited elsewhere: what it begins ends with it.
  const made = load().then((module) => module);
  const { view } = await within(made);
  content.append(view({ ...place, params: { name: decoded(inner ?? "") } }));
  return h("div.explore", {}, rooms(room.name), content);
}

/** @template T @param {Promise<T>} promise */
const within = (promise) => promise;

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} here */
function rooms(here) {
  return h(
    "nav.rooms",
    { "aria-label": "Explore" },
    ROOMS.map(({ name, word }) => h("a", { href: () => linked(`/explore/${name}`), "aria-current": name === here ? "page" : null }, word)),
  );
}
