/* What Stack says, for a page that does not say it in its own words. `{name}` stands for a value. */
export const TEXTS = {
  goal: "Drop each {piece} on the pile. What hangs over is cut off.",
  how: "Tap, click, Space or Enter",
  play: "Play", again: "Play again", opening: "Starting …", retry: "Try again",
  pieceOfBooks: "book", pieceOfParcels: "parcel",
  resume: "Go on", paused: "Paused", pause: "Pause", soundOn: "Turn sound on", soundOff: "Turn sound off",
  best: "Best {best}", streak: "{streak} perfect in a row", perfect: "Perfect", perfectAgain: "Perfect × {streak}",
  score: "Score {score}, {placed} on the pile", over: "The round is over. Your score is {score}.",
  points: "points", placed: "{placed} placed, {perfect} perfect", allPlaced: "The pile is complete!", timeUp: "Time is up",
  newBest: "Your best round so far", saving: "Saving your result …",
  rank: "Rank", xp: "XP", level: "Level", unlocked: "Unlocked: {name}", coupon: "{percent} % off with the code {code}",
  unkept: "This round was for practice. Sign in, and your scores count.", signIn: "Sign in",
  kept: "Your result is not saved yet. It is kept in this tab.", send: "Save it now",
  earlier: "The result of an earlier round, {score} points, is not saved yet.",
  expired: "This round took too long to be saved: a round and its pauses may take ten minutes.",
  refused: "This result cannot be saved.", failed: "The round could not be started. Are you online?",
};

export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
