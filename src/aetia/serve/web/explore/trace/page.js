/** One trace: its waterfall, what a search finds in it, its critical path, one span, another trace beside it. */

import { ApiError, address, get, loginNeeded, reachable } from "../../lib/api.js";
import { batch, computed, effect, h, onEnd, signal, untracked } from "../../lib/dom.js";
import { duration, number, plain, plural } from "../../lib/format.js";
import { bind } from "../../lib/keys.js";
import { go, linked, query, setQuery } from "../../lib/router.js";
import { dark, themed } from "../../lib/theme.js";
import { icon } from "../../components/icon.js";
import { bones, failed } from "../../components/states.js";
import { when } from "../../components/time.js";
import { tones } from "../common.js";
import { explore } from "../frame.js";
import { drawer } from "./drawer.js";
import { columns as columnsFrom } from "./columns.js";
import { Model, nextOf } from "./model.js";
import { versus } from "./versus.js";
import { waterfall } from "./view.js";

/** @typedef {{span: string | null, q: string | null, path: string | null, from: string | null, to: string | null}} State */

/** Spans of the first drawing: the longest, which stand for the others until these are there. */
const FIRST = 1500;

/** @param {import("../../lib/router.js").Place} place */
export function page(place) {
  const id = place.params.id;
  /** @type {import("../../lib/dom.js").Signal<Model | null>} */
  const model = signal(null);
  /** @type {import("../../lib/dom.js").Signal<unknown>} */
  const error = signal(null);
  const start = query.peek();
  /** What is chosen and shown; it outlives the first drawing. @type {State} */
  const state = { span: start.get("span"), q: start.get("q"), path: start.get("path"), from: start.get("from"), to: start.get("to") };
  const [source, close] = columnsOf();
  onEnd(close);
  const load = async () => {
    error.value = null;
    try {
      const first = columnsFrom(await quick(id, place.signal));
      if (place.signal.aborted) return;
      model.value = new Model(first);
      marked("first");
      if (first.truncated) {
        const all = await source(id);
        if (place.signal.aborted) return;
        model.value = new Model(all);
      }
      marked("whole");
    } catch (problem) {
      if (!place.signal.aborted) error.value = problem;
    }
  };
  void load();
  return explore("traces", h("div.trace-page", {}, () => {
    if (error.value !== null && model.value === null) return h("div.card", {}, failed(error.value, load));
    if (model.value === null) return [h("div.row.crumb", {}, back()), h("div.card", {}, bones(12))];
    const held = model.value;
    return untracked(() => shown(place, id, held, state));
  }));
}

/** When it was painted: after the next frame. @param {string} what */
const marked = (what) => requestAnimationFrame(() => setTimeout(() => performance.mark(`aetia-waterfall-${what}`)));

const back = () => h("a", { href: () => linked("/explore/traces") }, icon("left"), "Traces");

/** The first answer: `boot.js` may have asked already. @param {string} id @param {AbortSignal} signal */
async function quick(id, signal) {
  const path = `traces/${encodeURIComponent(id)}/waterfall`;
  const early = /** @type {any} */ (globalThis).aetiaEarly;
  /** @type {any} */ (globalThis).aetiaEarly = null;
  const response = early?.url === address(path, { limit: FIRST }) ? await early.answer : null;
  return response?.ok ? response.json() : get(path, { limit: FIRST }, signal);
}

/** Asks for all columns in a worker; the second of the results ends it.
 * @returns {[(id: string) => Promise<import("./model.js").Columns>, () => void]} */
function columnsOf() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  let last = 0;
  const ask = (/** @type {string} */ id) => new Promise((resolve, reject) => {
    const mine = ++last;
    const hear = (/** @type {MessageEvent} */ { data }) => {
      if (data.id !== mine) return;
      worker.removeEventListener("message", hear);
      reachable.value = data.status !== 0;
      if (data.status === 401) loginNeeded.value = true;
      if (data.problem) reject(new ApiError(data.status, data.problem));
      else resolve(data.made);
    };
    worker.addEventListener("message", hear);
    worker.onerror = () => reject(new Error("the worker of the waterfall could not be started"));
    worker.postMessage({ id: mine, url: new URL(address(`traces/${encodeURIComponent(id)}/waterfall`), location.href).href });
  });
  return [/** @type {any} */ (ask), () => worker.terminate()];
}

