// The picture of a graph: lines on a canvas, nodes as shapes that can be pointed at, clicked and reached by keyboard.
// Drawn again is only what has changed: `drawAll` when there is another room, `drawShown` when other nodes are on show,
// `drawChosen` when other nodes are selected, pinned or found, `drawFocus` when something else is pointed at.

const REACH = 10; // pixels from which a node is pointed at
const LINE_REACH = 7; // pixels from which a line is clicked
const MANY = 400; // links brought out at once
const MAX_PIXELS = 16e6; // of the canvas; beyond it lines get coarser, not lost
let pictures = []; // one of each graph
let merger = null; // of two graphs in one, where two are compared

/** The pictures that are to be seen. */
const onStage = () => (merger && state.merged ? [merger] : pictures);

class Picture {
  constructor(graph, name) {
    this.graph = graph;
    this.stop = 0; // the node that the Tab key comes to
    this.near = new Set();
    this.marked = new Map(); // what `drawChosen` has put on which node
    this.frame = draw("svg", { class: "frame", "aria-hidden": "true" });
    this.canvas = make("canvas", { class: "lines", "aria-hidden": "true" });
    // three sheets, so that what is brought out can change without drawing all nodes again
    this.svg = draw("svg", { class: "graph", role: "group" });
    this.veil = draw("rect", { class: "veil", width: "100%", height: "100%" });
    this.overlay = draw("g");
    this.over = draw("svg", { class: "over", "aria-hidden": "true" }, this.veil, this.overlay);
    this.words = draw("svg", { class: "names", "aria-hidden": "true" });
    this.rows = draw("svg", { class: "rows", "aria-hidden": "true" });
    this.tokens = draw("svg", { class: "tokens", "aria-hidden": "true" });
    this.board = make("div", { class: "board" }, this.frame, this.canvas, this.svg, this.over, this.words, this.rows, this.tokens);
    this.element = make("section", { class: "picture", "aria-label": name }, this.board);
    this.svg.setAttribute("aria-label", "Nodes. Arrow keys go from node to node, Enter selects, P pins, plus and minus zoom.");
    this.map = new Minimap(this);
    this.place = make("div", { class: "place" }, this.element, this.map.element); // the map does not scroll with the picture
    this.listen();
  }

