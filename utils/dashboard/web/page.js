// The page around the graph: header, controls, keys; and what is drawn anew when which part of the state changes.

const SHORT = window.matchMedia("(max-height: 540px)");
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

// ---------------------------------------------------------------- header and footer

function drawHead() {
  const stories = graphs.map((graph, k) => {
    const name = make("h1", { dir: "auto", title: shorten(visible(graph.prompt), 1000) }, visible(graph.prompt));
    if (graphs.length > 1) name.prepend(make("span", { class: "side" }, "AB"[k]), " ");
    const answers = graph.answers.slice(0, 8).map((node) => make("li", {}, button("", {
      title: token(node.name) + ", probability " + percent(node.prob),
      "data-id": node.id,
      click: () => toggleSelect(k, node.id),
    }, make("bdi", {}, shorten(nameOf(node), 40)), make("span", { class: "number" }, percent(node.prob)))));
    const list = make("ul", { class: "answers", "aria-label": "Likeliest next tokens" }, ...answers);
    return make("div", { class: "story" + (graphs.length > 1 && k === state.active ? " active" : "") }, name, list);
  });
  byId("stories").replaceChildren(...stories);
  drawSentence();
  drawAbout();
}

/** One line: of two graphs, that of the one that is being read. It names as many inputs as fit, so that no number is cut off. */
function drawSentence() {
  const place = byId("sentences");
  for (let count = N_INPUTS; count > 0; count--) {
    const sentence = answerSentence(graphs[state.active], count);
    if (sentence && graphs.length > 1) sentence.prepend(make("span", { class: "side" }, "AB"[state.active]), " ");
    if (sentence) sentence.title = sentence.textContent;
    place.replaceChildren(sentence ?? "");
    if (!sentence || sentence.scrollWidth <= sentence.clientWidth) return;
  }
}

/** The whole prompt of every graph, and its numbers. */
function drawAbout() {
  byId("abouts").replaceChildren(...graphs.flatMap((graph, k) => {
    const prompt = make("p", { class: "prompt", dir: "auto" }, graphs.length > 1 ? make("span", { class: "side" }, "AB"[k]) : null, visible(graph.prompt));
    const facts = graph.facts.map(([name, value, hint]) =>
      make("div", { title: hint + ": " + visible(value) }, make("dt", {}, name), make("dd", {}, shorten(visible(value), 80))));
    return [prompt, make("dl", { class: "facts" }, ...facts)];
  }));
}

/** What latents are called in the graphs of the page. */
const latentWords = () => [...new Set(graphs.map((graph) => graph.word))].join(" or ");

