// Where everything of a graph's picture stands: columns of tokens, rows of layers, nodes in their cells, names beside them.

const GAPS = [24, 20, 17, 14, 11, 9, 7]; // between nodes of one cell, the roomiest first
const FULL = GAPS[0]; // at this gap a mark has its full size
const SMALLEST = 0.5; // and of that so much at least, so that it can be seen
const PER_LINE = [4, 3, 2, 5, 6, 8, 10, 14, 20]; // nodes beside each other in a cell, the best looking first
const LEFT = 62; // room for the names of the rows
const FOOT = 48; // room for the tokens, on two lines where they are crowded
const ANSWER_LINE = 16; // from one line of answers to the next, at least
const AIR = 3; // between rows, at least
const FOLDED = 14; // the height of neighbouring rows without a node on show, together
const EMPTY = 14; // the width of a column without a node on show, and
const TIGHT = 24; // of one with a node, where the tokens' full width would not fit

/** Area grows with influence (probability for an answer). */
function radius(graph, node) {
  const part = node.kind === "logit" ? node.prob : weightOf(node) / graph.top;
  return 3.5 + 6 * Math.sqrt(Math.min(1, Math.max(0, part)));
}

/** Nodes on show in each (row, column) cell, most influential first. Answers have a row of their own. */
function cellsOf(graph) {
  const cells = new Map();
  const shown = graph.shownFlags;
  for (const i of graph.byInfluence) {
    const node = graph.nodes[i];
    if (node.kind === "logit" || !shown[i]) continue;
    const pos = graph.columnOf(node);
    const key = node.row + "," + pos;
    if (!cells.has(key)) cells.set(key, { row: node.row, pos, list: [] });
    cells.get(key).list.push(i);
  }
  return [...cells.values()];
}

/**
 * What needs room: tokens and cells of a graph, and of those beside it with the same layers, so that all get the same rows and,
 * counted from the end, the same columns. `first` is the column of the graph's own first token.
 */
function needsOf(graph) {
  const alike = graphs.includes(graph) ? graphs.filter((other) => other.rows.length === graph.rows.length) : [graph];
  const count = Math.max(...alike.map((other) => other.tokens.length));
  const tokens = Array(count).fill(0);
  const cells = [];
  for (const other of alike) {
    const before = count - other.tokens.length;
    other.tokens.forEach((text, pos) => (tokens[before + pos] = Math.max(tokens[before + pos], measure(token(text)))));
    for (const cell of cellsOf(other)) cells.push({ ...cell, pos: before + cell.pos, mine: other === graph });
  }
  const busiest = tokens.map(() => 0);
  const busyRows = graph.rows.map(() => 0);
  for (const { row, pos, list } of cells) {
    busiest[pos] = Math.max(busiest[pos], list.length);
    busyRows[row] = Math.max(busyRows[row], list.length);
  }
  busyRows[busyRows.length - 1] = 1; // the answers
  return { graph, alike, tokens, cells, busiest, busyRows, first: count - graph.tokens.length };
}

/** Column widths for so many nodes beside each other: room for the token and the cell, and the spare room shared out by need. */
function columnWidths({ tokens, busiest }, room, gap, most, tight) {
  const least = (width, pos) => (busiest[pos] ? (tight ? TIGHT : Math.max(30, Math.min(96, width + 12))) : EMPTY);
  const widths = tokens.map((width, pos) => Math.max(least(width, pos), Math.min(busiest[pos], most) * gap + 10));
  const spare = Math.max(0, room - sum(widths));
  const need = busiest.map((n) => (n ? n + 0.3 : 0));
  const all = sum(need) || 1;
  return widths.map((width, pos) => width + (spare * need[pos]) / all);
}

const sum = (list) => list.reduce((a, b) => a + b, 0);

/** Lines of nodes in every row: as many as its fullest cell needs, none in a row without a node. */
function linesOf({ graph, cells, busyRows }, perLine, answerLines, gap) {
  const lines = graph.rows.map((_, row) => (busyRows[row] ? 1 : 0));
  for (const { row, pos, list } of cells) lines[row] = Math.max(lines[row], Math.ceil(list.length / perLine[pos]));
  lines[lines.length - 1] = Math.ceil((answerLines * Math.max(gap, ANSWER_LINE)) / gap);
  return lines;
}