  listen() {
    const { svg, element } = this;
    element.addEventListener("pointermove", (event) => this.pointAt(this.nodeAt(event)));
    element.addEventListener("pointerleave", () => this.pointAt(-1));
    svg.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && this.pointAt(this.marks.indexOf(event.target)));
    svg.addEventListener("focusout", () => this.pointAt(-1));
    svg.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("click", (event) => this.click(this.nodeAt(event), event));
    element.addEventListener("dblclick", (event) => this.nodeAt(event) >= 0 && this.startNaming(this.nodeAt(event)));
    element.addEventListener("scroll", () => this.scrolled());
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    listenToDragging(this);
  }

  /** The node at the pointer. It is looked up by place: to ask the browser would take longer the more nodes there are. */
  nodeAt(event) {
    if (!this.plan) return -1;
    const mark = event.detail === 0 && event.type === "click" ? event.target.closest(".node") : null; // a screen reader's click has no place
    if (mark) return this.marks.indexOf(mark);
    const board = this.board.getBoundingClientRect();
    return this.grid.near(event.clientX - board.left, event.clientY - board.top, Math.max(REACH, this.plan.gap / 2));
  }

  pointAt(i) {
    this.element.classList.toggle("on-node", i >= 0);
    point(...(i < 0 ? [-1, -1] : this.graph.homesOf(i)[0]));
  }

  click(i, event) {
    if (this.element.dataset.dragged) return;
    const [side, at] = i < 0 ? [this.graph.side, -1] : this.graph.homesOf(i)[0];
    if (i < 0) select(side, this.edgeAt(event));
    else if (event.ctrlKey || event.metaKey) togglePin(side, graphs[side].nodes[at].id);
    else toggleSelect(side, graphs[side].nodes[at].id);
  }

  /** The id of the edge at the pointer, of those that are brought out; "" where there is none, and in a picture of two graphs. */
  edgeAt(event) {
    if (!this.bright || this.graph.sides.length > 1) return "";
    const board = this.board.getBoundingClientRect();
    let [nearest, id] = [LINE_REACH, ""];
    for (const { link, line } of this.bright) {
      for (const [x, y] of pointsOf([{ line }], board, FINE)) {
        const far = Math.hypot(x - event.clientX, y - event.clientY);
        if (far < nearest) [nearest, id] = [far, edgeId(this.graph, link)];
      }
    }
    return id;
  }

  startNaming(i) {
    const [side, at] = this.graph.homesOf(i)[0];
    startNaming(side, graphs[side].nodes[at].id);
  }

  // -------------------------------------------------------------- room

  /** Lay everything out for the room there is, and draw it. */
  drawAll() {
    if (!this.element.clientWidth) return;
    const first = !this.plan;
    this.roomX = this.element.clientWidth;
    this.roomY = this.element.clientHeight - 2;
    this.magnified = state.magnify;
    this.shown = this.graph.shownFlags;
    this.plan = layout(this.graph, this.roomX * state.magnify, this.roomY * state.magnify);
    this.board.style.width = this.plan.width + "px";
    this.drawFrame();
    for (const sheet of [this.svg, this.over, this.words]) resize(sheet, this.plan.width, this.plan.height);
    if (!this.marks) this.drawNodes();
    this.placeNodes();
    this.drawNames();
    this.drawLines();
    this.drawChosen();
    this.map.draw();
    if (first) this.element.scrollLeft = this.plan.width; // where it is wider than the page, begin at the answer
  }

  /** Draw where that is not done yet, or where the room, the zoom or the nodes on show are others than when it was. */
  roomChanged() {
    const { clientWidth, clientHeight } = this.element;
    const isCurrent = this.plan && clientWidth === this.roomX && clientHeight - 2 === this.roomY && this.magnified === state.magnify;
    if (!isCurrent || this.shown !== this.graph.shownFlags) this.drawAll();
  }

  /** Draw again in more or less room, with the same thing under a point of the window (the middle, if none is given). */
  zoomed(x = this.element.clientWidth / 2, y = this.element.clientHeight / 2) {
    if (!this.plan) return;
    const { element, plan } = this;
    const [partX, partY] = [(element.scrollLeft + x) / plan.width, (element.scrollTop + y) / plan.height];
    this.drawAll();
    element.scrollTo(partX * this.plan.width - x, partY * this.plan.height - y);
    this.map.follow();
  }

  /** Scroll the graph beside this one to the same place: their rows and columns are the same. */
  scrolled() {
    const { scrollLeft, scrollTop } = this.element;
    for (const { element } of pictures) if (element !== this.element) element.scrollTo(scrollLeft, scrollTop);
    this.map.follow();
    if (pointer.i >= 0) showTip();
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls
    event.preventDefault();
    const at = this.element.getBoundingClientRect();
    magnify(Math.exp(-event.deltaY * 0.003), event.clientX - at.left, event.clientY - at.top);
  }

  // -------------------------------------------------------------- what stands still

  /** Bands and columns behind the lines; names of rows and tokens beside them, where they stay while the graph scrolls. */
  drawFrame() {
    const { plan, graph } = this;
    for (const [svg, width, height] of [[this.frame, plan.width, plan.height], [this.rows, LEFT, plan.bottom], [this.tokens, plan.width, FOOT]]) {
      svg.replaceChildren();
      resize(svg, width, height);
    }
    graph.rows.forEach((_, row) => {
      const { top, height } = plan.rows[row];
      if (row % 2 === 1) this.frame.append(draw("rect", { class: "band", x: 0, y: round(top), width: plan.width, height: round(height) }));
      // the same ground behind the name, so that what is scrolled under it does not shine through
      this.rows.append(draw("rect", { class: row % 2 === 1 ? "band" : "paper", x: 0, y: round(top), width: LEFT - 1, height: round(height) }));
    });
    this.drawRowNames();
    this.tokens.append(draw("rect", { class: "paper", width: plan.width, height: FOOT }));
    this.drawTokens();
  }

  drawRowNames() {
    const { plan, graph } = this;
    const write = (name, y, more = "") => this.rows.append(draw("text", { class: "row" + more, x: 8, y: round(y + 4) }, name));
    const folded = new Set(plan.folds.flatMap(([first, last]) => graph.rows.map((_, row) => row).filter((row) => row >= first && row <= last)));
    let free = Infinity; // where rows are lower than a line of text, not every one is named
    graph.rows.forEach((name, row) => {
      const { middle } = plan.rows[row];
      const isEnd = row === 0 || row === graph.rows.length - 1;
      if (folded.has(row) || (!isEnd && free - middle < 11)) return;
      write(name, middle);
      free = middle;
    });
    for (const [first, last] of plan.folds) {
      const number = (row) => graph.rows[row].replace(/^Layer /, "");
      write(first === last ? number(first) : `${number(first)}–${number(last)}`, (plan.rows[first].middle + plan.rows[last].middle) / 2, " folded");
    }
  }

  /** Tokens below their columns; where they are wider than those, on two lines in turn. */
  drawTokens() {
    const { plan, graph } = this;
    const { starts, widths } = plan.columns;
    const texts = graph.tokens.map(token);
    const crowded = texts.some((text, pos) => measure(text) > widths[pos] - 4);
    texts.forEach((text, pos) => {
      const centre = round(starts[pos] + widths[pos] / 2);
      if (starts[pos] > LEFT) this.frame.append(draw("line", { class: "column", x1: starts[pos], x2: starts[pos], y1: 0, y2: plan.bottom }));
      const left = pos ? widths[pos - 1] : 2 * starts[0]; // below the names of the rows there is room
      const beside = crowded ? Math.min(left, widths[pos + 1] ?? widths[pos]) : 0;
      const y = crowded && pos % 2 ? 27 : 13;
      const label = draw("text", { class: "token", x: centre, y, "text-anchor": "middle" }, fit(text, widths[pos] + beside - 4));
      label.append(draw("title", {}, text + " (" + pos + ")"));
      if (crowded && pos % 2) this.tokens.append(draw("line", { class: "column", x1: centre, x2: centre, y1: 1, y2: 16 }));
      this.tokens.append(label);
      if (widths[pos] > 12) this.tokens.append(draw("text", { class: "index", x: centre, y: crowded ? 41 : 28, "text-anchor": "middle" }, String(pos)));
    });
  }

  // -------------------------------------------------------------- nodes

  /** A mark for every node, made once; its shape is a matter of `placeNodes`. */
  drawNodes() {
    this.marks = this.graph.nodes.map((node, i) =>
      draw("g", { class: "node " + node.kind + onlyClass(node), tabindex: i === this.stop ? 0 : -1, role: "button", "data-id": node.id }));
    this.svg.replaceChildren(...this.marks);
    this.marked.clear();
  }

  /** Shapes at their places (no transforms: they would cost the browser a layer each). */
  placeNodes() {
    const { spots } = this.plan;
    this.marks.forEach((mark, i) => {
      mark.classList.toggle("hidden", !this.shown[i]);
      if (this.shown[i]) mark.replaceChildren(...this.shapes(i));
    });
    this.grid = new Spots(spots, this.shown);
    if (!this.shown[this.stop]) this.moveStop(Math.max(0, this.shown.indexOf(true)));
  }

  shapes(i) {
    const node = this.graph.nodes[i];
    const { x, y } = this.plan.spots[i];
    const r = radius(this.graph, node) * this.plan.scale;
    const ring = isOnlyHere(node) && !node.within ? [draw("circle", { class: "ring", cx: round(x), cy: round(y), r: round(r + 3.5) })] : [];
    return [...ring, shapeOf(node.kind, r, x, y)];
  }

  drawNames() {
    this.names = placeNames(this.graph, this.plan, this.shown).map(({ i, text, x, y }) => ({ i, mark: draw("text", { class: "name", x: round(x), y: round(y) }, text) }));
    this.words.replaceChildren(...this.names.map(({ mark }) => mark));
  }

  /** What a screen reader says of a node. */
  describe(i) {
    const node = this.graph.nodes[i];
    const words = [kindOf(node) + " " + nameOf(node), whereOf(node), inWords(numbersOf(node)), this.marked.get(i)?.includes("pinned") ? "pinned" : "", matchWords(node)];
    this.marks[i].setAttribute("aria-label", words.filter(Boolean).join(", "));
  }

  /** Names have changed. */
  rename() {
    if (!this.plan) return;
    this.drawNames();
    this.marks.forEach((_, i) => this.describe(i));
    this.drawFocus();
  }

  /** Other nodes may be on show than those that were drawn. */
  drawShown() {
    if (this.plan && this.shown !== this.graph.shownFlags) this.drawAll();
  }

  // -------------------------------------------------------------- lines

  /** Links between nodes on show, strongest first. */
  shownLinks() {
    const shown = this.graph.shownFlags;
    return this.graph.links.filter((link) => shown[link.source] && shown[link.target]);
  }

  /** Those that are drawn: of the links on show so many as the reader allows, the most important first. */
  drawnLinks() {
    const shown = this.graph.shownFlags;
    return this.graph.ranked.filter((link) => shown[link.source] && shown[link.target]).slice(0, state.lines);
  }

  drawLines() {
    if (!this.plan) return;
    const { plan, canvas } = this;
    const scale = Math.min(window.devicePixelRatio || 1, Math.sqrt(MAX_PIXELS / (plan.width * plan.height)), 16000 / plan.width);
    canvas.width = plan.width * scale;
    canvas.height = plan.height * scale;
    canvas.style.width = plan.width + "px";
    canvas.style.height = plan.height + "px";
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const colours = getComputedStyle(document.documentElement);
    for (const link of this.drawnLinks().reverse()) {
      const [x0, y0, ...rest] = curve(plan.spots[link.source], plan.spots[link.target]);
      pen.globalAlpha = opacityOf(this.graph, link);
      pen.strokeStyle = colours.getPropertyValue("--" + lineKind(link));
      pen.lineWidth = this.width(link);
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.bezierCurveTo(...rest);
      pen.stroke();
    }
  }

  width(link) {
    return round(0.5 + 5 * Math.sqrt(Math.min(1, this.graph.share(link))));
  }

  // -------------------------------------------------------------- what the reader has chosen

  /** Marks of the state: selected, pinned, found. Only nodes for which that is new are touched. */
  drawChosen() {
    if (!this.plan) return;
    const found = searchTest(state.search);
    const fresh = [];
    this.graph.nodes.forEach((node, i) => {
      const homes = this.graph.homesOf(i).map(([side, at]) => [state.sides[side], graphs[side].nodes[at].id]);
      const words = [
        homes.some(([side, id]) => side.clicked === id) ? "chosen" : "",
        homes.some(([side, id]) => side.pins.includes(id)) ? "pinned" : "",
        found(node) ? "found" : "",
      ].filter(Boolean);
      const before = this.marked.get(i);
      if (before !== undefined && before === words.join(" ")) return;
      this.marked.set(i, words.join(" "));
      fresh.push(i);
      for (const word of ["chosen", "pinned", "found"]) this.marks[i].classList.toggle(word, words.includes(word));
      this.marks[i].setAttribute("aria-pressed", words.includes("chosen"));
    });
    for (const i of fresh) this.describe(i);
    this.drawFocus();
  }

  /** What to bring out: what is pointed at, with its links; a path; what is selected; or, with nothing selected, what the answer is made of. */
  focus() {
    const { graph } = this;
    if (pointer.i >= 0) {
      const at = graph.placeOf(pointer.side, pointer.i);
      return at >= 0 ? this.around([at]) : { members: [], links: [] };
    }
    if (pointer.path >= 0) return this.along([graphs[pointer.side].paths[pointer.path]], pointer.side);
    const edge = graph.sides.length === 1 ? edgeOf(graph, state.sides[graph.side].clicked) : null;
    if (edge) return { members: [edge.source, edge.target], links: [edge] };
    const members = state.sides.flatMap((side, k) => membersOf(k, side.clicked).map((i) => [k, i])).filter(([k]) => graph.sides.includes(k));
    if (members.length) return this.around([...new Set(members.map(([k, i]) => graph.placeOf(k, i)))]);
    return state.sides.some((side) => side.clicked) ? { members: [], links: [] } : this.opening();
  }

  /** With nothing selected: the file's paths, and the direct inputs that the sentence names. */
  opening() {
    const lit = this.along(this.graph.paths, this.graph.side);
    const inputs = this.graph.paths.length ? directInputs(this.graph) : null;
    if (!inputs) return lit;
    return { members: [...lit.members, ...inputs.first.map((link) => link.source)], links: [...new Set([...lit.links, ...inputs.first])] };
  }

  around(members) {
    const links = members.flatMap((i) => [...this.graph.inputs[i], ...this.graph.outputs[i]]);
    return { members, links: [...new Set(links)] };
  }

  along(paths, side) {
    const places = paths.map((path) => path.nodes.map((i) => this.graph.placeOf(side, i))).filter((nodes) => nodes.every((i) => i >= 0));
    const links = places.flatMap((nodes) => nodes.slice(1).map((target, k) => this.graph.inputs[target].find((link) => link.source === nodes[k])));
    return { members: places.flat(), links: [...new Set(links)].filter(Boolean) };
  }

  /** Bring out the focus: the rest steps back behind a veil, and what is meant is drawn once more above it. */
  drawFocus() {
    if (!this.plan) return;
    const { graph, plan, shown } = this;
    const { members, links } = this.focus();
    const near = new Set(members.filter((i) => shown[i]));
    const lines = links.filter((link) => shown[link.source] && shown[link.target]).sort((a, b) => graph.share(b) - graph.share(a)).slice(0, MANY);
    this.bright = lines.map((link) => ({ link, line: curve(plan.spots[link.source], plan.spots[link.target]) }));
    const drawn = [...this.bright].reverse().map(({ link, line }) => {
      near.add(link.source).add(link.target);
      const strength = { "stroke-width": this.width(link) + 0.4, "stroke-opacity": round(0.4 + 0.6 * Math.sqrt(graph.share(link))) };
      return draw("path", { class: "edge " + lineKind(link) + dashed(link), d: pathData(line), ...strength });
    });
    this.near = near;
    const above = near.size ? new Set([...near, ...this.found()]) : new Set();
    this.overlay.replaceChildren(...drawn, ...[...above].map((i) => this.copy(i)));
    for (const { i, mark } of this.names) mark.classList.toggle("near", near.has(i));
    this.board.classList.toggle("focused", near.size > 0);
  }

  found() {
    return state.search.trim() ? [...this.marked].filter(([i, words]) => words.includes("found") && this.shown[i]).map(([i]) => i) : [];
  }

  /** A node's shape alone, for above the veil. */
  copy(i) {
    const classes = this.marks[i].getAttribute("class").replace(/\bnode\b/, "copy");
    return draw("g", { class: classes + (this.near.has(i) ? " near" : ""), "data-of": this.graph.nodes[i].id }, ...this.shapes(i));
  }

  // -------------------------------------------------------------- keyboard

  /** Nodes on show in reading order: row by row from the output down, from left to right. */
  order() {
    const list = this.graph.nodes.filter((node) => this.shown[node.i]);
    const { spots } = this.plan;
    return list.sort((a, b) => b.row - a.row || spots[a.i].y - spots[b.i].y || spots[a.i].x - spots[b.i].x || a.i - b.i);
  }

  moveStop(i) {
    this.marks[this.stop]?.setAttribute("tabindex", -1);
    this.stop = i;
    this.marks[i]?.setAttribute("tabindex", 0);
  }

  go(i) {
    this.moveStop(i);
    this.marks[i].focus({ focusVisible: true });
    this.marks[i].scrollIntoView({ block: "nearest", inline: "nearest" });
    this.pointAt(i);
  }

  key(event) {
    const order = this.order();
    const at = order.findIndex((node) => node.i === this.stop);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const node = order[at];
    const last = order.length - 1;
    const [side, home] = this.graph.homesOf(node.i)[0];
    const { id } = graphs[side].nodes[home];
    const moves = {
      ArrowRight: () => this.go(order[Math.min(at + 1, last)].i),
      ArrowLeft: () => this.go(order[Math.max(at - 1, 0)].i),
      ArrowUp: () => this.go(this.nextRow(order, node, 1)),
      ArrowDown: () => this.go(this.nextRow(order, node, -1)),
      Home: () => this.go(order[0].i),
      End: () => this.go(order[last].i),
      Enter: () => toggleSelect(side, id),
      " ": () => toggleSelect(side, id),
      p: () => togglePin(side, id),
      P: () => togglePin(side, id),
      "+": () => magnify(1.25),
      "-": () => magnify(0.8),
      0: () => magnify(0),
    };
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    moves[event.key]();
  }

  /** The nearest node of the next row that has any, up (1) or down (-1); the node itself at the end. */
  nextRow(order, node, way) {
    const rows = order.map((other) => other.row).filter((row) => (row - node.row) * way > 0);
    if (!rows.length) return node.i;
    const row = way > 0 ? Math.min(...rows) : Math.max(...rows);
    const x = this.plan.spots[node.i].x;
    const distance = (other) => Math.abs(this.plan.spots[other.i].x - x);
    return order.filter((other) => other.row === row).sort((a, b) => distance(a) - distance(b))[0].i;
  }
}

