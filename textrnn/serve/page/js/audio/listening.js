// Listening: a button that opens the microphone, its level, and a file of a recording in its place. What is heard is cut
// into utterances, and each is given to `hear`, one after another.

import { Microphone } from "./microphone.js";
import { SpeechCutter } from "./speech_cutter.js";

const PAUSES = { word: [0.3, 5], text: [0.8, 60] }; // seconds of silence that end an utterance, and its most seconds
const MOST_WAITING = 8; // utterances; if the model is slower than the speaker, the oldest are dropped
const REASONS = { NotAllowedError: "refused", NotFoundError: "missing", SecurityError: "insecure" };

export class Listening {
  /**
   * `parts` are the elements button, file, level; `recorder` is the address of recorder.js; `hear` takes {samples, rate}
   * or a File, and returns a promise; `say` takes what to say: idle, opening, listening, speech, refused, missing,
   * insecure, failed.
   */
  constructor(parts, recorder, hear, say) {
    this.parts = parts;
    this.hear = hear;
    this.say = say;
    this.use("word");
    this.cutter = null;
    this.isOpening = false;
    this.waiting = [];
    this.isWorking = false;
    this.microphone = new Microphone(recorder, (block) => this.take(block));
    parts.button.addEventListener("click", () => this.toggle());
    parts.file.addEventListener("change", () => {
      for (const file of parts.file.files) this.queue(file);
      parts.file.value = ""; // so that the same file can be chosen again
    });
    this.say("idle");
  }

  /**
   * Says whether an utterance is a `word` or a `text`, which has longer pauses; the samples a second, 0 for those of the
   * microphone; and the most samples of an utterance.
   */
  use(unit, rate = 0, most = Infinity) {
    Object.assign(this, { unit, rate, most });
  }

  async toggle() {
    if (this.isOpening) return;
    if (this.cutter) await this.stop();
    else await this.start();
  }

  async start() {
    this.isOpening = true;
    this.say("opening");
    try {
      await this.microphone.open(this.rate);
      const { rate } = this.microphone;
      const [pause, longest] = PAUSES[this.unit];
      this.cutter = new SpeechCutter(rate, pause, Math.min(longest, this.most / rate));
      this.say("listening");
    } catch (error) {
      this.say(REASONS[error.name] ?? "failed");
    } finally {
      this.isOpening = false;
      this.parts.button.setAttribute("aria-pressed", this.cutter !== null);
    }
  }

  /** Closes the microphone; what was said last is heard. */
  async stop() {
    if (!this.cutter) return;
    const { cutter } = this;
    const last = cutter.finish();
    this.cutter = null;
    if (last) this.queue({ samples: last, rate: cutter.rate });
    this.parts.button.setAttribute("aria-pressed", false);
    this.parts.level.value = this.parts.level.min;
    this.say("idle");
    await this.microphone.close();
  }

  take(block) {
    const { cutter } = this;
    if (!cutter) return;
    const before = cutter.isSpeech;
    for (const samples of cutter.push(block)) this.queue({ samples, rate: cutter.rate });
    this.parts.level.value = cutter.level;
    if (cutter.isSpeech !== before) this.say(cutter.isSpeech ? "speech" : "listening");
  }

  async queue(recording) {
    this.waiting.push(recording);
    if (this.waiting.length > MOST_WAITING) this.waiting.shift();
    if (this.isWorking) return;
    this.isWorking = true;
    try {
      while (this.waiting.length) await this.hear(this.waiting.shift());
    } finally {
      this.isWorking = false;
    }
  }
}
