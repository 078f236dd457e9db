/** A chart over time with the band of its baseline, the incident shaded, and changes marked on the time axis. */

import { default as Plot } from "../vendor/uplot/uPlot.esm.js";
import { effect, h, onEnd, signal } from "../lib/dom.js";
import { clock, ms, plain, quantity, utc } from "../lib/format.js";
import { colour, themed } from "../lib/theme.js";

/** @type {any} its types are not vendored */
const UPlot = Plot;

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {Array<number | null>} values
 * @property {string} [colour] a colour role, such as `--cool`
 * @property {string} [fill] a colour role for the area below
 *
 * @typedef {object} ChartOptions
 * @property {string} title
 * @property {number} start_ns
 * @property {number} step_ns
 * @property {string} unit
 * @property {Line[]} lines
 * @property {{low: number, high: number, middle: number} | null} [band] what is usual
 * @property {[number, number] | null} [shade] the incident, ns
 * @property {[number, number]} [extent] the time that is shown, ns; that of the values without
 * @property {Array<{time_ns: number, kind: string, service: string | null, description: string | null}>} [changes]
 * @property {number} [height]
 * @property {string} [sync] charts of one name share the cursor
 * @property {(start: number, end: number) => void} [select] called with ms when a stretch of time is drawn
 * @property {any} [aside] beside the title
 */

/** 5th percentile, median and 95th of what was before the incident; null below four points.
 * @param {{start_ns: number, step_ns: number, values: Array<number | null>}} series @param {[number, number]} baseline */
export function bandOf(series, baseline) {
  const before = series.values
    .filter((value, index) => value !== null && inside(series.start_ns + index * series.step_ns, baseline))
    .map(Number)
    .sort((a, b) => a - b);
  if (before.length < 4) return null;
  const at = (/** @type {number} */ q) => before[Math.round(q * (before.length - 1))];
  return { low: at(0.05), middle: at(0.5), high: at(0.95) };
}

/** @param {number} at @param {[number, number]} window */
const inside = (at, [start, end]) => at >= start && at < end;

/** @param {ChartOptions} options @returns {HTMLElement} */
export function chart(options) {
  const { title, unit, lines, height = 150, aside } = options;
  const readout = signal("");
  const plot = h("div.plot", { role: "img", "aria-label": summary(options), style: { height: `${height}px` } });
  const xs = lines[0].values.map((_, index) => (options.start_ns + (index + 0.5) * options.step_ns) / 1e9);
  /** @type {any} */
  let drawn = null;
  let width = 0;

  const draw = () => {
    drawn?.destroy();
    drawn = new UPlot(settings(options, width, height, readout), /** @type {any} */ ([xs, ...lines.map((line) => line.values)]), plot);
  };
  const watch = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width || now === 0) return;
    width = now;
    if (drawn === null) draw();
    else drawn.setSize({ width, height });
  });
  watch.observe(plot);
  effect(() => {
    void themed.value;
    if (drawn !== null) draw();
  });
  onEnd(() => {
    watch.disconnect();
    drawn?.destroy();
  });
  return h(
    "figure.chart",
    {},
    h("figcaption", {}, h("span.name", {}, plain(title, 300)), () => h("span.readout", {}, readout.value || aside || summaryShort(options, unit))),
    plot,
  );
}

/** @param {ChartOptions} options @param {number} width @param {number} height
 * @param {import("../lib/dom.js").Signal<string>} readout @returns {any} */
