/** The rows of a waterfall and its map on canvases: what is seen, and nothing else, is drawn. */

import { duration } from "../../lib/format.js";
import { colour, dark } from "../../lib/theme.js";
import { tones } from "../common.js";
import { CRITICAL, FAILED, ORPHAN } from "./model.js";

export const ROW = 22;
export const HEAD = 26;
/** Room for the duration beside the longest bar. */
export const ASIDE = 62;

/** @typedef {{from: number, to: number}} View ns from the start of the trace */
/** @typedef {{width: number, height: number, names: number, top: number, view: View, chosen: number, over: number,
 *   found: Int32Array, isFound: Uint8Array | null, critical: boolean}} Scene */
/** @typedef {ReturnType<typeof palette>} Palette */

/** The colours of the theme, looked up once. @param {string[]} services */
export function palette(services) {
  const night = dark();
  const roles = ["--card", "--wash", "--line", "--ink", "--ink-soft", "--ink-faint", "--act", "--act-wash", "--critical", "--critical-solid", "--minor-wash", "--paper"];
  const [card, wash, line, ink, soft, faint, act, actWash, critical, criticalSolid, match, paper] = roles.map(colour);
  const font = getComputedStyle(document.body).fontFamily;
  return { card, wash, line, ink, soft, faint, act, actWash, critical, criticalSolid, match, paper, font, tones: tones(services, night) };
}

