/** A map of services: callers left of what they call, drawn by Cytoscape at places of our own layout.
 *
 * The canvas says nothing to assistive technology, so a page shows the same beside it in words.
 */

import { effect, h, onEnd } from "../lib/dom.js";
import { plain } from "../lib/format.js";
import { layered } from "../lib/layered.js";
import { colour, themed } from "../lib/theme.js";
import { icon } from "./icon.js";

/**
 * @typedef {object} MapNode
 * @property {string} id
 * @property {string} label
 * @property {string} [note] a second line
 * @property {number | null} [heat] 0..1: how much it is suspected, or how bad it is
 * @property {string[]} [marks] `root`, `hurt`, `external`, `faint`, `lit`
 *
 * @typedef {object} MapEdge
 * @property {string} id
 * @property {string} source
 * @property {string} target
 * @property {string} [label]
 * @property {number} [weight] 0..1: how thick
 * @property {string[]} [marks] `way` (of the fault), `back` (it went against the call), `bad`, `lit`
 */

const WIDTH = 148;
const HEIGHT = 38;
const HIGHEST = 560;
/** Between layers and between the nodes of one, in px, where layers lie side by side and where they lie one below another. */
const ACROSS = { layer: WIDTH + 60, row: HEIGHT + 18 };
const DOWN = { layer: HEIGHT + 40, row: WIDTH + 20 };

/** Draw nodes and edges; `pick` hears which node is chosen, null for none. `mark` of the result adds and takes marks
 * without a new drawing; `controls` are its buttons for zooming.
 * @param {{nodes: MapNode[], edges: MapEdge[], label: string, pick?: (id: string | null) => void, height?: number}} options */
export function map({ nodes, edges, label, pick, height }) {
  const index = new Map(nodes.map((node, at) => [node.id, at]));
  const known = edges.filter((edge) => index.has(edge.source) && index.has(edge.target));
  const drawn = layered(nodes.length, known.map((edge) => [index.get(edge.source) ?? 0, index.get(edge.target) ?? 0]));
  const canvas = h("div.canvas", { role: "img", "aria-label": label, style: { height: `${height ?? 320}px` } });
  /** @type {any} */
  let cy = null;
  /** @type {Map<string, string[]>} */
  const marks = new Map([...nodes, ...known].map((item) => [item.id, item.marks ?? []]));
  let ended = false;
  let begun = false;

  const begin = async () => {
    begun = true;
    const { down, tall } = best(drawn, canvas.clientWidth - 32, height ?? HIGHEST);
    if (height === undefined) canvas.style.height = `${tall}px`;
    const { default: cytoscape } = await import("../vendor/cytoscape/cytoscape.esm.min.js");
    if (ended) return;
    cy = cytoscape({
      container: canvas,
      elements: elements(nodes, known, drawn, marks, down),
      layout: { name: "preset" },
      style: sheet(),
      minZoom: 0.2,
      maxZoom: 2.5,
      userZoomingEnabled: false,
      boxSelectionEnabled: false,
      autoungrabify: true,
      userPanningEnabled: matchMedia("(pointer: fine)").matches,
    });
    fit();
    cy.on("tap", (/** @type {any} */ event) => pick?.(event.target !== cy && event.target.isNode?.() ? event.target.id() : null));
    cy.on("mouseover", "node", () => canvas.classList.add("over"));
    cy.on("mouseout", "node", () => canvas.classList.remove("over"));
    performance.mark("aetia-map-ready");
  };
  const fit = () => {
    cy.resize();
    cy.fit(undefined, 16);
    if (cy.zoom() > 1.05) {
      cy.zoom(1.05);
      cy.center();
    }
  };
  const watch = new ResizeObserver(() => {
    if (cy) fit();
    else if (!begun && canvas.clientWidth > 0) void begin();
  });
  watch.observe(canvas);
  effect(() => {
    void themed.value;
    cy?.style(sheet());
  });
  onEnd(() => {
    ended = true;
    watch.disconnect();
    cy?.destroy();
  });
  const zoom = (/** @type {number} */ by) => cy?.zoom({ level: cy.zoom() * by, renderedPosition: { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 } });
  const controls = h(
    "div.row.zoom",
    {},
    h("button.button.square.slim", { "aria-label": "Larger", onclick: () => zoom(1.25) }, icon("plus")),
    h("button.button.square.slim", { "aria-label": "Smaller", onclick: () => zoom(0.8) }, icon("minus")),
    h("button.button.square.slim", { "aria-label": "Show all", onclick: () => cy && fit() }, icon("fit")),
  );
  return {
    node: h("div.map", {}, canvas),
    controls,
    /** Set the classes of elements: {id: marks}. @param {Map<string, string[]>} wanted */
    mark(wanted) {
      for (const [id, names] of wanted) marks.set(id, names);
      cy?.batch(() => {
        for (const [id, names] of wanted) {
          const held = cy.getElementById(id);
          held.classes([...names, ...(held.data("bent") ? ["bent"] : [])]);
        }
      });
    },
  };
}

/** Whether layers lie better one below another, and how tall the drawing then is: whatever can be read more easily.
 * @param {import("../lib/layered.js").Layout} drawn @param {number} width @param {number} highest */
function best(drawn, width, highest) {
  const size = (/** @type {{layer: number, row: number}} */ gap) => ({ long: drawn.layers * gap.layer, wide: drawn.height * gap.row });
  const [across, down] = [size(ACROSS), size(DOWN)];
  const scale = (/** @type {number} */ w, /** @type {number} */ h) => Math.min(width / w, highest / h, 1.05);
  const [flat, steep] = [scale(across.long, across.wide), scale(down.wide, down.long)];
  const turned = steep > flat * 1.1;
  const tall = turned ? down.long * steep : across.wide * flat;
  return { down: turned, tall: Math.round(Math.min(Math.max(tall + 40, 150), highest)) };
}

