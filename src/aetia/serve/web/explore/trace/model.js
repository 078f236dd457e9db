/** A trace as columns: which rows are seen, what a search finds, the way from one error or critical stretch to the next. */

/** @typedef {{trace_id: string, start_ns: number, duration_ns: number, total: number, truncated: boolean, errors: number,
 *   services: string[], names: string[], kinds: string[], ids: string, parent: Int32Array, depth: Int32Array, size: Int32Array,
 *   service: Int32Array, name: Int32Array, kind: Int32Array, flags: Int32Array, start: Float64Array, duration: Float64Array,
 *   self_time: Float64Array, critical: Float64Array, path: Float64Array}} Columns */

export const FAILED = 1;
export const CRITICAL = 2;
export const ORPHAN = 4;

export class Model {
  /** Stretches of the critical path of each row: those of row r stand at `stretch[first[r] .. first[r + 1]]`. */
  first = new Int32Array(0);
  stretch = new Int32Array(0);

  /** @param {Columns} columns */
  constructor(columns) {
    this.columns = columns;
    this.length = columns.start.length;
    this.closed = new Uint8Array(this.length);
    /** Rows that are seen, in order. */
    this.rows = new Int32Array(this.length);
    /** Place of each row among those that are seen; -1 where it is not. */
    this.place = new Int32Array(this.length);
    this.seen = 0;
    this.deepest = 0;
    for (const depth of columns.depth) if (depth > this.deepest) this.deepest = depth;
    this.errors = this.#where((row) => (columns.flags[row] & FAILED) !== 0);
    this.#segments();
    this.unfold();
    /** @type {string[] | null} */
    this.ids = null;
    this.pairs = new Map();
  }

  /** @param {(row: number) => boolean} fits */
  #where(fits) {
    const found = [];
    for (let row = 0; row < this.length; row += 1) if (fits(row)) found.push(row);
    return Int32Array.from(found);
  }

  #segments() {
    const { path } = this.columns;
    const count = path.length / 3;
    this.first = new Int32Array(this.length + 1);
    for (let at = 0; at < count; at += 1) this.first[path[3 * at] + 1] += 1;
    for (let row = 0; row < this.length; row += 1) this.first[row + 1] += this.first[row];
    const next = this.first.slice();
    this.stretch = new Int32Array(count);
    for (let at = 0; at < count; at += 1) this.stretch[next[path[3 * at]]++] = at;
  }

  /** Which rows are seen, after something was closed or opened. */
  unfold() {
    const { size } = this.columns;
    this.place.fill(-1);
    let seen = 0;
    for (let row = 0; row < this.length; ) {
      this.rows[seen] = row;
      this.place[row] = seen;
      seen += 1;
      row += this.closed[row] ? size[row] + 1 : 1;
    }
    this.seen = seen;
  }

  /** Close or open a row. @param {number} row @param {boolean} closed */
  close(row, closed) {
    if (!this.columns.size[row] || Boolean(this.closed[row]) === closed) return;
    this.closed[row] = closed ? 1 : 0;
    this.unfold();
  }

  /** Close all rows from a depth on; Infinity opens all. @param {number} depth */
  closeBelow(depth) {
    for (let row = 0; row < this.length; row += 1) this.closed[row] = this.columns.depth[row] >= depth && this.columns.size[row] ? 1 : 0;
    this.unfold();
  }

  /** Open what hides a row. @param {number} row */
  reveal(row) {
    let hidden = false;
    for (let above = this.columns.parent[row]; above >= 0; above = this.columns.parent[above]) {
      if (this.closed[above]) [this.closed[above], hidden] = [0, true];
    }
    if (hidden) this.unfold();
  }

  /** The row that stands for a hidden one: the nearest above that is seen. @param {number} row */
  standsFor(row) {
    let at = row;
    while (at >= 0 && this.place[at] < 0) at = this.columns.parent[at];
    return at;
  }

  /** @param {number} row */
  id(row) {
    this.ids ??= this.columns.ids.split("\n");
    return this.ids[row];
  }

  /** @param {string} id */
  rowOf(id) {
    this.ids ??= this.columns.ids.split("\n");
    return this.ids.indexOf(id);
  }

  /** Rows that have all words in service, operation or kind; `>20ms` and `<5s` compare durations, `error` finds failed ones,
   * a long hexadecimal word an id. @param {string} words */
  search(words) {
    const asked = words.toLowerCase().split(/\s+/).filter(Boolean);
    if (asked.length === 0) return new Int32Array(0);
    const { service, name, kind, services, names, kinds, duration, flags } = this.columns;
    const limits = asked.map(limitOf);
    const texts = asked.filter((word, at) => limits[at] === null && word !== "error");
    const bounds = limits.filter((limit) => limit !== null);
    const failing = asked.includes("error");
    const fits = (/** @type {string[]} */ list) => texts.map((word) => Uint8Array.from(list, (text) => (text.toLowerCase().includes(word) ? 1 : 0)));
    const [inService, inName, inKind] = [fits(services), fits(names), fits(kinds)];
    const ids = texts.length === 1 && /^[0-9a-f]{6,}$/.test(texts[0]) ? texts[0] : "";
    if (ids) this.ids ??= this.columns.ids.split("\n");
    const found = [];
    for (let row = 0; row < this.length; row += 1) {
      if (failing && !(flags[row] & FAILED)) continue;
      let all = true;
      for (let at = 0; at < texts.length && all; at += 1) {
        all = inService[at][service[row]] === 1 || inName[at][name[row]] === 1 || inKind[at][kind[row]] === 1 || (ids !== "" && /** @type {string[]} */ (this.ids)[row].includes(ids));
      }
      for (let at = 0; at < bounds.length && all; at += 1) all = bounds[at].more ? duration[row] > bounds[at].ns : duration[row] < bounds[at].ns;
      if (all) found.push(row);
    }
    return Int32Array.from(found);
  }
}

/** @param {string} word @returns {{more: boolean, ns: number} | null} */
function limitOf(word) {
  const [, sign, number, unit] = /^([<>])(\d+(?:\.\d+)?)(ns|us|µs|ms|s|min)$/.exec(word) ?? [];
  if (!sign) return null;
  const scale = { ns: 1, us: 1e3, "µs": 1e3, ms: 1e6, s: 1e9, min: 60e9 }[/** @type {"ns"} */ (unit)];
  return { more: sign === ">", ns: Number(number) * scale };
}

/** The next of some rows, in order, after a row; from the other end again where there is none.
 * @param {Int32Array} rows @param {number} after @param {number} by 1 or -1 */
export function nextOf(rows, after, by) {
  if (rows.length === 0) return -1;
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle] < after) low = middle + 1;
    else high = middle;
  }
  const at = by > 0 ? (rows[low] === after ? low + 1 : low) : low - 1;
  return rows[(at + rows.length) % rows.length];
}
