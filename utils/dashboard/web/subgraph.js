// The subgraph: pinned nodes as named boxes that can be dragged, grouped into supernodes, and looked at from near and far.

const BOX = { least: 76, most: 260, gap: 18, port: 10 };
// a box's height and the room between ranks: name above place, or, where height is short, both on one line
const TALL = { height: 36, gap: 36 };
const FLAT = { height: 24, gap: 26 };
const LINE = 13; // one line more, where it was measured what boxes do
const WIDEST_GAP = 96; // between ranks, where there is room
const WIDER = 1.8; // how far boxes move apart where there is room
const STEP = 12; // pixels an arrow key moves a box along its row
const WORTH = 0.02; // the share from which on a line is drawn
const MOST_LINES = 300;

// What is marked to become a group; gone when it has become one.
const marked = new Set();
let marking = false; // while on, a click marks instead of selecting

/** Boxes of a side: groups, and pinned nodes that are in none. */
function itemsOf(side) {
  const { pins, groups } = state.sides[side];
  const graph = graphs[side];
  const grouped = new Set(groups.flatMap((group) => group.members));
  const item = (id, ids, name, kind) => {
    const members = ids.map((member) => graph.place.get(member));
    const nodes = members.map((i) => graph.nodes[i]);
    const mean = (key) => sum(nodes.map((node) => node[key])) / nodes.length;
    const kinds = new Set(nodes.map((node) => node.kind));
    const common = kinds.size === 1 ? nodes[0].kind : "group"; // what its mark shows, and whether it stands at an end
    return { id, members, name, kind, common, under: underName(nodes), effect: ablationWords(graph, members), height: mean("row"), pos: mean("pos") };
  };
  const boxes = groups.map((group) => item(group.id, group.members, visible(group.name), "group"));
  for (const id of pins) {
    const node = graph.nodes[graph.place.get(id)];
    if (!grouped.has(id)) boxes.push(item(id, [id], nameOf(node), node.kind));
  }
  return boxes;
}

/** What and where the nodes of a box are: `L3/17 @is` of one, `4 latents · L2–4 @is` of several. */
function underName(nodes) {
  if (nodes.length === 1) return placeOf(nodes[0]);
  const kinds = new Set(nodes.map(kindOf));
  const what = plural(nodes.length, kinds.size === 1 ? [...kinds][0] : "node");
  const layers = nodes.map((node) => node.layer);
  const [low, high] = [Math.min(...layers), Math.max(...layers)];
  const inside = nodes.every((node) => node.layer >= 0);
  const places = new Set(nodes.map((node) => node.pos));
  const where = [inside ? "L" + low + (high > low ? "–" + high : "") : "", inside && places.size === 1 ? "@" + token(graphs[nodes[0].side].tokens[nodes[0].pos]) : ""];
  return [what, where.filter(Boolean).join(" ")].filter(Boolean).join(" · ");
}

/**
 * Links between boxes. A link's share is the part that the source's members are of all that reaches the target's members
 * from outside the target: signed weights, over the sum of absolute weights. For two single nodes that is the link's own share.
 */
function linksOf(side, items) {
  const graph = graphs[side];
  const owner = new Map(items.flatMap((item, k) => item.members.map((i) => [i, k])));
  const outside = items.map((item) => item.members.reduce((sum, i) => sum + graph.totals[i], 0));
  const sums = new Map();
  items.forEach((item, target) => {
    for (const link of item.members.flatMap((i) => graph.inputs[i])) {
      const source = owner.get(link.source);
      if (source === target) outside[target] -= Math.abs(link.weight);
      else if (source !== undefined) sums.set(source + ">" + target, (sums.get(source + ">" + target) || 0) + link.weight);
    }
  });
  const list = [...sums].map(([key, weight]) => {
    const [source, target] = key.split(">").map(Number);
    return { source, target, weight, share: Math.min(1, Math.abs(weight) / Math.max(outside[target], 1e-12)) };
  });
  return list.filter((link) => link.weight !== 0).sort((a, b) => b.share - a.share);
}

