"use strict";
/* A page that is followed live: a food order, a kitchen, a courier's deliveries, a player's achievements. The element with data-track is fetched
   anew when something changed. The tabs of one browser that show the same thing (data-key) share one stream: one leads
   (Web Locks) and passes the events on (BroadcastChannel). A browser has six connections per host over HTTP/1.1, so at
   most MAX_STREAMS things have a stream; further tabs poll, and say so. Hidden tabs have no stream. Without Web Locks
   each visible tab has its own. */
const MAX_STREAMS = 3;
const POLL_MS = 5000;
const OPEN_TIMEOUT_MS = 8000;
const MAX_STEP_MS = 5000;
const MINUTE_MS = 60000;
const ETA_TICK_MS = 5000;
const track = { url: null, stop: null, channel: null, followed: null, lastId: "", moving: null, at: null, refreshed: 0, refreshing: false, again: false, retry: null };

function page() { return document.querySelector("[data-track]"); }

function update() {
  const shown = page();
  const url = shown && document.visibilityState === "visible" ? shown.dataset.track : null;
  if (url === track.url) return;
  stop();
  track.url = url;
  if (url && url !== track.followed) track.lastId = "";
  track.followed = url || track.followed;
  if (url) track.stop = start(url, shown.dataset.key);
}

function stop() {
  if (track.stop) track.stop();
  track.url = track.stop = null;
}

/* Returns a function that ends it. */
function start(url, key) {
  const ended = new AbortController();
  const signal = ended.signal;
  const channel = "BroadcastChannel" in window ? new BroadcastChannel(`shop-track-${key}`) : null;
  track.channel = channel;
  if (channel) channel.onmessage = (message) => apply(message.data);
  signal.addEventListener("abort", () => channel?.close());
  if (!navigator.locks) {
    stream(url, signal);
  } else {
    request(`shop-track-${key}`, signal, () => lead(url, signal));
  }
  return () => ended.abort();
}

function request(name, signal, held) {
  navigator.locks.request(name, { signal }, held).catch((error) => { if (error.name !== "AbortError") throw error; });
}

/* Leads the tabs of this order: with a stream, or by polling until one of the browser's places for a stream is free. */
async function lead(url, signal) {
  while (!signal.aborted) {
    if (await inFreePlace(signal, () => { note(false); return stream(url, signal); })) return;
    note(true);
    await pause(POLL_MS, signal);
    if (!signal.aborted) changed();
  }
}

/* False if there was none. */
async function inFreePlace(signal, act) {
  for (let place = 0; place < MAX_STREAMS && !signal.aborted; place++) {
    const taken = await navigator.locks.request(`shop-stream-${place}`, { ifAvailable: true }, async (lock) => {
      if (lock) await act();
      return Boolean(lock);
    });
    if (taken) return true;
  }
  return false;
}

function pause(ms, signal) {
  return new Promise((done) => { setTimeout(done, ms); signal.addEventListener("abort", done); });
}

/* Ends when `signal` aborts. A stream that does not open in time waits for a connection of the browser. */
function stream(url, signal) {
  return new Promise((done) => {
    const after = track.lastId ? `?after=${track.lastId}` : "";
    const source = new EventSource(url + after);
    const late = setInterval(() => {
      if (source.readyState === EventSource.OPEN) return;
      note(source.readyState === EventSource.CONNECTING);
      changed();
    }, OPEN_TIMEOUT_MS);
    source.addEventListener("open", () => note(false));
    for (const kind of ["state", "position", "ticket", "jobs", "unlocked"]) {
      source.addEventListener(kind, (event) => pass({ kind, id: event.lastEventId, data: JSON.parse(event.data) }));
    }
    signal.addEventListener("abort", () => { clearInterval(late); source.close(); done(); });
  });
}

/* To this tab and the others. */
function pass(event) {
  track.channel?.postMessage(event);
  apply(event);
}

function apply(event) {
  if (event.kind === "note") return note(event.shown, false);
  if (event.kind === "changed") return refresh();
  if (event.id) track.lastId = event.id;
  if (event.kind === "position") return move(event.data);
  if (event.kind === "state") return changeState(event.data);
  if (event.kind === "unlocked") document.dispatchEvent(new CustomEvent("shop:unlocked", { detail: event.data }));
  refresh();
}

