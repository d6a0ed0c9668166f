// What the pages do beyond links and forms. Everything works without it.
"use strict";

// Times are UTC; the reader's own zone stands in their titles.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) {
    time.title = time.title + "\n" + at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  }
}

// Blocks to be copied get a button.
for (const block of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break; // only in secure contexts
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy secondary outline";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.before(button);
}

// A list that is followed live can be paused: what comes meanwhile is kept, and counted.
const live = document.getElementById("live");
if (live) {
  const most = 500; // rows
  const rows = document.getElementById("rows");
  const status = document.getElementById("live-status");
  const pause = document.getElementById("live-pause");
  const going = status.textContent;
  let held = null; // while it is paused
  const trim = () => { while (rows.rows.length > most) rows.deleteRow(-1); };
  live.addEventListener("htmx:sse:before:message", (event) => {
    const message = event.detail.message;
    if (held === null || message.event) return;
    event.preventDefault();
    if (held.push(message.data) > most) held.shift();
    status.textContent = `Paused, ${held.length} new`;
  });
  live.addEventListener("htmx:sse:after:message", trim);
  live.addEventListener("missed", (event) => {
    status.textContent = `More happened than could be shown. ${event.detail.data}`;
  });
  pause.hidden = false;
  pause.addEventListener("click", () => {
    if (held === null) {
      held = [];
      status.textContent = "Paused, 0 new";
      pause.textContent = "Go on";
      return;
    }
    for (const row of held) rows.insertAdjacentHTML("afterbegin", row);
    trim();
    held = null;
    status.textContent = going;
    pause.textContent = "Pause";
  });
}