/** Links worth a line: those with a share of some size, and the strongest into and out of every box; or all. */
function worthLines(links, all) {
  const seen = new Set();
  const first = (key) => !seen.has(key) && seen.add(key);
  return links.filter(({ source, target, share }) => [first("in" + target), first("out" + source), all || share >= WORTH].some(Boolean)).slice(0, MOST_LINES);
}

const lineWidth = (link) => round(0.8 + 6 * Math.sqrt(link.share));

// ---------------------------------------------------------------- places

const BOLD = 1.1; // titles are bold, and so wider than what is measured
const nameWidth = (item) => Math.min(BOX.most, measure(item.name, 12) * BOLD + 2);
const underWidth = (item, flat) => Math.min(flat ? 130 : BOX.most, measure(item.under, 10) + 2);
const effectWidth = (item) => measure(item.effect, 10) * BOLD + 2;
/** Room at the right of a group's name for the mark that takes it apart. */
const endWidth = (item) => (item.kind === "group" ? 16 : 0);

function boxWidth(item, form, ports) {
  const words = form.flat ? nameWidth(item) + 6 + underWidth(item, true) : Math.max(nameWidth(item), underWidth(item));
  return Math.max(BOX.least, words + 34 + endWidth(item), effectWidth(item) + 34, ports * BOX.port + 20);
}

/**
 * A place for every box in a room of this size: `{form, places, lanes, rows, stretch}`. Boxes are set out by `layered`, then moved
 * apart as far as the room goes. What was dragged stays where it is, in the nearest row, so that lines keep their room between rows.
 * `lanes` are the places that a line passes on its way.
 */
function boxPlaces(side, items, lines, width, height) {
  const more = items.some((item) => item.effect) ? LINE : 0;
  const forms = [TALL, { ...FLAT, flat: true }].map((form) => ({ ...form, height: form.height + more, more }));
  const plans = forms.map((form) => planned(items, lines, form, width, height));
  const plan = plans[0].scale >= Math.min(0.85, plans[1].scale) ? plans[0] : plans[1];
  const { form, arranged, pitch, stretch } = plan;
  const top = (rank) => (arranged.ranks - 1 - rank) * pitch * stretch[1];
  const rows = Array.from({ length: arranged.ranks }, (_, rank) => top(rank));
  const places = arranged.places.map(({ x, rank }, k) => ({ x: x * stretch[0], y: rows[rank], w: plan.widths[k], h: form.height }));
  const { places: dragged } = state.sides[side];
  items.forEach((item, k) => {
    if (!Object.hasOwn(dragged, item.id)) return;
    const [x, y] = dragged[item.id];
    Object.assign(places[k], { x: x * stretch[0], y: Math.round(y / pitch) * pitch * stretch[1] });
  });
  const lanes = arranged.lanes.map((list) => list.map(({ x, rank }) => ({ x: x * stretch[0], y: rows[rank] })));
  return { form, places, lanes, stretch, rowStep: pitch * stretch[1] };
}

/** How boxes of one form would stand: the scale at which all can be seen, and how far they may then move apart. */
function planned(items, lines, form, width, height) {
  const ports = items.map((_, k) => Math.max(lines.filter((line) => line.source === k).length, lines.filter((line) => line.target === k).length));
  const widths = items.map((item, k) => boxWidth(item, form, ports[k]));
  const arranged = layered(items.map((item, k) => ({ ...item, w: widths[k] + 4 })), lines.map((line) => ({ ...line, wide: lineWidth(line) })), BOX.gap);
  const pitch = form.height + form.gap;
  const left = Math.min(...arranged.places.map(({ x }, k) => x - widths[k] / 2), ...arranged.lanes.flat().map(({ x }) => x));
  const right = Math.max(...arranged.places.map(({ x }, k) => x + widths[k] / 2), ...arranged.lanes.flat().map(({ x }) => x));
  const [across, up] = [right - left + 24, (arranged.ranks - 1) * pitch + form.height + 24];
  const scale = width && height ? Math.min(MOST_SCALE, width / across, height / up) : 1;
  const room = width && height ? [width / scale / across, (height / scale - form.height - 24) / Math.max(1, (arranged.ranks - 1) * pitch)] : [1, 1];
  const most = [WIDER, (form.height + WIDEST_GAP) / pitch];
  return { form, widths, arranged, pitch, scale, stretch: room.map((wide, n) => Math.max(1, Math.min(most[n], wide))) };
}

