/** What happened around it: answers so far, changes, alerts, notes. */

import { post } from "../lib/api.js";
import { h, signal } from "../lib/dom.js";
import { clock, duration, ms, percent, plain } from "../lib/format.js";
import { fault } from "../lib/words.js";
import { mayWrite } from "../shell.js";
import { badge } from "../components/badge.js";
import { attempt } from "../components/overlay.js";
import { when } from "../components/time.js";
import { titled } from "./page.js";

/** @typedef {import("./data.js").Data} Data */

/** @param {Data} data */
export function history(data) {
  return [
    titled("history", "History"),
    h(
      "div.body.columns",
      {},
      h("div", {}, h("h3", {}, "Answers so far"), () => revisions(data.revisions.value), () => alerts(data)),
      h("div", {}, h("h3", {}, "Changes around it"), () => changes(data), h("h3", {}, "Notes"), () => notes(data), () => (mayWrite.value ? noteForm(data) : null)),
    ),
  ];
}

/** @param {import("../lib/types.js").Summary[]} rows */
function revisions(rows) {
  if (rows.length === 0) return h("p.soft", {}, "None yet.");
  return h(
    "ol.timeline",
    {},
    rows.toReversed().map((row) =>
      h(
        "li",
        {},
        h("span.at", {}, when(row.at_ns, { day: false })),
        h(
          "div",
          {},
          h("p", {}, row.failed ? h("span.bad", {}, `failed: ${plain(row.failed, 200)}`) : row.roots.length ? [h("span.strong", {}, plain(row.roots.join(" and "), 120)), fault(row) ? `, ${fault(row)}` : "", row.probability === null ? "" : `, ${percent(row.probability)}`] : `no root cause named: ${plain(row.abstained ?? "", 160)}`),
          h("p.small.faint", {}, `answer ${row.revision}, ${plain(row.why, 120)}, in ${duration(row.seconds * 1e9)}`),
        ),
      ),
    ),
  );
}

/** @param {Data} data */
function alerts(data) {
  const rows = data.record.value?.alerts ?? [];
  if (rows.length === 0) return null;
  return [
    h("h3", {}, "Alerts that belong to it"),
    h("ol.timeline", {}, rows.map((alert) => h("li", {}, h("span.at", {}, when(alert.starts_ns, { day: false })), h("div", {}, h("p.row", {}, h("span.strong", {}, plain(alert.name, 100)), badge(alert.status, alert.status === "firing" ? "major" : "line")), h("p.small.faint", {}, plain([alert.service, alert.ends_ns ? `until ${clock(ms(alert.ends_ns))}` : ""].filter(Boolean).join(", "), 160)))))),
  ];
}

/** @param {Data} data */
function changes(data) {
  const rows = data.changes.value;
  const onset = data.record.value?.onset_ns ?? 0;
  if (rows.length === 0) return h("p.soft", {}, "No deploy, flag, restart or other change was told of.");
  return h(
    "ol.timeline",
    {},
    rows.toReversed().map((row) =>
      h("li", {}, h("span.at", {}, when(row.time_ns, { day: false })), h("div", {}, h("p.row", {}, badge(plain(row.kind, 20), "change"), h("span.strong", {}, plain(row.service ?? "", 80))), h("p.soft", {}, plain(row.description ?? "", 240)), h("p.small.faint", {}, Math.abs(onset - row.time_ns) < 1e9 ? "as users were hurt" : row.time_ns < onset ? `${duration(onset - row.time_ns)} before users were hurt` : `${duration(row.time_ns - onset)} after`))),
    ),
  );
}

/** @param {Data} data */
function notes(data) {
  const rows = data.record.value?.notes ?? [];
  if (rows.length === 0) return h("p.soft", {}, "None yet.");
  return h("ol.timeline", {}, rows.map((note) => h("li", {}, h("span.at", {}, when(note.at_ns, { day: false })), h("div", {}, h("p.pre", {}, note.text), note.by ? h("p.small.faint", {}, plain(note.by, 60)) : null))));
}

/** @param {Data} data */
function noteForm(data) {
  const text = signal("");
  const field = h("textarea.field.wide", { rows: 2, maxlength: 10000, placeholder: "What was found, tried, decided", "aria-label": "A note", oninput: () => (text.value = field.value) });
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const done = await attempt(() => post(`incidents/${encodeURIComponent(data.id)}/notes`, { text: field.value }), "Noted");
    if (done) {
      field.value = text.value = "";
      data.record.value = done;
    }
  };
  return h("form.noteform", { onsubmit: send }, field, h("button.button.slim", { type: "submit", disabled: () => !text.value.trim() }, "Add note"));
}
