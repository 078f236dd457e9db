/** The waterfall that can be scrolled, zoomed, folded and walked through by keys. */

import { effect, h, onEnd } from "../../lib/dom.js";
import { duration, number } from "../../lib/format.js";
import { themed } from "../../lib/theme.js";
import { ASIDE, HEAD, ROW, drawRows, palette, picture, shorter, sized, ticks } from "./draw.js";
import { FAILED } from "./model.js";

const MAP = 64;
const LEAST = 1000;

/** @typedef {import("./model.js").Model} Model */
/** @typedef {object} Hooks
 * @property {import("../../lib/dom.js").Signal<number>} chosen row; -1 none
 * @property {import("../../lib/dom.js").Signal<boolean>} critical whether what is not on the critical path is faded
 * @property {import("../../lib/dom.js").Signal<Int32Array>} found
 * @property {(view: {from: number, to: number}) => void} zoomed
 * @property {(row: number) => void} open */

/** @param {Model} model @param {Hooks} hooks */
export function waterfall(model, hooks) {
  const whole = { from: 0, to: Math.max(model.columns.duration_ns, 1) };
  let view = { ...whole };
  let [width, height, over, asked, ended] = [0, 0, -1, 0, false];
  /** @type {Uint8Array | null} */
  let isFound = null;
  let tones = palette(model.columns.services);
  /** @type {OffscreenCanvas | null} */
  let overview = null;
  /** What waits for a size. @type {(() => void) | null} */
  let pending = null;

  const canvas = h("canvas.rows");
  const spacer = h("div.spacer");
  const told = h("div.unseen", { "aria-live": "polite" });
  const scroller = h("div.scroller", { tabindex: "0", role: "application", "aria-label": "Waterfall. Arrows move, left and right fold and unfold, plus and minus zoom, Enter shows the span.", onscroll: redraw }, canvas, spacer);
  const small = h("canvas.map", { role: "img", "aria-label": "The whole trace; drag over it to zoom" });
  const node = h("div.waterfallbox", {}, small, scroller, told);
  const names = () => Math.round(width < 640 ? width * 0.46 : Math.min(420, width * 0.34));

  function redraw() {
    if (!asked && !ended) asked = requestAnimationFrame(paint);
  }
  function paint() {
    asked = 0;
    if (!width || ended) return;
    const scene = { width, height, names: names(), top: scroller.scrollTop, view, chosen: hooks.chosen.peek(), over, found: hooks.found.peek(), isFound, critical: hooks.critical.peek() };
    drawRows(sized(canvas, width, height), model, tones, scene);
    paintMap();
  }
  function paintMap() {
    const ctx = sized(small, width, MAP);
    ctx.fillStyle = tones.card;
    ctx.fillRect(0, 0, width, MAP);
    if (overview) ctx.drawImage(overview, 0, 0, width, MAP - 14);
    ctx.fillStyle = tones.faint;
    ctx.font = `10px ${tones.font}`;
    ctx.textBaseline = "alphabetic";
    ctx.textAlign = "left";
    for (const at of ticks(whole, width)) if ((at / whole.to) * width + 44 < width) ctx.fillText(at === 0 ? "0" : duration(at), (at / whole.to) * width + 2, MAP - 3);
    const [left, right] = [(view.from / whole.to) * width, (view.to / whole.to) * width];
    ctx.globalAlpha = 0.72;
    ctx.fillStyle = tones.paper;
    ctx.fillRect(0, 0, left, MAP - 14);
    ctx.fillRect(right, 0, width - right, MAP - 14);
    ctx.globalAlpha = 1;
    const first = (scroller.scrollTop / Math.max(1, model.seen * ROW)) * (MAP - 14);
    const tall = Math.max(2, ((height - HEAD) / Math.max(height - HEAD, model.seen * ROW)) * (MAP - 14));
    ctx.strokeStyle = tones.act;
    ctx.lineWidth = 1.5;
    ctx.strokeRect(Math.max(left, 1), Math.max(1, first), Math.max(right - left - 2, 2), Math.min(tall, MAP - 15 - first));
    const chosen = hooks.chosen.peek();
    if (chosen >= 0) {
      ctx.fillStyle = tones.act;
      ctx.fillRect(0, (chosen / model.length) * (MAP - 14), width, 1.5);
    }
  }
  const remap = async () => {
    const [w, seen] = [Math.max(1, Math.min(width, 1200)), tones];
    const data = await picture(model, tones, w, MAP - 14, () => ended || seen !== tones);
    if (!data) return;
    overview = new OffscreenCanvas(w, MAP - 14);
    overview.getContext("2d")?.putImageData(data, 0, 0);
    redraw();
  };
  const grow = () => {
    spacer.style.height = `${Math.max(0, model.seen * ROW + HEAD - height)}px`;
    redraw();
  };
  const watch = new ResizeObserver(() => {
    const before = width;
    [width, height] = [scroller.clientWidth, scroller.clientHeight];
    grow();
    pending?.();
    pending = null;
    if (asked) cancelAnimationFrame(asked);
    paint(); // now: a canvas that was resized is empty until it is drawn
    if (!before || Math.abs(before - width) > 50) void remap();
  });
  watch.observe(scroller);
  onEnd(() => {
    ended = true;
    watch.disconnect();
    cancelAnimationFrame(asked);
  });
  let fresh = true;
  effect(() => {
    void themed.value;
    if (!fresh) {
      tones = palette(model.columns.services);
      void remap();
      redraw();
    }
    fresh = false;
  });
  effect(() => {
    const rows = hooks.found.value;
    isFound = rows.length ? new Uint8Array(model.length) : null;
    if (isFound) for (const row of rows) isFound[row] = 1;
    redraw();
  });
  effect(() => {
    const row = hooks.chosen.value;
    void hooks.critical.value;
    if (row >= 0) told.textContent = spoken(model, row);
    redraw();
  });

  /** @param {{from: number, to: number}} wanted */
  const zoom = (wanted) => {
    const length = Math.min(whole.to, Math.max(LEAST, wanted.to - wanted.from));
    const from = Math.max(0, Math.min(whole.to - length, wanted.from));
    view = { from, to: from + length };
    hooks.zoomed(view);
    redraw();
  };
  /** @param {number} by below 1: closer @param {number} [at] ns that stays where it is */
  const zoomBy = (by, at = (view.from + view.to) / 2) => zoom({ from: at - (at - view.from) * by, to: at + (view.to - at) * by });
  /** Bring a row into sight, and into the time that is shown. @param {number} row @param {boolean} [middle]
   * @param {boolean} [moves] whether the time that is shown may change */
  const show = (row, middle = false, moves = true) => {
    if (!height) {
      pending = () => show(row, middle, moves);
      return;
    }
    model.reveal(row);
    grow();
    const y = model.place[row] * ROW;
    const room = height - HEAD;
    if (middle && (y < scroller.scrollTop || y + ROW > scroller.scrollTop + room)) scroller.scrollTop = y - room / 2;
    else if (y < scroller.scrollTop) scroller.scrollTop = y;
    else if (y + ROW > scroller.scrollTop + room) scroller.scrollTop = y + ROW - room;
    const { start, duration: lasts } = model.columns;
    if (moves && (start[row] + lasts[row] < view.from || start[row] > view.to)) {
      const length = Math.max(view.to - view.from, lasts[row] * 1.2);
      zoom({ from: start[row] - length * 0.1, to: start[row] + length * 0.9 });
    }
  };
  pointers({ canvas, small, scroller, model, hooks, zoom, zoomBy, grow, redraw, width: () => width, names, view: () => view, whole, setOver: (row) => { if (row !== over) { over = row; redraw(); } } });
  return { node, scroller, zoom, zoomBy, show, grow, redraw, view: () => view, reset: () => zoom(whole) };
}

