/** A table that sorts by its heads, moves by j and k and opens by Enter. */

import { each, effect, h, signal } from "../lib/dom.js";
import { bind } from "../lib/keys.js";
import { icon } from "./icon.js";

/** @template T
 * @typedef {object} Column
 * @property {string} key
 * @property {string} title
 * @property {(row: T) => any} cell content of a cell
 * @property {(row: T) => number | string | null | undefined} [by] what it sorts by; not sortable without
 * @property {boolean} [num] numbers: to the right
 * @property {string} [narrow] class of the cell where rows are cards: `whole`, `right` or `gone`
 * @property {string} [help] what the column means
 */

/** @template T
 * @typedef {object} Options
 * @property {Column<T>[]} columns
 * @property {() => T[]} rows
 * @property {(row: T) => string | number} key
 * @property {(row: T) => void} [open]
 * @property {{key: string, down: boolean}} [sort] at first; rows keep their order without
 * @property {string} label
 * @property {boolean} [keyboard] whether j, k and Enter belong to this table
 * @property {(row: T) => boolean} [chosen] marks rows
 */

/** @template T @param {Options<T>} options @returns {HTMLElement} */
export function table({ columns, rows, key, open, sort, label, keyboard = false, chosen }) {
  const sorted = signal(sort ?? null);
  const at = signal(/** @type {string | number | null} */ (null));
  const body = h("tbody");
  const shown = () => {
    const by = columns.find((column) => column.key === sorted.value?.key)?.by;
    return by ? ordered(rows(), by, sorted.value?.down ?? false) : rows();
  };
  each(
    shown,
    key,
    (row) => {
      const mine = key(row.peek());
      return h(
        "tr",
        {
          "aria-selected": () => (at.value === mine || chosen?.(row.value) ? "true" : null),
          onclick: (/** @type {MouseEvent} */ event) => {
            if (!(event.target instanceof Element) || event.target.closest("a, button, input") || String(getSelection())) return;
            open?.(row.peek());
          },
        },
        columns.map((column) =>
          h("td", { class: [column.num && "num", column.narrow], "data-label": column.narrow === "right" ? column.title : null }, () => column.cell(row.value)),
        ),
      );
    },
    body,
  );
  const box = h(
    "div.tablebox",
    {},
    h(
      "table.grid",
      { "aria-label": label, class: [open && "opens", columns.some((column) => column.narrow) && "cards"] },
      h("thead", {}, h("tr", {}, columns.map((column) => head(column, sorted)))),
      body,
    ),
  );
  if (keyboard) keys(box, shown, key, at, open);
  return box;
}

/** @param {Column<any>} column @param {import("../lib/dom.js").Signal<{key: string, down: boolean} | null>} sorted */
function head(column, sorted) {
  const direction = () => (sorted.value?.key === column.key ? (sorted.value.down ? "descending" : "ascending") : null);
  const turn = () => {
    const same = sorted.peek()?.key === column.key;
    sorted.value = { key: column.key, down: same ? !sorted.peek()?.down : Boolean(column.num) };
  };
  const content = column.by ? h("button", { onclick: turn }, column.title, icon("down")) : column.title;
  return h("th", { scope: "col", class: column.num ? "num" : "", "aria-sort": direction, title: column.help }, content);
}

/** Missing values last, whatever the direction. @template T @param {T[]} rows
 * @param {(row: T) => number | string | null | undefined} by @param {boolean} down */
export function ordered(rows, by, down) {
  const turn = down ? -1 : 1;
  return [...rows].sort((left, right) => {
    const [a, b] = [by(left), by(right)];
    if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
    if (b === null || b === undefined) return -1;
    return typeof a === "string" || typeof b === "string" ? turn * String(a).localeCompare(String(b)) : turn * (a - b);
  });
}

/** @param {HTMLElement} box @param {() => any[]} shown @param {(row: any) => string | number} key
 * @param {import("../lib/dom.js").Signal<string | number | null>} at @param {((row: any) => void) | undefined} open */
function keys(box, shown, key, at, open) {
  /** @param {number} by */
  const move = (by) => {
    const names = shown().map(key);
    const now = names.indexOf(at.peek() ?? "");
    const next = Math.max(0, Math.min(names.length - 1, now < 0 ? (by > 0 ? 0 : names.length - 1) : now + by));
    at.value = names[next] ?? null;
    box.querySelectorAll("tbody tr")[next]?.scrollIntoView({ block: "nearest" });
  };
  bind("j", "Next row", () => move(1), "Lists");
  bind("k", "Row before", () => move(-1), "Lists");
  if (open) {
    bind("Enter", "Open the row", () => {
      const row = shown().find((item) => key(item) === at.peek());
      if (row) open(row);
    }, "Lists");
  }
  effect(() => {
    const names = shown().map(key);
    if (at.peek() !== null && !names.includes(at.peek() ?? "")) at.value = null;
  });
}