/** @param {import("../../lib/router.js").Place} place @param {string} id @param {Model} model @param {State} state */
function shown(place, id, model, state) {
  const { columns } = model;
  const chosen = signal(state.span ? model.rowOf(state.span) : -1);
  const opened = signal(chosen.peek() >= 0);
  const critical = signal(state.path === "1");
  const folded = signal(false);
  const words = signal(state.q ?? "");
  const found = signal(model.search(words.peek()));
  const at = computed(() => (chosen.value >= 0 ? found.value.indexOf(chosen.value) : -1));
  const later = delayed((/** @type {Partial<State>} */ changes) => !place.signal.aborted && setQuery(changes));
  const tell = (/** @type {Partial<State>} */ changes) => {
    Object.assign(state, changes);
    later(changes);
  };
  const open = (/** @type {number} */ row) => batch(() => { chosen.value = row; opened.value = true; });
  const view = waterfall(model, {
    chosen, critical, found, open,
    zoomed: ({ from, to }) => tell({ from: from <= 0 && to >= columns.duration_ns ? null : String(Math.round(from)), to: from <= 0 && to >= columns.duration_ns ? null : String(Math.round(to)) }),
  });
  const [from, to] = [Number(state.from), Number(state.to)];
  if (to > from && from >= 0) view.zoom({ from, to });
  if (chosen.peek() >= 0) view.show(chosen.peek(), true, !(to > from));
  let first = true;
  effect(() => {
    const changes = { span: chosen.value >= 0 ? model.id(chosen.value) : null, q: words.value || null, path: critical.value ? "1" : null };
    if (!first) tell(changes);
    first = false; // a span that the first drawing lacks is still wanted in the next one
  });
  const pick = (/** @type {number} */ row, middle = true) => {
    if (row < 0) return;
    chosen.value = row;
    view.show(row, middle);
  };
  const walk = {
    found: (/** @type {number} */ by) => pick(nextOf(found.peek(), chosen.peek(), by)),
    error: (/** @type {number} */ by) => pick(nextOf(model.errors, chosen.peek(), by)),
    critical: (/** @type {number} */ by) => { critical.value = true; pick(nextCritical(model, chosen.peek(), by)); },
  };
  keys(model, view, chosen, walk, { open, shut: () => (opened.value = false), isOpen: () => opened.peek(), folded });
  const field = h("input.field", {
    type: "search", placeholder: "Find: service, operation, >50ms, error", "aria-label": "Find spans", "data-search": true, value: words.peek(), spellcheck: "false",
    oninput: () => batch(() => { words.value = field.value; found.value = model.search(field.value); }),
    onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter") { event.preventDefault(); walk.found(event.shiftKey ? -1 : 1); } },
  });
  const top = topOf(model);
  return h(
    "div.stack.waterfall",
    {},
    h("div.row.crumb", {}, back(), h("span.mono.small.faint.cut", {}, plain(id, 64))),
    h("div.pagehead", {}, h("h1", {}, h("span.soft", {}, plain(columns.services[columns.service[top]], 80)), " ", plain(columns.names[columns.name[top]], 140)),
      h("div.row", {}, h("button.button", { "aria-pressed": () => String(Boolean(query.value.get("vs"))), onclick: () => setQuery({ vs: query.peek().get("vs") ? null : "?" }) }, icon("compare"), "Compare"))),
    facts(model),
    versus(place, id, model),
    h(
      "section.card.wf",
      { "aria-label": "Waterfall" },
      h(
        "div.row.wfbar",
        {},
        h("span.search", {}, icon("search"), field, h("kbd", {}, "/")),
        () => (words.value ? h("span.row.small.soft", { role: "status" }, found.value.length ? `${at.value >= 0 ? `${number(at.value + 1)} of ` : ""}${number(found.value.length)}` : "none", step("found", "Match", walk.found)) : null),
        model.errors.length ? h("span.row.small.hotword", {}, plural(model.errors.length, "error"), step("error", "Error", walk.error)) : h("span.small.soft", {}, "no errors"),
        h("span.row.small", {}, h("button.button.slim", { "aria-pressed": () => String(critical.value), title: "Fade what the request did not wait for", onclick: () => (critical.value = !critical.peek()) }, "Critical path"), step("stretch of the critical path", "Stretch", walk.critical)),
        h("span.room"),
        h("button.button.slim", { onclick: () => fold(model, view, folded) }, () => (folded.value ? "Unfold all" : "Fold")),
        h("span.row.zoom", {}, h("button.button.square.slim", { "aria-label": "Closer", onclick: () => view.zoomBy(0.6) }, icon("plus")), h("button.button.square.slim", { "aria-label": "Farther", onclick: () => view.zoomBy(1 / 0.6) }, icon("minus")), h("button.button.square.slim", { "aria-label": "Whole trace", onclick: () => view.reset() }, icon("fit"))),
      ),
      columns.truncated ? h("p.small.soft.partial", { role: "status" }, `${number(model.length)} of ${number(columns.total)} spans are shown: the longest, with all above them.`) : null,
      h("div.wfbody", { class: () => (opened.value && chosen.value >= 0 ? "withdrawer" : ""), style: { "--rows": String(model.length) } }, view.node, () => {
        const row = chosen.value;
        if (!opened.value || row < 0) return null;
        return untracked(() => drawer(model, row, { signal: place.signal, close: () => (opened.value = false), go: (next) => pick(next) }));
      }),
      h("p.legend.body", {}, h("span", {}, h("i.waits"), "the request waited for it"), h("span", {}, h("i.failed"), "failed"), services(model)),
    ),
  );
}

