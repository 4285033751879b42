// How the answers' weight flows back along the links: influence, the strongest paths, and how much the pinned nodes explain.
// A step's share is its part of all that reaches its target; a path's strength is the product of its steps' shares.

/** Places of nodes, sources before targets. Nodes on a circle, which only an odd file has, are left out. */
function flowOrder(graph) {
  const open = graph.inputs.map((links) => links.length);
  const order = graph.nodes.map((_, i) => i).filter((i) => !open[i]);
  for (let k = 0; k < order.length; k++) {
    for (const { target } of graph.outputs[order[k]]) if (--open[target] === 0) order.push(target);
  }
  return order;
}

/** The weight of every answer: its probability, or the same for each where the file says none. */
function answerWeights(graph) {
  const known = graph.answers.some((node) => node.prob > 0);
  return graph.nodes.map((node) => (node.kind !== "logit" ? 0 : known ? node.prob : 1 / graph.answers.length));
}

/** What of the answers' weight reaches each node from above, an answer's own weight included. Weight goes on through nodes that `passes` allows. */
function flowBack(graph, passes = () => true) {
  const flow = answerWeights(graph);
  for (const target of [...graph.order].reverse()) {
    if (flow[target] === 0 || !passes(target)) continue;
    for (const link of graph.inputs[target]) flow[link.source] += flow[target] * graph.share(link);
  }
  return flow;
}

// ---------------------------------------------------------------- paths

const N_PATHS = 6;

/** The strongest path from each token through at least one node to an answer, the best of these first. */
function strongestPaths(graph, answer, count = N_PATHS) {
  const starts = graph.nodes.filter((node) => node.kind === "embedding").map((node) => node.i);
  const width = starts.length;
  const best = new Float64Array(graph.nodes.length * width); // strength of the best path from a start to a node
  const before = new Int32Array(graph.nodes.length * width).fill(-1); // the node before it on that path
  starts.forEach((i, k) => (best[i * width + k] = 1));
  for (const target of graph.order) {
    const isEnd = target === answer;
    if (!isEnd && graph.nodes[target].kind === "logit") continue;
    for (const link of graph.inputs[target]) {
      if (isEnd && graph.nodes[link.source].kind === "embedding") continue;
      const share = graph.share(link);
      for (let k = 0; k < width; k++) {
        const strength = best[link.source * width + k] * share;
        if (strength <= best[target * width + k]) continue;
        best[target * width + k] = strength;
        before[target * width + k] = link.source;
      }
    }
  }
  const found = starts.map((_, k) => ({ k, strength: best[answer * width + k] })).filter(({ strength }) => strength > 0);
  found.sort((a, b) => b.strength - a.strength);
  return found.slice(0, count).map(({ k, strength }) => pathBack(graph, answer, (i) => before[i * width + k], strength));
}

function pathBack(graph, answer, beforeOf, strength) {
  const nodes = [answer];
  while (beforeOf(nodes[0]) >= 0) nodes.unshift(beforeOf(nodes[0]));
  const signs = nodes.slice(1).map((target, k) => (graph.inputs[target].find((link) => link.source === nodes[k]).weight < 0 ? -1 : 1));
  return { nodes, signs, strength };
}

// ---------------------------------------------------------------- what the pinned nodes explain

/**
 * The two scores of a graph in which only pinned nodes stand between tokens and answers; every other node, and all that
 * pruning dropped, counts as an error. Null where nothing between is pinned.
 */
function pinnedScores(graph, pins) {
  const kept = new Set(pins.map((id) => graph.place.get(id)).filter((i) => isBetween(graph.nodes[i])));
  if (!kept.size) return null;
  const passes = (i) => kept.has(i) || graph.nodes[i].kind === "logit";
  const isError = (i) => !passes(i) && graph.nodes[i].kind !== "embedding";
  const flow = flowBack(graph, passes);
  let [fromTokens, fromErrors, explained, all] = [0, 0, 0, 0];
  flow.forEach((amount, i) => {
    if (!amount) return;
    all += amount;
    if (graph.nodes[i].kind === "embedding") fromTokens += amount;
    if (isError(i)) fromErrors += amount;
    if (!passes(i) || !graph.totals[i]) return (explained += amount); // nothing reaches it: it counts as explained
    const good = sum(graph.inputs[i].map((link) => (isError(link.source) ? 0 : graph.share(link))));
    const lost = Math.max(0, 1 - sum(graph.inputs[i].map((link) => graph.share(link)))); // what pruning dropped
    explained += amount * good;
    explained += amount * lost; // the dropped, as a node, has no inputs of its own
    fromErrors += amount * lost;
    all += amount * lost;
  });
  return { replacement: fromTokens + fromErrors ? fromTokens / (fromTokens + fromErrors) : 0, notFromErrors: all ? explained / all : 0 };
}

const isBetween = (node) => node.kind === "latent" || node.kind === "other";

function drawScores() {
  const graph = graphs[state.active];
  const scores = pinnedScores(graph, state.sides[state.active].pins);
  const place = byId("sub-scores");
  place.hidden = !scores;
  if (!scores) return;
  const fact = (name, value) => make("span", {}, name + " ", make("span", { class: "number" }, percent(value)));
  place.replaceChildren(fact("Replacement score", scores.replacement), fact("Not from errors", scores.notFromErrors));
}