/** What the mouse and fingers do. @param {{canvas: HTMLCanvasElement, small: HTMLCanvasElement, scroller: HTMLElement, model: Model,
 *   hooks: Hooks, zoom: (view: {from: number, to: number}) => void, zoomBy: (by: number, at?: number) => void, grow: () => void,
 *   redraw: () => void, width: () => number, names: () => number, view: () => {from: number, to: number},
 *   whole: {from: number, to: number}, setOver: (row: number) => void}} of */
function pointers({ canvas, small, scroller, model, hooks, zoom, zoomBy, grow, width, names, view, whole, setOver }) {
  const rowAt = (/** @type {MouseEvent} */ event) => {
    const y = event.clientY - canvas.getBoundingClientRect().top - HEAD;
    const place = Math.floor((y + scroller.scrollTop) / ROW);
    return y < 0 || place >= model.seen ? -1 : model.rows[place];
  };
  const timeAt = (/** @type {MouseEvent} */ event) => {
    const x = event.clientX - canvas.getBoundingClientRect().left - names();
    return view().from + (x / (width() - names() - ASIDE)) * (view().to - view().from);
  };
  canvas.addEventListener("pointermove", (event) => {
    setOver(rowAt(event));
    canvas.style.cursor = rowAt(event) >= 0 ? "pointer" : "default";
  });
  canvas.addEventListener("pointerleave", () => setOver(-1));
  canvas.addEventListener("click", (event) => {
    const row = rowAt(event);
    if (row < 0) return;
    const left = 8 + Math.min(model.columns.depth[row], Math.max(6, (names() - 150) / (names() < 240 ? 5 : 10))) * (names() < 240 ? 5 : 10);
    const x = event.clientX - canvas.getBoundingClientRect().left;
    if (model.columns.size[row] && x < left + 12 && x > left - 10) {
      model.close(row, !model.closed[row]);
      grow();
      return;
    }
    hooks.chosen.value = row;
    hooks.open(row);
  });
  canvas.addEventListener("dblclick", (event) => {
    const row = rowAt(event);
    if (row < 0) return;
    const { start, duration: lasts } = model.columns;
    zoom({ from: start[row] - lasts[row] * 0.1, to: start[row] + lasts[row] * 1.1 });
  });
  scroller.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoomBy(Math.exp(Math.max(-0.5, Math.min(0.5, event.deltaY / 240))), timeAt(event));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = ((event.deltaX || event.deltaY) / width()) * (view().to - view().from);
      zoom({ from: view().from + by, to: view().to + by });
    }
  }, { passive: false });
  small.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    small.setPointerCapture(event.pointerId);
    const at = (/** @type {MouseEvent} */ one) => Math.max(0, Math.min(1, (one.clientX - small.getBoundingClientRect().left) / width())) * whole.to;
    const begun = at(event);
    const box = small.getBoundingClientRect();
    const scroll = () => (scroller.scrollTop = ((event.clientY - box.top) / (box.height - 14)) * model.seen * ROW - scroller.clientHeight / 2);
    let moved = false;
    const move = (/** @type {PointerEvent} */ next) => {
      if (Math.abs(next.clientX - event.clientX) < 4 && !moved) return;
      moved = true;
      zoom({ from: Math.min(begun, at(next)), to: Math.max(begun, at(next)) });
    };
    const end = () => {
      small.removeEventListener("pointermove", move);
      if (!moved) scroll();
    };
    small.addEventListener("pointermove", move);
    small.addEventListener("pointerup", end, { once: true });
    small.addEventListener("pointercancel", end, { once: true });
  });
  small.addEventListener("dblclick", () => zoom(whole));
}

/** @param {Model} model @param {number} row */
function spoken(model, row) {
  const { columns } = model;
  return `${number(model.place[row] + 1)} of ${number(model.seen)}: ${shorter(columns.services[columns.service[row]])} ${shorter(columns.names[columns.name[row]])}, ${duration(columns.duration[row])}${columns.flags[row] & FAILED ? ", failed" : ""}${columns.size[row] ? `, ${columns.size[row]} spans below, ${model.closed[row] ? "folded" : "unfolded"}` : ""}`;
}
