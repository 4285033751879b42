// Two graphs as one: what is in both, what is only in A or only in B, and where they differ most.

const WITHIN = { both: "both", a: "only-a", b: "only-b" };
const N_DIFFERENCES = 30;

/** Two graphs in one picture. Its nodes and links are copies that know where they come from; what the reader does, is done to the originals. */
class Merged {
  constructor(a, b) {
    this.side = 0;
    this.sides = [0, 1];
    this.rows = a.rows.length >= b.rows.length ? a.rows : b.rows;
    this.paths = [];
    this.count = Math.max(a.tokens.length, b.tokens.length);
    this.tokens = mergedTokens(a, b, this.count);
    this.places = [[], []];
    this.nodes = [];
    for (const node of a.nodes) this.add(node, node.match < 0 ? WITHIN.a : WITHIN.both);
    for (const node of b.nodes) if (node.match < 0) this.add(node, WITHIN.b);
    this.links = mergedLinks(this, a, b);
    this.inputs = this.nodes.map(() => []);
    this.outputs = this.nodes.map(() => []);
    for (const link of this.links) {
      this.inputs[link.target].push(link);
      this.outputs[link.source].push(link);
    }
    this.ranked = [...this.links].sort((x, y) => y.score - x.score);
    this.top = Math.max(1e-9, ...this.nodes.filter((node) => node.kind !== "logit").map(weightOf));
    this.influential = this.nodes.map((_, i) => i).sort((x, y) => weightOf(this.nodes[y]) - weightOf(this.nodes[x]) || x - y);
  }

  add(node, within) {
    const other = node.match < 0 ? null : graphs[1 - node.side].nodes[node.match];
    const i = this.nodes.length;
    const homes = [[node.side, node.i], ...(other ? [[other.side, other.i]] : [])];
    for (const [side, at] of homes) this.places[side][at] = i;
    const larger = (key) => (other && other[key] !== null && node[key] !== null ? Math.max(node[key], other[key]) : node[key]);
    const row = node.kind === "logit" ? this.rows.length - 1 : node.row;
    const column = node.pos + this.count - graphs[node.side].tokens.length;
    this.nodes.push({ ...node, i, row, column, within, homes, own: larger("own"), share: larger("share"), prob: larger("prob") ?? 0 });
  }

  get answers() {
    return this.nodes.filter((node) => node.kind === "logit").sort((x, y) => y.prob - x.prob || x.i - y.i);
  }

  get byInfluence() {
    return this.influential;
  }

  /** Links whose part of the answers, negative where they lower, differs between the graphs, the largest difference first. */
  get differing() {
    this.differences ||= this.links.filter((link) => moreInB(link) !== 0).sort((x, y) => Math.abs(moreInB(y)) - Math.abs(moreInB(x)));
    return this.differences;
  }

  share(link) {
    return link.share;
  }

  homesOf(i) {
    return this.nodes[i].homes;
  }

  placeOf(side, i) {
    return this.places[side][i] ?? -1;
  }

  columnOf(node) {
    return node.column;
  }

  /** On show is what is on show in either graph. */
  get shownFlags() {
    const parts = graphs.map(shownIn);
    if (!this.shown || parts.some((part, k) => part !== this.parts[k])) {
      this.parts = parts;
      this.shown = this.nodes.map((node) => node.homes.some(([side, i]) => parts[side][i]));
    }
    return this.shown;
  }
}

/** Tokens counted from the end, both where they differ. */
function mergedTokens(a, b, count) {
  const at = (graph, column) => graph.tokens[column - (count - graph.tokens.length)];
  return Array.from({ length: count }, (_, column) => {
    const [first, second] = [at(a, column), at(b, column)];
    return first === undefined ? second : second === undefined || first === second ? first : first + " |" + second;
  });
}

