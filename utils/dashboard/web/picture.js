// The picture of a graph: lines on a canvas, nodes as shapes that can be pointed at, clicked and reached by keyboard.

const MANY = 400; // links brought out at once
const MAX_PIXELS = 16e6; // of the canvas; beyond it lines get coarser, not lost
let pictures = [];

class Picture {
  constructor(graph) {
    this.graph = graph;
    this.drawn = false;
    this.stop = 0; // the node that the Tab key comes to
    this.near = new Set();
    this.frame = draw("svg", { class: "frame", "aria-hidden": "true" });
    this.canvas = make("canvas", { class: "lines", "aria-hidden": "true" });
    this.svg = draw("svg", { class: "graph", role: "group" });
    this.rows = draw("svg", { class: "rows", "aria-hidden": "true" });
    this.tokens = draw("svg", { class: "tokens", "aria-hidden": "true" });
    this.board = make("div", { class: "board" }, this.frame, this.canvas, this.svg, this.rows, this.tokens);
    this.element = make("section", { class: "picture", click: () => select(graph.side, "") }, this.board);
    this.element.setAttribute("aria-label", graphs.length > 1 ? "Graph " + "AB"[graph.side] : "Attribution graph");
    this.svg.setAttribute("aria-label", "Nodes. Arrow keys go from node to node, Enter selects, P pins.");
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("scroll", () => this.takeAlong());
  }

  /** Lay everything out for the room there is, and draw it. */
  drawAll() {
    if (!this.element.clientWidth) return;
    this.plan = layout(this.graph, this.element.clientWidth, this.element.clientHeight - 2);
    this.board.style.width = this.plan.width + "px";
    this.drawFrame();
    resize(this.svg, this.plan.width, this.plan.height);
    this.overlay = draw("g");
    this.svg.replaceChildren(this.overlay);
    this.drawNodes();
    this.drawShown();
    if (!this.drawn) this.element.scrollLeft = this.plan.width; // where it is wider than the page, begin at the answer
    this.drawn = true;
  }

  /** Scroll the graph beside this one to the same place: their rows and columns are the same. */
  takeAlong() {
    const { scrollLeft, scrollTop } = this.element;
    for (const { element } of pictures) if (element !== this.element) element.scrollTo(scrollLeft, scrollTop);
  }

  /** Bands and columns behind the lines; names of rows and tokens beside them, where they stay while the graph scrolls. */
  drawFrame() {
    const { plan, graph } = this;
    for (const [svg, width, height] of [[this.frame, plan.width, plan.height], [this.rows, LEFT, plan.bottom], [this.tokens, plan.width, FOOT]]) {
      svg.replaceChildren();
      resize(svg, width, height);
    }
    graph.rows.forEach((name, row) => {
      const { top, height, middle } = plan.rows[row];
      if (row % 2 === 1) this.frame.append(draw("rect", { class: "band", x: 0, y: round(top), width: plan.width, height: round(height) }));
      // the same ground behind the name, so that what is scrolled under it does not shine through
      this.rows.append(draw("rect", { class: row % 2 === 1 ? "band" : "paper", x: 0, y: round(top), width: LEFT - 1, height: round(height) }));
      this.rows.append(draw("text", { class: "row", x: 8, y: round(middle + 4) }, name));
    });
    this.tokens.append(draw("rect", { class: "paper", width: plan.width, height: FOOT }));
    graph.tokens.forEach((text, pos) => {
      const x = plan.columns.starts[pos];
      const width = plan.columns.widths[pos];
      const centre = round(x + width / 2);
      if (x > LEFT) this.frame.append(draw("line", { class: "column", x1: x, x2: x, y1: 0, y2: plan.bottom }));
      const label = draw("text", { class: "token", x: centre, y: 16, "text-anchor": "middle" }, fit(token(text), width - 4));
      label.append(draw("title", {}, token(text)));
      this.tokens.append(label, draw("text", { class: "index", x: centre, y: 30, "text-anchor": "middle" }, String(pos)));
    });
  }

  drawNodes() {
    this.near = new Set();
    this.marks = this.graph.nodes.map((node, i) => {
      const { x, y } = this.plan.spots[i];
      const mark = draw("g", {
        class: "node " + node.kind + (isOnlyHere(node) ? " only" : ""),
        transform: `translate(${round(x)},${round(y)})`,
        tabindex: i === this.stop ? 0 : -1,
        role: "button",
        "data-id": node.id,
        pointerenter: () => point(this.graph.side, i),
        pointerleave: () => point(-1, -1),
        focus: () => mark.matches(":focus-visible") && point(this.graph.side, i),
        blur: () => point(-1, -1),
        click: (event) => {
          event.stopPropagation();
          if (event.ctrlKey || event.metaKey) togglePin(this.graph.side, node.id);
          else toggleSelect(this.graph.side, node.id);
        },
        dblclick: () => startNaming(this.graph.side, node.id),
      });
      if (isOnlyHere(node)) mark.append(draw("circle", { class: "ring", r: round(radius(this.graph, node) + 3.5) }));
      mark.append(draw("circle", { r: this.graph.gap / 2, class: "target" }), shapeOf(node.kind, radius(this.graph, node)));
      this.svg.append(mark);
      return mark;
    });
  }