/** @param {Model} model @param {{grow: () => void}} view @param {import("../../lib/dom.js").Signal<boolean>} folded */
function fold(model, view, folded) {
  folded.value = !folded.peek();
  model.closeBelow(folded.peek() ? 1 : Infinity);
  view.grow();
}

/** Two buttons: back and on. @param {string} what @param {string} name @param {(by: number) => void} walk */
const step = (what, name, walk) => h("span.row.steps2", {}, h("button.button.square.slim", { "aria-label": `${name} before`, title: `The ${what} before`, onclick: () => walk(-1) }, icon("left")), h("button.button.square.slim", { "aria-label": `Next ${what}`, title: `The next ${what}`, onclick: () => walk(1) }, icon("right")));

/** The longest span without a parent. @param {Model} model */
function topOf({ columns, length }) {
  let top = 0;
  for (let row = 0; row < length; row += 1) if (columns.parent[row] < 0 && columns.duration[row] > columns.duration[top]) top = row;
  return top;
}

/** @param {Model} model */
function facts({ columns }) {
  /** @type {Array<[string, any]>} */
  const told = [["Took", duration(columns.duration_ns)], ["Began", when(columns.start_ns)], ["Spans", number(columns.total)], ["Services", number(columns.services.length)], ["Errors", number(columns.errors)]];
  return h("dl.tiles.slim", {}, told.map(([name, value]) => h("div", { class: name === "Errors" && columns.errors ? "hot" : "" }, h("dt", {}, name), h("dd", {}, value))));
}

/** @param {Model} model */
const services = ({ columns }) => () => {
  const night = (themed.value, dark());
  const held = tones(columns.services, night);
  return columns.services.slice(0, 12).map((name, at) => h("span", {}, h("i", { style: { background: held[at] } }), plain(name, 30)));
};

