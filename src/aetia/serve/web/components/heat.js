/** Latency over time as a map: darker where there are more requests, hot where they failed. A box can be drawn on it. */

import { effect, h, onEnd, signal } from "../lib/dom.js";
import { clock, duration, ms, number, percent, plain, plural, utc } from "../lib/format.js";
import { colour, themed } from "../lib/theme.js";
import { mixed } from "./map.js";

/** @typedef {{start_ns: number, step_ns: number, edges_ms: number[], counts: number[][], errors: number[][]}} HeatMap */
/** @typedef {import("../lib/box.js").Box} Box */

const LEFT = 58;
const BELOW = 22;
const TOP = 6;

/** @param {{map: () => HeatMap, box?: () => Box | null, select?: (box: Box | null) => void, height?: number, label: string,
 *   dots?: () => Array<{time_ns: number, ms: number, error: boolean, id: string}>, pick?: (id: string) => void,
 *   changes?: () => import("../lib/types.js").Change[], shade?: () => [number, number] | null,
 *   against?: () => [number, number] | null}} options `shade` is an incident, `against` the time that a box is compared with */
export function heat({ map, box = () => null, select, height = 240, label, dots = () => [], pick, changes = () => [], shade = () => null, against = () => null }) {
  const canvas = h("canvas", { width: 10, height: 10 });
  const told = signal("");
  const stage = h("div.heat", {
    role: select ? "application" : "img", tabindex: select ? "0" : null, style: { height: `${height}px` },
    "aria-label": () => `${label}. ${summary(map())}${changes().length ? ` ${plural(changes().length, "change")}.` : ""}${select ? " Arrows move a box, with Shift they change its size; Escape takes it away." : ""}`,
  }, canvas);
  /** A box while it is drawn. @type {import("../lib/dom.js").Signal<Box | null>} */
  const draft = signal(/** @type {Box | null} */ (null));
  let [width, tall] = [0, 0];

  /** Where things are. */
  const grid = () => {
    const held = map();
    const bins = held.counts.length;
    const rows = Math.max(held.edges_ms.length - 1, 1);
    return { held, bins, rows, cell: (width - LEFT) / Math.max(bins, 1), line: (tall - TOP - BELOW) / rows };
  };
  const draw = () => {
    if (width <= LEFT) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(tall * ratio);
    const ctx = canvas.getContext("2d");
    if (!ctx) return;
    ctx.scale(ratio, ratio);
    paint(ctx, grid(), { width, tall, box: draft.peek() ?? box(), dots: dots() });
    happened(ctx, grid(), { width, tall, changes: changes(), shade: shade(), against: draft.peek() ? null : against() });
  };
  const size = new ResizeObserver(([entry]) => {
    [width, tall] = [Math.floor(entry.contentRect.width), height];
    draw();
  });
  size.observe(stage);
  onEnd(() => size.disconnect());
  effect(() => {
    void [themed.value, map(), box(), draft.value, dots(), changes(), shade(), against()];
    draw();
  });

  /** The bins under a point. @param {PointerEvent | MouseEvent} event */
  const under = (event) => {
    const at = canvas.getBoundingClientRect();
    const { bins, rows, cell, line } = grid();
    const t = Math.max(0, Math.min(bins - 1, Math.floor((event.clientX - at.left - LEFT) / cell)));
    const d = Math.max(0, Math.min(rows - 1, rows - 1 - Math.floor((event.clientY - at.top - TOP) / line)));
    return { t, d };
  };
  /** @param {number} t0 @param {number} t1 @param {number} d0 @param {number} d1 @returns {Box} */
  const boxOf = (t0, t1, d0, d1) => {
    const { held, rows } = grid();
    return {
      start_ns: held.start_ns + Math.min(t0, t1) * held.step_ns,
      end_ns: held.start_ns + (Math.max(t0, t1) + 1) * held.step_ns,
      low_ms: Math.min(d0, d1) === 0 ? 0 : held.edges_ms[Math.min(d0, d1)],
      high_ms: Math.max(d0, d1) >= rows - 1 ? null : held.edges_ms[Math.max(d0, d1) + 1],
    };
  };
  const near = (/** @type {MouseEvent} */ event) => {
    const at = canvas.getBoundingClientRect();
    return nearest(dots(), grid(), event.clientX - at.left, event.clientY - at.top);
  };
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const { held } = grid();
    if (!held.edges_ms.length) return;
    const dot = pick ? near(event) : null;
    canvas.style.cursor = dot ? "pointer" : select ? "crosshair" : "default";
    const { t, d } = under(event);
    const [count, bad] = [held.counts[t]?.[d] ?? 0, held.errors[t]?.[d] ?? 0];
    const time = clock(ms(held.start_ns + t * held.step_ns));
    const change = changes().find((one) => Math.abs(one.time_ns - (held.start_ns + (t + 0.5) * held.step_ns)) <= held.step_ns / 2);
    told.value = change && event.clientY - canvas.getBoundingClientRect().top < TOP + 12
      ? `${clock(ms(change.time_ns))} ${plain(change.kind, 20)}${change.service ? ` of ${plain(change.service, 60)}` : ""}${change.description ? `: ${plain(change.description, 120)}` : ""}`
      : dot
      ? `trace of ${clock(ms(dot.time_ns))} · ${duration(dot.ms * 1e6)}${dot.error ? " · failed" : ""}`
      : `${time} · ${duration(held.edges_ms[d] * 1e6)} – ${duration(held.edges_ms[d + 1] * 1e6)} · ${number(count)} ${count === 1 ? "request" : "requests"}${bad ? ` · ${percent(bad / count)} failed` : ""}`;
  });
  canvas.addEventListener("pointerleave", () => (told.value = ""));
  canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    if (event.button !== 0 || !map().edges_ms.length) return;
    const dot = pick ? near(event) : null;
    if (dot) return pick?.(dot.id);
    if (!select) return;
    event.preventDefault();
    stage.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    const from = under(event);
    const begun = [event.clientX, event.clientY];
    const move = (/** @type {PointerEvent} */ next) => {
      const to = under(next);
      draft.value = boxOf(from.t, to.t, from.d, to.d);
    };
    const end = (/** @type {PointerEvent} */ next) => {
      canvas.removeEventListener("pointermove", move);
      canvas.removeEventListener("pointerup", end);
      canvas.removeEventListener("pointercancel", end);
      const made = draft.peek();
      draft.value = null;
      const far = Math.hypot(next.clientX - begun[0], next.clientY - begun[1]) > 4;
      if (next.type === "pointerup") select(far ? made : null);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
  });
  /** @type {{t0: number, t1: number, d0: number, d1: number} | null} */
  let held = null;
  stage.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (!select || !map().edges_ms.length) return;
    if (event.key === "Escape") {
      held = null;
      return select(null);
    }
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const { bins, rows } = grid();
    const clip = (/** @type {number} */ value, /** @type {number} */ most) => Math.max(0, Math.min(most - 1, value));
    held ??= { t0: Math.floor(bins * 0.6), t1: Math.floor(bins * 0.8), d0: Math.floor(rows * 0.6), d1: rows - 1 };
    if (!event.shiftKey) {
      held.t0 = clip(held.t0 + dx, bins);
      held.d0 = clip(held.d0 + dy, rows);
    }
    held.t1 = clip(held.t1 + dx, bins);
    held.d1 = clip(held.d1 + dy, rows);
    select(boxOf(held.t0, held.t1, held.d0, held.d1));
  });
  return h("figure.chart.heatbox", {}, h("figcaption", {}, h("span.name", {}, label), h("span.readout", {}, () => told.value)), stage);
}

