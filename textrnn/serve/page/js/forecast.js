// The tab of forecasters: a pasted series, the forecast of its last rows beside what came, and the rows after it.

import { forecast } from "./api.js";
import { drawChart, makeTable, rowsOf } from "./charts/chart.js";
import { linkOf } from "./link.js";
import { Question } from "./question.js";
import { SeriesError, errorsOf, exampleSeries, readSeries } from "./series.js";
import { make } from "./charts/tokens.js";
import { number, onLanguage, t } from "./words.js";

const PAUSE = 250; // milliseconds without a change before the server is asked
const LARGEST_FILE = 4 << 20; // bytes
const $ = (id) => document.getElementById(id);

export class Forecast {
  constructor(shell) {
    this.shell = shell;
    this.question = new Question(shell, $("charts"), PAUSE, () => this.ask());
    this.series = []; // of the charts
    this.problem = null; // a SeriesError
    this.gaps = 0;
    this.touched = false; // whether the user set the sliders
    $("series").addEventListener("input", () => this.changed());
    $("column").addEventListener("change", () => this.changed());
    for (const name of ["held", "steps"]) {
      $(name).addEventListener("input", () => {
        this.touched = true;
        this.changed();
      });
    }
    $("series-example").addEventListener("click", () => this.read(exampleSeries()));
    $("series-open").addEventListener("click", () => $("series-file").click());
    $("series-file").addEventListener("change", () => {
      this.open($("series-file").files[0]);
      $("series-file").value = "";
    });
    const panel = $("panel-forecast");
    panel.addEventListener("dragover", (event) => {
      event.preventDefault();
      $("drop").classList.add("over-it");
    });
    panel.addEventListener("dragleave", () => $("drop").classList.remove("over-it"));
    panel.addEventListener("drop", (event) => {
      event.preventDefault();
      $("drop").classList.remove("over-it");
      const [file] = event.dataTransfer.files;
      if (file) this.open(file);
      else if (event.dataTransfer.getData("text")) this.read(event.dataTransfer.getData("text"));
    });
    $("forecast-copy").addEventListener("click", () => this.shell.copy(this.asCsv(), $("forecast-copy")));
    $("forecast-link").addEventListener("click", () =>
      this.shell.copy(linkOf("forecast", this.state()), $("forecast-link")),
    );
    new ResizeObserver(() => this.draw()).observe($("charts"));
    onLanguage(() => this.shown());
  }

  restore(state) {
    if ("series" in state) $("series").value = state.series;
    this.adapt();
    for (const name of ["held", "steps"]) {
      if (Number.isFinite(Number(state[name] || NaN))) {
        $(name).value = state[name];
        this.touched = true;
      }
    }
    if ("column" in state) $("column").value = state.column;
    this.ask();
  }

  use() {
    this.touched = false;
    this.ask();
  }

  state() {
    const column = $("column-field").hidden ? {} : { column: $("column").value };
    const sliders = this.touched ? { held: $("held").value, steps: $("steps").value } : {};
    return { model: this.shell.model("forecast")?.name ?? "", series: $("series").value, ...column, ...sliders };
  }

  async open(file) {
    if (file.size > LARGEST_FILE) {
      this.problem = new SeriesError("series.large");
      this.series = [];
      this.shown();
      return;
    }
    this.read(await file.text());
  }

  read(text) {
    $("series").value = text;
    this.touched = false;
    this.ask();
  }

  changed() {
    this.question.soon();
    this.showSliders();
  }

  /** Reads the series and fits the controls to it: the choice of a column, the ranges of the sliders. */
  adapt() {
    this.problem = null;
    this.gaps = 0;
    const model = this.shell.model("forecast");
    if (!model || !$("series").value.trim()) return null;
    try {
      const { columns, times, gaps } = readSeries($("series").value);
      const used = this.columnsFor(model, columns);
      const rows = times.length;
      if (rows < 2) throw new SeriesError("series.short");
      $("held").max = Math.floor(rows / 2);
      $("steps").max = Math.max(50, 5 * model.horizon);
      if (!this.touched) {
        $("held").value = Math.min(Math.max(model.horizon, Math.round(rows / 10)), Math.floor(rows / 4));
        $("steps").value = Math.max(model.horizon, Number($("held").value));
      }
      this.gaps = gaps;
      return { columns: used, times };
    } catch (error) {
      if (!(error instanceof SeriesError)) throw error;
      this.problem = error;
      return null;
    }
  }

