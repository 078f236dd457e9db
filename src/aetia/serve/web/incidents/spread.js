/** How the fault spread: the map of services, played over time, and the same in words. */

import { effect, h, onEnd, signal } from "../lib/dom.js";
import { clock, duration, ms, percent, plain, plural } from "../lib/format.js";
import { bind } from "../lib/keys.js";
import { LIKELY, roots } from "../lib/words.js";
import { icon } from "../components/icon.js";
import { map } from "../components/map.js";
import { when } from "../components/time.js";
import { moments, onMap } from "./course.js";
import { titled } from "./page.js";

/** @typedef {import("./data.js").Data} Data */
/** @typedef {import("./course.js").Step} Step */

const PLAY_MS = 7000;
const narrow = matchMedia("(max-width: 640px)");

/** @param {Data} data */
export function spread(data) {
  const graph = data.exhibits.peek().graph ?? null;
  const found = data.diagnosis.peek();
  if (!found) return null;
  const steps = data.course.peek();
  const chosen = signal(/** @type {string | null} */ (null));
  const all = signal(!narrow.matches);
  const zoom = signal(/** @type {Element | null} */ (null));
  const lit = signal(steps.length);
  const scale = scaleOf(found, steps);
  const shown = moments(steps, scale.end - scale.start);
  const at = signal(scale.end);
  effect(() => {
    lit.value = shown.filter((moment) => moment <= at.value).length;
  });
  const more = graph && graph.nodes.some((node) => !marked(node)) && narrow.matches;
  return [
    titled(
      "spread",
      "How it spread",
      graph?.hidden ? h("span.small.faint", {}, `${plural(graph.hidden, "service")} further away not shown`) : null,
      more ? h("button.button.slim", { "aria-pressed": () => String(all.value), onclick: () => (all.value = !all.peek()) }, "All services") : null,
    ),
    h(
      "div.spread",
      {},
      h(
        "div.stage",
        {},
        graph ? () => drawn(graph, found, steps, lit, chosen, all.value, zoom) : h("p.state.slim", {}, "No call graph was recorded."),
        steps.length > 1 ? scrubber(scale, steps, shown, at, () => (chosen.value = null)) : null,
        h("div.row.below", {}, legend(), h("span.room"), () => zoom.value),
      ),
      h("div.course", {}, () => (chosen.value ? about(chosen.value, found, graph, () => (chosen.value = null)) : words(steps, lit, at, shown))),
    ),
  ];
}

/** @param {import("../lib/types.js").GraphNode} node */
const marked = (node) => node.root || node.on_path || node.entry;

/** @param {import("../lib/types.js").CallGraph} graph @param {import("../lib/types.js").Diagnosis} found @param {Step[]} steps
 * @param {import("../lib/dom.js").Signal<number>} lit @param {import("../lib/dom.js").Signal<string | null>} chosen @param {boolean} all
 * @param {import("../lib/dom.js").Signal<Element | null>} zoom */
