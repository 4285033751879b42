// What is known of a latent: logits, histogram, how often it fires, examples.

/** The latent's side of the panel. */
function latentPanel(node) {
  const data = latentOf(node);
  if (!data) return [make("p", { class: "soft", id: "no-data" }, `Nothing is known of this ${graphs[node.side].word} besides this graph: the page was made without data about ${graphs[node.side].word}s.`)];
  const parts = [logitLists(data)];
  if (data.bars.length) parts.push(histogram(data, node.act));
  parts.push(make("p", { id: "often" }, firing(data, node.act)));
  for (const group of data.examples) parts.push(exampleList(group, data.max));
  if (!data.examples.length) parts.push(make("p", { class: "soft", id: "no-examples" }, "No examples of what it fires on are known."));
  if (data.source) parts.push(make("p", { class: "soft source" }, data.source));
  return parts;
}

/** How often it fires, and where this activation stands among its others. */
function firing(data, act) {
  const words = [];
  if (data.often === null) words.push("How often it fires is not known.");
  else words.push("Fires on " + (data.often === 0 ? "none" : percent(data.often)) + " of the tokens.");
  if (act !== null && data.cuts.length) {
    const below = data.cuts.filter((cut) => cut <= act).length / data.cuts.length;
    words.push("Here " + plain(act) + ": above " + percent(below) + " of its activations.");
  }
  return words.join(" ");
}

function logitLists(data) {
  const list = (name, rows, kind) => {
    const items = rows.map(([text, value]) => make("li", {}, make("bdi", {}, shorten(token(text), 24)), number(value === null ? "" : signed(value), kind)));
    return make("section", { class: "logits " + kind }, make("h3", {}, name), items.length ? make("ol", {}, ...items) : make("p", { class: "soft" }, "not known"));
  };
  return make("div", { class: "pair" }, list("Raises", data.top, "plus"), list("Lowers", data.bottom, "minus"));
}

const CHART = { width: 320, height: 74, foot: 14 };

/** Bars of how many activations lie in each interval (square-root scale, so that rare ones can be seen), this one marked. */
function histogram(data, act) {
  const { width, height, foot } = CHART;
  const most = Math.max(...data.bars, 1e-9);
  const low = Math.min(data.min, act ?? data.min);
  const high = Math.max(data.max, act ?? data.max, low + 1e-9);
  const x = (value) => ((value - low) / (high - low)) * width;
  const step = (data.max - data.min) / data.bars.length;
  const svg = draw("svg", { class: "histogram", viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", "Histogram of activations from " + plain(low) + " to " + plain(high) + (act === null ? "" : ", this one is " + plain(act)));
  data.bars.forEach((count, k) => {
    const tall = Math.sqrt(Math.max(0, count) / most) * (height - foot - 8);
    const left = x(data.min + k * step);
    const bar = draw("rect", { class: "bar", x: round(left), width: round(Math.max(1, x(data.min + (k + 1) * step) - left - 1)), y: round(height - foot - tall), height: round(tall) });
    bar.append(draw("title", {}, `${plain(data.min + k * step)} to ${plain(data.min + (k + 1) * step)}: ${count.toLocaleString("en")}`));
    svg.append(bar);
  });
  svg.append(draw("line", { class: "axis", x1: 0, x2: width, y1: height - foot, y2: height - foot }));
  if (act !== null) {
    const at = round(Math.min(width - 1, Math.max(1, x(act))));
    svg.append(draw("line", { class: "mark", x1: at, x2: at, y1: 2, y2: height - foot }));
    const near = at > width * 0.7 ? { x: at - 4, "text-anchor": "end" } : { x: at + 4 };
    svg.append(draw("text", { class: "mark", y: 10, ...near }, "here " + plain(act)));
  }
  svg.append(draw("text", { x: 0, y: height - 3 }, plain(low)), draw("text", { x: width, y: height - 3, "text-anchor": "end" }, plain(high)));
  return make("section", {}, make("h3", {}, "Activations"), svg);
}

/** Examples of one quantile, each token shaded by its activation. */
function exampleList(group, most) {
  const items = group.rows.map((row) => make("li", { dir: "auto" }, ...exampleTokens(row, most)));
  return make("section", { class: "examples" }, make("h3", {}, visible(group.name)), make("ol", {}, ...items));
}

function exampleTokens([words, acts, centre], most) {
  const strength = new Map();
  for (let k = 0; k < acts.length; k += 2) strength.set(acts[k], acts[k + 1]);
  return words.map((word, k) => {
    const percentOf = strength.get(k) || 0;
    const span = make("bdi", { class: "token" + (k === centre ? " centre" : "") }, visible(known.words[word]));
    if (percentOf) {
      span.style.setProperty("--heat", Math.min(100, percentOf) + "%");
      span.classList.add("hot");
      span.title = "activation " + plain((percentOf / 100) * most);
    }
    return span;
  });
}
