/** Light and dark: the system's choice, or the one that was made here and is kept in this browser. `boot.js` has set it
 * before the first paint. */

import { signal } from "./dom.js";

const KEY = "aetia.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const probe = document.createElement("span");
probe.hidden = true;
document.documentElement.append(probe);

/** @returns {"light" | "dark" | "system"} */
function stored() {
  const held = localStorage.getItem(KEY);
  return held === "light" || held === "dark" ? held : "system";
}

/** Counts the changes; what draws on a canvas follows it. */
export const themed = signal(0);
export const choice = signal(stored());

export const dark = () => (choice.peek() === "system" ? system.matches : choice.peek() === "dark");

/** @param {"light" | "dark" | "system"} wanted */
export function choose(wanted) {
  choice.value = wanted;
  if (wanted === "system") {
    localStorage.removeItem(KEY);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(KEY, wanted);
    document.documentElement.dataset.theme = wanted;
  }
  themed.value = themed.peek() + 1;
}

export const toggle = () => choose(dark() ? "light" : "dark");

/** A colour of the design as it is now, for a canvas: `rgb(…)`. @param {string} name such as `--hot` */
export function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

system.addEventListener("change", () => {
  if (choice.peek() === "system") themed.value = themed.peek() + 1;
});
