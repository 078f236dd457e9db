/** What can be done about an incident from its page. */

import { address, post } from "../lib/api.js";
import { h, signal } from "../lib/dom.js";
import { bind } from "../lib/keys.js";
import { mayWrite } from "../shell.js";
import { copyText } from "../components/copy.js";
import { icon } from "../components/icon.js";
import { attempt, confirm, popover, toast } from "../components/overlay.js";
import { extent } from "./data.js";
import { recheckAll } from "./checks.js";
import { isOpen } from "./record.js";

/** @typedef {import("./data.js").Data} Data */

/** Another page with the time of the incident. @param {string} path @param {Data} data */
function elsewhere(path, data) {
  return address(path, extent(data) ?? {});
}

/** @param {Data} data */
export function actions(data) {
  const at = `incidents/${encodeURIComponent(data.id)}`;
  const asking = signal(false);
  const diagnose = async () => {
    asking.value = true;
    data.watch();
    await attempt(() => post(`${at}/diagnose`), "A new diagnosis begins");
    asking.value = false;
  };
  const close = () => {
    const why = h("input.field.wide", { placeholder: "rolled back, flag off …", "aria-label": "Why, for the record" });
    confirm("Close this incident?", [h("p.lead", {}, "Harm that still goes on does not open it again; harm that comes later opens another."), h("label.of", {}, "Why, for the record", why)], "Close it", () =>
      attempt(() => post(`${at}/close`, { note: why.value }), "Closed").then(data.reload),
    );
  };
  const link = () => copyText(location.href.split("#")[0], (done) => toast(done ? "Link copied" : "Could not copy", { bad: !done }));
  bind("r", "Diagnose again", () => mayWrite.peek() && diagnose(), "This incident");
  bind("c", "Check all evidence again", () => recheckAll(data), "This incident");
  bind("y", "Copy the link", link, "This incident");

  const more = h("button.button.square", { "aria-label": "More", "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => popover(more, menu, "More", "menu") }, icon("down"));
  /** @param {() => void} shut */
  function menu(shut) {
    const download = (/** @type {string} */ words, /** @type {string} */ path, /** @type {string} */ ending, /** @type {import("../lib/api.js").Params} */ params = {}) =>
      h("a.item.plain", { role: "menuitem", href: address(path, params), download: `${data.id}-${words.split(" ")[0].toLowerCase()}.${ending}`, onclick: shut }, icon("download"), words);
    return [
      download("Postmortem (Markdown)", `${at}/postmortem`, "md", { format: "markdown" }),
      download("Postmortem (HTML)", `${at}/postmortem`, "html", { format: "html" }),
      download("Report (HTML)", `${at}/diagnosis`, "html", { format: "html" }),
      download("Diagnosis (JSON)", `${at}/diagnosis`, "json"),
      h("hr"),
      h("a.item.plain", { role: "menuitem", href: elsewhere("/explore/services", data), onclick: shut }, icon("explore"), "Explore this time"),
      h("a.item.plain", { role: "menuitem", href: elsewhere("/compare", data), onclick: shut }, icon("compare"), "Compare in this time"),
      h("button.item", { role: "menuitem", onclick: () => { shut(); link(); } }, icon("link"), "Copy the link"),
      data.record.peek() && isOpen(/** @type {any} */ (data.record.peek())) && mayWrite.peek()
        ? h("button.item", { role: "menuitem", onclick: () => { shut(); close(); } }, icon("check"), "Close the incident")
        : null,
    ];
  }
  return h(
    "div.row.actions",
    {},
    h("button.button", { "aria-label": "Check evidence", onclick: () => recheckAll(data), disabled: () => !data.diagnosis.value?.evidence.length }, icon("check"), h("span.words", {}, "Check evidence")),
    h("button.button.main", { "aria-label": () => (data.diagnosis.value ? "Diagnose again" : "Diagnose"), onclick: diagnose, disabled: () => asking.value || !mayWrite.value, title: () => (mayWrite.value ? "" : "Your token may only read") }, icon("again"), h("span.words", {}, () => (data.diagnosis.value ? "Diagnose again" : "Diagnose"))),
    more,
  );
}
