"use strict";
/* Live order status. A browser opens one stream for all its tabs: over HTTP/1.1 it has six connections per host, and
   every stream takes one. Hidden tabs have none; other visible tabs poll. */
const LOCK = "shop-order-stream";
const POLL_MS = 5000;
const live = { url: null, stop: null, retry: null };

function streamUrl() {
  const order = document.querySelector("[data-live]");
  return order && document.visibilityState === "visible" ? order.dataset.live : null;
}

function update() {
  const url = streamUrl();
  if (url === live.url) return;
  if (live.stop) live.stop();
  live.url = url;
  live.stop = url ? startStream(url) : null;
}

function stopStream() {
  if (live.stop) live.stop();
  live.url = live.stop = null;
}

/* Returns a function that stops it. Without the Locks API (plain HTTP) each visible page has its own stream. */
function startStream(url) {
  const ended = new AbortController();
  if (!navigator.locks) {
    openStream(url, ended.signal);
    return () => ended.abort();
  }
  const polling = setInterval(refreshOrder, POLL_MS);
  ended.signal.addEventListener("abort", () => clearInterval(polling));
  navigator.locks.request(LOCK, { signal: ended.signal }, () => {
    clearInterval(polling);
    return openStream(url, ended.signal);
  }).catch((error) => { if (error.name !== "AbortError") throw error; });
  return () => ended.abort();
}

function openStream(url, signal) {
  return new Promise((done) => {
    const source = new EventSource(url);
    source.addEventListener("state", onState);
    signal.addEventListener("abort", () => { source.close(); done(); });
  });
}

function onState(event) {
  const order = document.querySelector("[data-live]");
  if (order && JSON.parse(event.data).state !== order.dataset.state) refreshOrder();
}

/* htmx has one request at a time: what changes meanwhile is fetched by one more after it. */
function refreshOrder() {
  htmx.ajax("GET", location.pathname, { target: "#order", select: "#order", swap: "outerHTML" });
}

/* What could not be fetched is tried again. */
function retryLater() {
  clearTimeout(live.retry);
  live.retry = setTimeout(() => { if (live.url) refreshOrder(); }, POLL_MS);
}

document.addEventListener("DOMContentLoaded", update);
document.addEventListener("htmx:after:swap", update);
document.addEventListener("htmx:response:error", retryLater);
document.addEventListener("htmx:error", retryLater);
document.addEventListener("visibilitychange", update);
window.addEventListener("pagehide", stopStream);
window.addEventListener("pageshow", update);
