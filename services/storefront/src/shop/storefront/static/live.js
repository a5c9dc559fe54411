"use strict";
/* An order's page follows its states. A browser has one stream for all its tabs and windows: over HTTP/1.1 it has six
   connections to a shop, and every stream takes one. A hidden tab has none; a visible one beside the one that has the
   stream looks now and then. */
const LOCK = "shop-order-stream";
const LOOK_MS = 5000;
const live = { url: null, stop: null };

function wanted() {
  const order = document.querySelector("[data-live]");
  return order && document.visibilityState === "visible" ? order.dataset.live : null;
}

function listen() {
  const url = wanted();
  if (url === live.url) return;
  if (live.stop) live.stop();
  live.url = url;
  live.stop = url ? follow(url) : null;
}

function stopListening() {
  if (live.stop) live.stop();
  live.url = live.stop = null;
}

/* Returns what ends it. Without locks (plain HTTP to another machine) each visible page has its stream. */
function follow(url) {
  const ended = new AbortController();
  if (!navigator.locks) {
    openStream(url, ended.signal);
    return () => ended.abort();
  }
  const looking = setInterval(look, LOOK_MS);
  ended.signal.addEventListener("abort", () => clearInterval(looking));
  navigator.locks.request(LOCK, { signal: ended.signal }, () => {
    clearInterval(looking);
    return openStream(url, ended.signal);
  }).catch((error) => { if (error.name !== "AbortError") throw error; });
  return () => ended.abort();
}

function openStream(url, signal) {
  return new Promise((done) => {
    const source = new EventSource(url);
    source.addEventListener("state", showState);
    signal.addEventListener("abort", () => { source.close(); done(); });
  });
}

function showState(event) {
  const order = document.querySelector("[data-live]");
  if (order && JSON.parse(event.data).state !== order.dataset.state) look();
}

function look() {
  htmx.ajax("GET", location.pathname, { target: "#order", select: "#order", swap: "outerHTML" });
}

document.addEventListener("DOMContentLoaded", listen);
document.addEventListener("htmx:after:swap", listen);
document.addEventListener("visibilitychange", listen);
window.addEventListener("pagehide", stopListening);
window.addEventListener("pageshow", listen);
