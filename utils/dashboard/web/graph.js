// A graph and what can be worked out of it: links of a node, shares, what the filters leave, search, the other graph's match.

const KIND = { latent: "latent", embedding: "input token", mlp_error: "error", logit: "output token", other: "other" };

/** Everything that is drawn of one graph. Nodes and links are known by their place in the lists. */
class Graph {
  constructor(data, side) {
    this.side = side;
    this.sides = [side];
    this.slug = data.slug;
    this.prompt = data.prompt;
    this.tokens = data.tokens;
    this.rows = data.rows;
    this.facts = data.facts;
    this.word = data.word; // what its latents are called
    this.paths = data.paths;
    this.boxes = data.boxes;
    this.ablations = data.ablations;
    this.attention = data.attention;
    this.warnings = data.warnings;
    this.saved = data.view;
    this.nodes = data.nodes.map((node, i) => ({ ...node, side, i, match: -1, moved: false }));
    this.place = new Map(this.nodes.map((node, i) => [node.id, i]));
    this.links = data.links.map(([source, target, weight]) => ({ source, target, weight }));
    this.inputs = this.nodes.map(() => []);
    this.outputs = this.nodes.map(() => []);
    this.links.sort(stronger);
    for (const link of this.links) {
      this.inputs[link.target].push(link);
      this.outputs[link.source].push(link);
    }
    // what pruning dropped counts too, where the file says how much that was
    this.totals = this.inputs.map((list, i) => this.nodes[i].total || sizeOfAll(list));
    this.top = Math.max(1e-9, ...this.nodes.map(weightOf));
    this.most = Math.max(0, ...this.nodes.map((node) => node.cum || 0));
    this.order = flowOrder(this);
    const flow = flowBack(this);
    // what counts in the picture: the part of the answers that moves along a link
    for (const link of this.links) link.score = flow[link.target] * this.share(link);
    this.ranked = [...this.links].sort((a, b) => b.score - a.score || stronger(a, b));
    this.hasOwnPaths = data.paths.length > 0;
    if (!this.hasOwnPaths && this.answers.length) this.paths = strongestPaths(this, this.answers[0].i);
  }

  /** Share of its target's inputs, those that pruning dropped included, that a link is. */
  share(link) {
    return Math.abs(link.weight) / (this.totals[link.target] || 1);
  }

  get answers() {
    const list = this.nodes.filter((node) => node.kind === "logit");
    return list.sort((a, b) => b.prob - a.prob || a.i - b.i);
  }

  /** Places of all nodes, the most influential first. */
  get byInfluence() {
    this.influential ||= this.nodes.map((_, i) => i).sort((a, b) => weightOf(this.nodes[b]) - weightOf(this.nodes[a]) || a - b);
    return this.influential;
  }

  // a picture asks where a node of a graph stands in what it draws; see Merged for a picture of two graphs
  homesOf(i) {
    return [[this.side, i]];
  }

  placeOf(side, i) {
    return side === this.side ? i : graphs[side].nodes[i].match;
  }

  columnOf(node) {
    return node.pos;
  }

  get shownFlags() {
    return shownIn(this);
  }
}

const stronger = (a, b) => Math.abs(b.weight) - Math.abs(a.weight);
const sizeOfAll = (links) => links.reduce((sum, link) => sum + Math.abs(link.weight), 0);

/** A node's influence: the part of the answers that flows through it, or, in files that do not say, its part of all influence. */
const weightOf = (node) => (node.own === null ? node.share : node.own);

/** Influence is a number of its own, not a share of the answer; files of other tools may give only its share of all influence. */
const influenceOf = (node) => (node.own === null ? percent(node.share) : plain(node.own));

// ---------------------------------------------------------------- names

const isToken = (node) => node.kind === "embedding" || node.kind === "logit";

/** A label belongs to a latent wherever it stands, and to any other node alone. */
const labelKey = (node) => (node.kind === "latent" ? node.key : node.id);

function nameOf(node) {
  const label = state.labels[labelKey(node)];
  if (label !== undefined) return visible(label);
  return isToken(node) ? token(node.name) : visible(node.name);
}

