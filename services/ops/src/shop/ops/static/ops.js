"use strict";
/* Progressive enhancement: every page works without this file. */

/* Keys: / goes to the first field of a page, Escape leaves it. */
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape" && typing) typing.blur();
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector("main input:not([type=hidden]), main select");
  if (!field) return;
  event.preventDefault();
  field.focus();
});

/* Log lines of a service are read anew while they are followed; pausing keeps what is there. */
const FOLLOW_MS = 2000;
const follow = document.querySelector("[data-follow]");
let following = null;

async function refreshLog() {
  if (document.visibilityState !== "visible") return;
  const answer = await fetch(location.href);
  if (!answer.ok || answer.redirected) return pauseLog();
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("log");
  if (following && fresh) document.getElementById("log").replaceWith(fresh);
}

function pauseLog() {
  clearInterval(following);
  following = null;
  follow.textContent = "Follow";
  follow.setAttribute("aria-pressed", "false");
}

function followLog() {
  following = setInterval(() => refreshLog().catch(pauseLog), FOLLOW_MS);
  follow.textContent = "Pause";
  follow.setAttribute("aria-pressed", "true");
}

if (follow) {
  follow.hidden = false;
  follow.addEventListener("click", () => (following ? pauseLog() : followLog()));
}
