// A dashboard: its tiles as they come in the page, then again for other choices, and whenever its data has changed.

import { lines } from "./server.js";
import { pieceAddress, show, tile, turn, wait } from "./tiles.js";

const board = document.body.dataset.board;
const ids = [...document.querySelectorAll(".tile[id]")].map((each) => each.id.slice(5));
let asking = null; // the request under way
let tag = null;

/* As they come */
const stream = document.getElementById("stream");
const take = (node) => {
  if (node.nodeType !== 1 || !node.matches("script.payload")) return;
  receive(JSON.parse(node.textContent));
  node.remove();
};
if (stream) {
  wait(ids);
  // A node may be seen before its text is whole: it is once another follows, or the document has ended.
  const drain = (all) => { const nodes = [...stream.children]; (all ? nodes : nodes.slice(0, -1)).forEach(take); };
  const seen = new MutationObserver(() => drain(false));
  seen.observe(stream, { childList: true });
  const end = () => { seen.disconnect(); drain(true); };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", end);
  else end();
  drain(false);
}

function receive(it) {
  if (it.id) return show(it);
  if (it.filters !== undefined) replaceFilters(it.filters);
  if (it.foot !== undefined) document.querySelector(".foot .state").innerHTML = it.foot;
  if (it.tag) tag = it.tag;
  if (it.said) announce(it.said);
}

/* Other choices */
async function ask(search, { quiet = false } = {}) {
  asking?.abort();
  const mine = (asking = new AbortController());
  if (!quiet) wait(ids);
  try {
    const headers = quiet && tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(`${board}/tiles${search}`, { signal: mine.signal, headers });
    if (answer.status === 304) {
      const age = document.querySelector(".foot time");
      if (age) age.textContent = answer.headers.get("As-Of");
      return true;
    }
    if (answer.status === 401) { location.reload(); return false; }
    if (!answer.ok) { idle(); announce((await answer.json()).error ?? answer.statusText); return false; }
    tag = answer.headers.get("ETag") ?? tag;
    for await (const line of lines(answer.body)) receive(JSON.parse(line));
    return true;
  } catch (error) {
    if (error.name !== "AbortError") later();
    return false;
  }
}

function go(address, { replace = false } = {}) {
  const url = new URL(address, location.href);
  if (url.pathname !== location.pathname) { location.href = url.href; return; }
  if (url.search === location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", url.search || url.pathname);
  ask(url.search);
}
addEventListener("popstate", () => ask(location.search));
addEventListener("wanted", (event) => go(event.detail));
addEventListener("cancelled", () => { asking?.abort(); idle(); });

/* Tiles show what they showed before, and wait for nothing. */
function idle() {
  for (const id of ids) { tile(id)?.removeAttribute("aria-busy"); tile(id)?.classList.remove("dim", "waiting"); }
  document.querySelectorAll(".slow").forEach((each) => each.remove());
}

const filters = document.querySelector(".filters");
filters?.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-choice]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  if (!link.hasAttribute("data-stay")) link.closest("details").open = false;
  go(link.href);
});
filters?.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target, url = new URL(location.href), name = form.dataset.name;
  url.searchParams.delete(name);
  url.searchParams.delete(`${name}.grain`); // other days may not have it
  const value = [...new FormData(form).values()].join(form.dataset.join ?? "");
  if (value && value !== form.dataset.join) url.searchParams.append(name, value);
  form.closest("details").open = false;
  go(url.href);
});
filters?.addEventListener("input", (event) => {
  const box = event.target.closest("input[data-narrow]");
  if (!box) return;
  const words = box.value.toLowerCase();
  for (const choice of box.closest(".pop").querySelectorAll(".choice[data-choice]"))
    choice.hidden = !choice.textContent.toLowerCase().includes(words);
});
filters?.addEventListener("toggle", async (event) => {
  const menu = event.target;
  if (!menu.open) return;
  for (const other of filters.querySelectorAll("details[open]")) if (other !== menu) other.open = false;
  const late = menu.querySelector("[data-options]");
  if (late) {
    const answer = await fetch(`${board}/options/${late.dataset.options}${location.search}`);
    late.outerHTML = answer.ok ? await answer.text() : '<p class="choice muted">These can’t be read now.</p>';
  }
  menu.querySelector("input[data-narrow], a[aria-current], a, input")?.focus({ preventScroll: true });
}, true);
document.querySelector(".fold")?.addEventListener("click", (event) => {
  const open = filters.classList.toggle("open");
  event.currentTarget.setAttribute("aria-expanded", String(open));
});

