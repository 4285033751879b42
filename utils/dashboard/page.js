"use strict";
// Lays out and draws the view that page.py wrote into the page. Text from the view only ever becomes a text node or an
// attribute value, never markup. Nodes and links are known by their place in the view's lists.

const view = JSON.parse(document.getElementById("view").textContent);
const nodes = view.nodes;
const links = view.links.map(([source, target, weight]) => ({ source, target, weight }));
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const GAP = 22; // between nodes of one cell
const LEFT = 64; // room for the names of the rows
const FOOT = 40; // room for the tokens
const state = { chosen: -1, over: -1, path: -1 };

// ---------------------------------------------------------------- small helpers

/** An element with attributes and children; strings become text nodes. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

const SIGNS = { "\n": "⏎", "\r": "↵", "\t": "⇥" };
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Text as it can be seen: line breaks as signs, invisible and direction-changing characters by their number. */
function visible(text) {
  if (text === "") return "∅";
  return text.replace(UNSEEN, (c) => SIGNS[c] || "‹" + c.codePointAt(0).toString(16).padStart(4, "0") + "›");
}

/** A token: as visible text, with its leading space shown. */
const token = (text) => visible(text).replace(/^ /, "␣").replace(/^␣(?=.)/, "·");

function shorten(text, limit) {
  const letters = Array.from(text);
  return letters.length <= limit ? text : letters.slice(0, limit - 1).join("") + "…";
}

const isToken = (node) => node.kind === "embedding" || node.kind === "logit";
const nameOf = (node) => (isToken(node) ? token(node.name) : visible(node.name));
function percent(x) {
  if (x > 0 && x < 0.0001) return "<0.01\u00a0%";
  if (x >= 0.995 && x < 1) return (100 * x).toFixed(1) + "\u00a0%";
  return (x >= 0.0995 || x === 0 ? (100 * x).toFixed(0) : (100 * x).toPrecision(2)) + "\u00a0%";
}
const signed = (x) => (x < 0 ? "−" : "+") + (Math.abs(x) >= 100 ? Math.abs(x).toFixed(0) : Math.abs(x).toPrecision(Math.abs(x) < 0.1 ? 2 : 3));
const KIND = { latent: "latent", embedding: "input token", mlp_error: "MLP error", logit: "output token" };

function whereOf(node) {
  if (node.kind === "logit") return "output";
  const place = "“" + shorten(token(view.tokens[node.pos]), 14) + "” (" + node.pos + ")";
  return node.kind === "embedding" ? "input, " + place : view.rows[node.row].toLowerCase() + ", " + place;
}

/** The numbers of a node, as sentences' worth of "name value". */
function numbersOf(node) {
  const parts = [];
  if (node.kind === "logit") parts.push("probability " + percent(node.prob));
  else parts.push("influence " + percent(node.influence));
  if (node.kind === "latent") parts.push("activation " + node.activation.toPrecision(3));
  return parts.join(" · ");
}

// ---------------------------------------------------------------- the graph's own structure

const inputs = nodes.map(() => []);
const outputs = nodes.map(() => []);
for (const link of links) {
  inputs[link.target].push(link);
  outputs[link.source].push(link);
}
const stronger = (a, b) => Math.abs(b.weight) - Math.abs(a.weight);
for (const list of [...inputs, ...outputs]) list.sort(stronger);
const totalIn = inputs.map((list, i) => nodes[i].inputs || list.reduce((sum, link) => sum + Math.abs(link.weight), 0) || 1);
/** Share of the target's inputs, those that pruning dropped included, that this link is. */
const shareOf = (link) => Math.abs(link.weight) / totalIn[link.target];
const topInfluence = Math.max(1e-9, ...nodes.map((node) => node.influence));

/** Area grows with influence (probability for an answer). */
function radius(node) {
  const part = node.kind === "logit" ? node.prob : node.influence / topInfluence;
  return 3.5 + 6 * Math.sqrt(Math.min(1, Math.max(0, part)));
}

const widthOf = (link) => 0.5 + 5 * Math.sqrt(Math.min(1, shareOf(link)));