/** @param {Array<{time_ns: number, ms: number, error: boolean, id: string}>} dots @param {any} grid @param {number} x @param {number} y */
function nearest(dots, grid, x, y) {
  let [found, best] = [/** @type {any} */ (null), 8];
  for (const dot of dots) {
    const [px, py] = spot(dot, grid);
    const far = Math.hypot(px - x, py - y);
    if (far < best) [found, best] = [dot, far];
  }
  return found;
}

/** @param {{time_ns: number, ms: number}} dot @param {any} grid @returns {[number, number]} */
function spot(dot, { held, rows, cell, line }) {
  const x = LEFT + ((dot.time_ns - held.start_ns) / held.step_ns) * cell;
  return [x, TOP + (rows - level(dot.ms, held)) * line];
}

/** Rows from the bottom: edges are powers of the fourth root of two. @param {number} at @param {HeatMap} held */
function level(at, held) {
  if (!held.edges_ms.length || at <= 0) return 0;
  return Math.max(0, Math.min(held.edges_ms.length - 1, 4 * Math.log2(at / held.edges_ms[0])));
}

/** @param {CanvasRenderingContext2D} ctx @param {any} grid
 * @param {{width: number, tall: number, box: Box | null, dots: Array<{time_ns: number, ms: number, error: boolean, id: string}>}} view */
