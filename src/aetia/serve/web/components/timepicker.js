/** The time range of all pages: last so long, or from and to. */

import { h, signal } from "../lib/dom.js";
import { absolute, asked, bounds, instant, label, RANGES, setRange } from "../lib/range.js";
import { icon } from "./icon.js";
import { popover } from "./overlay.js";

export function timepicker() {
  const button = h(
    "button.button.bare.range",
    { "aria-haspopup": "dialog", "aria-expanded": "false", "aria-label": () => `Time range: ${label()}`, onclick: open },
    icon("clock"),
    h("span.words", {}, label),
    icon("down"),
  );
  function open() {
    popover(button, menu, "Time range");
  }
  return button;
}

/** @param {() => void} close */
function menu(close) {
  const { start, end } = bounds();
  const wrong = signal("");
  const from = h("input.field.wide", { type: "datetime-local", step: "1", value: local(start) });
  const to = h("input.field.wide", { type: "datetime-local", step: "1", value: local(end) });
  const apply = (/** @type {Event} */ event) => {
    event.preventDefault();
    const [first, last] = [instant(from.value), instant(to.value)];
    if (!Number.isFinite(first) || !Number.isFinite(last)) wrong.value = "Both ends are needed.";
    else if (first >= last) wrong.value = "The range ends before it starts.";
    else {
      const found = absolute(first, last);
      setRange(found.start, found.end);
      close();
    }
  };
  const now = asked();
  return [
    RANGES.map(([value, words]) =>
      h(
        "button.item",
        {
          role: "menuitemradio",
          "aria-checked": now.start === value && now.end === "now" ? "true" : "false",
          onclick: () => {
            setRange(value);
            close();
          },
        },
        words,
      ),
    ),
    h("hr"),
    h(
      "form.stack",
      { onsubmit: apply, novalidate: true },
      h("label.of", {}, "From (local time)", from),
      h("label.of", {}, "To", to),
      () => (wrong.value ? h("div.note.bad", { role: "alert" }, wrong.value) : null),
      h("button.button.main", { type: "submit" }, "Apply"),
    ),
  ];
}

/** What a field of local time takes. @param {number} at milliseconds */
function local(at) {
  const date = new Date(at - new Date(at).getTimezoneOffset() * 60e3);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 19);
}
