// The tab of language models: a prompt, the options, and the text as it comes.

import { generate } from "./api.js";
import { linkOf } from "./link.js";
import { Tokens, make, nameOf, textOf } from "./charts/tokens.js";
import { number, onLanguage, percent, t } from "./words.js";

// A token's surprise as a share of that of a blind guess, log of the vocabulary, from which the next colour begins.
const SURPRISES = [0.15, 0.3, 0.5, 0.75, 1];
const GIVEN = 400; // characters of the prompt's end that stand before the text
const DEFAULTS = { temperature: 0.8, top_p: 1, length: 400 };
const $ = (id) => document.getElementById(id);
const SLIDERS = ["temperature", "top_p", "length", "seed"];

export class Write {
  constructor(shell) {
    this.shell = shell;
    this.tokens = new Tokens($("text"), (token, index) => this.tipOf(token, index));
    this.writing = null;
    this.summary = null;
    this.filled = ""; // the prompt that the page put in
    for (const name of SLIDERS) {
      $(name).value = DEFAULTS[name] ?? newSeed();
      $(name).addEventListener("input", () => this.changed());
    }
    $("seed").addEventListener("input", () => ($("same-seed").checked = true));
    $("same-seed").addEventListener("change", () => this.changed());
    $("prompt").addEventListener("input", () => this.changed());
    $("write-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!$("same-seed").checked && this.tokens.tokens.length) $("seed").value = newSeed();
      this.start();
    });
    $("panel-write").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        $("write-form").requestSubmit();
      } else if (event.key === "Escape" && this.writing) this.stop();
    });
    $("write-stop").addEventListener("click", () => this.stop());
    $("write-copy").addEventListener("click", () =>
      this.shell.copy($("prompt").value + this.tokens.text(), $("write-copy")),
    );
    $("write-link").addEventListener("click", () => this.shell.copy(this.link(), $("write-link")));
    onLanguage(() => this.shown());
  }

  /** Restores what a link says; with `go=1` it writes the text at once. */
  restore(state) {
    for (const name of SLIDERS) if (Number.isFinite(Number(state[name] || NaN))) $(name).value = state[name];
    $("same-seed").checked = state.keep === "1";
    if ("prompt" in state) $("prompt").value = state.prompt;
    this.shown();
    if (state.go === "1" && this.shell.model("write")) this.start();
  }

  /** Shows another model, and its prompt in place of the last model's. */
  use(model) {
    this.stop();
    this.writing = null;
    this.tokens.clear();
    this.summary = null;
    const prompt = $("prompt");
    if (prompt.value === this.filled) prompt.value = this.filled = model.prompt;
    for (const element of [prompt, $("text")]) element.lang = model.language;
    this.changed();
  }

  changed() {
    this.shown();
    this.shell.stateChanged("write");
  }

  state() {
    const values = Object.fromEntries(SLIDERS.map((name) => [name, $(name).value]));
    const keep = $("same-seed").checked ? { keep: "1" } : {};
    return { model: this.shell.model("write")?.name ?? "", prompt: $("prompt").value, ...values, ...keep };
  }

  link() {
    const written = this.tokens.tokens.length ? { go: "1" } : {};
    return linkOf("write", { ...this.state(), ...written });
  }

  shown() {
    for (const name of SLIDERS) {
      const slider = $(name);
      const digits = name === "temperature" || name === "top_p" ? 2 : 0;
      const value = number(Number(slider.value), { minimumFractionDigits: digits, useGrouping: name === "length" });
      document.querySelector(`output[for="${name}"]`).textContent = value;
      slider.setAttribute("aria-valuetext", value);
    }
    const some = this.tokens.tokens.length > 0 || this.writing !== null;
    $("text").hidden = !some;
    $("text-empty").hidden = some;
    $("write-stop").disabled = this.writing === null;
    $("write-copy").disabled = this.tokens.tokens.length === 0;
    $("text").setAttribute("aria-busy", this.writing !== null);
    $("write-status").textContent = this.status();
  }

  status() {
    if (this.writing) return t("write.writing");
    if (!this.summary) return "";
    const { tokens, characters, bits, seconds, end } = this.summary;
    const parts = [t(`write.end.${end}`), t("write.characters", { n: number(characters) })];
    if (tokens !== characters) parts.push(t("write.tokens", { n: number(tokens) }));
    if (bits !== null) parts.push(t("write.bits", { n: number(bits, { maximumFractionDigits: 1 }) }));
    parts.push(t("write.seconds", { n: number(seconds, { maximumSignificantDigits: 2 }) }));
    return parts.join(" · ");
  }

  stop() {
    this.writing?.abort();
  }

  async start() {
    this.stop();
    this.shell.clearError();
    const model = this.shell.model("write");
    const controller = (this.writing = new AbortController());
    const prompt = $("prompt").value;
    this.tokens.clear(prompt.length > GIVEN ? `…${prompt.slice(-GIVEN)}` : prompt);
    this.summary = null;
    this.changed();
    const begun = performance.now();
    const waiting = [];
    let frame = 0;
    const draw = () => {
      frame = 0;
      this.draw(waiting.splice(0));
    };
    let end = "whole";
    try {
      const options = {
        model: model.name,
        prompt,
        length: Number($("length").value),
        temperature: Number($("temperature").value),
        top_p: Number($("top_p").value),
        seed: Number($("seed").value),
      };
      for await (const token of generate(options, controller.signal)) {
        waiting.push(token);
        frame ||= requestAnimationFrame(draw);
      }
    } catch (error) {
      end = controller.signal.aborted ? "stopped" : "broken";
      if (end === "broken") this.shell.fail(error, () => this.start());
    }
    cancelAnimationFrame(frame);
    if (this.writing !== controller) return; // another text has begun
    draw();
    this.writing = null;
    if (this.tokens.tokens.length || end === "whole") this.summary = this.summarize(end, begun);
    this.shown();
  }

  draw(tokens) {
    const blind = Math.log(this.shell.model("write").vocabulary);
    this.tokens.add(tokens.map((token) => ({ ...token, style: styleOf(-Math.log(token.probability) / blind) })));
  }

  summarize(end, begun) {
    const { tokens } = this.tokens;
    const bits = tokens.reduce((sum, token) => sum - Math.log2(token.probability), 0);
    return {
      end,
      tokens: tokens.length,
      characters: [...this.tokens.text()].length,
      bits: tokens.length ? bits / tokens.length : null,
      seconds: (performance.now() - begun) / 1000,
    };
  }

  tipOf(token, index) {
    // In the text, a word has the space before it.
    const name = nameOf(this.isOfWords() ? token.text.trim() || token.text : token.text);
    const others = token.alternatives.filter(({ text }) => nameOf(text) !== name);
    const list = make("div", "choices");
    for (const { text, probability } of others) {
      const added = textOf(text);
      const bar = make("i", "bar");
      bar.style.width = `${Math.max(1, 100 * probability)}%`;
      const tag = added === null ? "p" : "button";
      const choice = make(tag, "choice", make("span", "", nameOf(text)), percent(probability), bar);
      if (added !== null) {
        choice.type = "button";
        choice.title = t("write.choose", { token: nameOf(text) });
        choice.addEventListener("click", () => this.branch(index, added));
      }
      list.append(choice);
    }
    const head = make("p", "tip-head", make("b", "", name), " ", percent(token.probability));
    const said = [`${name} ${percent(token.probability)}`, t("write.instead")]
      .concat(others.map(({ text, probability }) => `${nameOf(text)} ${percent(probability)}`))
      .join(", ");
    return { nodes: [head, make("p", "tip-note", t("write.instead")), list], said };
  }

  isOfWords() {
    return this.shell.model("write").tokenizer === "word";
  }

  /** Goes on from a token with another in its place: the text before it becomes part of the prompt. */
  branch(index, text) {
    const prompt = $("prompt");
    const before =
      prompt.value +
      this.tokens.tokens
        .slice(0, index)
        .map((token) => token.text)
        .join("");
    prompt.value = before + (this.isOfWords() && /\S$/.test(before) ? " " : "") + text;
    prompt.scrollTop = prompt.scrollHeight;
    $("text").focus({ preventScroll: true });
    this.start();
  }
}

function styleOf(surprise) {
  return `p${SURPRISES.filter((least) => surprise >= least).length}`;
}

function newSeed() {
  return 1 + Math.floor(Math.random() * 9999);
}
