// The card of one node, all on one page: its numbers, its strongest links, and what is known of it if it is a latent.
// It is filled for the node that is selected, and for a moment for the one that is pointed at in the picture.

const FIRST_LINKS = 6; // of each kind; the rest when asked for
const REST = 90; // milliseconds that the pointer rests on a node before the card is filled
let wholeLists = false; // whether all links are listed, until another node is selected
let previewed = null; // the node that a card shows because it is pointed at
let trail = []; // nodes that the reader came by, as [side, id]

function nodePanel(graph, node, isPreview = false) {
  const head = make("div", { class: "head" },
    isPreview ? null : trailBar(graph, node),
    title(node.id, nameOf(node), labelKey(node)),
    make("p", { class: "soft" }, factsOf(node).filter(Boolean).join(" · ")),
    make("dl", { class: "numbers" }, ...numbersOf(node).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    ...ablationPart(graph, [node.i]),
    isPreview ? null : actionsOf(graph, node));
  const parts = [...linkLists(graph, node.i)];
  if (node.kind === "latent") parts.push(make("section", { class: "known" }, ...latentPanel(node)));
  return [head, make("div", { class: "scroll" }, ...parts)];
}

const factsOf = (node) => [node.kind === "latent" && isNamed(node) ? node.where : kindOf(node), whereOf(node), matchWords(node)];

function actionsOf(graph, node) {
  const pinned = state.sides[graph.side].pins.includes(node.id);
  return make("div", { class: "actions" },
    button(pinned ? "Unpin" : "Pin", { id: "pin", "aria-pressed": pinned, click: () => togglePin(graph.side, node.id) }),
    button("Rename", { id: "rename", click: () => editName(node.id) }),
    button("Close", { id: "close", title: "Clear the selection (Esc)", click: () => select(graph.side, "") }),
    node.link ? make("a", { class: "outside", href: node.link, target: "_blank", rel: "noopener noreferrer", title: "This latent on Neuronpedia (needs the network)" }, "Neuronpedia ↗") : null);
}

// ---------------------------------------------------------------- links

/** Links of a node to nodes on show, the strongest first; says how many the filters hide. */
function linkLists(graph, i) {
  const shown = shownIn(graph);
  const list = (title, links, end) => {
    const open = links.filter((link) => shown[link[end]]).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
    const listed = wholeLists ? open : open.slice(0, FIRST_LINKS);
    const section = titledList(title, listed.map((link) => linkRow(graph, link, end)), ["weight", "share"], title.toLowerCase());
    section.querySelector(".count").textContent = " " + open.length;
    if (listed.length < open.length) section.append(button(`All ${open.length}`, { class: "more", click: listAll }));
    const hidden = links.length - open.length;
    if (hidden) section.append(make("p", { class: "soft" }, hidden.toLocaleString("en") + " more, hidden by the filters"));
    return section;
  };
  return [list("Inputs", graph.inputs[i], "source"), list("Outputs", graph.outputs[i], "target")];
}

function listAll() {
  wholeLists = true;
  drawPanel();
  byId("panel").querySelector("h2")?.focus();
}

// ---------------------------------------------------------------- steps and the trail

/** The strongest input or output of a node that is on show, if there is one. */
function strongestStep(graph, i, end) {
  const links = end === "source" ? graph.inputs[i] : graph.outputs[i];
  const shown = shownIn(graph);
  const open = links.filter((link) => shown[link[end]]);
  const size = (link) => (end === "source" ? Math.abs(link.weight) : graph.share(link));
  return open.length ? open.reduce((best, link) => (size(link) > size(best) ? link : best))[end] : -1;
}

/** One step up or down, and the way that led here. */
function trailBar(graph, node) {
  const step = (text, name, end, id) => {
    const to = strongestStep(graph, node.i, end);
    const words = to < 0 ? name : name + ": " + shorten(nameOf(graph.nodes[to]), 60);
    return button(text, { id, title: words, "aria-label": words, disabled: to < 0, click: () => travel(graph.side, to) });
  };
  const come = trail.filter(([side, id]) => graphs[side].place.has(id)).slice(-4, -1).map(([side, id]) => {
    const earlier = graphs[side].nodes[graphs[side].place.get(id)];
    return make("li", {}, button(shorten(nameOf(earlier), 18), { title: nameOf(earlier), click: () => goBack(side, id) }));
  });
  return make("nav", { class: "trail", "aria-label": "Steps" },
    step("↓ input", "To the strongest input", "source", "upstream"), step("↑ output", "To the output of which it is the largest share", "target", "downstream"),
    make("ol", {}, ...come));
}

/** Keep the way of the selection, the node included at which it began. */
function keepTrail(side, id) {
  const before = state.sides[side].clicked;
  if (edgeOf(graphs[side], id)) return; // a step aside
  if (!id || isGroupId(id)) trail = [];
  else if (!trail.length && before && !isGroupId(before)) trail = [[side, before], [side, id]];
  else if (!trail.length || trail[trail.length - 1][1] !== id) trail.push([side, id]);
}

function goBack(side, id) {
  const at = trail.findLastIndex(([, other]) => other === id);
  trail = trail.slice(0, at);
  travel(side, graphs[side].place.get(id));
}

// ---------------------------------------------------------------- filled on hover

/** Fill a card with the node that is pointed at in the picture, once the pointer rests there; it lies over the panel, which stays as it is. */
function previewCard() {
  clearTimeout(previewCard.timer);
  const inPicture = pointer.i >= 0 && state.tab === "graph" && onStage().some((picture) => picture.element.matches(":hover, :focus-within"));
  const node = inPicture ? graphs[pointer.side].nodes[pointer.i] : null;
  if (node !== previewed && !editing) previewCard.timer = setTimeout(() => showPreview(node), REST);
}

function showPreview(node) {
  const place = byId("preview");
  previewed = node && node.id !== state.sides[node.side].clicked ? node : null;
  place.hidden = !previewed;
  place.replaceChildren(...(previewed ? nodePanel(graphs[previewed.side], previewed, true) : []));
}
