/**
 * Signals and elements: enough reactivity for these pages, and nothing else.
 *
 * Text only ever becomes a text node, so a name from telemetry cannot become markup. Effects end with the scope in which
 * they were made; a page is one scope.
 */

/** @typedef {{dispose: () => void, children: Set<Scope>, cleanups: Array<() => void>, parent: Scope | null}} Scope */
/** @typedef {{run: () => void, sources: Set<Set<Runner>>, scope: Scope | null, dead: boolean}} Runner */

/** @type {Runner | null} */
let running = null;
/** @type {Scope | null} */
let owner = null;
let depth = 0;
/** @type {Set<Runner>} */
const queue = new Set();

function flush() {
  if (depth > 0) return;
  depth += 1;
  try {
    for (const runner of queue) {
      queue.delete(runner);
      if (!runner.dead) runner.run();
    }
  } finally {
    depth -= 1;
  }
}

/** Set several signals; what depends on them runs once, afterwards. @param {() => void} change */
export function batch(change) {
  depth += 1;
  try {
    change();
  } finally {
    depth -= 1;
  }
  flush();
}

/** A value that effects follow. @template T */
export class Signal {
  /** @type {Set<Runner>} */
  #readers = new Set();
  /** @type {T} */
  #value;

  /** @param {T} value */
  constructor(value) {
    this.#value = value;
  }

