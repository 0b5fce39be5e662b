// A dashboard's text beside what it shows.

import { Code, paintBoard } from "./code.js";
import { lines } from "./lines.js";
import { payload, show } from "./tiles.js";

const { edit, back } = document.body.dataset;
const it = JSON.parse(document.getElementById("text").textContent);
let base = it.base, saved = it.text, showing = null;
const kept = document.querySelector(".kept"), count = document.querySelector(".count"), preview = document.querySelector(".preview");
const post = (path, body, method = "POST", options = {}) =>
  fetch(`${edit}/${path}`, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), ...options });

const code = new Code(document.querySelector(".left .code"), {
  paint: paintBoard,
  complete: async (text, offset) => (await post("complete", { text, offset })).json(),
  changed: () => { soon(); }, run: refresh, save,
});
code.text = it.text;
let keeping, drawing;
function soon() {
  clearTimeout(keeping); clearTimeout(drawing);
  keeping = setTimeout(keep, 800);
  drawing = setTimeout(refresh, 350);
}

async function keep() {
  if (code.text === saved) return;
  const answer = await post("draft", { text: code.text, base }, "PUT");
  if (answer.ok) kept.textContent = `Draft kept at ${(await answer.json()).at}`;
}

async function refresh() {
  showing?.abort();
  const mine = (showing = new AbortController());
  const marks = new Map();
  try {
    const answer = await post(`preview${location.search}`, { text: code.text }, "POST", { signal: mine.signal });
    for await (const line of lines(answer.body)) {
      const told = JSON.parse(line);
      if (told.page !== undefined) place(told.page);
      for (const mistake of told.mistakes) marks.set(mistake.line, `${mistake.line}:${mistake.column} ${mistake.text}`);
      if (told.tile) show(told.tile);
    }
  } catch (error) { if (error.name !== "AbortError") throw error; return; }
  code.mark(marks);
  count.textContent = marks.size ? `${marks.size} error${marks.size > 1 ? "s" : ""}` : "No errors";
  count.classList.toggle("bad", marks.size > 0);
  select();
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
  clearTimeout(keeping);
  await keep();
  const answer = await post("save", { text: code.text, base });
  const said = await answer.json();
  if (answer.status === 409) return both(said);
  if (!answer.ok) { kept.textContent = said.error; return; }
  base = said.base;
  saved = code.text;
  kept.textContent = "Saved";
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
    if (chosen === "theirs") { code.text = saved = theirs; post("draft", {}, "DELETE"); refresh(); }
    dialog.close();
    if (chosen === "mine") save();
  };
  dialog.onclose = () => dialog.remove();
}

document.querySelector("[data-discard]").onclick = async () => {
  await post("draft", {}, "DELETE");
  location.href = back;
};
const history_ = document.querySelector("[data-history]");
if (history_) history_.onclick = async () => {
  const dialog = document.createElement("dialog");
  dialog.className = "finder";
  dialog.innerHTML = await (await fetch(`${edit}/history`)).text();
  document.body.append(dialog);
  dialog.showModal();
  dialog.onclose = () => dialog.remove();
  dialog.onclick = async (event) => {
    const version = event.target.closest("[data-version]");
    if (version) {
      code.text = (await (await fetch(`${edit}/version/${version.dataset.version}`)).json()).text;
      kept.textContent = "An earlier version: save it to revert.";
      soon();
    }
    if (version || event.target === dialog) dialog.close();
  };
};
refresh();
