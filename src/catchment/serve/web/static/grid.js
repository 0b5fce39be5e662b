// A grid of very many rows: only those in sight are in the page.

const ROW = 30;
const MOST_PX = 8_000_000; // browsers have no taller elements

export class Grid {
  constructor(box) {
    this.box = box;
    box.innerHTML = '<table class="grid-table" role="grid"><thead></thead><tbody></tbody></table>';
    this.box.addEventListener("scroll", () => this.paint(), { passive: true });
    new ResizeObserver(() => this.paint()).observe(box);
    this.clear();
  }

  clear() { this.columns = []; this.rows = []; this.paint(); }

  begin(columns) {
    this.columns = columns;
    this.rows = [];
    this.box.scrollTop = 0;
    const head = this.box.querySelector("thead");
    head.innerHTML = "";
    if (!columns.length) return; // nothing was asked yet
    const row = head.insertRow();
    row.append(document.createElement("th"));
    for (const { name, type, right } of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (right) cell.className = "right";
      const small = document.createElement("small");
      small.textContent = type;
      cell.append(name, small);
      row.append(cell);
    }
  }

  add(rows) { for (const row of rows) this.rows.push(row); this.paint(); }

  paint() {
    const body = this.box.querySelector("tbody"), count = this.rows.length;
    const height = Math.min(count * ROW, MOST_PX), scale = count * ROW > MOST_PX ? (count * ROW) / MOST_PX : 1;
    const first = Math.max(0, Math.floor((this.box.scrollTop * scale) / ROW) - 10);
    const last = Math.min(count, first + Math.ceil(this.box.clientHeight / ROW) + 20);
    const top = Math.min((first * ROW) / scale, Math.max(0, height - (last - first) * ROW));
    const parts = [space(top)];
    for (let at = first; at < last; at++) parts.push(this.row(at));
    parts.push(space(Math.max(0, height - top - (last - first) * ROW)));
    body.replaceChildren(...parts);
    this.box.querySelector("table").setAttribute("aria-rowcount", String(count));
  }

  row(at) {
    const row = document.createElement("tr");
    row.setAttribute("aria-rowindex", String(at + 1));
    const number = row.insertCell();
    number.className = "at";
    number.textContent = (at + 1).toLocaleString("en");
    this.rows[at].forEach((value, column) => {
      const cell = row.insertCell();
      if (value === null) { cell.textContent = "null"; cell.className = "null"; }
      else cell.textContent = value;
      if (this.columns[column].right) cell.classList.add("right");
    });
    return row;
  }
}

function space(height) {
  const row = document.createElement("tr");
  row.className = "space";
  row.style.height = `${height}px`;
  row.setAttribute("aria-hidden", "true");
  return row;
}