// ---------------------------------------------------------------- layout

const ruler = document.createElement("canvas").getContext("2d");
function measure(text) {
  ruler.font = "11px system-ui, sans-serif";
  return ruler.measureText(text).width;
}

/** Nodes of each (row, position) cell, most influential first. Answers have a row of their own. */
function cellsOf() {
  const cells = new Map();
  nodes.forEach((node, i) => {
    if (node.kind === "logit") return;
    const key = node.row + "," + node.pos;
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(i);
  });
  for (const list of cells.values()) list.sort((a, b) => nodes[b].influence - nodes[a].influence);
  return cells;
}

/** Column widths: room for the token and for the busiest cell, the rest shared out by need. */
function columnWidths(cells, room) {
  const busiest = view.tokens.map(() => 0);
  for (const [key, list] of cells) {
    const pos = Number(key.split(",")[1]);
    busiest[pos] = Math.max(busiest[pos], list.length);
  }
  const widths = view.tokens.map((text, pos) => {
    const forToken = Math.min(96, measure(token(text)) + 12);
    return Math.max(30, forToken, Math.min(busiest[pos], 4) * GAP + 10);
  });
  const spare = room - widths.reduce((a, b) => a + b, 0);
  if (spare <= 0) return widths;
  const need = busiest.map((n) => n + 0.3);
  const allNeed = need.reduce((a, b) => a + b, 0);
  return widths.map((width, pos) => width + (spare * need[pos]) / allNeed);
}

/** Places for everything: {width, height, columns, rows, spots}. */
function layout(roomX, roomY) {
  const cells = cellsOf();
  const widths = columnWidths(cells, roomX - LEFT - 8);
  const starts = [];
  const width = widths.reduce((x, w) => (starts.push(x), x + w), LEFT) + 8;
  const perLine = widths.map((w) => Math.max(1, Math.floor((w - 8) / GAP)));
  const lines = view.rows.map(() => 1);
  for (const [key, list] of cells) {
    const [row, pos] = key.split(",").map(Number);
    lines[row] = Math.max(lines[row], Math.ceil(list.length / perLine[pos]));
  }
  const answers = answerSpots(width);
  lines[lines.length - 1] = answers.lines;
  const air = view.rows.length > 14 ? 12 : 22;
  const least = lines.map((n) => air + n * GAP);
  const spare = Math.max(0, roomY - FOOT - least.reduce((a, b) => a + b, 0));
  const heights = least.map((h) => h + spare / least.length);
  const rows = [];
  let y = 0;
  for (let row = heights.length - 1; row >= 0; row--) {
    rows[row] = { top: y, height: heights[row], middle: y + heights[row] / 2 };
    y += heights[row];
  }
  const spots = [];
  for (const [key, list] of cells) {
    const [row, pos] = key.split(",").map(Number);
    placeCell(list, rows[row].middle, starts[pos] + widths[pos] / 2, perLine[pos], spots);
  }
  for (const { i, x, line } of answers.spots) {
    spots[i] = { x, y: rows[rows.length - 1].middle + (line - (answers.lines - 1) / 2) * GAP };
  }
  return { width, height: y + FOOT, columns: { starts, widths }, rows, spots, bottom: y };
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

const answerLabel = (node) => shorten(token(node.name), 18) + " " + percent(node.prob);

/** Answers stand right-aligned in the top row, the likeliest outermost, each with its label at its right. */
function answerSpots(width) {
  const list = nodes.map((node, i) => i).filter((i) => nodes[i].kind === "logit");
  list.sort((a, b) => nodes[b].prob - nodes[a].prob);
  const widths = list.map((i) => measure(answerLabel(nodes[i])) + 40);
  const lines = [[]];
  let used = 0;
  list.forEach((i, k) => {
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
      spots.push({ i: list[k], x, line });
      x += widths[k];
    }
  });
  return { lines: lines.length, spots };
}

// ---------------------------------------------------------------- names inside the picture

