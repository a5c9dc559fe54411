"use strict";
/* The live parts; every page works without this file. */

/* Choosing a saved address fills the fields below it. */
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

/* A signed-in person's page that the browser kept is asked for again: somebody else may sit there by now. */
window.addEventListener("pageshow", (event) => {
  if (event.persisted && document.body.hasAttribute("data-personal")) location.reload();
});

/* A picture that does not come leaves its drawn placeholder. */
function dropPicture(picture) {
  if (picture instanceof HTMLImageElement && picture.closest(".cover")) picture.remove();
}

document.addEventListener("error", (event) => dropPicture(event.target), true);
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".cover img").forEach((picture) => {
    if (picture.complete && !picture.naturalWidth) dropPicture(picture);
  });
});

/* A changed quantity comes back as a new cart: the focus stays in its field, or goes to the heading of an emptied line. */
let focused = "";
document.addEventListener("htmx:before:swap", () => { focused = document.activeElement?.id || ""; });
document.addEventListener("htmx:after:swap", () => {
  if (!focused || document.activeElement !== document.body) return;
  (document.getElementById(focused) || document.getElementById("cart-title"))?.focus();
});

document.addEventListener("change", fillAddress);