function paint(ctx, grid, { width, tall, box, dots }) {
  const { held, bins, rows, cell, line } = grid;
  const [cool, hot, card, ink, rule, act, paper] = ["--cool", "--hot-solid", "--card", "--ink-faint", "--line", "--act", "--ink"].map(colour);
  ctx.clearRect(0, 0, width, tall);
  ctx.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  ctx.fillStyle = ink;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  const every = Math.max(1, Math.ceil(18 / line / 4) * 4);
  for (let d = 0; d <= rows && held.edges_ms.length; d += every) {
    const y = TOP + (rows - d) * line;
    ctx.fillStyle = rule;
    ctx.fillRect(LEFT, Math.round(y), width - LEFT, 1);
    ctx.fillStyle = ink;
    if (y > 8) ctx.fillText(duration(held.edges_ms[d] * 1e6), LEFT - 6, Math.min(y, tall - BELOW - 4));
  }
  let most = 1;
  for (const column of held.counts) for (const count of column) if (count > most) most = count;
  const scale = Math.log(most + 1);
  /** @type {Map<string, string>} */
  const tones = new Map();
  for (let t = 0; t < bins; t += 1) {
    for (let d = 0; d < rows; d += 1) {
      const count = held.counts[t][d];
      if (!count) continue;
      const [dense, bad] = [Math.ceil((Math.log(count + 1) / scale) * 12) / 12, Math.ceil(((held.errors[t][d] ?? 0) / count) * 8) / 8];
      const key = `${dense} ${bad}`;
      const fill = tones.get(key) ?? mixed(card, bad ? mixed(cool, hot, bad ** 0.75) : cool, 0.16 + 0.84 * dense);
      tones.set(key, fill);
      ctx.fillStyle = fill;
      const [x, y] = [LEFT + t * cell, TOP + (rows - 1 - d) * line];
      ctx.fillRect(x, y, Math.max(cell - 0.5, 1), Math.max(line - 0.5, 1));
    }
  }
  ctx.fillStyle = ink;
  ctx.textBaseline = "alphabetic";
  const steps = Math.max(1, Math.ceil(86 / Math.max(cell, 0.5)));
  for (let t = 0; t < bins; t += steps) {
    const x = LEFT + t * cell;
    if (x + 52 > width) break;
    ctx.fillRect(Math.round(x), tall - BELOW, 1, 5);
    ctx.textAlign = "left";
    ctx.fillText(clock(ms(held.start_ns + t * held.step_ns)), x + 3, tall - 6);
  }
  for (const dot of dots) {
    const [x, y] = spot(dot, grid);
    if (x < LEFT || x > width) continue;
    ctx.beginPath();
    ctx.arc(x, y, 4, 0, 7);
    ctx.fillStyle = dot.error ? hot : card;
    ctx.strokeStyle = dot.error ? card : paper;
    ctx.lineWidth = 1.5;
    ctx.fill();
    ctx.stroke();
  }
  if (box) outline(ctx, grid, box, act, width);
}