/** Names that fit without covering a node or another name, the most influential first. */
function placeNames(plan) {
  const taken = nodes.map((node, i) => {
    const r = radius(node);
    return { x: plan.spots[i].x - r, y: plan.spots[i].y - r, w: 2 * r, h: 2 * r, owner: i };
  });
  const names = [];
  const order = nodes.map((_, i) => i).sort((a, b) => nodes[b].influence - nodes[a].influence);
  for (const i of order) {
    const node = nodes[i];
    if (!node.named && node.kind !== "logit") continue;
    const text = node.kind === "logit" ? answerLabel(node) : shorten(nameOf(node), 24);
    const box = freeBox(plan, i, measure(text), taken);
    if (!box) continue;
    taken.push(box);
    names.push({ i, text, x: box.x, y: box.y + 10 });
  }
  return names;
}

function freeBox(plan, i, w, taken) {
  const { x, y } = plan.spots[i];
  const r = radius(nodes[i]) + 4;
  const places = [[x + r, y - 6], [x - w / 2, y - r - 12], [x - w / 2, y + r], [x - r - w, y - 6]];
  places.push([x - 4, y - r - 12], [x + 4 - w, y - r - 12], [x - 4, y + r], [x + 4 - w, y + r]);
  for (const [left, top] of places) {
    const box = { x: left, y: top, w, h: 12, owner: i };
    const inside = left >= LEFT - 8 && left + w <= plan.width && top >= 0 && top + 12 <= plan.bottom;
    if (inside && !taken.some((other) => overlap(box, other))) return box;
  }
  return null;
}

function overlap(a, b) {
  return a.x < b.x + b.w + 2 && b.x < a.x + a.w + 2 && a.y < b.y + b.h && b.y < a.y + a.h;
}

// ---------------------------------------------------------------- drawing

const graph = byId("graph");
const canvas = byId("lines");
let plan = null;
let overlay = null;
let marks = [];
let names = [];

function shape(node) {
  const r = radius(node);
  const points = (list) => draw("polygon", { class: "shape", points: list.map(([x, y]) => x * r + "," + y * r).join(" ") });
  if (node.kind === "embedding") return points([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]);
  if (node.kind === "mlp_error") return points([[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]]);
  if (node.kind === "logit") return points([[-1.1, 0], [-0.55, -0.95], [0.55, -0.95], [1.1, 0], [0.55, 0.95], [-0.55, 0.95]]);
  return draw("circle", { class: "shape", r });
}

function pathOf(link) {
  const from = plan.spots[link.source];
  const to = plan.spots[link.target];
  const bend = (from.y - to.y) * 0.45;
  return { from, to, c1: { x: from.x, y: from.y - bend }, c2: { x: to.x, y: to.y + bend } };
}

function drawLines() {
  const scale = window.devicePixelRatio || 1;
  canvas.width = plan.width * scale;
  canvas.height = plan.height * scale;
  canvas.style.width = plan.width + "px";
  canvas.style.height = plan.height + "px";
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const colours = getComputedStyle(document.documentElement);
  const plus = colours.getPropertyValue("--plus");
  const minus = colours.getPropertyValue("--minus");
  for (const link of [...links].sort(stronger).reverse()) {
    const { from, to, c1, c2 } = pathOf(link);
    pen.globalAlpha = 0.08 + 0.5 * Math.sqrt(shareOf(link));
    pen.strokeStyle = link.weight < 0 ? minus : plus;
    pen.lineWidth = widthOf(link);
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.bezierCurveTo(c1.x, c1.y, c2.x, c2.y, to.x, to.y);
    pen.stroke();
  }
}

