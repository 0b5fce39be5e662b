// What every page has: the search over everything, the theme, and menus that close.

const finder = document.getElementById("finder");
const input = finder?.querySelector("input");
let waiting;

function find() {
  finder.showModal();
  input.select();
  search();
}

async function search() {
  const began = performance.now();
  const answer = await fetch(`${finder.dataset.search}?q=${encodeURIComponent(input.value)}`);
  if (!answer.ok) return;
  const html = await answer.text();
  finder.querySelector(".choices").innerHTML = html;
  finder.querySelector(".time").textContent = `${Math.round(performance.now() - began)} ms`;
}

document.querySelector(".find")?.addEventListener("click", find);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select, [contenteditable]");
  if ((event.key === "/" && !typing) || (event.key === "k" && (event.metaKey || event.ctrlKey))) {
    event.preventDefault();
    if (finder && !finder.open) find();
  }
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
});
input?.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 40); });
finder?.addEventListener("keydown", (event) => {
  const links = [...finder.querySelectorAll(".choices a")];
  const at = links.indexOf(document.activeElement);
  if (event.key === "ArrowDown") { event.preventDefault(); links[Math.min(at + 1, links.length - 1)]?.focus(); }
  if (event.key === "ArrowUp") { event.preventDefault(); (at > 0 ? links[at - 1] : input).focus(); }
  if (event.key === "Enter" && document.activeElement === input) { event.preventDefault(); links[0]?.click(); }
});
finder?.addEventListener("click", (event) => { if (event.target === finder) finder.close(); });

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const choice = event.target.closest("[data-theme-choice]");
  if (choice) setTheme(choice.dataset.themeChoice);
  const star = event.target.closest(".star");
  if (star) favour(star);
  const print = event.target.closest("[data-print]");
  if (print) window.print();
  const share = event.target.closest("[data-share]");
  if (share) navigator.clipboard?.writeText(location.href).then(() => { share.textContent = "Link copied"; setTimeout(() => { share.textContent = "Share"; }, 2000); });
});

function setTheme(theme) {
  if (theme === "system") { delete document.documentElement.dataset.theme; document.cookie = "theme=; path=/; max-age=0; samesite=lax"; }
  else { document.documentElement.dataset.theme = theme; document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`; }
  dispatchEvent(new Event("themechange"));
}

async function favour(star) {
  const on = star.getAttribute("aria-pressed") !== "true";
  const answer = await fetch(star.dataset.href, { method: on ? "PUT" : "DELETE" });
  if (answer.ok) star.setAttribute("aria-pressed", String(on));
}