function settings(options, width, height, readout) {
  const { lines, unit, sync, select } = options;
  const [grid, ink] = [colour("--line"), colour("--ink-faint")];
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  const [from, to] = extentOf(options);
  const seconds = to - from < 20 * 60e9;
  return {
    width,
    height,
    padding: [8, 30, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      points: { size: 7, fill: (/** @type {any} */ u, /** @type {number} */ i) => u.series[i].stroke(u, i) },
      drag: { x: Boolean(select), y: false, setScale: false },
      sync: sync ? { key: sync, setSeries: false } : undefined,
    },
    scales: { x: { time: true, range: options.extent ? [options.extent[0] / 1e9, options.extent[1] / 1e9] : undefined }, y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => range(options, low, high) } },
    axes: [
      { ...axis, space: 70, size: 24, gap: 4, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((s) => (seconds ? clock(s * 1000) : clock(s * 1000).slice(0, 5))) },
      { ...axis, space: 32, size: roomFor, gap: 6, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map((value) => quantity(value, unit)) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour ?? "--cool"),
        fill: line.fill ? colour(line.fill) : undefined,
        width: 1.6,
        points: { show: false },
        spanGaps: false,
      })),
    ],
    hooks: {
      drawClear: [(/** @type {any} */ u) => background(u, options)],
      draw: [(/** @type {any} */ u) => marks(u, options)], // only now it is known where a time lies
      setCursor: [(/** @type {any} */ u) => (readout.value = said(u, options))],
      setSelect: [
        (/** @type {any} */ u) => {
          if (!select || u.select.width < 4) return;
          select(u.posToVal(u.select.left, "x") * 1000, u.posToVal(u.select.left + u.select.width, "x") * 1000);
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** Room for the longest label of the y axis; charts with short ones stay aligned. @param {any} u @param {string[] | null} labels
 * @param {number} index @param {number} cycle @returns {number} */
function roomFor(u, labels, index, cycle) {
  const axis = u.axes[index];
  if (cycle > 1) return axis._size;
  u.ctx.font = axis.font[0];
  const widest = Math.max(0, ...(labels ?? []).map((label) => u.ctx.measureText(label ?? "").width / devicePixelRatio));
  return Math.min(120, Math.max(62, Math.ceil(widest) + axis.gap + 6));
}

/** A signal that moves little in proportion to its level gets an axis of its own; others begin at 0.
 * @param {ChartOptions} options @param {number | null} low @param {number | null} high @returns {[number, number]} */
function range({ band }, low, high) {
  let least = Math.min(low ?? 0, band?.low ?? Infinity);
  let most = Math.max(high ?? 1, band?.high ?? -Infinity);
  if (most - least >= 0.3 * Math.abs(most)) least = Math.min(least, 0);
  if (most <= least) most = least + (Math.abs(least) * 0.01 || 1);
  return [least, most + (most - least) * 0.06];
}

/** From and to, ns. @param {ChartOptions} options @returns {[number, number]} */
const extentOf = ({ extent, start_ns, step_ns, lines }) => extent ?? [start_ns, start_ns + step_ns * lines[0].values.length];

/** @param {any} u @param {ChartOptions} options */
function background(u, options) {
  const { band, shade } = options;
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const x = (/** @type {number} */ ns) => Math.max(left, Math.min(left + width, u.valToPos(ns / 1e9, "x", true)));
  ctx.save();
  const [first, last] = extentOf(options);
  if (shade && shade[1] > first && shade[0] < last) {
    const [from, to] = [x(shade[0]), x(shade[1])];
    ctx.fillStyle = colour("--hot-faint");
    ctx.fillRect(from, top, to - from, height);
    ctx.fillStyle = colour("--hot-solid");
    if (shade[0] > first) ctx.fillRect(from, top, 1.5 * devicePixelRatio, height);
  }
  if (band) {
    const [high, low] = [u.valToPos(band.high, "y", true), u.valToPos(band.low, "y", true)];
    ctx.fillStyle = colour("--band");
    ctx.fillRect(left, high, width, Math.max(low - high, 2 * devicePixelRatio));
  }
  ctx.restore();
}

/** @param {any} u @param {ChartOptions} options */
function said(u, { lines, unit }) {
  const at = u.cursor.idx;
  if (at === null || at === undefined || u.cursor.left < 0) return "";
  const values = lines.map((line) => `${lines.length > 1 ? `${line.label} ` : ""}${quantity(line.values[at], unit)}`);
  return `${clock(u.data[0][at] * 1000)} · ${values.join(" · ")}`;
}

/** Changes on the time axis: what can be focused and read. @param {any} u @param {ChartOptions} options */
function marks(u, options) {
  const [first, last] = extentOf(options);
  const held = u.over.querySelectorAll(".mark");
  const told = (options.changes ?? []).filter((change) => change.time_ns >= first && change.time_ns <= last);
  for (const [index, change] of told.entries()) {
    const left = `${u.valToPos(change.time_ns / 1e9, "x")}px`;
    if (held[index]) {
      held[index].style.left = left; // drawn again, in another size
      continue;
    }
    const words = `${clock(ms(change.time_ns))} ${plain(change.kind, 20)}${change.service ? ` of ${plain(change.service, 60)}` : ""}${change.description ? `: ${plain(change.description, 160)}` : ""}`;
    const node = h("button.mark", { title: words, "aria-label": words, style: { left } });
    u.over.append(node);
  }
}

/** @param {ChartOptions} options */
function summary({ title, lines, unit, shade, start_ns, step_ns }) {
  const told = lines.map((line) => {
    const known = line.values.filter((value) => value !== null).map(Number);
    if (known.length === 0) return `${line.label}: no values`;
    return `${line.label}: lowest ${quantity(Math.min(...known), unit)}, highest ${quantity(Math.max(...known), unit)}`;
  });
  const from = utc(ms(start_ns));
  const to = utc(ms(start_ns + step_ns * lines[0].values.length));
  return plain(`${title}. ${told.join("; ")}. ${from} to ${to}${shade ? `; incident since ${utc(ms(shade[0]))}` : ""}.`, 500);
}

/** The middle before and during, where there is a band. @param {ChartOptions} options @param {string} unit */
function summaryShort({ band, lines, shade, start_ns, step_ns }, unit) {
  if (!band || !shade) return "";
  const during = lines[0].values.filter((value, index) => value !== null && inside(start_ns + index * step_ns, shade)).map(Number).sort((a, b) => a - b);
  if (during.length === 0) return "";
  return `${quantity(band.middle, unit)} → ${quantity(during[Math.floor(during.length / 2)], unit)}`;
}
