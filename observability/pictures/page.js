// Keeps the picture current and as wide as the window. Without it the page shows the picture as it was when it was opened.
"use strict";

const REFRESH_MS = 10_000;
const RESIZE_MS = 200;
const TIMEOUT_MS = 20_000;
const picture = document.getElementById("picture");
const state = document.getElementById("state");
let under_way = false;
let resized;

async function show() {
  if (under_way || document.hidden) return;
  under_way = true;
  try {
    const asked = new URLSearchParams(location.search);
    asked.set("width", String(picture.clientWidth));
    asked.set("zone", Intl.DateTimeFormat().resolvedOptions().timeZone);
    const answer = await fetch(`${location.pathname}/picture.svg?${asked}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    const drawn = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
    picture.replaceChildren(document.importNode(drawn, true));
    state.textContent = `as of ${new Date().toLocaleTimeString()}`;
    state.className = "";
  } catch (error) {
    state.textContent = `not current: ${error.message}`;
    state.className = "failed";
  } finally {
    under_way = false;
  }
}

for (const choice of document.querySelectorAll("select")) choice.addEventListener("change", () => choice.form.submit());
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(show, RESIZE_MS); });
document.addEventListener("visibilitychange", show);
setInterval(show, REFRESH_MS);
show();
