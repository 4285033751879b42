// Files: the view, saved and loaded; pictures of the graph and the subgraph.

const VIEW_FORMAT = "attribution-graph-view";

function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

const fileName = (end) => (graphs.map((graph) => graph.slug).join("-and-") || "graph").replace(/[^\w.-]+/g, "-").slice(0, 80) + end;

// ---------------------------------------------------------------- the view

function saveView() {
  const content = { format: VIEW_FORMAT, version: 1, graphs: graphs.map((graph) => graph.slug), view: renumbered(state) };
  download(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }), fileName(".view.json"));
  byId("file-menu").hidePopover();
  say("Saved.");
}

/** Take over the view in a file's text; otherwise say why not and leave everything as it is. */
function loadView(text, name) {
  const content = parsed(text);
  if (!isObject(content) || content.format !== VIEW_FORMAT) return say(`${name} is not a saved view of this page.`, true);
  if (content.version !== 1) return say(`${name} was saved by another version of this page.`, true);
  const slugs = listOf(content.graphs);
  const same = slugs.length === graphs.length && graphs.every((graph, k) => graph.slug === slugs[k]);
  if (!same) return say(`${name} is a view of another graph: ${visible(shorten(slugs.filter((slug) => typeof slug === "string").join(", "), 80))}.`, true);
  const loaded = stateFrom(content.view);
  change((s) => Object.assign(s, loaded));
  return say("Loaded.");
}

async function loadFile(file) {
  byId("file-menu").hidePopover();
  if (!file) return;
  if (file.size > 5e6) say(`${file.name} is too large to be a saved view.`, true);
  else loadView(await file.text(), file.name);
}

/** A sentence at the foot of the page, read out by screen readers. */
function say(sentence, isError = false) {
  const place = byId("say");
  place.textContent = sentence;
  place.classList.toggle("error", isError);
  clearTimeout(say.timer);
  if (!isError) say.timer = setTimeout(() => (place.textContent = ""), 4000);
}

// ---------------------------------------------------------------- pictures

const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "paint-order", "opacity", "font-size", "font-weight", "font-family"];

/** A copy of a shape and all it holds that needs no style sheet. */
function standalone(original) {
  if (original.classList.contains("apart")) return null; // a control, no part of the picture
  const copy = original.cloneNode(false);
  for (const name of [...copy.getAttributeNames()]) if (/^(class|tabindex|role|data-|aria-)/.test(name)) copy.removeAttribute(name);
  const style = getComputedStyle(original);
  if (style.display === "none") return null;
  if (["g", "svg"].includes(original.tagName)) {
    if (style.opacity !== "1") copy.setAttribute("opacity", style.opacity);
  } else if (original.tagName !== "title") {
    for (const name of STYLES) copy.setAttribute(name, style.getPropertyValue(name));
  }
  for (const child of original.childNodes) {
    const inner = child.nodeType === Node.TEXT_NODE ? child.cloneNode() : standalone(child);
    if (inner) copy.append(inner);
  }
  return copy;
}

/** An svg of a given size with paper behind its parts. */
function sheet(width, height, title, parts) {
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
  const svg = draw("svg", { xmlns: SVG, width: Math.ceil(width), height: Math.ceil(height), viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}` });
  svg.append(draw("title", {}, title), draw("rect", { width: "100%", height: "100%", fill: paper }), ...parts);
  return svg;
}

function graphSheet(picture) {
  const { graph, plan } = picture;
  const links = picture.drawnLinks().reverse().map((link) => {
    const d = pathData(curve(plan.spots[link.source], plan.spots[link.target]));
    return draw("path", { class: "edge " + lineKind(link), d, "stroke-width": picture.width(link), "stroke-opacity": opacityOf(graph, link) });
  });
  // lines are on a canvas; for the file they become shapes, which must stand in the page to have a style
  const lines = draw("g", {}, ...links);
  picture.frame.append(lines);
  const tokens = draw("g", { transform: `translate(0,${round(plan.bottom)})` }, ...[...picture.tokens.children].map(standalone));
  const above = picture.board.classList.contains("focused") ? [...picture.near].map((i) => picture.marks[i]) : []; // they are on the upper sheet too
  for (const mark of above) mark.classList.add("hidden");
  const parts = [standalone(picture.frame), standalone(picture.svg), standalone(picture.over), standalone(picture.words), standalone(picture.rows), tokens];
  for (const mark of above) mark.classList.remove("hidden");
  lines.remove();
  return sheet(plan.width, plan.height, graphs.map(({ prompt }) => visible(prompt)).join(" | "), parts);
}

function subgraphSheet() {
  const { left, right, top, bottom } = boundsOf(subgraph);
  const copy = standalone(subgraph.layer);
  copy.setAttribute("transform", `translate(${round(-left + 6)},${round(-top + 6)})`);
  return sheet(right - left + 12, bottom - top + 12, "Subgraph: " + visible(graphs[state.active].prompt), [copy]);
}

const svgText = (svg) => '<?xml version="1.0" encoding="UTF-8"?>\n' + new XMLSerializer().serializeToString(svg);

/** The picture as pixels, twice as many as on the page. */
async function pngOf(svg) {
  const [width, height] = [Number(svg.getAttribute("width")), Number(svg.getAttribute("height"))];
  const scale = Math.min(2, Math.sqrt(MAX_PIXELS / (width * height)), 16000 / Math.max(width, height));
  const image = new Image();
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svgText(svg));
  await image.decode();
  const canvas = make("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Export `graph` or `subgraph` as `svg` or `png`. */
async function exportPicture(what, form) {
  byId("file-menu").hidePopover();
  if (what === "subgraph" && !subgraph.items.length) return say("The subgraph is empty: pin nodes first.", true);
  const { tab } = state;
  if (what === "graph" && tab !== "graph") change((s) => (s.tab = "graph")); // a hidden picture has no places
    const [picture] = onStage().length > 1 ? [pictures[state.active]] : onStage();
  picture.plan || picture.drawAll();
  const svg = what === "graph" ? graphSheet(picture) : subgraphSheet();
  const blob = form === "svg" ? new Blob([svgText(svg)], { type: "image/svg+xml" }) : await pngOf(svg);
  if (state.tab !== tab) change((s) => (s.tab = tab));
  download(blob, fileName(`.${what}.${form}`));
  return say("Exported.");
}
