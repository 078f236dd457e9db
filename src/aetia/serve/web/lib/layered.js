/**
 * Layered layout of a small directed graph, left to right; the same steps as `aetia.report.layout`, so that the same graph
 * always gets the same drawing: cut cycles, layers by longest path, split long edges, order by barycentres, place near
 * neighbours (Sugiyama, Tagawa and Toda 1981).
 */

const SWEEPS = 12;
/** Room that an edge takes where it passes between nodes, in rows. */
const BEND = 0.35;

/** @typedef {[number, number]} Edge */
/** @typedef {{place: Array<[number, number]>, routes: Array<Array<[number, number]>>, layers: number, height: number}} Layout */

/** Positions (layer, row) for `nodes` nodes, and the points of each edge in its own direction, ends included.
 * @param {number} nodes @param {Edge[]} edges @returns {Layout} */
export function layered(nodes, edges) {
  if (nodes === 0) return { place: [], routes: [], layers: 0, height: 0 };
  const unique = [...new Map(edges.filter(([a, b]) => a !== b).map((edge) => [edge.join(), edge])).values()].sort(
    (a, b) => a[0] - b[0] || a[1] - b[1],
  );
  const forward = acyclic(nodes, unique);
  const layer = layersOf(nodes, forward);
  const chains = split(forward, layer);
  const links = [...chains.values()].flatMap((chain) => chain.slice(1).map((node, index) => /** @type {Edge} */ ([chain[index], node])));
  const order = ordered(layer, links);
  const rows = rowsOf(order, links, layer.map((_, index) => (index < nodes ? 1 : BEND)));
  return {
    place: Array.from({ length: nodes }, (_, index) => [layer[index], rows[index]]),
    routes: edges.map(([tail, head]) => {
      const chain = chains.get(`${tail},${head}`) ?? chains.get(`${head},${tail}`)?.toReversed() ?? [tail, head];
      return chain.map((node) => [layer[node], rows[node]]);
    }),
    layers: Math.max(...layer) + 1,
    height: Math.max(...rows) + 1,
  };
}

/** The edges with those that close a cycle turned round. @param {number} nodes @param {Edge[]} edges @returns {Edge[]} */
function acyclic(nodes, edges) {
  const after = lists(nodes);
  const into = Array(nodes).fill(0);
  for (const [tail, head] of edges) {
    after[tail].push(head);
    into[head] += 1;
  }
  const state = Array(nodes).fill(0);
  const turned = new Set();
  const starts = [...state.keys()].sort((a, b) => Number(into[a] > 0) - Number(into[b] > 0) || a - b);
  for (const start of starts) {
    if (state[start]) continue;
    state[start] = 1;
    const stack = [{ tail: start, next: 0 }];
    while (stack.length) {
      const top = stack[stack.length - 1];
      const head = after[top.tail][top.next++];
      if (head === undefined) {
        state[top.tail] = 2;
        stack.pop();
      } else if (state[head] === 1) turned.add(`${top.tail},${head}`);
      else if (state[head] === 0) {
        state[head] = 1;
        stack.push({ tail: head, next: 0 });
      }
    }
  }
  const straight = new Map();
  for (const [a, b] of edges) {
    const edge = /** @type {Edge} */ (turned.has(`${a},${b}`) ? [b, a] : [a, b]);
    straight.set(edge.join(), edge);
  }
  return [...straight.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

/** @param {number} nodes @param {Edge[]} edges @returns {number[]} */
function layersOf(nodes, edges) {
  const after = lists(nodes);
  const waiting = Array(nodes).fill(0);
  for (const [tail, head] of edges) {
    after[tail].push(head);
    waiting[head] += 1;
  }
  const layer = Array(nodes).fill(0);
  const ready = [...layer.keys()].filter((node) => waiting[node] === 0);
  while (ready.length) {
    const tail = /** @type {number} */ (ready.pop());
    for (const head of after[tail]) {
      layer[head] = Math.max(layer[head], layer[tail] + 1);
      if (--waiting[head] === 0) ready.push(head);
    }
  }
  return layer;
}

/** Chains of nodes per edge with an invisible node on each layer that it crosses; `layer` grows by these.
 * @param {Edge[]} edges @param {number[]} layer @returns {Map<string, number[]>} */
function split(edges, layer) {
  const chains = new Map();
  for (const [tail, head] of edges) {
    const chain = [tail];
    for (let between = layer[tail] + 1; between < layer[head]; between++) {
      chain.push(layer.length);
      layer.push(between);
    }
    chains.set(`${tail},${head}`, [...chain, head]);
  }
  return chains;
}

/** @param {number[]} layer @param {Edge[]} links @returns {number[][]} */
function ordered(layer, links) {
  const before = lists(layer.length);
  const after = lists(layer.length);
  for (const [tail, head] of links) {
    after[tail].push(head);
    before[head].push(tail);
  }
  const order = lists(Math.max(...layer) + 1);
  layer.forEach((depth, node) => order[depth].push(node));
  let best = order.map((row) => [...row]);
  let fewest = crossings(order, links);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const row of down ? order : order.toReversed()) sortRow(row, order, down ? before : after);
    const crossed = crossings(order, links);
    if (crossed < fewest) [best, fewest] = [order.map((row) => [...row]), crossed];
  }
  return best;
}

