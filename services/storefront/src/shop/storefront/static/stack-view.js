/* The scene of Stack on a canvas: the pile, the piece that slides, and a camera that follows the top. */
import { Effects } from "./stack-effects.js";
import { CUT_WIDTH_PX, backdropCanvas, drawCut, pieceCanvas, styleOf } from "./stack-pieces.js";
import { leftAt } from "./stack-rules.js";

const MOST_RATIO = 3; /* pixels of the screen per pixel of the page */
const FLOOR_PX = 58;
const TABLE_PX = 16;
const PLINTH_PX = 20; /* below the first piece, which has to land on it */
const GROUND_PX = FLOOR_PX + PLINTH_PX;
const BUTTONS_PX = 66; /* at the top, where no milestone is drawn */
const HOVER_PX = 7; /* between the pile and the piece that slides */
const TOP_SHARE = 0.42; /* of the height, where the piece slides */
const BAY_PIECES = 12;
const MILESTONE = 10;
const LAND_S = 0.11;
const GROW_S = 0.25;
const FLASH_S = 0.4;
const SHAKE_S = 0.3;
const OVERVIEW_SHARE = 0.9;
const PIECES = 7;
const PARCELS = 4;

/* The colours and fonts of the page. */
export function lookOf(element, theme) {
  const style = getComputedStyle(element);
  const value = (name) => style.getPropertyValue(`--${name}`).trim();
  const list = (name, count) => Array.from({ length: count }, (_, index) => value(`${name}-${index + 1}`));
  return {
    theme,
    serif: value("serif") || "serif", sans: value("sans") || "sans-serif",
    ink: value("ink"), accent: value("accent"), halo: value("sheet"), soft: value("soft"),
    top: value("stack-top"), bottom: value("stack-bottom"), backdrop: value("stack-backdrop"),
    table: value("stack-table"), edge: value("stack-table-edge"), floor: value("stack-floor"),
    gilt: value("stack-gilt"), paper: value("stack-paper"), glow: value("stack-glow"),
    bonus: value("stack-bonus"), bonusInk: value("stack-bonus-ink"),
    pieces: list("stack-piece", PIECES), parcels: list("stack-parcel", PARCELS),
  };
}

export class View {
  constructor(canvas, rules, { theme, titles, still }) {
    Object.assign(this, { canvas, rules, theme, titles, still });
    this.pen = canvas.getContext("2d", { alpha: false });
    this.effects = new Effects();
    this.restyle();
    this.reset(0);
  }