/** Runs of neighbouring rows without a node on show, as [first, last]. */
function foldsOf(lines) {
  const folds = [];
  lines.forEach((n, row) => {
    if (n) return;
    if (row && !lines[row - 1]) folds[folds.length - 1][1] = row;
    else folds.push([row, row]);
  });
  return folds;
}

/** One way to set out the columns and lines, and how much of it would have to be scrolled to. */
function setting(needs, roomX, roomY, gap, most, tight) {
  const widths = columnWidths(needs, roomX - LEFT - 8, gap, most, tight);
  const width = LEFT + sum(widths) + 8;
  const perLine = widths.map((w) => Math.max(1, Math.floor((w - 6) / gap)));
  const answerLines = Math.max(...needs.alike.map((graph) => answerSpots(graph, width).lines));
  const lines = linesOf(needs, perLine, answerLines, gap);
  const height = FOOT + foldsOf(lines).length * FOLDED + sum(lines.map((n) => (n ? n * gap + AIR : 0)));
  const outside = Math.max(0, width / roomX - 1) + 3 * Math.max(0, height / roomY - 1); // a hidden row is worse than a hidden column
  return { gap, widths, width, perLine, lines, outside };
}

/** The setting that needs least scrolling; of several that need none, the roomiest. */
function bestSetting(needs, roomX, roomY) {
  let best = null;
  for (const gap of GAPS) {
    for (const tight of [false, true]) {
      for (const most of PER_LINE) {
        const found = setting(needs, roomX, roomY, gap, most, tight);
        if (!best || found.outside < best.outside - 0.01) best = found;
        if (best.outside === 0) return best;
      }
    }
  }
  return best;
}

/** Places for everything: {width, height, bottom, gap, scale, columns, rows, folds, spots}. Nodes that are not on show have no spot. */
function layout(graph, roomX, roomY) {
  const needs = needsOf(graph);
  const { gap, widths, width, perLine, lines } = bestSetting(needs, roomX, roomY);
  const folds = foldsOf(lines);
  const open = lines.filter(Boolean).length;
  const left = roomY - FOOT - folds.length * FOLDED;
  const air = Math.min(18, Math.max(AIR, (left - sum(lines) * gap) / open)); // little where that saves scrolling
  const spare = Math.max(0, left - sum(lines.map((n) => (n ? air + n * gap : 0))));
  const heights = lines.map((n) => (n ? air + n * gap + spare / open : 0));
  for (const [first, last] of folds) for (let row = first; row <= last; row++) heights[row] = FOLDED / (last - first + 1);
  const starts = [];
  widths.reduce((x, w) => (starts.push(x), x + w), LEFT);
  const rows = [];
  let y = 0;
  for (let row = heights.length - 1; row >= 0; row--) {
    rows[row] = { top: y, height: heights[row], middle: y + heights[row] / 2 };
    y += heights[row];
  }
  const spots = [];
  for (const { row, pos, list } of needs.cells.filter((cell) => cell.mine)) placeCell(list, rows[row].middle, starts[pos] + widths[pos] / 2, perLine[pos], gap, spots);
  const answers = answerSpots(graph, width);
  const last = rows[rows.length - 1].middle;
  for (const { i, x, line } of answers.spots) spots[i] = { x, y: last + (line - (answers.lines - 1) / 2) * Math.max(gap, ANSWER_LINE) };
  const columns = { starts: starts.slice(needs.first), widths: widths.slice(needs.first) };
  return { width, height: y + FOOT, bottom: y, gap, scale: Math.max(SMALLEST, gap / FULL), columns, rows, folds, spots };
}