const MOST_SCALE = 1.15;

/** The corners of a picture of boxes and lanes. */
function boundsOf({ places, lanes }) {
  const bends = lanes.flat();
  const most = (list, pick, start) => list.reduce((found, one) => pick(found, one), start);
  const xs = [...places.flatMap((p) => [p.x - p.w / 2, p.x + p.w / 2]), ...bends.map((bend) => bend.x)];
  const ys = [...places.flatMap((p) => [p.y - p.h / 2, p.y + p.h / 2]), ...bends.map((bend) => bend.y)];
  return { left: most(xs, Math.min, Infinity) - 10, right: most(xs, Math.max, -Infinity) + 10, top: most(ys, Math.min, Infinity) - 10, bottom: most(ys, Math.max, -Infinity) + 10 };
}

/** [scale, x, y] that shows all boxes. */
function fitted(plan, width, height) {
  if (!plan.places.length || !width || !height) return [1, 0, 0];
  const { left, right, top, bottom } = boundsOf(plan);
  const scale = Math.min(MOST_SCALE, width / (right - left), height / (bottom - top));
  return [scale, width / 2 - (scale * (left + right)) / 2, height / 2 - (scale * (top + bottom)) / 2];
}

// ---------------------------------------------------------------- the way of a line

/** For every line its curves, `[x0, y0, x1, y1, x2, y2, x3, y3]` each, from its lower end up; between them it runs straight up. */
function routesOf({ places, lanes, lines }) {
  const [above, below] = [places.map(() => []), places.map(() => [])]; // lines by the box that they leave upwards, or reach from below
  const taken = []; // where lines pass boxes already
  const ends = lines.map((line, n) => {
    const { source, target } = line;
    const over = Math.abs(places[source].y - places[target].y) < places[target].h; // side by side: an arc above both
    const up = over || places[source].y > places[target].y;
    const [low, high] = up ? [source, target] : [target, source];
    const passes = over ? [] : passesOf(places, low, high, lanes[n], lineWidth(line), taken);
    above[low].push({ n, x: (passes[0] || places[high]).x });
    (over ? above : below)[high].push({ n: over ? n + lines.length : n, x: (passes[passes.length - 1] || places[low]).x });
    return { up, over, low, high, passes };
  });
  const ports = [above, below].map((lists) => {
    const at = [];
    lists.forEach((list, k) => {
      const step = Math.min(16, (places[k].w - 20) / list.length);
      list.sort((a, b) => a.x - b.x || a.n - b.n).forEach(({ n }, m) => (at[n] = places[k].x + (m - (list.length - 1) / 2) * step));
    });
    return at;
  });
  return ends.map(({ up, over, low, high, passes }, n) => {
    const tip = 3 + lineWidth(lines[n]) / 2; // half the width of its arrow
    const length = tip * 1.4;
    let [x, y] = [ports[0][n], topOf(places[low]) - (low === lines[n].target ? length : places[low].group ? 4 : 0)];
    if (over) return { curves: [arc(x, y, ports[0][n + lines.length], topOf(places[high]) - length)], up, over, tip, length };
    const curves = [];
    for (const pass of passes) {
      curves.push(rise(x, y, pass.x, pass.bottom));
      [x, y] = [pass.x, pass.top];
    }
    curves.push(rise(x, y, ports[1][n], bottomOf(places[high]) + (high === lines[n].target ? length : 0)));
    return { curves, up, tip, length };
  });
}

const topOf = ({ y, h }) => y - h / 2;
const bottomOf = ({ y, h }) => y + h / 2;
const ROOM = { above: 6, below: 2, beside: 4, line: 5 }; // free around a box that a line passes, and between lines

/**
 * Where a line from box `low` up to box `high` passes other boxes: `{x, top, bottom}`, the lowest first. Boxes side by side are passed
 * together, at the free place that is nearest to the line's lane. Boxes that were dragged are passed like all others.
 */
