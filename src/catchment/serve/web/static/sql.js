// The SQL editor: tabs that last, a query under way in each, its rows in a grid.

import { Code, paintSql } from "./code.js";
import { Grid } from "./grid.js";
import { json, lines, request } from "./server.js";
import { show } from "./tiles.js";

const base = document.body.dataset.base;
const call = (path, body, options = {}) => request(`${base}/sql/${path}`, { body, ...options });

const strip = document.querySelector(".sql-tabs");
const say = (text, tone = "") => { const box = document.querySelector(".outcome"); box.textContent = text; box.className = `outcome ${tone}`; };
/** What `doing` comes to, or null, and why is said. */
const orSay = (doing) => doing.catch((error) => { say(error.message, "bad"); return null; });
const grid = new Grid(document.querySelector(".result-grid"));
const tabs = JSON.parse(document.getElementById("tabs").textContent);
let current = 0;
const running = new Map(); // tab id -> {abort, began}
const results = new Map(); // tab id -> {columns, rows, said, tone}

const code = new Code(document.querySelector(".editor .code"), {
  paint: paintSql,
  complete: async (text, offset) => json(await call("complete", { sql: text, offset })),
  changed: (text) => { tabs[current].sql = text; code.marks.clear(); keepSoon(); },
  run, save,
});

/* Tabs */
function drawTabs() {
  strip.replaceChildren(...tabs.map((tab, at) => {
    const button = document.createElement("button");
    button.type = "button";
    if (at === current) button.setAttribute("aria-current", "true");
    button.className = running.has(tab.id) ? "running" : "";
    button.textContent = tab.title;
    button.onclick = () => choose(at);
    button.ondblclick = () => rename(at);
    const close = document.createElement("button");
    close.type = "button";
    close.className = "close";
    close.textContent = "×";
    close.setAttribute("aria-label", `Close ${tab.title}`);
    close.onclick = () => drop(at);
    const both = document.createElement("span");
    both.className = at === current ? "tab current" : "tab";
    both.append(button, close);
    return both;
  }), add);
}
const add = document.createElement("button");
Object.assign(add, { type: "button", className: "button quiet small square", textContent: "+" });
add.setAttribute("aria-label", "New tab");
add.onclick = () => { tabs.push({ id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), title: `Untitled ${tabs.length + 1}`, sql: "" }); choose(tabs.length - 1); keepAll(); };

function choose(at) {
  current = at;
  code.text = tabs[at].sql;
  drawTabs();
  const result = results.get(tabs[at].id);
  if (result) { grid.begin(result.columns); grid.add(result.rows); say(result.said, result.tone); }
  else { grid.begin([]); grid.clear(); say("Ctrl Enter runs what is selected, or everything."); }
  buttons();
  code.area.focus();
}
function rename(at) {
  const title = prompt("What is this tab called?", tabs[at].title);
  if (title) { tabs[at].title = title.slice(0, 80); drawTabs(); keepSoon(); }
}
function drop(at) {
  running.get(tabs[at].id)?.abort.abort();
  orSay(call("drop", { id: tabs[at].id }));
  tabs.splice(at, 1);
  if (!tabs.length) add.onclick();
  else choose(Math.min(current, tabs.length - 1));
}
const keep = (tab, place, options = {}) => call("keep", { tab, place }, options).catch((error) => say(`${tab.title} is not kept: ${error.message}`, "bad"));
const keepAll = () => Promise.all(tabs.map((tab, place) => keep(tab, place)));
let later = null; // the tab that is to be kept, and the timer
function keepSoon() {
  if (later?.tab !== tabs[current]) keepNow(); // another one's change waits no longer
  clearTimeout(later?.timer);
  later = { tab: tabs[current], timer: setTimeout(keepNow, 600) };
}
function keepNow(options) {
  const place = tabs.indexOf(later?.tab); // -1 as well for one that was closed
  clearTimeout(later?.timer);
  later = null;
  if (place >= 0) keep(tabs[place], place, options);
}
addEventListener("pagehide", () => keepNow({ keepalive: true }));

/* Running */
async function run() {
  const tab = tabs[current];
  if (running.has(tab.id)) return;
  const sql = code.selection.trim() || code.text;
  const shift = code.selection.trim() ? code.text.slice(0, code.area.selectionStart).split("\n").length - 1 : 0;
  if (!sql.trim()) return;
  const mine = { abort: new AbortController(), began: performance.now() };
  running.set(tab.id, mine);
  code.mark(new Map());
  drawTabs(); buttons(); clock(tab, mine);
  document.querySelector(".result-grid").classList.add("dim");
  const result = { columns: [], rows: [], said: "", tone: "" };
  try {
    const answer = await call("run", { sql }, { signal: mine.abort.signal });
    for await (const line of lines(answer.body)) take(JSON.parse(line), tab, result, shift);
  } catch (error) {
    result.said = error.name === "AbortError" ? "Cancelled." : error.message;
    result.tone = error.name === "AbortError" ? "" : "bad";
  }
  running.delete(tab.id);
  results.set(tab.id, result);
  if (tabs[current] === tab) { document.querySelector(".result-grid").classList.remove("dim"); say(result.said, result.tone); }
  drawTabs(); buttons();
  if (!result.tone && tabs[current] === tab) chart();
}