/* An event that says what the page shows already, such as the first one of a stream, changes nothing but the ETA. */
function changeState(state) {
  const version = state.version === undefined ? state.state : `${state.version} ${state.kitchen ?? ""}`;
  if (page() && version !== page().dataset.version) return refresh();
  setEta(state.eta);
}

function changed() { pass({ kind: "changed" }); }

function note(shown, told = true) {
  const line = document.getElementById("stream-note");
  if (line && line.hidden === shown) line.hidden = !shown;
  if (told) track.channel?.postMessage({ kind: "note", shown });
}

/* For what a new page should have brought already. */
function refreshSparingly() {
  if (performance.now() - track.refreshed > POLL_MS) refresh();
  else retryLater();
}

/* What could not be fetched, or was fetched just before. */
function retryLater() {
  clearTimeout(track.retry);
  track.retry = setTimeout(() => { if (track.url) refresh(); }, POLL_MS);
}

/* One request at a time; what changes meanwhile is fetched by another one after it. */
async function refresh() {
  track.again = track.refreshing;
  if (track.refreshing || !page()) return;
  track.refreshing = true;
  do {
    track.again = false;
    track.refreshed = performance.now();
    const target = `#${page().id}`;
    await htmx.ajax("GET", location.pathname, { target, select: target, swap: "outerMorph" });
  } while (track.again && page());
  track.refreshing = false;
}

/* The courier moves to a new position within the time since the one before it. */
function move(position) {
  setEta(position.eta);
  const map = document.querySelector("[data-map]");
  const courier = map?.querySelector("[data-marker=courier]");
  if (!courier) return refreshSparingly();
  const [a, b, c, d] = map.dataset.projection.split(" ").map(Number);
  const target = { x: a + b * position.lon, y: c + d * position.lat };
  if (!shows(map, target)) refreshSparingly();
  const now = performance.now();
  const duration = Math.min(MAX_STEP_MS, track.at ? now - track.at : 0);
  track.at = now;
  glide(courier, target, matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : duration);
}

/* A position outside the part of the town that is drawn needs another part. */
function shows(map, at) {
  const { x, y, width, height } = map.viewBox.baseVal;
  return at.x >= x && at.x <= x + width && at.y >= y && at.y <= y + height;
}

function glide(courier, target, duration) {
  cancelAnimationFrame(track.moving);
  const [, x, y, scale] = courier.getAttribute("transform").match(/translate\(([-\d.]+) ([-\d.]+)\) scale\(([\d.]+)\)/);
  const begun = performance.now();
  const step = (now) => {
    const part = duration ? Math.min(1, (now - begun) / duration) : 1;
    const at = (from, to) => (Number(from) + (to - from) * part).toFixed(1);
    courier.setAttribute("transform", `translate(${at(x, target.x)} ${at(y, target.y)}) scale(${scale})`);
    if (part < 1) track.moving = requestAnimationFrame(step);
  };
  step(begun);
}

function setEta(eta) {
  const shown = document.getElementById("eta");
  if (!shown || !eta) return;
  shown.dataset.eta = eta;
  countDown();
}

/* Only a changed minute is written, because it is announced. */
function countDown() {
  const eta = document.getElementById("eta");
  if (!eta) return;
  const minutes = Math.ceil((Date.parse(eta.dataset.eta) - Date.now()) / MINUTE_MS);
  const text = minutes > 0 ? `${minutes} min` : "Any moment now";
  const shown = eta.querySelector("[data-minutes]");
  if (shown.textContent !== text) shown.textContent = text;
}

document.addEventListener("DOMContentLoaded", () => { update(); countDown(); });
document.addEventListener("htmx:after:swap", () => { update(); countDown(); });
document.addEventListener("htmx:response:error", retryLater);
document.addEventListener("htmx:error", retryLater);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && page()) refresh();
  update();
});
window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", update);
setInterval(countDown, ETA_TICK_MS);
/* What a restaurant says of an order that is not confirmed yet is no event of the order. */
setInterval(() => { if (track.url && page()?.dataset.state === "pending") refresh(); }, POLL_MS);
