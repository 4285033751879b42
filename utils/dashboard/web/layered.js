// Where the boxes of a subgraph stand, and the way each line takes around them. A layered layout (Sugiyama): ranks from inputs up to
// answers, an order in each rank with few crossings, places near what a box is joined to. A line that passes ranks keeps a free
// lane in each of them, so that it never runs through a box that it has nothing to do with.

const LANE = 7; // free at both sides of a line that passes a rank
const SWEEPS = 12;

/**
 * Ranks, order and places: `{places: [{x, rank}], lanes: [[{x, rank}, …] of each link, from its lower end up], ranks}`.
 *
 * `items` have a `height` in the graph (mean row), a `pos`, the `common` kind of their nodes and a `w`; `links` have `source`, `target` and `wide`.
 * A link that leads down, as there may be between groups, is laid like one that leads up.
 */
function layered(items, links, gap) {
  const order = upwards(items, links);
  const place = [];
  order.forEach((k, n) => (place[k] = n));
  const ups = links.map(({ source, target, wide }) => (place[source] < place[target] ? { low: source, high: target, wide } : { low: target, high: source, wide }));
  const rank = ranksOf(items, order, ups);
  const { rows, cells, lanes } = laneRows(items, ups, rank);
  orderRows(rows, items);
  settle(rows, gap);
  return {
    places: items.map((_, k) => ({ x: Math.round(cells[k].x), rank: rank[k] })),
    lanes: lanes.map((list) => list.map((cell) => ({ x: Math.round(cell.x), rank: cell.rank }))),
    ranks: rows.length,
  };
}

/** All items so that, as far as that can be, what comes first is the source. */
function upwards(items, links) {
  const order = items.map((_, k) => k).sort((a, b) => items[a].height - items[b].height || items[a].pos - items[b].pos || a - b);
  // among items of one height the stronger of two opposite links decides
  const feeds = new Map();
  for (const { source, target, share } of links) if (items[source].height === items[target].height) feeds.set(source + ">" + target, share);
  for (let n = 1; n < order.length; n++) {
    for (let m = n; m > 0 && (feeds.get(order[m] + ">" + order[m - 1]) || 0) > (feeds.get(order[m - 1] + ">" + order[m]) || 0); m--) {
      [order[m - 1], order[m]] = [order[m], order[m - 1]];
    }
  }
  return order;
}

/** The rank of every item: tokens below, answers on top, between them as few ranks as the links and the layers allow. */
function ranksOf(items, order, ups) {
  const rank = [];
  const below = items.map(() => []);
  for (const { low, high } of ups) below[high].push(low);
  let now = 0;
  let first = null; // the first item of the rank
  for (const k of order) {
    const fed = below[k].some((low) => rank[low] === now);
    const apart = first !== null && ["embedding", "logit"].some((end) => (items[first].common === end) !== (items[k].common === end));
    const far = first !== null && items[k].height - items[first].height >= 2;
    if (fed || apart || far) {
      now++;
      first = k;
    }
    first ??= k;
    rank[k] = now;
  }
  return rank;
}

/** The rows of cells: an item each, and in every rank that a link passes a lane for it. Cells know their neighbours. */
function laneRows(items, ups, rank) {
  const count = Math.max(0, ...rank) + 1;
  const rows = Array.from({ length: count }, () => []);
  const cell = (r, w, at, item) => {
    const made = { rank: r, w, at, item, up: [], down: [], x: 0 };
    rows[r].push(made);
    return made;
  };
  const cells = items.map((item, k) => cell(rank[k], item.w, item.pos, item));
  const join = (low, high, pull) => {
    low.up.push({ cell: high, pull });
    high.down.push({ cell: low, pull });
  };
  const lanes = ups.map(({ low, high, wide }) => {
    const list = [];
    for (let r = rank[low] + 1; r < rank[high]; r++) {
      const part = (r - rank[low]) / (rank[high] - rank[low]);
      list.push(cell(r, wide + 2 * LANE, items[low].pos + part * (items[high].pos - items[low].pos), null));
    }
    const chain = [cells[low], ...list, cells[high]];
    // long lines shall be straight where they pass
    chain.slice(1).forEach((next, n) => join(chain[n], next, chain[n].item && next.item ? 1 : chain[n].item || next.item ? 2 : 8));
    return list;
  });
  return { rows, cells, lanes };
}

// ---------------------------------------------------------------- order in the ranks

/** Order every row by where its neighbours stand, up and down in turn, and keep the order with fewest crossings. */
function orderRows(rows, items) {
  rows.forEach((row) => row.sort((a, b) => a.at - b.at));
  number(rows);
  const fixed = rows[0].every(({ item }) => item && item.common === "embedding"); // tokens stay in the order of the prompt
  let best = rows.map((row) => [...row]);
  let fewest = crossings(rows);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const upward = sweep % 2 === 0;
    const list = upward ? rows : [...rows].reverse();
    for (const row of list) {
      if (row === rows[0] && fixed) continue;
      const wish = new Map(row.map((cell) => [cell, centre(upward ? cell.down : cell.up, cell.n)]));
      row.sort((a, b) => wish.get(a) - wish.get(b) || a.n - b.n);
      row.forEach((cell, n) => (cell.n = n));
    }
    const found = crossings(rows);
    if (found < fewest) [fewest, best] = [found, rows.map((row) => [...row])];
  }
  best.forEach((row, r) => (rows[r] = row));
  number(rows);

  function number(all) {
    all.forEach((row) => row.forEach((cell, n) => (cell.n = n)));
  }
}

function centre(joined, otherwise) {
  if (!joined.length) return otherwise;
  return joined.reduce((sum, { cell }) => sum + cell.n, 0) / joined.length;
}

function crossings(rows) {
  let count = 0;
  for (const row of rows) {
    const steps = row.flatMap((cell) => cell.up.map(({ cell: high }) => [cell.n, high.n]));
    steps.forEach(([a, b], k) => {
      for (let m = k + 1; m < steps.length; m++) if ((a - steps[m][0]) * (b - steps[m][1]) < 0) count++;
    });
  }
  return count;
}

// ---------------------------------------------------------------- places in the ranks

/** Places in order and without overlap, each as near as can be to the mean of its neighbours. */
function settle(rows, gap) {
  for (const row of rows) pack(row, row.map(() => 0), gap);
  for (let sweep = 0; sweep < 3 * SWEEPS; sweep++) {
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      const wishes = row.map((cell) => {
        const joined = [...cell.up, ...cell.down];
        const pull = joined.reduce((sum, one) => sum + one.pull, 0);
        return pull ? joined.reduce((sum, one) => sum + one.pull * one.cell.x, 0) / pull : cell.x;
      });
      pack(row, wishes, gap);
    }
  }
}

/** The places nearest to the wishes (least squares) that keep order and distance: neighbours that would overlap move as one. */
function pack(row, wishes, gap) {
  const offsets = [];
  row.forEach((cell, n) => {
    const room = cell.item && row[n - 1]?.item ? gap : 4;
    offsets.push(n ? offsets[n - 1] + (row[n - 1].w + cell.w) / 2 + room : 0);
  });
  const blocks = [];
  wishes.forEach((wish, n) => {
    blocks.push({ sum: wish - offsets[n], count: 1 });
    while (blocks.length > 1) {
      const [before, last] = blocks.slice(-2);
      if (before.sum / before.count <= last.sum / last.count) break;
      blocks.pop();
      before.sum += last.sum;
      before.count += last.count;
    }
  });
  let n = 0;
  for (const { sum, count } of blocks) for (let k = 0; k < count; k++, n++) row[n].x = sum / count + offsets[n];
}