function resize(svg, width, height) {
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
}

/** What colours a line: its sign, or in a picture of two graphs the graph it is in. */
const lineKind = (link) => link.within || (link.weight < 0 ? "minus" : "plus");
const dashed = (link) => (link.within && link.weight < 0 ? " lowers" : "");
const opacityOf = (graph, link) => round(0.12 + 0.55 * Math.sqrt(graph.share(link)));
const onlyClass = (node) => (node.within ? " within-" + node.within : isOnlyHere(node) ? " only" : "");

/** The nodes that an id stands for: one, the members of a group, or none. */
function membersOf(side, id) {
  const graph = graphs[side];
  if (graph.place.has(id)) return [graph.place.get(id)];
  const group = state.sides[side].groups.find((g) => g.id === id);
  return group ? group.members.map((member) => graph.place.get(member)) : [];
}

/** Scroll the pictures so that a node can be seen. */
function bringIntoSight(side, i) {
  for (const picture of onStage()) {
    const at = picture.graph.placeOf(side, i);
    if (picture.plan && at >= 0 && state.tab === "graph") picture.marks[at].scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

// ---------------------------------------------------------------- zoom and drag

const MOST_MAGNIFIED = 8;
let zoomPoint = []; // what stays where it is while the pictures are drawn anew

/** Zoom by a factor around a point of the window; 0 shows the whole graph. */
function magnify(factor, ...at) {
  zoomPoint = at;
  const wanted = factor === 0 ? 1 : Math.min(MOST_MAGNIFIED, Math.max(1, state.magnify * factor));
  change((s) => (s.magnify = Math.round(wanted * 100) / 100), "magnify");
}

/** Drag the ground to scroll. A drag is no click. */
function listenToDragging(picture) {
  const { element } = picture;
  let from = null;
  element.addEventListener("pointerdown", (event) => {
    delete element.dataset.dragged;
    const isGround = event.button === 0 && event.pointerType === "mouse" && picture.nodeAt(event) < 0;
    if (isGround) from = { x: event.clientX, y: event.clientY, left: element.scrollLeft, top: element.scrollTop };
  });
  window.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    if (Math.hypot(dx, dy) > 3) element.dataset.dragged = "yes";
    if (element.dataset.dragged) element.scrollTo(from.left - dx, from.top - dy);
  });
  window.addEventListener("pointerup", () => (from = null));
}

