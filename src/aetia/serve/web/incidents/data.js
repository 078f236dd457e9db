/** Everything about one incident, fetched at once and kept up to date. */

import { ApiError, follow, get } from "../lib/api.js";
import { batch, computed, onEnd, signal } from "../lib/dom.js";
import { hear } from "../lib/live.js";
import { stamp } from "../lib/exact.js";
import { isOpen } from "./record.js";

/** @typedef {import("../lib/types.js").Diagnosis} Diagnosis */
/** @typedef {import("../lib/types.js").Exhibits} Exhibits */
/** @typedef {import("../lib/types.js").Change} Change */
/** @typedef {import("../lib/types.js").Summary} Summary */
/** @typedef {import("../lib/types.js").Step} Step */
/** @typedef {import("../lib/types.js").Wish} Wish */
/** @typedef {import("./record.js").Record} Record */
/** @template T @typedef {import("../lib/dom.js").Signal<T>} Signal */

/**
 * @typedef {object} Data
 * @property {string} id
 * @property {Signal<Record | null>} record
 * @property {Signal<Diagnosis | null>} diagnosis null before the first one
 * @property {Signal<Exhibits>} exhibits
 * @property {Signal<Step[]>} course the steps of the fault, in order of time
 * @property {Signal<Wish[]>} wishes of people, that were not taken back
 * @property {Signal<Summary[]>} revisions
 * @property {Signal<Change[]>} changes around the incident
 * @property {Signal<any[]>} events of the journal of the last investigation
 * @property {Signal<boolean>} following whether its steps come as they happen
 * @property {Signal<unknown>} error why there is nothing
 * @property {Signal<boolean>} fetched the first answers are there
 * @property {Signal<boolean>} busy an investigation is under way
 * @property {Map<string, Signal<any>>} kept what the reader has opened and chosen, for as long as the page lives
 * @property {() => Promise<void>} reload
 * @property {() => Promise<void>} askWishes
 * @property {() => void} watch follow the steps from now on
 */

/** @param {string} id @param {AbortSignal} ended @returns {Data} */
export function incidentData(id, ended) {
  const at = `incidents/${encodeURIComponent(id)}`;
  const events = signal(/** @type {any[]} */ ([]));
  /** @type {Data} */
  const data = {
    id,
    record: signal(/** @type {Record | null} */ (null)),
    diagnosis: signal(/** @type {Diagnosis | null} */ (null)),
    exhibits: signal(/** @type {Exhibits} */ ({})),
    course: signal(/** @type {Step[]} */ ([])),
    wishes: signal(/** @type {Wish[]} */ ([])),
    revisions: signal(/** @type {Summary[]} */ ([])),
    changes: signal(/** @type {Change[]} */ ([])),
    events,
    following: signal(false),
    error: signal(/** @type {unknown} */ (null)),
    fetched: signal(false),
    busy: computed(() => events.value.length > 0 && events.value.at(-1)?.type !== "closed"),
    kept: new Map(),
    reload,
    askWishes,
    watch,
  };
  /** @type {AbortController | null} */
  let stream = null;
  let known = -1;

  async function reload() {
    try {
      const record = await get(at, {}, ended); // first, so that what is not there is asked for once
      const revision = record.diagnosis?.revision ?? 0;
      // An open incident changes every few seconds; what was said about it only with each diagnosis.
      const said = revision === known ? null : await answers(record);
      batch(() => {
        data.record.value = record;
        if (said) {
          [data.course.value, data.exhibits.value, data.revisions.value, data.diagnosis.value] = said;
          known = revision;
        }
        data.error.value = null;
        data.fetched.value = true;
      });
      if (said) void changesAround();
      if (data.record.peek() && isOpen(/** @type {Record} */ (data.record.peek()))) watch();
      else if (data.events.peek().length === 0 && stream === null) void journal();
    } catch (problem) {
      if (!ended.aborted) data.error.value = problem;
    }
  }

  /** @param {Record} record @returns {Promise<[Step[], Exhibits, Summary[], Diagnosis | null]>} */
  async function answers(record) {
    void askWishes();
    const [diagnosis, course, exhibits, revisions] = await Promise.all([
      record.diagnosis ? absent(get(`${at}/diagnosis`, {}, ended)) : null,
      record.diagnosis ? absent(get(`${at}/course`, {}, ended)) : null,
      record.diagnosis ? absent(get(`${at}/exhibits`, {}, ended)) : null,
      absent(get(`${at}/revisions`, {}, ended)),
    ]);
    return [course?.steps ?? [], exhibits ?? {}, revisions?.revisions ?? [], diagnosis];
  }

  async function askWishes() {
    const found = await absent(get(`${at}/wishes`, {}, ended)).catch(() => null);
    if (found) data.wishes.value = found.wishes;
  }

  async function changesAround() {
    const range = extent(data);
    if (!range) return;
    const found = await absent(get("changes", { ...range, limit: 500 }, ended)).catch(() => null);
    data.changes.value = found?.changes ?? [];
  }

  async function journal() {
    const found = await absent(get(`${at}/journal`, { limit: 10_000 }, ended)).catch(() => null);
    if (found?.events) data.events.value = found.events;
  }

  function watch() {
    if (stream !== null) return;
    stream = new AbortController();
    let revision = "";
    /** @type {any[]} */
    let told = [];
    let due = 0;
    void follow(`${at}/stream`, {
      signal: stream.signal,
      state: (now) => (data.following.value = now),
      on: ({ id: key, data: event }) => {
        const mine = key.split(".")[0];
        told = mine === revision ? [...told, event] : [event];
        revision = mine;
        due ||= setTimeout(() => { // what comes at once is drawn at once
          due = 0;
          data.events.value = told;
        }, 40);
      },
    });
  }

  let later = 0;
  const soon = () => {
    clearTimeout(later);
    later = setTimeout(reload, 100);
  };
  hear("incident", (event) => {
    if ((event?.record?.id ?? event?.incident ?? event?.id) === id) soon();
  });
  hear("back", soon);
  onEnd(() => {
    clearTimeout(later);
    stream?.abort();
  });
  void reload();
  return data;
}

/** A choice of the reader that outlives a new diagnosis. @template T @param {Data} data @param {string} name @param {T} first
 * @returns {Signal<T>} */
export function kept(data, name, first) {
  const found = data.kept.get(name) ?? signal(first);
  data.kept.set(name, found);
  return found;
}

/** What is not there is no failure: an incident without a diagnosis yet. @param {Promise<any>} asked */
async function absent(asked) {
  try {
    return await asked;
  } catch (problem) {
    if (problem instanceof ApiError && [400, 404, 409, 422].includes(problem.status)) return null;
    throw problem;
  }
}

/** From the baseline to the end of the incident, as the API takes it. @param {Data} data
 * @returns {{start: string, end: string} | null} */
export function extent(data) {
  const seen = data.diagnosis.peek()?.incident;
  const record = data.record.peek();
  /** @type {Array<[any, string | number]>} */
  const first = [[seen?.baseline, 0], [record?.baseline, 0], [record, "onset_ns"]];
  /** @type {Array<[any, string | number]>} */
  const last = [[seen?.window, 1], [record?.window, 1], [record, "ended_ns"]];
  const there = (/** @type {[any, string | number]} */ [holder, key]) => typeof holder?.[key] === "number";
  const by = (/** @type {[any, string | number]} */ a, /** @type {[any, string | number]} */ b) => a[0][a[1]] - b[0][b[1]];
  const [from, to] = [first.filter(there).sort(by)[0], last.filter(there).sort(by).at(-1)];
  return from && to ? { start: stamp(...from), end: stamp(...to) } : null;
}