const isNamed = (node) => node.named || state.labels[labelKey(node)] !== undefined;
/** Whether all that a name says is on which tokens the latent fires. */
const isQuiet = (node) => node.quiet && state.labels[labelKey(node)] === undefined;
const kindOf = (node) => (node.what ? visible(node.what) : node.kind === "latent" ? graphs[node.side].word : KIND[node.kind]);
const atPosition = (graph, pos) => "“" + shorten(token(graph.tokens[pos]), 14) + "” (" + pos + ")";
const atToken = (node) => atPosition(graphs[node.side], node.pos);

function whereOf(node) {
  if (node.kind === "logit") return "output";
  if (node.layer < 0) return "input, " + atToken(node);
  return "layer " + node.layer + ", " + atToken(node);
}

/** A latent's layer and number, `3/17`. */
const numberOf = (node) => node.key.split(" ").pop();

/** The shortest word for a place: `L3 @Dallas`, of a latent with its number, `3/17 @Dallas`, unless its name is its number. */
function placeOf(node) {
  if (node.kind === "logit") return "output";
  const at = "@" + token(graphs[node.side].tokens[node.pos]);
  if (node.layer < 0) return at;
  return (node.kind === "latent" && isNamed(node) ? numberOf(node) : "L" + node.layer) + " " + at;
}

// ---------------------------------------------------------------- what was measured without some nodes

/** What was measured without the latents among these nodes; null where they were not removed together. */
function ablationOf(graph, members) {
  if (!graph.ablations) return null;
  const latents = members.filter((i) => graph.nodes[i].kind === "latent").sort((a, b) => a - b).join();
  return graph.ablations.boxes.find((box) => box.members.join() === latents) || null;
}

/** The same in a few words for a box: `17.2 → 9.1, control 16.8`. */
function ablationWords(graph, members) {
  const box = ablationOf(graph, members);
  if (!box) return "";
  return "removed: " + plain(graph.ablations.baseline) + " → " + plain(box.removed) + (box.control === null ? "" : ", control " + plain(box.control));
}

/** The same as a sentence. */
function ablationSentence(graph, members) {
  const box = ablationOf(graph, members);
  if (!box) return "";
  const { target, baseline, draws } = graph.ablations;
  const mean = draws === null || draws === 1 ? "" : ` (mean of ${draws} draws)`;
  const control = box.control === null ? "" : ` Control, others of the same written length: ${plain(box.control)}${mean}.`;
  return `Removed in the real model, nothing frozen: ${token(target)} goes from ${plain(baseline)} to ${plain(box.removed)}.${control}`;
}

// ---------------------------------------------------------------- what an answer is made of

const N_INPUTS = 5; // direct inputs that are named and lit, where there is room

/** The answer that the sentence is about: the one that the file's paths lead to, or the likeliest. */
const mainAnswer = (graph) => (graph.paths.length ? graph.nodes[graph.paths[0].nodes.at(-1)] : graph.answers[0]);

/** `{answer, first, more, dropped}`: the answer's strongest direct inputs, how many more, and the share that pruning dropped. */
function directInputs(graph, count = N_INPUTS) {
  const answer = mainAnswer(graph);
  if (!answer || !graph.inputs[answer.i].length) return null;
  const links = graph.inputs[answer.i];
  const part = (list) => list.reduce((all, link) => all + graph.share(link), 0);
  const more = links.slice(count);
  return { answer, first: links.slice(0, count), more: more.length, moreShare: part(more), dropped: answer.total ? Math.max(0, 1 - part(links)) : null };
}

/** A node's numbers as `[name, value]`. */
function numbersOf(node) {
  const list = [];
  if (node.kind === "logit") list.push(["probability", percent(node.prob)]);
  else if (node.own !== null) list.push(["influence", plain(node.own)]);
  else if (node.cum !== null) list.push(["share of influence", percent(node.share)]);
  if (node.kind === "latent" && node.act !== null) list.push(["activation", plain(node.act)]);
  return list;
}