function drawn(graph, found, steps, lit, chosen, all, zoom) {
  const kept = graph.nodes.filter((node) => all || marked(node));
  const names = new Set(kept.map((node) => node.name));
  const most = Math.max(...graph.edges.map((edge) => edge.calls), 1);
  /** @type {Map<string, number>} */
  const likely = new Map();
  for (const item of found.hypotheses) if (!likely.has(onMap(item.entity))) likely.set(onMap(item.entity), item.probability ?? 0);
  const unsure = Math.max(0, ...roots(found).map((item) => item.probability ?? 1)) < LIKELY;
  const nodes = kept.map((node) => ({
    id: node.name,
    label: node.name,
    note: note(node, unsure),
    heat: likely.get(node.name) ?? node.probability ?? 0,
    marks: [],
  }));
  const edges = graph.edges
    .map((edge, index) => ({ edge, id: `e${index}`, source: graph.nodes[edge.caller].name, target: graph.nodes[edge.callee].name }))
    .filter(({ source, target }) => names.has(source) && names.has(target))
    .map(({ edge, id, source, target }) => ({ id, source, target, weight: Math.log1p(edge.calls) / Math.log1p(most), marks: edge.spread ? ["way", ...(edge.backwards ? ["back"] : [])] : [] }));
  const path = steps.filter((step) => step.kind !== "hurt").map((step) => step.service);
  const picture = map({ nodes, edges, label: `Map of ${nodes.length} services; the fault went ${path.join(", then ") || "nowhere that was seen"}.`, pick: (id) => (chosen.value = id) });
  effect(() => {
    const reached = steps.slice(0, lit.value);
    const hot = new Set(reached.filter((step) => step.kind !== "hurt").map((step) => step.service));
    const gone = new Set(reached.filter((step) => step.from).map((step) => `${step.from}>${step.service}`));
    /** @type {Map<string, string[]>} */
    const marks = new Map();
    for (const node of kept) {
      marks.set(node.name, [
        node.root && hot.has(node.name) && "root",
        node.on_path && "way",
        node.entry && "hurt",
        node.external && "external",
        hot.has(node.name) && "lit",
        chosen.value === node.name && "chosen",
      ].filter((name) => typeof name === "string"));
    }
    for (const edge of edges) {
      const went = gone.has(`${edge.target}>${edge.source}`) || gone.has(`${edge.source}>${edge.target}`);
      marks.set(edge.id, [...(edge.marks ?? []), ...(went ? ["lit"] : [])]);
    }
    picture.mark(marks);
  });
  zoom.value = picture.controls;
  return picture.node;
}

/** @param {import("../lib/types.js").GraphNode} node @param {boolean} unsure */
function note(node, unsure) {
  return [node.root ? (unsure ? "first suspect" : "root cause") : "", node.probability !== null && node.probability >= 0.01 ? percent(node.probability) : "", node.entry ? "users hurt" : "", node.external ? "external" : ""].filter(Boolean).slice(0, 2).join(" · ");
}

/** The time that the scrubber covers: a little before the fault until all steps were seen.
 * @param {import("../lib/types.js").Diagnosis} found @param {Step[]} steps */
function scaleOf(found, steps) {
  const first = Math.min(...steps.map((step) => step.at_ns), found.incident?.onset_ns ?? Infinity);
  const last = Math.max(...steps.map((step) => step.at_ns), first);
  const room = Math.max((last - first) * 0.25, 10e9);
  return { start: first - room, end: last + room };
}

/** @param {{start: number, end: number}} scale @param {Step[]} steps @param {number[]} shown
 * @param {import("../lib/dom.js").Signal<number>} at @param {() => void} begin */