/** Bands and columns behind the lines; names of rows and tokens beside them, where they stay while the graph scrolls. */
function drawFrame() {
  const frame = resized("frame", plan.width, plan.height);
  const rows = resized("rows", LEFT, plan.bottom);
  const tokens = resized("tokens", plan.width, FOOT);
  view.rows.forEach((name, row) => {
    const { top, height, middle } = plan.rows[row];
    if (row % 2 === 1) frame.append(draw("rect", { class: "band", x: 0, y: top, width: plan.width, height }));
    rows.append(draw("text", { class: "row", x: 8, y: middle + 4 }, name));
  });
  tokens.append(draw("rect", { class: "paper", width: plan.width, height: FOOT }));
  view.tokens.forEach((text, pos) => {
    const start = plan.columns.starts[pos];
    const width = plan.columns.widths[pos];
    const centre = start + width / 2;
    if (pos) frame.append(draw("line", { class: "column", x1: start, x2: start, y1: 0, y2: plan.bottom }));
    const label = draw("text", { x: centre, y: 16, "text-anchor": "middle" }, fit(token(text), width - 4));
    label.append(draw("title", {}, token(text)));
    tokens.append(label, draw("text", { class: "index", x: centre, y: 30, "text-anchor": "middle" }, pos));
  });
}

/** An svg of the page, emptied and given a size. */
function resized(id, width, height) {
  const element = byId(id);
  element.replaceChildren();
  element.setAttribute("width", width);
  element.setAttribute("height", height);
  return element;
}

/** The longest beginning of a text that is at most so many pixels wide. */
function fit(text, width) {
  let letters = Array.from(text).slice(0, 200);
  if (letters.length === Array.from(text).length && measure(text) <= width) return text;
  while (letters.length > 1 && measure(letters.join("") + "…") > width) letters.pop();
  return letters.join("") + "…";
}

function drawNodes() {
  marks = nodes.map((node, i) => {
    const { x, y } = plan.spots[i];
    const label = KIND[node.kind] + " " + nameOf(node) + ", " + whereOf(node) + ", " + numbersOf(node);
    const mark = draw("g", { class: "node " + node.kind, transform: `translate(${x},${y})`, tabindex: 0, role: "button", "aria-label": label });
    mark.append(draw("circle", { r: 11, fill: "transparent" }), shape(node));
    mark.addEventListener("pointerenter", () => hover(i));
    mark.addEventListener("pointerleave", () => hover(-1));
    mark.addEventListener("focus", () => mark.matches(":focus-visible") && hover(i));
    mark.addEventListener("blur", () => hover(-1));
    mark.addEventListener("click", (event) => (event.stopPropagation(), choose(i === state.chosen ? -1 : i)));
    mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose(i === state.chosen ? -1 : i);
    });
    graph.append(mark);
    return mark;
  });
  names = placeNames(plan).map(({ i, text, x, y }) => {
    const name = draw("text", { class: "name", x, y }, text);
    graph.append(name);
    return { i, name };
  });
}

function drawAll() {
  const stage = byId("stage");
  plan = layout(stage.clientWidth, stage.clientHeight - 2);
  byId("board").style.width = plan.width + "px";
  drawFrame();
  resized("graph", plan.width, plan.height);
  overlay = draw("g");
  graph.append(overlay);
  drawLines();
  drawNodes();
  showFocus();
}

/** What to bring out: a node with its links and neighbours, a path, or, with nothing chosen, all paths. */
function focusOf() {
  const focus = state.over >= 0 ? state.over : state.path >= 0 ? -1 : state.chosen;
  if (focus >= 0) return { members: [focus], shown: [...inputs[focus], ...outputs[focus]] };
  const chains = state.path >= 0 ? [view.paths[state.path].nodes] : view.paths.map((path) => path.nodes);
  const steps = new Set(chains.flatMap((chain) => chain.slice(1).map((target, k) => chain[k] + ">" + target)));
  return { members: chains.flat(), shown: links.filter((link) => steps.has(link.source + ">" + link.target)) };
}

