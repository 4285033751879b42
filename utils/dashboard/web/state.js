// What the reader has done: one object. Every change goes through `change`, which draws the page anew, keeps the state in the
// page's address, and remembers how to undo it.

const TABS = ["graph", "subgraph", "table"];
const THEMES = ["", "light", "dark"];
const MAX_TEXT = 10000;
const MAX_UNDO = 200;
const LINES = 300; // drawn in a picture; the rest comes out when a node is pointed at

let graphs = [];
let known = { words: [], latents: {} };
let state = null;
// What the pointer is on; this is no part of the state, since it is gone with the next movement.
const pointer = { side: -1, i: -1, path: -1 };
let past = [];
let future = [];
let gesture = "";

const latentOf = (node) => (node.kind === "latent" && Object.hasOwn(known.latents, node.key) ? known.latents[node.key] : null);

const blankSide = () => ({ clicked: "", pins: [], groups: [], places: {}, zoom: null });
const blank = () => ({
  active: 0,
  sides: graphs.map(blankSide),
  labels: {},
  prune: null,
  density: null,
  hideErrors: false,
  everyLine: false,
  search: "",
  tab: "graph",
  theme: "",
  split: 0.46,
  lines: LINES,
  magnify: 1,
  merged: true, // where two graphs are compared
});

/** What the files were saved with. */
function firstState() {
  const first = blank();
  graphs.forEach((graph, k) => {
    const { clicked, pins, groups, labels, prune } = graph.saved;
    const named = groups.map(([name, ...members], n) => ({ id: "s" + (n + 1), name, members }));
    // the paths that a file brings, or another graph, are the better beginning; otherwise what leads to the likeliest answer
    const answer = clicked || (graph.answers.length ? graph.answers[0].id : "");
    const open = graph.hasOwnPaths || graphs.length > 1 ? "" : answer;
    first.sides[k] = { ...blankSide(), clicked: open, pins, groups: named };
    Object.assign(first.labels, labels);
    if (prune !== null && prune < graph.most) first.prune = prune;
  });
  return first;
}

// ---------------------------------------------------------------- changing it

/** The part of the state that undo brings back: what was made, not where one looks. */
function work(s) {
  const sides = s.sides.map(({ pins, groups, places }) => ({ pins, groups, places }));
  return JSON.stringify({ sides, labels: s.labels, prune: s.prune, density: s.density, hideErrors: s.hideErrors });
}

/** Change the state. Changes of one `kind` that follow each other (a slider being pulled) are undone as one. */
function change(edit, kind = "") {
  const before = work(state);
  const next = structuredClone(state);
  edit(next, next.sides[next.active]);
  tidy(next);
  state = next;
  if (work(state) !== before) {
    if (!kind || kind !== gesture) past.push(before);
    if (past.length > MAX_UNDO) past.shift();
    future = [];
    gesture = kind;
  }
  render();
  // browsers allow some hundred changes of the address in half a minute: a movement gets one at its end
  clearTimeout(keepInAddress.timer);
  if (kind) keepInAddress.timer = setTimeout(keepInAddress, 150);
  else keepInAddress();
}

/** Groups hold pinned nodes only; a group without nodes is gone, and so is a selection of it. */
function tidy(s) {
  for (const side of s.sides) {
    for (const group of side.groups) group.members = group.members.filter((id) => side.pins.includes(id));
    side.groups = side.groups.filter((group) => group.members.length);
    const items = new Set([...side.pins, ...side.groups.map((group) => group.id)]);
    for (const id of Object.keys(side.places)) if (!items.has(id)) delete side.places[id];
    if (isGroupId(side.clicked) && !items.has(side.clicked)) side.clicked = "";
  }
}

const isGroupId = (id) => /^s\d+$/.test(id);

function travelInTime(from, to) {
  if (!from.length) return;
  to.push(work(state));
  const { sides, ...rest } = JSON.parse(from.pop());
  const next = { ...structuredClone(state), ...rest };
  sides.forEach((side, k) => Object.assign(next.sides[k], side));
  tidy(next);
  state = next;
  gesture = "";
  render();
  keepInAddress();
}

const undo = () => travelInTime(past, future);
const redo = () => travelInTime(future, past);

// ---------------------------------------------------------------- reading a state from outside

const isObject = (x) => typeof x === "object" && x !== null && !Array.isArray(x);
const within = (x, low, high) => typeof x === "number" && x >= low && x <= high;
const textOr = (x, otherwise) => (typeof x === "string" ? x.slice(0, MAX_TEXT) : otherwise);
const listOf = (x) => (Array.isArray(x) ? x : []);

/** A state made of whatever in `raw` makes sense for these graphs; the rest is left out. */
function stateFrom(raw) {
  const s = blank();
  if (!isObject(raw)) return s;
  listOf(raw.sides).slice(0, graphs.length).forEach((side, k) => (s.sides[k] = sideFrom(side, graphs[k])));
  if (raw.active === 1 && graphs.length > 1) s.active = 1;
  if (isObject(raw.labels)) {
    for (const [key, label] of Object.entries(raw.labels)) if (typeof label === "string") s.labels[key] = label.slice(0, MAX_TEXT);
  }
  if (within(raw.prune, 0, 1)) s.prune = raw.prune;
  if (within(raw.density, 0, 1)) s.density = raw.density;
  s.hideErrors = raw.hideErrors === true;
  s.everyLine = raw.everyLine === true;
  s.search = textOr(raw.search, "");
  if (TABS.includes(raw.tab)) s.tab = raw.tab;
  if (THEMES.includes(raw.theme)) s.theme = raw.theme;
  if (within(raw.split, 0.2, 0.85)) s.split = raw.split;
  if (within(raw.lines, 0, 1e6)) s.lines = Math.round(raw.lines);
  if (within(raw.magnify, 1, MOST_MAGNIFIED)) s.magnify = raw.magnify;
  s.merged = raw.merged !== false;
  tidy(s);
  return s;
}

