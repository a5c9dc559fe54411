"use strict";
/* Forms of the food pages; every page works without this file. */

/* A street is suggested with the number that was typed before it: "12 Mi" finds "12 Mill Lane". */
const MAX_STREETS = 400;

function suggestWithNumber(field) {
  const list = field.list;
  if (!list || !("streets" in list.dataset)) return;
  const number = (field.value.match(/^\s*(\d{1,4}\s?[a-z]?)\s+/i) || ["", ""])[1];
  if ((list.dataset.number || "") === number) return;
  list.dataset.number = number;
  for (const option of [...list.options].slice(0, MAX_STREETS)) {
    option.dataset.street ||= option.value;
    option.value = number ? `${number} ${option.dataset.street}` : option.dataset.street;
  }
}

/* The field of another tip is shown when it is chosen. */
function showTipField() {
  const other = document.querySelector("[data-other-tip]");
  document.querySelector(".tip-amount")?.classList.toggle("unused", !other?.checked);
}

document.documentElement.classList.add("js");
document.addEventListener("input", (event) => { if (event.target.list) suggestWithNumber(event.target); });
document.addEventListener("change", (event) => { if (event.target.name === "tip") showTipField(); });
document.addEventListener("DOMContentLoaded", showTipField);
