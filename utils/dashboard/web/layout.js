// Where everything of a graph's picture stands: columns of tokens, rows of layers, nodes in their cells, names beside them.

const GAP = 22; // between nodes of one cell
const LEFT = 62; // room for the names of the rows
const FOOT = 40; // room for the tokens

/** Area grows with influence (probability for an answer). */
function radius(graph, node) {
  const part = node.kind === "logit" ? node.prob : weightOf(node) / graph.top;
  return 3.5 + 6 * Math.sqrt(Math.min(1, Math.max(0, part)));
}

/** Nodes of each (row, position) cell, most influential first. Answers have a row of their own. */
function cellsOf(graph) {
  const cells = new Map();
  for (const i of graph.byInfluence) {
    const node = graph.nodes[i];
    if (node.kind === "logit") continue;
    const key = node.row + "," + node.pos;
    if (!cells.has(key)) cells.set(key, { row: node.row, pos: node.pos, list: [] });
    cells.get(key).list.push(i);
  }
  return [...cells.values()];
}

/** Column widths: room for the token and for the busiest cell, the rest shared out by need. */
function columnWidths(graph, cells, room) {
  const busiest = graph.tokens.map(() => 0);
  for (const { pos, list } of cells) busiest[pos] = Math.max(busiest[pos], list.length);
  const needed = (most) => graph.tokens.map((text, pos) => {
    const forToken = Math.min(96, measure(token(text)) + 12);
    return Math.max(30, forToken, Math.min(busiest[pos], most) * GAP + 10);
  });
  const spareOf = (widths) => room - widths.reduce((a, b) => a + b, 0);
  // rather higher cells than a picture wider than the page
  const widths = [4, 3, 2].map(needed).find((list) => spareOf(list) >= 0) || needed(2);
  const spare = Math.max(0, spareOf(widths));
  const need = busiest.map((n) => n + 0.3);
  const allNeed = need.reduce((a, b) => a + b, 0);
  return widths.map((width, pos) => width + (spare * need[pos]) / allNeed);
}

/** Heights of rows: as many lines as its fullest cell needs, and the spare room shared out. */
function rowHeights(graph, cells, perLine, answerLines, room) {
  const lines = graph.rows.map(() => 1);
  for (const { row, pos, list } of cells) lines[row] = Math.max(lines[row], Math.ceil(list.length / perLine[pos]));
  lines[lines.length - 1] = answerLines;
  const inAll = lines.reduce((a, b) => a + b, 0) * GAP;
  const air = Math.min(18, Math.max(8, (room - FOOT - inAll) / lines.length)); // little where that saves scrolling
  const least = lines.map((n) => air + n * GAP);
  const spare = Math.max(0, room - FOOT - least.reduce((a, b) => a + b, 0));
  return least.map((height) => height + spare / least.length);
}

/** Places for everything: {width, height, bottom, columns, rows, spots}. */
function layout(graph, roomX, roomY) {
  const cells = cellsOf(graph);
  const widths = columnWidths(graph, cells, roomX - LEFT - 8);
  const starts = [];
  const width = widths.reduce((x, w) => (starts.push(x), x + w), LEFT) + 8;
  const perLine = widths.map((w) => Math.max(1, Math.floor((w - 8) / GAP)));
  const answers = answerSpots(graph, width);
  const heights = rowHeights(graph, cells, perLine, answers.lines, roomY);
  const rows = [];
  let y = 0;
  for (let row = heights.length - 1; row >= 0; row--) {
    rows[row] = { top: y, height: heights[row], middle: y + heights[row] / 2 };
    y += heights[row];
  }
  const spots = [];
  for (const { row, pos, list } of cells) placeCell(list, rows[row].middle, starts[pos] + widths[pos] / 2, perLine[pos], spots);
  const last = rows[rows.length - 1].middle;
  for (const { i, x, line } of answers.spots) spots[i] = { x, y: last + (line - (answers.lines - 1) / 2) * GAP };
  return { width, height: y + FOOT, bottom: y, columns: { starts, widths }, rows, spots };
}

function placeCell(list, middle, centre, perLine, spots) {
  const count = Math.ceil(list.length / perLine);
  list.forEach((i, k) => {
    const line = Math.floor(k / perLine);
    const inLine = Math.min(perLine, list.length - line * perLine);
    const across = (k % perLine) - (inLine - 1) / 2;
    spots[i] = { x: centre + across * GAP, y: middle + (line - (count - 1) / 2) * GAP };
  });
}

const answerLabel = (node) => shorten(nameOf(node), 18) + " " + percent(node.prob);

