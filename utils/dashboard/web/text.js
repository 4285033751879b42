"use strict";
// Words, numbers and elements. Text from a graph only ever becomes a text node or an attribute's value, never markup.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key.startsWith("aria-")) element.setAttribute(key, String(value));
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** An element; a function among its attributes listens to the event of that name, strings among its children are text. */
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for a shape. */
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Draw an area anew and give the keyboard back to the control of the same place. */
function keepingFocus(area, redraw) {
  const controls = () => [...area.querySelectorAll("button, input")];
  const before = controls();
  const at = before.indexOf(document.activeElement);
  redraw();
  const after = controls();
  if (at >= 0 && after.length === before.length) after[at].focus();
}

const button = (text, attributes, ...more) => make("button", { type: "button", ...attributes }, text, ...more);

// ---------------------------------------------------------------- text that can be seen

const SIGNS = { "\n": "⏎", "\r": "↵", "\t": "⇥" };
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffc\ufffe\uffff]|\p{Cs}/gu;

/** Text as it can be seen: line breaks as signs, invisible and direction-changing characters by their number. */
function visible(text) {
  if (text === "") return "∅";
  return text.replace(UNSEEN, (c) => SIGNS[c] || "‹" + c.codePointAt(0).toString(16).padStart(4, "0") + "›");
}

/** A token as visible text, with its leading space shown. */
const token = (text) => visible(text).replace(/^ (?=.)/, "·").replace(/^ $/, "␣");

function shorten(text, limit) {
  const letters = Array.from(text);
  return letters.length <= limit ? text : letters.slice(0, limit - 1).join("") + "…";
}

const plural = (n, word) => n.toLocaleString("en") + " " + word + (n === 1 ? "" : "s");

// ---------------------------------------------------------------- numbers

const NARROW = "\u202f"; // a narrow space that does not break

function percent(x) {
  if (x > 0 && x < 0.0001) return "<0.01" + NARROW + "%";
  if (x >= 0.995 && x < 1) return Math.min(100 * x, 99.9).toFixed(1) + NARROW + "%"; // never 100 %, which it is not
  return (x >= 0.0995 || x === 0 ? (100 * x).toFixed(0) : (100 * x).toPrecision(2)) + NARROW + "%";
}

function plain(x) {
  const size = Math.abs(x);
  if (size >= 1e6 || (size > 0 && size < 1e-4)) return x.toExponential(1).replace("-", "−");
  const digits = size >= 100 ? size.toFixed(0) : size.toPrecision(size < 0.0995 ? 2 : 3);
  return (x < 0 ? "−" : "") + digits;
}

const signed = (x) => (x < 0 ? "" : "+") + plain(x);

// ---------------------------------------------------------------- widths of text

const ruler = document.createElement("canvas").getContext("2d");
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
const measured = new Map();

function measure(text, size = 11) {
  const key = size + " " + text;
  if (!measured.has(key)) {
    ruler.font = size + "px " + FONT;
    measured.set(key, ruler.measureText(text).width);
  }
  return measured.get(key);
}

/** The longest beginning of a text that is at most so many pixels wide. */
function fit(text, width, size = 11) {
  const all = Array.from(text);
  const start = (n) => all.slice(0, n).join("") + (n < all.length ? "…" : "");
  if (all.length <= 200 && measure(text, size) <= width) return text;
  let [fits, tooLong] = [1, Math.min(all.length, 200)];
  while (tooLong - fits > 1) {
    const middle = (fits + tooLong) >> 1;
    if (measure(start(middle), size) <= width) fits = middle;
    else tooLong = middle;
  }
  return start(fits);
}
