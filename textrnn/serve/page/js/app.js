// The page: its tabs, the choice of a model, errors in plain words, language and theme.

import { ServerError, fetchInfo } from "./api.js";
import { Classify } from "./classify.js";
import { Forecast } from "./forecast.js";
import { readLink, writeLink } from "./link.js";
import { Listen } from "./listen.js";
import { remember, rememberInTab, remembered } from "./memory.js";
import { Transform } from "./transform.js";
import { number, onLanguage, startWords, switchLanguage, t, tOr } from "./words.js";
import { Write } from "./write.js";

const TAB_OF = {
  language_model: "write",
  classifier: "classify",
  multilabel_classifier: "classify",
  text_to_text: "transform",
  forecaster: "forecast",
  audio_classifier: "listen",
  recognizer: "listen",
};
const THEMES = ["system", "light", "dark"];
const NARROW = "(max-width: 860px)";
const $ = (id) => document.getElementById(id);

class Shell {
  constructor() {
    this.models = { write: [], classify: [], transform: [], forecast: [], listen: [] };
    this.panels = {
      write: new Write(this),
      classify: new Classify(this),
      transform: new Transform(this),
      forecast: new Forecast(this),
      listen: new Listen(this),
    };
    this.tab = "";
    this.error = null;
    this.again = null; // what to do again after the error
    this.timer = 0;
    this.info = null;
    for (const name of Object.keys(this.panels)) {
      $(`tab-${name}`).addEventListener("click", () => this.open(name));
      $(`${name}-model`).addEventListener("change", () => this.useModel(name));
    }
    document.querySelector("[role=tablist]").addEventListener("keydown", (event) => this.moveTab(event));
    $("banner-again").addEventListener("click", () => this.tryAgain());
    $("banner-close").addEventListener("click", () => this.clearError());
    $("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      rememberInTab("key", $("key").value.trim());
      this.tryAgain();
    });
    $("language").addEventListener("click", () => switchLanguage());
    $("theme").addEventListener("click", () => this.nextTheme());
    $("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the fragment is for the state
      $("main").focus();
    });
    addEventListener("hashchange", () => this.restore());
    onLanguage(() => this.translated());
    matchMedia(NARROW).addEventListener("change", () => this.fold());
    this.fold();
    this.translated();
  }

  async start() {
    try {
      this.info = await fetchInfo();
    } catch (error) {
      this.fail(error, () => this.start());
      if (error.kind === "loading") this.timer = setTimeout(() => this.tryAgain(), 1000 * (error.wait || 1));
      return;
    }
    this.clearError();
    $("opening").hidden = true;
    for (const model of this.info.models) {
      const tab = TAB_OF[kindOf(model)];
      if (tab) this.models[tab].push(known(model));
    }
    for (const [name, models] of Object.entries(this.models)) {
      $(`tab-${name}`).hidden = models.length === 0;
      const select = $(`${name}-model`);
      select.replaceChildren(...models.map((model) => new Option(model.name, model.name)));
      select.disabled = models.length < 2;
    }
    $("nothing").hidden = this.tabs().length > 0;
    this.translated();
    for (const name of this.tabs()) this.useModel(name);
    this.restore();
  }

  /** Opens what the address says, else the first tab. */
  restore() {
    const { tab, state } = readLink();
    const name = this.tabs().includes(tab) ? tab : this.tab || this.tabs()[0];
    if (!name) return;
    this.open(name, false);
    if (name !== tab) return;
    const select = $(`${name}-model`);
    if (this.models[name].some((model) => model.name === state.model) && select.value !== state.model) {
      select.value = state.model;
      this.useModel(name);
    }
    this.panels[name].restore(state);
  }

  tabs() {
    return Object.keys(this.models).filter((name) => this.models[name].length);
  }

  open(name, changed = true) {
    if (this.tab === name) return;
    this.panels[this.tab]?.left?.();
    this.tab = name;
    for (const other of Object.keys(this.panels)) {
      const chosen = other === name;
      $(`tab-${other}`).setAttribute("aria-selected", chosen);
      $(`tab-${other}`).tabIndex = chosen ? 0 : -1;
      $(`panel-${other}`).hidden = !chosen;
    }
    this.panels[name].shown();
    if (changed) this.stateChanged(name);
  }

  /** Puts the state of a tab into the address, if the tab is open. */
  stateChanged(name) {
    if (name === this.tab) writeLink(name, this.panels[name].state());
  }

  moveTab(event) {
    const tabs = this.tabs();
    const at = tabs.indexOf(this.tab);
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.open(tabs[(moves[event.key] + tabs.length) % tabs.length]);
    $(`tab-${this.tab}`).focus();
  }

  /** Returns the model that is chosen in a tab, undefined where there is none. */
  model(name) {
    return this.models[name][$(`${name}-model`).selectedIndex];
  }

  useModel(name) {
    this.describe(name);
    this.panels[name].use(this.model(name));
  }

  describe(name) {
    const model = this.model(name);
    $(`${name}-about`).textContent = model ? aboutOf(name, model) : "";
    if (name === "write" && model) $("write-summary").textContent = `${t("settings")} · ${model.name}`;
  }

  translated() {
    $("language").textContent = t("language.other");
    $("language").lang = t("language.other.code");
    $("language").setAttribute("aria-label", t("language.switch"));
    this.showTheme();
    for (const name of this.tabs()) this.describe(name);
    const others = (this.info?.models ?? []).filter((model) => !(kindOf(model) in TAB_OF)).map(({ name }) => name);
    $("others").hidden = others.length === 0;
    $("others").textContent = t("others", { models: others.join(", ") });
    $("version").textContent = this.info?.version ? `textrnn ${this.info.version}` : "";
    if (this.error) this.showError();
  }

  /** Shows an error; `again` is what the button tries again. */
  fail(error, again) {
    if (!(error instanceof ServerError)) throw error;
    this.error = error;
    this.again = again;
    this.showError();
    if (error.kind === "key") $("key").focus();
  }

  showError() {
    const { kind, detail, wait } = this.error;
    $("opening").hidden = true;
    $("banner").hidden = false;
    $("banner").dataset.kind = kind;
    const tried = kind === "key" && $("key").value ? "error.key.wrong" : `error.${kind}`;
    $("banner-text").textContent = t(kind === "busy" && wait ? "error.busy.wait" : tried, { n: number(wait) });
    // What the server says of a bad request is the reason; of the others the page says it in the reader's language.
    $("banner-detail").textContent = ["refused", "large", "failed"].includes(kind) ? detail : "";
    $("key-form").hidden = kind !== "key";
    $("banner-again").hidden = kind === "key";
  }

  clearError() {
    clearTimeout(this.timer);
    this.error = null;
    this.again = null;
    $("banner").hidden = true;
  }

  tryAgain() {
    const { again } = this;
    this.clearError();
    again?.();
  }

  /** Copies a text and says so on the button. */
  async copy(text, button) {
    let said = "copy.done";
    if (!text) said = "copy.long";
    else if (!(await copied(text))) said = "copy.failed";
    const key = button.dataset.t;
    button.textContent = t(said);
    $("spoken").textContent = t(said);
    setTimeout(() => (button.textContent = t(key)), 1600);
  }

  nextTheme() {
    const next = THEMES[(THEMES.indexOf(remembered("theme") || "system") + 1) % THEMES.length];
    remember("theme", next === "system" ? "" : next);
    this.showTheme();
  }

  showTheme() {
    const theme = remembered("theme") || "system";
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = t(`theme.${theme}`);
    $("theme").setAttribute("aria-label", `${t("theme")}: ${t(`theme.${theme}`)}`);
  }

  /** Folds the settings where the window is narrow: there they stand below the text. */
  fold() {
    $("write-settings").open = !matchMedia(NARROW).matches;
  }
}

/** Returns the kind of a model of the server; a classifier of vectors that reads recordings has its own. */
function kindOf({ kind, sample_rate: sampleRate }) {
  return kind === "vector_classifier" && sampleRate ? "audio_classifier" : kind;
}

/** Returns a model of the server with every field that the page reads. */
function known(model) {
  const { name, labels = [], horizon = 1, features = 1, summary = "", example = "", prompt = "" } = model;
  return {
    name,
    kind: kindOf(model),
    labels,
    horizon,
    features,
    longest: model.longest_source ?? 1,
    sampleRate: model.sample_rate ?? 0,
    summary,
    example,
    prompt: prompt || example,
    language: [model.language ?? ""].flat()[0],
    tokenizer: model.tokenizer || "",
    vocabulary: model.vocabulary_size || 64,
  };
}

function aboutOf(name, model) {
  if (name === "forecast") {
    const key = model.features === 1 ? "forecast.about.one" : "forecast.about";
    return t(key, { horizon: number(model.horizon), features: number(model.features) });
  }
  if (name === "transform" && !model.summary) return t("transform.about", { n: number(model.longest) });
  return tOr(`about.${model.name}`, model.summary);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not on https or localhost: the old way, by a selection.
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

await startWords();
await new Shell().start();