  /** Show what the filters leave, with its names and lines. */
  drawShown() {
    if (!this.plan) return;
    const shown = shownIn(this.graph);
    this.marks.forEach((mark, i) => mark.classList.toggle("hidden", !shown[i]));
    if (!shown[this.stop]) this.moveStop(Math.max(0, shown.indexOf(true)));
    for (const name of this.names || []) name.mark.remove();
    this.names = placeNames(this.graph, this.plan, shown).map(({ i, text, x, y }) => {
      const mark = draw("text", { class: "name", x: round(x), y: round(y) }, text);
      this.svg.append(mark);
      return { i, mark };
    });
    this.drawLines();
    this.drawChosen();
  }

  drawLines() {
    const { plan, canvas } = this;
    const scale = Math.min(window.devicePixelRatio || 1, Math.sqrt(MAX_PIXELS / (plan.width * plan.height)), 16000 / plan.width);
    canvas.width = plan.width * scale;
    canvas.height = plan.height * scale;
    canvas.style.width = plan.width + "px";
    canvas.style.height = plan.height + "px";
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const colours = getComputedStyle(document.documentElement);
    const colour = { 1: colours.getPropertyValue("--plus"), [-1]: colours.getPropertyValue("--minus") };
    for (const link of this.shownLinks().reverse()) {
      const [x0, y0, ...rest] = curve(plan.spots[link.source], plan.spots[link.target]);
      pen.globalAlpha = 0.08 + 0.5 * Math.sqrt(this.graph.share(link));
      pen.strokeStyle = colour[link.weight < 0 ? -1 : 1];
      pen.lineWidth = this.width(link);
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.bezierCurveTo(...rest);
      pen.stroke();
    }
  }

  /** Links between nodes on show, strongest first. */
  shownLinks() {
    const shown = shownIn(this.graph);
    return this.graph.links.filter((link) => shown[link.source] && shown[link.target]);
  }

  width(link) {
    return round(0.5 + 5 * Math.sqrt(Math.min(1, this.graph.share(link))));
  }

  /** Marks of the state: selected, pinned, found. */
  drawChosen() {
    if (!this.plan) return;
    const side = state.sides[this.graph.side];
    const found = searchTest(state.search);
    this.marks.forEach((mark, i) => {
      const node = this.graph.nodes[i];
      const pinned = side.pins.includes(node.id);
      mark.classList.toggle("chosen", node.id === side.clicked);
      mark.classList.toggle("pinned", pinned);
      mark.classList.toggle("found", found(node));
      mark.setAttribute("aria-pressed", node.id === side.clicked);
      const words = [kindOf(node) + " " + nameOf(node), whereOf(node), inWords(numbersOf(node)), pinned ? "pinned" : "", matchWords(node)];
      mark.setAttribute("aria-label", words.filter(Boolean).join(", "));
    });
    this.drawFocus();
  }

  /** What to bring out: what is pointed at, with its links; a path; what is selected; or, with nothing selected, what the answer is made of. */
  focus() {
    const { graph } = this;
    const own = pointer.side === graph.side;
    if (own && pointer.i >= 0) return this.around([pointer.i]);
    if (own && pointer.path >= 0) return this.along([graph.paths[pointer.path]]);
    if (pointer.i >= 0) {
      const match = graphs[pointer.side].nodes[pointer.i].match;
      return match >= 0 ? this.around([match]) : { members: [], links: [] };
    }
    const members = membersOf(graph.side, state.sides[graph.side].clicked);
    if (members.length) return this.around(members);
    return state.sides.some((side) => side.clicked) ? { members: [], links: [] } : this.opening();
  }

  /** With nothing selected: the file's paths, and the direct inputs that the sentence names. */
  opening() {
    const lit = this.along(this.graph.paths);
    const inputs = this.graph.paths.length ? directInputs(this.graph) : null;
    if (!inputs) return lit;
    return { members: [...lit.members, ...inputs.first.map((link) => link.source)], links: [...new Set([...lit.links, ...inputs.first])] };
  }

  around(members) {
    const links = members.flatMap((i) => [...this.graph.inputs[i], ...this.graph.outputs[i]]);
    return { members, links: [...new Set(links)] };
  }

  along(paths) {
    const steps = new Set(paths.flatMap(({ nodes }) => nodes.slice(1).map((target, k) => nodes[k] + ">" + target)));
    const links = steps.size ? this.graph.links.filter((link) => steps.has(link.source + ">" + link.target)) : [];
    return { members: paths.flatMap((path) => path.nodes), links };
  }