function sideFrom(raw, graph) {
  const side = blankSide();
  if (!isObject(raw)) return side;
  side.pins = [...new Set(listOf(raw.pins).filter((id) => graph.place.has(id)))];
  const grouped = new Set();
  for (const group of listOf(raw.groups)) {
    if (!isObject(group)) continue;
    const members = [...new Set(listOf(group.members))].filter((id) => side.pins.includes(id) && !grouped.has(id));
    members.forEach((id) => grouped.add(id));
    if (members.length) side.groups.push({ id: "s" + (side.groups.length + 1), name: textOr(group.name, ""), members });
  }
  const isItem = (id) => side.pins.includes(id) || side.groups.some((group) => group.id === id);
  for (const [id, at] of Object.entries(isObject(raw.places) ? raw.places : {})) {
    if (isItem(id) && Array.isArray(at) && at.length === 2 && at.every((x) => within(x, -1e5, 1e5))) side.places[id] = at;
  }
  if (graph.place.has(raw.clicked) || edgeOf(graph, raw.clicked) || side.groups.some((group) => group.id === raw.clicked)) side.clicked = raw.clicked;
  const zoom = raw.zoom;
  const isZoom = Array.isArray(zoom) && zoom.length === 3 && zoom.every((x) => within(x, -1e6, 1e6)) && within(zoom[0], 0.05, 20);
  if (isZoom) side.zoom = zoom;
  return side;
}

/** The state with groups numbered from 1, as every reader will number them. */
function renumbered(s) {
  const copy = structuredClone(s);
  for (const side of copy.sides) {
    const fresh = new Map(side.groups.map((group, n) => [group.id, "s" + (n + 1)]));
    const rename = (id) => fresh.get(id) || id;
    side.clicked = rename(side.clicked);
    side.places = Object.fromEntries(Object.entries(side.places).map(([id, at]) => [rename(id), at]));
    side.groups.forEach((group) => (group.id = rename(group.id)));
  }
  return copy;
}

// ---------------------------------------------------------------- the address

/** The state as parameters; names are those that other viewers of such graphs use, where they have one. */
function toParameters(s) {
  const params = new URLSearchParams({ v: "1" });
  const put = (name, value, usual) => JSON.stringify(value) !== JSON.stringify(usual) && params.set(name, String(value));
  renumbered(s).sides.forEach((side, k) => {
    const end = k ? "2" : "";
    put("clickedId" + end, side.clicked, "");
    put("pinnedIds" + end, side.pins.join(","), "");
    if (side.groups.length) params.set("supernodes" + end, JSON.stringify(side.groups.map((g) => [g.name, ...g.members])));
    if (Object.keys(side.places).length) params.set("places" + end, JSON.stringify(side.places));
    if (side.zoom) params.set("zoom" + end, side.zoom.join(","));
  });
  if (Object.keys(s.labels).length) params.set("clerps", JSON.stringify(Object.entries(s.labels)));
  put("pruningThreshold", s.prune, null);
  put("densityThreshold", s.density, null);
  put("hideErrors", s.hideErrors, false);
  put("everyLine", s.everyLine, false);
  put("search", s.search, "");
  put("tab", s.tab, "graph");
  put("theme", s.theme, "");
  put("split", s.split, 0.46);
  put("lines", s.lines, LINES);
  put("magnify", s.magnify, 1);
  put("merged", s.merged, true);
  put("active", s.active, 0);
  return params;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function fromParameters(params) {
  const get = (name) => params.get(name) ?? "";
  const number = (name) => (get(name) === "" ? null : Number(get(name)));
  const sides = graphs.map((_, k) => {
    const end = k ? "2" : "";
    const rows = listOf(parsed(get("supernodes" + end))).filter(Array.isArray);
    return {
      clicked: get("clickedId" + end),
      pins: get("pinnedIds" + end).split(","),
      groups: rows.map(([name, ...members]) => ({ name, members })),
      places: parsed(get("places" + end)),
      zoom: get("zoom" + end).split(",").map(Number),
    };
  });
  const labels = listOf(parsed(get("clerps"))).filter((row) => Array.isArray(row) && row.length === 2);
  return stateFrom({
    sides,
    labels: Object.fromEntries(labels),
    prune: number("pruningThreshold"),
    density: number("densityThreshold"),
    hideErrors: get("hideErrors") === "true",
    everyLine: get("everyLine") === "true",
    search: get("search"),
    tab: get("tab"),
    theme: get("theme"),
    split: number("split"),
    lines: number("lines"),
    magnify: number("magnify"),
    merged: get("merged") !== "false",
    active: number("active"),
  });
}

/** The state in the page's address, or null where there is none. */
function stateInAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  return params.has("v") ? fromParameters(params) : null;
}

function keepInAddress() {
  const address = "#" + toParameters(state);
  if (address === location.hash) return;
  try {
    history.replaceState(null, "", address);
  } catch {
    // some frames (a notebook's output) refuse; there the view lives as long as the page
  }
}
