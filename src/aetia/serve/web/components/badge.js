/** Small facts with a colour that means something. */

import { h } from "../lib/dom.js";
import { icon } from "./icon.js";

/** @param {string} text @param {string} [role] a class of `.badge` */
export const badge = (text, role = "") => h("span.badge", { class: role }, text);

const SEVERITIES = ["critical", "major", "minor"];

/** @param {string | null | undefined} level */
export function severity(level) {
  const known = level && SEVERITIES.includes(level) ? level : "";
  return h("span.badge", { class: known }, h("i"), known || "unknown");
}

/** @param {string} state open or closed @param {string} [word] */
export function state(state, word = state) {
  return state === "open" ? h("span.badge.hot", {}, h("i"), word) : h("span.badge.line", {}, icon("check"), word);
}