function take(it, tab, result, shift) {
  const seen = tabs[current] === tab;
  if (it.columns) { result.columns = it.columns; if (seen) { document.querySelector(".result-grid").classList.remove("dim"); grid.begin(it.columns); } }
  if (it.rows) { for (const row of it.rows) result.rows.push(row); if (seen) grid.add(it.rows); }
  if (it.said) result.said = it.said;
  if (it.error) {
    result.said = it.error; result.tone = "bad";
    if (it.line && seen) { code.mark(new Map([[it.line + shift, it.error]])); code.goTo(it.line + shift, it.column); }
  }
}

function clock(tab, mine) {
  if (running.get(tab.id) !== mine) return;
  if (tabs[current] === tab) say(`Running, ${((performance.now() - mine.began) / 1000).toFixed(1)} s`);
  setTimeout(() => clock(tab, mine), 100);
}

function buttons() {
  const busy = running.has(tabs[current].id);
  document.querySelector("[data-run]").hidden = busy;
  document.querySelector("[data-cancel]").hidden = !busy;
}

document.querySelector("[data-run]").onclick = run;
document.querySelector("[data-cancel]").onclick = () => running.get(tabs[current].id)?.abort.abort();
for (const button of document.querySelectorAll("[data-format]"))
  button.onclick = async () => {
    const format = button.dataset.format;
    const file = await orSay(request(`${base}/api/query`, { body: { sql: code.selection.trim() || code.text, format } }).then((answer) => answer.blob()));
    if (!file) return;
    const link = document.createElement("a");
    link.download = `${tabs[current].title}.${format}`;
    link.href = URL.createObjectURL(file);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };

/* As a chart */
const kind = document.getElementById("chart-kind"), quick = document.querySelector(".quick");
async function chart() {
  quick.hidden = !kind.value;
  if (!kind.value) return;
  const told = await orSay(call("chart", { sql: code.selection.trim() || code.text, kind: kind.value }).then(json));
  if (told) show({ ...told, id: "result" });
}
kind.onchange = chart;
const adding = document.getElementById("adding");
document.querySelector("[data-add]").onclick = () => {
  adding.querySelector("[name=title]").value = tabs[current].title;
  if (kind.value) adding.querySelector("[name=kind]").value = kind.value;
  adding.showModal();
};
adding.onclose = async () => {
  if (adding.returnValue !== "add") return;
  const form = Object.fromEntries(new FormData(adding.querySelector("form")));
  const told = await orSay(call("add", { ...form, sql: code.selection.trim() || code.text }).then(json));
  if (told) location.href = told.where;
};

/* Beside */
async function save() {
  const title = prompt("Save this query as", tabs[current].title);
  if (!title) return;
  const saved = await orSay(call("save", { title, sql: code.text }).then((answer) => answer.text()));
  if (saved !== null) { tabs[current].title = title; drawTabs(); keepSoon(); document.querySelector(".saved").innerHTML = saved; }
}
document.querySelector("[data-save]").onclick = save;
document.querySelector("[data-share-sql]").onclick = async (event) => {
  const shared = await orSay(call("share", { title: tabs[current].title, sql: code.text }).then(json));
  if (!shared) return;
  const link = `${location.origin}${base}/sql?shared=${shared.id}`;
  try { await navigator.clipboard.writeText(link); event.target.textContent = "Link copied"; } catch { say(link); }
  setTimeout(() => { event.target.textContent = "Share"; }, 2000);
};
document.querySelector("[data-history]").onclick = async () => {
  const asked = await orSay(call("history", null, { method: "GET" }).then((answer) => answer.text()));
  if (asked === null) return;
  const dialog = document.createElement("dialog");
  dialog.className = "finder";
  dialog.innerHTML = asked;
  document.body.append(dialog);
  dialog.showModal();
  dialog.onclose = () => dialog.remove();
  dialog.onclick = (event) => {
    const item = event.target.closest("[data-sql]");
    if (item) open("History", item.dataset.sql);
    if (item || event.target === dialog) dialog.close();
  };
};
document.querySelector(".side").addEventListener("click", (event) => {
  const twist = event.target.closest(".twist");
  if (twist) {
    const open = twist.getAttribute("aria-expanded") !== "true";
    twist.setAttribute("aria-expanded", String(open));
    twist.closest("[data-table]").lastElementChild.hidden = !open;
  }
  const name = event.target.closest("[data-insert]");
  if (name) { code.area.focus(); code.insert(name.dataset.insert); }
  const saved = event.target.closest("[data-sql]");
  if (saved) open(saved.textContent.trim(), saved.dataset.sql);
});
document.querySelector(".side input").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase();
  for (const table of document.querySelectorAll(".side [data-table]"))
    table.hidden = !table.textContent.toLowerCase().includes(words);
});
function open(title, sql) {
  tabs.push({ id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), title, sql });
  choose(tabs.length - 1);
  keepAll();
}

choose(Number(document.body.dataset.tab || 0));