function scrubber(scale, steps, shown, at, begin) {
  const share = (/** @type {number} */ ns) => (ns - scale.start) / (scale.end - scale.start);
  const playing = signal(false);
  let frame = 0;
  const stop = () => {
    cancelAnimationFrame(frame);
    playing.value = false;
  };
  const play = () => {
    if (playing.peek()) return stop();
    playing.value = true;
    begin();
    if (share(at.peek()) > 0.98) at.value = scale.start;
    let before = performance.now();
    const tick = (/** @type {number} */ now) => {
      at.value = Math.min(scale.end, at.peek() + ((now - before) / PLAY_MS) * (scale.end - scale.start));
      before = now;
      if (at.peek() >= scale.end) stop();
      else frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
  };
  onEnd(stop);
  bind("p", "Play how it spread", play, "This incident");
  const slider = h("input.slider", {
    type: "range", min: 0, max: 1000, step: 1, "aria-label": "Moment", value: () => Math.round(share(at.value) * 1000),
    "aria-valuetext": () => clock(ms(at.value)),
    oninput: () => {
      stop();
      at.value = scale.start + (Number(slider.value) / 1000) * (scale.end - scale.start);
    },
  });
  return h(
    "div.scrubber",
    {},
    h("button.button.square", { "aria-label": () => (playing.value ? "Pause" : "Play"), onclick: play }, () => icon(playing.value ? "pause" : "play")),
    h(
      "div.track",
      {},
      slider,
      h("div.ticks", { "aria-hidden": "true" }, steps.map((step, index) => h("i", { class: step.kind, style: { left: `${share(shown[index]) * 100}%` } }))),
    ),
    h("output.small", {}, () => clock(ms(at.value))),
  );
}

/** The course in words; what the slider has reached stands out. @param {Step[]} steps
 * @param {import("../lib/dom.js").Signal<number>} lit @param {import("../lib/dom.js").Signal<number>} at @param {number[]} shown */
function words(steps, lit, at, shown) {
  if (steps.length === 0) return h("p.soft", {}, "No root cause is named, so there is no path to follow.");
  const first = steps[0].at_ns;
  return [
    h("h3.unseen", {}, "The course in words"),
    h(
      "ol.steps",
      {},
      steps.map((step, index) =>
        h(
          "li",
          { class: () => [step.kind, index < lit.value ? "reached" : ""] },
          h(
            "button",
            { onclick: () => (at.value = shown[index]) },
            h("span.at", { title: step.within_ns ? `known to ${duration(step.within_ns)}` : null }, index === 0 ? when(step.at_ns, { day: false }) : step.at_ns - first < 5e8 ? "at once" : `+${duration(Math.round((step.at_ns - first) / 1e8) * 1e8)}`),
            h("span.who", {}, plain(step.service, 60)),
            h("span.said", {}, step.text),
          ),
          step.evidence ? h("a.small", { href: `#${step.evidence}`, "aria-label": `Evidence about ${plain(step.service, 60)}` }, "evidence") : null,
        ),
      ),
    ),
  ];
}

/** One service of the map. @param {string} name @param {import("../lib/types.js").Diagnosis} found
 * @param {import("../lib/types.js").CallGraph | null} graph @param {() => void} back */
function about(name, found, graph, back) {
  const suspected = found.hypotheses.filter((item) => onMap(item.entity) === name);
  const freed = found.rejected.filter((item) => onMap(item.entity) === name);
  const causes = new Set(roots(found).map((item) => item.entity.name));
  const calls = graph?.edges.filter((edge) => graph.nodes[edge.caller].name === name) ?? [];
  const called = graph?.edges.filter((edge) => graph.nodes[edge.callee].name === name) ?? [];
  const others = (/** @type {any[]} */ edges, /** @type {"caller" | "callee"} */ end) => edges.map((edge) => plain(graph?.nodes[edge[end]].name, 40)).join(", ") || "nobody";
  return [
    h("div.row", {}, h("h3", {}, plain(name, 80)), h("span.room"), h("button.button.slim.bare", { onclick: back }, icon("close"), "Close")),
    h("p.small.soft", {}, `calls ${others(calls, "callee")}; called by ${others(called, "caller")}`),
    suspected.length
      ? h("ul.dots", {}, suspected.slice(0, 4).map((item) => h("li", {}, h("span.strong", {}, plain(item.entity.name, 80)), causes.has(item.entity.name) ? " is the root cause" : "", item.probability === null ? "" : `, ${percent(item.probability)}`, h("span.soft", {}, `. ${plain(item.reason, 240)}`))))
      : null,
    freed.length ? h("ul.dots", {}, freed.map((item) => h("li", {}, h("span.soft", {}, `Ruled out: ${plain(item.reason, 280)}`)))) : null,
    suspected.length + freed.length === 0 ? h("p.soft", {}, "Nothing about it stood out.") : null,
  ];
}

function legend() {
  return h(
    "p.legend",
    {},
    h("span", {}, h("i.root"), "root cause"),
    h("span", {}, h("i.hot"), "way of the fault"),
    h("span", {}, h("i.hurt"), "users hurt here"),
    h("span", {}, "thin: who calls whom; warmer: more suspected"),
  );
}
