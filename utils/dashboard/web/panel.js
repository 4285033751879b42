// The panel at the side: the selected node or group with its links, or, with nothing selected, an overview.

let editing = ""; // the id whose name is being typed

// ---------------------------------------------------------------- what a click does

function select(side, id) {
  editing = "";
  wholeLists = false;
  keepTrail(side, id);
  showPreview(null);
  change((s) => {
    s.active = side;
    s.sides[side].clicked = id;
    // the same node of the other graph, so that the two can be read together
    const i = graphs[side].place.get(id);
    if (graphs.length < 2) return;
    const match = i === undefined ? -1 : graphs[side].nodes[i].match;
    s.sides[1 - side].clicked = match >= 0 ? graphs[1 - side].nodes[match].id : "";
  });
}

const toggleSelect = (side, id) => select(side, state.sides[side].clicked === id ? "" : id);

function togglePin(side, id) {
  change((s) => {
    const own = s.sides[side];
    s.active = side;
    own.pins = own.pins.includes(id) ? own.pins.filter((other) => other !== id) : [...own.pins, id];
  });
}

/** Go to a node: select it, and bring it into sight. */
function travel(side, i) {
  const node = graphs[side].nodes[i];
  point(-1, -1);
  select(side, node.id);
  bringIntoSight(side, i);
  byId("panel").querySelector("h2")?.focus();
}

// ---------------------------------------------------------------- lists

/** A row that leads to a node. */
function nodeRow(node, ...columns) {
  const side = node.side;
  const place = placeOf(node);
  const row = button("", {
    class: "row",
    title: shorten(nameOf(node), 300) + ", " + whereOf(node),
    "data-id": node.id,
    click: () => travel(side, node.i),
    pointerenter: () => point(side, node.i),
    pointerleave: () => point(-1, -1),
  });
  row.append(symbolOf(node.kind, isOnlyHere(node) ? "only" : ""), make("bdi", { class: "what" }, shorten(nameOf(node), 60)));
  row.append(make("span", { class: "where" }, place), ...columns);
  return make("li", {}, row);
}

const number = (text, kind = "") => make("span", { class: "number " + kind }, text);

function linkRow(graph, link, end) {
  const sign = link.weight < 0 ? "minus" : "plus";
  const row = nodeRow(graph.nodes[link[end]], number(signed(link.weight), sign), number(percent(graph.share(link))));
  if (headsOf(graph, link)) row.append(headsButton(graph, link));
  return row;
}

/** A titled list; `heads` are the names of its columns of numbers, `all` how many rows there would be without a limit. */
function titledList(title, rows, heads = [], kind = "", all = rows.length) {
  const count = make("span", { class: "count" }, rows.length < all ? ` ${rows.length} of ${all.toLocaleString("en")}` : " " + rows.length);
  const heading = make("h3", {}, make("span", {}, title, count), ...heads.map((head) => make("span", { class: "number" }, head)));
  return make("section", { class: "list " + kind }, heading, rows.length ? make("ol", {}, ...rows) : make("p", { class: "soft" }, "none"));
}

// ---------------------------------------------------------------- the panel's three faces

function drawPanel() {
  const panel = byId("panel");
  const { clicked } = state.sides[state.active];
  const graph = graphs[state.active];
  const scroll = panel.querySelector(".scroll")?.scrollTop || 0;
  const same = panel.dataset.shows === state.active + clicked;
  if (graph.place.has(clicked)) panel.replaceChildren(...nodePanel(graph, graph.nodes[graph.place.get(clicked)]));
  else if (edgeOf(graph, clicked)) panel.replaceChildren(...edgePanel(graph, edgeOf(graph, clicked)));
  else if (clicked) panel.replaceChildren(...groupPanel(graph, state.sides[state.active].groups.find((group) => group.id === clicked)));
  else panel.replaceChildren(overview(graph));
  panel.dataset.shows = state.active + clicked;
  const area = panel.querySelector(".scroll");
  if (area && same) area.scrollTop = scroll;
  panel.querySelector("form input")?.select();
}

