// Single keys, for those who look through lists. Everything works without them, and they
// can be switched off (WCAG 2.1.4), since some people speak their keys.
"use strict";

const dialog = document.getElementById("keys");
const opener = document.getElementById("keys-open");
const single = document.getElementById("keys-single");
const setting = "relay-single-keys";

// What a browser does not let pages store is on.
const stored = (value) => {
  try {
    if (value !== undefined) localStorage.setItem(setting, value);
    return localStorage.getItem(setting);
  } catch {
    return null;
  }
};
single.checked = stored() !== "off";
single.addEventListener("change", () => stored(single.checked ? "on" : "off"));
opener.addEventListener("click", () => dialog.showModal());
opener.parentElement.hidden = false;

// Each row is stood for by its first link, so that Enter opens it, and the focus is seen.
const move = (step) => {
  const links = [];
  for (const row of document.querySelectorAll("table.rows tbody tr")) {
    const link = row.querySelector("a[href]");
    if (link) links.push(link);
  }
  const row = document.activeElement?.closest("table.rows tbody tr");
  const at = row ? links.findIndex((link) => row.contains(link)) : -1;
  const next = at < 0 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1);
  links[next]?.focus();
};

const does = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => document.querySelector("form.filter input, form.filter select")?.focus(),
  "?": () => dialog.showModal(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (typing || dialog.open || !single.checked) return;
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
  if (!Object.hasOwn(does, event.key)) return;
  event.preventDefault(); // "/" is the browser's own search, too
  does[event.key]();
});
