// An edge by itself: its heads with their parts of it, and, for a head, where it looks on this prompt and which pairs of nodes make it look there.

const edgeId = (graph, link) => graph.nodes[link.source].id + ">" + graph.nodes[link.target].id;

/** The link that an id names, if it names one. */
function edgeOf(graph, id) {
  const [source, target, ...rest] = String(id).split(">").map((end) => graph.place.get(end));
  if (source === undefined || target === undefined || rest.length) return null;
  return graph.inputs[target].find((link) => link.source === source) || null;
}

/** What the file says about the heads of an edge, if it does. */
const headsOf = (graph, link) => graph.attention?.edges.find((edge) => edge.source === link.source && edge.target === link.target) || null;

const headsButton = (graph, link) =>
  button("▸", { class: "heads", title: "Heads of this edge", "aria-label": "Heads of this edge", click: () => select(graph.side, edgeId(graph, link)) });

let openHead = ""; // the head that is unfolded in the panel

function edgePanel(graph, link) {
  const [source, target] = [graph.nodes[link.source], graph.nodes[link.target]];
  const head = make("div", { class: "head" },
    make("h2", { dir: "auto", tabindex: -1 }, shorten(nameOf(source), 40) + (link.weight < 0 ? " ⊣ " : " → ") + shorten(nameOf(target), 40)),
    make("p", { class: "soft" }, "edge · weight " + signed(link.weight) + " · " + percent(graph.share(link)) + " of what reaches its target"),
    make("div", { class: "actions" }, button("Close", { id: "close", title: "Clear the selection (Esc)", click: () => select(graph.side, "") })));
  const ends = titledList("Ends", [nodeRow(source), nodeRow(target)], [], "ends");
  return [head, make("div", { class: "scroll" }, ends, ...headsPart(graph, link))];
}

function headsPart(graph, link) {
  const edge = headsOf(graph, link);
  if (!edge) {
    const why = graph.attention ? "Heads were computed for the strongest edges; this one is not among them." : "Heads were not computed: python -m solutions.trace … --attention computes them for the strongest edges.";
    return [make("p", { class: "soft" }, why)];
  }
  const part = (x) => number(signed(x), x < 0 ? "minus" : "plus");
  const all = Math.abs(link.weight) || 1;
  const past = make("li", { class: "past" }, make("span", {}, "past all heads"), part(edge.past), number(percent(Math.abs(edge.past) / all)));
  const rows = edge.heads.map(([at, loading, query, key]) => {
    const { name } = graph.attention.heads[at];
    const isOpen = openHead === name;
    const row = button("", { class: "head-row", "aria-expanded": isOpen, title: "Where this head looks, and why", click: () => ((openHead = isOpen ? "" : name), drawPanel()) });
    row.append(make("span", {}, (isOpen ? "▾ " : "▸ ") + "head " + name), part(loading), number(percent(Math.abs(loading) / all)));
    row.append(make("span", { class: "soft" }, "moves most from " + atPosition(graph, key) + " to " + atPosition(graph, query)));
    return make("li", {}, row, isOpen ? lookPart(graph, graph.attention.heads[at], query, key) : null);
  });
  const list = titledList("Heads", [past, ...rows], ["part", "of the edge"], "head-list");
  list.querySelector(".count").textContent = " " + edge.heads.length;
  return [list, make("p", { class: "soft" }, "A head's part is what the edge loses without that head's output, all patterns kept. A way through two heads counts at both.")];
}

/** One head unfolded: its pattern, and what makes its score between two positions. */
function lookPart(graph, head, query, key) {
  const look = head.looks.find((one) => one.query === query && one.key === key);
  const parts = [patternOf(graph, head, query, key)];
  if (look) {
    const above = look.contrast === null ? "" : `, ${plain(Math.abs(look.contrast))} ${look.contrast < 0 ? "below" : "above"} the mean of the other tokens that it can see`;
    parts.push(make("p", {}, `From ${atPosition(graph, query)} to ${atPosition(graph, key)} the score is ${plain(look.score)}${above}. It attends there with ${percent(head.pattern[query][key])}.`));
    const title = (look.contrast === null ? "What makes the score" : "What makes the difference") + ", query × key";
    parts.push(titledList(title, look.pairs.map((pair) => pairRow(graph, pair)), ["adds"], "pairs"));
  }
  return make("div", { class: "look" }, ...parts);
}

function pairRow(graph, [atQuery, atKey, value]) {
  const end = (at) => {
    if (typeof at === "string") return make("bdi", { class: "soft" }, shorten(visible(at), 40));
    const node = graph.nodes[at];
    const listeners = { click: () => travel(graph.side, at), pointerenter: () => point(graph.side, at), pointerleave: () => point(-1, -1) };
    return button("", { class: "inline", title: kindOf(node) + " " + whereOf(node), ...listeners }, make("bdi", {}, shorten(nameOf(node), 40)));
  };
  return make("li", { class: "query-key" }, make("span", {}, end(atQuery), make("span", { class: "soft" }, " × "), end(atKey)), number(signed(value), value < 0 ? "minus" : "plus"));
}

// ---------------------------------------------------------------- the pattern

const PATTERN = 240; // pixels wide

/** Where a head looks: a row for every query, a column for every key; the darker a cell, the more attention. */
function patternOf(graph, head, query, key) {
  const n = graph.tokens.length;
  const cell = Math.min(16, PATTERN / n);
  const left = Math.min(72, 8 + Math.max(...graph.tokens.map((text) => measure(shorten(token(text), 10), 10))));
  const cells = [];
  head.pattern.forEach((row, q) => row.slice(0, q + 1).forEach((part, k) => {
    const rect = draw("rect", { class: "cell", x: round(left + k * cell), y: round(q * cell), width: round(cell - 0.5), height: round(cell - 0.5), "fill-opacity": round(Math.sqrt(part)) });
    rect.append(draw("title", {}, `${atPosition(graph, q)} attends to ${atPosition(graph, k)} with ${percent(part)}`));
    cells.push(rect);
  }));
  const words = cell >= 10 ? graph.tokens.map((text, q) => draw("text", { x: round(left - 4), y: round(q * cell + cell / 2 + 3.5), "text-anchor": "end" }, shorten(token(text), 10))) : [];
  const frame = draw("rect", { class: "mark", x: round(left + key * cell - 1), y: round(query * cell - 1), width: round(cell + 1.5), height: round(cell + 1.5) });
  const label = `Attention of head ${head.name}: rows are the tokens that look, columns the tokens that they look at. ${atPosition(graph, query)} attends to ${atPosition(graph, key)} with ${percent(head.pattern[query][key])}.`;
  const size = { width: round(left + n * cell + 2), height: round(n * cell + 2) };
  return draw("svg", { class: "pattern", role: "img", "aria-label": label, viewBox: `0 -1 ${size.width} ${size.height}`, ...size }, ...cells, ...words, frame);
}
