// The tab of models that listen: the microphone, files of recordings, what was heard, and its probabilities.

import { classifyRecording, transcribe } from "./api.js";
import { encodeWav } from "./audio/encode_wav.js";
import { Listening } from "./audio/listening.js";
import { showRows } from "./charts/rows.js";
import { make } from "./charts/tokens.js";
import { onLanguage, percent, t } from "./words.js";

const BEAMS = 8;
const MOST_HEARD = 50; // entries of the list
const WORDS = {
  idle: () => t("listen.idle"),
  opening: () => t("listen.opening"),
  listening: () => t("listen.listening"),
  speech: () => t("listen.speech"),
  refused: () => t("listen.refused"),
  missing: () => t("listen.missing"),
  insecure: () => t("listen.insecure"),
  failed: () => t("listen.failed"),
};
const $ = (id) => document.getElementById(id);

export class Listen {
  constructor(shell) {
    this.shell = shell;
    this.says = "idle";
    this.rows = []; // [name, probability] of what was heard last
    const parts = { button: $("microphone"), file: $("recording"), level: $("level") };
    const recorder = new URL("audio/recorder.js", import.meta.url).href;
    this.listening = new Listening(parts, recorder, (recording) => this.hear(recording), (says) => this.say(says));
    $("recording-open").addEventListener("click", () => $("recording").click());
    $("panel-listen").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.listening.stop();
    });
    onLanguage(() => this.shown());
  }

  restore() {}

  use(model) {
    this.listening.stop();
    const most = (this.shell.info.limits.max_body * 3) / 4 / 2; // samples of 16 bits, in base64
    this.listening.use(model.kind === "recognizer" ? "text" : "word", 2 * model.sampleRate, 0.95 * most);
    $("heard").lang = model.language;
    $("heard").replaceChildren();
    this.rows = model.labels.map((label) => [label, null]);
    this.shown();
  }

  state() {
    return { model: this.shell.model("listen")?.name ?? "" };
  }

  /** Another tab was opened. */
  left() {
    this.listening.stop();
  }

  /** Asks the server what a recording says; one of the microphone is {samples, rate}. */
  async hear(recording) {
    const { kind, name } = this.shell.model("listen");
    const isFile = recording instanceof File;
    try {
      const bytes = isFile
        ? new Uint8Array(await recording.arrayBuffer())
        : encodeWav(recording.samples, recording.rate);
      const said = kind === "recognizer" ? await this.transcribed(name, bytes) : await this.classified(name, bytes);
      if (this.shell.model("listen").name !== name) return; // another model was chosen
      $("heard").append(make("li", "", isFile ? `${recording.name}: ${said}` : said));
      if ($("heard").children.length > MOST_HEARD) $("heard").firstChild.remove();
      $("heard").scrollTop = $("heard").scrollHeight;
      this.shell.clearError();
      this.shown();
    } catch (error) {
      this.shell.fail(error, () => this.listening.queue(recording));
    }
  }

  async classified(model, bytes) {
    const { label, probability, probs } = await classifyRecording(model, bytes);
    this.rows = Object.entries(probs).sort(([, one], [, other]) => other - one);
    return `${label} (${percent(probability)})`;
  }

  async transcribed(model, bytes) {
    const transcript = await transcribe(model, bytes, BEAMS);
    const { text, candidates = [transcript] } = transcript;
    this.rows = candidates.map((each) => [each.text || t("listen.nothing"), each.probability]);
    return text || t("listen.nothing");
  }

  say(says) {
    this.says = says;
    $("hearing").textContent = WORDS[says]();
    $("microphone").textContent = ["listening", "speech"].includes(says) ? t("listen.stop") : t("listen.start");
  }

  shown() {
    this.say(this.says);
    $("heard-empty").hidden = $("heard").children.length > 0;
    showRows(
      $("sounds"),
      this.rows.map(([name, probability], at) => ({
        key: String(at),
        name,
        probability,
        chosen: at === 0 && probability !== null,
        pressed: false,
      })),
    );
  }
}
