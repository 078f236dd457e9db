/** Explore: services, traces, logs and metrics of a stretch of time. */

import { h } from "../lib/dom.js";
import { bind } from "../lib/keys.js";
import { go, linked } from "../lib/router.js";

const ROOMS = [
  { name: "services", word: "Services", key: "s" },
  { name: "traces", word: "Traces", key: "r" },
  { name: "logs", word: "Logs", key: "l" },
  { name: "metrics", word: "Metrics", key: "m" },
];

/** A page of Explore below the places that one can go to. @param {string} here @param {...any} content */
export function explore(here, ...content) {
  for (const one of ROOMS) bind(`g ${one.key}`, `Go to ${one.name}`, () => go(linked(`/explore/${one.name}`)), "Explore");
  return h(
    "div.explore",
    {},
    h(
      "nav.rooms",
      { "aria-label": "Explore" },
      ROOMS.map(({ name, word }) => h("a", { href: () => linked(`/explore/${name}`), "aria-current": name === here ? "page" : null }, word)),
    ),
    content,
  );
}

/** A section with a head. @param {any} title @param {any} aside beside the title @param {...any} content */
export const card = (title, aside, ...content) =>
  h("section.card", {}, h("div.head", {}, h("h2", {}, title), aside), content);