/** Every link once, with its share in the graph where that is larger. `flows` are the parts of the answers that move along it in A and in B. */
function mergedLinks(merged, ...both) {
  const found = new Map();
  for (const graph of both) {
    for (const link of graph.links) {
      const source = merged.placeOf(graph.side, link.source);
      const target = merged.placeOf(graph.side, link.target);
      const key = source + ">" + target;
      const share = graph.share(link);
      const before = found.get(key);
      if (!before) found.set(key, { source, target, weight: link.weight, share, score: link.score, flows: [0, 0], within: graph.side ? WITHIN.b : WITHIN.a });
      else Object.assign(before, { within: WITHIN.both, share: Math.max(share, before.share), score: Math.max(link.score, before.score) });
      found.get(key).flows[graph.side] = Math.sign(link.weight) * link.score;
    }
  }
  return [...found.values()];
}

// ---------------------------------------------------------------- the largest differences

/** Nodes whose influence differs between the graphs, answers aside: `{node, values, by}`, the largest difference first. */
function differingNodes() {
  const [a, b] = graphs;
  const valueOf = (node) => (node ? weightOf(node) : 0);
  const pairs = a.nodes.map((node) => [node, node.match < 0 ? null : b.nodes[node.match]]);
  for (const node of b.nodes) if (node.match < 0) pairs.push([null, node]);
  const rows = pairs.filter(([x, y]) => (x || y).kind !== "logit").map(([x, y]) => ({ node: x || y, values: [valueOf(x), valueOf(y)], by: valueOf(y) - valueOf(x) }));
  return rows.filter(({ by }) => by !== 0).sort((x, y) => Math.abs(y.by) - Math.abs(x.by));
}

/** Three numbers of a row: in A, in B, and what B has more. */
function differenceNumbers([inA, inB], by, words) {
  const cell = (value) => number(value ? (value < 0 ? "−" : "") + words(Math.abs(value)) : "–");
  return [cell(inA), cell(inB), number((by < 0 ? "−" : "+") + words(Math.abs(by)))];
}

const DIFFERENCE_HEADS = ["in A", "in B", "B − A"];

/** The list of nodes for the panel, by their influence. */
function differenceList() {
  const inParts = graphs.every((graph) => graph.nodes.every((node) => node.own === null)); // files that only say shares of all influence
  const words = (value) => (inParts ? percent(value) : value < 0.001 ? "<0.001" : value.toPrecision(2));
  const all = differingNodes();
  const rows = all.slice(0, N_DIFFERENCES).map(({ node, values, by }) => {
    const item = nodeRow(node, ...differenceNumbers(values, by, words));
    item.firstChild.classList.add(onlyIn(values));
    return item;
  });
  return titledList("Influence", rows, DIFFERENCE_HEADS, "differences", all.length);
}

/** The list of links for the panel: the part of the answers that moves along each. A row leads to the link's target. */
function linkDifferenceList() {
  const all = merger.graph.differing;
  return titledList("Links", all.slice(0, N_DIFFERENCES).map(linkDifferenceRow), DIFFERENCE_HEADS, "differences links", all.length);
}

function linkDifferenceRow(link) {
  const values = link.flows;
  const [source, target] = [link.source, link.target].map((i) => merger.graph.nodes[i]);
  const [side, i] = target.homes.find(([home]) => values[home] !== 0);
  const name = (node) => make("bdi", {}, shorten(nameOf(node), 24));
  const row = button("", {
    class: "row " + onlyIn(values),
    title: `${shorten(nameOf(source), 100)}, ${whereOf(source)} → ${shorten(nameOf(target), 100)}, ${whereOf(target)}: part of the answers that moves along this link`,
    click: () => travel(side, i),
    pointerenter: () => point(side, i),
    pointerleave: () => point(-1, -1),
  });
  row.append(make("span", { class: "what" }, name(source), " → ", name(target)), ...differenceNumbers(values, moreInB(link), percent));
  return make("li", {}, row);
}

const moreInB = ({ flows: [inA, inB] }) => inB - inA;
const onlyIn = ([inA, inB]) => (inA && inB ? WITHIN.both : inA ? WITHIN.a : WITHIN.b);