function passesOf(places, low, high, lane, wide, taken) {
  const [start, end] = [places[low], places[high]];
  const between = places.filter((box, k) => k !== low && k !== high && topOf(box) < topOf(start) && bottomOf(box) > bottomOf(end));
  return bandsOf(between).flatMap(({ boxes, top: highest, bottom: lowest }) => {
    const top = Math.max(highest, bottomOf(end) + 2 * ROOM.above);
    const bottom = Math.min(lowest, topOf(start) - 2 * ROOM.above);
    if (top >= bottom) return []; // beside one of the ends
    const middle = (top + bottom) / 2;
    const part = (start.y - middle) / (start.y - end.y);
    const bend = lane.find(({ y }) => y > highest && y < lowest);
    const clipped = lowest > bottom ? start : highest < top ? end : null;
    const wish = bend ? bend.x : clipped ? clipped.x : start.x + part * (end.x - start.x);
    const near = taken.filter((pass) => pass.top < bottom && pass.bottom > top);
    const walls = [
      ...boxes.map(({ x, w }) => ({ x, half: w / 2 + wide / 2 + ROOM.beside })),
      ...near.map((pass) => ({ x: pass.x, half: ROOM.line })),
    ];
    const pass = { x: nearestFree(wish, walls), top, bottom };
    taken.push(pass);
    return [pass];
  });
}

/** Boxes by their height, the lowest first; those whose heights overlap are together. */
function bandsOf(boxes) {
  const bands = [];
  for (const box of [...boxes].sort((a, b) => bottomOf(b) - bottomOf(a))) {
    const [top, bottom] = [topOf(box) - ROOM.above, bottomOf(box) + ROOM.below];
    const last = bands[bands.length - 1];
    if (last && bottom > last.top) Object.assign(last, { top: Math.min(top, last.top), boxes: [...last.boxes, box] });
    else bands.push({ top, bottom, boxes: [box] });
  }
  return bands;
}

/** The place nearest to a wish that lies in no wall `{x, half}`. */
function nearestFree(wish, walls) {
  const isFree = (x) => walls.every((wall) => Math.abs(x - wall.x) >= wall.half);
  const places = [wish, ...walls.flatMap(({ x, half }) => [x - half - 0.01, x + half + 0.01])];
  return places.filter(isFree).reduce((best, x) => (Math.abs(x - wish) < Math.abs(best - wish) ? x : best), Infinity);
}

/** A curve that leaves upwards and arrives from above. */
const arc = (x0, y0, x1, y1) => [x0, y0, x0, y0 - ARC, x1, y1 - ARC, x1, y1].map(round);
const ARC = 20; // its middle is three quarters of this above its ends

/** A curve that leaves upwards and arrives from below. */
const rise = (x0, y0, x1, y1) => [x0, y0, x0, y0 - (y0 - y1) / 2, x1, y1 + (y0 - y1) / 2, x1, y1].map(round);

const routeData = (curves) => curves.map((curve, n) => (n ? "L" + curve[0] + "," + curve[1] + pathData(curve).replace(/^M[^C]*/, "") : pathData(curve))).join("");

