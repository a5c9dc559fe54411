"use strict";
/* A part of the page (data-part, a selector) that is fetched anew every data-poll seconds while the tab is visible, and
   at once when it becomes visible again; one request at a time. */
const TICK_MS = 500;
const MS_PER_SECOND = 1000;
const poll = { at: performance.now(), running: false };

async function pollIfDue(now = false) {
  const shown = document.querySelector("[data-poll]");
  if (!shown || poll.running || document.visibilityState !== "visible") return;
  if (!now && performance.now() - poll.at < Number(shown.dataset.poll) * MS_PER_SECOND) return;
  poll.running = true;
  try {
    await htmx.ajax("GET", location.pathname, { target: shown.dataset.part, select: shown.dataset.part, swap: "outerMorph" });
  } finally {
    poll.running = false;
    poll.at = performance.now();
  }
}

setInterval(() => pollIfDue(), TICK_MS);
document.addEventListener("visibilitychange", () => pollIfDue(true));
