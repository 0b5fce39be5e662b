// A file: dropped, sent as it is, looked at by the server, previewed, filed, and watched until it is in its table.

import { json, request } from "./server.js";

const { base, maxBytes, table: wanted } = document.body.dataset;
const WATCH_MS = 250;
const ASKED = {
  encoding: "Which of these reads right?",
  delimiter: "Choose the delimiter; lines that do not fit become dead letters.",
  quote: "Say what stands around texts.",
  sheet: "Choose another sheet, or the row that names its columns.",
};
const find = (selector) => document.querySelector(selector);
const drop = find(".drop"), input = find("#file"), going = find(".going"), trouble = find(".trouble"), line = find(".file-line"), looked = find(".looked"), outcome = find(".outcome-tile");
const choices = find("[data-choices]"), target = find("[data-target]"), send = find("[data-send]");
let current = null; // {id, name, format, bytes, table}
let turn = 0; // grows when another file is chosen: what is on its way of an earlier one is then nobody's
let sending = null; // the request that carries the file
let found = null; // what the server said of the file
let fitTurn = 0, typing;

const say = (text) => { find("#said").textContent = text; };
const number = (value) => value.toLocaleString("en");
const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;
const size = (bytes) => (bytes < 1e6 ? `${number(Math.max(1, Math.round(bytes / 1e3)))} kB` : `${number(Math.round(bytes / 1e5) / 10)} MB`);

function show(...parts) { for (const part of [drop, going, line, trouble, looked, outcome]) part.hidden = !parts.includes(part); }

function fail(what, hint = "", { keep = false } = {}) {
  show(trouble, ...(keep ? [line, looked] : []));
  find("[data-what]").textContent = what;
  find("[data-hint]").textContent = hint;
  find(".trials").replaceChildren();
  trouble.querySelector(".row").hidden = keep;
  looked.classList.toggle("asking", keep);
  say(`${what} ${hint}`);
}

const call = async (method, path, body) => json(await request(`${base}/upload/${path}`, { method, body }));

// ---- the file ----

function choose(file) {
  if (!file) return;
  forget();
  if (file.size > Number(maxBytes)) return fail(`${file.name} is larger than ${size(Number(maxBytes))}, which is the most that may be uploaded.`, "Use the command catchment send, which takes any size.");
  if (file.size === 0) return fail(`${file.name} is empty.`);
  const mine = ++turn;
  progress(`Uploading ${file.name}`, 0);
  sending = new XMLHttpRequest(); // which tells how far it is, as fetch does not
  sending.open("POST", `${base}/upload/file?name=${encodeURIComponent(file.name)}`);
  sending.setRequestHeader("Accept", "application/json");
  sending.upload.onprogress = (event) => { if (mine === turn && event.lengthComputable) progress(`Uploading ${file.name}`, event.loaded / event.total); };
  sending.onerror = () => { if (mine === turn) fail(`${file.name} did not arrive.`, "The connection ended, or the file is larger than may be."); };
  sending.onload = () => {
    if (mine !== turn) return;
    let told = {};
    try { told = JSON.parse(sending.responseText); } catch { /* the status says enough */ }
    const { status } = sending;
    sending = null;
    if (status !== 200) return fail(told.error ?? "That did not work.", told.hint);
    current = told;
    target.table.value = wanted || told.table;
    for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(told.format);
    watch(mine);
  };
  sending.send(file);
}