/** Round times for a scale. @param {View} view @param {number} width px @returns {number[]} */
export function ticks({ from, to }, width) {
  const wanted = (to - from) / Math.max(1, width / 110);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = power * ([1, 2, 5, 10].find((one) => one * power >= wanted) ?? 10);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

/** A canvas of so many px, sharp on any screen. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
export function sized(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  return ctx;
}

/** @param {CanvasRenderingContext2D} ctx @param {import("./model.js").Model} model @param {Palette} tones @param {Scene} scene */
export function drawRows(ctx, model, tones, scene) {
  const { width, height, names, top, view } = scene;
  const lane = width - names;
  const scale = (lane - ASIDE) / (view.to - view.from);
  const x = (/** @type {number} */ ns) => names + (ns - view.from) * scale;
  ctx.fillStyle = tones.card;
  ctx.fillRect(0, 0, width, height);
  const marks = ticks(view, lane - ASIDE);
  ctx.fillStyle = tones.line;
  for (const at of marks) ctx.fillRect(Math.round(x(at)), HEAD, 1, height - HEAD);
  const first = Math.max(0, Math.floor(top / ROW));
  const last = Math.min(model.seen, Math.ceil((top + height - HEAD) / ROW));
  ctx.textBaseline = "middle";
  for (let place = first; place < last; place += 1) drawRow(ctx, model, tones, scene, model.rows[place], HEAD + place * ROW - top, x, lane);
  ctx.fillStyle = tones.card;
  ctx.fillRect(0, 0, width, HEAD);
  ctx.font = `11px ${tones.font}`;
  ctx.fillStyle = tones.faint;
  ctx.textAlign = "left";
  ctx.fillText("Service and operation", 10, HEAD / 2);
  for (const at of marks) {
    const left = x(at) + 4;
    if (left + 40 < width) ctx.fillText(at === 0 ? "0" : duration(at), left, HEAD / 2);
  }
  ctx.fillStyle = tones.line;
  ctx.fillRect(0, HEAD - 1, width, 1);
  ctx.fillRect(names - 1, 0, 1, height);
}

/** @param {CanvasRenderingContext2D} ctx @param {import("./model.js").Model} model @param {Palette} tones @param {Scene} scene
 * @param {number} row @param {number} y @param {(ns: number) => number} x @param {number} lane */
function drawRow(ctx, model, tones, scene, row, y, x, lane) {
  const { width, names, chosen, over, isFound, critical, view } = scene;
  const { columns } = model;
  const failed = (columns.flags[row] & FAILED) !== 0;
  if (row === chosen || row === over || isFound?.[row]) {
    ctx.fillStyle = row === chosen ? tones.actWash : isFound?.[row] ? tones.match : tones.wash;
    ctx.fillRect(0, y, width, ROW);
  }
  if (row === chosen) {
    ctx.fillStyle = tones.act;
    ctx.fillRect(0, y, 3, ROW);
  }
  const faded = critical && !(columns.flags[row] & CRITICAL);
  ctx.globalAlpha = faded ? 0.4 : 1;
  label(ctx, model, tones, row, y, names, failed);
  const [start, end] = [columns.start[row], columns.start[row] + columns.duration[row]];
  const middle = y + ROW / 2;
  const tint = tones.tones[columns.service[row]];
  ctx.save();
  ctx.beginPath();
  ctx.rect(names, y, lane, ROW);
  ctx.clip();
  if (end >= view.from && start <= view.to) {
    const left = Math.max(x(start), names - 4);
    const right = Math.min(Math.max(x(end), left + 2), width + 4);
    ctx.fillStyle = tint;
    ctx.fillRect(left, y + 6, right - left, ROW - 12);
    if (failed) {
      ctx.fillStyle = tones.criticalSolid;
      ctx.fillRect(left, y + 3, Math.max(right - left, 2), 2);
    }
    stretches(ctx, model, tones, row, y, x, names, width);
    const text = duration(columns.duration[row]);
    ctx.font = `11px ${tones.font}`;
    ctx.fillStyle = failed ? tones.critical : tones.soft;
    if (right + 64 < width) {
      ctx.textAlign = "left";
      ctx.fillText(text, right + 5, middle);
    } else if (left - 64 > names) {
      ctx.textAlign = "right";
      ctx.fillText(text, left - 5, middle);
    }
  } else {
    ctx.fillStyle = tones.faint;
    ctx.textAlign = end < view.from ? "left" : "right";
    ctx.font = `11px ${tones.font}`;
    ctx.fillText(end < view.from ? "‹" : "›", end < view.from ? names + 4 : width - 4, middle);
  }
  ctx.restore();
  ctx.globalAlpha = 1;
}

/** Where the request waited for this span. @param {CanvasRenderingContext2D} ctx @param {import("./model.js").Model} model
 * @param {Palette} tones @param {number} row @param {number} y @param {(ns: number) => number} x @param {number} names @param {number} width */
function stretches(ctx, model, tones, row, y, x, names, width) {
  const { path } = model.columns;
  ctx.fillStyle = tones.ink;
  let drawn = -Infinity;
  for (let at = model.first[row]; at < model.first[row + 1]; at += 1) {
    const from = x(path[3 * model.stretch[at] + 1]);
    const to = Math.max(x(path[3 * model.stretch[at] + 2]), from + 1);
    if (to < names || from > width || to <= drawn + 0.5) continue; // beside the view, or in a pixel that is drawn already
    ctx.fillRect(from, y + ROW - 7, to - from, 3);
    drawn = to;
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {import("./model.js").Model} model @param {Palette} tones @param {number} row
 * @param {number} y @param {number} names @param {boolean} failed */
function label(ctx, model, tones, row, y, names, failed) {
  const { columns } = model;
  const step = names < 240 ? 5 : 10;
  const left = 8 + Math.min(columns.depth[row], Math.max(6, (names - 150) / step)) * step;
  const middle = y + ROW / 2;
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, y, names - 4, ROW);
  ctx.clip();
  if (columns.size[row]) {
    ctx.fillStyle = tones.faint;
    ctx.beginPath();
    if (model.closed[row]) [[0, -4], [5, 0], [0, 4]].forEach(([dx, dy], at) => (at ? ctx.lineTo(left + 1 + dx, middle + dy) : ctx.moveTo(left + 1 + dx, middle + dy)));
    else [[-1, -2.5], [7, -2.5], [3, 2.5]].forEach(([dx, dy], at) => (at ? ctx.lineTo(left + dx, middle + dy) : ctx.moveTo(left + dx, middle + dy)));
    ctx.fill();
  }
  ctx.fillStyle = tones.tones[columns.service[row]];
  ctx.fillRect(left + 11, y + 5, 3, ROW - 10);
  let at = left + 19;
  ctx.textAlign = "left";
  ctx.font = `600 12px ${tones.font}`;
  const text = (/** @type {string} */ words, /** @type {string} */ tint) => {
    if (at > names) return;
    ctx.fillStyle = tint;
    ctx.fillText(words, at, middle);
    at += ctx.measureText(words).width + 5;
  };
  if (failed) text("✕", tones.critical);
  text(shorter(columns.services[columns.service[row]]) || "(no service)", failed ? tones.critical : tones.ink);
  ctx.font = `12px ${tones.font}`;
  text(shorter(columns.names[columns.name[row]]), tones.soft);
  if (model.closed[row]) text(`+${columns.size[row]}`, tones.faint);
  if (columns.flags[row] & ORPHAN) text("(parent missing)", tones.faint);
  ctx.restore();
}

/** @type {Map<string, string>} */
const cleaned = new Map();

/** One printable line. @param {string} text */
export function shorter(text) {
  let held = cleaned.get(text);
  if (held === undefined) {
    held = text.slice(0, 120).replace(/\p{C}/gu, " ");
    if (cleaned.size > 5000) cleaned.clear();
    cleaned.set(text, held);
  }
  return held;
}

/** All spans as a picture of so many pixels, errors above the others: for the map. Runs in slices so that no frame waits.
 * @param {import("./model.js").Model} model @param {Palette} tones @param {number} width @param {number} height
 * @param {() => boolean} ended @returns {Promise<ImageData | null>} */
export async function picture(model, tones, width, height, ended) {
  const data = new ImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  const { start, duration: lasts, service, flags } = model.columns;
  const scale = width / model.columns.duration_ns;
  const [background, bad, ...tints] = [tones.card, tones.criticalSolid, ...tones.tones].map(packed);
  pixels.fill(background);
  const spans = model.length;
  for (const errors of [false, true]) {
    for (let from = 0; from < spans; from += 8000) {
      if (from) await new Promise((next) => setTimeout(next));
      if (ended()) return null;
      for (let row = from; row < Math.min(from + 8000, spans); row += 1) {
        if (((flags[row] & FAILED) !== 0) !== errors) continue;
        const y = Math.min(height - 1, Math.floor((row / spans) * height));
        const [left, right] = [Math.floor(start[row] * scale), Math.floor((start[row] + lasts[row]) * scale)];
        const tint = errors ? bad : tints[service[row]];
        pixels.fill(tint, y * width + Math.min(left, width - 1), y * width + Math.min(right + 1, width));
      }
    }
  }
  return data;
}

/** `rgb(…)` or `#rrggbb` as one pixel. @param {string} text */
function packed(text) {
  const parts = text.startsWith("#") ? [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)) : (text.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  return (255 << 24) | (parts[2] << 16) | (parts[1] << 8) | parts[0];
}
