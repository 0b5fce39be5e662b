// What the pointer shows: all values at the nearest x of a line, or those of the bar or cell under it.

import { viewOf } from "./draw.js";

const tip = document.createElement("div");
tip.className = "tooltip";
tip.hidden = true;
tip.setAttribute("role", "status");
document.body.append(tip);

const time = (ms, span) =>
  new Date(ms).toLocaleString("en-GB", {
    timeZone: "UTC", weekday: "short", day: "numeric", month: "short",
    ...(span > 300 * 864e5 ? { year: "numeric" } : {}), ...(span <= 3 * 864e5 ? { hour: "2-digit", minute: "2-digit" } : {}),
  });

/** Follow the pointer over a plot. `hover` is {kind, series: [{name, color, set}], write} of its payload. */
export function follow(plot, hover) {
  plot.onpointermove = (event) => show(plot, hover, event);
  plot.onpointerleave = () => { tip.hidden = true; };
}

function show(plot, hover, event) {
  const view = viewOf(plot.firstElementChild);
  if (!view) return;
  const box = plot.getBoundingClientRect(), [left] = view.origin();
  const rows = hover.kind === "x" ? atX(view, hover, event.clientX - box.left - left)
    : hover.kind === "row" ? atRow(view, event.clientY - box.top) : atItem(view, hover, event, box);
  if (!rows) { tip.hidden = true; return; }
  tip.replaceChildren(...rows);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const x = event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  tip.style.left = `${Math.max(8, x)}px`;
  tip.style.top = `${Math.max(8, Math.min(event.clientY + 14, innerHeight - height - 8))}px`;
}

function atX(view, hover, x) {
  const scale = view.scale("x"), places = hover.xs;
  if (!places.length) return null;
  const band = scale.bandwidth ? scale.bandwidth() / 2 : 0;
  let best = 0;
  for (let i = 1; i < places.length; i++)
    if (Math.abs(scale(places[i]) + band - x) < Math.abs(scale(places[best]) + band - x)) best = i;
  const at = places[best], span = hover.time ? places[places.length - 1] - places[0] : 0;
  const rows = hover.series.map(({ name, color, ys }) => [name, color, ys[best] ?? "–"]);
  const running = hover.running === at ? " · so far" : "";
  return [heading((hover.time ? time(at, span) : String(at)) + running), table(rows)];
}

function atRow(view, y) {
  const rows = view.data("rows");
  const row = rows[Math.floor(y / (view.height() / Math.max(1, rows.length)))] ?? null;
  return row && [heading(row.n), table([["", null, row.t]])];
}

function atItem(view, hover, event, box) {
  const [left, top] = view.origin();
  const scene = view.scenegraph().root;
  const [x, y] = [event.clientX - box.left - left, event.clientY - box.top - top];
  const datum = nearest(scene, x, y);
  if (!datum) return null;
  if (hover.kind === "cell") return [heading(`${datum.y} · ${datum.x}`), table([["", null, datum.t]])];
  return [heading(datum.n || ""), table([[hover.x, null, String(datum.x)], [hover.y, null, String(datum.y)]])];
}

function nearest(mark, x, y) {
  for (const item of mark.items ?? []) {
    if (item.items) { const found = nearest(item, x, y); if (found) return found; continue; }
    const inside = item.width !== undefined && item.height !== undefined
      ? x >= item.x && x <= item.x + item.width && y >= item.y && y <= item.y + item.height
      : item.mark?.marktype === "symbol" && Math.hypot(item.x - x, item.y - y) < 8;
    if (inside && item.datum && ("t" in item.datum || "n" in item.datum)) return item.datum;
  }
  return null;
}

function heading(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}

function table(rows) {
  const element = document.createElement("table");
  for (const [name, color, value] of rows) {
    const row = element.insertRow(), first = row.insertCell();
    if (color) { const swatch = document.createElement("i"); swatch.className = `swatch ${color}`; first.append(swatch); }
    first.append(name);
    row.insertCell().textContent = value;
  }
  return element;
}

/** The value that a click on a plot chooses: a bar's name, or a series'. */
export function clicked(plot, event) {
  const view = viewOf(plot.firstElementChild);
  if (!view) return null;
  const box = plot.getBoundingClientRect();
  const rows = view.data ? safely(() => view.data("rows")) : null;
  if (!rows) return null;
  return rows[Math.floor((event.clientY - box.top) / view.signal("pitch"))]?.n ?? null;
}

function safely(call) { try { return call(); } catch { return null; } }
