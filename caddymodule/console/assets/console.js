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