/** A point of a curve, and how far up the curve it lies (0 to 1). */
function onCurve([x0, y0, x1, y1, x2, y2, x3, y3], t) {
  const mix = (a, b, c, d) => (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t ** 2 * c + t ** 3 * d;
  return { x: mix(x0, x1, x2, x3), y: mix(y0, y1, y2, y3) };
}

/** A place for a label on its line, between the ranks, on no box and no other label; null where there is none. */
function labelPlace({ curves, up }, w, taken) {
  const list = up ? [...curves].reverse() : curves; // the target's end first: a share is one of its inputs
  for (const curve of list) {
    for (const t of [0.6, 0.45, 0.75, 0.3]) {
      const { x, y } = onCurve(curve, up ? t : 1 - t);
      const box = { x: x - w / 2, y: y - 6, w, h: 12 };
      if (!taken.hits(box)) return box;
    }
  }
  return null;
}

// ---------------------------------------------------------------- drawing

const subgraph = { items: [], places: [], lanes: [], links: [], lines: [], form: TALL, stretch: [1, 1], rowStep: 0, zoom: [1, 0, 0], svg: null, layer: null, boxes: [] };

function drawSubgraph() {
  const side = state.active;
  const svg = byId("sub-graph");
  const items = itemsOf(side);
  const links = linksOf(side, items);
  Object.assign(subgraph, { svg, items, links, lines: worthLines(links, state.everyLine) });
  for (const id of [...marked]) if (!items.some((item) => item.id === id)) marked.delete(id);
  drawSubgraphBar();
  Object.assign(subgraph, boxPlaces(side, items, subgraph.lines, svg.clientWidth, svg.clientHeight));
  subgraph.places.forEach((place, k) => (place.group = items[k].kind === "group"));
  [subgraph.layer, subgraph.under, subgraph.over] = [draw("g"), draw("g"), draw("g", { class: "labels" })];
  subgraph.layer.append(subgraph.under);
  subgraph.boxes = items.map((item, k) => drawBox(side, item, k));
  subgraph.layer.append(subgraph.over);
  svg.replaceChildren(subgraph.layer);
  drawBoxLinks();
  showZoom();
}

function drawBox(side, item, k) {
  const { w, h } = subgraph.places[k];
  const clicked = state.sides[side].clicked;
  const classes = ["box", item.kind, item.id === clicked ? "chosen" : "", marked.has(item.id) ? "marked" : ""];
  const box = draw("g", {
    class: classes.join(" "),
    tabindex: 0,
    role: "button",
    "data-id": item.id,
    "aria-pressed": item.id === clicked,
    "aria-label": boxLabel(item, k),
    pointerdown: (event) => startDrag(event, k),
    keydown: (event) => boxKey(event, side, item, k),
    click: (event) => event.detail === 0 && toggleSelect(side, item.id), // from a screen reader: there was no pointer
    pointerenter: () => brighten(k),
    pointerleave: () => brighten(-1),
    focus: () => brighten(k),
    blur: () => brighten(-1),
  });
  box.append(draw("title", {}, item.name));
  if (item.kind === "group") box.append(draw("rect", { class: "back", x: -w / 2 + 4, y: -h / 2 - 4, width: w, height: h, rx: 7 }));
  box.append(draw("rect", { class: "front", x: -w / 2, y: -h / 2, width: w, height: h, rx: 7 }));
  const { flat } = subgraph.form;
  const top = -h / 2 + (flat ? 12 : 13); // the middle of the name's line
  const left = -w / 2 + 24;
  const [name, under] = boxTexts(item, k);
  const mark = draw("g", { class: "node " + item.common, transform: `translate(${left - 11},${top})` }, shapeOf(item.common, 5));
  box.append(mark, draw("text", { class: "title", x: left, y: top + 4 }, name));
  const at = flat ? { x: w / 2 - 8 - endWidth(item), y: top + 4, "text-anchor": "end" } : { x: left, y: top + 17 };
  box.append(" ", draw("text", { class: "under", ...at }, under));
  if (item.effect) box.append(" ", draw("text", { class: "effect", x: left, y: h / 2 - 6 }, item.effect));
  if (item.kind === "group") box.append(apartMark(item.id, w / 2 - 12, top));
  subgraph.layer.append(box);
  move(box, subgraph.places[k]);
  return box;
}

/** A box's name and what stands under it, cut to the room that they have. */
function boxTexts(item, k) {
  const room = subgraph.form.flat ? 130 : subgraph.places[k].w - 34 - endWidth(item);
  return [fit(item.name, nameWidth(item) / BOLD, 12), fit(item.under, room, 10)];
}

/** What is read out: the texts as they are seen, so that they can be spoken as well, and then what was cut off. */
function boxLabel(item, k) {
  const seen = boxTexts(item, k);
  const full = [item.name, item.under].filter((text, n) => text !== seen[n]);
  const more = [...full.map((text) => "in full: " + text), marked.has(item.id) ? "marked for a group" : ""];
  return [[...seen, item.effect].filter(Boolean).join(" "), ...more.filter(Boolean)].join(", ");
}

const move = (box, { x, y }) => box.setAttribute("transform", `translate(${round(x)},${round(y)})`);

/** A small cross that takes a group apart. For the pointer only: the key U and the panel do the same. */
function apartMark(id, x, y) {
  const mark = draw("g", { class: "apart", "aria-hidden": "true", transform: `translate(${x},${y})` });
  mark.append(draw("title", {}, "Ungroup"), draw("circle", { r: 7 }), draw("path", { d: "M-3,-3L3,3M-3,3L3,-3" }));
  mark.addEventListener("pointerdown", (event) => event.stopPropagation());
  mark.addEventListener("click", (event) => (event.stopPropagation(), ungroup(id)));
  return mark;
}

const LABELLED = 0.05; // the share from which on a line bears its label while no box is brought out

/** Lines with an arrow at the target, and their shares; those of the box that is brought out, or the strongest. */
function drawBoxLinks(bright = -1) {
  const { places, lines, items } = subgraph;
  const chosen = bright >= 0 ? bright : items.findIndex((item) => item.id === state.sides[state.active].clicked);
  const parts = [];
  const labels = [];
  const taken = new Boxes(48);
  for (const { x, y, w, h } of places) taken.add({ x: x - w / 2, y: y - h / 2 - 5, w: w + 4, h: h + 6 });
  const routes = routesOf(subgraph);
  lines.forEach((link, n) => {
    const route = routes[n];
    const near = chosen < 0 || link.source === chosen || link.target === chosen;
    const kind = (link.weight < 0 ? "minus" : "plus") + (near ? "" : " far");
    const ends = { "data-source": items[link.source].id, "data-target": items[link.target].id };
    const path = draw("path", { class: "edge " + kind, d: routeData(route.curves), "stroke-width": lineWidth(link), ...ends });
    const sign = link.weight < 0 ? "−" : "+";
    path.append(draw("title", {}, `${items[link.source].name} → ${items[link.target].name}: ${sign}${percent(link.share)} of its inputs`));
    parts.unshift(path, draw("polygon", { class: "tip " + kind, points: arrow(route) })); // the strongest on top
    if (!near || (chosen < 0 && link.share < LABELLED)) return;
    const text = sign + percent(link.share);
    const box = labelPlace(route, measure(text, 10) + 4, taken);
    if (!box) return;
    taken.add(box);
    labels.push(draw("text", { class: "share", x: round(box.x + box.w / 2), y: round(box.y + 9.5), "text-anchor": "middle" }, text));
  });
  subgraph.under.replaceChildren(...parts);
  subgraph.over.replaceChildren(...labels);
}

/** The corners of the arrow at a line's end: at the top end of one that leads up, else at its lower end; an arc's points down. */
function arrow({ curves, up, over, tip, length }) {
  const [x, y] = up ? curves[curves.length - 1].slice(6) : curves[0];
  const way = up && !over ? -1 : 1;
  return [[x, y + way * length], [x - tip, y], [x + tip, y]].map((corner) => corner.map(round).join(",")).join(" ");
}

function brighten(k) {
  if (!dragging) drawBoxLinks(k);
}

/** Counts, and the buttons that act on what is marked. */
function drawSubgraphBar() {
  const { items } = subgraph;
  const pins = state.sides[state.active].pins.length;
  const which = graphs.length > 1 ? " of " + "AB"[state.active] : "";
  const boxes = items.length < pins ? plural(items.length, "box").replace("boxs", "boxes") + ", " : "";
  const [drawn, all] = [subgraph.lines.length, subgraph.links.length];
  const cut = drawn < all ? ` · ${drawn} of ${all} lines` : "";
  byId("sub-title").textContent = "Subgraph" + which + (pins ? " · " + boxes + plural(pins, "node") + cut : "");
  byId("sub-title").title = byId("sub-title").textContent + (cut ? ", the strongest" : "");
  byId("sub-boxes").disabled = !graphs[state.active].boxes.length;
  byId("sub-empty").hidden = pins > 0;
  byId("sub-mark").setAttribute("aria-pressed", marking);
  byId("sub-group").disabled = marked.size < 2;
  byId("sub-group").textContent = marked.size ? `Group ${marked.size} marked` : "Group";
  for (const id of ["sub-mark", "sub-group", "sub-every", "sub-fit", "sub-in", "sub-out", "sub-clear"]) byId(id).hidden = !items.length;
  const weak = subgraph.links.length - worthLines(subgraph.links, false).length;
  byId("sub-every").disabled = !weak;
  byId("sub-every").setAttribute("aria-pressed", state.everyLine);
  byId("sub-every").title = weak ? `${plural(weak, "line")} below ${percent(WORTH)} of the target's inputs` : "All lines are drawn";
}

// ---------------------------------------------------------------- zoom and drag

function showZoom() {
  const { svg } = subgraph;
  subgraph.zoom = state.sides[state.active].zoom || fitted(subgraph, svg.clientWidth, svg.clientHeight);
  applyZoom();
}

function applyZoom() {
  const [k, x, y] = subgraph.zoom;
  subgraph.layer.setAttribute("transform", `translate(${round(x)},${round(y)}) scale(${Math.round(k * 1e4) / 1e4})`);
}

/** Zoom by a factor around a point of the panel; its middle when none is given. */
function zoomBy(factor, x = subgraph.svg.clientWidth / 2, y = subgraph.svg.clientHeight / 2) {
  const [k, left, top] = subgraph.zoom;
  const scale = Math.min(8, Math.max(0.1, k * factor));
  const zoom = [scale, x - ((x - left) * scale) / k, y - ((y - top) * scale) / k];
  change((s, side) => (side.zoom = zoom.map((v) => Math.round(v * 1000) / 1000)), "zoom");
}

let dragging = null;

function startDrag(event, k = -1) {
  if (event.button !== 0) return;
  event.stopPropagation();
  const { zoom, places } = subgraph;
  dragging = { k, x: event.clientX, y: event.clientY, moved: false, mark: event.ctrlKey || event.metaKey || marking };
  dragging.from = k < 0 ? [...zoom] : { ...places[k] };
  subgraph.svg.setPointerCapture(event.pointerId);
}

function drag(event) {
  if (!dragging) return;
  const dx = event.clientX - dragging.x;
  const dy = event.clientY - dragging.y;
  dragging.moved ||= Math.hypot(dx, dy) > 3;
  if (!dragging.moved) return;
  const { k, from } = dragging;
  if (k < 0) {
    subgraph.zoom = [from[0], from[1] + dx, from[2] + dy];
    applyZoom();
    return;
  }
  const scale = subgraph.zoom[0];
  Object.assign(subgraph.places[k], { x: from.x + dx / scale, y: from.y + dy / scale });
  move(subgraph.boxes[k], subgraph.places[k]);
  drawBoxLinks(k);
}

let lastClick = { id: "", at: 0 };

/** Whether this is a double click. The browser tells of none, since the first click draws the boxes anew. */
function isSecondClick(id, at) {
  const second = lastClick.id === id && at - lastClick.at < 400;
  lastClick = second ? { id: "", at: 0 } : { id, at };
  return second;
}

function endDrag(event) {
  if (!dragging) return;
  const { k, moved, mark } = dragging;
  dragging = null;
  if (k < 0) {
    if (moved) keepZoom();
    return;
  }
  const { id } = subgraph.items[k];
  if (moved) keepPlace(k);
  else if (mark) toggleMark(id);
  else if (isSecondClick(id, event.timeStamp)) startNaming(state.active, id);
  else toggleSelect(state.active, id);
}

/** Keep a dragged box's place, and the zoom with it, so that the picture does not jump to fit. */
function keepPlace(k) {
  const [x, y] = [subgraph.places[k].x / subgraph.stretch[0], subgraph.places[k].y / subgraph.stretch[1]];
  const { id } = subgraph.items[k];
  const zoom = subgraph.zoom.map((v) => Math.round(v * 1000) / 1000);
  change((s, side) => {
    side.places[id] = [Math.round(x), Math.round(y)];
    side.zoom = zoom;
  });
}

const keepZoom = () => change((s, side) => (side.zoom = subgraph.zoom.map((v) => Math.round(v * 1000) / 1000)));

function boxKey(event, side, item, k) {
  const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -subgraph.rowStep], ArrowDown: [0, subgraph.rowStep] };
  const act = {
    Enter: () => toggleSelect(side, item.id),
    " ": () => toggleSelect(side, item.id),
    g: () => toggleMark(item.id),
    G: () => toggleMark(item.id),
    u: () => item.kind === "group" && ungroup(item.id),
    U: () => item.kind === "group" && ungroup(item.id),
    F2: () => startNaming(side, item.id),
    Delete: () => change((s, own) => (own.pins = own.pins.filter((id) => !membersOf(side, item.id).includes(graphs[side].place.get(id))))),
  };
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (Object.hasOwn(by, event.key)) {
    subgraph.places[k].x += by[event.key][0];
    subgraph.places[k].y += by[event.key][1];
    keepPlace(k);
  } else if (Object.hasOwn(act, event.key)) act[event.key]();
  else return;
  event.preventDefault();
  subgraph.boxes[subgraph.items.findIndex((other) => other.id === item.id)]?.focus();
}

