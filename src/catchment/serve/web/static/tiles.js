// A tile: what the server says of it, put in its place. Its height never changes with what it holds.

import { draw, forget } from "./draw.js";
import { clicked, follow } from "./pointer.js";

const said = new Map(); // id -> payload
const asTable = new Set(); // ids of charts shown as their rows

export const tile = (id) => document.getElementById(`tile-${id}`);
export const payload = (id) => said.get(id);

/** Show what the server says of a tile. */
export function show(it) {
  const element = tile(it.id);
  if (!element) return;
  said.set(it.id, it);
  element.classList.remove("waiting", "loading", "dim");
  element.classList.toggle("dim", it.state === "down" && Boolean(it.spec || it.html));
  element.querySelector(".slow")?.remove();
  element.removeAttribute("aria-busy");
  const small = element.querySelector("header small");
  if (small && it.sub !== undefined) small.textContent = it.sub;
  fillNotice(element, it.notice);
  if (it.state !== "ok" && it.state !== "down") return fill(element, it.html);
  if (!it.spec) return fill(element, it.html);
  if (asTable.has(it.id)) return showRows(element, it);
  chart(element, it);
}

function fillNotice(element, notice) {
  element.querySelector(".notice")?.remove();
  if (!notice) return;
  const box = document.createElement("div");
  box.className = `notice ${notice.tone}`;
  box.innerHTML = notice.html;
  element.querySelector(".body").prepend(box);
}

function fill(element, html) {
  const body = element.querySelector(".body");
  forget(body);
  const notice = body.querySelector(".notice");
  body.innerHTML = html ?? "";
  if (notice) body.prepend(notice);
}

function chart(element, it) {
  const body = element.querySelector(".body");
  let plot = body.querySelector('.plot[role="img"]'); // rows in a chart's place have its height too
  if (!plot || !plot.firstElementChild) {
    fill(element, '<div class="key" hidden></div><div class="plot" tabindex="0" role="img"><div></div></div>');
    plot = body.querySelector('.plot[role="img"]');
  }
  body.classList.toggle("keyed", Boolean(it.key));
  const key = body.querySelector(".key");
  key.hidden = !it.key;
  key.innerHTML = it.key ?? "";
  plot.setAttribute("aria-label", it.label ?? "");
  plot.classList.toggle("clickable", Boolean(it.click));
  if (it.hover) follow(plot, it.hover);
  plot.onclick = it.click ? (event) => choose(it, clicked(plot, event)) : null;
  draw(plot.firstElementChild, it.spec);
}

function choose(it, value) {
  if (value === null) return;
  const address = new URL(location.href);
  const chosen = address.searchParams.getAll(it.click);
  address.searchParams.delete(it.click);
  if (!(chosen.length === 1 && chosen[0] === value)) address.searchParams.append(it.click, value);
  dispatchEvent(new CustomEvent("wanted", { detail: address.href }));
}

/** Turn a chart into its rows, or back: the key t. */
export async function turn(id) {
  const it = said.get(id), element = tile(id);
  if (!it?.spec) return;
  if (asTable.delete(id)) chart(element, it);
  else { asTable.add(id); await showRows(element, it); }
  element.querySelector('[data-do="table"]')?.setAttribute("aria-pressed", String(asTable.has(id)));
}

async function showRows(element, it) {
  const answer = await fetch(pieceAddress(it.id, "rows"));
  if (asTable.has(it.id)) fill(element, await answer.text());
}

/** Where a piece of a tile is: its rows, details, a download; for the choices that the page has now. */
export function pieceAddress(id, what) {
  return `${document.body.dataset.board}/tiles/${encodeURIComponent(id)}/${what}${location.search}`;
}

/** Say that tiles wait for other choices: old marks stay, dimmed, and after three seconds a clock. */
export function wait(ids) {
  const began = performance.now();
  for (const id of ids) {
    const element = tile(id);
    if (!element) continue;
    element.setAttribute("aria-busy", "true");
    setTimeout(() => {
      if (element.getAttribute("aria-busy")) element.classList.add(said.has(id) ? "dim" : "waiting");
    }, 300);
    setTimeout(() => { if (element.getAttribute("aria-busy")) clock(element, id, began); }, 3000);
  }
}

function clock(element, id, began) {
  const body = element.querySelector(".body");
  if (body.querySelector(".slow")) return;
  const box = document.createElement("div");
  box.className = "slow";
  const usual = said.get(id)?.ms;
  const text = document.createElement("span");
  text.className = "grow";
  const cancel = document.createElement("button");
  cancel.className = "button small";
  cancel.textContent = "Cancel";
  cancel.onclick = () => dispatchEvent(new CustomEvent("cancelled", { detail: id }));
  box.append(text, cancel);
  body.append(box);
  const tick = () => {
    if (!box.isConnected) return;
    text.textContent = `${Math.round((performance.now() - began) / 1000)} s${usual ? ` · usually ${Math.max(1, Math.round(usual / 1000))} s` : ""}`;
    setTimeout(tick, 1000);
  };
  tick();
}