const inWords = (numbers) => numbers.map(([name, value]) => name + " " + value).join(" · ");

// ---------------------------------------------------------------- what the filters leave

/** Pruning again at a lower threshold: the smallest set of nodes whose influence reaches it. */
const reaches = (node, most) => node.cum === null || node.cum - node.share < most - 1e-6;

const densityOf = (node) => {
  const known = node.kind === "latent" ? latentOf(node) : null;
  return known ? known.often : null;
};

/** Whether a node is on show. What is pinned or selected never vanishes, nor does an answer. */
function passes(graph, node) {
  const side = state.sides[graph.side];
  if (node.kind === "logit" || side.clicked === node.id || side.pins.includes(node.id)) return true;
  if (state.hideErrors && node.kind === "mlp_error") return false;
  if (state.prune !== null && state.prune < graph.most && !reaches(node, state.prune)) return false;
  return state.density === null || !(densityOf(node) > state.density);
}

/** One flag a node. The same list comes back until another node is on show, so that whoever draws can tell whether anything changed. */
function shownIn(graph) {
  if (graph.shownFor === state) return graph.shown;
  graph.shownFor = state;
  const flags = graph.nodes.map((node) => passes(graph, node));
  if (!graph.shown || flags.some((on, i) => on !== graph.shown[i])) graph.shown = flags;
  return graph.shown;
}

/** Nodes on show, of how many, and which part of all influence they carry. */
function countShown(graph) {
  const shown = shownIn(graph);
  const influence = graph.nodes.reduce((sum, node, i) => sum + (shown[i] ? node.share : 0), 0);
  return { count: shown.filter(Boolean).length, all: graph.nodes.length, influence: Math.min(1, influence) };
}

// ---------------------------------------------------------------- search

/** A test of nodes for a query: a layer (`L3`, `layer 3`), a latent or id (`3/17`, `3_17_4`), or part of a token, label or id. */
function searchTest(query) {
  const words = query.trim().toLowerCase();
  if (!words) return () => false;
  const layer = words.match(/^l(?:ayer)?\s*(\d+)$/);
  if (layer) return (node) => node.kind !== "logit" && node.layer === Number(layer[1]);
  const latent = words.match(/^(\d+)\/(\d+)$/);
  if (latent) return (node) => node.kind === "latent" && node.key.split(" ").pop() === words;
  return (node) => {
    const raw = isToken(node) ? node.name : "";
    const parts = [nameOf(node), raw, node.name, node.id, node.where || "", graphs[node.side].tokens[node.pos]];
    return parts.some((part) => part.toLowerCase().includes(words));
  };
}

// ---------------------------------------------------------------- two graphs

/**
 * Match the nodes of two graphs: first the same thing at the same position counted from the end, then the same thing at
 * another position, in order. An answer is the same wherever it stands.
 */
function matchGraphs(a, b) {
  const fromEnd = (graph, node) => (node.kind === "logit" ? 0 : graph.tokens.length - node.pos);
  const waiting = new Map();
  const put = (key, i) => (waiting.has(key) ? waiting.get(key).push(i) : waiting.set(key, [i]));
  const pass = (keyOf, moved) => {
    waiting.clear();
    b.nodes.forEach((node, i) => node.match < 0 && put(keyOf(b, node), i));
    for (const node of a.nodes) {
      const found = node.match < 0 && waiting.get(keyOf(a, node));
      if (!found || !found.length) continue;
      const other = b.nodes[found.shift()];
      [node.match, other.match] = [other.i, node.i];
      node.moved = other.moved = moved;
    }
  };
  pass((graph, node) => fromEnd(graph, node) + " " + node.key, false);
  pass((graph, node) => node.key, true);
}

const isOnlyHere = (node) => graphs.length > 1 && node.match < 0;

function matchWords(node) {
  if (graphs.length < 2) return "";
  const other = "AB"[1 - node.side];
  if (node.match < 0) return "only in " + "AB"[node.side];
  return node.moved ? "in " + other + " at " + atToken(graphs[1 - node.side].nodes[node.match]) : "also in " + other;
}
