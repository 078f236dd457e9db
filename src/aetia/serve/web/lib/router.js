/** Pages by path: links and the history move between them, and each has a scope and a signal that end with it. */

import { effect, scoped, signal } from "./dom.js";

/** @typedef {{path: string, params: Record<string, string>, query: URLSearchParams, signal: AbortSignal}} Place */
/** @typedef {(place: Place) => Node | Promise<Node>} Page */
/** @typedef {{pattern: string, load: () => Promise<{page: Page}>}} Route */

/** Where we are: the path alone, so that a page survives a change of its query. */
export const path = signal(location.pathname);
/** The query; pages keep filters and the time range in it. */
export const query = signal(new URLSearchParams(location.search));

/** @param {string} pattern `/incidents/:id`, or `/explore/*` for all below @param {string} at
 * @returns {Record<string, string> | null} */
export function matched(pattern, at) {
  const wanted = pattern.split("/");
  const given = at.replace(/\/+$/, "").split("/");
  if (wanted.at(-1) === "*") {
    wanted.pop();
    if (given.length > wanted.length) given.length = wanted.length;
  }
  if (wanted.length !== given.length) return null;
  /** @type {Record<string, string>} */
  const params = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":")) {
      try {
        params[part.slice(1)] = decodeURIComponent(given[index]);
      } catch {
        return null;
      }
    } else if (part !== given[index]) return null;
  }
  return params;
}

/** Go to a page of this site. @param {string} target path and query @param {{replace?: boolean}} [how] */
export function go(target, { replace = false } = {}) {
  const url = new URL(target, location.href);
  if (url.href !== location.href) history[replace ? "replaceState" : "pushState"](null, "", url);
  follow();
}

/** Change the query of this page and keep the rest of it: null takes a key out.
 * @param {Record<string, string | null | undefined>} changes @param {{push?: boolean}} [how] */
export function setQuery(changes, { push = false } = {}) {
  const next = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") next.delete(key);
    else next.set(key, value);
  }
  const text = next.toString();
  go(`${location.pathname}${text ? `?${text}` : ""}${location.hash}`, { replace: !push });
}

/** The address of a page with the time range of this one. @param {string} target @param {Record<string, string>} [more] */
export function linked(target, more = {}) {
  const next = new URLSearchParams();
  for (const key of ["start", "end"]) {
    const held = query.value.get(key);
    if (held) next.set(key, held);
  }
  for (const [key, value] of Object.entries(more)) if (value) next.set(key, value);
  const text = next.toString();
  return text ? `${target}?${text}` : target;
}

function follow() {
  const search = new URLSearchParams(location.search);
  if (search.toString() !== query.peek().toString()) query.value = search;
  path.value = location.pathname;
}

/** Show the page of each place in `host`. @param {HTMLElement} host @param {Route[]} routes
 * @param {{missing: (at: string) => Node, failed: (error: unknown) => Node, waiting: () => Node}} states */
export function route(host, routes, states) {
  addEventListener("popstate", follow);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || url.pathname.startsWith("/api/") || link.dataset.external !== undefined) return;
    if (url.pathname === location.pathname && url.search === location.search && url.hash) return;
    event.preventDefault();
    go(url.pathname + url.search + url.hash);
    scrollTo(0, 0);
  });
  let first = true;
  effect(() => {
    const at = path.value;
    const controller = new AbortController();
    const found = routes.map((item) => ({ item, params: matched(item.pattern, at) })).find(({ params }) => params !== null);
    if (!found) {
      host.replaceChildren(states.missing(at));
      return;
    }
    const place = { path: at, params: found.params ?? {}, query: query.peek(), signal: controller.signal };
    show(host, found.item, place, controller, states, first);
    first = false;
  });
}

/** @type {(() => void) | null} */
let leave = null;

/** @param {HTMLElement} host @param {Route} item @param {Place} place @param {AbortController} controller
 * @param {{failed: (error: unknown) => Node, waiting: () => Node}} states @param {boolean} first */
async function show(host, item, place, controller, states, first) {
  leave?.();
  /** @type {() => void} */
  let end = () => {};
  let left = false;
  leave = () => {
    left = true;
    controller.abort();
    end();
  };
  const slow = setTimeout(() => !left && host.replaceChildren(states.waiting()), 150);
  try {
    const { page } = await item.load();
    if (left) return;
    const [made, dispose] = scoped(() => page(place));
    end = dispose;
    const content = await made;
    if (left) return;
    host.replaceChildren(content);
  } catch (error) {
    if (!left) host.replaceChildren(states.failed(error));
  } finally {
    clearTimeout(slow);
  }
  if (!left && !first) (host.closest("main") ?? host).focus({ preventScroll: true });
}