/** The answer in one sentence: so many direct inputs with their shares, how many more, and what pruning dropped. */
function answerSentence(graph, count = N_INPUTS) {
  const inputs = directInputs(graph, count);
  if (!inputs) return null;
  const { answer, first, more, moreShare, dropped } = inputs;
  const name = (node) => make("bdi", {}, shorten(nameOf(node), 40) + (isQuiet(node) ? " " + numberOf(node) : ""));
  const parts = first.flatMap((link, k) => {
    const node = graph.nodes[link.source];
    const go = button("", { class: "inline", title: kindOf(node) + " " + whereOf(node), click: () => travel(graph.side, node.i), pointerenter: () => point(graph.side, node.i), pointerleave: () => point(-1, -1) }, name(node));
    return [k ? ", " : "", go, " ", number((link.weight < 0 ? "−" : "") + percent(graph.share(link)), link.weight < 0 ? "minus" : "")];
  });
  if (more) parts.push(", ", plural(more, "more node"), " ", number(percent(moreShare)));
  if (dropped !== null) parts.push("; dropped by pruning ", number(percent(dropped)));
  return make("p", { class: "answer" }, "Direct inputs of ", name(answer), ": ", ...parts, ".");
}

/** A node's influence as a number on a bar, so that it does not look like a share of the answer. */
function influenceNumber(graph, node) {
  const cell = number(influenceOf(node), "influence");
  cell.style.setProperty("--part", Math.round(100 * Math.min(1, weightOf(node) / graph.top)) + "%");
  return cell;
}

function overview(graph) {
  const order = graph.byInfluence.filter((i) => graph.nodes[i].kind !== "logit" && shownIn(graph)[i]);
  const rows = order.slice(0, 40).map((i) => nodeRow(graph.nodes[i], influenceNumber(graph, graph.nodes[i])));
  const parts = [make("p", { class: "soft" }, "Point at a node to see its links; click it to read it here. Ctrl-click or P pins it.")];
  for (const warning of graph.warnings) parts.push(make("p", { class: "warning" }, warning));
  if (graphs.length > 1) parts.push(make("p", { id: "difference" }, difference()), differenceList(), linkDifferenceList());
  if (SHORT.matches) parts.unshift(answerSentence(graph) ?? ""); // elsewhere it stands under the prompt
  if (graph.paths.length) {
    const together = percent(sum(graph.paths.map((path) => path.strength)));
    parts.push(titledList("Strongest paths", graph.paths.map((path, k) => pathRow(graph, path, k)), ["together " + together + " of the answer"], "paths"));
  }
  const what = graph.nodes.some((node) => node.own !== null) ? "influence" : "share";
  parts.push(titledList("Most influential nodes", rows, [what], "top", order.length));
  return make("div", { class: "scroll" }, ...parts);
}

/** How many nodes two graphs have in common. */
function difference() {
  const only = graphs.map((graph) => graph.nodes.filter((node) => node.match < 0).length);
  const both = graphs[0].nodes.length - only[0];
  return `${plural(both, "node")} in both, ${only[0]} only in A, ${only[1]} only in B. The largest differences:`;
}

/** One path from a token to an answer, in words. */
function pathRow(graph, path, k) {
  const words = path.nodes.flatMap((i, step) => {
    const node = graph.nodes[i];
    const sign = step && path.signs[step - 1] < 0 ? " ⊣ " : " → ";
    const where = node.kind === "latent" && isNamed(node) ? make("span", { class: "soft" }, " " + numberOf(node)) : "";
    const isLast = step === path.nodes.length - 1; // the same in every row
    return [step ? sign : "", make("bdi", {}, shorten(nameOf(node), isLast ? 12 : 40)), where];
  });
  const show = (on) => () => pointAtPath(graph.side, on);
  const pinAll = () => change((s) => {
    const own = s.sides[graph.side];
    own.pins = [...new Set([...own.pins, ...path.nodes.map((i) => graph.nodes[i].id)])];
  });
  const row = button("", { class: "row", pointerenter: show(k), pointerleave: show(-1), focus: show(k), blur: show(-1) });
  row.append(make("span", { class: "words" }, ...words), number(percent(path.strength)));
  row.title = "Click to pin this path";
  row.addEventListener("click", pinAll);
  return make("li", { class: "path" }, row);
}

