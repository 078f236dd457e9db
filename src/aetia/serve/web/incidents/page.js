/** One incident: what broke, why, how it spread, the evidence, and the investigation as it happens. */

import { effect, h, onEnd, signal } from "../lib/dom.js";
import { bones, empty, failed } from "../components/states.js";
import { incidentData } from "./data.js";
import { head } from "./head.js";
import { spread } from "./spread.js";
import { signals } from "./signals.js";
import { investigation } from "./investigation.js";
import { evidence } from "./evidence.js";
import { ruled } from "./ruled.js";
import { templates } from "./templates.js";
import { traces } from "./traces.js";
import { history } from "./history.js";
import { plain } from "../lib/format.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {{id: string, title: string, there: (data: Data) => boolean, body: (data: Data) => any, wide?: boolean}} Section */

/** @type {Section[]} */
const SECTIONS = [
  { id: "spread", title: "How it spread", there: (data) => Boolean(data.exhibits.value.graph || data.diagnosis.value?.propagation.length), body: spread },
  { id: "signals", title: "Decisive signals", there: (data) => Boolean(data.diagnosis.value?.incident), body: signals },
  { id: "investigation", title: "Investigation", there: () => true, body: investigation },
  { id: "evidence", title: "Evidence", there: (data) => Boolean(data.diagnosis.value?.evidence.length), body: evidence },
  { id: "ruled", title: "Ruled out", there: (data) => Boolean(data.diagnosis.value), body: ruled },
  { id: "logs", title: "Log lines", there: (data) => Boolean(data.exhibits.value.templates?.length), body: templates },
  { id: "traces", title: "Bad and good trace", there: (data) => Boolean(data.exhibits.value.traces?.length), body: traces },
  { id: "history", title: "History", there: () => true, body: history },
];

/** @param {import("../lib/router.js").Place} place */
export function page(place) {
  const data = incidentData(place.params.id, place.signal);
  effect(() => {
    const title = data.record.value?.title;
    if (title) document.title = `${plain(title, 80)} · Aetia`;
  });
  effect(() => {
    // After the next frame: the words stand, the charts are drawn; the map says of itself when it is there.
    if (data.fetched.value) requestAnimationFrame(() => setTimeout(() => performance.mark("aetia-incident-ready")));
  });
  return h("div.incident", {}, () => {
    if (data.error.value && !data.fetched.value) return h("div.card", {}, failed(data.error.value, data.reload));
    if (!data.fetched.value) return [h("div.card", {}, bones(5)), h("div.card", {}, bones(8))];
    return [
      head(data),
      nav(data),
      h("div.sections", {}, SECTIONS.map((section) => block(section, data))),
    ];
  });
}

/** Links to the parts; the one in view is marked. @param {Data} data */
function nav(data) {
  const here = signal("");
  const watch = new IntersectionObserver(
    (entries) => {
      const top = entries.filter((entry) => entry.isIntersecting).at(-1);
      if (top) here.value = top.target.id;
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  effect(() => {
    void [data.diagnosis.value, data.exhibits.value];
    watch.disconnect();
    requestAnimationFrame(() => document.querySelectorAll(".sections > section").forEach((section) => watch.observe(section)));
  });
  onEnd(() => watch.disconnect());
  return h(
    "nav.jump",
    { "aria-label": "Parts of this page" },
    () => SECTIONS.filter((section) => section.there(data)).map(({ id, title }) => h("a", { href: `#${id}`, "aria-current": () => (here.value === id ? "true" : null) }, title)),
  );
}

/** A part of the page, which comes and goes with its content. @param {Section} section @param {Data} data */
function block(section, data) {
  return () =>
    section.there(data)
      ? h("section.card", { id: section.id, "aria-labelledby": `${section.id}-title` }, section.body(data))
      : null;
}

/** The head of a part. @param {string} id @param {string} title @param {...any} more beside it */
export function titled(id, title, ...more) {
  return h("div.head", {}, h("h2", { id: `${id}-title` }, title), ...more);
}

/** @param {string} text */
export const nothing = (text) => empty(text, [], { slim: true });