  /** Returns the columns that the model reads, and shows the choice where it reads one of several. */
  columnsFor(model, columns) {
    const field = $("column-field");
    field.hidden = !(model.features === 1 && columns.length > 1);
    if (columns.length < model.features || (model.features > 1 && columns.length > model.features)) {
      throw new SeriesError("series.columns", { wanted: number(model.features), found: number(columns.length) });
    }
    if (field.hidden) return columns;
    const names = columns.map(({ name }, at) => name || t("forecast.column.n", { n: at + 1 }));
    const select = $("column");
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) select.value = chosen;
    return [columns[select.selectedIndex]];
  }

  async ask() {
    const read = this.adapt();
    this.shell.stateChanged("forecast");
    if (!read) {
      this.question.cancel();
      this.series = [];
      this.shown();
      return;
    }
    const model = this.shell.model("forecast");
    const rows = read.times.map((_, row) => read.columns.map(({ values }) => values[row]));
    const held = Number($("held").value);
    const seen = rows.slice(0, rows.length - held);
    const answer = await this.question.put((signal) =>
      Promise.all([
        held ? forecast(model.name, seen, held, signal) : [],
        forecast(model.name, rows, Number($("steps").value), signal),
      ]),
    );
    if (!answer) return;
    const [past, future] = answer;
    this.series = read.columns.map(({ name, values }, at) => ({
      name,
      values,
      times: read.times,
      past: past.map((row) => row[at]),
      future: future.map((row) => row[at]),
    }));
    this.shown();
  }

  shown() {
    const some = this.series.length > 0;
    $("charts-empty").hidden = some || this.problem !== null;
    for (const id of ["chart-legend", "figures", "forecast-actions"]) $(id).hidden = !some;
    $("series").setAttribute("aria-invalid", this.problem !== null);
    this.showSliders();
    this.draw();
    this.showScore();
    $("forecast-status").textContent = this.status();
    const head = [t("forecast.row"), t("forecast.value"), t("forecast.line")];
    $("table").replaceChildren(
      ...this.series.flatMap((series) => [
        ...(series.name ? [make("h3", "over", series.name)] : []),
        makeTable(head, rowsOf(series)),
      ]),
    );
  }

  status() {
    if (this.problem) return t(this.problem.key, this.problem.values);
    if (!this.series.length) return "";
    const parts = [t("forecast.rows", { n: number(this.series[0].values.length) })];
    if (this.gaps) parts.push(t("forecast.gaps", { n: number(this.gaps) }));
    return parts.join(" · ");
  }

  showSliders() {
    for (const name of ["held", "steps"]) {
      const value = t("forecast.n", { n: number(Number($(name).value)) });
      document.querySelector(`output[for="${name}"]`).textContent = value;
      $(name).setAttribute("aria-valuetext", value);
    }
  }

  /** Says how far the forecast of the held-out rows is from them, beside repeating the last value. */
  showScore() {
    const box = $("score");
    box.hidden = !this.series.length || !this.series[0].past.length;
    if (box.hidden) return;
    box.replaceChildren(
      ...this.series.map(({ name, values, past }) => {
        const held = values.slice(values.length - past.length);
        const { model, naive } = errorsOf(values.slice(0, values.length - past.length), held, past);
        const figure = (value) => number(value, { maximumSignificantDigits: 3 });
        const verdict = model < naive ? "forecast.better" : "forecast.worse";
        return make(
          "p",
          "",
          ...(name && this.series.length > 1 ? [make("b", "", name), " "] : []),
          t("forecast.error", { n: number(past.length), model: figure(model), naive: figure(naive) }),
          " ",
          t(verdict),
        );
      }),
    );
  }

  draw() {
    const box = $("charts");
    if (box.clientWidth === 0) return; // another tab is open
    while (box.children.length > this.series.length) box.lastChild.remove();
    while (box.children.length < this.series.length) box.append(make("div", "chart"));
    this.series.forEach((series, at) => drawChart(box.children[at], series));
  }

  asCsv() {
    const names = this.series.map(({ name }, at) => name || t("forecast.column.n", { n: at + 1 }));
    const rows = this.series[0].future.map((_, row) => [row + 1, ...this.series.map(({ future }) => future[row])]);
    const quoted = (cell) => (/[",\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : cell);
    return [["step", ...names], ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  }
}
