/* The rules of Stack, exactly as shop.games.stack has them: the server replays the moves and must come to the same
   score. Integers only; lengths in units of the field, times in ticks. A change of one is a change of both. */
const INCREMENT = 0x6d2b79f5;

/* Numbers of 32 bits (mulberry32), as shop.games.random32. */
class Random32 {
  constructor(seed) { this.state = seed >>> 0; }

  next() {
    this.state = (this.state + INCREMENT) >>> 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}

/* The left end of a piece, which slides and turns around at the edges. Also between two ticks, for drawing. */
export function leftAt(piece, tick, field) {
  const travel = field - piece.width;
  const way = (piece.speed * (tick - piece.appeared)) % (2 * travel);
  const left = way <= travel ? way : 2 * travel - way;
  return piece.fromRight ? travel - left : left;
}

/* A round in progress; `left` and `width` are of the top of the pile. */
export class Round {
  constructor(seed, rules) {
    this.random = new Random32(seed);
    this.rules = rules;
    this.speed = rules.speed.start;
    this.width = rules.width;
    this.left = Math.floor((rules.field - rules.width) / 2);
    this.score = this.placed = this.perfect = this.streak = this.bestStreak = 0;
    this.over = false;
    this.piece = this.nextPiece(0);
  }

  /* Drops the piece. The answer is for drawing: where it fell, and whether it was "perfect", "cut" or "missed". */
  press(tick) {
    const piece = this.piece;
    const left = leftAt(piece, tick, this.rules.field);
    const drop = { piece, left, kind: "perfect" };
    if (Math.abs(left - this.left) <= this.rules.tolerance) this.placePerfectly();
    else if (this.cut(left)) drop.kind = "cut";
    else {
      this.over = true;
      return { ...drop, kind: "missed" };
    }
    this.finishPiece(tick, piece);
    return drop;
  }

  nextPiece(tick) {
    const { speed: speeds, bonus: bonuses } = this.rules;
    const drawn = this.random.next();
    this.speed = Math.min(speeds.limit, this.speed + speeds.step + ((drawn >>> 1) % speeds.step_spread));
    const bonus = this.placed >= bonuses.after && (drawn >>> 8) % bonuses.one_in === 0;
    const speed = this.speed + ((drawn >>> 16) % (2 * speeds.vary + 1)) - speeds.vary;
    const fromRight = (drawn & 1) === 1;
    return { width: this.width, speed: speed + (bonus ? bonuses.speed : 0), fromRight, bonus, appeared: tick };
  }

  placePerfectly() {
    const { points, widen } = this.rules;
    this.perfect += 1;
    this.streak += 1;
    this.bestStreak = Math.max(this.bestStreak, this.streak);
    this.score += points.perfect + points.streak * Math.min(this.streak - 1, points.streak_limit);
    if (this.streak % widen.every === 0) this.widen();
  }

  /* To both sides, within the field. */
  widen() {
    const width = Math.min(this.rules.width, this.width + this.rules.widen.by);
    const left = this.left - Math.floor((width - this.width) / 2);
    this.left = Math.max(0, Math.min(this.rules.field - width, left));
    this.width = width;
  }

  /* Leaves what lies on the pile; false when too little does. */
  cut(left) {
    const start = Math.max(left, this.left);
    const end = Math.min(left, this.left) + this.width;
    if (end - start < this.rules.min_width) return false;
    this.left = start;
    this.width = end - start;
    this.streak = 0;
    return true;
  }

  finishPiece(tick, piece) {
    const { points, max_pieces: most, settle_ticks: settle } = this.rules;
    this.placed += 1;
    this.score += points.placed + (piece.bonus ? points.bonus : 0);
    if (this.placed === most) {
      this.score += points.finished;
      this.over = true;
    } else this.piece = this.nextPiece(tick + settle);
  }

  get statistics() { return { placed: this.placed, perfect: this.perfect, best_streak: this.bestStreak }; }
}

/* The round with the presses at the ticks `moves`: { score, ticks, statistics }, or { reason } if it is impossible. */
export function replay(seed, moves, rules) {
  if (moves.length > rules.max_pieces) return { reason: `A round has at most ${rules.max_pieces} moves.` };
  const round = new Round(seed, rules);
  for (const [index, tick] of moves.entries()) {
    const reason = objection(round, index + 1, tick, rules);
    if (reason) return { reason };
    round.press(tick);
  }
  const ticks = round.over ? moves[moves.length - 1] : rules.max_ticks;
  return { score: round.score, ticks, statistics: round.statistics };
}

/* Why this move cannot be, or "". */
function objection(round, number, tick, rules) {
  if (round.over) return `The round had ended before move ${number}.`;
  if (tick < 0 || tick > rules.max_ticks) {
    return `Move ${number} is not within the ${rules.max_ticks} ticks of a round.`;
  }
  if (tick < round.piece.appeared) {
    return `Move ${number} is before its piece appeared, at tick ${round.piece.appeared}.`;
  }
  return "";
}