/** Bring out the focus; the rest steps back. */
function showFocus() {
  const { members, shown } = focusOf();
  const near = new Set(members);
  overlay.replaceChildren();
  for (const link of shown.sort(stronger).reverse()) {
    near.add(link.source).add(link.target);
    const { from, to, c1, c2 } = pathOf(link);
    const d = `M${from.x},${from.y}C${c1.x},${c1.y} ${c2.x},${c2.y} ${to.x},${to.y}`;
    const strength = { "stroke-width": widthOf(link) + 0.4, "stroke-opacity": 0.4 + 0.6 * Math.sqrt(shareOf(link)) };
    overlay.append(draw("path", { class: link.weight < 0 ? "edge minus" : "edge plus", d, ...strength }));
  }
  graph.classList.toggle("focused", near.size > 0);
  canvas.classList.toggle("dim", near.size > 0);
  marks.forEach((mark, i) => {
    mark.classList.toggle("near", near.has(i));
    mark.classList.toggle("chosen", i === state.chosen);
    mark.setAttribute("aria-pressed", i === state.chosen);
  });
  for (const { i, name } of names) name.classList.toggle("near", near.has(i));
}

// ---------------------------------------------------------------- hover and selection

function hover(i) {
  state.over = i;
  showFocus();
  const tip = byId("tip");
  tip.hidden = i < 0;
  if (i < 0) return;
  const node = nodes[i];
  const counts = inputs[i].length + " inputs · " + outputs[i].length + " outputs";
  const lines = [KIND[node.kind] + ", " + whereOf(node), numbersOf(node), counts];
  if (node.kind === "latent" && node.named) lines.unshift(node.where);
  tip.replaceChildren(make("bdi", {}, shorten(nameOf(node), 200)), ...lines.map((line) => make("div", {}, line)));
  const at = marks[i].getBoundingClientRect();
  const left = Math.min(at.right + 10, window.innerWidth - tip.offsetWidth - 8);
  const top = at.top - tip.offsetHeight - 6;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = (top > 4 ? top : at.bottom + 8) + "px";
}

function choose(i) {
  state.chosen = i;
  state.over = -1;
  state.path = -1;
  byId("tip").hidden = true;
  showFocus();
  showPanel();
}

function listRow(i, shown, kind, share) {
  const node = nodes[i];
  const symbol = draw("svg", { width: 12, height: 12, viewBox: "-12 -12 24 24", "aria-hidden": "true" });
  const mark = draw("g", { class: "node " + node.kind });
  mark.append(shape({ ...node, influence: topInfluence, prob: 1 }));
  symbol.append(mark);
  const place = node.kind === "logit" ? "" : (isToken(node) ? "" : "L" + (node.row - 1) + " ") + "@" + token(view.tokens[node.pos]);
  const button = make("button", { type: "button", title: shorten(nameOf(node), 300) + ", " + whereOf(node) }, symbol,
    make("bdi", {}, shorten(nameOf(node), 60)), make("bdi", { class: "where" }, place),
    make("span", { class: "number " + kind }, shown), make("span", { class: "number none" }, share));
  button.addEventListener("click", () => choose(i));
  button.addEventListener("pointerenter", () => ((state.over = i), showFocus()));
  button.addEventListener("pointerleave", () => ((state.over = -1), showFocus()));
  const item = make("li");
  item.append(button);
  return item;
}

const linkRow = (link, end) => listRow(link[end], signed(link.weight), link.weight < 0 ? "minus" : "plus", percent(shareOf(link)));

function listOf(title, hint, rows, kind = "") {
  const heading = make("h3", { title: hint }, title + " (" + rows.length + ")");
  if (rows.length) heading.append(make("span", { class: "none" }, hint));
  return [heading, rows.length ? make("ol", kind ? { class: kind } : {}, ...rows) : make("p", {}, "none")];
}

/** One path from a token to an answer, in words. */
function pathRow(path, k) {
  const words = path.nodes.flatMap((i, step) => {
    const sign = step && path.signs[step - 1] < 0 ? " ⊣ " : " → ";
    const where = nodes[i].named ? make("span", { class: "none" }, " L" + (nodes[i].row - 1)) : "";
    return [step ? sign : "", make("bdi", {}, shorten(nameOf(nodes[i]), 40)), where];
  });
  const button = make("button", { type: "button" }, make("span", {}, ...words), make("span", { class: "number none" }, percent(path.strength)));
  const show = (on) => () => ((state.path = on), showFocus());
  button.addEventListener("pointerenter", show(k));
  button.addEventListener("pointerleave", show(-1));
  button.addEventListener("focus", show(k));
  button.addEventListener("blur", show(-1));
  button.addEventListener("click", () => choose(path.nodes[path.nodes.length - 2]));
  const item = make("li", { class: "path" });
  item.append(button);
  return item;
}