function replaceFilters(html) {
  const open = filters.querySelector("details[open]")?.dataset.name;
  const scrolled = filters.querySelector("details[open] .choices")?.scrollTop ?? 0;
  const focused = document.activeElement?.closest?.("[data-choice]")?.textContent;
  filters.querySelector(".chosen").innerHTML = html;
  const fold = document.querySelector(".fold b");
  if (fold) fold.textContent = [...filters.querySelectorAll("summary b")].map((each) => each.textContent).join(" · ");
  const menu = open && filters.querySelector(`details[data-name="${CSS.escape(open)}"]`);
  if (!menu) return;
  menu.open = true;
  const list = menu.querySelector(".choices");
  if (list) list.scrollTop = scrolled;
  if (focused) [...menu.querySelectorAll("[data-choice]")].find((each) => each.textContent === focused)?.focus();
}

function announce(text) {
  const box = document.getElementById("said");
  box.textContent = text;
  box.hidden = !text;
}

/* Again */
const every = Number(document.body.dataset.refresh) * 1000;
let due = setTimeout(again, every);
async function again() {
  clearTimeout(due);
  if (document.hidden) return; // asked when it is seen again
  await ask(location.search, { quiet: true });
  due = setTimeout(again, every);
}
function later() { clearTimeout(due); due = setTimeout(again, 8000); }
document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); });
addEventListener("pagehide", () => asking?.abort());

/* What a tile can do */
document.addEventListener("click", async (event) => {
  const download = event.target.closest("a[data-download]");
  if (download) download.href = pieceAddress(download.closest("[data-tile]").dataset.tile, "csv");
  const button = event.target.closest("[data-do]");
  if (!button) return;
  const id = button.closest("[data-tile]")?.dataset.tile;
  if (button.dataset.do === "table") return turn(id);
  if (button.dataset.do === "full") return enlarge(id);
  if (button.dataset.do === "details") return details(id);
  if (button.dataset.do === "png") return picture(id);
  if (button.dataset.do === "retry") return ask(location.search);
  if (button.dataset.do === "page") {
    const body = tile(id).querySelector(".body");
    const answer = await fetch(`${pieceAddress(id, "rows")}${location.search ? "&" : "?"}_page=${button.dataset.page}`);
    if (answer.ok) body.innerHTML = await answer.text();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "t" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const id = event.target.closest(".tile")?.id.slice(5) ?? document.querySelector(".tile:hover")?.id.slice(5);
  if (id) turn(id);
});

function enlarge(id) {
  const element = tile(id), place = document.createComment(""), dialog = document.createElement("dialog");
  element.before(place);
  dialog.setAttribute("aria-label", element.querySelector("h3").textContent);
  dialog.append(element);
  document.body.append(dialog);
  dialog.showModal();
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  dialog.onclose = () => { place.replaceWith(element); dialog.remove(); refit(element); };
  refit(element);
}
const refit = (element) => { const id = element.id.slice(5); import("./tiles.js").then(({ payload }) => { const it = payload(id); if (it?.spec) show(it); }); };

async function details(id) {
  const answer = await fetch(pieceAddress(id, "details"));
  if (!answer.ok) return;
  const dialog = document.createElement("dialog");
  dialog.innerHTML = await answer.text();
  document.body.append(dialog);
  dialog.showModal();
  dialog.onclick = (event) => { if (event.target === dialog || event.target.closest("[data-close]")) dialog.close(); };
  dialog.onclose = () => dialog.remove();
}

async function picture(id) {
  const { viewOf } = await import("./draw.js");
  const view = viewOf(tile(id).querySelector(".plot > div"));
  if (!view) return;
  const link = document.createElement("a");
  link.download = `${id}.png`;
  link.href = await view.toImageURL("png", 2);
  link.click();
}
