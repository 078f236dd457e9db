/** Keys: single ones and sequences such as `g i`, listed in the help; quiet while somebody types. */

import { onEnd, signal } from "./dom.js";

/** @typedef {{keys: string, what: string, run: (event: KeyboardEvent) => void, group: string}} Binding */

/** @type {Binding[]} */
const bindings = [];
let before = "";
/** @type {ReturnType<typeof setTimeout> | undefined} */
let forget;
/** Counts the changes of the list, for the help. */
export const changed = signal(0);

/** Bind keys until the surrounding scope ends: `j`, `Escape`, `g i`. The newest binding wins.
 * @param {string} keys @param {string} what for the help; empty hides it @param {(event: KeyboardEvent) => void} run
 * @param {string} [group] */
export function bind(keys, what, run, group = "This page") {
  const binding = { keys, what, run, group };
  bindings.unshift(binding);
  changed.value = changed.peek() + 1;
  onEnd(() => {
    bindings.splice(bindings.indexOf(binding), 1);
    changed.value = changed.peek() + 1;
  });
}

/** What is bound, by group. @returns {Map<string, Binding[]>} */
export function listed() {
  /** @type {Map<string, Binding[]>} */
  const groups = new Map();
  for (const binding of bindings.toReversed()) {
    if (binding.what) groups.set(binding.group, [...(groups.get(binding.group) ?? []), binding]);
  }
  return groups;
}

/** @param {EventTarget | null} target */
function typing(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event.target) && event.key !== "Escape") return;
  if (document.querySelector("dialog[open]")) return; // which Escape closes by itself
  const both = `${before} ${event.key}`;
  const found = bindings.find(({ keys }) => keys === both) ?? bindings.find(({ keys }) => keys === event.key);
  clearTimeout(forget);
  before = found?.keys === both ? "" : event.key;
  forget = setTimeout(() => (before = ""), 900);
  if (!found) return;
  const onControl = event.target instanceof HTMLElement && event.target.closest("a,button,summary,[role=slider]");
  if ((event.key === "Enter" || event.key === " ") && onControl) return;
  event.preventDefault();
  found.run(event);
});