/** @param {number[]} row @param {number[][]} order @param {number[][]} neighbours */
function sortRow(row, order, neighbours) {
  const place = new Map(order.flatMap((line) => line.map((node, at) => /** @type {[number, number]} */ ([node, at]))));
  const centre = new Map(row.map((node) => [node, neighbours[node].length ? mean(neighbours[node].map((n) => place.get(n) ?? 0)) : (place.get(node) ?? 0)]));
  row.sort((a, b) => (centre.get(a) ?? 0) - (centre.get(b) ?? 0));
}

/** @param {number[][]} order @param {Edge[]} links */
function crossings(order, links) {
  const place = new Map(order.flatMap((row, depth) => row.map((node, at) => /** @type {[number, [number, number]]} */ ([node, [depth, at]]))));
  /** @type {Map<number, Edge[]>} */
  const byLayer = new Map();
  for (const [tail, head] of links) {
    const [depth, at] = place.get(tail) ?? [0, 0];
    byLayer.set(depth, [...(byLayer.get(depth) ?? []), [at, place.get(head)?.[1] ?? 0]]);
  }
  let crossed = 0;
  for (const lines of byLayer.values())
    lines.forEach((a, index) => {
      for (let other = 0; other < index; other++) if ((a[0] - lines[other][0]) * (a[1] - lines[other][1]) < 0) crossed++;
    });
  return crossed;
}

/** Vertical position of each node: near its neighbours, no overlap, order kept. @param {number[][]} order
 * @param {Edge[]} links @param {number[]} sizes @returns {number[]} */
function rowsOf(order, links, sizes) {
  const neighbours = lists(sizes.length);
  for (const [tail, head] of links) {
    neighbours[tail].push(head);
    neighbours[head].push(tail);
  }
  const rows = Array(sizes.length).fill(0);
  const tall = order.map((row) => stacked(row, sizes));
  const tallest = Math.max(...tall.map((places) => places.at(-1) ?? 0));
  order.forEach((row, index) => row.forEach((node, at) => (rows[node] = tall[index][at] + (tallest - (tall[index].at(-1) ?? 0)) / 2)));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const [index, row] of order.entries()) {
      const wanted = row.map((node) => (neighbours[node].length ? mean(neighbours[node].map((n) => rows[n])) : rows[node]));
      apart(wanted, tall[index]).forEach((at, place) => (rows[row[place]] = at));
    }
  }
  const lowest = Math.min(...rows);
  return rows.map((at) => at - lowest);
}

/** @param {number[]} row @param {number[]} sizes @returns {number[]} */
function stacked(row, sizes) {
  const places = row.length ? [0] : [];
  for (let index = 1; index < row.length; index++) places.push(places[index - 1] + (sizes[row[index - 1]] + sizes[row[index]]) / 2);
  return places;
}

/** The positions nearest to the wanted ones that do not overlap: pool adjacent violators. @param {number[]} wanted
 * @param {number[]} offsets @returns {number[]} */
function apart(wanted, offsets) {
  /** @type {Array<[number, number]>} */
  const blocks = [];
  wanted.forEach((at, index) => {
    let [total, size] = [at - offsets[index], 1];
    for (let last = blocks.at(-1); last && last[0] / last[1] > total / size; last = blocks.at(-1)) {
      blocks.pop();
      total += last[0];
      size += last[1];
    }
    blocks.push([total, size]);
  });
  const flat = blocks.flatMap(([total, size]) => Array(size).fill(total / size));
  return flat.map((at, index) => at + offsets[index]);
}

/** @param {number} n @returns {number[][]} */
const lists = (n) => Array.from({ length: n }, () => []);
/** @param {number[]} values */
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