function forget() {
  turn++;
  sending?.abort();
  sending = null;
  if (current) fetch(`${base}/upload/${current.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  current = found = null;
  input.value = "";
  choices.reset();
  target.reset();
  send.disabled = true;
  find(".key-choices").replaceChildren();
  delete find(".key-choices").dataset.known;
  find("[data-rows]").replaceChildren();
}

function progress(what, done) {
  show(going);
  find("[data-doing]").textContent = what;
  find("[data-share]").textContent = done > 0 ? `${Math.floor(done * 100)} %` : "";
  const bar = going.querySelector("progress");
  if (done > 0) bar.value = done; else bar.removeAttribute("value");
  find("[data-waits]").textContent = "";
}

// ---- what the server says of it ----

async function watch(mine) {
  try {
    for (;;) {
      const told = await call("GET", current.id);
      if (mine !== turn) return;
      if (told.state === "looking" || told.state === "received") progress(`Looking at ${current.name}`, told.done);
      else if (told.state === "looked at") return await showFile(told);
      else if (told.state === "unclear") return ask(told);
      else if (told.state === "filing") progress(`Filing ${current.name} into ${told.table}`, told.done);
      else if (told.state === "filed") progress(`${plural(told.sent.rows, "row is", "rows are")} queued; loading into ${told.table}`, 0);
      else return end(told);
      if (told.waits_for) find("[data-waits]").textContent = `Waiting: ${told.waits_for}`;
      await new Promise((done) => setTimeout(done, WATCH_MS));
      if (mine !== turn) return;
    }
  } catch (error) { if (mine === turn) fail(error.message); }
}

function ask(told) {
  find("[data-name]").textContent = current.name;
  find("[data-about]").textContent = size(current.bytes);
  fail(told.error, ASKED[told.asks] ?? "Say how it is written.", { keep: true });
  if (told.asks === "sheet") choices.sheet.replaceChildren(...["", ...told.trials.map(([name]) => name)].map((name) => new Option(name, name)));
  find(".reading").open = true;
  for (const [value, text] of told.trials) {
    const button = document.createElement("button"), label = document.createElement("b"), code = document.createElement("code");
    const option = [...choices[told.asks].options].find((each) => each.value === value);
    label.textContent = option?.textContent ?? value;
    code.textContent = text;
    button.type = "button";
    button.className = "trial";
    button.append(label, code);
    button.onclick = () => { choices[told.asks].value = value; look(); };
    const item = document.createElement("li");
    item.append(button);
    find(".trials").append(item);
  }
}

async function showFile(told) {
  found = told;
  show(line, looked);
  looked.classList.remove("asking");
  find("[data-name]").textContent = current.name;
  find("[data-about]").textContent = `${size(current.bytes)} · ${plural(told.rows, "row", "rows")}${told.bad ? ` · ${plural(told.bad, "dead letter", "dead letters")}` : ""}`;
  const { delimiter, one_column, encoding, quote, nulls, sheet, header_row } = told.choices;
  choices.delimiter.value = one_column ? "none" : (delimiter ?? "");
  choices.encoding.value = encoding;
  choices.quote.value = quote ?? "none";
  choices.nulls.value = nulls.join(", ");
  choices.header.value = header_row ? "yes" : "no";
  choices.header_row.value = header_row || 1;
  choices.header_row.disabled = !header_row;
  choices.sheet.replaceChildren(...told.sheets.map((name) => new Option(name, name, false, name === sheet)));
  const read = [...choices.querySelectorAll("label:not([hidden]) select")].filter((each) => !each.closest("[data-for][hidden]")).map((each) => each.selectedOptions[0]?.textContent);
  find("[data-read]").textContent = read.join(" · ");
  if (matchMedia("(max-width: 720px)").matches) find(".reading").open = false;
  say(`${current.name}: ${plural(told.rows, "row", "rows")}, ${plural(told.bad, "dead letter", "dead letters")}.`);
  await fit();
}

async function look() {
  const form = new FormData(choices), mark = (value) => (value === "none" || value === "" ? null : value);
  const one = form.get("delimiter") === "none";
  const body = {
    delimiter: one ? null : mark(form.get("delimiter")), one_column: one, quote: mark(form.get("quote")), encoding: form.get("encoding"),
    nulls: form.get("nulls").split(",").map((text) => text.trim()).filter(Boolean),
    header_row: form.get("header") === "no" ? 0 : Number(form.get("header_row") ?? 1) || 1,
  };
  if (current.format === "excel" && form.get("sheet")) body.sheet = form.get("sheet");
  const mine = ++turn;
  try {
    await call("POST", `${current.id}/look`, body);
    if (mine === turn) await watch(mine);
  } catch (error) { if (mine === turn) fail(error.message); }
}

// ---- where it goes ----

const order = () => ({
  table: target.table.value.trim(),
  mode: new FormData(target).get("mode") ?? "append",
  key: [...find(".key-choices").querySelectorAll("input:checked")].map((box) => box.value),
});

async function fit() {
  const mine = ++fitTurn, wants = order();
  let told;
  try { told = await call("POST", `${current.id}/fit`, wants); } catch (error) { if (mine === fitTurn) tell(error.message, true); return; }
  if (mine !== fitTurn) return;
  find("[data-rows]").innerHTML = told.html;
  const shown = find("[data-rows]").querySelectorAll("tbody tr").length;
  find("[data-preview]").textContent = found.rows > shown ? `the first ${shown} of ${number(found.rows)} rows` : "all rows";
  keys(told, wants);
  notes(told);
  tell(told.problem || (told.is_new ? "A new table." : told.is_keyed ? `A table of rows with the key ${told.key_columns.join(", ")}: they are replaced.` : "A table that is there."), Boolean(told.problem));
  send.disabled = Boolean(told.problem);
  send.querySelector("span").textContent = told.problem ? "Upload" : `Upload ${plural(found.rows, "row", "rows")}`;
}

function tell(text, isBad) {
  const said = find("#table-said");
  said.textContent = text;
  said.className = `small ${isBad ? "bad" : "muted"}`;
  target.table.setAttribute("aria-invalid", String(isBad));
  if (isBad) send.disabled = true;
}

function keys(told, wants) {
  const box = find(".key-choices"), heads = [...find("[data-rows]").querySelectorAll("thead th:not([data-out])")];
  const names = heads.map((head) => head.querySelector(".from")?.textContent ?? head.querySelector(".mono").textContent);
  const known = JSON.stringify([names, told.is_keyed]);
  if (box.dataset.known !== known) {
    box.dataset.known = known;
    box.replaceChildren(...names.map((name, at) => {
      const label = document.createElement("label"), check = document.createElement("input"), text = document.createElement("span");
      check.type = "checkbox";
      check.value = name;
      check.checked = told.is_keyed ? told.key.includes(name) : wants.key.includes(name);
      check.disabled = told.is_keyed;
      text.className = "mono cut";
      text.textContent = heads[at].querySelector(".mono").textContent;
      label.className = "choice";
      label.append(check, text);
      return label;
    }));
  }
  const canReplace = told.is_new || told.is_keyed;
  for (const radio of target.mode) radio.disabled = radio.value === "append" ? told.is_keyed : !canReplace;
  if (told.is_keyed || !canReplace) target.mode.value = told.is_keyed ? "upsert" : "append";
  find(".keys").hidden = target.mode.value !== "upsert";
}

function notes(told) {
  const box = find(".notes"), list = document.createElement("ul");
  for (const [column, said, isBad] of told.notes) {
    const item = document.createElement("li"), name = document.createElement("span");
    if (isBad) item.className = "warn";
    name.className = "mono";
    name.textContent = column;
    item.append(name, ` ${said}`);
    list.append(item);
  }
  if (told.is_there) {
    const item = document.createElement("li");
    item.className = "warn";
    item.textContent = "This file was uploaded to that table before. The rows of it that are there stay as they are, and are not added again.";
    list.prepend(item);
  }
  if (told.missing.length && !told.is_new && !told.problem) {
    const item = document.createElement("li");
    item.className = "muted";
    item.textContent = `The file lacks ${told.missing.slice(0, 12).join(", ")}${told.missing.length > 12 ? ` and ${told.missing.length - 12} more` : ""}: null in these rows.`;
    list.append(item);
  }
  box.replaceChildren(list);
  box.hidden = !list.childElementCount;
}

// ---- filing ----

target.addEventListener("submit", async (event) => {
  event.preventDefault();
  send.disabled = true;
  const mine = ++turn;
  try {
    await call("POST", `${current.id}/file`, order());
    if (mine === turn) await watch(mine);
  } catch (error) { if (mine === turn) { show(line, looked); tell(error.message, true); } }
});

function end(told) {
  if (told.state === "failed") {
    const queued = told.sent && told.sent.rows + told.sent.dead_letters;
    return fail(told.error, [told.hint, queued ? `${plural(told.sent.rows, "row is", "rows are")} queued; uploading the same file again adds nothing twice.` : ""].filter(Boolean).join("\n"), { keep: !told.table && current.format !== "parquet" && found !== null });
  }
  if (told.state === "ended") return fail("Cancelled.", told.sent?.rows ? `${plural(told.sent.rows, "row is", "rows are")} queued; uploading the same file again adds nothing twice.` : "");
  show(outcome);
  [find("[data-result]").textContent, find("[data-dead]").textContent] = whatBecame(told);
  for (const link of document.querySelectorAll("[data-link], [data-sql]")) link.hidden = told.became?.is_there === false;
  find("[data-link]").href = `${base}/catalogue/${told.table}`;
  find("[data-sql]").href = `${base}/sql?sql=${encodeURIComponent(`select * from ${told.table} limit 100`)}`;
  say(`${find("[data-result]").textContent} ${find("[data-dead]").textContent}`);
  outcome.focus();
  current = null; // it is filed: there is nothing to take back
}

// What is in the table now, and what became of the rest.
function whatBecame({ sent, became, table, is_keyed }) {
  if (!became) return [`${plural(sent.rows, "row", "rows")} of ${current.name} went into ${table}`, `How many of them are new could not be counted.${sent.dead_letters ? ` ${deadLetters(sent.dead_letters)}` : ""}`];
  const { rows } = became, dead = sent.dead_letters + became.dead_letters, rest = sent.rows - rows - became.dead_letters;
  const said = [];
  if (rest > 0 && !became.is_there) said.push(`${plural(rest, "row", "rows")} found no table: the schema has as many as it may have. They are in ${table.split(".")[0]}.other_events.`);
  else if (rest > 0 && is_keyed) said.push(`Of ${plural(rest, "row", "rows")} a later one has the same key, and took the place.`);
  else if (rest > 0) said.push(rest === sent.rows ? "The same file was uploaded before; nothing has changed." : `${plural(rest, "row", "rows")} had come before with the same file, and ${rest === 1 ? "is" : "are"} not added again.`);
  if (dead) said.push(deadLetters(dead));
  return [rows ? `${plural(rows, "row of", "rows of")} ${current.name} ${rows === 1 ? "is" : "are"} ${is_keyed ? "" : "new "}in ${table}` : `No row of ${current.name} is new in ${table}`, said.join("\n")];
}

const deadLetters = (count) => `${plural(count, "record is", "records are")} kept as dead letters: catchment dead-letters list`;

// ---- what people do ----

choices.addEventListener("change", () => { if (current) look(); });
choices.addEventListener("submit", (event) => event.preventDefault());
target.addEventListener("input", (event) => {
  if (!current || !found) return;
  send.disabled = true;
  find(".keys").hidden = target.mode.value !== "upsert";
  clearTimeout(typing);
  typing = setTimeout(fit, event.target === target.table ? 250 : 0);
});
find("[data-choose]").addEventListener("click", () => input.click());
input.addEventListener("change", () => choose(input.files[0]));
for (const button of document.querySelectorAll("[data-again]")) button.addEventListener("click", () => { forget(); show(drop); find("[data-choose]").focus(); });
find("[data-stop]").addEventListener("click", () => {
  if (current && found) { fetch(`${base}/upload/${current.id}`, { method: "DELETE" }).catch(() => {}); return; } // what it has come to is said
  forget();
  show(drop);
  find("[data-choose]").focus();
});
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (going.hidden) choose(event.dataTransfer.files[0]);
});
addEventListener("pagehide", () => { if (current && !found) forget(); });