  /** Bring out the focus; the rest steps back. */
  drawFocus() {
    if (!this.plan) return;
    const { graph, plan } = this;
    const shown = shownIn(graph);
    const { members, links } = this.focus();
    const near = new Set(members.filter((i) => shown[i]));
    const lines = links.filter((link) => shown[link.source] && shown[link.target]).sort(stronger).slice(0, MANY);
    const drawn = lines.reverse().map((link) => {
      near.add(link.source).add(link.target);
      const d = pathData(curve(plan.spots[link.source], plan.spots[link.target]));
      const strength = { "stroke-width": this.width(link) + 0.4, "stroke-opacity": round(0.4 + 0.6 * Math.sqrt(graph.share(link))) };
      return draw("path", { class: "edge " + (link.weight < 0 ? "minus" : "plus"), d, ...strength });
    });
    this.overlay.replaceChildren(...drawn);
    // only what changes is touched: with hundreds of nodes this is what keeps pointing fluent
    for (const i of this.near) if (!near.has(i)) this.marks[i].classList.remove("near");
    for (const i of near) if (!this.near.has(i)) this.marks[i].classList.add("near");
    for (const { i, mark } of this.names) mark.classList.toggle("near", near.has(i));
    this.near = near;
    this.svg.classList.toggle("focused", near.size > 0);
    this.canvas.classList.toggle("dim", near.size > 0);
  }

  // -------------------------------------------------------------- keyboard

  /** Nodes on show in reading order: row by row from the output down, from left to right. */
  order() {
    const shown = shownIn(this.graph);
    const list = this.graph.nodes.filter((node) => shown[node.i]);
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
    point(this.graph.side, i);
    this.marks[i].scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  key(event) {
    const order = this.order();
    const at = order.findIndex((node) => node.i === this.stop);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const node = order[at];
    const last = order.length - 1;
    const moves = {
      ArrowRight: () => this.go(order[Math.min(at + 1, last)].i),
      ArrowLeft: () => this.go(order[Math.max(at - 1, 0)].i),
      ArrowUp: () => this.go(this.nextRow(order, node, 1)),
      ArrowDown: () => this.go(this.nextRow(order, node, -1)),
      Home: () => this.go(order[0].i),
      End: () => this.go(order[last].i),
      Enter: () => toggleSelect(this.graph.side, node.id),
      " ": () => toggleSelect(this.graph.side, node.id),
      p: () => togglePin(this.graph.side, node.id),
      P: () => togglePin(this.graph.side, node.id),
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

/** The nodes that an id stands for: one, the members of a group, or none. */
function membersOf(side, id) {
  const graph = graphs[side];
  if (graph.place.has(id)) return [graph.place.get(id)];
  const group = state.sides[side].groups.find((g) => g.id === id);
  return group ? group.members.map((member) => graph.place.get(member)) : [];
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
  Object.assign(pointer, { side, i, path: -1 });
  showPointed();
}

function pointAtPath(side, path) {
  if (frozen) return;
  Object.assign(pointer, { side: path < 0 ? -1 : side, i: -1, path });
  showPointed();
}

function showPointed() {
  for (const picture of pictures) picture.drawFocus();
  showTip();
}

function freeze(on) {
  if (frozen === on || (on && pointer.i < 0)) return;
  frozen = on;
  byId("tip").classList.toggle("frozen", on);
  if (on) waiting = null;
  else if (waiting) point(...waiting);
}

/** A node's name and numbers beside it. */
function showTip() {
  const tip = byId("tip");
  const picture = pictures[pointer.side];
  const mark = pointer.i >= 0 && picture && picture.plan ? picture.marks[pointer.i] : null;
  tip.hidden = !mark || state.tab !== "graph";
  if (tip.hidden) return;
  const { graph } = picture;
  const node = graph.nodes[pointer.i];
  const lines = [kindOf(node) + ", " + whereOf(node), inWords(numbersOf(node))];
  lines.push(plural(graph.inputs[node.i].length, "input") + " · " + plural(graph.outputs[node.i].length, "output"));
  if (node.kind === "latent" && isNamed(node)) lines.unshift(node.where);
  if (graphs.length > 1) lines.push(matchWords(node));
  tip.replaceChildren(make("bdi", {}, shorten(nameOf(node), 200)), ...lines.filter(Boolean).map((line) => make("div", {}, line)));
  placeBeside(tip, mark.getBoundingClientRect());
}

/** Put a box above its anchor and a little to the right, inside the window. */
function placeBeside(box, at) {
  const left = Math.min(at.right + 10, window.innerWidth - box.offsetWidth - 8);
  const above = at.top - box.offsetHeight - 6;
  box.style.left = Math.max(8, left) + "px";
  box.style.top = (above >= 4 ? above : Math.min(at.bottom + 6, window.innerHeight - box.offsetHeight - 4)) + "px";
}
