// Draws specifications in the page's colours, and again when these or the width change.

const vega = import(document.documentElement.dataset.vega);

const config = {
  background: null,
  font: getComputedStyle(document.documentElement).fontFamily,
  axis: {
    domain: false, ticks: false, labelColor: "@muted", labelFontSize: 12, labelPadding: 8, gridColor: "@grid",
    labelFont: getComputedStyle(document.documentElement).fontFamily,
  },
  text: { fontSize: 12, font: getComputedStyle(document.documentElement).fontFamily },
};

const drawn = new Map(); // element -> {spec, view, width, height}

/** Draw a specification in an element, in place of what it shows. Resolves once it is seen. */
export async function draw(element, spec) {
  const { View, parse, expressionInterpreter } = await vega;
  const width = element.clientWidth, height = element.clientHeight;
  if (!width || !height) { drawn.set(element, { spec, width: 0, height: 0 }); return; }
  const own = inColours(structuredClone(spec));
  const { left = 0, right = 0, top = 0, bottom = 0 } = own.fit ? {} : own.padding;
  own.width = Math.max(20, width - left - right);
  own.height = Math.max(20, height - top - bottom);
  if (!own.fit) placeNotes(own);
  const canvas = document.createElement("div");
  canvas.setAttribute("aria-hidden", "true");
  const view = new View(parse(own, inColours(structuredClone(config)), { ast: true }), {
    expr: expressionInterpreter, renderer: "canvas", container: canvas, hover: false, logLevel: 1, loader: noLoader,
  });
  await view.runAsync();
  const before = drawn.get(element);
  drawn.set(element, { spec, view, width, height });
  element.replaceChildren(canvas);
  before?.view?.finalize();
}

/** What an element shows: its view, or undefined. */
export const viewOf = (element) => drawn.get(element)?.view;

/** Let go of everything drawn within an element. */
export function forget(within) {
  for (const [element, { view }] of drawn)
    if (within.contains(element)) { view?.finalize(); drawn.delete(element); }
}

/** d3's number format, once it is there. */
export const format = async (spec) => (await vega).format(spec);

// Data comes with the page; a specification that asks for more gets nothing.
const noLoader = {
  load: () => Promise.reject(new Error("a chart may not load anything")),
  sanitize: (uri) => /^(https?:|\/)/.test(uri) ? Promise.resolve({ href: uri }) : Promise.reject(new Error("no link")),
  http: () => Promise.reject(new Error("no network")),
  file: () => Promise.reject(new Error("no files")),
};

/** Replace tokens such as @s1 by the page's colours, everywhere in a specification. */
function inColours(value) {
  const style = getComputedStyle(probe());
  const colours = new Map();
  const colour = (token) => {
    if (!colours.has(token)) {
      probe().style.color = `var(--${token})`;
      colours.set(token, style.color);
    }
    return colours.get(token);
  };
  const walk = (part) => {
    if (typeof part === "string") return part.replace(/@([a-z]+\d?)\b/g, (_, token) => colour(token));
    if (Array.isArray(part)) { for (let i = 0; i < part.length; i++) part[i] = walk(part[i]); return part; }
    if (part && typeof part === "object") {
      // Texts of the data may look like tokens: they stand in data, domains and an axis' values, and stay as they are.
      for (const key in part) if (!((key === "data" && Array.isArray(part[key])) || key === "domain" || key === "values")) part[key] = walk(part[key]);
      if (Array.isArray(part.data)) for (const set of part.data) if (set.name === "points") for (const point of set.values) point.c = walk(point.c);
    }
    return part;
  };
  return walk(value);
}

let probeElement;
function probe() {
  if (!probeElement) {
    probeElement = document.createElement("span");
    probeElement.hidden = true;
    document.body.append(probeElement);
  }
  return probeElement;
}

const pen = document.createElement("canvas").getContext("2d");
export function textWidth(text) {
  pen.font = `12px ${config.font}`;
  return pen.measureText(text).width;
}

/** Put the names of annotations into two lanes; what finds no room keeps its line only. */
function placeNotes(spec) {
  const notes = spec.data.find((set) => set.name === "notes");
  const scale = spec.scales.find((each) => each.name === "x");
  if (!notes || !scale) return;
  const [low, high] = scale.domain;
  const ends = [-Infinity, -Infinity];
  notes.values = notes.values.filter((note) => note.x >= low && note.x <= high).sort((a, b) => a.x - b.x);
  for (const note of notes.values) {
    const at = ((note.x - low) / (high - low)) * spec.width, wide = textWidth(note.name);
    note.flip = at + 6 + wide > spec.width;
    const start = note.flip ? at - 6 - wide : at + 6;
    note.lane = ends.findIndex((end) => end + 10 < start);
    if (note.lane < 0 || start < -spec.padding.left) { note.hidden = true; note.lane = 0; continue; }
    ends[note.lane] = start + wide;
  }
}

const redraw = () => { for (const [element, { spec }] of [...drawn]) if (element.isConnected) draw(element, spec); };
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("themechange", redraw);
let settling;
new ResizeObserver(() => {
  clearTimeout(settling);
  settling = setTimeout(() => {
    for (const [element, { spec, width, height }] of [...drawn])
      if (!element.isConnected) drawn.delete(element);
      else if (element.clientWidth !== width || element.clientHeight !== height) draw(element, spec);
  }, 60);
}).observe(document.documentElement);