/** The panel: the chosen node with its inputs and outputs, or the strongest paths and the most influential nodes. */
function showPanel() {
  const panel = byId("panel");
  if (state.chosen < 0) {
    const order = nodes.map((_, i) => i).filter((i) => nodes[i].kind !== "logit");
    order.sort((a, b) => nodes[b].influence - nodes[a].influence);
    const rows = order.map((i) => listRow(i, "", "none", percent(nodes[i].influence)));
    const paths = view.paths.length ? listOf("Strongest paths", "share of the answer", view.paths.map(pathRow), "paths") : [];
    panel.replaceChildren(make("p", {}, "Point at a node to see its links; click it to list them here."),
      ...paths, ...listOf("Most influential nodes", "influence", rows));
    return;
  }
  const i = state.chosen;
  const node = nodes[i];
  const close = make("button", { type: "button", title: "Clear the selection (Esc)" }, "clear");
  close.addEventListener("click", () => choose(-1));
  const head = make("div", { class: "head" }, make("h2", { dir: "auto" }, nameOf(node)), close);
  const what = node.kind === "latent" && node.named ? node.where : KIND[node.kind];
  panel.replaceChildren(head, make("p", {}, what + " · " + whereOf(node)), make("p", {}, numbersOf(node)),
    ...listOf("Inputs", "weight, share of all inputs", inputs[i].map((link) => linkRow(link, "source"))),
    ...listOf("Outputs", "weight, share of its inputs", outputs[i].map((link) => linkRow(link, "target"))));
}

// ---------------------------------------------------------------- the page around the graph

function showHeader() {
  byId("prompt").textContent = visible(view.prompt);
  view.answers.slice(0, 8).forEach(([text, prob]) => {
    const i = nodes.findIndex((node) => node.kind === "logit" && node.name === text && node.prob === prob);
    const button = make("button", { type: "button", title: token(text) }, make("bdi", {}, shorten(token(text), 40)), make("span", { class: "bar" }, percent(prob)));
    button.addEventListener("click", () => choose(i));
    byId("answers").append(button);
  });
  for (const [name, value, hint] of view.facts) {
    byId("facts").append(make("div", { title: hint + ": " + visible(value) }, make("dt", {}, name), make("dd", {}, shorten(visible(value), 80))));
  }
}

function showLegend() {
  for (const kind of ["embedding", "latent", "mlp_error", "logit"]) {
    const symbol = draw("svg", { width: 12, height: 12, viewBox: "-12 -12 24 24" });
    const mark = draw("g", { class: "node " + kind });
    mark.append(shape({ kind, influence: topInfluence, prob: 1 }));
    symbol.append(mark);
    byId("legend").append(make("li", {}, symbol, KIND[kind]));
  }
  for (const [kind, text] of [["plus", "raises its target"], ["minus", "lowers its target"]]) {
    const symbol = draw("svg", { width: 26, height: 8 });
    symbol.append(draw("path", { class: "edge " + kind, d: "M1,4H25", "stroke-width": 3 }));
    byId("legend").append(make("li", {}, symbol, text));
  }
  byId("legend").append(make("li", {}, "size: influence · width: share of the target's inputs"));
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  if (plan) drawLines();
}

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
setTheme(prefersDark.matches ? "dark" : "light");
prefersDark.addEventListener("change", () => setTheme(prefersDark.matches ? "dark" : "light"));
byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
byId("stage").addEventListener("click", () => choose(-1));
document.addEventListener("keydown", (event) => event.key === "Escape" && choose(-1));
window.addEventListener("resize", drawAll);
showHeader();
showLegend();
state.chosen = view.paths.length ? -1 : view.selected;
drawAll();
showPanel();
