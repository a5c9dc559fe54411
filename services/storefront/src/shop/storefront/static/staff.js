"use strict";
/* The kitchen's countdowns and sound, and the courier's position. The pages work without this file. */
const SOUND_KEY = "shop-kitchen-sound";
const SECOND_MS = 1000;
const MIN_FIX_MS = 1500;
const REPORT_MS = 20000;
const BEEP_S = 0.25;
const BEEP_HZ = 880;
const staff = { known: null, audio: null, watching: null, sentAt: -Infinity, last: null };

/* Time left to accept an order. */
function countDeadlines() {
  for (const left of document.querySelectorAll("[data-deadline]")) {
    const seconds = Math.max(0, Math.round((Date.parse(left.dataset.deadline) - Date.now()) / SECOND_MS));
    left.textContent = `(${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")})`;
  }
}

function tickets() { return new Set([...document.querySelectorAll("[data-ticket]")].map((one) => one.dataset.ticket)); }

function soundForNewTickets() {
  if (!document.getElementById("kitchen")) return;
  const shown = tickets();
  const fresh = staff.known && [...shown].some((one) => !staff.known.has(one));
  staff.known = shown;
  if (fresh && document.querySelector("[data-sound]").checked) beep();
}

function beep() {
  staff.audio ||= new AudioContext();
  const tone = staff.audio.createOscillator();
  tone.frequency.value = BEEP_HZ;
  tone.connect(staff.audio.destination);
  tone.start();
  tone.stop(staff.audio.currentTime + BEEP_S);
}

function prepareSound() {
  const choice = document.querySelector("[data-sound]");
  if (!choice) return;
  choice.closest("[data-sound-choice]").hidden = false;
  choice.checked = localStorage.getItem(SOUND_KEY) === "on";
  choice.addEventListener("change", () => {
    localStorage.setItem(SOUND_KEY, choice.checked ? "on" : "off");
    if (choice.checked) beep();
  });
}

function panel() { return document.querySelector("[data-position]"); }

function say(text) { document.getElementById("position-note").textContent = text; }

async function sendPosition(lat, lon) {
  staff.last = { lat, lon };
  if (performance.now() - staff.sentAt < MIN_FIX_MS) return;
  staff.sentAt = performance.now();
  const fields = { lat, lon, csrf_token: panel().querySelector("[name=csrf_token]").value };
  try {
    const answer = await fetch(panel().dataset.position, { method: "POST", body: new URLSearchParams(fields) });
    say(answer.ok ? "" : "Your position could not be sent. It is tried again with the next one.");
  } catch {
    say("There is no connection at the moment.");
  }
}

function share(wanted) {
  if (staff.watching !== null) navigator.geolocation.clearWatch(staff.watching);
  staff.watching = staff.last = null;
  if (!wanted) return;
  const options = { enableHighAccuracy: true, maximumAge: MIN_FIX_MS };
  const sent = (fix) => sendPosition(fix.coords.latitude, fix.coords.longitude);
  staff.watching = navigator.geolocation.watchPosition(sent, () => say("The browser does not say where you are."), options);
}

/* A tap on the map is a position, for a demonstration without walking. */
async function tap(event) {
  const map = event.target.closest("#courier [data-map]");
  if (!map || !panel()) return;
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
  const [a, b, c, d] = map.dataset.projection.split(" ").map(Number);
  await sendPosition((at.y - c) / d, (at.x - a) / b);
  htmx.ajax("GET", location.pathname, { target: "#courier", select: "#courier", swap: "outerMorph" });
}

document.addEventListener("DOMContentLoaded", () => {
  prepareSound();
  soundForNewTickets();
  countDeadlines();
  if (panel()) {
    panel().hidden = false;
    panel().querySelector("[data-share]").addEventListener("change", (event) => share(event.target.checked));
  }
});
document.addEventListener("htmx:after:swap", () => { countDeadlines(); soundForNewTickets(); });
document.addEventListener("click", tap);
setInterval(countDeadlines, SECOND_MS);
/* A courier who stands still is reported, too: an old position gets no delivery. */
setInterval(() => { if (staff.last && panel()) sendPosition(staff.last.lat, staff.last.lon); }, REPORT_MS);
