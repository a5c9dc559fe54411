/* The arcade's page: mounts the game, posts its rounds, and keeps board, level and achievements beside it up to date.
   Boards and profiles work without this file. */
import { mountStack } from "./stack.js";

const STANDINGS_MS = 15000;
const MAX_NEWS = 4;
const SEED_LIMIT = 2 ** 32;
const OFFLINE = "There is no connection at the moment. Nothing is lost; please try again.";
const RELOAD = "This page is out of date. Please reload it.";
const announced = new Set();

const stage = document.getElementById("stack-game");
const news = document.getElementById("news");

class Refusal extends Error {
  constructor({ code, message, retryable }) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }
}

/* An answer that is not JSON is a page, such as the one that says that a form has expired. */
async function post(path, fields) {
  const body = new URLSearchParams({ ...fields, csrf_token: document.querySelector(".play > [name=csrf_token]").value });
  let answer;
  try {
    answer = await fetch(path, { method: "POST", body });
  } catch {
    throw new Refusal({ code: "offline", message: OFFLINE, retryable: true });
  }
  const isJson = (answer.headers.get("content-type") || "").startsWith("application/json");
  if (!isJson) throw new Refusal({ code: "page_expired", message: RELOAD, retryable: false });
  const content = await answer.json();
  if (!answer.ok) throw new Refusal(content);
  return content;
}

async function openSession() {
  if ("signedIn" in stage.dataset) return post(`/arcade/${stage.dataset.game}/sessions`, {});
  return { seed: crypto.getRandomValues(new Uint32Array(1))[0] % SEED_LIMIT, unkept: true };
}

function postResult(session, moves) {
  const path = `/arcade/${stage.dataset.game}/sessions/${session.id}/result`;
  return post(path, { token: session.token, moves: moves.join(",") });
}

function tell(text) {
  const line = document.createElement("p");
  line.textContent = text;
  news.append(line);
  while (news.childElementCount > MAX_NEWS) news.firstElementChild.remove();
}

/* Once, whether the round's answer or the stream brings it first. */
function announce(achievement) {
  if (announced.has(achievement.code)) return;
  announced.add(achievement.code);
  tell(`Achievement unlocked: ${achievement.name}${achievement.xp ? ` (+${achievement.xp} XP)` : ""}`);
}

function onEvent(name, detail) {
  if (name !== "posted") return;
  const { answer } = detail;
  for (const achievement of answer.unlocked) announce(achievement);
  if (answer.coupon) tell(`You won a coupon: ${answer.coupon.code} takes ${answer.coupon.percent}% off one order.`);
  refreshStandings();
  refreshProgress();
}

function fetchPart(url, target) {
  return htmx.ajax("GET", url, { target, select: target, swap: "outerMorph" });
}

function refreshStandings() {
  const shown = document.getElementById("standings");
  if (shown) fetchPart(shown.dataset.refresh, "#standings");
}

function refreshProgress() { fetchPart(location.pathname, "#progress"); }

/* Another board is shown without leaving the page, where a round may be under way. */
function chooseBoard(event) {
  const tab = event.target.closest("[data-board]");
  if (!tab || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  fetchPart(tab.dataset.board, "#standings");
}

function options() {
  const { title, theme, titles, rules, best, signedIn } = stage.dataset;
  return {
    title, theme, titles: JSON.parse(titles), rules: JSON.parse(rules), best: best ? Number(best) : null,
    signInUrl: signedIn === undefined ? "/sign-in?next=/arcade" : undefined, openSession, postResult, onEvent,
  };
}

document.addEventListener("click", chooseBoard);
document.addEventListener("shop:unlocked", (event) => announce(event.detail));
setInterval(() => { if (document.visibilityState === "visible") refreshStandings(); }, STANDINGS_MS);
mountStack(stage, options());