// ---------------------------------------------------------------- the whole graph, small, where only a part can be seen

const WORTH_A_MAP = 1.1; // times the room that a graph takes

class Minimap {
  constructor(picture) {
    this.picture = picture;
    this.canvas = make("canvas");
    this.window = make("div", { class: "window" });
    this.element = make("div", { class: "minimap", "aria-hidden": "true", hidden: true }, this.canvas, this.window);
    const go = (event) => event.buttons && this.go(event);
    this.element.addEventListener("pointerdown", (event) => (this.element.setPointerCapture(event.pointerId), go(event)));
    this.element.addEventListener("pointermove", go);
  }

  draw() {
    const { plan, roomX, roomY, graph, shown } = this.picture;
    this.element.hidden = Math.max(plan.width / roomX, plan.height / roomY) < WORTH_A_MAP;
    if (this.element.hidden) return;
    this.scale = Math.min(150 / plan.width, 96 / plan.height);
    const [width, height] = [plan.width * this.scale, plan.height * this.scale];
    Object.assign(this.canvas, { width: width * 2, height: height * 2 });
    this.element.style.width = width + "px";
    this.element.style.height = height + "px";
    const pen = this.canvas.getContext("2d");
    pen.scale(2, 2);
    const colours = getComputedStyle(document.documentElement);
    graph.nodes.forEach((node, i) => {
      if (!shown[i]) return;
      pen.fillStyle = colours.getPropertyValue("--" + (node.within || node.kind));
      pen.fillRect(plan.spots[i].x * this.scale - 0.75, plan.spots[i].y * this.scale - 0.75, 1.5, 1.5);
    });
    this.follow();
  }

