"use strict";
/* The picture of the shop: what the server says of services, stores and flows is written into the drawing. */
const drawing = document.getElementById("picture");
const note = document.getElementById("live");

function number(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value >= 10 ? Math.round(value) : value.toFixed(1)} ms`;
}

function write(root, attribute, values) {
  for (const [key, text] of Object.entries(values)) {
    const place = root.querySelector(`[data-${attribute}="${key}"]`);
    if (place && place.textContent !== text) place.textContent = text;
  }
}

function waiting(node) {
  const parts = [[node.outbox, "in outbox"], [node.lag, "to process"], [node.dead, "dead"], [node.sagas, "sagas"]];
  return parts.filter(([count]) => count).map(([count, what]) => `${count} ${what}`).join(" · ");
}

function showNode(node) {
  const instances = `${node.up}/${node.instances.length}`;
  const box = drawing.querySelector(`[data-node="${node.noun}"]`);
  const row = document.querySelector(`[data-row="${node.noun}"]`);
  if (!box || !row) return;
  const errors = node.errors ? `${number(node.errors)} failed/s` : "";
  box.dataset.status = row.dataset.status = node.status;
  box.setAttribute("aria-label", `${node.noun}: ${node.status}, ${number(node.rate)} requests a second`);
  const latency = node.p50_ms === null ? "" : `p50 ${milliseconds(node.p50_ms)} · p99 ${milliseconds(node.p99_ms)}`;
  write(box, "value", { instances, rate: `${number(node.rate)} req/s`, errors, latency, queues: waiting(node) });
  write(row, "cell", {
    status: node.status, instances, rate: number(node.rate), errors: number(node.errors), p50: milliseconds(node.p50_ms),
    p99: milliseconds(node.p99_ms), outbox: number(node.outbox), lag: number(node.lag), dead: number(node.dead),
  });
}

function showFlow(flow) {
  const path = drawing.querySelector(`[data-flow="${flow.source} ${flow.target} ${flow.kind}"]`);
  if (!path) return;
  path.classList.toggle("busy", flow.rate > 0);
  path.classList.toggle("failing", flow.errors > 0);
  path.style.strokeWidth = String(1.2 + Math.min(5, Math.log2(1 + flow.rate)));
  const failed = flow.errors ? `, ${number(flow.errors)} failed` : "";
  const what = flow.kind === "call" ? "calls" : "events";
  path.querySelector("title").textContent = `${flow.source} → ${flow.target}: ${number(flow.rate)} ${what}/s${failed}`;
}

function show(picture) {
  picture.nodes.forEach(showNode);
  picture.flows.forEach(showFlow);
  for (const store of picture.stores) {
    const found = drawing.querySelector(`[data-store="${store.name}"]`);
    if (found) found.dataset.status = store.status;
  }
}

const BOX = "[data-node], [data-store]";

/* The arrows of the service under the pointer, or else of the one with the focus, stand out: a page that scrolls to what
   has the focus moves under the pointer. */
function single(event) {
  const focused = drawing.contains(document.activeElement) ? document.activeElement : drawing;
  const box = event.target.closest(BOX) || focused.closest(BOX);
  const name = box && (box.dataset.node || box.dataset.store);
  drawing.classList.toggle("one", Boolean(name));
  for (const path of drawing.querySelectorAll("[data-flow]")) {
    path.classList.toggle("chosen", Boolean(name) && path.dataset.flow.split(" ").slice(0, 2).includes(name));
  }
}

let source = null;

function connect() {
  if (source || document.visibilityState !== "visible") return;
  source = new EventSource(drawing.dataset.stream);
  source.addEventListener("picture", (event) => {
    show(JSON.parse(event.data));
    note.textContent = `As of ${new Date().toLocaleTimeString()}, every few seconds.`;
  });
  source.addEventListener("error", () => { note.textContent = "No news at the moment; trying again."; });
}

function disconnect() {
  if (source) source.close();
  source = null;
}

show(JSON.parse(document.getElementById("first").textContent));
for (const kind of ["pointerover", "focusin"]) drawing.addEventListener(kind, single);
for (const kind of ["pointerleave", "focusout"]) drawing.addEventListener(kind, () => single({ target: drawing }));
document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? connect() : disconnect()));
window.addEventListener("pagehide", disconnect);
window.addEventListener("pageshow", connect);
connect();
