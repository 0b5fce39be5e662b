// A dashboard's text beside what it shows.

import { Code, paintBoard } from "./code.js";
import { json, lines, request } from "./server.js";
import { payload, show } from "./tiles.js";

const { edit, back } = document.body.dataset;
const it = JSON.parse(document.getElementById("text").textContent);
let base = it.base, saved = it.text, showing = null;
const kept = document.querySelector(".kept"), count = document.querySelector(".count"), preview = document.querySelector(".preview");
const RETRY_MS = 5_000;
const call = (path, body, options = {}) => request(`${edit}/${path}`, { body, ...options });
const say = (words, isBad = false) => { kept.textContent = words; kept.classList.toggle("bad", isBad); };

const code = new Code(document.querySelector(".left .code"), {
  paint: paintBoard,
  complete: async (text, offset) => json(await call("complete", { text, offset })),
  changed: () => { soon(); }, run: refresh, save,
});
code.text = it.text;
let keeping = null, drawing; // `keeping` is a timer while something waits to be kept
function keepIn(ms) {
  clearTimeout(keeping);
  keeping = setTimeout(keep, ms);
}
function soon() {
  keepIn(800);
  clearTimeout(drawing);
  drawing = setTimeout(refresh, 350);
}

function waitNoLonger() {
  clearTimeout(keeping);
  keeping = null;
}
addEventListener("pagehide", () => { if (keeping) keep({ keepalive: true }); });

async function keep(options = {}) {
  waitNoLonger();
  if (code.text === saved) return;
  try {
    const { at } = await json(await call("draft", { text: code.text, base }, { method: "PUT", ...options }));
    say(`Draft kept at ${at}`);
  } catch (error) {
    say(`The draft is not kept: ${error.message}`, true);
    if (!keeping) keepIn(RETRY_MS);
  }
}

async function refresh() {
  showing?.abort();
  const mine = (showing = new AbortController());
  const marks = new Map();
  try {
    const answer = await call(`preview${location.search}`, { text: code.text }, { signal: mine.signal });
    for await (const line of lines(answer.body)) {
      const told = JSON.parse(line);
      if (told.page !== undefined) place(told.page);
      for (const mistake of told.mistakes) marks.set(mistake.line, `${mistake.line}:${mistake.column} ${mistake.text}`);
      if (told.tile) show(told.tile);
    }
  } catch (error) {
    if (error.name !== "AbortError") outcome(`No preview: ${error.message}`, true);
    return;
  }
  code.mark(marks);
  outcome(marks.size ? `${marks.size} error${marks.size > 1 ? "s" : ""}` : "No errors", marks.size > 0);
  select();
}

function outcome(words, isBad) {
  count.textContent = words;
  count.classList.toggle("bad", isBad);
}

/** Put the page's parts in place; tiles that are as they were keep what they show until they are told anew. */
function place(html) {
  const before = new Map([...preview.querySelectorAll(".tile")].map((tile) => [tile.id, tile.querySelector(".body")]));
  preview.innerHTML = html;
  for (const tile of preview.querySelectorAll(".tile")) {
    const old = before.get(tile.id);
    if (old && payload(tile.id.slice(5))) tile.querySelector(".body").replaceWith(old);
    tile.onclick = () => { code.goTo(Number(tile.dataset.start)); select(); };
  }
}

function select() {
  const line = code.line;
  for (const tile of preview.querySelectorAll(".tile"))
    tile.classList.toggle("selected", line >= Number(tile.dataset.start) && line <= Number(tile.dataset.end));
}
for (const event of ["keyup", "click"]) code.area.addEventListener(event, select);

async function save() {
  const button = document.querySelector("[data-save]");
  if (button.disabled) return;
  await keep();
  const text = code.text;
  try {
    base = (await json(await call("save", { text, base }))).base;
  } catch (error) {
    if (error.status === 409) return both(error.told);
    return say(`Not saved: ${error.message}`, true);
  }
  saved = text;
  say("Saved");
}
document.querySelector("[data-save]").onclick = save;

function both({ error, theirs, base: theirBase }) {
  const dialog = document.createElement("dialog");
  dialog.innerHTML = '<div class="details both"><h3></h3><div class="pair"><label>The file now<textarea class="field" readonly></textarea></label><label>Yours<textarea class="field" readonly></textarea></label></div><div class="row"><button class="button" data-choose="theirs">Take the file’s</button><button class="button" data-choose="mine">Keep mine, and save over it</button><span class="grow"></span><button class="button quiet" data-choose="">Later</button></div></div>';
  dialog.querySelector("h3").textContent = error;
  const [left, right] = dialog.querySelectorAll("textarea");
  left.value = theirs; right.value = code.text;
  document.body.append(dialog);
  dialog.showModal();
  dialog.onclick = (event) => {
    const chosen = event.target.dataset?.choose;
    if (chosen === undefined) return;
    if (chosen) base = theirBase;
    if (chosen === "theirs") { code.text = saved = theirs; dropDraft(); refresh(); }
    dialog.close();
    if (chosen === "mine") save();
  };
  dialog.onclose = () => dialog.remove();
}

/** Whether the server has dropped it. */
async function dropDraft() {
  waitNoLonger();
  try {
    await call("draft", {}, { method: "DELETE" });
  } catch (error) {
    say(`The draft is still kept: ${error.message}`, true);
    return false;
  }
  return true;
}
document.querySelector("[data-discard]").onclick = async () => { if (await dropDraft()) location.href = back; };
const history_ = document.querySelector("[data-history]");
if (history_) history_.onclick = async () => {
  let versions;
  try { versions = await (await call("history", null, { method: "GET" })).text(); } catch (error) { return say(error.message, true); }
  const dialog = document.createElement("dialog");
  dialog.className = "finder";
  dialog.innerHTML = versions;
  document.body.append(dialog);
  dialog.showModal();
  dialog.onclose = () => dialog.remove();
  dialog.onclick = async (event) => {
    const version = event.target.closest("[data-version]");
    if (version || event.target === dialog) dialog.close();
    if (!version) return;
    try { code.text = (await json(await call(`version/${version.dataset.version}`, null, { method: "GET" }))).text; } catch (error) { return say(error.message, true); }
    say("An earlier version: save it to revert.");
    soon();
  };
};
refresh();