  /** Frame what can be seen of the picture. */
  follow() {
    if (this.element.hidden) return;
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = this.picture.element;
    const { width, height } = this.picture.plan;
    const set = (name, value) => (this.window.style[name] = round(value * this.scale) + "px");
    set("left", scrollLeft);
    set("top", scrollTop);
    set("width", Math.min(clientWidth, width));
    set("height", Math.min(clientHeight, height));
  }

  go(event) {
    const at = this.element.getBoundingClientRect();
    const { element } = this.picture;
    element.scrollTo((event.clientX - at.left) / this.scale - element.clientWidth / 2, (event.clientY - at.top) / this.scale - element.clientHeight / 2);
  }
}

// ---------------------------------------------------------------- pointing

let frozen = false; // while Shift is held, what was pointed at stays
let waiting = null; // what the pointer went to meanwhile

/** Point at a node, or at nothing (-1). */
function point(side, i) {
  if (frozen) {
    waiting = [side, i];
    return;
  }
  if (pointer.side === side && pointer.i === i && pointer.path < 0) return;
  Object.assign(pointer, { side, i, path: -1 });
  showPointed();
}

function pointAtPath(side, path) {
  if (frozen) return;
  Object.assign(pointer, { side: path < 0 ? -1 : side, i: -1, path });
  showPointed();
}

