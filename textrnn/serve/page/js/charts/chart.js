// A chart of one series as SVG: its last rows, the rows held out with their forecast, and the forecast after them.

import { make } from "./tokens.js";
import { number, t } from "../words.js";

const SVG = "http://www.w3.org/2000/svg";
const SHOWN = 240; // rows of a long series that are drawn
const MARGIN = { top: 26, right: 14, bottom: 26, left: 52 };
const spoken = document.getElementById("spoken");

/**
 * Draws into a box.
 *
 * @param series {name, times, values, past, future}: `past` is the forecast of the last rows of `values`, which the
 *   model did not see, or []; `future` the forecast of the rows after them
 */
export function drawChart(box, series) {
  const { name, values, past, future } = series;
  const begin = Math.max(0, values.length - Math.max(SHOWN, 3 * past.length));
  const end = values.length + future.length; // one row past the last
  const width = Math.max(280, box.clientWidth - 16);
  const height = Math.round(Math.min(360, Math.max(220, width * 0.5)));
  const [low, high, ticks] = niceRange([...values.slice(begin), ...past, ...future]);
  const x = (row) =>
    MARGIN.left + ((row - begin) / Math.max(1, end - 1 - begin)) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - MARGIN.bottom - ((value - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
  const line = (rows, from) =>
    rows.map((value, at) => `${at ? "L" : "M"}${x(from + at).toFixed(1)} ${y(value).toFixed(1)}`).join("");

  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "img" });
  svg.setAttribute("aria-label", describe(series));
  const split = values.length - past.length;
  const edge = (row) => (x(row - 1) + x(row)) / 2;
  if (past.length) {
    const zone = { x: edge(split), y: MARGIN.top, width: edge(values.length) - edge(split) };
    svg.append(node("rect", { class: "zone", ...zone, height: height - MARGIN.top - MARGIN.bottom }));
    if (zone.width > 40)
      svg.append(label(t("forecast.zone"), zone.x + zone.width / 2, MARGIN.top + 14, "middle", "zone-name"));
  }
  for (const tick of ticks) {
    svg.append(node("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }));
    svg.append(
      label(
        number(tick, { notation: Math.abs(tick) >= 1e5 ? "compact" : "standard", maximumFractionDigits: 6 }),
        MARGIN.left - 8,
        y(tick) + 4,
        "end",
      ),
    );
  }
  const names = timesOf(series);
  for (const row of spread(begin, end, Math.floor(width / 110))) {
    const anchor = row === begin ? "start" : row === end - 1 ? "end" : "middle";
    svg.append(label(names(row), x(row), height - 7, anchor));
  }
  svg.append(node("path", { class: "history", d: line(values.slice(begin), begin) }));
  // Each forecast begins at the last row that the model read, so that its line is not cut off.
  if (past.length) svg.append(node("path", { class: "past", d: line([values[split - 1], ...past], split - 1) }));
  svg.append(node("path", { class: "future", d: line([values.at(-1), ...future], values.length - 1) }));
  if (name) svg.append(label(name, MARGIN.left, 15, "start", "chart-name"));
  svg.append(pointer(svg, { series, names, begin, end, x, y, width, height }));
  box.replaceChildren(svg);
}

/** Returns the rows of a table of the series: [name of the row, value or null, forecast or null]. */
export function rowsOf(series, before = 10) {
  const { values, past, future } = series;
  const names = timesOf(series);
  const split = values.length - past.length;
  const rows = [];
  for (let row = Math.max(0, split - before); row < values.length + future.length; row++) {
    rows.push([names(row), values[row] ?? null, forecastAt(series, row)]);
  }
  return rows;
}

/** Draws the line and the values of the row under the mouse, or of the one that the arrow keys chose. */
function pointer(svg, { series, names, begin, end, x, y, width, height }) {
  const group = node("g", { class: "pointer", visibility: "hidden" });
  let at = series.values.length - 1;
  const show = (row) => {
    at = Math.min(end - 1, Math.max(begin, row));
    const value = series.values[at];
    const predicted = forecastAt(series, at);
    const parts = [names(at)];
    if (value !== undefined) parts.push(precise(value));
    if (predicted !== null) parts.push(`${t("forecast.line")} ${precise(predicted)}`);
    group.replaceChildren(node("line", { x1: x(at), x2: x(at), y1: MARGIN.top, y2: height - MARGIN.bottom }));
    if (value !== undefined) group.append(node("circle", { cx: x(at), cy: y(value), r: 3.5 }));
    if (predicted !== null) group.append(node("circle", { class: "of-forecast", cx: x(at), cy: y(predicted), r: 3.5 }));
    group.append(label(parts.join("   "), width - MARGIN.right, 15, "end", "pointer-text"));
    group.setAttribute("visibility", "visible");
    return parts.join(", ");
  };
  svg.addEventListener("pointermove", (event) => {
    const part = (event.offsetX - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    show(begin + Math.round(part * (end - 1 - begin)));
  });
  svg.addEventListener("pointerleave", () => group.setAttribute("visibility", "hidden"));
  svg.addEventListener("blur", () => group.setAttribute("visibility", "hidden"));
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: begin, End: end - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    spoken.textContent = show(moves[event.key]);
  });
  return group;
}

function describe({ name, values, past, future }) {
  const parts = [t("forecast.chart", { name: name || t("forecast.series"), rows: number(values.length) })];
  if (past.length) parts.push(t("forecast.chart.held", { rows: number(past.length) }));
  parts.push(
    t("forecast.chart.future", {
      rows: number(future.length),
      first: precise(future[0]),
      last: precise(future.at(-1)),
    }),
  );
  return parts.join(" ");
}

function forecastAt({ values, past, future }, row) {
  return row >= values.length ? future[row - values.length] : (past[row - values.length + past.length] ?? null);
}

/** Returns the function from a row to its name. Numbers, months and days go on after the last; other names do not. */
function timesOf({ times }) {
  const after = continuation(times.slice(-3));
  return (row) => times[row] ?? after(row - times.length + 1);
}

function continuation(last) {
  const final = last.at(-1);
  const [, year, month, day] = final.match(/^(\d{4})-(\d{2})(?:-(\d{2}))?$/) ?? [];
  const numbers = last.map((time) => {
    if (day) return Date.parse(time) / 86_400_000;
    return month ? 12 * time.slice(0, 4) + Number(time.slice(5)) : Number(time);
  });
  const [step, ...others] = numbers.slice(1).map((value, at) => value - numbers[at]);
  const even = others.every((other) => other === step);
  if (day && even && step) return (ahead) => isoOf(year, month - 1, Number(day) + ahead * step);
  if (month && !day && even && step) return (ahead) => isoOf(year, month - 1 + ahead * step, 1).slice(0, 7);
  if (Number.isInteger(step) && even && step) return (ahead) => String(numbers.at(-1) + ahead * step);
  return (ahead) => `+${ahead}`;
}

function isoOf(year, month, day) {
  return new Date(Date.UTC(year, month, day)).toISOString().slice(0, 10);
}

function precise(value) {
  return number(value, { maximumSignificantDigits: 5 });
}

/** Returns a range of round numbers around the values, and the ticks in it. */
function niceRange(values) {
  let low = values.reduce((a, b) => Math.min(a, b));
  let high = values.reduce((a, b) => Math.max(a, b));
  if (low === high) {
    low -= Math.abs(low) * 0.1 || 1;
    high += Math.abs(high) * 0.1 || 1;
  }
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  const ticks = Array.from({ length: last - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
  return [ticks[0], ticks.at(-1), ticks];
}

/** Returns `count` rows, evenly from the first to the last. */
function spread(begin, end, count) {
  const parts = Math.max(1, Math.min(count, end - begin) - 1);
  const rows = Array.from({ length: parts + 1 }, (_, at) => begin + Math.round((at * (end - 1 - begin)) / parts));
  return [...new Set(rows)];
}

function label(text, x, y, anchor, style = "") {
  const element = node("text", { x, y, "text-anchor": anchor, class: style });
  element.textContent = text;
  return element;
}

function node(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Returns a table of rows, with the head above them. */
export function makeTable(head, rows) {
  const cell = (tag, text) => make(tag, "", text === null ? "" : typeof text === "number" ? precise(text) : text);
  const top = make("thead", "", make("tr", "", ...head.map((text) => cell("th", text))));
  return make(
    "table",
    "",
    top,
    make("tbody", "", ...rows.map((row) => make("tr", "", ...row.map((text) => cell("td", text))))),
  );
}
