/** Text for the clipboard. */

import { h, signal } from "../lib/dom.js";
import { icon } from "./icon.js";

/** @param {string} text @param {(done: boolean) => void} [then] */
export async function copyText(text, then = () => {}) {
  try {
    await navigator.clipboard.writeText(text);
    then(true);
  } catch {
    then(byHand(text));
  }
}

/** The clipboard of browsers exists on HTTPS and loopback alone. @param {string} text */
function byHand(text) {
  const area = h("textarea.unseen", { readonly: true, value: text });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** Lines to copy. @param {string} text @param {string} [name] what they are, for assistive technology */
export function copyable(text, name = "these lines") {
  const done = signal(false);
  const told = () => {
    done.value = true;
    setTimeout(() => (done.value = false), 1600);
  };
  return h(
    "div.copy",
    {},
    h("pre", { tabindex: "0" }, text),
    h(
      "button.button.slim.bare",
      { "aria-label": `Copy ${name}`, onclick: () => copyText(text, (worked) => worked && told()) },
      () => (done.value ? [icon("check"), "Copied"] : [icon("copy"), "Copy"]),
    ),
  );
}
