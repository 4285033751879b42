// The subgraph: pinned nodes as named boxes that can be dragged, grouped into supernodes, and looked at from near and far.

const BOX = { least: 76, most: 190, gap: 18 };
// a box's height, and from row to row: name above place, or, where there are many rows, both on one line
const TALL = { height: 36, pitch: 62 };
const FLAT = { height: 24, pitch: 38 };
const STEP = 12; // pixels an arrow key moves a box

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
    const mean = (key) => members.reduce((sum, i) => sum + graph.nodes[i][key], 0) / members.length;
    const under = kind === "group" ? plural(ids.length, "node") : placeOf(graph.nodes[members[0]]);
    return { id, members, name, kind, under, row: Math.round(mean("row")), pos: mean("pos") };
  };
  const boxes = groups.map((group) => item(group.id, group.members, visible(group.name), "group"));
  for (const id of pins) {
    const node = graph.nodes[graph.place.get(id)];
    if (!grouped.has(id)) boxes.push(item(id, [id], nameOf(node), node.kind));
  }
  return boxes;
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

// ---------------------------------------------------------------- places

const BOLD = 1.1; // titles are bold, and so wider than what is measured
const nameWidth = (item) => Math.min(BOX.most - 36, measure(item.name, 12) * BOLD);
const boxWidth = (item, form) => Math.max(BOX.least, nameWidth(item) + 36 + (form === FLAT ? measure(fit(item.under, 90, 10), 10) + 4 : 0));

/** A place for every box: rows by layer, in a row by position, nothing on top of anything; what was dragged stays where it is. */
function boxPlaces(side, items) {
  const rows = [...new Set(items.map((item) => item.row))].sort((a, b) => b - a);
  const columns = [...new Set(items.map((item) => Math.round(item.pos)))].sort((a, b) => a - b);
  const form = rows.length <= 4 ? TALL : FLAT;
  const places = [];
  rows.forEach((row, line) => {
    const list = items.map((item, k) => ({ item, k, w: boxWidth(item, form) })).filter(({ item }) => item.row === row);
    list.sort((a, b) => a.item.pos - b.item.pos || a.k - b.k);
    const wanted = list.map(({ item }) => columns.indexOf(Math.round(item.pos)) * 116);
    const xs = spread(wanted, list.map(({ w }) => w));
    list.forEach(({ k, w }, n) => (places[k] = { x: xs[n], y: line * form.pitch, w, h: form.height }));
  });
  const { places: dragged } = state.sides[side];
  items.forEach((item, k) => {
    if (Object.hasOwn(dragged, item.id)) [places[k].x, places[k].y] = dragged[item.id];
  });
  return places;
}

/** Centres near the wanted ones, in their order, with a gap between neighbours. */
function spread(wanted, widths) {
  const xs = [];
  wanted.forEach((x, n) => {
    const least = n ? xs[n - 1] + (widths[n - 1] + widths[n]) / 2 + BOX.gap : -Infinity;
    xs.push(Math.max(x, least));
  });
  const shift = xs.reduce((sum, x, n) => sum + wanted[n] - x, 0) / Math.max(1, xs.length);
  return xs.map((x) => Math.round(x + shift));
}

/** [scale, x, y] that shows all boxes. */
function fitted(places, width, height) {
  if (!places.length || !width || !height) return [1, 0, 0];
  const left = Math.min(...places.map((p) => p.x - p.w / 2)) - 7;
  const right = Math.max(...places.map((p) => p.x + p.w / 2)) + 7;
  const top = Math.min(...places.map((p) => p.y - p.h / 2)) - 7;
  const bottom = Math.max(...places.map((p) => p.y + p.h / 2)) + 7;
  const scale = Math.min(1.15, width / (right - left), height / (bottom - top));
  return [scale, width / 2 - (scale * (left + right)) / 2, height / 2 - (scale * (top + bottom)) / 2];
}

// ---------------------------------------------------------------- drawing

const subgraph = { items: [], places: [], links: [], zoom: [1, 0, 0], svg: null, layer: null, boxes: [] };

function drawSubgraph() {
  const side = state.active;
  const svg = byId("sub-graph");
  const items = itemsOf(side);
  const places = boxPlaces(side, items);
  Object.assign(subgraph, { svg, items, places, links: linksOf(side, items) });
  for (const id of [...marked]) if (!items.some((item) => item.id === id)) marked.delete(id);
  subgraph.layer = draw("g");
  subgraph.lines = draw("g");
  subgraph.layer.append(subgraph.lines);
  subgraph.boxes = items.map((item, k) => drawBox(side, item, k));
  svg.replaceChildren(subgraph.layer);
  drawBoxLinks();
  showZoom();
  drawSubgraphBar();
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
    "aria-label": item.name + ", " + item.under + (marked.has(item.id) ? ", marked for a group" : ""),
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
  const flat = h === FLAT.height;
  const left = -w / 2 + 24;
  const mark = draw("g", { class: "node " + item.kind, transform: `translate(${left - 11},${flat ? 0 : -5})` }, shapeOf(item.kind, 5));
  box.append(mark, draw("text", { class: "title", x: left, y: flat ? 4 : -1 }, fit(item.name, nameWidth(item) / BOLD + 1, 12)));
  const at = flat ? { x: w / 2 - 8, y: 4, "text-anchor": "end" } : { x: left, y: 12 };
  box.append(draw("text", { class: "under", ...at }, fit(item.under, flat ? 90 : w - 32, 10)));
  subgraph.layer.append(box);
  move(box, subgraph.places[k]);
  return box;
}

