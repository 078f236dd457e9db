/** Numbers and times as people read them; the same rules as the reports (`aetia.model.quantities`). */

const NS = { ns: 1, us: 1e3, "µs": 1e3, ms: 1e6, s: 1e9 };
export const DASH = "–";

/** Significant digits without trailing noise: 3 of them. @param {number} value */
function digits(value) {
  return String(Number(value.toPrecision(3)));
}

/** 0.0123, 4.57, 12 300, 1.2e+9. @param {number | null | undefined} value */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-4)) return value.toExponential(1).replace("e+", "e");
  if (size >= 1000) return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return digits(value);
}

/** 831, 12.4 k, 3.1 M: for narrow places. @param {number | null | undefined} value */
export function count(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9)} G`;
  if (size >= 1e6) return `${digits(value / 1e6)} M`;
  if (size >= 1e4) return `${digits(value / 1e3)} k`;
  return Number.isInteger(value) ? number(value) : digits(value);
}

/** 0.4 %, 61 %, > 99.9 %; never rounded to a false 0 % or 100 %. @param {number | null | undefined} share */
export function percent(share) {
  if (share === null || share === undefined || !Number.isFinite(share)) return DASH;
  if (share >= 0.9995 && share < 1) return "> 99.9 %";
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  const value = 100 * share;
  return Number.isInteger(value) || (value >= 10 && value <= 90) ? `${Math.round(value)} %` : `${value.toFixed(1)} %`;
}

/** 850 ns, 12.3 ms, 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h. @param {number | null | undefined} ns */
export function duration(ns) {
  if (ns === null || ns === undefined || !Number.isFinite(ns)) return DASH;
  const s = Math.abs(ns) / 1e9;
  if (s === 0) return "0 s";
  if (s < 1e-6) return `${Math.round(ns)} ns`;
  if (s < 1e-3) return `${digits(ns / 1e3)} µs`;
  if (s < 1) return `${digits(ns / 1e6)} ms`;
  if (s < 60) return `${digits(ns / 1e9)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return parts(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return parts(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return parts(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

/** @param {number} large @param {string} unit @param {number} small @param {string} rest */
function parts(large, unit, small, rest) {
  return small ? `${large} ${unit} ${small} ${rest}` : `${large} ${unit}`;
}

/** The same for milliseconds. @param {number | null | undefined} value */
export const inMs = (value) => duration(value === null || value === undefined ? null : value * 1e6);

/** The same to one unit, for "since" and "ago": 3 min, 2 h. @param {number} ns */
export function rough(ns) {
  const s = Math.max(Math.round(Math.abs(ns) / 1e9), 0);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** A number with its unit: shares as per cent, times as lengths, bytes with a prefix.
 * @param {number | null | undefined} value @param {string | null | undefined} unit @returns {string} */
export function quantity(value, unit) {
  const of = unit ?? "";
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  if (of.split(" ").includes("share") || of === "fraction") return percent(value);
  if (of in NS) return value === 0 ? `0 ${of}` : duration(value * NS[/** @type {keyof typeof NS} */ (of)]);
  if (["bytes", "By", "byte"].includes(of)) return bytes(value);
  if (of === "1/s") return Math.abs(value) >= 1 || value === 0 ? `${number(value)}/s` : `${number(60 * value)}/min`;
  if (of.endsWith("/s") && ["bytes", "By", "byte", "ms"].includes(of.slice(0, -2))) return `${quantity(value, of.slice(0, -2))}/s`;
  if (["ratio", "x", "×"].includes(of)) return `${number(value)} ×`;
  return ["", "1", "count"].includes(of) ? number(value) : `${number(value)} ${of}`;
}

/** 1.5 KiB, 3.2 GiB. @param {number | null | undefined} value */
export function bytes(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  const size = Math.abs(value);
  const step = size >= 1 ? Math.min(Math.floor(Math.log(size) / Math.log(1024)), names.length - 1) : 0;
  return `${digits(value / 1024 ** step)} ${names[step]}`;
}

/** 3 spans, 1 span. @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

const pad = (/** @type {number} */ n) => String(n).padStart(2, "0");

/** 14:03:22 in the zone of the browser. @param {number} ms */
export function clock(ms) {
  const at = new Date(ms);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** 14:03:22 today, 21 Nov 14:03:22 on other days, with the year where it is another one. @param {number} ms */
export function moment(ms) {
  const at = new Date(ms);
  if (Number.isNaN(at.getTime())) return DASH;
  const now = new Date();
  if (at.toDateString() === now.toDateString()) return clock(ms);
  const day = `${at.getDate()} ${at.toLocaleString("en", { month: "short" })}`;
  return `${day}${at.getFullYear() === now.getFullYear() ? "" : ` ${at.getFullYear()}`} ${clock(ms)}`;
}

/** 2026-11-21 14:03:22 UTC. @param {number} ms */
export function utc(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? DASH : at.toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
}

/** Nanoseconds of the API as milliseconds of the browser. @param {number} ns */
export const ms = (ns) => ns / 1e6;

/** Text as it was written, in lines; other control characters become spaces. @param {unknown} text @param {number} [limit] */
export const printable = (text, limit = 8000) => String(text ?? "").slice(0, limit).replace(/[^\P{C}\n\t]/gu, " ");

/** With a capital first letter. @param {string} text */
export const sentence = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** One printable line: control and direction-changing characters become spaces, long text is cut.
 * @param {unknown} text @param {number} [limit] */
export function plain(text, limit = 200) {
  const clean = String(text ?? "").slice(0, limit * 4).replace(/\p{C}/gu, " ").replace(/\s+/g, " ").trim();
  return clean.length <= limit ? clean : `${clean.slice(0, limit - 1)}…`;
}
