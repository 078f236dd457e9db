/** Who it was not, and why; who else is suspected; what had nothing to say and what was not read. */

import { h } from "../lib/dom.js";
import { duration, number, percent, plain } from "../lib/format.js";
import { fault, levelWord, roots } from "../lib/words.js";
import { badge } from "../components/badge.js";
import { probability } from "./item.js";
import { titled } from "./page.js";

/** @typedef {import("./data.js").Data} Data */
const MOST = 10;

/** @param {Data} data */
export function ruled(data) {
  const found = data.diagnosis.peek();
  if (!found) return null;
  const causes = new Set(found.abstained === null ? roots(found) : []);
  const others = found.hypotheses.filter((item) => !causes.has(item) && (item.probability ?? 1) >= 0.002).slice(0, MOST);
  return [
    titled("ruled", "Ruled out, and other candidates"),
    h(
      "div.body.columns",
      {},
      h(
        "div",
        {},
        h("h3", {}, "Not the cause"),
        found.rejected.length
          ? h("ul.reasons", {}, found.rejected.map((item) => h("li", {}, h("p", {}, h("span.strong", {}, plain(item.entity.name, 80)), " ", h("span.faint", {}, levelWord(item.entity.level))), h("p.soft", {}, plain(item.reason || "explained by the root cause", 300)))))
          : h("p.soft", {}, "Nobody had to be ruled out."),
        found.precedents.length ? [h("h3", {}, "Seen before"), h("ul.reasons", {}, found.precedents.map((item) => h("li", {}, h("p", {}, h("span.strong", {}, plain(item.component, 60)), ` ${fault(item)}, ${percent(item.likeness)} alike`), item.remedies.map((one) => h("p.soft", {}, `“${plain(one.action, 200)}” ${one.worked ? "helped" : "did not help"}`)))))] : null,
      ),
      h(
        "div",
        {},
        h("h3", {}, "Other candidates"),
        others.length
          ? h("ul.reasons", {}, others.map((item) => h("li", {}, h("p.row", {}, h("span.strong", {}, plain(item.entity.name, 80)), item.probability === null ? null : probability(item.probability), item.verdict === "open" ? null : badge(item.verdict, "line")), item.reason ? h("p.soft", {}, plain(item.reason, 300)) : null)))
          : h("p.soft", {}, "Nobody else is suspected by more than 0.2 %."),
      ),
    ),
    h("details.limits", {}, h("summary", {}, "What this answer rests on, and what it lacks"), limits(found)),
  ];
}

/** @param {import("../lib/types.js").Diagnosis} found */
function limits(found) {
  const rows = Object.entries(found.cost.rows).filter(([, count]) => count).map(([name, count]) => `${number(count)} ${name}`);
  return h(
    "div.body.columns",
    {},
    h("div", {}, h("h3", {}, "Read"), h("p.soft", {}, `${rows.join(", ") || "nothing"} in ${duration(found.cost.seconds * 1e9)}, localizer ${plain(found.localizer, 40)}.`), found.dropped.length ? [h("h3", {}, "Left out or mended"), h("ul.dots.soft", {}, found.dropped.map((item) => h("li", {}, `${plain(item.table, 20)}: ${number(item.rows)} rows, ${plain(item.reason, 240)}`)))] : null, found.missing.length ? [h("h3", {}, "What would make it surer"), h("ul.dots.soft", {}, found.missing.map((item) => h("li", {}, plain(item, 240))))] : null),
    h("div", {}, h("h3", {}, "Silent kinds of evidence"), h("ul.dots.soft", {}, Object.entries(found.silent).sort().map(([name, why]) => h("li", {}, h("span.strong", {}, name.replaceAll("_", " ")), `: ${plain(why, 240)}`)))),
  );
}