  /** @returns {T} */
  get value() {
    if (running !== null) {
      this.#readers.add(running);
      running.sources.add(this.#readers);
    }
    return this.#value;
  }

  set value(value) {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const reader of this.#readers) queue.add(reader);
    flush();
  }

  /** The value, without following it. @returns {T} */
  peek() {
    return this.#value;
  }
}

/** @template T @param {T} value @returns {Signal<T>} */
export const signal = (value) => new Signal(value);

/** Do not follow what is read inside. @template T @param {() => T} read @returns {T} */
export function untracked(read) {
  const before = running;
  running = null;
  try {
    return read();
  } finally {
    running = before;
  }
}

/** @returns {Scope} */
function makeScope() {
  const parent = owner;
  /** @type {Scope} */
  const scope = {
    parent,
    children: new Set(),
    cleanups: [],
    dispose() {
      for (const child of [...scope.children]) child.dispose();
      for (const cleanup of scope.cleanups.splice(0).reverse()) cleanup();
      parent?.children.delete(scope);
    },
  };
  parent?.children.add(scope);
  return scope;
}

/** @template T @param {Scope | null} scope @param {() => T} work @returns {T} */
function within(scope, work) {
  const before = owner;
  owner = scope;
  try {
    return work();
  } finally {
    owner = before;
  }
}

/** Run `work` in a scope of its own; returns its result and what ends all that was begun in it.
 * @template T @param {() => T} work @returns {[T, () => void]} */
export function scoped(work) {
  const scope = makeScope();
  return [untracked(() => within(scope, work)), scope.dispose];
}

/** Called when the surrounding scope ends. @param {() => void} cleanup */
export function onEnd(cleanup) {
  owner?.cleanups.push(cleanup);
}

/** Run `work` now and again whenever a signal it has read changes. @param {() => void} work */
export function effect(work) {
  const outer = makeScope();
  /** @type {Scope | null} */
  let inner = null;
  /** @type {Runner} */
  const runner = {
    sources: new Set(),
    scope: outer,
    dead: false,
    run() {
      inner?.dispose();
      for (const readers of runner.sources) readers.delete(runner);
      runner.sources.clear();
      inner = within(outer, makeScope);
      const before = running;
      running = runner;
      try {
        within(inner, work);
      } finally {
        running = before;
      }
    },
  };
  outer.cleanups.push(() => {
    runner.dead = true;
    queue.delete(runner);
    for (const readers of runner.sources) readers.delete(runner);
  });
  runner.run();
}

/** A signal that is made from others. @template T @param {() => T} make @returns {Signal<T>} */
export function computed(make) {
  /** @type {Signal<any>} */
  const made = new Signal(undefined);
  effect(() => {
    made.value = make();
  });
  return made;
}

/** @typedef {Node | string | number | null | undefined | false | Array<any> | (() => any) | Signal<any>} Child */
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "indeterminate", "open", "hidden"]);
const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("button.quiet", {onclick, "aria-label": () => label.value}, "Close")`. Attributes and children that are
 * functions or signals are followed. @param {string} tag @param {Record<string, any> | null} [attributes]
 * @param {...Child} children @returns {any} */
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  return filled(element, attributes, children);
}

/** The same for SVG. @param {string} tag @param {Record<string, any> | null} [attributes] @param {...Child} children
 * @returns {any} */
export function svg(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElementNS(SVG, name);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  return filled(element, attributes, children);
}

/** @param {Element} element @param {Record<string, any> | null | undefined} attributes @param {Child[]} children */
function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (typeof value === "function") effect(() => set(element, key, value()));
    else if (value instanceof Signal) effect(() => set(element, key, value.value));
    else set(element, key, value);
  }
  append(element, children);
  return element;
}

/** @param {any} element @param {string} key @param {any} value */
function set(element, key, value) {
  if (key === "class") {
    const fixed = (element.__fixed ??= element.getAttribute("class") ?? "");
    const text = Array.isArray(value) ? value.filter(Boolean).join(" ") : (value ?? "");
    element.setAttribute("class", `${fixed} ${text}`.trim());
  } else if (key === "style") {
    for (const [name, one] of Object.entries(value ?? {})) element.style.setProperty(name, one === null ? "" : String(one));
  } else if (PROPERTIES.has(key) && key in element) element[key] = value ?? (key === "value" ? "" : false);
  else if (value === null || value === undefined || value === false) element.removeAttribute(key);
  else element.setAttribute(key, value === true ? "" : String(value));
}

/** Add children to an element. @param {Element | DocumentFragment} parent @param {Child[]} children */
export function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else if (child instanceof Node) parent.append(child);
    else if (typeof child === "function") region(parent, child);
    else if (child instanceof Signal) region(parent, () => child.value);
    else parent.append(String(child));
  }
}

/** Children that are made anew whenever a signal they read changes: whatever stands between two marks, as a region inside
 * may have put other nodes there since. @param {Element | DocumentFragment} parent @param {() => any} make */
function region(parent, make) {
  const [start, end] = [document.createComment(""), document.createComment("")];
  parent.append(start, end);
  effect(() => {
    const fresh = document.createDocumentFragment();
    append(fresh, [make()]);
    while (start.nextSibling && start.nextSibling !== end) start.nextSibling.remove();
    end.before(fresh);
  });
}

/** A list whose elements stay when their row stays, so that focus and scrolling survive an update: `row` is a signal.
 * @template T @param {() => T[]} rows @param {(row: T) => string | number} key
 * @param {(row: Signal<T>, index: Signal<number>) => Element} render @param {Element} parent @returns {Element} */
export function each(rows, key, render, parent) {
  /** @type {Map<string | number, {node: Element, row: Signal<T>, at: Signal<number>, end: () => void}>} */
  const held = new Map();
  const scope = makeScope();
  effect(() => {
    const now = rows();
    const wanted = new Set(now.map(key));
    for (const [name, item] of held) {
      if (wanted.has(name)) continue;
      item.end();
      item.node.remove();
      held.delete(name);
    }
    now.forEach((value, index) => {
      let item = held.get(key(value));
      if (item === undefined) {
        const row = signal(value);
        const at = signal(index);
        const [node, end] = within(scope, () => scoped(() => render(row, at)));
        item = { node, row, at, end };
        held.set(key(value), item);
      }
      item.row.value = value;
      item.at.value = index;
      if (parent.children[index] !== item.node) parent.insertBefore(item.node, parent.children[index] ?? null);
    });
  });
  return parent;
}