/** What was measured without these nodes, if that was done. */
function ablationPart(graph, members) {
  const sentence = ablationSentence(graph, members);
  return sentence ? [make("p", { class: "measured" }, sentence)] : [];
}

function groupPanel(graph, group) {
  const items = itemsOf(graph.side);
  const at = items.findIndex((item) => item.id === group.id);
  const links = linksOf(graph.side, items);
  const row = (link, end) => {
    const item = items[link[end]];
    const sign = link.weight < 0 ? "minus" : "plus";
    const go = button("", { class: "row", "data-id": item.id, click: () => select(graph.side, item.id) });
    go.append(symbolOf(item.common), make("bdi", { class: "what" }, item.name), make("span"), number((link.weight < 0 ? "−" : "+") + percent(link.share), sign));
    return make("li", {}, go);
  };
  const members = group.members.map((id) => graph.nodes[graph.place.get(id)]);
  const actions = make("div", { class: "actions" },
    button("Rename", { id: "rename", click: () => editName(group.id) }),
    button("Ungroup", { id: "ungroup", click: () => ungroup(group.id) }),
    button("Close", { id: "close", click: () => select(graph.side, "") }));
  const total = members.reduce((sum, node) => sum + node.share, 0);
  const facts = "supernode · " + plural(members.length, "node") + (total ? " · " + percent(Math.min(1, total)) + " of all influence" : "");
  return [
    make("div", { class: "head" }, title(group.id, visible(group.name), group.id), make("p", { class: "soft" }, facts), ...ablationPart(graph, members.map((node) => node.i)), actions),
    make("div", { class: "scroll" },
      titledList("Members", members.map((node) => nodeRow(node, node.cum === null ? number("") : influenceNumber(graph, node))), ["influence"], "members"),
      titledList("Inputs in the subgraph", links.filter((link) => link.target === at).map((link) => row(link, "source")), ["share"], "inputs"),
      titledList("Outputs in the subgraph", links.filter((link) => link.source === at).map((link) => row(link, "target")), ["share"], "outputs")),
  ];
}

// ---------------------------------------------------------------- names

/** The name as a heading, or, while it is being edited, as a field. */
function title(id, name, key) {
  if (editing !== id) return make("h2", { dir: "auto", tabindex: -1, dblclick: () => editName(id) }, name);
  const group = state.sides[state.active].groups.find((g) => g.id === id);
  const i = graphs[state.active].place.get(id);
  const node = i === undefined ? null : graphs[state.active].nodes[i];
  const input = make("input", { type: "text", dir: "auto", "aria-label": "Name", maxlength: MAX_TEXT, keydown: (event) => event.key === "Escape" && stopEditing(event) });
  input.value = group ? group.name : (state.labels[key] ?? node.name);
  const save = (event) => {
    event.preventDefault();
    editing = "";
    rename(group ? id : key, input.value, Boolean(group));
    drawPanel();
    byId("rename")?.focus();
  };
  const form = make("form", { submit: save }, input, make("button", { type: "submit" }, "OK"));
  if (node && Object.hasOwn(state.labels, key)) form.append(button("Original", { click: () => ((editing = ""), rename(key, null, false), drawPanel()) }));
  return form;
}

function stopEditing(event) {
  event.stopPropagation();
  editing = "";
  drawPanel();
}

function editName(id) {
  editing = id;
  drawPanel();
}

/** Name a group, or the latent or node of a key; null gives a node its first name back. */
function rename(id, text, isGroup) {
  change((s, own) => {
    if (isGroup) own.groups.find((group) => group.id === id).name = text;
    else if (text === null || text.trim() === "") delete s.labels[id];
    else s.labels[id] = text;
  });
}