// ---------------------------------------------------------------- groups

/** Put the supernodes that Python found in the place of all that is pinned. */
function takeBoxes() {
  const graph = graphs[state.active];
  const boxes = graph.boxes.map(([name, ...members]) => ({ name, members: members.map((i) => graph.nodes[i].id) }));
  change((s, own) => {
    own.pins = boxes.flatMap(({ members }) => members);
    own.groups = boxes.filter(({ members }) => members.length > 1).map((box, n) => ({ id: "s" + (n + 1), ...box }));
    [own.places, own.zoom] = [{}, null];
  });
}

function toggleMark(id) {
  if (!marked.delete(id)) marked.add(id);
  drawSubgraph();
}

/** Make one group of what is marked; groups among it dissolve into it. */
function groupMarked() {
  const side = state.active;
  const ids = [...marked].flatMap((id) => membersOf(side, id)).map((i) => graphs[side].nodes[i].id);
  if (ids.length < 2) return;
  const taken = state.sides[side].groups.map((group) => Number(group.id.slice(1)));
  const id = "s" + (Math.max(0, ...taken) + 1);
  const name = groupName(ids.map((member) => graphs[side].nodes[graphs[side].place.get(member)]));
  marked.clear();
  marking = false;
  change((s, own) => {
    for (const group of own.groups) group.members = group.members.filter((member) => !ids.includes(member));
    own.groups.push({ id, name, members: ids });
    own.clicked = id;
  });
  editName(id);
}

