// The same graph as two tables, for those who do not see the picture or want to compare numbers.

const PAGE = 500; // rows shown at once
const tables = { sort: { nodes: ["influence", -1], links: ["of the answers", -1] }, more: { nodes: PAGE, links: PAGE } };

const NODE_COLUMNS = {
  name: { text: nameOf, value: nameOf },
  influence: { text: (n) => (n.kind === "logit" ? "" : influenceOf(n)), value: (n) => (n.kind === "logit" ? -1 : weightOf(n)), right: true },
  activation: { text: (n) => (n.kind === "latent" && n.act !== null ? plain(n.act) : ""), value: (n) => n.act ?? 0, right: true },
  probability: { text: (n) => (n.kind === "logit" ? percent(n.prob) : ""), value: (n) => n.prob ?? 0, right: true },
  number: { text: (n) => (n.kind === "latent" ? numberOf(n) : ""), value: (n) => (n.kind === "latent" ? n.row * 1e7 + Number(n.key.split("/").pop()) || 0 : -1), right: true },
  layer: { text: (n) => (n.layer < 0 ? (n.kind === "logit" ? "output" : "input") : String(n.layer)), value: (n) => n.row, right: true },
  position: { text: (n) => (n.kind === "logit" ? "" : token(graphs[n.side].tokens[n.pos]) + " (" + n.pos + ")"), value: (n) => n.pos },
  kind: { text: kindOf, value: kindOf },
  "other graph": { text: matchWords, value: matchWords },
};

function drawTables() {
  const graph = graphs[state.active];
  const shown = shownIn(graph);
  const found = searchTest(state.search);
  const nodes = graph.nodes.filter((node) => shown[node.i] && (!state.search.trim() || found(node)));
  const links = pictures[state.active].shownLinks();
  const [first, second] = [nodeTable(nodes), linkTable(graph, links)];
  const jump = (text, section) => button(text, { click: () => section.scrollIntoView() });
  const jumps = make("p", { class: "jump" }, jump("Nodes", first), " ", jump("Edges", second));
  byId("tables").replaceChildren(jumps, first, second);
  jumps.hidden = first.offsetTop === second.offsetTop; // side by side there is nowhere to go
}

function nodeTable(nodes) {
  const columns = Object.entries(NODE_COLUMNS).filter(([name]) => graphs.length > 1 || name !== "other graph");
  const row = (node) => {
    const side = state.sides[node.side];
    const cells = columns.map(([name, { text, right }]) => {
      const words = shorten(text(node), 200);
      if (name !== "name") return make("td", { class: right ? "number" : "" }, make("bdi", {}, words));
      return make("th", { scope: "row" }, button("", { "data-id": node.id, click: () => travel(node.side, node.i) }, make("bdi", {}, words)));
    });
    const pin = make("input", { type: "checkbox", "aria-label": "Pin " + shorten(nameOf(node), 60), change: () => togglePin(node.side, node.id) });
    pin.checked = side.pins.includes(node.id);
    return make("tr", { class: side.clicked === node.id ? "chosen" : "" }, ...cells, make("td", {}, pin));
  };
  const heads = columns.map(([name, { right }]) => sortHead("nodes", name, right));
  return tableOf("nodes", "Nodes", [...heads, make("th", { scope: "col" }, "pinned")], sorted("nodes", nodes, (name) => NODE_COLUMNS[name].value), row);
}

function linkTable(graph, links) {
  const end = (which) => (link) => graph.nodes[link[which]];
  const values = {
    source: (link) => nameOf(end("source")(link)),
    target: (link) => nameOf(end("target")(link)),
    weight: (link) => link.weight,
    share: (link) => graph.share(link),
    "of the answers": (link) => link.score,
  };
  const cell = (node) => make("td", {}, button("", { click: () => travel(node.side, node.i) }, make("bdi", {}, shorten(nameOf(node), 80)), make("span", { class: "where" }, " " + placeOf(node))));
  const row = (link) => make("tr", {}, cell(end("source")(link)), cell(end("target")(link)),
    make("td", { class: "number " + (link.weight < 0 ? "minus" : "plus") }, signed(link.weight)), make("td", { class: "number" }, percent(graph.share(link))), make("td", { class: "number" }, percent(link.score)));
  const heads = Object.keys(values).map((name) => sortHead("links", name, name !== "source" && name !== "target"));
  heads.at(-1).title = "The part of the answers that moves along this link";
  return tableOf("links", "Edges", heads, sorted("links", links, (name) => values[name]), row);
}

function sorted(which, rows, valueOf) {
  const [name, way] = tables.sort[which];
  const value = valueOf(name);
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  return [...rows].sort((a, b) => way * compare(value(a), value(b)));
}

function sortHead(which, name, right) {
  const [by, way] = tables.sort[which];
  const mark = by === name ? (way > 0 ? " ↑" : " ↓") : "";
  const head = make("th", { scope: "col", class: right ? "number" : "" });
  if (by === name) head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
  const turn = () => {
    tables.sort[which] = [name, by === name ? -way : right ? -1 : 1];
    drawTables();
    byId("tables").querySelector(`table.${which} [data-sort="${name}"]`)?.focus();
  };
  head.append(button(name + mark, { "data-sort": name, click: turn }));
  return head;
}

function tableOf(which, title, heads, rows, draw) {
  const limit = tables.more[which];
  const of = graphs.length > 1 ? " of graph " + "AB"[state.active] : "";
  const caption = make("caption", {}, title + of + " · " + rows.length.toLocaleString("en"));
  const body = make("tbody", {}, ...rows.slice(0, limit).map(draw));
  const table = make("table", { class: which }, caption, make("thead", {}, make("tr", {}, ...heads)), body);
  const section = make("section", {}, table);
  if (rows.length > limit) section.append(button("Show " + PAGE + " more", { click: () => ((tables.more[which] += PAGE), drawTables()) }));
  return section;
}