/** What shapes and colours mean, and how many of the lines are drawn. */
function drawLegend() {
  byId("density-field").title = `Density: how often a ${latentWords()} fires, as a part of a large text's tokens. Those that fire more often are hidden.`;
  byId("density").setAttribute("aria-label", `Hide ${latentWords()}s that fire more often than this`);

  const kinds = ["embedding", "latent", "mlp_error", "logit", "other"].filter((kind) => graphs.some((graph) => graph.nodes.some((node) => node.kind === kind)));
  const isMerged = Boolean(merger && state.merged && state.tab === "graph");
  const hasSigns = !isMerged || !byId("sub").hidden; // lines in the colours of "raises" and "lowers"
  const items = kinds.map((kind) => make("li", {}, symbolOf(kind, isMerged ? "within-both" : ""), kind === "latent" ? latentWords() : KIND[kind]));
  const line = (kind) => draw("svg", { width: 26, height: 8, "aria-hidden": "true" }, draw("path", { class: "edge " + kind, d: "M1,4H25", "stroke-width": 3 }));
  if (isMerged) {
    for (const [kind, text] of [["only-a", "only in A"], ["only-b", "only in B"], ["both", "in both"]]) items.push(make("li", {}, line(kind), text));
    if (!hasSigns) items.push(make("li", {}, line("both lowers"), "lowers"));
  }
  if (hasSigns && state.tab !== "table") for (const [kind, text] of [["plus", "raises"], ["minus", "lowers"]]) items.push(make("li", {}, line(kind), text));
  if (state.tab === "graph" && graphs.length > 1 && !isMerged) {
    const ring = draw("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, draw("circle", { class: "ring", r: 6 }));
    items.push(make("li", {}, ring, "only in this graph"));
  }
  if (state.tab === "graph" && !isMerged) items.push(make("li", {}, "size: influence · width: share of the target's inputs"));
  byId("legend").replaceChildren(...items);
  if (state.tab === "graph") byId("legend").append(...drawBudget());
}

/** How many of the lines are drawn, if not all. */
function drawBudget() {
  const [picture] = onStage();
  const [drawn, all] = [picture.drawnLinks().length, picture.shownLinks().length];
  return drawn < all ? [make("li", { id: "budget" }, `${drawn.toLocaleString("en")} of ${all.toLocaleString("en")} lines; point at a node for all of its own`)] : [];
}

// ---------------------------------------------------------------- controls

const highest = () => Math.max(0, ...graphs.map((graph) => graph.most));
const sliderEnd = () => Math.ceil(highest() * 100 - 1e-6) / 100;

function drawBar() {
  for (const tab of document.querySelectorAll("[data-view]")) tab.setAttribute("aria-pressed", tab.dataset.view === state.tab);
  const prune = byId("prune");
  prune.max = sliderEnd();
  prune.disabled = highest() === 0;
  prune.value = state.prune === null ? sliderEnd() : state.prune;
  const { count, all, influence } = countShown(graphs[state.active]);
  const words = `${count.toLocaleString("en")} of ${plural(all, "node")}` + (prune.disabled ? "" : `, ${percent(influence)} of influence`);
  byId("prune-value").textContent = (graphs.length > 1 ? "AB"[state.active] + ": " : "") + (SHORT.matches ? `${count.toLocaleString("en")} of ${all.toLocaleString("en")}` : words);
  prune.setAttribute("aria-valuetext", words);
  const density = byId("density");
  density.disabled = !graphs.some((graph) => graph.nodes.some((node) => densityOf(node) !== null));
  density.value = state.density === null ? 0 : Math.log10(Math.max(1e-4, state.density));
  byId("density-value").textContent = density.disabled ? "no data" : state.density === null ? "all" : "≤ " + percent(state.density);
  byId("hide-errors").checked = state.hideErrors;
  const most = mostLinks();
  byId("lines").max = Math.log10(most + 1);
  byId("lines").value = Math.log10(Math.min(state.lines, most) + 1);
  byId("lines-value").textContent = state.lines >= most ? "all" : state.lines.toLocaleString("en");
  byId("filter").setAttribute("aria-pressed", state.hideErrors || state.density !== null || state.lines !== LINES);
  byId("zoom-out").disabled = byId("zoom-fit").disabled = state.magnify <= 1;
  byId("zoom-in").disabled = state.magnify >= MOST_MAGNIFIED;
  byId("merge").setAttribute("aria-pressed", state.merged);
  byId("undo").disabled = !past.length;
  byId("redo").disabled = !future.length;
}

/** Put a menu under the button that opens it, inside the window. */
function placeBelow(menu, at) {
  menu.style.left = Math.max(4, Math.min(at.left, window.innerWidth - menu.offsetWidth - 8)) + "px";
  menu.style.top = at.bottom + 4 + "px";
}

function setPrune(value) {
  change((s) => (s.prune = value >= sliderEnd() - 1e-9 ? null : value), "prune");
}

function setDensity(exponent) {
  change((s) => (s.density = exponent >= 0 ? null : Number((10 ** exponent).toPrecision(3))), "density");
}

const mostLinks = () => Math.max(1, ...graphs.map((graph) => graph.links.length));

/** The slider's scale is logarithmic: a few lines matter most. */
function setLines(exponent) {
  const count = Math.round(10 ** exponent - 1);
  change((s) => (s.lines = count >= mostLinks() ? 1e6 : count), "lines");
}

// ---------------------------------------------------------------- search

function foundNodes() {
  const test = searchTest(state.search);
  return graphs.flatMap((graph) => graph.byInfluence.map((i) => graph.nodes[i]).filter(test));
}

function drawFound(open) {
  const field = byId("search");
  if (field.value !== state.search) field.value = state.search;
  const list = byId("found");
  const nodes = foundNodes();
  byId("found-count").textContent = state.search.trim() ? String(nodes.length) : "";
  if (open !== undefined) list.hidden = !open || !nodes.length;
  if (list.hidden) return;
  const side = (node) => (graphs.length > 1 ? [make("span", { class: "where" }, "AB"[node.side])] : []);
  list.replaceChildren(...nodes.slice(0, 60).map((node) => nodeRow(node, ...side(node))));
  placeBelow(list, field.getBoundingClientRect());
}

function searchKey(event) {
  const rows = [...byId("found").querySelectorAll("button")];
  const at = rows.indexOf(document.activeElement);
  if (event.key === "ArrowDown") (rows[at + 1] || rows[at])?.focus();
  else if (event.key === "ArrowUp") (at > 0 ? rows[at - 1] : byId("search")).focus();
  else if (event.key === "Enter" && at < 0) rows[0]?.click();
  else if (event.key === "Escape") {
    drawFound(false);
    byId("search").focus();
    if (at < 0) change((s) => (s.search = ""));
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

// ---------------------------------------------------------------- the stage: pictures, subgraph, tables

function arrange() {
  const pins = state.sides[state.active].pins.length > 0;
  const both = state.tab === "graph" && pins && !SHORT.matches;
  byId("pictures").hidden = byId("zoom").hidden = state.tab !== "graph";
  for (const picture of [...pictures, merger]) if (picture) picture.place.hidden = !onStage().includes(picture);
  byId("sub").hidden = state.tab !== "subgraph" && !both;
  byId("split").hidden = !both;
  byId("split").setAttribute("aria-valuenow", Math.round(state.split * 100));
  byId("tables").hidden = state.tab !== "table";
  byId("stage").style.setProperty("--split", both ? state.split : state.tab === "graph" ? 1 : 0);
}

function dragSplit(event) {
  const stage = byId("stage").getBoundingClientRect();
  const share = (event.clientY - stage.top) / stage.height;
  change((s) => (s.split = Math.round(Math.min(0.85, Math.max(0.2, share)) * 100) / 100), "split");
}

function splitKey(event) {
  const step = { ArrowUp: -0.05, ArrowDown: 0.05 }[event.key];
  if (!step) return;
  event.preventDefault();
  change((s) => (s.split = Math.round(Math.min(0.85, Math.max(0.2, s.split + step)) * 100) / 100));
}

// ---------------------------------------------------------------- drawing what has changed

const filters = (s) => [s.prune, s.density, s.hideErrors];
const marks = (s) => s.sides.map((side) => [side.clicked, side.pins]);

/** Every part of the page with what it depends on. A part is drawn again when that has changed, and only then; `later`: a new page has it already. */
const PARTS = [
  { on: (s) => [s.theme, prefersDark.matches], draw: drawTheme },
  { on: (s) => [s.active, s.labels], draw: drawHead },
  { on: (s) => [s.tab, s.split, s.active, s.sides[s.active].pins.length > 0, SHORT.matches, s.merged], draw: arrange },
  { on: (s) => [s.merged, s.tab], draw: () => onStage().forEach((picture) => picture.roomChanged()) },
  { on: (s) => [s.labels], later: true, draw: () => pictures.concat(merger || []).forEach((picture) => picture.rename()) },
  { on: (s) => [s.magnify], later: true, draw: () => onStage().forEach((picture) => picture.zoomed(...zoomPoint)) },
  { on: (s) => [filters(s), marks(s)], later: true, draw: () => onStage().forEach((picture) => picture.drawShown()) },
  { on: (s) => [s.lines, s.theme, prefersDark.matches, s.merged], later: true, draw: () => onStage().forEach((picture) => picture.drawLines()) },
  { on: (s) => [s.search, marks(s), s.merged], later: true, draw: () => onStage().forEach((picture) => picture.drawChosen()) },
  { on: (s) => [s.merged, s.tab, s.lines, filters(s), marks(s)], draw: drawLegend },
  { on: (s) => [s.active, s.sides[s.active].pins], draw: drawScores },
  { on: (s) => [s.active, s.sides[s.active], s.labels, s.tab, s.everyLine], draw: drawSubgraph },
  { on: (s) => [s.active, marks(s), s.sides[s.active].groups, s.labels, filters(s), SHORT.matches], draw: () => keepingFocus(byId("panel"), drawPanel) },
  { on: (s) => [s.tab, s.tab === "table" && [s.active, marks(s), s.labels, filters(s), s.search]], draw: () => state.tab === "table" && keepingFocus(byId("tables"), drawTables) },
  { on: (s) => [s.search, s.labels], draw: () => drawFound() },
];

function render() {
  for (const part of PARTS) {
    const key = JSON.stringify(part.on(state));
    if (part.key === key) continue;
    part.key = key;
    part.draw();
  }
  drawBar(); // cheap, and it depends on nearly everything
}

function drawTheme() {
  const dark = state.theme ? state.theme === "dark" : prefersDark.matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

// ---------------------------------------------------------------- listening

const isTyping = (element) => element.matches("input:not([type=range], [type=checkbox]), textarea, select");

function openHelp() {
  byId("help").showModal();
  byId("help-title").focus(); // not the button at its end, which a low window would scroll to
}

function pageKey(event) {
  const typing = isTyping(event.target);
  if (event.key === "Shift" && !typing) freeze(true);
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (control && !typing && (key === "z" || key === "y")) {
    event.preventDefault();
    if (key === "y" || event.shiftKey) redo();
    else undo();
  } else if (event.key === "/" && !typing && !control) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "?" && !typing && !control && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    openHelp();
  } else if (event.key === "Escape" && !typing && !document.querySelector("dialog[open], :popover-open")) {
    select(state.active, "");
  }
}

function listen() {
  for (const tab of document.querySelectorAll("[data-view]")) tab.addEventListener("click", () => change((s) => (s.tab = tab.dataset.view)));
  const search = byId("search");
  search.addEventListener("input", () => (change((s) => (s.search = search.value), "search"), drawFound(true)));
  search.addEventListener("focus", () => drawFound(Boolean(state.search.trim())));
  byId("finder").addEventListener("keydown", searchKey);
  byId("found").addEventListener("keydown", searchKey);
  byId("found").addEventListener("click", () => drawFound(false));
  document.addEventListener("pointerdown", (event) => !event.target.closest("#found, #finder") && drawFound(false));
  byId("prune").addEventListener("input", (event) => setPrune(Number(event.target.value)));
  byId("density").addEventListener("input", (event) => setDensity(Number(event.target.value)));
  byId("hide-errors").addEventListener("change", (event) => change((s) => (s.hideErrors = event.target.checked)));
  byId("undo").addEventListener("click", undo);
  byId("redo").addEventListener("click", redo);
  byId("save").addEventListener("click", saveView);
  byId("load").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", async (event) => {
    await loadFile(event.target.files[0]);
    event.target.value = "";
  });
  for (const opener of document.querySelectorAll("[popovertarget]")) {
    const menu = byId(opener.getAttribute("popovertarget"));
    menu.addEventListener("toggle", () => placeBelow(menu, opener.getBoundingClientRect()));
  }
  byId("lines").addEventListener("input", (event) => setLines(Number(event.target.value)));
  byId("zoom-in").addEventListener("click", () => magnify(1.25));
  byId("zoom-out").addEventListener("click", () => magnify(0.8));
  byId("zoom-fit").addEventListener("click", () => magnify(0));
  byId("merge").addEventListener("click", () => change((s) => (s.merged = !s.merged)));
  for (const choice of document.querySelectorAll("[data-export]")) choice.addEventListener("click", () => exportPicture(...choice.dataset.export.split(" ")));
  byId("theme").addEventListener("click", () => change((s) => (s.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark")));
  byId("help-open").addEventListener("click", openHelp);
  listenSubgraph();
  const split = byId("split");
  split.addEventListener("pointerdown", (event) => split.setPointerCapture(event.pointerId));
  split.addEventListener("pointermove", (event) => split.hasPointerCapture(event.pointerId) && dragSplit(event));
  split.addEventListener("keydown", splitKey);
  document.addEventListener("keydown", pageKey);
  document.addEventListener("keyup", (event) => event.key === "Shift" && freeze(false));
  window.addEventListener("blur", () => freeze(false));
  window.addEventListener("hashchange", () => {
    const wanted = stateInAddress();
    if (wanted) change((s) => Object.assign(s, wanted));
  });
  window.addEventListener("resize", drawSentence);
  for (const query of [SHORT, prefersDark]) query.addEventListener("change", render);
  const sizes = new ResizeObserver(() => {
    for (const picture of onStage()) picture.roomChanged();
    if (state && !byId("sub").hidden) drawSubgraph();
  });
  for (const id of ["pictures", "sub-graph"]) sizes.observe(byId(id));
}

// ---------------------------------------------------------------- beginning

/** Show the graphs of a page's data. */
function start(data) {
  graphs = data.graphs.map((graph, k) => new Graph(graph, k));
  known = { words: data.words, latents: data.latents };
  [past, future, gesture] = [[], [], ""];
  marked.clear();
  Object.assign(pointer, { side: -1, i: -1, path: -1 });
  [trail, previewed] = [[], null];
  state = blank();
  const comparing = graphs.length > 1;
  if (comparing) matchGraphs(...graphs);
  pictures = graphs.map((graph, k) => new Picture(graph, comparing ? "Graph " + "AB"[k] : "Attribution graph"));
  merger = comparing ? new Picture(new Merged(...graphs), "Both graphs in one") : null;
  byId("pictures").replaceChildren(...[...pictures, merger].filter(Boolean).map((picture) => picture.place));
  document.body.classList.toggle("comparing", comparing);
  byId("merge").hidden = !comparing;
  state = stateInAddress() || firstState();
  tidy(state);
  for (const part of PARTS) part.key = part.later ? JSON.stringify(part.on(state)) : undefined;
  render();
}

listen();
start(JSON.parse(byId("view").textContent));
