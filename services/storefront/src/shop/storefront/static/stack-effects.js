/* What flies about in Stack and is gone soon: cut-off parts, scraps, rings and texts. Positions in pixels of the scene,
   upwards; times in seconds. */
const GRAVITY = 1700;
const MOST = 160;
const SCRAPS = 14;
const FALL_S = 1.6;
const SCRAP_S = 0.75;
const RING_S = 0.5;
const TEXT_S = 0.95;

export class Effects {
  constructor() { this.clear(); }

  clear() { this.flying = []; }

  get empty() { return this.flying.length === 0; }

  add(effect) {
    this.flying.push({ age: 0, ...effect });
    if (this.flying.length > MOST) this.flying.shift();
  }

  /* A part that was cut off, which tips over to its side. */
  fall(part, side) {
    this.add({ kind: "part", life: FALL_S, turn: 0, spin: side * 2.6, vx: side * 90, vy: 60, ...part });
  }

  scraps(x, y, spread, colours, random) {
    for (let number = 0; number < SCRAPS; number += 1) {
      const [vx, vy] = [(random() - 0.5) * 320, 80 + random() * 260];
      const size = 2 + random() * 4;
      const colour = colours[number % colours.length];
      const at = { x: x + (random() - 0.5) * spread, y, vx, vy };
      this.add({ kind: "scrap", life: SCRAP_S, turn: random() * 6, spin: (random() - 0.5) * 14, size, colour, ...at });
    }
  }

  ring(x, y, width, height, strength) { this.add({ kind: "ring", life: RING_S, x, y, width, height, strength, vx: 0, vy: 0 }); }

  text(x, y, text, strong) { this.add({ kind: "text", life: TEXT_S, x, y, text, strong, vx: 0, vy: 46 }); }

  step(seconds) {
    for (const each of this.flying) {
      each.age += seconds;
      if (each.kind === "part" || each.kind === "scrap") {
        each.vy -= GRAVITY * seconds;
        each.turn += each.spin * seconds;
      }
      each.x += each.vx * seconds;
      each.y += each.vy * seconds;
    }
    this.flying = this.flying.filter((each) => each.age < each.life);
  }

  /* `flip` gives the vertical position on the canvas. */
  draw(pen, look, flip) {
    for (const each of this.flying) {
      const left = 1 - each.age / each.life;
      pen.save();
      DRAWINGS[each.kind](pen, each, left, look, flip(each.y));
      pen.restore();
    }
  }
}

const DRAWINGS = {
  part(pen, part, left, look, y) {
    pen.globalAlpha = Math.min(1, left * 2.5);
    pen.translate(part.x + part.width / 2, y - part.height / 2);
    pen.rotate(part.turn);
    pen.translate(-part.width / 2, -part.height / 2);
    part.paint(pen);
  },

  scrap(pen, scrap, left, look, y) {
    pen.globalAlpha = left;
    pen.translate(scrap.x, y);
    pen.rotate(scrap.turn);
    pen.fillStyle = scrap.colour;
    pen.fillRect(-scrap.size / 2, -scrap.size / 3, scrap.size, scrap.size * 0.66);
  },

  ring(pen, ring, left, look, y) {
    const grown = (1 - left) ** 0.6 * (14 + 5 * Math.min(ring.strength, 8));
    pen.globalAlpha = left * 0.9;
    pen.strokeStyle = look.glow;
    pen.lineWidth = 1 + 3 * left;
    pen.beginPath();
    pen.roundRect(ring.x - grown, y - ring.height - grown, ring.width + 2 * grown, ring.height + 2 * grown, 4 + grown / 2);
    pen.stroke();
  },

  text(pen, text, left, look, y) {
    pen.globalAlpha = Math.min(1, left * 2.2);
    pen.font = text.strong ? `700 22px ${look.serif}` : `600 15px ${look.sans}`;
    pen.textAlign = "center";
    pen.lineJoin = "round";
    pen.lineWidth = 5;
    pen.strokeStyle = look.halo;
    pen.strokeText(text.text, text.x, y);
    pen.fillStyle = text.strong ? look.accent : look.ink;
    pen.fillText(text.text, text.x, y);
  },
};
