// The tab of models from a text to another: the best outputs of a text and their alignment, while the text is typed.

import { AlignmentTable } from "./charts/alignment.js";
import { transform } from "./api.js";
import { linkOf } from "./link.js";
import { Question } from "./question.js";
import { showRows } from "./charts/rows.js";
import { number, onLanguage, percent, t } from "./words.js";

const PAUSE = 200; // milliseconds without a key before the server is asked
const BEAMS = 4;
const $ = (id) => document.getElementById(id);

export class Transform {
  constructor(shell) {
    this.shell = shell;
    this.question = new Question(shell, $("outcome"), PAUSE, () => this.ask());
    this.table = new AlignmentTable($("alignment"), $("alignment-line"), (weight) =>
      number(weight, { style: "percent" }),
    );
    this.answer = null;
    this.at = 0; // the candidate that is shown
    for (const kind of ["input", "compositionend"]) {
      $("source").addEventListener(kind, (event) => {
        if (!event.isComposing) this.question.soon(); // not at half a character of an input method
      });
    }
    $("beams").addEventListener("input", () => {
      this.showBeams();
      this.question.soon();
    });
    $("transform-example").addEventListener("click", () => {
      $("source").value = this.shell.model("transform").example;
      this.ask();
    });
    $("transform-copy").addEventListener("click", () => this.shell.copy(this.candidate().text, $("transform-copy")));
    $("transform-link").addEventListener("click", () =>
      this.shell.copy(linkOf("transform", this.state()), $("transform-link")),
    );
    onLanguage(() => this.shown());
    $("beams").value = BEAMS;
  }

  restore(state) {
    if ("text" in state) $("source").value = state.text;
    if (Number.isFinite(Number(state.beams || NaN))) $("beams").value = state.beams;
    this.ask();
  }

  use(model) {
    for (const id of ["source", "outcome"]) $(id).lang = model.language;
    this.answer = null;
    $("transform-example").hidden = !model.example;
    this.ask();
  }

  state() {
    const beams = Number($("beams").value) === BEAMS ? {} : { beams: $("beams").value };
    return { model: this.shell.model("transform")?.name ?? "", text: $("source").value, ...beams };
  }

  async ask() {
    this.shell.stateChanged("transform");
    const model = this.shell.model("transform");
    const text = $("source").value;
    let answer = null;
    if (model && text.trim()) {
      const beams = Number($("beams").value);
      answer = await this.question.put((signal) => transform(model.name, text, beams, signal));
      if (!answer) return;
    } else {
      this.question.cancel();
    }
    this.answer = answer;
    this.at = 0;
    this.shown();
  }

  candidate() {
    return this.answer?.candidates[this.at];
  }

  shown() {
    const candidate = this.candidate();
    $("outcome").textContent = candidate?.text ?? "";
    $("outcome").hidden = !candidate;
    $("outcome-empty").hidden = Boolean(candidate);
    $("transform-copy").disabled = !candidate;
    $("transform-status").textContent = this.status();
    const drawn = this.table.show(candidate?.alignment);
    for (const id of ["alignment-title", "alignment-help", "alignment"]) $(id).hidden = !drawn;
    this.showBeams();
    showRows(
      $("candidates"),
      (this.answer?.candidates ?? []).map(({ text, log_prob: logProb }, at) => ({
        key: String(at),
        name: text || t("token.nothing"),
        probability: Math.exp(logProb),
        chosen: at === 0,
        pressed: at === this.at,
      })),
      (key) => {
        this.at = Number(key);
        this.shown();
      },
    );
  }

  status() {
    if (!this.answer) return "";
    const parts = [t("transform.probability", { percent: percent(Math.exp(this.candidate().log_prob)) })];
    if (this.answer.is_longer) parts.push(t("transform.longer"));
    if (!this.answer.is_whole) parts.push(t("transform.cut"));
    return parts.join(" · ");
  }

  showBeams() {
    const value = number(Number($("beams").value));
    document.querySelector('output[for="beams"]').textContent = value;
    $("beams").setAttribute("aria-valuetext", value);
  }
}
