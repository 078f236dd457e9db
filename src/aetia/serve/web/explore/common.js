/** What the pages of Explore and Compare share: answers that follow the time range, and places in the URL. */

import { get } from "../lib/api.js";
import { batch, computed, effect, h, onEnd, signal, untracked } from "../lib/dom.js";
import { hear } from "../lib/live.js";
import { asked, bounds, setRange, absolute } from "../lib/range.js";
import { linked, query, setQuery } from "../lib/router.js";
import { bones, failed } from "../components/states.js";

/** @typedef {import("../lib/dom.js").Signal<any>} AnySignal */
/** @typedef {{value: AnySignal, kind: AnySignal, error: AnySignal, busy: AnySignal, reload: () => void}} Answer */

/** How often a page whose range ends now asks again. */
const AGAIN_MS = 20_000;

/** One key of the query, followed without what else stands there. @param {string} name @param {string} [otherwise] */
export const param = (name, otherwise = "") => computed(() => query.value.get(name) || otherwise);

/** The range as parameters of a question; a signal that changes with the range alone. */
export function range() {
  const text = computed(() => JSON.stringify(asked()));
  return () => JSON.parse(text.value);
}

/** Ask now, and again whenever a signal that `ask` reads before its first wait changes, and every now and then while the
 * range ends now. The answer before stays until the next one is there.
 * @param {import("../lib/router.js").Place} place @param {(signal: AbortSignal) => Promise<any> | null} ask null: nothing to ask
 * @param {{live?: boolean, paused?: () => boolean}} [how] `paused`: do not ask again by itself now @returns {Answer} */
export function answer(place, ask, { live = true, paused = () => false } = {}) {
  const [value, error, busy] = [signal(/** @type {any} */ (null)), signal(/** @type {any} */ (null)), signal(false)];
  const kind = signal("waiting"); // an old value stays, so that what reads it need not expect its end
  const turn = signal(0);
  /** @type {AbortController | null} */
  let running = null;
  let quiet = false;
  effect(() => {
    void turn.value;
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const promise = ask(AbortSignal.any([place.signal, mine.signal]));
    const silent = quiet;
    quiet = false;
    if (promise === null) {
      untracked(() => batch(() => { kind.value = "waiting"; busy.value = false; }));
      return;
    }
    untracked(() => (busy.value = !silent));
    promise.then(
      (found) => running === mine && batch(() => { value.value = found; kind.value = "there"; busy.value = false; }),
      (problem) => running === mine && !mine.signal.aborted && !place.signal.aborted && batch(() => {
        if (!silent || kind.peek() !== "there") { error.value = problem; kind.value = "failed"; }
        busy.value = false;
      }),
    );
  });
  const again = () => {
    if (document.hidden || asked().end !== "now" || busy.peek() || paused()) return;
    quiet = true;
    turn.value = turn.peek() + 1;
  };
  if (live) {
    const timer = setInterval(() => untracked(again), AGAIN_MS);
    onEnd(() => clearInterval(timer));
  }
  hear("back", () => untracked(() => (kind.peek() === "failed" ? (turn.value = turn.peek() + 1) : live && again())));
  onEnd(() => running?.abort());
  return { value, kind, error, busy, reload: () => (turn.value = turn.peek() + 1) };
}

/** Bones, the reason of a failure, or the content: made once, so it reads the answer in functions of its own.
 * @param {Answer} from @param {() => any} content @param {number} [lines] */
export function shown(from, content, lines = 6) {
  return h("div.answer-of", { class: () => (from.busy.value && from.kind.value === "there" ? "stale" : ""), "aria-busy": () => (from.busy.value ? "true" : null) }, () => {
    const now = from.kind.value;
    return untracked(() => (now === "there" ? content() : now === "failed" ? failed(from.error.value, from.reload) : bones(lines)));
  });
}

/** @param {string} path @param {import("../lib/api.js").Params} params @param {AbortSignal} signal */
export const ask = (path, params, signal) => get(path, params, signal);

/** A stretch of time that was drawn in a chart becomes the range of the page. @param {number} start ms @param {number} end */
export function zoomTo(start, end) {
  if (end - start < 1000) return;
  const found = absolute(start, end);
  setRange(found.start, found.end);
}

/** Changes and incidents of the range, for the marks in charts; without them the charts are as good.
 * @param {import("../lib/router.js").Place} place @param {() => {start: string, end: string}} window @param {() => string} service */
