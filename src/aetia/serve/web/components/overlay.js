/** Dialogs, menus and short messages. */

import { append, h, scoped } from "../lib/dom.js";
import { sentence } from "../lib/format.js";
import { icon } from "./icon.js";

/** A dialog that ends with Escape or its button; focus goes back to where it was.
 * @param {string} title @param {(close: () => void) => any} body @param {{foot?: (close: () => void) => any}} [how] */
export function dialog(title, body, { foot } = {}) {
  const before = document.activeElement;
  const node = h("dialog", { "aria-label": title });
  const close = () => node.close();
  const [, end] = scoped(() =>
    append(node, [
      h("div.head", {}, h("h2", {}, title), h("button.button.bare.square", { "aria-label": "Close", onclick: close }, icon("close"))),
      h("div.body", {}, body(close)),
      foot ? h("div.foot", {}, foot(close)) : null,
    ]),
  );
  node.addEventListener("close", () => {
    end();
    node.remove();
    if (before instanceof HTMLElement) before.focus();
  });
  node.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === node && close());
  document.body.append(node);
  node.showModal();
  return close;
}

/** Ask before something that cannot be undone. @param {string} title @param {any} words @param {string} yes
 * @param {() => void} run */
export function confirm(title, words, yes, run) {
  dialog(title, () => h("div.stack", {}, words), {
    foot: (close) => [
      h("button.button", { onclick: close }, "Cancel"),
      h("button.button.main", { autofocus: true, onclick: () => { close(); run(); } }, yes),
    ],
  });
}

/** @type {(() => void) | null} */
let shut = null;

/** Something small below a button; a second click, Escape or a click elsewhere ends it.
 * @param {HTMLElement} anchor @param {(close: () => void) => any} body @param {string} label @param {string} [role] */
export function popover(anchor, body, label, role = "dialog") {
  const again = anchor.getAttribute("aria-expanded") === "true";
  shut?.();
  if (again) return;
  const node = h("div.popover", { role, "aria-label": label, tabindex: "-1" });
  const [, end] = scoped(() => append(node, [body(close)]));
  function close() {
    end();
    node.remove();
    anchor.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    document.removeEventListener("keydown", key, true);
    shut = null;
  }
  /** @param {Event} event */
  function outside(event) {
    if (event.target instanceof Node && !node.contains(event.target) && !anchor.contains(event.target)) close();
  }
  /** @param {KeyboardEvent} event */
  function key(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close();
      anchor.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const items = [...node.querySelectorAll("button, input, a[href]")];
      const at = items.indexOf(/** @type {Element} */ (document.activeElement));
      const next = items[(at + (event.key === "ArrowDown" ? 1 : items.length - 1) + items.length) % items.length];
      if (next instanceof HTMLElement && !(document.activeElement instanceof HTMLInputElement)) {
        event.preventDefault();
        next.focus();
      }
    }
  }
  document.body.append(node);
  place(node, anchor);
  anchor.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  document.addEventListener("keydown", key, true);
  shut = close;
  node.focus();
}

/** @param {HTMLElement} node @param {HTMLElement} anchor */
function place(node, anchor) {
  const at = anchor.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left, innerWidth - node.offsetWidth - 8));
  const above = at.bottom + node.offsetHeight + 8 > innerHeight && at.top > node.offsetHeight + 8;
  node.style.left = `${left}px`;
  node.style.top = `${above ? at.top - node.offsetHeight - 4 : at.bottom + 4}px`;
}

const toasts = h("div.toasts", { role: "status", "aria-live": "polite" });

/** A short message that goes by itself. @param {string} text @param {{bad?: boolean}} [how] */
export function toast(text, { bad = false } = {}) {
  if (!toasts.isConnected) document.body.append(toasts);
  const node = h("div.toast", { class: bad ? "bad" : "" }, h("span", {}, text));
  toasts.append(node);
  setTimeout(() => node.remove(), bad ? 8000 : 4000);
}

/** Run something that may fail, and say so. @param {() => Promise<any>} work @param {string} [done] */
export async function attempt(work, done) {
  try {
    const answer = await work();
    if (done) toast(done);
    return answer;
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) toast(sentence(String(error instanceof Error ? error.message : error)), { bad: true });
    return undefined;
  }
}
