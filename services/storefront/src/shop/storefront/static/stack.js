/* Stack, a game of one button, in any element of a page: the arcade mounts it. The server deals the seed and computes
   the score from the ticks of the presses (stack-rules.js). */
import { Frame, figures, line } from "./stack-panel.js";
import { TITLES } from "./stack-pieces.js";
import { Results, isFinal } from "./stack-results.js";
import { Round } from "./stack-rules.js";
import { Sound } from "./stack-sound.js";
import { TEXTS, fill } from "./stack-texts.js";
import { View } from "./stack-view.js";

const MOST_TICKS_A_FRAME = 4; /* after a longer pause, such as of a busy browser, the game does not jump */
const ENDING_MS = 1300;
const DEMO_SEED = 20;
const ANNOUNCED_EACH = 5;
const STILL = "(prefers-reduced-motion: reduce)";
const DARK = "(prefers-color-scheme: dark)";
const KEYS = new Set(["Space", "Enter", "NumpadEnter"]);

/* Mounts the game in `element`. Options: rules (of shop.games), title, theme ("books" or other), titles?, messages?,
   best?, signInUrl?; openSession() -> { id, seed, token, expires_at } or { seed, unkept: true } for a round that is not
   saved; postResult(session, moves) -> the shop's answer. Both reject with an Error whose message is for the player,
   with a `code` and `retryable: false` where it is no use to try again. onEvent(name, detail) is called for "started"
   { session }, "ended" { score, statistics } and "posted" { answer }. Returns { destroy }. */
export function mountStack(element, options) {
  const game = new StackGame(element, options);
  return { destroy: () => game.destroy() };
}

class StackGame {
  constructor(element, options) {
    this.options = { theme: "books", best: null, onEvent: () => {}, ...options };
    this.texts = { ...TEXTS, ...options.messages };
    this.rules = options.rules;
    this.tickMs = 1000 / this.rules.ticks_per_second;
    this.results = new Results(options.postResult);
    this.sound = new Sound();
    const actions = { onPause: () => this.pause(), onSound: () => this.toggleSound() };
    this.frame = new Frame(element, options.title, this.texts, actions);
    const { theme, titles } = this.options;
    const still = matchMedia(STILL).matches;
    this.view = new View(this.frame.canvas, this.rules, { theme, titles: titles?.length ? titles : TITLES, still });
    this.frame.setSound(this.sound.on);
    this.listen();
    this.showStart();
    this.request = requestAnimationFrame((now) => this.onFrame(now));
  }

