// An editor of text: a textarea with its colours painted behind it, completion at the caret, and marks at lines.

const SQL = /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:''|[^'])*(?:'|$))|("(?:""|[^"])*(?:"|$))|(\$\w+(?:\.\w+)?)|\b(\d+(?:\.\d+)?)\b|\b(select|from|where|and|or|not|in|is|null|as|on|join|left|right|inner|outer|full|cross|using|group|by|order|having|limit|offset|with|union|all|distinct|case|when|then|else|end|between|like|ilike|exists|over|partition|filter|asc|desc|interval|true|false|recursive|values|explain|qualify|window|intersect|except)\b/gi;
const NAMES = ["comment", "string", "quoted", "filter", "number", "keyword"];

const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

/** SQL as HTML with its words in colour. */
export function paintSql(text) {
  let html = "", at = 0;
  for (const match of text.matchAll(SQL)) {
    const kind = NAMES[match.slice(1).findIndex((group) => group !== undefined)];
    html += escaped(text.slice(at, match.index)) + `<i class="${kind}">${escaped(match[0])}</i>`;
    at = match.index + match[0].length;
  }
  return html + escaped(text.slice(at));
}

/** A dashboard's file: front matter, prose, fences of SQL. */
export function paintBoard(text) {
  const parts = text.split(/^(```[^\n]*)$/m);
  let html = "", inside = false;
  for (const part of parts) {
    if (part.startsWith("```")) { inside = !inside; html += `<i class="comment">${escaped(part)}</i>`; }
    else if (inside) html += paintSql(part);
    else html += escaped(part).replace(/^(---)$/gm, '<i class="comment">$1</i>').replace(/^(\s*[\w-]+)(:)/gm, '<i class="keyword">$1</i>$2')
      .replace(/(\*\*[^*\n]+\*\*)/g, '<i class="strong">$1</i>').replace(/^(#+ .*)$/gm, '<i class="strong">$1</i>');
  }
  return html;
}

const LINE = 20;

export class Code {
  /** `paint` makes HTML of the text, `complete` resolves to {start, end, suggestions} for (text, offset); its places
   *  count characters, where the browser counts some, such as emoji, twice. */
  constructor(box, { paint, complete, changed = () => {}, run = () => {}, save = () => {} }) {
    this.box = box;
    this.options = { paint, complete, changed, run, save };
    box.innerHTML = '<div class="gutter" aria-hidden="true"></div><div class="sheet"><pre class="paint" aria-hidden="true"></pre></div>';
    this.sheet = box.querySelector(".sheet");
    this.area = document.createElement("textarea");
    Object.assign(this.area, { spellcheck: false, autocapitalize: "off", autocomplete: "off", wrap: "off" });
    this.area.setAttribute("aria-label", box.dataset.label);
    this.sheet.append(this.area);
    this.menu = document.createElement("ul");
    this.menu.className = "complete";
    this.menu.hidden = true;
    this.menu.setAttribute("role", "listbox");
    this.sheet.append(this.menu);
    this.marks = new Map();
    this.area.addEventListener("input", () => { this.refresh(); changed(this.text); this.ask(false); });
    this.area.addEventListener("keydown", (event) => this.key(event));
    this.area.addEventListener("blur", () => setTimeout(() => this.close(), 120));
    this.area.addEventListener("click", () => this.close());
    const probe = document.createElement("span");
    probe.textContent = "0".repeat(50);
    this.sheet.querySelector("pre").append(probe);
    this.advance = probe.getBoundingClientRect().width / 50 || 7.5;
    this.refresh();
  }

  get text() { return this.area.value; }
  set text(value) { this.area.value = value; this.marks.clear(); this.refresh(); }
  get selection() { return this.text.slice(this.area.selectionStart, this.area.selectionEnd); }
  get line() { return this.text.slice(0, this.area.selectionStart).split("\n").length; }

  refresh() {
    const lines = this.text.split("\n");
    const painted = this.options.paint(this.text).split("\n");
    this.sheet.querySelector("pre").innerHTML = painted.join("\n") + "\n";
    this.box.querySelector(".gutter").innerHTML = lines
      .map((_, at) => `<span${this.marks.has(at + 1) ? ' class="wrong"' : ""}>${at + 1}</span>`).join("");
    const longest = Math.max(...lines.map((line) => line.length));
    this.area.style.height = `${lines.length * LINE + 40}px`;
    this.area.style.width = `max(100%, ${Math.ceil((longest + 4) * this.advance)}px)`;
    for (const old of this.sheet.querySelectorAll(".lens")) old.remove();
    for (const [line, words] of this.marks) {
      const lens = document.createElement("div");
      lens.className = "lens";
      lens.style.top = `${line * LINE}px`;
      lens.textContent = words;
      this.sheet.append(lens);
    }
  }

  /** Mark lines as wrong: a map of line to words. */
  mark(marks) { this.marks = marks; this.refresh(); }

  goTo(line, column = 1) {
    const lines = this.text.split("\n");
    const offset = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0) + column - 1;
    this.area.focus();
    this.area.setSelectionRange(offset, offset);
    this.box.scrollTop = Math.max(0, (line - 5) * LINE);
  }

  insert(text, start = this.area.selectionStart, end = this.area.selectionEnd) {
    this.area.setRangeText(text, start, end, "end");
    this.refresh();
    this.options.changed(this.text);
  }

  key(event) {
    const { key, ctrlKey, metaKey } = event;
    if (!this.menu.hidden && !ctrlKey && !metaKey) {
      if (key === "ArrowDown" || key === "ArrowUp") { event.preventDefault(); return this.move(key === "ArrowDown" ? 1 : -1); }
      if (key === "Enter" || key === "Tab") { event.preventDefault(); return this.take(); }
      if (key === "Escape") { event.preventDefault(); event.stopPropagation(); return this.close(); }
    }
    if ((ctrlKey || metaKey) && key === "Enter") { event.preventDefault(); this.close(); return this.options.run(); }
    if ((ctrlKey || metaKey) && key === "s") { event.preventDefault(); return this.options.save(); }
    if (ctrlKey && key === " ") { event.preventDefault(); return this.ask(true); }
    if ((ctrlKey || metaKey) && key === "/") { event.preventDefault(); return this.comment(); }
    if (key === "Tab" && !event.shiftKey) { event.preventDefault(); return this.insert("  "); }
    if (key === "Escape") return this.area.blur(); // so that Tab can leave the editor
  }

  comment() {
    const start = this.text.lastIndexOf("\n", this.area.selectionStart - 1) + 1;
    const has = this.text.slice(start, start + 3) === "-- ";
    this.insert(has ? "" : "-- ", start, has ? start + 3 : start);
  }

  ask(wanted) {
    clearTimeout(this.asking);
    const offset = this.area.selectionStart, before = this.text[offset - 1] ?? "";
    if (!wanted && !/[\w.$]/.test(before)) return this.close();
    this.asking = setTimeout(async () => {
      const text = this.text, found = await this.options.complete(text, [...text.slice(0, offset)].length).catch(() => null);
      if (!found) return this.close(); // nothing is said of it to who goes on typing
      if (offset !== this.area.selectionStart || document.activeElement !== this.area) return;
      const units = (characters) => [...text].slice(0, characters).join("").length;
      this.offer({ ...found, start: units(found.start), end: units(found.end) }, wanted);
    }, wanted ? 0 : 50);
  }

  offer(found, wanted) {
    const typed = this.text.slice(found.start, found.end);
    const list = found.suggestions.filter((each) => wanted || each.text !== typed).slice(0, 12);
    if (!list.length || (!wanted && list.length === 1 && list[0].label.toLowerCase() === typed.toLowerCase())) return this.close();
    this.found = { ...found, list };
    this.chosen = 0;
    this.menu.replaceChildren(...list.map((each, at) => {
      const item = document.createElement("li");
      item.setAttribute("role", "option");
      item.innerHTML = `<b>${escaped(each.label)}</b><span>${escaped(each.detail || each.kind)}</span>`;
      item.onmousedown = (event) => { event.preventDefault(); this.chosen = at; this.take(); };
      return item;
    }));
    this.menu.hidden = false;
    const lines = this.text.slice(0, found.start).split("\n");
    this.menu.style.top = `${lines.length * LINE + 8}px`;
    const room = this.box.scrollLeft + this.box.clientWidth - this.sheet.offsetLeft - this.menu.offsetWidth - 8;
    this.menu.style.left = `${Math.max(0, Math.min(lines[lines.length - 1].length * this.advance, room))}px`;
    this.move(0);
  }

  move(by) {
    const items = [...this.menu.children];
    this.chosen = (this.chosen + by + items.length) % items.length;
    items.forEach((item, at) => item.setAttribute("aria-selected", String(at === this.chosen)));
    items[this.chosen].scrollIntoView({ block: "nearest" });
  }

  take() {
    const { start, list } = this.found;
    this.insert(list[this.chosen].text, start, this.area.selectionStart);
    this.close();
  }

  close() { this.menu.hidden = true; }
}
