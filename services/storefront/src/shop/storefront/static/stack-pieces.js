/* How the pieces of Stack look: books that lie on their side, with their spine to the front, or parcels. Each piece is
   drawn once, on a canvas of its own, and cut from that afterwards. */
const CORNER_PX = 3;
const TITLE_SHARE = 0.46; /* of the height of a piece */
const LEAST_TITLE_PX = 9;
const BANDS = [0.045, 0.07, 0.16];
const CUT_PX = 3;

/* Books that everybody knows, for a shop that names none. */
export const TITLES = [
  "Moby-Dick", "Emma", "Dracula", "Ulysses", "Middlemarch", "Jane Eyre", "Walden", "Candide", "Faust", "The Odyssey",
  "Frankenstein", "Don Quixote", "Persuasion", "Kim", "The Trial", "Hamlet", "Beowulf", "Inferno", "Nana", "Ivanhoe",
  "Little Women", "Dead Souls", "Cranford", "The Aeneid", "Robinson Crusoe", "Bleak House", "Vanity Fair", "Macbeth",
];

function canvasOf(width, height, ratio) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const pen = canvas.getContext("2d");
  pen.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
  return [canvas, pen];
}

/* Rounded like a spine: light from above, dark below. */
function body(pen, width, height, colour) {
  pen.beginPath();
  pen.roundRect(0, 0, width, height, CORNER_PX);
  pen.clip();
  pen.fillStyle = colour;
  pen.fillRect(0, 0, width, height);
}

function shade(pen, width, height) {
  const light = pen.createLinearGradient(0, 0, 0, height);
  const stops = [[0, "rgb(255 255 255 / .1)"], [0.16, "rgb(255 255 255 / .26)"], [0.45, "rgb(255 255 255 / 0)"]];
  for (const [at, colour] of [...stops, [0.75, "rgb(0 0 0 / .08)"], [1, "rgb(0 0 0 / .4)"]]) light.addColorStop(at, colour);
  pen.fillStyle = light;
  pen.fillRect(0, 0, width, height);
}

function bands(pen, width, height, colour) {
  pen.fillStyle = colour;
  for (const share of BANDS) {
    const thick = share === BANDS[0] ? 3 : 1;
    const x = Math.max(6, share * width);
    pen.fillRect(x, 0, thick, height);
    pen.fillRect(width - x - thick, 0, thick, height);
  }
}

function diamond(pen, x, y, size) {
  pen.beginPath();
  pen.moveTo(x - size, y);
  pen.lineTo(x, y - size);
  pen.lineTo(x + size, y);
  pen.lineTo(x, y + size);
  pen.fill();
}