  listen() {
    this.ended = new AbortController();
    const { signal } = this.ended;
    this.frame.stage.addEventListener("pointerdown", (event) => this.onPointer(event), { signal });
    document.addEventListener("keydown", (event) => this.onKey(event), { signal });
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.pause(); }, { signal });
    window.addEventListener("online", () => { if (this.unsent) this.send(); }, { signal });
    matchMedia(DARK).addEventListener("change", () => this.view.restyle(), { signal });
    this.sizes = new ResizeObserver(() => this.view.resize());
    this.sizes.observe(this.frame.canvas);
  }

  destroy() {
    cancelAnimationFrame(this.request);
    clearTimeout(this.timer);
    this.ended.abort();
    this.sizes.disconnect();
    this.sound.close();
    this.frame.root.remove();
  }

  setState(state) {
    this.state = state;
    this.frame.setState(state);
  }

  /* -- input ------------------------------------------------------------------------------------------------------- */

  onPointer(event) {
    if (event.button !== 0 || event.target.closest("button, a, .stack-game-card")) return;
    if (this.state === "playing") {
      event.preventDefault();
      this.press(event.timeStamp);
    } else if (this.state === "paused") this.resume();
  }

  onKey(event) {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest?.("input, textarea, select, button, a, [contenteditable]")) return;
    if (this.state === "playing" && KEYS.has(event.code)) this.press(event.timeStamp);
    else if (this.state === "playing" && (event.code === "KeyP" || event.code === "Escape")) this.pause();
    else if (this.state === "paused" && (KEYS.has(event.code) || event.code === "KeyP")) this.resume();
    else return;
    event.preventDefault();
  }

  toggleSound() {
    this.sound.toggle();
    this.frame.setSound(this.sound.on);
    if (this.state === "playing") this.frame.stage.focus({ preventScroll: true });
  }

  /* -- the round ----------------------------------------------------------------------------------------------------- */

  async start() {
    if (this.state === "opening") return;
    this.setState("opening");
    this.sound.ready();
    const waiting = this.frame.panel.querySelector("button");
    if (waiting) Object.assign(waiting, { disabled: true, textContent: this.texts.opening });
    try {
      this.begin(await this.options.openSession());
    } catch (error) {
      this.setState("ready");
      this.showPanel(this.options.title, [line(error.message || this.texts.failed, "bad")], [this.starts(this.texts.retry)]);
    }
  }

  begin(session) {
    if (this.ended.signal.aborted) return;
    Object.assign(this, { session, moves: [], clock: 0, unsent: false });
    this.round = new Round(session.seed, this.rules);
    this.view.reset(session.seed);
    this.frame.hidePanel();
    this.frame.setStreak("");
    this.showScore();
    this.last = performance.now();
    this.setState("playing");
    this.frame.stage.focus({ preventScroll: true });
    this.frame.stage.scrollIntoView({ block: "nearest" });
    this.options.onEvent("started", { session });
    if (document.hidden) this.pause();
  }

  /* The clock, in ticks, at `now`. It stands still while the round is paused. */
  advance(now) {
    const ticks = Math.max(0, now - this.last) / this.tickMs;
    this.last = Math.max(now, this.last);
    this.clock += Math.min(ticks, MOST_TICKS_A_FRAME);
  }

  press(now) {
    this.advance(now);
    const tick = Math.round(this.clock);
    if (tick < this.round.piece.appeared || tick > this.rules.max_ticks) return;
    this.moves.push(tick);
    const before = this.round.score;
    const drop = this.round.press(tick);
    const { streak } = this.round;
    const perfect = streak > 1 ? fill(this.texts.perfectAgain, { streak }) : this.texts.perfect;
    this.view.drop(drop, this.round, this.round.score - before, { perfect });
    this.hear(drop);
    this.showScore();
    this.frame.setStreak(streak > 1 ? fill(this.texts.streak, { streak }) : "");
    if (this.round.over) this.end();
    else if (this.round.placed % ANNOUNCED_EACH === 0) this.frame.say(fill(this.texts.score, this.round));
  }

  hear(drop) {
    if (drop.kind === "missed") return this.sound.missed();
    this.sound.placed();
    if (drop.kind === "perfect") this.sound.perfect(this.round.streak);
    if (drop.piece.bonus) this.sound.bonus();
  }

  pause() {
    if (this.state !== "playing") return;
    this.setState("paused");
    this.showPanel(this.texts.paused, [line(this.texts.how)], [{ label: this.texts.resume, action: () => this.resume() }]);
  }

  resume() {
    this.frame.hidePanel();
    this.last = performance.now();
    this.setState("playing");
    this.frame.stage.focus({ preventScroll: true });
  }

  onFrame(now) {
    this.request = requestAnimationFrame((next) => this.onFrame(next));
    const seconds = Math.min(Math.max(0, now - (this.drawn ?? now)), MOST_TICKS_A_FRAME * this.tickMs) / 1000;
    this.drawn = now;
    if (this.state === "playing") this.advance(now);
    else if (!this.round) this.demo(seconds);
    else if (this.state === "paused" ? !this.view.stale : this.view.settled) return;
    this.view.draw(this.state === "paused" ? 0 : seconds, this.round ?? this.shown, this.clock);
    if (this.state !== "playing") return;
    this.frame.setTime(Math.max(0, 1 - this.clock / this.rules.max_ticks));
    if (this.clock >= this.rules.max_ticks) this.end();
  }

  /* Behind the first panel a piece slides, so that everybody sees what this is about. */
  demo(seconds) {
    this.shown ??= new Round(DEMO_SEED, this.rules);
    this.clock = (this.clock ?? 0) + (this.view.still ? 0 : (seconds * 1000) / this.tickMs);
  }

  /* -- after the round ----------------------------------------------------------------------------------------------- */

  end() {
    const { score, statistics } = this.round;
    const complete = this.round.placed === this.rules.max_pieces;
    this.outcome = { complete, timeUp: !this.round.over, best: this.options.best !== null && score > this.options.best };
    this.round.over = true;
    this.setState("ending");
    this.view.overview = !this.view.still;
    if (complete) this.sound.finished();
    this.frame.say(fill(this.texts.over, { score }));
    this.options.onEvent("ended", { score, statistics });
    if (!this.session.unkept) this.results.keep(this.session, this.moves, score);
    this.timer = setTimeout(() => this.finish(), ENDING_MS);
  }

  finish() {
    if (this.session.unkept) {
      const link = this.options.signInUrl && { label: this.texts.signIn, href: this.options.signInUrl, plain: true };
      this.showOver([line(this.texts.unkept)], link ? [link] : []);
    } else this.send();
  }

  async send() {
    this.unsent = false;
    this.showOver([line(this.texts.saving)], []);
    const round = this.round;
    try {
      const answer = await this.results.send();
      this.options.onEvent("posted", { answer });
      if (this.state === "over" && this.round === round) this.showAnswer(answer);
    } catch (error) {
      if (this.state === "over" && this.round === round) this.showFailure(error);
    }
  }

  showAnswer(answer) {
    const pairs = [[this.texts.rank, answer.rank ?? "–"], [this.texts.xp, `+${answer.xp ?? 0}`], [this.texts.level, answer.level ?? "–"]];
    const unlocked = (answer.unlocked ?? []).map((each) => line(fill(this.texts.unlocked, { name: each.name ?? each.code }), "good"));
    const coupon = answer.coupon ? [line(fill(this.texts.coupon, answer.coupon), "good")] : [];
    const others = (answer.messages ?? []).map((text) => line(text, "good"));
    this.showOver([figures(pairs), ...unlocked, ...coupon, ...others], []);
  }

  showFailure(error) {
    if (isFinal(error)) {
      const text = error.code === "session_expired" ? this.texts.expired : error.message || this.texts.refused;
      return this.showOver([line(text, "bad")], []);
    }
    this.unsent = true;
    const send = { label: this.texts.send, action: () => this.send() };
    this.showOver([line(this.texts.kept, "bad"), ...(error?.message ? [line(error.message)] : [])], [send]);
  }

  /* -- what is shown ------------------------------------------------------------------------------------------------- */

  showStart() {
    this.setState("ready");
    this.showScore();
    const piece = this.options.theme === "books" ? this.texts.pieceOfBooks : this.texts.pieceOfParcels;
    const lines = [line(fill(this.texts.goal, { piece })), line(this.texts.how, "small")];
    const choices = [this.starts(this.texts.play)];
    const kept = this.results.pending;
    if (kept) {
      lines.push(line(fill(this.texts.earlier, kept), "bad"));
      choices.push({ label: this.texts.send, action: () => this.sendEarlier(kept), plain: true });
    }
    this.showPanel(this.options.title, lines, choices);
  }

  /* The result of a round before the page was loaded again. */
  sendEarlier(kept) {
    this.round = Object.assign(new Round(kept.session.seed, this.rules), { over: true });
    for (const tick of kept.moves) this.round.press(tick);
    Object.assign(this, { session: kept.session, moves: kept.moves, outcome: {}, clock: 0 });
    this.round.over = true;
    this.showScore();
    this.send();
  }

  starts(label) { return { label, action: () => this.start() }; }

  showPanel(heading, lines, choices) {
    const first = this.frame.showPanel(heading, lines, choices);
    if (this.state !== "ready" || document.activeElement === this.frame.stage) first?.focus({ preventScroll: true });
  }

  showOver(lines, choices) {
    this.setState("over");
    const { score, placed, perfect } = this.round;
    const { complete, timeUp, best } = this.outcome;
    if (score > (this.options.best ?? -1)) this.options.best = score;
    const said = [complete && this.texts.allPlaced, timeUp && this.texts.timeUp, best && this.texts.newBest].filter(Boolean);
    const count = fill(this.texts.placed, { placed, perfect });
    const heading = `${score} ${this.texts.points}`;
    const again = { ...this.starts(this.texts.again), plain: choices.length > 0 && !choices[0].href };
    const ordered = again.plain ? [...choices, again] : [again, ...choices];
    this.showPanel(heading, [...said.map((text) => line(text, "good")), line(count, "small"), ...lines], ordered);
  }

  showScore() {
    const best = this.options.best;
    this.frame.setScore(this.round?.score ?? 0, best === null ? "" : fill(this.texts.best, { best }));
  }
}