const move = (box, { x, y }) => box.setAttribute("transform", `translate(${round(x)},${round(y)})`);

/** Lines with an arrow at the target, and shares on those of the box that is brought out. */
function drawBoxLinks(bright = -1) {
  const { places, links, items } = subgraph;
  const chosen = bright >= 0 ? bright : items.findIndex((item) => item.id === state.sides[state.active].clicked);
  const parts = [];
  const labels = [];
  for (const link of [...links].reverse()) {
    const from = places[link.source];
    const to = places[link.target];
    const up = from.y >= to.y;
    const ends = [{ x: from.x, y: from.y + (up ? -from.h : from.h) / 2 }, { x: to.x, y: to.y + (up ? to.h : -to.h) / 2 }];
    const line = curve(...ends);
    const near = chosen < 0 || link.source === chosen || link.target === chosen;
    const kind = (link.weight < 0 ? "minus" : "plus") + (near ? "" : " far");
    const width = round(0.8 + 6 * Math.sqrt(link.share));
    const path = draw("path", { class: "edge " + kind, d: pathData(line), "stroke-width": width });
    const words = `${items[link.source].name} → ${items[link.target].name}: ${link.weight < 0 ? "−" : "+"}${percent(link.share)} of its inputs`;
    path.append(draw("title", {}, words));
    const s = 3 + width / 2;
    const tip = up ? [[0, 0], [-s, s * 1.4], [s, s * 1.4]] : [[0, 0], [-s, -s * 1.4], [s, -s * 1.4]];
    const points = tip.map(([x, y]) => round(ends[1].x + x) + "," + round(ends[1].y + y)).join(" ");
    parts.push(path, draw("polygon", { class: "tip " + kind, points }));
    if (chosen < 0 || !near) continue;
    const x = (line[0] + 3 * line[2] + 3 * line[4] + line[6]) / 8;
    const y = (line[1] + 3 * line[3] + 3 * line[5] + line[7]) / 8;
    const sign = link.weight < 0 ? "−" : "+";
    labels.push(draw("text", { class: "share", x: round(x), y: round(y + 3), "text-anchor": "middle" }, sign + percent(link.share)));
  }
  subgraph.lines.replaceChildren(...parts, ...labels);
}

function brighten(k) {
  if (!dragging) drawBoxLinks(k);
}

/** Counts, and the buttons that act on what is marked. */
function drawSubgraphBar() {
  const { items } = subgraph;
  const pins = state.sides[state.active].pins.length;
  const which = graphs.length > 1 ? " of " + "AB"[state.active] : "";
  byId("sub-title").textContent = "Subgraph" + which + (pins ? " · " + plural(pins, "node") : "");
  byId("sub-empty").hidden = pins > 0;
  byId("sub-mark").setAttribute("aria-pressed", marking);
  byId("sub-group").disabled = marked.size < 2;
  byId("sub-group").textContent = marked.size ? `Group ${marked.size} marked` : "Group";
  for (const id of ["sub-mark", "sub-group", "sub-fit", "sub-in", "sub-out", "sub-clear"]) byId(id).hidden = !items.length;
}

// ---------------------------------------------------------------- zoom and drag

function showZoom() {
  const { svg, places } = subgraph;
  subgraph.zoom = state.sides[state.active].zoom || fitted(places, svg.clientWidth, svg.clientHeight);
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

function endDrag() {
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
  else toggleSelect(state.active, id);
}

/** Keep a dragged box's place, and the zoom with it, so that the picture does not jump to fit. */
function keepPlace(k) {
  const { x, y } = subgraph.places[k];
  const { id } = subgraph.items[k];
  const zoom = subgraph.zoom.map((v) => Math.round(v * 1000) / 1000);
  change((s, side) => {
    side.places[id] = [Math.round(x), Math.round(y)];
    side.zoom = zoom;
  });
}

const keepZoom = () => change((s, side) => (side.zoom = subgraph.zoom.map((v) => Math.round(v * 1000) / 1000)));

function boxKey(event, side, item, k) {
  const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
  const act = {
    Enter: () => toggleSelect(side, item.id),
    " ": () => toggleSelect(side, item.id),
    g: () => toggleMark(item.id),
    G: () => toggleMark(item.id),
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
  byId("sub-group").addEventListener("click", groupMarked);
  byId("sub-clear").addEventListener("click", () => change((s, side) => (side.pins = [])));
  byId("sub-mark").addEventListener("click", () => {
    marking = !marking;
    drawSubgraphBar();
  });
}
