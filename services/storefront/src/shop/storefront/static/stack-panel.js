/* The parts of the page around the canvas of Stack: score, buttons, and the panels before, between and after rounds. */

export function make(tag, name, text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
}

function button(name, label, action) {
  const element = make("button", name, label);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

const ICONS = {
  pause: "M8 5v14M16 5v14",
  sound: "M4 9.5v5h3.5L12 18V6L7.500 9.5ZM15.5 9a4.5 4.5 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
  muted: "M4 9.5v5h3.5L12 18V6L7.500 9.5ZM16 9.5l5 5M21 9.5l-5 5",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/* Everything within `element`; `actions` are onPause and onSound. */
export class Frame {
  constructor(element, title, texts, actions) {
    this.texts = texts;
    this.root = make("div", "stack-game");
    this.stage = make("div", "stack-game-stage");
    this.stage.tabIndex = 0;
    this.stage.setAttribute("role", "group");
    this.stage.setAttribute("aria-label", `${title}. ${texts.how}`);
    this.canvas = make("canvas", "stack-game-canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.score = make("strong", "stack-game-score", "0");
    this.note = make("span", "stack-game-note");
    this.streak = make("span", "stack-game-streak");
    this.time = make("span", "stack-game-time");
    this.live = make("div", "hidden");
    this.live.setAttribute("aria-live", "polite");
    this.panel = make("div", "stack-game-panel");
    this.sound = button("stack-game-tool", "", actions.onSound);
    this.pause = button("stack-game-tool", "", actions.onPause);
    this.pause.append(icon("pause"));
    this.pause.setAttribute("aria-label", texts.pause);
    const numbers = make("div", "stack-game-numbers");
    numbers.setAttribute("aria-hidden", "true");
    numbers.append(this.score, this.note, this.streak);
    const tools = make("div", "stack-game-tools");
    tools.append(this.sound, this.pause);
    this.stage.append(this.canvas, this.time, numbers, tools, this.panel);
    this.root.append(this.stage, this.live);
    element.replaceChildren(this.root);
  }

  setSound(on) {
    this.sound.replaceChildren(icon(on ? "sound" : "muted"));
    this.sound.setAttribute("aria-label", on ? this.texts.soundOff : this.texts.soundOn);
  }

  setState(state) { this.root.dataset.state = state; }

  setScore(score, note) {
    this.score.textContent = String(score);
    this.note.textContent = note;
  }

  /* Shown again with each further perfect drop, so that it moves. */
  setStreak(text) {
    this.streak.textContent = text;
    this.streak.classList.remove("stack-game-streak-grown");
    if (!text) return;
    void this.streak.offsetWidth;
    this.streak.classList.add("stack-game-streak-grown");
  }

  /* The share of the time that is left. */
  setTime(share) { this.time.style.transform = `scaleX(${share.toFixed(3)})`; }

  say(text) { this.live.textContent = text; }

  hidePanel() {
    this.panel.hidden = true;
    this.panel.replaceChildren();
  }

  /* `lines` are elements; of `choices` ({ label, action, plain, href }) the first has the focus. */
  showPanel(heading, lines, choices) {
    const card = make("div", "stack-game-card");
    card.append(make("h2", "stack-game-heading", heading), ...lines);
    const row = make("div", "stack-game-choices");
    row.append(...choices.map(choice));
    card.append(row);
    this.panel.replaceChildren(card);
    this.panel.hidden = false;
    return row.firstElementChild;
  }
}

function choice({ label, action, plain, href }) {
  const name = plain ? "button plain" : "button";
  if (!href) return button(name, label, action);
  const link = make("a", name, label);
  link.href = href;
  return link;
}

export function line(text, name = "") { return make("p", `stack-game-line ${name}`.trim(), text); }

/* The numbers of an answer, side by side: [[label, value], ...]. */
export function figures(pairs) {
  const list = make("dl", "stack-game-figures");
  for (const [label, value] of pairs) {
    const pair = make("div");
    pair.append(make("dt", "", label), make("dd", "", String(value)));
    list.append(pair);
  }
  return list;
}