/** Answers stand right-aligned in the top row, the likeliest outermost, each with its label at its right. */
function answerSpots(graph, width) {
  const list = graph.answers;
  const widths = list.map((node) => measure(answerLabel(node)) + 40);
  const lines = [[]];
  let used = 0;
  list.forEach((_, k) => {
    if (used + widths[k] > width - LEFT && lines[lines.length - 1].length) {
      lines.push([]);
      used = 0;
    }
    lines[lines.length - 1].push(k);
    used += widths[k];
  });
  const spots = [];
  lines.forEach((members, line) => {
    let x = Math.max(LEFT, width - members.reduce((sum, k) => sum + widths[k], 0)) + 14;
    for (const k of members.reverse()) {
      spots.push({ i: list[k].i, x, line });
      x += widths[k];
    }
  });
  return { lines: lines.length, spots };
}

// ---------------------------------------------------------------- names inside the picture

/** Names that fit without covering a node or another name, the most influential first. */
function placeNames(graph, plan, shown) {
  const taken = new Boxes(32);
  graph.nodes.forEach((node, i) => {
    const r = radius(graph, node);
    if (shown[i]) taken.add({ x: plan.spots[i].x - r, y: plan.spots[i].y - r, w: 2 * r, h: 2 * r });
  });
  const names = [];
  for (const i of graph.byInfluence) {
    const node = graph.nodes[i];
    if (!shown[i] || (!isNamed(node) && node.kind !== "logit")) continue;
    const text = node.kind === "logit" ? answerLabel(node) : shorten(nameOf(node), 24);
    const box = freeBox(graph, plan, i, measure(text), taken);
    if (!box) continue;
    taken.add(box);
    names.push({ i, text, x: box.x, y: box.y + 10 });
  }
  return names;
}

function freeBox(graph, plan, i, w, taken) {
  const { x, y } = plan.spots[i];
  const r = radius(graph, graph.nodes[i]) + 4;
  const places = [[x + r, y - 6], [x - w / 2, y - r - 12], [x - w / 2, y + r], [x - r - w, y - 6]];
  places.push([x - 4, y - r - 12], [x + 4 - w, y - r - 12], [x - 4, y + r], [x + 4 - w, y + r]);
  for (const [left, top] of places) {
    const box = { x: left, y: top, w, h: 12 };
    const inside = left >= LEFT - 8 && left + w <= plan.width && top >= 0 && top + 12 <= plan.bottom;
    if (inside && !taken.hits(box)) return box;
  }
  return null;
}

/** Boxes, kept by the squares of a grid that they touch, so that a question looks at neighbours only. */
class Boxes {
  constructor(size) {
    this.size = size;
    this.squares = new Map();
  }

  *squaresOf(box) {
    for (let x = Math.floor((box.x - 2) / this.size); x <= (box.x + box.w + 2) / this.size; x++) {
      for (let y = Math.floor(box.y / this.size); y <= (box.y + box.h) / this.size; y++) yield x + "," + y;
    }
  }

  add(box) {
    for (const key of this.squaresOf(box)) {
      if (!this.squares.has(key)) this.squares.set(key, []);
      this.squares.get(key).push(box);
    }
  }

  hits(box) {
    for (const key of this.squaresOf(box)) if ((this.squares.get(key) || []).some((other) => overlap(box, other))) return true;
    return false;
  }
}

function overlap(a, b) {
  return a.x < b.x + b.w + 2 && b.x < a.x + a.w + 2 && a.y < b.y + b.h && b.y < a.y + a.h;
}

// ---------------------------------------------------------------- shapes

/** A node's mark around (0, 0); its kind decides the shape. */
function shapeOf(kind, r) {
  const points = (list) => draw("polygon", { class: "shape", points: list.map(([x, y]) => round(x * r) + "," + round(y * r)).join(" ") });
  if (kind === "embedding") return points([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]);
  if (kind === "mlp_error") return points([[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]]);
  if (kind === "logit") return points([[-1.1, 0], [-0.55, -0.95], [0.55, -0.95], [1.1, 0], [0.55, 0.95], [-0.55, 0.95]]);
  if (kind === "other") return points([[0, -1.1], [1.1, 0.9], [-1.1, 0.9]]);
  return draw("circle", { class: "shape", r: round(r) });
}

const round = (x) => Math.round(x * 100) / 100;

/** A small mark for lists and legends. */
function symbolOf(kind, more = "") {
  const mark = draw("g", { class: "node " + kind + " " + more }, shapeOf(kind, 8.5));
  return draw("svg", { class: "symbol", width: 12, height: 12, viewBox: "-12 -12 24 24", "aria-hidden": "true" }, mark);
}

/** A curve that leaves its source upwards and enters its target from below. */
function curve(from, to) {
  const bend = (from.y - to.y) * 0.45;
  return [from.x, from.y, from.x, from.y - bend, to.x, to.y + bend, to.x, to.y].map(round);
}

const pathData = ([x0, y0, x1, y1, x2, y2, x3, y3]) => `M${x0},${y0}C${x1},${y1} ${x2},${y2} ${x3},${y3}`;