export function happenings(place, window, service) {
  const changes = answer(place, (signal) => ask("changes", { ...window(), service: service(), limit: 200 }, signal).catch(nothing), { live: false });
  const incidents = answer(place, (signal) => ask("incidents", { limit: 50 }, signal).catch(nothing), { live: false });
  hear("incident", () => incidents.reload());
  hear("change", () => changes.reload());
  return {
    changes: () => changes.value.value?.changes ?? [],
    incidents: () => incidents.value.value?.incidents ?? [],
    /** Incidents that a service causes or that hurt it, the newest first. @param {string} name @returns {Array<{incident: any,
     * part: "cause" | "hurt"}>} */
    of: (name) => (incidents.value.value?.incidents ?? []).filter((/** @type {any} */ one) => one.state !== "merged").flatMap((/** @type {any} */ incident) => {
      const part = partOf(incident, name);
      return part ? [{ incident, part }] : [];
    }),
    /** The incident of the range that the service is part of, the newest. @param {string} name @returns {any} */
    during(name) {
      const { start, end } = bounds();
      return this.of(name).map(({ incident }) => incident).find((incident) => stretch(incident)[0] < end * 1e6 && stretch(incident)[1] > start * 1e6) ?? null;
    },
  };
}

/** What a service has to do with an incident. That a hurt entry point calls it is not enough.
 * @param {any} incident @param {string} name @returns {"cause" | "hurt" | null} */
export function partOf(incident, name) {
  if (incident.diagnosis?.causes?.includes(name)) return "cause";
  const hurt = [...(incident.diagnosis?.hurt ?? []), ...incident.breaches.map((/** @type {any} */ one) => one.entry.service ?? one.entry.name), ...incident.alerts.map((/** @type {any} */ one) => one.service)];
  return hurt.includes(name) ? "hurt" : null;
}

const nothing = () => ({});

/** The stretch of an incident that a chart shades. @param {any} incident @returns {[number, number]} */
export const stretch = (incident) => [incident.onset_ns, incident.ended_ns ?? (incident.state === "open" ? Date.now() * 1e6 : incident.updated_ns)];

/** Filters of the API, as they stand in the URL. */
export const filters = () => query.value.getAll("filter");

/** @param {string[]} wanted @param {Record<string, string | null>} [more] */
export function setFilters(wanted, more = {}) {
  const next = new URLSearchParams(location.search);
  next.delete("filter");
  for (const one of wanted) next.append("filter", one);
  for (const [key, value] of Object.entries(more)) value ? next.set(key, value) : next.delete(key);
  history.pushState(null, "", `${location.pathname}${next.toString() ? `?${next}` : ""}`);
  setQuery({}); // tells those that follow the query
}

/** The address of a page with filters and the range. @param {string} path @param {string[]} wanted
 * @param {Record<string, string>} [more] */
export function filtered(path, wanted, more = {}) {
  const base = linked(path, more);
  const text = wanted.map((one) => `filter=${encodeURIComponent(one)}`).join("&");
  return text ? `${base}${base.includes("?") ? "&" : "?"}${text}` : base;
}

/** @param {string} service */
export const serviceLink = (service) => linked(`/explore/services/${encodeURIComponent(service)}`);
/** @param {string} id @param {Record<string, string>} [more] */
export const traceLink = (id, more = {}) => linked(`/explore/traces/${encodeURIComponent(id)}`, more);

/** Colours of services in canvases and lists, told apart by people with any colour vision (Okabe and Ito, and lighter and
 * darker ones of the same hues). @type {Array<[string, string]>} in the light and the dark theme */
const TONES = [
  ["#0072b2", "#3b9bd6"], ["#b45f06", "#e69f00"], ["#00785a", "#1fb58f"], ["#a3456f", "#d585ad"], ["#5b6770", "#94a3ad"],
  ["#3d5a99", "#86a3e6"], ["#7d6608", "#cbb84a"], ["#2b8ca3", "#63c5de"], ["#8a4b2d", "#cf8f6b"], ["#6b4c9a", "#ab90d8"],
];

/** @param {string} name */
function hashed(name) {
  let hash = 2166136261;
  for (let at = 0; at < name.length; at += 1) hash = Math.imul(hash ^ name.charCodeAt(at), 16777619);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** The same name has the same colour everywhere. @param {string} name @param {boolean} dark */
export const tone = (name, dark) => TONES[hashed(name) % TONES.length][dark ? 1 : 0];

/** Colours of names that stand beside one another: each its own, or the next that is free, as long as there are any.
 * @param {string[]} names @param {boolean} dark */
export function tones(names, dark) {
  const taken = new Set();
  /** @type {Map<string, string>} */
  const made = new Map();
  for (const name of [...names].sort()) {
    let at = hashed(name) % TONES.length;
    for (let step = 0; step < TONES.length && taken.has(at); step += 1) at = (at + 1) % TONES.length;
    if (taken.size < TONES.length) taken.add(at);
    else at = hashed(name) % TONES.length;
    made.set(name, TONES[at][dark ? 1 : 0]);
  }
  return names.map((name) => made.get(name) ?? TONES[0][0]);
}