/** The next stretch of the critical path that begins after the chosen row's, by time. @param {Model} model @param {number} row @param {number} by */
function nextCritical(model, row, by) {
  const { path } = model.columns;
  const count = path.length / 3;
  if (count === 0) return -1;
  let at = by > 0 ? -1 : count;
  if (row >= 0) for (let index = 0; index < count; index += 1) if (path[3 * index] === row) { at = index; if (by < 0) break; }
  for (let turn = 0; turn < count; turn += 1) {
    at = (at + by + count) % count;
    if (path[3 * at] !== row) return path[3 * at];
  }
  return path[3 * at];
}

/** Once, a little after the last of several calls, with all of their changes. @param {(changes: any) => void} run */
function delayed(run) {
  /** @type {Record<string, string | null>} */
  let held = {};
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  onEnd(() => {
    clearTimeout(timer);
    if (Object.keys(held).length) run(held);
  });
  return (/** @type {Record<string, string | null>} */ changes) => {
    held = { ...held, ...changes };
    clearTimeout(timer);
    timer = setTimeout(() => { run(held); held = {}; }, 200);
  };
}

/** @param {Model} model @param {ReturnType<typeof waterfall>} view @param {import("../../lib/dom.js").Signal<number>} chosen
 * @param {{found: (by: number) => void, error: (by: number) => void, critical: (by: number) => void}} walk
 * @param {{open: (row: number) => void, shut: () => void, isOpen: () => boolean, folded: import("../../lib/dom.js").Signal<boolean>}} how */
function keys(model, view, chosen, walk, how) {
  const { columns } = model;
  const group = "Waterfall";
  const move = (/** @type {number} */ by) => {
    const stands = chosen.peek() < 0 ? -1 : model.standsFor(chosen.peek());
    const place = stands < 0 ? (by > 0 ? -1 : model.seen) : model.place[stands];
    const row = model.rows[Math.max(0, Math.min(model.seen - 1, place + by))];
    chosen.value = row;
    view.show(row);
  };
  const to = (/** @type {number} */ row) => { if (row >= 0) { chosen.value = row; view.show(row); } };
  bind("ArrowDown", "Next span", () => move(1), group);
  bind("ArrowUp", "Span before", () => move(-1), group);
  bind("PageDown", "", () => move(20), group);
  bind("PageUp", "", () => move(-20), group);
  bind("Home", "", () => to(model.rows[0]), group);
  bind("End", "", () => to(model.rows[model.seen - 1]), group);
  bind("ArrowLeft", "Fold, or go to the parent", () => {
    const row = chosen.peek();
    if (row < 0) return;
    if (columns.size[row] && !model.closed[row]) { model.close(row, true); view.grow(); } else to(columns.parent[row]);
  }, group);
  bind("ArrowRight", "Unfold, or go to the first child", () => {
    const row = chosen.peek();
    if (row < 0 || !columns.size[row]) return;
    if (model.closed[row]) { model.close(row, false); view.grow(); } else to(row + 1);
  }, group);
  const centre = () => (chosen.peek() >= 0 ? columns.start[chosen.peek()] + columns.duration[chosen.peek()] / 2 : undefined);
  bind("+", "Closer", () => view.zoomBy(0.6, centre()), group);
  bind("=", "", () => view.zoomBy(0.6, centre()), group);
  bind("-", "Farther", () => view.zoomBy(1 / 0.6, centre()), group);
  bind("0", "Whole trace", () => view.reset(), group);
  bind("e", "Next error", () => walk.error(1), group);
  bind("E", "Error before", () => walk.error(-1), group);
  bind("c", "Next stretch of the critical path", () => walk.critical(1), group);
  bind("C", "Stretch before", () => walk.critical(-1), group);
  bind("n", "Next match", () => walk.found(1), group);
  bind("N", "Match before", () => walk.found(-1), group);
  bind("x", "Fold or unfold all", () => fold(model, view, how.folded), group);
  bind("Enter", "Show the span", () => chosen.peek() >= 0 && how.open(chosen.peek()), group);
  bind("Escape", "Close the span, go up", () => {
    const focused = document.activeElement;
    if (focused instanceof HTMLInputElement) focused.blur();
    else if (how.isOpen()) how.shut();
    else go(linked("/explore/traces"));
  }, group);
}