function placeCell(list, middle, centre, perLine, gap, spots) {
  const count = Math.ceil(list.length / perLine);
  list.forEach((i, k) => {
    const line = Math.floor(k / perLine);
    const inLine = Math.min(perLine, list.length - line * perLine);
    const across = (k % perLine) - (inLine - 1) / 2;
    spots[i] = { x: centre + across * gap, y: middle + (line - (count - 1) / 2) * gap };
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

const MOST_NAMES = 60; // in one picture; the rest is a matter of pointing
const FEW = 40; // nodes among which a name that only lists tokens is worth its room

/** Names that fit without covering a node or another name: answers first, for which there is room, then the most influential. */
function placeNames(graph, plan, shown) {
  const crowded = shown.filter(Boolean).length > FEW;
  const taken = new Boxes(32);
  graph.nodes.forEach((node, i) => {
    const r = radius(graph, node) * plan.scale;
    if (shown[i]) taken.add({ x: plan.spots[i].x - r, y: plan.spots[i].y - r, w: 2 * r, h: 2 * r });
  });
  const names = [];
  for (const i of [...graph.answers.map((node) => node.i), ...graph.byInfluence.filter((i) => graph.nodes[i].kind !== "logit")]) {
    const node = graph.nodes[i];
    if (!shown[i] || (!isNamed(node) && node.kind !== "logit") || (crowded && isQuiet(node))) continue;
    const text = node.kind === "logit" ? answerLabel(node) : shorten(nameOf(node), 24);
    const box = freeBox(graph, plan, i, measure(text), taken);
    if (!box) continue;
    taken.add(box);
    if (names.length >= MOST_NAMES) break;
    names.push({ i, text, x: box.x, y: box.y + 10 });
  }
  return names;
}

function freeBox(graph, plan, i, w, taken) {
  const { x, y } = plan.spots[i];
  const r = radius(graph, graph.nodes[i]) * plan.scale + (isOnlyHere(graph.nodes[i]) ? 7 : 4);
  const places = [[x + r, y - 6], [x - w / 2, y - r - 12], [x - w / 2, y + r], [x - r - w, y - 6]];
  places.push([x - 4, y - r - 12], [x + 4 - w, y - r - 12], [x - 4, y + r], [x + 4 - w, y + r]);
  for (const [left, top] of places) {
    const box = { x: left, y: top, w, h: 12 };
    const inside = left >= LEFT && left + w <= plan.width && top >= 0 && top + 12 <= plan.bottom;
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

// ---------------------------------------------------------------- the node at a point

const SQUARE = 32;

/** Which node is near a point: nodes on show, kept by the squares they stand in. */
class Spots {
  constructor(spots, shown) {
    this.spots = spots;
    this.squares = new Map();
    spots.forEach(({ x, y }, i) => {
      if (!shown[i]) return;
      const key = Math.floor(x / SQUARE) + "," + Math.floor(y / SQUARE);
      if (!this.squares.has(key)) this.squares.set(key, []);
      this.squares.get(key).push(i);
    });
  }

  /** The node nearest to a point, at most so far away (not more than a square); -1 where there is none. */
  near(x, y, reach) {
    let best = -1;
    let least = reach;
    const [column, row] = [Math.floor(x / SQUARE), Math.floor(y / SQUARE)];
    for (let c = column - 1; c <= column + 1; c++) {
      for (let r = row - 1; r <= row + 1; r++) {
        for (const i of this.squares.get(c + "," + r) || []) {
          const far = Math.hypot(this.spots[i].x - x, this.spots[i].y - y);
          if (far < least) [best, least] = [i, far];
        }
      }
    }
    return best;
  }
}

// ---------------------------------------------------------------- shapes

/** A node's mark around a point; its kind decides the shape. */
function shapeOf(kind, r, x = 0, y = 0) {
  if (!Object.hasOwn(CORNERS, kind)) return draw("circle", { class: "shape", cx: round(x), cy: round(y), r: round(r) });
  return draw("polygon", { class: "shape", points: CORNERS[kind].map(([dx, dy]) => round(x + dx * r) + "," + round(y + dy * r)).join(" ") });
}

const CORNERS = {
  embedding: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
  mlp_error: [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]],
  logit: [[-1.1, 0], [-0.55, -0.95], [0.55, -0.95], [1.1, 0], [0.55, 0.95], [-0.55, 0.95]],
  other: [[0, -1.1], [1.1, 0.9], [-1.1, 0.9]],
};

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