/** A first name for a group: what its members are called, if they are called the same. */
function groupName(nodes) {
  const names = [...new Set(nodes.map(nameOf))];
  return names.length === 1 ? names[0] : "Group of " + nodes.length;
}

/** Select what is to be renamed, and show its name as a field. */
function startNaming(side, id) {
  if (state.sides[side].clicked !== id) select(side, id);
  editName(id);
}

function ungroup(id) {
  change((s, own) => {
    own.groups = own.groups.filter((group) => group.id !== id);
    if (own.clicked === id) own.clicked = "";
  });
}

function listenSubgraph() {
  const svg = byId("sub-graph");
  subgraph.svg = svg;
  svg.addEventListener("pointerdown", (event) => startDrag(event));
  svg.addEventListener("pointermove", drag);
  svg.addEventListener("pointerup", endDrag);
  svg.addEventListener("pointercancel", () => (dragging = null));
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = svg.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY * 0.0015), event.clientX - at.left, event.clientY - at.top);
  }, { passive: false });
  byId("sub-in").addEventListener("click", () => zoomBy(1.25));
  byId("sub-out").addEventListener("click", () => zoomBy(0.8));
  byId("sub-fit").addEventListener("click", () => change((s, side) => (side.zoom = null)));
  byId("sub-boxes").addEventListener("click", takeBoxes);
  byId("sub-group").addEventListener("click", groupMarked);
  byId("sub-clear").addEventListener("click", () => change((s, side) => (side.pins = [])));
  byId("sub-every").addEventListener("click", () => change((s) => (s.everyLine = !s.everyLine)));
  byId("sub-mark").addEventListener("click", () => {
    marking = !marking;
    drawSubgraphBar();
  });
}