/** What happened on the axis of time: where an incident began, the diamonds of changes, and the time of the baseline.
 * @param {CanvasRenderingContext2D} ctx @param {any} grid @param {{width: number, tall: number, changes: Array<{time_ns: number}>,
 *   shade: [number, number] | null, against: [number, number] | null}} view */
function happened(ctx, { held, bins, cell }, { width, tall, changes, shade, against }) {
  const [hot, change, cool] = ["--hot-solid", "--change", "--cool"].map(colour);
  const x = (/** @type {number} */ ns) => LEFT + ((ns - held.start_ns) / held.step_ns) * cell;
  const last = held.start_ns + bins * held.step_ns;
  const within = (/** @type {number} */ ns) => Math.max(LEFT, Math.min(width, x(ns)));
  if (shade && shade[1] > held.start_ns && shade[0] < last) {
    ctx.fillStyle = hot;
    ctx.fillRect(within(shade[0]), tall - BELOW, within(shade[1]) - within(shade[0]), 3);
    if (shade[0] > held.start_ns) ctx.fillRect(x(shade[0]), TOP, 1.5, tall - TOP - BELOW);
  }
  if (against && against[1] > held.start_ns && against[0] < last) {
    ctx.save();
    ctx.strokeStyle = cool;
    ctx.lineWidth = 1.5;
    ctx.setLineDash([5, 4]);
    ctx.strokeRect(within(against[0]) + 1, TOP + 1, Math.max(within(against[1]) - within(against[0]) - 2, 2), tall - TOP - BELOW - 2);
    ctx.restore();
  }
  for (const { time_ns } of changes) {
    if (time_ns < held.start_ns || time_ns > last) continue;
    const at = x(time_ns);
    ctx.fillStyle = change;
    ctx.fillRect(at - 0.5, TOP, 1, tall - TOP - BELOW);
    ctx.beginPath();
    ctx.moveTo(at, TOP - 5);
    ctx.lineTo(at + 5, TOP);
    ctx.lineTo(at, TOP + 5);
    ctx.lineTo(at - 5, TOP);
    ctx.fill();
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {any} grid @param {Box} box @param {string} act @param {number} width */
function outline(ctx, { held, rows, cell, line }, box, act, width) {
  const x = (/** @type {number} */ ns) => Math.max(LEFT, Math.min(width, LEFT + ((ns - held.start_ns) / held.step_ns) * cell));
  const [left, right] = [x(box.start_ns), x(box.end_ns)];
  const top = TOP + (rows - (box.high_ms === null ? rows : level(box.high_ms, held))) * line;
  const bottom = TOP + (rows - level(box.low_ms, held)) * line;
  ctx.save();
  ctx.globalAlpha = 0.12;
  ctx.fillStyle = act;
  ctx.fillRect(left, top, right - left, bottom - top);
  ctx.restore();
  ctx.strokeStyle = act;
  ctx.lineWidth = 2;
  ctx.strokeRect(left + 1, top + 1, Math.max(right - left - 2, 2), Math.max(bottom - top - 2, 2));
}

/** @param {HeatMap} map */
function summary(map) {
  let [all, bad] = [0, 0];
  for (const column of map.counts) for (const count of column) all += count;
  for (const column of map.errors) for (const count of column) bad += count;
  if (!all) return "No requests.";
  const to = map.start_ns + map.counts.length * map.step_ns;
  return `${number(all)} requests, ${number(bad)} failed, between ${duration(map.edges_ms[0] * 1e6)} and ${duration((map.edges_ms.at(-1) ?? 0) * 1e6)}, ${utc(ms(map.start_ns))} to ${utc(ms(to))}.`;
}