  /* After the page's colours or the size have changed, everything is drawn anew. */
  restyle() {
    this.look = lookOf(this.canvas, this.theme);
    this.resize();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    this.ratio = Math.min(MOST_RATIO, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(this.width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    this.piecePx = Math.round(Math.max(25, Math.min(38, this.width * 0.068)));
    this.base = this.height - GROUND_PX;
    this.scale = this.width / this.rules.field;
    this.bay = backdropCanvas(this.width, this.piecePx * BAY_PIECES, this.look, this.ratio);
    this.wall = this.pen.createLinearGradient(0, 0, 0, this.height);
    this.wall.addColorStop(0, this.look.top);
    this.wall.addColorStop(1, this.look.bottom);
    for (const each of this.pile ?? []) each.canvas = null;
    this.sliding = null;
    this.camera = this.cameraTarget();
    this.stale = true;
  }

  reset(seed) {
    this.seed = seed;
    this.pile = [];
    this.effects.clear();
    this.sliding = null;
    this.camera = this.zoomed = this.shaking = 0;
    this.overview = false;
  }

  /* What a press did: `drop` is the answer of the rules, `gained` its points. */
  drop(drop, round, gained, texts) {
    const piece = { ...this.styled(drop.piece, this.pile.length), left: drop.left, width: drop.piece.width };
    this.sliding = null;
    if (drop.kind === "missed") return this.miss(piece);
    if (drop.kind === "perfect") this.place(piece, round);
    else this.cut(piece, round);
    const [x, y] = [(round.left + round.width / 2) * this.scale, (this.pile.length + 1.4) * this.piecePx];
    if (drop.kind === "perfect") this.effects.text(x, y + 20, texts.perfect, true);
    this.effects.text(x, y, `+${gained}`, false);
    if (drop.piece.bonus && !this.still) this.scraps(piece, [this.look.bonus, this.look.gilt]);
  }

  styled(piece, number) {
    const style = styleOf(number, this.seed, piece.bonus, this.titles);
    return { number, whole: piece.width, left: 0, style, landed: 0, cutLeft: false, cutRight: false };
  }

  place(piece, round) {
    const before = piece.width;
    Object.assign(piece, { left: round.left, width: round.width, whole: round.width, flash: FLASH_S });
    if (round.width > before) Object.assign(piece, { grow: GROW_S, before });
    this.pile.push(piece);
    const level = (this.pile.length - 1) * this.piecePx;
    this.effects.ring(piece.left * this.scale, level, piece.width * this.scale, this.piecePx, round.streak);
    if (!this.still && round.streak > 1) this.scraps(piece, [this.look.glow, this.look.gilt]);
  }

  /* What lies on the pile stays, the rest falls to its side. */
  cut(piece, round) {
    const start = piece.left;
    const left = start < round.left;
    const cutAt = left ? round.left : round.left + round.width;
    this.pile.push({ ...piece, start, left: round.left, width: round.width, cutLeft: left, cutRight: !left });
    const over = left ? { left: start, width: cutAt - start } : { left: cutAt, width: start + piece.width - cutAt };
    this.tip({ ...piece, ...over, start, cutLeft: !left, cutRight: left }, left ? -1 : 1, this.pile.length - 1);
    if (!this.still) this.scraps({ left: cutAt, width: 0 }, [this.look.paper]);
  }

  miss(piece) {
    const side = piece.left + piece.width / 2 < this.rules.field / 2 ? -1 : 1;
    this.tip({ ...piece, start: piece.left }, side, this.pile.length);
    this.shaking = this.still ? 0 : SHAKE_S;
  }

  tip(piece, side, level) {
    const width = piece.width * this.scale;
    const paint = (pen) => this.paint(pen, piece, 0, 0, width);
    this.effects.fall({ x: piece.left * this.scale, y: level * this.piecePx + HOVER_PX, width, height: this.piecePx, paint }, side);
  }

  scraps(piece, colours) {
    const middle = (piece.left + piece.width / 2) * this.scale;
    this.effects.scraps(middle, this.pile.length * this.piecePx, piece.width * this.scale, colours, Math.random);
  }

  /* The part of a piece from `left` on, `width` pixels of it, with its lower left corner at (x, y + height). */
  paint(pen, piece, x, y, width) {
    piece.canvas ??= pieceCanvas(piece.whole * this.scale, this.piecePx, piece.style, this.look, this.ratio);
    const whole = piece.whole * this.scale;
    const from = Math.max(0, (piece.left - (piece.start ?? piece.left)) * this.scale);
    const per = piece.canvas.width / whole;
    const shown = Math.min(width, whole - from);
    pen.drawImage(piece.canvas, from * per, 0, Math.max(1, shown * per), piece.canvas.height, x, y, width, this.piecePx);
    if (piece.cutLeft) drawCut(pen, x, y, this.piecePx, this.look);
    if (piece.cutRight) drawCut(pen, x + width - CUT_WIDTH_PX, y, this.piecePx, this.look);
  }

  /* One frame, `seconds` after the one before it. `round` is null before the first one. */
  draw(seconds, round, tick) {
    this.move(seconds);
    this.stale = false;
    const pen = this.pen;
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.fillStyle = this.wall;
    pen.fillRect(0, 0, this.width, this.height);
    pen.save();
    this.aim(pen);
    this.drawRoom(pen);
    for (const [level, piece] of this.pile.entries()) this.drawPlaced(pen, piece, level, seconds);
    if (round && !round.over) this.drawSliding(pen, round.piece, tick);
    this.effects.draw(pen, this.look, (y) => this.base - y);
    pen.restore();
  }

  /* Whether another frame would look the same. */
  get settled() {
    const landed = this.pile.every((piece) => piece.landed > FLASH_S);
    const zooms = Math.abs((this.overview ? 1 : 0) - this.zoomed) > 0.001;
    const scrolls = Math.abs(this.cameraTarget() - this.camera) > 0.1;
    return landed && !zooms && !scrolls && !this.shaking && !this.stale && this.effects.empty;
  }

  move(seconds) {
    this.effects.step(seconds);
    const near = this.still ? 1 : 1 - Math.exp(-seconds * 7);
    this.camera += (this.cameraTarget() - this.camera) * near;
    this.zoomed += ((this.overview ? 1 : 0) - this.zoomed) * (1 - Math.exp(-seconds * 4));
    this.shaking = Math.max(0, this.shaking - seconds);
  }

  cameraTarget() {
    const top = ((this.pile?.length ?? 0) + 1) * this.piecePx;
    return this.overview ? 0 : Math.max(0, top - this.base + this.height * TOP_SHARE);
  }

  /* Scrolls with the camera; after a round it shows the whole pile. */
  aim(pen) {
    const tall = (this.pile.length + 3) * this.piecePx + GROUND_PX;
    const fit = Math.min(1, (this.height * OVERVIEW_SHARE) / tall);
    this.zoom = 1 + (fit - 1) * this.zoomed;
    const shake = this.shaking ? Math.sin(this.shaking * 70) * 7 * (this.shaking / SHAKE_S) : 0;
    pen.translate(this.width / 2 + shake, this.height);
    pen.scale(this.zoom, this.zoom);
    pen.translate(-this.width / 2, this.camera - this.height);
  }

  /* From which height to which the canvas shows, in pixels above the table. */
  shown() {
    const bottom = this.camera - GROUND_PX;
    return [bottom, bottom + this.height / this.zoom];
  }

  drawRoom(pen) {
    const [bottom, top] = this.shown();
    this.drawBackdrop(pen, bottom, top);
    this.drawMilestones(pen, bottom, top);
    if (bottom > 0) return;
    const side = (this.width / this.zoom - this.width) / 2;
    const [table, wide] = [this.base + PLINTH_PX, this.width + 2 * side];
    const band = (colour, y, height) => {
      pen.fillStyle = colour;
      pen.fillRect(-side, y, wide, height);
    };
    band(this.look.floor, table + TABLE_PX, FLOOR_PX / this.zoom);
    band(this.look.table, table, TABLE_PX);
    band(this.look.edge, table + TABLE_PX - 4, 4);
    this.drawDrawers(pen, table + TABLE_PX);
    this.drawPlinth(pen);
  }

  drawPlinth(pen) {
    const width = this.rules.width * this.scale;
    const x = (this.width - width) / 2;
    pen.fillStyle = this.look.edge;
    pen.fillRect(x - 5, this.base + PLINTH_PX - 6, width + 10, 6);
    pen.fillRect(x + 4, this.base + 5, width - 8, PLINTH_PX - 5);
    pen.fillStyle = this.look.table;
    pen.fillRect(x, this.base, width, 6);
  }

  /* The front of the table. */
  drawDrawers(pen, top) {
    const [y, wide] = [top + 7, this.width / 3];
    const high = FLOOR_PX - TABLE_PX - 14;
    pen.strokeStyle = pen.fillStyle = this.look.edge;
    pen.globalAlpha = 0.35;
    for (let drawer = 0; drawer < 3; drawer += 1) {
      pen.strokeRect(drawer * wide + 10.5, y + 0.5, wide - 21, high);
      pen.fillRect((drawer + 0.5) * wide - 9, y + high / 2 - 2, 18, 4);
    }
    pen.globalAlpha = 1;
  }

  drawBackdrop(pen, bottom, top) {
    const high = this.piecePx * BAY_PIECES;
    const drift = this.camera * 0.45; /* it is further away than the pile */
    const first = Math.floor((bottom - drift) / high);
    const wide = Math.ceil((1 / this.zoom - 1) / 2);
    for (let row = Math.max(0, first); row * high + drift < top; row += 1) {
      const y = this.base - drift - (row + 1) * high;
      for (let column = -wide; column <= wide; column += 1) pen.drawImage(this.bay, column * this.width, y, this.width, high);
    }
  }

  drawMilestones(pen, bottom, top) {
    const step = MILESTONE * this.piecePx;
    pen.font = `600 12px ${this.look.sans}`;
    pen.textAlign = "right";
    pen.fillStyle = pen.strokeStyle = this.look.soft;
    pen.lineWidth = 1;
    pen.setLineDash([3, 5]);
    const last = top - BUTTONS_PX / this.zoom;
    for (let number = Math.max(1, Math.ceil(bottom / step)); number * step < last; number += 1) {
      const y = Math.round(this.base - number * step) + 0.5;
      pen.globalAlpha = 0.5;
      pen.beginPath();
      pen.moveTo(0, y);
      pen.lineTo(this.width - 34, y);
      pen.stroke();
      pen.globalAlpha = 1;
      pen.fillText(String(number * MILESTONE), this.width - 9, y + 4);
    }
    pen.setLineDash([]);
  }

  drawPlaced(pen, piece, level, seconds) {
    const [bottom, top] = this.shown();
    piece.landed += seconds;
    const y = level * this.piecePx;
    if (y + this.piecePx < bottom || y > top) return;
    const falls = this.still ? 0 : HOVER_PX * Math.max(0, 1 - piece.landed / LAND_S) ** 2;
    const grown = piece.grow && !this.still ? Math.min(1, piece.landed / GROW_S) : 1;
    const width = (piece.grow ? piece.before + (piece.width - piece.before) * grown : piece.width) * this.scale;
    const x = (piece.left + piece.width / 2) * this.scale - width / 2;
    this.paint(pen, piece, x, this.base - y - this.piecePx - falls, width);
    if (piece.flash > piece.landed) this.drawFlash(pen, x, y, width, 1 - piece.landed / piece.flash);
  }

  drawFlash(pen, x, y, width, strength) {
    pen.globalAlpha = strength * 0.75;
    pen.fillStyle = this.look.glow;
    pen.fillRect(x, this.base - y - this.piecePx, width, this.piecePx);
    pen.globalAlpha = 1;
  }

  drawSliding(pen, piece, tick) {
    if (tick < piece.appeared) return;
    const number = this.pile.length;
    if (this.sliding?.number !== number) this.sliding = this.styled(piece, number);
    const x = leftAt(piece, tick, this.rules.field) * this.scale;
    const y = this.base - (number + 1) * this.piecePx - HOVER_PX;
    const width = piece.width * this.scale;
    pen.globalAlpha = Math.min(1, (tick - piece.appeared) / 6);
    this.paint(pen, this.sliding, x, y, width);
    pen.globalAlpha = 1;
  }
}
