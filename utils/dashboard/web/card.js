// The card of one node: its numbers, its links, and what is known of it if it is a latent.

let panelTab = "links";

/** Links of a node to nodes on show; says how many the filters hide. */
function linkLists(graph, i) {
  const shown = shownIn(graph);
  const list = (title, links, end) => {
    const open = links.filter((link) => shown[link[end]]);
    const section = titledList(title, open.map((link) => linkRow(graph, link, end)), ["weight", "share"], title.toLowerCase());
    const hidden = links.length - open.length;
    if (hidden) section.append(make("p", { class: "soft" }, hidden.toLocaleString("en") + " more, hidden by the filters"));
    return section;
  };
  return [list("Inputs", graph.inputs[i], "source"), list("Outputs", graph.outputs[i], "target")];
}

function nodePanel(graph, node) {
  const pinned = state.sides[graph.side].pins.includes(node.id);
  const facts = [node.kind === "latent" && isNamed(node) ? node.where : kindOf(node), whereOf(node), matchWords(node)];
  const list = make("dl", { class: "numbers" }, ...numbersOf(node).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const actions = make("div", { class: "actions" },
    button(pinned ? "Unpin" : "Pin", { id: "pin", "aria-pressed": pinned, click: () => togglePin(graph.side, node.id) }),
    button("Rename", { id: "rename", click: () => editName(node.id) }),
    button("Close", { id: "close", title: "Clear the selection (Esc)", click: () => select(graph.side, "") }));
  const head = make("div", { class: "head" }, title(node.id, nameOf(node), labelKey(node)), make("p", { class: "soft" }, facts.filter(Boolean).join(" · ")), list, ...ablationPart(graph, [node.i]), actions);
  if (node.kind !== "latent") return [head, make("div", { class: "scroll" }, ...linkLists(graph, node.i))];
  const tab = (name, text) => button(text, { "aria-pressed": panelTab === name, "data-tab": name, click: () => openTab(name) });
  const tabs = make("div", { class: "tabs", role: "group", "aria-label": "About this node" }, tab("links", "Links"), tab("latent", graph.word[0].toUpperCase() + graph.word.slice(1)));
  return [head, tabs, make("div", { class: "scroll" }, ...(panelTab === "latent" ? latentPanel(node) : linkLists(graph, node.i)))];
}

function openTab(name) {
  panelTab = name;
  drawPanel();
  byId("panel").querySelector(`[data-tab="${name}"]`)?.focus();
}
