/* The sounds of Stack, computed: off until the player turns them on, which is remembered in this browser. */
const REMEMBERED = "stack-sound";
const SCALE = [0, 2, 4, 7, 9]; /* semitones: any two of them sound well together */
const LOWEST_HZ = 330;
const HIGHEST_STEP = 14;
const LOUDNESS = 0.16;

export class Sound {
  constructor() {
    this.on = remembered() === "on";
    this.context = null;
  }

  /* A browser lets sound begin only in answer to a key or a tap. */
  ready() {
    if (!this.on || !window.AudioContext) return;
    this.context ??= new AudioContext();
    if (this.context.state === "suspended") this.context.resume();
  }

  toggle() {
    this.on = !this.on;
    try { localStorage.setItem(REMEMBERED, this.on ? "on" : "off"); } catch { /* Storage is turned off. */ }
    this.ready();
  }

  perfect(streak) {
    const step = Math.min(streak - 1, HIGHEST_STEP);
    const pitch = LOWEST_HZ * 2 ** ((SCALE[step % SCALE.length] + 12 * Math.floor(step / SCALE.length)) / 12);
    this.tone("triangle", pitch, pitch, 0.34, 1);
    this.tone("sine", pitch * 2, pitch * 2, 0.2, 0.4);
  }

  placed() { this.tone("sine", 170, 80, 0.13, 1.3); }

  bonus() {
    this.tone("triangle", 880, 880, 0.12, 0.5);
    this.tone("triangle", 1320, 1320, 0.3, 0.5, 0.09);
  }

  missed() { this.tone("sawtooth", 220, 60, 0.55, 0.5); }

  finished() { [0, 4, 7, 12].forEach((step, index) => this.tone("triangle", 523 * 2 ** (step / 12), 523 * 2 ** (step / 12), 0.4, 0.7, index * 0.11)); }

  /* From one pitch to another within `length` seconds. */
  tone(shape, from, to, length, share, after = 0) {
    if (!this.on || !this.context) return;
    const begin = this.context.currentTime + after;
    const oscillator = new OscillatorNode(this.context, { type: shape, frequency: from });
    const gain = new GainNode(this.context, { gain: 0 });
    oscillator.frequency.exponentialRampToValueAtTime(to, begin + length);
    gain.gain.setValueAtTime(0, begin);
    gain.gain.linearRampToValueAtTime(LOUDNESS * share, begin + 0.008);
    gain.gain.exponentialRampToValueAtTime(0.0001, begin + length);
    oscillator.connect(gain).connect(this.context.destination);
    oscillator.start(begin);
    oscillator.stop(begin + length);
  }

  close() { this.context?.close(); }
}

function remembered() {
  try { return localStorage.getItem(REMEMBERED); } catch { return null; }
}
