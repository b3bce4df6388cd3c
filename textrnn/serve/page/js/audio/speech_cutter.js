// Cuts what a microphone hears into utterances, by its energy: one begins where the sound is well above the background,
// and ends with a pause.

const FRAME = 0.01; // seconds
const SMOOTHED = 5; // frames, of whose level the mean is taken
const BACKGROUND_TIME = 3; // seconds of which the quietest frame is the background
const [QUIETEST, BEGINS_FROM] = [-70, -55]; // dB of full scale: what is below is never background, never speech
const [BEGINS, ENDS] = [12, 8]; // dB above the background
const LOUD_FRAMES = 4; // that begin an utterance, so that a click is none
const BEFORE = 0.15; // seconds that are kept before an utterance begins, and of the pause after it

export class SpeechCutter {
  /** Takes samples a second, the seconds of silence that end an utterance, and the seconds after which it is cut. */
  constructor(rate, pause, longest) {
    this.rate = rate;
    this.frame = new Float32Array(Math.round(rate * FRAME));
    this.filled = 0;
    this.pause = Math.round(pause / FRAME);
    this.longest = Math.round(longest / FRAME);
    this.before = Math.round(BEFORE / FRAME);
    this.recent = []; // levels of the last frames, in dB
    this.energies = []; // means of as many levels, over the last seconds
    this.frames = []; // those of the utterance, or the last ones before one
    this.loud = 0; // frames in a row that are loud enough to begin
    this.quiet = 0; // frames in a row that are quiet enough to end
    this.level = QUIETEST; // dB of the last frame
    this.isSpeech = false;
  }

  /** Takes samples, and returns the utterances that ended: a Float32Array each. */
  push(samples) {
    const ended = [];
    for (let begin = 0; begin < samples.length; ) {
      const part = samples.subarray(begin, begin + this.frame.length - this.filled);
      this.frame.set(part, this.filled);
      begin += part.length;
      this.filled += part.length;
      if (this.filled < this.frame.length) break;
      this.filled = 0;
      const utterance = this.take(this.frame.slice());
      if (utterance) ended.push(utterance);
    }
    return ended;
  }

  /** Returns what was said last, if it did not end yet. */
  finish() {
    return this.isSpeech ? this.end() : null;
  }

  take(frame) {
    this.level = decibels(frame);
    this.recent = [...this.recent, Math.max(QUIETEST, this.level)].slice(-SMOOTHED);
    this.energies.push(this.recent.reduce((total, level) => total + level, 0) / this.recent.length);
    if (this.energies.length > BACKGROUND_TIME / FRAME) this.energies.shift();
    const background = Math.min(...this.energies); // the quietest moment of the last seconds
    this.frames.push(frame);
    if (!this.isSpeech) {
      const isKnown = this.energies.length > SMOOTHED; // else the background is not
      this.loud = isKnown && this.level > Math.max(background + BEGINS, BEGINS_FROM) ? this.loud + 1 : 0;
      this.isSpeech = this.loud >= LOUD_FRAMES;
      this.quiet = 0;
      if (!this.isSpeech) this.frames.splice(0, this.frames.length - this.before - LOUD_FRAMES);
      return null;
    }
    this.quiet = this.level < background + ENDS ? this.quiet + 1 : 0;
    return this.quiet >= this.pause || this.frames.length >= this.longest ? this.end() : null;
  }

  end() {
    const end = this.frames.length - Math.max(0, this.quiet - this.before);
    const kept = this.frames.splice(0, end);
    const samples = new Float32Array(kept.length * this.frame.length);
    kept.forEach((frame, index) => samples.set(frame, index * this.frame.length));
    this.isSpeech = false;
    this.loud = this.quiet = 0;
    return samples;
  }
}

/** Returns the energy of a frame in dB of full scale, without its mean. */
function decibels(frame) {
  const mean = frame.reduce((total, sample) => total + sample, 0) / frame.length;
  const energy = frame.reduce((total, sample) => total + (sample - mean) ** 2, 0) / frame.length;
  return 10 * Math.log10(energy + 1e-12);
}