function showPointed() {
  for (const picture of onStage()) picture.drawFocus();
  showTip();
  previewCard();
}

function freeze(on) {
  if (frozen === on || (on && pointer.i < 0)) return;
  frozen = on;
  byId("tip").classList.toggle("frozen", on);
  if (on) waiting = null;
  else if (waiting) point(...waiting);
}

// ---------------------------------------------------------------- the name beside what is pointed at

function showTip() {
  const tip = byId("tip");
  const picture = onStage().find((one) => one.plan && pointer.i >= 0 && one.graph.placeOf(pointer.side, pointer.i) >= 0 && one.graph.sides.includes(pointer.side));
  tip.hidden = !picture || state.tab !== "graph";
  if (tip.hidden) return;
  tip.textContent = shorten(nameOf(graphs[pointer.side].nodes[pointer.i]), 80);
  const ground = picture.element.getBoundingClientRect();
  const board = picture.board.getBoundingClientRect();
  const at = picture.graph.placeOf(pointer.side, pointer.i);
  const spot = picture.plan.spots[at];
  if (!spot) return;
  const r = radius(picture.graph, picture.graph.nodes[at]) * picture.plan.scale + 6;
  const free = freePlace(tip, { x: board.left + spot.x, y: board.top + spot.y, r }, ground, pointsOf(picture.bright, board, COARSE));
  tip.style.left = round(free.left) + "px";
  tip.style.top = round(free.top) + "px";
}

