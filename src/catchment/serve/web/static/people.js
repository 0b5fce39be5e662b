// One's own account, and for admins everybody's.

import { json, request } from "./server.js";

const { api, account } = document.body.dataset;
const say = (text, tone = "") => { const box = document.getElementById("outcome"); box.textContent = text; box.className = `notice ${tone}`; box.hidden = !text; };

async function call(method, path, body) {
  try {
    return await json(await request(path, { method, body }));
  } catch (error) {
    say([error.message, error.told?.hint].filter(Boolean).join(": "), "amber");
    return null;
  }
}

document.querySelector(".invite")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(event.target));
  form.groups = form.groups.split(",").map((each) => each.trim()).filter(Boolean);
  const told = await call("POST", api, form);
  if (told) { event.target.reset(); say(`Send this link to ${form.email}; it works once: ${told.link ?? told.url}`); }
});
for (const row of document.querySelectorAll("tr[data-email]")) {
  const one = `${api}/${encodeURIComponent(row.dataset.email)}`;
  row.querySelector("[data-role]").onchange = async (event) => { if (await call("PATCH", one, { role: event.target.value })) say(`${row.dataset.email} is ${event.target.value} now.`); };
  for (const button of row.querySelectorAll("[data-call]"))
    button.onclick = async () => {
      const told = await call("POST", `${one}/${button.dataset.call}`, {});
      if (!told) return;
      if (button.dataset.call === "reset") say(`Send this link to ${row.dataset.email}; it works once: ${told.link ?? told.url}`);
      else location.reload();
    };
}
document.querySelector(".token")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, role, days } = Object.fromEntries(new FormData(event.target));
  const told = await call("POST", `${account}/tokens`, { name, role, days: days ? Number(days) : null });
  if (told) say(`Your token, shown this once: ${told.secret ?? told.token}`);
});
for (const row of document.querySelectorAll("tr[data-token]"))
  row.querySelector("[data-end]").onclick = async () => { if (await call("DELETE", `${account}/tokens/${row.dataset.token}`)) row.remove(); };
document.querySelector("form.password")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await call("POST", `${account}/password`, Object.fromEntries(new FormData(event.target)))) { event.target.reset(); say("Your password is changed."); }
});
const others = document.querySelector("[data-sessions]");
if (others) others.onclick = async () => { const told = await call("DELETE", `${account}/sessions`); if (told) say(`${told.ended} signed out.`); };