/** @param {MapNode[]} nodes @param {MapEdge[]} edges @param {import("../lib/layered.js").Layout} drawn
 * @param {Map<string, string[]>} marks @param {boolean} down */
function elements(nodes, edges, drawn, marks, down) {
  const at = (/** @type {[number, number]} */ [layer, row]) =>
    down ? { x: row * DOWN.row, y: layer * DOWN.layer } : { x: layer * ACROSS.layer, y: row * ACROSS.row };
  return [
    ...nodes.map((node, index) => ({
      group: "nodes",
      data: { id: node.id, label: plain(node.label, 21) + (node.note ? `\n${plain(node.note, 26)}` : ""), heat: node.heat ?? 0 },
      classes: marks.get(node.id),
      position: at(drawn.place[index]),
    })),
    ...edges.map((edge, index) => ({
      group: "edges",
      data: { id: edge.id, source: edge.source, target: edge.target, label: edge.label ?? "", weight: edge.weight ?? 0, bent: drawn.routes[index].length > 2, ...bends(drawn.routes[index].map(at)) },
      classes: [...(marks.get(edge.id) ?? []), ...(drawn.routes[index].length > 2 ? ["bent"] : [])],
    })),
  ];
}

/** The points between as Cytoscape takes them: how far along the straight line, and how far from it.
 * @param {Array<{x: number, y: number}>} points */
function bends(points) {
  const [first, last] = [points[0], points[points.length - 1]];
  const [dx, dy] = [last.x - first.x, last.y - first.y];
  const length = Math.hypot(dx, dy) || 1;
  const between = points.slice(1, -1);
  return {
    weights: between.map(({ x, y }) => ((x - first.x) * dx + (y - first.y) * dy) / length ** 2),
    distances: between.map(({ x, y }) => ((y - first.y) * dx - (x - first.x) * dy) / length),
  };
}

/** @param {string} from `rgb(r, g, b)` @param {string} to @param {number} share */
export function mixed(from, to, share) {
  const parts = (/** @type {string} */ text) => (text.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((value, index) => Math.round(value + (b[index] - value) * share)).join(",")})`;
}

/** The style, in the colours of the theme as it is now. */
function sheet() {
  const [card, line, ink, faint, hot, cool, act, paper] = ["--card", "--line-strong", "--ink", "--ink-faint", "--hot-solid", "--cool", "--act", "--paper"].map(colour);
  const heat = (/** @type {any} */ node) => mixed(card, hot, Math.min(0.12, (node.data("heat") ?? 0) * 0.12));
  return [
    {
      selector: "node",
      style: {
        shape: "round-rectangle", "corner-radius": 7, width: WIDTH, height: HEIGHT,
        "background-color": heat, "border-width": 1, "border-color": line,
        label: "data(label)", color: ink, "font-family": getComputedStyle(document.body).fontFamily, "font-size": 12, "line-height": 1.25,
        "text-valign": "center", "text-halign": "center", "text-wrap": "wrap", "text-max-width": 4 * WIDTH, // lines break where we say, names are cut before
        "transition-property": "background-color, border-color, border-width", "transition-duration": 220,
      },
    },
    { selector: "node.external", style: { "border-style": "dashed" } },
    { selector: "node.hurt", style: { "border-color": cool, "border-width": 2 } },
    { selector: "node.way", style: { "border-color": mixed(line, hot, 0.55) } },
    { selector: "node.root", style: { "border-color": hot, "border-width": 2.5, "font-weight": 700 } },
    { selector: "node.lit", style: { "border-color": hot, "border-width": 2.5, "background-color": mixed(card, hot, 0.16) } },
    { selector: "node.lit.root", style: { "background-color": mixed(card, hot, 0.3) } },
    { selector: "node.lit.hurt", style: { "border-color": hot } },
    { selector: "node.faint", style: { opacity: 0.42 } },
    { selector: "node.chosen", style: { "overlay-color": act, "overlay-opacity": 0.14, "overlay-padding": 5 } },
    {
      selector: "edge",
      style: {
        width: (/** @type {any} */ edge) => 1.1 + 2 * (edge.data("weight") ?? 0), "line-color": line, "curve-style": "bezier",
        "target-arrow-shape": "triangle", "target-arrow-color": line, "arrow-scale": 0.8, opacity: 0.75,
        label: "data(label)", "font-size": 10, color: faint, "text-background-color": paper, "text-background-opacity": 0.9, "text-background-padding": 2,
        "transition-property": "line-color, width, opacity", "transition-duration": 220,
      },
    },
    { selector: "edge.bent", style: { "curve-style": "unbundled-bezier", "control-point-weights": "data(weights)", "control-point-distances": "data(distances)", "edge-distances": "node-position" } },
    { selector: "edge.bad", style: { "line-color": mixed(line, hot, 0.7), "target-arrow-color": mixed(line, hot, 0.7) } },
    { selector: "edge.way", style: { "line-color": mixed(line, hot, 0.5), width: 2.5, opacity: 1 } },
    { selector: "edge.way.back", style: { "target-arrow-shape": "none", "source-arrow-shape": "triangle", "source-arrow-color": mixed(line, hot, 0.5) } },
    { selector: "edge.lit", style: { "line-color": hot, "target-arrow-color": hot, "source-arrow-color": hot, width: 3.5, opacity: 1 } },
    { selector: "edge.faint", style: { opacity: 0.16 } },
  ];
}