function star(pen, x, y, size) {
  pen.beginPath();
  for (let corner = 0; corner < 10; corner += 1) {
    const reach = corner % 2 ? size * 0.45 : size;
    const angle = (Math.PI * corner) / 5 - Math.PI / 2;
    pen.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
  pen.fill();
}

/* The title between the bands, or an ornament where it finds no room. */
function title(pen, width, height, text, look) {
  const room = width * (1 - 2 * BANDS[2]) - 14;
  let size = Math.round(height * TITLE_SHARE);
  pen.font = `600 ${size}px ${look.serif}`;
  const wide = pen.measureText(text).width;
  if (wide > room) size = Math.floor((size * room) / wide);
  pen.fillStyle = look.gilt;
  if (size < LEAST_TITLE_PX) return diamond(pen, width / 2, height / 2, Math.min(5, width / 6));
  pen.font = `600 ${size}px ${look.serif}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, width / 2, height / 2 + 1);
}

function drawBook(pen, width, height, style, look) {
  body(pen, width, height, style.bonus ? look.bonus : look.pieces[style.colour % look.pieces.length]);
  if (style.label && !style.bonus) {
    pen.fillStyle = "rgb(0 0 0 / .24)";
    pen.fillRect(width * BANDS[2] + 4, 0, width * (1 - 2 * BANDS[2]) - 8, height);
  }
  const ink = style.bonus ? { ...look, gilt: look.bonusInk } : look;
  bands(pen, width, height, ink.gilt);
  if (style.bonus) stars(pen, width, height, ink.gilt);
  else title(pen, width, height, style.title, ink);
  shade(pen, width, height);
}

function stars(pen, width, height, colour) {
  pen.fillStyle = colour;
  const size = height * 0.27;
  for (const x of width > 8 * size ? [-2.6, 0, 2.6] : [0]) star(pen, width / 2 + x * size, height / 2, size);
}

/* A cardboard box with tape and an address label. */
function drawParcel(pen, width, height, style, look) {
  body(pen, width, height, style.bonus ? look.bonus : look.parcels[style.colour % look.parcels.length]);
  pen.fillStyle = style.bonus ? look.accent : "rgb(255 246 220 / .38)";
  const tape = Math.min(20, width / 4);
  pen.fillRect(width * 0.5 - tape / 2, 0, tape, height);
  if (style.bonus) {
    pen.fillStyle = look.gilt;
    star(pen, width / 2, height / 2, height * 0.3);
  } else if (width > 70) label(pen, width, height, style);
  shade(pen, width, height);
  pen.strokeStyle = "rgb(60 36 12 / .35)";
  pen.strokeRect(0.5, 0.5, width - 1, height - 1);
}

function label(pen, width, height, style) {
  const x = style.label ? width * 0.12 : width * 0.66;
  pen.fillStyle = "rgb(255 253 248 / .92)";
  pen.fillRect(x, height * 0.22, width * 0.22, height * 0.56);
  pen.fillStyle = "rgb(60 40 24 / .6)";
  for (const [row, share] of [[0.34, 0.16], [0.48, 0.12], [0.62, 0.14]]) {
    pen.fillRect(x + width * 0.025, height * row, width * share, 1.5);
  }
}

/* A canvas with the whole piece, in pixels of the screen. */
export function pieceCanvas(width, height, style, look, ratio) {
  const [canvas, pen] = canvasOf(width, height, ratio);
  (look.theme === "books" ? drawBook : drawParcel)(pen, width, height, style, look);
  return canvas;
}

/* Where a piece was cut one sees its pages, or the corrugated board. */
export function drawCut(pen, x, y, height, look) {
  pen.fillStyle = look.paper;
  pen.fillRect(x, y + 1, CUT_PX, height - 2);
  pen.fillStyle = "rgb(92 64 32 / .3)";
  for (let line = 4; line < height - 3; line += 3) pen.fillRect(x, y + line, CUT_PX, 1);
  pen.fillRect(x, y, CUT_PX, 1.5);
  pen.fillRect(x, y + height - 2, CUT_PX, 2);
}

export const CUT_WIDTH_PX = CUT_PX;

/* How the piece of this number looks; the same in every round of the seed. */
export function styleOf(number, seed, bonus, titles) {
  const mixed = Math.imul(seed ^ Math.imul(number + 1, 0x9e3779b1), 0x85ebca6b) >>> 0;
  const colour = number * 3 + ((mixed >>> 28) % 2) + ((seed >>> 3) % 7);
  return { bonus, label: (mixed >>> 9) % 3 === 0, colour, title: titles[(number + (seed >>> 5)) % titles.length] };
}

/* A faint wall of shelves behind the pile, one bay of it: what the shop has in stock. */
export function backdropCanvas(width, height, look, ratio) {
  const [canvas, pen] = canvasOf(width, height, ratio);
  pen.fillStyle = look.backdrop;
  const board = 7;
  for (const shelf of [height / 2 - board, height - board]) {
    pen.fillRect(0, shelf, width, board);
    fillShelf(pen, width, shelf, height / 2 - board, look.theme === "books");
  }
  return canvas;
}

function fillShelf(pen, width, bottom, room, books) {
  let x = 10;
  for (let number = 0; x < width - 12 && number < 200; number += 1) {
    const mixed = (Math.imul(number + 1 + Math.round(bottom), 0x9e3779b1) >>> 0) / 2 ** 32;
    const wide = books ? 9 + mixed * 14 : 34 + mixed * 40;
    const high = room * (books ? 0.5 + ((mixed * 7919) % 1) * 0.3 : 0.3 + ((mixed * 7919) % 1) * 0.3);
    const gap = (mixed * 104729) % 1 > 0.86 ? 26 : 2;
    pen.globalAlpha = 0.55 + ((mixed * 31) % 1) * 0.45;
    pen.fillRect(x, bottom - high, Math.min(wide, width - x), high);
    x += wide + gap;
  }
  pen.globalAlpha = 1;
}
