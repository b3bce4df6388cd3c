// The tab of classifiers: the labels of a text and the contribution of each token, while the text is typed.

import { classify } from "./api.js";
import { linkOf } from "./link.js";
import { Question } from "./question.js";
import { showRows } from "./charts/rows.js";
import { Tokens, make, nameOf } from "./charts/tokens.js";
import { number, onLanguage, percent, t, tOr } from "./words.js";

const PAUSE = 200; // milliseconds without a key before the server is asked
const STEPS = [0.15, 0.4, 0.7]; // fractions of the strongest contribution at which the colour deepens
const $ = (id) => document.getElementById(id);

export class Classify {
  constructor(shell) {
    this.shell = shell;
    this.tokens = new Tokens($("reasons"), (token) => this.tipOf(token));
    this.question = new Question(shell, $("reasons"), PAUSE, () => this.ask());
    this.answer = null;
    this.label = ""; // the label that the user wants explained, "" for the most probable
    this.examples = 0;
    for (const kind of ["input", "compositionend"]) {
      $("opinion").addEventListener(kind, (event) => {
        if (event.isComposing) return; // half a character of an input method
        this.label = "";
        this.question.soon();
      });
    }
    $("classify-example").addEventListener("click", () => {
      const examples = this.examplesOf(this.shell.model("classify"));
      $("opinion").value = examples[this.examples++ % examples.length];
      this.label = "";
      this.ask();
    });
    $("classify-link").addEventListener("click", () =>
      this.shell.copy(linkOf("classify", this.state()), $("classify-link")),
    );
    onLanguage(() => this.shown());
  }

  restore(state) {
    if ("text" in state) $("opinion").value = state.text;
    this.label = state.label ?? "";
    this.ask();
  }

  use(model) {
    for (const element of [$("opinion"), $("reasons")]) element.lang = model.language;
    this.label = "";
    this.answer = null;
    this.examples = 0;
    $("classify-example").hidden = this.examplesOf(model).length === 0;
    this.ask();
  }

  state() {
    const label = this.label ? { label: this.label } : {};
    return { model: this.shell.model("classify")?.name ?? "", text: $("opinion").value, ...label };
  }

  examplesOf(model) {
    const isOfOpinions = model.labels.includes("positive");
    const more = isOfOpinions ? t(`examples.${model.language === "zh" ? "zh" : "en"}`).split("\n") : [];
    return [...(model.example ? [model.example] : []), ...more];
  }

  async ask() {
    this.shell.stateChanged("classify");
    const model = this.shell.model("classify");
    const text = $("opinion").value;
    let answer = null;
    if (model && text.trim()) {
      answer = await this.question.put((signal) => classify(model.name, text, this.label, signal));
      if (!answer) return;
    } else {
      this.question.cancel();
    }
    this.answer = answer;
    this.shown();
  }

  shown() {
    const { answer } = this;
    const explained = answer?.explanation;
    const tokens = explained?.tokens ?? [];
    const strongest = Math.max(...tokens.map((token) => Math.abs(token.contribution)), 1e-9);
    this.tokens.clear();
    this.tokens.add(tokens.map((token) => ({ ...token, style: styleOf(token.contribution / strongest) })));
    $("reasons").hidden = tokens.length === 0;
    $("reasons-empty").hidden = tokens.length > 0;
    $("reason-title").textContent = explained ? t("classify.why", { label: labelName(explained.label) }) : "";
    this.showLabels(answer, explained?.label);
    $("classify-status").textContent = this.status();
  }

  status() {
    if (!this.answer) return "";
    const labels = this.answer.labels ?? [this.answer.label];
    const parts = [
      labels.length
        ? labels.map((label) => `${labelName(label)} ${percent(this.answer.probs[label])}`).join(", ")
        : t("classify.none"),
    ];
    const { tokens, tokens_read: read } = this.answer;
    if (read < tokens) parts.push(t("classify.cut", { read: number(read), tokens: number(tokens) }));
    return parts.join(" · ");
  }

  showLabels(answer, explained) {
    const rows = Object.entries(answer?.probs ?? {}).sort((a, b) => b[1] - a[1]);
    const names = rows.length ? rows : (this.shell.model("classify")?.labels ?? []).map((label) => [label, null]);
    const chosen = new Set(answer ? (answer.labels ?? [answer.label]) : []);
    showRows(
      $("labels"),
      names.map(([label, probability]) => ({
        key: label,
        name: labelName(label),
        probability,
        chosen: chosen.has(label),
        pressed: label === explained,
      })),
      (label) => {
        this.label = label;
        this.ask();
      },
    );
  }

  tipOf(token) {
    const label = labelName(this.answer.explanation.label);
    const sign = { signDisplay: "exceptZero", maximumFractionDigits: 2 };
    const lines = [
      t("classify.contribution", { n: number(token.contribution, sign), label }),
      t("classify.after", { percent: percent(token.after), label }),
    ];
    const name = nameOf(token.text.trim() || token.text);
    return {
      nodes: [make("p", "tip-head", make("b", "", name)), ...lines.map((line) => make("p", "tip-line", line))],
      said: [name, ...lines].join(", "),
    };
  }
}

/** Returns a label in the page's language where it is one of the common ones, else as the model has it. */
function labelName(label) {
  return tOr(`label.${label}`, label);
}

function styleOf(strength) {
  return `c${Math.sign(strength) * STEPS.filter((step) => Math.abs(strength) >= step).length}`;
}
