"use strict";
/* Progressive enhancement: every page works without this file. */

/* Selecting a saved address fills the address fields. */
function fillAddress(event) {
  const picker = event.target.closest("[data-addresses]");
  if (!picker || !picker.value) return;
  const address = JSON.parse(picker.selectedOptions[0].dataset.address);
  for (const [name, value] of Object.entries(address)) {
    const field = picker.form.elements[name];
    if (field) field.value = value;
  }
  picker.form.elements.country.dispatchEvent(new Event("change", { bubbles: true }));
}

/* A signed-in user's page from the back/forward cache is reloaded: the user may have signed out since. */
window.addEventListener("pageshow", (event) => {
  if (event.persisted && document.body.hasAttribute("data-personal")) location.reload();
});

/* An image that fails to load is removed, which shows its placeholder. */
function removeImage(image) {
  if (image instanceof HTMLImageElement && image.closest(".cover")) image.remove();
}

document.addEventListener("error", (event) => removeImage(event.target), true);
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".cover img").forEach((image) => {
    if (image.complete && !image.naturalWidth) removeImage(image);
  });
});

/* After a quantity change replaced the cart, the focus returns to its field, or to the heading if the line is gone. */
let focused = "";
document.addEventListener("htmx:before:swap", () => { focused = document.activeElement?.id || ""; });
document.addEventListener("htmx:after:swap", () => {
  if (!focused || document.activeElement !== document.body) return;
  (document.getElementById(focused) || document.getElementById("cart-title"))?.focus();
});

/* Another page in place of the selected part replaces nothing: after a redirect, such as to the sign-in page, the browser
   goes there, and an error is shown if it answers a form. */
function keepPart(event) {
  const { ctx, tasks } = event.detail;
  if (!ctx.select || tasks.some((task) => task.fragment?.childElementCount)) return;
  event.preventDefault();
  if (ctx.response.raw.redirected) return location.assign(ctx.response.raw.url);
  if (ctx.request.method !== "GET") showMain(ctx.text);
}

function showMain(text) {
  const main = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  document.querySelector("main").replaceWith(main);
  main.focus();
}

document.addEventListener("htmx:before:swap", keepPart);
document.addEventListener("change", fillAddress);