const COARSE = 8; // pixels between points of a line, for a name
const FINE = 3; // and for the pointer
const AROUND = 4; // pixels that a name keeps from such points, so that no line crosses its corner between two of them

/** Points of the window along the lines that are brought out, about so many pixels apart. */
function pointsOf(bright, board, apart) {
  const points = [];
  for (const { line: [x0, y0, x1, y1, x2, y2, x3, y3] } of bright) {
    const steps = Math.max(2, Math.ceil(Math.hypot(x3 - x0, y3 - y0) / apart));
    for (let k = 0; k <= steps; k++) {
      const t = k / steps;
      const [a, b, c, d] = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
      points.push([board.left + a * x0 + b * x1 + c * x2 + d * x3, board.top + a * y0 + b * y1 + c * y2 + d * y3]);
    }
  }
  return points;
}

const FARTHEST = 340; // pixels from its node that a name may stand

/** The place nearest to a node at which a box covers none of these points; where there is none, the one that covers fewest. */
function freePlace(box, { x, y, r }, ground, points) {
  const [w, h] = [box.offsetWidth + 2 * AROUND, box.offsetHeight + 2 * AROUND];
  const reach = FARTHEST + r + w;
  const near = points.filter(([px, py]) => Math.abs(px - x) < reach && Math.abs(py - y) < reach);
  let best = null;
  for (let far = 0; far <= FARTHEST; far += 8 + far / 4) {
    for (let turn = 0; turn < 16; turn++) {
      // beside the node first, then turning away to both sides; the box touches a circle around the node
      const angle = (turn % 2 ? Math.PI : 0) + (turn % 4 < 2 ? 1 : -1) * Math.floor(turn / 4) * (Math.PI / 8);
      const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
      const left = x + dx * (r + far) + ((dx - 1) / 2) * w;
      const top = y + dy * (r + far) + ((dy - 1) / 2) * h;
      if (left < ground.left + 2 || left + w > ground.right - 2 || top < ground.top + 2 || top + h > ground.bottom - 2) continue;
      let covered = 0;
      for (const [px, py] of near) if (px > left && px < left + w && py > top && py < top + h && ++covered > (best?.covered ?? Infinity)) break;
      if (!best || covered < best.covered) best = { left: left + AROUND, top: top + AROUND, covered };
      if (!covered) return best;
    }
  }
  return best || { left: Math.max(4, Math.min(x + r, window.innerWidth - w - 4)), top: Math.max(4, y - h - r) };
}
